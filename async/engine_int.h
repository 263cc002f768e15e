/* SPDX-License-Identifier: MIT
 * engine_int.h — the engine's inside, for the files of this room only.
 */
#pragma once
#include "async/check.h"
#include "async/engine.h"
#include "async/list.h"
#include "async/scope.h"
#include <uv.h>

struct uvm_engine {
    uv_loop_t *loop; /* NULL: virtual */
    struct uvm_allocator allocator;
    uvm_log_fn log;
    void *log_arg;
    enum uvm_log_level log_level;
    struct uvm__list taps; /* struct uvm__span_tap.link */

    struct uvm__list ready;    /* struct uvm__ready.link */
    struct uvm__list draining; /* what the running turn still has to do */
    bool idle_active;
    uv_idle_t idle;

    struct uvm__deadline *deadlines; /* root of the heap */
    uint64_t deadline_seq;
    uint64_t timer_at_ms; /* what the timer is set for; UINT64_MAX: stopped */
    uv_timer_t timer;

    uint64_t virtual_ms;
    uint64_t random_state;

    uint64_t next_id;
    uvm_scope root, undo_root;
    struct uvm__list ops;  /* unresolved and quarantined ones (uvm_op.link) */
    uint32_t holds;        /* handles of others that are still closing */
    struct uvm__list left; /* children that were closed and have not died (child_linux.c) */

    bool closing;
    uint8_t handles_open;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

void uvm__engine_arm_timer(uvm_engine *e);
/* Frees what is left of children that were killed and have not died. */
void uvm__children_forget(uvm_engine *e);
/* Fires what is due at `now`; true if anything was. */
bool uvm__deadlines_fire(uvm_engine *e, uint64_t now_ms);
