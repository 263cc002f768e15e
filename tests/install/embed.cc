/* SPDX-License-Identifier: MIT
 * embed.cc — the public headers, from C++: the macros that make params, and a call into the library.
 */
#include <cstdio>
#include <cstring>
#include <uvm/async.h>
#include <uvm/qemu_service.h>
#include <uvm/uvm.h>

int main() {
    struct uvm_engine_params engine = UVM_ENGINE_PARAMS_INIT;
    struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    struct uvm_exec_params exec = UVM_EXEC_PARAMS_INIT;
    bool good = engine.log_level == UVM_LOG_INFO && qemu.accel == UVM_QEMU_ACCEL_AUTO &&
                vm.size == sizeof vm && exec.fd[UVM_STDERR] == -1 && exec.arg == nullptr;
    std::puts(uvm_version());
    return good && uvm_version_number() == UVM_VERSION_NUMBER &&
                   std::strcmp(uvm_version(), UVM_VERSION) == 0
               ? 0
               : 1;
}
