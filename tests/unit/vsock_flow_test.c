/* SPDX-License-Identifier: MIT
 * vsock_flow_test.c — credit both ways, fairness, and what keeps one guest or stream from taking too much.
 *
 * G3 … G5 and G15 are the sequences of the device's page; the rest are the rules for windows, small packets,
 * starvation and turns.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "hvsock/vsock_credit.h"
#include "tests/unit/vsock_bed.h"
#include <stdlib.h>
#include <string.h>

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST };
enum { W = UVM__STREAM_WINDOW_BYTES };

static ssize_t read_all(struct uvm__stream *s, size_t bytes) {
    static uint8_t buf[65536];
    size_t done = 0;
    while (done < bytes) {
        size_t n = bytes - done < sizeof buf ? bytes - done : sizeof buf;
        ssize_t got = uvm__stream_read(s, buf, n);
        if (got <= 0) {
            return done > 0 ? (ssize_t)done : got;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static void g3_g4_the_window_stops_the_guest_and_opens_again(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    static uint8_t data[2 * W];
    struct uvm__stream *s = bed_accept(b, &c);
    for (unsigned layout = GUEST_DIRECT; layout <= GUEST_ONE; layout++) {
        b->g.layout = (enum guest_layout)layout;
        assert_int_equal(guest_write(&c, data, sizeof data), W); /* exactly */
        bed_kick(b);
        bed_expect_nothing(b); /* nothing was read: no word about it */
        assert_int_equal(read_all(s, W / 4 - 1), W / 4 - 1);
        bed_turn(b);
        /* A quarter less one byte, but the guest may be waiting: it sees no room at all. */
        struct guest_header h = bed_expect(b, &c, UPDATE);
        assert_int_equal(h.fwd_cnt, c.peer_fwd);
        assert_int_equal(guest_write(&c, data, sizeof data), W / 4 - 1);
        bed_kick(b);
        assert_int_equal(read_all(s, 2ul * W), W);
        bed_turn(b);
        bed_expect(b, &c, UPDATE);
        bed_expect_nothing(b); /* reads of one turn are told together */
        assert_int_equal(c.peer_fwd, c.tx_cnt);
    }
    uvm__stream_reset(s);
}

static void updates_come_at_every_quarter(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    static uint8_t data[4096];
    struct uvm__stream *s = bed_accept(b, &c);
    unsigned updates = 0;
    for (unsigned i = 0; i < 4ul * W / sizeof data; i++) {
        assert_int_equal(guest_write(&c, data, sizeof data), sizeof data);
        bed_kick(b);
        assert_int_equal(read_all(s, sizeof data), sizeof data);
        bed_turn(b);
        struct guest_header h;
        while (guest_take(&b->g, &h, NULL)) {
            assert_int_equal(h.op, UPDATE);
            guest_book(&c, &h);
            updates++;
        }
        guest_post(&b->g, GUEST_QUEUE);
        assert_true((uint32_t)(c.tx_cnt - c.peer_fwd) < W / 4);
    }
    assert_int_equal(updates, 16);
    uvm__stream_reset(s);
}

static void g5_data_never_exceeds_the_guests_window(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[1 << 20];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 31 >> 4);
    }
    size_t sent = 0;
    size_t got = 0;
    unsigned idle = 0;
    while (got < sizeof data) {
        ssize_t n = sent < sizeof data ? uvm__stream_write(s, data + sent, sizeof data - sent) : 0;
        sent += n > 0 ? (size_t)n : 0;
        bed_turn(b);
        size_t before = got;
        struct guest_header h;
        while (guest_take(&b->g, &h, b->payload)) {
            guest_book(&c, &h); /* checks the window */
            if (h.op == RW) {
                assert_true(h.len <= GUEST_RX_BYTES - 44);
                assert_memory_equal(b->payload, data + got, h.len);
                got += h.len;
            }
        }
        guest_post(&b->g, GUEST_QUEUE);
        /* A slow reader: some of what arrived, now and then. */
        c.fwd_cnt += (c.rx_cnt - c.fwd_cnt) / 3 + 1 <= c.rx_cnt - c.fwd_cnt
                         ? (c.rx_cnt - c.fwd_cnt) / 3 + 1
                         : 0;
        assert_true(guest_say(&c, UPDATE, 0));
        bed_kick(b);
        idle = got == before ? idle + 1 : 0;
        assert_true(idle < 100);
    }
    assert_int_equal(guest_bad_lengths, 0);
    uvm__stream_reset(s);
}

