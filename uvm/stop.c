/* SPDX-License-Identifier: MIT
 * stop.c — waiting for a VM's end, asking for it, forcing it.
 *
 * All three end when the service has said EXITED, and succeed when it had already. stop and terminate
 * commit at once: what they start runs under scopes that no caller's cancel reaches, and a guest that does
 * not answer is overtaken by the grace timer, which terminates. A wait takes nothing and gives nothing
 * back: a cancel ends only the wait.
 */
#include "async/mark.h"
#include "uvm/vm_int.h"

struct end {
    struct uvm__vm_op base;
    struct uvm__vm_exit_waiter waiter;
    struct uvm__deadline grace;
    uint32_t grace_ms; /* 0: terminate at once */
    bool ends;         /* no wait */
};

static struct end *end_of(void *state) {
    return state;
}

/* Who asked for the end has not got it when the VMM stays; who only waits has heard how it is. */
static void end_over(struct end *n) {
    uvm_vm *vm = n->base.vm;
    uvm_error *err = NULL;
    uvm__deadline_clear(vm->engine, &n->grace);
    if (n->ends && vm->state == UVM_VM_FAILED) {
        char text[UVM__EXIT_TEXT_BYTES];
        uvm__vm_exit_text(vm, text);
        err = uvm__error(vm->engine, UVM_E_UNDO, 0, "%s: %s", vm->options.name, text);
    }
    uvm__step_done(n->base.op, err);
}

static void on_end(struct uvm__vm_exit_waiter *w) {
    end_over(UVM__CONTAINER_OF(w, struct end, waiter));
}

static void end_run(uvm_op *op, void *state) {
    struct end *n = end_of(state);
    (void)op;
    if (uvm__vm_has_ended(n->base.vm)) {
        end_over(n);
        return;
    }
    uvm__vm_exit_wait(n->base.vm, &n->waiter, on_end);
}

/* A deadline that passed says what for. */
static uvm_error *wait_outcome(struct uvm__vm_op *o, const uvm_error *err) {
    if (err == NULL || uvm_error_code(err) != UVM_E_TIMEDOUT) {
        return NULL;
    }
    uvm_error *said = uvm__error(o->vm->engine, UVM_E_TIMEDOUT, 0,
                                 "%s: it still ran when its time was over", o->vm->options.name);
    said = uvm__error_step(said, uvm_error_step(err));
    return uvm__error_cause(said, uvm_error_ref(err));
}

static void wait_cancel(uvm_op *op, void *state) {
    struct end *n = end_of(state);
    uvm__vm_exit_unwait(&n->waiter);
    uvm__step_done(op, uvm__error(n->base.vm->engine, UVM_E_CANCELED, 0, "%s: no longer waited for",
                                  n->base.vm->options.name));
}

/* ---- asking and forcing ------------------------------------------------------------------- */

/* -UVM_E_NOMEM: nothing was done. */
static int force(uvm_vm *vm) {
    if (vm->vmm_ended || vm->system_closing) {
        return 0;
    }
    int rc = uvm__hcs_terminate(vm->system, uvm__engine_root(vm->engine), NULL, NULL, NULL);
    if (rc == -UVM_E_NOMEM) {
        return rc;
    }
    uvm__ring_note(vm->engine, &vm->ring, "terminate");
    return 0; /* another refusal means that it has ended, which EXITED will say */
}

static void on_grace(struct uvm__deadline *d) {
    struct end *n = UVM__CONTAINER_OF(d, struct end, grace);
    uvm_vm *vm = n->base.vm;
    UVM__MARK(stop_grace);
    if (force(vm) < 0) {
        uvm__deadline_set(vm->engine, d, uvm__now_ms(vm->engine) + UVM__MEMORY_RETRY_MS);
        return;
    }
    uvm__log(vm->engine, UVM_LOG_WARN, vm->options.name,
             "did not shut down within %u ms: terminated", n->grace_ms);
}

static void ask_run(uvm_op *op, void *state) {
    struct end *n = end_of(state);
    uvm_vm *vm = n->base.vm;
    enum uvm_vm_state next;
    n->ends = true;
    if (uvm__state_next(vm->state, UVM__EV_STOP, &next) < 0) {
        uvm__step_done(op, uvm__error(vm->engine, UVM_E_STATE, 0, "%s is %s", vm->options.name,
                                      uvm_vm_state_text(vm->state)));
        return;
    }
    if (vm->state == UVM_VM_STOPPED) {
        uvm__step_done(op, NULL);
        return;
    }
    bool heard = n->grace_ms > 0 && vm->bridge != NULL && !uvm__bridge_lost(vm->bridge) &&
                 uvm__bridge_shutdown(vm->bridge, NULL, false, uvm__engine_root(vm->engine), NULL,
                                      NULL, NULL) == 0;
    if (heard) {
        uvm__ring_note(vm->engine, &vm->ring, "asked the guest to shut down");
        uvm__deadline_set(vm->engine, &n->grace, uvm__now_ms(vm->engine) + n->grace_ms);
    } else if (force(vm) < 0) {
        uvm__step_done(op, uvm__error_nomem());
        return;
    }
    uvm__vm_set_state(vm, next);
    uvm__step_done(op, NULL);
}

/* ---- start -------------------------------------------------------------------------------- */

static int init(uvm_op *op, void *state, const void *params) {
    struct end *n = end_of(state);
    (void)op;
    n->grace_ms = params == NULL ? 0 : *(const uint32_t *)params;
    uvm__list_init(&n->waiter.link);
    uvm__deadline_init(&n->grace, on_grace);
    return 0;
}

static void deinit(void *state) {
    uvm__vm_op_deinit(&end_of(state)->base);
}

static const struct uvm__step wait_steps[] = {{"exit", end_run, wait_cancel, NULL, false}};
static const struct uvm__step stop_steps[] = {{"ask", ask_run, NULL, NULL, false},
                                              {"exit", end_run, NULL, NULL, true}};
#define SAGA(text, table, count)                                                                   \
    {                                                                                              \
        .name = (text), .steps = (table), .steps_count = (count), .commit_step = 0,                \
        .state_bytes = sizeof(struct end), .init = init, .deinit = deinit                          \
    }
static const struct uvm__saga wait_saga = SAGA("vm wait", wait_steps, 1);
static const struct uvm__saga stop_saga = SAGA("vm stop", stop_steps, 2);
static const struct uvm__saga terminate_saga = SAGA("vm terminate", stop_steps, 2);

static int start(uvm_vm *vm, enum uvm__event ev, const struct uvm__saga *saga,
                 const uint32_t *grace_ms, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                 uvm_op **ret_op) {
    const struct uvm__vm_op_params p = {saga, ev == UVM__EV_WAIT ? wait_outcome : NULL, false,
                                        on_done, arg};
    enum uvm_vm_state ignored;
    if (uvm__state_next(vm->state, ev, &ignored) < 0) {
        return -UVM_E_STATE;
    }
    return uvm__vm_op_start(vm, scope, &p, grace_ms, ret_op);
}

int uvm_vm_wait(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(vm, UVM__EV_WAIT, &wait_saga, NULL, scope, on_done, arg, ret_op);
}

int uvm_vm_stop(uvm_vm *vm, uint32_t grace_ms, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                uvm_op **ret_op) {
    uint32_t ms = grace_ms == 0 ? UVM__STOP_GRACE_MS : grace_ms;
    return start(vm, UVM__EV_STOP, &stop_saga, &ms, scope, on_done, arg, ret_op);
}

int uvm_vm_terminate(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    return start(vm, UVM__EV_STOP, &terminate_saga, NULL, scope, on_done, arg, ret_op);
}
