/* SPDX-License-Identifier: MIT
 * vm_int.h — a VM's inside, for the files of this room only.
 *
 * One struct for the whole room: what a VM is (options, document), where it is in its life (state,
 * exit), what it has on the host (system, listeners, bridge), and what it remembers (console, log,
 * events). Each part is written by the one file named beside it.
 */
#pragma once
#include "async/alloc.h"
#include "async/buf.h"
#include "async/check.h"
#include "async/engine.h"
#include "async/guid.h"
#include "async/json.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/saga.h"
#include "bridge/process.h"
#include "devices/devices.h"
#include "hcs/compute_service.h"
#include "uvm/agent_log.h"
#include "uvm/entropy.h"
#include "uvm/options.h"
#include "uvm/state.h"
#include "uvm/uvm.h"

/* How far a boot has come: what did not happen next is the news when it ends. */
enum uvm__stage {
    UVM__STAGE_CREATE,    /* the VMM is being made */
    UVM__STAGE_START,     /* it is there */
    UVM__STAGE_CONTACT,   /* the guest runs, nobody has dialled */
    UVM__STAGE_AGENT,     /* the guest has dialled, its agent has not */
    UVM__STAGE_NEGOTIATE, /* the agent is connected */
    UVM__STAGE_MOUNT,     /* negotiated; the boot's disks are being mounted */
    UVM__STAGE_DONE
};

/* Head of the state of every public operation (vm.c). */
struct uvm__vm_op {
    struct uvm__list link; /* uvm_vm.ops until resolved */
    uvm_vm *vm;            /* one reference */
    uvm_op *op;            /* borrowed: the state is inside it */
    uvm_done_fn on_done;
    void *arg;
    uvm_error *error; /* what on_done was told, where that says more than the op's own */
    /* Runs right before on_done, `err` NULL on success; returns an error that says more than `err`,
     * or NULL. May be NULL. */
    uvm_error *(*outcome)(struct uvm__vm_op *o, const uvm_error *err);
    bool needs_guest; /* the VM's end is its end */
};

struct uvm__vm_op_params {
    const struct uvm__saga *saga; /* its state begins with struct uvm__vm_op */
    uvm_error *(*outcome)(struct uvm__vm_op *o, const uvm_error *err);
    bool needs_guest;
    uvm_done_fn on_done;
    void *arg;
};

/* Who waits for the VM's end: a wait, a stop, or a failure that wants to know its cause (exit.c). */
struct uvm__vm_exit_waiter {
    struct uvm__list link;
    void (*fn)(struct uvm__vm_exit_waiter *w); /* once, at the end; the node is unlinked by then */
};

/* Beats under way while the VM runs (heartbeat.c). */
struct uvm__heartbeat {
    struct uvm__deadline timer;
    uvm_op *beats[UVM__HEARTBEAT_MISSES]; /* unanswered, oldest first; NULL: none */
    uint32_t misses;                      /* periods in a row without an answer */
    bool heard;                           /* an answer in this period */
    uint32_t open;                        /* on_done has not run */
};

struct uvm_vm {
    uint32_t refs; /* the maker's, each op's, each process's, each embedded scope's */
    uvm_engine *engine;
    struct uvm__hcs *service;
    uvm_scope scope;     /* parent of all ops; cancelled by close */
    uvm_scope undo_root; /* their undo; ends with the VM */

    struct uvm__options options; /* options.c */
    char *document;              /* document.c */
    size_t document_bytes;
    void (*on_console)(uvm_vm *vm, const void *data, size_t bytes, void *arg);
    void *arg;

    bool admitted; /* admit.c: counted by the service */

    enum uvm_vm_state state; /* state.c */
    enum uvm_exit_reason exit;
    char *exit_detail;        /* may have many lines; NULL: "" */
    bool vmm_ended;           /* the service said EXITED */
    enum uvm__hcs_exit cause; /* with which reason */
    int vmm_status;           /* and how the VMM's process ended; -1: not known */
    bool agent_lost;          /* we end the VM because of it */
    struct uvm__list exit_waiters;
    struct uvm__deadline lost_timer; /* bridge lost to VM's end */

