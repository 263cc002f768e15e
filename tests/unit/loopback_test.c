/* SPDX-License-Identifier: MIT
 * loopback_test.c — streams over the in-process pair: order, back-pressure, half-close, reset, events.
 */
#include "async/engine.h"
#include "hvsock/hvsock.h"
#include "tests/unit/cm.h"
#include <string.h>

enum { PORT = 7, WINDOW = 1000 };

struct pipe {
    uvm_engine *engine;
    struct uvm__hvsock *host, *guest;
    struct uvm__listener *listener;
    struct uvm__stream *far;  /* accepted by the host */
    struct uvm__stream *near; /* dialled by the guest */
    uvm_op *op;
    unsigned near_events, far_events, near_count;
};

static void turn(struct pipe *p) {
    while (uvm__engine_turn(p->engine)) {
    }
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    struct pipe *p = arg;
    assert_ptr_equal(l, p->listener);
    p->far = s;
}

static void on_near(struct uvm__stream *s, unsigned events, void *arg) {
    struct pipe *p = arg;
    assert_ptr_equal(s, p->near);
    p->near_events |= events;
    p->near_count++;
}

static void on_far(struct uvm__stream *s, unsigned events, void *arg) {
    struct pipe *p = arg;
    assert_ptr_equal(s, p->far);
    p->far_events |= events;
}

static int setup(void **state) {
    static struct pipe pipe;
    struct pipe *p = &pipe;
    memset(p, 0, sizeof *p);
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &p->engine), 0);
    assert_int_equal(uvm__loopback_new(p->engine, WINDOW, &p->host, &p->guest), 0);
    struct uvm__listen_params lp = {.port = PORT, .on_accept = on_accept, .arg = p};
    assert_int_equal(uvm__hvsock_listen(p->host, &lp, &p->listener), 0);
    assert_int_equal(uvm__hvsock_connect(p->guest, PORT, NULL, NULL, NULL, &p->op), 0);
    turn(p);
    p->near = uvm__hvsock_connect_result(p->op);
    assert_non_null(p->near);
    assert_null(uvm__hvsock_connect_result(p->op));
    assert_non_null(p->far);
    uvm_op_unref(p->op);
    *state = p;
    return 0;
}

static int teardown(void **state) {
    struct pipe *p = *state;
    if (p->near != NULL) {
        uvm__stream_close(p->near);
    }
    if (p->far != NULL) {
        uvm__stream_close(p->far);
    }
    uvm__listener_close(p->listener);
    uvm__loopback_free(p->host, p->guest);
    turn(p);
    uvm__engine_free_virtual(p->engine);
    return 0;
}

static void bytes_arrive_in_order_and_end(void **state) {
    struct pipe *p = *state;
    char buf[16] = "";
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(uvm__stream_write(p->near, "hello", 5), 5);
    assert_int_equal(uvm__stream_write(p->near, "!", 1), 1);
    assert_int_equal(uvm__stream_read(p->far, buf, 3), 3);
    assert_memory_equal(buf, "hel", 3);
    uvm__stream_shutdown(p->near);
    uvm__stream_shutdown(p->near);
    assert_int_equal(uvm__stream_write(p->near, "x", 1), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 3);
    assert_memory_equal(buf, "lo!", 3);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 0);
    /* The other direction goes on. */
    assert_int_equal(uvm__stream_write(p->far, "back", 4), 4);
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), 4);
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), -UVM_E_AGAIN);
}

static void a_slow_reader_stops_the_writer(void **state) {
    struct pipe *p = *state;
    static uint8_t data[WINDOW * 2], got[WINDOW * 2];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 7);
    }
    uvm__stream_set_handler(p->near, on_near, p);
    turn(p);
    assert_int_equal(p->near_events, UVM__STREAM_WRITABLE); /* what holds already */
    p->near_events = 0;
    assert_int_equal(uvm__stream_write(p->near, data, sizeof data), WINDOW);
    assert_int_equal(uvm__stream_write(p->near, data, 1), -UVM_E_AGAIN);
    assert_int_equal(uvm__stream_read(p->far, got, WINDOW / 2 - 1), WINDOW / 2 - 1);
    turn(p);
    assert_int_equal(p->near_events, 0); /* not for a few bytes */
    assert_int_equal(uvm__stream_read(p->far, got + WINDOW / 2 - 1, 1), 1);
    assert_int_equal(p->near_events, 0); /* never inside a call */
    turn(p);
    assert_int_equal(p->near_events, UVM__STREAM_WRITABLE);
    assert_int_equal(uvm__stream_write(p->near, data + WINDOW, WINDOW), WINDOW / 2);
    assert_int_equal(uvm__stream_read(p->far, got + WINDOW / 2, WINDOW), WINDOW);
    assert_memory_equal(got, data, WINDOW * 3 / 2);
}

