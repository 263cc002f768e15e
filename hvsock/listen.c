/* SPDX-License-Identifier: MIT
 * listen.c — listeners of an endpoint: which dials are taken, and handing the streams over.
 *
 * A transport asks first (admit), so that a refusal costs it nothing, and then pushes a stream that is
 * already usable. The owner hears of each from the ready queue, one stream a turn: its callback may close
 * the listener. A stream counts as live from the push until its handle is gone; a listener that is closed
 * first lets go of those that were handed over and resets the rest.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/limits.h"
#include "hvsock/hvsock_int.h"

struct uvm__listener {
    struct uvm__list link; /* of the endpoint; unlinked: accepts no more */
    uvm_engine *engine;
    struct uvm__listen_params params;
    struct uvm__list waiting; /* uvm__stream.listener_link: not yet handed over */
    struct uvm__list live;    /* likewise: handed over */
    uint32_t waiting_count, live_count;
    struct uvm__ready ready;
};

static struct uvm__list *bucket(struct uvm__hvsock *h, uint32_t port) {
    return &h->listeners[port % UVM__HVSOCK_BUCKETS];
}

static struct uvm__listener *find(struct uvm__hvsock *h, uint32_t port) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, bucket(h, port)) {
        struct uvm__listener *l = UVM__CONTAINER_OF(it, struct uvm__listener, link);
        if (l->params.port == port) {
            return l;
        }
    }
    return NULL;
}

static void on_ready(struct uvm__ready *r) {
    struct uvm__listener *l = UVM__CONTAINER_OF(r, struct uvm__listener, ready);
    UVM_ASSERT(l->waiting_count > 0);
    struct uvm__stream *s = UVM__CONTAINER_OF(l->waiting.next, struct uvm__stream, listener_link);
    uvm__list_remove(&s->listener_link);
    uvm__list_append(&l->live, &s->listener_link);
    l->waiting_count--;
    l->live_count++;
    if (l->waiting_count > 0) {
        uvm__ready_push(l->engine, &l->ready);
    }
    l->params.on_accept(l, s, l->params.arg); /* may close the listener */
}

int uvm__hvsock_listen(struct uvm__hvsock *h, const struct uvm__listen_params *params,
                       struct uvm__listener **ret) {
    UVM_ASSERT(params->on_accept != NULL);
    if (find(h, params->port) != NULL) {
        return -UVM_E_EXISTS;
    }
    struct uvm__listener *l = uvm__zalloc(h->engine, sizeof *l);
    if (l == NULL) {
        return -UVM_E_NOMEM;
    }
    l->engine = h->engine;
    l->params = *params;
    uvm__list_init(&l->waiting);
    uvm__list_init(&l->live);
    uvm__ready_init(&l->ready, on_ready);
    uvm__list_append(bucket(h, params->port), &l->link);
    *ret = l;
    return 0;
}

uint32_t uvm__listener_port(const struct uvm__listener *l) {
    return l->params.port;
}

static struct uvm__stream *detach_first(struct uvm__list *list) {
    struct uvm__stream *s = UVM__CONTAINER_OF(list->next, struct uvm__stream, listener_link);
    uvm__list_remove(&s->listener_link);
    s->listener = NULL;
    return s;
}

void uvm__listener_close(struct uvm__listener *l) {
    if (l == NULL) {
        return;
    }
    uvm__list_remove(&l->link);
    uvm__ready_cancel(l->engine, &l->ready);
    while (!uvm__list_empty(&l->live)) {
        (void)detach_first(&l->live);
    }
    while (!uvm__list_empty(&l->waiting)) {
        uvm__stream_reset(detach_first(&l->waiting));
    }
    uvm__free(l->engine, l);
}

struct uvm__listener *uvm__hvsock_admit(struct uvm__hvsock *h, uint32_t port) {
    struct uvm__listener *l = find(h, port);
    if (l == NULL || l->waiting_count >= UVM__ACCEPTS_MAX) {
        return NULL;
    }
    uint32_t live = l->waiting_count + l->live_count;
    return l->params.live_max > 0 && live >= l->params.live_max ? NULL : l;
}

void uvm__listener_push(struct uvm__listener *l, struct uvm__stream *take_stream) {
    UVM_ASSERT(take_stream->listener == NULL && uvm__list_linked(&l->link));
    take_stream->listener = l;
    uvm__list_append(&l->waiting, &take_stream->listener_link);
    l->waiting_count++;
    if (l->params.once) {
        uvm__list_remove(&l->link);
    }
    uvm__ready_push(l->engine, &l->ready);
}

void uvm__listener_forget(struct uvm__stream *s) {
    struct uvm__listener *l = s->listener;
    if (l != NULL) {
        /* Only the owner, who has it from on_accept, lets a stream go. */
        UVM_ASSERT(l->live_count > 0);
        l->live_count--;
        uvm__list_remove(&s->listener_link);
        s->listener = NULL;
    }
}

void uvm__hvsock_init(struct uvm__hvsock *h, uvm_engine *e, const struct uvm__hvsock_ops *ops) {
    *h = (struct uvm__hvsock){.ops = ops, .engine = e};
    uvm__list_init(&h->dials);
    for (unsigned i = 0; i < UVM__HVSOCK_BUCKETS; i++) {
        uvm__list_init(&h->listeners[i]);
    }
}

void uvm__hvsock_deinit(struct uvm__hvsock *h) {
    while (!uvm__list_empty(&h->dials)) {
        struct uvm__dialing *d = UVM__CONTAINER_OF(h->dials.next, struct uvm__dialing, link);
        if (d->begun) {
            h->ops->dial_cancel(h, d);
            uvm__dialing_done(d, NULL, -UVM_E_CLOSED);
        } else {
            uvm__list_remove(&d->link);
            d->h = NULL;
        }
    }
    for (unsigned i = 0; i < UVM__HVSOCK_BUCKETS; i++) {
        while (!uvm__list_empty(&h->listeners[i])) {
            uvm__list_remove(h->listeners[i].next);
        }
    }
}
