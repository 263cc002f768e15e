/* SPDX-License-Identifier: MIT
 * vpci_id.h — a device of a container's document (windows.devices: idType and id) as a PCI function to assign.
 * Source: hcsshim's internal/uvm/virtual_device.go, internal/hcsoci/devices.go.
 */
#pragma once
#include "async/error.h"
#include "uvm/devices.h"

struct uvm__vpci_id {
    size_t
        device_bytes; /* of the id: the device's path, without what says which virtual function */
    uint32_t virtual_function;
    bool gpu; /* its driver is mounted by the guest's own way for GPUs */
};

/* Types that a utility VM can be given: gpu, vpci, vpci-instance-id. -UVM_E_UNSUPPORTED: one that is for containers
 * without a VM; -UVM_E_INVAL: no such type, no id. */
int uvm__vpci_id_read(const char *type, const char *id, struct uvm__vpci_id *ret,
                      struct uvm__fail *f);
