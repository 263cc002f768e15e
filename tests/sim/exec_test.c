/* SPDX-License-Identifier: MIT
 * exec_test.c — processes in the guest: their ends and streams, and what disturbs them at each point.
 *
 * Undisturbed flows (flow.h) tell how many points there are; cancel, deadline, the VM's end, lost
 * connections, close and letting go are then tried at each, in a VM of its own.
 */
#include "tests/sim/choose.h"
#include "tests/sim/flow.h"
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"

static void each_flow(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    for (unsigned i = 0; i < FLOWS; i++) {
        (void)snprintf(w.label, sizeof w.label, "%s", flow_rows[i].what);
        flow_well(&w, w.vm, (enum flow_kind)i);
        EXPECT_EQ(&w, w.seen.processes, 0);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void many_at_once(void **unused) {
    (void)unused;
    static struct flow f[40];
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    for (unsigned i = 0; i < 40; i++) {
        EXPECT_EQ(&w, flow_start(&f[i], &w, w.vm, &flow_rows[i % FLOWS], NULL), 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        flow_wait(&f[i], 10000);
        flow_expect(&f[i]);
        flow_end(&f[i]);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

/* Who writes to a process without callback stdin is told so, and it goes on as it would. */
static void no_stdin_to_write_to(void **unused) {
    (void)unused;
    struct world w;
    struct flow f;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[FLOW_SIGNAL], NULL), 0);
    world_wait(&w, &f.exec, FLOW_LIMIT_MS);
    EXPECT_EQ(&w, f.exec.code, UVM_OK);
    EXPECT_EQ(&w, uvm_process_write(f.p, "x", 1), -UVM_E_STATE);
    EXPECT_EQ(&w, uvm_process_write(f.p, "", 0), -UVM_E_STATE);
    flow_wait(&f, FLOW_LIMIT_MS);
    flow_expect(&f);
    EXPECT_EQ(&w, uvm_process_write(f.p, "x", 1), -UVM_E_STATE);
    flow_end(&f);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void programs_that_do_not_start(void **unused) {
    (void)unused;
    static const struct flow_row rows[] = {
        {"a missing program", {"nothing-of-the-kind"}, true, true, 0, 0, 0, 0, 0},
        {"no program", {"/etc/passwd"}, false, true, 0, 0, 0, 0, 0},
    };
    static const int status[] = {127, 126};
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct flow f;
        world_open(&w);
        w.vm = world_vm_new(&w, NAME);
        world_boot_well(&w, w.vm);
        EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &rows[i], NULL), 0);
        flow_wait(&f, FLOW_LIMIT_MS);
        EXPECT_EQ(&w, f.exec.code, UVM_E_PEER);
        EXPECT_EQ(&w, f.exec_status, status[i]);
        flow_end(&f);
        EXPECT_EQ(&w, w.seen.processes, 0);
        flow_well(&w, w.vm, FLOW_TRUE);
        world_vm_close(&w, w.vm);
        world_close(&w);
    }
}

/* ---- disturbed ---------------------------------------------------------------------------- */

static void disturb(const char *what, const struct flow_trial *like) {
    uint64_t runs = 0, points = 0;
    enum world_where where = like->inject[0].where;
    for (unsigned i = 0; i < FLOWS; i++) {
        if (i == FLOW_YES || i == FLOW_YES_SLOW) {
            continue; /* the same points many times */
        }
        struct flow_trial p = flow_plain((enum flow_kind)i);
        uint32_t n = p.points[where];
        points += n;
        for (uint32_t at = 0; at < n; at += 1 + n / 150) {
            struct flow_trial t = *like;
            t.kind = (enum flow_kind)i;
            t.inject[0].at = at;
            t.limit_ms = t.limit_ms == 0 ? FLOW_LIMIT_MS : t.limit_ms;
            if (t.inject[0].fn == flow_cancel) {
                t.exec_codes = at > p.marked[where] ? OK_BIT : BIT(CANCELED);
            }
            (void)snprintf(t.what, sizeof t.what, "%s: %s at point %u", flow_rows[i].what, what,
                           at);
            flow_run(&t);
            runs++;
        }
    }
    print_message("%s: %llu points, %llu trials\n", what, (unsigned long long)points,
                  (unsigned long long)runs);
}

static void cancel_anywhere(void **unused) {
    (void)unused;
    const struct flow_trial t = {.inject[0] = {flow_cancel, 0, WORLD_ANYWHERE, 0, false, 0},
                                 .wait_codes = OK_BIT,
                                 .cut_ms = 10,
                                 .rest_ms = 100};
    disturb("cancel", &t);
}

static void the_vm_ends_anywhere(void **unused) {
    (void)unused;
    static const enum uvm__hcs_exit ends[] = {UVM__HCS_EXIT_VMM_DIED, UVM__HCS_EXIT_GUEST_PANIC,
                                              UVM__HCS_EXIT_GUEST_SHUTDOWN};
    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const struct flow_trial t = {
            .inject[0] = {flow_end_system, (int)ends[i], WORLD_BETWEEN, 0, false, 0},
            .exec_codes = OK_BIT | BIT(EXITED),
            .wait_codes = OK_BIT | BIT(EXITED),
            .signal_codes = OK_BIT | BIT(EXITED),
            .cut_ms = 10,
            .kills_vm = true};
        disturb(uvm__hcs_exit_text(ends[i]), &t);
    }
}

static void connections_are_lost_anywhere(void **unused) {
    (void)unused;
    const struct flow_trial t = {
        .inject[0] = {flow_lose_connections, 0, WORLD_BETWEEN, 0, false, 0},
        .exec_codes = OK_BIT | BIT(EXITED) | BIT(PEER),
        .wait_codes = OK_BIT | BIT(EXITED),
        .signal_codes = OK_BIT | BIT(EXITED),
        .limit_ms = 20000,
        .kills_vm = true};
    disturb("connections lost", &t);
}

