/* SPDX-License-Identifier: MIT
 * doc_scsi.c — which controllers a document has: their numbers, and whether GUIDs tell them apart.
 */
#include "async/check.h"
#include "async/guid.h"
#include "hcs/doc.h"
#include <string.h>
#include <strings.h>

bool uvm__doc_scsi_named(const struct uvm__doc *doc) {
    const struct uvm__doc_devices *v = &doc->vm.devices;
    struct uvm__guid guids[UVM__DOC_SCSI_CONTROLLERS_MAX];

    for (size_t i = 0; i < v->scsi_count; i++) {
        if (uvm__guid_read(v->scsi[i].guid, strlen(v->scsi[i].guid), &guids[i]) < 0) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (uvm__guid_equal(&guids[i], &guids[k])) {
                return false;
            }
        }
    }
    return true;
}

unsigned uvm__doc_scsi_number(const struct uvm__doc *doc, size_t index) {
    const struct uvm__doc_devices *d = &doc->vm.devices;
    bool taken[UVM__DOC_SCSI_CONTROLLERS_MAX] = {false};
    unsigned numbers[UVM__DOC_SCSI_CONTROLLERS_MAX] = {0};
    bool known[UVM__DOC_SCSI_CONTROLLERS_MAX] = {false};

    UVM_ASSERT_CMP(index, <, d->scsi_count);
    UVM_ASSERT_CMP(d->scsi_count, <=, UVM__DOC_SCSI_CONTROLLERS_MAX);
    for (size_t i = 0; i < d->scsi_count; i++) {
        for (unsigned n = 0; n < UVM__DOC_SCSI_CONTROLLERS_MAX; n++) {
            if (strcasecmp(d->scsi[i].guid, uvm__doc_scsi_controller_guids[n]) == 0) {
                numbers[i] = n;
                known[i] = taken[n] = true;
            }
        }
    }
    /* Foreign GUIDs take what the four known ones leave, in the document's order. */
    for (size_t i = 0; i <= index; i++) {
        for (unsigned n = 0; !known[i] && n < UVM__DOC_SCSI_CONTROLLERS_MAX; n++) {
            if (!taken[n]) {
                numbers[i] = n;
                known[i] = taken[n] = true;
            }
        }
    }
    return numbers[index];
}
