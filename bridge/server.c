/* SPDX-License-Identifier: MIT
 * server.c — the guest's end of the bridge: connections and requests.
 *
 * All work is done from the ready queue: stream events and `ready` end in turn(), which writes what waits
 * and reads what is there, a bounded number of frames a turn. A frame stays in the reader until its
 * request exists, so lack of memory is back-pressure: reading stops and is tried again by a deadline.
 * The protocol state that a request meets is that at the time it was read
 * (docs/PROTOCOL-bridge.md, Negotiation).
 */
#include "async/alloc.h"
#include "async/check.h"
#include "bridge/server_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_PER_TURN 32u

void uvm__server_unref(struct uvm__server *s) {
    UVM_ASSERT(s->refs > 0);
    if (--s->refs == 0) {
        UVM_ASSERT(s->closed && uvm__list_empty(&s->in_work) && uvm__list_empty(&s->replies));
        uvm__buf_deinit(&s->out);
        uvm__free(s->engine, s);
    }
}

/* ---- requests ----------------------------------------------------------------------------- */

void uvm__server_request_free(struct uvm__server_request *r) {
    struct uvm__server *s = r->server;
    uvm__list_remove(&r->link);
    cJSON_Delete(r->tree);
    uvm__free(s->engine, r->owned);
    uvm__free(s->engine, r);
    uvm__server_unref(s);
}

static void negotiate(struct uvm__server *s, struct uvm__server_request *r) {
    const struct uvm__msg_negotiate *m = &r->body.negotiate;
    if (m->version_max < UVM__PROTOCOL_VERSION || m->version_min > UVM__PROTOCOL_VERSION) {
        uvm__server_reply_hresult(r, UVM__HR_UNSUPPORTED_VERSION);
        return;
    }
    s->version = UVM__PROTOCOL_VERSION;
    s->control = m->process_control < s->params.process_control ? m->process_control
                                                                : s->params.process_control;
    uvm__server_reply_negotiated(r, &(struct uvm__msg_capabilities){
                                        .version = s->version,
                                        .namespace_add = true,
                                        .signal_process = true,
                                        .dump_stacks = true,
                                        .delete_container_state = true,
                                        .os_linux = true,
                                        .process_control = s->control,
                                    });
}

/* Is there somebody for it, in the state of the connection at this moment? */
static bool supported(const struct uvm__server *s, enum uvm__message msg) {
    if (msg == UVM__MSG_MAX || !s->params.v4) {
        return false;
    }
    if (msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        return s->version == 0;
    }
    return s->version != 0 && s->params.handlers[msg] != NULL;
}

static void dispatch(struct uvm__server *s, struct uvm__server_request *r, int rc,
                     const struct uvm__fail *f) {
    if (!supported(s, r->msg)) {
        uvm__server_reply_unsupported(r);
    } else if (s->in_work_count > UVM__SERVER_IN_WORK_MAX) {
        struct uvm__msg_error err = {.result = UVM__HR_FAIL,
                                     .message = "too many requests in work"};
        uvm__server_reply_error(r, &err);
    } else if (rc < 0) {
        uvm__server_reply_bad_json(r, f->msg);
    } else if (r->msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        negotiate(s, r);
    } else {
        s->params.handlers[r->msg](s, r, s->params.arg);
    }
}

/* -UVM_E_NOMEM: nothing happened. */
static int take_request(struct uvm__server *s, const struct uvm__frame *frame) {
    struct uvm__server_request *r = uvm__zalloc(s->engine, sizeof *r + frame->body_bytes);
    if (r == NULL) {
        return -UVM_E_NOMEM;
    }
    enum uvm__message msg = uvm__message_of(frame->header.type);
    struct uvm__fail f = {0};
    int rc = uvm__msg_request_read(msg == UVM__MSG_MAX ? UVM__MSG_START : msg, frame->body,
                                   frame->body_bytes, &r->body, &r->tree, &f);
    if (rc == -UVM_E_NOMEM) {
        cJSON_Delete(r->tree);
        uvm__free(s->engine, r);
        return rc;
    }
    r->server = s;
    r->msg = msg;
    r->word = frame->header.type;
    r->id = frame->header.id;
    r->connection = s->connection;
    r->control = s->control;
    r->read_ms = uvm__now_ms(s->engine);
    r->text_bytes = frame->body_bytes;
    if (frame->body_bytes > 0) {
        memcpy(r->text, frame->body, frame->body_bytes);
    }
    uvm__frame_reader_drop(&s->reader);
    s->refs++;
    uvm__list_init(&r->link);
    uvm__list_append(&s->in_work, &r->link);
    s->in_work_count++;
    dispatch(s, r, rc, &f);
    return 0;
}

