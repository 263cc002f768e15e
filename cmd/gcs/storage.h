/* SPDX-License-Identifier: MIT
 * storage.h — block devices as file systems, for gcs-device: what is on them, formatting, mounting.
 *
 * Blocking. Paths come from the host and are checked here; everything returns 0, or -1 with the words
 * and nothing left of what it made.                                                               */
#pragma once
#include "cmd/gcs/device.h"

struct gcs_mount {
    const char *source; /* /dev/sda1 */
    const char *target; /* made, mode 0700, with its parents; must not be a mount point yet */
    const char *type;   /* "": what is found on it */
    bool ensure;        /* format where something else is found than `type` */
    bool read_only;
    unsigned long propagation[8]; /* MS_PRIVATE, …, each applied in order; 0 ends it */
};
int gcs_mount(const struct gcs_mount *m, struct gcs_words *w);

/* What is mounted there, to the bottom; then the folder goes. Not there: done. */
int gcs_unmount(const char *target, struct gcs_words *w);

/* The file system by its magic number; "" when it is none that is known. -1: unreadable. */
int gcs_filesystem(const char *device, const char **ret, struct gcs_words *w);

/* Where the device number is mounted; false: nowhere in this namespace. */
bool gcs_mounted_device(unsigned major, unsigned minor, char *ret_where, size_t bytes);

/* Words of propagation ("rprivate", "shared", …) out of mount options, to their flags; others are
 * ignored, as the reference does. */
void gcs_propagation(const cJSON *options, unsigned long ret[8]);
