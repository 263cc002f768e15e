/* SPDX-License-Identifier: MIT
 * disk.h — a disk as a word of the command line: HOST[,GUEST[,ro|encrypted|verity=HASH]].
 */
#pragma once
#include "uvm/devices.h"

struct disk_words {
    struct uvm_scsi_params params;
    char *text, *host; /* what params point into */
};

/* The absolute path of a file of this host, for free(); NULL: it said why, after `who`. */
char *disk_host_path(const char *who, const char *path);
/* False: it said why, and nothing is to be freed. A comma in a path cannot be written. */
bool disk_words_read(struct disk_words *ret, const char *who, const char *word);
void disk_words_free(struct disk_words *d); /* accepts one that was never read */
