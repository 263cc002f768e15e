/* SPDX-License-Identifier: MIT
 * saga_test.c — the runner of sagas: order, cancel at each moment, undo, quarantine, late answers.
 *
 * A scripted saga of three steps on a virtual engine; a trace string records what ran.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/saga.h"
#include "tests/unit/cm.h"
#include "tests/unit/heap.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    uvm_engine *e;
    char trace[256];
    bool step_waits[3], undo_waits[3], step_fails[3], undo_fails[3], obeys_cancel[3];
    uvm_op *op; /* of the running script, for late answers */
    int done;
    int code;
    char step_path[128], detail[128];
    struct heap heap;
};

struct state {
    struct world *w;
};

static struct world *world_of(void *state) {
    return ((struct state *)state)->w;
}

static void note(struct world *w, const char *text) {
    size_t len = strlen(w->trace);
    (void)snprintf(w->trace + len, sizeof w->trace - len, "%s ", text);
}

static void run_step(uvm_op *op, void *state, unsigned i) {
    struct world *w = world_of(state);
    char text[8] = {'r', (char)('0' + (int)i), 0};
    note(w, text);
    if (w->step_waits[i]) {
        return;
    }
    uvm__step_done(op, w->step_fails[i] ? uvm__error(w->e, UVM_E_PEER, 5, "no") : NULL);
}

static void undo_step(uvm_op *op, void *state, unsigned i) {
    struct world *w = world_of(state);
    char text[8] = {'u', (char)('0' + (int)i), 0};
    note(w, text);
    if (w->undo_waits[i]) {
        return;
    }
    uvm__undo_done(op, w->undo_fails[i] ? uvm__error(w->e, UVM_E_PEER, 6, "stays") : NULL);
}

static void cancel_step(uvm_op *op, void *state, unsigned i) {
    struct world *w = world_of(state);
    note(w, "c");
    if (w->obeys_cancel[i]) {
        uvm__step_done(op, uvm__error(w->e, UVM_E_CANCELED, 0, "stopped"));
    }
}

#define STEP(i)                                                                                    \
    static void run##i(uvm_op *op, void *s) {                                                      \
        run_step(op, s, i);                                                                        \
    }                                                                                              \
    static void undo##i(uvm_op *op, void *s) {                                                     \
        undo_step(op, s, i);                                                                       \
    }
STEP(0)
STEP(1)
STEP(2)
static void cancel1(uvm_op *op, void *s) {
    cancel_step(op, s, 1);
}

static int init(uvm_op *op, void *state, const void *params) {
    (void)op;
    ((struct state *)state)->w = (struct world *)(uintptr_t)params;
    return 0;
}

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    (void)op;
    (void)state;
    (void)snprintf(buf, bytes, "thing %u", step);
}

static const struct uvm__step steps[] = {{"first", run0, NULL, undo0, false},
                                         {"second", run1, NULL, undo1, false},
                                         {"third", run2, NULL, undo2, false}};
static const struct uvm__step steps_cancel[] = {{"first", run0, NULL, undo0, false},
                                                {"second", run1, cancel1, undo1, false},
                                                {"third", run2, NULL, undo2, false}};
static const struct uvm__step steps_commit1[] = {{"first", run0, NULL, NULL, false},
                                                 {"second", run1, NULL, NULL, false},
                                                 {"third", run2, NULL, NULL, false}};
#define SAGA(table, commit)                                                                        \
    { "script", table, 3, commit, 0, sizeof(struct state), NULL, init, NULL, describe }
static const struct uvm__saga saga = SAGA(steps, 2);
static const struct uvm__saga saga_cancel = SAGA(steps_cancel, 2);
static const struct uvm__saga saga_commit1 = SAGA(steps_commit1, 1);

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    w->done++;
    w->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    if (err != NULL) {
        (void)snprintf(w->step_path, sizeof w->step_path, "%s", uvm_error_step(err));
        (void)snprintf(w->detail, sizeof w->detail, "%s", uvm_error_detail(err));
    }
    note(w, "done");
}

static void open_world(struct world *w) {
    memset(w, 0, sizeof *w);
    struct uvm_allocator a = heap_allocator(&w->heap);
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    p.allocator = &a;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &w->e), 0);
}

static void turn(struct world *w) {
    while (uvm__engine_turn(w->e)) {
    }
}

