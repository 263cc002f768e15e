/* SPDX-License-Identifier: MIT
 * detach.c — giving a reference back; the last one takes the device away. The same for all kinds.
 *
 * One step, since after the guest has let go there is no way back: until the request to unmount leaves, a
 * cancel withdraws it; from then on the operation waits for the end, for as long as an undo may take once
 * somebody wants it to stop, and then says UNDO and what is left. A failure before the guest let go leaves
 * everything as it was, the reference too. After it the device is quarantined under its id, and the next
 * detach of that id goes on where this one stopped.
 */
#include "async/mark.h"
#include "async/plant.h"
#include "devices/device_int.h"
#include <stdio.h>
#include <string.h>

struct detach {
    uvm_op *op;
    struct uvm__devices *devices;
    uvm_done_fn on_done;
    void *arg;
    struct uvm__device *dev; /* held */
    struct uvm__device_wait wait;
    char id[UVM__DEVICE_ID_BYTES];
};

static void end_step(struct detach *t, uvm_error *take_err) {
    uvm__device_unwait(t->devices, &t->wait);
    if (t->dev != NULL && t->dev->detach == t->op) {
        t->dev->detach = NULL;
    }
    uvm__step_done(t->op, take_err);
}

static uvm_error *refuse(struct detach *t, enum uvm_error_code code, const char *what) {
    return uvm__error(t->devices->engine, code, 0, "%s: %s%s%s", t->devices->name, t->id,
                      t->id[0] == 0 ? "" : " ", what);
}

/* What is left after the guest let go. */
static uvm_error *quarantined(struct detach *t) {
    char text[UVM__DEVICE_TEXT_BYTES];
    t->dev->kind->text(t->dev, text, sizeof text);
    uvm_error *err = uvm__error(t->devices->engine, UVM_E_UNDO, 0,
                                "%s: %s is detached by halves and quarantined: detach it again",
                                t->devices->name, text);
    err = uvm__error_detail(err, text, strlen(text));
    return uvm__error_cause(err, uvm_error_ref(t->dev->stuck));
}

static void look(struct detach *t) {
    struct uvm__device *dev = t->dev;
    if (dev->phase == UVM__DEVICE_GONE) {
        /* Also by the VM's end: whoever wanted it gone has what it wanted, unless told otherwise. */
        bool over = t->devices->system == NULL;
        end_step(t, over ? refuse(t, UVM_E_CLOSED, "was still there when the VM ended") : NULL);
    } else if (!dev->leaving) {
        end_step(t,
                 dev->stuck == NULL ? refuse(t, UVM_E_STATE, "stays") : uvm_error_ref(dev->stuck));
    } else if (dev->stuck != NULL && !uvm__op_resolved(t->op)) {
        UVM__MARK(detach_stuck);
        end_step(t, quarantined(t));
    }
}

static void on_change(struct uvm__ready *r) {
    look(UVM__CONTAINER_OF(r, struct detach, wait.ready));
}

/* NULL: this reference was not the last one's, or its removal begins. */
static uvm_error *begin(struct detach *t, bool *ret_over) {
    struct uvm__device *dev = uvm__device_find(t->devices, t->id);
    *ret_over = false;
    if (dev == NULL) {
        return refuse(t, UVM_E_NOTFOUND, "is not attached");
    }
    if (dev->detach != NULL && !uvm__op_resolved(dev->detach)) {
        UVM__MARK(detach_busy);
        return refuse(t, UVM_E_STATE, "is being detached");
    }
    bool last = (dev->refs <= 1 && dev->pending == 0) || UVM__PLANT(detach_uncounted);
    if (dev->pinned && dev->refs <= 1) {
        return refuse(t, UVM_E_STATE,
                      dev->internal ? "is the tools disk: it goes with the utility VM"
                                    : "is a disk of the boot: it goes with the utility VM");
    }
    if (dev->refs == 0 && (dev->pending > 0 || !dev->leaving)) {
        return refuse(t, UVM_E_STATE, "is still being attached");
    }
    if (dev->refs == 0 && !uvm__device_quarantined(dev)) {
        return refuse(t, UVM_E_STATE, "is being taken back");
    }
    if (!last) {
        dev->refs--;
        *ret_over = true;
        return NULL;
    }
    t->dev = dev;
    uvm__device_hold(dev);
    dev->detach = t->op;
    bool again = dev->leaving;
    dev->leaving = true;
    dev->abandoned = false;
    dev->stuck = uvm_error_unref(dev->stuck);
    if (again) {
        UVM__MARK(detach_again);
        dev->kind->again(dev);
    }
    uvm__device_wait(&t->wait, &dev->waiters);
    uvm__device_touch(dev);
    return NULL;
}

static void detach_run(uvm_op *op, void *state) {
    struct detach *t = state;
    bool over;
    (void)op;
    uvm_error *err = begin(t, &over);
    if (err != NULL || over) {
        end_step(t, err);
    }
}

static void detach_cancel(uvm_op *op, void *state) {
    struct detach *t = state;
    (void)op;
    bool kept = t->dev->refs > 0 && t->dev->phase < UVM__DEVICE_LEFT;
    if (kept && t->dev->kind->withdraw(t->dev)) {
        UVM__MARK(detach_withdrawn);
        t->dev->leaving = false;
        t->dev->abandoned = false;
        uvm__device_changed(t->dev);
        end_step(t, refuse(t, UVM_E_CANCELED, "stays: the detach was given up"));
    }
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct detach *t = uvm__op_state(op);
    (void)arg;
    if (err != NULL && uvm_error_code(err) == UVM_E_UNDO && t->dev != NULL) {
        t->dev->abandoned = true;
        uvm__device_changed(t->dev);
    }
    if (t->on_done != NULL) {
        t->on_done(op, err, t->arg);
    }
}

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    struct detach *t = state;
    (void)op;
    (void)step;
    if (t->dev != NULL) {
        t->dev->kind->text(t->dev, buf, bytes);
    }
}

struct params {
    struct uvm__devices *devices;
    const char *id;
};

static int init(uvm_op *op, void *state, const void *params) {
    const struct params *p = params;
    struct detach *t = state;
    t->op = op;
    t->devices = p->devices;
    (void)snprintf(t->id, sizeof t->id, "%s", p->id);
    uvm__device_wait_init(&t->wait, on_change);
    return 0;
}

static void deinit(void *state) {
    struct detach *t = state;
    UVM_ASSERT(!uvm__list_linked(&t->wait.link));
    uvm__ready_cancel(t->devices->engine, &t->wait.ready);
    if (t->dev != NULL) {
        uvm__device_drop(t->dev);
    }
}

static const struct uvm__step steps[] = {{"detach", detach_run, detach_cancel, NULL, false}};
static const struct uvm__saga saga = {.name = "device detach",
                                      .steps = steps,
                                      .steps_count = 1,
                                      .deadline_ms = UVM__DETACH_MS,
                                      .state_bytes = sizeof(struct detach),
                                      .init = init,
                                      .deinit = deinit,
                                      .describe = describe};

int uvm__device_detach(struct uvm__devices *d, const char *id, uvm_scope *scope, uvm_done_fn done,
                       void *arg, uvm_op **ret_op) {
    const struct params p = {d, id};
    uvm_op *op;
    int rc = uvm__op_start(d->engine, scope, &saga, &p, on_done, NULL, &op);
    if (rc < 0) {
        return rc;
    }
    struct detach *t = uvm__op_state(op);
    t->on_done = done;
    t->arg = arg;
    if (ret_op != NULL) {
        *ret_op = op;
    } else {
        uvm_op_unref(op);
    }
    return 0;
}
