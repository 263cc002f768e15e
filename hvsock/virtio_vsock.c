/* SPDX-License-Identifier: MIT
 * virtio_vsock.c — the packet engine: turns over the two queues, the table of connections, dialling.
 *
 * A turn drains what the guest sent, then fills the guest's buffers: first refusals, then packets without
 * data, then data round robin. Both are bounded by packets and bytes; what is left waits for the next turn,
 * so that one guest does not starve the others of the loop. Kicks are asked for only when there is nothing
 * to do about a queue: for the guest's packets when all are drained, for its buffers when one is missing.
 * That packets were taken is no news that the guest waits for, unless it runs out of slots: it hears of that
 * for many at once, or a little later. So a stream of packets costs it few interrupts.
 * The guest's packets are left in the ring (and so stop it) only while no refusal more can be remembered:
 * the one reply that needs memory of its own. All else is owed by connections, so draining never waits for
 * buffers, as the standard demands.
 * A queue that breaks a rule ends the device's work: streams are reset and the rings are not touched again.
 */
#include "hvsock/virtio_vsock.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "async/limits.h"
#include "hvsock/vsock_conn.h"

#define TURN_PACKETS 256u
#define TURN_BYTES (512u << 10)
#define SHOW_EVERY 32u /* packets to the guest, so that it begins before all are there */
#define SHOW_TX_MS 2u  /* packets of the guest: taken to told */
#define TINY_MAX 1024u
#define SPARE_CHUNKS 64u
#define FIRST_PORT 0x60000000u /* of ours when we dial; rising, so that none is used again soon */

struct budget {
    uint32_t packets;
    uint32_t bytes;
};

static struct uvm__vsock_conn *conn_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__vsock_conn, link);
}

/* ---- the table ---------------------------------------------------------------------------- */

static struct uvm__vsock_conn **bucket(struct uvm__virtio_vsock *v, uint32_t guest_port,
                                       uint32_t host_port) {
    uint64_t key = ((uint64_t)guest_port << 32 | host_port) ^ v->hash_seed;
    key *= 0x9e3779b97f4a7c15u;
    return &v->buckets[(key >> 40) % UVM__VSOCK_BUCKETS];
}

struct uvm__vsock_conn *uvm__virtio_vsock_find(struct uvm__virtio_vsock *v, uint32_t guest_port,
                                               uint32_t host_port) {
    struct uvm__vsock_conn *c = *bucket(v, guest_port, host_port);
    while (c != NULL && (c->guest_port != guest_port || c->host_port != host_port)) {
        c = c->hash_next;
    }
    return c;
}

void uvm__virtio_vsock_link(struct uvm__virtio_vsock *v, struct uvm__vsock_conn *c) {
    struct uvm__vsock_conn **b = bucket(v, c->guest_port, c->host_port);
    UVM_ASSERT(uvm__virtio_vsock_find(v, c->guest_port, c->host_port) == NULL);
    c->hash_next = *b;
    *b = c;
}

void uvm__virtio_vsock_unlink(struct uvm__virtio_vsock *v, struct uvm__vsock_conn *c) {
    struct uvm__vsock_conn **at = bucket(v, c->guest_port, c->host_port);
    while (*at != c) {
        UVM_ASSERT(*at != NULL);
        at = &(*at)->hash_next;
    }
    *at = c->hash_next;
    c->hash_next = NULL;
}

void uvm__virtio_vsock_wake(struct uvm__virtio_vsock *v) {
    if (v->running) {
        uvm__ready_push(v->engine, &v->turn);
    }
}

/* ---- from the guest ----------------------------------------------------------------------- */

static void refuse(struct uvm__virtio_vsock *v, const struct uvm__vsock_header *h) {
    if (h->op == UVM__VSOCK_OP_RST) {
        return; /* an RST is never answered with another */
    }
    UVM_ASSERT(v->orphans_count < UVM__VSOCK_ORPHANS_MAX);
    uint32_t at = (v->orphans_first + v->orphans_count++) % UVM__VSOCK_ORPHANS_MAX;
    v->orphans[at] = (struct uvm__vsock_orphan){h->src_port, h->dst_port, h->type};
    v->stats.resets++;
}

/* A connection costs its consumer a callback, at least: one that is opened and dropped in a loop would cost
 * it all its time, however few are open. */
