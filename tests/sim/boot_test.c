/* SPDX-License-Identifier: MIT
 * boot_test.c — every way in which a boot can fail, and that nothing is left of it.
 *
 * An undisturbed boot tells how many points there are; then each disturbance is tried at each of them.
 * Each trial is a world of its own: one boot that is disturbed, whose outcome, time and words are checked;
 * then the host and the guest must be empty, and a second boot of the same VM and one of another VM on the
 * same host must work.
 */
#include "async/limits.h"
#include "tests/sim/choose.h"
#include "tests/sim/world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "sim-1"
#define OK_BIT 1u
#define BIT(code) (1u << UVM_E_##code)
#define AT_ONCE_MS 10u     /* an answer that is under way, and no more */
#define BOOT_LIMIT_MS 200u /* a boot that nothing delays */

struct trial {
    char what[160];
    uint32_t pace; /* of world_paces */
    struct guest_script script;
    enum uvm__sim_point point;
    enum uvm__sim_fault fault;
    struct world_inject inject[2];
    uint64_t deadline_ms; /* of the scope; 0: none */
    uint32_t codes;       /* allowed outcomes */
    uint64_t limit_ms;    /* of the boot when nothing was injected */
    uint64_t cut_ms;      /* from the last injection to its end */
    const char *says;     /* in the error's message; may be NULL */
    /* what came of it */
    int code;
    uint32_t points[2], marked[2];
    uint64_t ms;
    struct guest_seen seen;
};

static void check_outcome(struct world *w, struct trial *t, struct world_call *c) {
    uint64_t until = c->started_ms + t->limit_ms;
    for (unsigned i = 0; i < 2; i++) {
        /* An effect that is under way is waited for. */
        uint64_t cut_ms = t->cut_ms + world_paces[t->pace].answer_ms;
        if (w->inject[i].done && w->inject[i].at_ms + cut_ms < until) {
            until = w->inject[i].at_ms + cut_ms;
        }
    }
    EXPECT_EQ(w, c->ended_ms > until ? c->ended_ms : until, until);
    if ((t->codes >> c->code & 1u) == 0) {
        world_fail(w, __FILE__, __LINE__, uvm_error_code_name(c->code), (int64_t)c->code,
                   (int64_t)t->codes);
    }
    t->code = c->code;
    t->ms = c->ended_ms - c->started_ms;
    t->seen = w->seen;
    if (c->code == UVM_OK) {
        return;
    }
    world_expect_error(w, c, NAME);
    EXPECT(w, t->says == NULL || strstr(uvm_error_message(c->err), t->says) != NULL);
    EXPECT_EQ(w, uvm_vm_state(w->vm), UVM_VM_CREATED);
    EXPECT_EQ(w, uvm_vm_exit(w->vm).reason, UVM_EXIT_NONE);
    world_expect_empty(w); /* before anything was closed */
}

static void begin(struct world *w, struct trial *t, struct world_call *c) {
    (void)snprintf(w->label, sizeof w->label, "%s", t->what);
    world_script(w, &t->script);
    if (t->fault != UVM__SIM_NONE) {
        uvm__sim_set_fault(w->host, t->point, 0, t->fault);
    }
    w->inject[0] = t->inject[0];
    w->inject[1] = t->inject[1];
    w->call = c;
    w->mark_op = "vm boot";
    w->mark_step = "mounts";
    EXPECT_EQ(w, uvm_scope_new(w->e, uvm_vm_scope(w->vm), t->deadline_ms, &w->scope), 0);
    EXPECT_EQ(w, world_boot(w, c, w->vm, w->scope), 0);
}

static void stop_disturbing(struct world *w) {
    w->inject[0].fn = w->inject[1].fn = NULL;
    uvm__sim_set_fault(w->host, UVM__SIM_CREATE, 0, UVM__SIM_NONE);
    uvm__sim_set_fault(w->host, UVM__SIM_START, 0, UVM__SIM_NONE);
    w->scope = uvm_scope_unref(w->scope);
    w->call = NULL;
}

