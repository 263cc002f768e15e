/* SPDX-License-Identifier: MIT
 * scsi.h — disks on the controllers that the document gave the VM.
 */
#pragma once
#include "hcs/qemu/modify.h"

/* The row of kind SCSI. */
extern const struct uvm__qemu_kind uvm__qemu_scsi;

/* The field of a well-formed attachment that QEMU cannot honour, and why in *ret_why; NULL: none. */
const char *uvm__qemu_scsi_refused(const struct uvm__doc_scsi_attachment *a, const char **ret_why);
