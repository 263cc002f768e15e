/* SPDX-License-Identifier: MIT
 * close.c — the end of a VM as an object: nothing left running, nobody left waiting, then one callback.
 *
 * Operations are cancelled first, so that each says so; then the system is closed at once, since what
 * their undo would take back in the guest goes with it. A boot in flight closes the system itself. The
 * callback comes when every on_done has run, the system is gone and no undo is under way: from then on
 * only memory is left, held by whoever still holds an operation, a scope or a process.
 */
#include "async/cleanup.h"
#include "async/mark.h"
#include "uvm/vm_int.h"

#define TURNS_MAX 1000u    /* of the ready queue, once nothing but it is waited for */
#define LOOK_AGAIN_MS 100u /* after them: for what the kernel still holds */

static void on_system_closed(void *arg) {
    uvm_vm *vm = arg;
    vm->system = NULL;
    vm->system_closing = false;
    bool lives =
        vm->state == UVM_VM_RUNNING || vm->state == UVM_VM_PAUSED || vm->state == UVM_VM_STOPPING;
    if (lives && !vm->vmm_ended) {
        uvm__vm_exit_on_vmm_end(vm, UVM__HCS_EXIT_TERMINATED, -1, "");
    }
    uvm__vm_close_turn(vm);
}

static void finish(uvm_vm *vm) {
    void (*on_closed)(void *) = vm->on_closed;
    void *arg = vm->closed_arg;
    vm->on_closed = NULL;
    UVM_ASSERT(uvm__list_empty(&vm->exit_waiters));
    uvm__deadline_clear(vm->engine, &vm->close_again);
    uvm__vm_dismiss(vm);
    uvm_scope_unref(&vm->scope);
    uvm_scope_unref(&vm->undo_root);
    uvm__vm_unref(vm);
    if (on_closed != NULL) {
        on_closed(arg);
    }
}

static void on_turn(struct uvm__ready *r) {
    uvm_vm *vm = UVM__CONTAINER_OF(r, uvm_vm, close_ready);
    if (vm->system != NULL && !vm->system_closing && vm->boot == NULL) {
        uvm__vm_close_system(vm, on_system_closed, vm);
        return;
    }
    if (vm->system != NULL || !uvm__list_empty(&vm->ops) || vm->heartbeat.open > 0) {
        return; /* their ends come back here */
    }
    if (!uvm__list_empty(&vm->undo_root.children)) {
        /* Quarantined undos and orphans end now that the VM is gone, within a few turns; but for an
         * undo that waits for a VMM which was killed and does not die: it may take its time. */
        uvm__scope_fail(&vm->undo_root, UVM__VM_EXITED, NULL);
        UVM__MARK(close_undo);
        if (vm->close_turns < TURNS_MAX) {
            vm->close_turns++;
            uvm__ready_push(vm->engine, r);
        } else {
            uvm__deadline_set(vm->engine, &vm->close_again,
                              uvm__now_ms(vm->engine) + LOOK_AGAIN_MS);
        }
        return;
    }
    if (vm->control != NULL) {
        uvm__control_end(vm->control); /* which comes back here */
        return;
    }
    finish(vm);
}

static void on_again(struct uvm__deadline *d) {
    uvm__vm_close_turn(UVM__CONTAINER_OF(d, uvm_vm, close_again));
}

void uvm__vm_close_turn(uvm_vm *vm) {
    if (vm->closing) {
        uvm__ready_push(vm->engine, &vm->close_ready);
    }
}

void uvm_vm_close(uvm_vm *vm, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!vm->closing);
    UVM__MARK_IF(close_booting, vm->boot != NULL);
    vm->closing = true;
    vm->on_closed = on_closed;
    vm->closed_arg = arg;
    vm->on_console = NULL;
    if (vm->control != NULL) {
        uvm__control_closing(vm->control);
    }
    uvm__ready_init(&vm->close_ready, on_turn);
    uvm__deadline_init(&vm->close_again, on_again);
    uvm__heartbeat_stop(vm);
    uvm_scope_cancel(&vm->scope);
    while (!uvm__list_empty(&vm->processes)) {
        uvm__vm_process_drop(uvm__vm_process_of(vm->processes.next));
    }
    uvm__vm_close_turn(vm);
}
