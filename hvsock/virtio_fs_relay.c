/* SPDX-License-Identifier: MIT
 * virtio_fs_relay.c — see virtio_fs_relay.h.
 *
 * Each side is read message by message. Of features only those are let through that our own back end has, too, so
 * that it can take over: no memory slots one by one, no shared record of what is in flight. What the front end sets
 * is kept as its last message of the kind and ring, with its descriptors.
 *
 * An answer that the front end still waits for when the server goes is asked for anew.
 */
#include "hvsock/virtio_fs_relay.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/le.h"
#include "async/log.h"
#include "hvsock/vhost_user_int.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define FLAGS_NEED_REPLY 8u
#define P_REPLY_ACK (1ull << 3)
#define KEPT_BYTES_MAX 288u /* a memory table of 8 regions is the longest that is kept */
#define TURN_MESSAGES 64u
#define TURN_REQUESTS 256u /* then the loop has others to serve: a guest may never stop asking */
#define MEMORY_BYTES_MAX (1ull << 40)
#define OUT_HEADER_BYTES 16u
#define IN_HEADER_BYTES 40u

enum request {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
    GET_MAX_MEM_SLOTS = 36,
};

/* What is said again, in this order. A ring's base is what its used ring says. */
static const struct {
    enum request request;
    bool of_ring;
} kept_rows[] = {
    {SET_OWNER, false},       {SET_FEATURES, false}, {SET_PROTOCOL_FEATURES, false},
    {SET_MEM_TABLE, false},   {SET_VRING_NUM, true}, {SET_VRING_ADDR, true},
    {SET_VRING_CALL, true},   {SET_VRING_ERR, true}, {SET_VRING_KICK, true},
    {SET_VRING_ENABLE, true},
};
#define KEPT (sizeof kept_rows / sizeof kept_rows[0])

struct kept {
    uint8_t raw[12 + KEPT_BYTES_MAX];
    size_t bytes; /* 0: none */
    int fds[UVM__VHOST_FDS_MAX];
    size_t fds_count;
};

/* One side, and the message that comes from it. */
struct side {
    struct uvm__fs_relay *relay;
    struct uvm__sock *sock; /* NULL: closed */
    uint8_t raw[12 + UVM__VHOST_PAYLOAD_MAX];
    size_t got;
    int fds[UVM__VHOST_FDS_MAX];
    size_t fds_count;
};

