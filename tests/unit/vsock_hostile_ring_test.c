/* SPDX-License-Identifier: MIT
 * vsock_hostile_ring_test.c — guests that lie with buffers and rings, as the packet engine meets it.
 *
 * The numbers are those of the hostile cases of the device's page (6.2), as in vsock_hostile_test.c, where the
 * packets are.
 */
#include <pthread.h>
#include <string.h>

#include "async/engine.h"
#include "async/limits.h"
#include "tests/unit/vsock_bed.h"

enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST };

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

/* 16 */
static void rx_buffers_of_odd_sizes(void **state) {
    (void)state;
    static const uint32_t sizes[] = {44, 45, 46, 1000, 65535};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct uvm__virtio_vsock_params none = {0};
        struct bed *b = bed_open(&none);
        b->g.rx_bytes = sizes[i] < 0x2000 ? sizes[i] : 0x2000;
        bed_start(b);
        struct guest_conn c = bed_guest_conn(b, 1);
        struct uvm__stream *s = bed_accept(b, &c);
        assert_int_equal(uvm__stream_write(s, "12345678", 8), 8);
        bed_turn(b);
        size_t got = 0;
        unsigned packets = 0;
        struct guest_header h;
        while (guest_take(&b->g, &h, b->payload)) {
            guest_book(&c, &h);
            got += h.op == RW ? h.len : 0;
            packets++;
        }
        assert_int_equal(guest_bad_lengths, 0);
        assert_int_equal(got, sizes[i] == 44 ? 0 : 8);
        assert_true(packets <= GUEST_QUEUE);
        if (sizes[i] == 44) { /* for ever: the queue is given up at last */
            for (unsigned k = 0; k < 20 && b->broken == NULL; k++) {
                assert_true(k < 18);
                (void)bed_pump(b, &c);
            }
            assert_non_null(b->broken);
        }
        uvm__stream_reset(s);
        bed_close(b);
    }
    for (unsigned bytes = 1; bytes < 44; bytes += 42) { /* 1, 43: came back empty, then given up */
        struct uvm__virtio_vsock_params none = {0};
        struct bed *b = bed_open(&none);
        b->g.rx_bytes = bytes;
        bed_start(b);
        struct guest_conn c = bed_guest_conn(b, 1);
        assert_true(guest_say(&c, REQUEST, 0));
        bed_kick(b);
        for (unsigned k = 0; k < 20 && b->broken == NULL; k++) {
            struct guest_header h;
            while (guest_take(&b->g, &h, NULL)) {
                assert_int_equal(h.op, 0);
            }
            guest_post(&b->g, GUEST_QUEUE);
            bed_kick(b);
        }
        assert_string_equal(b->broken, "buffers too small for any packet");
        guest_bad_lengths = 0;
        uvm__stream_close(b->accepted);
        bed_close(b);
    }
}

static volatile bool hammering;

/* Rewrites what the device reads: descriptors, tables, headers, and indexes that only the guest hurts by. */
static void *hammer(void *arg) {
    struct bed *b = arg;
    uint32_t r = 99;
    while (hammering) {
        r = r * 1664525u + 1013904223u;
        uint64_t at = (r & 3) == 0 ? b->g.tx.desc + (r >> 8) % 2048
                                   : guest_slot(&b->g, &b->g.tx, (r >> 8) % 8) + (r >> 16) % 320;
        __atomic_store_n((uint8_t *)b->g.ram + at, (uint8_t)(r >> 24), __ATOMIC_RELAXED);
    }
    return NULL;
}

/* 17: what was checked is what is used, though the guest writes over it all the time. */
static void rewriting_while_it_is_read(void **state) {
    (void)state;
    unsigned breaks = 0;
    for (unsigned life = 0; life < 60; life++) {
        struct uvm__virtio_vsock_params none = {0};
        struct bed *b = bed_open(&none);
        bed_start(b);
        struct guest_conn c = bed_guest_conn(b, 1);
        struct uvm__stream *s = bed_accept(b, &c);
        pthread_t thread;
        static uint8_t data[3000];
        hammering = true;
        assert_int_equal(pthread_create(&thread, NULL, hammer, b), 0);
        for (unsigned i = 0; i < 300 && b->broken == NULL; i++) {
            struct guest_header h = guest_packet(&c, RW);
            h.len = 1 + i % sizeof data;
            for (unsigned k = 0; k < 8; k++) {
                (void)guest_send(&b->g, &h, data);
            }
            bed_kick(b);
            struct guest_header in;
            while (guest_take(&b->g, &in, NULL)) {
            }
            guest_post(&b->g, GUEST_QUEUE);
            while (uvm__stream_read(s, b->payload, sizeof b->payload) > 0) {
            }
        }
        hammering = false;
        pthread_join(thread, NULL);
        breaks += b->broken != NULL;
        uvm__stream_close(s);
        if (b->accepted != s) {
            uvm__stream_close(b->accepted);
        }
        bed_close(b);
    }
    assert_true(breaks > 0); /* the hammer does hit */
}

