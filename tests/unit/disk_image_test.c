/* SPDX-License-Identifier: MIT
 * disk_image_test.c — disk images: each format told by its content, and each way in which one cannot be used told
 * by its words. Images are made here byte by byte, so that each can be wrong in one place.
 */
#include "hcs/qemu/disk_image.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];
static uint8_t bytes[2u << 20]; /* the image that is being made */

static void put_be(size_t at, uint64_t value, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        bytes[at + i] = (uint8_t)(value >> 8 * (n - 1 - i));
    }
}

static void put_le(size_t at, uint64_t value, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    }
}

static void put_text(size_t at, const char *text) {
    for (; *text != '\0'; text++) {
        bytes[at++] = (uint8_t)*text;
    }
}

static const char *write_as(const char *name, size_t count) {
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), count);
    close(fd);
    return path;
}

static void expect_good(const char *path, enum uvm__disk_format format, uint64_t count) {
    for (int read_only = 0; read_only < 2; read_only++) {
        struct uvm__disk_image image = UVM__DISK_IMAGE_INIT;
        struct uvm__fail f = {0};
        int rc = uvm__disk_image_open(path, read_only != 0, false, &image, &f);
        if (rc < 0) {
            fail_msg("%s: %s", path, f.msg);
        }
        assert_int_equal(image.format, format);
        assert_int_equal(image.bytes, count);
        assert_false(image.block);
        int flags = fcntl(image.fd, F_GETFL);
        assert_int_equal(flags & (O_ACCMODE | O_NONBLOCK), read_only ? O_RDONLY : O_RDWR);
        assert_true(uvm__disk_image_same(&image, &image));
        uvm__disk_image_close(&image);
        uvm__disk_image_close(&image);
    }
}

static void expect_bad(const char *path, int code, const char *says) {
    struct uvm__disk_image image = UVM__DISK_IMAGE_INIT;
    struct uvm__fail f = {0};
    int rc = uvm__disk_image_open(path, true, false, &image, &f);
    if (rc != -code || strstr(f.msg, says) == NULL) {
        fail_msg("%s: %d \"%s\", not %d \"%s\"", path, rc, f.msg, -code, says);
    }
    assert_int_equal(image.fd, -1);
}

/* ---- raw ---------------------------------------------------------------------------------- */

static void raw_files(void **state) {
    (void)state;
    memset(bytes, 0, sizeof bytes);
    expect_good(write_as("a.img", 1024), UVM__DISK_RAW, 1024);
    put_text(0, "conectix"); /* begins like a footer, but does not add up */
    put_text(1024, "conectix");
    expect_good(write_as("b.img", 1536), UVM__DISK_RAW, 1536);
    expect_bad(write_as("c.img", 0), UVM_E_INVAL, "is empty");
    expect_bad(write_as("d.img", 513), UVM_E_INVAL, "513 bytes are no whole number of sectors");
    expect_bad(write_as("e.vhd", 1536), UVM_E_INVAL,
               "named .vhd, but its content (1536 bytes) is not");
    expect_bad(write_as("e.VHDX", 1536), UVM_E_INVAL, "named .vhdx, but");
    expect_bad(write_as("e.qcow2", 1536), UVM_E_INVAL, "named .qcow2, but");
    expect_bad("relative.img", UVM_E_INVAL, "not an absolute path");
    expect_bad(folder, UVM_E_INVAL, "a directory");
    char path[400];
    (void)snprintf(path, sizeof path, "%s/fifo", folder);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_bad(path, UVM_E_INVAL, "neither a file nor a block device"); /* and at once */
    (void)snprintf(path, sizeof path, "%s/a.img/x", folder);
    expect_bad(path, UVM_E_NOTFOUND, "cannot be opened for reading: Not a directory");
}

/* ---- VHD ---------------------------------------------------------------------------------- */

static void put_footer(size_t at, unsigned type, uint64_t size, const char *maker) {
    uint32_t sum = 0;
    memset(bytes + at, 0, 512);
    put_text(at, "conectix");
    put_be(at + 12, 0x10000, 4);
    put_be(at + 16, type == 2 ? UINT64_MAX : 512, 8);
    memcpy(bytes + at + 28, maker, 4);
    put_be(at + 48, size, 8);
    put_be(at + 56, 2, 2); /* 2 x 4 x 17 sectors */
    bytes[at + 58] = 4;
    bytes[at + 59] = 17;
    put_be(at + 60, type, 4);
    for (size_t i = 0; i < 512; i++) {
        sum += bytes[at + i];
    }
    put_be(at + 64, ~sum, 4);
}

