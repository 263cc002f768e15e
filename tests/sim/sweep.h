/* SPDX-License-Identifier: MIT
 * sweep.h — every public operation, disturbed in every way at every point, once each: rows and trials.
 *
 * A row is one operation with what it needs. A trial is a world in which it runs once, disturbed as the
 * trial says, then once more undisturbed. What must hold, besides what world.h always checks:
 *   success          host and guest have what they had before, and what was asked for
 *   UNDO             what is left is in a quarantine and named; it is let go of when the late answer comes,
 *                    by a detach, or with the VM
 *   another failure  host and guest have what they had before
 *   the VM ended     nothing is left
 *   after any        the same operation works when it is tried again, unless the VM has ended; the VM
 *                    closes, then the service; no memory is left
 * A run reports its await points (requests to the host and the guest) and how many points it passed, so
 * one undisturbed run of a row says which trials there are.
 */
#pragma once
#include "tests/sim/disk_flow.h"

#define SWEEP_AWAITS_MAX 16u
#define SWEEP_WHATS 32u

/* Where a run was when it was disturbed; of the latest request to any peer. */
#define SWEEP_PHASE_MAP(X)                                                                         \
    X(IDLE, "nothing is asked yet")                                                                \
    X(SENT, "asked, not done")                                                                     \
    X(ACTED, "done, not answered")                                                                 \
    X(ANSWERED, "in the tick of the answer")
enum sweep_phase {
#define SIM_X(name, text) SWEEP_##name,
    SWEEP_PHASE_MAP(SIM_X)
#undef SIM_X
        SWEEP_PHASES
};

/* The nth request of its kind since the operation began. */
struct sweep_await {
    bool guest;
    unsigned what; /* enum uvm__message, else enum uvm__sim_point */
    uint32_t n;
    bool sent; /* its request too, not only its answer */
};

struct sweep;

/* What there is on the host and in the guest. */
struct sweep_ledger {
    int32_t disks, mounts, processes, rows;
};

struct sweep_row {
    const char *name;
    struct sweep_ledger effect; /* of success */
    enum { SWEEP_LIVES, SWEEP_BOOTS, SWEEP_ENDS, SWEEP_CLOSES } vm;
    bool disks;       /* of the VM's boot */
    bool endless;     /* an answer that never comes is waited for as long as the caller likes */
    bool may_be_done; /* what it waits for or asks for may happen whether or not it is given up */
    void (*prepare)(struct sweep *s);
    int (*start)(struct sweep *s, struct world_call *c, uvm_scope *scope); /* NULL: it is a close */
    void (*finish)(struct sweep *s, const struct world_call *c); /* takes its result; may be NULL */
};
extern const struct sweep_row *const sweep_rows[];
extern const unsigned sweep_rows_count;

struct sweep_trial {
    const struct sweep_row *row;
    uint32_t pace;
    struct world_inject inject[2];
    enum uvm__sim_point host_point;
    enum uvm__sim_fault host;
    uint32_t host_skip;
    struct wire_plan wire;
    uint64_t deadline_ms; /* of its scope; 0: none */
    uint32_t fail_at;     /* the nth allocation; 0: none */
    bool for_good;
    uint32_t codes; /* allowed; 0: only success */
    /* results */
    int code;
    uint32_t points[2];
    uint64_t ms;
    struct sweep_await awaits[SWEEP_AWAITS_MAX];
    unsigned awaits_count;
    enum sweep_phase phase; /* at the first injection */
    bool reached;           /* the injection, the fault, the allocation */
    bool undone, lived;     /* UNDO was said; the VM lived on */
};
#define SWEEP_BIT(code) (1u << UVM_E_##code)

void sweep_run(struct sweep_trial *t);
/* Injections. */
bool sweep_cancel(struct world *w, int arg);
bool sweep_end_vm(struct world *w, int exit);
bool sweep_lose_connections(struct world *w, int arg);
const char *sweep_phase_text(enum sweep_phase phase);
/* "mount 2", of the host's verb or the guest's message. */
const char *sweep_await_text(const struct sweep_await *a, char *buf, size_t bytes);

/* The state of a trial, for rows. */
struct sweep {
    struct world w;
    struct sweep_trial *t;
    struct world_call call, beside; /* beside: another one, that is not disturbed */
    struct world_closing closing;
    bool named; /* what is left of an UNDO was, when it was said */
    struct sweep_ledger before;
    uint32_t sent[2][SWEEP_WHATS], acted[2][SWEEP_WHATS]; /* requests, by guest and what */
    enum sweep_phase phase;
    uint64_t phase_ms;
    char id[32]; /* of an attachment that is there before */
    /* a process, sweep_proc.c */
    uvm_process *p;
    uint32_t left, output; /* bytes to write, bytes read */
    uint32_t taken;        /* at a time; 0: all */
    bool hungry;           /* there was no memory to write */
    struct uvm__deadline again;
};

/* sweep_proc.c */
extern const struct sweep_row sweep_exec, sweep_exec_io, sweep_wait, sweep_signal, sweep_resize,
    sweep_stdin, sweep_stdout;
/* Ends the process that there is, if any; its VM may have ended. */
void sweep_proc_end(struct sweep *s);