static bool ration(struct uvm__virtio_vsock *v) {
    uint64_t now = uvm__now_ms(v->engine);
    uint64_t more = (now - v->requests_ms) * (UVM__REQUESTS_PER_S_MAX / 1000u);
    uint64_t room = UVM__REQUESTS_AT_ONCE_MAX - v->requests;
    v->requests += (uint32_t)(more < room ? more : room);
    v->requests_ms = now;
    if (v->requests == 0) {
        return false;
    }
    v->requests--;
    return true;
}

static void request_came(struct uvm__virtio_vsock *v, const struct uvm__vsock_header *h) {
    struct uvm__listener *l = NULL;
    bool sane = h->fwd_cnt == v->params.counters_start; /* nothing was sent yet */
    if (sane && v->stats.streams < v->params.streams_max) {
        l = uvm__hvsock_admit(&v->hvsock, h->dst_port);
    }
    if (l != NULL && !ration(v)) {
        l = NULL;
    }
    struct uvm__vsock_conn *c =
        l == NULL ? NULL : uvm__vsock_conn_new(v, h->src_port, h->dst_port, UVM__VSOCK_OPEN);
    if (c == NULL) {
        refuse(v, h);
        return;
    }
    sane = uvm__vsock_credit_take(&c->credit, h->buf_alloc, h->fwd_cnt);
    UVM_ASSERT(sane);
    c->handle = true;
    c->owes |= UVM__VSOCK_OWES_RESPONSE;
    uvm__listener_push(l, &c->stream);
    uvm__vsock_conn_update(c);
}

static void packet_came(struct uvm__virtio_vsock *v, struct uvm__vq_element *el) {
    uint8_t raw[UVM__VSOCK_HEADER_BYTES];
    struct uvm__vsock_header h;
    struct uvm__vq_cursor cursor;
    uvm__vq_cursor_readable(&cursor, el);
    if (uvm__vq_cursor_get(&cursor, raw, sizeof raw) < sizeof raw) {
        v->stats.dropped++;
        return;
    }
    uvm__vsock_decode(raw, &h);
    if (h.src_cid != v->params.guest_cid || h.dst_cid != UVM__VSOCK_CID_HOST) {
        v->stats.dropped++;
        return;
    }
    if (h.type != UVM__VSOCK_TYPE_STREAM) {
        refuse(v, &h);
        return;
    }
    struct uvm__vsock_conn *c = uvm__virtio_vsock_find(v, h.src_port, h.dst_port);
    if (el->writable > 0 || h.len > UVM__VSOCK_PAYLOAD_MAX ||
        h.len > el->readable_bytes - sizeof raw) {
        /* What should have come is lost: the stream would have a hole. */
        v->stats.dropped++;
        if (c != NULL) {
            uvm__vsock_conn_abort(c, -UVM_E_PROTOCOL);
        }
        return;
    }
    v->stats.packets_rx++;
    v->stats.bytes_rx += h.op == UVM__VSOCK_OP_RW ? h.len : 0;
    if (c != NULL) {
        uvm__vsock_conn_packet(c, &h, &cursor);
    } else if (h.op == UVM__VSOCK_OP_REQUEST) {
        request_came(v, &h);
    } else {
        refuse(v, &h);
    }
}

static void show(struct uvm__virtio_vsock *v, unsigned queue) {
    if (uvm__vq_show(v->queues[queue])) {
        v->stats.interrupts++;
        v->params.interrupt(queue, v->params.arg);
    }
}

static void show_tx(struct uvm__virtio_vsock *v) {
    v->tx_slots = 0;
    uvm__deadline_clear(v->engine, &v->show);
    show(v, UVM__VSOCK_TX);
}

static bool tx_short_of_slots(const struct uvm__virtio_vsock *v) {
    return v->tx_slots >= v->queues[UVM__VSOCK_TX]->size / 4u;
}

static void on_show(struct uvm__deadline *d) {
    struct uvm__virtio_vsock *v = UVM__CONTAINER_OF(d, struct uvm__virtio_vsock, show);
    UVM_ASSERT(v->queues[UVM__VSOCK_TX] != NULL);
    show_tx(v);
}

