/* SPDX-License-Identifier: MIT
 *
 * Layers under dm-verity (verity.h): the request, the device, and what its failures mean.
 *
 * With a wrong root hash the kernel makes the device all the same, and fails each read. So one block is read at
 * once; and whether a failed read was a wrong block or an unwilling disk the kernel is asked.
 */
#include "cmd/gcs/verity.h"

#include "async/json.h"
#include "cmd/gcs/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WHO "gcs-device"
#define DATA_BYTES_MAX ((UINT64_C(1) << 53) - 1)

/* ---- the request ------------------------------------------------------------------------------------ */

static int put_root(const char *text, struct gcs_verity_wish *ret, struct gcs_words *w) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t n = strlen(text);

    if (n != sizeof ret->root - 1 || strspn(text, digits) != n) {
        return gcs_bad(w, "VerityInfo: RootDigest: no %u bytes in hexadecimal digits",
                       GCS_VERITY_HASH_BYTES);
    }
    for (size_t i = 0; i < n; i++) {
        ret->root[i] = digits[(size_t)(strchr(digits, text[i]) - digits) % 16];
    }
    return 0;
}

int gcs_verity_wish(const cJSON *settings, struct gcs_verity_wish *ret, struct gcs_words *w) {
    const cJSON *info = uvm__json_get(UVM__JSON_GO, settings, "VerityInfo");
    const char *root;

    memset(ret, 0, sizeof *ret);
    if (uvm__json_absent(info)) {
        return 0;
    }
    if (!cJSON_IsObject(info)) {
        return gcs_bad(w, "VerityInfo: no object");
    }
    if (gcs_setting_text(info, "RootDigest", &root, w) < 0 ||
        gcs_setting_u64(info, "Ext4SizeInBytes", DATA_BYTES_MAX, &ret->data_bytes, w) < 0) {
        return -1;
    }
    return put_root(root, ret, w);
}

/* ---- the image -------------------------------------------------------------------------------------- */

static int read_at(int fd, void *ret, size_t bytes, uint64_t at, struct gcs_words *w) {
    ssize_t n = pread(fd, ret, bytes, (off_t)at);

    if (n < 0) {
        (void)gcs_fail(w, "read at byte %llu: %s", (unsigned long long)at, strerror(errno));
        w->unreadable = true;
        return -1;
    }
    return n == (ssize_t)bytes ? 0
                               : gcs_fail(w,
                                          "the superblock of dm-verity would be at byte %llu, "
                                          "which is behind its end",
                                          (unsigned long long)at);
}

static int read_image(int fd, const struct gcs_verity_wish *wish, struct gcs_verity_tree *ret,
                      struct gcs_words *w) {
    uint8_t head[GCS_VERITY_HEAD_BYTES], superblock[GCS_VERITY_SUPERBLOCK_BYTES];
    uint64_t at = wish->data_bytes;
    off_t end = lseek(fd, 0, SEEK_END);

    if (end <= 0) {
        w->unreadable = true; /* the driver could not ask for its size */
        (void)gcs_fail(w, "it has no size");
        return -1;
    }
    if (at == 0 &&
        (read_at(fd, head, sizeof head, 0, w) < 0 || gcs_verity_data_end(head, &at, w) < 0)) {
        return -1;
    }
    return read_at(fd, superblock, sizeof superblock, at, w) < 0
               ? -1
               : gcs_verity_tree(superblock, at, (uint64_t)end, ret, w);
}

static int read_tree(const char *device, const struct gcs_verity_wish *wish,
                     struct gcs_verity_tree *ret, struct gcs_words *w) {
    struct gcs_words why = {.status = 0};
    int fd = open(device, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0) {
        return gcs_fail(w, "open %s: %s", device, strerror(errno));
    }
    rc = read_image(fd, wish, ret, &why);
    close(fd);
    if (rc < 0) {
        (void)gcs_fail(w, "%s: %s", device, why.text);
        w->unreadable = why.unreadable;
    }
    return rc;
}

/* ---- the device -------------------------------------------------------------------------------------- */

void gcs_verity_explain(const char *node, struct gcs_words *w) {
    const char *name = node + sizeof GCS_MAPPER; /* with the slash */
    char status[16] = "";

    if (gcs_mapper_status(name, status, sizeof status) == 0 && status[0] == 'C') {
        (void)gcs_fail(w, "%s: what is on it is not what its root hash says", name);
        w->unreadable = false;
    }
}

static int first_block(const char *node, struct gcs_words *w) {
    int fd = open(node, O_RDONLY | O_CLOEXEC);
    char block[512];
    int err = fd < 0 || read(fd, block, sizeof block) < 0 ? errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    if (err == 0) {
        return 0;
    }
    (void)gcs_fail(w, "read %s: %s", node, strerror(err));
    w->unreadable = true;
    gcs_verity_explain(node, w);
    return -1;
}

int gcs_verity_open(const char *device, const char *prefix, const struct gcs_verity_wish *wish,
                    char ret[GCS_MAPPER_PATH_BYTES], struct gcs_words *w) {
    char name[DM_NAME_LEN], parameters[1024];
    struct gcs_verity_tree t = {.type = 0};
    struct gcs_words ignored;
    int n = snprintf(name, sizeof name, "%s-%s", prefix, wish->root);

    if (n < 0 || (size_t)n >= sizeof name) {
        return gcs_fail(w, "%s: its name is too long", prefix);
    }
    if (gcs_verity_close(prefix, w) < 0 || read_tree(device, wish, &t, w) < 0) {
        return -1;
    }
    n = snprintf(parameters, sizeof parameters, "%u %s %s %u %u %llu %llu sha256 %s %s", t.type,
                 device, device, t.data_block_bytes, t.hash_block_bytes,
                 (unsigned long long)t.data_blocks, (unsigned long long)t.hash_start, wish->root,
                 t.salt);
    if (n < 0 || (size_t)n >= sizeof parameters) {
        return gcs_fail(w, "%s: its parameters are too long", name);
    }
    (void)uvm__modules_load(WHO, "modules.dm");
    (void)uvm__modules_load(WHO, "modules.verity");
    const struct gcs_mapped mapped = {.name = name,
                                      .target = "verity",
                                      .sectors =
                                          t.data_blocks * (t.data_block_bytes / GCS_SECTOR_BYTES),
                                      .parameters = parameters};
    if (gcs_mapper_make(&mapped, ret, w) < 0) {
        return -1;
    }
    if (first_block(ret, w) < 0) {
        (void)gcs_mapper_drop(name, &ignored);
        return -1;
    }
    return 0;
}

int gcs_verity_close(const char *prefix, struct gcs_words *w) {
    char with_dash[DM_NAME_LEN];

    (void)snprintf(with_dash, sizeof with_dash, "%s-", prefix);
    return gcs_mapper_drop_all(with_dash, w);
}