static void let_go_anywhere(void **unused) {
    (void)unused;
    const struct flow_trial t = {.inject[0] = {flow_let_go, 0, WORLD_BETWEEN, 0, false, 0},
                                 .exec_codes = OK_BIT,
                                 .wait_codes = OK_BIT | BIT(CANCELED),
                                 .signal_codes = OK_BIT,
                                 .rest_ms = 100};
    disturb("let go", &t);
}

/* A wait is only a look; a signal has an effect, and is waited for. */
static void calls_are_cancelled_anywhere(void **unused) {
    (void)unused;
    const struct flow_trial t = {.inject[0] = {flow_cancel_calls, 0, WORLD_ANYWHERE, 0, false, 0},
                                 .exec_codes = OK_BIT,
                                 .wait_codes = OK_BIT | BIT(CANCELED),
                                 .signal_codes = OK_BIT | BIT(CANCELED),
                                 .rest_ms = 100};
    disturb("wait and signal cancelled", &t);
}

static void resize(void **unused) {
    (void)unused;
    struct world w;
    struct flow f;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[FLOW_SLEEP], NULL), 0);
    world_pass(&w, 10);
    EXPECT(&w, f.p != NULL);
    for (unsigned i = 0; i < 2; i++) {
        struct world_call c = {0};
        w.call = &c;
        EXPECT_EQ(
            &w,
            WORLD_START(&w, &c, uvm_process_resize(f.p, 24, 80, NULL, world_on_done, &c, &c.op)),
            0);
        world_wait(&w, &c, 10);
        EXPECT_EQ(&w, c.code, UVM_OK); /* also of a process that has ended */
        world_call_end(&c);
        flow_wait(&f, FLOW_LIMIT_MS);
    }
    flow_end(&f);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void cancel_and_end_anywhere(void **unused) {
    (void)unused;
    struct flow_trial p = flow_plain(FLOW_CAT);
    struct choose c;
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t cancel_at = choose(&c, 24);
        uint32_t end_at = choose(&c, 24);
        struct flow_trial t = {.kind = FLOW_CAT,
                               .inject = {{flow_cancel, 0, WORLD_BETWEEN, cancel_at, false, 0},
                                          {flow_end_system, UVM__HCS_EXIT_GUEST_PANIC,
                                           WORLD_BETWEEN, end_at, false, 0}},
                               .exec_codes = OK_BIT | BIT(CANCELED) | BIT(EXITED),
                               .wait_codes = OK_BIT | BIT(EXITED),
                               .limit_ms = FLOW_LIMIT_MS,
                               .cut_ms = 20,
                               .kills_vm = true};
        (void)snprintf(t.what, sizeof t.what, "cancel at %u, panic at %u", cancel_at, end_at);
        flow_run(&t);
    }
    assert_true(p.marked[WORLD_BETWEEN] < 24); /* beyond the commit */
    print_message("cancel and panic: 24 x 24 points\n");
}

static void deadline_anywhere(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < FLOWS; i++) {
        for (uint64_t ms = 1; ms < 8; ms++) {
            struct flow_trial t = {.kind = (enum flow_kind)i,
                                   .deadline_ms = ms,
                                   .exec_codes = OK_BIT | BIT(TIMEDOUT),
                                   .wait_codes = OK_BIT,
                                   .limit_ms = FLOW_LIMIT_MS,
                                   .rest_ms = 100};
            (void)snprintf(t.what, sizeof t.what, "%s: a deadline of %u ms", flow_rows[i].what,
                           (unsigned)ms);
            flow_run(&t);
        }
    }
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
    static const enum flow_kind kinds[] = {FLOW_CAT, FLOW_KILL, FLOW_LEAVE};
    uint32_t runs = 0;
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct flow_trial p = flow_plain(kinds[i]);
        for (uint32_t at = 0; at < p.points[WORLD_BETWEEN]; at++) {
            struct world w;
            struct flow f;
            world_open(&w);
            (void)snprintf(w.label, sizeof w.label, "%s: closed at point %u",
                           flow_rows[kinds[i]].what, at);
            w.vm = world_vm_new(&w, NAME);
            world_boot_well(&w, w.vm);
            memset(w.points, 0, sizeof w.points);
            closing = (struct world_closing){0};
            w.inject[0] = (struct world_inject){close_vm, 0, WORLD_BETWEEN, at, false, 0};
            EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[kinds[i]], NULL), 0);
            flow_wait(&f, FLOW_LIMIT_MS);
            world_pass(&w, 20);
            EXPECT(&w, w.inject[0].done);
            EXPECT(&w, f.exec.code == UVM_OK || f.exec.code == UVM_E_CANCELED);
            EXPECT(&w, f.wait.w == NULL || f.wait.code == UVM_OK || f.wait.code == UVM_E_CANCELED);
            world_vm_close_wait(&closing);
            flow_end(&f); /* a process may outlive its VM */
            world_close(&w);
            runs++;
        }
    }
    print_message("closed: %u trials\n", runs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_flow),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(no_stdin_to_write_to),
        cmocka_unit_test(programs_that_do_not_start),
        cmocka_unit_test(cancel_anywhere),
        cmocka_unit_test(the_vm_ends_anywhere),
        cmocka_unit_test(connections_are_lost_anywhere),
        cmocka_unit_test(let_go_anywhere),
        cmocka_unit_test(calls_are_cancelled_anywhere),
        cmocka_unit_test(resize),
        cmocka_unit_test(cancel_and_end_anywhere),
        cmocka_unit_test(deadline_anywhere),
        cmocka_unit_test(closed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
