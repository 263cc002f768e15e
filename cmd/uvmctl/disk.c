/* SPDX-License-Identifier: MIT
 * disk.c — disks of the command line.
 */
#include "cmd/uvmctl/disk.h"
#include "cmd/uvmctl/out.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERITY "verity="

char *disk_host_path(const char *who, const char *path) {
    char *full = realpath(path, NULL);
    if (full == NULL) {
        out_usage("%s: %s: %s", who, path, strerror(errno));
    }
    return full;
}

bool disk_words_read(struct disk_words *ret, const char *who, const char *word) {
    struct disk_words d = {.params = UVM_SCSI_PARAMS_INIT, .text = strdup(word)};
    if (d.text == NULL) {
        out_usage("%s: out of memory", who);
        return false;
    }
    char *guest = strchr(d.text, ',');
    char *flag = guest == NULL ? NULL : strchr(guest + 1, ',');
    if (guest != NULL) {
        *guest++ = 0;
    }
    if (flag != NULL) {
        *flag++ = 0;
    }
    bool checked = flag != NULL && strncmp(flag, VERITY, strlen(VERITY)) == 0;
    if (flag != NULL && !checked && strcmp(flag, "ro") != 0 && strcmp(flag, "encrypted") != 0) {
        out_usage("%s: \"%s\": \"%s\" is neither \"ro\" nor \"encrypted\" nor \"" VERITY "HASH\"",
                  who, word, flag);
        free(d.text);
        return false;
    }
    d.host = disk_host_path(who, d.text);
    if (d.host == NULL) {
        free(d.text);
        return false;
    }
    d.params.host_path = d.host;
    d.params.guest_path = guest == NULL || *guest == 0 ? NULL : guest;
    d.params.mount = d.params.guest_path != NULL;
    d.params.read_only = checked || (flag != NULL && strcmp(flag, "ro") == 0);
    d.params.verity = checked ? flag + strlen(VERITY) : NULL;
    d.params.encrypted = flag != NULL && !d.params.read_only;
    *ret = d;
    return true;
}

void disk_words_free(struct disk_words *d) {
    free(d->text);
    free(d->host);
    *d = (struct disk_words){0};
}
