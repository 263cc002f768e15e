/* SPDX-License-Identifier: MIT
 * capabilities.h — what a QEMU can do, asked from itself over QMP: builds differ, so versions say little.
 */
#pragma once
#include "async/saga.h"
#include "hcs/qemu/qemu_service.h"
#include <cjson/cJSON.h>

#define UVM__QEMU_CAPABILITIES_MAX 16u /* rows that doctor shows */
#define UVM__QEMU_VERSION_BYTES 32u    /* of QEMU's version, with its end */

/* Fills rows from the value that qom-list-types returned; their count. A value of another shape gives
 * rows of which none is present. */
size_t uvm__qemu_capabilities_read(const cJSON *types,
                                   struct uvm_qemu_capability rows[UVM__QEMU_CAPABILITIES_MAX]);

struct uvm__capabilities_params {
    const char *qemu_path, *launch_path; /* copied */
    enum uvm_qemu_drop drop;
    uint32_t uid_base;
};

/* Starts a QEMU without a machine, with the credentials and filters of a VM's, asks it and ends it.
 * HOST: it could not be started, or ended by itself; TIMEDOUT: no answer within UVM__PROBE_QMP_MS. */
int uvm__qemu_capabilities(uvm_engine *e, const struct uvm__capabilities_params *params,
                           uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Of a successful op, valid as long as it: rows, their count, QEMU's version. */
const struct uvm_qemu_capability *uvm__qemu_capabilities_result(uvm_op *op, size_t *ret_count,
                                                                const char **ret_version);
