/* SPDX-License-Identifier: MIT
 *
 * Where the agent is (gcs.h). On a developer's machine, in a container or under another init it
 * must leave the system alone, so both must hold: /init's marker in the environment, which only
 * says so, and PID 1 being this file, which nobody fakes by accident.
 */
#include "cmd/gcs/gcs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool uvm__under_our_init(void) {
    const char *marker = getenv(UVM__INIT_MARKER);
    struct stat first, self;

    return marker != NULL && strcmp(marker, "1") == 0 && stat("/proc/1/exe", &first) == 0 &&
           stat("/proc/self/exe", &self) == 0 && first.st_dev == self.st_dev &&
           first.st_ino == self.st_ino;
}
