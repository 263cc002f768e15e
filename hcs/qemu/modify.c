/* SPDX-License-Identifier: MIT
 * modify.c — from a request to the kind's own op; and the devices that the document begins with.
 *
 * The op of a modify reads the request and runs the kind's op as a child: what is all or nothing there is so
 * here, and a removal that has no end yet is still the child's, when this one has told UNDO.
 */
#include "hcs/qemu/modify.h"

#include <stdio.h>
#include <string.h>

#include "async/check.h"
#include "hcs/qemu/nic.h"
#include "hcs/qemu/plan9.h"
#include "hcs/qemu/scsi.h"
#include "hcs/qemu/vpci.h"
#include "hcs/qemu/vpmem.h"
#include "hcs/qemu/vsmb.h"

static const struct uvm__qemu_kind *const kinds[UVM__MODIFY_KIND_MAX] = {
    [UVM__MODIFY_SCSI] = &uvm__qemu_scsi,
    [UVM__MODIFY_VPMEM] = &uvm__qemu_vpmem,
    [UVM__MODIFY_VPMEM_MAPPING] = &uvm__qemu_vpmem_mapping,
    [UVM__MODIFY_VSMB] = &uvm__qemu_vsmb,
    [UVM__MODIFY_PLAN9] = &uvm__qemu_plan9,
    [UVM__MODIFY_VPCI] = &uvm__qemu_vpci,
    [UVM__MODIFY_NIC] = &uvm__qemu_nic,
};

struct modify_params {
    struct uvm__hcs_modify_params hcs; /* first: extra_bytes sees it */
    struct uvm__qemu_system *system;
};

struct modify_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct uvm__modify request;
    size_t fds_count;
    size_t bytes;
    char text[];
};

static void request_run(uvm_op *op, void *state) {
    struct modify_state *m = state;
    struct uvm__fail f = {0};
    int rc = uvm__modify_read(m->system->engine, m->text, m->bytes, &m->request, &f);

    if (rc == 0 && m->fds_count > 0) {
        rc = uvm__fail(&f, UVM_E_INVAL, 0, "Settings: no descriptor is named there, but %zu came",
                       m->fds_count);
    }
    if (rc == 0 && kinds[m->request.kind]->verbs[m->request.verb] == NULL) {
        rc = uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "RequestType: %s",
                       kinds[m->request.kind]->refused[m->request.verb]);
    }
    uvm__step_done(op, rc < 0 ? uvm__fail_error(m->system->engine, rc, &f) : NULL);
}

static void apply_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct modify_state *m = arg;

    (void)child;
    uvm__step_done(m->op, err == NULL ? NULL : uvm_error_ref(err));
}

static void apply_run(uvm_op *op, void *state) {
    struct modify_state *m = state;

    m->op = op;
    int rc = kinds[m->request.kind]->verbs[m->request.verb](m->system, &m->request,
                                                            uvm__op_scope(op), apply_done, m, NULL);
    if (rc < 0) {
        uvm__step_done(op, uvm__error(m->system->engine, (enum uvm_error_code) - rc, 0,
                                      "vm %s: a change cannot be started", m->system->name));
    }
}

static size_t modify_extra(const void *params) {
    const struct uvm__hcs_modify_params *p = params;
    return p->request_bytes;
}

static int modify_init(uvm_op *op, void *state, const void *params) {
    const struct modify_params *p = params;
    struct modify_state *m = state;

    (void)op;
    m->system = uvm__qemu_ref(p->system);
    m->fds_count = p->hcs.fds_count;
    m->bytes = p->hcs.request_bytes;
    memcpy(m->text, p->hcs.request, m->bytes);
    return 0;
}

static void modify_deinit(void *state) {
    struct modify_state *m = state;
    uvm__modify_deinit(&m->request);
    uvm__qemu_unref(m->system);
}

static const struct uvm__step steps[] = {
    {.name = "request", .run = request_run},
    {.name = "apply", .run = apply_run, .child = true},
};
static const struct uvm__saga saga = {
    .name = "vm modify",
    .steps = steps,
    .steps_count = sizeof steps / sizeof steps[0],
    .commit_step = 1,
    .state_bytes = sizeof(struct modify_state),
    .extra_bytes = modify_extra,
    .init = modify_init,
    .deinit = modify_deinit,
};

int uvm__qemu_modify(struct uvm__hcs_system *base, const struct uvm__hcs_modify_params *params,
                     uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);
    const struct modify_params p = {*params, s};

    UVM_ASSERT(!s->closing);
    if (s->state == UVM__QEMU_ENDED) {
        return -UVM_E_EXITED;
    }
    if (s->state == UVM__QEMU_CREATING) {
        return -UVM_E_STATE;
    }
    if (params->request_bytes > UVM__DOCUMENT_BYTES_MAX) {
        return -UVM_E_LIMIT;
    }
    return uvm__op_start(s->engine, scope, &saga, &p, on_done, arg, ret_op);
}

