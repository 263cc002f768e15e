/* SPDX-License-Identifier: MIT
 * stdio.c — relays between the streams of a guest's process and descriptors or callbacks.
 *
 * One buffer a relay: the source is read only when everything before has reached the sink, so a slow
 * reader stops the guest's writer through the stream's window, and nothing piles up. pump() moves until
 * one side refuses, which brings it back by that side's event, or until its share of a turn is used.
 * The idle clock of a drain runs only while the sink has taken everything and the stream has nothing:
 * a reader that is not ready never makes output be cut (docs/PROTOCOL-bridge.md, Limits).
 * After end of file on an output the stream is closed at once, since an agent may wait for that before it
 * reports the exit; an input's stream is only half-closed and stays until the process goes.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/limits.h"
#include "async/plant.h"
#include "bridge/stdio_int.h"
#include <string.h>

#define BUFFER_BYTES 32768u
#define MOVES_PER_TURN 32u /* half of them into the buffer, half out of it */

static const char *const names[UVM__STDIO_MAX] = {"stdin", "stdout", "stderr"};

static void let_go(struct uvm__relay *r) {
    uvm__ready_cancel(r->engine, &r->ready);
    uvm__deadline_clear(r->engine, &r->idle);
    uvm__fdio_close(UVM_TAKE_PTR(r->fd));
    uvm__free(r->engine, UVM_TAKE_PTR(r->buf));
    r->len = 0;
}

/* The relay is done with; its owner may let go of everything in the callback. */
static void finish(struct uvm__relay *r, uvm_error *take_err) {
    UVM_ASSERT(!r->ended);
    r->ended = true;
    let_go(r);
    if (r->which != UVM__STDIN && r->stream != NULL) {
        uvm__stream_close(UVM_TAKE_PTR(r->stream));
    }
    if (r->on_end != NULL) {
        r->on_end(r, take_err);
    }
    uvm_error_unref(take_err);
}

static uvm_error *descriptor_error(struct uvm__relay *r, ssize_t rc, int err) {
    if (rc == -UVM_E_CLOSED) {
        return uvm__error(r->engine, UVM_E_CLOSED, 0, "%s: nobody reads it any more",
                          names[r->which]);
    }
    return uvm__error_errno(r->engine, err, "%s", names[r->which]);
}

/* ---- output: stream to sink ---------------------------------------------------------------- */

/* True: some or all of the buffer went; false: refused, or the relay has ended. */
static bool flush_output(struct uvm__relay *r) {
    if (r->kind == UVM__STDIO_CALLBACK) {
        if (r->held) {
            return false;
        }
        size_t n = r->on_output(r, r->buf + r->at, r->len);
        if (r->ended) {
            return false;
        }
        UVM_ASSERT_CMP(n, <=, r->len);
        r->held = n < r->len;
        r->at += n;
        r->len -= n;
        return !r->held;
    }
    int err = 0;
    ssize_t n = uvm__fdio_write(r->fd, r->buf + r->at, r->len, &err);
    if (n > 0) {
        r->at += (size_t)n;
        r->len -= (size_t)n;
        return true;
    }
    if (n != -UVM_E_AGAIN) {
        finish(r, descriptor_error(r, n, err));
    }
    return false;
}

static bool fill_from_stream(struct uvm__relay *r) {
    ssize_t n = uvm__stream_read(r->stream, r->buf, BUFFER_BYTES);
    if (n > 0) {
        uvm__deadline_clear(r->engine, &r->idle);
        r->at = 0;
        r->len = (size_t)n;
        return true;
    }
    if (n == -UVM_E_AGAIN) {
        if (r->draining && !r->idle.linked) {
            uvm__deadline_set(r->engine, &r->idle, uvm__now_ms(r->engine) + UVM__STDIO_IDLE_MS);
        }
        return false;
    }
    finish(r, n == 0 ? NULL
                     : uvm__error(r->engine, UVM_E_CLOSED, 0, "%s: the guest's stream was reset",
                                  names[r->which]));
    return false;
}

static void on_idle(struct uvm__deadline *d) {
    struct uvm__relay *r = UVM__CONTAINER_OF(d, struct uvm__relay, idle);
    UVM_ASSERT(r->draining && !r->ended && r->len == 0);
    finish(r, uvm__error(r->engine, UVM_E_TIMEDOUT, 0,
                         "%s: the process has exited and something keeps it open without writing",
                         names[r->which]));
}

/* ---- input: source to stream --------------------------------------------------------------- */

static bool flush_input(struct uvm__relay *r) {
    ssize_t n = uvm__stream_write(r->stream, r->buf + r->at, r->len);
    if (n > 0) {
        r->at += (size_t)n;
        r->len -= (size_t)n;
        return true;
    }
    if (n != -UVM_E_AGAIN) {
        finish(r, uvm__error(r->engine, UVM_E_CLOSED, 0, "stdin: the guest reads it no more"));
    }
    return false;
}

static bool fill_from_descriptor(struct uvm__relay *r) {
    int err = 0;
    if (!r->eof) {
        ssize_t n = uvm__fdio_read(r->fd, r->buf, BUFFER_BYTES, &err);
        if (n > 0) {
            r->at = 0;
            r->len = (size_t)n;
            return true;
        }
        if (n == -UVM_E_AGAIN) {
            return false;
        }
        r->eof = true;
        r->err = n == 0 ? NULL : descriptor_error(r, n, err);
    }
    uvm__stream_shutdown(r->stream);
    finish(r, UVM_TAKE_PTR(r->err));
    return false;
}

