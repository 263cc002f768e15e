/* SPDX-License-Identifier: MIT
 * sweep.c — one trial of the sweep: a row's operation, disturbed, judged, and done again.
 *
 * Nothing here knows which operation it is; what is said of all rows is checked here for all.
 */
#include "tests/sim/sweep.h"
#include "async/limits.h"
#include "async/scope.h"
#include <stdio.h>
#include <string.h>

#define WELL_MS 2000u /* anything that nothing disturbs */
/* A bridge that broke has ended the VM. */
#define SETTLED_MS (UVM__AGENT_LOST_MS + UVM__BRIDGE_MEMORY_MS + 100u)
#define LATE_MS 20000u
/* Every undo has ended, and every answer that is only late has come. */
#define ALL_MS (3u * UVM__UNDO_MS + 2u * UVM__REMOVE_MS + LATE_MS)
/* An answer that never comes costs the bridge. */
#define LIMIT_MS (UVM__RPC_MS + SETTLED_MS + ALL_MS)
#define MEMORY_MS                                                                                  \
    3000u /* then there is memory again: before the bridge is given up for lack of it */
#define ROWS 16u

static const char *const phase_texts[SWEEP_PHASES] = {
#define SIM_X(name, text) [SWEEP_##name] = (text),
    SWEEP_PHASE_MAP(SIM_X)
#undef SIM_X
};

const char *sweep_phase_text(enum sweep_phase phase) {
    return phase_texts[phase];
}

const char *sweep_await_text(const struct sweep_await *a, char *buf, size_t bytes) {
    const char *what =
        a->guest ? uvm__messages[a->what].name : uvm__sim_point_name((enum uvm__sim_point)a->what);
    (void)snprintf(buf, bytes, "%s %s %u", a->guest ? "guest" : "host", what, a->n);
    return buf;
}

static struct sweep *sweep_of(struct world *w) {
    return UVM__CONTAINER_OF(w, struct sweep, w);
}

/* ---- what is disturbed -------------------------------------------------------------------- */

static void add_await(struct sweep *s, bool guest, unsigned what, uint32_t n, bool sent) {
    struct sweep_trial *t = s->t;
    if (t->awaits_count < SWEEP_AWAITS_MAX) {
        t->awaits[t->awaits_count++] = (struct sweep_await){guest, what, n, sent};
    }
}

static void watch(struct world *w, bool guest, unsigned what, enum world_moment moment) {
    struct sweep *s = sweep_of(w);
    if (guest && what == UVM__MSG_GET_PROPERTIES) {
        return; /* a heartbeat */
    }
    s->phase = (enum sweep_phase)(SWEEP_SENT + moment);
    s->phase_ms = uvm__now_ms(w->e);
    if (moment == WORLD_SENT) {
        add_await(s, guest, what, s->sent[guest][what]++, true);
    } else if (moment == WORLD_ACTED && ++s->acted[guest][what] > s->sent[guest][what]) {
        /* Asked before the operation began. */
        s->sent[guest][what]++;
        add_await(s, guest, what, s->acted[guest][what] - 1, false);
    }
}

static void note_phase(struct sweep *s) {
    bool passed = s->phase == SWEEP_ANSWERED && uvm__now_ms(s->w.e) != s->phase_ms;
    if (!s->t->reached) {
        s->t->phase = passed ? SWEEP_IDLE : s->phase;
    }
    s->t->reached = true;
}

bool sweep_cancel(struct world *w, int arg) {
    (void)arg;
    if (w->call == NULL || w->call->op == NULL || w->call->done > 0) {
        return false;
    }
    note_phase(sweep_of(w));
    uvm_op_cancel(w->call->op);
    return true;
}

bool sweep_end_vm(struct world *w, int exit) {
    struct uvm__hcs_system *system = uvm__sim_newest(w->host);
    if (system == NULL) {
        return false;
    }
    note_phase(sweep_of(w));
    uvm__sim_end(system, (enum uvm__hcs_exit)exit, "killed by SIGKILL");
    return true;
}

