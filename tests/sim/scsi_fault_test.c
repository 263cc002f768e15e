/* SPDX-License-Identifier: MIT
 * scsi_fault_test.c — disks under faults: each flow, disturbed at each moment in each way.
 *
 * A flow is one operation on a VM that has what it needs. What is wanted afterwards: on_done once; after
 * success the host and the guest have what was asked for; after a failure they have what they had before,
 * or the error is UNDO and the id is quarantined; then trying again works, at the latest when the late
 * answers are in. A VM that ended has nothing.
 */
#include "async/limits.h"
#include "async/scope.h"
#include "tests/sim/choose.h"
#include "tests/sim/disk_flow.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME DISK_VM
#define LATE_MS 20000u
/* A bridge that broke behind the answer has ended the VM. */
#define SETTLED_MS (UVM__AGENT_LOST_MS + UVM__BRIDGE_MEMORY_MS + 100u)
#define ALL_MS (3u * UVM__UNDO_MS + 2u * UVM__REMOVE_MS + LATE_MS)

/* X(NAME, text) */
#define FLOW_MAP(X)                                                                                \
    X(BARE, "attach without a mount")                                                              \
    X(MOUNT, "attach with a mount")                                                                \
    X(SECOND, "a second mount of a disk")                                                          \
    X(JOIN, "attach beside another that waits")                                                    \
    X(DETACH, "detach")                                                                            \
    X(DETACH_BARE, "detach without a mount")                                                       \
    X(DETACH_SECOND, "detach of one mount of two")
enum flow_kind {
#define SIM_X(name, text) FLOW_##name,
    FLOW_MAP(SIM_X)
#undef SIM_X
        FLOW_KINDS
};
static const char *const flow_texts[FLOW_KINDS] = {
#define SIM_X(name, text) [FLOW_##name] = (text),
    FLOW_MAP(SIM_X)
#undef SIM_X
};

static bool is_detach(enum flow_kind k) {
    return k >= FLOW_DETACH;
}

struct trial {
    enum flow_kind kind;
    uint32_t pace;
    struct world_inject inject;
    enum uvm__sim_fault host; /* of the first add or remove */
    enum wire_fault guest;    /* of the nth request about a disk */
    uint32_t skip;
    uint64_t deadline_ms;
    uint32_t fail_at; /* the nth allocation */
    bool for_good;
    /* results */
    uint32_t allocs;
    bool injected, met;
    int code;
};

static enum uvm__sim_point host_point(const struct trial *t) {
    return is_detach(t->kind) ? UVM__SIM_MODIFY_REMOVE : UVM__SIM_MODIFY_ADD;
}

struct tally {
    uint32_t runs, codes[UVM_E_MAX], quarantined, late_freed;
};

/* ---- the world before --------------------------------------------------------------------- */

static struct uvm_scsi_params wanted(enum flow_kind k) {
    static const char path[] = "/a";
    return k == FLOW_BARE || k == FLOW_DETACH_BARE ? disk_bare(path) : disk_mount(path, "/data");
}

static void prepare(struct world *w, struct trial *t, char id[32]) {
    struct uvm_scsi_params p = wanted(t->kind), other = disk_mount("/a", "/other");
    id[0] = 0;
    if (t->kind == FLOW_SECOND || t->kind == FLOW_DETACH_SECOND) {
        disk_attach_well(w, &other, id);
    }
    if (is_detach(t->kind)) {
        disk_attach_well(w, &p, id);
    }
}

static int start(struct world *w, const struct trial *t, struct world_call *c, const char *id) {
    struct uvm_scsi_params p = wanted(t->kind);
    return is_detach(t->kind) ? disk_detach(w, c, id) : disk_attach(w, c, &p);
}

/* ---- what is there afterwards ------------------------------------------------------------- */

static uint32_t quarantined(struct world *w) {
    static struct disk_row rows[16];
    uint32_t n = disk_rows(w, rows, 16), bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        bad += rows[i].quarantined;
    }
    return bad;
}

/* Whether the flow's own attachment is there, whole. */
static bool is_there(struct world *w, const struct trial *t) {
    static struct disk_row rows[16];
    const char *guest = wanted(t->kind).guest_path;
    uint32_t n = disk_rows(w, rows, 16);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(rows[i].guest_path, guest == NULL ? "" : guest) == 0 && rows[i].refs > 0) {
            return true;
        }
    }
    return false;
}

