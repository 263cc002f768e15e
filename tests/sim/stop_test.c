/* SPDX-License-Identifier: MIT
 * stop_test.c — how a VM ends: by itself, asked, forced; and what stop, terminate and wait say then.
 *
 * A running VM, one or more of the verbs, a guest or a host that does not go along, and something that
 * disturbs at each point. stop and terminate commit at once, so from their first turn on they end with the
 * VM's end whatever the caller does; a wait is only a look.
 */
#include "async/limits.h"
#include "tests/sim/choose.h"
#include "tests/sim/world.h"
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"
#define OK_BIT 1u
#define BIT(code) (1u << UVM_E_##code)
#define STOP_LIMIT_MS 100u
#define AGENT_GONE_MS 7000u /* end of the bridge to the VM's */
#define HUNG_MS (3u * UVM__HEARTBEAT_MS + UVM__AGENT_LOST_MS + STOP_LIMIT_MS)

enum verb { STOP, TERMINATE, WAIT, VERBS };
static const char *const verb_names[VERBS] = {"stop", "terminate", "wait"};

static int start(struct world *w, struct world_call *c, enum verb verb, uvm_scope *scope) {
    switch (verb) {
    case STOP:
        return WORLD_START(w, c, uvm_vm_stop(w->vm, 0, scope, world_on_done, c, &c->op));
    case TERMINATE:
        return WORLD_START(w, c, uvm_vm_terminate(w->vm, scope, world_on_done, c, &c->op));
    default:
        return WORLD_START(w, c, uvm_vm_wait(w->vm, scope, world_on_done, c, &c->op));
    }
}

static void open_running(struct world *w, const char *label) {
    world_open(w);
    (void)snprintf(w->label, sizeof w->label, "%s", label);
    w->wired = true;
    w->vm = world_vm_new(w, NAME);
    world_boot_well(w, w->vm);
    memset(w->points, 0, sizeof w->points);
}

static void close_world(struct world *w) {
    w->inject[0].fn = NULL;
    world_vm_close(w, w->vm);
    w->vm = world_vm_new(w, "sim-2"); /* the host is as good as before */
    world_boot_well(w, w->vm);
    world_vm_close(w, w->vm);
    world_close(w);
}

/* A service that counts nothing says so; a VM that is not there has used nothing. */
static void statistics_that_nobody_has(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    uvm_op *op = NULL;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "statistics");
    w.vm = world_vm_new(&w, NAME);
    EXPECT_EQ(&w, uvm_vm_statistics(w.vm, NULL, NULL, NULL, &op), -UVM_E_STATE);
    world_boot_well(&w, w.vm);
    EXPECT_EQ(&w, WORLD_START(&w, &c, uvm_vm_statistics(w.vm, NULL, world_on_done, &c, &c.op)), 0);
    world_wait(&w, &c, 100);
    EXPECT_EQ(&w, c.code, UVM_E_UNSUPPORTED);
    EXPECT(&w, uvm_vm_statistics_result(c.op) == NULL);
    world_call_end(&c);
    EXPECT_EQ(&w, start(&w, &c, TERMINATE, NULL), 0);
    world_wait(&w, &c, 1000);
    world_call_end(&c);
    EXPECT_EQ(&w, uvm_vm_statistics(w.vm, NULL, NULL, NULL, &op), -UVM_E_STATE);
    close_world(&w);
}

/* ---- ends that nobody asked for ----------------------------------------------------------- */

static void guests_end(void **unused) {
    (void)unused;
    static const struct {
        enum uvm_exit_reason reason;
        uint64_t limit_ms;
        const char *detail;
    } rows[GUEST_END_MAX] = {
        [GUEST_END_PANIC] = {UVM_EXIT_GUEST_PANIC, STOP_LIMIT_MS, "simulated"},
        [GUEST_END_POWEROFF] = {UVM_EXIT_GUEST_SHUTDOWN, STOP_LIMIT_MS, ""},
        [GUEST_END_RESET] = {UVM_EXIT_GUEST_RESET, STOP_LIMIT_MS, ""},
        [GUEST_END_KILLED] = {UVM_EXIT_VMM_DIED, STOP_LIMIT_MS, "SIGKILL"},
        [GUEST_END_HANGS] = {UVM_EXIT_AGENT_LOST, HUNG_MS, "did not answer 2 heartbeats in 10 s"},
        [GUEST_END_AGENT_GONE] = {UVM_EXIT_AGENT_LOST, AGENT_GONE_MS, ""},
        [GUEST_END_DROPS] = {UVM_EXIT_AGENT_LOST, AGENT_GONE_MS, ""},
    };
    for (unsigned i = GUEST_END_PANIC; i < GUEST_END_MAX; i++) {
        struct world w;
        struct world_call boot = {0}, wait = {0};
        world_open(&w);
        (void)snprintf(w.label, sizeof w.label, "a guest that %s",
                       guest_end_text((enum guest_end)i));
        w.vm = world_vm_new(&w, NAME);
        world_script(&w,
                     &(struct guest_script){.end_at = GUEST_AT_RUNNING, .end = (enum guest_end)i});
        EXPECT_EQ(&w, world_boot(&w, &boot, w.vm, NULL), 0);
        world_wait(&w, &boot, 1000);
        EXPECT_EQ(&w, boot.code, UVM_OK);
        world_call_end(&boot);
        w.call = &wait;
        EXPECT_EQ(&w, start(&w, &wait, WAIT, NULL), 0);
        world_wait(&w, &wait, rows[i].limit_ms);
        EXPECT_EQ(&w, wait.code, UVM_OK);
        EXPECT_EQ(&w, uvm_vm_exit(w.vm).reason, rows[i].reason);
        EXPECT(&w, strstr(uvm_vm_exit(w.vm).detail, rows[i].detail) != NULL);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_STOPPED);
        EXPECT_EQ(&w, uvm__sim_ledger(w.host).running, 0);
        world_pass(&w, 10000);
        world_call_end(&wait);
        w.call = NULL;
        close_world(&w);
    }
}

