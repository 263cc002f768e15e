/* SPDX-License-Identifier: MIT
 * control.h — the control socket of a VM: how uvmctl, or any other program, finds and uses a VM that
 * another process owns.
 *
 * uvm_control_listen() gives a VM a folder of its own below the state folder, locked as long as the VM's
 * owner lives, and a socket in it. docs/PROTOCOL-control.md says what is spoken there. A client acts with
 * the owner's rights, so only the owner's user and root are let in.
 *
 * Each connection is a scope: its end cancels what it started, and kills the processes that it runs. A
 * client that sends rubbish, too much, or does not read, loses its connection; nobody else notices.
 *
 * Threading: the loop's thread only, as everything of uvm.h. */
#pragma once
#include "uvm/uvm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UVM_CONTROL_VERSION 1u            /* of the protocol */
#define UVM_CONTROL_SOCKET "control.sock" /* in the VM's folder */
#define UVM_CONTROL_ENDED ".ended" /* beside it: a file NAME for each end that is remembered */
/* In the VM's folder: {"id","name","owner_pid","started_ms","memory_mb","ledger"} */
#define UVM_CONTROL_ABOUT "vm.json"

typedef struct uvm_control uvm_control;

struct uvm_control_params {
    size_t size;        /* sizeof this struct */
    const char *folder; /* the state folder: made when it is missing, its parent is not */
    uint32_t owner_pid; /* what clients are told; 0: not told */
    /* A client asked for the end of a VM that is still booting: uvm_control_params' owner is expected to
     * close the VM when its boot says CANCELED, as it would for any failure. */
};
#define UVM_CONTROL_PARAMS_INIT                                                                    \
    { sizeof(struct uvm_control_params), NULL, 0 }

/* Publishes the VM under its name. Any state; best before boot, so that the name is taken early. At most
 * once per VM at a time (-UVM_E_STATE). -UVM_E_EXISTS: a VM of that name is there. -UVM_E_HOST: the
 * state folder is not ours, not safe, not writable, or full. -UVM_E_UNSUPPORTED: an engine without a loop.
 * -UVM_E_INVAL, -UVM_E_IO, -UVM_E_NOMEM. *ret_err (may be NULL) says it in words. `ret` may be NULL.
 *
 * uvm_vm_close() ends it as its last act: clients get the answers to what they asked, the folder is
 * removed, connections are closed, then the VM's on_closed runs. How it ended is remembered in the state
 * folder for a while (a day, the latest 64), until a VM of the same name comes. */
int uvm_control_listen(uvm_vm *vm, const struct uvm_control_params *params, uvm_control **ret,
                       uvm_error **ret_err);

/* Ends it earlier: the folder is removed, every connection is cut. on_closed (may be NULL) runs later.
 * Once only, and not after uvm_vm_close(). */
void uvm_control_close(uvm_control *control, void (*on_closed)(void *arg), void *arg);

/* Clients that said hello, or still may. */
uint32_t uvm_control_clients(const uvm_control *control);

#ifdef __cplusplus
}
#endif
