/* SPDX-License-Identifier: MIT
 * vsock_conn.c — the life of a connection (virtio 1.2 §5.10.6; Linux's
 * net/vmw_vsock/virtio_transport_common.c is the peer), and its stream's verbs.
 *
 * One function, update, decides after every event what the connection owes and can send; nothing else links
 * it for sending, so no wake-up is forgotten after a partial write, a credit update or a shutdown.
 * What arrives before the end stays readable after it, so a guest's last words are not lost; a peer that
 * had shut down before it reset reads as end of file, any other as CLOSED.
 * Ends: the guest's RST frees at once; ours is owed until a buffer takes it, and a timer bounds that and the
 * wait for the guest's answer to our SHUTDOWN. Freeing happens only in `release`, reached from gone when
 * nobody has the stream, or from the stream's own close.
 */
#include "hvsock/vsock_conn.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "async/limits.h"

#define STARVED_MS_MIN 100u
#define STARVED_DOUBLINGS_MAX 5u
#define RUN_PACKETS 16u /* of data in a row: the guest wakes a reader once for them, not for each */

static const struct uvm__stream_ops conn_ops;

static struct uvm__vsock_conn *of(struct uvm__stream *s) {
    return UVM__CONTAINER_OF(s, struct uvm__vsock_conn, stream);
}

static bool alive(const struct uvm__vsock_conn *c) {
    return c->state == UVM__VSOCK_OPEN || c->state == UVM__VSOCK_CLOSING;
}

/* ---- timers ------------------------------------------------------------------------------- */

static void timer_set(struct uvm__vsock_conn *c, uint64_t ms) {
    uvm_engine *e = c->stream.engine;
    if (c->v->frozen) {
        c->timer_left = ms;
    } else {
        uvm__deadline_set(e, &c->timer, uvm__now_ms(e) + ms);
    }
}

static void timer_clear(struct uvm__vsock_conn *c) {
    c->timer_left = 0;
    uvm__deadline_clear(c->stream.engine, &c->timer);
}

void uvm__vsock_conn_freeze(struct uvm__vsock_conn *c, bool frozen) {
    uvm_engine *e = c->stream.engine;
    uint64_t now = uvm__now_ms(e);
    if (!frozen && c->timer_left > 0) {
        uvm__deadline_set(e, &c->timer, now + c->timer_left);
        c->timer_left = 0;
    } else if (frozen && c->timer.linked) {
        c->timer_left = c->timer.at_ms > now ? c->timer.at_ms - now : 1;
        uvm__deadline_clear(e, &c->timer);
    }
}

static void on_timer(struct uvm__deadline *d) {
    struct uvm__vsock_conn *c = UVM__CONTAINER_OF(d, struct uvm__vsock_conn, timer);
    switch (c->state) {
    case UVM__VSOCK_CONNECTING:
        uvm__vsock_conn_abort(c, -UVM_E_TIMEDOUT);
        break;
    case UVM__VSOCK_CLOSING:
        uvm__vsock_conn_abort(c, -UVM_E_CLOSED);
        break;
    case UVM__VSOCK_RESETTING: /* a guest that takes no packets need not hear of it */
        uvm__vsock_conn_gone(c, -UVM_E_CLOSED);
        break;
    default:
        UVM_ASSERT(c->state == UVM__VSOCK_OPEN && c->starvation > 0);
        c->owes |= UVM__VSOCK_OWES_CREDIT_REQUEST;
        uvm__vsock_conn_update(c);
        break;
    }
}

/* ---- life --------------------------------------------------------------------------------- */

static void release(struct uvm__vsock_conn *c) {
    UVM_ASSERT(c->state == UVM__VSOCK_GONE && !c->handle && c->dialing == NULL);
    uvm__fifo_clear(&c->in);
    uvm__fifo_clear(&c->out);
    uvm__list_remove(&c->link);
    if (c->v != NULL) {
        c->v->window_extra -= c->credit.window - UVM__VSOCK_WINDOW_MIN;
        c->v->stats.streams--;
    }
    uvm__free(c->stream.engine, c);
}

