/* SPDX-License-Identifier: MIT
 * verity.h — a layer whose every block is checked against one hash when it is read, for gcs-device.
 *
 * The hash tree of dm-verity is in the image behind its file system, as hcsshim's layers and `veritysetup format
 * --hash-offset` have it: a superblock in the first bytes behind the data, the tree in the blocks after that.
 * The image is not trusted: all that it says of itself is checked here, and that it is what was asked for by the
 * kernel, against the root hash from the host's request. Blocking, but for what reads bytes.            */
#pragma once
#include "cmd/gcs/mapper.h"

#define GCS_VERITY_SUPERBLOCK_BYTES 512u /* what of it is read */
#define GCS_VERITY_HEAD_BYTES 2048u      /* of an image, which say where its file system ends */
#define GCS_VERITY_SALT_BYTES_MAX 256u   /* the salt of an image's hash tree */
#define GCS_VERITY_HASH_BYTES 32u        /* sha256 */

/* A request's VerityInfo. */
struct gcs_verity_wish {
    char root[2 * GCS_VERITY_HASH_BYTES +
              1];        /* the root hash in lower-case hex; "": none was asked for */
    uint64_t data_bytes; /* where the superblock is; 0: behind the file system */
};
int gcs_verity_wish(const cJSON *settings, struct gcs_verity_wish *ret, struct gcs_words *w);

struct gcs_verity_tree {
    unsigned type; /* of the hashes: 0, 1 */
    uint32_t data_block_bytes, hash_block_bytes;
    uint64_t data_blocks;
    uint64_t hash_start; /* the tree's first block, in hash blocks from the device's begin */
    char salt[2 * GCS_VERITY_SALT_BYTES_MAX + 1]; /* in hex; "-": none */
};

/* Where the file system of these first bytes ends: ext4, squashfs, erofs. */
int gcs_verity_data_end(const uint8_t head[GCS_VERITY_HEAD_BYTES], uint64_t *ret,
                        struct gcs_words *w);
/* The superblock that was read at the offset `at` of a device of so many bytes. On success data, superblock
 * and tree lie in the device, in this order, and do not overlap. */
int gcs_verity_tree(const uint8_t superblock[GCS_VERITY_SUPERBLOCK_BYTES], uint64_t at,
                    uint64_t device_bytes, struct gcs_verity_tree *ret, struct gcs_words *w);

/* Makes `prefix`-<root hash> over the device; `ret` is its file. That the image is the one of the root hash
 * is seen at its first block. -1: there are words, and nothing is left. */
int gcs_verity_open(const char *device, const char *prefix, const struct gcs_verity_wish *wish,
                    char ret[GCS_MAPPER_PATH_BYTES], struct gcs_words *w);
/* Words for a failure that a block caused which is not what the root hash says; else `w` stays. */
void gcs_verity_explain(const char *node, struct gcs_words *w);
/* Whatever its root hash was. None: done. */
int gcs_verity_close(const char *prefix, struct gcs_words *w);
