/* SPDX-License-Identifier: MIT
 * boot.c — from a description to a running VM: one saga.
 *
 * create (the service makes the VMM, stopped) → disks (on the host) → listen → start → guest (its first dial)
 * → agent (the bridge's dial) → negotiate → mounts (of the disks, in the guest). The one undo is create's: hang up and close the system, which ends the VMM
 * at once; it is a plain call, since it must work when the VM is gone already. Deadline and cancel come
 * from the scope; the VM's end comes from exit.c and is set on this operation's scopes.
 *
 * What goes wrong shows first as something else: the bridge breaks because the guest panicked, start fails
 * because the VMM was killed. So a step that failed with a lost connection waits for UVM__EXIT_CLASSIFY_MS
 * for the service's word; and explain.c says the outcome in words that name the VM, what did not come, and
 * what to look at.
 */
#include "async/cleanup.h"
#include "async/mark.h"
#include "uvm/vm_int.h"
#include <inttypes.h>
#include <stdio.h>

struct boot {
    struct uvm__vm_op base;
    struct uvm__deadline linger; /* for the reason behind `failed` */
    uvm_error *failed;
    uvm_op *child;
    struct uvm__boot_disks disks;
    bool waiting_disks;
    bool waiting; /* for the guest or its agent: the step ends by itself when asked */
};

static struct boot *boot_of(void *state) {
    return state;
}

static uvm_vm *vm_of(struct boot *b) {
    return b->base.vm;
}

static uint64_t elapsed_ms(uvm_vm *vm) {
    return uvm__now_ms(vm->engine) - vm->boot_ms;
}

static void reach(uvm_vm *vm, enum uvm__stage stage, const char *what) {
    UVM_ASSERT(stage >= vm->stage);
    vm->stage = stage;
    uvm__ring_note(vm->engine, &vm->ring, "%s", what);
}

/* ---- ends of steps ------------------------------------------------------------------------ */

static void end_step(struct boot *b, uvm_error *take_err) {
    uvm__deadline_clear(vm_of(b)->engine, &b->linger);
    b->waiting = false;
    uvm__step_done(b->base.op, take_err);
}

static void on_linger(struct uvm__deadline *d) {
    struct boot *b = UVM__CONTAINER_OF(d, struct boot, linger);
    UVM__MARK(boot_linger);
    end_step(b, UVM_TAKE_PTR(b->failed));
}

/* What a child could not take back goes with the system, which our own undo ends: why it failed is all. */
static uvm_error *without_undo(struct boot *b, uvm_error *take_err) {
    UVM__MARK_IF(boot_child_undo, uvm_error_code(take_err) == UVM_E_UNDO);
    uvm_error *why;
    if (uvm_error_code(take_err) == UVM_E_UNDO &&
        uvm__scope_reason(uvm__op_scope(b->base.op)) != UVM__GO) {
        why = uvm__scope_error(uvm__op_scope(b->base.op));
    } else {
        const uvm_error *cause = take_err;
        while (uvm_error_code(cause) == UVM_E_UNDO && uvm_error_cause(cause) != NULL) {
            cause = uvm_error_cause(cause);
        }
        why = uvm_error_ref((uvm_error *)(uintptr_t)cause);
    }
    uvm_error_unref(take_err);
    return why;
}

/* A lost connection may be the first sign of the VM's end: its reason is what people want to read. */
static void fail_step(struct boot *b, uvm_error *take_err) {
    uvm_vm *vm = vm_of(b);
    enum uvm__reason reason = uvm__scope_reason(uvm__op_scope(b->base.op));
    take_err = without_undo(b, take_err);
    bool sign =
        uvm_error_code(take_err) == UVM_E_CLOSED || uvm_error_code(take_err) == UVM_E_EXITED;
    if (sign && reason > UVM__VM_EXITED) {
        UVM__MARK(boot_caller);
        uvm_error_unref(take_err); /* the caller's reason is the stronger one: no need to wait */
        end_step(b, uvm__error(vm->engine, UVM_E_CANCELED, 0, "interrupted"));
        return;
    }
    if (!sign || vm->system == NULL) {
        end_step(b, take_err);
        return;
    }
    if (vm->vmm_ended) {
        uvm_error_unref(take_err);
        end_step(b, uvm__vm_exit_error(vm));
        return;
    }
    b->failed = take_err;
    uvm__deadline_set(vm->engine, &b->linger,
                      uvm__now_ms(vm->engine) + (uint64_t)2 * UVM__EXIT_CLASSIFY_MS);
}

