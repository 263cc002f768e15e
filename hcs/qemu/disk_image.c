/* SPDX-License-Identifier: MIT
 * disk_image.c — opening and checking a disk's image.
 *
 * The descriptor is opened without blocking (a FIFO must not wait for its other end) and looked at before
 * anything is read. A block device is always raw: its content is the guest's. A raw file is the guest's, too, so
 * a guest that writes another format's header into it gets a disk of that format at its next attach; it can
 * reach no other file by that (disk_format.h).
 */
#include "hcs/qemu/disk_image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <scsi/sg.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/cleanup.h"
#include "hcs/qemu/disk_format.h"

static const char *const names[UVM__DISK_FORMAT_MAX] = {
    [UVM__DISK_RAW] = "raw",   [UVM__DISK_VHD_FIXED] = "vhd", [UVM__DISK_VHD_DYNAMIC] = "vhd",
    [UVM__DISK_VHDX] = "vhdx", [UVM__DISK_QCOW2] = "qcow2",
};

const char *uvm__disk_image_format(enum uvm__disk_format format) {
    return names[format];
}

static int open_image(const char *path, bool read_only, struct stat *ret_st, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd =
        open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int err = fd < 0 || fstat(fd, ret_st) < 0 ? errno : 0;

    if (err == EISDIR || (err == 0 && S_ISDIR(ret_st->st_mode))) {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: a directory", path);
    }
    if (err != 0) {
        return uvm__fail(f, err == ENOENT || err == ENOTDIR ? UVM_E_NOTFOUND : UVM_E_IO, err,
                         "disk %.140s: cannot be opened for %s: %s", path,
                         read_only ? "reading" : "writing", strerror(err));
    }
    if (!S_ISREG(ret_st->st_mode) && !S_ISBLK(ret_st->st_mode)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: neither a file nor a block device", path);
    }
    /* QEMU's threads shall wait for their reads. */
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "disk %.140s: %s", path, strerror(errno));
    }
    return UVM_TAKE_FD(fd);
}

static int check_device(const char *path, struct uvm__disk_image *image, struct uvm__fail *f) {
    int read_only = 0, version = 0;
    uint64_t bytes = 0;

    if (ioctl(image->fd, BLKGETSIZE64, &bytes) < 0 || ioctl(image->fd, BLKROGET, &read_only) < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "disk %.140s: %s", path, strerror(errno));
    }
    if (bytes == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: a block device without a medium", path);
    }
    if (read_only != 0 && !image->read_only) {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: the block device is read-only", path);
    }
    image->format = UVM__DISK_RAW;
    image->bytes = bytes;
    image->scsi = ioctl(image->fd, SG_GET_VERSION_NUM, &version) == 0 && version >= 30000;
    return 0;
}

static bool ends_with(const char *path, const char *end) {
    size_t a = strlen(path), b = strlen(end);
    return a > b && strcasecmp(path + a - b, end) == 0;
}

/* A fixed VHD that was cut off has lost the one thing that tells what it is. */
static int check_name(const char *path, const struct uvm__disk_image *image, struct uvm__fail *f) {
    static const char *const ends[] = {".vhd", ".vhdx", ".qcow2"};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends_with(path, ends[i]) && strcmp(names[image->format], ends[i] + 1) != 0) {
            return uvm__fail(
                f, UVM_E_INVAL, 0,
                "disk %.140s: named %s, but its content (%llu bytes) is not; is it cut off?", path,
                ends[i], (unsigned long long)image->bytes);
        }
    }
    return 0;
}

static int check_file(const char *path, uint64_t bytes, struct uvm__disk_image *image,
                      struct uvm__fail *f) {
    static int (*const formats[])(const struct uvm__disk_image_file *, struct uvm__disk_image *,
                                  struct uvm__fail *) = {
        uvm__disk_image_is_vhdx, uvm__disk_image_is_qcow2, uvm__disk_image_is_vhd};
    const struct uvm__disk_image_file file = {.fd = image->fd, .bytes = bytes, .path = path};
    int rc = 0;

    if (bytes == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: is empty", path);
    }
    for (size_t i = 0; rc == 0 && i < sizeof formats / sizeof formats[0]; i++) {
        rc = formats[i](&file, image, f);
    }
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        image->format = UVM__DISK_RAW;
        image->bytes = bytes;
        if (bytes % 512 != 0) {
            return uvm__fail(f, UVM_E_INVAL, 0,
                             "disk %.140s: %llu bytes are no whole number of sectors of 512", path,
                             (unsigned long long)bytes);
        }
    }
    return check_name(path, image, f);
}

int uvm__disk_image_open(const char *path, bool read_only, bool block_only,
                         struct uvm__disk_image *ret, struct uvm__fail *f) {
    struct uvm__disk_image image = {.fd = -1, .read_only = read_only};
    struct stat st = {0};
    int rc;

    if (path[0] != '/') {
        return uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: not an absolute path", path);
    }
    image.fd = open_image(path, read_only, &st, f);
    if (image.fd < 0) {
        return image.fd;
    }
    image.block = S_ISBLK(st.st_mode);
    image.dev = image.block ? st.st_rdev : st.st_dev;
    image.ino = image.block ? 0 : st.st_ino;
    if (block_only && !image.block) {
        rc = uvm__fail(f, UVM_E_INVAL, 0, "disk %.140s: not a block device, which PassThru needs",
                       path);
    } else if (image.block) {
        rc = check_device(path, &image, f);
    } else {
        rc = check_file(path, (uint64_t)st.st_size, &image, f);
    }
    if (rc < 0) {
        uvm__disk_image_close(&image);
        return rc;
    }
    *ret = image;
    return 0;
}

void uvm__disk_image_close(struct uvm__disk_image *image) {
    uvm__close_fd(&image->fd);
}

bool uvm__disk_image_same(const struct uvm__disk_image *a, const struct uvm__disk_image *b) {
    return a->block == b->block && a->dev == b->dev && a->ino == b->ino;
}
