/* SPDX-License-Identifier: MIT
 * world.h — a whole engine on a virtual clock: VMs, modelled host, simulated guests, and what must hold.
 *
 * A test opens a world, makes VMs, starts operations as watched calls, lets time pass, and closes it.
 * Something may be injected at one of the points where a run can be disturbed: before each turn, before
 * each step of the clock, and, for what may be called from anywhere, inside the engine whenever an
 * operation or one of its steps begins or ends. The number of points of an undisturbed run is that of
 * the ways to disturb it.
 *
 * Checked always: on_done once for each accepted call and never inside a public call; at the end, closed
 * last, an empty ledger on the host and in the guests, an engine without remains, every allocation freed.
 * A failed check prints the world's label, its last log records, and what was under way.
 */
#pragma once
#include "async/engine.h"
#include "hcs/sim/sim.h"
#include "tests/sim/guest.h"
#include "tests/unit/cm.h"
#include "uvm/uvm.h"

struct world;

/* How long things take. */
struct world_pace {
    uint32_t act_ms, answer_ms; /* a verb of the host: called to acted, acted to answered */
    uint32_t step_ms;           /* a step of the guest */
    uint32_t window_bytes;      /* of streams; 0: the usual */
};
#define WORLD_ACT_MS 2u /* usually */
#define WORLD_ANSWER_MS 3u
/* Usual; all in one moment; the guest ahead of the host's answer; a slow guest and narrow streams. */
#define WORLD_PACES 4u
extern const struct world_pace world_paces[WORLD_PACES];

/* Of one request to a peer: it has arrived there, has been acted on, its answer leaves. */
enum world_moment { WORLD_SENT, WORLD_ACTED, WORLD_ANSWERED };

/* One watched operation. */
struct world_call {
    struct world *w;
    uvm_op *op;
    int done, code;
    uint64_t started_ms, ended_ms;
    uvm_error *err;                     /* a reference; NULL: success */
    void (*then)(struct world_call *c); /* inside on_done; may be NULL */
};

enum world_where { WORLD_ANYWHERE, WORLD_BETWEEN };

struct world_inject {
    bool (*fn)(struct world *w, int arg); /* false: there was nothing to do; NULL: no injection */
    int arg;
    enum world_where where;
    uint32_t at;
    bool done;      /* it did something */
    uint64_t at_ms; /* when */
};

struct world {
    char label[400]; /* of this run, for failures */
    uvm_engine *e;
    struct uvm__sim_host *host;
    uvm_service *service;
    struct guest_script script; /* of all guests, from now on */
    bool wired;                 /* of each script */
    bool plain_agent;           /* likewise */
    uint32_t step_ms;           /* likewise */
    struct guest_seen seen;

    struct {
        struct guest *guest;
    } * guests; /* alive, in any order */
    uint32_t guests_count, guests_cap;
    uint32_t vms;   /* not yet closed */
    uint32_t calls; /* accepted, not yet done */
    uint32_t inside;

    uint32_t points[2]; /* passed, by enum world_where */
    struct world_inject inject[2];
    const char *mark_op, *mark_step; /* the end of this step … */
    uint32_t marked[2]; /* … was at this point of the first kind, before this of the second */
    uvm_vm *vm;         /* for injections: the one that is tried */
    struct world_call *call; /* likewise */
    uvm_scope *scope;        /* likewise */
    void *subject;           /* likewise: the test's own */

    /* Told of the requests to the host (enum uvm__sim_point) and, over a wire, to the guest (enum
     * uvm__message). May be NULL. */
    void (*watch)(struct world *w, bool guest, unsigned what, enum world_moment moment);

    uint64_t live, live_bytes, live_bytes_peak; /* of the engine's memory */
    uint32_t allocs, fail_at;                   /* the nth allocation fails; 0: none */
    bool fail_for_good;

    struct world_record *records; /* ring of log records */
    uint32_t records_count;
    uint64_t console_bytes;
};

_Noreturn void world_fail(struct world *w, const char *file, int line, const char *what, int64_t a,
                          int64_t b);
#define EXPECT(w, cond)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            world_fail(w, __FILE__, __LINE__, #cond, 0, 1);                                        \
        }                                                                                          \
    } while (0)
#define EXPECT_EQ(w, a, b)                                                                         \
    do {                                                                                           \
        int64_t expect_a = (int64_t)(a), expect_b = (int64_t)(b);                                  \
        if (expect_a != expect_b) {                                                                \
            world_fail(w, __FILE__, __LINE__, #a " == " #b, expect_a, expect_b);                   \
        }                                                                                          \
    } while (0)

void world_open(struct world *w);
void world_open_at(struct world *w, const struct world_pace *pace);
/* No VM may be left. */
void world_close(struct world *w);

/* From now on the guests behave, or as `script` says. */
void world_script(struct world *w, const struct guest_script *script);

/* NULL only for lack of memory. */
uvm_vm *world_vm_new(struct world *w, const char *name);
void world_vm_close(struct world *w, uvm_vm *vm); /* and waits for it */

/* The same in two parts. */
struct world_closing {
    struct world *w;
    bool closed;
};
void world_vm_close_begin(struct world *w, uvm_vm *vm, struct world_closing *c);
void world_vm_close_wait(struct world_closing *c);

/* A call is begun, then the verb is started with world_on_done and it, then the result is looked at. */
void world_call_begin(struct world *w, struct world_call *c);
int world_call_started(struct world_call *c, int rc);
void world_on_done(uvm_op *op, const uvm_error *err, void *arg);
void world_call_end(struct world_call *c); /* drops op and error */
#define WORLD_START(w, c, start) (world_call_begin(w, c), world_call_started(c, (start)))

int world_boot(struct world *w, struct world_call *c, uvm_vm *vm, uvm_scope *scope);

/* What is ready, then moments, until the call is done; fails when it is not within `limit_ms`. */
void world_wait(struct world *w, struct world_call *c, uint64_t limit_ms);
void world_pass(struct world *w, uint64_t ms);
void world_settle(struct world *w); /* what is ready now */

/* A boot that must work. */
void world_boot_well(struct world *w, uvm_vm *vm);
/* Nothing is left of any VM on the host or in a guest. */
void world_expect_empty(struct world *w);
/* Code, a step, a message with the VM's name. */
void world_expect_error(struct world *w, const struct world_call *c, const char *name);
/* NULL: nothing runs there. */
struct guest *world_guest(struct world *w, const struct uvm__hcs_system *s);
/* From now on the nth allocation of the engine, or of a JSON tree, fails: once, or it and all after it. */
void world_memory_fails(struct world *w, uint32_t n, bool for_good);
/* Returns whether the nth allocation was reached. */
bool world_memory_is_back(struct world *w);
