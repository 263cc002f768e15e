/* SPDX-License-Identifier: MIT
 * vm.c — a VM as an object: made from options, counted, and the head that all its operations share.
 *
 * Two embedded scopes: `scope` is the parent of everything that callers start, and is cancelled by close
 * only; `undo_root` carries the undo of all that, and ends when the VM's VMM has (then what would be undone
 * is gone). The VM's end reaches an operation directly (exit.c), so that those which wait for just that
 * end are not cancelled by it.
 * The memory goes with the last reference; the object is over for its maker when close called back.
 */
#include "async/params.h"
#include "uvm/document.h"
#include "uvm/vm_int.h"
#include <string.h>

void uvm__vm_ref(uvm_vm *vm) {
    UVM_ASSERT(vm->refs > 0);
    vm->refs++;
}

static void vm_free(uvm_vm *vm) {
    uvm_engine *e = vm->engine;
    UVM_ASSERT(vm->system == NULL && vm->bridge == NULL && vm->agent == NULL);
    UVM_ASSERT(vm->control == NULL);
    UVM_ASSERT(uvm__list_empty(&vm->ops) && uvm__list_empty(&vm->processes));
    uvm__devices_deinit(&vm->devices);
    uvm__options_deinit(&vm->options);
    if (vm->log.engine != NULL) {
        uvm__agent_log_deinit(&vm->log);
    }
    uvm__tail_deinit(&vm->console);
    uvm__free(e, vm->document);
    uvm__free(e, vm->properties);
    uvm__free(e, vm->devices_text);
    uvm__free(e, vm->exit_detail);
    uvm__free(e, vm);
}

void uvm__vm_unref(uvm_vm *vm) {
    UVM_ASSERT(vm->refs > 0);
    if (--vm->refs == 0) {
        vm_free(vm);
    }
}

void uvm__vm_set_state(uvm_vm *vm, enum uvm_vm_state state) {
    bool news = vm->state != state;
    vm->state = state;
    if (news) {
        uvm__heartbeat_on_state(vm);
    }
    if (news && vm->control != NULL) {
        uvm__control_on_state(vm->control);
    }
}

void uvm__vm_happened(uvm_vm *vm, enum uvm__event ev) {
    enum uvm_vm_state next = vm->state;
    int rc = uvm__state_next(vm->state, ev, &next);
    UVM_ASSERT(rc == 0);
    uvm__vm_set_state(vm, next);
}

static void release_scope(uvm_scope *s) {
    uvm__vm_unref(UVM__CONTAINER_OF(s, uvm_vm, scope));
}

static void release_undo_root(uvm_scope *s) {
    uvm__vm_unref(UVM__CONTAINER_OF(s, uvm_vm, undo_root));
}

/* ---- making ------------------------------------------------------------------------------- */

static int describe(uvm_vm *vm, const struct uvm_vm_params *p, struct uvm__fail *f) {
    int rc = uvm__options_read(vm->engine, p, &vm->options, f);
    rc = rc < 0 ? rc
                : uvm__document_build(&vm->options, p->document, p->document_bytes, &vm->document,
                                      &vm->document_bytes, f);
    rc = rc < 0 ? rc : uvm__tail_init(&vm->console, vm->engine, UVM__CONSOLE_TAIL_BYTES);
    return rc < 0 ? rc : uvm__agent_log_init(&vm->log, vm->engine, vm->options.name);
}

static void init_scopes(uvm_vm *vm) {
    uvm_scope *root = uvm__engine_root(vm->engine);
    uvm__scope_init(&vm->undo_root, vm->engine, root->undo_root, release_undo_root);
    vm->undo_root.undo_root = &vm->undo_root;
    uvm__scope_init(&vm->scope, vm->engine, root, release_scope);
    vm->scope.undo_root = &vm->undo_root;
    vm->scope.label = vm->undo_root.label = vm->options.name;
    vm->refs += 2;
}

int uvm_vm_new(uvm_engine *engine, uvm_service *service, const struct uvm_vm_params *params,
               uvm_vm **ret_vm, uvm_error **ret_err) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm__fail f = {0};
    int rc = uvm__params_read("uvm_vm_params", params, sizeof p, &p, &f);
    uvm_vm *vm = rc < 0 ? NULL : uvm__zalloc(engine, sizeof *vm);
    if (rc >= 0 && vm == NULL) {
        rc = -UVM_E_NOMEM;
    }
    if (vm != NULL) {
        vm->refs = 1;
        vm->engine = engine;
        vm->service = service;
        uvm__list_init(&vm->ops);
        uvm__list_init(&vm->processes);
        rc = describe(vm, &p, &f);
    }
    if (rc < 0) {
        if (ret_err != NULL) {
            *ret_err = uvm__fail_error(engine, rc, &f);
        }
        if (vm != NULL) {
            vm_free(vm);
        }
        return rc;
    }
    UVM_ASSERT(vm != NULL);
    vm->on_console = p.on_console;
    vm->arg = p.arg;
    init_scopes(vm);
    uvm__vm_exit_init(vm);
    uvm__devices_init(&vm->devices, engine, vm->options.name, &vm->undo_root);
    vm->devices.on_news = uvm__vm_on_device;
    uvm__heartbeat_init(vm);
    *ret_vm = vm;
    return 0;
}

