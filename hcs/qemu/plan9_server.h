/* SPDX-License-Identifier: MIT
 * plan9_server.h — the start of a Plan9 share's server.
 */
#pragma once
#include "async/child.h"
#include "hcs/doc.h"

#define UVM__PLAN9_FILES_MAX 128u /* files of a share that shows only some */

struct uvm__plan9_file {
    int fd; /* O_PATH will do */
    const char *name;
};

struct uvm__plan9_server {
    const char *launch_path, *search_path;
    const char *cgroup;                  /* NULL: none */
    const char *name;                    /* that the guest attaches to: digits */
    int folder;                          /* what is served; O_PATH will do */
    const struct uvm__plan9_file *files; /* not the folder, but these, as if they were in one */
    size_t files_count;
    bool read_only;
    void (*on_started)(struct uvm__child *c, const uvm_error *err, void *arg);
    void (*on_exit)(struct uvm__child *c, int status, void *arg);
    void *arg;
};
/* diod with one end of a socket pair, which it serves until that ends; the other one is `*ret_socket`, non-blocking.
 * HOST says what is missing; LIMIT, NOMEM and as uvm__child_spawn(). */
int uvm__plan9_server_spawn(uvm_engine *e, const struct uvm__plan9_server *params,
                            struct uvm__child **ret, int *ret_socket, struct uvm__fail *f);
