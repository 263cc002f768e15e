/* SPDX-License-Identifier: MIT
 * heartbeat.c — an agent that does not answer any more is found, while its VM runs.
 *
 * Every UVM__HEARTBEAT_MS a beat is sent. A period in which a beat was under way and no answer came is a
 * miss; UVM__HEARTBEAT_MISSES in a row and the agent counts as hung: its bridge is given up, and exit.c does
 * what it does for every lost agent. A late answer is an answer, so a missed beat stays under way beside
 * the next one; it is let go of when a younger one was answered or its place is needed.
 * What counts is beats, not time: a tick that comes more than a period late says that we did not run (the
 * host slept, our process was stopped), and answers may lie unread; nothing is judged then. Nor while the
 * VM is paused, or stops (that has its own patience), or when memory for a beat was lacking.
 */
#include "async/cleanup.h"
#include "async/mark.h"
#include "uvm/vm_int.h"

#define PENDING_MAX (2 * UVM__RPC_PENDING_MAX) /* calls without a reply, lost beats included */

static bool waits(const struct uvm__heartbeat *h) {
    bool any = false;
    for (unsigned i = 0; i < UVM__HEARTBEAT_MISSES; i++) {
        any = any || h->beats[i] != NULL;
    }
    return any;
}

static void let_go(struct uvm__heartbeat *h, unsigned i) {
    uvm_op *op = h->beats[i];
    h->beats[i] = NULL;
    if (op != NULL) {
        uvm_op_cancel(op);
        uvm_op_unref(op);
    }
}

static void on_beat(uvm_op *op, const uvm_error *err, void *arg) {
    uvm_vm *vm = arg;
    struct uvm__heartbeat *h = &vm->heartbeat;
    UVM_ASSERT(h->open > 0);
    h->open--;
    for (unsigned i = 0; i < UVM__HEARTBEAT_MISSES; i++) {
        if (h->beats[i] == op) {
            h->beats[i] = uvm_op_unref(op);
            UVM__MARK_IF(heartbeat_late,
                         err == NULL && i + 1 < UVM__HEARTBEAT_MISSES && h->beats[i + 1] != NULL);
            h->heard = h->heard || err == NULL;
            for (unsigned k = 0; err == NULL && k < i; k++) {
                let_go(h, k); /* the older ones: their answers were lost */
            }
            break;
        }
    }
    uvm__vm_close_turn(vm);
    uvm__vm_unref(vm);
}

/* Beats stand in the order of their age. */
static void send_beat(uvm_vm *vm) {
    struct uvm__heartbeat *h = &vm->heartbeat;
    unsigned n = 0;
    if (h->beats[UVM__HEARTBEAT_MISSES - 1] != NULL && h->beats[0] != NULL) {
        let_go(h, 0);
    }
    for (unsigned i = 0; i < UVM__HEARTBEAT_MISSES; i++) {
        uvm_op *op = UVM_TAKE_PTR(h->beats[i]);
        if (op != NULL) {
            h->beats[n++] = op;
        }
    }
    UVM_ASSERT(n < UVM__HEARTBEAT_MISSES);
    if (uvm__bridge_heartbeat(vm->bridge, &vm->scope, on_beat, vm, &h->beats[n]) == 0) {
        uvm__vm_ref(vm);
        h->open++;
    }
}

static void arm(uvm_vm *vm) {
    uvm__deadline_set(vm->engine, &vm->heartbeat.timer,
                      uvm__now_ms(vm->engine) + UVM__HEARTBEAT_MS);
}

static void give_up(uvm_vm *vm, uvm_error *take_why) {
    uvm__heartbeat_stop(vm);
    uvm__bridge_kill(vm->bridge, take_why);
}

static void on_tick(struct uvm__deadline *d) {
    uvm_vm *vm = UVM__CONTAINER_OF(d, uvm_vm, heartbeat.timer);
    struct uvm__heartbeat *h = &vm->heartbeat;
    UVM_ASSERT(vm->state == UVM_VM_RUNNING && vm->bridge != NULL);
    bool late = uvm__now_ms(vm->engine) >= h->timer.at_ms + UVM__HEARTBEAT_MS;
    if (uvm__bridge_lost(vm->bridge)) {
        return; /* exit.c has it in hand */
    }
    UVM__MARK_IF(heartbeat_overslept, late);
    if (h->heard || !waits(h)) {
        h->misses = 0;
    } else if (!late && ++h->misses == UVM__HEARTBEAT_MISSES) {
        UVM__MARK(heartbeat_hung);
        give_up(vm,
                uvm__error(vm->engine, UVM_E_TIMEDOUT, 0,
                           "the agent did not answer %u heartbeats in %u s", UVM__HEARTBEAT_MISSES,
                           UVM__HEARTBEAT_MISSES * UVM__HEARTBEAT_MS / 1000));
        return;
    } else if (!late) {
        uvm__ring_note(vm->engine, &vm->ring, "the agent did not answer a heartbeat");
    }
    if (uvm__bridge_pending(vm->bridge) >= PENDING_MAX) {
        give_up(vm,
                uvm__error(vm->engine, UVM_E_LIMIT, 0,
                           "the agent left more than %u requests without an answer", PENDING_MAX));
        return;
    }
    h->heard = false;
    send_beat(vm);
    arm(vm);
}

void uvm__heartbeat_init(uvm_vm *vm) {
    uvm__deadline_init(&vm->heartbeat.timer, on_tick);
}

void uvm__heartbeat_stop(uvm_vm *vm) {
    struct uvm__heartbeat *h = &vm->heartbeat;
    uvm__deadline_clear(vm->engine, &h->timer);
    for (unsigned i = 0; i < UVM__HEARTBEAT_MISSES; i++) {
        let_go(h, i);
    }
}

void uvm__heartbeat_on_state(uvm_vm *vm) {
    uvm__heartbeat_stop(vm);
    if (vm->state == UVM_VM_RUNNING && !vm->closing) {
        vm->heartbeat.misses = 0;
        vm->heartbeat.heard = false;
        arm(vm);
    }
}