struct uvm__fs_relay {
    uvm_engine *engine;
    struct uvm__fs_relay_params params;
    struct side front, back;
    struct kept kept[KEPT][UVM__VHOST_RINGS];
    struct kept pending;         /* the front end waits for its answer */
    struct uvm__vhost_user *own; /* NULL: the server is there, or nobody is */
    struct uvm__vq *rings[UVM__VHOST_RINGS];
    bool lost, closing;
    unsigned handles;
    struct uvm__ready more; /* rings have more than a turn takes */
    struct uvm__ready finish;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static uint32_t word(const uint8_t *raw, unsigned n) {
    uint32_t v;
    memcpy(&v, raw + n * sizeof v, sizeof v);
    return v;
}

/* ---- what is kept ------------------------------------------------------------------------- */

static void drop_fds(int *fds, size_t *count) {
    for (size_t i = 0; i < *count; i++) {
        uvm__close_fd(&fds[i]);
    }
    *count = 0;
}

static void forget(struct kept *k) {
    drop_fds(k->fds, &k->fds_count);
    k->bytes = 0;
}

/* False: too long, or no descriptor is left: it is then not known when the server goes. */
static bool keep(struct kept *k, const struct side *s) {
    forget(k);
    if (s->got > sizeof k->raw) {
        return false;
    }
    for (size_t i = 0; i < s->fds_count; i++) {
        k->fds[i] = uvm__dup_fd(s->fds[i]);
        if (k->fds[i] < 0) {
            drop_fds(k->fds, &k->fds_count);
            return false;
        }
        k->fds_count++;
    }
    memcpy(k->raw, s->raw, s->got);
    k->bytes = s->got;
    return true;
}

/* The ring that a message about one begins with; a descriptor's has a flag above. */
static unsigned ring_of(const struct side *s) {
    return s->got >= 16 ? word(s->raw, 3) & 0xff : UVM__VHOST_RINGS;
}

static void note(struct uvm__fs_relay *r, const struct side *s) {
    uint32_t request = word(s->raw, 0);
    if (request == GET_VRING_BASE && ring_of(s) < UVM__VHOST_RINGS) { /* it stops */
        for (size_t i = 0; i < KEPT; i++) {
            if (kept_rows[i].request == SET_VRING_KICK) {
                forget(&r->kept[i][ring_of(s)]);
            }
        }
    }
    for (size_t i = 0; i < KEPT; i++) {
        unsigned ring = kept_rows[i].of_ring ? ring_of(s) : 0;
        if (kept_rows[i].request == request && ring < UVM__VHOST_RINGS) {
            (void)keep(&r->kept[i][ring], s);
        }
    }
    bool asks = request == GET_FEATURES || request == GET_VRING_BASE ||
                request == GET_PROTOCOL_FEATURES || request == GET_QUEUE_NUM ||
                request == GET_CONFIG || request == GET_MAX_MEM_SLOTS ||
                (word(s->raw, 1) & FLAGS_NEED_REPLY) != 0;
    if (asks) {
        (void)keep(&r->pending, s);
    }
}

/* ---- our own back end --------------------------------------------------------------------- */

/* A request is answered with an error; what wants no answer is only taken. */
static uint32_t refuse(const struct uvm__vq_element *el) {
    uint8_t in[IN_HEADER_BYTES] = {0}, out[OUT_HEADER_BYTES] = {0};
    struct uvm__vq_cursor c;
    if (el->writable_bytes < sizeof out) {
        return 0;
    }
    uvm__vq_cursor_readable(&c, el);
    (void)uvm__vq_cursor_get(&c, in, sizeof in);
    uvm__le_put(out, sizeof out, 4);
    uvm__le_put(out + 4, (uint32_t)-ENOTCONN, 4);
    memcpy(out + 8, in + 8, 8); /* its number */
    uvm__vq_cursor_writable(&c, el);
    (void)uvm__vq_cursor_put(&c, out, sizeof out);
    return sizeof out;
}

static void serve(struct uvm__fs_relay *r, unsigned ring) {
    struct uvm__vq *q = r->rings[ring];
    struct uvm__vq_element el;
    unsigned left = TURN_REQUESTS;
    int rc = 0;
    do {
        uvm__vq_kicks_off(q);
        while (left > 0 && (rc = uvm__vq_peek(q, &el)) > 0) {
            uvm__vq_complete(q, &el, refuse(&el));
            left--;
        }
        if (uvm__vq_show(q)) {
            uvm__vhost_user_interrupt(r->own, ring);
        }
    } while (rc == 0 && left > 0 && uvm__vq_kicks_on(q));
    if (rc < 0) {
        r->rings[ring] = NULL;
        uvm__vhost_user_ring_broken(r->own, ring);
    } else if (left == 0) {
        uvm__ready_push(r->engine, &r->more);
    }
}

static void serve_more(struct uvm__ready *ready) {
    struct uvm__fs_relay *r = UVM__CONTAINER_OF(ready, struct uvm__fs_relay, more);
    for (unsigned ring = 0; ring < UVM__VHOST_RINGS; ring++) {
        if (r->rings[ring] != NULL) {
            serve(r, ring);
        }
    }
}

/* The server has completed as many as its used ring says, and no other ones. */
static void on_ring_on(unsigned ring, struct uvm__vq *q, bool fresh, void *arg) {
    struct uvm__fs_relay *r = arg;
    uint16_t used = (uint16_t)uvm__le_get(q->used + 2, 2);
    (void)fresh;
    q->last_avail = q->used_next = q->used_shown = used;
    r->rings[ring] = q;
    serve(r, ring);
}

static void on_ring_off(unsigned ring, void *arg) {
    ((struct uvm__fs_relay *)arg)->rings[ring] = NULL;
}

static void on_kick(unsigned ring, void *arg) {
    struct uvm__fs_relay *r = arg;
    if (r->rings[ring] != NULL) {
        serve(r, ring);
    }
}

static void close_side(struct side *s);

static void on_own_end(uvm_error *take_err, void *arg) {
    struct uvm__fs_relay *r = arg;
    uvm_error_unref(take_err);
    close_side(&r->front); /* the device is dead then */
}

/* ---- sides -------------------------------------------------------------------------------- */

static void finish(struct uvm__ready *ready) {
    struct uvm__fs_relay *r = UVM__CONTAINER_OF(ready, struct uvm__fs_relay, finish);
    void (*on_closed)(void *) = r->on_closed;
    void *arg = r->closed_arg;
    uvm__free(r->engine, r);
    if (on_closed != NULL) {
        on_closed(arg);
    }
}

static void on_handle_closed(void *arg) {
    struct uvm__fs_relay *r = arg;
    UVM_ASSERT(r->handles > 0);
    r->handles--;
    if (r->closing && r->handles == 0) {
        uvm__ready_push(r->engine, &r->finish);
    }
}

static void close_side(struct side *s) {
    if (s->sock != NULL) {
        drop_fds(s->fds, &s->fds_count);
        s->got = 0;
        uvm__sock_close(UVM_TAKE_PTR(s->sock), on_handle_closed, s->relay);
    }
}

static int send_kept(struct uvm__fs_relay *r, struct kept *k) {
    return k->bytes == 0 ? 0 : uvm__sock_send(r->back.sock, k->raw, k->bytes, k->fds, k->fds_count);
}

/* All that was set, and then what is waited for. */
static int say_again(struct uvm__fs_relay *r) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < KEPT; i++) {
        for (unsigned ring = 0; rc == 0 && ring < UVM__VHOST_RINGS; ring++) {
            struct kept *k = &r->kept[i][ring];
            k->raw[4] &= (uint8_t)~FLAGS_NEED_REPLY;
            rc = send_kept(r, k);
        }
    }
    rc = rc < 0 ? rc : send_kept(r, &r->pending);
    return rc;
}

