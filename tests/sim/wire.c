/* SPDX-License-Identifier: MIT
 * wire.c — frames between the agent's server and the host, one of them mistreated.
 *
 * Both directions are cut into frames by their sizes; a frame is passed on, kept, doubled or replaced. A
 * cut resets the stream to the host and shows the server a broken connection, as a lost one does. The
 * server may write as long as less than a bound waits for the host, so a slow host still slows it down.
 */
#include "tests/sim/wire.h"
#include "async/check.h"
#include "async/clock.h"
#include <stdlib.h>
#include <string.h>

#define OUT_BYTES_MAX (256u << 10)

/* Bytes in order; grows as needed. */
struct queue {
    uint8_t *data;
    size_t len, cap;
};

struct wire {
    struct uvm__stream inner;
    struct uvm__stream *outer; /* NULL: lost */
    struct wire_plan *plan;
    struct queue from_host, to_server; /* a frame in progress, whole ones */
    struct queue from_server, to_host;
    struct queue late; /* held until the timer */
    enum uvm__message late_msg;
    struct uvm__deadline timer;
    bool host_ended, shut;
};

static const char *const fault_texts[WIRE_FAULT_MAX] = {
#define SIM_X(name, text) [WIRE_##name] = (text),
    WIRE_FAULT_MAP(SIM_X)
#undef SIM_X
};

const char *wire_fault_text(enum wire_fault fault) {
    UVM_ASSERT_CMP(fault, <, WIRE_FAULT_MAX);
    return fault_texts[fault];
}

static void queue_add(struct queue *q, const void *data, size_t bytes) {
    if (q->len + bytes > q->cap) {
        q->cap = (q->len + bytes) * 2;
        q->data = realloc(q->data, q->cap);
        UVM_ASSERT(q->data != NULL);
    }
    if (bytes > 0) {
        memcpy(q->data + q->len, data, bytes);
    }
    q->len += bytes;
}

static void queue_drop(struct queue *q, size_t bytes) {
    UVM_ASSERT_CMP(bytes, <=, q->len);
    q->len -= bytes;
    if (q->len > 0) {
        memmove(q->data, q->data + bytes, q->len);
    } else {
        free(q->data);
        *q = (struct queue){0};
    }
}

static struct wire *wire_of(struct uvm__stream *s) {
    return UVM__CONTAINER_OF(s, struct wire, inner);
}

/* ---- to the host -------------------------------------------------------------------------- */

