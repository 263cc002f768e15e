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

/* -UVM_E_INVAL (a control character, an open quote), -UVM_E_LIMIT (longer than UVM__CMDLINE_BYTES_MAX, of
 * which the kernel would cut the rest off silently), -UVM_E_NOMEM; messages
 * begin with the field's path. `line` may be NULL: empty. *ret is released with uvm__free(). */
int uvm__qemu_kernel_line(uvm_engine *e, const char *line, bool tcg, char **ret,
                          struct uvm__fail *f);