static void run(struct trial *t) {
    struct world w;
    struct world_call c = {0};
    world_open_at(&w, &world_paces[t->pace]);
    w.vm = world_vm_new(&w, NAME);
    begin(&w, t, &c);
    world_wait(&w, &c, UVM__BOOT_MS + 60000u);
    memcpy(t->points, w.points, sizeof t->points);
    memcpy(t->marked, w.marked, sizeof t->marked);
    check_outcome(&w, t, &c);
    if (c.code == UVM_OK && t->inject[0].fn != NULL) {
        world_pass(&w, 1000); /* points after the end of the boot */
    }
    world_call_end(&c);
    stop_disturbing(&w);
    if (t->code != UVM_OK) {
        world_boot_well(&w, w.vm);
    }
    world_vm_close(&w, w.vm);
    w.vm = world_vm_new(&w, "sim-2");
    world_boot_well(&w, w.vm);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

/* The undisturbed one: its points are those at which others are disturbed. */
static struct trial plain(uint32_t pace) {
    struct trial t = {
        .what = "undisturbed", .pace = pace, .codes = OK_BIT, .limit_ms = BOOT_LIMIT_MS};
    run(&t);
    assert_true(t.points[WORLD_BETWEEN] > 20 && t.points[WORLD_ANYWHERE] > t.points[WORLD_BETWEEN]);
    assert_true(t.marked[WORLD_ANYWHERE] > 0 &&
                t.marked[WORLD_ANYWHERE] < t.points[WORLD_ANYWHERE]);
    return t;
}

static void report(const char *what, const struct trial *p, enum world_where where, unsigned faults,
                   uint64_t runs) {
    print_message("%s: %u points x %u, %llu boots\n", what, p->points[where], faults,
                  (unsigned long long)runs);
}

static void report_paces(const char *what, const uint32_t points[WORLD_PACES], unsigned faults,
                         uint64_t runs) {
    print_message("%s: %u + %u + %u + %u points x %u, %llu boots\n", what, points[0], points[1],
                  points[2], points[3], faults, (unsigned long long)runs);
}

/* ---- disturbances ------------------------------------------------------------------------- */

static bool cancel_op(struct world *w, int arg) {
    (void)arg;
    if (w->call == NULL || w->call->op == NULL) {
        return false;
    }
    uvm_op_cancel(w->call->op);
    return true;
}

static bool cancel_scope(struct world *w, int arg) {
    (void)arg;
    if (w->scope == NULL) {
        return false;
    }
    uvm_scope_cancel(w->scope);
    return true;
}

static bool end_system(struct world *w, int exit) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    if (s == NULL) {
        return false;
    }
    uvm__sim_end(s, (enum uvm__hcs_exit)exit,
                 exit == UVM__HCS_EXIT_VMM_DIED ? "killed by SIGKILL" : "");
    return true;
}

static bool lose_connections(struct world *w, int arg) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    (void)arg;
    if (s == NULL) {
        return false;
    }
    uvm__loopback_reset(s->hvsock);
    return true;
}

/* ---- tests -------------------------------------------------------------------------------- */

/* The guest that booted keeps its offer channel. */
static void offer_and_rescind(struct world *w) {
    struct uvm__vmbus *bus = uvm__sim_vmbus(uvm__sim_newest(w->host));
    struct uvm__vmbus_device d = {.kind = UVM__VMBUS_NETVSC, .location = "0000:00:10.0/00.0"};
    struct world_call c = {0};

    EXPECT_EQ(w, uvm__vmbus_link(bus), UVM__VMBUS_UP);
    EXPECT_EQ(w, WORLD_START(w, &c, uvm__vmbus_offer(bus, &d, NULL, world_on_done, &c, &c.op)), 0);
    world_wait(w, &c, 100);
    EXPECT_EQ(w, c.code, UVM_OK);
    EXPECT_EQ(w, w->seen.offers_opened, 2); /* the controller of every VM, and this */
    world_call_end(&c);
    c = (struct world_call){0};
    EXPECT_EQ(
        w, WORLD_START(w, &c, uvm__vmbus_rescind(bus, &d.instance, NULL, world_on_done, &c, &c.op)),
        0);
    world_wait(w, &c, 100);
    EXPECT_EQ(w, c.code, UVM_OK);
    EXPECT_EQ(w, w->seen.offers_closed, 1);
    world_call_end(&c);
}

