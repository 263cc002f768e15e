/* SPDX-License-Identifier: MIT
 * disk_format.c — headers of VHD, VHDX and qcow2 images, as far as we must know them.
 * Sources: Virtual Hard Disk Image Format Specification 1.0; MS-VHDX; QEMU's docs/interop/qcow2.txt.
 *
 * Three questions: is it one, how large is the disk in it, and does it need what is not in this file (a parent, a
 * backing or data file, a key)? Such an image is refused, since QEMU would have to open another file, by
 * a path that an image's writer chose. Tables that the header places must lie within the file: an image that was
 * cut off would read as zeros. What the tables point at in turn is QEMU's to check.
 *
 * Numbers come from the file: they are compared by subtraction, so that no sum wraps.
 */
#include "hcs/qemu/disk_format.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int uvm__disk_image_read(const struct uvm__disk_image_file *file, void *buf, size_t bytes,
                         uint64_t offset) {
    size_t got = 0;

    if (offset > file->bytes || bytes > file->bytes - offset) {
        return -1;
    }
    while (got < bytes) {
        ssize_t n = pread(file->fd, (char *)buf + got, bytes - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        got += (size_t)n;
    }
    return 0;
}

static uint64_t be(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static uint64_t le(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;

    for (unsigned i = bytes; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static int cut_off(const struct uvm__disk_image_file *file, const char *what, uint64_t offset,
                   uint64_t bytes, struct uvm__fail *f) {
    return uvm__fail(
        f, UVM_E_INVAL, 0,
        "disk %.100s: cut off: its header places %s of %llu bytes at %llu, the file has "
        "%llu",
        file->path, what, (unsigned long long)bytes, (unsigned long long)offset,
        (unsigned long long)file->bytes);
}

static int check_place(const struct uvm__disk_image_file *file, const char *what, uint64_t offset,
                       uint64_t bytes, struct uvm__fail *f) {
    return offset <= file->bytes && bytes <= file->bytes - offset
               ? 0
               : cut_off(file, what, offset, bytes, f);
}

static int bad(const struct uvm__disk_image_file *file, const char *what, struct uvm__fail *f) {
    return uvm__fail(f, UVM_E_INVAL, 0, "disk %.100s: %s", file->path, what);
}

static int check_size(const struct uvm__disk_image_file *file, uint64_t bytes,
                      struct uvm__fail *f) {
    return bytes != 0 && bytes % 512 == 0
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0,
                           "disk %.100s: a disk of %llu bytes is not one of sectors", file->path,
                           (unsigned long long)bytes);
}

/* ---- VHD ---------------------------------------------------------------------------------- */

#define FOOTER_BYTES 512u

/* The checksum tells a footer from data that happens to begin like one. */
static bool is_footer(const uint8_t footer[FOOTER_BYTES]) {
    uint32_t sum = 0;

    for (unsigned i = 0; i < FOOTER_BYTES; i++) {
        sum += i >= 64 && i < 68 ? 0 : footer[i];
    }
    return memcmp(footer, "conectix", 8) == 0 && be(footer + 64, 4) == (uint32_t)~sum;
}

#define GEOMETRY_BYTES_MAX (65535ull * 16 * 255 * 512)

/* What QEMU shows of a dynamic disk: its geometry's size, unless that is at its end or one of these made it. */
static uint64_t shown_bytes(const uint8_t *footer, uint64_t bytes) {
    static const char *const makers[] = {"win ", "qem2", "d2v ", "tap\0", "CTXS"};
    uint64_t shown = be(footer + 56, 2) * footer[58] * footer[59] * 512;

    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (memcmp(footer + 28, makers[i], 4) == 0) {
            return bytes;
        }
    }
    return shown == GEOMETRY_BYTES_MAX ? bytes : shown;
}

static int vhd_dynamic(const struct uvm__disk_image_file *file, const uint8_t *footer,
                       struct uvm__disk_image *ret, struct uvm__fail *f) {
    uint8_t header[1024], last[FOOTER_BYTES];
    uint64_t at = be(footer + 16, 8);
    uint64_t shown = shown_bytes(footer, ret->bytes);

    if (uvm__disk_image_read(file, header, sizeof header, at) < 0) {
        return cut_off(file, "a header", at, sizeof header, f);
    }
    if (memcmp(header, "cxsparse", 8) != 0) {
        return bad(file, "a dynamic VHD without its header", f);
    }
    int rc = check_place(file, "the block table", be(header + 16, 8), be(header + 28, 4) * 4, f);
    if (rc < 0) {
        return rc;
    }
    if (uvm__disk_image_read(file, last, sizeof last, file->bytes - FOOTER_BYTES) < 0 ||
        !is_footer(last)) {
        return uvm__fail(
            f, UVM_E_INVAL, 0,
            "disk %.100s: cut off: a dynamic VHD must end with a footer, at %llu is none",
            file->path, (unsigned long long)(file->bytes - FOOTER_BYTES));
    }
    if (shown != ret->bytes) {
        return uvm__fail(
            f, UVM_E_UNSUPPORTED, 0,
            "disk %.100s: a dynamic VHD of %llu bytes that QEMU would show as one of %llu; "
            "convert it to VHDX, or to a fixed VHD",
            file->path, (unsigned long long)ret->bytes, (unsigned long long)shown);
    }
    ret->format = UVM__DISK_VHD_DYNAMIC;
    return 1;
}

int uvm__disk_image_is_vhd(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                           struct uvm__fail *f) {
    uint8_t footer[FOOTER_BYTES];
    bool first = uvm__disk_image_read(file, footer, sizeof footer, 0) == 0 && is_footer(footer);

    /* A fixed one has it at the end only, others begin with a copy. */
    if (!first &&
        (file->bytes < FOOTER_BYTES ||
         uvm__disk_image_read(file, footer, sizeof footer, file->bytes - FOOTER_BYTES) < 0 ||
         !is_footer(footer))) {
        return 0;
    }
    uint64_t type = be(footer + 60, 4);
    ret->bytes = be(footer + 48, 8);
    int rc = check_size(file, ret->bytes, f);
    if (rc < 0) {
        return rc;
    }
    if (type == 4) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                         "disk %.100s: a differencing VHD needs its parent; merge them first",
                         file->path);
    }
    if (type == 3) {
        return vhd_dynamic(file, footer, ret, f);
    }
    if (type != 2) {
        return bad(file, "a VHD of an unknown type", f);
    }
    if (ret->bytes > file->bytes - FOOTER_BYTES) {
        return cut_off(file, "a disk", 0, ret->bytes, f);
    }
    ret->format = UVM__DISK_VHD_FIXED;
    return 1;
}

