/* SPDX-License-Identifier: MIT
 * vsmb.h — shared folders: what a document calls vSMB, carried by virtio-fs.
 */
#pragma once
#include "hcs/qemu/modify.h"

/* The row of the kind. */
extern const struct uvm__qemu_kind uvm__qemu_vsmb;

/* The option that cannot be honoured, and why in *ret_why; NULL: none. */
const char *uvm__qemu_vsmb_refused(const struct uvm__doc_vsmb_options *o, const char **ret_why);

/* struct uvm__hcs_ops.location: a share's tag. */
int uvm__qemu_location(struct uvm__hcs_system *base, const char *resource,
                       char ret[UVM__HCS_LOCATION_BYTES]);
