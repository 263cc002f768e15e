/* SPDX-License-Identifier: MIT
 * virtio_vsock_test.c — the packet sequences of a well-behaved guest: open, data, credit, shut, close, reset.
 *
 * G1 … G15 are the sequences of the device's page. Time is virtual, the rings are real memory.
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

static void g1_nobody_listens(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    c.host_port = 9999;
    assert_true(guest_say(&c, REQUEST, 0));
    bed_kick(b);
    struct guest_header h = bed_expect(b, &c, RST);
    assert_int_equal(h.buf_alloc, 0);
    bed_expect_nothing(b);
}

static void g2_a_whole_life(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    char buf[8];
    struct uvm__stream *s = bed_accept(b, &c);
    assert_int_equal(c.peer_alloc, W);
    assert_int_equal(guest_write(&c, "hello", 5), 5);
    bed_kick(b);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(uvm__stream_write(s, "world", 5), 5);
    bed_turn(b);
    struct guest_header h = bed_expect(b, &c, RW);
    assert_int_equal(h.len, 5);
    assert_int_equal(h.fwd_cnt, 5);
    assert_memory_equal(b->payload, "world", 5);
    c.fwd_cnt = 5;
    assert_true(guest_say(&c, UPDATE, 0));
    assert_true(guest_say(&c, SHUTDOWN, 2));
    bed_kick(b);
    bed_expect_nothing(b);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    uvm__stream_close(s);
    bed_turn(b);
    h = bed_expect(b, &c, SHUTDOWN);
    assert_int_equal(h.flags, 3);
    assert_true(guest_say(&c, RST, 0));
    assert_true(guest_say(&c, RST, 0));
    bed_kick(b);
    bed_expect_nothing(b);
    assert_int_equal(b->v.stats.streams, 0);
}

static void g6_host_dials_guest(void **state) {
    struct bed *b = *state;
    struct guest_conn c;
    char buf[8];
    struct uvm__stream *s = bed_connect(b, 5000, &c);
    assert_int_equal(uvm__stream_write(s, "ping", 4), 4);
    bed_turn(b);
    bed_expect(b, &c, RW);
    assert_int_equal(guest_write(&c, "pong", 4), 4);
    assert_true(guest_say(&c, SHUTDOWN, 3));
    bed_kick(b);
    bed_expect_nothing(b); /* not before "pong" was read */
    assert_int_equal(uvm__stream_write(s, "x", 1), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 4);
    bed_turn(b);
    bed_expect(b, &c, RST);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_write(s, "x", 1), -UVM_E_CLOSED);
    uvm__stream_close(s);
    assert_int_equal(b->v.stats.streams, 0);
}

static int dial_code(struct bed *b, uint32_t port, uint16_t answer) {
    b->op = uvm_op_unref(b->op);
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, port, NULL, bed_on_done, b, &b->op), 0);
    bed_turn(b);
    struct guest_header h;
    assert_true(guest_take(&b->g, &h, NULL));
    guest_post(&b->g, GUEST_QUEUE);
    struct guest_conn c = bed_guest_conn(b, port);
    c.host_port = h.src_port;
    if (answer != 0) {
        assert_true(guest_say(&c, answer, 0));
        bed_kick(b);
    }
    return b->code;
}

static void g7_dials_that_fail(void **state) {
    struct bed *b = *state;
    struct guest_header h;
    assert_int_equal(dial_code(b, 5000, RST), UVM_E_REFUSED);
    bed_expect_nothing(b);
    assert_int_equal(dial_code(b, 5000, UPDATE), UVM_E_PROTOCOL);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, RST);
    /* No answer: the device gives up, and says so. */
    int before = b->done;
    (void)dial_code(b, 5000, 0);
    bed_advance(b, UVM__VSOCK_CONNECT_MS - 1);
    assert_int_equal(b->done, before);
    bed_advance(b, 1);
    assert_int_equal(b->done, before + 1);
    assert_int_equal(b->code, UVM_E_TIMEDOUT);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, RST);
    /* Cancelled: at once; the late answer is refused. */
    (void)dial_code(b, 5000, 0);
    uvm_op_cancel(b->op);
    bed_turn(b);
    assert_int_equal(b->code, UVM_E_CANCELED);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, RST);
    struct guest_conn c = bed_guest_conn(b, 5000);
    c.host_port = h.src_port;
    guest_post(&b->g, GUEST_QUEUE);
    assert_true(guest_say(&c, RESPONSE, 0));
    bed_kick(b);
    bed_expect(b, &c, RST);
    assert_int_equal(b->v.stats.streams, 0);
}

