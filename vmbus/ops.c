/* SPDX-License-Identifier: MIT
 * ops.c — offer, wait and rescind as operations.
 *
 * Offer is two steps, so that what a cancel finds under way is undone by the same rescind that anybody else may
 * ask for. The wait has a deadline of its own, because only it can say why nothing came: a guest without a
 * client of this channel is another thing than one that does not find a device. A rescind is not cancelled: the
 * guest may have let go already. Everything an op needs is in its state; undoing allocates nothing.
 */
#include <stdio.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/clock.h"
#include "vmbus/vmbus_int.h"

struct op_params {
    struct uvm__vmbus *bus;
    const struct uvm__vmbus_device *device; /* of an offer */
    const struct uvm__guid *instance;       /* of the others */
};

struct op_state {
    struct uvm__vmbus *bus;
    struct uvm__vmbus_offered *prepared; /* of an offer that has not run */
    struct uvm__guid instance;
    uvm_op *op;
    struct uvm__vmbus_waiter opening, closing;
    struct uvm__deadline timer;
};

static const char *guid_text(const struct op_state *o, char text[UVM_GUID_TEXT]) {
    uvm__guid_text(&o->instance, text);
    return text;
}

/* ---- opened ------------------------------------------------------------------------------- */

static void open_over(struct op_state *o, uvm_error *take_err) {
    uvm__list_remove(&o->opening.link);
    uvm__deadline_clear(o->bus->engine, &o->timer);
    uvm__step_done(o->op, take_err);
}

static void on_opened(struct uvm__vmbus_waiter *w, int rc) {
    struct op_state *o = UVM__CONTAINER_OF(w, struct op_state, opening);
    char guid[UVM_GUID_TEXT];

    open_over(o, rc == 0 ? NULL
                         : uvm__error(o->bus->engine, (enum uvm_error_code) - rc, 0,
                                      "vm %s: device %s: %s", o->bus->name, guid_text(o, guid),
                                      rc == -UVM_E_STATE ? "rescinded before the guest opened it"
                                                         : "the vm ended"));
}

static void on_open_time(struct uvm__deadline *d) {
    struct op_state *o = UVM__CONTAINER_OF(d, struct op_state, timer);
    struct uvm__vmbus *b = o->bus;
    char guid[UVM_GUID_TEXT];

    (void)guid_text(o, guid);
    if (!b->dialled) {
        open_over(o, uvm__error(b->engine, UVM_E_UNSUPPORTED, 0,
                                "vm %s: device %s: the guest never dialled the offer channel (port "
                                "%#x); its image has no client of it",
                                b->name, guid, UVM__PORT_OFFERS));
        return;
    }
    open_over(o,
              uvm__error(b->engine, UVM_E_TIMEDOUT, 0,
                         "vm %s: device %s: %s within %u ms; does its kernel have the driver?",
                         b->name, guid,
                         b->stream == NULL ? "the guest lost the offer channel and did not dial it"
                                           : "the guest did not find it",
                         UVM__VMBUS_OPEN_MS));
}

static void open_run(uvm_op *op, void *state) {
    struct op_state *o = state;
    struct uvm__vmbus_offered *d = uvm__vmbus_find(o->bus, &o->instance);
    char guid[UVM_GUID_TEXT];

    o->op = op;
    if (d == NULL || d->rescinded) {
        uvm__step_done(op,
                       uvm__error(o->bus->engine, o->bus->closed ? UVM_E_EXITED : UVM_E_STATE, 0,
                                  "vm %s: device %s is gone", o->bus->name, guid_text(o, guid)));
        return;
    }
    if (d->opened) {
        uvm__step_done(op, NULL);
        return;
    }
    uvm__list_append(&d->opening, &o->opening.link);
    uvm__deadline_set(o->bus->engine, &o->timer, uvm__now_ms(o->bus->engine) + UVM__VMBUS_OPEN_MS);
}

static void open_cancel(uvm_op *op, void *state) {
    struct op_state *o = state;
    char guid[UVM_GUID_TEXT];

    open_over(o, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0,
                            "vm %s: device %s: the guest has not opened it", o->bus->name,
                            guid_text(o, guid)));
}

/* ---- closed ------------------------------------------------------------------------------- */

/* True: `closing` will be told. */
static bool take_back(struct op_state *o) {
    struct uvm__vmbus_offered *d = uvm__vmbus_find(o->bus, &o->instance);

    if (d != NULL) {
        uvm__vmbus_take_back(o->bus, d, &o->closing);
    }
    return d != NULL;
}

static void on_rescinded(struct uvm__vmbus_waiter *w, int rc) {
    struct op_state *o = UVM__CONTAINER_OF(w, struct op_state, closing);

    (void)rc;
    uvm__step_done(o->op, NULL);
}

