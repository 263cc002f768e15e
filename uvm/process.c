/* SPDX-License-Identifier: MIT
 * process.c — a process in the guest, once it runs: its end, who waits for it, signals, streams.
 *
 * The bridge tells of the end after the output was delivered. When the bridge breaks first, the process
 * waits for the VM's end to be decided (exit.c), so that its waiters read why. An object is linked to its
 * VM until it is let go: a VM that closes ends all of them, whoever holds them.
 */
#include "async/cleanup.h"
#include "uvm/process_int.h"

UVM_STATIC_ASSERT((int)UVM_STDIN == (int)UVM__STDIN && (int)UVM_STDERR == (int)UVM__STDERR &&
                      (int)UVM_STDIO_MAX == (int)UVM__STDIO_MAX,
                  "streams have the same numbers above and below");

struct wait {
    struct uvm__vm_op base;
    uvm_process *process; /* one reference */
    struct uvm__list link;
};

/* ---- object ------------------------------------------------------------------------------- */

uvm_process *uvm__vm_process_new(uvm_vm *vm, const struct uvm_exec_params *params) {
    uvm_process *p = uvm__zalloc(vm->engine, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    uvm__vm_ref(vm);
    p->refs = 1;
    p->vm = vm;
    p->on_output = params->on_output;
    p->on_writable = params->on_writable;
    p->arg = params->arg;
    uvm__list_init(&p->link);
    uvm__list_init(&p->waits);
    uvm__list_init(&p->vm_end.link);
    return p;
}

void uvm__vm_process_unref(uvm_process *p) {
    if (p == NULL) {
        return;
    }
    UVM_ASSERT(p->refs > 0);
    if (--p->refs > 0) {
        return;
    }
    UVM_ASSERT(p->guest == NULL && uvm__list_empty(&p->waits) && !uvm__list_linked(&p->link));
    uvm_vm *vm = p->vm;
    uvm_error_unref(p->error);
    uvm_error_unref(p->lost);
    uvm__free(vm->engine, p);
    uvm__vm_unref(vm);
}

uvm_process *uvm__vm_process_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm_process, link);
}

void uvm__vm_process_started(uvm_process *p, struct uvm__process *take_guest) {
    UVM_ASSERT(p->guest == NULL && take_guest != NULL);
    p->guest = take_guest;
    uvm__list_append(&p->vm->processes, &p->link);
}

/* ---- its end ------------------------------------------------------------------------------ */

static void end_wait(struct wait *w) {
    uvm_process *p = w->process;
    uvm__list_remove(&w->link);
    uvm__step_done(w->base.op, p->has_exit ? NULL : uvm_error_ref(p->error));
}

static void end(uvm_process *p, uvm_error *take_err) {
    UVM_ASSERT(!p->ended);
    p->ended = true;
    p->error = take_err;
    uvm__vm_exit_unwait(&p->vm_end);
    while (!uvm__list_empty(&p->waits)) {
        end_wait(UVM__CONTAINER_OF(p->waits.next, struct wait, link));
    }
}

static void on_vm_end(struct uvm__vm_exit_waiter *w) {
    uvm_process *p = UVM__CONTAINER_OF(w, struct uvm_process, vm_end);
    uvm_error_unref(UVM_TAKE_PTR(p->error));
    end(p, uvm__vm_exit_error(p->vm));
}

static void on_exit(struct uvm__process *guest, const struct uvm__process_exit *exit,
                    const uvm_error *err, void *arg) {
    uvm_process *p = arg;
    UVM_ASSERT(guest == p->guest && !p->ended);
    if (exit != NULL) {
        p->has_exit = true;
        p->exit = (struct uvm_process_exit){exit->code, exit->signal, exit->core};
        end(p, NULL);
    } else if (uvm_error_code(err) != UVM_E_CLOSED) {
        end(p, uvm_error_ref(err));
    } else if (uvm__vm_has_ended(p->vm)) {
        end(p, uvm__vm_exit_error(p->vm));
    } else {
        p->error = uvm_error_ref(err);
        uvm__vm_exit_wait(p->vm, &p->vm_end, on_vm_end);
    }
}

