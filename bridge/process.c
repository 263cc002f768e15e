/* SPDX-License-Identifier: MIT
 * process.c — a process in the guest, once it has been started: streams, signals, end.
 *
 * A process is the state of its exec op, which it keeps referenced from the moment it is taken until it is
 * closed, as does its WaitForProcess until the answer. Users' code runs from the ready queue or a stream's
 * event only, and may close the process there; whoever calls it holds the op meanwhile.
 * on_exit comes when the exit is known and every output relay has ended.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "bridge/process_int.h"

/* ---- streams ------------------------------------------------------------------------------ */

void uvm__process_close_listeners(struct uvm__process *p) {
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        uvm__listener_close(UVM_TAKE_PTR(p->listeners[i]));
    }
}

void uvm__process_stop_relays(struct uvm__process *p) {
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        uvm__relay_stop(&p->relays[i]);
    }
}

void uvm__process_connect_over(struct uvm__process *p, uvm_error *take_err) {
    UVM_ASSERT(p->connecting);
    p->connecting = false;
    uvm__deadline_clear(p->bridge->engine, &p->accept);
    uvm__step_done(p->op, take_err);
}

/* ---- the end of the process --------------------------------------------------------------- */

static void tell_if_over(struct uvm__process *p) {
    if (!p->taken || p->closed || !p->exited || p->told) {
        return;
    }
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        if (!p->relays[i].ended) {
            return;
        }
    }
    uvm__ready_push(p->bridge->engine, &p->ready);
}

static void on_ready(struct uvm__ready *r) {
    struct uvm__process *p = UVM__CONTAINER_OF(r, struct uvm__process, ready);
    UVM_ASSERT(!p->closed && !p->told);
    p->told = true;
    if (p->events.on_exit != NULL) {
        uvm_op *op = uvm_op_ref(p->op);
        p->events.on_exit(p, p->exit_err == NULL ? &p->exit : NULL, p->exit_err, p->arg);
        uvm_op_unref(op);
    }
}

static void drain(struct uvm__process *p) {
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        uvm__relay_drain(&p->relays[i]);
    }
    tell_if_over(p);
}

/* ---- relays ------------------------------------------------------------------------------- */

static size_t relay_output(struct uvm__relay *r, const void *data, size_t bytes) {
    struct uvm__process *p = UVM__CONTAINER_OF(r - r->which, struct uvm__process, relays);
    return p->events.on_output(p, r->which, data, bytes, p->arg);
}

static void relay_writable(struct uvm__relay *r) {
    struct uvm__process *p = UVM__CONTAINER_OF(r - r->which, struct uvm__process, relays);
    if (p->events.on_writable != NULL) {
        p->events.on_writable(p, p->arg);
    }
}

static void relay_end(struct uvm__relay *r, const uvm_error *err) {
    struct uvm__process *p = UVM__CONTAINER_OF(r - r->which, struct uvm__process, relays);
    uvm_op *op = uvm_op_ref(p->op);
    if (p->events.on_stream_end != NULL) {
        p->events.on_stream_end(p, r->which, err, p->arg);
    }
    tell_if_over(p);
    uvm_op_unref(op);
}

int uvm__process_init_relays(struct uvm__process *p, const struct uvm__process_params *params) {
    uvm__ready_init(&p->ready, on_ready);
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        struct uvm__relay *r = &p->relays[i];
        int rc = uvm__relay_init(r, p->op, (enum uvm__stdio)i, params->stdio[i], params->fd[i]);
        if (rc < 0) {
            return rc;
        }
        r->on_output = relay_output;
        r->on_writable = relay_writable;
        r->on_end = relay_end;
    }
    return 0;
}

/* ---- the wait's answer --------------------------------------------------------------------- */

