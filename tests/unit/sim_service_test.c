/* SPDX-License-Identifier: MIT
 * sim_service_test.c — the modelled compute service alone: verbs, events, close, ledger; once on a real loop.
 */
#include "tests/unit/sim_service_kit.h"

/* ---- verbs -------------------------------------------------------------------------------- */

static void a_life(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, ACT_MS - 1);
    expect_ledger(&w, 0, 0);
    pass(&w, 1); /* acted */
    expect_ledger(&w, 1, 0);
    assert_int_equal(w.create.done, 0);
    pass(&w, ANSWER_MS);
    assert_int_equal(w.create.done, 1);
    assert_int_equal(w.create.at_ms, DONE_MS);
    w.s = uvm__hcs_create_result(w.hcs, w.create.op);
    drop(&w.create);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Created\""));
    after(&w, UVM__SIM_START);
    expect_ledger(&w, 1, 1);
    assert_int_equal(w.starts, 1);
    after(&w, UVM__SIM_PAUSE);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Paused\""));
    after(&w, UVM__SIM_RESUME);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Running\""));
    after(&w, UVM__SIM_TERMINATE);
    expect_ledger(&w, 1, 0); /* ended; its record stays until it is closed */
    assert_int_equal(w.exit, UVM__HCS_EXIT_TERMINATED);
    assert_string_equal(w.trace, "start paused resumed stop exited ");
    after(&w, UVM__SIM_TERMINATE); /* idempotent */
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Stopped\""));
    close_system(&w);
    close_world(&w);
}

static void verbs_know_the_state(void **unused) {
    (void)unused;
    /* What each verb answers in Created, Running, Paused, Stopped. */
    static const int expected[UVM__SIM_POINT_MAX][4] = {
        [UVM__SIM_START] = {0, -UVM_E_STATE, -UVM_E_STATE, -UVM_E_EXITED},
        [UVM__SIM_TERMINATE] = {0, 0, 0, 0},
        [UVM__SIM_PAUSE] = {-UVM_E_STATE, 0, -UVM_E_STATE, -UVM_E_EXITED},
        [UVM__SIM_RESUME] = {-UVM_E_STATE, -UVM_E_STATE, 0, -UVM_E_EXITED},
    };
    static const enum uvm__sim_point into[] = {UVM__SIM_START, UVM__SIM_PAUSE, UVM__SIM_TERMINATE};
    for (unsigned state = 0; state < 4; state++) {
        for (unsigned p = UVM__SIM_START; p <= UVM__SIM_RESUME; p++) {
            struct world w;
            open_world(&w);
            created(&w);
            for (unsigned i = 0; i < state; i++) {
                after(&w, into[i]);
            }
            struct call c = {.w = &w};
            assert_int_equal(verbs[p](w.s, NULL, on_done, &c, &c.op), expected[p][state]);
            assert_true((c.op != NULL) == (expected[p][state] == 0));
            pass(&w, DONE_MS);
            assert_int_equal(c.done, expected[p][state] == 0);
            drop(&c);
            close_system(&w);
            close_world(&w);
        }
    }
}

/* Both are accepted in Created; the later one finds it started. */
static void two_starts(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    struct call a, b;
    start_verb(&w, UVM__SIM_START, &a);
    start_verb(&w, UVM__SIM_START, &b);
    pass(&w, DONE_MS);
    assert_int_equal(a.code, UVM_OK);
    assert_int_equal(b.done, 1);
    assert_int_equal(b.code, UVM_E_STATE);
    expect_ledger(&w, 1, 1);
    drop(&a);
    drop(&b);
    close_system(&w);
    close_world(&w);
}

/* ---- events ------------------------------------------------------------------------------- */

static void nothing_is_told_before_the_system_was_taken(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, 1000);
    assert_string_equal(w.trace, "");
    w.s = uvm__hcs_create_result(w.hcs, w.create.op);
    drop(&w.create);
    uvm__sim_console(w.s, "one");
    uvm__sim_console(w.s, "two");
    assert_string_equal(w.trace, ""); /* not inline */
    turn(&w);
    assert_string_equal(w.trace, "[onetwo] ");
    close_system(&w);
    close_world(&w);
}

static void the_guests_last_words_come_before_the_end(void **unused) {
    (void)unused;
    static const enum uvm__hcs_exit ends[] = {UVM__HCS_EXIT_GUEST_SHUTDOWN,
                                              UVM__HCS_EXIT_GUEST_RESET, UVM__HCS_EXIT_GUEST_PANIC,
                                              UVM__HCS_EXIT_VMM_DIED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct world w;
        open_world(&w);
        created(&w);
        after(&w, UVM__SIM_START);
        uvm__sim_console(w.s, "help");
        uvm__sim_end(w.s, ends[i], "so");
        uvm__sim_end(w.s, UVM__HCS_EXIT_VMM_DIED, "again"); /* decided once */
        assert_string_equal(w.trace, "start stop ");
        turn(&w);
        assert_string_equal(w.trace, "start stop [help] exited ");
        assert_int_equal(w.exit, ends[i]);
        assert_string_equal(w.detail, "so");
        pass(&w, 1000);
        close_system(&w);
        close_world(&w);
    }
}

