/* SPDX-License-Identifier: MIT
 * fdio_linux.c — borrowed descriptors, without touching their flags.
 *
 * Four kinds, decided at open. OWN: a pipe or terminal opened anew, non-blocking for us alone. SOCKET: a
 * duplicate, with MSG_DONTWAIT. ALWAYS: a duplicate of what is never waited for. FOREIGN: a duplicate of
 * the rest, asked by poll(2) before each call; a pipe that says it is writable takes PIPE_BUF bytes, a
 * readable one is read with RWF_NOWAIT, since another reader may have been faster.
 * A pty's master is never opened anew: that would make another terminal.
 *
 * libuv makes each descriptor that it polls non-blocking, so it never gets ours: an epoll instance of our
 * own is between the two. libuv closes handles later; the object waits for that, its descriptors do not.
 */
#include "async/fdio_linux.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/open_anew.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <uv.h>

#define ALWAYS_AGAIN_MS 20u      /* what cannot be polled said EAGAIN: until it is tried again */
#define FOREIGN_WRITE_BYTES 256u /* what a device that is no pipe takes without waiting */

enum kind { OWN, SOCKET, ALWAYS, FOREIGN };

struct uvm__fdio {
    uv_poll_t poll; /* of `events` */
    uvm_engine *engine;
    int fd;
    int events; /* epoll instance that watches fd; -1: ALWAYS */
    enum kind kind;
    enum uvm__fdio_direction direction;
    bool is_pipe;
    struct uvm__deadline again; /* ALWAYS */
    bool waiting, closed;
    uvm__fdio_fn on_ready;
    void *arg;
};

/* ---- open --------------------------------------------------------------------------------- */

static bool opened_for(int fd, enum uvm__fdio_direction direction) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) != 0) {
        return false;
    }
    int mode = flags & O_ACCMODE;
    return mode == O_RDWR || mode == (direction == UVM__FDIO_READ ? O_RDONLY : O_WRONLY);
}

static bool terminal_line(int fd) {
    struct termios t;
    unsigned number;
    return tcgetattr(fd, &t) == 0 && ioctl(fd, TIOCGPTN, &number) != 0;
}

/* Of a call that makes a descriptor. */
static int open_failed(void) {
    return errno == EMFILE || errno == ENFILE ? -UVM_E_LIMIT : -UVM_E_IO;
}

/* Fills kind and fd. */
static int adopt(struct uvm__fdio *f, int fd) {
    struct stat st;
    if (!opened_for(fd, f->direction) || fstat(fd, &st) != 0) {
        return -UVM_E_INVAL;
    }
    f->is_pipe = S_ISFIFO(st.st_mode);
    if (f->is_pipe || (S_ISCHR(st.st_mode) && terminal_line(fd))) {
        f->fd = uvm__open_anew(fd, f->direction == UVM__FDIO_READ ? O_RDONLY : O_WRONLY);
        if (f->fd >= 0) {
            f->kind = OWN;
            return 0;
        }
    }
    f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (f->fd < 0) {
        return open_failed();
    }
    bool never_waits = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode);
    f->kind = S_ISSOCK(st.st_mode) ? SOCKET : never_waits ? ALWAYS : FOREIGN;
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_again(struct uvm__deadline *d);

/* Something that epoll refuses (EPERM: /dev/null) never makes one wait. */
static int watch(struct uvm__fdio *f) {
    f->events = epoll_create1(EPOLL_CLOEXEC);
    if (f->events < 0) {
        return open_failed();
    }
    struct epoll_event ev = {.events = f->direction == UVM__FDIO_READ ? EPOLLIN : EPOLLOUT};
    if (epoll_ctl(f->events, EPOLL_CTL_ADD, f->fd, &ev) != 0) {
        int err = errno;
        uvm__close_fd(&f->events);
        f->kind = ALWAYS;
        return err == EPERM ? 0 : -UVM_E_IO;
    }
    if (uv_poll_init(uvm__engine_loop(f->engine), &f->poll, f->events) != 0) {
        uvm__close_fd(&f->events);
        return -UVM_E_IO;
    }
    uvm__engine_hold(f->engine);
    return 0;
}

int uvm__fdio_open(uvm_engine *e, int fd, enum uvm__fdio_direction direction, uvm__fdio_fn on_ready,
                   void *arg, struct uvm__fdio **ret) {
    if (uvm__engine_loop(e) == NULL) {
        return -UVM_E_UNSUPPORTED;
    }
    struct uvm__fdio *f = uvm__zalloc(e, sizeof *f);
    if (f == NULL) {
        return -UVM_E_NOMEM;
    }
    f->engine = e;
    uvm__deadline_init(&f->again, on_again);
    f->fd = -1;
    f->events = -1;
    f->direction = direction;
    f->on_ready = on_ready;
    f->arg = arg;
    int rc = adopt(f, fd);
    if (rc == 0 && f->kind != ALWAYS) {
        rc = watch(f);
    }
    if (rc < 0) {
        uvm__close_fd(&f->fd);
        uvm__free(e, f);
        return rc;
    }
    *ret = f;
    return 0;
}

/* ---- events ------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct uvm__fdio *f = UVM__CONTAINER_OF(poll, struct uvm__fdio, poll);
    (void)status; /* an error is found by the next call */
    (void)events;
    UVM_ASSERT(f->waiting && !f->closed);
    f->waiting = false;
    (void)uv_poll_stop(poll);
    f->on_ready(f, f->arg);
}

