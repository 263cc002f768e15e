/* SPDX-License-Identifier: MIT
 * bridge_client_cancel_test.c — calls that do not go their way: cancelled at each moment, too many, too large, or
 * without memory.
 */
#include "tests/unit/bridge_client_kit.h"

/* ---- cancel ------------------------------------------------------------------------------- */

static void cancel_before_it_leaves_sends_nothing(void **state) {
    (void)state;
    struct outcome o = {0}, queued = {0}, first = {0};
    open_negotiated(4096, GRANT_BODY);
    /* In the same tick as the start. */
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &o, &o.op), 0);
    uvm_op_cancel(o.op);
    assert_int_equal(o.done, 0);
    receive_nothing();
    assert_int_equal(o.code, UVM_E_CANCELED);
    /* Behind a frame that does not get through. */
    static char large[8000];
    (void)snprintf(large, sizeof large, "{\"a\":\"%7900d\"}", 1);
    (void)uvm__bridge_modify(f.bridge, NULL, large, NULL, on_done, &first, &first.op);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &queued, &queued.op),
                     0);
    peer_run(&f.peer);
    assert_int_equal(uvm__bridge_pending(f.bridge), 2);
    uvm_op_cancel(queued.op);
    uvm_op_cancel(first.op); /* has begun to leave: it goes on */
    peer_run(&f.peer);
    assert_int_equal(queued.code, UVM_E_CANCELED);
    assert_int_equal(first.done, 0);
    receive(0x10100a01, 1);
    receive_nothing();
    answer(0x20100a01, 1, OK_BODY);
    assert_int_equal(first.code, UVM_OK); /* the effect is there */
    forget(&o);
    forget(&first);
    forget(&queued);
    close_bridge();
}

static void cancel_of_a_call_without_effect_ends_it(void **state) {
    (void)state;
    struct outcome o = {0}, scoped = {0}, next = {0};
    uvm_scope *scope;
    open_negotiated(0, GRANT_BODY);
    (void)uvm__bridge_wait(f.bridge, NULL, 3, UVM__WAIT_INFINITE, NULL, on_done, &o, &o.op);
    assert_int_equal(uvm_scope_new(f.peer.engine, NULL, 50, &scope), 0);
    (void)uvm__bridge_get_properties(f.bridge, NULL, "", scope, on_done, &scoped, NULL);
    receive(0x10100601, 1);
    receive(0x10100901, 2);
    uvm_op_cancel(o.op);
    assert_int_equal(o.done, 0);
    peer_run(&f.peer);
    assert_int_equal(o.code, UVM_E_CANCELED);
    peer_advance(&f.peer, 50);
    assert_int_equal(scoped.code, UVM_E_TIMEDOUT);
    assert_int_equal(uvm__bridge_pending(f.bridge), 2); /* the ids stay taken */
    forget(&o);
    /* An orphan has no time limit; its late answer is swallowed, once. */
    peer_advance(&f.peer, 2ull * UVM__RPC_MS);
    answer(0x20100601, 1, "{\"Result\":0,\"ExitCode\":0}");
    answer(0x20100901, 2, "{\"Result\":-2147467259}");
    assert_int_equal(f.lost, 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0);
    (void)uvm__bridge_heartbeat(f.bridge, NULL, on_done, &next, NULL);
    receive(0x10100901, 3);
    answer(0x20100901, 3, OK_BODY);
    assert_int_equal(next.code, UVM_OK);
    assert_int_equal(o.done, 1);
    answer(0x20100601, 1, "{\"Result\":0,\"ExitCode\":0}");
    assert_lost(UVM_E_PROTOCOL);
    uvm_scope_unref(scope);
    close_bridge();
}

