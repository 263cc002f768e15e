/* SPDX-License-Identifier: MIT
 * device.h — what a device is to its VM: a class, an instance, and where the guest finds it.
 *
 * On Hyper-V all three are one: a VMBus channel. Elsewhere the same device is a function on a PCI bus, and
 * its location says which, in the guest's numbers: "0000:00:04.0" is a function on a bus whose number does
 * not change, "0000:00:11.0/00.0" function 00.0 on whatever bus is behind that port, for such numbers
 * are the guest's to give.
 */
#pragma once
#include "async/guid.h"

#define UVM__VMBUS_LOCATION_BYTES 32u /* with the terminator: a root port and two more steps */

/* X(name, class GUID, word for people). */
#define UVM__VMBUS_CLASS_MAP(X)                                                                    \
    X(STORVSC, "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", "SCSI controller")                          \
    X(NETVSC, "f8615163-df3e-46c5-913f-f2d2f965ed0e", "network adapter")                           \
    X(VPCI, "44c4f61d-4444-4400-9d52-802e27ede19f", "PCI function")
enum uvm__vmbus_class {
#define UVM__X(name, guid, text) UVM__VMBUS_##name,
    UVM__VMBUS_CLASS_MAP(UVM__X)
#undef UVM__X
        UVM__VMBUS_CLASS_MAX /* another one */
};

struct uvm__vmbus_device {
    enum uvm__vmbus_class kind;
    struct uvm__guid instance;
    char location[UVM__VMBUS_LOCATION_BYTES];
};

const char *uvm__vmbus_class_guid(enum uvm__vmbus_class kind);
/* "SCSI controller"; never NULL. */
const char *uvm__vmbus_class_text(enum uvm__vmbus_class kind);
/* UVM__VMBUS_CLASS_MAX for a class that is not in the table. */
enum uvm__vmbus_class uvm__vmbus_class_of(const struct uvm__guid *guid);
/* Whether it is a location, and fits. */
bool uvm__vmbus_location_valid(const char *text);