/* The reason that interrupts: only what waits by itself ends here, a child hears of it on its own. */
static void on_cancel(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    (void)op;
    if (b->failed != NULL) {
        end_step(b, UVM_TAKE_PTR(b->failed));
    } else if (b->waiting || b->waiting_disks) {
        b->waiting_disks = false;
        end_step(b, uvm__error(vm_of(b)->engine, UVM_E_CANCELED, 0, "interrupted"));
    }
}

static void drop_child(struct boot *b) {
    b->child = uvm_op_unref(b->child);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void on_created(uvm_op *child, const uvm_error *err, void *arg) {
    struct boot *b = arg;
    uvm_vm *vm = vm_of(b);
    if (err != NULL) {
        fail_step(b, uvm_error_ref(err));
        return;
    }
    vm->system = uvm__hcs_create_result(vm->service, child);
    UVM_ASSERT(vm->system != NULL);
    vm->times.create = elapsed_ms(vm);
    reach(vm, UVM__STAGE_START, "VMM is there");
    end_step(b, NULL);
}

static void create_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    uvm_vm *vm = vm_of(b);
    struct uvm__hcs_create_params p = {.id = vm->options.id,
                                       .name = vm->options.name,
                                       .document = vm->document,
                                       .document_bytes = vm->document_bytes,
                                       .on_event = uvm__vm_on_event,
                                       .arg = vm,
                                       .cgroup = vm->options.cgroup};
    struct uvm__fail f = {0};
    drop_child(b);
    int rc = uvm__vm_admit(vm, &f);
    if (rc < 0) {
        end_step(b, uvm__fail_error(vm->engine, rc, &f));
        return;
    }
    rc = uvm__hcs_create(vm->service, &p, uvm__op_scope(op), on_created, b, &b->child);
    if (rc < 0) {
        end_step(b, uvm__fail_error(vm->engine, rc, NULL));
    }
}

static void on_undone(void *arg) {
    struct boot *b = arg;
    uvm_vm *vm = vm_of(b);
    vm->system = NULL;
    vm->system_closing = false;
    uvm__undo_done(b->base.op, NULL);
    uvm__vm_close_turn(vm);
}

static void create_undo(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    (void)op;
    uvm__vm_close_system(vm_of(b), on_undone, b);
}

/* ---- disks -------------------------------------------------------------------------------- */

static bool disks_are_there(const struct boot *b) {
    const struct uvm__boot_disks *d = &b->disks;
    return (vm_of((struct boot *)b)->bridge == NULL ? d->on_host : d->mounted) == d->count;
}

static void on_disks(void *arg) {
    struct boot *b = arg;
    uvm_vm *vm = vm_of(b);
    if (!b->waiting_disks || (b->disks.failed == NULL && !disks_are_there(b))) {
        return;
    }
    b->waiting_disks = false;
    if (b->disks.failed != NULL) {
        fail_step(b, uvm_error_ref(b->disks.failed));
        return;
    }
    if (vm->stage == UVM__STAGE_MOUNT) {
        reach(vm, UVM__STAGE_DONE, b->disks.count == 0 ? "ready" : "disks are mounted");
    }
    end_step(b, NULL);
}

static void disks_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    uvm_vm *vm = vm_of(b);
    struct uvm__fail f = {0};
    b->disks.op = op;
    b->disks.news = on_disks;
    b->disks.arg = b;
    int rc = uvm__boot_disks_init(&b->disks, vm, &f);
    if (rc < 0) {
        end_step(b, uvm__fail_error(vm->engine, rc, &f));
        return;
    }
    uvm__boot_disks_start(&b->disks);
    b->waiting_disks = true;
    on_disks(b);
}

static void mounts_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    uvm_vm *vm = vm_of(b);
    (void)op;
    if (b->disks.count > 0 && uvm__bridge_lost(vm->bridge)) {
        UVM__MARK(boot_hangup_before);
        fail_step(b, uvm__error(vm->engine, UVM_E_CLOSED, 0, "the agent hung up"));
        return;
    }
    b->waiting_disks = true;
    uvm__devices_set_bridge(&vm->devices, vm->bridge);
    on_disks(b);
}

