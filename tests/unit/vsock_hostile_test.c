/* SPDX-License-Identifier: MIT
 * vsock_hostile_test.c — guests that lie to the packet engine: no crash, no growth, no harm to other streams.
 *
 * The numbers are those of the hostile cases of the device's page (6.2). What lies in the rings themselves is
 * tested with the virtqueue, what comes from the front end with vhost-user.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "tests/unit/vsock_bed.h"
#include <stdlib.h>
#include <string.h>

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST };
enum { NEXT = 1, WRITE = 2 };
enum { W = UVM__STREAM_WINDOW_BYTES };

static void send(struct bed *b, const struct guest_header *h, const void *payload) {
    assert_true(guest_send(&b->g, h, payload));
    bed_kick(b);
}

/* Another stream, there from before, still works. */
static void still_fine(struct bed *b, struct guest_conn *c, struct uvm__stream *s) {
    char buf[8];
    assert_null(b->broken);
    assert_int_equal(guest_write(c, "ok?", 3), 3);
    bed_kick(b);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 3);
    assert_int_equal(uvm__stream_write(s, "ok!", 3), 3);
    bed_turn(b);
    bed_expect(b, c, RW);
    bed_expect_nothing(b);
    c->fwd_cnt = c->rx_cnt;
}

/* A packet as raw descriptors. */
static void send_raw(struct bed *b, const void *raw, uint32_t bytes, uint16_t flags) {
    struct guest_ring *r = &b->g.tx;
    uint64_t at = guest_slot(&b->g, r, 0);
    bed_settle(b);
    (void)guest_reap(&b->g);
    memcpy(guest_at(&b->g, at), raw, bytes);
    guest_descriptor(&b->g, r, 0, at, bytes, flags, 1);
    guest_descriptor(&b->g, r, 1, at + 40000, 100, WRITE, 0);
    guest_offer(&b->g, r, 0);
    bed_settle(b);
    assert_int_equal(guest_reap(&b->g), 1); /* came back, with length 0 */
}

static void encode(const struct guest_header *h, uint8_t *raw) {
    struct uvm__vsock_header v = {.src_cid = h->src_cid,
                                  .dst_cid = h->dst_cid,
                                  .src_port = h->src_port,
                                  .dst_port = h->dst_port,
                                  .len = h->len,
                                  .type = h->type,
                                  .op = h->op,
                                  .flags = h->flags,
                                  .buf_alloc = h->buf_alloc,
                                  .fwd_cnt = h->fwd_cnt};
    uvm__vsock_encode(&v, raw);
}

static void headers_are_as_the_standard_draws_them(void **state) {
    (void)state;
    static const uint8_t want[44] = {2,    0,    0,    0,    0, 0,    0, 0,    3,    0,    0,
                                     0,    0,    0,    0,    0, 0x6d, 0, 0,    0,    0x04, 0x03,
                                     2,    1,    0xef, 0xbe, 0, 0,    1, 0,    5,    0,    0x78,
                                     0x56, 0x34, 0x12, 0,    0, 4,    0, 0xff, 0xff, 0xff, 0xff};
    struct uvm__vsock_header h = {2, 3, 109,        0x01020304, 0xbeef,
                                  1, 5, 0x12345678, 262144,     UINT32_MAX};
    uint8_t raw[44];
    struct uvm__vsock_header back;
    uvm__vsock_encode(&h, raw);
    assert_memory_equal(raw, want, sizeof raw);
    uvm__vsock_decode(raw, &back);
    uint8_t again[44];
    uvm__vsock_encode(&back, again);
    assert_memory_equal(again, want, sizeof raw);
}