/* ---- the verbs, and who does not go along ------------------------------------------------- */

static const struct row {
    const char *what;
    enum verb verb;
    struct guest_script script;
    enum uvm__sim_fault fault; /* of the host's terminate */
    enum uvm_exit_reason reason;
    uint64_t limit_ms;
} rows[] = {
    {"stop", STOP, {0}, UVM__SIM_NONE, UVM_EXIT_GUEST_SHUTDOWN, STOP_LIMIT_MS},
    {"stop, ignored",
     STOP,
     {.ignores_shutdown = true},
     UVM__SIM_NONE,
     UVM_EXIT_TERMINATED,
     UVM__STOP_GRACE_MS + STOP_LIMIT_MS},
    {"stop, refused",
     STOP,
     {.refuses_shutdown = true},
     UVM__SIM_NONE,
     UVM_EXIT_TERMINATED,
     UVM__STOP_GRACE_MS + STOP_LIMIT_MS},
    {"stop, unheard",
     STOP,
     {.wire = {.msg = UVM__MSG_SHUTDOWN_GRACEFUL, .fault = WIRE_LOSE_REQUEST}},
     UVM__SIM_NONE,
     UVM_EXIT_TERMINATED,
     UVM__STOP_GRACE_MS + STOP_LIMIT_MS},
    {"stop, the bridge breaks",
     STOP,
     {.wire = {.msg = UVM__MSG_SHUTDOWN_GRACEFUL, .fault = WIRE_CUT_REQUEST}},
     UVM__SIM_NONE,
     UVM_EXIT_TERMINATED,
     UVM__STOP_GRACE_MS + STOP_LIMIT_MS},
    {"terminate", TERMINATE, {0}, UVM__SIM_NONE, UVM_EXIT_TERMINATED, STOP_LIMIT_MS},
    {"terminate, never answered",
     TERMINATE,
     {0},
     UVM__SIM_MUTE_DONE,
     UVM_EXIT_TERMINATED,
     STOP_LIMIT_MS},
    {"terminate, answered late", TERMINATE, {0}, UVM__SIM_LATE, UVM_EXIT_TERMINATED, STOP_LIMIT_MS},
    {"terminate, the VMM dies first",
     TERMINATE,
     {0},
     UVM__SIM_DIE_IDLE,
     UVM_EXIT_VMM_DIED,
     STOP_LIMIT_MS},
    {"terminate, the VMM dies then",
     TERMINATE,
     {0},
     UVM__SIM_DIE_DONE,
     UVM_EXIT_TERMINATED,
     STOP_LIMIT_MS},
    {"stop, ignored, then never answered",
     STOP,
     {.ignores_shutdown = true},
     UVM__SIM_MUTE_DONE,
     UVM_EXIT_TERMINATED,
     UVM__STOP_GRACE_MS + STOP_LIMIT_MS},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool cancel_call(struct world *w, int arg) {
    (void)arg;
    if (w->call == NULL || w->call->op == NULL) {
        return false;
    }
    uvm_op_cancel(w->call->op);
    return true;
}

static bool end_system(struct world *w, int exit) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    if (s == NULL) {
        return false;
    }
    uvm__sim_end(s, (enum uvm__hcs_exit)exit, "");
    return true;
}

static struct world_closing closing;

static bool close_vm(struct world *w, int arg) {
    (void)arg;
    world_vm_close_begin(w, w->vm, &closing);
    return true;
}

