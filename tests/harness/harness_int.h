/* SPDX-License-Identifier: MIT
 * harness_int.h — the harness's inside: its loop (loop.c), its VM (harness.c), its commands (exec.c).
 */
#pragma once
#include <uv.h>

#include "tests/harness/harness.h"

/* One stream of a command, as far as it is kept. */
struct uvm__harness_text {
    char *data; /* NULL: nothing yet */
    size_t bytes, room;
    uint64_t dropped;
};

struct uvm_harness {
    struct uvm_harness_params params; /* its pointers are not used after uvm_harness_new() */
    uvm_harness_census *before;

    uv_loop_t loop;
    bool loop_open;
    uv_timer_t late_timer;
    bool late;
    bool
        stuck; /* something did not end: its callbacks may point anywhere, so the loop runs no more */
    struct uvm_harness *next_lost; /* of those that were freed so (harness.c) */
    bool closed;
    uvm_engine *engine;
    long blocks; /* of the engine's memory */
    uvm_service *service;
    uvm_vm *vm;

    void (*on_console)(uvm_vm *vm, const void *data, size_t bytes, void *arg);
    void *console_arg;
    char console[UVM_HARNESS_CONSOLE_BYTES + 1];
    size_t console_bytes;

    char *message; /* NULL: none, or no memory for it */

    /* The command that runs, or the last one. */
    uvm_process *process;
    const char *input;
    size_t input_left, output_max;
    struct uvm__harness_text out, err;
};

/* Sets the message, with the error's chain behind the words, and returns -code. `err` may be NULL. */
__attribute__((format(printf, 4, 5))) int uvm__harness_fail(uvm_harness *h, int code,
                                                            const uvm_error *err,
                                                            const char *format, ...);

/* ---- loop.c ------------------------------------------------------------------------------- */

/* An operation under way: what uvm__harness_done() is told. */
struct uvm__harness_wait {
    bool done;
    uvm_error *err; /* what it ended with, counted; NULL: well */
};
void uvm__harness_done(uvm_op *op, const uvm_error *err, void *arg);

/* Starts an operation of the VM; `arg` is the caller's. */
typedef int uvm__harness_start_fn(uvm_harness *h, const void *arg, uvm_scope *scope,
                                  uvm_done_fn on_done, void *done_arg, uvm_op **ret_op);
/* Runs one to its end under a deadline. 0, or its code with the message set; `what` begins it. *ret_op (may be
 * NULL) receives the op, also of one that failed; NULL when it did not start. */
int uvm__harness_run(uvm_harness *h, const char *what, uint32_t deadline_ms,
                     uvm__harness_start_fn *start, const void *arg, uvm_op **ret_op);

/* Loop and engine. What could not be made is not there; close takes what is. */
int uvm__harness_loop_open(uvm_harness *h);
/* The engine has no object any more. -UVM_E_UNDO: the message is what loop and memory still have. */
int uvm__harness_loop_close(uvm_harness *h);
/* Closes the loop once its last handle has gone; true: it is closed. */
bool uvm__harness_loop_end(uvm_harness *h);