/* ---- the document's own ------------------------------------------------------------------- */

static void boot_next(struct uvm__boot_devices *b);

static uvm_error *boot_error(const struct uvm__boot_devices *b, const uvm_error *err) {
    struct uvm__fail f;
    char path[UVM__MODIFY_PATH_BYTES] = "";
    int rc = uvm__modify_path(&b->request, path, &f);
    UVM_ASSERT(rc == 0);
    for (char *c = path; *c != 0; c++) {
        *c = *c == '/' ? '.' : *c; /* as a place in the document */
    }
    uvm_error *wrapped = uvm__error(b->system->engine, uvm_error_code(err), uvm_error_sys(err),
                                    "%s: %s", path, uvm_error_message(err));
    return uvm__error_cause(wrapped, uvm_error_ref(err));
}

static void boot_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct uvm__boot_devices *b = arg;

    (void)child;
    if (err != NULL) {
        uvm__step_done(b->op, boot_error(b, err));
        return;
    }
    boot_next(b);
}

static bool next_disk(struct uvm__boot_devices *b) {
    const struct uvm__doc_devices *d = &b->system->doc.vm.devices;

    while (b->controller < d->scsi_count &&
           b->attachment == d->scsi[b->controller].attachments_count) {
        b->controller++;
        b->attachment = 0;
    }
    if (b->controller == d->scsi_count) {
        return false;
    }
    const struct uvm__doc_scsi_attachment *a = &d->scsi[b->controller].attachments[b->attachment++];
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_SCSI, .number = a->lun};
    snprintf(b->request.guid, sizeof b->request.guid, "%s", d->scsi[b->controller].guid);
    b->request.settings.scsi = *a;
    return true;
}

static bool next_vpmem(struct uvm__boot_devices *b) {
    const struct uvm__doc_vpmem *v = &b->system->doc.vm.devices.vpmem;

    if (b->vpmem == v->devices_count) {
        return false;
    }
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_VPMEM};
    b->request.number = v->devices[b->vpmem].number;
    b->request.settings.vpmem = v->devices[b->vpmem++];
    return true;
}

static bool next_vpci(struct uvm__boot_devices *b) {
    const struct uvm__doc_devices *d = &b->system->doc.vm.devices;

    if (b->vpci == d->vpci_count) {
        return false;
    }
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_VPCI};
    snprintf(b->request.guid, sizeof b->request.guid, "%s", d->vpci[b->vpci].guid);
    b->request.settings.vpci = d->vpci[b->vpci++];
    return true;
}

static bool next_share(struct uvm__boot_devices *b) {
    const struct uvm__doc_vsmb *v = &b->system->doc.vm.devices.vsmb;

    if (b->share == v->shares_count) {
        return false;
    }
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_VSMB};
    b->request.settings.vsmb = v->shares[b->share++];
    return true;
}

static bool next_nic(struct uvm__boot_devices *b) {
    const struct uvm__doc_devices *d = &b->system->doc.vm.devices;

    if (b->nic == d->nics_count) {
        return false;
    }
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_NIC};
    snprintf(b->request.guid, sizeof b->request.guid, "%s", d->nics[b->nic].guid);
    b->request.settings.nic = d->nics[b->nic++];
    return true;
}

static bool next_plan9(struct uvm__boot_devices *b) {
    const struct uvm__doc_plan9 *p = &b->system->doc.vm.devices.plan9;

    if (b->plan9 == p->shares_count) {
        return false;
    }
    b->request = (struct uvm__modify){.kind = UVM__MODIFY_PLAN9};
    b->request.settings.plan9 = p->shares[b->plan9++];
    return true;
}

static void boot_next(struct uvm__boot_devices *b) {
    if (!next_plan9(b) && !next_disk(b) && !next_vpmem(b) && !next_vpci(b) && !next_share(b) &&
        !next_nic(b)) {
        uvm__step_done(b->op, NULL);
        return;
    }
    b->request.verb = UVM__MODIFY_ADD;
    b->request.has_settings = true;
    int rc = kinds[b->request.kind]->verbs[UVM__MODIFY_ADD](
        b->system, &b->request, uvm__op_scope(b->op), boot_done, b, NULL);
    if (rc < 0) {
        uvm_error *err =
            uvm__error(b->system->engine, (enum uvm_error_code) - rc, 0, "cannot be attached");
        uvm__step_done(b->op, boot_error(b, err));
        uvm_error_unref(err);
    }
}

void uvm__boot_devices_run(struct uvm__boot_devices *b, struct uvm__qemu_system *s, uvm_op *op) {
    *b = (struct uvm__boot_devices){.system = s, .op = op};
    boot_next(b);
}
