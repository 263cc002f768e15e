/* SPDX-License-Identifier: MIT
 * verity_tree_test.c — what an image says of its hash tree, and where its file system ends: read as veritysetup and
 * mkfs write it, and refused in words where it cannot be.
 */
#include "async/json.h"
#include "cmd/gcs/verity.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#define DATA_BYTES (UINT64_C(8) << 20)
#define DEVICE_BYTES                                                                               \
    (DATA_BYTES + UINT64_C(18) * 4096) /* superblock, 16 blocks of hashes, and one over them */

static void put(uint8_t *at, uint64_t n, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(n >> (8 * i));
    }
}

static void put_text(uint8_t *at, const char *text) {
    for (size_t i = 0; text[i] != 0; i++) {
        at[i] = (uint8_t)text[i];
    }
}

/* As `veritysetup format --hash-offset=8388608` writes it for 8 MiB. */
static void make(uint8_t s[GCS_VERITY_SUPERBLOCK_BYTES]) {
    memset(s, 0, GCS_VERITY_SUPERBLOCK_BYTES);
    put_text(s, "verity");
    put(s + 8, 1, 4);
    put(s + 12, 1, 4);
    memset(s + 16, 0xee, 16);
    put_text(s + 32, "sha256");
    put(s + 64, 4096, 4);
    put(s + 68, 4096, 4);
    put(s + 72, DATA_BYTES / 4096, 8);
    put(s + 80, 3, 2);
    put(s + 88, 0xf0ab01, 3);
}

static void well_formed(void **unused) {
    uint8_t s[GCS_VERITY_SUPERBLOCK_BYTES];
    struct gcs_verity_tree t;
    struct gcs_words w = {.status = 0};
    (void)unused;
    make(s);
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DEVICE_BYTES, &t, &w), 0);
    assert_int_equal(t.type, 1);
    assert_int_equal(t.data_blocks, 2048);
    assert_int_equal(t.hash_start, 2049);
    assert_string_equal(t.salt, "01abf0");
    put(s + 80, 0, 2);
    put(s + 12, 0, 4);
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DEVICE_BYTES, &t, &w), 0);
    assert_string_equal(t.salt, "-");
    put(s + 80, 256, 2);
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DEVICE_BYTES, &t, &w), 0);
    assert_int_equal(strlen(t.salt), 512);
    put(s + 72, 1, 8); /* its hash is the root: there is no tree */
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DATA_BYTES + 4096, &t, &w), 0);
    put(s + 64, 512, 4);
    put(s + 68, 1024, 4);
    put(s + 72, DATA_BYTES / 512, 8);
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DATA_BYTES + (1 << 20), &t, &w), 0);
    assert_int_equal(t.hash_start, DATA_BYTES / 1024 + 1);
}

static void corrupt(void **unused) {
    static const struct {
        unsigned at, bytes;
        uint64_t value;
        const char *words;
    } rows[] = {
        {0, 1, 'V', "there is no superblock of dm-verity behind its data, at byte 8388608"},
        {6, 1, 'x', "there is no superblock"},
        {8, 4, 2, "version 2"},
        {12, 4, 2, "type 2"},
        {32, 1, 'S', "another algorithm"},
        {38, 1, '6', "another algorithm"},
        {64, 4, 0, "blocks of 0 and 4096"},
        {64, 4, 4095, "blocks of 4095"},
        {64, 4, 256, "blocks of 256"},
        {68, 4, 8192, "blocks of 4096 and 8192"},
        {68, 4, 0x80000000, "blocks of"},
        {72, 8, 0, "0 blocks of 4096 bytes"},
        {72, 8, 2049, "2049 blocks of 4096 bytes, but it is at byte 8388608"},
        {72, 8, UINT64_MAX, "18446744073709551615 blocks"},
        {72, 8, (UINT64_MAX >> 12) + 2, "blocks of 4096 bytes"},
        {80, 2, 257, "a salt of 257 bytes"},
        {80, 2, 0xffff, "a salt of 65535 bytes"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t s[GCS_VERITY_SUPERBLOCK_BYTES];
        struct gcs_verity_tree t;
        struct gcs_words w = {.status = 0};
        make(s);
        put(s + rows[i].at, rows[i].value, rows[i].bytes);
        assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DEVICE_BYTES, &t, &w), -1);
        if (strstr(w.text, rows[i].words) == NULL) {
            fail_msg("row %zu: %s", i, w.text);
        }
    }
}