/* True: packets are left. */
static bool drain(struct uvm__virtio_vsock *v) {
    struct uvm__vq *q = v->queues[UVM__VSOCK_TX];
    struct budget left = {TURN_PACKETS, TURN_BYTES};
    if (q->kicks) {
        uvm__vq_kicks_off(q);
    }
    while (v->orphans_count < UVM__VSOCK_ORPHANS_MAX) {
        if (left.packets == 0 || left.bytes == 0) {
            return true;
        }
        int rc = uvm__vq_peek(q, v->element);
        if (rc < 0 || (rc == 0 && !uvm__vq_kicks_on(q))) {
            return false;
        }
        if (rc == 0) {
            continue; /* something came just then */
        }
        packet_came(v, v->element);
        uvm__vq_complete(q, v->element, 0);
        uint64_t bytes = v->element->readable_bytes;
        left.packets--;
        left.bytes -= bytes < left.bytes ? (uint32_t)bytes : left.bytes;
        v->tx_slots += v->element->slots;
        if (tx_short_of_slots(v)) {
            show_tx(v);
        }
    }
    return false; /* filling makes room, and wakes us */
}

/* ---- to the guest ------------------------------------------------------------------------- */

static void take_orphan(struct uvm__virtio_vsock *v, struct uvm__vsock_header *ret) {
    const struct uvm__vsock_orphan *o = &v->orphans[v->orphans_first];
    *ret = (struct uvm__vsock_header){.src_cid = UVM__VSOCK_CID_HOST,
                                      .dst_cid = v->params.guest_cid,
                                      .src_port = o->host_port,
                                      .dst_port = o->guest_port,
                                      .type = o->type,
                                      .op = UVM__VSOCK_OP_RST};
    v->orphans_first = (v->orphans_first + 1) % UVM__VSOCK_ORPHANS_MAX;
    v->orphans_count--;
}

static bool anything_to_send(const struct uvm__virtio_vsock *v) {
    return v->orphans_count > 0 || !uvm__list_empty(&v->control) || !uvm__list_empty(&v->data);
}

/* Puts the next packet into the element; returns its length. */
static uint32_t send_one(struct uvm__virtio_vsock *v, struct uvm__vq_element *el) {
    struct uvm__vsock_header h;
    struct uvm__vq_cursor head, body;
    uint8_t raw[UVM__VSOCK_HEADER_BYTES];
    uvm__vq_cursor_writable(&head, el);
    body = head;
    for (size_t skip = sizeof raw; skip > 0;) {
        uint8_t *at;
        skip -= uvm__vq_cursor_next(&body, skip, &at);
    }
    uint32_t bytes = 0;
    if (v->orphans_count > 0) {
        take_orphan(v, &h);
    } else {
        struct uvm__list *list = uvm__list_empty(&v->control) ? &v->data : &v->control;
        struct uvm__vsock_conn *c =
            UVM__CONTAINER_OF(list->next, struct uvm__vsock_conn, send_link);
        size_t room = el->writable_bytes - sizeof raw;
        v->tiny_buffers = list == &v->data && room == 0 ? v->tiny_buffers + 1 : 0;
        bytes = uvm__vsock_conn_build(c, &h, &body, room);
    }
    uvm__vsock_encode(&h, raw);
    (void)uvm__vq_cursor_put(&head, raw, sizeof raw);
    v->stats.packets_tx++;
    v->stats.bytes_tx += bytes;
    return (uint32_t)sizeof raw + bytes;
}

/* True: the budget ended before the work. */
static bool fill(struct uvm__virtio_vsock *v) {
    struct uvm__vq *q = v->queues[UVM__VSOCK_RX];
    struct budget left = {TURN_PACKETS, TURN_BYTES};
    while (anything_to_send(v)) {
        if (left.packets == 0 || left.bytes == 0) {
            return true;
        }
        int rc = uvm__vq_peek(q, v->element);
        if (rc < 0 || (rc == 0 && !uvm__vq_kicks_on(q))) {
            return false; /* the guest's next buffer kicks us */
        }
        if (rc == 0) {
            continue;
        }
        if (v->element->readable > 0 || v->element->writable_bytes < UVM__VSOCK_HEADER_BYTES) {
            v->stats.dropped++;
            v->tiny_buffers++;
            uvm__vq_complete(q, v->element, 0);
        } else {
            uint32_t bytes = send_one(v, v->element);
            uvm__vq_complete(q, v->element, bytes);
            left.bytes -= bytes < left.bytes ? bytes : left.bytes;
        }
        if (v->tiny_buffers > TINY_MAX) {
            q->broken = "buffers too small for any packet";
            return false;
        }
        left.packets--;
        if (left.packets % SHOW_EVERY == 0) {
            show(v, UVM__VSOCK_RX);
        }
    }
    if (q->kicks) {
        uvm__vq_kicks_off(q);
    }
    return false;
}

