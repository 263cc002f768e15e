/* SPDX-License-Identifier: MIT
 * dial_linux.c — the guest's way out: dial a port of the host, as an operation.
 *
 * One step: connect without blocking, wait on the loop, look at the outcome. A connect that timed out is
 * tried again after a pause, up to ten times, as hcsshim's agent does; any other error ends the dial at
 * once. The socket and its poll live in an attempt of their own, since libuv closes a poll later than the
 * op may end. A connected descriptor is given away by the result call, or closed with the op.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "hvsock/hvsock.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#define TRIES_MAX 10u
#define PAUSE_MS 100u

struct attempt {
    uv_poll_t poll;
    struct dial *dial; /* NULL: nobody waits any more */
    uvm_engine *engine;
    int fd;
};

struct dial {
    uvm_op *op;
    uint32_t port;
    uint32_t tries;
    socklen_t address_bytes;
    union {
        struct sockaddr any;
        struct sockaddr_vm vm;
        struct sockaddr_un un;
    } address;
    struct attempt *attempt;
    struct uvm__deadline pause;
    int fd; /* the result, until taken */
};

struct dial_params {
    const struct uvm__dialer *dialer;
    uint32_t port;
};

static void try_once(struct dial *d);

static void on_pause_over(struct uvm__deadline *deadline) {
    try_once(UVM__CONTAINER_OF(deadline, struct dial, pause));
}

static int dial_init(uvm_op *op, void *state, const void *params) {
    const struct dial_params *p = params;
    struct dial *d = state;
    d->op = op;
    d->port = p->port;
    d->fd = -1;
    uvm__deadline_init(&d->pause, on_pause_over);
    if (p->dialer->unix_dir == NULL) {
        d->address.vm.svm_family = AF_VSOCK;
        d->address.vm.svm_cid = p->dialer->cid;
        d->address.vm.svm_port = p->port;
        d->address_bytes = sizeof d->address.vm;
        return 0;
    }
    d->address.un.sun_family = AF_UNIX;
    int n = snprintf(d->address.un.sun_path, sizeof d->address.un.sun_path, "%s/%u",
                     p->dialer->unix_dir, (unsigned)p->port);
    if (n < 0 || (size_t)n >= sizeof d->address.un.sun_path) {
        return -UVM_E_LIMIT;
    }
    d->address_bytes = sizeof d->address.un;
    return 0;
}

static void dial_deinit(void *state) {
    struct dial *d = state;
    UVM_ASSERT(d->attempt == NULL && !d->pause.linked);
    uvm__close_fd(&d->fd);
}

/* ---- one attempt -------------------------------------------------------------------------- */

static void attempt_finish(struct attempt *a) {
    uvm_engine *e = a->engine;
    uvm__free(e, a);
    uvm__engine_release(e);
}

static void on_attempt_closed(uv_handle_t *handle) {
    attempt_finish(handle->data);
}

/* Ends the attempt; its socket is returned, or closed when not wanted. */
static int attempt_end(struct dial *d, bool keep_fd) {
    struct attempt *a = d->attempt;
    int fd = UVM_TAKE_FD(a->fd);
    d->attempt = NULL;
    a->dial = NULL;
    uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
    if (!keep_fd) {
        uvm__close_fd(&fd);
    }
    return fd;
}

static void fail(struct dial *d, int err) {
    uvm_engine *e = uvm__op_engine(d->op);
    if (d->address.any.sa_family == AF_UNIX) {
        uvm__step_done(d->op, uvm__error_errno(e, err, "dial %s", d->address.un.sun_path));
    } else {
        uvm__step_done(d->op, uvm__error_errno(e, err, "dial port %u of context %u",
                                               (unsigned)d->port, d->address.vm.svm_cid));
    }
}

static void outcome(struct dial *d, int fd, int err) {
    if (err == 0) {
        d->fd = fd;
        uvm__step_done(d->op, NULL);
        return;
    }
    uvm__close_fd(&fd);
    /* EAGAIN: the backlog of a unix socket is full. */
    if ((err == ETIMEDOUT || err == EAGAIN) && d->tries < TRIES_MAX) {
        uvm_engine *e = uvm__op_engine(d->op);
        uvm__deadline_set(e, &d->pause, uvm__now_ms(e) + PAUSE_MS);
        return;
    }
    fail(d, err);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct attempt *a = poll->data;
    struct dial *d = a->dial;
    int err = status < 0 ? -status : 0;
    socklen_t bytes = sizeof err;
    if (err == 0 && getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &bytes) < 0) {
        err = errno;
    }
    outcome(d, attempt_end(d, true), err);
}

static int wait_for(struct dial *d, int *fd) {
    uvm_engine *e = uvm__op_engine(d->op);
    struct attempt *a = uvm__zalloc(e, sizeof *a);
    if (a == NULL) {
        return ENOMEM;
    }
    a->engine = e;
    a->dial = d;
    int rc = uv_poll_init(uvm__engine_loop(e), &a->poll, *fd);
    if (rc < 0) {
        uvm__free(e, a);
        return -rc;
    }
    a->fd = UVM_TAKE_FD(*fd);
    a->poll.data = a;
    uvm__engine_hold(e);
    d->attempt = a;
    rc = uv_poll_start(&a->poll, UV_WRITABLE, on_poll);
    UVM_ASSERT(rc == 0);
    return 0;
}

static void try_once(struct dial *d) {
    d->tries++;
    UVM_CLEANUP_FD int fd =
        socket(d->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail(d, errno);
        return;
    }
    if (connect(fd, &d->address.any, d->address_bytes) == 0) {
        outcome(d, UVM_TAKE_FD(fd), 0);
        return;
    }
    int err = errno == EINPROGRESS ? wait_for(d, &fd) : errno;
    if (err != 0) {
        outcome(d, UVM_TAKE_FD(fd), err);
    }
}

/* ---- the operation ------------------------------------------------------------------------ */

static void dial_run(uvm_op *op, void *state) {
    (void)op;
    try_once(state);
}

static void dial_cancel(uvm_op *op, void *state) {
    struct dial *d = state;
    uvm_engine *e = uvm__op_engine(op);
    uvm__deadline_clear(e, &d->pause);
    if (d->attempt != NULL) {
        (void)attempt_end(d, false);
    }
    uvm__step_done(
        op, uvm__error(e, UVM_E_CANCELED, 0, "dial of port %u: not waited for", (unsigned)d->port));
}

static const struct uvm__step dial_steps[] = {
    {.name = "dial", .run = dial_run, .cancel = dial_cancel},
};

static const struct uvm__saga dial_saga = {
    .name = "dial",
    .steps = dial_steps,
    .steps_count = 1,
    .state_bytes = sizeof(struct dial),
    .init = dial_init,
    .deinit = dial_deinit,
};

int uvm__dial(uvm_engine *e, const struct uvm__dialer *dialer, uint32_t port, uvm_scope *scope,
              uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct dial_params p = {dialer, port};
    return uvm__engine_loop(e) == NULL
               ? -UVM_E_UNSUPPORTED
               : uvm__op_start(e, scope, &dial_saga, &p, on_done, arg, ret_op);
}

int uvm__dial_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &dial_saga);
    if (!uvm__op_succeeded(op)) {
        return -1;
    }
    struct dial *d = uvm__op_state(op);
    return UVM_TAKE_FD(d->fd);
}
