/* SPDX-License-Identifier: MIT
 * hvsock_test.c — endpoints: who is let in, how dials end, port and GUID, running out of memory.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "async/saga.h"
#include "hvsock/hvsock.h"
#include "tests/unit/cm.h"
#include "tests/unit/heap.h"
#include <stdlib.h>
#include <string.h>

enum { PORT = 9, STREAMS = 200 };

struct bed {
    uvm_engine *engine;
    struct uvm__hvsock *host, *guest;
    struct uvm__stream *accepted[STREAMS];
    unsigned accepted_count;
    bool close_on_accept;
    uvm_op *op;
    int done;
    int code;
    struct heap heap;
};

static void turn(struct bed *b) {
    while (uvm__engine_turn(b->engine)) {
    }
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    struct bed *b = arg;
    assert_true(b->accepted_count < STREAMS);
    b->accepted[b->accepted_count++] = s;
    if (b->close_on_accept) {
        uvm__listener_close(l);
    }
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct bed *b = arg;
    (void)op;
    b->done++;
    b->code = err == NULL ? 0 : (int)uvm_error_code(err);
}

static int setup(void **state) {
    static struct bed bed;
    struct bed *b = &bed;
    memset(b, 0, sizeof *b);
    struct uvm_allocator a = heap_allocator(&b->heap);
    struct uvm_engine_params ep = UVM_ENGINE_PARAMS_INIT;
    ep.allocator = &a;
    assert_int_equal(uvm__engine_new_virtual(&ep, 1, &b->engine), 0);
    assert_int_equal(uvm__loopback_new(b->engine, 0, &b->host, &b->guest), 0);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct bed *b = *state;
    for (unsigned i = 0; i < b->accepted_count; i++) {
        if (b->accepted[i] != NULL) {
            uvm__stream_close(b->accepted[i]);
        }
    }
    uvm_op_unref(b->op);
    uvm__loopback_free(b->host, b->guest);
    turn(b);
    uvm__engine_free_virtual(b->engine);
    return 0;
}

static struct uvm__listener *listen_on(struct bed *b, uint32_t port, bool once, uint32_t live_max) {
    struct uvm__listen_params p = {
        .port = port, .once = once, .live_max = live_max, .on_accept = on_accept, .arg = b};
    struct uvm__listener *l = NULL;
    assert_int_equal(uvm__hvsock_listen(b->host, &p, &l), 0);
    assert_int_equal(uvm__listener_port(l), port);
    return l;
}

/* Dials, and gives the outcome; the stream, if any, is reset with the op. */
static int dial(struct bed *b, uint32_t port) {
    b->op = uvm_op_unref(b->op);
    int before = b->done;
    assert_int_equal(uvm__hvsock_connect(b->guest, port, NULL, on_done, b, &b->op), 0);
    assert_int_equal(b->done, before);
    turn(b);
    assert_int_equal(b->done, before + 1);
    return b->code;
}

static void nobody_listens(void **state) {
    struct bed *b = *state;
    assert_int_equal(dial(b, PORT), UVM_E_REFUSED);
    const uvm_error *err = uvm__op_error(b->op);
    assert_string_equal(uvm_error_message(err), "port 9: refused: nobody listens there");
    assert_null(uvm__hvsock_connect_result(b->op));
}

static void a_port_has_one_listener(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 0);
    struct uvm__listen_params p = {.port = PORT, .on_accept = on_accept, .arg = b};
    struct uvm__listener *again = NULL;
    assert_int_equal(uvm__hvsock_listen(b->host, &p, &again), -UVM_E_EXISTS);
    assert_null(again);
    uvm__listener_close(l);
    assert_int_equal(uvm__hvsock_listen(b->host, &p, &again), 0);
    assert_int_equal(dial(b, PORT), 0);
    assert_int_equal(b->accepted_count, 1);
    uvm__listener_close(again);
    /* The accepted stream lives on without its listener. */
    struct uvm__stream *s = uvm__hvsock_connect_result(b->op);
    assert_int_equal(uvm__stream_write(s, "x", 1), 1);
    char c;
    assert_int_equal(uvm__stream_read(b->accepted[0], &c, 1), 1);
    uvm__stream_close(s);
    uvm__listener_close(NULL);
}

static void once_takes_one(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, true, 0);
    b->close_on_accept = true;
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, NULL), 0);
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &b->op), 0);
    turn(b);
    assert_int_equal(b->done, 2);
    assert_int_equal(b->code, UVM_E_REFUSED);
    assert_int_equal(b->accepted_count, 1);
    (void)l; /* closed by on_accept */
    /* The first dial's stream nobody took: it was reset with its op. */
    char c;
    assert_int_equal(uvm__stream_read(b->accepted[0], &c, 1), -UVM_E_CLOSED);
}

static void live_streams_are_limited(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 1);
    assert_int_equal(dial(b, PORT), 0);
    assert_int_equal(dial(b, PORT), UVM_E_REFUSED);
    uvm__stream_close(b->accepted[0]);
    b->accepted[0] = NULL;
    assert_int_equal(dial(b, PORT), 0);
    assert_int_equal(b->accepted_count, 2);
    uvm__listener_close(l);
}