static void detach_all(struct world *w) {
    static struct disk_row rows[16];
    uint32_t n;
    while ((n = disk_rows(w, rows, 16)) > 0) {
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t k = 0; k < rows[i].refs || k == 0; k++) {
                disk_detach_well(w, rows[i].id);
            }
        }
    }
    disk_expect_nothing(w);
}

/* Until every late answer is in; one that never comes costs the bridge, and the VM with it. */
static void outlast(struct world *w, const struct trial *t) {
    world_pass(w, ALL_MS);
    if (quarantined(w) > 0 && t->guest != WIRE_NONE) {
        world_pass(w, UVM__RPC_MS);
        EXPECT(w, uvm_vm_state(w->vm) != UVM_VM_RUNNING);
    }
}

static void check(struct world *w, struct trial *t, const struct world_call *c, bool joined,
                  struct tally *tally) {
    bool ok = c->code == UVM_OK, undo = c->code == UVM_E_UNDO;
    if (uvm_vm_state(w->vm) != UVM_VM_RUNNING) {
        disk_expect_nothing(w);
        return;
    }
    world_settle(w);
    if (quarantined(w) > 0) {
        EXPECT(w, undo);
        tally->quarantined++;
        outlast(w, t);
        tally->late_freed += uvm_vm_state(w->vm) == UVM_VM_RUNNING && quarantined(w) == 0;
    } else if (!undo) {
        disk_expect_agreement(w);
        EXPECT_EQ(w, is_there(w, t), is_detach(t->kind) ? !ok : ok || joined);
    }
}

static void try_again(struct world *w, const struct trial *t, char id[32]) {
    struct uvm_scsi_params p = wanted(t->kind);
    detach_all(w); /* quarantined ones too */
    disk_attach_well(w, &p, id);
    disk_expect_agreement(w);
    disk_detach_well(w, id);
    disk_expect_nothing(w);
    EXPECT_EQ(w, w->seen.yanked, 0);
}

/* ---- one run ------------------------------------------------------------------------------ */

static bool cancel_op(struct world *w, int arg) {
    (void)arg;
    if (w->call->op == NULL) {
        return false;
    }
    uvm_op_cancel(w->call->op);
    return true;
}

static bool end_vm(struct world *w, int arg) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    if (s != NULL) {
        uvm__sim_end(s, (enum uvm__hcs_exit)arg, "killed by SIGKILL");
    }
    return s != NULL;
}

/* Trees of JSON come from the process's memory, which fails with the engine's. */
static struct world *world_of_trees;

static void *tree_malloc(size_t bytes) {
    return world_alloc_fails(world_of_trees) ? NULL : malloc(bytes);
}

static void memory_fails(struct world *w, const struct trial *t) {
    cJSON_Hooks hooks = {.malloc_fn = tree_malloc, .free_fn = free};
    w->allocs = 0;
    w->fail_at = t->fail_at;
    w->fail_for_good = t->for_good;
    world_of_trees = w;
    if (t->fail_at > 0) {
        cJSON_InitHooks(&hooks);
    }
}

static void memory_is_back(struct world *w, struct trial *t) {
    t->allocs = w->fail_at > 0 ? w->allocs : t->allocs;
    w->fail_at = 0;
    cJSON_InitHooks(NULL);
}

static void wait_done(struct world *w, struct trial *t, struct world_call *c) {
    uint64_t limit = t->deadline_ms + UVM__ATTACH_MS + 2ul * UVM__UNDO_MS + UVM__REMOVE_MS;
    uint64_t until = uvm__now_ms(w->e) + limit;
    bool lost = t->guest != WIRE_NONE;
    until += lost ? UVM__RPC_MS : 0;
    while (c->done == 0 && uvm__now_ms(w->e) < until) {
        world_pass(w, 1000);
        if (t->for_good && c->done == 0 && uvm__now_ms(w->e) >= c->started_ms + 3000) {
            memory_is_back(w, t); /* before the bridge is given up for lack of it */
        }
    }
    EXPECT_EQ(w, c->done, 1);
}