static void cancel_of_a_call_with_effect_waits(void **state) {
    (void)state;
    struct outcome ok = {0}, refused = {0}, late = {0};
    open_negotiated(0, GRANT_BODY);
    (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &ok, &ok.op);
    (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &refused, &refused.op);
    (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &late, &late.op);
    receive(0x10100a01, 1);
    receive(0x10100a01, 2);
    receive(0x10100a01, 3);
    uvm_op_cancel(ok.op);
    uvm_op_cancel(refused.op);
    uvm_op_cancel(late.op);
    peer_run(&f.peer);
    assert_int_equal(ok.done + refused.done + late.done, 0);
    answer(0x20100a01, 1, OK_BODY);
    assert_int_equal(ok.code, UVM_OK); /* it is done, and nothing here takes it back */
    answer(0x20100a01, 2, "{\"Result\":-2147467259}");
    assert_int_equal(refused.code, UVM_E_CANCELED);
    peer_advance(&f.peer, UVM__UNDO_MS);
    assert_int_equal(late.done, 1);
    assert_int_equal(late.code, UVM_E_UNDO);
    assert_int_equal(uvm__bridge_pending(f.bridge), 1);
    answer(0x20100a01, 3, OK_BODY);
    assert_int_equal(late.done, 1);
    assert_int_equal(f.lost, 0);
    forget(&ok);
    forget(&refused);
    forget(&late);
    close_bridge();
}

static void cancel_in_the_tick_of_the_answer(void **state) {
    (void)state;
    struct outcome modify = {0}, props = {0};
    open_negotiated(0, GRANT_BODY);
    (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &modify, &modify.op);
    (void)uvm__bridge_get_properties(f.bridge, NULL, "", NULL, on_done, &props, &props.op);
    receive(0x10100a01, 1);
    receive(0x10100901, 2);
    peer_send(&f.peer, 0x20100a01, 1, OK_BODY);
    peer_send(&f.peer, 0x20100901, 2, OK_BODY);
    uvm_op_cancel(modify.op);
    uvm_op_cancel(props.op);
    peer_run(&f.peer);
    assert_int_equal(modify.code, UVM_OK);
    assert_int_equal(props.done, 1);
    assert_int_equal(f.lost, 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0);
    uvm_op_cancel(modify.op); /* a no-op now */
    forget(&modify);
    forget(&props);
    close_bridge();
}

/* ---- limits and memory -------------------------------------------------------------------- */

static void too_many_calls_are_refused_in_words(void **state) {
    (void)state;
    static struct outcome o[UVM__RPC_PENDING_MAX + 1];
    struct outcome beat = {0};
    memset(o, 0, sizeof o);
    open_negotiated(0, GRANT_BODY);
    for (unsigned i = 0; i <= UVM__RPC_PENDING_MAX; i++) {
        assert_int_equal(uvm__bridge_get_properties(f.bridge, NULL, "", NULL, on_done, &o[i], NULL),
                         0);
    }
    peer_run(&f.peer);
    assert_int_equal(o[UVM__RPC_PENDING_MAX].code, UVM_E_LIMIT);
    assert_non_null(strstr(o[UVM__RPC_PENDING_MAX].message, "1024"));
    assert_int_equal(uvm__bridge_pending(f.bridge), UVM__RPC_PENDING_MAX);
    /* Whether the guest lives can be asked all the same. */
    assert_int_equal(uvm__bridge_heartbeat(f.bridge, NULL, on_done, &beat, NULL), 0);
    peer_run(&f.peer);
    assert_int_equal(beat.done, 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), UVM__RPC_PENDING_MAX + 1);
    for (unsigned i = 0; i < UVM__RPC_PENDING_MAX; i++) {
        receive(0x10100901, i + 1);
        peer_send(&f.peer, 0x20100901, i + 1, OK_BODY);
    }
    peer_run(&f.peer);
    for (unsigned i = 0; i < UVM__RPC_PENDING_MAX; i++) {
        assert_int_equal(o[i].done, 1);
        assert_int_equal(o[i].code, UVM_OK);
    }
    /* Nor is there a limit to how long it may take: who asked judges that. */
    peer_advance(&f.peer, 2ull * UVM__RPC_MS);
    assert_int_equal(f.lost, 0);
    receive(0x10100901, UVM__RPC_PENDING_MAX + 1);
    answer(0x20100901, UVM__RPC_PENDING_MAX + 1, OK_BODY);
    assert_int_equal(beat.code, UVM_OK);
    assert_int_equal(beat.done, 1);
    close_bridge();
}

static void a_guest_that_does_not_read_is_a_limit(void **state) {
    (void)state;
    static struct outcome o[64];
    static char large[60000];
    memset(o, 0, sizeof o);
    (void)snprintf(large, sizeof large, "{\"a\":\"%59000d\"}", 1);
    open_negotiated(4096, GRANT_BODY);
    unsigned refused = 0;
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(uvm__bridge_modify(f.bridge, NULL, large, NULL, on_done, &o[i], NULL), 0);
        peer_run(&f.peer);
        refused += o[i].done;
        assert_int_equal(o[i].code, o[i].done == 0 ? UVM_OK : UVM_E_LIMIT);
    }
    assert_int_equal(refused, 64 - UVM__BRIDGE_OUT_BYTES_MAX / 59140);
    assert_non_null(strstr(o[63].message, "does not read"));
    assert_int_equal(f.lost, 0);
    close_bridge();
}

