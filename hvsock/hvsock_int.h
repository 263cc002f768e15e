/* SPDX-License-Identifier: MIT
 * hvsock_int.h — what a transport provides and gets: the endpoint's base, admitting dials, dialling.
 *
 * A transport embeds struct uvm__hvsock and fills ops. For a peer's dial it asks uvm__hvsock_admit(); when
 * that gives a listener it makes the stream and hands it over with uvm__listener_push(), which cannot fail.
 */
#pragma once
#include "hvsock/hvsock.h"

#define UVM__HVSOCK_BUCKETS 16u

/* One dial from our side, embedded in its op. */
struct uvm__dialing {
    struct uvm__list link; /* of the endpoint's dials, until done */
    struct uvm__hvsock *h; /* NULL: the endpoint has gone */
    uvm_op *op;
    uint32_t port;
    bool begun;                 /* ops->dial was called and has not ended */
    void *transport;            /* the transport's own */
    struct uvm__stream *stream; /* the result, until taken */
};

struct uvm__hvsock_ops {
    /* Ends in one uvm__dialing_done(), inline or later, unless cancelled. Bounds its own time. */
    void (*dial)(struct uvm__hvsock *h, struct uvm__dialing *d);
    void (*dial_cancel)(struct uvm__hvsock *h, struct uvm__dialing *d);
};

struct uvm__hvsock {
    const struct uvm__hvsock_ops *ops;
    uvm_engine *engine;
    uint32_t dials_count;
    struct uvm__list dials;                          /* uvm__dialing.link */
    struct uvm__list listeners[UVM__HVSOCK_BUCKETS]; /* uvm__listener.link */
};

void uvm__hvsock_init(struct uvm__hvsock *h, uvm_engine *e, const struct uvm__hvsock_ops *ops);
/* Fails the dials (CLOSED) and lets go of the listeners, which stay their owners'. */
void uvm__hvsock_deinit(struct uvm__hvsock *h);

/* The listener that would take a dial to `port`; NULL: refuse it. */
struct uvm__listener *uvm__hvsock_admit(struct uvm__hvsock *h, uint32_t port);
void uvm__listener_push(struct uvm__listener *l, struct uvm__stream *take_stream);
/* The stream's handle is gone. */
void uvm__listener_forget(struct uvm__stream *s);

/* `take_stream` on success, else NULL and a negative code. */
void uvm__dialing_done(struct uvm__dialing *d, struct uvm__stream *take_stream, int code);
