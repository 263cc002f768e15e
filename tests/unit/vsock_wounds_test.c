/* SPDX-License-Identifier: MIT
 * vsock_wounds_test.c — what went wrong in other devices of this kind, each once more here.
 *
 * Echoes that stall for want of a credit update, bytes counted per VM instead of per stream, streams of
 * different speeds, thousands of dials, both directions at once. The guest is the in-process one.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "tests/unit/vsock_bed.h"
#include <stdlib.h>
#include <string.h>

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST };
#define MIB (1ul << 20)
enum { STREAMS = 8 };

static uint8_t pattern(unsigned stream, uint64_t at) {
    return (uint8_t)(at ^ (at >> 8) * 5 ^ (at >> 17) ^ stream * 31ul);
}

/* One stream with a flow each way; the guest keeps what came until its slow reader takes it. */
struct lane {
    unsigned id;
    struct guest_conn c;
    struct uvm__stream *s;
    uint64_t to_guest, at_guest; /* written by the host, arrived and checked in the guest */
    uint64_t to_host, at_host;
    uint32_t unread;      /* in the guest */
    uint32_t guest_speed; /* bytes a round that its reader takes */
    uint32_t host_speed;
};

static void lane_open(struct bed *b, struct lane *l, unsigned id) {
    memset(l, 0, sizeof *l);
    l->id = id;
    l->c = bed_guest_conn(b, 100 + id);
    l->s = bed_accept(b, &l->c);
}

static void lane_host(struct lane *l, uint64_t bytes) {
    static uint8_t buf[65536];
    size_t n = bytes - l->to_guest < sizeof buf ? (size_t)(bytes - l->to_guest) : sizeof buf;
    for (size_t i = 0; i < n; i++) {
        buf[i] = pattern(l->id, l->to_guest + i);
    }
    ssize_t w = n > 0 ? uvm__stream_write(l->s, buf, n) : 0;
    assert_true(w >= 0 || w == -UVM_E_AGAIN);
    l->to_guest += w > 0 ? (uint64_t)w : 0;
    for (uint32_t left = l->host_speed; left > 0;) {
        ssize_t r = uvm__stream_read(l->s, buf, left < sizeof buf ? left : sizeof buf);
        if (r <= 0) {
            assert_int_equal(r, -UVM_E_AGAIN);
            break;
        }
        for (ssize_t i = 0; i < r; i++) {
            assert_int_equal(buf[i], pattern(l->id + 100, l->at_host + (uint64_t)i));
        }
        l->at_host += (uint64_t)r;
        left -= (uint32_t)r;
    }
}

static void lane_guest(struct lane *l, uint64_t bytes) {
    static uint8_t buf[65536];
    size_t n = bytes - l->to_host < sizeof buf ? (size_t)(bytes - l->to_host) : sizeof buf;
    for (size_t i = 0; i < n; i++) {
        buf[i] = pattern(l->id + 100, l->to_host + i);
    }
    l->to_host += guest_write(&l->c, buf, n);
    /* As a Linux guest does: a word when the queue is empty, or little room is known of. */
    uint32_t take = l->unread < l->guest_speed ? l->unread : l->guest_speed;
    l->unread -= take;
    l->c.fwd_cnt += take;
    if (take > 0 && l->unread == 0) {
        (void)guest_say(&l->c, UPDATE, 0);
    }
}

static void lanes_receive(struct bed *b, struct lane *lanes, unsigned count) {
    struct guest_header h;
    while (guest_take(&b->g, &h, b->payload)) {
        assert_in_range(h.dst_port, 100, 100 + count - 1);
        struct lane *l = &lanes[h.dst_port - 100];
        guest_book(&l->c, &h);
        if (h.op == CREDIT_REQUEST) {
            assert_true(guest_say(&l->c, UPDATE, 0));
        }
        for (uint32_t i = 0; i < (h.op == RW ? h.len : 0); i++) {
            assert_int_equal(b->payload[i], pattern(l->id, l->at_guest + i));
        }
        l->at_guest += h.op == RW ? h.len : 0;
        l->unread += h.op == RW ? h.len : 0;
    }
    (void)guest_post(&b->g, GUEST_QUEUE);
}