/* ---- VHDX --------------------------------------------------------------------------------- */

#define REGION_TABLE_AT (192u << 10)
#define REGION_TABLE_2_AT (256u << 10)
#define REGIONS_MAX 16u  /* the format knows two, and others may come */
#define METADATA_MAX 64u /* the format knows six */

/* As the file has them. */
static const uint8_t metadata_region[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                            0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
static const uint8_t file_parameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                            0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
static const uint8_t disk_size[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                      0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};

static int vhdx_metadata(const struct uvm__disk_image_file *file, uint64_t region,
                         uint64_t region_bytes, struct uvm__disk_image *ret, struct uvm__fail *f) {
    uint8_t table[32 + METADATA_MAX * 32], item[8];
    bool parameters = false, size = false;

    if (region_bytes < sizeof table ||
        uvm__disk_image_read(file, table, sizeof table, region) < 0 ||
        memcmp(table, "metadata", 8) != 0 || le(table + 10, 2) > METADATA_MAX) {
        return bad(file, "a VHDX without metadata that can be read", f);
    }
    for (uint64_t i = 0; i < le(table + 10, 2); i++) {
        const uint8_t *entry = table + 32 + i * 32;
        uint64_t at = le(entry + 16, 4);
        bool is_parameters = memcmp(entry, file_parameters, 16) == 0;
        bool is_size = memcmp(entry, disk_size, 16) == 0;
        if (!is_parameters && !is_size) {
            continue;
        }
        if (at > region_bytes || uvm__disk_image_read(file, item, sizeof item, region + at) < 0) {
            return cut_off(file, "metadata", region + at, sizeof item, f);
        }
        if (is_parameters && (item[4] & 2) != 0) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                             "disk %.100s: a differencing VHDX needs its parent; merge them first",
                             file->path);
        }
        parameters = parameters || is_parameters;
        if (is_size) {
            ret->bytes = le(item, 8);
            size = true;
        }
    }
    return parameters && size ? check_size(file, ret->bytes, f)
                              : bad(file, "a VHDX without its size or parameters", f);
}

