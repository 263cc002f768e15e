/* SPDX-License-Identifier: MIT
 * loopback.c — two endpoints joined in the process: the transport of tests and of the simulation.
 *
 * A connection is one object with two ends. What an end writes goes into the other's fifo, at most a
 * window; reading makes room. No loop, no timer and no descriptor is needed: events go by the ready queue,
 * so a run is the same every time. A dial is answered at once. A writer that was refused is told when half
 * of the window is free. Each end lives until its owner lets it go, also when the endpoints have gone.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/limits.h"
#include "hvsock/fifo.h"
#include "hvsock/hvsock_int.h"

struct end {
    struct uvm__stream stream;
    struct pair *pair;
    struct uvm__fifo in; /* written by the other end */
    bool shut;           /* writes no more */
    bool gone;           /* handle let go */
    bool reset;          /* cut off: reads what arrived, then CLOSED */
};

struct pair {
    struct uvm__list link; /* of the loopback; unlinked: outlives it */
    struct loopback *owner;
    size_t window;
    struct end ends[2];
};

struct side {
    struct uvm__hvsock h;
    struct loopback *owner;
};

struct loopback {
    uvm_engine *engine;
    size_t window;
    uint32_t pairs_count;
    struct uvm__list pairs;
    struct side sides[2]; /* host, guest */
};

static struct end *end_of(struct uvm__stream *s) {
    return UVM__CONTAINER_OF(s, struct end, stream);
}

static struct end *peer_of(struct end *e) {
    return e == &e->pair->ends[0] ? &e->pair->ends[1] : &e->pair->ends[0];
}

static bool writable_soon(const struct end *peer) {
    return peer->in.len <= peer->pair->window / 2;
}

static ssize_t end_read(struct uvm__stream *s, void *buf, size_t bytes) {
    struct end *e = end_of(s);
    if (e->in.len > 0) {
        size_t n = uvm__fifo_take(&e->in, buf, bytes);
        struct end *peer = peer_of(e);
        if (!peer->gone && writable_soon(e)) {
            uvm__stream_raise(&peer->stream, UVM__STREAM_WRITABLE);
        }
        return (ssize_t)n;
    }
    if (e->reset) {
        return -UVM_E_CLOSED;
    }
    struct end *peer = peer_of(e);
    return peer->shut || peer->gone ? 0 : -UVM_E_AGAIN;
}

static ssize_t end_write(struct uvm__stream *s, const void *buf, size_t bytes) {
    struct end *e = end_of(s);
    struct end *peer = peer_of(e);
    if (e->reset || e->shut || peer->gone) {
        return -UVM_E_CLOSED;
    }
    size_t room = e->pair->window - peer->in.len;
    if (room == 0) {
        return -UVM_E_AGAIN;
    }
    size_t n = bytes < room ? bytes : room;
    int rc = uvm__fifo_append(&peer->in, buf, n);
    if (rc < 0) {
        return rc;
    }
    uvm__stream_raise(&peer->stream, UVM__STREAM_READABLE);
    return (ssize_t)n;
}

static void end_shutdown(struct uvm__stream *s) {
    struct end *e = end_of(s);
    struct end *peer = peer_of(e);
    if (!e->shut) {
        e->shut = true;
        if (!peer->gone) {
            uvm__stream_raise(&peer->stream, UVM__STREAM_READABLE);
        }
    }
}