/* Returns the points that may be disturbed; `codes` are those allowed. */
static void run(const struct row *row, const struct world_inject *inject, uint32_t codes,
                uint32_t ret_points[2]) {
    struct world w;
    struct world_call c = {0};
    char what[160];
    (void)snprintf(what, sizeof what, "%s, disturbed at %u", row->what,
                   inject == NULL ? 0 : inject->at);
    open_running(&w, what);
    world_script(&w, &row->script);
    if (row->fault != UVM__SIM_NONE) {
        uvm__sim_set_fault(w.host, UVM__SIM_TERMINATE, 0, row->fault);
    }
    if (inject != NULL) {
        w.inject[0] = *inject;
    }
    w.call = &c;
    EXPECT_EQ(&w, start(&w, &c, row->verb, NULL), 0);
    world_wait(&w, &c, row->limit_ms);
    if (ret_points != NULL) {
        memcpy(ret_points, w.points, sizeof w.points);
    }
    EXPECT(&w, (codes >> c.code & 1u) != 0);
    bool closed = w.inject[0].done && w.inject[0].fn == close_vm;
    if (c.code == UVM_OK && !closed) {
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_STOPPED);
        enum uvm_exit_reason reason = uvm_vm_exit(w.vm).reason;
        EXPECT(&w, reason == row->reason || (inject != NULL && reason != UVM_EXIT_NONE));
        EXPECT_EQ(&w, uvm__sim_ledger(w.host).running, 0);
    } else if (!closed) {
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
    }
    world_call_end(&c);
    w.call = NULL;
    if (closed) {
        world_vm_close_wait(&closing);
        w.inject[0].fn = NULL;
        w.vm = world_vm_new(&w, NAME);
    }
    uvm__sim_set_fault(w.host, UVM__SIM_TERMINATE, 0, UVM__SIM_NONE);
    close_world(&w);
}

static void verbs(void **unused) {
    (void)unused;
    uint64_t runs = 0, points = 0;
    for (unsigned i = 0; i < ROWS; i++) {
        uint32_t n[2];
        run(&rows[i], NULL, OK_BIT, n);
        runs++;
        points += n[WORLD_ANYWHERE];
        for (uint32_t at = 0; at < n[WORLD_ANYWHERE]; at++) {
            const struct world_inject cancel = {cancel_call, 0, WORLD_ANYWHERE, at, false, 0};
            run(&rows[i], &cancel, OK_BIT | (at < 6 ? BIT(CANCELED) : 0), NULL);
            runs++;
        }
        for (uint32_t at = 0; at < n[WORLD_BETWEEN]; at++) {
            const struct world_inject end = {
                end_system, UVM__HCS_EXIT_GUEST_PANIC, WORLD_BETWEEN, at, false, 0};
            const struct world_inject close = {close_vm, 0, WORLD_BETWEEN, at, false, 0};
            run(&rows[i], &end, OK_BIT, NULL);
            run(&rows[i], &close, OK_BIT | (at < 2 ? BIT(CANCELED) : 0), NULL);
            runs += 2;
        }
    }
    print_message(
        "stop and terminate: %u rows, %llu points x {cancel, panic, close}, %llu trials\n", ROWS,
        (unsigned long long)points, (unsigned long long)runs);
}

/* The seam says that terminate ends a VM for certain; where it does not, close still does. */
static void a_host_that_does_not_terminate(void **unused) {
    (void)unused;
    static const enum uvm__sim_fault faults[] = {UVM__SIM_REFUSE, UVM__SIM_MUTE_IDLE};
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct world_call c = {0};
        open_running(&w, uvm__sim_fault_name(faults[i]));
        uvm__sim_set_fault(w.host, UVM__SIM_TERMINATE, 0, faults[i]);
        w.call = &c;
        EXPECT_EQ(&w, start(&w, &c, TERMINATE, NULL), 0);
        world_pass(&w, 1000);
        world_vm_close_begin(&w, w.vm, &closing);
        world_vm_close_wait(&closing);
        EXPECT_EQ(&w, c.done, 1);
        world_call_end(&c);
        w.call = NULL;
        w.vm = world_vm_new(&w, NAME);
        close_world(&w);
    }
}

/* A VMM that SIGKILL does not end: who asked for the end hears that it did not come, who waits hears how it is,
 * whatever needed the guest fails, and close is the only verb that is left. */