static void start(struct world *w, const struct uvm__saga *which, uvm_scope *scope) {
    assert_int_equal(uvm__op_start(w->e, scope, which, w, on_done, w, &w->op), 0);
    assert_int_equal(w->done, 0); /* never inline */
}

static void close_world(struct world *w) {
    w->op = uvm_op_unref(w->op);
    turn(w);
    uvm__engine_free_virtual(w->e);
}

static void all_steps_in_order(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    start(&w, &saga, NULL);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 done ");
    assert_int_equal(w.code, UVM_OK);
    assert_true(uvm__op_succeeded(w.op));
    uvm_op_cancel(w.op); /* a no-op once resolved */
    turn(&w);
    assert_int_equal(w.done, 1);
    close_world(&w);
}

static void failure_undoes_in_reverse(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_fails[2] = true;
    start(&w, &saga, NULL);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 u1 u0 done ");
    assert_int_equal(w.code, UVM_E_PEER);
    assert_string_equal(w.step_path, "script › third");
    close_world(&w);
}

static void cancel_before_first_step(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    start(&w, &saga, NULL);
    uvm_op_cancel(w.op);
    uvm_op_cancel(w.op);
    assert_int_equal(w.done, 0);
    turn(&w);
    assert_string_equal(w.trace, "done ");
    assert_int_equal(w.code, UVM_E_CANCELED);
    close_world(&w);
}

static void success_after_cancel_is_undone(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[2] = true;
    start(&w, &saga, NULL);
    turn(&w);
    uvm_op_cancel(w.op);
    turn(&w);
    assert_int_equal(w.done, 0); /* an effect is under way */
    uvm__step_done(w.op, NULL);
    assert_int_equal(w.done, 0);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 u2 u1 u0 done ");
    assert_int_equal(w.code, UVM_E_CANCELED);
    close_world(&w);
}

static void success_then_cancel_in_one_tick_wins(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[2] = true;
    start(&w, &saga, NULL);
    turn(&w);
    uvm__step_done(w.op, NULL); /* the commit point */
    uvm_op_cancel(w.op);
    turn(&w);
    assert_int_equal(w.code, UVM_OK);
    close_world(&w);
}

static void cancel_is_passed_to_the_step(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[1] = true;
    w.obeys_cancel[1] = true;
    start(&w, &saga_cancel, NULL);
    turn(&w);
    uvm_op_cancel(w.op);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 c u0 done ");
    assert_int_equal(w.code, UVM_E_CANCELED);
    assert_string_equal(w.step_path, "script › second");
    close_world(&w);
}

static void after_commit_cancel_loses(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[2] = true;
    start(&w, &saga_commit1, NULL);
    turn(&w);
    uvm_op_cancel(w.op);
    turn(&w);
    uvm__step_done(w.op, NULL);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 done ");
    assert_int_equal(w.code, UVM_OK);
    close_world(&w);
}

static void deadline_is_a_cancel_with_another_reason(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[1] = true;
    w.obeys_cancel[1] = true;
    uvm_scope *scope = NULL;
    assert_int_equal(uvm_scope_new(w.e, NULL, 100, &scope), 0);
    start(&w, &saga_cancel, scope);
    turn(&w);
    uvm__engine_advance(w.e, 99);
    turn(&w);
    assert_int_equal(w.done, 0);
    uvm__engine_advance(w.e, 1);
    turn(&w);
    assert_int_equal(w.code, UVM_E_TIMEDOUT);
    uvm_scope_unref(scope);
    close_world(&w);
}

static void strongest_reason_is_told_others_are_causes(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    uvm_scope *scope = NULL;
    assert_int_equal(uvm_scope_new(w.e, NULL, 0, &scope), 0);
    start(&w, &saga, scope);
    uvm_error *why = uvm__error(w.e, UVM_E_EXITED, 0, "vm a: guest panicked");
    uvm__scope_fail(scope, UVM__VM_EXITED, why);
    uvm_error_unref(why);
    uvm_op_cancel(w.op);
    turn(&w);
    assert_int_equal(w.code, UVM_E_CANCELED);
    const uvm_error *cause = uvm_error_cause(uvm__op_error(w.op));
    assert_non_null(cause);
    assert_string_equal(uvm_error_message(cause), "vm a: guest panicked");
    uvm_scope_unref(scope);
    close_world(&w);
}