bool sweep_lose_connections(struct world *w, int arg) {
    struct uvm__hcs_system *system = uvm__sim_newest(w->host);
    (void)arg;
    if (system == NULL) {
        return false;
    }
    note_phase(sweep_of(w));
    uvm__loopback_reset(system->hvsock);
    return true;
}

/* ---- what there is ------------------------------------------------------------------------ */

static bool alive(struct sweep *s) {
    return s->w.vm != NULL && uvm_vm_state(s->w.vm) == UVM_VM_RUNNING;
}

static struct sweep_ledger ledger(struct sweep *s) {
    struct world *w = &s->w;
    struct disk_row rows[ROWS];
    return (struct sweep_ledger){.disks = (int32_t)uvm__sim_ledger(w->host).disks,
                                 .mounts = (int32_t)w->seen.mounts,
                                 .processes = (int32_t)w->seen.processes,
                                 .rows = (int32_t)disk_rows(w, rows, ROWS)};
}

static struct sweep_ledger plus(struct sweep_ledger a, struct sweep_ledger b) {
    return (struct sweep_ledger){a.disks + b.disks, a.mounts + b.mounts, a.processes + b.processes,
                                 a.rows + b.rows};
}

static bool same(struct sweep_ledger a, struct sweep_ledger b) {
    return a.disks == b.disks && a.mounts == b.mounts && a.processes == b.processes &&
           a.rows == b.rows;
}

static void expect_same(struct sweep *s, struct sweep_ledger want) {
    struct sweep_ledger is = ledger(s);
    EXPECT_EQ(&s->w, is.disks, want.disks);
    EXPECT_EQ(&s->w, is.mounts, want.mounts);
    EXPECT_EQ(&s->w, is.processes, want.processes);
    EXPECT_EQ(&s->w, is.rows, want.rows);
    if (alive(s)) {
        disk_expect_agreement(&s->w);
    }
}

/* A call that the host never answers stays one, whatever became of what it was about; so does a process whose
 * end nobody tells. */
static bool mute(const struct sweep *s) {
    const struct sweep_trial *t = s->t;
    return t->host == UVM__SIM_MUTE_IDLE || t->host == UVM__SIM_MUTE_DONE ||
           (t->wire.fault != WIRE_NONE && t->wire.msg == UVM__MSG_WAIT_FOR_PROCESS);
}

/* Attachments and operations of which something is left. */
static size_t quarantined(struct sweep *s) {
    struct disk_row rows[ROWS];
    size_t n = mute(s) ? 0 : uvm__scope_quarantined(uvm_vm_scope(s->w.vm)->undo_root);
    uint32_t count = s->w.fail_at > 0 ? 0 : disk_rows(&s->w, rows, ROWS);
    for (uint32_t i = 0; i < count; i++) {
        n += rows[i].quarantined;
    }
    return n;
}

static void expect_no_quarantine(struct sweep *s) {
    EXPECT_EQ(&s->w, quarantined(s), 0);
}

static void detach_all(struct sweep *s, bool only_quarantined) {
    struct disk_row rows[ROWS];
    uint32_t n = disk_rows(&s->w, rows, ROWS);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < rows[i].refs || k == 0; k++) {
            if (rows[i].quarantined || !only_quarantined) {
                disk_detach_well(&s->w, rows[i].id);
            }
        }
    }
}

/* ---- begin -------------------------------------------------------------------------------- */

static void say(struct sweep *s) {
    const struct sweep_trial *t = s->t;
    char a[64] = "", b[64] = "", m[64] = "";
    struct sweep_await host = {false, t->host_point, t->host_skip, true};
    struct sweep_await guest = {true, t->wire.msg, t->wire.skip, true};
    if (t->fail_at > 0) {
        (void)snprintf(m, sizeof m, ", allocation %u%s", t->fail_at, t->for_good ? " and on" : "");
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct world_inject *in = &t->inject[i];
        const char *what = in->fn == sweep_cancel             ? "cancel"
                           : in->fn == sweep_end_vm           ? "the VMM dies"
                           : in->fn == sweep_lose_connections ? "connections lost"
                                                              : NULL;
        if (what != NULL) {
            (void)snprintf(i == 0 ? a : b, sizeof a, ", %s at %u", what, in->at);
        }
    }
    char h[64], g[64];
    (void)snprintf(s->w.label, sizeof s->w.label, "%s, pace %u%s%s, %s %s, %s %s %u, %llu ms%s",
                   t->row->name, t->pace, a, b, sweep_await_text(&host, h, sizeof h),
                   uvm__sim_fault_name(t->host), sweep_await_text(&guest, g, sizeof g),
                   wire_fault_text(t->wire.fault), t->wire.late_ms,
                   (unsigned long long)t->deadline_ms, m);
}

