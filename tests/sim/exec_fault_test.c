/* SPDX-License-Identifier: MIT
 * exec_fault_test.c — guests that do not behave while they have processes.
 *
 * Each message of a process's life is mistreated in each way; the guest ends at each moment of it; the
 * agent lacks process control, or leaves the streams undialled; an answer comes after its op was given up.
 */
#include "async/limits.h"
#include "async/scope.h"
#include "tests/sim/flow.h"
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"
#define LOST_MS (UVM__AGENT_LOST_MS + 100u)

/* ---- answers that are not as agreed ------------------------------------------------------- */

/* What a fault is to the host. */
enum fault_class { FINE, UNHEARD, UNANSWERED, LATE, TWICE, REFUSED, BROKEN, CLASSES };

static const enum fault_class class_of[WIRE_FAULT_MAX] = {
    [WIRE_NONE] = FINE,           [WIRE_LOSE_REQUEST] = UNHEARD, [WIRE_LOSE_REPLY] = UNANSWERED,
    [WIRE_LATE] = LATE,           [WIRE_TWICE] = TWICE,          [WIRE_REFUSE] = REFUSED,
    [WIRE_CUT_REQUEST] = BROKEN,  [WIRE_CUT_REPLY] = BROKEN,     [WIRE_CUT_HALF] = BROKEN,
    [WIRE_END] = BROKEN,          [WIRE_GARBAGE] = BROKEN,       [WIRE_GIANT] = BROKEN,
    [WIRE_TINY] = BROKEN,         [WIRE_NO_JSON] = BROKEN,       [WIRE_STRANGE_ID] = BROKEN,
    [WIRE_STRANGE_NEWS] = BROKEN,
};

#define LATE_MS 20000u
#define RPC_LOST_MS (UVM__RPC_MS + LOST_MS)
#define GONE BIT(EXITED)

struct outcome {
    uint32_t exec, wait, signal;
    uint64_t limit_ms;
    enum uvm_exit_reason reason;
};

static const struct message_row {
    enum uvm__message msg;
    enum flow_kind kind;
    const char *what;
    struct outcome outcomes[CLASSES];
} message_rows[] = {
    {UVM__MSG_EXECUTE_PROCESS,
     FLOW_CAT,
     "execute",
     {[FINE] = {OK_BIT, OK_BIT, 0, 100, UVM_EXIT_NONE},
      [UNHEARD] = {GONE, 0, 0, RPC_LOST_MS, UVM_EXIT_AGENT_LOST},
      [UNANSWERED] = {GONE, 0, 0, RPC_LOST_MS, UVM_EXIT_AGENT_LOST},
      [LATE] = {OK_BIT, OK_BIT, 0, LATE_MS + 100, UVM_EXIT_NONE},
      [TWICE] = {OK_BIT | GONE, OK_BIT | GONE, 0, LOST_MS, UVM_EXIT_AGENT_LOST},
      [REFUSED] = {BIT(PEER), 0, 0, 100, UVM_EXIT_NONE},
      [BROKEN] = {GONE, 0, 0, LOST_MS, UVM_EXIT_AGENT_LOST}}},
    {UVM__MSG_WAIT_FOR_PROCESS,
     FLOW_CAT,
     "wait",
     {[FINE] = {OK_BIT, OK_BIT, 0, 100, UVM_EXIT_NONE},
      /* A wait has no limit of its own: the caller's is what ends it. */
      [UNHEARD] = {OK_BIT, BIT(CANCELED), 0, RPC_LOST_MS, UVM_EXIT_NONE},
      [UNANSWERED] = {OK_BIT, BIT(CANCELED), 0, RPC_LOST_MS, UVM_EXIT_NONE},
      [LATE] = {OK_BIT, OK_BIT, 0, LATE_MS + 100, UVM_EXIT_NONE},
      [TWICE] = {OK_BIT, OK_BIT | GONE, 0, LOST_MS, UVM_EXIT_AGENT_LOST},
      [REFUSED] = {OK_BIT, BIT(PEER), 0, 100, UVM_EXIT_NONE},
      [BROKEN] = {OK_BIT, GONE, 0, LOST_MS, UVM_EXIT_AGENT_LOST}}},
    {UVM__MSG_SIGNAL_PROCESS,
     FLOW_SIGNAL,
     "signal",
     {[FINE] = {OK_BIT, OK_BIT, OK_BIT, 100, UVM_EXIT_NONE},
      [UNHEARD] = {OK_BIT, GONE, GONE, RPC_LOST_MS, UVM_EXIT_AGENT_LOST},
      [UNANSWERED] = {OK_BIT, OK_BIT, GONE, RPC_LOST_MS, UVM_EXIT_AGENT_LOST},
      [LATE] = {OK_BIT, OK_BIT, OK_BIT, LATE_MS + 100, UVM_EXIT_NONE},
      [TWICE] = {OK_BIT, OK_BIT | GONE, OK_BIT, LOST_MS, UVM_EXIT_AGENT_LOST},
      [REFUSED] = {OK_BIT, OK_BIT, BIT(PEER), 100, UVM_EXIT_NONE},
      [BROKEN] = {OK_BIT, GONE, GONE, LOST_MS, UVM_EXIT_AGENT_LOST}}},
};