/* ---- moving ------------------------------------------------------------------------------- */

static bool move(struct uvm__relay *r) {
    bool out = r->which != UVM__STDIN;
    if (!out && r->draining) {
        finish(r, NULL); /* nobody reads it any more */
        return false;
    }
    if (r->len > 0) {
        return out ? flush_output(r) : flush_input(r);
    }
    return out ? fill_from_stream(r) : fill_from_descriptor(r);
}

static void pump(struct uvm__relay *r) {
    uvm_op *op = uvm_op_ref(r->op);
    unsigned moves = 0;
    while (!r->ended && move(r)) {
        if (++moves == MOVES_PER_TURN) {
            uvm__ready_push(r->engine, &r->ready);
            break;
        }
    }
    uvm_op_unref(op);
}

static void on_ready(struct uvm__ready *ready) {
    pump(UVM__CONTAINER_OF(ready, struct uvm__relay, ready));
}

static void on_descriptor(struct uvm__fdio *fd, void *arg) {
    struct uvm__relay *r = arg;
    UVM_ASSERT(r->fd == fd);
    if (r->started) {
        pump(r);
    }
}

static void on_stream(struct uvm__stream *stream, unsigned events, void *arg) {
    struct uvm__relay *r = arg;
    UVM_ASSERT(r->stream == stream);
    if (r->ended) {
        return;
    }
    if (r->which == UVM__STDIN && r->kind == UVM__STDIO_CALLBACK) {
        if ((events & UVM__STREAM_WRITABLE) != 0 && r->on_writable != NULL) {
            r->on_writable(r);
        }
        return;
    }
    pump(r);
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__relay_init(struct uvm__relay *r, uvm_op *op, enum uvm__stdio which,
                    enum uvm__stdio_kind kind, int fd) {
    uvm_engine *e = uvm__op_engine(op);
    *r = (struct uvm__relay){.engine = e, .op = op, .which = which, .kind = kind};
    uvm__ready_init(&r->ready, on_ready);
    uvm__deadline_init(&r->idle, on_idle);
    r->ended = kind == UVM__STDIO_NONE;
    bool buffered = kind == UVM__STDIO_FD || (kind == UVM__STDIO_CALLBACK && which != UVM__STDIN);
    if (buffered) {
        r->buf = uvm__alloc(e, BUFFER_BYTES);
        if (r->buf == NULL) {
            return -UVM_E_NOMEM;
        }
    }
    if (kind == UVM__STDIO_FD) {
        enum uvm__fdio_direction direction = which == UVM__STDIN ? UVM__FDIO_READ : UVM__FDIO_WRITE;
        int rc = uvm__fdio_open(e, fd, direction, on_descriptor, r, &r->fd);
        if (rc < 0) {
            uvm__free(e, UVM_TAKE_PTR(r->buf));
            return rc;
        }
    }
    return 0;
}

void uvm__relay_connect(struct uvm__relay *r, struct uvm__stream *take_stream) {
    UVM_ASSERT(r->stream == NULL && !r->ended && !r->started);
    r->stream = take_stream;
}

void uvm__relay_start(struct uvm__relay *r) {
    if (r->ended) {
        return;
    }
    UVM_ASSERT(r->stream != NULL && !r->started);
    r->started = true;
    uvm__stream_set_handler(r->stream, on_stream, r);
    if (r->buf != NULL) {
        uvm__ready_push(r->engine, &r->ready);
    }
}

void uvm__relay_drain(struct uvm__relay *r) {
    if (r->ended || r->draining) {
        return;
    }
    UVM_ASSERT(r->started);
    r->draining = true;
    uvm__ready_push(r->engine, &r->ready);
}

void uvm__relay_resume(struct uvm__relay *r) {
    if (!r->ended && r->held) {
        r->held = false;
        uvm__ready_push(r->engine, &r->ready);
    }
}

ssize_t uvm__relay_write(struct uvm__relay *r, const void *data, size_t bytes) {
    UVM_ASSERT(r->which == UVM__STDIN);
    if (r->kind != UVM__STDIO_CALLBACK) {
        return -UVM_E_STATE;
    }
    if (r->ended || r->eof || bytes == 0) {
        return r->ended || r->eof ? -UVM_E_CLOSED : 0;
    }
    ssize_t n = uvm__stream_write(r->stream, data, bytes);
    return n < 0 && n != -UVM_E_AGAIN && n != -UVM_E_NOMEM ? -UVM_E_CLOSED : n;
}

void uvm__relay_close_input(struct uvm__relay *r) {
    UVM_ASSERT(r->which == UVM__STDIN);
    if (r->ended || r->eof) {
        return;
    }
    r->eof = true;
    if (r->kind == UVM__STDIO_CALLBACK) {
        uvm__stream_shutdown(r->stream);
        return;
    }
    uvm__ready_push(r->engine, &r->ready); /* what was read still goes */
}

void uvm__relay_stop(struct uvm__relay *r) {
    if (r->engine == NULL) {
        return;
    }
    r->ended = true;
    let_go(r);
    r->err = uvm_error_unref(r->err);
    if (r->stream == NULL || UVM__PLANT(leak_stream)) {
        return;
    }
    if (r->which == UVM__STDIN && r->started) {
        uvm__stream_close(UVM_TAKE_PTR(r->stream)); /* what was accepted is still delivered */
    } else {
        uvm__stream_reset(UVM_TAKE_PTR(r->stream));
    }
}