static void a_boot(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    assert_int_equal(uvm_vm_state(w.vm), UVM_VM_CREATED);
    w.call = &c;
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_STARTING);
    EXPECT_EQ(&w, uvm_vm_boot(w.vm, NULL, NULL, NULL, NULL), -UVM_E_STATE);
    world_wait(&w, &c, 1000);
    EXPECT_EQ(&w, c.code, UVM_OK);
    EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_RUNNING);
    struct uvm_vm_times times = uvm_vm_times(w.vm);
    EXPECT_EQ(&w, times.create, WORLD_ACT_MS + WORLD_ANSWER_MS);
    EXPECT_EQ(&w, times.vmm_start, 2 * (WORLD_ACT_MS + WORLD_ANSWER_MS));
    EXPECT(&w, times.first_guest_contact > times.create &&
                   times.first_guest_contact <= times.negotiated);
    EXPECT_EQ(&w, times.negotiated, c.ended_ms - c.started_ms);
    world_pass(&w, 100);
    EXPECT_EQ(&w, w.seen.entropy_bytes, 512);
    EXPECT_EQ(&w, w.seen.entropy_ends, 1);
    EXPECT_EQ(&w, w.seen.refused, 0);
    offer_and_rescind(&w);
    EXPECT_EQ(&w, w.seen.bridge_dials, 1);
    EXPECT(&w, w.console_bytes > 0);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).running, 1);
    world_call_end(&c);
    w.call = NULL;
    world_vm_close(&w, w.vm);
    world_close(&w);
}

/* What one boot came to know is not what the next one says. */
static void a_second_boot_forgets_the_first(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_script(&w, &(struct guest_script){.conduct = GUEST_AGENT_NEVER_DIALS});
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    w.call = &c;
    world_wait(&w, &c, UVM__BOOT_MS + AT_ONCE_MS);
    EXPECT_EQ(&w, c.code, UVM_E_TIMEDOUT);
    EXPECT(&w, strstr(uvm_error_message(c.err), "agent did not call in") != NULL);
    EXPECT(&w, strstr(uvm_error_detail(c.err), "simulated agent starts") != NULL);
    EXPECT(&w, uvm_vm_times(w.vm).first_guest_contact > 0);
    world_call_end(&c);
    world_script(&w, &(struct guest_script){.conduct = GUEST_NEVER_DIALS});
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    world_wait(&w, &c, UVM__BOOT_MS + AT_ONCE_MS);
    EXPECT_EQ(&w, c.code, UVM_E_TIMEDOUT);
    EXPECT(&w, strstr(uvm_error_message(c.err), "the guest did not call in") != NULL);
    EXPECT(&w, strstr(uvm_error_detail(c.err), "simulated agent starts") == NULL);
    EXPECT_EQ(&w, uvm_vm_times(w.vm).first_guest_contact, 0);
    world_call_end(&c);
    w.call = NULL;
    world_boot_well(&w, w.vm);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void cancel_anywhere(void **unused) {
    (void)unused;
    struct choose c;
    uint32_t points[WORLD_PACES] = {0};
    struct trial p = {0};
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t pace = choose(&c, WORLD_PACES);
        if (points[pace] == 0) {
            p = plain(pace);
            points[pace] = p.points[WORLD_ANYWHERE];
        }
        bool scope = choose(&c, 2) == 1;
        uint32_t at = choose(&c, p.points[WORLD_ANYWHERE]);
        bool early = at <= p.marked[WORLD_ANYWHERE];
        struct trial t = {
            .pace = pace,
            .inject[0] = {scope ? cancel_scope : cancel_op, 0, WORLD_ANYWHERE, at, false, 0},
            .limit_ms = BOOT_LIMIT_MS,
            .cut_ms = AT_ONCE_MS,
            .codes = early ? BIT(CANCELED) : OK_BIT};
        if (at == 0 && !scope) {
            t.codes = OK_BIT; /* the begin of an op that start has not returned yet */
        }
        (void)snprintf(t.what, sizeof t.what, "cancel %s at point %u", scope ? "scope" : "op", at);
        run(&t);
    }
    report_paces("cancel anywhere", points, 2, c.runs);
}

