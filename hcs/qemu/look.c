/* SPDX-License-Identifier: MIT
 * look.c — boot files in a line each, for programs that diagnose.
 *
 * The kernel's version stands in its read-only data behind a fixed text, followed by a digit; the same text
 * stands there once more as a format, which has none. The file is read through in overlapping pieces.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "async/alloc.h"
#include "hcs/qemu/boot_file.h"
#include "hcs/qemu/qemu_service.h"

#define MARK "Linux version "
#define MARK_BYTES (sizeof MARK - 1)
#define VERSION_BYTES 65u /* as uname has it */
#define PIECE_BYTES (1u << 20)

/* The version in a piece of a kernel, when all of it is there. */
static bool find_version(const char *data, size_t bytes, char ret[VERSION_BYTES]) {
    const char *end = data + bytes;

    for (const char *p = data; (p = memmem(p, (size_t)(end - p), MARK, MARK_BYTES)) != NULL;) {
        size_t n = 0;
        p += MARK_BYTES;
        while (p + n < end && n < VERSION_BYTES && isgraph((unsigned char)p[n])) {
            n++;
        }
        if (n > 0 && n < VERSION_BYTES && p + n < end && isdigit((unsigned char)p[0])) {
            memcpy(ret, p, n);
            ret[n] = '\0';
            return true;
        }
    }
    return false;
}

static int read_version(uvm_engine *e, int fd, char ret[VERSION_BYTES], struct uvm__fail *f) {
    char *piece = uvm__alloc(e, PIECE_BYTES);
    bool found = false;
    ssize_t n = 1;

    if (piece == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    snprintf(ret, VERSION_BYTES, "unknown version");
    for (off_t at = 0; !found && n > 0; at += PIECE_BYTES - (off_t)(MARK_BYTES + VERSION_BYTES)) {
        n = pread(fd, piece, PIECE_BYTES, at);
        found = n > 0 && find_version(piece, (size_t)n, ret);
    }
    uvm__free(e, piece);
    return 0;
}

static int said(uvm_engine *e, int rc, const struct uvm__fail *f, uvm_error **ret_err) {
    if (rc < 0 && ret_err != NULL) {
        *ret_err = uvm__fail_error(e, rc, f);
    }
    return rc;
}

int uvm_qemu_kernel_look(uvm_engine *engine, const char *path, char ret_text[UVM_QEMU_LOOK_BYTES],
                         uvm_error **ret_err) {
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__fail f = {0};
    char version[VERSION_BYTES];
    int rc = uvm__boot_file_kernel(path, &file, &f);

    rc = rc < 0 ? rc : read_version(engine, file.fd, version, &f);
    if (rc == 0) {
        snprintf(ret_text, UVM_QEMU_LOOK_BYTES, "%s, PVH entry, %llu MiB", version,
                 (unsigned long long)(file.bytes >> 20));
    }
    uvm__boot_file_close(&file);
    return said(engine, rc, &f, ret_err);
}

int uvm_qemu_initrd_look(uvm_engine *engine, const char *path, char ret_text[UVM_QEMU_LOOK_BYTES],
                         uvm_error **ret_err) {
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__fail f = {0};
    int rc = uvm__boot_file_initrd(path, &file, &f);

    if (rc == 0) {
        snprintf(ret_text, UVM_QEMU_LOOK_BYTES, "%s, %llu KiB",
                 file.compressed ? "compressed" : "cpio archive",
                 (unsigned long long)(file.bytes >> 10));
    }
    uvm__boot_file_close(&file);
    return said(engine, rc, &f, ret_err);
}