static void the_end_fails_what_is_under_way(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    struct call pause, terminate;
    start_verb(&w, UVM__SIM_PAUSE, &pause);
    start_verb(&w, UVM__SIM_TERMINATE, &terminate);
    pass(&w, 1);
    uvm__sim_end(w.s, UVM__HCS_EXIT_GUEST_PANIC, "panic");
    turn(&w);
    assert_int_equal(pause.code, UVM_E_EXITED);
    assert_int_equal(terminate.done, 1);
    assert_int_equal(terminate.code, UVM_OK);
    assert_int_equal(w.exit, UVM__HCS_EXIT_GUEST_PANIC);
    drop(&pause);
    drop(&terminate);
    close_system(&w);
    close_world(&w);
}

static void the_guest_dials_from_its_first_instruction(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    assert_non_null(w.guest);
    struct call c = {.w = &w};
    assert_int_equal(uvm__hvsock_connect(w.guest, UVM__PORT_BRIDGE, NULL, on_done, &c, &c.op), 0);
    turn(&w);
    assert_int_equal(c.code, UVM_E_REFUSED); /* nobody listens */
    drop(&c);
    close_system(&w);
    close_world(&w);
}

/* ---- close -------------------------------------------------------------------------------- */

static void close_ends_what_is_under_way_first(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms < DONE_MS; ms++) {
        for (unsigned told = 0; told < 2; told++) {
            struct world w;
            open_world(&w);
            created(&w);
            after(&w, UVM__SIM_START);
            if (told) {
                uvm__sim_console(w.s, "x"); /* an event is on its way already */
            }
            struct call pause, terminate;
            start_verb(&w, UVM__SIM_PAUSE, &pause);
            start_verb(&w, UVM__SIM_TERMINATE, &terminate);
            if (ms > 0) {
                pass(&w, ms - 1);
            }
            close_system(&w);
            assert_int_equal(pause.done, 1);
            assert_int_equal(terminate.done, 1);
            assert_int_equal(terminate.code, UVM_OK);
            assert_true(pause.order < w.closed_order && terminate.order < w.closed_order);
            assert_int_equal(strncmp(w.trace + strlen(w.trace) - 7, "closed ", 7), 0);
            drop(&pause);
            drop(&terminate);
            close_world(&w);
        }
    }
}

static void close_from_the_last_event(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    w.close_on_exit = true;
    uvm__sim_end(w.s, UVM__HCS_EXIT_GUEST_SHUTDOWN, "");
    turn(&w);
    assert_string_equal(w.trace, "start stop exited closed ");
    close_world(&w);
}

static void two_systems_are_apart(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    struct uvm__hcs_system *first = w.s;
    created(&w);
    struct uvm__hcs_system *second = w.s;
    expect_ledger(&w, 2, 0);
    after(&w, UVM__SIM_START);
    expect_ledger(&w, 2, 1);
    close_system(&w);
    expect_ledger(&w, 1, 0);
    w.s = first;
    w.closed = 0;
    assert_ptr_not_equal(first, second);
    close_system(&w);
    assert_int_equal(uvm__sim_ledger(w.h).systems_peak, 2);
    close_world(&w);
}

/* ---- a real loop -------------------------------------------------------------------------- */

static void real_closed(void *arg) {
    ((struct world *)arg)->closed++;
}

static void real_terminated(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    assert_null(err);
    uvm__hcs_close(w->s, real_closed, w);
}

static void real_started(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    assert_null(err);
    assert_int_equal(uvm__hcs_terminate(w->s, NULL, real_terminated, w, NULL), 0);
}

static void real_created(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    assert_null(err);
    w->s = uvm__hcs_create_result(w->hcs, op);
    assert_int_equal(uvm__hcs_start(w->s, NULL, real_started, w, NULL), 0);
}

static void works_on_a_real_loop(void **unused) {
    (void)unused;
    struct world w;
    memset(&w, 0, sizeof w);
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uvm_engine_new(&loop, NULL, &w.e), 0);
    const struct uvm__sim_params params = {
        .act_ms = 1, .answer_ms = 1, .on_start = on_start, .on_stop = on_stop, .arg = &w};
    assert_int_equal(uvm__sim_host_new(w.e, &params, &w.h), 0);
    w.hcs = uvm__sim_service(w.h);
    const struct uvm__hcs_create_params p = {.id = "1",
                                             .name = "a",
                                             .document = DOCUMENT,
                                             .document_bytes = sizeof DOCUMENT - 1,
                                             .on_event = on_event,
                                             .arg = &w};
    assert_int_equal(uvm__hcs_create(w.hcs, &p, NULL, real_created, &w, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_string_equal(w.trace, "start stop exited ");
    assert_int_equal(w.closed, 1);
    uvm__hcs_service_close(w.hcs, real_closed, &w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w.closed, 2);
    uvm_engine_close(w.e, real_closed, &w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w.closed, 3);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life),
        cmocka_unit_test(verbs_know_the_state),
        cmocka_unit_test(two_starts),
        cmocka_unit_test(nothing_is_told_before_the_system_was_taken),
        cmocka_unit_test(the_guests_last_words_come_before_the_end),
        cmocka_unit_test(the_end_fails_what_is_under_way),
        cmocka_unit_test(the_guest_dials_from_its_first_instruction),
        cmocka_unit_test(close_ends_what_is_under_way_first),
        cmocka_unit_test(close_from_the_last_event),
        cmocka_unit_test(two_systems_are_apart),
        cmocka_unit_test(works_on_a_real_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