static void new_vm(struct sweep *s) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm_scsi_params a = disk_mount("/boot-a", NULL), b = disk_bare("/boot-b");
    const struct uvm_scsi_params *disks[] = {&a, &b, NULL};
    p.disks = s->t->row->disks ? disks : NULL;
    p.vpmem_devices = 2;
    s->w.vm = disk_vm_new(&s->w, &p);
}

static void open_world(struct sweep *s) {
    world_open_at(&s->w, &world_paces[s->t->pace]);
    say(s);
    s->w.wired = true;
    uvm__deadline_init(&s->again, NULL);
    new_vm(s);
}

static void prepare(struct sweep *s) {
    const struct sweep_row *row = s->t->row;
    if (row->vm != SWEEP_BOOTS && !alive(s)) {
        world_boot_well(&s->w, s->w.vm);
    }
    if (row->prepare != NULL) {
        row->prepare(s);
    }
    s->before = row->vm == SWEEP_BOOTS ? (struct sweep_ledger){0} : ledger(s);
}

/* ---- the operation ------------------------------------------------------------------------ */

static void on_call(struct world_call *c) {
    struct sweep *s = UVM__CONTAINER_OF(c, struct sweep, call);
    memcpy(s->t->points, s->w.points, sizeof s->t->points);
    s->named = c->code == UVM_E_UNDO && s->w.vm != NULL &&
               (s->w.fail_at > 0 || quarantined(s) > 0 || mute(s)) &&
               uvm_error_detail(c->err)[0] != 0;
    if (s->t->row->finish != NULL) {
        s->t->row->finish(s, c);
    }
}

static int begin(struct sweep *s, uvm_scope *scope) {
    struct world *w = &s->w;
    s->call = (struct world_call){.then = on_call};
    w->call = &s->call;
    if (s->t->row->start != NULL) {
        return s->t->row->start(s, &s->call, scope);
    }
    world_vm_close_begin(w, w->vm, &s->closing);
    return 0;
}

static bool pending(const struct world_call *c) {
    return c->op != NULL && c->done == 0;
}

static bool over(const struct sweep *s) {
    bool closes = s->t->row->vm == SWEEP_CLOSES;
    return (closes ? s->closing.closed : s->call.done > 0) && !pending(&s->beside);
}

/* Step by step, so that little happens between its end and the look at it. */
static void wait_over(struct sweep *s, uint64_t limit_ms) {
    struct world *w = &s->w;
    uint64_t began = uvm__now_ms(w->e), ms = 0;
    world_settle(w);
    while (!over(s) && (ms = uvm__now_ms(w->e) - began) < limit_ms) {
        if (w->fail_at > 0 && s->t->for_good && ms >= MEMORY_MS) {
            s->t->reached = world_memory_is_back(w);
        }
        world_pass(w, ms < 500 ? 1 : ms < 5000 ? 100 : 1000);
    }
}

/* Nobody is going to answer: the caller has had enough. */
static void give_up(struct sweep *s) {
    struct world *w = &s->w;
    if (pending(&s->call)) {
        EXPECT(w, s->t->fail_at == 0 && (s->t->row->endless || s->t->row->vm == SWEEP_ENDS));
        uvm_op_cancel(s->call.op);
        world_settle(w);
        EXPECT(w, !pending(&s->call) || !s->t->row->endless);
        s->t->codes |= SWEEP_BIT(CANCELED);
    }
}