/* A VM in the state before, with the faults set. */
static void begin(struct world *w, struct trial *t, char id[32]) {
    world_open_at(w, &world_paces[t->pace]);
    (void)snprintf(w->label, sizeof w->label,
                   "%s, pace %u, point %u, host %s, guest %s (%u), deadline %llu, allocation %u%s",
                   flow_texts[t->kind], t->pace, t->inject.at, uvm__sim_fault_name(t->host),
                   wire_fault_text(t->guest), t->skip, (unsigned long long)t->deadline_ms,
                   t->fail_at, t->for_good ? " and on" : "");
    w->wired = true;
    w->vm = world_vm_new(w, NAME);
    world_boot_well(w, w->vm);
    prepare(w, t, id);
    disk_mistreat(w, t->guest, t->skip, LATE_MS);
    uvm__sim_set_fault(w->host, host_point(t), 0, t->host);
}

/* The disturbed operation, to its end. */
static void disturb(struct world *w, struct trial *t, struct world_call *c, const char *id) {
    if (t->deadline_ms > 0) {
        EXPECT_EQ(w, uvm_scope_new(w->e, uvm_vm_scope(w->vm), t->deadline_ms, &w->scope), 0);
    }
    w->call = c;
    w->inject[0] = t->inject;
    memory_fails(w, t);
    int rc = start(w, t, c, id);
    w->scope = uvm_scope_unref(w->scope);
    if (rc == 0) {
        wait_done(w, t, c);
    } else {
        EXPECT_EQ(w, rc, -UVM_E_NOMEM);
        c->code = -rc;
    }
    memory_is_back(w, t);
    t->met = uvm__sim_fault_met(w->host, host_point(t)) || w->script.wire.met;
    uvm__sim_set_fault(w->host, host_point(t), 0, UVM__SIM_NONE);
    t->injected = w->inject[0].done;
    w->inject[0].fn = NULL;
    t->code = c->code;
}

/* The one that waited beside hears the same, unless only one of them was disturbed. */
static void wait_beside(struct world *w, const struct trial *t, const struct world_call *c,
                        struct world_call *beside) {
    uint64_t until = uvm__now_ms(w->e) + UVM__RPC_MS + ALL_MS;
    while (beside->done == 0 && uvm__now_ms(w->e) < until) {
        world_pass(w, 1000);
    }
    EXPECT_EQ(w, beside->done, 1);
    bool one = t->inject.fn != NULL || t->deadline_ms > 0 || t->fail_at > 0;
    EXPECT(w,
           one || beside->code == c->code || beside->code == UVM_E_UNDO || c->code == UVM_E_UNDO);
}

