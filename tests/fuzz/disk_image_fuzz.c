/* SPDX-License-Identifier: MIT
 * disk_image_fuzz.c — files with any headers as disk images: used for what they are, or refused in words.
 *
 * The input describes a file that is mostly holes: its size in sectors (2 bytes), then pieces: a place in sectors
 * of 64 bytes (2 bytes, of which the top bit asks for a VHD footer's checksum), a length (1 byte), bytes. So one
 * input of a few hundred bytes reaches tables at 192 KiB and the file's end.
 *
 * What must hold besides: a disk that is used is one of sectors, and a fixed VHD's is in the file; the same file
 * gives the same answer; a refusal names the file; and no descriptor stays behind.
 */
#include "async/check.h"
#include "hcs/qemu/disk_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { UNIT = 64, FOOTER = 512, FILE_BYTES_MAX = 4 << 20 };

static int file_fd(void) {
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("image", MFD_CLOEXEC);
        UVM_ASSERT(fd >= 0);
    }
    return fd;
}

/* The checksum that a footer at this place would need. */
static void sum_footer(int fd, off_t at) {
    uint8_t footer[FOOTER] = {0};
    uint32_t sum = 0;

    if (pread(fd, footer, FOOTER, at) != FOOTER) {
        return;
    }
    for (size_t i = 0; i < FOOTER; i++) {
        sum += i >= 64 && i < 68 ? 0 : footer[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        footer[64 + i] = (uint8_t)(~sum >> (24 - 8 * i));
    }
    UVM_ASSERT(pwrite(fd, footer + 64, 4, at + 64) == 4);
}

/* Returns the file's size. */
static uint64_t make_file(int fd, const uint8_t *data, size_t bytes) {
    uint64_t size = bytes < 2 ? bytes : (uint64_t)(data[0] | data[1] << 8) * 512;
    size_t at = 2;

    size = size > FILE_BYTES_MAX ? FILE_BYTES_MAX + size % 512 : size;
    UVM_ASSERT(ftruncate(fd, 0) == 0);
    while (at + 3 <= bytes) {
        off_t place = (off_t)(data[at] | (data[at + 1] & 0x7f) << 8) * UNIT;
        bool footer = (data[at + 1] & 0x80) != 0;
        size_t n = data[at + 2];

        at += 3;
        n = n < bytes - at ? n : bytes - at;
        UVM_ASSERT(pwrite(fd, data + at, n, place) == (ssize_t)n);
        if (footer) {
            UVM_ASSERT(ftruncate(fd, FILE_BYTES_MAX) == 0); /* a footer may be all holes behind */
            sum_footer(fd, place);
        }
        at += n;
    }
    UVM_ASSERT(ftruncate(fd, (off_t)size) == 0);
    return size;
}

static void check_good(const struct uvm__disk_image *image, uint64_t size) {
    UVM_ASSERT(!image->block && !image->scsi && image->format < UVM__DISK_FORMAT_MAX);
    UVM_ASSERT(image->bytes != 0 && image->bytes % 512 == 0);
    UVM_ASSERT(image->format != UVM__DISK_RAW || image->bytes == size);
    UVM_ASSERT(image->format != UVM__DISK_VHD_FIXED || image->bytes <= size - FOOTER);
    UVM_ASSERT(image->format != UVM__DISK_VHDX || size >= 1u << 20);
}

static int lowest_free(int fd) {
    int free_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    UVM_ASSERT(free_fd >= 0);
    close(free_fd);
    return free_fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct uvm__disk_image image = UVM__DISK_IMAGE_INIT, again = UVM__DISK_IMAGE_INIT;
    struct uvm__fail f = {.msg = ""}, other = {.msg = ""};
    char path[64];
    int fd = file_fd();
    int lowest = lowest_free(fd);
    uint64_t size = make_file(fd, data, bytes);

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = uvm__disk_image_open(path, true, false, &image, &f);
    if (rc < 0) {
        UVM_ASSERT(image.fd == -1 && strstr(f.msg, path) != NULL);
        UVM_ASSERT(rc == -UVM_E_INVAL || rc == -UVM_E_UNSUPPORTED);
    } else {
        check_good(&image, size);
    }
    uvm__disk_image_close(&image);
    UVM_ASSERT(uvm__disk_image_open(path, false, false, &again, &other) == rc);
    if (rc < 0) {
        UVM_ASSERT(strcmp(f.msg, other.msg) == 0);
    } else {
        UVM_ASSERT(again.format == image.format && again.bytes == image.bytes);
        UVM_ASSERT(uvm__disk_image_same(&again, &image));
    }
    uvm__disk_image_close(&again);
    UVM_ASSERT(lowest_free(fd) == lowest);
    return 0;
}
