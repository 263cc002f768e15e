/* SPDX-License-Identifier: MIT
 * sweep_test.c — the sweep: each row × each thing that can go wrong × each point at which it can.
 *
 * An undisturbed run of a row says which requests it makes of its peers, how many points it passes and how
 * long it takes. Cancels come at each point of all, ends of the VMM and of the connections between turns,
 * deadlines at each millisecond, mistreated requests once for each request; and cancels again while an
 * answer is held back. The table that is printed counts the trials that met what they were to meet.
 */
#include "tests/sim/sweep.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LATE_SOON_MS 20u
#define LATE_MS 20000u
#define PATIENCE_MS 1000u /* of a caller who gives up on an answer */

#define OK_BIT 1u
#define LOST (SWEEP_BIT(EXITED) | SWEEP_BIT(CLOSED))

/* X(NAME, head of its column) */
#define COLUMN_MAP(X)                                                                              \
    X(CANCEL_IDLE, "cancel:before")                                                                \
    X(CANCEL_SENT, "sent")                                                                         \
    X(CANCEL_ACTED, "acted")                                                                       \
    X(CANCEL_ANSWERED, "answer")                                                                   \
    X(DEADLINE, "deadln")                                                                          \
    X(HOST_ERROR, "host")                                                                          \
    X(GUEST_ERROR, "guest")                                                                        \
    X(CONNECTION, "connct")                                                                        \
    X(VMM_DEATH, "vmm")                                                                            \
    X(NEVER, "never")                                                                              \
    X(TWICE, "twice")                                                                              \
    X(LATE, "late")
enum column {
#define SIM_X(name, text) COLUMN_##name,
    COLUMN_MAP(SIM_X)
#undef SIM_X
        COLUMNS
};
static const char *const column_texts[COLUMNS] = {
#define SIM_X(name, text) [COLUMN_##name] = (text),
    COLUMN_MAP(SIM_X)
#undef SIM_X
};

static uint32_t visited[64][COLUMNS];
static uint64_t trials, undone;
static bool wanted[64];

static void count(unsigned row, enum column column, const struct sweep_trial *t) {
    trials++;
    undone += t->undone;
    if (t->reached) {
        visited[row][column]++;
    }
}

/* ---- disturbances at points --------------------------------------------------------------- */

static void at_each_point(unsigned row, const struct sweep_trial *like, struct world_inject inject,
                          uint32_t codes, enum column column) {
    for (uint32_t at = 0; at < like->points[inject.where]; at++) {
        struct sweep_trial t = *like;
        t.inject[0] = inject;
        t.inject[0].at = at;
        t.codes |= codes;
        sweep_run(&t);
        count(row,
              column == COLUMN_CANCEL_IDLE ? (enum column)((unsigned)column + (unsigned)t.phase)
                                           : column,
              &t);
    }
}

static void points(unsigned row, const struct sweep_trial *plain) {
    const struct sweep_row *r = plain->row;
    if (r->start != NULL) {
        at_each_point(row, plain, (struct world_inject){.fn = sweep_cancel}, SWEEP_BIT(CANCELED),
                      COLUMN_CANCEL_IDLE);
    }
    at_each_point(row, plain,
                  (struct world_inject){
                      .fn = sweep_end_vm, .arg = UVM__HCS_EXIT_VMM_DIED, .where = WORLD_BETWEEN},
                  SWEEP_BIT(EXITED), COLUMN_VMM_DEATH);
    at_each_point(row, plain,
                  (struct world_inject){.fn = sweep_lose_connections, .where = WORLD_BETWEEN}, LOST,
                  COLUMN_CONNECTION);
    for (uint32_t ms = 1; r->start != NULL && ms <= plain->ms; ms++) {
        struct sweep_trial t = *plain;
        t.deadline_ms = ms;
        t.codes = SWEEP_BIT(TIMEDOUT);
        sweep_run(&t);
        t.reached = t.code == UVM_E_TIMEDOUT;
        count(row, COLUMN_DEADLINE, &t);
    }
}

/* ---- mistreated requests ------------------------------------------------------------------ */

/* Alone, then with a caller who does not wait for ever. */
static struct sweep_trial mistreat(unsigned row, struct sweep_trial t, uint32_t codes,
                                   enum column column) {
    t.codes = codes;
    sweep_run(&t);
    count(row, column, &t);
    struct sweep_trial alone = t;
    if ((column == COLUMN_NEVER || column == COLUMN_LATE) && t.row->start != NULL) {
        t.deadline_ms = PATIENCE_MS;
        t.codes |= SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO);
        sweep_run(&t);
        count(row, column, &t);
    }
    return alone;
}

