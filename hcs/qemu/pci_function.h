/* SPDX-License-Identifier: MIT
 * pci_function.h — what the DeviceInstancePath of an assigned device means on this host.
 *
 * On Hyper-V it is a PnP path; here it is a function of the host's own PCI bus by its address
 * ("0000:3b:00.0"), which is given to the guest whole (vfio-pci), or "emulated:MODEL", a function that QEMU makes up.
 * VirtualFunction picks one of an SR-IOV device's virtual functions (virtfnN of it); of a device that has none
 * only 0 exists, which is itself. Of a model it tells several of the same apart.
 *
 * What must be true of a function of the host (an IOMMU, the driver, the group, rights) is looked up in sysfs
 * before QEMU is asked, since QEMU's own words name no remedy.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "async/error.h"

#define UVM__PCI_ADDRESS_BYTES 13u /* "0000:3b:00.0" with its end */
#define UVM__PCI_GROUP_BYTES 16u   /* an IOMMU group's number as text */
#define UVM__PCI_DEVICE_BYTES 190u /* arguments of its device_add */

struct uvm__pci_model;

struct uvm__pci_function {
    const struct uvm__pci_model *model;   /* NULL: one of the host's */
    uint64_t virtual_function;            /* of the host's: picked by uvm__pci_function_find() */
    char address[UVM__PCI_ADDRESS_BYTES]; /* of the host's; else "" */
    char group[UVM__PCI_GROUP_BYTES];     /* its IOMMU group, once it was found; else "" */
};

/* Where to look, and for whom. */
struct uvm__pci_host {
    const char *sys, *dev; /* "/sys", "/dev" but in tests */
    uint32_t uid, gid;     /* what QEMU runs as */
    bool unlimited;        /* it may lock what it likes */
    uint64_t lock_bytes;   /* how much it may lock … */
    uint64_t guest_bytes;  /* … and must: all that the guest has */
};

/* Reads the path, looks at nothing. -UVM_E_INVAL: neither an address nor a model; -UVM_E_UNSUPPORTED: a model that
 * is not in the table, which the words list. */
int uvm__pci_function_read(const char *path, uint64_t virtual_function,
                           struct uvm__pci_function *ret, struct uvm__fail *f);
/* Of a function of the host: finds the virtual one that is meant and what vfio needs. Words with the remedy:
 * -UVM_E_NOTFOUND (no such function), -UVM_E_HOST (no IOMMU, no rights, a limit), -UVM_E_STATE (a driver of the host
 * has it, or another of its group). A model is found always. */
int uvm__pci_function_find(const struct uvm__pci_host *host, struct uvm__pci_function *fn,
                           struct uvm__fail *f);
/* Whether both are the same function, once found. */
bool uvm__pci_function_same(const struct uvm__pci_function *a, const struct uvm__pci_function *b);
/* device_add's arguments: as function 0 behind root port `port`, with QEMU's name `id`. */
void uvm__pci_function_device(const struct uvm__pci_function *fn, const char *id, unsigned port,
                              char ret[UVM__PCI_DEVICE_BYTES]);
/* "edu", or the address. */
const char *uvm__pci_function_name(const struct uvm__pci_function *fn);
