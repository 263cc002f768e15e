/* SPDX-License-Identifier: MIT
 * sock.c — one stream socket on the loop: uv_poll, sendmsg, recvmsg.
 *
 * Not uv_stream, because that writes with SIGPIPE and hides descriptors. The poll handle watches
 * only what somebody wants: reading when the owner asked for it, writing while something is queued;
 * a quiet socket costs nothing. A send goes to the kernel at once when nothing is queued before it;
 * the block that would queue its rest is allocated before, so that lack of memory never leaves half
 * a message behind.
 *
 * Descriptors travel with the first byte of their message. Queued ones are duplicates, because the
 * caller may close his at once; they are closed as soon as that first byte has left.
 *
 * Hazards: the peer decides what arrives, so more descriptors than asked for are closed and
 * reported; libuv stops a poll handle by itself when the kernel reports an error, so the watch must
 * be set up again.
 */
#include "async/sock.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/limits.h"
#include "async/list.h"
#include "async/plant.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <uv.h>

#define CHUNK_BYTES_MIN 4096u

/* A part of the queue: one send, and those after it that fit in and bring no descriptors. */
struct chunk {
    struct uvm__list link;
    size_t bytes, cap, sent;
    size_t fds_count; /* not sent yet */
    int fds[UVM__SOCK_FDS_MAX];
    uint8_t data[];
};

struct uvm__sock {
    uvm_engine *engine;
    int fd;
    bool is_socket;
    uv_poll_t poll;
    int watched; /* what the poll handle is set to */
    struct uvm__sock_events events;
    void *arg;

    bool reading;
    bool ended;  /* no more bytes will come */
    bool shut;   /* no more sends are taken */
    bool broken; /* none would arrive */
    bool closing;
    size_t queued; /* bytes in `out` */
    struct uvm__list out;

    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* Room for what may come along: descriptors, and credentials if the owner switched them on. */
union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * UVM__SOCK_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
};

static void close_fds(const int *fds, size_t count) {
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
}

static int errno_code(int err) {
    return err == ENOMEM || err == ENOBUFS ? -UVM_E_NOMEM : -UVM_E_IO;
}

static bool peer_is_gone(int err) {
    return err == EPIPE || err == ECONNRESET;
}

/* ---- what the loop watches ---------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct uvm__sock *s) {
    int want = 0;
    if (s->closing) {
        return;
    }
    if (s->reading && !s->ended) {
        want |= UV_READABLE;
    }
    if (!uvm__list_empty(&s->out)) {
        want |= UV_WRITABLE;
    }
    if (want == s->watched) {
        return;
    }
    int rc = want == 0 ? uv_poll_stop(&s->poll) : uv_poll_start(&s->poll, want, on_poll);
    UVM_ASSERT(rc == 0);
    s->watched = want;
}

/* ---- sending ------------------------------------------------------------------------------ */

/* One sendmsg: bytes taken by the kernel, or a negative errno. */
static ssize_t send_some(int fd, const void *data, size_t bytes, const int *fds, size_t fds_count) {
    union control control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds_count > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fds_count);
    }
    ssize_t n = 0;
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void drop_chunk(struct uvm__sock *s, struct chunk *c) {
    UVM_ASSERT_CMP(s->queued, >=, c->bytes - c->sent);
    s->queued -= c->bytes - c->sent;
    close_fds(c->fds, c->fds_count);
    uvm__list_remove(&c->link);
    uvm__free(s->engine, c);
}

static void drop_queue(struct uvm__sock *s) {
    while (!uvm__list_empty(&s->out)) {
        drop_chunk(s, UVM__CONTAINER_OF(s->out.next, struct chunk, link));
    }
    UVM_ASSERT(s->queued == 0);
}

static void queue_failed(struct uvm__sock *s, int err) {
    s->broken = true;
    drop_queue(s);
    if (!peer_is_gone(err)) {
        (void)shutdown(s->fd, SHUT_RDWR); /* both sides shall learn of it */
    }
}

/* Sends until the queue is empty or the kernel is full. */
static void flush(struct uvm__sock *s) {
    while (!uvm__list_empty(&s->out)) {
        struct chunk *c = UVM__CONTAINER_OF(s->out.next, struct chunk, link);
        UVM_ASSERT_CMP(c->sent, <, c->bytes);
        ssize_t n = send_some(s->fd, c->data + c->sent, c->bytes - c->sent, c->fds, c->fds_count);
        if (n == -EAGAIN) {
            return;
        }
        if (n < 0) {
            queue_failed(s, (int)-n);
            return;
        }
        close_fds(c->fds, c->fds_count);
        c->fds_count = 0;
        c->sent += (size_t)n;
        s->queued -= (size_t)n;
        if (c->sent == c->bytes) {
            drop_chunk(s, c);
        }
    }
    if (s->shut) {
        (void)shutdown(s->fd, SHUT_WR);
    }
}

