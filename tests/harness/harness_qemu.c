/* SPDX-License-Identifier: MIT
 * harness_qemu.c — see harness_qemu.h. The only file of the harness that knows which VMM there is, so a program
 * with a service of its own links nothing of this one.
 */
#include "tests/harness/harness_qemu.h"

int uvm_harness_qemu(uvm_engine *engine, void *arg, uvm_service **ret_service) {
    const struct uvm_qemu_params *given = arg;
    if (given == NULL || given->size != sizeof *given) {
        return -UVM_E_INVAL;
    }
    struct uvm_qemu_params params = *given;
    if (params.qemu_path == NULL && params.search_path == NULL) {
        params.search_path = "/usr/local/bin:/usr/bin:/bin";
    }
    return uvm_qemu_service_new(engine, &params, ret_service);
}