/* That packets were taken is told in batches, or a little later; never too late for a full ring. */
static void taken_packets_are_told_together(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    bed_settle(b);
    (void)guest_reap(&b->g);
    for (unsigned layout = 0; layout < 2; layout++) {
        b->g.layout = layout == 0 ? GUEST_INDIRECT : GUEST_DIRECT;
        unsigned batch = layout == 0 ? GUEST_QUEUE / 4 : GUEST_QUEUE / 8; /* two slots each */
        for (unsigned i = 0; i < 3 * batch; i++) {
            unsigned interrupts = b->interrupts[UVM__VSOCK_TX];
            uint16_t used = guest_used_idx(&b->g, &b->g.tx);
            (void)guest_sleep(&b->g, &b->g.tx);
            assert_int_equal(guest_write(&c, "data", 4), 4);
            bed_kick(b);
            bool told = (i + 1) % batch == 0;
            uint16_t now = guest_used_idx(&b->g, &b->g.tx);
            assert_int_equal((uint16_t)(now - used), told ? batch : 0);
            assert_int_equal(b->interrupts[UVM__VSOCK_TX] - interrupts, told);
            (void)guest_reap(&b->g);
        }
        bed_settle(b);
        (void)guest_reap(&b->g);
    }
    unsigned interrupts = b->interrupts[UVM__VSOCK_TX];
    (void)guest_sleep(&b->g, &b->g.tx);
    assert_int_equal(guest_write(&c, "last", 4), 4);
    bed_kick(b);
    bed_advance(b, 1);
    assert_int_equal(b->interrupts[UVM__VSOCK_TX], interrupts);
    bed_advance(b, 1);
    assert_int_equal(b->interrupts[UVM__VSOCK_TX], interrupts + 1);
    assert_int_equal(guest_used_idx(&b->g, &b->g.tx), b->g.tx.avail_idx);
    uvm__stream_reset(s);
}

static void a_turn_fills_half_a_mebibyte(void **state) {
    (void)state;
    enum { N = 16 };
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    b->g.rx_bytes = 0x2000;
    bed_start(b);
    static uint8_t data[UVM__VSOCK_PAYLOAD_MAX];
    struct uvm__stream *streams[N];
    for (unsigned i = 0; i < N; i++) {
        struct guest_conn c = bed_guest_conn(b, 1 + i);
        streams[i] = bed_accept(b, &c);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(uvm__stream_write(streams[i], data, sizeof data), sizeof data);
    }
    uint64_t before = b->v.stats.bytes_tx;
    assert_true(uvm__engine_turn(b->engine));
    assert_in_range(b->v.stats.bytes_tx - before, 500000, 540000);
    assert_true(uvm__engine_turn(b->engine)); /* goes on by itself */
    assert_true(b->v.stats.bytes_tx - before > 900000);
    for (unsigned i = 0; i < N; i++) {
        uvm__stream_reset(streams[i]);
    }
    bed_close(b);
}

