/* SPDX-License-Identifier: MIT
 * sim_service_fault_test.c — the modelled compute service when something goes wrong: its own faults, cancels at
 * each moment, no memory. What is undone is not in the ledger; what could not be is, and is quarantined.
 */
#include "tests/unit/sim_service_kit.h"

/* ---- faults ------------------------------------------------------------------------------- */

enum { NEVER = -1 };

static const struct fault_row {
    enum uvm__sim_point point;
    enum uvm__sim_fault fault;
    int code; /* NEVER: no answer */
    uint64_t at_ms;
    uint32_t systems, running; /* afterwards, or a minute later */
} fault_rows[] = {
    {UVM__SIM_CREATE, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_MUTE_IDLE, NEVER, 0, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 0, 0},
    {UVM__SIM_START, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 1},
    {UVM__SIM_START, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 0},
    {UVM__SIM_START, UVM__SIM_MUTE_IDLE, NEVER, 0, 1, 0},
    {UVM__SIM_START, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 1},
    {UVM__SIM_START, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 1},
    {UVM__SIM_START, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 1, 0},
    {UVM__SIM_START, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 1},
    {UVM__SIM_TERMINATE, UVM__SIM_MUTE_IDLE, NEVER, 0, 1, 1},
    {UVM__SIM_TERMINATE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_DIE_IDLE, UVM_OK, ACT_MS, 1, 0}, /* that is what was asked for */
    {UVM__SIM_TERMINATE, UVM__SIM_DIE_DONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_PAUSE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 1},
    {UVM__SIM_PAUSE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 1},
    {UVM__SIM_PAUSE, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 1, 0},
    {UVM__SIM_PAUSE, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 1, 0},
};

static void each_fault(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof fault_rows / sizeof fault_rows[0]; i++) {
        const struct fault_row *row = &fault_rows[i];
        struct world w;
        struct call c = {0};
        open_world(&w);
        if (row->point != UVM__SIM_CREATE) {
            created(&w);
            if (row->point != UVM__SIM_START) {
                after(&w, UVM__SIM_START);
            }
        }
        uvm__sim_set_fault(w.h, row->point, 0, row->fault);
        uint64_t from = uvm__now_ms(w.e);
        struct call *seen = row->point == UVM__SIM_CREATE ? &w.create : &c;
        if (row->point == UVM__SIM_CREATE) {
            assert_int_equal(start_create(&w), 0);
        } else {
            start_verb(&w, row->point, &c);
        }
        pass(&w, 60000);
        assert_int_equal(uvm__sim_fault_met(w.h, row->point), row->fault != UVM__SIM_NONE);
        expect_ledger(&w, row->systems, row->running);
        assert_int_equal(seen->done, row->code != NEVER);
        if (row->code != NEVER) {
            assert_int_equal(seen->code, row->code);
            assert_int_equal(seen->at_ms - from, row->at_ms);
        }
        if (row->code > 0) {
            assert_non_null(strstr(seen->message, uvm__sim_point_name(row->point)));
            assert_int_equal(seen->message[0], 'a'); /* the system's name */
        }
        if (w.s != NULL) {
            close_system(&w);
        } else {
            uvm_op_cancel(w.create.op);
            turn(&w);
        }
        assert_int_equal(seen->done, 1); /* a close or a cancel ends what had no answer */
        drop(seen);
        close_world(&w);
    }
}

static void faults_wait_their_turn(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    uvm__sim_set_fault(w.h, UVM__SIM_PAUSE, 1, UVM__SIM_REFUSE);
    after(&w, UVM__SIM_START);
    after(&w, UVM__SIM_PAUSE); /* skipped */
    after(&w, UVM__SIM_RESUME);
    assert_false(uvm__sim_fault_met(w.h, UVM__SIM_PAUSE));
    struct call c;
    start_verb(&w, UVM__SIM_PAUSE, &c);
    pass(&w, DONE_MS);
    assert_int_equal(c.code, UVM_E_PEER);
    assert_true(uvm__sim_fault_met(w.h, UVM__SIM_PAUSE));
    drop(&c);
    after(&w, UVM__SIM_PAUSE); /* works once */
    close_system(&w);
    close_world(&w);
}

