/* SPDX-License-Identifier: MIT
 * gcs_device_fuzz.c — what gcs-device reads: settings of a request, the kernel's list of mounts, and what an image
 * says of its hash tree.
 *
 * The first byte says which. Any settings give values in their ranges, or words; a path that passes the check has
 * no step that leads up. Any text is a line of mountinfo or is not; and a line made of a path, as the kernel
 * escapes it, gives back the path. A hash tree that is taken lies in its device.
 */
#include "async/check.h"
#include "async/json.h"
#include "cmd/gcs/mountinfo.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"
#include "cmd/gcs/verity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- settings ----------------------------------------------------------------------------- */

static void check_words(int rc, const struct gcs_words *w) {
    UVM_ASSERT(rc == 0 || rc == -1);
    UVM_ASSERT(rc == 0 || (w->status == GCS_DEVICE_BAD_SETTINGS && w->text[0] != '\0'));
}

static void check_path(const cJSON *settings) {
    struct gcs_words w = {.status = 0};
    const char *path = NULL;
    int rc = gcs_setting_text(settings, "MountPath", &path, &w);

    check_words(rc, &w);
    if (rc < 0) {
        return;
    }
    rc = gcs_path_check("MountPath", path, &w);
    check_words(rc, &w);
    if (rc == 0) {
        size_t n = strlen(path);
        UVM_ASSERT(path[0] == '/' && n > 1 && n < PATH_MAX);
        UVM_ASSERT(strstr(path, "/../") == NULL);
        UVM_ASSERT(n < 3 || strcmp(path + n - 3, "/..") != 0);
    }
}

static void settings(const char *text, size_t bytes) {
    struct gcs_words w = {.status = 0};
    struct gcs_mount_options options;
    struct uvm__fail f;
    cJSON *tree = NULL;
    uint64_t number;
    bool yes;

    if (uvm__json_read(UVM__JSON_GO, text, bytes, &tree, &f) < 0) {
        return;
    }
    check_words(gcs_setting_u64(tree, "Lun", 63, &number, &w), &w);
    UVM_ASSERT(w.status != 0 || number <= 63);
    w.status = 0;
    check_words(gcs_setting_bool(tree, "ReadOnly", &yes, &w), &w);
    check_path(tree);
    w.status = 0;
    int rc = gcs_mount_options(uvm__json_get(UVM__JSON_GO, tree, "Options"), &options, &w);
    check_words(rc, &w);
    UVM_ASSERT(rc < 0 || options.propagation[7] == 0);
    UVM_ASSERT(memchr(options.data, '\0', sizeof options.data) != NULL);
    cJSON_Delete(tree);
}

/* ---- mounts ------------------------------------------------------------------------------- */

static char *line_of(const char *path) {
    size_t room = 4 * strlen(path) + 64;
    char *line = malloc(room);

    UVM_ASSERT(line != NULL);
    size_t at = (size_t)snprintf(line, room, "36 35 8:17 / ");
    for (; *path != '\0'; path++) {
        bool escaped = strchr(" \t\n\\", *path) != NULL;
        at += (size_t)snprintf(line + at, room - at, escaped ? "\\%03o" : "%c", (unsigned)*path);
    }
    (void)snprintf(line + at, room - at, " rw - ext4 /dev/sdb1 rw\n");
    return line;
}

static void mounts(const char *text, size_t bytes) {
    unsigned major = 0, minor = 0;
    char *copy = strndup(text, bytes), *where = NULL;

    UVM_ASSERT(copy != NULL);
    size_t n = strlen(copy);
    char *line = line_of(copy);
    UVM_ASSERT(gcs_mountinfo_line(line, &major, &minor, &where));
    UVM_ASSERT(major == 8 && minor == 17 && strcmp(where, copy) == 0);
    free(line);
    if (gcs_mountinfo_line(copy, &major, &minor, &where)) {
        UVM_ASSERT(where > copy && where + strlen(where) <= copy + n);
    }
    free(copy);
}

/* ---- hash trees --------------------------------------------------------------------------- */

/* A superblock, the image's first bytes, and how large the device is behind the file system's end. */
static void verity(const uint8_t *data, size_t bytes) {
    uint8_t superblock[GCS_VERITY_SUPERBLOCK_BYTES] = {0}, head[GCS_VERITY_HEAD_BYTES] = {0};
    struct gcs_words w = {.status = 0};
    struct gcs_verity_tree t;
    uint64_t at = 0, more = 0;

    size_t n = bytes < sizeof superblock ? bytes : sizeof superblock;
    memcpy(superblock, data, n);
    memcpy(head, data + n, bytes - n < sizeof head ? bytes - n : sizeof head);
    memcpy(&more, superblock + sizeof superblock - sizeof more, sizeof more);
    if (gcs_verity_data_end(head, &at, &w) < 0) {
        UVM_ASSERT(w.text[0] != '\0');
        return;
    }
    uint64_t device = at + (more & 0xffffffff);
    if (gcs_verity_tree(superblock, at, device, &t, &w) < 0) {
        UVM_ASSERT(w.text[0] != '\0');
        return;
    }
    UVM_ASSERT(t.data_blocks > 0 && t.data_blocks <= at / t.data_block_bytes);
    UVM_ASSERT(t.hash_start * t.hash_block_bytes >= at + sizeof superblock);
    UVM_ASSERT(t.hash_start <= device / t.hash_block_bytes);
    UVM_ASSERT(t.salt[0] != '\0' && memchr(t.salt, '\0', sizeof t.salt) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) {
        return 0;
    }
    if (data[0] == 'm') {
        mounts((const char *)data + 1, bytes - 1);
    } else if (data[0] == 'v') {
        verity(data + 1, bytes - 1);
    } else {
        settings((const char *)data + 1, bytes - 1);
    }
    return 0;
}