static void let_go(struct end *e) {
    struct pair *p = e->pair;
    struct end *peer = peer_of(e);
    UVM_ASSERT(!e->gone);
    e->gone = true;
    uvm__fifo_clear(&e->in);
    if (!peer->gone) {
        uvm__stream_raise(&peer->stream, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
        return;
    }
    if (p->owner != NULL) {
        p->owner->pairs_count--;
        uvm__list_remove(&p->link);
    }
    uvm__free(e->stream.engine, p);
}

static void end_close(struct uvm__stream *s) {
    let_go(end_of(s));
}

static void end_reset(struct uvm__stream *s) {
    struct end *e = end_of(s);
    peer_of(e)->reset = true;
    let_go(e);
}

static void end_wanted(struct uvm__stream *s) {
    struct end *e = end_of(s);
    struct end *peer = peer_of(e);
    unsigned events = 0;
    if (e->in.len > 0 || e->reset || peer->shut || peer->gone) {
        events |= UVM__STREAM_READABLE;
    }
    if (e->reset || peer->gone || writable_soon(peer)) {
        events |= UVM__STREAM_WRITABLE;
    }
    uvm__stream_raise(s, events);
}

static const struct uvm__stream_ops end_ops = {
    .read = end_read,
    .write = end_write,
    .shutdown = end_shutdown,
    .close = end_close,
    .reset = end_reset,
    .wanted = end_wanted,
};

static struct loopback *loopback_of(struct uvm__hvsock *h) {
    return UVM__CONTAINER_OF(h, struct side, h)->owner;
}

static struct pair *pair_new(struct loopback *lb) {
    struct pair *p = uvm__zalloc(lb->engine, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    p->owner = lb;
    p->window = lb->window;
    for (unsigned i = 0; i < 2; i++) {
        uvm__stream_init(&p->ends[i].stream, lb->engine, &end_ops);
        uvm__fifo_init(&p->ends[i].in, lb->engine, NULL);
        p->ends[i].pair = p;
    }
    uvm__list_append(&lb->pairs, &p->link);
    lb->pairs_count++;
    return p;
}

static void loopback_dial(struct uvm__hvsock *h, struct uvm__dialing *d) {
    struct loopback *lb = loopback_of(h);
    struct uvm__hvsock *other = h == &lb->sides[0].h ? &lb->sides[1].h : &lb->sides[0].h;
    struct uvm__listener *l = uvm__hvsock_admit(other, d->port);
    if (l == NULL) {
        uvm__dialing_done(d, NULL, -UVM_E_REFUSED);
        return;
    }
    if (lb->pairs_count >= UVM__STREAMS_MAX) {
        uvm__dialing_done(d, NULL, -UVM_E_LIMIT);
        return;
    }
    struct pair *p = pair_new(lb);
    if (p == NULL) {
        uvm__dialing_done(d, NULL, -UVM_E_NOMEM);
        return;
    }
    uvm__listener_push(l, &p->ends[1].stream);
    uvm__dialing_done(d, &p->ends[0].stream, 0);
}

static void loopback_dial_cancel(struct uvm__hvsock *h, struct uvm__dialing *d) {
    (void)h;
    (void)d;
    const bool dials_wait = false; /* each was answered at once */
    UVM_ASSERT(dials_wait);
}

static const struct uvm__hvsock_ops loopback_ops = {
    .dial = loopback_dial,
    .dial_cancel = loopback_dial_cancel,
};

int uvm__loopback_new(uvm_engine *e, size_t window_bytes, struct uvm__hvsock **ret_host,
                      struct uvm__hvsock **ret_guest) {
    struct loopback *lb = uvm__zalloc(e, sizeof *lb);
    if (lb == NULL) {
        return -UVM_E_NOMEM;
    }
    lb->engine = e;
    lb->window = window_bytes == 0 ? UVM__STREAM_WINDOW_BYTES : window_bytes;
    uvm__list_init(&lb->pairs);
    for (unsigned i = 0; i < 2; i++) {
        uvm__hvsock_init(&lb->sides[i].h, e, &loopback_ops);
        lb->sides[i].owner = lb;
    }
    *ret_host = &lb->sides[0].h;
    *ret_guest = &lb->sides[1].h;
    return 0;
}

void uvm__loopback_reset(struct uvm__hvsock *side) {
    struct loopback *lb = loopback_of(side);
    while (!uvm__list_empty(&lb->pairs)) {
        struct pair *p = UVM__CONTAINER_OF(lb->pairs.next, struct pair, link);
        uvm__list_remove(&p->link);
        p->owner = NULL;
        lb->pairs_count--;
        for (unsigned i = 0; i < 2; i++) {
            p->ends[i].reset = true;
            if (!p->ends[i].gone) {
                uvm__stream_raise(&p->ends[i].stream, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
            }
        }
    }
    UVM_ASSERT(lb->pairs_count == 0);
}

void uvm__loopback_free(struct uvm__hvsock *host, struct uvm__hvsock *guest) {
    if (host == NULL) {
        return;
    }
    struct loopback *lb = loopback_of(host);
    UVM_ASSERT(host == &lb->sides[0].h && guest == &lb->sides[1].h);
    uvm__loopback_reset(host);
    uvm__hvsock_deinit(host);
    uvm__hvsock_deinit(guest);
    uvm__free(lb->engine, lb);
}