/* The rule of newer kernels: each queued packet costs as much as a small buffer. */
static void small_writes_do_not_drown_the_guest(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    uint32_t ends[1024]; /* of the packets in the guest's queue */
    unsigned first = 0;
    unsigned count = 0;
    uint32_t got = 0;
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t byte = (uint8_t)i;
        while (uvm__stream_write(s, &byte, 1) == -UVM_E_AGAIN) {
            bed_advance(b, 100);
        }
        bed_turn(b);
        struct guest_header h;
        while (guest_take(&b->g, &h, b->payload)) {
            guest_book(&c, &h);
            if (h.op == CREDIT_REQUEST) {
                assert_true(guest_say(&c, UPDATE, 0));
                continue;
            }
            assert_int_equal(h.op, RW);
            for (uint32_t k = 0; k < h.len; k++) {
                assert_int_equal(b->payload[k], (uint8_t)(got + k));
            }
            got += h.len;
            assert_true(count < 1024);
            ends[(first + count++) % 1024] = c.rx_cnt;
            assert_true((count + 1) * 576 + (c.rx_cnt - c.fwd_cnt) <= c.buf_alloc);
        }
        guest_post(&b->g, GUEST_QUEUE);
        if (i % 997 == 0) { /* a slow reader */
            for (unsigned k = 0; k < 600 && count > 0; k++, count--) {
                c.fwd_cnt = ends[first++ % 1024];
            }
            assert_true(guest_say(&c, UPDATE, 0));
        }
        bed_kick(b);
    }
    for (unsigned k = 0; k < 10 && got < 100000; k++) {
        c.fwd_cnt = c.rx_cnt;
        assert_true(guest_say(&c, UPDATE, 0));
        bed_kick(b);
        got += (uint32_t)bed_pump(b, &c);
    }
    assert_int_equal(got, 100000);
    uvm__stream_reset(s);
}

static void a_starved_stream_asks_ever_more_rarely(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    c.buf_alloc = 100;
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[200];
    assert_int_equal(uvm__stream_write(s, data, sizeof data), sizeof data);
    bed_turn(b);
    assert_int_equal(bed_expect(b, &c, RW).len, 100);
    bed_expect(b, &c, CREDIT_REQUEST);
    unsigned asked = 0;
    for (unsigned i = 0; i < 600; i++) { /* a minute */
        bed_advance(b, 100);
        struct guest_header h;
        while (guest_take(&b->g, &h, NULL)) {
            assert_int_equal(h.op, CREDIT_REQUEST);
            asked++;
        }
        guest_post(&b->g, GUEST_QUEUE);
    }
    assert_in_range(asked, 15, 30);
    c.fwd_cnt = 100;
    assert_true(guest_say(&c, UPDATE, 0));
    bed_kick(b);
    assert_int_equal(bed_expect(b, &c, RW).len, 100);
    bed_advance(b, 60000);
    bed_expect_nothing(b);
    uvm__stream_reset(s);
}

static void close_waits_for_what_was_accepted(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    c.buf_alloc = 1000;
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[60000];
    static uint8_t more[300000];
    assert_int_equal(uvm__stream_write(s, data, sizeof data), sizeof data);
    uvm__stream_close(s);
    /* Meanwhile the guest talks on: nobody reads it, but it must not block on that. */
    size_t got = 0;
    size_t said = 0;
    bool ended = false;
    for (unsigned i = 0; i < 200 && !ended; i++) {
        bed_turn(b);
        struct guest_header h;
        while (guest_take(&b->g, &h, b->payload)) {
            guest_book(&c, &h);
            got += h.op == RW ? h.len : 0;
            if (h.op == SHUTDOWN) {
                assert_int_equal(h.flags, 3);
                assert_int_equal(got, sizeof data);
                ended = true;
            }
        }
        guest_post(&b->g, GUEST_QUEUE);
        c.fwd_cnt = c.rx_cnt;
        said += guest_write(&c, more, sizeof more - said);
        assert_true(guest_say(&c, UPDATE, 0));
        bed_kick(b);
    }
    assert_true(ended);
    assert_int_equal(said, sizeof more);
}