static void let_go(uvm_process *p) {
    struct uvm__process *guest = UVM_TAKE_PTR(p->guest);
    uvm__process_close(guest);
    uvm__list_remove(&p->link);
    if (!p->ended) {
        uvm_error_unref(UVM_TAKE_PTR(p->error));
        end(p, uvm__error(p->vm->engine, UVM_E_CANCELED, 0, "%s: the process was let go",
                          p->vm->options.name));
    }
}

void uvm__vm_process_drop(uvm_process *p) {
    let_go(p);
}

void uvm_process_close(uvm_process *p) {
    if (p != NULL) {
        if (p->guest != NULL) {
            let_go(p);
        }
        p->on_output = NULL;
        p->on_writable = NULL;
        uvm__vm_process_unref(p);
    }
}

/* ---- streams ------------------------------------------------------------------------------ */

static size_t on_output(struct uvm__process *guest, enum uvm__stdio which, const void *data,
                        size_t bytes, void *arg) {
    uvm_process *p = arg;
    (void)guest;
    return p->on_output == NULL ? bytes
                                : p->on_output(p, (enum uvm_stdio)which, data, bytes, p->arg);
}

static void on_writable(struct uvm__process *guest, void *arg) {
    uvm_process *p = arg;
    (void)guest;
    if (p->on_writable != NULL) {
        p->on_writable(p, p->arg);
    }
}

/* A descriptor that failed, but for one whose reader left: what came after that is gone. */
static void on_stream_end(struct uvm__process *guest, enum uvm__stdio which, const uvm_error *err,
                          void *arg) {
    uvm_process *p = arg;
    (void)guest;
    bool failed = err != NULL && uvm_error_sys(err) != 0;
    if (failed && which != UVM__STDIN && p->lost == NULL) {
        p->lost = uvm_error_ref(err);
        uvm__log(p->vm->engine, UVM_LOG_INFO, p->vm->options.name, "output was dropped: %s",
                 uvm_error_message(err));
    }
}

const struct uvm__process_events uvm__vm_process_guest_events = {.on_exit = on_exit,
                                                                 .on_output = on_output,
                                                                 .on_writable = on_writable,
                                                                 .on_stream_end = on_stream_end};

const char *uvm_process_lost(const uvm_process *p) {
    return p->lost == NULL ? "" : uvm_error_message(p->lost);
}

int64_t uvm_process_write(uvm_process *p, const void *data, size_t bytes) {
    return p->guest == NULL ? -UVM_E_CLOSED : (int64_t)uvm__process_write(p->guest, data, bytes);
}

void uvm_process_close_stdin(uvm_process *p) {
    if (p->guest != NULL) {
        uvm__process_close_stdin(p->guest);
    }
}

void uvm_process_resume(uvm_process *p, enum uvm_stdio which) {
    if (p->guest != NULL) {
        uvm__process_resume(p->guest, (enum uvm__stdio)which);
    }
}

uint32_t uvm_process_pid(const uvm_process *p) {
    return p->guest == NULL ? 0 : uvm__process_pid(p->guest);
}

int uvm_process_exit(const uvm_process *p, struct uvm_process_exit *ret) {
    if (!p->has_exit) {
        return -UVM_E_STATE;
    }
    *ret = p->exit;
    return 0;
}

/* ---- wait --------------------------------------------------------------------------------- */

static int wait_init(uvm_op *op, void *state, const void *params) {
    struct wait *w = state;
    (void)op;
    w->process = (uvm_process *)(uintptr_t)params;
    w->process->refs++;
    uvm__list_init(&w->link);
    return 0;
}

static void wait_deinit(void *state) {
    struct wait *w = state;
    uvm__vm_process_unref(w->process);
    uvm__vm_op_deinit(&w->base);
}

static void wait_run(uvm_op *op, void *state) {
    struct wait *w = state;
    (void)op;
    uvm__list_append(&w->process->waits, &w->link);
    if (w->process->ended) {
        end_wait(w);
    }
}

/* A deadline that passed says what for. */
static uvm_error *wait_outcome(struct uvm__vm_op *o, const uvm_error *err) {
    struct wait *w = UVM__CONTAINER_OF(o, struct wait, base);
    if (err == NULL || uvm_error_code(err) != UVM_E_TIMEDOUT) {
        return NULL;
    }
    uvm_error *said = uvm__error(o->vm->engine, UVM_E_TIMEDOUT, 0,
                                 "%s: process %u still ran when its time was over",
                                 o->vm->options.name, uvm_process_pid(w->process));
    said = uvm__error_step(said, uvm_error_step(err));
    return uvm__error_cause(said, uvm_error_ref(err));
}