/* The same, given up at each point: whatever the answer, the exec ends within its undo's time. */
static uint32_t given_up(const struct flow_trial *like) {
    uint32_t n = like->points[WORLD_BETWEEN];
    uint32_t runs = 0;
    for (uint32_t at = 0; at < n; at += 1 + n / 40, runs++) {
        struct flow_trial t = *like;
        t.inject[0] = (struct world_inject){flow_cancel, 0, WORLD_BETWEEN, at, false, 0};
        t.exec_codes |= BIT(CANCELED) | BIT(UNDO);
        t.wait_codes = OK_BIT | BIT(CANCELED) | BIT(EXITED) | BIT(PEER);
        t.signal_codes = 0;
        t.cut_ms = UVM__UNDO_MS + 10;
        t.kills_vm = true;
        t.rest_ms = like->limit_ms + 10000; /* what waits for an answer has given up, too */
        flow_run(&t);
    }
    return runs;
}

static void answers(void **unused) {
    (void)unused;
    for (size_t m = 0; m < sizeof message_rows / sizeof message_rows[0]; m++) {
        const struct message_row *row = &message_rows[m];
        uint32_t faults = 0, runs = 0;
        for (unsigned i = 0; i < WIRE_FAULT_MAX; i++) {
            if (i == WIRE_DENY || i == WIRE_BAD_VERSION || i == WIRE_BAD_OS) {
                continue; /* the sweep's, and of negotiation */
            }
            const struct outcome *o = &row->outcomes[class_of[i]];
            struct flow_trial t = {.kind = row->kind,
                                   .exec_codes = o->exec,
                                   .wait_codes = o->wait,
                                   .signal_codes = o->signal,
                                   .limit_ms = o->limit_ms,
                                   .kills_vm = o->reason != UVM_EXIT_NONE};
            t.script.wire = (struct wire_plan){
                .msg = row->msg, .fault = (enum wire_fault)i, .late_ms = LATE_MS};
            (void)snprintf(t.what, sizeof t.what, "%s: %s", row->what,
                           wire_fault_text((enum wire_fault)i));
            flow_run(&t);
            assert_int_equal(t.reason, o->reason);
            faults++;
            runs += given_up(&t);
        }
        print_message("%s: %u ways to answer, given up %u times\n", row->what, faults, runs);
    }
}

/* ---- ends --------------------------------------------------------------------------------- */

