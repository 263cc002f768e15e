/* SPDX-License-Identifier: MIT
 * crypt.h — a disk under a key that nobody keeps, for gcs-device.
 *
 * dm-crypt over dm-integrity, with the reference's choice: LUKS2, aes-xts-plain64, hmac-sha256, sectors of
 * 4096 bytes. What was on the disk is lost, and so is what will be, when it is closed. A sector that was
 * never written cannot be read (its hash is missing), so whoever formats it writes what he will read
 * (struct gcs_mount, `scratch`). Needs the tools disk or a cryptsetup in the image. Blocking.          */
#pragma once
#include "cmd/gcs/mapper.h"

/* `ret` is the device that is clear. One of that name that somebody left is closed first. -1: there are
 * words, nothing is open, and nobody knows the key of what is on the disk. */
int gcs_crypt_open(const char *disk, const char *name, char ret[GCS_MAPPER_PATH_BYTES],
                   struct gcs_words *w);

/* Not open: done. Needs no tools. */
int gcs_crypt_close(const char *name, struct gcs_words *w);
