/* SPDX-License-Identifier: MIT
 * single.c — what is done next for a device that is one thing on the host and one in the guest.
 *
 * A turn compares what is wanted with what is there and starts the next call, if any; the call's end changes
 * what is there and leads to the next turn. Up: host Add → guest Add. Down: guest Remove → host Remove; the
 * next one only when the one before has succeeded.
 *
 * How calls end, besides well:
 *   NOMEM           the way up fails; the way down waits a little and tries again
 *   CLOSED, EXITED  the connection or the VM is gone: whoever waits hears it, the VM's end does the rest
 *   UNDO (host)     the host does not know: the place is taken until RELEASED, a removal, or the VM's end
 *   else            the way up fails; the way down is stuck: a detach tries again
 * Guest calls are never cancelled once they have left, since only their answer tells what is there.
 */
#include "devices/single_int.h"
#include <string.h>

static const struct {
    bool is_call;
    enum uvm__single_state next[UVM__CALL_ENDS];
} calls[UVM__SINGLE_STATE_MAX] = {
#define UVM__X(name, text, done, refused, unsaid, lost)                                            \
    [UVM__SINGLE_##name] = {                                                                       \
        true,                                                                                      \
        {UVM__SINGLE_##done, UVM__SINGLE_##refused, UVM__SINGLE_##unsaid, UVM__SINGLE_##lost}},
    UVM__SINGLE_CALLS(UVM__X)
#undef UVM__X
};

/* The state after the call; how it ended. */
static enum uvm__call_end advance(struct uvm__single *s, const uvm_error *err) {
    enum uvm__call_end end = uvm__device_call_end(err);
    UVM_ASSERT(calls[s->state].is_call);
    s->state = calls[s->state].next[end];
    s->blocked = end == UVM__CALL_LOST;
    return end;
}

static void on_timer(struct uvm__deadline *t) {
    struct uvm__single *s = UVM__CONTAINER_OF(t, struct uvm__single, timer);
    if (s->state == UVM__SINGLE_REMOVING) {
        uvm_op_cancel(s->call); /* it only goes forward, but says now that it has not ended */
    } else {
        uvm__device_touch(&s->base);
    }
}

void uvm__single_init(struct uvm__single *s, void (*over)(struct uvm__single *s)) {
    s->over = over;
    s->guest_fails = "the guest did not mount it";
    s->guest_keeps = "the guest did not unmount it";
    uvm__deadline_init(&s->timer, on_timer);
}

void uvm__single_deinit(uvm_engine *e, struct uvm__single *s) {
    UVM_ASSERT(s->call == NULL);
    uvm__deadline_clear(e, &s->timer);
    uvm__free(e, s->add);
    uvm__free(e, s->remove);
    uvm__free(e, s->mount);
    uvm__free(e, s->unmount);
}

static void again_later(struct uvm__single *s) {
    uvm_engine *e = s->base.devices->engine;
    uvm__deadline_set(e, &s->timer, uvm__now_ms(e) + UVM__MEMORY_RETRY_MS);
}

static void gone(struct uvm__single *s) {
    s->over(s);
    uvm__device_gone(&s->base);
}

static void fail(struct uvm__single *s, const uvm_error *err, const char *what) {
    uvm__device_fail(&s->base, uvm__device_explain(&s->base, err, what));
}

static void stick(struct uvm__single *s, const uvm_error *err, const char *what) {
    uvm__device_stick(&s->base, uvm__device_explain(&s->base, err, what));
}

/* ---- calls -------------------------------------------------------------------------------- */

/* False: the VM ended while the call was under way. */
static bool end_call(struct uvm__single *s) {
    s->call = uvm_op_unref(s->call);
    uvm__deadline_clear(s->base.devices->engine, &s->timer);
    bool lives = s->base.phase != UVM__DEVICE_GONE;
    uvm__device_drop(&s->base); /* the call's hold: it may have been the last one */
    return lives;
}

static int started(struct uvm__single *s, int rc) {
    if (rc == 0) {
        uvm__device_hold(&s->base);
    }
    return rc;
}

static int call_host(struct uvm__single *s, const char *request, uvm_done_fn on_done) {
    struct uvm__devices *d = s->base.devices;
    const struct uvm__hcs_modify_params p = {.request = request, .request_bytes = strlen(request)};
    return started(s, uvm__hcs_modify(d->system, &p, d->scope, on_done, s, &s->call));
}

static int call_guest(struct uvm__single *s, const char *request, uvm_done_fn on_done) {
    struct uvm__devices *d = s->base.devices;
    return started(s, uvm__bridge_modify(d->bridge, NULL, request, d->scope, on_done, s, &s->call));
}

/* The way up cannot go on: `rc` says why. */
static void cannot(struct uvm__single *s, int rc, enum uvm__single_state back, const char *what) {
    uvm_error *err = uvm__fail_error(s->base.devices->engine, rc, NULL);
    s->state = back;
    fail(s, err, what);
    uvm_error_unref(err);
    uvm__device_touch(&s->base);
}

/* ---- host --------------------------------------------------------------------------------- */

static void on_added(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__single *s = arg;
    (void)op;
    if (!end_call(s)) {
        return;
    }
    enum uvm__call_end end = advance(s, err);
    if (err != NULL) {
        fail(s, err, "the host did not attach it");
    }
    if (end == UVM__CALL_UNSAID) {
        stick(s, err, "the host did not say whether it is attached");
    }
    if (s->released && s->state == UVM__SINGLE_UNKNOWN) {
        s->state = UVM__SINGLE_NEW;
    }
    int rc = err != NULL || s->placed == NULL ? 0 : s->placed(s);
    if (rc < 0) {
        cannot(s, rc, UVM__SINGLE_ADDED, "the guest cannot be told where it is");
        return;
    }
    uvm__device_touch(&s->base);
}

static void add(struct uvm__single *s) {
    s->released = false;
    s->state = UVM__SINGLE_ADDING;
    int rc = call_host(s, s->add, on_added);
    if (rc < 0) {
        cannot(s, rc, UVM__SINGLE_NEW, "the host was not asked");
    }
}

static void on_removed(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__single *s = arg;
    (void)op;
    if (!end_call(s)) {
        return;
    }
    enum uvm_error_code code = err == NULL ? UVM_OK : uvm_error_code(err);
    enum uvm__call_end end = advance(s, err);
    if (code == UVM_OK || code == UVM_E_NOTFOUND || s->released) {
        gone(s);
        return;
    }
    if (code == UVM_E_NOMEM) {
        again_later(s);
    } else if (end != UVM__CALL_LOST) {
        stick(s, err, "the host did not let go of it");
    }
}

static void remove_host(struct uvm__single *s) {
    uvm_engine *e = s->base.devices->engine;
    s->state = UVM__SINGLE_REMOVING;
    int rc = call_host(s, s->remove, on_removed);
    if (rc < 0) {
        s->state = UVM__SINGLE_ADDED;
        again_later(s); /* no memory; or the VM is about to end, which is heard of */
        return;
    }
    uvm__deadline_set(e, &s->timer, uvm__now_ms(e) + UVM__REMOVE_MS);
}

/* ---- guest -------------------------------------------------------------------------------- */

static void on_mounted(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__single *s = arg;
    (void)op;
    if (!end_call(s)) {
        return;
    }
    (void)advance(s, err);
    if (err == NULL) {
        uvm__device_set_phase(&s->base, UVM__DEVICE_READY);
    } else {
        fail(s, err, s->guest_fails);
    }
    uvm__device_touch(&s->base);
}

static void mount(struct uvm__single *s) {
    s->state = UVM__SINGLE_MOUNTING;
    int rc = call_guest(s, s->mount, on_mounted);
    if (rc < 0) {
        cannot(s, rc, UVM__SINGLE_ADDED, "the guest was not asked");
    }
}

static void unmount_fails(struct uvm__single *s, const uvm_error *err) {
    struct uvm__device *dev = &s->base;
    if (advance(s, err) == UVM__CALL_LOST) {
        return;
    }
    if (dev->refs > 0) {
        dev->leaving = dev->abandoned = false; /* nothing has happened: the reference stays */
    } else if (uvm_error_code(err) == UVM_E_NOMEM) {
        again_later(s);
        return;
    }
    stick(s, err, s->guest_keeps);
}

static void on_unmounted(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__single *s = arg;
    (void)op;
    if (!end_call(s)) {
        return;
    }
    if (err != NULL && uvm_error_code(err) != UVM_E_CANCELED) {
        unmount_fails(s, err);
        return;
    }
    (void)advance(s, err); /* CANCELED: it was withdrawn, and the guest was not asked */
    uvm__device_touch(&s->base);
}

static void unmount(struct uvm__single *s) {
    s->state = UVM__SINGLE_UNMOUNTING;
    int rc = call_guest(s, s->unmount, on_unmounted);
    if (rc < 0) {
        uvm_error *err = uvm__fail_error(s->base.devices->engine, rc, NULL);
        unmount_fails(s, err);
        uvm_error_unref(err);
    }
}

/* ---- turns -------------------------------------------------------------------------------- */

static void come(struct uvm__single *s) {
    struct uvm__device *dev = &s->base;
    if (s->state == UVM__SINGLE_NEW) {
        add(s);
    }
    if (s->state != UVM__SINGLE_ADDED || dev->failed != NULL) {
        return;
    }
    if (dev->phase == UVM__DEVICE_COMING) {
        uvm__device_set_phase(dev, UVM__DEVICE_HOST);
    }
    if (dev->phase == UVM__DEVICE_HOST && dev->devices->bridge != NULL) {
        mount(s);
    }
}

static void leave(struct uvm__single *s) {
    struct uvm__device *dev = &s->base;
    if (s->blocked || dev->stuck != NULL || s->timer.linked) {
        return; /* what ends that comes back here */
    }
    if (s->state == UVM__SINGLE_MOUNTED && s->unmount != NULL) {
        unmount(s);
        return;
    }
    if (dev->phase != UVM__DEVICE_LEFT) {
        dev->refs = 0;
        uvm__device_set_phase(dev, UVM__DEVICE_LEFT);
    }
    if (s->state == UVM__SINGLE_NEW) {
        gone(s);
    } else if (s->state == UVM__SINGLE_ADDED || s->state == UVM__SINGLE_MOUNTED) {
        remove_host(s);
    }
}

int uvm__single_join(const struct uvm__single *s, const char *what, struct uvm__fail *f) {
    const struct uvm__device *dev = &s->base;
    if (uvm__device_quarantined(dev) || s->state == UVM__SINGLE_UNKNOWN) {
        return uvm__fail(f, UVM_E_STATE, 0, "%s: %s of %.100s is quarantined: detach it again",
                         dev->devices->name, dev->id, what);
    }
    return dev->leaving || dev->failed != NULL ? -UVM_E_AGAIN : 0;
}

void uvm__single_turn(struct uvm__device *dev) {
    struct uvm__single *s = uvm__single_of(dev);
    if (s->call != NULL) {
        if (dev->leaving && s->state == UVM__SINGLE_MOUNTING) {
            (void)uvm__bridge_withdraw(s->call);
        } else if (dev->leaving && s->state == UVM__SINGLE_ADDING) {
            uvm_op_cancel(s->call);
        }
        return;
    }
    if (dev->leaving) {
        leave(s);
    } else if (dev->failed == NULL) {
        come(s);
    }
}

bool uvm__single_withdraw(struct uvm__device *dev) {
    struct uvm__single *s = uvm__single_of(dev);
    return s->call == NULL ? s->state == UVM__SINGLE_MOUNTED : uvm__bridge_withdraw(s->call);
}

void uvm__single_again(struct uvm__device *dev) {
    struct uvm__single *s = uvm__single_of(dev);
    if (s->state == UVM__SINGLE_UNKNOWN && s->call == NULL) {
        s->state = UVM__SINGLE_ADDED; /* ask to let go of it, whatever is there */
    }
}

void uvm__single_end(struct uvm__device *dev) {
    struct uvm__single *s = uvm__single_of(dev);
    uvm__deadline_clear(dev->devices->engine, &s->timer);
    s->over(s);
}

void uvm__single_released(struct uvm__devices *d, const struct uvm__device_kind *kind,
                          const char *resource) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev = UVM__CONTAINER_OF(it, struct uvm__device, link);
        struct uvm__single *s = uvm__single_of(dev);
        if (dev->kind != kind || strcmp(s->resource, resource) != 0) {
            continue;
        }
        s->released = true;
        if (s->call == NULL && s->state == UVM__SINGLE_UNKNOWN) {
            s->state = UVM__SINGLE_NEW;
            dev->stuck = uvm_error_unref(dev->stuck);
            uvm__device_touch(dev);
        }
        return;
    }
}
