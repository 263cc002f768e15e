/* SPDX-License-Identifier: MIT
 * resource.c — see resource.h. Lists are short (256 disks are the most), so a walk finds.
 */
#include "hcs/qemu/resource.h"

#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "hcs/qemu/qemu_int.h"

static const char *const state_names[UVM__RESOURCE_STATE_MAX] = {
    [UVM__RESOURCE_ADDING] = "Adding",
    [UVM__RESOURCE_PRESENT] = "Present",
    [UVM__RESOURCE_REMOVING] = "Removing",
};

static struct uvm__resource *of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__resource, link);
}

struct uvm__resource *uvm__resource_find(struct uvm__qemu_system *s, const char *path) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        if (strcmp(of(it)->path, path) == 0) {
            return of(it);
        }
    }
    return NULL;
}

int uvm__resource_take(struct uvm__qemu_system *s, struct uvm__resource *take_r,
                       struct uvm__fail *f) {
    const struct uvm__resource *there = uvm__resource_find(s, take_r->path);

    if (s->closing || s->state == UVM__QEMU_ENDED) {
        return uvm__fail(f, UVM_E_EXITED, 0, "vm %s: has ended", s->name);
    }
    if (there != NULL) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s is taken (%s)", there->path,
                         state_names[there->state]);
    }
    take_r->state = UVM__RESOURCE_ADDING;
    uvm__list_append(&s->resources, &take_r->link);
    return 0;
}

int uvm__resource_removing(struct uvm__qemu_system *s, const char *path, struct uvm__resource **ret,
                           struct uvm__fail *f) {
    struct uvm__resource *r = uvm__resource_find(s, path);

    if (s->closing || s->state == UVM__QEMU_ENDED) {
        return uvm__fail(f, UVM_E_EXITED, 0, "vm %s: has ended", s->name);
    }
    if (r == NULL) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0, "%s: nothing is there", path);
    }
    if (r->state != UVM__RESOURCE_PRESENT) {
        return uvm__fail(f, UVM_E_STATE, 0, "%s cannot be removed now (%s)", path,
                         state_names[r->state]);
    }
    r->state = UVM__RESOURCE_REMOVING;
    *ret = r;
    return 0;
}

static void close_resource(struct uvm__resource *r) {
    if (r->type->close != NULL) {
        r->type->close(r);
    }
}

void uvm__resource_release(struct uvm__qemu_system *s, struct uvm__resource *r, bool tell) {
    uvm__list_remove(&r->link);
    close_resource(r);
    if (tell && s->state != UVM__QEMU_ENDED && !s->closing) {
        uvm__list_append(&s->released, &r->link);
        uvm__ready_push(s->engine, &s->tell);
    } else {
        uvm__free(s->engine, r);
    }
}

struct uvm__resource *uvm__resource_released(struct uvm__qemu_system *s) {
    if (uvm__list_empty(&s->released)) {
        return NULL;
    }
    struct uvm__resource *r = of(s->released.next);
    uvm__list_remove(&r->link);
    return r;
}

static bool describe(const struct uvm__resource *r, cJSON *list) {
    cJSON *object = cJSON_CreateObject();

    if (object == NULL || !cJSON_AddItemToArray(list, object)) {
        cJSON_Delete(object);
        return false;
    }
    return cJSON_AddStringToObject(object, "Kind", r->type->name) != NULL &&
           cJSON_AddStringToObject(object, "ResourcePath", r->path) != NULL &&
           cJSON_AddStringToObject(object, "State", state_names[r->state]) != NULL &&
           r->type->describe(r, object);
}

bool uvm__resource_describe(struct uvm__qemu_system *s, cJSON *to) {
    cJSON *list = to == NULL ? NULL : cJSON_AddArrayToObject(to, "Resources");
    struct uvm__list *it;
    bool ok = list != NULL;

    if (s->state == UVM__QEMU_ENDED) {
        return ok;
    }
    UVM__LIST_FOREACH(it, &s->resources) {
        ok = ok && describe(of(it), list);
    }
    return ok;
}

bool uvm__resource_statistics(struct uvm__qemu_system *s, const cJSON *blocks, cJSON *to) {
    cJSON *list = cJSON_AddArrayToObject(to, "Resources");
    struct uvm__list *it;
    bool ok = list != NULL;

    UVM__LIST_FOREACH(it, &s->resources) {
        const struct uvm__resource *r = of(it);
        if (r->type->statistics != NULL && r->state == UVM__RESOURCE_PRESENT) {
            ok = ok && describe(r, list) &&
                 r->type->statistics(r, blocks,
                                     cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1));
        }
    }
    return ok;
}

static void free_list(struct uvm__qemu_system *s, struct uvm__list *list) {
    while (!uvm__list_empty(list)) {
        struct uvm__resource *r = of(list->next);
        uvm__list_remove(&r->link);
        close_resource(r);
        uvm__free(s->engine, r);
    }
}

void uvm__resource_free_all(struct uvm__qemu_system *s) {
    free_list(s, &s->resources);
    free_list(s, &s->released);
}