/* A dial whose request has not left yet: what the guest says about its ports is about others. */
static void dials_before_the_guest_can_know(void **state) {
    (void)state;
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    uvm_op *op = NULL;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 7, NULL, bed_on_done, b, &op), 0);
    bed_turn(b);
    uvm_op_cancel(op);
    bed_turn(b);
    assert_int_equal(b->code, UVM_E_CANCELED);
    uvm_op_unref(op);
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 7, NULL, bed_on_done, b, NULL), 0);
    bed_advance(b, 0);
    bed_advance(b, UVM__VSOCK_CONNECT_MS); /* no driver ever came */
    assert_int_equal(b->code, UVM_E_TIMEDOUT);
    assert_int_equal(b->v.stats.streams, 0);
    /* A driver that comes in time gets what waited for one. */
    struct guest_header h;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 7, NULL, bed_on_done, b, NULL), 0);
    bed_turn(b);
    uvm__virtio_vsock_reset(&b->v);
    bed_start(b);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, REQUEST);
    (void)guest_post(&b->g, GUEST_QUEUE);
    uvm__virtio_vsock_reset(&b->v); /* that one it has heard of */
    bed_turn(b);
    assert_int_equal(b->code, UVM_E_CLOSED);
    for (unsigned i = 0; i < GUEST_QUEUE; i++) { /* all buffers are used up */
        struct guest_conn nobody = bed_guest_conn(b, 1);
        nobody.host_port = 9999;
        assert_true(guest_say(&nobody, REQUEST, 0));
        bed_kick(b);
    }
    int before = b->done;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 7, NULL, bed_on_done, b, &op), 0);
    bed_turn(b);
    struct guest_conn late = bed_guest_conn(b, 7);
    late.host_port = b->v.next_port - 1;
    assert_true(guest_say(&late, RST, 0));
    assert_true(guest_say(&late, RESPONSE, 0));
    bed_kick(b);
    assert_int_equal(b->done, before);
    while (guest_take(&b->g, &h, NULL)) {
    }
    (void)guest_post(&b->g, GUEST_QUEUE);
    bed_kick(b);
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, REQUEST);
    assert_true(guest_say(&late, RESPONSE, 0));
    bed_kick(b);
    assert_int_equal(b->code, 0);
    uvm_op_unref(op); /* the stream that nobody took is reset with it */
    bed_close(b);
}

struct echo {
    unsigned events, calls;
    uint8_t kept[4096];
    size_t from, to;
    bool eof;
};

static void on_echo(struct uvm__stream *s, unsigned events, void *arg) {
    struct echo *e = arg;
    e->events |= events;
    e->calls++;
    for (;;) {
        if (e->from < e->to) {
            ssize_t n = uvm__stream_write(s, e->kept + e->from, e->to - e->from);
            if (n < 0) {
                return;
            }
            e->from += (size_t)n;
            continue;
        }
        ssize_t n = uvm__stream_read(s, e->kept, sizeof e->kept);
        if (n == 0 && !e->eof) {
            e->eof = true;
            uvm__stream_shutdown(s);
        }
        if (n <= 0) {
            return;
        }
        e->from = 0;
        e->to = (size_t)n;
    }
}

/* A consumer that only ever acts on events: none is lost, and an idle stream has none. */
static void events_drive_a_consumer(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    c.buf_alloc = 20000;
    struct uvm__stream *s = bed_accept(b, &c);
    static struct echo e;
    memset(&e, 0, sizeof e);
    uvm__stream_set_handler(s, on_echo, &e);
    assert_int_equal(e.calls, 0);
    bed_turn(b);
    assert_int_equal(e.events, UVM__STREAM_WRITABLE);
    assert_int_equal(e.calls, 1);
    bed_advance(b, 60000);
    assert_int_equal(e.calls, 1);
    static uint8_t data[1 << 20];
    size_t sent = 0;
    size_t back = 0;
    uint32_t r = 1;
    for (unsigned i = 0; back < sizeof data; i++) {
        assert_true(i < 100000);
        r = r * 1664525u + 1013904223u;
        sent += guest_write(&c, data + sent,
                            sizeof data - sent < (r >> 16) ? sizeof data - sent : r >> 16);
        bed_kick(b);
        back += bed_pump(b, &c);
        if ((r & 3) == 0) {
            c.fwd_cnt = c.rx_cnt;
            assert_true(guest_say(&c, UPDATE, 0));
        }
    }
    assert_true(e.calls < 10000);
    c.fwd_cnt = c.rx_cnt;
    assert_true(guest_say(&c, SHUTDOWN, 2));
    bed_kick(b);
    assert_true(e.eof);
    struct guest_header h = {0};
    while (guest_take(&b->g, &h, NULL) && h.op != SHUTDOWN) {
    }
    assert_int_equal(h.op, SHUTDOWN);
    assert_int_equal(h.flags, 2);
    (void)guest_post(&b->g, GUEST_QUEUE);
    /* A handler that is set late hears of what holds. */
    uvm__stream_set_handler(s, NULL, NULL);
    assert_true(guest_say(&c, RST, 0));
    bed_kick(b);
    e.events = 0;
    uvm__stream_set_handler(s, on_echo, &e);
    bed_turn(b);
    assert_int_equal(e.events, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
    uvm__stream_close(s);
}

static void g8_half_close_both_ways(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    char buf[8];
    struct uvm__stream *s = bed_accept(b, &c);
    assert_int_equal(uvm__stream_write(s, "last", 4), 4);
    uvm__stream_shutdown(s);
    bed_turn(b);
    bed_expect(b, &c, RW); /* what was accepted goes first */
    struct guest_header h = bed_expect(b, &c, SHUTDOWN);
    assert_int_equal(h.flags, 2);
    assert_int_equal(guest_write(&c, "still", 5), 5);
    bed_kick(b);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 5);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), -UVM_E_AGAIN);
    assert_true(guest_say(&c, SHUTDOWN, 3));
    bed_kick(b);
    bed_expect(b, &c, RST);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    uvm__stream_close(s);
}

