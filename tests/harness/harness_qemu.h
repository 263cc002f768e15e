/* SPDX-License-Identifier: MIT
 * harness_qemu.h — the harness on QEMU: the service of Linux hosts, as uvm_harness_params.service.
 */
#pragma once
#include "hcs/qemu/qemu_service.h"
#include "tests/harness/harness.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `arg` is a struct uvm_qemu_params, with launch_path at least; without a search_path QEMU is looked for in
 * /usr/local/bin, /usr/bin and /bin. */
int uvm_harness_qemu(uvm_engine *engine, void *arg, uvm_service **ret_service);

#ifdef __cplusplus
}
#endif
