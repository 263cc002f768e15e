/* SPDX-License-Identifier: MIT
 * engine.h — what the other rooms see of the engine besides its public face.
 */
#pragma once
#include "async/alloc.h"
#include "async/async.h"
#include "async/clock.h"
#include "async/ready.h"

struct uv_loop_s *uvm__engine_loop(uvm_engine *e); /* NULL in a simulation */
uvm_scope *uvm__engine_root(uvm_engine *e);

/* Ids of objects and ops: a counter, never reused. */
uint64_t uvm__engine_next_id(uvm_engine *e);

/* A simulated engine has no loop: its clock stands until advanced, its random numbers come from
 * `seed`. The owner runs it by uvm__engine_turn() and uvm__engine_advance(). */
int uvm__engine_new_virtual(const struct uvm_engine_params *params, uint64_t seed,
                            uvm_engine **ret_engine);
/* Runs what is ready now; false when nothing was. */
bool uvm__engine_turn(uvm_engine *e);
/* Ms until the next deadline, UINT64_MAX if there is none. Virtual engines only. */
uint64_t uvm__engine_next_deadline(uvm_engine *e);
/* Moves the virtual clock and fires what falls due, in order. */
void uvm__engine_advance(uvm_engine *e, uint64_t ms);
/* Frees a virtual engine at once; asserts that nothing is alive. */
void uvm__engine_free_virtual(uvm_engine *e);

/* libuv handles (polls) that others close asynchronously keep the engine from closing. */
void uvm__engine_hold(uvm_engine *e);
void uvm__engine_release(uvm_engine *e);

/* The ops that have not resolved, oldest first, one line each: "#12 vm boot › negotiate 130 ms". */
size_t uvm__engine_dump(uvm_engine *e, char *buf, size_t bytes);