static void g9_shutdown_hints_add_up(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    assert_true(guest_say(&c, SHUTDOWN, 1));
    bed_kick(b);
    bed_expect_nothing(b);
    assert_int_equal(uvm__stream_write(s, "x", 1), -UVM_E_CLOSED);
    assert_true(guest_say(&c, SHUTDOWN, 2));
    bed_kick(b);
    bed_expect(b, &c, RST);
    uvm__stream_close(s);
}

static void g10_g11_closing_is_bounded_but_not_while_stopped(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    uvm__stream_close(s);
    bed_turn(b);
    bed_expect(b, &c, SHUTDOWN);
    bed_advance(b, UVM__VSOCK_CLOSING_MS - 10);
    uvm__virtio_vsock_paused(&b->v, true);
    bed_advance(b, 20000);
    bed_expect_nothing(b);
    uvm__virtio_vsock_paused(&b->v, false);
    bed_stop(b);
    bed_advance(b, 20000);
    uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_RX, &b->queues[UVM__VSOCK_RX]);
    uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_TX, &b->queues[UVM__VSOCK_TX]);
    bed_turn(b);
    bed_advance(b, 9);
    bed_expect_nothing(b);
    bed_advance(b, 1);
    bed_expect(b, &c, RST);
    assert_int_equal(b->v.stats.streams, 0);
}

static void g11_a_pause_in_mid_transfer_loses_nothing(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    static uint8_t data[60000];
    struct uvm__stream *s = bed_accept(b, &c);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(uvm__stream_write(s, data, sizeof data), sizeof data);
        assert_int_equal(guest_write(&c, data, 1000), 1000);
        bed_stop(b); /* with work pending both ways */
        bed_turn(b);
        bed_expect_nothing(b);
        assert_int_equal(uvm__stream_write(s, data, 1), 1); /* kept meanwhile */
        uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_TX, &b->queues[UVM__VSOCK_TX]);
        uvm__virtio_vsock_queue_on(&b->v, UVM__VSOCK_RX, &b->queues[UVM__VSOCK_RX]);
        bed_turn(b); /* nobody kicks */
        assert_int_equal(read_all(s, 2000), 1000);
        size_t got = 0;
        for (unsigned k = 0; k < 10 && got < sizeof data + 1; k++) {
            got += bed_pump(b, &c);
        }
        assert_int_equal(got, sizeof data + 1);
        c.fwd_cnt = c.rx_cnt;
    }
    uvm__stream_reset(s);
}

static void g12_a_reset_guest_starts_clean(void **state) {
    struct bed *b = *state;
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    char buf[8];
    struct uvm__stream *s = bed_accept(b, &c);
    assert_int_equal(guest_write(&c, "tail", 4), 4);
    bed_kick(b);
    assert_int_equal(uvm__stream_write(s, "of the old life", 15), 15);
    struct guest_conn nobody = bed_guest_conn(b, 1);
    nobody.host_port = 9999;
    assert_true(
        guest_say(&nobody, REQUEST, 0)); /* its refusal must not reach the new life either */
    bed_stop(b);
    guest_restart(&b->g);
    uvm__virtio_vsock_reset(&b->v);
    bed_start(b);
    bed_turn(b);
    bed_expect_nothing(b);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 4); /* what had arrived */
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_write(s, "x", 1), -UVM_E_CLOSED);
    struct guest_conn again = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *t = bed_accept(b, &again);
    uvm__stream_close(s);
    uvm__stream_close(t);
    bed_turn(b);
}

