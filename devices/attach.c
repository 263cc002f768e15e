/* SPDX-License-Identifier: MIT
 * attach.c — the saga of attaching, the same for all kinds: reserve → attach → mount.
 *
 * The device does the work (its kind's turn); the operation counts as one of those who want it, and waits.
 * So there is no first one on whom the others depend: who gives up takes its own wish back, and only when
 * nobody wants the device any more does it leave, whatever it has come to by then. When it fails, all who
 * wait hear the same error, and it leaves with the last of them.
 * The one undo is reserve's: it ends when the device is gone, or others keep it. While it cannot go, the
 * operation reports UNDO and waits on: a late answer, RELEASED or a detach that worked lifts the quarantine.
 */
#include "async/mark.h"
#include "async/plant.h"
#include "devices/device_int.h"
#include <stdio.h>

struct attach {
    uvm_op *op;
    struct uvm__devices *devices;
    const struct uvm__device_kind *kind;
    void *params;
    void (*on_host)(void *arg);
    void *host_arg;
    uvm_done_fn on_done;
    void *arg;
    struct uvm__device *dev; /* held; NULL: no place yet */
    struct uvm__device_wait wait;
    enum awaits { IDLE, RESERVING, HOST, READY, LEAVING } awaits;
    bool shared;
    struct uvm__attach_result result;
};

static void stop_waiting(struct attach *a) {
    a->awaits = IDLE;
    uvm__device_unwait(a->devices, &a->wait);
}

static void end_step(struct attach *a, uvm_error *take_err) {
    stop_waiting(a);
    uvm__step_done(a->op, take_err);
}

static uvm_error *over_error(struct attach *a) {
    return uvm__error(a->devices->engine, UVM_E_CLOSED, 0, "%s: the utility VM is gone",
                      a->devices->name);
}

/* ---- reserve ------------------------------------------------------------------------------ */

static void try_reserve(struct attach *a) {
    struct uvm__fail f = {0};
    struct uvm__device *dev = NULL;
    if (a->devices->system == NULL) {
        end_step(a, over_error(a));
        return;
    }
    int rc = a->kind->reserve(a->devices, a->params, &dev, &a->shared, &f);
    if (rc == -UVM_E_AGAIN) {
        UVM__MARK(attach_place);
        a->awaits = RESERVING;
        uvm__device_wait(&a->wait, &a->devices->reserving);
        return;
    }
    if (rc < 0) {
        end_step(a, uvm__fail_error(a->devices->engine, rc, &f));
        return;
    }
    a->dev = dev;
    uvm__device_hold(dev);
    dev->pending++;
    uvm__device_touch(dev);
    end_step(a, NULL);
}

static void reserve_run(uvm_op *op, void *state) {
    (void)op;
    try_reserve(state);
}

/* ---- attach, mount ------------------------------------------------------------------------ */

static void look(struct attach *a) {
    struct uvm__device *dev = a->dev;
    enum uvm__device_phase enough = a->awaits == HOST ? UVM__DEVICE_HOST : UVM__DEVICE_READY;
    if (dev->phase == UVM__DEVICE_GONE) {
        UVM__MARK(attach_vm_gone);
        end_step(a, over_error(a));
    } else if (dev->failed != NULL) {
        UVM__MARK_IF(attach_failed_together, a->shared);
        bool lie = UVM__PLANT(join_failed) && a->shared;
        end_step(a, lie ? NULL : uvm_error_ref(dev->failed));
    } else if (dev->phase >= enough) {
        if (a->awaits == HOST && a->on_host != NULL) {
            a->on_host(a->host_arg);
        }
        end_step(a, NULL);
    }
}

static void wait_for(struct attach *a, enum awaits what) {
    a->awaits = what;
    uvm__device_wait(&a->wait, &a->dev->waiters);
    look(a);
}

static void host_run(uvm_op *op, void *state) {
    (void)op;
    wait_for(state, HOST);
}

static void ready_run(uvm_op *op, void *state) {
    (void)op;
    wait_for(state, READY);
}

static void give_up(uvm_op *op, void *state) {
    struct attach *a = state;
    (void)op;
    end_step(a,
             uvm__error(a->devices->engine, UVM_E_CANCELED, 0, "%s: given up", a->devices->name));
}

/* ---- undo --------------------------------------------------------------------------------- */

static void look_left(struct attach *a) {
    struct uvm__device *dev = a->dev;
    if (dev->phase == UVM__DEVICE_GONE) {
        UVM__MARK_IF(attach_lifted, uvm__op_resolved(a->op));
        stop_waiting(a);
        uvm__undo_done(a->op, NULL);
    } else if (dev->stuck != NULL && !uvm__op_resolved(a->op)) {
        uvm__scope_fail(uvm__op_undo_scope(a->op), UVM__TIMED_OUT, NULL);
    }
}

