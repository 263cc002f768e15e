/* SPDX-License-Identifier: MIT
 * state.h — the table of a VM's states: which event leads where, which verb is legal.
 */
#pragma once
#include "uvm/uvm.h"

/* X(NAME, text): what happens to a VM. The first ones are verbs, which may be refused. */
#define UVM__EVENT_MAP(X)                                                                          \
    X(BOOT, "boot")                                                                                \
    X(STOP, "stop") /* and terminate */                                                            \
    X(WAIT, "wait")                                                                                \
    X(EXEC, "exec")                                                                                \
    X(ATTACH, "attach")     /* and detach */                                                       \
    X(BOOTED, "booted")     /* negotiated */                                                       \
    X(UNBOOTED, "unbooted") /* the boot failed and is undone */                                    \
    X(UNDO_FAILED, "undo failed")                                                                  \
    X(PAUSED, "paused")                                                                            \
    X(RESUMED, "resumed")                                                                          \
    X(EXITED, "exited") /* the service said so */                                                  \
    X(STUCK, "stuck")   /* ... and that the VMM is there still, though killed */

enum uvm__event {
#define UVM__X(name, text) UVM__EV_##name,
    UVM__EVENT_MAP(UVM__X)
#undef UVM__X
        UVM__EV_MAX
};

const char *uvm__event_text(enum uvm__event ev);

/* The state after `ev`; the same one when it changes nothing. -UVM_E_STATE: refused (verbs), or
 * impossible (the rest: a bug). */
int uvm__state_next(enum uvm_vm_state from, enum uvm__event ev, enum uvm_vm_state *ret_to);
