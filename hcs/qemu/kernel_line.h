/* SPDX-License-Identifier: MIT
 * kernel_line.h — the document's kernel command line, rewritten for what holds on QEMU.
 *
 * The document's line is written for Hyper-V (hcsshim's create_lcow.go); a token that cannot hold here is
 * dropped or replaced by one table, and what is missing is added. Both lines stay visible in the
 * properties.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

/* What the line depends on beside the document's. */
enum uvm__line_host {
    UVM__LINE_TCG = 1u, /* every instruction is emulated */
    UVM__LINE_PMEM =
        2u, /* there is virtual PMem, and all of the guest's own memory is below 4 GiB */
};

/* -UVM_E_INVAL (a control character, an open quote), -UVM_E_LIMIT (longer than UVM__CMDLINE_BYTES_MAX, of
 * which the kernel would cut the rest off silently), -UVM_E_NOMEM; messages
 * begin with the field's path. `line` may be NULL: empty. *ret is released with uvm__free(). */
int uvm__qemu_kernel_line(uvm_engine *e, const char *line, unsigned host, char **ret,
                          struct uvm__fail *f);
