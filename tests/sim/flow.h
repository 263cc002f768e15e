/* SPDX-License-Identifier: MIT
 * flow.h — a process in a simulated guest from exec to its end, and trials that disturb it.
 *
 * A flow starts a program, feeds it where it reads, signals it where it would stay, waits for it and lets
 * go of it. A trial is a world with one running VM and one flow in it that something disturbs: outcomes
 * and times are checked, then that no process is left in the guest that nobody knows of, and, where the
 * VM still runs, that another flow works in it.
 */
#pragma once
#include "tests/sim/world.h"

#define OK_BIT 1u
#define BIT(code) (1u << UVM_E_##code)
#define FLOW_LIMIT_MS 3000u
#define FLOW_INPUT_BYTES 20000u

struct flow_row {
    const char *what;
    const char *argv[3];
    bool in, out;
    uint32_t output; /* bytes expected */
    uint32_t taken;  /* at most at a time; 0: all. A slow reader goes on a millisecond later */
    int signo;       /* sent once it runs; 0: none */
    uint32_t code;
    int signal; /* that ends it */
};

enum flow_kind {
    FLOW_TRUE,
    FLOW_EXIT,
    FLOW_CRASH,
    FLOW_SLEEP,
    FLOW_CAT,
    FLOW_CAT_SLOW,
    FLOW_YES,
    FLOW_YES_SLOW,
    FLOW_SIGNAL,
    FLOW_KILL,
    FLOW_LEAVE,
    FLOWS
};
extern const struct flow_row flow_rows[FLOWS];

struct flow {
    struct world *w;
    const struct flow_row *row;
    struct world_call exec, wait, signal;
    uvm_process *p;
    uint32_t fed, output;
    bool wrong; /* a byte that was not sent */
    int exec_status;
    struct uvm__deadline again;
};

int flow_start(struct flow *f, struct world *w, uvm_vm *vm, const struct flow_row *row,
               uvm_scope *scope);
/* Until all its calls are done, each at most so long; a wait that is not is given up then. */
void flow_wait(struct flow *f, uint64_t limit_ms);
/* The process ended as its row says, and all of its output came. */
void flow_expect(struct flow *f);
/* Lets go of it. Its calls must be done. */
void flow_end(struct flow *f);
/* All of that. */
void flow_well(struct world *w, uvm_vm *vm, enum flow_kind kind);

struct flow_trial {
    char what[160];
    enum flow_kind kind;
    struct guest_script script;
    struct world_inject inject[2];
    uint64_t deadline_ms; /* of the exec's scope; 0: none */
    uint64_t limit_ms;    /* of each call */
    uint64_t cut_ms;      /* from the first injection to exec's end; 0: not looked at */
    uint32_t exec_codes, wait_codes, signal_codes; /* allowed; signal's 0: all */
    bool kills_vm;                                 /* it may have ended */
    uint64_t rest_ms;                              /* time after it, before the other flow */
    /* what came of it */
    int exec_code, wait_code, signal_code; /* -1: not started */
    uint32_t points[2], marked[2];         /* marked: the moment of commit */
    struct guest_seen seen;
    uint64_t ms;
    enum uvm_exit_reason reason;
};
void flow_run(struct flow_trial *t);
/* Undisturbed: for its points. */
struct flow_trial flow_plain(enum flow_kind kind);

/* Injections: the scope of the exec; the VM's end with an enum uvm__hcs_exit; all streams. */
bool flow_cancel(struct world *w, int arg);
bool flow_end_system(struct world *w, int exit);
bool flow_lose_connections(struct world *w, int arg);
bool flow_let_go(struct world *w, int arg);       /* of the process, once it is there */
bool flow_cancel_calls(struct world *w, int arg); /* wait and signal, once they are there */