static void wait_cancel(uvm_op *op, void *state) {
    struct wait *w = state;
    uvm__list_remove(&w->link);
    uvm__step_done(op, uvm__error(w->base.vm->engine, UVM_E_CANCELED, 0, "no longer waited for"));
}

static const struct uvm__step wait_steps[] = {{"exit", wait_run, wait_cancel, NULL, false}};
static const struct uvm__saga wait_saga = {.name = "process wait",
                                           .steps = wait_steps,
                                           .steps_count = 1,
                                           .state_bytes = sizeof(struct wait),
                                           .init = wait_init,
                                           .deinit = wait_deinit};

int uvm_process_wait(uvm_process *p, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    const struct uvm__vm_op_params params = {&wait_saga, wait_outcome, false, on_done, arg};
    return uvm__vm_op_start(p->vm, scope, &params, p, ret_op);
}

/* ---- signal and resize -------------------------------------------------------------------- */

struct call {
    struct uvm__vm_op base;
    uvm_process *process; /* one reference */
    uvm_op *child;
    struct uvm__vm_failing failing;
    bool resize, group;
    int signo;
    uint16_t rows, cols;
};

static int call_init(uvm_op *op, void *state, const void *params) {
    struct call *c = state;
    (void)op;
    *c = *(const struct call *)params;
    c->process->refs++;
    uvm__vm_failing_init(&c->failing, &c->base);
    return 0;
}

static void call_deinit(void *state) {
    struct call *c = state;
    uvm_op_unref(c->child);
    uvm__vm_failing_deinit(&c->failing);
    uvm__vm_process_unref(c->process);
    uvm__vm_op_deinit(&c->base);
}

static void call_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)child;
    if (err == NULL) {
        uvm__step_done(c->base.op, NULL);
    } else {
        uvm__vm_fail_step(&c->failing, uvm_error_ref(err));
    }
}

static void call_cancel(uvm_op *op, void *state) {
    struct call *c = state;
    (void)op;
    uvm__vm_failing_cancel(&c->failing);
}

static void call_run(uvm_op *op, void *state) {
    struct call *c = state;
    struct uvm__process *guest = c->process->guest;
    uvm_scope *scope = uvm__op_scope(op);
    int rc = -UVM_E_NOTFOUND;
    if (guest != NULL) {
        rc = c->resize
                 ? uvm__process_resize(guest, c->rows, c->cols, scope, call_done, c, &c->child)
                 : uvm__process_signal(guest, c->signo, c->group, scope, call_done, c, &c->child);
    }
    if (rc < 0) {
        bool ended = rc == -UVM_E_NOTFOUND; /* which is no error */
        uvm__step_done(op, ended ? NULL : uvm__fail_error(c->base.vm->engine, rc, NULL));
    }
}

static const struct uvm__step signal_steps[] = {{"call", call_run, call_cancel, NULL, true}};
#define CALL_SAGA(text)                                                                            \
    {                                                                                              \
        .name = (text), .steps = signal_steps, .steps_count = 1,                                   \
        .state_bytes = sizeof(struct call), .init = call_init, .deinit = call_deinit               \
    }
static const struct uvm__saga signal_saga = CALL_SAGA("process signal");
static const struct uvm__saga resize_saga = CALL_SAGA("process resize");

int uvm_process_signal(uvm_process *p, int signo, bool group, uvm_scope *scope, uvm_done_fn on_done,
                       void *arg, uvm_op **ret_op) {
    const struct uvm__vm_op_params params = {&signal_saga, NULL, true, on_done, arg};
    const struct call c = {.process = p, .signo = signo, .group = group};
    if (signo < 1 || signo > 64) {
        return -UVM_E_INVAL;
    }
    return uvm__vm_op_start(p->vm, scope, &params, &c, ret_op);
}

int uvm_process_resize(uvm_process *p, uint16_t rows, uint16_t cols, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    const struct uvm__vm_op_params params = {&resize_saga, NULL, true, on_done, arg};
    const struct call c = {.process = p, .resize = true, .rows = rows, .cols = cols};
    return uvm__vm_op_start(p->vm, scope, &params, &c, ret_op);
}
