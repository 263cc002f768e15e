/* SPDX-License-Identifier: MIT
 * mapper.h — read-only devices of device-mapper, for gcs-device, made by the kernel's ioctls.
 *
 * Each has a table of one row. There is no udev, so the device file is made here too. Blocking.     */
#pragma once
#include "cmd/gcs/device.h"

#include <linux/dm-ioctl.h>

#define GCS_MAPPER "/dev/mapper"
#define GCS_MAPPER_PATH_BYTES (DM_NAME_LEN + sizeof GCS_MAPPER)
#define GCS_SECTOR_BYTES 512u /* of a table, whatever the device's own are */

struct gcs_mapped {
    const char *name;   /* shorter than DM_NAME_LEN */
    const char *target; /* "linear", "verity" */
    uint64_t sectors;
    const char *parameters; /* what the target reads */
};

/* `ret` is its device file. -1: there are words, and nothing is left. */
int gcs_mapper_make(const struct gcs_mapped *m, char ret[GCS_MAPPER_PATH_BYTES],
                    struct gcs_words *w);

/* Not there: done. Also takes away what another program made. */
int gcs_mapper_drop(const char *name, struct gcs_words *w);

/* All whose names begin so, by their device files. */
int gcs_mapper_drop_all(const char *prefix, struct gcs_words *w);

/* What the target says of itself; -1: there is no such device. */
int gcs_mapper_status(const char *name, char *ret, size_t bytes);

/* The device file of that name. */
void gcs_mapper_path(const char *name, char ret[GCS_MAPPER_PATH_BYTES]);
