/* SPDX-License-Identifier: MIT
 *
 * The guest's one binary: argv[0] says which program it is. One file instead of six keeps the
 * image small and its pages shared.
 */
#include "cmd/gcs/gcs.h"
#include "cmd/uvm-launch/launch.h"

#include <stdio.h>
#include <string.h>

static const struct program {
    const char *name;
    int (*main)(int argc, char **argv);
} programs[] = {
    {"init", uvm__init_main},           {"gcs", uvm__agent_main},
    {"vsockexec", uvm__vsockexec_main}, {"uvm-launch", uvm__launch_main},
    {"gcs-modules", uvm__modules_main}, {"gcs-device", uvm__device_main},
    {"gcs-dhcp", uvm__dhcp_main},
};

int main(int argc, char **argv) {
    const char *name = argc > 0 ? basename(argv[0]) : "";

    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        if (strcmp(name, programs[i].name) == 0) {
            return programs[i].main(argc, argv);
        }
    }
    fprintf(stderr, "%s: not the name of a program in this binary\n", name);
    return 2;
}
