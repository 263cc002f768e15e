/* SPDX-License-Identifier: MIT
 * disk_image.h — a disk's image: opened and checked by us, handed on as a descriptor.
 *
 * QEMU gets what was checked, and never a path: not of the image, and not of another file that the image's
 * header might name. Errors name the file, the cause, and numbers where something does not fit.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#include <sys/types.h>

enum uvm__disk_format {
    UVM__DISK_RAW,
    UVM__DISK_VHD_FIXED,
    UVM__DISK_VHD_DYNAMIC,
    UVM__DISK_VHDX,
    UVM__DISK_QCOW2,
    UVM__DISK_FORMAT_MAX
};

struct uvm__disk_image {
    int fd; /* -1: none */
    enum uvm__disk_format format;
    bool read_only;
    bool block;     /* a block device */
    bool scsi;      /* ... that takes SCSI commands itself */
    uint64_t bytes; /* what the guest sees */
    dev_t dev; /* with `ino`: whether two images are the same; of a block device its own number */
    ino_t ino;
};
#define UVM__DISK_IMAGE_INIT                                                                       \
    { .fd = -1 }

/* "raw", "vhd", "vhdx", "qcow2". */
const char *uvm__disk_image_format(enum uvm__disk_format format);

/* A regular file or a block device, by an absolute path, opened for what is asked; `block_only`: a device.
 * The format is told by the content; a name that ends in .vhd, .vhdx or .qcow2 must agree with it. A few small
 * reads and no wait, on a file system that answers. -UVM_E_NOTFOUND, -UVM_E_INVAL, -UVM_E_UNSUPPORTED (needs
 * another file, or what QEMU would show wrongly), -UVM_E_IO. */
int uvm__disk_image_open(const char *path, bool read_only, bool block_only,
                         struct uvm__disk_image *ret, struct uvm__fail *f);
void uvm__disk_image_close(struct uvm__disk_image *image); /* idempotent */
bool uvm__disk_image_same(const struct uvm__disk_image *a, const struct uvm__disk_image *b);
