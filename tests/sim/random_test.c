/* SPDX-License-Identifier: MIT
 * random_test.c — what the tables do not reach: many things at once, in an order that a seed decides.
 *
 * Two VMs on one host; guests, wires and the host's verbs misbehave by chance; boots, processes, stops,
 * cancels, ends and closes come at any moment. Nobody predicts the outcomes here: what must hold always
 * (world.h) is enough. A run that fails names its seed: `random_test --seed N` repeats it exactly.
 */
#include "async/limits.h"
#include "tests/sim/flow.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 3000u
#define VMS 2u
#define FLOWS_MAX 6u
#define CALLS_MAX 8u
#define ACTIONS 40u

static uint64_t first_seed = 1, runs = RUNS;
static uint32_t boot_codes[UVM_E_MAX], exec_codes[UVM_E_MAX], wait_codes[UVM_E_MAX];

struct run {
    struct world w;
    uint64_t random;
    uvm_vm *vms[VMS];
    uvm_scope *scopes[VMS];
    struct world_call boots[VMS];
    struct flow flows[FLOWS_MAX];
    struct world_call calls[CALLS_MAX]; /* stop, terminate, wait */
    uint32_t calls_count;
};

/* 0 … n - 1; splitmix64. */
static uint32_t chance(struct run *r, uint32_t n) {
    uint64_t z = (r->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static bool one_in(struct run *r, uint32_t n) {
    return chance(r, n) == 0;
}

/* ---- what is decided in advance ----------------------------------------------------------- */

static void set_script(struct run *r) {
    static const enum uvm__message messages[] = {
        UVM__MSG_NEGOTIATE_PROTOCOL, UVM__MSG_EXECUTE_PROCESS,   UVM__MSG_WAIT_FOR_PROCESS,
        UVM__MSG_SIGNAL_PROCESS,     UVM__MSG_SHUTDOWN_GRACEFUL,
    };
    struct guest_script s = {.late_ms = 200, .ignores_shutdown = one_in(r, 8)};
    if (one_in(r, 3)) {
        s.conduct = (enum guest_conduct)chance(r, GUEST_CONDUCT_MAX);
    }
    if (one_in(r, 3)) {
        s.end = (enum guest_end)chance(r, GUEST_END_MAX);
        s.end_at = (enum guest_stage)chance(r, GUEST_STAGE_MAX);
    }
    if (r->w.wired) {
        s.wire.msg = messages[chance(r, sizeof messages / sizeof messages[0])];
        uint32_t faults =
            s.wire.msg == UVM__MSG_NEGOTIATE_PROTOCOL ? WIRE_FAULT_MAX : (uint32_t)WIRE_BAD_VERSION;
        s.wire.fault = (enum wire_fault)chance(r, faults);
        s.wire.skip = chance(r, 3);
        s.wire.late_ms = 1 + chance(r, 9000);
    }
    world_script(&r->w, &s);
}

static void set_faults(struct run *r) {
    static const enum uvm__sim_point points[] = {UVM__SIM_CREATE, UVM__SIM_START,
                                                 UVM__SIM_TERMINATE};
    for (unsigned i = 0; i < 3; i++) {
        if (one_in(r, 6)) {
            uvm__sim_set_fault(r->w.host, points[i], chance(r, 3),
                               (enum uvm__sim_fault)(1 + chance(r, UVM__SIM_FAULT_MAX - 1)));
        }
    }
}

/* ---- what happens ------------------------------------------------------------------------- */

static void end_boot(struct run *r, unsigned i) {
    if (r->boots[i].done > 0) {
        boot_codes[r->boots[i].code]++;
        EXPECT(&r->w, r->boots[i].code != UVM_E_UNDO); /* nothing of it could stay */
        r->scopes[i] = uvm_scope_unref(r->scopes[i]);
        world_call_end(&r->boots[i]);
        r->boots[i] = (struct world_call){0};
    }
}

static void boot(struct run *r, unsigned i) {
    struct world *w = &r->w;
    end_boot(r, i);
    if (r->vms[i] == NULL || r->boots[i].op != NULL) {
        return;
    }
    uint64_t deadline_ms = one_in(r, 3) ? 1 + chance(r, 60) : 0;
    int rc = uvm_scope_new(w->e, uvm_vm_scope(r->vms[i]), deadline_ms, &r->scopes[i]);
    if (rc == 0) {
        rc = world_boot(w, &r->boots[i], r->vms[i], r->scopes[i]);
        EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM || rc == -UVM_E_STATE);
        if (rc < 0) {
            r->scopes[i] = uvm_scope_unref(r->scopes[i]);
        }
    }
}

static bool is_over(const struct flow *f) {
    return f->exec.done > 0 && (f->wait.op == NULL || f->wait.done > 0) &&
           (f->signal.op == NULL || f->signal.done > 0);
}

static void end_flow(struct flow *f) {
    exec_codes[f->exec.code]++;
    if (f->wait.op != NULL) {
        wait_codes[f->wait.code]++;
    }
    flow_end(f);
}

static void start_process(struct run *r, unsigned i) {
    struct world *w = &r->w;
    struct flow *f = &r->flows[0];
    while (f < r->flows + FLOWS_MAX && f->w != NULL && !is_over(f)) {
        f++;
    }
    if (r->vms[i] == NULL || f == r->flows + FLOWS_MAX) {
        return;
    }
    if (f->w != NULL) {
        end_flow(f);
    }
    int rc = flow_start(f, w, r->vms[i], &flow_rows[chance(r, FLOWS)], NULL);
    EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM || rc == -UVM_E_STATE);
    if (rc < 0) {
        *f = (struct flow){0};
    }
}

