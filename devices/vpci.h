/* SPDX-License-Identifier: MIT
 * vpci.h — assigned devices: a PCI function of the host each, under a VMBus instance of the guest.
 *
 * What a device's path means is the service's to say (a PnP path, a PCI address, a model).
 */
#pragma once
#include "async/error.h"

#define UVM__VPCI_DEVICE_BYTES_MAX 1023u /* a device's path */
#define UVM__VPCI_FUNCTIONS_MAX 65535u   /* the last virtual function's number */

struct uvm__devices;

/* Borrowed during the call; see struct uvm_vpci_params (uvm/devices.h). */
struct uvm__vpci_params {
    const char *device;
    uint32_t virtual_function;
    const char *guid; /* NULL: a new one */
};

/* What can be said about params without a VM: -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__vpci_check(const struct uvm__vpci_params *p, struct uvm__fail *f);
/* A device that the document assigns: as long as the VM lives, shared by whoever asks for the same. -UVM_E_EXISTS. */
int uvm__vpci_pin(struct uvm__devices *d, const struct uvm__vpci_params *p, struct uvm__fail *f);
