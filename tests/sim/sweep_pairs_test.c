/* SPDX-License-Identifier: MIT
 * sweep_pairs_test.c — the sweep's rows with two things going wrong, which a seed decides.
 *
 * `sweep_pairs_test SEED` runs the pairs of that seed; without it there is one, always the same.
 */
#include "tests/sim/sweep.h"
#include <stdlib.h>
#include <time.h>

#define PAIRS 120u /* of a row */

static uint64_t seed = 1;

/* 0 … n - 1; splitmix64. */
static uint32_t chance(uint64_t *state, uint32_t n) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static void inject(struct sweep_trial *t, unsigned i, uint64_t *state) {
    static const struct world_inject kinds[] = {
        {.fn = sweep_cancel},
        {.fn = sweep_end_vm, .arg = UVM__HCS_EXIT_VMM_DIED, .where = WORLD_BETWEEN},
        {.fn = sweep_lose_connections, .where = WORLD_BETWEEN},
    };
    unsigned kind = chance(state, 3);
    if (kind == 0 && t->row->start == NULL) {
        kind = 1; /* a close is not cancelled */
    }
    t->inject[i] = kinds[kind];
    t->inject[i].at = chance(state, t->points[kinds[kind].where]);
}

static void mistreat(struct sweep_trial *t, uint64_t *state) {
    static const enum wire_fault faults[] = {WIRE_LOSE_REQUEST, WIRE_LOSE_REPLY, WIRE_LATE,
                                             WIRE_TWICE,        WIRE_DENY,       WIRE_CUT_REQUEST,
                                             WIRE_CUT_REPLY,    WIRE_END,        WIRE_NO_JSON};
    const struct sweep_await *a = &t->awaits[chance(state, t->awaits_count)];
    if (!a->guest) {
        t->host_point = (enum uvm__sim_point)a->what;
        t->host_skip = a->n;
        t->host = (enum uvm__sim_fault)(1 + chance(state, UVM__SIM_FAULT_MAX - 1));
        return;
    }
    t->wire = (struct wire_plan){.msg = (enum uvm__message)a->what,
                                 .fault = faults[chance(state, 9)],
                                 .skip = a->n,
                                 .late_ms = chance(state, 2) == 0 ? 20 : 20000};
}

static void pair(const struct sweep_trial *plain, uint64_t *state) {
    struct sweep_trial t = *plain;
    t.codes = SWEEP_BIT(CANCELED) | SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO) | SWEEP_BIT(PEER) |
              SWEEP_BIT(PROTOCOL) | SWEEP_BIT(CLOSED) | SWEEP_BIT(EXITED);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t how = chance(state, 5);
        if (how < 2 && t.awaits_count > 0) {
            mistreat(&t, state);
        } else if (how == 2 && t.row->start != NULL) {
            t.deadline_ms = 1 + chance(state, chance(state, 2) == 0 ? 60 : 2000);
        } else {
            inject(&t, i, state);
        }
    }
    sweep_run(&t);
}

static void pairs(void **unused) {
    (void)unused;
    clock_t began = clock();
    uint64_t state = seed, n = 0;
    for (unsigned row = 0; row < sweep_rows_count; row++) {
        for (uint32_t i = 0; i < PAIRS; i++, n++) {
            struct sweep_trial plain = {.row = sweep_rows[row],
                                        .pace = chance(&state, WORLD_PACES)};
            sweep_run(&plain);
            pair(&plain, &state);
        }
    }
    print_message("seed %llu: %llu pairs of faults, %.0f a CPU second\n", (unsigned long long)seed,
                  (unsigned long long)n, (double)n * CLOCKS_PER_SEC / (double)(clock() - began));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pairs)};
    if (argc > 1) {
        seed = strtoull(argv[1], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