static void guests_end(void **unused) {
    (void)unused;
    static const enum guest_stage stages[] = {GUEST_AT_EXEC, GUEST_AT_EXECUTED, GUEST_AT_SIGNALED};
    static const enum uvm_exit_reason reasons[GUEST_END_MAX] = {
        [GUEST_END_PANIC] = UVM_EXIT_GUEST_PANIC,
        [GUEST_END_POWEROFF] = UVM_EXIT_GUEST_SHUTDOWN,
        [GUEST_END_RESET] = UVM_EXIT_GUEST_RESET,
        [GUEST_END_KILLED] = UVM_EXIT_VMM_DIED,
        [GUEST_END_HANGS] = UVM_EXIT_AGENT_LOST, /* an RPC without an answer */
        [GUEST_END_AGENT_GONE] = UVM_EXIT_AGENT_LOST,
        [GUEST_END_DROPS] = UVM_EXIT_AGENT_LOST,
    };
    for (unsigned s = 0; s < sizeof stages / sizeof stages[0]; s++) {
        for (unsigned end = GUEST_END_PANIC; end < GUEST_END_MAX; end++) {
            bool before = stages[s] == GUEST_AT_EXEC;
            bool waits = end == GUEST_END_HANGS && stages[s] == GUEST_AT_EXECUTED;
            struct flow_trial t = {.kind = FLOW_KILL,
                                   .script = {.end_at = stages[s], .end = (enum guest_end)end},
                                   .exec_codes = before ? GONE : OK_BIT | GONE,
                                   .wait_codes = GONE,
                                   .limit_ms = end == GUEST_END_HANGS ? RPC_LOST_MS : LOST_MS,
                                   .kills_vm = true};
            (void)snprintf(t.what, sizeof t.what, "a guest that %s at %s",
                           guest_end_text((enum guest_end)end), guest_stage_text(stages[s]));
            flow_run(&t);
            assert_true(t.reason == reasons[end] || waits);
        }
    }
    print_message("guests end: 3 moments x %u ends\n", GUEST_END_MAX - 1);
}

/* ---- agents ------------------------------------------------------------------------------- */

static void streams_that_are_not_dialled(void **unused) {
    (void)unused;
    struct flow_trial t = {.what = "streams that are not dialled",
                           .kind = FLOW_KILL,
                           .script.conduct = GUEST_EXEC_UNDIALLED,
                           .exec_codes = BIT(TIMEDOUT),
                           .limit_ms = UVM__ACCEPT_STDIO_MS + 100};
    flow_run(&t);
    assert_true(t.ms >= UVM__ACCEPT_STDIO_MS);
    t.inject[0] = (struct world_inject){flow_cancel, 0, WORLD_BETWEEN, 0, false, 0};
    t.exec_codes |= BIT(CANCELED);
    t.cut_ms = 10;
    uint32_t n = t.points[WORLD_BETWEEN];
    for (t.inject[0].at = 0; t.inject[0].at < n; t.inject[0].at++) {
        flow_run(&t);
    }
}

static void streams_that_are_dialled_twice(void **unused) {
    (void)unused;
    struct flow_trial t = {.what = "streams that are dialled twice",
                           .kind = FLOW_CAT,
                           .script.conduct = GUEST_EXEC_TWICE,
                           .exec_codes = OK_BIT,
                           .wait_codes = OK_BIT,
                           .limit_ms = FLOW_LIMIT_MS};
    flow_run(&t);
    assert_int_equal(t.seen.second_refused, 1);
}

/* An agent without process control: what cannot be told to it is refused, what cannot be undone named. */
static void an_agent_like_the_reference(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < FLOWS; i++) {
        bool signals = flow_rows[i].signo != 0;
        struct flow_trial t = {.kind = (enum flow_kind)i,
                               .script.plain_agent = true,
                               .exec_codes = OK_BIT,
                               .wait_codes = signals ? BIT(CANCELED) : OK_BIT,
                               .signal_codes = BIT(UNSUPPORTED),
                               .limit_ms = FLOW_LIMIT_MS};
        (void)snprintf(t.what, sizeof t.what, "plain agent: %s", flow_rows[i].what);
        flow_run(&t);
        uint32_t n = i == FLOW_YES || i == FLOW_YES_SLOW ? 0 : t.points[WORLD_BETWEEN];
        for (uint32_t at = 0; at < n; at += 1 + n / 30) {
            struct flow_trial cut = t;
            cut.inject[0] = (struct world_inject){flow_cancel, 0, WORLD_BETWEEN, at, false, 0};
            cut.exec_codes |= BIT(CANCELED) | BIT(UNDO);
            cut.cut_ms = 10; /* nothing that could be waited for */
            flow_run(&cut);
        }
    }
}