static void deadline_anywhere(void **unused) {
    (void)unused;
    struct trial p = plain(0);
    for (uint64_t ms = 1; ms <= p.ms + 2; ms++) {
        struct trial t = {.deadline_ms = ms,
                          .limit_ms = ms + AT_ONCE_MS,
                          .codes = ms <= p.ms ? BIT(TIMEDOUT) : OK_BIT};
        (void)snprintf(t.what, sizeof t.what, "deadline of %u ms", (unsigned)ms);
        if (ms == p.ms) {
            t.codes |= OK_BIT; /* deadline and answer in one moment */
        }
        run(&t);
        assert_true(t.code == UVM_OK || t.ms >= ms);
    }
    print_message("deadline: each of %u ms\n", (unsigned)p.ms + 2);
}

static void the_vm_ends_anywhere(void **unused) {
    (void)unused;
    static const struct {
        enum uvm__hcs_exit exit;
        const char *says;
    } ends[] = {{UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL"},
                {UVM__HCS_EXIT_GUEST_PANIC, ""},
                {UVM__HCS_EXIT_GUEST_SHUTDOWN, ""},
                {UVM__HCS_EXIT_GUEST_RESET, ""}};
    struct choose c;
    uint32_t points[WORLD_PACES] = {0};
    struct trial p = {0};
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t pace = choose(&c, WORLD_PACES);
        if (points[pace] == 0) {
            p = plain(pace);
            points[pace] = p.points[WORLD_BETWEEN];
        }
        uint32_t i = choose(&c, sizeof ends / sizeof ends[0]);
        uint32_t at = choose(&c, p.points[WORLD_BETWEEN]);
        bool early = at < p.marked[WORLD_BETWEEN];
        struct trial t = {.pace = pace,
                          .inject[0] = {end_system, (int)ends[i].exit, WORLD_BETWEEN, at, false, 0},
                          .limit_ms = BOOT_LIMIT_MS,
                          .cut_ms = AT_ONCE_MS,
                          .says = ends[i].says,
                          .codes = (early ? BIT(EXITED) : 0) | OK_BIT};
        (void)snprintf(t.what, sizeof t.what, "%s at point %u", uvm__hcs_exit_text(ends[i].exit),
                       at);
        run(&t);
        /* Once the VMM is there, its end is the boot's. */
        assert_true(!early || t.code == UVM_E_EXITED || t.ms == p.ms);
    }
    report_paces("the VM ends", points, 4, c.runs);
}

static void connections_are_lost_anywhere(void **unused) {
    (void)unused;
    struct trial p = plain(0);
    unsigned failed = 0;
    for (uint32_t at = 0; at < p.points[WORLD_BETWEEN]; at++) {
        struct trial t = {.inject[0] = {lose_connections, 0, WORLD_BETWEEN, at, false, 0},
                          .limit_ms = BOOT_LIMIT_MS,
                          .cut_ms = 2u * UVM__EXIT_CLASSIFY_MS + AT_ONCE_MS + p.ms,
                          .codes = OK_BIT | BIT(EXITED) | BIT(CLOSED)};
        (void)snprintf(t.what, sizeof t.what, "connections lost at point %u", at);
        run(&t);
        failed += t.code != UVM_OK;
    }
    assert_true(failed > 0);
    report("connections are lost", &p, WORLD_BETWEEN, 1, p.points[WORLD_BETWEEN]);
}

