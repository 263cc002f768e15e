/* SPDX-License-Identifier: MIT
 * admit.c — a VM is counted before anything of it is made, and until nothing of it is left.
 *
 * The service's ledger holds the VMs of this engine. A VM that is published has neighbours besides: VMs of
 * other processes in the same state folder. It was published before it asks, so of two that come at once
 * at least one sees the other.
 */
#include "uvm/vm_int.h"

uint64_t uvm__vm_ledger(uvm_vm *vm) {
    struct uvm__admission *a = &vm->service->admission;
    if (a->tag == 0) {
        uvm__random(vm->engine, &a->tag, sizeof a->tag);
        a->tag |= 1; /* whatever came, it is no "none" */
    }
    return a->tag;
}

int uvm__vm_admit(uvm_vm *vm, struct uvm__fail *f) {
    struct uvm__admission_demand d = {.name = vm->options.name, .memory_mb = vm->options.memory_mb};
    UVM_ASSERT(!vm->admitted);
    if (vm->control != NULL) {
        uvm__control_others(vm->control, &d.others, &d.others_memory_mb);
    }
    int rc = uvm__hcs_admit(vm->service, &d, f);
    vm->admitted = rc == 0;
    return rc;
}

void uvm__vm_dismiss(uvm_vm *vm) {
    if (vm->admitted) {
        vm->admitted = false;
        uvm__hcs_dismiss(vm->service, vm->options.memory_mb);
    }
}
