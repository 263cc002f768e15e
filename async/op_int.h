/* SPDX-License-Identifier: MIT
 * op_int.h — an op's inside, for the files of this room only.
 */
#pragma once
#include "async/saga.h"

enum uvm__op_phase { UVM__OP_RUN, UVM__OP_UNDO, UVM__OP_OVER };

struct uvm_op {
    uint32_t refs; /* the run, both scopes, ret_op, orphaned calls */
    uvm_engine *engine;
    const struct uvm__saga *saga;
    uint64_t id, started_us, step_us; /* to the ms while nobody listens to spans */
    uvm_scope scope, undo_scope;
    struct uvm__ready ready;
    struct uvm__list link;            /* engine's ops, until OVER */
    struct uvm__list quarantine_link; /* undo root's, while something is quarantined */
    uvm_done_fn on_done;
    void *arg;
    uvm_error *failure; /* why the undo began */
    uvm_error *error;   /* what on_done was told */
    uint32_t armed;     /* bit per step whose undo is still to run */
    uint8_t step;       /* running, or being undone */
    uint8_t phase;
    bool in_flight; /* run or undo has not ended */
    bool asked;     /* the reason was passed to the running step */
    bool committed, resolved;
    bool stuck; /* the undo of `step` failed: only the VM's end continues */
    size_t state_offset;
};