/* ---- connection --------------------------------------------------------------------------- */

static void end_connection(struct uvm__server *s, bool reset) {
    struct uvm__stream *stream = s->stream;
    s->stream = NULL;
    s->version = 0;
    s->control = 0;
    s->negotiated = false;
    s->memory_since_ms = 0;
    uvm__deadline_clear(s->engine, &s->memory);
    uvm__ready_cancel(s->engine, &s->ready);
    uvm__frame_reader_reset(&s->reader);
    uvm__server_out_reset(s);
    if (reset) {
        uvm__stream_reset(stream);
    } else {
        uvm__stream_close(stream);
    }
}

void uvm__server_lost(struct uvm__server *s, uvm_error *take_err) {
    UVM_ASSERT(s->stream != NULL);
    end_connection(s, uvm_error_code(take_err) != UVM_E_EOF);
    if (s->params.on_detached != NULL) {
        s->params.on_detached(s, take_err, s->params.arg);
    }
    uvm_error_unref(take_err);
}

bool uvm__server_lacks_memory(struct uvm__server *s) {
    uint64_t now = uvm__now_ms(s->engine);
    if (s->memory_since_ms == 0) {
        s->memory_since_ms = now + 1; /* 0 says that it does not lack */
    }
    if (now + 1 - s->memory_since_ms >= UVM__BRIDGE_MEMORY_MS) {
        uvm__server_lost(s, uvm__error(s->engine, UVM_E_CLOSED, 0, "bridge: no memory for %u ms",
                                       UVM__BRIDGE_MEMORY_MS));
        return false;
    }
    uvm__deadline_set(s->engine, &s->memory, now + UVM__SERVER_RETRY_MS);
    return true;
}

static void read_failed(struct uvm__server *s, ssize_t n) {
    if (n == -UVM_E_NOMEM) {
        (void)uvm__server_lacks_memory(s);
        return;
    }
    if (n != 0) {
        uvm__server_lost(s, uvm__error(s->engine, UVM_E_CLOSED, 0, "bridge: connection lost"));
        return;
    }
    if (uvm__frame_reader_partial(&s->reader)) {
        uvm__server_lost(
            s, uvm__error(s->engine, UVM_E_CLOSED, 0, "bridge: the host closed inside a frame"));
        return;
    }
    if (uvm__server_pump(s)) { /* a host that only shut down its half still gets what is ready */
        uvm__server_lost(s, uvm__error(s->engine, UVM_E_EOF, 0, "bridge: the host closed"));
    }
}

/* True when a frame was taken; false when there is none, or the connection is gone. */
static bool read_one(struct uvm__server *s) {
    struct uvm__frame frame;
    struct uvm__fail f;
    for (;;) {
        int rc = uvm__frame_reader_next(&s->reader, &frame, &f);
        if (rc < 0) {
            uvm__server_lost(s, uvm__fail_error(s->engine, rc, &f));
            return false;
        }
        if (rc == 1) {
            break;
        }
        ssize_t n = uvm__frame_reader_fill(&s->reader, s->stream);
        if (n == -UVM_E_AGAIN) {
            return false;
        }
        if (n <= 0) {
            read_failed(s, n);
            return false;
        }
    }
    if (take_request(s, &frame) < 0) {
        (void)uvm__server_lacks_memory(s);
        return false;
    }
    s->memory_since_ms = 0;
    return true;
}

static void turn(struct uvm__server *s) {
    s->refs++;
    uint64_t connection = s->connection;
    unsigned frames = 0;
    bool more = s->stream != NULL && uvm__server_pump(s);
    while (more && s->stream != NULL && s->connection == connection) {
        if (s->out.len > 0 && s->replies_count >= UVM__SERVER_REPLIES_MAX) {
            break; /* the host does not read: it is heard again when it does */
        }
        if (frames++ == FRAMES_PER_TURN) {
            uvm__ready_push(s->engine, &s->ready);
            break;
        }
        more = read_one(s);
    }
    if (s->negotiated && s->stream != NULL && s->connection == connection) {
        s->negotiated = false;
        if (s->params.on_negotiated != NULL) {
            s->params.on_negotiated(s, s->params.arg);
        }
    }
    uvm__server_unref(s);
}