static void run_lanes(struct bed *b, struct lane *lanes, unsigned count, uint64_t bytes) {
    bool all = false;
    for (unsigned round = 0; !all; round++) {
        assert_true(round < 200000);
        all = true;
        for (unsigned i = 0; i < count; i++) {
            lane_host(&lanes[i], bytes);
            lane_guest(&lanes[i], bytes);
            all = all && lanes[i].at_host == bytes && lanes[i].at_guest == bytes;
        }
        bed_kick(b);
        lanes_receive(b, lanes, count);
        if (round % 64 == 63) {
            bed_advance(b, 100);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(lanes[i].to_host, bytes);
        assert_int_equal(lanes[i].to_guest, bytes);
    }
}

static void streams_of_different_speeds(void **state) {
    struct bed *b = *state;
    static struct lane lanes[STREAMS];
    for (unsigned i = 0; i < STREAMS; i++) {
        lane_open(b, &lanes[i], i);
        lanes[i].guest_speed = 200u << i; /* 200 bytes to 25 KiB a round */
        lanes[i].host_speed = 200u << (STREAMS - 1 - i);
    }
    run_lanes(b, lanes, STREAMS, 1 * MIB);
    assert_int_equal(guest_bad_lengths, 0);
    for (unsigned i = 0; i < STREAMS; i++) {
        uvm__stream_reset(lanes[i].s);
    }
}

static void both_ways_at_full_speed(void **state) {
    struct bed *b = *state;
    static struct lane lanes[4];
    for (unsigned i = 0; i < 4; i++) {
        lane_open(b, &lanes[i], i);
        lanes[i].guest_speed = lanes[i].host_speed = UINT32_MAX;
    }
    run_lanes(b, lanes, 4, 16 * MIB);
    for (unsigned i = 0; i < 4; i++) {
        uvm__stream_reset(lanes[i].s);
    }
}

/* What `cat` does: takes what is there, writes it back, and stalls when it cannot. */
static void mebibytes_echoed(void **state) {
    struct bed *b = *state;
    static uint8_t kept[MIB];
    static uint8_t buf[65536];
    for (unsigned round = 0; round < 100; round++) {
        struct guest_conn c;
        struct uvm__stream *s = bed_connect(b, 5000 + round, &c);
        uint64_t sent = 0;
        uint64_t back = 0;
        size_t arrived = 0;
        size_t echoed = 0;
        for (unsigned i = 0; back < MIB; i++) {
            assert_true(i < 5000);
            size_t n = MIB - sent < sizeof buf ? (size_t)(MIB - sent) : sizeof buf;
            for (size_t k = 0; k < n; k += 512) {
                buf[k] = pattern(round, sent + k);
            }
            ssize_t w = n > 0 ? uvm__stream_write(s, buf, n) : 0;
            sent += w > 0 ? (uint64_t)w : 0;
            bed_turn(b);
            struct guest_header h;
            while (guest_take(&b->g, &h, b->payload)) {
                guest_book(&c, &h);
                if (h.op == RW) {
                    memcpy(kept + arrived, b->payload, h.len);
                    arrived += h.len;
                }
            }
            (void)guest_post(&b->g, GUEST_QUEUE);
            c.fwd_cnt = c.rx_cnt;
            if (arrived == echoed) {
                (void)guest_say(&c, UPDATE, 0);
            }
            echoed += guest_write(&c, kept + echoed, arrived - echoed);
            bed_kick(b);
            ssize_t r;
            while ((r = uvm__stream_read(s, buf, sizeof buf)) > 0) {
                assert_memory_equal(buf, kept + back, (size_t)r);
                back += (uint64_t)r;
            }
        }
        uvm__stream_close(s);
        bed_turn(b);
        struct guest_header h;
        bool shut = false;
        while (guest_take(&b->g, &h, NULL)) {
            shut = shut || h.op == SHUTDOWN;
        }
        (void)guest_post(&b->g, GUEST_QUEUE);
        assert_true(shut);
        assert_true(guest_say(&c, RST, 0));
        bed_kick(b);
    }
    assert_int_equal(b->v.stats.streams, 0);
}

static void ten_thousand_dials(void **state) {
    struct bed *b = *state;
    for (unsigned i = 0; i < 10000; i++) {
        struct guest_conn c;
        struct uvm__stream *s = bed_connect(b, 5000, &c);
        assert_int_equal(uvm__stream_write(s, "x", 1), 1);
        uvm__stream_close(s);
        bed_turn(b);
        bed_expect(b, &c, RW);
        assert_int_equal(bed_expect(b, &c, SHUTDOWN).flags, 3);
        assert_true(guest_say(&c, RST, 0));
        assert_true(guest_say(&c, RST, 0)); /* its second one, when the program closes */
        bed_kick(b);
        bed_expect_nothing(b);
    }
    assert_int_equal(b->v.stats.streams, 0);
    assert_int_equal(b->v.stats.streams_peak, 1);
}

/* A reader of single bytes: two mebibytes, all there. */
static void two_mebibytes_byte_by_byte(void **state) {
    struct bed *b = *state;
    static struct lane lane;
    lane_open(b, &lane, 0);
    lane.guest_speed = UINT32_MAX;
    uint64_t got = 0;
    for (unsigned i = 0; got < 2 * MIB; i++) {
        assert_true(i < 100000);
        lane_guest(&lane, 2 * MIB);
        bed_kick(b);
        uint8_t byte;
        for (unsigned k = 0; k < 5000 && uvm__stream_read(lane.s, &byte, 1) == 1; k++) {
            assert_int_equal(byte, pattern(100, got));
            got++;
        }
        bed_turn(b);
        lanes_receive(b, &lane, 1);
    }
    uvm__stream_reset(lane.s);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        CASE(streams_of_different_speeds), CASE(both_ways_at_full_speed),    CASE(mebibytes_echoed),
        CASE(ten_thousand_dials),          CASE(two_mebibytes_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
