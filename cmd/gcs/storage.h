/* SPDX-License-Identifier: MIT
 * storage.h — block devices as file systems, for gcs-device: what is on them, formatting, mounting.
 *
 * Blocking. Paths come from the host and are checked here; everything returns 0, or -1 with the words
 * and nothing left of what it made.                                                               */
#pragma once
#include "cmd/gcs/device.h"

/* Mount options by what carries them out. */
struct gcs_mount_options {
    unsigned long flags;          /* MS_NOATIME, … */
    unsigned long propagation[8]; /* MS_PRIVATE, …, each applied in order; 0 ends it */
    char data[512];               /* the file system's own, with commas */
};
/* Words that only say what settings say otherwise ("ro", "rw", "defaults") mean nothing. What is known
 * nowhere is the file system's to refuse. */
int gcs_mount_options(const cJSON *words, struct gcs_mount_options *ret, struct gcs_words *w);

struct gcs_mount {
    const char *source; /* /dev/sda1 */
    const char *target; /* made, mode 0700, with its parents; must not be a mount point yet */
    const char *type;   /* "": what is found on it */
    bool ensure;        /* format where something else is found than `type` */
    bool scratch; /* format it ("": as ext4), whatever is there, and so that nothing is read later
                         * that was not written (crypt.h) */
    bool read_only;
    bool
        no_device; /* the source is a name only: nothing is looked for there, `type` is what it is */
    struct gcs_mount_options options;
};
int gcs_mount(const struct gcs_mount *m, struct gcs_words *w);

/* What is mounted there, to the bottom; then the folder goes. Not there: done. */
int gcs_unmount(const char *target, struct gcs_words *w);

/* The file system by its magic number; "" when it is none that is known. -1: unreadable, which is never
 * taken for an empty disk. */
int gcs_filesystem(const char *device, const char **ret, struct gcs_words *w);

/* Where the device number is mounted; false: nowhere in this namespace. */
bool gcs_mounted_device(unsigned major, unsigned minor, char *ret_where, size_t bytes);