static void windows_share_the_vms_memory(void **state) {
    struct bed *b = *state;
    static struct guest_conn conns[UVM__STREAMS_MAX + 1];
    static struct uvm__stream *streams[UVM__STREAMS_MAX];
    uint64_t promised = 0;
    for (unsigned i = 0; i < UVM__STREAMS_MAX; i++) {
        conns[i] = bed_guest_conn(b, 10000 + i);
        streams[i] = bed_accept(b, &conns[i]);
        assert_true(conns[i].peer_alloc >= UVM__VSOCK_WINDOW_MIN && conns[i].peer_alloc <= W);
        promised += conns[i].peer_alloc;
    }
    assert_int_equal(conns[0].peer_alloc, W);
    assert_true(promised <= UVM__STREAMS_BYTES_MAX);
    struct guest_conn *beyond = &conns[UVM__STREAMS_MAX];
    *beyond = bed_guest_conn(b, 9);
    assert_true(guest_say(beyond, REQUEST, 0));
    bed_kick(b);
    bed_expect(b, beyond, RST);
    b->op = NULL;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 1, NULL, bed_on_done, b, NULL), 0);
    bed_turn(b);
    assert_int_equal(b->code, UVM_E_LIMIT);
    assert_int_equal(b->v.stats.streams_peak, UVM__STREAMS_MAX);
    for (unsigned i = 0; i < UVM__STREAMS_MAX; i++) {
        uvm__stream_reset(streams[i]);
        bed_turn(b);
        bed_expect(b, &conns[i], RST);
    }
    assert_int_equal(b->v.stats.streams, 0);
    assert_int_equal(b->v.window_extra, 0);
}

/* In runs, so that a guest need not wake another reader for each packet. */
static void runs_in_turn_serve_all_streams_alike(void **state) {
    struct bed *b = *state;
    enum { N = 8 };
    struct guest_conn conns[N];
    struct uvm__stream *streams[N];
    static uint8_t data[UVM__VSOCK_PAYLOAD_MAX];
    uint32_t got[N] = {0}, last = 0, runs = 0;
    for (unsigned i = 0; i < N; i++) {
        conns[i] = bed_guest_conn(b, 100 + i);
        streams[i] = bed_accept(b, &conns[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        (void)uvm__stream_write(streams[i], data, sizeof data);
    }
    bed_turn(b); /* as far as the guest's buffers go */
    struct guest_header h;
    while (guest_take(&b->g, &h, b->payload)) {
        assert_int_equal(h.op, RW);
        got[h.dst_port - 100] += h.len;
        runs += h.dst_port != last;
        last = h.dst_port;
    }
    assert_int_equal(runs, N);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(got[i], 16 * 3732);
        uvm__stream_reset(streams[i]);
    }
}

static void g15_counters_wrap(void **state) {
    (void)state;
    for (unsigned indexes = 0; indexes < 2; indexes++) {
        struct uvm__virtio_vsock_params p = {.counters_start = 0xffff0000u};
        struct bed *b = bed_open(&p);
        b->g.event_idx = indexes != 0;
        bed_start(b);
        struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
        c.tx_cnt = c.rx_cnt = c.fwd_cnt = c.peer_fwd = p.counters_start;
        struct uvm__stream *s = bed_accept(b, &c);
        static uint8_t data[50000];
        size_t total = 0;
        /* More heads than a ring index has values, too. */
        for (unsigned i = 0; i < 6000; i++) {
            size_t n = guest_write(&c, data, 100 + i % 10000);
            bed_kick(b);
            assert_int_equal(read_all(s, n), n);
            n = 1 + (i * 37ul) % sizeof data;
            ssize_t taken = uvm__stream_write(s, data, n);
            assert_int_equal(taken, n);
            bed_turn(b);
            total += bed_pump(b, &c);
            c.fwd_cnt = c.rx_cnt;
            assert_true(guest_say(&c, UPDATE, 0));
            bed_kick(b);
        }
        total += bed_pump(b, &c);
        assert_true(total > 100000000);
        assert_true(c.rx_cnt < p.counters_start && c.tx_cnt < p.counters_start);
        assert_null(b->broken);
        uvm__stream_reset(s);
        bed_close(b);
    }
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        CASE(g3_g4_the_window_stops_the_guest_and_opens_again),
        CASE(updates_come_at_every_quarter),
        CASE(g5_data_never_exceeds_the_guests_window),
        CASE(taken_packets_are_told_together),
        cmocka_unit_test(a_turn_fills_half_a_mebibyte),
        CASE(small_writes_do_not_drown_the_guest),
        CASE(a_starved_stream_asks_ever_more_rarely),
        CASE(close_waits_for_what_was_accepted),
        CASE(windows_share_the_vms_memory),
        CASE(runs_in_turn_serve_all_streams_alike),
        cmocka_unit_test(g15_counters_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
