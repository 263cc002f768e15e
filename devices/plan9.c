/* SPDX-License-Identifier: MIT
 * plan9.c — which 9P shares there are, and who shares them; the rest of a share's life is single.c's.
 *
 * The table of a reservation, first row that holds:
 *   the same is there (path, mode, files, guest path or none) and quarantined   refused
 *   it is on its way out                                                        wait, then ask again
 *   it is there                                                                 shared
 *   the guest path is in use                                                    refused
 *   else                                                                        a new one
 * 9P mounts folders: of a file, the folder is shared with nothing but the file in it, and where that is in the guest
 * is what callers are told.
 */
#include "devices/plan9.h"
#include "devices/single_int.h"
#include "hvsock/ports.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS (UVM__PORT_PLAN9_LAST - UVM__PORT_PLAN9_FIRST + 1)
#define NAME_BYTES (UVM__DOC_SHARE_NAME_BYTES_MAX + 1)

struct share {
    struct uvm__single single;     /* first: its base is the device */
    struct uvm__share_params *set; /* the engine's; its guest_path is what was asked for */
    char name[NAME_BYTES];
    uint32_t port;
    char *mount_path; /* the engine's; "": it is the document's, and not mounted */
    char *guest_path; /* likewise: the mount, or the file in it */
};

static struct share *share_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF(uvm__single_of(dev), struct share, single);
}

static void over(struct uvm__single *s) {
    (void)s; /* names are not used again */
}

/* ---- requests ----------------------------------------------------------------------------- */

static int host_request(struct share *h, bool add, char **ret) {
    uvm_engine *e = h->single.base.devices->engine;
    const struct uvm__share_params *set = h->set;
    const char *file = set->file ? uvm__share_file_name(set->host_path) : NULL;
    struct uvm__modify m = {.verb = add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE,
                            .kind = UVM__MODIFY_PLAN9,
                            .has_settings = true};
    struct uvm__doc_plan9_share *s = &m.settings.plan9;
    struct uvm__fail f;
    size_t bytes = set->file ? uvm__share_folder_bytes(set->host_path) : strlen(set->host_path);
    char *folder = uvm__alloc(e, bytes + 1);
    if (folder == NULL) {
        return -UVM_E_NOMEM;
    }
    memcpy(folder, set->host_path, bytes);
    folder[bytes] = 0;
    s->name = s->access_name = h->name;
    s->port = h->port;
    if (add) {
        s->path = folder;
        s->allowed_files = set->file ? &file : set->files;
        while (set->files[s->allowed_files_count] != NULL) {
            s->allowed_files_count++;
        }
        s->allowed_files_count = set->file ? 1 : s->allowed_files_count;
        s->flags = UVM__DOC_PLAN9_LINUX_METADATA | (set->read_only ? UVM__DOC_PLAN9_READ_ONLY : 0) |
                   (s->allowed_files_count > 0 ? UVM__DOC_PLAN9_RESTRICT_FILES : 0);
    }
    int rc = uvm__modify_path(&m, h->single.resource, &f);
    UVM_ASSERT(rc == 0);
    rc = uvm__modify_build(e, &m, ret, &bytes, &f);
    uvm__free(e, folder);
    return rc;
}

static int guest_request(struct share *h, bool add, char **ret) {
    cJSON *root = uvm__guest_request("MappedDirectory", add);
    cJSON *s = cJSON_CreateObject();
    bool ok = root != NULL && s != NULL &&
              cJSON_AddStringToObject(s, "MountPath", h->mount_path) != NULL &&
              uvm__json_add_u64(s, "Port", h->port) != NULL &&
              cJSON_AddStringToObject(s, "ShareName", h->name) != NULL &&
              (!h->set->read_only || cJSON_AddTrueToObject(s, "ReadOnly") != NULL);
    return uvm__guest_request_text(h->single.base.devices->engine, root, s, ok, ret);
}

