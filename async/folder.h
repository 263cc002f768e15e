/* SPDX-License-Identifier: MIT
 * folder.h — folders that belong to whoever is alive in them.
 *
 * Below one shared folder each owner claims a folder of its own by name. A claimed folder appears under
 * its name only when it is locked already (flock on the folder itself), and it leaves that name before its
 * files are removed: so a name that is there and not locked belongs to a dead owner, always, and whoever
 * takes its lock may sweep it. The kernel drops the lock with the owner's last descriptor.
 * The names that begin with a dot are those on their way in and out.
 *
 * Everything here is synchronous, on folders that are meant to be on a local file system. Descriptors
 * are CLOEXEC and belong to the caller. `f` says what went wrong in words, the path included.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__FOLDER_NAME_BYTES_MAX 63u /* name of a folder with an owner */

/* Opens `path`; with `make` a missing one is made (mode 0700; its parent must be there). Refused unless
 * it is a folder, ours (or root's, when we are not to make anything), and nobody else may write in it:
 * -UVM_E_HOST (also for lack of rights), -UVM_E_NOTFOUND, -UVM_E_IO. */
int uvm__folder_open(const char *path, bool make, int *ret_fd, struct uvm__fail *f);

/* 1 to 63 letters, digits, `_.-`, the first one no dot. */
bool uvm__folder_name_ok(const char *name);

/* Makes `name` below `parent` and locks it; a dead owner's folder is swept first. -UVM_E_EXISTS: its
 * owner lives. -UVM_E_INVAL (name), -UVM_E_HOST, -UVM_E_IO. */
int uvm__folder_claim(uvm_engine *e, int parent, const char *name, int *ret_fd,
                      struct uvm__fail *f);
/* Gives up a claimed folder with all that is in it; takes the descriptor. */
void uvm__folder_release(uvm_engine *e, int parent, const char *name, int take_fd);
/* Removes `name` (also one that begins with a dot) if its owner is dead. -UVM_E_EXISTS: he lives.
 * -UVM_E_NOTFOUND, -UVM_E_HOST (not ours), -UVM_E_IO. */
int uvm__folder_sweep(uvm_engine *e, int parent, const char *name, struct uvm__fail *f);

/* Opens `name` below `parent`, to read what is in it. -UVM_E_NOTFOUND, -UVM_E_HOST (not ours), -UVM_E_IO. */
int uvm__folder_enter(int parent, const char *name, int *ret_fd, struct uvm__fail *f);
/* The same, and makes a missing one (mode 0700). */
int uvm__folder_make(int parent, const char *name, int *ret_fd, struct uvm__fail *f);
/* Whether somebody holds the lock of `name` below `parent`. (It is tried for a moment: an owner's lock is
 * never taken away, but a sweep or a claim in that moment may see a living owner where there is none.) */
bool uvm__folder_lives(int parent, const char *name);
/* Calls `fn` with each name in the folder but `.` and `..`, until it returns false. */
int uvm__folder_list(int fd, bool (*fn)(const char *name, void *arg), void *arg,
                     struct uvm__fail *f);

/* A small file, mode 0600, replaced as a whole. */
int uvm__folder_write(int fd, const char *name, const void *data, size_t bytes,
                      struct uvm__fail *f);
/* At most bytes - 1 of it, NUL-terminated. Returns the length, or -UVM_E_NOTFOUND, -UVM_E_LIMIT,
 * -UVM_E_IO. */
int64_t uvm__folder_read(int fd, const char *name, char *buf, size_t bytes);
/* Removes a file; false: it is still there. */
bool uvm__folder_unlink(int fd, const char *name);
/* Removes files: those that were written more than `age_s` ago, and the oldest until `keep` are left. */
void uvm__folder_prune(uvm_engine *e, int fd, uint32_t keep, uint64_t age_s);