/* ---- start, guest, agent ------------------------------------------------------------------ */

static void listen_run(uvm_op *op, void *state) {
    uvm_vm *vm = vm_of(boot_of(state));
    int rc = uvm__vm_listen(vm);
    uvm__step_done(op, rc < 0 ? uvm__fail_error(vm->engine, rc, NULL) : NULL);
}

static void on_started(uvm_op *child, const uvm_error *err, void *arg) {
    struct boot *b = arg;
    uvm_vm *vm = vm_of(b);
    (void)child;
    if (err != NULL) {
        fail_step(b, uvm_error_ref(err));
        return;
    }
    vm->times.vmm_start = elapsed_ms(vm);
    reach(vm, UVM__STAGE_CONTACT, "guest runs");
    end_step(b, NULL);
}

static void start_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    uvm_vm *vm = vm_of(b);
    drop_child(b);
    int rc = uvm__hcs_start(vm->system, uvm__op_scope(op), on_started, b, &b->child);
    if (rc < 0) {
        fail_step(b, uvm__fail_error(vm->engine, rc, NULL));
    }
}

/* True when what the current step waits for is there. */
static bool has_come(const uvm_vm *vm) {
    return vm->stage == UVM__STAGE_CONTACT ? vm->contacted : vm->agent != NULL;
}

static void wait_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    (void)op;
    b->waiting = true;
    uvm__boot_on_contact(vm_of(b));
}

void uvm__boot_on_contact(uvm_vm *vm) {
    if (vm->boot == NULL) {
        return;
    }
    struct boot *b = UVM__CONTAINER_OF(vm->boot, struct boot, base);
    if (!b->waiting || !has_come(vm)) {
        return;
    }
    reach(vm, vm->stage == UVM__STAGE_CONTACT ? UVM__STAGE_AGENT : UVM__STAGE_NEGOTIATE,
          vm->stage == UVM__STAGE_CONTACT ? "guest is in contact" : "agent is connected");
    end_step(b, NULL);
}

static void on_negotiated(uvm_op *child, const uvm_error *err, void *arg) {
    struct boot *b = arg;
    uvm_vm *vm = vm_of(b);
    (void)child;
    if (err != NULL) {
        fail_step(b, uvm_error_ref(err));
        return;
    }
    vm->times.negotiated = elapsed_ms(vm);
    reach(vm, UVM__STAGE_MOUNT, "negotiated");
    end_step(b, NULL);
}

static void on_lost(struct uvm__bridge *bridge, const uvm_error *err, void *arg) {
    uvm_vm *vm = arg;
    UVM_ASSERT(bridge == vm->bridge);
    uvm__vm_exit_on_bridge_lost(vm, err);
    struct boot *b = vm->boot == NULL ? NULL : UVM__CONTAINER_OF(vm->boot, struct boot, base);
    if (b != NULL && b->waiting_disks) {
        UVM__MARK(boot_hangup_mounting);
        /* Disks wait for the VM's end, which is ours to bring about. */
        b->waiting_disks = false;
        fail_step(b, uvm_error_ref((uvm_error *)(uintptr_t)err));
    }
}

static void negotiate_run(uvm_op *op, void *state) {
    struct boot *b = boot_of(state);
    uvm_vm *vm = vm_of(b);
    struct uvm__bridge_params p = {.name = vm->options.name,
                                   .hvsock = vm->system->hvsock,
                                   .take_stream = vm->agent,
                                   .on_lost = on_lost,
                                   .arg = vm};
    drop_child(b);
    int rc = uvm__bridge_open(vm->engine, &p, &vm->bridge);
    if (rc == 0) {
        vm->agent = NULL;
        rc = uvm__bridge_negotiate(vm->bridge, uvm__op_scope(op), on_negotiated, b, &b->child);
    }
    if (rc < 0) {
        end_step(b, uvm__fail_error(vm->engine, rc, NULL));
    }
}

/* ---- the outcome -------------------------------------------------------------------------- */

void uvm__boot_on_vmm_end(uvm_vm *vm) {
    UVM_ASSERT(vm->boot != NULL);
    uvm_op *op = vm->boot->op;
    uvm_error *why = uvm__vm_exit_error(vm);
    uvm__scope_fail(uvm__op_scope(op), UVM__VM_EXITED, why);
    uvm__scope_fail(uvm__op_undo_scope(op), UVM__VM_EXITED, why);
    uvm_error_unref(why);
}