    struct uvm__hcs_system *system; /* host.c, from here */
    struct uvm__listener *entropy_listener, *log_listener, *bridge_listener;
    struct uvm__entropy entropy;
    struct uvm__agent_log log;
    struct uvm__stream *agent; /* accepted, not yet a bridge */
    struct uvm__bridge *bridge;
    struct uvm__heartbeat heartbeat; /* heartbeat.c */
    struct uvm__vm_op *boot;         /* while STARTING */
    uint64_t boot_ms;                /* when it began */
    bool contacted;                  /* the guest has dialled */
    struct uvm_vm_times times;
    enum uvm__stage stage;

    struct uvm__tail console; /* what is remembered */
    struct uvm__ring ring;

    struct uvm__list ops;        /* struct uvm__vm_op.link */
    struct uvm__list processes;  /* struct uvm_process.link */
    char *properties, accel[16]; /* props.c */

    struct uvm__devices devices; /* what is attached: devices.c, boot_disks.c */
    char *devices_text;

    struct uvm_control *control; /* control.c; NULL: none */

    bool closing, system_closing; /* close.c */
    uint32_t close_turns;
    struct uvm__ready close_ready;
    struct uvm__deadline close_again;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* It ran and does not any more, or is stuck in its end; uvm_vm_exit() says how. */
static inline bool uvm__vm_has_ended(const uvm_vm *vm) {
    return vm->state == UVM_VM_STOPPED || (vm->state == UVM_VM_FAILED && vm->exit != UVM_EXIT_NONE);
}

/* control.c: a VM's control socket hears of its life. */
void uvm__control_on_state(struct uvm_control *c);
void uvm__control_on_console(struct uvm_control *c, const void *data, size_t bytes);
void uvm__control_on_device(struct uvm_control *c, enum uvm__device_news news,
                            const struct uvm__attach_result *about);
void uvm__control_closing(struct uvm_control *c); /* the VM closes: no more requests */
void uvm__control_end(struct uvm_control *c);     /* the VM is over; idempotent */

/* control_others.c: living VMs of the same state folder that another service's ledger counts. */
void uvm__control_others(const struct uvm_control *c, uint64_t *ret_vms, uint64_t *ret_memory_mb);

/* admit.c: lets it in, or -UVM_E_LIMIT; it counts until it is dismissed (idempotent). */
int uvm__vm_admit(uvm_vm *vm, struct uvm__fail *f);
void uvm__vm_dismiss(uvm_vm *vm);
/* Of the service that counts it: a random number, so that others see which VMs are counted together. */
uint64_t uvm__vm_ledger(uvm_vm *vm);

/* props.c: `exit`, null while it has not ended. False: no memory. */
bool uvm__vm_add_exit(cJSON *to, const uvm_vm *vm);

/* vm.c: references, and the common part of all operations. */
void uvm__vm_ref(uvm_vm *vm);
void uvm__vm_unref(uvm_vm *vm);
void uvm__vm_set_state(uvm_vm *vm, enum uvm_vm_state state); /* the one way to change it */
void uvm__vm_happened(uvm_vm *vm, enum uvm__event ev);       /* what the table cannot refuse */
int uvm__vm_op_start(uvm_vm *vm, uvm_scope *scope, const struct uvm__vm_op_params *p,
                     const void *params, uvm_op **ret_op);
void uvm__vm_op_deinit(struct uvm__vm_op *o); /* from the saga's deinit */

/* host.c: gives back all that the VM has on the host but the system, which close_system() ends. */
void uvm__vm_hang_up(uvm_vm *vm);
void uvm__vm_close_system(uvm_vm *vm, void (*on_closed)(void *arg), void *arg);
int uvm__vm_listen(uvm_vm *vm);
void uvm__vm_on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg);