static void a_request_that_is_too_large_is_refused_in_words(void **state) {
    (void)state;
    static char large[70000];
    struct outcome o = {0};
    (void)snprintf(large, sizeof large, "{\"a\":\"%65400d\"}", 1);
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, large, NULL, on_done, &o, NULL), 0);
    receive_nothing();
    assert_int_equal(o.code, UVM_E_LIMIT);
    assert_non_null(strstr(o.message, "65536"));
    close_bridge();
}

/* Each allocation fails in turn: a start says so and nothing happened, or the call succeeds in the end. */
static void one_failed_allocation_costs_no_call(void **state) {
    (void)state;
    unsigned total = 1;
    unsigned refused = 0;
    for (unsigned at = 1; at <= total; at++) {
        struct outcome o = {0};
        open_negotiated(0, GRANT_BODY);
        (void)peer_fail_at(at, false);
        int rc = uvm__bridge_get_properties(f.bridge, NULL, "{}", NULL, on_done, &o, &o.op);
        peer_run(&f.peer);
        peer_advance(&f.peer, 100);
        if (rc == 0) {
            static const char body[] = "{\"Result\":0,\"Properties\":\"[1]\"}";
            uint8_t frame[UVM__FRAME_HEADER_BYTES + sizeof body - 1];
            struct uvm__frame_header h = {0x20100901, sizeof frame, 1};
            uvm__frame_header_write(&h, frame);
            memcpy(frame + UVM__FRAME_HEADER_BYTES, body, sizeof body - 1);
            if (uvm__stream_write(f.peer.theirs, frame, sizeof frame) == -UVM_E_NOMEM) {
                (void)uvm__stream_write(f.peer.theirs, frame, sizeof frame);
            }
            peer_run(&f.peer);
            peer_advance(&f.peer, 100);
        }
        unsigned used = peer_fail_at(0, false);
        total = at == 1 ? used + 20 : total;
        if (rc < 0) {
            assert_int_equal(rc, -UVM_E_NOMEM);
            assert_int_equal(o.done, 0);
            assert_int_equal(uvm__bridge_pending(f.bridge), 0);
            refused++;
        } else {
            assert_int_equal(o.done, 1);
            assert_int_equal(o.code, UVM_OK);
            assert_string_equal(uvm__bridge_properties_result(o.op), "[1]");
            forget(&o);
        }
        assert_int_equal(f.lost, 0);
        close_bridge();
    }
    assert_true(refused >= 2 && refused < total);
}

static void no_memory_for_long_ends_the_bridge(void **state) {
    (void)state;
    struct outcome o = {0};
    open_negotiated(0, GRANT_BODY);
    (void)uvm__bridge_heartbeat(f.bridge, NULL, on_done, &o, NULL);
    receive(0x10100901, 1);
    peer_send(&f.peer, 0x20100901, 1, OK_BODY);
    (void)peer_fail_at(1, true);
    peer_run(&f.peer);
    for (unsigned ms = 0; ms < UVM__BRIDGE_MEMORY_MS; ms += 100) {
        assert_int_equal(f.lost, 0);
        peer_advance(&f.peer, 100);
    }
    assert_int_equal(o.done, 1);
    (void)peer_fail_at(0, false);
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.lost_code, UVM_E_CLOSED);
    close_bridge();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_before_it_leaves_sends_nothing),
        cmocka_unit_test(cancel_of_a_call_without_effect_ends_it),
        cmocka_unit_test(cancel_of_a_call_with_effect_waits),
        cmocka_unit_test(cancel_in_the_tick_of_the_answer),
        cmocka_unit_test(too_many_calls_are_refused_in_words),
        cmocka_unit_test(a_guest_that_does_not_read_is_a_limit),
        cmocka_unit_test(a_request_that_is_too_large_is_refused_in_words),
        cmocka_unit_test(one_failed_allocation_costs_no_call),
        cmocka_unit_test(no_memory_for_long_ends_the_bridge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