/* A window as large as the VM's share of memory lets it be: a quarter of what is left, and never less than
 * the minimum, which is set aside for every stream there may be. */
static uint32_t window_grow(struct uvm__virtio_vsock *v, uint32_t window) {
    uint64_t set_aside = (uint64_t)v->params.streams_max * UVM__VSOCK_WINDOW_MIN;
    uint64_t pool = UVM__STREAMS_BYTES_MAX > set_aside ? UVM__STREAMS_BYTES_MAX - set_aside : 0;
    uint64_t left = pool > v->window_extra ? pool - v->window_extra : 0;
    uint64_t more = v->params.window_bytes - window;
    more = more < left / 4 ? more : (left / 4) & ~(uint64_t)(UVM__VSOCK_WINDOW_MIN - 1);
    v->window_extra += more;
    return window + (uint32_t)more;
}

struct uvm__vsock_conn *uvm__vsock_conn_new(struct uvm__virtio_vsock *v, uint32_t guest_port,
                                            uint32_t host_port, enum uvm__vsock_state state) {
    struct uvm__vsock_conn *c = uvm__zalloc(v->engine, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    uvm__stream_init(&c->stream, v->engine, &conn_ops);
    c->v = v;
    c->guest_port = guest_port;
    c->host_port = host_port;
    c->state = (uint8_t)state;
    uvm__list_init(&c->send_link);
    uvm__deadline_init(&c->timer, on_timer);
    uvm__fifo_init(&c->in, v->engine, &v->pool);
    uvm__fifo_init(&c->out, v->engine, &v->pool);
    uint32_t window = window_grow(v, UVM__VSOCK_WINDOW_MIN);
    uvm__vsock_credit_init(&c->credit, window, v->params.counters_start);
    uvm__list_append(&v->conns, &c->link);
    uvm__virtio_vsock_link(v, c);
    if (++v->stats.streams > v->stats.streams_peak) {
        v->stats.streams_peak = v->stats.streams;
    }
    if (state == UVM__VSOCK_CONNECTING) {
        timer_set(c, UVM__VSOCK_CONNECT_MS);
    }
    return c;
}

/* Whoever waits for the outcome of a dial, or for the stream, hears of the end. */
static void tell_end(struct uvm__vsock_conn *c, int dial_code) {
    if (c->dialing != NULL) {
        struct uvm__dialing *d = c->dialing;
        c->dialing = NULL;
        uvm__dialing_done(d, NULL, dial_code);
    }
    if (c->handle) {
        uvm__stream_raise(&c->stream, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
    }
}

void uvm__vsock_conn_gone(struct uvm__vsock_conn *c, int dial_code) {
    if (c->state != UVM__VSOCK_GONE) {
        c->state = UVM__VSOCK_GONE;
        c->owes = 0;
        timer_clear(c);
        uvm__fifo_clear(&c->out);
        uvm__list_remove(&c->send_link);
        c->v->runner = c->v->runner == c ? NULL : c->v->runner;
        uvm__virtio_vsock_unlink(c->v, c);
        tell_end(c, dial_code);
    }
    if (!c->handle) {
        release(c);
    }
}

static void owe_rst(struct uvm__vsock_conn *c, int dial_code) {
    c->state = UVM__VSOCK_RESETTING;
    c->owes = UVM__VSOCK_OWES_RST;
    uvm__fifo_clear(&c->out);
    timer_set(c, UVM__VSOCK_CLOSING_MS);
    tell_end(c, dial_code);
    uvm__vsock_conn_update(c);
}

static bool unknown_to_guest(const struct uvm__vsock_conn *c) {
    return (c->owes & UVM__VSOCK_OWES_REQUEST) != 0;
}

void uvm__vsock_conn_abort(struct uvm__vsock_conn *c, int dial_code) {
    UVM_ASSERT(c->state != UVM__VSOCK_GONE);
    if (unknown_to_guest(c)) {
        uvm__vsock_conn_gone(c, dial_code);
    } else if (c->state != UVM__VSOCK_RESETTING) {
        c->v->stats.resets++;
        owe_rst(c, dial_code);
    }
}

void uvm__vsock_conn_orphan(struct uvm__vsock_conn *c) {
    UVM_ASSERT(c->state == UVM__VSOCK_GONE && c->handle);
    uvm__list_remove(&c->link);
    c->in.pool = NULL;
    c->out.pool = NULL;
    c->v = NULL;
}

/* ---- what now ----------------------------------------------------------------------------- */

static bool can_send(const struct uvm__vsock_conn *c) {
    return c->state == UVM__VSOCK_OPEN && c->out.len > 0 &&
           uvm__vsock_credit_may_send(&c->credit) > 0;
}

/* Data waits and the guest has no room: ask once, then ever more rarely, since some guests tell of new room
 * only when asked. */
static void mind_starvation(struct uvm__vsock_conn *c) {
    bool starved = c->state == UVM__VSOCK_OPEN && c->out.len > 0 &&
                   (c->owes & UVM__VSOCK_OWES_RESPONSE) == 0 &&
                   uvm__vsock_credit_may_send(&c->credit) == 0;
    if (starved && c->starvation == 0) {
        c->starvation = 1;
        c->owes |= UVM__VSOCK_OWES_CREDIT_REQUEST;
    } else if (!starved && c->starvation > 0) {
        c->starvation = 0;
        c->owes &= (uint8_t)~UVM__VSOCK_OWES_CREDIT_REQUEST;
        timer_clear(c);
    }
}

static void mind_shutdown(struct uvm__vsock_conn *c) {
    if ((c->peer_shut & UVM__VSOCK_SHUT_RCV) != 0) {
        uvm__fifo_clear(&c->out);
    }
    if (c->out.len > 0 || c->state != UVM__VSOCK_OPEN) {
        return;
    }
    uint8_t want = !c->handle ? UVM__VSOCK_SHUT_BOTH : c->shut ? UVM__VSOCK_SHUT_SEND : 0;
    if ((want & ~c->shut_sent) != 0) {
        c->owes |= UVM__VSOCK_OWES_SHUTDOWN;
    }
}

void uvm__vsock_conn_update(struct uvm__vsock_conn *c) {
    if (alive(c)) {
        if (c->peer_shut == UVM__VSOCK_SHUT_BOTH && c->in.len == 0) {
            /* Nothing is left to come or go: this RST is the guest's sign of a clean end. */
            owe_rst(c, -UVM_E_CLOSED);
            return;
        }
        mind_shutdown(c);
        mind_starvation(c);
        if (uvm__vsock_credit_update_due(&c->credit)) {
            c->credit.window = window_grow(c->v, c->credit.window);
            c->owes |= UVM__VSOCK_OWES_UPDATE;
        }
    }
    uvm__list_remove(&c->send_link);
    if (c->owes != 0) {
        uvm__list_append(&c->v->control, &c->send_link);
        uvm__virtio_vsock_wake(c->v);
    } else if (can_send(c)) {
        if (c->v->runner == c && c->v->run < RUN_PACKETS) {
            uvm__list_prepend(&c->v->data, &c->send_link);
        } else {
            uvm__list_append(&c->v->data, &c->send_link);
        }
        uvm__virtio_vsock_wake(c->v);
    }
}

/* ---- to the guest ------------------------------------------------------------------------- */

/* The owed packet that goes first, and what leaving does to the connection. */
static enum uvm__vsock_op next_owed(struct uvm__vsock_conn *c) {
    static const struct {
        uint8_t owed;
        uint8_t op;
    } order[] = {
        {UVM__VSOCK_OWES_RST, UVM__VSOCK_OP_RST},
        {UVM__VSOCK_OWES_REQUEST, UVM__VSOCK_OP_REQUEST},
        {UVM__VSOCK_OWES_RESPONSE, UVM__VSOCK_OP_RESPONSE},
        {UVM__VSOCK_OWES_SHUTDOWN, UVM__VSOCK_OP_SHUTDOWN},
        {UVM__VSOCK_OWES_CREDIT_REQUEST, UVM__VSOCK_OP_CREDIT_REQUEST},
        {UVM__VSOCK_OWES_UPDATE, UVM__VSOCK_OP_CREDIT_UPDATE},
    };
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++) {
        if ((c->owes & order[i].owed) != 0) {
            c->owes &= (uint8_t)~order[i].owed;
            return (enum uvm__vsock_op)order[i].op;
        }
    }
    return UVM__VSOCK_OP_INVALID;
}

static uint32_t send_data(struct uvm__vsock_conn *c, struct uvm__vq_cursor *to, size_t room) {
    size_t bytes = uvm__vsock_credit_may_send(&c->credit);
    bytes = bytes < room ? bytes : room;
    bytes = bytes < UVM__VSOCK_PAYLOAD_MAX ? bytes : UVM__VSOCK_PAYLOAD_MAX;
    bytes = bytes < c->out.len ? bytes : c->out.len;
    size_t done = 0;
    uint8_t *at;
    size_t n;
    while ((n = uvm__vq_cursor_next(to, bytes - done, &at)) > 0) {
        size_t taken = uvm__fifo_take(&c->out, at, n);
        UVM_ASSERT(taken == n);
        done += n;
    }
    UVM_ASSERT(done == bytes && bytes > 0);
    uvm__vsock_credit_sent(&c->credit, (uint32_t)bytes);
    c->v->run = c->v->runner == c ? c->v->run + 1 : 1;
    c->v->runner = c;
    if (c->handle && c->out.len <= UVM__VSOCK_OUT_BYTES / 2) {
        uvm__stream_raise(&c->stream, UVM__STREAM_WRITABLE);
    }
    return (uint32_t)bytes;
}

static void after_owed(struct uvm__vsock_conn *c, struct uvm__vsock_header *h) {
    if (h->op == UVM__VSOCK_OP_SHUTDOWN) {
        h->flags = c->handle ? UVM__VSOCK_SHUT_SEND : UVM__VSOCK_SHUT_BOTH;
        c->shut_sent |= (uint8_t)h->flags;
        if (!c->handle) {
            c->state = UVM__VSOCK_CLOSING;
            c->owes &= UVM__VSOCK_OWES_UPDATE;
            timer_set(c, UVM__VSOCK_CLOSING_MS);
        }
    } else if (h->op == UVM__VSOCK_OP_CREDIT_REQUEST) {
        UVM_ASSERT(c->starvation > 0);
        timer_set(c, (uint64_t)STARVED_MS_MIN << (c->starvation - 1));
        if (c->starvation <= STARVED_DOUBLINGS_MAX) {
            c->starvation++;
        }
    }
}

uint32_t uvm__vsock_conn_build(struct uvm__vsock_conn *c, struct uvm__vsock_header *ret,
                               struct uvm__vq_cursor *to, size_t room) {
    *ret = (struct uvm__vsock_header){.src_cid = UVM__VSOCK_CID_HOST,
                                      .dst_cid = c->v->params.guest_cid,
                                      .src_port = c->host_port,
                                      .dst_port = c->guest_port,
                                      .type = UVM__VSOCK_TYPE_STREAM};
    /* Data carries the credit too. */
    bool data = (c->owes & ~UVM__VSOCK_OWES_UPDATE) == 0 && room > 0 && can_send(c);
    if (data) {
        ret->op = UVM__VSOCK_OP_RW;
        ret->len = send_data(c, to, room);
    } else {
        /* A buffer too small for data tells of credit, which is never wrong. */
        uint16_t op = (uint16_t)next_owed(c);
        ret->op = op == UVM__VSOCK_OP_INVALID ? UVM__VSOCK_OP_CREDIT_UPDATE : op;
        after_owed(c, ret);
    }
    ret->buf_alloc = c->credit.window;
    ret->fwd_cnt = c->credit.fwd_cnt;
    uvm__vsock_credit_told(&c->credit);
    c->owes &= (uint8_t)~UVM__VSOCK_OWES_UPDATE;
    if (ret->op == UVM__VSOCK_OP_RST) {
        uvm__vsock_conn_gone(c, -UVM_E_CLOSED);
    } else {
        uvm__vsock_conn_update(c);
    }
    return ret->len;
}

/* ---- from the guest ----------------------------------------------------------------------- */

/* False: the connection cannot go on. */
static bool data_came(struct uvm__vsock_conn *c, uint32_t bytes, struct uvm__vq_cursor *payload) {
    if ((c->peer_shut & UVM__VSOCK_SHUT_SEND) != 0 ||
        !uvm__vsock_credit_arrived(&c->credit, bytes)) {
        return false;
    }
    if (!c->handle) { /* nobody will read it */
        uvm__vsock_credit_consumed(&c->credit, bytes);
        return true;
    }
    if (uvm__fifo_reserve(&c->in, bytes) < 0) {
        return false;
    }
    uint8_t *at;
    size_t n;
    while ((n = uvm__vq_cursor_next(payload, bytes, &at)) > 0) {
        int rc = uvm__fifo_append(&c->in, at, n);
        UVM_ASSERT(rc == 0);
        bytes -= (uint32_t)n;
    }
    UVM_ASSERT(bytes == 0);
    uvm__stream_raise(&c->stream, UVM__STREAM_READABLE);
    return true;
}

static void answered(struct uvm__vsock_conn *c) {
    struct uvm__dialing *d = c->dialing;
    c->state = UVM__VSOCK_OPEN;
    c->dialing = NULL;
    c->handle = true;
    timer_clear(c);
    uvm__dialing_done(d, &c->stream, 0);
}

static bool shutdown_came(struct uvm__vsock_conn *c, uint32_t flags) {
    c->peer_shut |= (uint8_t)(flags & UVM__VSOCK_SHUT_BOTH);
    if (c->handle) {
        uvm__stream_raise(&c->stream, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
    }
    return true;
}

void uvm__vsock_conn_packet(struct uvm__vsock_conn *c, const struct uvm__vsock_header *h,
                            struct uvm__vq_cursor *payload) {
    if (unknown_to_guest(c)) {
        return; /* a late word about an earlier use of the port */
    }
    if (h->op == UVM__VSOCK_OP_RST) { /* never a source of credit */
        c->v->stats.resets += c->state == UVM__VSOCK_OPEN;
        uvm__vsock_conn_gone(c, -UVM_E_REFUSED);
        return;
    }
    if (c->state == UVM__VSOCK_RESETTING) {
        return;
    }
    bool fine = uvm__vsock_credit_take(&c->credit, h->buf_alloc, h->fwd_cnt);
    bool connecting = c->state == UVM__VSOCK_CONNECTING;
    if (fine && connecting == (h->op == UVM__VSOCK_OP_RESPONSE)) {
        switch (h->op) {
        case UVM__VSOCK_OP_RESPONSE:
            answered(c);
            break;
        case UVM__VSOCK_OP_RW:
            fine = data_came(c, h->len, payload);
            break;
        case UVM__VSOCK_OP_SHUTDOWN:
            fine = shutdown_came(c, h->flags);
            break;
        case UVM__VSOCK_OP_CREDIT_REQUEST:
            c->owes |= UVM__VSOCK_OWES_UPDATE;
            break;
        case UVM__VSOCK_OP_CREDIT_UPDATE:
            break;
        default: /* REQUEST: the guest lost its state; the rest is no op */
            fine = false;
            break;
        }
    } else {
        fine = false;
    }
    if (fine) {
        uvm__vsock_conn_update(c);
    } else {
        uvm__vsock_conn_abort(c, -UVM_E_PROTOCOL);
    }
}

/* ---- the stream --------------------------------------------------------------------------- */

static ssize_t conn_read(struct uvm__stream *s, void *buf, size_t bytes) {
    struct uvm__vsock_conn *c = of(s);
    if (c->in.len > 0) {
        size_t n = uvm__fifo_take(&c->in, buf, bytes);
        uvm__vsock_credit_consumed(&c->credit, (uint32_t)n);
        if (alive(c)) {
            uvm__vsock_conn_update(c);
        }
        return (ssize_t)n;
    }
    if ((c->peer_shut & UVM__VSOCK_SHUT_SEND) != 0) {
        return 0;
    }
    return alive(c) ? -UVM_E_AGAIN : -UVM_E_CLOSED;
}

static ssize_t conn_write(struct uvm__stream *s, const void *buf, size_t bytes) {
    struct uvm__vsock_conn *c = of(s);
    if (c->state != UVM__VSOCK_OPEN || c->shut || (c->peer_shut & UVM__VSOCK_SHUT_RCV) != 0) {
        return -UVM_E_CLOSED;
    }
    size_t room = UVM__VSOCK_OUT_BYTES - c->out.len;
    if (room == 0) {
        return -UVM_E_AGAIN;
    }
    size_t n = bytes < room ? bytes : room;
    int rc = uvm__fifo_append(&c->out, buf, n);
    if (rc < 0) {
        return rc;
    }
    uvm__vsock_conn_update(c);
    return (ssize_t)n;
}

static void conn_shutdown(struct uvm__stream *s) {
    struct uvm__vsock_conn *c = of(s);
    c->shut = true;
    if (alive(c)) {
        uvm__vsock_conn_update(c);
    }
}

static void conn_close(struct uvm__stream *s) {
    struct uvm__vsock_conn *c = of(s);
    UVM_ASSERT(c->handle);
    c->handle = false;
    if (c->state == UVM__VSOCK_GONE) {
        release(c);
        return;
    }
    uvm__vsock_credit_consumed(&c->credit, (uint32_t)c->in.len);
    uvm__fifo_clear(&c->in);
    uvm__vsock_conn_update(c);
}

static void conn_reset(struct uvm__stream *s) {
    struct uvm__vsock_conn *c = of(s);
    UVM_ASSERT(c->handle);
    c->handle = false;
    if (c->state == UVM__VSOCK_GONE) {
        release(c);
        return;
    }
    uvm__vsock_credit_consumed(&c->credit, (uint32_t)c->in.len);
    uvm__fifo_clear(&c->in);
    uvm__vsock_conn_abort(c, -UVM_E_CLOSED);
}

static void conn_wanted(struct uvm__stream *s) {
    struct uvm__vsock_conn *c = of(s);
    bool ended = !alive(c);
    unsigned events = 0;
    if (c->in.len > 0 || ended || (c->peer_shut & UVM__VSOCK_SHUT_SEND) != 0) {
        events |= UVM__STREAM_READABLE;
    }
    if (c->out.len <= UVM__VSOCK_OUT_BYTES / 2 || ended ||
        (c->peer_shut & UVM__VSOCK_SHUT_RCV) != 0) {
        events |= UVM__STREAM_WRITABLE;
    }
    uvm__stream_raise(s, events);
}

static const struct uvm__stream_ops conn_ops = {
    .read = conn_read,
    .write = conn_write,
    .shutdown = conn_shutdown,
    .close = conn_close,
    .reset = conn_reset,
    .wanted = conn_wanted,
};
