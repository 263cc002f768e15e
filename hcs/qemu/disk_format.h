/* SPDX-License-Identifier: MIT
 * disk_format.h — what the headers of disk images say, and whether the file can hold it.
 */
#pragma once
#include "hcs/qemu/disk_image.h"

struct uvm__disk_image_file {
    int fd;
    uint64_t bytes;
    const char *path; /* for messages */
};

/* 0, or -1 when the file has fewer bytes there, or cannot be read. */
int uvm__disk_image_read(const struct uvm__disk_image_file *file, void *buf, size_t bytes,
                         uint64_t offset);

/* Each: 1 when the file is of this format and nothing speaks against it (`ret` is set), 0 when it is of another,
 * negative when it is and cannot be used. */
int uvm__disk_image_is_vhd(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                           struct uvm__fail *f);
int uvm__disk_image_is_vhdx(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                            struct uvm__fail *f);
int uvm__disk_image_is_qcow2(const struct uvm__disk_image_file *file, struct uvm__disk_image *ret,
                             struct uvm__fail *f);