static void start_end(struct run *r, unsigned i, unsigned verb) {
    struct world *w = &r->w;
    if (r->vms[i] == NULL || r->calls_count == CALLS_MAX) {
        return;
    }
    struct world_call *c = &r->calls[r->calls_count];
    uvm_vm *vm = r->vms[i];
    int rc;
    *c = (struct world_call){0};
    if (verb == 0) {
        rc = WORLD_START(w, c, uvm_vm_stop(vm, 1 + chance(r, 300), NULL, world_on_done, c, &c->op));
    } else if (verb == 1) {
        rc = WORLD_START(w, c, uvm_vm_terminate(vm, NULL, world_on_done, c, &c->op));
    } else {
        rc = WORLD_START(w, c, uvm_vm_wait(vm, NULL, world_on_done, c, &c->op));
    }
    EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM || rc == -UVM_E_STATE);
    r->calls_count += rc == 0;
}

static void cancel_something(struct run *r) {
    struct flow *f = &r->flows[chance(r, FLOWS_MAX)];
    struct world_call *all[] = {&r->boots[chance(r, VMS)], &r->calls[chance(r, CALLS_MAX)],
                                &f->exec, &f->wait, &f->signal};
    struct world_call *c = all[chance(r, sizeof all / sizeof all[0])];
    if (c->op != NULL) {
        r->w.inside++;
        uvm_op_cancel(c->op); /* also one that is done */
        r->w.inside--;
    }
}

static void close_vm(struct run *r, unsigned i) {
    if (r->vms[i] != NULL) {
        world_vm_close(&r->w, r->vms[i]);
        r->vms[i] = NULL;
    }
}

static void let_go(struct run *r) {
    struct flow *f = &r->flows[chance(r, FLOWS_MAX)];
    if (f->w != NULL && f->p != NULL) {
        uvm_process_close(f->p);
        f->p = NULL;
    }
}

static void let_time_pass(struct run *r) {
    static const uint32_t ms[] = {0, 0, 1, 1, 2, 3, 5, 10, 30, 100, 1000, 6000};
    uint32_t n = chance(r, sizeof ms / sizeof ms[0] + 4);
    if (n < sizeof ms / sizeof ms[0]) {
        world_pass(&r->w, ms[n]);
    } else {
        (void)uvm__engine_turn(r->w.e); /* not to the end */
    }
}

static void act(struct run *r) {
    unsigned i = chance(r, VMS);
    switch (chance(r, 14)) {
    case 0:
    case 1:
        boot(r, i);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        start_process(r, i);
        break;
    case 6:
        start_end(r, i, chance(r, 3));
        break;
    case 7:
    case 8:
        cancel_something(r);
        break;
    case 9:
        let_go(r);
        break;
    case 10:
        (void)(one_in(r, 3) && flow_end_system(&r->w, UVM__HCS_EXIT_GUEST_PANIC));
        break;
    case 11:
        (void)(one_in(r, 3) && flow_lose_connections(&r->w, 0));
        break;
    case 12:
        if (one_in(r, 6)) {
            close_vm(r, i);
        }
        break;
    default:
        r->w.fail_at = one_in(r, 3) ? r->w.allocs + 1 + chance(r, 40) : 0;
        break;
    }
}

/* ---- a run -------------------------------------------------------------------------------- */

static void finish(struct run *r) {
    struct world *w = &r->w;
    w->fail_at = 0;
    for (unsigned i = 0; i < VMS; i++) {
        close_vm(r, i);
        end_boot(r, i);
    }
    EXPECT_EQ(w, w->calls, 0);
    for (struct flow *f = r->flows; f < r->flows + FLOWS_MAX; f++) {
        if (f->w != NULL) {
            EXPECT(w, is_over(f));
            end_flow(f);
        }
    }
    for (unsigned i = 0; i < r->calls_count; i++) {
        world_call_end(&r->calls[i]);
    }
    world_close(w);
}

static void run(uint64_t seed) {
    static struct run run;
    struct run *r = &run;
    memset(r, 0, sizeof *r);
    r->random = seed;
    world_open_at(&r->w, &world_paces[chance(r, WORLD_PACES)]);
    (void)snprintf(r->w.label, sizeof r->w.label, "--seed %llu", (unsigned long long)seed);
    r->w.wired = one_in(r, 3);
    r->w.plain_agent = one_in(r, 6);
    for (unsigned i = 0; i < VMS; i++) {
        r->vms[i] = world_vm_new(&r->w, i == 0 ? "sim-1" : "sim-2");
    }
    set_script(r);
    set_faults(r);
    boot(r, 0);
    for (unsigned i = 0; i < ACTIONS; i++) {
        let_time_pass(r);
        act(r);
    }
    finish(r);
}

static void report(const char *what, const uint32_t codes[UVM_E_MAX]) {
    char text[256] = "";
    int len = 0;
    for (unsigned i = 0; i < UVM_E_MAX && (size_t)len < sizeof text; i++) {
        if (codes[i] > 0) {
            len += snprintf(text + len, sizeof text - (size_t)len, " %s %u",
                            uvm_error_code_name((int)i), codes[i]);
        }
    }
    print_message("%s:%s\n", what, text);
}

static void whatever_happens(void **unused) {
    (void)unused;
    for (uint64_t seed = first_seed; seed < first_seed + runs; seed++) {
        run(seed);
    }
    print_message("%llu runs from seed %llu\n", (unsigned long long)runs,
                  (unsigned long long)first_seed);
    report("boots", boot_codes);
    report("execs", exec_codes);
    report("waits", wait_codes);
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) {
            first_seed = strtoull(argv[i + 1], NULL, 10);
            runs = 1;
        } else if (strcmp(argv[i], "--runs") == 0) {
            runs = strtoull(argv[i + 1], NULL, 10);
        }
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
