/* SPDX-License-Identifier: MIT
 * harness_census.h — what a process has of the host, counted before and after: nothing may be left behind.
 *
 * A census lists descendants, descriptors, memfds, sockets, mounts and files; compared with a later one it
 * names what has come since and is still there. It asks /proc and folders only, so it needs no engine, no VM
 * and no test framework, and counts what anybody in the process leaves, not just this library.
 *
 * Processes: counting them makes the caller a child subreaper (prctl(2)), for good: what a descendant leaves
 * behind becomes a child of the caller and is found, instead of init's, where it is not.
 * Ownership: a census and a text are the caller's to free. Folders are copied.
 * Threading: any thread; what others do meanwhile may be counted or not.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UVM_HARNESS_FILES_MAX 65536u /* in all folders together; more are refused */
#define UVM_HARNESS_FOLDER_DEPTH_MAX 16u

/* X(NAME, text): what is counted. */
#define UVM_HARNESS_KIND_MAP(X)                                                                    \
    X(PROCESS, "process")       /* a descendant that runs */                                       \
    X(ZOMBIE, "zombie")         /* a child that has ended and that nobody waited for */            \
    X(DESCRIPTOR, "descriptor") /* an open descriptor of ours, but for the next two */             \
    X(MEMFD, "memfd")           /* memory by memfd_create(2), held by a descriptor or mapped */    \
    X(SOCKET, "socket")         /* a socket of ours, with its abstract name or path */             \
    X(MOUNT, "mount")           /* in our mount namespace */                                       \
    X(FILE, "file")             /* in the folders: files, sockets, folders, whatever has a name */

enum uvm_harness_kind {
#define UVM__X(name, text) UVM_HARNESS_##name,
    UVM_HARNESS_KIND_MAP(UVM__X)
#undef UVM__X
        UVM_HARNESS_KIND_MAX
};

const char *uvm_harness_kind_text(enum uvm_harness_kind kind); /* never NULL */

struct uvm_harness_census_params {
    size_t size;    /* sizeof this struct */
    unsigned kinds; /* a bit each, `1u << UVM_HARNESS_FILE`; 0: all */
    const char *const
        *folders;        /* all in and below them counts; NULL-terminated; NULL: none. One that
                                 * is not there is empty */
    bool shared_folders; /* also the top of /tmp, /var/tmp and /dev/shm, of it what is our user's
                                 * (root: anybody's). Only where no other program makes files there. */
    bool reap;           /* first take the status of each child that has ended: for programs that
                                 * expect to inherit orphans and wait for no child by other means */
};
#define UVM_HARNESS_CENSUS_PARAMS_INIT                                                             \
    { sizeof(struct uvm_harness_census_params), 0, NULL, false, false }

typedef struct uvm_harness_census uvm_harness_census;

/* Counts. `params` NULL: the defaults. -UVM_E_INVAL, -UVM_E_NOMEM, -UVM_E_LIMIT (files), -UVM_E_HOST
 * (no /proc). */
int uvm_harness_census_take(const struct uvm_harness_census_params *params,
                            uvm_harness_census **ret_census);

/* Counts again, the same way, and again until nothing is left or `settle_ms` have passed: what is ending by
 * itself may need a moment. `kinds` 0: all that `before` counted. Returns how many things are left, and then
 * in *ret_text (may be NULL) a list of them for people, a line each with its kind, to be given to free(3);
 * NULL when it is 0. Descriptors that were there before and are not any more are in the list, too: somebody
 * closed what was not theirs. Else as uvm_harness_census_take(). `before` stays usable. */
int uvm_harness_census_compare(const uvm_harness_census *before, unsigned kinds, unsigned settle_ms,
                               char **ret_text);

void uvm_harness_census_free(uvm_harness_census *census); /* accepts NULL */

/* Pids of our descendants that run, at most `max`; how many there are. `name`: only those with it; the kernel
 * knows no more than its first 15 letters. NULL: all. */
size_t uvm_harness_descendants(const char *name, pid_t *pids, size_t max);

#ifdef __cplusplus
}
#endif
