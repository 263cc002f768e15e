/* SPDX-License-Identifier: MIT
 * devices.c — the public verbs of devices: each a wrapper over the managers' operations, as part of a VM.
 *
 * Params are checked by the operation, so that what is wrong with them is told in words. A connection that
 * was lost is told as the VM's end, as for all that needs the guest.
 */
#include "async/limits.h"
#include "async/params.h"
#include "uvm/vm_int.h"
#include <stdio.h>
#include <string.h>

struct device_op {
    struct uvm__vm_op base;
    struct uvm__vm_failing failing;
    uvm_op *child; /* the manager's */
    const struct uvm__device_kind *kind;
    void *params; /* of an attach: the kind's; NULL: `refused` */
    int refused;
    struct uvm__fail why;
    char id[64]; /* of a detach */
};

static void on_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct device_op *x = arg;
    (void)child;
    if (err == NULL) {
        uvm__step_done(x->base.op, NULL);
    } else {
        uvm__vm_fail_step(&x->failing, uvm_error_ref(err));
    }
}

static bool is_running(struct device_op *x) {
    uvm_vm *vm = x->base.vm;
    if (vm->state == UVM_VM_RUNNING) {
        return true;
    }
    uvm__step_done(x->base.op, uvm__error(vm->engine, UVM_E_STATE, 0, "%s is %s", vm->options.name,
                                          uvm_vm_state_text(vm->state)));
    return false;
}

static void started(struct device_op *x, int rc) {
    if (rc < 0) {
        uvm__vm_fail_step(&x->failing, uvm__fail_error(x->base.vm->engine, rc, NULL));
    }
}

static void attach_run(uvm_op *op, void *state) {
    struct device_op *x = state;
    uvm_vm *vm = x->base.vm;
    if (x->params == NULL) {
        uvm__step_done(op, uvm__error(vm->engine, (enum uvm_error_code)(-x->refused), 0, "%s: %s",
                                      vm->options.name, x->why.msg));
        return;
    }
    const struct uvm__attach_params p = {.devices = &vm->devices,
                                         .kind = x->kind,
                                         .params = x->params,
                                         .deadline_ms = UVM__ATTACH_MS};
    if (is_running(x)) {
        started(x, uvm__device_attach(&p, uvm__op_scope(op), on_done, x, &x->child));
    }
}

static void detach_run(uvm_op *op, void *state) {
    struct device_op *x = state;
    if (is_running(x)) {
        started(x, uvm__device_detach(&x->base.vm->devices, x->id, uvm__op_scope(op), on_done, x,
                                      &x->child));
    }
}

static void on_cancel(uvm_op *op, void *state) {
    struct device_op *x = state;
    (void)op;
    uvm__vm_failing_cancel(&x->failing);
}

struct init_params {
    uvm_engine *engine;
    const char *id; /* of a detach */
    /* Of an attach: the caller's params as the kind wants them, or why they are refused. */
    const struct uvm__device_kind *kind;
    const void *params;
    int refused;
    struct uvm__fail why;
};

static int init(uvm_op *op, void *state, const void *params) {
    const struct init_params *p = params;
    struct device_op *x = state;
    (void)op;
    uvm__vm_failing_init(&x->failing, &x->base);
    if (p->id != NULL) {
        (void)snprintf(x->id, sizeof x->id, "%s", p->id);
        return 0;
    }
    x->kind = p->kind;
    x->refused = p->refused;
    x->why = p->why;
    return p->refused < 0 ? 0 : uvm__device_copy_params(p->kind, p->engine, p->params, &x->params);
}

static void deinit(void *state) {
    struct device_op *x = state;
    uvm__vm_failing_deinit(&x->failing);
    uvm__free(x->base.vm->engine, x->params);
    uvm_op_unref(x->child);
    uvm__vm_op_deinit(&x->base);
}

static const struct uvm__step attach_steps[] = {{"device", attach_run, on_cancel, NULL, true}};
static const struct uvm__step detach_steps[] = {{"device", detach_run, on_cancel, NULL, true}};
static const struct uvm__saga attach_saga = {.name = "vm attach",
                                             .steps = attach_steps,
                                             .steps_count = 1,
                                             .state_bytes = sizeof(struct device_op),
                                             .init = init,
                                             .deinit = deinit};
static const struct uvm__saga detach_saga = {.name = "vm detach",
                                             .steps = detach_steps,
                                             .steps_count = 1,
                                             .state_bytes = sizeof(struct device_op),
                                             .init = init,
                                             .deinit = deinit};

