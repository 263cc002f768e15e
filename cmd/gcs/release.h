/* SPDX-License-Identifier: MIT
 * release.h — assigned devices that are about to be taken away: their drivers let go of them first.
 *
 * To unbind a driver may take long, or for ever where something uses the device, and the process of the offers
 * has others to serve: each is done by a process of its own, which says by a pipe when it has finished.  */
#pragma once
#include "async/guid.h"

#include <stdbool.h>

/* `fd` is to be polled for reading, from the first one on; -1: there was none. */
struct gcs_releases {
    const char *sys; /* where sysfs is (view.h) */
    int fd, write_fd;
};

#define GCS_RELEASES_INIT(sys)                                                                     \
    { (sys), -1, -1 }

/* Begins with a device that is shown. False: it is done already, as well as it can be. */
bool gcs_release_begin(struct gcs_releases *r, const struct uvm__guid *instance);
/* The next one whose driver has let go; false: none as yet. */
bool gcs_release_next(struct gcs_releases *r, struct uvm__guid *ret);