/* ---- turns -------------------------------------------------------------------------------- */

static void stop_for_good(struct uvm__virtio_vsock *v, unsigned queue) {
    const char *rule = v->queues[queue]->broken;
    show_tx(v);
    v->running = false;
    for (unsigned i = 0; i < UVM__VSOCK_QUEUES; i++) {
        v->queues[i] = NULL;
    }
    uvm__virtio_vsock_end(v);
    v->params.broken(queue, rule, v->params.arg);
}

static void on_turn(struct uvm__ready *r) {
    struct uvm__virtio_vsock *v = UVM__CONTAINER_OF(r, struct uvm__virtio_vsock, turn);
    if (!v->running) {
        return;
    }
    bool more = drain(v);
    bool blocked = v->orphans_count == UVM__VSOCK_ORPHANS_MAX; /* packets may be left in the ring */
    more = fill(v) || more;
    more = more || (blocked && v->orphans_count < UVM__VSOCK_ORPHANS_MAX);
    for (unsigned i = 0; i < UVM__VSOCK_QUEUES; i++) {
        if (v->queues[i]->broken != NULL) {
            stop_for_good(v, i);
            return;
        }
    }
    show(v, UVM__VSOCK_RX);
    if (v->tx_slots > 0 && !v->show.linked) {
        uvm__deadline_set(v->engine, &v->show, uvm__now_ms(v->engine) + SHOW_TX_MS);
    }
    if (more) {
        uvm__ready_push(v->engine, &v->turn);
    }
}

static void refreeze(struct uvm__virtio_vsock *v) {
    bool frozen = v->paused || (v->ever_ran && !v->running);
    if (frozen != v->frozen) {
        v->frozen = frozen;
        struct uvm__list *it;
        UVM__LIST_FOREACH(it, &v->conns) {
            uvm__vsock_conn_freeze(conn_of(it), frozen);
        }
    }
}

void uvm__virtio_vsock_queue_on(struct uvm__virtio_vsock *v, unsigned queue, struct uvm__vq *q) {
    UVM_ASSERT(queue < UVM__VSOCK_QUEUES && v->queues[queue] == NULL);
    if (v->broken) {
        return;
    }
    v->queues[queue] = q;
    v->running = v->queues[UVM__VSOCK_RX] != NULL && v->queues[UVM__VSOCK_TX] != NULL;
    v->ever_ran = v->ever_ran || v->running;
    refreeze(v);
    uvm__virtio_vsock_wake(v); /* both may hold elements that nobody kicks for */
}

void uvm__virtio_vsock_queue_off(struct uvm__virtio_vsock *v, unsigned queue) {
    UVM_ASSERT(queue < UVM__VSOCK_QUEUES);
    if (queue == UVM__VSOCK_TX && v->queues[queue] != NULL) {
        show_tx(v); /* what was taken and what the guest sees must not part */
    }
    v->queues[queue] = NULL;
    v->running = false;
    uvm__ready_cancel(v->engine, &v->turn);
    refreeze(v);
}

void uvm__virtio_vsock_kick(struct uvm__virtio_vsock *v) {
    v->stats.kicks++;
    uvm__virtio_vsock_wake(v);
}

void uvm__virtio_vsock_paused(struct uvm__virtio_vsock *v, bool paused) {
    v->paused = paused;
    refreeze(v);
}

/* `unsent`: also the dials that no guest has heard of. */
static void drop_conns(struct uvm__virtio_vsock *v, bool unsent) {
    struct uvm__list *it;
    struct uvm__list *next;
    UVM__LIST_FOREACH_SAFE(it, next, &v->conns) {
        struct uvm__vsock_conn *c = conn_of(it);
        if (c->state != UVM__VSOCK_GONE && (unsent || (c->owes & UVM__VSOCK_OWES_REQUEST) == 0)) {
            uvm__vsock_conn_gone(c, -UVM_E_CLOSED);
        }
    }
    v->orphans_first = v->orphans_count = 0;
    UVM_ASSERT(uvm__list_empty(&v->data));
}