static void silent_step_is_quarantined_and_late_success_undone(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[1] = true;
    start(&w, &saga, NULL);
    turn(&w);
    uvm_op_cancel(w.op);
    turn(&w);
    uvm__engine_advance(w.e, UVM__UNDO_MS);
    turn(&w);
    assert_int_equal(w.code, UVM_E_UNDO);
    assert_string_equal(w.detail, "second (thing 1); first (thing 0)");
    uvm_scope *undo_root = uvm__engine_root(w.e)->undo_root;
    assert_int_equal(uvm__scope_quarantined(undo_root), 1);
    assert_int_equal(uvm_error_code(uvm_error_cause(uvm__op_error(w.op))), UVM_E_CANCELED);
    uvm__step_done(w.op, NULL); /* late */
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 done u1 u0 ");
    assert_int_equal(w.done, 1);
    assert_int_equal(uvm__scope_quarantined(undo_root), 0);
    close_world(&w);
}

static void failed_undo_stays_until_the_vm_is_gone(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.undo_fails[1] = true;
    w.step_fails[2] = true;
    start(&w, &saga, NULL);
    turn(&w);
    assert_int_equal(w.code, UVM_E_UNDO);
    assert_string_equal(w.detail, "second (thing 1); first (thing 0)"); /* and all below it */
    uvm_scope *undo_root = uvm__engine_root(w.e)->undo_root;
    assert_int_equal(uvm__scope_quarantined(undo_root), 1);
    uvm__scope_fail(undo_root, UVM__VM_EXITED, NULL);
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 u1 done u0 ");
    assert_int_equal(uvm__scope_quarantined(undo_root), 0);
    close_world(&w);
}

static void silent_undo_is_reported_at_its_deadline(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.undo_waits[1] = true;
    w.step_fails[2] = true;
    start(&w, &saga, NULL);
    turn(&w);
    uvm_op_cancel(w.op); /* does not shorten the undo */
    turn(&w);
    assert_int_equal(w.done, 0);
    uvm__engine_advance(w.e, UVM__UNDO_MS);
    turn(&w);
    assert_int_equal(w.code, UVM_E_UNDO);
    uvm__undo_done(w.op, NULL); /* late */
    turn(&w);
    assert_string_equal(w.trace, "r0 r1 r2 u1 done u0 ");
    close_world(&w);
}

static void nth_allocation_fails(void **unused) {
    (void)unused;
    for (uint32_t n = 1; n < 40; n++) {
        struct world w;
        open_world(&w);
        w.step_waits[1] = true;
        w.heap.allocs = 0;
        w.heap.fail_at = n;
        int rc = uvm__op_start(w.e, NULL, &saga, &w, on_done, &w, &w.op);
        if (rc < 0) {
            assert_int_equal(rc, -UVM_E_NOMEM);
            assert_null(w.op);
            close_world(&w);
            continue;
        }
        turn(&w);
        uvm_op_cancel(w.op);
        turn(&w);
        uvm__step_done(w.op, NULL);
        turn(&w);
        assert_string_equal(w.trace, "r0 r1 u1 u0 done ");
        assert_int_equal(w.code, UVM_E_CANCELED); /* the code survives without memory */
        close_world(&w);
    }
}

static void op_outlives_its_result(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(uvm__op_start(w.e, NULL, &saga, &w, on_done, &w, NULL), 0);
    turn(&w);
    assert_int_equal(w.done, 1);
    close_world(&w);
}

static void scope_cancel_reaches_nested_scopes_and_late_starts(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    uvm_scope *outer = NULL;
    uvm_scope *inner = NULL;
    assert_int_equal(uvm_scope_new(w.e, NULL, 0, &outer), 0);
    assert_int_equal(uvm_scope_new(w.e, outer, 0, &inner), 0);
    uvm_scope_cancel(outer);
    start(&w, &saga, inner);
    turn(&w);
    assert_int_equal(w.code, UVM_E_CANCELED);
    uvm_scope_unref(outer);
    uvm_scope_unref(inner);
    close_world(&w);
}

static void dump_tells_step_and_age(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    w.step_waits[1] = true;
    start(&w, &saga, NULL);
    turn(&w);
    uvm__engine_advance(w.e, 7);
    char buf[128];
    assert_true(uvm__engine_dump(w.e, buf, sizeof buf) > 0);
    assert_string_equal(buf, "#1 script › second 7 ms\n");
    uvm__step_done(w.op, NULL);
    turn(&w);
    close_world(&w);
}