static void run(struct trial *t, struct tally *tally) {
    struct world w;
    struct world_call c = {0}, beside = {0};
    char id[32];
    bool join = t->kind == FLOW_JOIN;
    begin(&w, t, id);
    if (join) {
        EXPECT_EQ(&w, start(&w, t, &beside, id), 0);
    }
    w.points[0] = w.points[1] = 0;
    disturb(&w, t, &c, id);
    tally->runs++;
    tally->codes[c.code]++;
    if (join) {
        wait_beside(&w, t, &c, &beside);
    }
    if (t->guest != WIRE_NONE || t->fail_at > 0) {
        world_pass(&w, SETTLED_MS);
    }
    if (!join || beside.code != UVM_E_UNDO || c.code == UVM_E_UNDO) {
        check(&w, t, &c, join && beside.code == UVM_OK, tally);
    } else {
        outlast(&w, t);
    }
    world_call_end(&c);
    w.call = NULL;
    if (join) {
        world_call_end(&beside);
    }
    world_script(&w, NULL);
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        try_again(&w, t, id);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void report(const char *what, const struct tally *t) {
    char text[300];
    int len = snprintf(text, sizeof text, "%s: %u runs, %u quarantined, %u of them freed late",
                       what, t->runs, t->quarantined, t->late_freed);
    for (unsigned i = 0; i < UVM_E_MAX && len > 0 && (size_t)len < sizeof text; i++) {
        if (t->codes[i] > 0) {
            len += snprintf(text + len, sizeof text - (size_t)len, ", %s %u",
                            uvm_error_code_name((int)i), t->codes[i]);
        }
    }
    print_message("%s\n", text);
}

/* ---- disturbances ------------------------------------------------------------------------- */

static void undisturbed(void **unused) {
    (void)unused;
    struct tally tally = {0};
    for (unsigned k = 0; k < FLOW_KINDS; k++) {
        for (uint32_t pace = 0; pace < WORLD_PACES; pace++) {
            struct trial t = {.kind = (enum flow_kind)k, .pace = pace};
            run(&t, &tally);
            assert_int_equal(t.code, UVM_OK);
        }
    }
    report("undisturbed", &tally);
}

/* At every point at which anything happens. */
static void at_every_point(const char *what, bool (*fn)(struct world *w, int arg), int arg,
                           enum world_where where, uint32_t codes) {
    struct tally tally = {0};
    for (unsigned k = 0; k < FLOW_KINDS; k++) {
        for (uint32_t pace = 0; pace < WORLD_PACES; pace++) {
            bool more = true;
            for (uint32_t at = 0; more; at++) {
                struct trial t = {.kind = (enum flow_kind)k, .pace = pace};
                t.inject = (struct world_inject){fn, arg, where, at, false, 0};
                run(&t, &tally);
                assert_true((codes & (1u << t.code)) != 0);
                more = t.injected || at < 2;
                assert_true(at < 300);
            }
        }
    }
    assert_true(tally.codes[UVM_OK] > 0);
    report(what, &tally);
}

static void cancel_anywhere(void **unused) {
    (void)unused;
    at_every_point("cancel anywhere", cancel_op, 0, WORLD_ANYWHERE,
                   1u << UVM_OK | 1u << UVM_E_CANCELED);
}

static void the_vm_ends_anywhere(void **unused) {
    (void)unused;
    at_every_point("the VM ends anywhere", end_vm, UVM__HCS_EXIT_VMM_DIED, WORLD_BETWEEN,
                   1u << UVM_OK | 1u << UVM_E_EXITED);
}

static void deadlines(void **unused) {
    (void)unused;
    struct tally tally = {0};
    for (unsigned k = 0; k < FLOW_KINDS; k++) {
        for (uint32_t ms = 1; ms < 20; ms++) {
            struct trial t = {.kind = (enum flow_kind)k, .deadline_ms = ms};
            run(&t, &tally);
            assert_true(t.code == UVM_OK || t.code == UVM_E_TIMEDOUT);
        }
    }
    assert_true(tally.codes[UVM_E_TIMEDOUT] > 0);
    report("deadlines", &tally);
}

/* The host does each thing that it can do wrong; who waits gives up, or its time is over. */
static void host_faults(void **unused) {
    (void)unused;
    struct tally tally = {0};
    for (unsigned k = 0; k < FLOW_KINDS; k++) {
        for (unsigned fault = 0; fault < UVM__SIM_FAULT_MAX; fault++) {
            for (uint32_t ms = 0; ms < 2; ms++) {
                struct trial t = {.kind = (enum flow_kind)k,
                                  .host = (enum uvm__sim_fault)fault,
                                  .deadline_ms = ms * 1000ul};
                run(&t, &tally);
                if (fault == UVM__SIM_NONE) {
                    assert_int_equal(t.code, UVM_OK);
                } else if (fault == UVM__SIM_REFUSE && t.met) {
                    assert_int_equal(t.code, is_detach(t.kind) ? UVM_E_UNDO : UVM_E_PEER);
                } else if ((fault == UVM__SIM_DIE_IDLE || fault == UVM__SIM_DIE_DONE) && t.met) {
                    assert_int_equal(t.code, UVM_E_EXITED);
                }
            }
        }
    }
    assert_true(tally.codes[UVM_E_UNDO] > 0 && tally.quarantined > 0 && tally.late_freed > 0);
    report("host faults", &tally);
}

static void guest_faults(void **unused) {
    (void)unused;
    static const enum wire_fault faults[] = {
        WIRE_LOSE_REQUEST, WIRE_LOSE_REPLY, WIRE_LATE,    WIRE_TWICE, WIRE_CUT_REQUEST,
        WIRE_CUT_REPLY,    WIRE_END,        WIRE_GARBAGE, WIRE_TINY,  WIRE_STRANGE_ID,
    };
    struct tally tally = {0};
    for (unsigned k = 0; k < FLOW_KINDS; k++) {
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
            for (uint32_t skip = 0; skip < 2; skip++) {
                for (uint32_t ms = 0; ms < 2; ms++) {
                    struct trial t = {.kind = (enum flow_kind)k,
                                      .guest = faults[f],
                                      .skip = skip,
                                      .deadline_ms = ms * 1000ul};
                    run(&t, &tally);
                }
            }
        }
    }
    assert_true(tally.codes[UVM_E_UNDO] > 0 && tally.codes[UVM_E_EXITED] > 0);
    assert_true(tally.codes[UVM_OK] > 0 && tally.late_freed > 0);
    report("guest faults", &tally);
}