/* Nothing of this boot is left: the next one begins anew. */
static void forget(uvm_vm *vm) {
    vm->vmm_ended = false;
    vm->exit = UVM_EXIT_NONE;
    uvm__free(vm->engine, UVM_TAKE_PTR(vm->exit_detail));
}

static uvm_error *outcome(struct uvm__vm_op *o, const uvm_error *err) {
    uvm_vm *vm = o->vm;
    vm->boot = NULL;
    if (err == NULL) {
        uvm__log(vm->engine, UVM_LOG_INFO, vm->options.name, "running after %" PRIu64 " ms",
                 vm->times.negotiated);
        uvm__vm_happened(vm, UVM__EV_BOOTED);
        if (vm->vmm_ended) { /* in the moment between */
            vm->exit = UVM_EXIT_NONE;
            uvm__vm_exit_settle(vm);
        } else if (uvm__bridge_lost(vm->bridge)) {
            UVM__MARK(boot_lost_between);
            uvm_error *lost = uvm__error(vm->engine, UVM_E_CLOSED, 0, "the agent hung up");
            uvm__vm_exit_on_bridge_lost(vm, lost);
            uvm_error_unref(lost);
        }
        return NULL;
    }
    uvm_error *said = uvm__vm_boot_explain(vm, err);
    bool undone = uvm_error_code(err) != UVM_E_UNDO;
    uvm__vm_happened(vm, undone ? UVM__EV_UNBOOTED : UVM__EV_UNDO_FAILED);
    if (undone) {
        uvm__vm_dismiss(vm);
        forget(vm);
    }
    return said;
}

/* ---- start -------------------------------------------------------------------------------- */

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    (void)op;
    if (step == 0) {
        (void)snprintf(buf, bytes, "the VMM of %s", vm_of(boot_of(state))->options.name);
    }
}

static int init(uvm_op *op, void *state, const void *params) {
    (void)op;
    (void)params;
    uvm__deadline_init(&boot_of(state)->linger, on_linger);
    return 0;
}

static void deinit(void *state) {
    struct boot *b = boot_of(state);
    uvm_error_unref(b->failed);
    drop_child(b);
    uvm__boot_disks_deinit(&b->disks);
    uvm__vm_op_deinit(&b->base);
}

static const struct uvm__step steps[] = {
    {"create", create_run, on_cancel, create_undo, true},
    {"disks", disks_run, on_cancel, NULL, true},
    {"listen", listen_run, NULL, NULL, false},
    {"start", start_run, on_cancel, NULL, true},
    {"guest", wait_run, on_cancel, NULL, false},
    {"agent", wait_run, on_cancel, NULL, false},
    {"negotiate", negotiate_run, on_cancel, NULL, true},
    {"mounts", mounts_run, on_cancel, NULL, true},
};
static const struct uvm__saga saga = {.name = "vm boot",
                                      .steps = steps,
                                      .steps_count = sizeof steps / sizeof steps[0],
                                      .commit_step = sizeof steps / sizeof steps[0] - 1,
                                      .deadline_ms = UVM__BOOT_MS,
                                      .state_bytes = sizeof(struct boot),
                                      .init = init,
                                      .deinit = deinit,
                                      .describe = describe};

int uvm_vm_boot(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    const struct uvm__vm_op_params p = {&saga, outcome, false, on_done, arg};
    enum uvm_vm_state next;
    uvm_op *op;
    if (vm->closing || uvm__state_next(vm->state, UVM__EV_BOOT, &next) < 0) {
        return -UVM_E_STATE;
    }
    int rc = uvm__vm_op_start(vm, scope, &p, NULL, &op);
    if (rc < 0) {
        return rc;
    }
    uvm__vm_set_state(vm, next);
    vm->boot = uvm__op_state(op);
    vm->boot_ms = uvm__now_ms(vm->engine);
    vm->times = (struct uvm_vm_times){0};
    vm->stage = UVM__STAGE_CREATE;
    vm->agent_lost = false;
    vm->contacted = false;
    vm->ring.count = 0;
    vm->console.total = 0;
    vm->log.tail.total = 0;
    uvm__ring_note(vm->engine, &vm->ring, "boot");
    if (ret_op != NULL) {
        *ret_op = op;
    } else {
        uvm_op_unref(op);
    }
    return 0;
}
