/* SPDX-License-Identifier: MIT
 * local.h — a listening unix stream socket in a folder, and the way in from outside.
 *
 * The socket has mode 0600 from its first moment. Both ends name it through the folder's descriptor, so
 * that the length of a path is no limit. Whoever connects is shown with the credentials that the kernel
 * has for him.
 * A host without descriptors: accepting rests for a while; those who wait in the backlog stay there.
 * Callbacks run from the loop, never inside a call of this header.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include <sys/types.h>

struct uvm__local;

struct uvm__local_peer {
    uid_t uid;
    gid_t gid;
    pid_t pid; /* 0: in another namespace */
};

struct uvm__local_params {
    int folder_fd; /* borrowed during the call */
    const char *name;
    int backlog;
    /* `take_fd`: CLOEXEC, non-blocking. May close the listener. */
    void (*on_client)(struct uvm__local *l, int take_fd, const struct uvm__local_peer *peer,
                      void *arg);
    void *arg;
};

/* -UVM_E_IO (also when the name is taken), -UVM_E_HOST, -UVM_E_NOMEM; -UVM_E_UNSUPPORTED on an engine
 * without a loop. */
int uvm__local_listen(uvm_engine *e, const struct uvm__local_params *params,
                      struct uvm__local **ret, struct uvm__fail *f);
/* No on_client runs after it; the name stays. Accepts NULL. */
void uvm__local_close(struct uvm__local *l);

/* A connected socket, non-blocking. -UVM_E_REFUSED: nobody listens. -UVM_E_NOTFOUND, -UVM_E_AGAIN (the
 * backlog is full), -UVM_E_HOST (no right), -UVM_E_IO. */
int uvm__local_connect(int folder_fd, const char *name, int *ret_fd, struct uvm__fail *f);
