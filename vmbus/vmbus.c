/* SPDX-License-Identifier: MIT
 * vmbus.c — the registry of what is offered to one VM.
 *
 * A device is in the list from its offer until the guest has let go of it. Taking it back is at once when no
 * guest knows of it: none is connected, or it was not told yet; a guest that dials later does not hear of it.
 * Its instance is taken until then, so that one word of the guest cannot mean two devices.
 */
#include "vmbus/vmbus_int.h"

#include <stdio.h>

#include "async/alloc.h"
#include "async/check.h"

struct uvm__vmbus *uvm__vmbus_ref(struct uvm__vmbus *b) {
    UVM_ASSERT_CMP(b->refs, >, 0);
    b->refs++;
    return b;
}

void uvm__vmbus_unref(struct uvm__vmbus *b) {
    UVM_ASSERT_CMP(b->refs, >, 0);
    if (--b->refs > 0) {
        return;
    }
    UVM_ASSERT(b->closed && uvm__list_empty(&b->offered));
    uvm__free(b->engine, b);
}

int uvm__vmbus_open(uvm_engine *e, struct uvm__hvsock *hvsock, const char *name,
                    struct uvm__vmbus **ret) {
    struct uvm__vmbus *b = uvm__zalloc(e, sizeof *b);
    const struct uvm__listen_params params = {
        .port = UVM__PORT_OFFERS, .live_max = 1, .on_accept = uvm__vmbus_on_dial, .arg = b};

    if (b == NULL) {
        return -UVM_E_NOMEM;
    }
    b->engine = e;
    b->refs = 1;
    (void)snprintf(b->name, sizeof b->name, "%s", name);
    uvm__list_init(&b->offered);
    int rc = uvm__hvsock_listen(hvsock, &params, &b->listener);
    if (rc < 0) {
        uvm__free(e, b);
        return rc;
    }
    *ret = b;
    return 0;
}

void uvm__vmbus_close(struct uvm__vmbus *b) {
    if (b == NULL) {
        return;
    }
    UVM_ASSERT(!b->closed);
    b->closed = true;
    uvm__vmbus_hang_up(b);
    uvm__listener_close(b->listener);
    b->listener = NULL;
    while (!uvm__list_empty(&b->offered)) {
        uvm__vmbus_gone(b, UVM__CONTAINER_OF(b->offered.next, struct uvm__vmbus_offered, link),
                        -UVM_E_EXITED);
    }
    uvm__vmbus_unref(b);
}

enum uvm__vmbus_link uvm__vmbus_link(const struct uvm__vmbus *b) {
    if (b->stream != NULL && b->synced) {
        return UVM__VMBUS_UP;
    }
    return b->dialled ? UVM__VMBUS_LOST : UVM__VMBUS_NEVER;
}

struct uvm__vmbus_offered *uvm__vmbus_find(const struct uvm__vmbus *b,
                                           const struct uvm__guid *instance) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &b->offered) {
        struct uvm__vmbus_offered *o = UVM__CONTAINER_OF(it, struct uvm__vmbus_offered, link);
        if (uvm__guid_equal(&o->device.instance, instance)) {
            return o;
        }
    }
    return NULL;
}

bool uvm__vmbus_has(const struct uvm__vmbus *b, const struct uvm__guid *instance,
                    bool *ret_opened) {
    const struct uvm__vmbus_offered *o = uvm__vmbus_find(b, instance);

    *ret_opened = o != NULL && o->opened;
    return o != NULL;
}

int uvm__vmbus_prepare(struct uvm__vmbus *b, const struct uvm__vmbus_device *d,
                       struct uvm__vmbus_offered **ret) {
    struct uvm__vmbus_offered *o;

    if (d->kind >= UVM__VMBUS_CLASS_MAX || !uvm__vmbus_location_valid(d->location)) {
        return -UVM_E_INVAL;
    }
    if (uvm__vmbus_find(b, &d->instance) != NULL) {
        return -UVM_E_EXISTS;
    }
    if (b->count >= UVM__VMBUS_DEVICES_MAX) {
        return -UVM_E_LIMIT;
    }
    o = uvm__zalloc(b->engine, sizeof *o);
    if (o == NULL) {
        return -UVM_E_NOMEM;
    }
    o->device = *d;
    uvm__list_init(&o->opening);
    uvm__list_init(&o->closing);
    *ret = o;
    return 0;
}

void uvm__vmbus_put(struct uvm__vmbus *b, struct uvm__vmbus_offered *take_o) {
    UVM_ASSERT(!b->closed && uvm__vmbus_find(b, &take_o->device.instance) == NULL);
    uvm__list_append(&b->offered, &take_o->link);
    b->count++;
    uvm__vmbus_tell(b);
}

int uvm__vmbus_present(struct uvm__vmbus *b, const struct uvm__vmbus_device *d) {
    struct uvm__vmbus_offered *o;
    int rc = b->closed ? -UVM_E_EXITED : uvm__vmbus_prepare(b, d, &o);

    if (rc == 0) {
        uvm__vmbus_put(b, o);
    }
    return rc;
}

void uvm__vmbus_wake(struct uvm__list *waiters, int rc) {
    while (!uvm__list_empty(waiters)) {
        struct uvm__vmbus_waiter *w =
            UVM__CONTAINER_OF(waiters->next, struct uvm__vmbus_waiter, link);
        uvm__list_remove(&w->link);
        w->fn(w, rc);
    }
}

void uvm__vmbus_gone(struct uvm__vmbus *b, struct uvm__vmbus_offered *o, int rc) {
    UVM_ASSERT_CMP(b->count, >, 0);
    uvm__list_remove(&o->link);
    b->count--;
    uvm__vmbus_wake(&o->opening, rc < 0 ? rc : -UVM_E_STATE);
    uvm__vmbus_wake(&o->closing, 0); /* the VM's end closes everything, too */
    uvm__free(b->engine, o);
}

void uvm__vmbus_take_back(struct uvm__vmbus *b, struct uvm__vmbus_offered *o,
                          struct uvm__vmbus_waiter *w) {
    if (w != NULL) {
        uvm__list_append(&o->closing, &w->link);
    }
    if (o->rescinded) {
        return;
    }
    o->rescinded = true;
    uvm__vmbus_wake(&o->opening, -UVM_E_STATE);
    if (!o->told) {
        uvm__vmbus_gone(b, o, 0);
    } else {
        uvm__vmbus_tell(b);
    }
}
