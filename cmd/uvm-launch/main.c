/* SPDX-License-Identifier: MIT
 *
 * uvm-launch as a program of its own: the host's flavour, which is uvm-view, too, where that is its name, and which
 * is run in network namespaces to make taps. The guest's binary reaches the launcher through its argv[0] table.
 */
#include "cmd/uvm-launch/launch.h"
#include "cmd/uvm-launch/tap.h"
#include "cmd/uvm-launch/view.h"

#include <string.h>

int main(int argc, char **argv) {
    if (argc > 0 && strcmp(argv[0], "uvm-view") == 0) {
        return uvm__view_main(argc, argv);
    }
    return argc > 1 && strcmp(argv[1], "tap") == 0 ? uvm__tap_main(argc, argv)
                                                   : uvm__launch_main(argc, argv);
}
