/* SPDX-License-Identifier: MIT
 *
 * What an image says of its hash tree (verity.h): bytes to numbers, each of them checked. Whoever made the image
 * chose them.
 *
 * The superblock (cryptsetup's wiki, "DMVerity"; little-endian): signature "verity\0\0" at 0, version at 8, type of
 * the hashes at 12, UUID at 16, algorithm at 32, size of the data's blocks at 64 and of the hashes' at 68, count of
 * the data's blocks at 72, size of the salt at 80, the salt at 88.
 */
#include "cmd/gcs/verity.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES_MIN 512u
#define BLOCK_BYTES_MAX 4096u /* a page: the kernel takes no larger ones */
#define DATA_ALIGNMENT 4096u
#define BYTES_MAX (UINT64_C(1) << 62)

static uint64_t number(const uint8_t *at, unsigned bytes) {
    uint64_t n = 0;

    for (unsigned i = bytes; i > 0; i--) {
        n = n << 8 | at[i - 1];
    }
    return n;
}

/* ---- the file system ------------------------------------------------------------------------- */

/* 2 to the power of `shift` bytes each. False: no image is that large. */
static bool multiply(uint64_t blocks, unsigned shift, uint64_t *ret) {
    if (shift > 16 || blocks == 0 || blocks > BYTES_MAX >> shift) {
        return false;
    }
    *ret = blocks << shift;
    return true;
}

int gcs_verity_data_end(const uint8_t head[GCS_VERITY_HEAD_BYTES], uint64_t *ret,
                        struct gcs_words *w) {
    const uint8_t *at = head + 1024;
    bool sane;

    if (number(at + 56, 2) == 0xef53) { /* ext4: its count of blocks has more bits with "64bit" */
        uint64_t high = (number(at + 96, 4) & 0x80) != 0 ? number(at + 336, 4) : 0;
        sane = number(at + 24, 4) <= 6 &&
               multiply(high << 32 | number(at + 4, 4), 10 + (unsigned)number(at + 24, 4), ret);
    } else if (memcmp(head, "hsqs", 4) == 0) {
        sane = multiply(number(head + 40, 8), 0, ret);
    } else if (number(at, 4) == 0xe0f5e1e2) { /* erofs */
        sane = multiply(number(at + 36, 4), at[12], ret);
    } else {
        return gcs_fail(w, "no file system that says where it ends (ext4, squashfs, erofs), and "
                           "VerityInfo does not say it either (Ext4SizeInBytes)");
    }
    if (!sane) {
        return gcs_fail(w, "the file system's superblock says that it has an absurd size");
    }
    *ret = (*ret + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    return 0;
}

/* ---- the superblock ------------------------------------------------------------------------------ */

static bool is_block_size(uint32_t bytes) {
    return bytes >= BLOCK_BYTES_MIN && bytes <= BLOCK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

static void put_hex(const uint8_t *bytes, size_t count, char *ret) {
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *ret++ = digits[bytes[i] >> 4];
        *ret++ = digits[bytes[i] & 15];
    }
    *ret = '\0';
}

static int read_fields(const uint8_t *s, struct gcs_verity_tree *ret, uint64_t at,
                       struct gcs_words *w) {
    uint64_t salt_bytes = number(s + 80, 2);

    if (memcmp(s, "verity\0\0", 8) != 0) {
        return gcs_fail(w, "there is no superblock of dm-verity behind its data, at byte %llu",
                        (unsigned long long)at);
    }
    if (number(s + 8, 4) != 1 || number(s + 12, 4) > 1) {
        return gcs_fail(
            w, "superblock of dm-verity: version %llu, type %llu; known are 1 and 0 or 1",
            (unsigned long long)number(s + 8, 4), (unsigned long long)number(s + 12, 4));
    }
    if (memcmp(s + 32, "sha256", 7) != 0) {
        return gcs_fail(w, "superblock of dm-verity: another algorithm than sha256");
    }
    ret->type = (unsigned)number(s + 12, 4);
    ret->data_block_bytes = (uint32_t)number(s + 64, 4);
    ret->hash_block_bytes = (uint32_t)number(s + 68, 4);
    ret->data_blocks = number(s + 72, 8);
    if (!is_block_size(ret->data_block_bytes) || !is_block_size(ret->hash_block_bytes)) {
        return gcs_fail(w,
                        "superblock of dm-verity: blocks of %u and %u bytes; possible are 512, "
                        "1024, 2048, 4096",
                        ret->data_block_bytes, ret->hash_block_bytes);
    }
    if (salt_bytes > GCS_VERITY_SALT_BYTES_MAX) {
        return gcs_fail(w, "superblock of dm-verity: a salt of %llu bytes, which is more than %u",
                        (unsigned long long)salt_bytes, GCS_VERITY_SALT_BYTES_MAX);
    }
    put_hex(s + 88, (size_t)salt_bytes, ret->salt);
    if (salt_bytes == 0) {
        (void)snprintf(ret->salt, sizeof ret->salt, "-");
    }
    return 0;
}

/* Each level has a hash for each block of the one below, up to the one whose hash is the root. */
static uint64_t tree_blocks(const struct gcs_verity_tree *t) {
    uint64_t fits = t->hash_block_bytes / GCS_VERITY_HASH_BYTES, total = 0;

    for (uint64_t n = t->data_blocks; n > 1;) {
        n = (n + fits - 1) / fits;
        total += n;
    }
    return total;
}

int gcs_verity_tree(const uint8_t superblock[GCS_VERITY_SUPERBLOCK_BYTES], uint64_t at,
                    uint64_t device_bytes, struct gcs_verity_tree *ret, struct gcs_words *w) {
    memset(ret, 0, sizeof *ret);
    if (device_bytes > BYTES_MAX || at > device_bytes ||
        device_bytes - at < GCS_VERITY_SUPERBLOCK_BYTES) {
        return gcs_fail(w, "the superblock of dm-verity would be at byte %llu of %llu",
                        (unsigned long long)at, (unsigned long long)device_bytes);
    }
    if (read_fields(superblock, ret, at, w) < 0) {
        return -1;
    }
    if (ret->data_blocks == 0 || ret->data_blocks > at / ret->data_block_bytes) {
        return gcs_fail(
            w, "superblock of dm-verity: %llu blocks of %u bytes, but it is at byte %llu",
            (unsigned long long)ret->data_blocks, ret->data_block_bytes, (unsigned long long)at);
    }
    ret->hash_start =
        (at + GCS_VERITY_SUPERBLOCK_BYTES + ret->hash_block_bytes - 1) / ret->hash_block_bytes;
    uint64_t blocks = tree_blocks(ret), room = device_bytes / ret->hash_block_bytes;
    if (ret->hash_start > room || blocks > room - ret->hash_start) {
        return gcs_fail(w,
                        "the hash tree of dm-verity has %llu blocks of %u bytes from block %llu "
                        "on, but the device has %llu bytes",
                        (unsigned long long)blocks, ret->hash_block_bytes,
                        (unsigned long long)ret->hash_start, (unsigned long long)device_bytes);
    }
    return 0;
}
