/* SPDX-License-Identifier: MIT
 * offers.c — what a VM on QEMU is offered from its boot, and where on its PCI buses things are.
 *
 * Places are argv.c's: controllers and root ports sit on bus 0, whose number no guest changes; what is plugged
 * behind a root port is function 0 of a bus that the guest numbers.
 */
#include <stdio.h>
#include <string.h>

#include "async/check.h"
#include "hcs/qemu/qemu_int.h"

void uvm__qemu_scsi_location(unsigned controller, char ret[UVM__VMBUS_LOCATION_BYTES]) {
    (void)snprintf(ret, UVM__VMBUS_LOCATION_BYTES, "0000:00:%02x.0",
                   UVM__QEMU_SLOT_SCSI + controller);
}

void uvm__qemu_port_location(unsigned port, char ret[UVM__VMBUS_LOCATION_BYTES]) {
    UVM_ASSERT_CMP(port, <, UVM__QEMU_ROOT_PORTS);
    (void)snprintf(ret, UVM__VMBUS_LOCATION_BYTES, "0000:00:%02x.0/00.0",
                   UVM__QEMU_SLOT_ROOT_PORT + port);
}

static int present_scsi(struct uvm__qemu_system *s) {
    const struct uvm__doc_devices *d = &s->doc.vm.devices;

    for (size_t i = 0; i < d->scsi_count; i++) {
        struct uvm__vmbus_device device = {.kind = UVM__VMBUS_STORVSC};

        int rc = uvm__guid_read(d->scsi[i].guid, strlen(d->scsi[i].guid), &device.instance);
        UVM_ASSERT(rc == 0); /* by the reader, which takes each once */
        uvm__qemu_scsi_location(uvm__doc_scsi_number(&s->doc, i), device.location);
        rc = uvm__vmbus_present(s->vmbus, &device);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int uvm__qemu_offers_open(struct uvm__qemu_system *s) {
    int rc = uvm__vmbus_open(s->engine, s->base.hvsock, s->name, &s->vmbus);

    return rc < 0 ? rc : present_scsi(s);
}

/* One that has not dialled yet, or never will, may still look for itself; one that stands still cannot say. */
bool uvm__qemu_offer_pending(const struct uvm__qemu_system *s, const struct uvm__guid *instance) {
    bool opened = false;

    return s->vmbus != NULL && s->state == UVM__QEMU_RUNNING &&
           uvm__vmbus_link(s->vmbus) == UVM__VMBUS_UP &&
           uvm__vmbus_has(s->vmbus, instance, &opened) && !opened;
}

const uvm_error *uvm__qemu_offer_error(const uvm_error *err) {
    bool undo = err != NULL && uvm_error_code(err) == UVM_E_UNDO;
    return undo && uvm_error_cause(err) != NULL ? uvm_error_cause(err) : err;
}
