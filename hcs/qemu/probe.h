/* SPDX-License-Identifier: MIT
 * probe.h — a VM whose whole guest is seven bytes of firmware: does guest code run?
 */
#pragma once
#include "async/saga.h"
#include "hcs/qemu/qemu_service.h"

struct uvm__probe_params {
    const char *qemu_path, *launch_path; /* copied */
    enum uvm_qemu_drop drop;
    uint32_t uid_base;
    uint32_t gid; /* instead of the leased one; 0: none */
    bool kvm;     /* else emulation, which tests use */
};

/* Succeeds when the guest's byte came within UVM__PROBE_KVM_MS; nothing is left either way. */
int uvm__qemu_probe(uvm_engine *e, const struct uvm__probe_params *params, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op);