static void a_vmm_that_stays(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        enum verb verb = i == 0 ? TERMINATE : STOP;
        struct world w;
        struct world_call c = {0}, wait = {0}, again = {0};
        open_running(&w, verb_names[verb]);
        uvm__sim_set_fault(w.host, UVM__SIM_TERMINATE, 0, UVM__SIM_MUTE_IDLE);
        w.script.ignores_shutdown = true;
        EXPECT_EQ(&w, start(&w, &wait, WAIT, NULL), 0);
        w.call = &c;
        EXPECT_EQ(&w, start(&w, &c, verb, NULL), 0);
        world_pass(&w, UVM__STOP_GRACE_MS + 1000);
        EXPECT_EQ(&w, c.done + wait.done, 0);
        uvm__sim_end(uvm__sim_newest(w.host), UVM__HCS_EXIT_STUCK, "qemu: process 7");
        world_pass(&w, 0);
        EXPECT_EQ(&w, c.done, 1);
        EXPECT_EQ(&w, c.code, UVM_E_UNDO);
        EXPECT_EQ(&w, wait.done, 1);
        EXPECT_EQ(&w, wait.code, UVM_OK);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_FAILED);
        EXPECT_EQ(&w, uvm_vm_exit(w.vm).reason, UVM_EXIT_VMM_STUCK);
        EXPECT(&w, strcmp(uvm_vm_exit(w.vm).detail, "qemu: process 7") == 0);
        EXPECT(&w, strstr(uvm_vm_properties(w.vm), "\"reason\":\"vmm-stuck\"") != NULL);
        EXPECT_EQ(&w, start(&w, &again, TERMINATE, NULL), -UVM_E_STATE);
        world_call_end(&c);
        world_call_end(&wait);
        w.call = NULL;
        uvm__sim_set_fault(w.host, UVM__SIM_TERMINATE, 0, UVM__SIM_NONE);
        close_world(&w);
    }
}

/* Several at once, in any order: all end with the VM. */
static void together(void **unused) {
    (void)unused;
    struct choose c;
    for (choose_begin(&c); choose_next(&c);) {
        struct world w;
        struct world_call calls[3] = {{0}};
        char text[64];
        open_running(&w, "together");
        w.script.ignores_shutdown = choose(&c, 2) == 1;
        for (unsigned i = 0; i < 3; i++) {
            enum verb verb = (enum verb)choose(&c, VERBS);
            EXPECT_EQ(&w, start(&w, &calls[i], verb, NULL), 0);
            if (choose(&c, 2) == 1) {
                world_settle(&w);
            }
        }
        (void)snprintf(w.label, sizeof w.label, "together %s", choose_text(&c, text, sizeof text));
        world_pass(&w, UVM__STOP_GRACE_MS + STOP_LIMIT_MS);
        bool ended = uvm_vm_state(w.vm) == UVM_VM_STOPPED;
        for (unsigned i = 0; i < 3; i++) {
            EXPECT_EQ(&w, calls[i].done, ended);
        }
        if (!ended) { /* three waits */
            world_vm_close_begin(&w, w.vm, &closing);
            world_vm_close_wait(&closing);
            w.vm = world_vm_new(&w, NAME);
        }
        for (unsigned i = 0; i < 3; i++) {
            EXPECT_EQ(&w, calls[i].done, 1);
            world_call_end(&calls[i]);
        }
        close_world(&w);
    }
}

static void verbs_know_the_state(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    for (unsigned verb = 0; verb < VERBS; verb++) {
        struct world_call c = {0};
        (void)snprintf(w.label, sizeof w.label, "%s before boot", verb_names[verb]);
        EXPECT_EQ(&w, start(&w, &c, (enum verb)verb, NULL), -UVM_E_STATE);
    }
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    static const char *const argv[] = {"true", NULL};
    p.argv = argv;
    EXPECT_EQ(&w, uvm_exec_start(w.vm, &p, NULL, NULL, NULL, NULL), -UVM_E_STATE);
    world_boot_well(&w, w.vm);
    EXPECT_EQ(&w, uvm_vm_boot(w.vm, NULL, NULL, NULL, NULL), -UVM_E_STATE);
    for (unsigned verb = 0; verb < VERBS; verb++) {
        struct world_call c = {0};
        EXPECT_EQ(&w, start(&w, &c, (enum verb)(TERMINATE - verb % 2), NULL), 0);
        world_wait(&w, &c, STOP_LIMIT_MS); /* also when it has ended already */
        EXPECT_EQ(&w, c.code, UVM_OK);
        world_call_end(&c);
    }
    EXPECT_EQ(&w, uvm_exec_start(w.vm, &p, NULL, NULL, NULL, NULL), -UVM_E_STATE);
    EXPECT_EQ(&w, uvm_vm_boot(w.vm, NULL, NULL, NULL, NULL), -UVM_E_STATE);
    close_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_that_nobody_has),
        cmocka_unit_test(guests_end),
        cmocka_unit_test(verbs),
        cmocka_unit_test(a_host_that_does_not_terminate),
        cmocka_unit_test(a_vmm_that_stays),
        cmocka_unit_test(together),
        cmocka_unit_test(verbs_know_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
