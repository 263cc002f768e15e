/* SPDX-License-Identifier: MIT
 * boot_disks.c — the disks and other devices of a boot: the document's, and those of the params.
 *
 * The first are the host's from the start and stay as long as the VM lives. The others are ordinary attaches
 * that begin before the guest runs and end when it has mounted them; in between the boot goes on. They are
 * children of the boot: its cancel and its deadline are theirs, and the first that fails fails the boot, which takes all.
 */
#include "async/cleanup.h"
#include "hcs/doc.h"
#include "uvm/vm_int.h"
#include <string.h>
#include <strings.h>

/* ---- of the document ---------------------------------------------------------------------- */

static int pin_controller(uvm_vm *vm, const struct uvm__doc_scsi_controller *c,
                          struct uvm__fail *f) {
    uint32_t n = 0;
    while (n < UVM__DOC_SCSI_CONTROLLERS_MAX &&
           strcasecmp(c->guid, uvm__doc_scsi_controller_guids[n]) != 0) {
        n++;
    }
    if (n == UVM__DOC_SCSI_CONTROLLERS_MAX) {
        return 0; /* not one that the manager uses */
    }
    for (size_t i = 0; i < c->attachments_count; i++) {
        const struct uvm__doc_scsi_attachment *a = &c->attachments[i];
        int rc = uvm__scsi_pin(&vm->devices, n, (uint32_t)a->lun, a->path, a->read_only,
                               strcmp(a->type, "PassThru") == 0, f);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* As the manager names them: whole paths of one folder become names in it. */
static int pin_share(uvm_vm *vm, const struct uvm__doc_vsmb_share *s, struct uvm__fail *f) {
    const char **files = uvm__zalloc(vm->engine, (s->allowed_files_count + 1) * sizeof *files);
    if (files == NULL) {
        return -UVM_E_NOMEM;
    }
    for (size_t i = 0; i < s->allowed_files_count; i++) {
        files[i] = uvm__share_file_name(s->allowed_files[i]);
    }
    bool file = s->options.single_file_mapping && s->allowed_files_count == 1;
    struct uvm__share_params p = {.host_path = file ? s->allowed_files[0] : s->path,
                                  .read_only = s->options.read_only,
                                  .file = file,
                                  .files = files};
    if (file) {
        files[0] = NULL;
    }
    int rc = uvm__vsmb_pin(&vm->devices, s->name, &p, f);
    uvm__free(vm->engine, files);
    return rc;
}

static int pin_all(uvm_vm *vm, struct uvm__fail *f) {
    struct uvm__doc doc = {0};
    int rc = uvm__doc_read(vm->engine, vm->document, vm->document_bytes, &doc, f);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < doc.vm.devices.scsi_count; i++) {
        rc = pin_controller(vm, &doc.vm.devices.scsi[i], f);
    }
    const struct uvm__doc_vpmem *v = &doc.vm.devices.vpmem;
    for (size_t i = 0; rc == 0 && i < v->devices_count; i++) {
        rc = uvm__vpmem_pin(&vm->devices, (uint32_t)v->devices[i].number, v->devices[i].host_path,
                            f);
    }
    for (size_t i = 0; rc == 0 && i < doc.vm.devices.vpci_count; i++) {
        const struct uvm__doc_vpci *x = &doc.vm.devices.vpci[i];
        const struct uvm__vpci_params p = {.device = x->functions[0].device_instance_path,
                                           .virtual_function =
                                               (uint32_t)x->functions[0].virtual_function,
                                           .guid = x->guid};
        rc = uvm__vpci_pin(&vm->devices, &p, f);
    }
    for (size_t i = 0; rc == 0 && i < doc.vm.devices.plan9.shares_count; i++) {
        rc = uvm__plan9_pin(&vm->devices, &doc.vm.devices.plan9.shares[i]);
    }
    const struct uvm__doc_vsmb *shares = &doc.vm.devices.vsmb;
    for (size_t i = 0; rc == 0 && i < shares->shares_count; i++) {
        rc = pin_share(vm, &shares->shares[i], f);
    }
    for (size_t i = 0; rc == 0 && i < doc.vm.devices.nics_count; i++) {
        rc = uvm__nic_pin(&vm->devices, &doc.vm.devices.nics[i], f);
    }
    uvm__doc_deinit(&doc);
    return rc;
}

int uvm__boot_disks_init(struct uvm__boot_disks *d, uvm_vm *vm, struct uvm__fail *f) {
    d->vm = vm;
    uvm__devices_set_system(&vm->devices, vm->system);
    uvm__scsi_set_controllers(&vm->devices, vm->options.scsi_mask);
    uvm__scsi_set_tools(&vm->devices, vm->options.tools);
    int rc = uvm__vpmem_open(&vm->devices);
    return rc == 0 && vm->options.attachments ? pin_all(vm, f) : rc;
}

/* ---- of the params ------------------------------------------------------------------------ */

static void fail(struct uvm__boot_disks *d, uvm_error *take_err) {
    if (d->failed == NULL) {
        d->failed = take_err;
    } else {
        uvm_error_unref(take_err);
    }
}

static void on_host(void *arg) {
    struct uvm__boot_disks *d = arg;
    d->on_host++;
    d->news(d->arg);
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__boot_disks *d = arg;
    uvm_op *boot = d->op;
    (void)op;
    if (err == NULL) {
        d->mounted++;
    } else {
        fail(d, uvm_error_ref((uvm_error *)err));
    }
    d->news(d->arg);
    uvm_op_unref(boot); /* may free d */
}

void uvm__boot_disks_start(struct uvm__boot_disks *d) {
    const struct uvm__options *o = &d->vm->options;
    for (size_t i = 0; i < o->boot_count && d->failed == NULL; i++) {
        const struct uvm__attach_params p = {.devices = &d->vm->devices,
                                             .kind = o->boot[i].kind,
                                             .params = o->boot[i].params,
                                             .on_host = on_host,
                                             .arg = d};
        int rc = uvm__device_attach(&p, uvm__op_scope(d->op), on_done, d, NULL);
        if (rc < 0) {
            fail(d, uvm__fail_error(d->vm->engine, rc, NULL));
        } else {
            d->count++;
            uvm_op_ref(d->op);
        }
    }
}

void uvm__boot_disks_deinit(struct uvm__boot_disks *d) {
    uvm_error_unref(UVM_TAKE_PTR(d->failed));
}