static void reserve_undo(uvm_op *op, void *state) {
    struct attach *a = state;
    struct uvm__device *dev = a->dev;
    UVM_ASSERT(dev->pending > 0 || dev->phase == UVM__DEVICE_GONE);
    dev->pending--;
    bool wanted = !UVM__PLANT(first_cancels_all) && (dev->pending > 0 || dev->refs > 0);
    if (dev->phase != UVM__DEVICE_GONE && wanted) {
        UVM__MARK(attach_left_to_others);
        uvm__undo_done(op, NULL);
        return;
    }
    dev->leaving = true;
    uvm__device_touch(dev);
    a->awaits = LEAVING;
    uvm__device_wait(&a->wait, &dev->waiters);
    look_left(a);
}

static void on_change(struct uvm__ready *r) {
    struct attach *a = UVM__CONTAINER_OF(r, struct attach, wait.ready);
    switch (a->awaits) {
    case RESERVING:
        try_reserve(a);
        break;
    case HOST:
    case READY:
        look(a);
        break;
    case LEAVING:
        look_left(a);
        break;
    case IDLE:
        UVM_ASSERT(false);
    }
}

/* ---- the operation ------------------------------------------------------------------------ */

/* Before anybody can act on the outcome: the wish becomes a reference, or a name in the quarantine. */
static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct attach *a = uvm__op_state(op);
    struct uvm__device *dev = a->dev;
    (void)arg;
    if (err == NULL) {
        UVM_ASSERT(dev->pending > 0);
        dev->pending--;
        dev->refs++;
        a->result.shared = a->shared;
        a->result.refs = dev->refs;
        a->result.id = dev->id;
        a->result.kind = dev->kind->name;
        dev->kind->result(dev, &a->result);
    } else if (uvm_error_code(err) == UVM_E_UNDO && dev != NULL) {
        dev->abandoned = true;
        uvm__device_changed(dev);
    }
    if (a->on_done != NULL) {
        a->on_done(op, err, a->arg);
    }
}

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    struct attach *a = state;
    (void)op;
    if (step == 0 && a->dev != NULL) {
        a->dev->kind->text(a->dev, buf, bytes);
    }
}

static int init(uvm_op *op, void *state, const void *params) {
    const struct uvm__attach_params *p = params;
    struct attach *a = state;
    a->op = op;
    a->devices = p->devices;
    a->kind = p->kind;
    a->on_host = p->on_host;
    a->host_arg = p->arg;
    a->result = (struct uvm__attach_result)UVM__ATTACH_RESULT_NONE;
    uvm__device_wait_init(&a->wait, on_change);
    return p->kind->copy(p->devices->engine, p->params, &a->params);
}

static void deinit(void *state) {
    struct attach *a = state;
    UVM_ASSERT(!uvm__list_linked(&a->wait.link));
    uvm__ready_cancel(a->devices->engine, &a->wait.ready);
    if (a->dev != NULL) {
        uvm__device_drop(a->dev);
    }
    uvm__free(a->devices->engine, a->params);
}

static const struct uvm__step steps[] = {
    {"reserve", reserve_run, give_up, reserve_undo, false},
    {"attach", host_run, give_up, NULL, false},
    {"mount", ready_run, give_up, NULL, false},
};
static const struct uvm__saga saga = {.name = "device attach",
                                      .steps = steps,
                                      .steps_count = sizeof steps / sizeof steps[0],
                                      .commit_step = sizeof steps / sizeof steps[0] - 1,
                                      .state_bytes = sizeof(struct attach),
                                      .init = init,
                                      .deinit = deinit,
                                      .describe = describe};

int uvm__device_attach(const struct uvm__attach_params *params, uvm_scope *scope, uvm_done_fn done,
                       void *arg, uvm_op **ret_op) {
    uvm_op *op;
    int rc = uvm__op_start(params->devices->engine, scope, &saga, params, on_done, NULL, &op);
    if (rc < 0) {
        return rc;
    }
    if (params->deadline_ms > 0) {
        uvm__scope_deadline(uvm__op_scope(op), params->deadline_ms);
    }
    struct attach *a = uvm__op_state(op);
    a->on_done = done;
    a->arg = arg;
    if (ret_op != NULL) {
        *ret_op = op;
    } else {
        uvm_op_unref(op);
    }
    return 0;
}

int uvm__device_copy_params(const struct uvm__device_kind *kind, uvm_engine *e, const void *params,
                            void **ret) {
    return kind->copy(e, params, ret);
}

const struct uvm__attach_result *uvm__device_attach_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    return &((struct attach *)uvm__op_state(op))->result;
}
