/* SPDX-License-Identifier: MIT
 * ports.h — which of a VM's PCIe root ports have a device.
 *
 * The ports are there from the boot (UVM__QEMU_ROOT_PORTS, argv.c); what is added to a running VM as a PCI
 * device of its own takes one, function 0 of the bus behind it: device_add with bus=rp<N>,addr=0x0. A port is
 * given back when QEMU has told that its device is gone (uvm__command_unplug()). All zero: all are free.
 */
#pragma once
#include <stdint.h>

#include "async/error.h"

struct uvm__qemu_ports {
    uint32_t taken; /* a bit each */
};

/* The first free port. `who` ("vsmb: s1") begins the message of -UVM_E_LIMIT, when all are taken. */
int uvm__qemu_port_take(struct uvm__qemu_ports *p, const char *who, unsigned *ret_port,
                        struct uvm__fail *f);
void uvm__qemu_port_give(struct uvm__qemu_ports *p, unsigned port);