static void on_readable(struct uvm__sock *sock, void *arg);
static const struct uvm__sock_events events = {.on_readable = on_readable};

static int open_side(struct uvm__fs_relay *r, struct side *s, int take_fd) {
    UVM_CLEANUP_FD int fd = take_fd;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -UVM_E_IO;
    }
    s->relay = r;
    int rc = uvm__sock_open(r->engine, UVM_TAKE_FD(fd), &events, s, &s->sock);
    if (rc == 0) {
        r->handles++;
        uvm__sock_reading(s->sock, true);
    }
    return rc;
}

static int open_own(struct uvm__fs_relay *r) {
    int pair[2] = {-1, -1};
    int rc = uvm__sock_pair(pair);
    if (rc < 0) {
        return rc;
    }
    const struct uvm__vhost_user_params params = {.take_fd = pair[0],
                                                  .memory_bytes_max = MEMORY_BYTES_MAX,
                                                  .ring_on = on_ring_on,
                                                  .ring_off = on_ring_off,
                                                  .kick = on_kick,
                                                  .end = on_own_end,
                                                  .arg = r};
    rc = uvm__vhost_user_open(r->engine, &params, &r->own);
    if (rc < 0) {
        uvm__close_fd(&pair[1]);
        return rc;
    }
    r->handles++;
    rc = open_side(r, &r->back, pair[1]);
    return rc < 0 ? rc : say_again(r);
}

static void take_over(struct uvm__fs_relay *r) {
    close_side(&r->back);
    r->lost = true;
    if (open_own(r) < 0) {
        close_side(&r->front);
    }
    r->params.on_lost(r->params.arg);
}

/* ---- messages ----------------------------------------------------------------------------- */

static void mask(struct side *s) {
    uint32_t request = word(s->raw, 0);
    uint64_t value, allowed = request == GET_FEATURES
                                  ? UVM__VHOST_F_INDIRECT | UVM__VHOST_F_EVENT_IDX |
                                        UVM__VHOST_F_PROTOCOL_FEATURES | UVM__VHOST_F_VERSION_1
                                  : P_REPLY_ACK;
    if ((request == GET_FEATURES || request == GET_PROTOCOL_FEATURES) && s->got == 20) {
        memcpy(&value, s->raw + 12, sizeof value);
        value &= allowed;
        memcpy(s->raw + 12, &value, sizeof value);
    }
}