static void on_ready(struct uvm__ready *r) {
    turn(UVM__CONTAINER_OF(r, struct uvm__server, ready));
}

static void on_memory(struct uvm__deadline *d) {
    struct uvm__server *s = UVM__CONTAINER_OF(d, struct uvm__server, memory);
    uvm__ready_push(s->engine, &s->ready);
}

static void on_stream(struct uvm__stream *stream, unsigned events, void *arg) {
    (void)events;
    struct uvm__server *s = arg;
    UVM_ASSERT(s->stream == stream);
    turn(s);
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__server_new(uvm_engine *e, const struct uvm__server_params *params,
                    struct uvm__server **ret) {
    struct uvm__server *s = uvm__zalloc(e, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    s->refs = 1;
    s->engine = e;
    s->params = *params;
    uvm__frame_reader_init(&s->reader, e, UVM__SERVER_FRAME_BYTES_MAX);
    uvm__ready_init(&s->ready, on_ready);
    uvm__deadline_init(&s->memory, on_memory);
    uvm__list_init(&s->in_work);
    uvm__list_init(&s->replies);
    uvm__list_init(&s->notices);
    if (uvm__server_out_init(s) < 0) {
        uvm__free(e, s);
        return -UVM_E_NOMEM;
    }
    *ret = s;
    return 0;
}

void uvm__server_attach(struct uvm__server *s, struct uvm__stream *take_stream) {
    UVM_ASSERT(!s->closed && s->stream == NULL);
    s->stream = take_stream;
    s->connection++;
    uvm__stream_set_handler(take_stream, on_stream, s);
    uvm__ready_push(s->engine, &s->ready);
}

void uvm__server_detach(struct uvm__server *s) {
    if (s->stream != NULL) {
        end_connection(s, false);
    }
}

void uvm__server_close(struct uvm__server *s) {
    if (s == NULL) {
        return;
    }
    UVM_ASSERT(!s->closed);
    uvm__server_detach(s);
    s->closed = true;
    while (!uvm__list_empty(&s->replies)) {
        s->replies_count--;
        uvm__server_request_free(
            UVM__CONTAINER_OF(s->replies.next, struct uvm__server_request, link));
    }
    while (!uvm__list_empty(&s->notices)) {
        struct uvm__server_notice *n =
            UVM__CONTAINER_OF(s->notices.next, struct uvm__server_notice, link);
        uvm__list_remove(&n->link);
        uvm__free(s->engine, n);
    }
    uvm__ready_cancel(s->engine, &s->ready);
    uvm__server_unref(s);
}

bool uvm__server_attached(const struct uvm__server *s) {
    return s->stream != NULL;
}

uint32_t uvm__server_version(const struct uvm__server *s) {
    return s->version;
}

uint32_t uvm__server_process_control(const struct uvm__server *s) {
    return s->control;
}

uint32_t uvm__server_in_work(const struct uvm__server *s) {
    return s->in_work_count;
}

/* ---- a request's face --------------------------------------------------------------------- */

enum uvm__message uvm__server_request_message(const struct uvm__server_request *r) {
    return r->msg;
}

const union uvm__msg_request *uvm__server_request_body(const struct uvm__server_request *r) {
    return &r->body;
}

const void *uvm__server_request_text(const struct uvm__server_request *r, size_t *ret_bytes) {
    *ret_bytes = r->text_bytes;
    return r->text;
}

uint32_t uvm__server_request_control(const struct uvm__server_request *r) {
    return r->control;
}

uint64_t uvm__server_request_age_ms(const struct uvm__server_request *r) {
    return uvm__now_ms(r->server->engine) - r->read_ms;
}

void uvm__server_request_set_data(struct uvm__server_request *r, void *data) {
    r->data = data;
}

void *uvm__server_request_data(const struct uvm__server_request *r) {
    return r->data;
}

size_t uvm__server_dump(const struct uvm__server *s, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    size_t len = 0;
    buf[0] = 0;
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &s->in_work) {
        const struct uvm__server_request *r =
            UVM__CONTAINER_OF(it, struct uvm__server_request, link);
        int n = snprintf(buf + len, bytes - len, "%s #%" PRIu64 " %" PRIu64 " ms\n",
                         uvm__messages[r->msg].name, r->id, uvm__server_request_age_ms(r));
        if (n < 0 || (size_t)n >= bytes - len) {
            buf[len] = 0; /* whole lines only */
            break;
        }
        len += (size_t)n;
    }
    return len;
}