static void on_again(struct uvm__deadline *d) {
    struct uvm__fdio *f = UVM__CONTAINER_OF(d, struct uvm__fdio, again);
    UVM_ASSERT(f->waiting && !f->closed);
    f->waiting = false;
    f->on_ready(f, f->arg);
}

/* A driver or a file system may refuse epoll and make one wait all the same. */
static ssize_t wait_for_it(struct uvm__fdio *f) {
    if (f->events < 0 && !f->waiting) {
        f->waiting = true;
        uvm__deadline_set(f->engine, &f->again, uvm__now_ms(f->engine) + ALWAYS_AGAIN_MS);
    } else if (!f->waiting) {
        f->waiting = true;
        int rc = uv_poll_start(&f->poll, UV_READABLE, on_poll);
        UVM_ASSERT(rc == 0); /* fails on closing handles only */
    }
    return -UVM_E_AGAIN;
}

static bool foreign_ready(const struct uvm__fdio *f) {
    struct pollfd p = {.fd = f->fd, .events = f->direction == UVM__FDIO_READ ? POLLIN : POLLOUT};
    return poll(&p, 1, 0) > 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

static ssize_t read_foreign(const struct uvm__fdio *f, void *buf, size_t bytes) {
    if (!foreign_ready(f)) {
        errno = EAGAIN;
        return -1;
    }
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    ssize_t n = preadv2(f->fd, &iov, 1, -1, RWF_NOWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        n = read(f->fd, buf, bytes); /* it does not know the flag, or the same error again */
    }
    return n;
}

static ssize_t read_once(const struct uvm__fdio *f, void *buf, size_t bytes) {
    switch (f->kind) {
    case SOCKET:
        return recv(f->fd, buf, bytes, MSG_DONTWAIT);
    case FOREIGN:
        return read_foreign(f, buf, bytes);
    case OWN:
    case ALWAYS:
        break;
    }
    return read(f->fd, buf, bytes);
}

ssize_t uvm__fdio_read(struct uvm__fdio *f, void *buf, size_t bytes, int *ret_errno) {
    UVM_ASSERT(!f->closed && f->direction == UVM__FDIO_READ && bytes > 0);
    ssize_t n;
    do {
        n = read_once(f, buf, bytes);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return wait_for_it(f);
    }
    /* A terminal that hung up says EIO. */
    bool ended = (f->kind == SOCKET && errno == ECONNRESET) ||
                 (errno == EIO && (f->kind == OWN || f->kind == FOREIGN));
    if (ended) {
        return 0;
    }
    *ret_errno = errno;
    return -UVM_E_IO;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* Without the SIGPIPE that a broken pipe raises in this thread. One that was pending before stays. */
static ssize_t write_quietly(int fd, const void *buf, size_t bytes) {
    sigset_t pipe_only;
    sigset_t before;
    sigset_t pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigemptyset(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    (void)sigpending(&pending);
    ssize_t n = write(fd, buf, bytes);
    int err = errno;
    if (n < 0 && err == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
        const struct timespec now = {0};
        (void)sigtimedwait(&pipe_only, NULL, &now);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = err;
    return n;
}

static ssize_t write_foreign(const struct uvm__fdio *f, const void *buf, size_t bytes) {
    size_t most = f->is_pipe ? PIPE_BUF : FOREIGN_WRITE_BYTES;
    if (!foreign_ready(f)) {
        errno = EAGAIN;
        return -1;
    }
    return write_quietly(f->fd, buf, bytes < most ? bytes : most);
}

static ssize_t write_once(const struct uvm__fdio *f, const void *buf, size_t bytes) {
    switch (f->kind) {
    case SOCKET:
        return send(f->fd, buf, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    case FOREIGN:
        return write_foreign(f, buf, bytes);
    case OWN:
    case ALWAYS:
        break;
    }
    return f->is_pipe ? write_quietly(f->fd, buf, bytes) : write(f->fd, buf, bytes);
}

ssize_t uvm__fdio_write(struct uvm__fdio *f, const void *buf, size_t bytes, int *ret_errno) {
    UVM_ASSERT(!f->closed && f->direction == UVM__FDIO_WRITE && bytes > 0);
    ssize_t n;
    do {
        n = write_once(f, buf, bytes);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN) {
        return wait_for_it(f);
    }
    bool closed = errno == EPIPE || errno == ECONNRESET ||
                  (errno == EIO && (f->kind == OWN || f->kind == FOREIGN));
    if (closed) {
        return -UVM_E_CLOSED;
    }
    *ret_errno = errno;
    return -UVM_E_IO;
}

/* ---- close -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
    struct uvm__fdio *f = UVM__CONTAINER_OF((uv_poll_t *)handle, struct uvm__fdio, poll);
    uvm_engine *e = f->engine;
    uvm__free(e, f);
    uvm__engine_release(e);
}

void uvm__fdio_close(struct uvm__fdio *f) {
    if (f == NULL) {
        return;
    }
    UVM_ASSERT(!f->closed);
    f->closed = true;
    uvm__deadline_clear(f->engine, &f->again);
    uvm__close_fd(&f->fd);
    if (f->events < 0) {
        uvm__free(f->engine, f);
        return;
    }
    uv_close((uv_handle_t *)&f->poll, on_closed);
    uvm__close_fd(&f->events);
}
