/* SPDX-License-Identifier: MIT
 *
 * uvm-launch as a program of its own: the host's flavour. The guest's binary reaches the same
 * code through its argv[0] table.
 */
#include "cmd/uvm-launch/launch.h"

int main(int argc, char **argv) {
    return uvm__launch_main(argc, argv);
}