/* 14, 15 */
static void malformed_packets(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct guest_conn d = bed_guest_conn(b, 2);
    struct uvm__stream *s = bed_accept(b, &c);
    uint8_t raw[65536 + 100] = {0};
    struct guest_header h = guest_packet(&d, RW);
    for (uint32_t bytes = 1; bytes < 44; bytes += 7) {
        encode(&h, raw);
        send_raw(b, raw, bytes, 0);
        bed_expect_nothing(b); /* nobody can be told */
    }
    static const uint32_t lens[] = {1, 57, 65537, 0x7fffffff, 0xffffffff};
    for (unsigned i = 0; i < 2 * sizeof lens / sizeof lens[0]; i++) {
        struct uvm__stream *t = bed_accept(b, &d);
        h = guest_packet(&d, i % 2 == 0 ? RW : UPDATE);
        h.len = lens[i / 2];
        encode(&h, raw);
        send_raw(b, raw, h.len == 57 ? 100 : 44, 0);
        bed_expect(b, &d, RST); /* the stream has a hole */
        uvm__stream_close(t);
        d = bed_guest_conn(b, 2);
    }
    struct uvm__stream *t = bed_accept(b, &d);
    h = guest_packet(&d, UPDATE);
    encode(&h, raw);
    send_raw(b, raw, 44, NEXT); /* a writable piece behind it */
    bed_expect(b, &d, RST);
    uvm__stream_close(t);
    assert_int_equal(b->v.stats.dropped, 7 + 10 + 1);
    /* Longer than its length says: the first bytes count. */
    h = guest_packet(&c, RW);
    h.len = 2;
    encode(&h, raw);
    raw[44] = 'h';
    raw[45] = 'i';
    send_raw(b, raw, 1000, 0);
    c.tx_cnt += 2;
    assert_int_equal(uvm__stream_read(s, raw, sizeof raw), 2);
    assert_memory_equal(raw, "hi", 2);
    still_fine(b, &c, s);
    uvm__stream_reset(s);
}

/* 19, 20 */
static void wrong_addresses_types_and_ops(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    static const uint64_t cids[][2] = {{4, 2},           {3, 1}, {3, 3}, {3, 0x100000002},
                                       {0x100000003, 2}, {2, 3}, {0, 2}, {UINT64_MAX, UINT64_MAX}};
    for (unsigned i = 0; i < sizeof cids / sizeof cids[0]; i++) {
        struct guest_header h = guest_packet(&c, RST);
        h.src_cid = cids[i][0];
        h.dst_cid = cids[i][1];
        send(b, &h, NULL);
        h.op = REQUEST;
        send(b, &h, NULL);
    }
    bed_expect_nothing(b);
    assert_int_equal(b->v.stats.dropped, 16);
    static const uint16_t types[] = {0, 2, 3, 0xffff};
    for (unsigned i = 0; i < 4; i++) {
        struct guest_header h = guest_packet(&c, REQUEST);
        struct guest_header back;
        h.type = types[i];
        send(b, &h, NULL);
        assert_true(guest_take(&b->g, &back, NULL));
        assert_int_equal(back.op, RST);
        assert_int_equal(back.type, types[i]);
        assert_int_equal(back.dst_port, c.guest_port);
        h.op = RST;
        send(b, &h, NULL);
        bed_expect_nothing(b);
    }
    guest_post(&b->g, GUEST_QUEUE);
    still_fine(b, &c, s);
    static const uint16_t ops[] = {0, 8, 0xffff};
    for (unsigned i = 0; i < 3; i++) {
        struct guest_conn d = bed_guest_conn(b, 2);
        struct uvm__stream *t = bed_accept(b, &d);
        assert_true(guest_say(&d, ops[i], 0));
        bed_kick(b);
        bed_expect(b, &d, RST);
        uvm__stream_close(t);
        assert_true(guest_say(&d, ops[i], 0)); /* and without a connection */
        bed_kick(b);
        bed_expect(b, &d, RST);
    }
    still_fine(b, &c, s);
    uvm__stream_reset(s);
}