/* ---- disks of a boot ----------------------------------------------------------------------- */

/* A boot with disks, disturbed at a point; false: there was no such point. */
static bool boot_once(bool (*fn)(struct world *w, int arg), enum world_where where, uint32_t at,
                      uint32_t pace, struct tally *tally) {
    struct world w;
    struct world_call c = {0};
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_scsi_params a = disk_mount("/a", NULL), b = disk_bare("/b");
    const struct uvm_scsi_params *disks[] = {&a, &b, NULL};
    vp.disks = disks;
    world_open_at(&w, &world_paces[pace]);
    (void)snprintf(w.label, sizeof w.label, "boot with disks, pace %u, point %u", pace, at);
    w.vm = disk_vm_new(&w, &vp);
    w.call = &c;
    w.inject[0] = (struct world_inject){fn, UVM__HCS_EXIT_VMM_DIED, where, at, false, 0};
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    world_wait(&w, &c, 10000);
    bool injected = w.inject[0].done;
    w.inject[0].fn = NULL;
    tally->runs++;
    tally->codes[c.code]++;
    EXPECT(&w, c.code == UVM_OK || c.code == (fn == cancel_op ? UVM_E_CANCELED : UVM_E_EXITED));
    if (c.code != UVM_OK) {
        world_expect_empty(&w);
        world_call_end(&c);
        EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0); /* at once, and it works */
        world_wait(&w, &c, 10000);
        EXPECT_EQ(&w, c.code, UVM_OK);
    }
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        disk_expect_agreement(&w);
        EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 2);
    }
    world_call_end(&c);
    w.call = NULL;
    world_vm_close(&w, w.vm);
    world_close(&w);
    return injected;
}

static void boot_with_disks(void **unused) {
    (void)unused;
    for (unsigned how = 0; how < 2; how++) {
        struct tally tally = {0};
        for (uint32_t pace = 0; pace < WORLD_PACES; pace++) {
            bool more = true;
            for (uint32_t at = 0; more; at++) {
                more = boot_once(how == 0 ? cancel_op : end_vm,
                                 how == 0 ? WORLD_ANYWHERE : WORLD_BETWEEN, at, pace, &tally);
                more = more || at < 20; /* the first ones come before there is anything */
                assert_true(at < 500);
            }
        }
        report(how == 0 ? "boot with disks, cancel" : "boot with disks, the VM ends", &tally);
    }
}

/* ---- memory ------------------------------------------------------------------------------- */

static void memory(void **unused) {
    (void)unused;
    for (unsigned for_good = 0; for_good < 2; for_good++) {
        struct tally tally = {0};
        for (unsigned k = 0; k < FLOW_KINDS; k++) {
            bool reached = true;
            for (uint32_t n = 1; reached; n++) {
                struct trial t = {
                    .kind = (enum flow_kind)k, .fail_at = n, .for_good = for_good == 1};
                run(&t, &tally);
                reached = t.allocs >= n;
                assert_true(n < 1000);
            }
        }
        assert_true(tally.codes[UVM_OK] > 0 && tally.codes[UVM_E_NOMEM] > 0);
        report(for_good == 1 ? "memory, from then on" : "memory, once", &tally);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undisturbed),          cmocka_unit_test(cancel_anywhere),
        cmocka_unit_test(the_vm_ends_anywhere), cmocka_unit_test(deadlines),
        cmocka_unit_test(host_faults),          cmocka_unit_test(guest_faults),
        cmocka_unit_test(boot_with_disks),      cmocka_unit_test(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