/* Each fault of the host, alone and with a cancel or the VMM's death at each point. */
static void host_faults(void **unused) {
    (void)unused;
    static const uint32_t outcomes[2][UVM__SIM_FAULT_MAX] = {
        {0, BIT(PEER), BIT(TIMEDOUT), BIT(TIMEDOUT), OK_BIT, BIT(EXITED), BIT(EXITED)},
        {0, BIT(PEER), BIT(TIMEDOUT), BIT(TIMEDOUT), OK_BIT, BIT(EXITED), BIT(EXITED)},
    };
    struct choose c;
    uint32_t points[2][UVM__SIM_FAULT_MAX] = {{0}};
    for (choose_begin(&c); choose_next(&c);) {
        enum uvm__sim_point point = (enum uvm__sim_point)choose(&c, 2);
        enum uvm__sim_fault fault = (enum uvm__sim_fault)(1 + choose(&c, UVM__SIM_FAULT_MAX - 1));
        uint32_t how = choose(&c, 3);
        struct trial t = {.point = point,
                          .fault = fault,
                          .codes = outcomes[point][fault],
                          .limit_ms = UVM__BOOT_MS + UVM__UNDO_MS + AT_ONCE_MS};
        if (how > 0) {
            uint32_t at = choose(&c, points[point][fault]);
            t.inject[0] = (struct world_inject){how == 1 ? cancel_op : end_system,
                                                UVM__HCS_EXIT_VMM_DIED,
                                                WORLD_BETWEEN,
                                                at,
                                                false,
                                                0};
            t.codes |= how == 1 ? BIT(CANCELED) : BIT(EXITED);
            t.cut_ms = how == 1 ? UVM__UNDO_MS + AT_ONCE_MS : t.limit_ms;
        }
        (void)snprintf(t.what, sizeof t.what, "the host's %s %s, then %u",
                       uvm__sim_point_name(point), uvm__sim_fault_name(fault), how);
        run(&t);
        if (how == 0) {
            points[point][fault] = t.points[WORLD_BETWEEN];
        }
    }
    print_message(
        "host faults: 2 verbs x %u faults x {alone, cancel, VMM killed} at each point, %llu boots\n",
        UVM__SIM_FAULT_MAX - 1, (unsigned long long)c.runs);
}

static void two_disturbances(void **unused) {
    (void)unused;
    struct choose c;
    uint32_t points[WORLD_PACES] = {0};
    struct trial p = {0};
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t pace = choose(&c, WORLD_PACES);
        if (points[pace] == 0) {
            p = plain(pace);
            points[pace] = p.points[WORLD_BETWEEN];
        }
        uint32_t cancel_at = choose(&c, p.points[WORLD_BETWEEN]);
        uint32_t end_at = choose(&c, p.points[WORLD_BETWEEN]);
        struct trial t = {
            .pace = pace,
            .inject = {{cancel_op, 0, WORLD_BETWEEN, cancel_at, false, 0},
                       {end_system, UVM__HCS_EXIT_VMM_DIED, WORLD_BETWEEN, end_at, false, 0}},
            .limit_ms = BOOT_LIMIT_MS,
            .cut_ms = AT_ONCE_MS,
            .codes = OK_BIT | BIT(CANCELED) | BIT(EXITED)};
        (void)snprintf(t.what, sizeof t.what, "cancel at %u and VMM killed at %u", cancel_at,
                       end_at);
        /* In one moment the caller's word is the stronger one. */
        if (cancel_at == end_at && cancel_at < p.marked[WORLD_BETWEEN]) {
            t.codes = BIT(CANCELED);
        }
        run(&t);
    }
    report_paces("cancel and the VMM's death", points, p.points[WORLD_BETWEEN], c.runs);
}

/* ---- guests that do not behave ------------------------------------------------------------ */

