/* SPDX-License-Identifier: MIT
 * stream_fd.c — a stream over file descriptors: sockets, pipes, terminals, regular files, /dev/null.
 *
 * Nothing is buffered: a read or write is one system call, and back-pressure is the kernel's. A descriptor
 * is polled only while the consumer waits for it; what cannot be polled (regular files, /dev/null) is
 * always ready, and its events come by the ready queue.
 * Being non-blocking belongs to the open file, not to the descriptor, so a terminal or pipe that others
 * have open too would become non-blocking for them: it is opened anew through /proc, and where that is
 * refused its flags are put back when the stream ends.
 * libuv closes polls later: the object waits for that, its descriptors do not.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/open_anew.h"
#include "hvsock/stream.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <uv.h>

/* One descriptor; both directions of a stream may share it. */
struct port {
    uv_poll_t poll;
    struct fd_stream *owner;
    int fd;
    int flags_before; /* to put back; -1: nothing */
    int polled;       /* UV_READABLE | UV_WRITABLE that libuv watches */
    bool pollable;    /* the handle was initialised */
    bool is_socket;
};

struct fd_stream {
    struct uvm__stream stream;
    struct port ports[2];
    struct port *in, *out; /* the same one, or NULL: no such direction (any more) */
    unsigned refs;         /* the stream's handle, and each of libuv's until it is closed */
    bool eof;              /* of reading */
    bool broken;           /* of writing */
};

static struct fd_stream *of(struct uvm__stream *s) {
    return UVM__CONTAINER_OF(s, struct fd_stream, stream);
}

/* ---- polling ------------------------------------------------------------------------------ */

static void on_poll(uv_poll_t *poll, int status, int events);

/* Watches what the consumer waits for, and nothing else. */
static void watch(struct fd_stream *f, struct port *p) {
    int want = 0;
    if (p == f->in && (f->stream.armed & UVM__STREAM_READABLE) != 0) {
        want |= UV_READABLE;
    }
    if (p == f->out && (f->stream.armed & UVM__STREAM_WRITABLE) != 0) {
        want |= UV_WRITABLE;
    }
    if (want == p->polled) {
        return;
    }
    int rc = want == 0 ? uv_poll_stop(&p->poll) : uv_poll_start(&p->poll, want, on_poll);
    UVM_ASSERT(rc == 0);
    p->polled = want;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct port *p = poll->data;
    struct fd_stream *f = p->owner;
    unsigned raised = 0;
    if (status < 0) {
        /* An error on the descriptor: libuv has stopped; the next call says what it is. */
        p->polled = 0;
        raised = UVM__STREAM_READABLE | UVM__STREAM_WRITABLE;
    }
    if ((events & UV_READABLE) != 0) {
        raised |= UVM__STREAM_READABLE;
    }
    if ((events & UV_WRITABLE) != 0) {
        raised |= UVM__STREAM_WRITABLE;
    }
    uvm__stream_raise(&f->stream, raised);
    watch(f, p);
}

static void fd_wanted(struct uvm__stream *s) {
    struct fd_stream *f = of(s);
    unsigned now = 0;
    if (f->eof || f->in == NULL || !f->in->pollable) {
        now |= UVM__STREAM_READABLE;
    }
    if (f->broken || f->out == NULL || !f->out->pollable) {
        now |= UVM__STREAM_WRITABLE;
    }
    uvm__stream_raise(s, now);
    for (unsigned i = 0; i < 2; i++) {
        if (f->ports[i].pollable && f->ports[i].fd >= 0) {
            watch(f, &f->ports[i]);
        }
    }
}

/* ---- input and output --------------------------------------------------------------------- */

static ssize_t fd_read(struct uvm__stream *s, void *buf, size_t bytes) {
    struct fd_stream *f = of(s);
    if (f->eof || f->in == NULL) {
        return 0;
    }
    ssize_t n;
    do {
        n = read(f->in->fd, buf, bytes);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return n;
    }
    if (n < 0 && errno == EAGAIN) {
        return -UVM_E_AGAIN;
    }
    /* EIO is how the master of a terminal reads when the last slave was closed. */
    if (n == 0 || errno == EIO) {
        f->eof = true;
        return 0;
    }
    return -UVM_E_CLOSED;
}