static void streams_not_yet_accepted_are_limited_and_reset(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 0);
    uvm_op *ops[UVM__CONNECTS_MAX];
    for (unsigned i = 0; i < UVM__CONNECTS_MAX; i++) {
        assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &ops[i]), 0);
    }
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, NULL), -UVM_E_LIMIT);
    assert_true(uvm__engine_turn(b->engine)); /* dials run, all are pushed, none is handed over */
    assert_int_equal(b->accepted_count, 0);
    /* The next turn hands one over, so there is room for one of two. */
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, NULL), 0);
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &b->op), 0);
    assert_true(uvm__engine_turn(b->engine));
    assert_int_equal(b->accepted_count, 1);
    assert_int_equal(b->done, (int)UVM__CONNECTS_MAX + 2);
    assert_int_equal(b->code, UVM_E_REFUSED);
    uvm__listener_close(l);
    for (unsigned i = 0; i < UVM__CONNECTS_MAX; i++) {
        uvm_op_unref(ops[i]);
    }
}

static void closing_a_listener_resets_what_waits(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 0);
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &b->op), 0);
    assert_true(uvm__engine_turn(b->engine));
    uvm__listener_close(l);
    turn(b);
    assert_int_equal(b->done, 1);
    assert_int_equal(b->code, 0);
    struct uvm__stream *s = uvm__hvsock_connect_result(b->op);
    char c;
    assert_int_equal(uvm__stream_read(s, &c, 1), -UVM_E_CLOSED);
    uvm__stream_close(s);
}

static void a_cancelled_dial_leaves_nothing(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 0);
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &b->op), 0);
    uvm_op_cancel(b->op);
    turn(b);
    assert_int_equal(b->code, UVM_E_CANCELED);
    assert_int_equal(b->accepted_count, 0);
    uvm__listener_close(l);
}

static void dials_end_with_their_endpoint(void **state) {
    struct bed *b = *state;
    struct uvm__listener *l = listen_on(b, PORT, false, 0);
    assert_int_equal(uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &b->op), 0);
    uvm__loopback_free(b->host, b->guest);
    uvm__listener_close(l);
    b->host = b->guest = NULL;
    turn(b);
    assert_int_equal(b->done, 1);
    assert_int_equal(b->code, UVM_E_CLOSED);
}

static void memory_may_run_out_anywhere(void **state) {
    struct bed *b = *state;
    unsigned failures = 0;
    for (uint32_t at = 1; at < 100; at++) {
        b->heap.allocs = 0;
        b->heap.fail_at = at;
        struct uvm__listen_params p = {.port = PORT, .on_accept = on_accept, .arg = b};
        struct uvm__listener *l = NULL;
        int rc = uvm__hvsock_listen(b->host, &p, &l);
        uvm_op *op = NULL;
        b->accepted_count = 0;
        if (rc == 0) {
            b->code = 0;
            rc = uvm__hvsock_connect(b->guest, PORT, NULL, on_done, b, &op);
            turn(b);
        }
        assert_true(rc == 0 || rc == -UVM_E_NOMEM);
        assert_true(b->code == 0 || b->code == UVM_E_NOMEM);
        struct uvm__stream *s = op == NULL ? NULL : uvm__hvsock_connect_result(op);
        assert_int_equal(s != NULL, b->accepted_count);
        if (s != NULL) {
            ssize_t n = uvm__stream_write(s, "x", 1);
            assert_true(n == 1 || n == -UVM_E_NOMEM);
            failures += n != 1;
            uvm__stream_close(s);
            uvm__stream_close(b->accepted[0]);
        }
        failures += rc != 0 || b->code != 0;
        b->accepted_count = 0;
        uvm_op_unref(op);
        uvm__listener_close(l);
        turn(b);
        if (b->heap.allocs < at) {
            assert_true(failures >= 4); /* listener, op, pair, bytes */
            b->heap.fail_at = 0;
            return;
        }
    }
    fail();
}

static void ports_and_guids(void **state) {
    (void)state;
    static const struct {
        uint32_t port;
        const char *text;
    } rows[] = {
        {0x40000001, "40000001-facb-11e6-bd58-64006a7986d3"},
        {109, "0000006d-facb-11e6-bd58-64006a7986d3"},
        {0xffffffff, "ffffffff-facb-11e6-bd58-64006a7986d3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[37];
        uint32_t port = 0;
        uvm__hvsock_port_to_guid(rows[i].port, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(uvm__hvsock_guid_to_port(text, &port), 0);
        assert_int_equal(port, rows[i].port);
    }
    uint32_t port = 5;
    assert_int_equal(uvm__hvsock_guid_to_port("0000006D-FACB-11E6-BD58-64006A7986D3", &port), 0);
    assert_int_equal(port, 109);
    static const char *const bad[] = {"", "109", "0000006d-facb-11e6-bd58-64006a7986d4",
                                      "0000006d-facb-11e6-bd58-64006a7986d3 ",
                                      "acef5661-84a1-4e44-856b-6245e69f4620"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(uvm__hvsock_guid_to_port(bad[i], &port), -UVM_E_INVAL);
        assert_int_equal(port, 109);
    }
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(nobody_listens),
        CASE(a_port_has_one_listener),
        CASE(once_takes_one),
        CASE(live_streams_are_limited),
        CASE(streams_not_yet_accepted_are_limited_and_reset),
        CASE(closing_a_listener_resets_what_waits),
        CASE(a_cancelled_dial_leaves_nothing),
        CASE(dials_end_with_their_endpoint),
        CASE(memory_may_run_out_anywhere),
        cmocka_unit_test(ports_and_guids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
