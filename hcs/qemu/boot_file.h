/* SPDX-License-Identifier: MIT
 * boot_file.h — the kernel and the initrd: opened and checked by us, handed on as descriptors.
 *
 * QEMU gets /proc/self/fd/N, so what was checked is what boots. Errors name file, cause and remedy.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

struct uvm__boot_file {
    int fd; /* read-only, CLOEXEC; -1: none */
    uint64_t bytes;
    uint64_t memory_bytes; /* kernel: end of what it loads */
    bool compressed;       /* initrd */
    bool world_readable;
};
#define UVM__BOOT_FILE_INIT                                                                        \
    { -1, 0, 0, false, false }

/* A regular file with an x86-64 ELF kernel that has the PVH entry and is not cut off. -UVM_E_NOTFOUND,
 * -UVM_E_INVAL, -UVM_E_IO. */
int uvm__boot_file_kernel(const char *path, struct uvm__boot_file *ret, struct uvm__fail *f);
/* A regular file that begins as a cpio archive or as one compressed by what kernels know. */
int uvm__boot_file_initrd(const char *path, struct uvm__boot_file *ret, struct uvm__fail *f);
void uvm__boot_file_close(struct uvm__boot_file *file); /* idempotent */

/* For a VMM that may not open the file again: a sealed copy in memory takes its place, made piece by
 * piece. begin → step until it returns 0 (1: more to do). */
struct uvm__boot_copy {
    int fd; /* -1: not begun */
    uint64_t done;
};
#define UVM__BOOT_COPY_INIT                                                                        \
    { -1, 0 }
int uvm__boot_copy_step(struct uvm__boot_copy *copy, struct uvm__boot_file *file, const char *path,
                        struct uvm__fail *f);
void uvm__boot_copy_close(struct uvm__boot_copy *copy); /* idempotent */
