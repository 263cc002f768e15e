/* SPDX-License-Identifier: MIT
 * run.h — one life of a UVM: made, booted, a command run in it (or its end awaited), closed.
 */
#pragma once
#include "cmd/uvmctl/app.h"

#define CAPTURE_BYTES_MAX (1u << 20) /* a stream, with --json */

struct capture {
    char *data;
    size_t len;
    bool truncated;
};

enum run_output {
    RUN_RELAY,   /* ours are the command's */
    RUN_CAPTURE, /* kept */
    RUN_DISCARD
};

struct run_params {
    struct uvm_vm_params vm;
    char *const *command;   /* NULL: none */
    bool until_negotiated;  /* without a command: close it then, instead of waiting for its end */
    const char *const *env; /* NULL-terminated */
    const char *cwd, *user;
    bool tty;
    enum run_output output;
};

struct run {
    struct app *app;
    const struct run_params *params;
    uvm_vm *vm;
    uvm_scope *scope;
    uvm_process *process;
    bool closing;               /* the outcome is known */
    bool gone;                  /* ... and the VM is being closed */
    struct capture captured[2]; /* stdout, stderr */
    /* What came of it. */
    uvm_error *error; /* of the engine; NULL: the command ran to its end, or the VM's end came */
    int status;       /* for exit() */
    bool has_status;  /* `status` is the command's own */
    struct uvm_vm_times times;
    uint64_t begun_ms, total_ms; /* until the VM was gone */
    char id[40], name[72], accel[16];
    struct uvm_vm_exit exit; /* the detail is gone */
    void (*on_over)(struct run *run);
    void *arg;
};

/* Starts it. on_over runs once, later or (when the VM could not even be described) at once. */
void run_start(struct run *run, struct app *app, const struct run_params *params,
               void (*on_over)(struct run *run), void *arg);
/* The first time cancels, the second closes the VM whatever is under way. */
void run_interrupt(struct run *run, unsigned times);
/* The VM's console lost its reader: the end, as SIGPIPE would be. */
void run_output_gone(struct run *run);
void run_resize(struct run *run);
void run_deinit(struct run *run);