static void disturb(struct sweep *s) {
    struct world *w = &s->w;
    struct sweep_trial *t = s->t;
    const struct guest_script script = {.wire = t->wire};
    world_script(w, &script);
    if (t->host != UVM__SIM_NONE) {
        uvm__sim_set_fault(w->host, t->host_point, t->host_skip, t->host);
    }
    if (t->deadline_ms > 0) {
        EXPECT_EQ(w, uvm_scope_new(w->e, uvm_vm_scope(w->vm), t->deadline_ms, &w->scope), 0);
    }
    memset(w->points, 0, sizeof w->points);
    memcpy(w->inject, t->inject, sizeof w->inject);
    w->watch = watch;
    s->phase = SWEEP_IDLE;
    uint64_t began = uvm__now_ms(w->e);
    if (t->fail_at > 0) {
        world_memory_fails(w, t->fail_at, t->for_good);
    }
    int rc = begin(s, w->scope);
    w->scope = uvm_scope_unref(w->scope);
    if (rc < 0) {
        EXPECT_EQ(w, rc, -UVM_E_NOMEM);
        s->call.code = -rc;
        s->call.done = 1;
    }
    wait_over(s, LIMIT_MS);
    t->ms = (rc < 0 ? began : s->call.ended_ms) - began;
    if (t->row->vm == SWEEP_CLOSES) {
        t->ms = uvm__now_ms(w->e) - began;
        memcpy(t->points, w->points, sizeof t->points);
    }
    if (w->fail_at > 0) {
        t->reached = world_memory_is_back(w);
    }
    give_up(s);
    w->watch = NULL;
}

/* The peers behave again. */
static void calm(struct sweep *s) {
    struct world *w = &s->w;
    struct sweep_trial *t = s->t;
    t->reached = t->reached || w->script.wire.met || uvm__sim_fault_met(w->host, t->host_point);
    memset(w->inject, 0, sizeof w->inject);
    if (t->host != UVM__SIM_NONE) {
        uvm__sim_set_fault(w->host, t->host_point, 0, UVM__SIM_NONE);
    }
    world_script(w, NULL); /* an answer that is held back comes all the same */
}

/* ---- judging ------------------------------------------------------------------------------ */

static void expect_code(struct sweep *s, const struct world_call *c) {
    if (c->done > 0 && c->code != UVM_OK && (s->t->codes >> c->code & 1u) == 0) {
        s->w.call = (struct world_call *)(uintptr_t)c;
        world_fail(&s->w, __FILE__, __LINE__, uvm_error_code_name(c->code), c->code,
                   (int64_t)s->t->codes);
    }
    EXPECT(&s->w, c->err == NULL || uvm_error_code(c->err) == UVM_E_NOMEM ||
                      uvm_error_step(c->err)[0] != 0);
}

/* Until nothing of an undo is under way. */
static void outlast(struct sweep *s) {
    struct world *w = &s->w;
    world_pass(w, ALL_MS);
    if (alive(s) && quarantined(s) > 0 && s->t->wire.fault != WIRE_NONE) {
        world_pass(w, UVM__RPC_MS + SETTLED_MS);
    }
    if (alive(s)) {
        detach_all(s, true);
        expect_no_quarantine(s);
    }
}

static void judge_boot(struct sweep *s) {
    struct world *w = &s->w;
    EXPECT(w, s->call.code != UVM_E_UNDO); /* nothing of it could stay */
    if (s->call.code != UVM_OK) {
        EXPECT_EQ(w, uvm_vm_state(w->vm), UVM_VM_CREATED);
        world_expect_empty(w);
        w->seen.yanked = 0; /* disks of which the guest had no time to hear */
    } else if (alive(s)) {
        expect_same(s, s->t->row->effect);
    }
}