/* 13: buffers that lie over the rings, and over each other. The guest destroys its own, nothing else. */
static void buffers_over_the_rings(void **state) {
    (void)state;
    unsigned breaks = 0;
    for (unsigned where = 0; where < 6; where++) {
        struct uvm__virtio_vsock_params none = {0};
        struct bed *b = bed_open(&none);
        bed_start(b);
        struct guest_conn c = bed_guest_conn(b, 1);
        struct uvm__stream *s = bed_accept(b, &c);
        const uint64_t places[] = {b->g.rx.desc, b->g.rx.avail, b->g.rx.used,
                                   b->g.tx.desc, b->g.tx.avail, b->g.tx.used};
        static uint8_t data[2000];
        memset(data, 0xa5, sizeof data);
        /* Every buffer of the guest is there now: what the device sends goes over its own rings. */
        for (unsigned i = 0; i < GUEST_QUEUE; i++) {
            guest_descriptor(&b->g, &b->g.rx, i, places[where], 4096, 2, 0);
        }
        for (unsigned i = 0; i < 200 && b->broken == NULL; i++) {
            (void)uvm__stream_write(s, data, sizeof data);
            guest_offer(&b->g, &b->g.tx, (uint16_t)(i % GUEST_QUEUE));
            bed_kick(b);
            (void)uvm__stream_read(s, b->payload, sizeof b->payload);
            if (b->accepted != NULL && b->accepted != s) { /* an old request, offered again */
                uvm__stream_close(b->accepted);
                b->accepted = NULL;
            }
        }
        breaks += b->broken != NULL;
        uvm__stream_close(s);
        bed_close(b);
    }
    assert_true(breaks > 0); /* where it hit the indices */
}

/* 14, the other ring: buffers that the device may read where it wants to write. */
static void readable_buffers_to_write_in(void **state) {
    (void)state;
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    b->g.rx_bytes = 4096;
    bed_start(b);
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    struct guest_header h;
    while (guest_take(&b->g, &h, NULL)) {
    }
    uint16_t from = guest_used_idx(&b->g, &b->g.rx);
    for (unsigned i = 0; i < GUEST_QUEUE; i++) {
        guest_descriptor(&b->g, &b->g.rx, i, 0x900000, 4096, 0, 0);
    }
    memset(guest_at(&b->g, 0x900000), 0x77, 4096);
    assert_int_equal(uvm__stream_write(s, "x", 1), 1);
    bed_kick(b);
    unsigned given_back = (uint16_t)(guest_used_idx(&b->g, &b->g.rx) - from);
    assert_int_equal(given_back, GUEST_QUEUE); /* all of them, unused */
    assert_int_equal(b->v.stats.dropped, given_back);
    for (unsigned i = 0; i < given_back; i++) {
        assert_int_equal(guest_used_len(&b->g, &b->g.rx, (uint16_t)(from + i)), 0);
        assert_true(guest_take(&b->g, &h, NULL));
    }
    assert_int_equal(*(uint8_t *)guest_at(&b->g, 0x900000), 0x77);
    assert_int_equal(guest_bad_lengths, given_back);
    guest_bad_lengths = 0;
    guest_post(&b->g, GUEST_QUEUE); /* with good ones the byte comes after all */
    bed_kick(b);
    assert_int_equal(bed_expect(b, &c, RW).len, 1);
    uvm__stream_reset(s);
    bed_close(b);
}

/* 30: timers still free what a guest never takes. */
static void a_guest_that_posts_no_buffers(void **state) {
    (void)state;
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    bed_start(b);
    struct guest_header h;
    struct guest_conn c = bed_guest_conn(b, 1);
    for (unsigned i = 0; i < GUEST_QUEUE; i++) { /* uses up all buffers */
        struct guest_conn nobody = bed_guest_conn(b, 1);
        nobody.host_port = 9999;
        assert_true(guest_say(&nobody, REQUEST, 0));
        bed_kick(b);
    }
    assert_true(guest_say(&c, REQUEST, 0));
    bed_kick(b);
    assert_non_null(b->accepted);
    static uint8_t data[UVM__VSOCK_PAYLOAD_MAX];
    assert_int_equal(uvm__stream_write(b->accepted, data, sizeof data), sizeof data);
    assert_int_equal(uvm__stream_write(b->accepted, data, 1), -UVM_E_AGAIN);
    uvm__stream_reset(b->accepted);
    bed_turn(b);
    assert_int_equal(b->v.stats.streams, 1);
    bed_advance(b, UVM__VSOCK_CLOSING_MS);
    assert_int_equal(b->v.stats.streams, 0);
    while (guest_take(&b->g, &h, NULL)) {
        assert_int_equal(h.op, RST);
    }
    bed_close(b);
}

/* 32 */
static void interrupts_for_nonsense(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, 1);
    struct uvm__stream *s = bed_accept(b, &c);
    uint32_t r = 5;
    for (unsigned i = 0; i < 2000; i++) {
        r = r * 1664525u + 1013904223u;
        uint16_t event = (uint16_t)(r >> 16);
        memcpy(guest_at(&b->g, b->g.tx.avail + 4 + 2ul * GUEST_QUEUE), &event, 2);
        memcpy(guest_at(&b->g, b->g.rx.avail + 4 + 2ul * GUEST_QUEUE), &event, 2);
        still_fine(b, &c, s);
    }
    uvm__stream_reset(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rx_buffers_of_odd_sizes),
        cmocka_unit_test(rewriting_while_it_is_read),
        cmocka_unit_test(buffers_over_the_rings),
        cmocka_unit_test(readable_buffers_to_write_in),
        cmocka_unit_test(a_guest_that_posts_no_buffers),
        cmocka_unit_test_setup_teardown(interrupts_for_nonsense, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