static void conducts(void **unused) {
    (void)unused;
    static const struct {
        uint32_t codes;
        uint64_t limit_ms;
        const char *says;
    } rows[GUEST_STRAY_DIALS + 1] = {
        [GUEST_WELL] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_NEVER_DIALS] = {BIT(TIMEDOUT), UVM__BOOT_MS + AT_ONCE_MS,
                               "the guest did not call in"},
        [GUEST_NO_AGENT] = {BIT(EXITED), BOOT_LIMIT_MS, "panicked"},
        [GUEST_AGENT_NEVER_DIALS] = {BIT(TIMEDOUT), UVM__BOOT_MS + AT_ONCE_MS,
                                     "agent did not call in"},
        [GUEST_AGENT_LATE] = {OK_BIT, 61000, NULL},
        [GUEST_SILENT] = {BIT(TIMEDOUT), UVM__BOOT_MS + AT_ONCE_MS, "said nothing"},
        [GUEST_GARBAGE] = {BIT(CLOSED), 3000, "no agreement"},
        [GUEST_HANGS_UP] = {BIT(CLOSED), 3000, "no agreement"},
        [GUEST_ENTROPY_UNREAD] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_LOG_FLOOD] = {OK_BIT, 1000, NULL},
        [GUEST_LOG_SILENT] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_LOG_CLOSED] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_SECOND_PEER] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_LOG_TWICE] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_ENTROPY_TWICE] = {OK_BIT, BOOT_LIMIT_MS, NULL},
        [GUEST_STRAY_DIALS] = {OK_BIT, BOOT_LIMIT_MS, NULL},
    };
    for (unsigned i = 0; i <= GUEST_STRAY_DIALS; i++) {
        struct trial t = {.script = {.conduct = (enum guest_conduct)i, .late_ms = 60000},
                          .codes = rows[i].codes,
                          .limit_ms = rows[i].limit_ms,
                          .says = rows[i].says};
        (void)snprintf(t.what, sizeof t.what, "a guest that %s",
                       guest_conduct_text(t.script.conduct));
        /* Also when it is given up at some moment. */
        run(&t);
        uint32_t points = t.points[WORLD_BETWEEN];
        if (i == GUEST_SECOND_PEER || i == GUEST_LOG_TWICE || i == GUEST_ENTROPY_TWICE) {
            assert_int_equal(t.seen.second_refused, 1);
        }
        assert_int_equal(t.seen.stray_accepted, 0);
        for (uint32_t at = 0; at < points; at += 1 + points / 64) {
            struct trial cut = t;
            cut.says = NULL;
            cut.cut_ms = AT_ONCE_MS;
            cut.codes |= BIT(CANCELED);
            cut.inject[0] = (struct world_inject){cancel_op, 0, WORLD_BETWEEN, at, false, 0};
            run(&cut);
        }
    }
    print_message("conducts: %u, each given up at up to 64 points\n", GUEST_STRAY_DIALS + 1);
}

static void a_flood_is_drained(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    w.script.conduct = GUEST_LOG_FLOOD;
    struct world_call c = {0};
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    world_wait(&w, &c, 1000);
    EXPECT_EQ(&w, c.code, UVM_OK);
    world_call_end(&c);
    world_pass(&w, 1000);
    EXPECT(&w, w.seen.log_bytes >= 1u << 20);
    EXPECT(&w, w.live_bytes_peak < 1500000); /* a window, a tail, a line */
    world_vm_close(&w, w.vm);
    world_close(&w);
}