/* 21, 22, 30: memory stays where it is, and the ring stops the guest that takes nothing. */
static void storms_without_a_connection(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    long before = b->heap.live;
    struct guest_header in;
    while (guest_take(&b->g, &in, NULL)) {
    }
    unsigned sent = 0;
    for (unsigned i = 0; i < 100000; i++) {
        struct guest_conn d = bed_guest_conn(b, 1000 + i);
        static const uint16_t ops[] = {RW, UPDATE, SHUTDOWN, CREDIT_REQUEST, RESPONSE};
        sent += guest_say(&d, ops[i % 5], 3);
        bed_settle(b);
    }
    /* All buffers, the list, the ring: then nothing more goes in. */
    assert_int_equal(sent, GUEST_QUEUE + UVM__VSOCK_ORPHANS_MAX + GUEST_QUEUE);
    assert_int_equal(b->heap.live, before);
    /* The guest takes again: all is answered in the end, and the ring goes on. */
    unsigned answers = 0;
    for (unsigned i = 0; i < 20; i++) {
        while (guest_take(&b->g, &in, NULL)) {
            assert_int_equal(in.op, RST);
            answers++;
        }
        guest_post(&b->g, GUEST_QUEUE);
        bed_settle(b);
    }
    assert_int_equal(answers, sent);
    for (unsigned i = 0; i < 100000; i++) { /* never an RST for an RST */
        struct guest_conn d = bed_guest_conn(b, 1000 + i);
        assert_true(guest_say(&d, RST, 0));
        if (i % 64 == 0) {
            bed_settle(b);
        }
    }
    bed_kick(b);
    bed_expect_nothing(b);
    still_fine(b, &c, s);
    uvm__stream_reset(s);
}

/* 23 */
static void requests_without_end(void **state) {
    struct bed *b = *state;
    static struct uvm__stream *streams[UVM__STREAMS_MAX];
    unsigned refused = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct guest_conn d = bed_guest_conn(b, 1000 + i);
        struct guest_header h;
        assert_true(guest_say(&d, REQUEST, 0));
        bed_kick(b);
        assert_true(guest_take(&b->g, &h, NULL));
        guest_post(&b->g, GUEST_QUEUE);
        if (h.op == RESPONSE) {
            streams[count++] = b->accepted;
        } else {
            assert_int_equal(h.op, RST);
            refused++;
        }
    }
    assert_int_equal(count, UVM__STREAMS_MAX);
    assert_int_equal(refused, 20000 - UVM__STREAMS_MAX);
    assert_true(b->heap.live < 3 * (long)UVM__STREAMS_MAX);
    while (count > 0) {
        uvm__stream_reset(streams[--count]);
        bed_turn(b);
        struct guest_header h;
        assert_true(guest_take(&b->g, &h, NULL));
        assert_int_equal(h.op, RST);
        guest_post(&b->g, GUEST_QUEUE);
    }
    assert_int_equal(b->v.stats.streams, 0);
}

/* Opened and dropped as fast as it goes; returns how many were refused. */
static unsigned open_and_drop(struct bed *b, uint32_t guest_port, unsigned count) {
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        struct guest_conn d = bed_guest_conn(b, guest_port + i);
        struct guest_header h;
        b->accepted = NULL;
        assert_true(guest_say(&d, REQUEST, 0));
        bed_kick(b);
        assert_true(guest_take(&b->g, &h, NULL));
        if (h.op == RESPONSE) {
            assert_true(guest_say(&d, RST, 0));
            bed_kick(b);
            uvm__stream_close(b->accepted);
        } else {
            assert_int_equal(h.op, RST);
            assert_null(b->accepted);
            refused++;
        }
        guest_post(&b->g, GUEST_QUEUE);
    }
    b->accepted = NULL;
    return refused;
}

/* 23, the other way: never many open, but without end. */
static void openings_are_rationed(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    assert_int_equal(open_and_drop(b, 1000, UVM__REQUESTS_AT_ONCE_MAX - 1), 0);
    assert_int_equal(open_and_drop(b, 10000, 500), 500);
    still_fine(b, &c, s); /* what is open goes on */
    bed_advance(b, 10);
    assert_int_equal(open_and_drop(b, 20000, UVM__REQUESTS_PER_S_MAX / 100 + 7), 7);
    bed_advance(b, 100000); /* and no more is saved up than that */
    assert_int_equal(open_and_drop(b, 30000, UVM__REQUESTS_AT_ONCE_MAX + 7), 7);
    assert_int_equal(b->v.stats.streams, 1);
    still_fine(b, &c, s);
    uvm__stream_reset(s);
}