static void host(unsigned row, const struct sweep_trial *plain, const struct sweep_await *a) {
    static const struct {
        enum uvm__sim_fault fault;
        enum column column;
        uint32_t codes;
    } faults[] = {
        {UVM__SIM_REFUSE, COLUMN_HOST_ERROR, SWEEP_BIT(PEER) | SWEEP_BIT(UNDO)},
        {UVM__SIM_DIE_IDLE, COLUMN_VMM_DEATH, SWEEP_BIT(EXITED)},
        {UVM__SIM_DIE_DONE, COLUMN_VMM_DEATH, SWEEP_BIT(EXITED)},
        {UVM__SIM_MUTE_IDLE, COLUMN_NEVER, SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
        {UVM__SIM_MUTE_DONE, COLUMN_NEVER, SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
        {UVM__SIM_LATE, COLUMN_LATE, SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct sweep_trial t = *plain;
        t.host_point = (enum uvm__sim_point)a->what;
        t.host_skip = a->n;
        t.host = faults[i].fault;
        (void)mistreat(row, t, faults[i].codes, faults[i].column);
    }
}

static void guest(unsigned row, const struct sweep_trial *plain, const struct sweep_await *a) {
    static const struct {
        enum wire_fault fault;
        bool request; /* it is the request that is mistreated */
        enum column column;
        uint32_t late_ms, codes;
    } faults[] = {
        {WIRE_DENY, true, COLUMN_GUEST_ERROR, 0, SWEEP_BIT(PEER) | SWEEP_BIT(UNDO)},
        {WIRE_GARBAGE, false, COLUMN_GUEST_ERROR, 0, LOST | SWEEP_BIT(PROTOCOL)},
        {WIRE_TINY, false, COLUMN_GUEST_ERROR, 0, LOST | SWEEP_BIT(PROTOCOL)},
        {WIRE_NO_JSON, false, COLUMN_GUEST_ERROR, 0, LOST | SWEEP_BIT(PROTOCOL)},
        {WIRE_STRANGE_ID, false, COLUMN_GUEST_ERROR, 0, LOST | SWEEP_BIT(PROTOCOL)},
        {WIRE_CUT_REQUEST, true, COLUMN_CONNECTION, 0, LOST},
        {WIRE_CUT_REPLY, false, COLUMN_CONNECTION, 0, LOST},
        {WIRE_CUT_HALF, false, COLUMN_CONNECTION, 0, LOST},
        {WIRE_END, false, COLUMN_CONNECTION, 0, LOST},
        {WIRE_LOSE_REQUEST, true, COLUMN_NEVER, 0, LOST | SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
        {WIRE_LOSE_REPLY, false, COLUMN_NEVER, 0, LOST | SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
        {WIRE_TWICE, false, COLUMN_TWICE, 0, LOST},
        {WIRE_LATE, false, COLUMN_LATE, LATE_MS, SWEEP_BIT(TIMEDOUT) | SWEEP_BIT(UNDO)},
        {WIRE_LATE, false, COLUMN_LATE, LATE_SOON_MS, 0},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (faults[i].request && !a->sent) {
            continue;
        }
        struct sweep_trial t = *plain;
        t.wire = (struct wire_plan){.msg = (enum uvm__message)a->what,
                                    .fault = faults[i].fault,
                                    .skip = a->n,
                                    .late_ms = faults[i].late_ms};
        t = mistreat(row, t, faults[i].codes, faults[i].column);
        if (faults[i].late_ms == LATE_SOON_MS && t.row->start != NULL) {
            at_each_point(row, &t, (struct world_inject){.fn = sweep_cancel}, SWEEP_BIT(CANCELED),
                          COLUMN_CANCEL_IDLE);
        }
    }
}

/* ---- the sweep ---------------------------------------------------------------------------- */

static void sweep_row_at(unsigned row, uint32_t pace) {
    struct sweep_trial plain = {.row = sweep_rows[row], .pace = pace};
    sweep_run(&plain);
    trials++;
    points(row, &plain);
    for (unsigned i = 0; pace == 0 && i < plain.awaits_count; i++) {
        (plain.awaits[i].guest ? guest : host)(row, &plain, &plain.awaits[i]);
    }
}

static void print_table(double seconds) {
    uint64_t all = 0;
    char text[200];
    int n = snprintf(text, sizeof text, "%-26s", "");
    for (unsigned c = 0; c < COLUMNS; c++) {
        n += snprintf(text + n, sizeof text - (size_t)n, " %6s", column_texts[c]);
    }
    print_message("%s\n", text);
    for (unsigned r = 0; r < sweep_rows_count; r++) {
        n = snprintf(text, sizeof text, "%-26s", sweep_rows[r]->name);
        for (unsigned c = 0; c < COLUMNS; c++) {
            n += snprintf(text + n, sizeof text - (size_t)n, c == 0 ? " %13u" : " %6u",
                          visited[r][c]);
            all += visited[r][c];
        }
        print_message("%s\n", text);
    }
    print_message("%u rows x %u faults: %llu points visited in %llu trials, %llu undone by halves, "
                  "%.0f points a CPU second\n",
                  sweep_rows_count, COLUMNS, (unsigned long long)all, (unsigned long long)trials,
                  (unsigned long long)undone, (double)all / seconds);
}

/* What is disturbed at points is so in each row, and nothing in no row. */
static void expect_visited(void) {
    bool all = true;
    for (unsigned c = 0; c < COLUMNS; c++) {
        uint32_t sum = 0;
        for (unsigned r = 0; r < sweep_rows_count; r++) {
            sum += visited[r][c];
            all = all && wanted[r];
            bool cancels = c == COLUMN_CANCEL_IDLE && sweep_rows[r]->start != NULL;
            if (wanted[r] && (cancels || c == COLUMN_CONNECTION || c == COLUMN_VMM_DEATH)) {
                assert_true(visited[r][c] > 0);
            }
        }
        assert_true(sum > 0 || !all);
    }
}

static void the_sweep(void **unused) {
    (void)unused;
    clock_t began = clock();
    for (unsigned row = 0; row < sweep_rows_count; row++) {
        for (uint32_t pace = 0; wanted[row] && pace < WORLD_PACES; pace++) {
            sweep_row_at(row, pace);
        }
    }
    print_table((double)(clock() - began) / CLOCKS_PER_SEC);
    expect_visited();
}

/* Arguments: beginnings of rows; none: all. */
int main(int argc, char **argv) {
    for (unsigned row = 0; row < sweep_rows_count; row++) {
        wanted[row] = argc == 1;
        for (int i = 1; i < argc; i++) {
            wanted[row] |= strncmp(sweep_rows[row]->name, argv[i], strlen(argv[i])) == 0;
        }
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