/* What a boot says when the guest ends like that, by moment: before its agent has dialled, or after. */
static void guests_end(void **unused) {
    (void)unused;
    static const struct {
        uint32_t before, after;
        const char *says;
    } rows[GUEST_END_MAX] = {
        [GUEST_END_PANIC] = {BIT(EXITED), BIT(EXITED), "panicked"},
        [GUEST_END_POWEROFF] = {BIT(EXITED), BIT(EXITED), "shut down"},
        [GUEST_END_RESET] = {BIT(EXITED), BIT(EXITED), "reset"},
        [GUEST_END_KILLED] = {BIT(EXITED), BIT(EXITED), "killed by SIGKILL"},
        [GUEST_END_HANGS] = {BIT(TIMEDOUT), BIT(TIMEDOUT), NULL},
        [GUEST_END_AGENT_GONE] = {BIT(TIMEDOUT), BIT(CLOSED), NULL},
        [GUEST_END_DROPS] = {OK_BIT, BIT(CLOSED), NULL},
    };
    struct choose c;
    for (choose_begin(&c); choose_next(&c);) {
        enum guest_stage stage = (enum guest_stage)choose(&c, GUEST_AT_NEGOTIATE + 1);
        enum guest_end end = (enum guest_end)(1 + choose(&c, GUEST_END_MAX - 1));
        uint32_t codes = stage < GUEST_AT_AGENT ? rows[end].before : rows[end].after;
        struct trial t = {.script = {.end_at = stage, .end = end},
                          .codes = codes,
                          .says = rows[end].says,
                          .limit_ms = codes == BIT(TIMEDOUT) ? UVM__BOOT_MS + AT_ONCE_MS : 3000};
        (void)snprintf(t.what, sizeof t.what, "a guest that %s at %s", guest_end_text(end),
                       guest_stage_text(stage));
        run(&t);
        assert_true(t.seen.ended_as_told);
    }
    print_message("guests end: %u moments x %u ends\n", GUEST_AT_NEGOTIATE + 1, GUEST_END_MAX - 1);
}

/* An /init that gives up ends the kernel, too: what it complained of last is said, not the kernel's panic alone. */
static void what_init_said(void **unused) {
    (void)unused;
    static const struct {
        const char *console, *says;
    } rows[] = {
        {"init: a\r\ninit: overlay on /var: No such file\r\ninit: the guest ends\r\n[ 1.0] Kernel\n",
         "; its /init said: overlay on /var: No such file"},
        {"[ 1.0] Run /init: as init\ninit: the guest ends\n",
         "; check that kernel and initrd belong together"},
    };
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct world_call boot = {0};
        world_open(&w);
        (void)snprintf(w.label, sizeof w.label, "%s", rows[i].says);
        w.vm = world_vm_new(&w, "sim-1");
        world_script(&w, &(struct guest_script){.conduct = GUEST_NEVER_DIALS});
        EXPECT_EQ(&w, world_boot(&w, &boot, w.vm, NULL), 0);
        world_pass(&w, 1000);
        uvm__sim_console(uvm__sim_newest(w.host), rows[i].console);
        uvm__sim_end(uvm__sim_newest(w.host), UVM__HCS_EXIT_GUEST_PANIC, "");
        world_wait(&w, &boot, 1000);
        EXPECT_EQ(&w, boot.code, UVM_E_EXITED);
        EXPECT(&w, strstr(uvm_error_message(boot.err), rows[i].says) != NULL);
        world_call_end(&boot);
        world_vm_close(&w, w.vm);
        world_close(&w);
    }
}