void uvm_service_close(uvm_service *service, void (*on_closed)(void *arg), void *arg) {
    uvm__hcs_service_close(service, on_closed, arg);
}

/* ---- operations --------------------------------------------------------------------------- */

/* What went wrong with the guest or the VMM is told with what is remembered of them, as a boot's failure
 * is. A request that was refused for what it is, or taken back, needs no such thing. */
static bool wants_memory(const struct uvm__vm_op *o, enum uvm_error_code code) {
    switch (code) {
    case UVM_E_TIMEDOUT:
    case UVM_E_UNDO:
    case UVM_E_PROTOCOL:
    case UVM_E_PEER:
    case UVM_E_IO:
    case UVM_E_CLOSED:
        return true;
    case UVM_E_EXITED: /* of all that only waited, the VM's end is told once, by itself */
        return o->needs_guest;
    default:
        return false;
    }
}

static void op_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__vm_op *o = uvm__op_state(op);
    uvm_vm *vm = o->vm;
    (void)arg;
    uvm__vm_ref(vm);
    uvm__list_remove(&o->link);
    if (o->outcome != NULL) {
        o->error = o->outcome(o, err);
        err = o->error == NULL ? err : o->error;
    }
    if (err != NULL && o->error == NULL && wants_memory(o, uvm_error_code(err))) {
        o->error = uvm__vm_exit_remember(vm, uvm_error_ref(err));
        err = o->error;
    }
    if (o->on_done != NULL) {
        o->on_done(op, err, o->arg);
    }
    uvm__vm_close_turn(vm);
    uvm__vm_unref(vm);
}

static bool is_below(const uvm_scope *scope, const uvm_scope *ancestor) {
    while (scope != NULL && scope != ancestor) {
        scope = scope->parent;
    }
    return scope != NULL;
}

int uvm__vm_op_start(uvm_vm *vm, uvm_scope *scope, const struct uvm__vm_op_params *p,
                     const void *params, uvm_op **ret_op) {
    if (scope == NULL) {
        scope = &vm->scope;
    }
    if (!is_below(scope, &vm->scope)) {
        return -UVM_E_INVAL;
    }
    if (vm->closing) {
        return -UVM_E_STATE;
    }
    uvm_op *op;
    int rc = uvm__op_start(vm->engine, scope, p->saga, params, op_done, NULL, &op);
    if (rc < 0) {
        return rc;
    }
    struct uvm__vm_op *o = uvm__op_state(op);
    uvm__vm_ref(vm);
    o->vm = vm;
    o->op = op;
    o->on_done = p->on_done;
    o->arg = p->arg;
    o->outcome = p->outcome;
    o->needs_guest = p->needs_guest;
    uvm__list_init(&o->link);
    uvm__list_append(&vm->ops, &o->link);
    if (ret_op != NULL) {
        *ret_op = op;
    } else {
        uvm_op_unref(op);
    }
    return 0;
}

void uvm__vm_op_deinit(struct uvm__vm_op *o) {
    UVM_ASSERT(!uvm__list_linked(&o->link));
    uvm_error_unref(o->error);
    uvm__vm_unref(o->vm);
}

/* ---- queries ------------------------------------------------------------------------------ */

const char *uvm_vm_name(const uvm_vm *vm) {
    return vm->options.name;
}

const char *uvm_vm_id(const uvm_vm *vm) {
    return vm->options.id;
}

enum uvm_vm_state uvm_vm_state(const uvm_vm *vm) {
    return vm->state;
}

struct uvm_vm_exit uvm_vm_exit(const uvm_vm *vm) {
    return (struct uvm_vm_exit){vm->exit, vm->exit_detail == NULL ? "" : vm->exit_detail};
}

struct uvm_vm_times uvm_vm_times(const uvm_vm *vm) {
    return vm->times;
}

uvm_scope *uvm_vm_scope(uvm_vm *vm) {
    return &vm->scope;
}

const char *uvm_vm_document(const uvm_vm *vm) {
    return vm->document;
}