static ssize_t fd_write(struct uvm__stream *s, const void *buf, size_t bytes) {
    struct fd_stream *f = of(s);
    if (f->broken || f->out == NULL) {
        return -UVM_E_CLOSED;
    }
    ssize_t n;
    do {
        n = f->out->is_socket ? send(f->out->fd, buf, bytes, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : write(f->out->fd, buf, bytes);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return n;
    }
    if (n < 0 && errno == EAGAIN) {
        return -UVM_E_AGAIN;
    }
    f->broken = true;
    return -UVM_E_CLOSED;
}

/* ---- life --------------------------------------------------------------------------------- */

static void unref(struct fd_stream *f) {
    UVM_ASSERT(f->refs > 0);
    if (--f->refs == 0) {
        uvm_engine *e = f->stream.engine;
        uvm__free(e, f);
        uvm__engine_release(e);
    }
}

static void on_closed(uv_handle_t *handle) {
    struct port *p = handle->data;
    unref(p->owner);
}

/* Lets go of the descriptor; the handle, if any, follows. */
static void port_close(struct port *p) {
    if (p->fd < 0) {
        return;
    }
    if (p->pollable) {
        p->owner->refs++;
        uv_close((uv_handle_t *)&p->poll, on_closed);
    }
    if (p->flags_before >= 0) {
        (void)fcntl(p->fd, F_SETFL, p->flags_before);
    }
    uvm__close_fd(&p->fd);
}

static void fd_shutdown(struct uvm__stream *s) {
    struct fd_stream *f = of(s);
    struct port *p = f->out;
    if (p == NULL) {
        return;
    }
    f->out = NULL;
    if (p != f->in) {
        port_close(p);
    } else if (p->is_socket) {
        (void)shutdown(p->fd, SHUT_WR);
        if (p->pollable) {
            watch(f, p);
        }
    }
}

static void fd_close(struct uvm__stream *s) {
    struct fd_stream *f = of(s);
    port_close(&f->ports[0]);
    port_close(&f->ports[1]);
    unref(f);
}

static const struct uvm__stream_ops fd_ops = {
    .read = fd_read,
    .write = fd_write,
    .shutdown = fd_shutdown,
    .close = fd_close,
    .reset = fd_close,
    .wanted = fd_wanted,
};

/* Gives a terminal or pipe an open file of its own under the same number (which may be 0, 1 or 2, that
 * nothing else should get meanwhile). */
static bool open_anew(int fd, mode_t mode, int flags) {
    unsigned number;
    bool is_master =
        ioctl(fd, TIOCGPTN, &number) == 0; /* opening it again makes another terminal */
    if (!S_ISFIFO(mode) && (!S_ISCHR(mode) || !isatty(fd) || is_master)) {
        return false;
    }
    UVM_CLEANUP_FD int own = uvm__open_anew(fd, flags & O_ACCMODE);
    return own >= 0 && dup3(own, fd, O_CLOEXEC) == fd;
}

/* Readies a descriptor that the port has taken. */
static int port_open(struct fd_stream *f, struct port *p, int fd) {
    p->owner = f;
    p->fd = fd;
    p->flags_before = -1;
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0) {
        return -UVM_E_IO;
    }
    p->is_socket = S_ISSOCK(st.st_mode);
    if ((flags & O_NONBLOCK) == 0 && !open_anew(fd, st.st_mode, flags)) {
        p->flags_before = flags;
    }
    struct uv_loop_s *loop = uvm__engine_loop(f->stream.engine);
    int rc = loop == NULL ? UV_EPERM : uv_poll_init(loop, &p->poll, p->fd);
    if (rc == 0) {
        p->poll.data = p;
        p->pollable = true;
        return 0;
    }
    /* Without a loop only what is always ready can be served. */
    return rc == UV_EPERM && (S_ISREG(st.st_mode) || loop != NULL) ? 0 : -UVM_E_IO;
}

int uvm__stream_from_fds(uvm_engine *e, int take_read_fd, int take_write_fd,
                         struct uvm__stream **ret) {
    UVM_CLEANUP_FD int read_fd = take_read_fd;
    UVM_CLEANUP_FD int write_fd = take_write_fd == take_read_fd ? -1 : take_write_fd;
    bool same = take_read_fd == take_write_fd;
    struct fd_stream *f = uvm__zalloc(e, sizeof *f);
    if (f == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__stream_init(&f->stream, e, &fd_ops);
    uvm__engine_hold(e);
    f->refs = 1;
    f->ports[0].fd = f->ports[1].fd = -1;
    int rc = 0;
    if (read_fd >= 0) {
        f->in = &f->ports[0];
        rc = port_open(f, f->in, UVM_TAKE_FD(read_fd));
    }
    if (rc == 0 && write_fd >= 0) {
        f->out = &f->ports[1];
        rc = port_open(f, f->out, UVM_TAKE_FD(write_fd));
    }
    if (same) {
        f->out = f->in;
    }
    if (rc < 0) {
        fd_close(&f->stream);
        return rc;
    }
    *ret = &f->stream;
    return 0;
}