static struct chunk *chunk_new(struct uvm__sock *s, size_t bytes) {
    size_t cap = bytes < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : bytes;
    struct chunk *c = uvm__alloc(s->engine, sizeof *c + cap);
    if (c != NULL) {
        uvm__list_init(&c->link);
        c->cap = cap;
        c->bytes = c->sent = c->fds_count = 0;
    }
    return c;
}

static void chunk_append(struct uvm__sock *s, struct chunk *c, const uint8_t *data, size_t bytes) {
    UVM_ASSERT_CMP(bytes, <=, c->cap - c->bytes);
    memcpy(c->data + c->bytes, data, bytes);
    c->bytes += bytes;
    s->queued += bytes;
}

static int chunk_dup_fds(struct chunk *c, const int *fds, size_t fds_count) {
    for (; c->fds_count < fds_count; c->fds_count++) {
        int fd = fcntl(fds[c->fds_count], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            close_fds(c->fds, c->fds_count);
            c->fds_count = 0;
            return -UVM_E_IO;
        }
        c->fds[c->fds_count] = fd;
    }
    return 0;
}

/* The last block of the queue, if the bytes fit in. */
static struct chunk *chunk_with_room(struct uvm__sock *s, size_t bytes) {
    if (uvm__list_empty(&s->out)) {
        return NULL;
    }
    struct chunk *last = UVM__CONTAINER_OF(s->out.prev, struct chunk, link);
    return bytes <= last->cap - last->bytes ? last : NULL;
}

/* What stands in the way of any send; 0: nothing. */
static int check_send(const struct uvm__sock *s, size_t bytes, size_t room, size_t fds_count) {
    if (!s->is_socket) {
        return -UVM_E_UNSUPPORTED;
    }
    if (bytes == 0 && fds_count > 0) {
        return -UVM_E_INVAL;
    }
    if (s->shut) {
        return -UVM_E_STATE;
    }
    if (s->broken) {
        return -UVM_E_CLOSED;
    }
    if (fds_count > UVM__SOCK_FDS_MAX || bytes > room) {
        return -UVM_E_LIMIT;
    }
    return 0;
}

static int send_within(struct uvm__sock *s, const void *data, size_t bytes, size_t room,
                       const int *fds, size_t fds_count) {
    UVM_ASSERT(!s->closing);
    int rc = check_send(s, bytes, room, fds_count);
    if (rc < 0 || bytes == 0) {
        return rc;
    }
    struct chunk *c = fds_count == 0 ? chunk_with_room(s, bytes) : NULL;
    if (c != NULL) {
        chunk_append(s, c, data, bytes);
        return 0;
    }
    c = chunk_new(s, bytes);
    if (c == NULL) {
        return -UVM_E_NOMEM;
    }
    ssize_t n = -EAGAIN;
    if (uvm__list_empty(&s->out)) {
        n = send_some(s->fd, data, bytes, fds, fds_count);
    }
    if (n == -EAGAIN) {
        rc = chunk_dup_fds(c, fds, fds_count);
        n = 0;
    } else if (n < 0) {
        s->broken = peer_is_gone((int)-n);
        rc = s->broken ? -UVM_E_CLOSED : errno_code((int)-n);
    }
    if (rc < 0 || (size_t)n == bytes) {
        uvm__free(s->engine, c);
        return rc;
    }
    chunk_append(s, c, (const uint8_t *)data + n, bytes - (size_t)n);
    uvm__list_append(&s->out, &c->link);
    watch(s);
    return 0;
}

static size_t room_of(const struct uvm__sock *s) {
    return s->queued < UVM__SOCK_OUT_BYTES_MAX ? UVM__SOCK_OUT_BYTES_MAX - s->queued : 0;
}

int uvm__sock_send(struct uvm__sock *s, const void *data, size_t bytes, const int *fds,
                   size_t fds_count) {
    return send_within(s, data, bytes, room_of(s), fds, fds_count);
}

int uvm__sock_send_long(struct uvm__sock *s, const void *data, size_t bytes, size_t bytes_max) {
    return send_within(s, data, bytes, s->queued <= UVM__SOCK_OUT_BYTES_MAX ? bytes_max : 0, NULL,
                       0);
}

size_t uvm__sock_queued(const struct uvm__sock *s) {
    return s->queued;
}

void uvm__sock_shutdown(struct uvm__sock *s) {
    UVM_ASSERT(!s->closing && s->is_socket);
    if (!s->shut) {
        s->shut = true;
        if (uvm__list_empty(&s->out)) {
            (void)shutdown(s->fd, SHUT_WR);
        }
    }
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* Takes the descriptors out of a received message; `ret_fds` has room for all that `control` holds.
 */
static size_t take_fds(struct msghdr *msg, int *ret_fds) {
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(ret_fds + count, CMSG_DATA(c), n * sizeof(int));
            count += n;
        }
    }
    return count;
}

