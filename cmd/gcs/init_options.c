/* SPDX-License-Identifier: MIT
 *
 * The command line of /init (init.h). Options end at the first word that is none, since what
 * follows belongs to the program. The kernel puts words of its own command line that it does not
 * know in front, so a mistyped kernel argument shows up here as the program: it then fails by name.
 */
#include "cmd/gcs/init.h"

#include "cmd/gcs/early.h"

#include <string.h>
#include <unistd.h>

#define WHO "init"

/* A boot by hand, without arguments, gets an agent that logs to a file and a shell. */
static char *by_hand[] = {"/bin/gcs", "-v4",          "-loglevel", "debug",
                          "-logfile", "/run/gcs.log", NULL};

int uvm__init_options_read(int argc, char **argv, struct uvm__init_options *ret) {
    struct uvm__init_options o = {.entropy_port = 0};
    int c;

    optind = 0; /* glibc: begin anew */
    opterr = 0;
    while ((c = getopt(argc, argv, "+:e:wd:")) != -1) {
        switch (c) {
        case 'e':
            if (uvm__port_parse(optarg, &o.entropy_port) < 0) {
                uvm__say(WHO, "-e %s: not a port", optarg);
                return -1;
            }
            break;
        case 'w':
            o.overlays = true;
            break;
        case 'd':
            o.shell = optarg;
            break;
        default:
            uvm__say(WHO, "-%c: %s", optopt, c == ':' ? "its value is missing" : "no such option");
            return -1;
        }
    }
    o.program = &argv[optind];
    if (argc == 1) {
        o.program = by_hand;
        o.shell = "/bin/sh";
    }
    if (o.program[0] == NULL && o.shell == NULL) {
        uvm__say(WHO, "no program to start");
        return -1;
    }
    *ret = o;
    return 0;
}