static void lose(struct wire *w) {
    if (w->outer != NULL) {
        uvm__stream_reset(w->outer);
        w->outer = NULL;
    }
    queue_drop(&w->to_host, w->to_host.len);
    uvm__stream_raise(&w->inner, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
}

static void pump(struct wire *w) {
    while (w->outer != NULL && w->to_host.len > 0) {
        ssize_t n = uvm__stream_write(w->outer, w->to_host.data, w->to_host.len);
        if (n == -UVM_E_AGAIN || n == -UVM_E_NOMEM) {
            return;
        }
        if (n < 0) {
            lose(w);
            return;
        }
        queue_drop(&w->to_host, (size_t)n);
    }
    if (w->outer != NULL && w->shut) {
        uvm__stream_shutdown(w->outer);
    }
    if (w->to_host.len < OUT_BYTES_MAX) {
        uvm__stream_raise(&w->inner, UVM__STREAM_WRITABLE);
    }
}

static enum uvm__message message_of(uint32_t word) {
    return uvm__message_of((word & 0x0fffffffu) | 0x10000000u);
}

static void tell(struct wire *w, enum uvm__message msg, enum wire_moment moment) {
    if (w->plan->watch != NULL) {
        w->plan->watch(msg, moment, w->plan->watch_arg);
    }
}

static void on_late(struct uvm__deadline *d) {
    struct wire *w = UVM__CONTAINER_OF(d, struct wire, timer);
    tell(w, w->late_msg, WIRE_ANSWERED);
    queue_add(&w->to_host, w->late.data, w->late.len);
    queue_drop(&w->late, w->late.len);
    pump(w);
}

/* A frame of the same head with another body; size 0: the right one. */
static void put_frame(struct wire *w, struct uvm__frame_header h, const void *body, size_t bytes,
                      uint32_t size) {
    uint8_t head[UVM__FRAME_HEADER_BYTES];
    h.size = size != 0 ? size : (uint32_t)(sizeof head + bytes);
    uvm__frame_header_write(&h, head);
    queue_add(&w->to_host, head, sizeof head);
    queue_add(&w->to_host, body, bytes);
}

static void put_replaced(struct wire *w, const uint8_t *frame, size_t bytes, const char *what,
                         const char *by) {
    size_t len = strlen(what);
    UVM_ASSERT(len == strlen(by));
    size_t at = w->to_host.len;
    queue_add(&w->to_host, frame, bytes);
    uint8_t *hit = memmem(w->to_host.data + at, bytes, what, len);
    UVM_ASSERT(hit != NULL);
    memcpy(hit, by, len);
}

static const char failed[] = "{\"Result\":-2147467259,\"ErrorMessage\":\"no such luck\"}";

static void mistreat_reply(struct wire *w, const uint8_t *frame, size_t bytes) {
    static const char news[] =
        "{\"ContainerId\":\"nobody\",\"ActivityId\":\"00000000-0000-0000-0000-000000000000\","
        "\"Type\":\"UnexpectedExit\",\"Operation\":\"None\",\"Result\":0}";
    static const char text[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n";
    struct uvm__frame_header h;
    uvm__frame_header_read(frame, &h);
    switch (w->plan->fault) {
    case WIRE_LOSE_REPLY:
        break;
    case WIRE_LATE:
        w->late_msg = message_of(h.type);
        queue_add(&w->late, frame, bytes);
        uvm__deadline_set(w->inner.engine, &w->timer,
                          uvm__now_ms(w->inner.engine) + w->plan->late_ms);
        break;
    case WIRE_TWICE:
        queue_add(&w->to_host, frame, bytes);
        queue_add(&w->to_host, frame, bytes);
        break;
    case WIRE_REFUSE:
        put_frame(w, h, failed, sizeof failed - 1, 0);
        break;
    case WIRE_CUT_REPLY:
        lose(w);
        break;
    case WIRE_CUT_HALF:
        queue_add(&w->to_host, frame, bytes / 2);
        w->shut = true;
        break;
    case WIRE_END:
        w->shut = true;
        break;
    case WIRE_GARBAGE:
        queue_add(&w->to_host, text, sizeof text - 1);
        break;
    case WIRE_GIANT:
        put_frame(w, h, "{", 1, UINT32_MAX);
        break;
    case WIRE_TINY:
        put_frame(w, h, "", 0, UVM__FRAME_HEADER_BYTES - 1);
        break;
    case WIRE_NO_JSON:
        put_frame(w, h, "{\"Result\":", 10, 0);
        break;
    case WIRE_STRANGE_ID:
        h.id += 1000;
        put_frame(w, h, frame + UVM__FRAME_HEADER_BYTES, bytes - UVM__FRAME_HEADER_BYTES, 0);
        break;
    case WIRE_STRANGE_NEWS:
        put_frame(w, (struct uvm__frame_header){.type = UVM__NOTIFICATION_WORD}, news,
                  sizeof news - 1, 0);
        break;
    case WIRE_BAD_VERSION:
        put_replaced(w, frame, bytes, "\"Version\":4", "\"Version\":5");
        break;
    case WIRE_BAD_OS:
        put_replaced(w, frame, bytes, "\"Linux\"", "\"Minix\"");
        break;
    default:
        UVM_ASSERT(false); /* a fault of requests */
    }
}

/* True: this is the frame that the plan means. */
static bool meant(struct wire *w, uint32_t word, bool request) {
    struct wire_plan *p = w->plan;
    bool of_requests =
        p->fault == WIRE_LOSE_REQUEST || p->fault == WIRE_CUT_REQUEST || p->fault == WIRE_DENY;
    if (p->met || p->fault == WIRE_NONE || of_requests != request || message_of(word) != p->msg) {
        return false;
    }
    if (p->skip > 0) {
        p->skip--;
        return false;
    }
    p->met = true;
    return true;
}

static size_t whole_frame(const struct queue *q) {
    struct uvm__frame_header h;
    if (q->len < UVM__FRAME_HEADER_BYTES) {
        return 0;
    }
    uvm__frame_header_read(q->data, &h);
    UVM_ASSERT_CMP(h.size, >=, UVM__FRAME_HEADER_BYTES); /* both ends are ours */
    return q->len < h.size ? 0 : h.size;
}

static void pass_replies(struct wire *w) {
    size_t bytes;
    while ((bytes = whole_frame(&w->from_server)) > 0) {
        struct uvm__frame_header h;
        uvm__frame_header_read(w->from_server.data, &h);
        tell(w, message_of(h.type), WIRE_ACTED);
        if (w->outer == NULL || w->shut) {
            /* nobody hears it any more */
        } else if (meant(w, h.type, false)) {
            mistreat_reply(w, w->from_server.data, bytes);
        } else {
            tell(w, message_of(h.type), WIRE_ANSWERED);
            queue_add(&w->to_host, w->from_server.data, bytes);
        }
        queue_drop(&w->from_server, bytes);
    }
    pump(w);
}

/* ---- from the host ------------------------------------------------------------------------ */

static void pass_requests(struct wire *w) {
    size_t bytes;
    while (w->outer != NULL && (bytes = whole_frame(&w->from_host)) > 0) {
        struct uvm__frame_header h;
        uvm__frame_header_read(w->from_host.data, &h);
        tell(w, message_of(h.type), WIRE_SENT);
        if (!meant(w, h.type, true)) {
            queue_add(&w->to_server, w->from_host.data, bytes);
        } else if (w->plan->fault == WIRE_CUT_REQUEST) {
            lose(w);
        } else if (w->plan->fault == WIRE_DENY) {
            h.type = uvm__message_response_word(h.type);
            put_frame(w, h, failed, sizeof failed - 1, 0);
            pump(w);
        }
        queue_drop(&w->from_host, bytes);
    }
}

static void on_outer(struct uvm__stream *s, unsigned events, void *arg) {
    struct wire *w = arg;
    if ((events & UVM__STREAM_READABLE) != 0) {
        uint8_t buf[4096];
        ssize_t n;
        while ((n = uvm__stream_read(s, buf, sizeof buf)) > 0) {
            queue_add(&w->from_host, buf, (size_t)n);
        }
        pass_requests(w);
        if (n == 0) {
            w->host_ended = true;
        } else if (n == -UVM_E_CLOSED) {
            lose(w);
        }
        uvm__stream_raise(&w->inner, UVM__STREAM_READABLE);
    }
    if ((events & UVM__STREAM_WRITABLE) != 0) {
        pump(w);
    }
}

/* ---- the server's stream ------------------------------------------------------------------ */

static ssize_t inner_read(struct uvm__stream *s, void *buf, size_t bytes) {
    struct wire *w = wire_of(s);
    size_t n = bytes < w->to_server.len ? bytes : w->to_server.len;
    if (n > 0) {
        memcpy(buf, w->to_server.data, n);
        queue_drop(&w->to_server, n);
        return (ssize_t)n;
    }
    if (w->outer == NULL) {
        return -UVM_E_CLOSED;
    }
    return w->host_ended ? 0 : -UVM_E_AGAIN;
}

static ssize_t inner_write(struct uvm__stream *s, const void *buf, size_t bytes) {
    struct wire *w = wire_of(s);
    if (w->outer == NULL) {
        return -UVM_E_CLOSED;
    }
    if (w->to_host.len >= OUT_BYTES_MAX) {
        return -UVM_E_AGAIN;
    }
    queue_add(&w->from_server, buf, bytes);
    pass_replies(w);
    return (ssize_t)bytes;
}

static void inner_shutdown(struct uvm__stream *s) {
    struct wire *w = wire_of(s);
    w->shut = true;
    pump(w);
}

static void let_go(struct wire *w) {
    uvm__deadline_clear(w->inner.engine, &w->timer);
    struct queue *all[] = {&w->from_host, &w->to_server, &w->from_server, &w->to_host, &w->late};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        queue_drop(all[i], all[i]->len);
    }
    free(w);
}

static void inner_close(struct uvm__stream *s) {
    struct wire *w = wire_of(s);
    pump(w);
    if (w->outer != NULL) {
        uvm__stream_close(w->outer);
    }
    let_go(w);
}

static void inner_reset(struct uvm__stream *s) {
    struct wire *w = wire_of(s);
    if (w->outer != NULL) {
        uvm__stream_reset(w->outer);
    }
    let_go(w);
}

static void inner_wanted(struct uvm__stream *s) {
    struct wire *w = wire_of(s);
    unsigned events = 0;
    if (w->to_server.len > 0 || w->host_ended || w->outer == NULL) {
        events |= UVM__STREAM_READABLE;
    }
    if (w->to_host.len < OUT_BYTES_MAX || w->outer == NULL) {
        events |= UVM__STREAM_WRITABLE;
    }
    uvm__stream_raise(s, events);
}

static const struct uvm__stream_ops inner_ops = {
    .read = inner_read,
    .write = inner_write,
    .shutdown = inner_shutdown,
    .close = inner_close,
    .reset = inner_reset,
    .wanted = inner_wanted,
};

struct uvm__stream *wire_new(uvm_engine *e, struct uvm__stream *take_outer,
                             struct wire_plan *plan) {
    struct wire *w = calloc(1, sizeof *w);
    UVM_ASSERT(w != NULL);
    uvm__stream_init(&w->inner, e, &inner_ops);
    uvm__deadline_init(&w->timer, on_late);
    w->outer = take_outer;
    w->plan = plan;
    uvm__stream_set_handler(take_outer, on_outer, w);
    return &w->inner;
}