static int start(uvm_vm *vm, const struct uvm__saga *saga, const struct init_params *p,
                 uvm_scope *scope, uvm_done_fn done, void *arg, uvm_op **ret_op) {
    const struct uvm__vm_op_params op = {saga, NULL, true, done, arg};
    enum uvm_vm_state ignored;
    if (uvm__state_next(vm->state, UVM__EV_ATTACH, &ignored) < 0) {
        return -UVM_E_STATE;
    }
    return uvm__vm_op_start(vm, scope, &op, p, ret_op);
}

int uvm_scsi_attach(uvm_vm *vm, const struct uvm_scsi_params *params, uvm_scope *scope,
                    uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__scsi_params disk;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__scsi_kind, .params = &disk};
    p.refused = uvm__disk_read(params, &disk, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

int uvm_vpmem_attach(uvm_vm *vm, const struct uvm_vpmem_params *params, uvm_scope *scope,
                     uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__scsi_params image;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__vpmem_kind, .params = &image};
    p.refused = uvm__vpmem_read(params, &image, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

int uvm_vpci_attach(uvm_vm *vm, const struct uvm_vpci_params *params, uvm_scope *scope,
                    uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__vpci_params function;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__vpci_kind, .params = &function};
    p.refused = uvm__vpci_read(params, &function, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

int uvm_vsmb_attach(uvm_vm *vm, const struct uvm_vsmb_params *params, uvm_scope *scope,
                    uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__share_params share;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__vsmb_kind, .params = &share};
    p.refused = uvm__vsmb_read(params, &share, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

int uvm_nic_attach(uvm_vm *vm, const struct uvm_nic_params *params, uvm_scope *scope,
                   uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__nic_params nic;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__nic_kind, .params = &nic};
    p.refused = uvm__nic_read(params, &nic, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

int uvm_plan9_attach(uvm_vm *vm, const struct uvm_plan9_params *params, uvm_scope *scope,
                     uvm_done_fn done, void *arg, uvm_op **ret_op) {
    if (params == NULL) {
        return -UVM_E_INVAL;
    }
    struct uvm__share_params share;
    struct init_params p = {.engine = vm->engine, .kind = &uvm__plan9_kind, .params = &share};
    p.refused = uvm__plan9_read(params, &share, &p.why);
    return start(vm, &attach_saga, &p, scope, done, arg, ret_op);
}

struct uvm_attach_result uvm_attach_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &attach_saga);
    struct device_op *x = uvm__op_state(op);
    if (!uvm__op_succeeded(op)) {
        return (struct uvm_attach_result){
            .id = "", .kind = "", .guest_path = "", .share = "", .instance = "", .mac = ""};
    }
    const struct uvm__attach_result *r = uvm__device_attach_result(x->child);
    return (struct uvm_attach_result){.id = r->id,
                                      .kind = r->kind,
                                      .guest_path = r->guest_path,
                                      .controller = r->controller,
                                      .lun = r->lun,
                                      .device = r->device,
                                      .offset = r->offset,
                                      .bytes = r->bytes,
                                      .share = r->share,
                                      .port = r->port,
                                      .instance = r->instance,
                                      .mac = r->mac,
                                      .shared = r->shared,
                                      .refs = r->refs};
}

int uvm_detach(uvm_vm *vm, const char *id, uvm_scope *scope, uvm_done_fn done, void *arg,
               uvm_op **ret_op) {
    if (id == NULL || id[0] == 0 || strnlen(id, UVM__DEVICE_ID_BYTES) == UVM__DEVICE_ID_BYTES) {
        return -UVM_E_INVAL;
    }
    const struct init_params p = {.engine = vm->engine, .id = id};
    return start(vm, &detach_saga, &p, scope, done, arg, ret_op);
}

void uvm__vm_on_device(struct uvm__devices *d, enum uvm__device_news news,
                       const struct uvm__attach_result *about) {
    uvm_vm *vm = UVM__CONTAINER_OF(d, uvm_vm, devices);
    uvm__ring_note(vm->engine, &vm->ring, "%s is %s", about->id, uvm__device_news_text(news));
    if (vm->control != NULL) {
        uvm__control_on_device(vm->control, news, about);
    }
}

const char *uvm_vm_devices(uvm_vm *vm) {
    cJSON *array = uvm__devices_json(&vm->devices);
    char *text = array == NULL ? NULL : uvm__json_print(vm->engine, array, NULL);
    cJSON_Delete(array);
    if (text != NULL) {
        uvm__free(vm->engine, vm->devices_text);
        vm->devices_text = text;
    }
    return text;
}
