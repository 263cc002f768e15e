/* SPDX-License-Identifier: MIT
 * stream.c — what all streams share: dispatch to the transport, and the one-shot events.
 *
 * An event is armed by the refusal that makes the consumer wait (or by a new handler), raised by the
 * transport, and told from the ready queue: so never inside a call, and once per refusal. The transport
 * is told of each arming, since a descriptor is polled only while somebody waits for it.
 */
#include "hvsock/stream.h"
#include "async/check.h"
#include "hvsock/hvsock_int.h"

enum { BOTH = UVM__STREAM_READABLE | UVM__STREAM_WRITABLE };

static void on_ready(struct uvm__ready *r) {
    struct uvm__stream *s = UVM__CONTAINER_OF(r, struct uvm__stream, ready);
    unsigned events = s->pending;
    s->pending = 0;
    UVM_ASSERT(events != 0 && s->on_event != NULL);
    s->on_event(s, events, s->arg);
}

static void arm(struct uvm__stream *s, unsigned events) {
    s->armed = (uint8_t)(s->armed | events);
    if (s->on_event != NULL) {
        s->ops->wanted(s);
    }
}

void uvm__stream_init(struct uvm__stream *s, uvm_engine *e, const struct uvm__stream_ops *ops) {
    *s = (struct uvm__stream){.ops = ops, .engine = e};
    uvm__ready_init(&s->ready, on_ready);
    uvm__list_init(&s->listener_link);
}

void uvm__stream_raise(struct uvm__stream *s, unsigned events) {
    unsigned told = events & s->armed;
    if (told != 0 && s->on_event != NULL) {
        s->armed = (uint8_t)(s->armed & ~told);
        s->pending = (uint8_t)(s->pending | told);
        uvm__ready_push(s->engine, &s->ready);
    }
}

void uvm__stream_set_handler(struct uvm__stream *s, uvm__stream_fn on_event, void *arg) {
    s->on_event = on_event;
    s->arg = arg;
    s->pending = 0;
    uvm__ready_cancel(s->engine, &s->ready);
    arm(s, BOTH);
}

ssize_t uvm__stream_read(struct uvm__stream *s, void *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    ssize_t n = s->ops->read(s, buf, bytes);
    UVM_ASSERT(n <= (ssize_t)bytes);
    if (n == -UVM_E_AGAIN) {
        arm(s, UVM__STREAM_READABLE);
    }
    return n;
}

ssize_t uvm__stream_write(struct uvm__stream *s, const void *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    ssize_t n = s->ops->write(s, buf, bytes);
    UVM_ASSERT(n != 0 && n <= (ssize_t)bytes);
    if (n == -UVM_E_AGAIN || (n > 0 && n < (ssize_t)bytes)) {
        arm(s, UVM__STREAM_WRITABLE);
    }
    return n;
}

void uvm__stream_shutdown(struct uvm__stream *s) {
    s->ops->shutdown(s);
}

/* The handle is gone: no event, and its listener may accept another. */
static void let_go(struct uvm__stream *s) {
    s->on_event = NULL;
    s->pending = 0;
    uvm__ready_cancel(s->engine, &s->ready);
    uvm__listener_forget(s);
}

void uvm__stream_close(struct uvm__stream *s) {
    let_go(s);
    s->ops->close(s);
}

void uvm__stream_reset(struct uvm__stream *s) {
    let_go(s);
    s->ops->reset(s);
}
