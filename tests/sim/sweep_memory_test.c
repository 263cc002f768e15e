/* SPDX-License-Identifier: MIT
 * sweep_memory_test.c — lack of memory: the nth allocation of each row fails, once and for good, for all n.
 *
 * Whatever fails says so, leaves nothing behind, and works when there is memory again. The simulated guest
 * has memory of its own, but what it dials needs the engine's: it tries again, so an operation without
 * memory may also end by its deadline, or with the VM.
 */
#include "tests/sim/sweep.h"
#include <stdio.h>
#include <time.h>

#define N_MAX 3000u

struct tally {
    uint32_t codes[UVM_E_MAX], n;
};

static uint64_t trials;

static void report(const char *what, bool for_good, const struct tally *t) {
    char text[256];
    int len = snprintf(text, sizeof text, "%-26s %s: %3u allocations", what,
                       for_good ? "for good" : "once    ", t->n - 1);
    for (unsigned i = 0; i < UVM_E_MAX && len > 0 && (size_t)len < sizeof text; i++) {
        if (t->codes[i] > 0) {
            len += snprintf(text + len, sizeof text - (size_t)len, ", %s %u",
                            uvm_error_code_name((int)i), t->codes[i]);
        }
    }
    print_message("%s\n", text);
}

static bool row_once(const struct sweep_row *row, uint32_t n, bool for_good, struct tally *tally) {
    struct sweep_trial t = {.row = row,
                            .fail_at = n,
                            .for_good = for_good,
                            .codes = SWEEP_BIT(NOMEM) | SWEEP_BIT(UNDO) |
                                     SWEEP_BIT(PEER) |   /* the guest's words about its own */
                                     SWEEP_BIT(CLOSED) | /* a bridge that could not be read */
                                     SWEEP_BIT(EXITED) | /* a guest whose log could not be taken */
                                     SWEEP_BIT(TIMEDOUT)}; /* a guest that could not dial */
    sweep_run(&t);
    tally->codes[t.code]++;
    return t.reached;
}

/* Making the VM is no operation. */
static bool new_once(const struct sweep_row *row, uint32_t n, bool for_good, struct tally *tally) {
    struct world w;
    (void)row;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "new: allocation %u fails", n);
    world_memory_fails(&w, n, for_good);
    uvm_vm *vm = world_vm_new(&w, DISK_VM);
    bool reached = world_memory_is_back(&w);
    EXPECT(&w, reached || vm != NULL);
    tally->codes[vm == NULL ? UVM_E_NOMEM : UVM_OK]++;
    if (vm == NULL) {
        vm = world_vm_new(&w, DISK_VM);
    }
    world_boot_well(&w, vm);
    world_vm_close(&w, vm);
    world_close(&w);
    return reached;
}

static void for_all_n(const char *what, const struct sweep_row *row,
                      bool (*once)(const struct sweep_row *row, uint32_t n, bool for_good,
                                   struct tally *tally)) {
    for (unsigned for_good = 0; for_good < 2; for_good++) {
        struct tally t = {.n = 1};
        while (once(row, t.n, for_good == 1, &t)) {
            t.n++;
            assert_true(t.n < N_MAX);
        }
        t.n++;
        trials += t.n;
        assert_true(t.codes[UVM_OK] > 0);
        report(what, for_good == 1, &t);
    }
}

static void memory(void **unused) {
    (void)unused;
    clock_t began = clock();
    for_all_n("new", NULL, new_once);
    for (unsigned row = 0; row < sweep_rows_count; row++) {
        for_all_n(sweep_rows[row]->name, sweep_rows[row], row_once);
    }
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    print_message("%llu allocations failed, %.0f a CPU second\n", (unsigned long long)trials,
                  (double)trials / seconds);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
