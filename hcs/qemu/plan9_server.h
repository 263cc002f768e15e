/* SPDX-License-Identifier: MIT
 * plan9_server.h — what a Plan9 share's server may see, and its start.
 */
#pragma once
#include "async/child.h"
#include "hcs/doc.h"

#define UVM__PLAN9_FILES_MAX 128u /* allowed files of one share */

struct uvm__qemu;

/* A folder of the host, or files of it, each held open: a path may mean something else later. */
struct uvm__plan9_view {
    bool read_only;
    int folder;         /* O_PATH; -1: closed */
    size_t files_count; /* 0: the whole folder */
    struct uvm__plan9_file {
        int fd;
        char *name; /* of the engine */
    } * files;
    uvm_engine *engine;
};
#define UVM__PLAN9_VIEW_INIT                                                                       \
    { false, -1, 0, NULL, NULL }

/* Opens what a checked share names. No link is followed behind the folder's path. NOTFOUND, INVAL (no folder, no
 * regular file), IO, NOMEM, each with the path. */
int uvm__plan9_view_open(uvm_engine *e, const struct uvm__doc_plan9_share *share,
                         struct uvm__plan9_view *ret, struct uvm__fail *f);
void uvm__plan9_view_close(struct uvm__plan9_view *v); /* idempotent */

struct uvm__plan9_server {
    const struct uvm__qemu *service;
    const char *cgroup; /* NULL: none */
    const char *access_name;
    const struct uvm__plan9_view *view;
    void (*on_started)(struct uvm__child *c, const uvm_error *err, void *arg);
    void (*on_exit)(struct uvm__child *c, int status, void *arg);
    void *arg;
};
/* diod, with one end of a socket pair; the other one is `*ret_socket`, non-blocking. HOST says what is missing. */
int uvm__plan9_server_spawn(uvm_engine *e, const struct uvm__plan9_server *params,
                            struct uvm__child **ret, int *ret_socket, struct uvm__fail *f);

/* A deep copy of what an op needs of a share; `*ret_words` is one block of the engine. -UVM_E_NOMEM. */
int uvm__plan9_share_copy(uvm_engine *e, const struct uvm__doc_plan9_share *from,
                          struct uvm__doc_plan9_share *ret, char **ret_words);