static void rescind_run(uvm_op *op, void *state) {
    struct op_state *o = state;

    o->op = op;
    if (!take_back(o)) {
        uvm__step_done(op, NULL); /* another was faster */
    }
}

static void on_undone(struct uvm__vmbus_waiter *w, int rc) {
    struct op_state *o = UVM__CONTAINER_OF(w, struct op_state, closing);

    (void)rc;
    uvm__undo_done(o->op, NULL);
}

static void offer_undo(uvm_op *op, void *state) {
    struct op_state *o = state;

    o->op = op;
    if (!take_back(o)) {
        uvm__undo_done(op, NULL);
    }
}

/* ---- offer -------------------------------------------------------------------------------- */

static void offer_run(uvm_op *op, void *state) {
    struct op_state *o = state;
    struct uvm__vmbus *b = o->bus;
    char guid[UVM_GUID_TEXT];

    if (b->closed || uvm__vmbus_find(b, &o->instance) != NULL) {
        uvm__step_done(op, uvm__error(b->engine, b->closed ? UVM_E_EXITED : UVM_E_EXISTS, 0,
                                      "vm %s: device %s: %s", b->name, guid_text(o, guid),
                                      b->closed ? "the vm ended" : "offered already"));
        return;
    }
    struct uvm__vmbus_offered *d = o->prepared;
    o->prepared = NULL;
    uvm__step_armed(op);
    uvm__vmbus_put(b, d);
    uvm__step_done(op, NULL);
}

static int op_init(uvm_op *op, void *state, const void *params) {
    const struct op_params *p = params;
    struct op_state *o = state;

    (void)op;
    if (p->bus->closed) {
        return -UVM_E_EXITED;
    }
    if (p->device != NULL) {
        int rc = uvm__vmbus_prepare(p->bus, p->device, &o->prepared);
        if (rc < 0) {
            return rc;
        }
        o->instance = p->device->instance;
    } else {
        if (uvm__vmbus_find(p->bus, p->instance) == NULL) {
            return -UVM_E_NOTFOUND;
        }
        o->instance = *p->instance;
    }
    o->opening.fn = on_opened;
    o->closing.fn = p->device != NULL ? on_undone : on_rescinded;
    uvm__list_init(&o->opening.link);
    uvm__list_init(&o->closing.link);
    uvm__deadline_init(&o->timer, on_open_time);
    o->bus = uvm__vmbus_ref(p->bus);
    return 0;
}

static void op_deinit(void *state) {
    struct op_state *o = state;

    UVM_ASSERT(!uvm__list_linked(&o->opening.link) && !uvm__list_linked(&o->closing.link));
    uvm__free(o->bus->engine, o->prepared);
    uvm__vmbus_unref(o->bus);
}

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct op_state *o = state;
    char guid[UVM_GUID_TEXT];

    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "device %s", guid_text(o, guid));
}

static const struct uvm__step offer_steps[] = {
    {.name = "offer", .run = offer_run, .undo = offer_undo},
    {.name = "guest", .run = open_run, .cancel = open_cancel},
};
static const struct uvm__step wait_steps[] = {
    {.name = "guest", .run = open_run, .cancel = open_cancel}};
static const struct uvm__step rescind_steps[] = {{.name = "guest", .run = rescind_run}};

#define SAGA(title, table, ms)                                                                     \
    {                                                                                              \
        .name = (title), .steps = (table), .steps_count = sizeof(table) / sizeof((table)[0]),      \
        .commit_step = sizeof(table) / sizeof((table)[0]) - 1, .deadline_ms = (ms),                \
        .state_bytes = sizeof(struct op_state), .init = op_init, .deinit = op_deinit,              \
        .describe = describe                                                                       \
    }
static const struct uvm__saga offer_saga = SAGA("offer", offer_steps, 0);
static const struct uvm__saga wait_saga = SAGA("wait for device", wait_steps, 0);
static const struct uvm__saga rescind_saga = SAGA("rescind", rescind_steps, UVM__VMBUS_CLOSE_MS);

int uvm__vmbus_offer(struct uvm__vmbus *b, const struct uvm__vmbus_device *d, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    const struct op_params p = {.bus = b, .device = d};
    return uvm__op_start(b->engine, scope, &offer_saga, &p, on_done, arg, ret_op);
}

int uvm__vmbus_wait(struct uvm__vmbus *b, const struct uvm__guid *instance, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    const struct op_params p = {.bus = b, .instance = instance};
    return uvm__op_start(b->engine, scope, &wait_saga, &p, on_done, arg, ret_op);
}

int uvm__vmbus_rescind(struct uvm__vmbus *b, const struct uvm__guid *instance, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    const struct op_params p = {.bus = b, .instance = instance};
    return uvm__op_start(b->engine, scope, &rescind_saga, &p, on_done, arg, ret_op);
}