/* The bridge is gone, the VM's end not yet decided: whoever starts now is told how it ended. */
static void a_bridge_that_is_lost_already(void **unused) {
    (void)unused;
    for (unsigned cancel = 0; cancel < 2; cancel++) {
        struct world w;
        struct flow f;
        world_open(&w);
        (void)snprintf(w.label, sizeof w.label, "exec on a lost bridge, cancel %u", cancel);
        w.vm = world_vm_new(&w, NAME);
        world_script(
            &w, &(struct guest_script){.end_at = GUEST_AT_RUNNING, .end = GUEST_END_AGENT_GONE});
        struct world_call boot = {0};
        EXPECT_EQ(&w, world_boot(&w, &boot, w.vm, NULL), 0);
        world_pass(&w, 100);
        EXPECT_EQ(&w, boot.code, UVM_OK);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
        EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[FLOW_TRUE], NULL), 0);
        world_pass(&w, 100);
        EXPECT_EQ(&w, f.exec.done, 0);
        if (cancel == 1) {
            uvm_op_cancel(f.exec.op);
        }
        w.call = &f.exec;
        world_wait(&w, &f.exec, cancel == 1 ? 1 : LOST_MS);
        EXPECT_EQ(&w, f.exec.code, cancel == 1 ? UVM_E_CANCELED : UVM_E_EXITED);
        w.call = NULL;
        flow_end(&f);
        world_call_end(&boot);
        world_vm_close(&w, w.vm);
        world_close(&w);
    }
}

/* ---- late answers ------------------------------------------------------------------------- */

/* Given up while the answer was on its way: named at once as not undone, undone when it comes. */
static void a_late_success_is_undone(void **unused) {
    (void)unused;
    struct world w;
    struct flow f;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "a late success");
    w.wired = true;
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    struct guest_script script = {0};
    script.wire =
        (struct wire_plan){.msg = UVM__MSG_EXECUTE_PROCESS, .fault = WIRE_LATE, .late_ms = LATE_MS};
    world_script(&w, &script);
    EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[FLOW_KILL], NULL), 0);
    world_pass(&w, 100);
    EXPECT_EQ(&w, w.seen.processes, 1); /* it runs, and nobody here knows */
    uvm_op_cancel(f.exec.op);
    w.call = &f.exec;
    world_wait(&w, &f.exec, UVM__UNDO_MS + 1);
    EXPECT_EQ(&w, f.exec.code, UVM_E_UNDO);
    EXPECT(&w, strstr(uvm_error_detail(f.exec.err), "process") != NULL);
    EXPECT(&w, uvm_error_cause(f.exec.err) != NULL);
    w.call = NULL;
    flow_end(&f);
    EXPECT_EQ(&w, w.seen.processes, 1);
    const uvm_scope *undo_root = uvm_vm_scope(w.vm)->undo_root;
    EXPECT(&w, uvm__scope_quarantined(undo_root) > 0);
    world_pass(&w, LATE_MS);
    EXPECT_EQ(&w, uvm__scope_quarantined(undo_root), 0);
    EXPECT_EQ(&w, w.seen.processes, 0); /* killed, and waited for */
    EXPECT_EQ(&w, w.seen.processes_killed, 1);
    EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
    flow_well(&w, w.vm, FLOW_CAT);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(guests_end),
        cmocka_unit_test(streams_that_are_not_dialled),
        cmocka_unit_test(streams_that_are_dialled_twice),
        cmocka_unit_test(an_agent_like_the_reference),
        cmocka_unit_test(a_bridge_that_is_lost_already),
        cmocka_unit_test(a_late_success_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
