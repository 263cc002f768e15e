/* SPDX-License-Identifier: MIT
 *
 * vsockexec: starts a program whose stdin, stdout and stderr are ports of the host.
 *
 *     vsockexec [-r] [-i PORT] [-o PORT] [-e PORT] PROGRAM ARG...
 *
 * Plainly, it dials the ports (equal ones share a connection), puts them in place and becomes the
 * program; a port that does not answer ends it with 1, and the VM with it, since the host asked
 * for that output. With -r it stays and relays (relay.h) stdout and stderr, whichever were asked
 * for, to one port (-e before -o), so that the program outlives the host's end of the connection.
 */
#include "cmd/gcs/early.h"
#include "cmd/gcs/gcs.h"
#include "cmd/gcs/image_path.h"
#include "cmd/gcs/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHO "vsockexec"

enum { STREAMS = 3 };

struct options {
    bool relay;
    uint32_t ports[STREAMS]; /* by descriptor; 0: left as it is */
    char **program;
};

static int usage(void) {
    uvm__say(WHO, "usage: vsockexec [-r] [-i PORT] [-o PORT] [-e PORT] PROGRAM [ARG...]");
    return -1;
}

static int options_read(int argc, char **argv, struct options *ret) {
    static const char letters[] = "ioe"; /* in the order of the descriptors */
    struct options o = {.relay = false};
    int c;

    optind = 0; /* glibc: begin anew */
    opterr = 0;
    while ((c = getopt(argc, argv, "+ri:o:e:")) != -1) {
        const char *stream = strchr(letters, c);

        if (c == 'r') {
            o.relay = true;
        } else if (stream == NULL || uvm__port_parse(optarg, &o.ports[stream - letters]) < 0) {
            return usage();
        }
    }
    o.program = &argv[optind];
    if (o.program[0] == NULL) {
        return usage();
    }
    *ret = o;
    return 0;
}

static int program_exec(char *const *argv) {
    char path[PATH_MAX];

    execvp(uvm__image_path(argv[0], path), argv);
    uvm__say(WHO, "%s: %s", argv[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

static int direct(const struct options *o) {
    int fds[STREAMS];

    for (int i = 0; i < STREAMS; i++) {
        fds[i] = o->ports[i] == 0 ? i : -1;
        for (int j = 0; j < i && fds[i] < 0; j++) {
            fds[i] = o->ports[j] == o->ports[i] ? fds[j] : -1;
        }
        if (fds[i] < 0) {
            fds[i] = uvm__host_dial(o->ports[i]);
        }
        if (fds[i] < 0) {
            uvm__say(WHO, "host port %u: %s", o->ports[i], strerror(errno));
            return EXIT_FAILURE;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        if (fds[i] != i && dup2(fds[i], i) < 0) {
            return EXIT_FAILURE;
        }
    }
    return program_exec(o->program); /* the dialled ones are close-on-exec */
}

static int dial(void *arg) {
    const uint32_t *port = arg;

    return uvm__host_dial(*port);
}

static int relayed(const struct options *o) {
    uint32_t port = o->ports[2] != 0 ? o->ports[2] : o->ports[1];
    struct uvm__relay relay = {.dial = dial, .arg = &port, .last_resort = STDERR_FILENO};
    int fds[2], status;

    if (port == 0) {
        return program_exec(o->program);
    }
    if (pipe2(fds, O_CLOEXEC) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
        uvm__say(WHO, "pipe: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    relay.from = fds[0];
    relay.pid = fork();
    if (relay.pid == 0) {
        for (int i = 1; i < STREAMS; i++) {
            if (o->ports[i] != 0 && dup2(fds[1], i) < 0) {
                _exit(EXIT_FAILURE);
            }
        }
        _exit(program_exec(o->program));
    }
    close(fds[1]);
    status = relay.pid < 0 ? -1 : uvm__relay_run(&relay);
    if (status < 0) {
        uvm__say(WHO, "%s: not started, or lost", o->program[0]);
        return EXIT_FAILURE;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int uvm__vsockexec_main(int argc, char **argv) {
    struct options o;

    uvm__stdio_ensure();
    if (options_read(argc, argv, &o) < 0) {
        return EXIT_FAILURE;
    }
    return o.relay ? relayed(&o) : direct(&o);
}