static void ends_with_rst(struct bed *b, uint16_t op, const struct guest_header *template) {
    struct guest_conn d = bed_guest_conn(b, 2);
    struct uvm__stream *t = bed_accept(b, &d);
    struct guest_header h = guest_packet(&d, op);
    char c;
    if (template != NULL) {
        h.buf_alloc = template->buf_alloc;
        h.fwd_cnt = template->fwd_cnt;
    }
    send(b, &h, NULL);
    bed_expect(b, &d, RST);
    bed_expect_nothing(b);
    assert_int_equal(uvm__stream_read(t, &c, 1), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_write(t, &c, 1), -UVM_E_CLOSED);
    uvm__stream_close(t);
}

/* 24 … 26, 28 */
static void broken_conversations(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[65536];
    ends_with_rst(b, REQUEST, NULL);  /* again on a live key */
    ends_with_rst(b, RESPONSE, NULL); /* unasked */
    struct guest_header ahead = {.buf_alloc = W, .fwd_cnt = 1};
    ends_with_rst(b, UPDATE, &ahead); /* more than was ever sent */
    struct guest_header behind = {.buf_alloc = W, .fwd_cnt = UINT32_MAX};
    ends_with_rst(b, UPDATE, &behind);
    struct guest_conn d = bed_guest_conn(b, 2);
    unsigned accepted = b->accepted_count;
    d.fwd_cnt = 5; /* of what nobody sent */
    assert_true(guest_say(&d, REQUEST, 0));
    bed_kick(b);
    bed_expect(b, &d, RST);
    assert_int_equal(b->accepted_count, accepted);
    struct uvm__stream *t = bed_connect(b, 5000, &d);
    assert_true(guest_say(&d, RESPONSE, 0)); /* twice */
    bed_kick(b);
    bed_expect(b, &d, RST);
    uvm__stream_close(t);
    d = bed_guest_conn(b, 2);
    t = bed_accept(b, &d);
    d.peer_alloc = 2 * W; /* it writes on where the window ends */
    for (unsigned i = 0; i <= W / sizeof data; i++) {
        assert_int_equal(guest_write(&d, data, sizeof data), sizeof data);
    }
    bed_kick(b);
    d.peer_alloc = W;
    struct guest_header h;
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, RST);
    guest_post(&b->g, GUEST_QUEUE);
    uvm__stream_close(t);
    d = bed_guest_conn(b, 2);
    t = bed_accept(b, &d);
    assert_true(guest_say(&d, SHUTDOWN, 2));
    assert_int_equal(guest_write(&d, "late", 4), 4);
    bed_kick(b);
    bed_expect(b, &d, RST);
    uvm__stream_close(t);
    bed_turn(b);
    /* A fwd_cnt that goes back, after it was right once. */
    d = bed_guest_conn(b, 2);
    t = bed_accept(b, &d);
    assert_int_equal(uvm__stream_write(t, data, 1000), 1000);
    bed_turn(b);
    bed_expect(b, &d, RW);
    d.fwd_cnt = 600;
    assert_true(guest_say(&d, UPDATE, 0));
    bed_kick(b);
    bed_expect_nothing(b);
    d.fwd_cnt = 599;
    assert_true(guest_say(&d, UPDATE, 0));
    bed_kick(b);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, RST);
    guest_post(&b->g, GUEST_QUEUE);
    uvm__stream_close(t);
    still_fine(b, &c, s);
    uvm__stream_reset(s);
}