/* devices.c */
void uvm__vm_on_device(struct uvm__devices *d, enum uvm__device_news news,
                       const struct uvm__attach_result *about);

/* heartbeat.c: beats run exactly while the VM does. */
void uvm__heartbeat_init(uvm_vm *vm);
void uvm__heartbeat_on_state(uvm_vm *vm); /* it has changed */
void uvm__heartbeat_stop(uvm_vm *vm);     /* idempotent */

/* boot.c: what its steps wait for. */
void uvm__boot_on_contact(uvm_vm *vm);
void uvm__boot_on_vmm_end(uvm_vm *vm);

/* boot_disks.c: the disks that a boot brings. Part of the boot's state; each attach is a child operation
 * that holds the boot's. */
struct uvm__boot_disks {
    uvm_vm *vm;
    uvm_op *op;              /* the boot's; borrowed */
    void (*news)(void *arg); /* from the ready queue, after each change */
    void *arg;
    uint32_t count, on_host, mounted;
    uvm_error *failed; /* the first one's error */
};
/* The registry takes the system, and the disks that its document attaches. */
int uvm__boot_disks_init(struct uvm__boot_disks *d, uvm_vm *vm, struct uvm__fail *f);
void uvm__boot_disks_start(
    struct uvm__boot_disks *d); /* all of them; `failed` where one could not be */
void uvm__boot_disks_deinit(struct uvm__boot_disks *d);

/* explain.c: a boot's error in better words, with what is remembered as its detail. */
uvm_error *uvm__vm_boot_explain(uvm_vm *vm, const uvm_error *err);

/* exit.c: the end of a VM. */
void uvm__vm_exit_init(uvm_vm *vm);
void uvm__vm_exit_wait(uvm_vm *vm, struct uvm__vm_exit_waiter *w,
                       void (*fn)(struct uvm__vm_exit_waiter *w));
void uvm__vm_exit_unwait(struct uvm__vm_exit_waiter *w); /* idempotent on an initialised node */
/* A step that fails: where a lost connection is all it knows, it waits for the VM's end to be decided and
 * says that instead. Embedded in the state of an operation whose step passes `cancel` on. */
struct uvm__vm_failing {
    struct uvm__vm_op *o;
    struct uvm__vm_exit_waiter vm_end;
    uvm_error *failed; /* NULL: nothing is waited for */
};
void uvm__vm_failing_init(struct uvm__vm_failing *f, struct uvm__vm_op *o);
void uvm__vm_failing_deinit(struct uvm__vm_failing *f);
void uvm__vm_fail_step(struct uvm__vm_failing *f, uvm_error *take_err);
void uvm__vm_failing_cancel(struct uvm__vm_failing *f);
void uvm__vm_exit_on_vmm_end(uvm_vm *vm, enum uvm__hcs_exit cause, int status, const char *detail);
void uvm__vm_exit_settle(uvm_vm *vm); /* the VMM has ended and no boot is under way */
void uvm__vm_exit_on_bridge_lost(uvm_vm *vm, const uvm_error *err);
/* "the guest's kernel panicked: …", on one line. */
#define UVM__EXIT_TEXT_BYTES 400u
void uvm__vm_exit_text(const uvm_vm *vm, char ret[UVM__EXIT_TEXT_BYTES]);
/* "demo: the guest's kernel panicked: …", code EXITED. Only after the end. */
uvm_error *uvm__vm_exit_error(uvm_vm *vm);
/* Puts into the detail what is remembered: console, agent's log, events. */
uvm_error *uvm__vm_exit_remember(uvm_vm *vm, uvm_error *take_err);

/* close.c */
void uvm__vm_close_turn(uvm_vm *vm); /* an op, process or quarantine may have been the last */

/* process.c: a process of `link` in uvm_vm.processes; the VM closes, so its end is made known. */
uvm_process *uvm__vm_process_of(struct uvm__list *link);
void uvm__vm_process_drop(uvm_process *p);