static int make_requests(struct share *h) {
    int rc = host_request(h, true, &h->single.add);
    rc = rc < 0 ? rc : host_request(h, false, &h->single.remove);
    rc = rc < 0 ? rc : guest_request(h, true, &h->single.mount);
    return rc < 0 ? rc : guest_request(h, false, &h->single.unmount);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_share(struct uvm__device *dev) {
    struct share *h = share_of(dev);
    uvm_engine *e = dev->devices->engine;
    uvm__single_deinit(e, &h->single);
    uvm__free(e, h->set);
    uvm__free(e, h->mount_path);
    uvm__free(e, h->guest_path);
    uvm__free(e, h);
}

static char *default_path(uvm_engine *e, const char *name) {
    char path[sizeof "/run/mounts/plan9/" + NAME_BYTES];
    (void)snprintf(path, sizeof path, "/run/mounts/plan9/%s", name);
    return uvm__strdup(e, path);
}

static char *path_seen(uvm_engine *e, const struct share *h) {
    const char *file = h->set->file ? uvm__share_file_name(h->set->host_path) : "";
    size_t bytes = strlen(h->mount_path) + strlen(file) + 2;
    char *path = uvm__alloc(e, bytes);
    if (path != NULL) {
        (void)snprintf(path, bytes, "%s%s%s", h->mount_path, file[0] == 0 ? "" : "/", file);
    }
    return path;
}

/* `guest_path` NULL: the default. */
static struct share *new_share(struct uvm__devices *d, const char *name, uint32_t port,
                               const struct uvm__share_params *p, const char *guest_path) {
    uvm_engine *e = d->engine;
    struct share *h = uvm__zalloc(e, sizeof *h);
    if (h == NULL) {
        return NULL;
    }
    h->single.base.devices = d;
    uvm__single_init(&h->single, over);
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    h->port = port;
    h->set = uvm__share_copy(e, p);
    h->mount_path = guest_path == NULL ? default_path(e, name) : uvm__strdup(e, guest_path);
    bool ok = h->set != NULL && h->mount_path != NULL;
    if (ok) {
        h->guest_path = h->mount_path[0] == 0 ? uvm__strdup(e, "") : path_seen(e, h);
        ok = h->guest_path != NULL && make_requests(h) == 0;
    }
    if (!ok) {
        free_share(&h->single.base);
        return NULL;
    }
    uvm__device_init(&h->single.base, d, &uvm__plan9_kind);
    return h;
}

/* ---- reserving ---------------------------------------------------------------------------- */

static bool is_same(const struct share *h, const struct uvm__share_params *p) {
    return uvm__share_same_key(h->set, p) && uvm__share_same_files(h->set, p) &&
           (p->guest_path == NULL || strcmp(p->guest_path, h->mount_path) == 0);
}

static struct share *find(const struct uvm__devices *d, const struct uvm__share_params *p) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind == &uvm__plan9_kind && !dev->pinned && is_same(share_of(dev), p)) {
            return share_of(dev);
        }
    }
    return NULL;
}

static bool has_port(const struct uvm__devices *d, uint32_t port) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind == &uvm__plan9_kind && share_of(dev)->port == port) {
            return true;
        }
    }
    return false;
}

static int reserve_new(struct uvm__devices *d, const struct uvm__share_params *p,
                       struct uvm__device **ret, struct uvm__fail *f) {
    char name[NAME_BYTES];
    int rc = uvm__device_check_place(d, p->guest_path, f);
    if (rc < 0) {
        return rc;
    }
    uint64_t number = d->plan9.next_name++;
    uint32_t port = UVM__PORT_PLAN9_FIRST + (uint32_t)(number % PORTS);
    if (has_port(d, port)) { /* of one that is 65536 shares old, or the document's */
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: port %" PRIu32 " is still in use; try again",
                         d->name, port);
    }
    (void)snprintf(name, sizeof name, "%" PRIu64, number);
    struct share *h = new_share(d, name, port, p, p->guest_path);
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    *ret = &h->single.base;
    return 0;
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__share_params *p = params;
    struct share *there = find(d, p);
    *ret_shared = there != NULL;
    if (there == NULL) {
        return reserve_new(d, p, ret, f);
    }
    *ret = &there->single.base;
    return uvm__single_join(&there->single, there->set->host_path, f);
}