static void an_event_comes_once_for_each_refusal(void **state) {
    struct pipe *p = *state;
    char buf[8];
    uvm__stream_set_handler(p->near, on_near, p);
    turn(p);
    p->near_events = p->near_count = 0;
    assert_int_equal(uvm__stream_write(p->far, "a", 1), 1);
    assert_int_equal(uvm__stream_write(p->far, "b", 1), 1);
    turn(p);
    assert_int_equal(p->near_events, UVM__STREAM_READABLE); /* armed by the new handler */
    assert_int_equal(p->near_count, 1);
    assert_int_equal(uvm__stream_write(p->far, "c", 1), 1);
    turn(p);
    assert_int_equal(p->near_count, 1); /* nobody was refused */
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), 3);
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(uvm__stream_write(p->far, "d", 1), 1);
    turn(p);
    assert_int_equal(p->near_count, 2);
    /* Refused, data there, then the handler is taken away: nothing comes; a new one hears of it. */
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), 1);
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(uvm__stream_write(p->far, "e", 1), 1);
    uvm__stream_set_handler(p->near, NULL, NULL);
    turn(p);
    assert_int_equal(p->near_count, 2);
    p->near_events = 0;
    uvm__stream_set_handler(p->near, on_near, p);
    turn(p);
    assert_int_equal(p->near_events, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
}

static void close_delivers_and_then_ends_both_ways(void **state) {
    struct pipe *p = *state;
    char buf[8];
    uvm__stream_set_handler(p->far, on_far, p);
    turn(p);
    p->far_events = 0;
    assert_int_equal(uvm__stream_write(p->far, "lost", 4), 4);
    assert_int_equal(uvm__stream_write(p->near, "kept", 4), 4);
    uvm__stream_close(p->near);
    p->near = NULL;
    turn(p);
    assert_int_equal(p->far_events, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 4);
    assert_memory_equal(buf, "kept", 4);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_write(p->far, "x", 1), -UVM_E_CLOSED);
}

static void reset_is_seen_after_what_arrived(void **state) {
    struct pipe *p = *state;
    char buf[8];
    uvm__stream_set_handler(p->far, on_far, p);
    turn(p);
    p->far_events = 0;
    assert_int_equal(uvm__stream_write(p->near, "tail", 4), 4);
    uvm__stream_reset(p->near);
    p->near = NULL;
    turn(p);
    assert_int_equal(p->far_events, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_write(p->far, "x", 1), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), 4);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), -UVM_E_CLOSED);
}

static void a_blocked_writer_hears_of_a_close(void **state) {
    struct pipe *p = *state;
    static char data[WINDOW];
    uvm__stream_set_handler(p->near, on_near, p);
    turn(p);
    assert_int_equal(uvm__stream_write(p->near, data, WINDOW), WINDOW);
    assert_int_equal(uvm__stream_write(p->near, data, 1), -UVM_E_AGAIN);
    p->near_events = 0;
    uvm__stream_close(p->far);
    p->far = NULL;
    turn(p);
    assert_true((p->near_events & UVM__STREAM_WRITABLE) != 0);
    assert_int_equal(uvm__stream_write(p->near, data, 1), -UVM_E_CLOSED);
}

static void a_vm_reset_cuts_all_and_streams_outlive_the_pair(void **state) {
    struct pipe *p = *state;
    char buf[8];
    uvm__stream_set_handler(p->near, on_near, p);
    turn(p);
    p->near_events = 0;
    assert_int_equal(uvm__stream_write(p->far, "end", 3), 3);
    uvm__loopback_reset(p->host);
    turn(p);
    assert_int_equal(p->near_events, UVM__STREAM_READABLE);
    uvm__listener_close(p->listener);
    uvm__loopback_free(p->host, p->guest);
    p->host = p->guest = NULL;
    p->listener = NULL;
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), 3);
    assert_int_equal(uvm__stream_read(p->near, buf, sizeof buf), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_read(p->far, buf, sizeof buf), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_write(p->far, "x", 1), -UVM_E_CLOSED);
}

/* Two streams' worth of random sizes both ways: what comes out is what went in. */
static void random_traffic_is_whole(void **state) {
    struct pipe *p = *state;
    uint64_t sent[2] = {0}, got[2] = {0};
    uint8_t buf[777];
    for (int i = 0; i < 60000; i++) {
        uint32_t r;
        uvm__random(p->engine, &r, sizeof r);
        unsigned dir = r & 1;
        struct uvm__stream *from = dir ? p->near : p->far;
        struct uvm__stream *to = dir ? p->far : p->near;
        size_t want = 1 + (r >> 8) % sizeof buf;
        if ((r & 2) != 0) {
            for (size_t k = 0; k < want; k++) {
                buf[k] = (uint8_t)((sent[dir] + k) * 13 >> 3);
            }
            ssize_t n = uvm__stream_write(from, buf, want);
            assert_true(n > 0 || n == -UVM_E_AGAIN);
            sent[dir] += n > 0 ? (uint64_t)n : 0;
        } else {
            ssize_t n = uvm__stream_read(to, buf, want);
            assert_true(n > 0 || n == -UVM_E_AGAIN);
            for (ssize_t k = 0; k < n; k++) {
                assert_int_equal(buf[k], (uint8_t)((got[dir] + (uint64_t)k) * 13 >> 3));
            }
            got[dir] += n > 0 ? (uint64_t)n : 0;
            assert_true(sent[dir] - got[dir] <= WINDOW);
        }
    }
    assert_true(sent[0] > 1000000 && sent[1] > 1000000);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(bytes_arrive_in_order_and_end),
        CASE(a_slow_reader_stops_the_writer),
        CASE(an_event_comes_once_for_each_refusal),
        CASE(close_delivers_and_then_ends_both_ways),
        CASE(reset_is_seen_after_what_arrived),
        CASE(a_blocked_writer_hears_of_a_close),
        CASE(a_vm_reset_cuts_all_and_streams_outlive_the_pair),
        CASE(random_traffic_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
