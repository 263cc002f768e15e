/* SPDX-License-Identifier: MIT
 * doc_scsi.c — the numbers of a document's controllers.
 */
#include "async/check.h"
#include "hcs/doc.h"
#include <strings.h>

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