enum { GEOMETRY = 2 * 4 * 17 * 512 };

static size_t put_dynamic(uint64_t size, const char *maker) {
    memset(bytes, 0, sizeof bytes);
    put_footer(0, 3, size, maker);
    put_text(512, "cxsparse");
    put_be(512 + 16, 1536, 8);
    put_be(512 + 28, 4, 4); /* entries */
    memset(bytes + 1536, 0xff, 16);
    put_footer(2048, 3, size, maker);
    return 2560;
}

static void vhd_files(void **state) {
    (void)state;
    memset(bytes, 0, sizeof bytes);
    put_footer(4096, 2, 4096, "none");
    expect_good(write_as("fixed.vhd", 4608), UVM__DISK_VHD_FIXED, 4096);
    expect_good(write_as("fixed.img", 4608), UVM__DISK_VHD_FIXED, 4096); /* whatever its name */
    put_footer(4096, 2, 8192, "none");
    expect_bad(write_as("short.vhd", 4608), UVM_E_INVAL,
               "cut off: its header places a disk of 8192 bytes at 0, the file has 4608");
    put_footer(4096, 2, 0, "none");
    expect_bad(write_as("zero.vhd", 4608), UVM_E_INVAL, "a disk of 0 bytes");
    put_footer(4096, 4, 4096, "none");
    expect_bad(write_as("child.vhd", 4608), UVM_E_UNSUPPORTED,
               "a differencing VHD needs its parent");
    put_footer(4096, 9, 4096, "none");
    expect_bad(write_as("type.vhd", 4608), UVM_E_INVAL, "of an unknown type");

    size_t n = put_dynamic(1u << 20, "win ");
    expect_good(write_as("dynamic.vhd", n), UVM__DISK_VHD_DYNAMIC, 1u << 20);
    expect_bad(write_as("cut.vhd", n - 512), UVM_E_INVAL,
               "must end with a footer, at 1536 is none");
    put_be(512 + 28, 1u << 30, 4);
    expect_bad(write_as("table.vhd", n), UVM_E_INVAL, "cut off: its header places the block table");
    bytes[512] = 'x';
    expect_bad(write_as("header.vhd", n), UVM_E_INVAL, "a dynamic VHD without its header");
    n = put_dynamic(GEOMETRY, "abcd");
    expect_good(write_as("maker.vhd", n), UVM__DISK_VHD_DYNAMIC, GEOMETRY);
    n = put_dynamic(1u << 20, "abcd");
    expect_bad(write_as("maker.vhd", n), UVM_E_UNSUPPORTED,
               "a dynamic VHD of 1048576 bytes that QEMU would show as one of 69632");
}

/* ---- VHDX --------------------------------------------------------------------------------- */

