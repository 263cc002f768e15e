/* SPDX-License-Identifier: MIT
 * process_int.h — a process in the guest as the embedder holds it, for exec.c and process.c.
 */
#pragma once
#include "uvm/vm_int.h"

struct uvm_process {
    uint32_t refs;         /* the holder's (exec op, then the embedder), each operation's on it */
    uvm_vm *vm;            /* one reference */
    struct uvm__list link; /* uvm_vm.processes until let go */
    struct uvm__process *guest; /* NULL: not started, or let go */
    bool ended;                 /* `exit` or `error` says how */
    bool has_exit;
    struct uvm_process_exit exit;
    uvm_error *error;
    uvm_error *lost;                   /* the first descriptor that took no more; NULL: none */
    struct uvm__vm_exit_waiter vm_end; /* linked: the bridge broke, the reason is awaited */
    struct uvm__list waits;            /* struct wait.link */
    size_t (*on_output)(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg);
    void (*on_writable)(uvm_process *p, void *arg);
    void *arg;
};

/* Not linked and not started; its holder has the one reference. NULL: no memory. */
uvm_process *uvm__vm_process_new(uvm_vm *vm, const struct uvm_exec_params *params);
void uvm__vm_process_unref(uvm_process *p); /* accepts NULL */
/* The callbacks below the bridge. */
extern const struct uvm__process_events uvm__vm_process_guest_events;
/* The process runs. */
void uvm__vm_process_started(uvm_process *p, struct uvm__process *take_guest);