int uvm__disk_image_is_vhdx(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                            struct uvm__fail *f) {
    uint8_t table[16 + REGIONS_MAX * 32], magic[8];

    if (uvm__disk_image_read(file, magic, sizeof magic, 0) < 0 ||
        memcmp(magic, "vhdxfile", 8) != 0) {
        return 0;
    }
    if (file->bytes < (1u << 20)) {
        return cut_off(file, "headers", 0, 1u << 20, f);
    }
    if ((uvm__disk_image_read(file, table, sizeof table, REGION_TABLE_AT) < 0 ||
         memcmp(table, "regi", 4) != 0) &&
        (uvm__disk_image_read(file, table, sizeof table, REGION_TABLE_2_AT) < 0 ||
         memcmp(table, "regi", 4) != 0)) {
        return bad(file, "a VHDX without a table of regions", f);
    }
    if (le(table + 8, 4) > REGIONS_MAX) {
        return bad(file, "a VHDX with too many regions", f);
    }
    ret->format = UVM__DISK_VHDX;
    uint64_t metadata = 0, metadata_bytes = 0;
    for (uint64_t i = 0; i < le(table + 8, 4); i++) {
        const uint8_t *entry = table + 16 + i * 32;
        int rc = check_place(file, "a region", le(entry + 16, 8), le(entry + 24, 4), f);
        if (rc < 0) {
            return rc;
        }
        if (memcmp(entry, metadata_region, 16) == 0) {
            metadata = le(entry + 16, 8);
            metadata_bytes = le(entry + 24, 4);
        }
    }
    int rc = vhdx_metadata(file, metadata, metadata_bytes, ret, f);
    return rc < 0 ? rc : 1;
}

/* ---- qcow2 -------------------------------------------------------------------------------- */

int uvm__disk_image_is_qcow2(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                             struct uvm__fail *f) {
    uint8_t h[80] = {0};

    if (uvm__disk_image_read(file, h, 72, 0) < 0 || memcmp(h, "QFI\xfb", 4) != 0) {
        return 0;
    }
    uint64_t version = be(h + 4, 4);
    if (version != 2 && version != 3) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "disk %.100s: qcow of version %llu; only 2 and 3",
                         file->path, (unsigned long long)version);
    }
    if (version == 3 && uvm__disk_image_read(file, h, sizeof h, 0) < 0) {
        return cut_off(file, "a header", 0, 104, f);
    }
    ret->format = UVM__DISK_QCOW2;
    ret->bytes = be(h + 24, 8);
    if (be(h + 8, 8) != 0) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                         "disk %.100s: a qcow2 with a backing file; commit or convert it first",
                         file->path);
    }
    if (be(h + 32, 4) != 0) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "disk %.100s: an encrypted qcow2", file->path);
    }
    if (version == 3 && (be(h + 72, 8) & 4) != 0) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                         "disk %.100s: a qcow2 with an external data file; convert it first",
                         file->path);
    }
    uint64_t cluster_bits = be(h + 20, 4);
    if (cluster_bits < 9 || cluster_bits > 21) {
        return bad(file, "a qcow2 with clusters of an impossible size", f);
    }
    int rc = check_place(file, "the L1 table", be(h + 40, 8), be(h + 36, 4) * 8, f);
    if (rc == 0) {
        rc = check_place(file, "the refcount table", be(h + 48, 8), be(h + 56, 4) << cluster_bits,
                         f);
    }
    rc = rc < 0 ? rc : check_size(file, ret->bytes, f);
    return rc < 0 ? rc : 1;
}
