/* SPDX-License-Identifier: MIT
 * document.c — what the model takes from a document: controllers, the disks that are there from the start, and
 * what its properties repeat.
 *
 * What any host would find wrong is found here, with the codes that the others give. What only one VMM cannot
 * honour is no model's to refuse.
 */
#include "async/check.h"
#include "hcs/sim/sim_int.h"
#include <stdio.h>
#include <string.h>

#define SCSI "VirtualMachine.Devices.Scsi"
#define PCI_SLOT 4u /* of the first controller; a guest of the model takes any */

static int read_disk(uvm_engine *e, struct uvm__sim_document *d, unsigned n,
                     const struct uvm__doc_scsi_attachment *a, struct uvm__fail *why) {
    struct uvm__sim_disk *disk = uvm__sim_disk_new(e, n, a);
    if (disk == NULL) {
        return -UVM_E_NOMEM;
    }
    bool excluded = uvm__sim_disk_excluded(&d->disks, a->path, a->read_only);
    uvm__list_append(&d->disks, &disk->link);
    char guid[UVM_GUID_TEXT];
    uvm__guid_text(&d->facts.controllers[n], guid);
    return excluded ? uvm__fail(why, UVM_E_STATE, 0,
                                SCSI ".%s.Attachments.%llu: disk %.100s is attached already", guid,
                                (unsigned long long)a->lun, a->path)
                    : 0;
}

