/* SPDX-License-Identifier: MIT
 * console.c — a bounded queue before standard output.
 *
 * The loop must stay free for signals while a pager holds the pipe, and the flags of a descriptor that we
 * share with others must stay as they are: so a descriptor is written only after poll said that it can
 * take something, in pieces of at most PIPE_BUF, which then do not block. Where nothing can tell when there
 * is room again (a socket), the next output looks. What does not fit into the queue
 * is dropped: the engine keeps the console's tail for errors anyway.
 */
#include "cmd/uvmctl/console.h"
#include "async/open_anew.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool takes_some(const struct console *c) {
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLOUT | POLLERR)) != 0;
}

static void gone(struct console *c) {
    c->len = 0;
    if (!c->closed) {
        c->closed = true;
        c->on_gone(c->arg);
    }
}

static void flush(struct console *c) {
    size_t done = 0;
    while (done < c->len && takes_some(c)) {
        size_t n = c->len - done < PIPE_BUF ? c->len - done : PIPE_BUF;
        ssize_t wrote = write(c->fd, c->queue + done, n);
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) {
            break;
        }
        if (wrote < 0) {
            gone(c);
            return;
        }
        done += (size_t)wrote;
    }
    memmove(c->queue, c->queue + done, c->len - done);
    c->len -= done;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct console *c = poll->data;
    (void)events;
    if (status < 0) {
        gone(c);
    }
    flush(c);
    if (c->len == 0) {
        c->waiting = false;
        (void)uv_poll_stop(poll);
    }
}

struct console *console_open(uv_loop_t *loop, int fd, void (*on_gone)(void *arg), void *arg) {
    struct console *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->on_gone = on_gone;
    c->arg = arg;
    /* uv_poll makes a descriptor non-blocking, which belongs to all who share it: poll a new one. A
     * file keeps the old one, for its place in the file is shared as well. */
    struct stat st;
    bool anew = fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode));
    int own = anew ? uvm__open_anew(fd, O_WRONLY) : -1;
    c->fd = own >= 0 ? own : dup(fd);
    c->polled = own >= 0 && uv_poll_init(loop, &c->poll, own) == 0;
    c->poll.data = c;
    return c;
}

void console_write(struct console *c, const void *data, size_t bytes) {
    if (c->closed) {
        return;
    }
    if (bytes > sizeof c->queue - c->len) {
        flush(c);
    }
    size_t n = bytes < sizeof c->queue - c->len ? bytes : sizeof c->queue - c->len;
    memcpy(c->queue + c->len, data, n);
    c->len += n;
    flush(c);
    if (c->len > 0 && c->polled && !c->waiting) {
        c->waiting = true;
        (void)uv_poll_start(&c->poll, UV_WRITABLE, on_poll);
    }
}

static void on_closed(uv_handle_t *handle) {
    struct console *c = handle->data;
    close(c->fd);
    free(c);
}

void console_close(struct console *c) {
    if (c == NULL) {
        return;
    }
    c->closed = true; /* nobody is told any more */
    flush(c);
    if (c->polled) {
        uv_close((uv_handle_t *)&c->poll, on_closed);
    } else {
        close(c->fd);
        free(c);
    }
}
