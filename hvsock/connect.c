/* SPDX-License-Identifier: MIT
 * connect.c — dialling a guest port as an operation of one step over the transport's dial.
 *
 * Cancelling ends the dial at once: the transport forgets it and refuses a late answer, so nothing has to
 * be undone. The result stays in the op until somebody takes it; an untaken stream is reset with the op.
 * An endpoint that goes while an op has not begun leaves a mark (h is NULL).
 */
#include "async/check.h"
#include "async/limits.h"
#include "hvsock/hvsock_int.h"

struct connect_params {
    struct uvm__hvsock *h;
    uint32_t port;
};

static int connect_init(uvm_op *op, void *state, const void *params) {
    const struct connect_params *p = params;
    struct uvm__dialing *d = state;
    if (p->h->dials_count >= UVM__CONNECTS_MAX) {
        return -UVM_E_LIMIT;
    }
    d->h = p->h;
    d->op = op;
    d->port = p->port;
    p->h->dials_count++;
    uvm__list_append(&p->h->dials, &d->link);
    return 0;
}

/* The dial is over for the endpoint, or has never begun. */
static void leave(struct uvm__dialing *d) {
    if (d->h != NULL) {
        UVM_ASSERT(d->h->dials_count > 0);
        d->h->dials_count--;
        uvm__list_remove(&d->link);
        d->h = NULL;
    }
}

static void connect_deinit(void *state) {
    struct uvm__dialing *d = state;
    UVM_ASSERT(!d->begun);
    leave(d);
    if (d->stream != NULL) {
        uvm__stream_reset(d->stream);
    }
}

static uvm_error *dial_error(const struct uvm__dialing *d, int code) {
    uvm_engine *e = uvm__op_engine(d->op);
    unsigned port = d->port;
    switch (-code) {
    case UVM_E_REFUSED:
        return uvm__error(e, UVM_E_REFUSED, 0, "port %u: refused: nobody listens there", port);
    case UVM_E_TIMEDOUT:
        return uvm__error(e, UVM_E_TIMEDOUT, 0, "port %u: no answer", port);
    case UVM_E_CLOSED:
        return uvm__error(e, UVM_E_CLOSED, 0, "port %u: the other side has gone", port);
    default:
        return uvm__error(e, (enum uvm_error_code)(-code), 0, "port %u: %s", port,
                          uvm_error_code_text(code));
    }
}

static void connect_run(uvm_op *op, void *state) {
    struct uvm__dialing *d = state;
    if (d->h == NULL) {
        uvm__step_done(op, dial_error(d, -UVM_E_CLOSED));
        return;
    }
    d->begun = true;
    d->h->ops->dial(d->h, d);
}

static void connect_cancel(uvm_op *op, void *state) {
    struct uvm__dialing *d = state;
    UVM_ASSERT(d->begun && d->h != NULL);
    d->begun = false;
    d->h->ops->dial_cancel(d->h, d);
    leave(d);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "port %u: not waited for",
                                  (unsigned)d->port));
}

void uvm__dialing_done(struct uvm__dialing *d, struct uvm__stream *take_stream, int code) {
    UVM_ASSERT(d->begun && d->stream == NULL);
    UVM_ASSERT((take_stream != NULL) == (code == 0));
    d->begun = false;
    d->stream = take_stream;
    leave(d);
    uvm__step_done(d->op, code == 0 ? NULL : dial_error(d, code));
}

static const struct uvm__step connect_steps[] = {
    {.name = "dial", .run = connect_run, .cancel = connect_cancel},
};

static const struct uvm__saga connect_saga = {
    .name = "connect",
    .steps = connect_steps,
    .steps_count = 1,
    .state_bytes = sizeof(struct uvm__dialing),
    .init = connect_init,
    .deinit = connect_deinit,
};

int uvm__hvsock_connect(struct uvm__hvsock *h, uint32_t port, uvm_scope *scope, uvm_done_fn on_done,
                        void *arg, uvm_op **ret_op) {
    struct connect_params p = {h, port};
    return uvm__op_start(h->engine, scope, &connect_saga, &p, on_done, arg, ret_op);
}

struct uvm__stream *uvm__hvsock_connect_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &connect_saga);
    if (!uvm__op_succeeded(op)) {
        return NULL;
    }
    struct uvm__dialing *d = uvm__op_state(op);
    struct uvm__stream *s = d->stream;
    d->stream = NULL;
    return s;
}