static const uint8_t guid_metadata[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                          0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
static const uint8_t guid_parameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                            0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
static const uint8_t guid_size[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                      0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
enum { REGIONS = 192 << 10, METADATA = 1 << 20, ITEMS = METADATA + 65536 };

static size_t put_vhdx(void) {
    memset(bytes, 0, sizeof bytes);
    put_text(0, "vhdxfile");
    put_text(REGIONS, "regi");
    put_le(REGIONS + 8, 1, 4);
    memcpy(bytes + REGIONS + 16, guid_metadata, 16);
    put_le(REGIONS + 32, METADATA, 8);
    put_le(REGIONS + 40, 1u << 20, 4);
    put_text(METADATA, "metadata");
    put_le(METADATA + 10, 2, 2);
    memcpy(bytes + METADATA + 32, guid_parameters, 16);
    put_le(METADATA + 48, 65536, 4);
    memcpy(bytes + METADATA + 64, guid_size, 16);
    put_le(METADATA + 80, 65536 + 8, 4);
    put_le(ITEMS, 1u << 20, 4);
    put_le(ITEMS + 8, 12345856, 8);
    return sizeof bytes;
}

static void vhdx_files(void **state) {
    (void)state;
    size_t n = put_vhdx();
    expect_good(write_as("a.vhdx", n), UVM__DISK_VHDX, 12345856);
    expect_bad(
        write_as("cut.vhdx", METADATA + 65536), UVM_E_INVAL,
        "cut off: its header places a region of 1048576 bytes at 1048576, the file has 1114112");
    expect_bad(write_as("begin.vhdx", 4096), UVM_E_INVAL, "cut off: its header places headers");
    memcpy(bytes + (256 << 10), bytes + REGIONS, 512); /* the second table serves as well */
    bytes[REGIONS] = 0;
    expect_good(write_as("second.vhdx", n), UVM__DISK_VHDX, 12345856);
    put_vhdx();
    bytes[REGIONS] = 0;
    expect_bad(write_as("regions.vhdx", n), UVM_E_INVAL, "without a table of regions");
    put_vhdx();
    put_le(REGIONS + 8, 17, 4);
    expect_bad(write_as("many.vhdx", n), UVM_E_INVAL, "too many regions");
    put_vhdx();
    bytes[ITEMS + 4] = 2;
    expect_bad(write_as("child.vhdx", n), UVM_E_UNSUPPORTED,
               "a differencing VHDX needs its parent");
    put_vhdx();
    put_le(METADATA + 10, 1, 2);
    expect_bad(write_as("size.vhdx", n), UVM_E_INVAL, "without its size or parameters");
    put_vhdx();
    put_le(METADATA + 10, 65, 2);
    expect_bad(write_as("meta.vhdx", n), UVM_E_INVAL, "metadata that can be read");
    put_vhdx();
    put_le(METADATA + 80, UINT32_MAX, 4);
    expect_bad(write_as("item.vhdx", n), UVM_E_INVAL, "cut off: its header places metadata");
    put_vhdx();
    put_le(REGIONS + 32, UINT64_MAX - 5, 8);
    expect_bad(write_as("wrap.vhdx", n), UVM_E_INVAL, "cut off: its header places a region");
    put_vhdx();
    put_le(ITEMS + 8, 511, 8);
    expect_bad(write_as("sector.vhdx", n), UVM_E_INVAL, "a disk of 511 bytes");
}

/* ---- qcow2 -------------------------------------------------------------------------------- */

static size_t put_qcow2(unsigned version) {
    memset(bytes, 0, sizeof bytes);
    put_text(0, "QFI\xfb");
    put_be(4, version, 4);
    put_be(20, 16, 4);
    put_be(24, 1u << 30, 8);
    put_be(36, 2, 4);
    put_be(40, 3ul * 65536, 8); /* L1 */
    put_be(48, 65536, 8);       /* refcounts */
    put_be(56, 1, 4);
    put_be(100, 104, 4);
    return 4ul * 65536;
}

static void qcow2_files(void **state) {
    (void)state;
    size_t n = put_qcow2(2);
    expect_good(write_as("a.qcow2", n), UVM__DISK_QCOW2, 1u << 30);
    n = put_qcow2(3);
    expect_good(write_as("b.qcow2", n), UVM__DISK_QCOW2, 1u << 30);
    expect_bad(
        write_as("cut.qcow2", 3ul * 65536), UVM_E_INVAL,
        "cut off: its header places the L1 table of 16 bytes at 196608, the file has 196608");
    expect_bad(write_as("header.qcow2", 76), UVM_E_INVAL, "cut off: its header places a header");
    put_be(8, 104, 8);
    put_be(16, 7, 4);
    expect_bad(write_as("backing.qcow2", n), UVM_E_UNSUPPORTED, "a qcow2 with a backing file");
    put_qcow2(3);
    put_be(72, 4, 8);
    expect_bad(write_as("data.qcow2", n), UVM_E_UNSUPPORTED, "an external data file");
    put_qcow2(3);
    put_be(32, 2, 4);
    expect_bad(write_as("crypt.qcow2", n), UVM_E_UNSUPPORTED, "an encrypted qcow2");
    put_qcow2(1);
    expect_bad(write_as("old.img", n), UVM_E_UNSUPPORTED, "qcow of version 1");
    put_qcow2(3);
    put_be(20, 40, 4);
    expect_bad(write_as("bits.qcow2", n), UVM_E_INVAL, "clusters of an impossible size");
    put_qcow2(3);
    put_be(56, UINT32_MAX, 4);
    expect_bad(write_as("counts.qcow2", n), UVM_E_INVAL, "places the refcount table");
}

static int set_up(void **state) {
    (void)state;
    const char *temporary = getenv("TEST_TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s", temporary == NULL ? "/tmp" : temporary);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_files),
        cmocka_unit_test(vhd_files),
        cmocka_unit_test(vhdx_files),
        cmocka_unit_test(qcow2_files),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