/* The device ends in the superblock, in the tree, or before. */
static void cut_off(void **unused) {
    uint8_t s[GCS_VERITY_SUPERBLOCK_BYTES];
    struct gcs_verity_tree t;
    struct gcs_words w = {.status = 0};
    (void)unused;
    make(s);
    for (uint64_t cut = 1; cut <= DEVICE_BYTES; cut += 2048) {
        assert_int_equal(gcs_verity_tree(s, DATA_BYTES, DEVICE_BYTES - cut, &t, &w), -1);
    }
    assert_int_equal(gcs_verity_tree(s, UINT64_MAX, DEVICE_BYTES, &t, &w), -1);
    assert_int_equal(gcs_verity_tree(s, DATA_BYTES, UINT64_MAX, &t, &w), -1);
}

static void where_the_data_ends(void **unused) {
    uint8_t h[GCS_VERITY_HEAD_BYTES] = {0};
    struct gcs_words w = {.status = 0};
    uint64_t end;
    (void)unused;
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
    assert_non_null(strstr(w.text, "no file system that says where it ends"));
    put(h + 1024 + 56, 0xef53, 2);
    put(h + 1024 + 4, 2048, 4);
    put(h + 1024 + 24, 2, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), 0);
    assert_int_equal(end, DATA_BYTES);
    put(h + 1024 + 336, 1, 4); /* says nothing without "64bit" */
    assert_int_equal(gcs_verity_data_end(h, &end, &w), 0);
    assert_int_equal(end, DATA_BYTES);
    put(h + 1024 + 96, 0x80, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), 0);
    assert_int_equal(end, ((UINT64_C(1) << 32) + 2048) * 4096);
    put(h + 1024 + 336, UINT32_MAX, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
    assert_non_null(strstr(w.text, "absurd size"));
    put(h + 1024 + 336, 0, 4);
    put(h + 1024 + 24, 7, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
    put(h + 1024 + 24, UINT32_MAX, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
    memset(h, 0, sizeof h);
    put_text(h, "hsqs");
    put(h + 40, 5000, 8);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), 0);
    assert_int_equal(end, 8192); /* padded, as mksquashfs does */
    put(h + 40, UINT64_MAX, 8);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
    memset(h, 0, sizeof h);
    put(h + 1024, 0xe0f5e1e2, 4);
    put(h + 1024 + 12, 12, 1);
    put(h + 1024 + 36, 3, 4);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), 0);
    assert_int_equal(end, 3 * 4096);
    put(h + 1024 + 12, 63, 1);
    assert_int_equal(gcs_verity_data_end(h, &end, &w), -1);
}

#define HEX16 "0123456789abcdef"

static void wishes(void **unused) {
    static const struct {
        const char *json, *root, *words;
        uint64_t data_bytes;
    } rows[] = {
        {"{}", "", NULL, 0},
        {"{\"VerityInfo\":null}", "", NULL, 0},
        {"{\"VerityInfo\":{\"RootDigest\":\"" HEX16 HEX16 HEX16 "0123456789ABCDEF\","
         "\"Ext4SizeInBytes\":4096}}",
         HEX16 HEX16 HEX16 HEX16, NULL, 4096},
        {"{\"VerityInfo\":[]}", NULL, "VerityInfo: no object", 0},
        {"{\"VerityInfo\":{}}", NULL, "RootDigest: no 32 bytes", 0},
        {"{\"VerityInfo\":{\"RootDigest\":7}}", NULL, "RootDigest: no string", 0},
        {"{\"VerityInfo\":{\"RootDigest\":\"" HEX16 HEX16 HEX16 "\"}}", NULL, "no 32 bytes", 0},
        {"{\"VerityInfo\":{\"RootDigest\":\"" HEX16 HEX16 HEX16 "0123456789abcde/\"}}", NULL,
         "no 32 bytes", 0},
        {"{\"VerityInfo\":{\"RootDigest\":\"" HEX16 HEX16 HEX16 HEX16 "\",\"Ext4SizeInBytes\":-1}}",
         NULL, "Ext4SizeInBytes: no whole number", 0},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cJSON *tree = NULL;
        struct uvm__fail f;
        struct gcs_verity_wish wish;
        struct gcs_words w = {.status = 0};
        assert_int_equal(
            uvm__json_read(UVM__JSON_GO, rows[i].json, strlen(rows[i].json), &tree, &f), 0);
        int rc = gcs_verity_wish(tree, &wish, &w);
        assert_int_equal(rc, rows[i].words == NULL ? 0 : -1);
        if (rows[i].words == NULL) {
            assert_string_equal(wish.root, rows[i].root);
            assert_int_equal(wish.data_bytes, rows[i].data_bytes);
        } else {
            assert_int_equal(w.status, GCS_DEVICE_BAD_SETTINGS);
            assert_non_null(strstr(w.text, rows[i].words));
        }
        cJSON_Delete(tree);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed),         cmocka_unit_test(corrupt), cmocka_unit_test(cut_off),
        cmocka_unit_test(where_the_data_ends), cmocka_unit_test(wishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