/* 27 */
static void windows_that_shrink_or_are_absurd(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    static uint8_t data[70000];
    c.buf_alloc = 0;
    struct uvm__stream *s = bed_accept(b, &c);
    assert_int_equal(uvm__stream_write(s, data, 10), 10);
    bed_turn(b);
    bed_expect(b, &c, CREDIT_REQUEST);
    bed_expect_nothing(b);
    c.buf_alloc = UINT32_MAX;
    assert_true(guest_say(&c, UPDATE, 0));
    bed_kick(b);
    assert_int_equal(bed_expect(b, &c, RW).len, 10);
    assert_int_equal(uvm__stream_write(s, data, sizeof data), UVM__VSOCK_PAYLOAD_MAX);
    assert_int_equal(uvm__stream_write(s, data, sizeof data), -UVM_E_AGAIN); /* ours is bounded */
    bed_turn(b);
    for (unsigned i = 0; i < 10; i++) {
        (void)bed_expect(b, &c, RW);
    }
    c.buf_alloc = 1000; /* far less than is in flight */
    assert_true(guest_say(&c, UPDATE, 0));
    bed_kick(b);
    c.buf_alloc = UINT32_MAX; /* but what was sent may come in */
    while (bed_pump(b, &c) > 0) {
    }
    assert_int_equal(uvm__stream_write(s, data, 100), 100);
    bed_turn(b);
    c.buf_alloc = 1000;
    struct guest_header h;
    while (guest_take(&b->g, &h, NULL)) {
        assert_int_equal(h.op, CREDIT_REQUEST);
    }
    guest_post(&b->g, GUEST_QUEUE);
    c.fwd_cnt = c.rx_cnt;
    assert_true(guest_say(&c, UPDATE, 0));
    bed_kick(b);
    assert_int_equal(bed_expect(b, &c, RW).len, 100);
    uvm__stream_reset(s);
}

/* 29 */
static void credit_requests_without_end(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    long before = b->heap.live;
    unsigned updates = 0;
    bed_settle(b);
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned k = 0; k < GUEST_QUEUE; k++) {
            assert_true(guest_say(&c, CREDIT_REQUEST, 0));
        }
        bed_settle(b);
        struct guest_header h;
        while (guest_take(&b->g, &h, NULL)) {
            assert_int_equal(h.op, UPDATE);
            updates++;
        }
        guest_post(&b->g, GUEST_QUEUE);
    }
    assert_in_range(updates, 1000, 2000); /* one for all of a turn */
    assert_int_equal(b->heap.live, before);
    uvm__stream_reset(s);
}

/* 33, 34: a turn is bounded, and a stop in the middle of the work leaves nothing to come. */
static void turns_are_bounded_and_stop_at_once(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[1000];
    for (unsigned i = 0; i < 10000; i++) {
        uvm__virtio_vsock_kick(&b->v);
    }
    assert_true(uvm__engine_turn(b->engine));
    assert_false(uvm__engine_turn(b->engine)); /* kicks are not counted */
    unsigned turns = 0;
    uint64_t before = b->v.stats.packets_rx;
    for (unsigned i = 0; i < 20; i++) {
        b->g.layout = GUEST_INDIRECT;
        while (guest_write(&c, data, sizeof data) > 0) {
        }
        uvm__virtio_vsock_kick(&b->v);
        assert_true(uvm__engine_turn(b->engine));
        turns++;
        (void)uvm__stream_read(s, b->payload, sizeof b->payload);
    }
    assert_true(b->v.stats.packets_rx - before <= 256ul * turns);
    bed_settle(b);
    while (guest_write(&c, data, sizeof data) > 0) {
    }
    uvm__virtio_vsock_kick(&b->v);
    uint16_t used = guest_used_idx(&b->g, &b->g.tx);
    bed_stop(b);
    bed_turn(b);
    assert_int_equal(guest_used_idx(&b->g, &b->g.tx), used);
    assert_int_equal(b->queues[1].last_avail, used);
    uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_RX, &b->queues[UVM__VSOCK_RX]);
    uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_TX, &b->queues[UVM__VSOCK_TX]);
    bed_settle(b);
    assert_int_equal(guest_used_idx(&b->g, &b->g.tx), b->g.tx.avail_idx);
    uvm__stream_reset(s);
}