static void judge(struct sweep *s) {
    struct world *w = &s->w;
    struct sweep_trial *t = s->t;
    bool ok = s->call.code == UVM_OK || (s->beside.op != NULL && s->beside.code == UVM_OK);
    bool undo = s->call.code == UVM_E_UNDO || s->beside.code == UVM_E_UNDO;
    bool only_cancelled = t->wire.fault == WIRE_NONE && t->host == UVM__SIM_NONE &&
                          t->fail_at == 0 && t->inject[0].fn != sweep_lose_connections &&
                          t->inject[1].fn != sweep_lose_connections;
    t->code = s->call.code;
    expect_code(s, &s->call);
    t->codes |= SWEEP_BIT(CANCELED) | SWEEP_BIT(UNDO); /* what the other one says of it */
    expect_code(s, &s->beside);
    EXPECT(w, s->call.code != UVM_E_UNDO || s->named || !alive(s));
    if (t->row->vm == SWEEP_BOOTS) {
        judge_boot(s);
        return;
    }
    if (!only_cancelled) {
        world_pass(w, SETTLED_MS);
    }
    if (undo) {
        t->undone = true;
        outlast(s);
    }
    t->lived = alive(s);
    if (!alive(s)) {
        expect_same(s, (struct sweep_ledger){0});
        return;
    }
    EXPECT(w, t->row->vm != SWEEP_ENDS || s->call.code != UVM_OK);
    expect_no_quarantine(s);
    struct sweep_ledger done = plus(s->before, t->row->effect);
    bool either = undo || (t->row->may_be_done && !ok);
    if (either) {
        EXPECT(w, same(ledger(s), s->before) || same(ledger(s), done));
    } else {
        expect_same(s, ok ? done : s->before);
    }
}

static void end_calls(struct sweep *s) {
    world_call_end(&s->call);
    if (s->beside.w != NULL) {
        world_call_end(&s->beside);
        s->beside = (struct world_call){0};
    }
    s->w.call = NULL;
}

/* ---- again -------------------------------------------------------------------------------- */

/* As it was before anything was prepared. */
static void restore(struct sweep *s) {
    sweep_proc_end(s);
    if (alive(s)) {
        detach_all(s, false);
        expect_same(s, (struct sweep_ledger){0});
    }
    EXPECT_EQ(&s->w, s->w.seen.yanked, 0);
}

static void do_again(struct sweep *s) {
    struct world *w = &s->w;
    prepare(s);
    EXPECT_EQ(w, begin(s, NULL), 0);
    wait_over(s, WELL_MS);
    EXPECT(w, over(s));
    EXPECT_EQ(w, s->call.code, UVM_OK);
    if (s->t->row->vm == SWEEP_LIVES || s->t->row->vm == SWEEP_BOOTS) {
        expect_same(s, plus(s->before, s->t->row->effect));
    }
    end_calls(s);
}

static void close_vm(struct sweep *s) {
    if (s->w.vm != NULL) {
        world_vm_close(&s->w, s->w.vm);
        s->w.vm = NULL;
    }
}

static void closed(struct sweep *s) {
    world_vm_close_wait(&s->closing);
    s->w.vm = NULL;
    sweep_proc_end(s);
    end_calls(s);
}

void sweep_run(struct sweep_trial *t) {
    struct sweep s = {.t = t};
    uint32_t points[2];
    t->reached = t->undone = t->lived = false;
    t->awaits_count = 0;
    open_world(&s);
    prepare(&s);
    disturb(&s);
    calm(&s);
    memcpy(points, t->points, sizeof points);
    if (t->row->vm == SWEEP_CLOSES) {
        closed(&s);
        new_vm(&s);
        do_again(&s);
        closed(&s);
    } else {
        if (t->row->vm == SWEEP_ENDS && !over(&s)) {
            close_vm(&s); /* a host that does not end it: closing it does */
            EXPECT(&s.w, over(&s));
            end_calls(&s);
            new_vm(&s);
        } else {
            EXPECT(&s.w, over(&s));
            judge(&s);
            end_calls(&s);
            world_script(&s.w, NULL);
            restore(&s);
        }
        bool boots = t->row->vm == SWEEP_BOOTS;
        if (s.w.vm != NULL && uvm_vm_state(s.w.vm) == (boots ? UVM_VM_CREATED : UVM_VM_RUNNING)) {
            do_again(&s);
            restore(&s);
        }
    }
    memcpy(t->points, points, sizeof points);
    uvm__deadline_clear(s.w.e, &s.again);
    close_vm(&s);
    world_close(&s.w);
}
