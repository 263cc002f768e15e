/* SPDX-License-Identifier: MIT
 * place.h — a path of the host's in the guest: its folder, reached without a symbolic link, and its last name.
 *
 * Others than us write in the guest's folders (processes of containers, users), and whoever may replace a folder
 * on the way by a link would choose where a disk is mounted. So each folder is opened beneath the one before,
 * a link on the way is refused in words, and what is done at the place is done beneath the open folder.
 */
#pragma once
#include "cmd/gcs/device.h"

#include <limits.h>
#include <stdbool.h>

struct gcs_place {
    int folder; /* O_PATH; -1: closed */
    char name[NAME_MAX + 1];
    char path[PATH_MAX]; /* as the host has it, for messages */
    unsigned made;       /* folders on the way that were made */
};

/* Absolute, no "..", not "/" and below PATH_MAX. */
int gcs_path_check(const char *key, const char *path, struct gcs_words *w);

/* Opens the folder of a checked path; with `make`, the missing folders are made, mode 0700. 1: done; 0: without
 * `make`, there is none; -1: with the words, and nothing is left of what was made. Then `ret` is closed. */
int gcs_place_open(const char *path, bool make, struct gcs_place *ret, struct gcs_words *w);
/* Removes the folders that were made, as far as they are empty; for what failed behind them. */
void gcs_place_unmake(struct gcs_place *p);
void gcs_place_close(struct gcs_place *p); /* idempotent */

/* Names the place for a system call that takes a path: its folder by /proc, its name as it is. */
void gcs_place_text(const struct gcs_place *p, char ret[PATH_MAX]);
/* Whether something is mounted there. */
bool gcs_place_mounted(const struct gcs_place *p);
