/* SPDX-License-Identifier: MIT
 * state.c — a VM's states as one table: a row a state, a column an event.
 *
 * `NO` is a refusal, which only verbs can meet; `XX` is what cannot happen, which the callers assert. A
 * VM that ends while it starts stays `starting`: its boot hears of the end, undoes itself, and says so
 * (unbooted). From `failed` nothing leads out: something is left on the host, and close is the only verb.
 */
#include "uvm/state.h"

#define NO (-1) /* refused */
#define XX (-2) /* impossible */
#define CR UVM_VM_CREATED
#define ST UVM_VM_STARTING
#define RU UVM_VM_RUNNING
#define PA UVM_VM_PAUSED
#define SG UVM_VM_STOPPING
#define SD UVM_VM_STOPPED
#define FA UVM_VM_FAILED

static const short table[UVM_VM_STATE_MAX][UVM__EV_MAX] = {
    /*                  boot stop wait exec attach booted unbooted undo-failed paused resumed exited stuck */
    [UVM_VM_CREATED] = {ST, NO, NO, NO, NO, XX, XX, XX, XX, XX, XX, XX},
    [UVM_VM_STARTING] = {NO, NO, NO, NO, NO, RU, CR, FA, ST, ST, ST, XX},
    [UVM_VM_RUNNING] = {NO, SG, RU, RU, RU, XX, XX, XX, PA, RU, SD, FA},
    [UVM_VM_PAUSED] = {NO, SG, PA, NO, NO, XX, XX, XX, PA, RU, SD, FA},
    [UVM_VM_STOPPING] = {NO, SG, SG, NO, NO, XX, XX, XX, SG, SG, SD, FA},
    [UVM_VM_STOPPED] = {NO, SD, SD, NO, NO, XX, XX, XX, XX, XX, XX, XX},
    [UVM_VM_FAILED] = {NO, NO, NO, NO, NO, XX, XX, XX, FA, FA, FA, XX},
};

int uvm__state_next(enum uvm_vm_state from, enum uvm__event ev, enum uvm_vm_state *ret_to) {
    int to = table[from][ev];
    if (to < 0) {
        return -UVM_E_STATE;
    }
    *ret_to = (enum uvm_vm_state)to;
    return 0;
}

const char *uvm__event_text(enum uvm__event ev) {
    static const char *const texts[UVM__EV_MAX] = {
#define UVM__X(name, text) [UVM__EV_##name] = (text),
        UVM__EVENT_MAP(UVM__X)
#undef UVM__X
    };
    return ev < UVM__EV_MAX ? texts[ev] : "unknown";
}

const char *uvm_vm_state_text(enum uvm_vm_state state) {
    static const char *const texts[UVM_VM_STATE_MAX] = {
#define UVM__X(name, text) [UVM_VM_##name] = (text),
        UVM_VM_STATE_MAP(UVM__X)
#undef UVM__X
    };
    return state < UVM_VM_STATE_MAX ? texts[state] : "unknown";
}

static const struct {
    const char *key, *text;
} reasons[UVM_EXIT_REASON_MAX] = {
#define UVM__X(name, key, text) [UVM_EXIT_##name] = {key, text},
    UVM_EXIT_REASON_MAP(UVM__X)
#undef UVM__X
};

const char *uvm_exit_reason_key(enum uvm_exit_reason reason) {
    return reason < UVM_EXIT_REASON_MAX ? reasons[reason].key : "unknown";
}

const char *uvm_exit_reason_text(enum uvm_exit_reason reason) {
    return reason < UVM_EXIT_REASON_MAX ? reasons[reason].text : "unknown";
}