/* ---- cancel ------------------------------------------------------------------------------- */

static void create_is_cancelled_at_each_moment(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms <= DONE_MS; ms++) {
        struct world w;
        open_world(&w);
        assert_int_equal(start_create(&w), 0);
        pass(&w, ms);
        uvm_op_cancel(w.create.op);
        assert_int_equal(w.create.done, ms == DONE_MS);
        turn(&w);
        assert_int_equal(w.create.done, 1);
        assert_int_equal(w.create.code, ms == DONE_MS ? UVM_OK : UVM_E_CANCELED);
        expect_ledger(&w, ms == DONE_MS, 0);
        assert_int_equal(uvm__sim_ledger(w.h).created, ms >= ACT_MS);
        drop(&w.create); /* the result that nobody took ends with the op */
        turn(&w);
        close_world(&w);
    }
}

static void create_is_cancelled_in_the_tick_of_its_answer(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, DONE_MS - 1);
    uvm__engine_advance(w.e, 1); /* answered, not yet told */
    assert_int_equal(w.create.done, 0);
    uvm_op_cancel(w.create.op);
    turn(&w);
    assert_int_equal(w.create.code, UVM_OK); /* committed: the answer came first */
    drop(&w.create);
    turn(&w);
    close_world(&w);
}

static void a_start_without_answer_is_quarantined(void **unused) {
    (void)unused;
    static const enum uvm__sim_fault faults[] = {UVM__SIM_MUTE_IDLE, UVM__SIM_MUTE_DONE,
                                                 UVM__SIM_LATE};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct world w;
        open_world(&w);
        created(&w);
        uvm__sim_set_fault(w.h, UVM__SIM_START, 0, faults[i]);
        struct call c;
        start_verb(&w, UVM__SIM_START, &c);
        pass(&w, DONE_MS);
        uvm_op_cancel(c.op);
        pass(&w, UVM__UNDO_MS - 1);
        assert_int_equal(c.done, 0);
        pass(&w, 1);
        assert_int_equal(c.code, UVM_E_UNDO);
        if (faults[i] == UVM__SIM_LATE) {
            pass(&w, LATE_MS); /* the late answer finishes silently */
        }
        drop(&c);
        close_system(&w);
        close_world(&w);
    }
}

/* ---- memory ------------------------------------------------------------------------------- */

static void nth_allocation_fails(void **unused) {
    (void)unused;
    for (unsigned good = 0; good < 2; good++) {
        bool past_the_end = false;
        for (uint32_t n = 1; !past_the_end; n++) {
            assert_true(n < 100);
            struct world w;
            open_world(&w);
            w.heap.allocs = 0;
            w.heap.fail_at = n;
            w.heap.fail_for_good = good;
            int rc = start_create(&w);
            pass(&w, DONE_MS);
            if (rc == 0 && w.create.code == UVM_OK) {
                assert_int_equal(w.create.done, 1);
                w.s = uvm__hcs_create_result(w.hcs, w.create.op);
                struct call c = {.w = &w};
                rc = uvm__hcs_start(w.s, NULL, on_done, &c, &c.op);
                pass(&w, DONE_MS);
                past_the_end = rc == 0 && w.heap.allocs < n;
                assert_true(rc == 0 ? c.code == UVM_OK : rc == -UVM_E_NOMEM && c.done == 0);
                drop(&c);
                uvm__sim_console(w.s, "lost when there is no memory");
                turn(&w);
                close_system(&w);
            } else {
                assert_int_equal(rc == 0 ? -w.create.code : rc, -UVM_E_NOMEM);
                expect_ledger(&w, 0, 0);
            }
            drop(&w.create);
            close_world(&w);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault),
        cmocka_unit_test(faults_wait_their_turn),
        cmocka_unit_test(create_is_cancelled_at_each_moment),
        cmocka_unit_test(create_is_cancelled_in_the_tick_of_its_answer),
        cmocka_unit_test(a_start_without_answer_is_quarantined),
        cmocka_unit_test(nth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
