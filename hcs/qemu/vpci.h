/* SPDX-License-Identifier: MIT
 * vpci.h — assigned devices: a PCI function behind a root port, offered to the guest by its instance's GUID.
 */
#pragma once
#include "hcs/doc.h"
#include "hcs/qemu/modify.h"

extern const struct uvm__qemu_kind uvm__qemu_vpci;

/* Whether the one function of a device that was read is one that this service knows, by its path alone. */
int uvm__qemu_vpci_check(const struct uvm__doc_vpci *v, struct uvm__fail *f);