/* A name of our own form is counted, so that none of ours meets it. */
static void note_name(struct uvm__devices *d, const char *name) {
    size_t digits = strspn(name, "0123456789");
    uint64_t number = digits < 19 && name[digits] == 0 ? strtoull(name, NULL, 10) : 0;
    if (number >= d->plan9.next_name) {
        d->plan9.next_name = number + 1;
    }
}

int uvm__plan9_pin(struct uvm__devices *d, const struct uvm__doc_plan9_share *share) {
    size_t count = share->allowed_files_count;
    const char **files = uvm__zalloc(d->engine, (count + 1) * sizeof *files);
    if (files == NULL) {
        return -UVM_E_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        files[i] = share->allowed_files[i];
    }
    const struct uvm__share_params p = {.host_path = share->path,
                                        .read_only = (share->flags & UVM__DOC_PLAN9_READ_ONLY) != 0,
                                        .files = files};
    note_name(d, share->name);
    struct share *h = new_share(d, share->name, (uint32_t)share->port, &p, "");
    uvm__free(d->engine, files);
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    h->single.state = UVM__SINGLE_MOUNTED;
    h->single.base.pinned = true;
    h->single.base.refs = 1;
    h->single.base.phase = UVM__DEVICE_READY;
    return 0;
}

/* ---- the kind ----------------------------------------------------------------------------- */

static int copy(uvm_engine *e, const void *params, void **ret) {
    *ret = uvm__share_copy(e, params);
    return *ret == NULL ? -UVM_E_NOMEM : 0;
}

static void released(struct uvm__devices *d, const char *resource) {
    uvm__single_released(d, &uvm__plan9_kind, resource);
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct share *h = share_of(dev);
    ret->guest_path = h->guest_path;
    ret->share = h->name;
    ret->port = h->port;
}

static bool json_files(const struct share *h, cJSON *o) {
    if (h->set->files[0] == NULL) {
        return true;
    }
    cJSON *list = cJSON_AddArrayToObject(o, "files");
    for (size_t i = 0; list != NULL && h->set->files[i] != NULL; i++) {
        cJSON *item = cJSON_CreateString(h->set->files[i]);
        if (item == NULL || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return list != NULL;
}

static bool json(const struct uvm__device *dev, cJSON *o) {
    const struct share *h = share_of(dev);
    bool ok = cJSON_AddStringToObject(o, "host_path", h->set->host_path) != NULL &&
              cJSON_AddBoolToObject(o, "read_only", h->set->read_only) != NULL &&
              cJSON_AddStringToObject(o, "guest_path", h->guest_path) != NULL && json_files(h, o);
    cJSON *at = ok ? cJSON_AddObjectToObject(o, "location") : NULL;
    return at != NULL && cJSON_AddStringToObject(at, "share", h->name) != NULL &&
           uvm__json_add_u64(at, "port", h->port) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct share *h = share_of(dev);
    (void)snprintf(buf, bytes, "%s (%.80s at port %" PRIu32 ")", dev->id, h->set->host_path,
                   h->port);
}

const struct uvm__device_kind uvm__plan9_kind = {.name = "plan9",
                                                 .reserve = reserve,
                                                 .copy = copy,
                                                 .turn = uvm__single_turn,
                                                 .withdraw = uvm__single_withdraw,
                                                 .again = uvm__single_again,
                                                 .released = released,
                                                 .end = uvm__single_end,
                                                 .free = free_share,
                                                 .result = result,
                                                 .json = json,
                                                 .text = text};