/* Spans as they are said, one "kind op›step vm parent begin+length code" each. */
struct spans {
    struct uvm__span_tap tap;
    char text[1024];
    size_t count;
};

static void on_span(struct uvm__span_tap *tap, const struct uvm_log_record *r) {
    struct spans *s = UVM__CONTAINER_OF(tap, struct spans, tap);
    static const char *const kinds[] = {"text", "op+", "op-", "step+", "step-", "undo+", "undo-"};
    size_t len = strlen(s->text);
    s->count++;
    (void)snprintf(s->text + len, sizeof s->text - len, "%s %s %s%s%u %u+%u%s%s\n", kinds[r->kind],
                   r->step[0] == 0 ? r->op : r->step, r->vm, r->vm[0] == 0 ? "" : " ",
                   (unsigned)r->parent_id, (unsigned)r->begin_us,
                   (unsigned)(r->at_us - r->begin_us), r->code == UVM_OK ? "" : " ",
                   r->code == UVM_OK ? "" : uvm_error_code_name(r->code));
}

static void spans_tell_times_undo_and_origin(void **unused) {
    (void)unused;
    struct world w;
    struct spans s = {.tap = {.fn = on_span}};
    open_world(&w);
    uvm__engine_advance(w.e, 5);
    uvm_scope *vm = NULL;
    assert_int_equal(uvm_scope_new(w.e, NULL, 0, &vm), 0);
    vm->label = "demo";
    start(&w, &saga, vm); /* before anybody listens */
    uvm_op *outer = w.op;
    w.step_waits[0] = true;
    turn(&w);
    uvm__span_tap_add(w.e, &s.tap);
    uvm__engine_advance(w.e, 2);
    w.step_waits[0] = false;
    w.step_waits[1] = true;
    assert_int_equal(uvm__op_start(w.e, uvm__op_scope(outer), &saga, &w, on_done, &w, &w.op), 0);
    turn(&w);
    uvm__engine_advance(w.e, 3);
    w.undo_waits[0] = true;
    uvm__step_done(w.op, uvm__error(w.e, UVM_E_PEER, 0, "no"));
    turn(&w);
    uvm__engine_advance(w.e, 4);
    uvm__undo_done(w.op, NULL);
    turn(&w);
    assert_string_equal(s.text, "op+ script demo 1 7000+0\n"
                                "step+ first demo 1 7000+0\n"
                                "step- first demo 1 7000+0\n"
                                "step+ second demo 1 7000+0\n"
                                "step- second demo 1 7000+3000 PEER\n"
                                "undo+ first demo 1 10000+0\n"
                                "undo- first demo 1 10000+4000\n"
                                "op- script demo 1 7000+7000 PEER\n");
    s.text[0] = 0;
    w.step_waits[1] = w.undo_waits[0] = false;
    uvm__step_done(outer, NULL);
    turn(&w);
    assert_non_null(strstr(s.text, "step- first demo 0 5000+9000\n"));
    assert_non_null(strstr(s.text, "op- script demo 0 5000+9000\n"));
    uvm__span_tap_remove(&s.tap);
    s.count = 0;
    uvm_op_unref(outer);
    uvm_op_unref(w.op);
    w.done = 0;
    start(&w, &saga, NULL);
    turn(&w);
    assert_int_equal(s.count, 0);
    uvm_scope_unref(vm);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_steps_in_order),
        cmocka_unit_test(failure_undoes_in_reverse),
        cmocka_unit_test(cancel_before_first_step),
        cmocka_unit_test(success_after_cancel_is_undone),
        cmocka_unit_test(success_then_cancel_in_one_tick_wins),
        cmocka_unit_test(cancel_is_passed_to_the_step),
        cmocka_unit_test(after_commit_cancel_loses),
        cmocka_unit_test(deadline_is_a_cancel_with_another_reason),
        cmocka_unit_test(strongest_reason_is_told_others_are_causes),
        cmocka_unit_test(silent_step_is_quarantined_and_late_success_undone),
        cmocka_unit_test(failed_undo_stays_until_the_vm_is_gone),
        cmocka_unit_test(silent_undo_is_reported_at_its_deadline),
        cmocka_unit_test(nth_allocation_fails),
        cmocka_unit_test(op_outlives_its_result),
        cmocka_unit_test(scope_cancel_reaches_nested_scopes_and_late_starts),
        cmocka_unit_test(dump_tells_step_and_age),
        cmocka_unit_test(spans_tell_times_undo_and_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