static void answers_to_negotiate(void **unused) {
    (void)unused;
    static const struct {
        uint32_t codes;
        uint64_t limit_ms;
    } rows[WIRE_FAULT_MAX] = {
        [WIRE_NONE] = {OK_BIT, 100},
        [WIRE_LOSE_REQUEST] = {BIT(TIMEDOUT), UVM__BOOT_MS + AT_ONCE_MS},
        [WIRE_LOSE_REPLY] = {BIT(TIMEDOUT), UVM__BOOT_MS + AT_ONCE_MS},
        [WIRE_LATE] = {OK_BIT, 31000},
        [WIRE_TWICE] = {OK_BIT | BIT(CLOSED), 3000},
        [WIRE_REFUSE] = {BIT(PEER), 100},
        [WIRE_DENY] = {BIT(PEER), 100},
        [WIRE_CUT_REQUEST] = {BIT(CLOSED), 3000},
        [WIRE_CUT_REPLY] = {BIT(CLOSED), 3000},
        [WIRE_CUT_HALF] = {BIT(CLOSED), 3000},
        [WIRE_END] = {BIT(CLOSED), 3000},
        [WIRE_GARBAGE] = {BIT(CLOSED), 3000},
        [WIRE_GIANT] = {BIT(CLOSED), 3000},
        [WIRE_TINY] = {BIT(CLOSED), 3000},
        [WIRE_NO_JSON] = {BIT(CLOSED), 3000},
        [WIRE_STRANGE_ID] = {BIT(CLOSED), 3000},
        [WIRE_STRANGE_NEWS] = {BIT(CLOSED), 3000},
        [WIRE_BAD_VERSION] = {BIT(PROTOCOL), 3000},
        [WIRE_BAD_OS] = {BIT(UNSUPPORTED), 3000},
    };
    for (unsigned i = 0; i < WIRE_FAULT_MAX; i++) {
        struct trial t = {.script.wire = {.msg = UVM__MSG_NEGOTIATE_PROTOCOL,
                                          .fault = (enum wire_fault)i,
                                          .late_ms = 30000},
                          .codes = rows[i].codes,
                          .limit_ms = rows[i].limit_ms};
        (void)snprintf(t.what, sizeof t.what, "negotiate: %s", wire_fault_text((enum wire_fault)i));
        run(&t);
        uint32_t points = t.points[WORLD_BETWEEN];
        for (uint32_t at = 0; at < points; at++) {
            struct trial cut = t;
            cut.cut_ms = AT_ONCE_MS;
            cut.codes |= BIT(CANCELED);
            cut.inject[0] = (struct world_inject){cancel_op, 0, WORLD_BETWEEN, at, false, 0};
            run(&cut);
        }
    }
    print_message("answers to negotiate: %u, each given up at each point\n", WIRE_FAULT_MAX);
}

/* ---- close -------------------------------------------------------------------------------- */

static struct world_closing closing;

static bool close_vm(struct world *w, int arg) {
    (void)arg;
    world_vm_close_begin(w, w->vm, &closing);
    return true;
}

static void closed_anywhere(void **unused) {
    (void)unused;
    struct trial p = plain(0);
    for (uint32_t at = 0; at < p.points[WORLD_BETWEEN]; at++) {
        struct trial t = {.inject[0] = {close_vm, 0, WORLD_BETWEEN, at, false, 0}};
        struct world w;
        struct world_call c = {0};
        (void)snprintf(t.what, sizeof t.what, "closed at point %u", at);
        world_open(&w);
        w.vm = world_vm_new(&w, NAME);
        begin(&w, &t, &c);
        world_wait(&w, &c, UVM__BOOT_MS);
        EXPECT_EQ(&w, c.code, at < p.marked[WORLD_BETWEEN] ? UVM_E_CANCELED : UVM_OK);
        world_pass(&w, 100);
        EXPECT(&w, w.inject[0].done);
        world_vm_close_wait(&closing);
        world_call_end(&c); /* an op may outlive its VM */
        stop_disturbing(&w);
        w.vm = world_vm_new(&w, "sim-2");
        world_boot_well(&w, w.vm);
        world_vm_close(&w, w.vm);
        world_close(&w);
    }
    report("closed", &p, WORLD_BETWEEN, 1, p.points[WORLD_BETWEEN]);
}

static void closed_before_it_was_booted(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    world_vm_close(&w, world_vm_new(&w, NAME));
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_boot),
        cmocka_unit_test(a_second_boot_forgets_the_first),
        cmocka_unit_test(cancel_anywhere),
        cmocka_unit_test(deadline_anywhere),
        cmocka_unit_test(the_vm_ends_anywhere),
        cmocka_unit_test(connections_are_lost_anywhere),
        cmocka_unit_test(host_faults),
        cmocka_unit_test(two_disturbances),
        cmocka_unit_test(conducts),
        cmocka_unit_test(a_flood_is_drained),
        cmocka_unit_test(guests_end),
        cmocka_unit_test(what_init_said),
        cmocka_unit_test(answers_to_negotiate),
        cmocka_unit_test(closed_anywhere),
        cmocka_unit_test(closed_before_it_was_booted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
