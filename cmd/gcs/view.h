/* SPDX-License-Identifier: MIT
 * view.h — the guest's view of offered devices: /sys/bus/vmbus/devices/<GUID>, as on Hyper-V.
 *
 * What is there for a device is what an agent looks for: host<N> of a SCSI controller, net/<interface> of a
 * network adapter, pci<DDDD:BB>/<DDDD:BB:SS.F> of a PCI function; each leads to the device's own place below
 * /sys/devices. `sys` is where sysfs is, "/sys" but in tests.                                     */
#pragma once
#include "vmbus/device.h"

#include <stdbool.h>

/* Makes room for it: a tmpfs over SYS/bus with the real buses bound back. Once; 0, or -1 after a line on
 * stderr. Nobody sees it half made.                                                                */
int uvm__view_make(void);
/* Binds buses that came since. */
void uvm__view_buses(void);

/* Looks for the device and, if the kernel has it, writes its entry, whole or not at all. False: not there yet (or
 * a class that this guest does not know). True also when it is shown already.                    */
bool uvm__view_show(const char *sys, const struct uvm__vmbus_device *d);
/* Idempotent. */
void uvm__view_hide(const char *sys, const struct uvm__guid *instance);

/* Unbinds the driver of a PCI function that is shown, if it has one; blocks until the driver has let go. */
void uvm__view_release(const char *sys, const struct uvm__guid *instance);

/* Asks a SCSI controller that is shown for the disks that it had before its driver came: all of them are on
 * target 0 of channel 0.                                                                          */
void uvm__view_scan(const char *sys, const struct uvm__guid *instance);