void uvm__virtio_vsock_reset(struct uvm__virtio_vsock *v) {
    drop_conns(v, false);
}

void uvm__virtio_vsock_end(struct uvm__virtio_vsock *v) {
    UVM_ASSERT(v->queues[UVM__VSOCK_RX] == NULL && v->queues[UVM__VSOCK_TX] == NULL);
    v->broken = true;
    drop_conns(v, true);
    UVM_ASSERT(uvm__list_empty(&v->control));
}

/* ---- dialling ----------------------------------------------------------------------------- */

static void vsock_dial(struct uvm__hvsock *h, struct uvm__dialing *d) {
    struct uvm__virtio_vsock *v = UVM__CONTAINER_OF(h, struct uvm__virtio_vsock, hvsock);
    if (v->broken) {
        uvm__dialing_done(d, NULL, -UVM_E_CLOSED);
        return;
    }
    if (v->stats.streams >= v->params.streams_max) {
        uvm__dialing_done(d, NULL, -UVM_E_LIMIT);
        return;
    }
    uint32_t port;
    do {
        port = v->next_port++;
        v->next_port = v->next_port == 0 ? FIRST_PORT : v->next_port;
    } while (uvm__virtio_vsock_find(v, d->port, port) != NULL);
    struct uvm__vsock_conn *c = uvm__vsock_conn_new(v, d->port, port, UVM__VSOCK_CONNECTING);
    if (c == NULL) {
        uvm__dialing_done(d, NULL, -UVM_E_NOMEM);
        return;
    }
    c->dialing = d;
    d->transport = c;
    c->owes = UVM__VSOCK_OWES_REQUEST;
    uvm__vsock_conn_update(c);
}

static void vsock_dial_cancel(struct uvm__hvsock *h, struct uvm__dialing *d) {
    (void)h;
    struct uvm__vsock_conn *c = d->transport;
    UVM_ASSERT(c->dialing == d);
    c->dialing = NULL;
    uvm__vsock_conn_abort(c, -UVM_E_CANCELED);
}

static const struct uvm__hvsock_ops vsock_ops = {
    .dial = vsock_dial,
    .dial_cancel = vsock_dial_cancel,
};

/* ---- life --------------------------------------------------------------------------------- */

int uvm__virtio_vsock_init(struct uvm__virtio_vsock *v, uvm_engine *e,
                           const struct uvm__virtio_vsock_params *params) {
    *v = (struct uvm__virtio_vsock){.engine = e,
                                    .params = *params,
                                    .next_port = FIRST_PORT,
                                    .requests = UVM__REQUESTS_AT_ONCE_MAX,
                                    .requests_ms = uvm__now_ms(e)};
    if (v->params.streams_max == 0) {
        v->params.streams_max = UVM__STREAMS_MAX;
    }
    if (v->params.window_bytes == 0) {
        v->params.window_bytes = UVM__STREAM_WINDOW_BYTES;
    }
    if (v->params.window_bytes < UVM__VSOCK_WINDOW_MIN) {
        v->params.window_bytes = UVM__VSOCK_WINDOW_MIN;
    }
    v->element = uvm__alloc(e, sizeof *v->element);
    if (v->element == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__hvsock_init(&v->hvsock, e, &vsock_ops);
    uvm__ready_init(&v->turn, on_turn);
    uvm__deadline_init(&v->show, on_show);
    uvm__list_init(&v->conns);
    uvm__list_init(&v->control);
    uvm__list_init(&v->data);
    uvm__fifo_pool_init(&v->pool, e, SPARE_CHUNKS);
    uvm__random(e, &v->hash_seed, sizeof v->hash_seed);
    return 0;
}

void uvm__virtio_vsock_deinit(struct uvm__virtio_vsock *v) {
    UVM_ASSERT(v->queues[UVM__VSOCK_RX] == NULL && v->queues[UVM__VSOCK_TX] == NULL);
    uvm__ready_cancel(v->engine, &v->turn);
    uvm__hvsock_deinit(&v->hvsock);
    uvm__virtio_vsock_end(v);
    while (!uvm__list_empty(&v->conns)) {
        uvm__vsock_conn_orphan(conn_of(v->conns.next));
    }
    uvm__fifo_pool_deinit(&v->pool);
    uvm__free(v->engine, v->element);
}
