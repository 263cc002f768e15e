/* SPDX-License-Identifier: MIT
 * saga.h — the one shape of an operation: a table of named steps with undo, run by one runner.
 *
 * Life of an op: start → turn (ready queue) → run step … → done. A step's `run` ends in exactly one
 * uvm__step_done(), inline or later. When a reason (cancel, deadline, VM exit, transport loss) holds
 * before the commit step has finished, or a step fails, the armed steps are undone in reverse order
 * under a scope of their own (UVM__UNDO_MS) that no caller's cancel reaches; then the op resolves.
 *
 * A step is armed when it succeeded and has an undo, or earlier by uvm__step_armed() (the effect may
 * exist from there on). If a step or an undo does not answer within UVM__UNDO_MS, the op resolves with
 * UVM_E_UNDO and lists what is quarantined, but its machine lives on: the late answer continues the
 * undo silently and lifts the quarantine. The end of the VM (undo root cancelled by VM_EXITED) counts
 * as undone. An undo that failed for good keeps the quarantine until then.
 *
 * Memory: start makes one allocation (op, scopes, nodes, state); undo makes none.
 */
#pragma once
#include "async/clock.h"
#include "async/error.h"
#include "async/ready.h"
#include "async/scope.h"

struct uvm__step {
    const char *name;
    void (*run)(uvm_op *op, void *state);
    /* Asked once when a reason arrives in mid-step; the step must then end soon. NULL: an effect is
     * under way (or a child op runs under uvm__op_scope() and hears of it itself): wait for the end. */
    void (*cancel)(uvm_op *op, void *state);
    /* NULL: nothing to undo. Allocates nothing. Ends in exactly one uvm__undo_done(). */
    void (*undo)(uvm_op *op, void *state);
    bool child; /* run waits for a child op, which bounds itself: no undo timer while it runs */
};

struct uvm__saga {
    const char *name;
    const struct uvm__step *steps;
    uint8_t steps_count;
    uint8_t commit_step; /* after this step's success no reason wins; steps_count - 1 if in doubt */
    uint32_t deadline_ms; /* of the whole op, from start; 0: only the scope's */
    size_t state_bytes;
    size_t (*extra_bytes)(const void *params); /* appended to the state; NULL: 0 */
    /* Copies params into the zeroed state; < 0: start fails with it, deinit is not called. May be NULL. */
    int (*init)(uvm_op *op, void *state, const void *params);
    void (*deinit)(void *state); /* when the op is freed; may be NULL */
    /* One word for people about what would be quarantined at `step` ("process 112"); may be NULL. */
    void (*describe)(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes);
};

/* `scope` NULL: the engine's root. `ret` NULL: the engine alone keeps the op. on_done may be NULL. */
int uvm__op_start(uvm_engine *e, uvm_scope *scope, const struct uvm__saga *saga, const void *params,
                  uvm_done_fn on_done, void *arg, uvm_op **ret_op);

void uvm__step_armed(uvm_op *op);
void uvm__step_done(uvm_op *op, uvm_error *take_err);
void uvm__undo_done(uvm_op *op, uvm_error *take_err);

void *uvm__op_state(uvm_op *op);
uvm_engine *uvm__op_engine(const uvm_op *op);
uvm_scope *uvm__op_scope(uvm_op *op);             /* for child ops of a step's run */
uvm_scope *uvm__op_undo_scope(uvm_op *op);        /* for child ops of a step's undo */
const uvm_error *uvm__op_error(const uvm_op *op); /* NULL until resolved, or success */
bool uvm__op_resolved(const uvm_op *op);
bool uvm__op_succeeded(const uvm_op *op);
const struct uvm__saga *uvm__op_saga(const uvm_op *op);
uint64_t uvm__op_id(const uvm_op *op);
