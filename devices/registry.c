/* SPDX-License-Identifier: MIT
 * registry.c — attachments of all kinds: ids, references, who waits, and the end of them all.
 *
 * A device is held by the registry until it is gone, by each operation that is about it, and by each call
 * under way; it is freed with the last hold. So an answer that comes after the VM's end finds it still.
 */
#include "async/plant.h"
#include "devices/scsi_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct uvm__device_kind *const uvm__device_kinds[] = {
    &uvm__scsi_kind, &uvm__vpmem_kind, &uvm__vpci_kind,
    &uvm__vsmb_kind, &uvm__plan9_kind, &uvm__nic_kind,
};
const size_t uvm__device_kinds_count = sizeof uvm__device_kinds / sizeof uvm__device_kinds[0];

static struct uvm__device *device_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__device, link);
}

/* ---- one device --------------------------------------------------------------------------- */

static void on_ready(struct uvm__ready *r) {
    struct uvm__device *dev = UVM__CONTAINER_OF(r, struct uvm__device, ready);
    if (dev->phase != UVM__DEVICE_GONE) {
        dev->kind->turn(dev); /* the last thing: it may be freed */
    }
}

void uvm__device_init(struct uvm__device *dev, struct uvm__devices *d,
                      const struct uvm__device_kind *kind) {
    dev->devices = d;
    dev->kind = kind;
    dev->number = ++d->last_number;
    (void)snprintf(dev->id, sizeof dev->id, "%s-%" PRIu64, kind->name, dev->number);
    dev->holds = 1;
    dev->phase = UVM__DEVICE_COMING;
    uvm__list_init(&dev->waiters);
    uvm__ready_init(&dev->ready, on_ready);
    uvm__list_init(&dev->link);
    uvm__list_append(&d->list, &dev->link);
}

void uvm__device_hold(struct uvm__device *dev) {
    UVM_ASSERT(dev->holds > 0);
    dev->holds++;
}

void uvm__device_drop(struct uvm__device *dev) {
    UVM_ASSERT(dev->holds > 0);
    if (--dev->holds > 0) {
        return;
    }
    UVM_ASSERT(dev->phase == UVM__DEVICE_GONE && !uvm__list_linked(&dev->link));
    UVM_ASSERT(uvm__list_empty(&dev->waiters));
    uvm__ready_cancel(dev->devices->engine, &dev->ready);
    uvm_error_unref(dev->failed);
    uvm_error_unref(dev->stuck);
    dev->kind->free(dev);
}

void uvm__device_touch(struct uvm__device *dev) {
    if (dev->phase != UVM__DEVICE_GONE) {
        uvm__ready_push(dev->devices->engine, &dev->ready);
    }
}

static void wake(struct uvm__devices *d, struct uvm__list *waiters) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, waiters) {
        uvm__ready_push(d->engine, &UVM__CONTAINER_OF(it, struct uvm__device_wait, link)->ready);
    }
}

const char *uvm__device_news_text(enum uvm__device_news news) {
    static const char *const texts[] = {[UVM__DEVICE_UNKNOWN] = "unknown",
#define UVM__X(name, text) [UVM__DEVICE_##name] = (text),
                                        UVM__DEVICE_NEWS_MAP(UVM__X)
#undef UVM__X
    };
    return texts[news];
}

static enum uvm__device_news news_of(const struct uvm__device *dev) {
    if (dev->phase == UVM__DEVICE_GONE) {
        return dev->told == UVM__DEVICE_UNKNOWN ? dev->told : UVM__DEVICE_DETACHED;
    }
    if (uvm__device_quarantined(dev)) {
        return UVM__DEVICE_QUARANTINED;
    }
    return dev->phase == UVM__DEVICE_READY && !dev->leaving ? UVM__DEVICE_ATTACHED : dev->told;
}

static void tell(struct uvm__device *dev) {
    struct uvm__devices *d = dev->devices;
    enum uvm__device_news news = news_of(dev);
    if (d->on_news != NULL && d->system != NULL && news != dev->told) {
        struct uvm__attach_result about = UVM__ATTACH_RESULT_NONE;
        about.id = dev->id;
        about.kind = dev->kind->name;
        about.refs = dev->refs;
        dev->told = news;
        dev->kind->result(dev, &about);
        d->on_news(d, news, &about);
    }
}

void uvm__device_changed(struct uvm__device *dev) {
    tell(dev);
    wake(dev->devices, &dev->waiters);
    wake(dev->devices, &dev->devices->reserving);
}

void uvm__device_set_phase(struct uvm__device *dev, enum uvm__device_phase phase) {
    dev->phase = phase;
    uvm__device_changed(dev);
}

void uvm__device_gone(struct uvm__device *dev) {
    UVM_ASSERT(dev->phase != UVM__DEVICE_GONE);
    dev->refs = 0;
    dev->stuck = uvm_error_unref(dev->stuck);
    uvm__list_remove(&dev->link);
    uvm__ready_cancel(dev->devices->engine, &dev->ready);
    uvm__device_set_phase(dev, UVM__DEVICE_GONE);
    uvm__device_drop(dev);
}