/* 1 … 10 as the engine sees them: the device is over, its streams are reset, the process lives. */
static void a_broken_queue_ends_the_device(void **state) {
    for (unsigned queue = 0; queue < 2; queue++) {
        struct bed *b = *state;
        if (queue == 1) {
            struct uvm__virtio_vsock_params none = {0};
            b = bed_open(&none);
            bed_start(b);
        }
        struct guest_conn c = bed_guest_conn(b, 1);
        struct uvm__stream *s = bed_accept(b, &c);
        char byte;
        assert_int_equal(guest_write(&c, "tail", 4), 4);
        bed_kick(b);
        int before = b->done;
        uvm_op *op = NULL;
        assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 5000, NULL, bed_on_done, b, &op), 0);
        bed_turn(b);
        if (queue == 1) {
            guest_offer(&b->g, &b->g.tx, 0xffff);
        } else {
            struct guest_ring *r = &b->g.rx;
            uint16_t head = r->avail_idx % r->size;
            while ((uint16_t)(r->avail_idx - guest_used_idx(&b->g, r)) > 0) {
                (void)uvm__stream_write(s, b->payload, 1); /* eat the good buffers */
                bed_turn(b);
            }
            (void)head;
            guest_offer(&b->g, r, 0xffff);
            assert_int_equal(uvm__stream_write(s, b->payload, 1), 1);
        }
        bed_kick(b);
        assert_string_equal(b->broken, "a head outside the queue");
        assert_int_equal(b->done, before + 1);
        assert_int_equal(b->code, UVM_E_CLOSED);
        uvm_op_unref(op);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(uvm__stream_read(s, &byte, 1), 1);
        }
        assert_int_equal(uvm__stream_read(s, &byte, 1), -UVM_E_CLOSED);
        assert_int_equal(uvm__stream_write(s, &byte, 1), -UVM_E_CLOSED);
        uvm__stream_close(s);
        assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 5000, NULL, bed_on_done, b, NULL), 0);
        bed_kick(b);
        assert_int_equal(b->done, before + 2);
        assert_int_equal(b->code, UVM_E_CLOSED);
        if (queue == 1) {
            bed_close(b);
        }
    }
}

static void memory_may_run_out_anywhere(void **state) {
    struct bed *b = *state;
    unsigned worked = 0;
    for (uint32_t at = 1; at < 12; at++) {
        struct guest_conn c = bed_guest_conn(b, at);
        struct guest_header h;
        static uint8_t data[20000];
        b->accepted = NULL;
        b->heap.allocs = 0;
        b->heap.fail_at = at;
        assert_true(guest_say(&c, REQUEST, 0));
        bed_kick(b);
        assert_true(guest_take(&b->g, &h, NULL));
        if (h.op == RESPONSE) {
            guest_book(&c, &h);
            (void)guest_write(&c, data, sizeof data);
            bed_kick(b);
            ssize_t n = uvm__stream_write(b->accepted, data, sizeof data);
            assert_true(n == sizeof data || n == -UVM_E_NOMEM || n == -UVM_E_CLOSED);
            bed_turn(b);
            worked += n == sizeof data;
            uvm__stream_reset(b->accepted);
            bed_turn(b);
        } else {
            assert_int_equal(h.op, RST);
            assert_null(b->accepted);
        }
        b->heap.fail_at = 0;
        while (guest_take(&b->g, &h, NULL)) {
        }
        guest_post(&b->g, GUEST_QUEUE);
        bed_kick(b);
    }
    assert_true(worked > 0 && worked < 11);
    assert_int_equal(b->v.stats.streams, 0);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_as_the_standard_draws_them),
        CASE(malformed_packets),
        CASE(wrong_addresses_types_and_ops),
        CASE(storms_without_a_connection),
        CASE(requests_without_end),
        CASE(openings_are_rationed),
        CASE(broken_conversations),
        CASE(windows_that_shrink_or_are_absurd),
        CASE(credit_requests_without_end),
        CASE(turns_are_bounded_and_stop_at_once),
        CASE(a_broken_queue_ends_the_device),
        CASE(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