static ssize_t recv_msg(struct uvm__sock *s, void *buf, size_t bytes, int *ret_fds, size_t *fds) {
    union control control;
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (ret_fds != NULL) { /* without room for them the kernel closes them itself */
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
    }
    ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 || ret_fds == NULL) {
        return n < 0 ? -errno : n;
    }
    int got[sizeof control / sizeof(int)];
    size_t count = take_fds(&msg, got);
    if ((msg.msg_flags & MSG_CTRUNC) != 0 || count > *fds) {
        close_fds(got, count);
        return -EPROTO;
    }
    memcpy(ret_fds, got, count * sizeof(int));
    *fds = count;
    return n;
}

ssize_t uvm__sock_recv(struct uvm__sock *s, void *buf, size_t bytes, int *ret_fds, size_t *fds) {
    UVM_ASSERT(!s->closing && bytes > 0 && (ret_fds == NULL || fds != NULL));
    ssize_t n = 0;
    while (!s->ended) {
        if (s->is_socket) {
            n = recv_msg(s, buf, bytes, ret_fds, fds);
        } else {
            n = read(s->fd, buf, bytes);
            n = n < 0 ? -errno : n;
        }
        if (n > 0) {
            return n;
        }
        if (n == -EAGAIN) {
            return -UVM_E_AGAIN;
        }
        if (n == -EPROTO) {
            return -UVM_E_PROTOCOL;
        }
        if (n != -EINTR) {
            s->ended = true;
            watch(s);
        }
    }
    if (n < 0 && !peer_is_gone((int)-n)) {
        return -UVM_E_IO;
    }
    if (fds != NULL) {
        *fds = 0;
    }
    return 0;
}

void uvm__sock_reading(struct uvm__sock *s, bool on) {
    UVM_ASSERT(!s->closing);
    s->reading = on;
    watch(s);
}

/* ---- life --------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct uvm__sock *s = poll->data;
    if (status < 0) {
        s->watched =
            0; /* libuv stopped it: an error is pending, which the calls below will fetch */
        events = UV_READABLE | UV_WRITABLE;
    }
    if ((events & UV_WRITABLE) != 0 && !uvm__list_empty(&s->out)) {
        flush(s);
        if (uvm__list_empty(&s->out) && s->events.on_drained != NULL) {
            s->events.on_drained(s, s->arg);
        }
    }
    if ((events & UV_READABLE) != 0 && !s->closing && s->reading && !s->ended) {
        s->events.on_readable(s, s->arg);
    }
    watch(s);
}

int uvm__sock_open(uvm_engine *e, int take_fd, const struct uvm__sock_events *ev, void *arg,
                   struct uvm__sock **ret) {
    UVM_CLEANUP_FD int fd = take_fd;
    struct stat st;
    UVM_ASSERT(take_fd >= 0 && ev->on_readable != NULL);
    if (uvm__engine_loop(e) == NULL) {
        return -UVM_E_UNSUPPORTED;
    }
    if (fstat(fd, &st) < 0) {
        return -UVM_E_IO;
    }
    struct uvm__sock *s = uvm__zalloc(e, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    int rc = uv_poll_init(uvm__engine_loop(e), &s->poll, fd);
    if (rc < 0) {
        uvm__free(e, s);
        return errno_code(-rc);
    }
    s->engine = e;
    s->is_socket = S_ISSOCK(st.st_mode);
    s->fd = UVM_TAKE_FD(fd);
    s->poll.data = s;
    s->events = *ev;
    s->arg = arg;
    uvm__list_init(&s->out);
    uvm__engine_hold(e);
    *ret = s;
    return 0;
}

int uvm__sock_fd(const struct uvm__sock *s) {
    return s->fd;
}

static void on_poll_closed(uv_handle_t *poll) {
    struct uvm__sock *s = poll->data;
    uvm_engine *e = s->engine;
    void (*on_closed)(void *) = s->on_closed;
    void *arg = s->closed_arg;
    uvm__free(e, s);
    if (on_closed != NULL) {
        on_closed(arg);
    }
    uvm__engine_release(e);
}

void uvm__sock_close(struct uvm__sock *s, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    drop_queue(s);
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    if (!UVM__PLANT(leak_fd)) {
        uvm__close_fd(&s->fd);
    }
}

int uvm__sock_pair(int ret_fds[2]) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return -UVM_E_IO;
    }
    int rc = fcntl(fds[0], F_SETFL, O_NONBLOCK);
    UVM_ASSERT(rc == 0);
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}