static int read_controllers(uvm_engine *e, const struct uvm__doc *doc, struct uvm__sim_document *d,
                            struct uvm__fail *why) {
    const struct uvm__doc_devices *v = &doc->vm.devices;
    for (size_t i = 0; i < v->scsi_count; i++) {
        unsigned n = uvm__doc_scsi_number(doc, i);
        int rc = uvm__guid_read(v->scsi[i].guid, strlen(v->scsi[i].guid), &d->facts.controllers[n]);
        UVM_ASSERT(rc == 0); /* by the reader, which takes each once */
        d->facts.has_controller[n] = true;
        for (size_t k = 0; k < v->scsi[i].attachments_count; k++) {
            rc = read_disk(e, d, n, &v->scsi[i].attachments[k], why);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int read_shares(uvm_engine *e, const struct uvm__doc *doc, struct uvm__sim_document *d) {
    const struct uvm__doc_plan9 *p = &doc->vm.devices.plan9;
    for (size_t i = 0; i < p->shares_count; i++) {
        struct uvm__sim_disk *share = uvm__sim_share_new(e, &p->shares[i]);
        if (share == NULL) {
            return -UVM_E_NOMEM;
        }
        uvm__list_append(&d->disks, &share->link);
    }
    const struct uvm__doc_vsmb *v = &doc->vm.devices.vsmb;
    for (size_t i = 0; i < v->shares_count; i++) {
        struct uvm__sim_disk *share = uvm__sim_vsmb_new(e, &v->shares[i]);
        if (share == NULL) {
            return -UVM_E_NOMEM;
        }
        uvm__list_append(&d->disks, &share->link);
    }
    return 0;
}

static int read_nics(uvm_engine *e, const struct uvm__doc *doc, struct uvm__sim_document *d) {
    const struct uvm__doc_devices *v = &doc->vm.devices;
    for (size_t i = 0; i < v->nics_count; i++) {
        struct uvm__sim_disk *nic = uvm__sim_nic_new(e, v->nics[i].guid, &v->nics[i]);
        if (nic == NULL) {
            return -UVM_E_NOMEM;
        }
        uvm__list_append(&d->disks, &nic->link);
    }
    return 0;
}

static int read_images(uvm_engine *e, const struct uvm__doc *doc, struct uvm__sim_document *d) {
    const struct uvm__doc_vpmem *v = &doc->vm.devices.vpmem;
    for (size_t i = 0; i < v->devices_count; i++) {
        struct uvm__modify m = {.kind = UVM__MODIFY_VPMEM, .number = v->devices[i].number};
        m.settings.vpmem = v->devices[i];
        struct uvm__sim_disk *image = uvm__sim_image_new(e, &m, v->maximum_size_bytes);
        if (image == NULL) {
            return -UVM_E_NOMEM;
        }
        uvm__list_append(&d->disks, &image->link);
    }
    return 0;
}

static int read_functions(uvm_engine *e, const struct uvm__doc *doc, struct uvm__sim_document *d,
                          struct uvm__fail *why) {
    const struct uvm__doc_devices *v = &doc->vm.devices;
    for (size_t i = 0; i < v->vpci_count; i++) {
        const char *words;
        struct uvm__sim_disk *x = uvm__sim_function_new(e, v->vpci[i].guid, &v->vpci[i]);
        if (x == NULL) {
            return -UVM_E_NOMEM;
        }
        enum uvm_error_code code = uvm__sim_function_refused(&d->disks, x, &words);
        uvm__list_append(&d->disks, &x->link);
        if (code != UVM_OK) {
            return uvm__fail(why, code, 0, "VirtualMachine.Devices.VirtualPci.%.36s: %s",
                             v->vpci[i].guid, words);
        }
    }
    return 0;
}

int uvm__sim_document_read(uvm_engine *e, const char *text, size_t bytes,
                           struct uvm__sim_document *d, struct uvm__fail *why) {
    struct uvm__doc doc = {0};
    int rc = uvm__doc_read(e, text, bytes, &doc, why);
    memset(&d->facts, 0, sizeof d->facts);
    uvm__list_init(&d->disks);
    if (rc == 0) {
        rc = read_controllers(e, &doc, d, why);
        rc = rc < 0 ? rc : read_images(e, &doc, d);
        rc = rc < 0 ? rc : read_shares(e, &doc, d);
        rc = rc < 0 ? rc : read_functions(e, &doc, d, why);
        rc = rc < 0 ? rc : read_nics(e, &doc, d);
        (void)snprintf(d->facts.owner, sizeof d->facts.owner, "%s",
                       doc.owner == NULL ? "" : doc.owner);
        d->facts.vpmem_devices = doc.vm.devices.vpmem.maximum_count;
        d->facts.vpmem_bytes = doc.vm.devices.vpmem.maximum_size_bytes;
        d->facts.memory_mb = doc.vm.topology.memory.size_in_mb;
        d->facts.processors = doc.vm.topology.processor.count;
    }
    uvm__doc_deinit(&doc);
    if (rc < 0) {
        uvm__sim_document_deinit(e, d);
    }
    return rc;
}

void uvm__sim_document_deinit(uvm_engine *e, struct uvm__sim_document *d) {
    while (!uvm__list_empty(&d->disks)) {
        struct uvm__sim_disk *disk = UVM__CONTAINER_OF(d->disks.next, struct uvm__sim_disk, link);
        uvm__list_remove(&disk->link);
        uvm__free(e, disk);
    }
}

int uvm__sim_document_apply(struct uvm__sim_document *d, struct uvm__sim_system *s) {
    s->facts = d->facts;
    s->base.vpmem.devices = (uint32_t)d->facts.vpmem_devices;
    s->base.vpmem.bytes = d->facts.vpmem_bytes;
    for (unsigned n = 0; n < UVM__DOC_SCSI_CONTROLLERS_MAX; n++) {
        struct uvm__vmbus_device device = {.kind = UVM__VMBUS_STORVSC,
                                           .instance = d->facts.controllers[n]};
        (void)snprintf(device.location, sizeof device.location, "0000:00:%02x.0", PCI_SLOT + n);
        int rc = d->facts.has_controller[n] ? uvm__vmbus_present(s->vmbus, &device) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    while (!uvm__list_empty(&d->disks)) {
        struct uvm__sim_disk *disk = UVM__CONTAINER_OF(d->disks.next, struct uvm__sim_disk, link);
        uvm__list_remove(&disk->link);
        uvm__sim_disk_add(s, disk);
    }
    return 0;
}