void uvm__process_on_wait_reply(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply,
                                const uvm_error *err) {
    struct uvm__process *p = UVM__CONTAINER_OF(rpc, struct uvm__process, wait);
    UVM_ASSERT(!p->exited);
    p->exited = true;
    if (reply == NULL) {
        p->exit_err = uvm_error_ref(err);
    } else if (reply->result.result != 0) {
        p->exit_err = uvm__rpc_refused(rpc, reply);
    } else {
        p->exit = (struct uvm__process_exit){reply->answer.exit.code, reply->answer.exit.signal,
                                             reply->answer.exit.core};
    }
    /* Not known to the guest (any more) is as good as ended. */
    p->gone = reply != NULL && (p->exit_err == NULL || reply->result.result == UVM__HR_NOT_FOUND);
    if (p->undoing) {
        p->undoing = false;
        uvm__undo_done(p->op, p->gone ? NULL : uvm_error_ref(p->exit_err));
    } else if (p->connecting && reply == NULL) {
        uvm__process_connect_over(p, uvm_error_ref(err));
    } else if (p->taken && !p->closed) {
        drain(p);
    }
}

void uvm__process_release(struct uvm__process *p) {
    uvm__process_close_listeners(p);
    uvm__process_stop_relays(p);
    uvm__rpc_deinit(&p->wait);
    uvm__rpc_deinit(&p->kill);
    uvm__free(p->bridge->engine, p->container_id);
    uvm_error_unref(p->exit_err);
    uvm__bridge_unref(p->bridge);
}

/* ---- the process's face ------------------------------------------------------------------- */

static struct uvm__process *state_of(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &uvm__process_saga);
    return uvm__op_state(op);
}

struct uvm__process *uvm__process_exec_result(uvm_op *op) {
    struct uvm__process *p = state_of(op);
    if (!uvm__op_succeeded(op) || p->taken) {
        return NULL;
    }
    p->taken = true;
    uvm_op_ref(op);
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        uvm__relay_start(&p->relays[i]);
    }
    if (p->exited) {
        drain(p);
    }
    return p;
}

struct uvm__msg_start uvm__process_exec_failure(uvm_op *op) {
    return state_of(op)->failure;
}

uint32_t uvm__process_pid(const struct uvm__process *p) {
    return p->pid;
}

bool uvm__process_exited(const struct uvm__process *p) {
    return p->exited;
}

ssize_t uvm__process_write(struct uvm__process *p, const void *data, size_t bytes) {
    UVM_ASSERT(!p->closed);
    return uvm__relay_write(&p->relays[UVM__STDIN], data, bytes);
}

void uvm__process_close_stdin(struct uvm__process *p) {
    UVM_ASSERT(!p->closed);
    uvm__relay_close_input(&p->relays[UVM__STDIN]);
}

void uvm__process_resume(struct uvm__process *p, enum uvm__stdio which) {
    UVM_ASSERT(!p->closed && which < UVM__STDIO_MAX);
    uvm__relay_resume(&p->relays[which]);
}

int uvm__process_signal(struct uvm__process *p, int signo, bool group, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    if (p->gone) { /* where the wait failed, only the guest knows */
        return -UVM_E_NOTFOUND;
    }
    return uvm__bridge_signal(p->bridge, p->container_id, p->pid, signo, group, scope, on_done, arg,
                              ret_op);
}

int uvm__process_resize(struct uvm__process *p, uint16_t height, uint16_t width, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    if (p->gone) { /* where the wait failed, only the guest knows */
        return -UVM_E_NOTFOUND;
    }
    return uvm__bridge_resize(p->bridge, p->container_id, p->pid, height, width, scope, on_done,
                              arg, ret_op);
}

void uvm__process_close(struct uvm__process *p) {
    if (p == NULL) {
        return;
    }
    UVM_ASSERT(p->taken && !p->closed);
    p->closed = true;
    uvm__ready_cancel(p->bridge->engine, &p->ready);
    uvm__process_stop_relays(p);
    uvm_op_unref(p->op); /* the wait keeps it until it is answered */
}