/* The driver's interrupt work: some packets, and back to sleep when there are none. */
static bool work_of_interrupt(struct bed *b, struct guest_conn *c, unsigned packets, bool *awake) {
    struct guest_header h;
    bool any = false;
    while (*awake && packets-- > 0) {
        if (!guest_take(&b->g, &h, b->payload)) {
            *awake = guest_sleep(&b->g, &b->g.rx);
            continue;
        }
        guest_book(c, &h);
        any = true;
    }
    c->fwd_cnt = c->rx_cnt;
    if ((uint16_t)(b->g.rx.avail_idx - b->g.rx.used_seen) < GUEST_QUEUE / 2) {
        guest_post(&b->g, GUEST_QUEUE);
        if (guest_wants_kick(&b->g, &b->g.rx)) {
            uvm__virtio_vsock_kick(&b->v);
        }
    }
    return any;
}

/* Everybody sleeps unless told: a wake-up that is lost is a stand-still. */
static void no_wake_up_is_lost(bool event_idx) {
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    b->g.event_idx = event_idx;
    bed_start(b);
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[3000];
    unsigned still = 0;
    bool awake = true;
    uint64_t kicks = 0;
    for (uint32_t r = 1; b->g.packets_in + b->g.packets_out < 200000;) {
        r = r * 1664525u + 1013904223u;
        unsigned dice = r >> 28;
        bool any = false;
        if ((dice & 3) == 0) {
            any = uvm__stream_write(s, data, 1 + (r >> 8) % sizeof data) > 0;
        } else if ((dice & 3) == 1) {
            any = read_all(s, 2 * sizeof data) > 0;
        }
        if ((dice & 12) != 0) {
            any = guest_write(&c, data, 1 + (r >> 12) % sizeof data) > 0 || any;
            if (guest_wants_kick(&b->g, &b->g.tx)) {
                kicks++;
                uvm__virtio_vsock_kick(&b->v);
            }
        } else {
            uvm__engine_turn(b->engine);
        }
        if (b->interrupts[UVM__VSOCK_RX] > 0) {
            b->interrupts[UVM__VSOCK_RX] = 0;
            guest_no_interrupts(&b->g, &b->g.rx);
            awake = true;
        }
        any = work_of_interrupt(b, &c, dice, &awake) || any;
        still = any ? 0 : still + 1;
        assert_true(still < 1000);
    }
    assert_true(b->g.packets_in > 20000 && b->g.packets_out > 20000);
    assert_true(!event_idx || kicks < b->g.packets_out / 2); /* suppression does something */
    assert_int_equal(guest_bad_lengths, 0);
    uvm__stream_reset(s);
    bed_close(b);
}

static void g14_no_wake_up_is_lost(void **state) {
    (void)state;
    no_wake_up_is_lost(true);
    no_wake_up_is_lost(false);
}

static void streams_outlive_the_device(void **state) {
    (void)state;
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    bed_start(b);
    struct guest_conn c = bed_guest_conn(b, BED_GUEST_PORT);
    struct uvm__stream *s = bed_accept(b, &c);
    static uint8_t data[20000];
    assert_int_equal(guest_write(&c, data, sizeof data), sizeof data);
    bed_kick(b);
    uvm_op *op = NULL;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, 1, NULL, bed_on_done, b, &op), 0);
    bed_turn(b);
    bed_stop(b);
    uvm__virtio_vsock_deinit(&b->v);
    bed_turn(b);
    assert_int_equal(b->code, UVM_E_CLOSED);
    assert_int_equal(read_all(s, 1 << 20), sizeof data);
    assert_int_equal(read_all(s, 1), -UVM_E_CLOSED);
    uvm__stream_close(s);
    uvm_op_unref(op);
    struct uvm__virtio_vsock_params again = b->v.params;
    assert_int_equal(uvm__virtio_vsock_init(&b->v, b->engine, &again), 0);
    bed_close(b);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, bed_setup, bed_teardown)
    const struct CMUnitTest tests[] = {
        CASE(g1_nobody_listens),
        CASE(g2_a_whole_life),
        CASE(g6_host_dials_guest),
        CASE(g7_dials_that_fail),
        cmocka_unit_test(dials_before_the_guest_can_know),
        CASE(events_drive_a_consumer),
        CASE(g8_half_close_both_ways),
        CASE(g9_shutdown_hints_add_up),
        CASE(g10_g11_closing_is_bounded_but_not_while_stopped),
        CASE(g11_a_pause_in_mid_transfer_loses_nothing),
        CASE(g12_a_reset_guest_starts_clean),
        cmocka_unit_test(g14_no_wake_up_is_lost),
        cmocka_unit_test(streams_outlive_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
