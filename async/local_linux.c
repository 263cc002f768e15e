/* SPDX-License-Identifier: MIT
 * local_linux.c — bind, listen and accept by uv_poll.
 *
 * The address is /proc/self/fd/N/NAME: sun_path has 108 bytes, and a state folder may lie deeper. The mode
 * is set on the socket before bind, since the kernel takes the new file's mode from there: no umask to
 * change, which would be the whole process's, and no moment with a wider mode.
 * accept fails with EMFILE while the connection stays in the backlog, so the poll would fire again at
 * once: it is stopped, and a deadline starts it again.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/limits.h"
#include "async/local.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <uv.h>

#define ACCEPTS_A_TURN 16u

struct uvm__local {
    uv_poll_t poll;
    uvm_engine *engine;
    int fd;
    bool closed;
    struct uvm__deadline rest;
    void (*on_client)(struct uvm__local *l, int take_fd, const struct uvm__local_peer *peer,
                      void *arg);
    void *arg;
};

static int fail_errno(struct uvm__fail *f, int err, const char *what, const char *name) {
    enum uvm_error_code code = err == ECONNREFUSED                             ? UVM_E_REFUSED
                               : err == ENOENT                                 ? UVM_E_NOTFOUND
                               : err == EAGAIN                                 ? UVM_E_AGAIN
                               : err == ENOMEM                                 ? UVM_E_NOMEM
                               : err == EACCES || err == EPERM || err == EROFS ? UVM_E_HOST
                                                                               : UVM_E_IO;
    return uvm__fail(f, code, err, "%s: %s: %s", name, what, strerrordesc_np(err));
}

static int address(int folder_fd, const char *name, struct sockaddr_un *ret) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%s", folder_fd, name);
    return n > 0 && (size_t)n < sizeof ret->sun_path ? 0 : -UVM_E_INVAL;
}

/* ---- accepting ---------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void start(struct uvm__local *l) {
    int rc = uv_poll_start(&l->poll, UV_READABLE, on_poll);
    UVM_ASSERT(rc == 0);
}

static void on_rested(struct uvm__deadline *d) {
    start(UVM__CONTAINER_OF(d, struct uvm__local, rest));
}

static void give(struct uvm__local *l, int take_fd) {
    struct ucred cred;
    socklen_t bytes = sizeof cred;
    if (getsockopt(take_fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) != 0) {
        close(take_fd);
        return;
    }
    const struct uvm__local_peer peer = {cred.uid, cred.gid, cred.pid};
    l->on_client(l, take_fd, &peer, l->arg);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct uvm__local *l = poll->data;
    (void)events;
    (void)status; /* accept says it better */
    for (unsigned i = 0; i < ACCEPTS_A_TURN && !l->closed; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            give(l, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            (void)uv_poll_stop(&l->poll);
            uvm__deadline_set(l->engine, &l->rest, uvm__now_ms(l->engine) + UVM__ACCEPT_REST_MS);
            return;
        }
    }
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__local_listen(uvm_engine *e, const struct uvm__local_params *p, struct uvm__local **ret,
                      struct uvm__fail *f) {
    struct sockaddr_un to;
    if (uvm__engine_loop(e) == NULL) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "%s: no sockets without a loop", p->name);
    }
    if (address(p->folder_fd, p->name, &to) < 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: too long for a socket's name", p->name);
    }
    UVM_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&to, sizeof to) != 0 ||
        listen(fd, p->backlog) != 0) {
        return fail_errno(f, errno, "no socket could be made", p->name);
    }
    struct uvm__local *l = uvm__zalloc(e, sizeof *l);
    if (l == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "%s: out of memory", p->name);
    }
    int rc = uv_poll_init(uvm__engine_loop(e), &l->poll, fd);
    if (rc < 0) {
        uvm__free(e, l);
        return fail_errno(f, -rc, "cannot be watched", p->name);
    }
    l->engine = e;
    l->fd = UVM_TAKE_FD(fd);
    l->poll.data = l;
    l->on_client = p->on_client;
    l->arg = p->arg;
    uvm__deadline_init(&l->rest, on_rested);
    uvm__engine_hold(e);
    start(l);
    *ret = l;
    return 0;
}

static void on_closed(uv_handle_t *handle) {
    struct uvm__local *l = handle->data;
    uvm_engine *e = l->engine;
    uvm__free(e, l);
    uvm__engine_release(e);
}

void uvm__local_close(struct uvm__local *l) {
    if (l != NULL) {
        UVM_ASSERT(!l->closed);
        l->closed = true;
        uvm__deadline_clear(l->engine, &l->rest);
        uv_close((uv_handle_t *)&l->poll, on_closed);
        uvm__close_fd(&l->fd);
    }
}

int uvm__local_connect(int folder_fd, const char *name, int *ret_fd, struct uvm__fail *f) {
    struct sockaddr_un to;
    if (address(folder_fd, name, &to) < 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: too long for a socket's name", name);
    }
    UVM_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : 0;
    while (rc == 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        rc = errno == EINTR ? 0 : -1;
    }
    if (rc < 0) {
        return fail_errno(f, errno, "no connection", name);
    }
    *ret_fd = UVM_TAKE_FD(fd);
    return 0;
}