/* > 0: progress; else as uvm__sock_recv(). */
static ssize_t receive(struct side *s) {
    size_t want = s->got < 12 ? 12 - s->got : 12 + word(s->raw, 2) - s->got;
    size_t fds = UVM__VHOST_FDS_MAX - s->fds_count;
    ssize_t n =
        want == 0 ? 1 : uvm__sock_recv(s->sock, s->raw + s->got, want, s->fds + s->fds_count, &fds);
    if (n <= 0 || want == 0) {
        return n;
    }
    s->fds_count += fds;
    s->got += (size_t)n;
    return s->got >= 12 && word(s->raw, 2) > UVM__VHOST_PAYLOAD_MAX ? -UVM_E_PROTOCOL : n;
}

static int pass_on(struct uvm__fs_relay *r, struct side *s) {
    struct side *to = s == &r->front ? &r->back : &r->front;
    if (s == &r->front) {
        note(r, s);
    } else {
        forget(&r->pending);
        mask(s);
    }
    int rc = to->sock == NULL ? 0 : uvm__sock_send(to->sock, s->raw, s->got, s->fds, s->fds_count);
    drop_fds(s->fds, &s->fds_count);
    s->got = 0;
    return rc == -UVM_E_CLOSED ? 0 : rc; /* its end will be read */
}

static void ended(struct side *s) {
    struct uvm__fs_relay *r = s->relay;
    if (s == &r->front) {
        close_side(&r->front);
        close_side(&r->back); /* the server sees it, and ends */
    } else if (r->front.sock != NULL && !r->lost) {
        take_over(r);
    } else {
        close_side(&r->back);
    }
}

static void on_readable(struct uvm__sock *sock, void *arg) {
    struct side *s = arg;
    ssize_t n = 1;
    for (unsigned i = 0; i < TURN_MESSAGES && n > 0 && s->sock == sock;) {
        n = receive(s);
        if (n > 0 && s->got >= 12 && s->got == 12 + word(s->raw, 2)) {
            int rc = pass_on(s->relay, s);
            n = rc < 0 ? rc : 1;
            i++;
        }
    }
    if (s->sock == sock && n <= 0 && n != -UVM_E_AGAIN) {
        ended(s);
    }
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__fs_relay_open(uvm_engine *e, const struct uvm__fs_relay_params *params,
                       struct uvm__fs_relay **ret) {
    UVM_CLEANUP_FD int front = params->take_front_fd;
    UVM_CLEANUP_FD int back = params->take_back_fd;
    struct uvm__fs_relay *r = uvm__zalloc(e, sizeof *r);
    if (r == NULL) {
        return -UVM_E_NOMEM;
    }
    r->engine = e;
    r->params = *params;
    uvm__ready_init(&r->more, serve_more);
    uvm__ready_init(&r->finish, finish);
    int rc = open_side(r, &r->front, UVM_TAKE_FD(front));
    rc = rc < 0 ? rc : open_side(r, &r->back, UVM_TAKE_FD(back));
    if (rc < 0) {
        uvm__fs_relay_close(r, NULL, NULL);
        return rc;
    }
    *ret = r;
    return 0;
}

void uvm__fs_relay_close(struct uvm__fs_relay *r, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!r->closing);
    r->on_closed = on_closed;
    r->closed_arg = arg;
    r->handles++; /* held until all are told to close */
    uvm__ready_cancel(r->engine, &r->more);
    close_side(&r->front);
    close_side(&r->back);
    if (r->own != NULL) {
        uvm__vhost_user_close(UVM_TAKE_PTR(r->own), on_handle_closed, r);
    }
    for (size_t i = 0; i < KEPT; i++) {
        for (unsigned ring = 0; ring < UVM__VHOST_RINGS; ring++) {
            forget(&r->kept[i][ring]);
        }
    }
    forget(&r->pending);
    r->closing = true;
    on_handle_closed(r);
}
