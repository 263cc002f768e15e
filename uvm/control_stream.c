/* SPDX-License-Identifier: MIT
 * control_stream.c — what a guest says (console, agent's log), to the descriptor of a control client.
 *
 * First what is remembered, then what comes. A reader that is slow has UVM__CONTROL_STREAM_BYTES; what does
 * not fit is dropped and counted, since the guest must never wait for a spectator. The call is answered
 * when the last byte has left: at once after the tail when nothing is followed, else at the VM's end, at
 * the reader's, or at a cancel.
 */
#include "uvm/control_int.h"
#include <errno.h>
#include <string.h>

struct control_stream {
    struct control_call *call;
    enum control_source source;
    struct uvm__fdio *fdio;
    struct uvm__buf buf;
    bool blocked; /* on_ready follows */
    bool finished, closed;
    uint64_t written, dropped;
    struct uvm__ready ready; /* answers later, since feed runs inside the engine */
};

static void on_answer(struct uvm__ready *r) {
    struct control_stream *s = UVM__CONTAINER_OF(r, struct control_stream, ready);
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__json_add_u64(o, "bytes", s->written) != NULL &&
              uvm__json_add_u64(o, "dropped", s->dropped) != NULL &&
              cJSON_AddBoolToObject(o, "closed", s->closed) != NULL;
    if (!ok) {
        cJSON_Delete(o);
        o = NULL;
    }
    uvm__control_reply(s->call, o);
}

static void flush(struct control_stream *s) {
    int err;
    while (!s->closed && !s->blocked && s->buf.len > 0) {
        ssize_t n = uvm__fdio_write(s->fdio, s->buf.data, s->buf.len, &err);
        if (n == -UVM_E_AGAIN) {
            s->blocked = true;
        } else if (n <= 0) { /* nobody reads, or the disk is full */
            s->closed = true;
            s->buf.len = 0;
        } else {
            s->written += (uint64_t)n;
            uvm__buf_consume(&s->buf, (size_t)n);
        }
    }
    if (s->closed || (s->finished && s->buf.len == 0)) {
        uvm__ready_push(s->call->conn->engine, &s->ready);
    }
}

static void on_ready(struct uvm__fdio *f, void *arg) {
    struct control_stream *s = arg;
    (void)f;
    s->blocked = false;
    flush(s);
}

static void put(struct control_stream *s, const void *data, size_t bytes) {
    size_t room = s->buf.max - s->buf.len;
    size_t n = bytes < room ? bytes : room;
    if (uvm__buf_append(&s->buf, data, n) < 0) {
        n = 0;
    }
    s->dropped += bytes - n;
}

void uvm__control_stream_feed(struct control_stream *s, enum control_source source,
                              const void *data, size_t bytes) {
    if (s->source == source && !s->finished && !s->closed) {
        put(s, data, bytes);
        flush(s);
    }
}

void uvm__control_stream_finish(struct control_stream *s) {
    s->finished = true;
    flush(s);
}

static int put_tail(struct control_stream *s, const struct uvm__tail *tail) {
    if (tail->data == NULL) {
        return 0;
    }
    char *text = uvm__alloc(s->call->conn->engine, tail->cap + 1);
    if (text == NULL) {
        return -UVM_E_NOMEM;
    }
    put(s, text, uvm__tail_read(tail, text, tail->cap + 1));
    uvm__free(s->call->conn->engine, text);
    return 0;
}

int uvm__control_stream_open(struct control_call *call, enum control_source source, bool tail,
                             bool follow, int fd, struct uvm__fail *f) {
    uvm_engine *e = call->conn->engine;
    uvm_vm *vm = call->conn->control->vm;
    struct control_stream *s = uvm__zalloc(e, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    s->call = call;
    s->source = source;
    uvm__buf_init(&s->buf, e, UVM__CONTROL_STREAM_BYTES);
    uvm__ready_init(&s->ready, on_answer);
    int rc = uvm__fdio_open(e, fd, UVM__FDIO_WRITE, on_ready, s, &s->fdio);
    if (rc < 0) {
        rc = uvm__fail(f, (enum uvm_error_code) - rc, 0, "the descriptor cannot be written to");
    }
    if (rc == 0 && tail) {
        rc = put_tail(s, source == CONTROL_CONSOLE ? &vm->console : &vm->log.tail);
    }
    if (rc < 0) {
        uvm__control_stream_free(s);
        return rc;
    }
    call->stream = s;
    s->finished = !follow || uvm__vm_has_ended(vm);
    flush(s);
    return 0;
}

void uvm__control_stream_free(struct control_stream *s) {
    if (s != NULL) {
        uvm_engine *e = s->call->conn->engine;
        uvm__ready_cancel(e, &s->ready);
        uvm__fdio_close(s->fdio);
        uvm__buf_deinit(&s->buf);
        uvm__free(e, s);
    }
}