void uvm__device_fail(struct uvm__device *dev, uvm_error *take_err) {
    if (dev->failed != NULL) {
        uvm_error_unref(take_err);
        return;
    }
    dev->failed = take_err;
    uvm__device_changed(dev);
}

void uvm__device_stick(struct uvm__device *dev, uvm_error *take_err) {
    uvm_error_unref(dev->stuck);
    dev->stuck = take_err;
    uvm__device_changed(dev);
}

bool uvm__device_quarantined(const struct uvm__device *dev) {
    return !UVM__PLANT(forget_quarantine) && dev->leaving && (dev->stuck != NULL || dev->abandoned);
}

struct uvm__device *uvm__device_find(const struct uvm__devices *d, const char *id) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev = device_of((struct uvm__list *)it);
        if (strcmp(dev->id, id) == 0) {
            return dev;
        }
    }
    return NULL;
}

/* ---- waiting ------------------------------------------------------------------------------ */

void uvm__device_wait_init(struct uvm__device_wait *w, void (*fn)(struct uvm__ready *r)) {
    uvm__list_init(&w->link);
    uvm__ready_init(&w->ready, fn);
}

void uvm__device_wait(struct uvm__device_wait *w, struct uvm__list *list) {
    uvm__list_remove(&w->link);
    uvm__list_append(list, &w->link);
}

void uvm__device_unwait(struct uvm__devices *d, struct uvm__device_wait *w) {
    uvm__list_remove(&w->link);
    uvm__ready_cancel(d->engine, &w->ready);
}

/* ---- the registry ------------------------------------------------------------------------- */

void uvm__devices_init(struct uvm__devices *d, uvm_engine *e, const char *name, uvm_scope *scope) {
    *d = (struct uvm__devices){.engine = e, .name = name, .scope = scope};
    uvm__list_init(&d->list);
    uvm__list_init(&d->reserving);
    uvm__list_init(&d->scsi.disks);
}

void uvm__devices_deinit(struct uvm__devices *d) {
    if (d->engine != NULL) {
        UVM_ASSERT(uvm__list_empty(&d->list) && uvm__list_empty(&d->reserving));
        UVM_ASSERT(uvm__list_empty(&d->scsi.disks) && d->vpmem.devices == NULL);
    }
}

static void touch_all(struct uvm__devices *d) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        uvm__device_touch(device_of(it));
    }
}

void uvm__devices_set_system(struct uvm__devices *d, struct uvm__hcs_system *system) {
    UVM_ASSERT(d->system == NULL && uvm__list_empty(&d->list));
    d->system = system;
}

void uvm__devices_set_bridge(struct uvm__devices *d, struct uvm__bridge *bridge) {
    UVM_ASSERT(d->system != NULL);
    d->bridge = bridge;
    touch_all(d);
}

void uvm__devices_end(struct uvm__devices *d) {
    uvm__scsi_tools_end(d);
    d->system = NULL;
    d->bridge = NULL;
    while (!uvm__list_empty(&d->list)) {
        struct uvm__device *dev = device_of(d->list.next);
        uvm__device_hold(dev);
        uvm__device_gone(dev);
        dev->kind->end(dev);
        uvm__device_drop(dev);
    }
    uvm__vpmem_close(d);
    wake(d, &d->reserving);
}

void uvm__devices_released(struct uvm__devices *d, const char *resource) {
    for (size_t i = 0; i < uvm__device_kinds_count; i++) {
        uvm__device_kinds[i]->released(d, resource);
    }
}

static const char *state_text(const struct uvm__device *dev) {
    static const char *const texts[] = {
        [UVM__DEVICE_COMING] = "attaching", [UVM__DEVICE_HOST] = "mounting",
        [UVM__DEVICE_READY] = "attached",   [UVM__DEVICE_LEFT] = "detaching",
        [UVM__DEVICE_GONE] = "detached",
    };
    return dev->leaving || dev->failed != NULL ? "detaching" : texts[dev->phase];
}

static bool add_device(cJSON *array, const struct uvm__device *dev) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && cJSON_AddStringToObject(o, "id", dev->id) != NULL &&
              cJSON_AddStringToObject(o, "kind", dev->kind->name) != NULL &&
              dev->kind->json(dev, o) && uvm__json_add_u64(o, "refs", dev->refs) != NULL &&
              cJSON_AddStringToObject(o, "state", state_text(dev)) != NULL &&
              cJSON_AddBoolToObject(o, "quarantined", uvm__device_quarantined(dev)) != NULL &&
              cJSON_AddBoolToObject(o, "internal", dev->internal) != NULL;
    if (!ok || !cJSON_AddItemToArray(array, o)) {
        cJSON_Delete(o);
        return false;
    }
    return true;
}

cJSON *uvm__devices_json(const struct uvm__devices *d) {
    cJSON *array = cJSON_CreateArray();
    const struct uvm__list *it;
    bool ok = array != NULL;
    UVM__LIST_FOREACH(it, &d->list) {
        ok = ok && add_device(array, device_of((struct uvm__list *)it));
    }
    if (!ok) {
        cJSON_Delete(array);
        return NULL;
    }
    return array;
}
