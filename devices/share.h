/* SPDX-License-Identifier: MIT
 * share.h — a folder or a file of the host for the guest, as callers ask for it; whatever carries it.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__SHARE_FILES_MAX 256u           /* files of a share that shows only some */
#define UVM__SHARE_FILE_NAME_BYTES_MAX 255u /* the name of one */

/* Borrowed during the call; see struct uvm_vsmb_params (uvm/devices.h). */
struct uvm__share_params {
    const char *host_path, *guest_path;
    bool read_only;
    bool file; /* host_path is a file, not a folder */
    const char *const
        *files; /* NULL-terminated names of files in the folder; NULL or none: all of it */
};

/* What can be said about params without a host; `f` says what is wrong: -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__share_check(const struct uvm__share_params *p, struct uvm__fail *f);

/* Checked params with everything in one block, which uvm__free() releases; paths without doubled and final
 * slashes, `files` never NULL. NULL: no memory. */
struct uvm__share_params *uvm__share_copy(uvm_engine *e, const struct uvm__share_params *p);

/* Of checked params: the same folder or file, in the same mode. */
bool uvm__share_same_key(const struct uvm__share_params *a, const struct uvm__share_params *b);
/* The same files, in any order. */
bool uvm__share_same_files(const struct uvm__share_params *a, const struct uvm__share_params *b);

/* Of a file's share: the folder's bytes of its path (1: the root), and the file's name. */
size_t uvm__share_folder_bytes(const char *path);
const char *uvm__share_file_name(const char *path);
