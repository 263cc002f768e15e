/* SPDX-License-Identifier: MIT
 * vsmb.c — which shares there are, and who shares them; the rest of a share's life is single.c's.
 *
 * The table of a reservation, first row that holds:
 *   the same folder or file in the same mode is there and quarantined     refused
 *   it is on its way out                                                  wait, then ask again
 *   it is there with the same files, at that guest path or at any         shared
 *   it is there in another way, or the guest path is in use               refused
 *   else                                                                  a new one
 * Where the guest finds a share only the host says, once it has it: the guest's requests are made then.
 */
#include "devices/vsmb.h"
#include "devices/single_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES (UVM__DOC_SHARE_NAME_BYTES_MAX + 1)

struct share {
    struct uvm__single single;     /* first: its base is the device */
    struct uvm__share_params *set; /* the engine's */
    char name[NAME_BYTES];
    char *guest_path; /* the engine's; "": it is the document's, and not mounted */
};

static struct share *share_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF(uvm__single_of(dev), struct share, single);
}

static void over(struct uvm__single *s) {
    (void)s; /* names are not used again */
}

/* ---- requests ----------------------------------------------------------------------------- */

/* Files by their whole paths, as the schema wants them; of a file's share, its folder and the file. */
struct paths {
    char *folder;
    const char **files;
    size_t count;
    char *text;
};

static int make_paths(uvm_engine *e, const struct uvm__share_params *p, struct paths *ret) {
    size_t count = 0, bytes = strlen(p->host_path) + 1, each = bytes + 1;
    size_t folder = p->file ? uvm__share_folder_bytes(p->host_path) : strlen(p->host_path);
    for (; p->files[count] != NULL; count++) {
        bytes += each + strlen(p->files[count]);
    }
    ret->count = p->file ? 1 : count;
    ret->files = uvm__zalloc(e, (ret->count + 1) * sizeof *ret->files);
    ret->text = uvm__alloc(e, bytes);
    if (ret->files == NULL || ret->text == NULL) {
        return -UVM_E_NOMEM;
    }
    char *at = ret->text;
    ret->folder = at;
    char *end = ret->text + bytes;
    at += snprintf(at, bytes, "%.*s", (int)folder, p->host_path) + 1;
    for (size_t i = 0; i < count; i++) {
        ret->files[i] = at;
        at += snprintf(at, (size_t)(end - at), "%s/%s", folder == 1 ? "" : p->host_path,
                       p->files[i]) +
              1;
    }
    if (p->file) {
        ret->files[0] = p->host_path;
    }
    return 0;
}

static int host_request(struct share *h, bool add, char **ret) {
    uvm_engine *e = h->single.base.devices->engine;
    struct uvm__modify m = {.verb = add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE,
                            .kind = UVM__MODIFY_VSMB,
                            .has_settings = true};
    struct paths paths = {.folder = NULL};
    struct uvm__fail f;
    size_t bytes;
    UVM_ASSERT(h->set != NULL); /* one of a document is never asked for */
    int rc = make_paths(e, h->set, &paths);
    m.settings.vsmb.name = h->name;
    if (rc == 0 && add) {
        const struct uvm__doc_vsmb_options options = {.present = true,
                                                      .read_only = h->set->read_only,
                                                      .share_read = h->set->read_only,
                                                      .cache_io = h->set->read_only,
                                                      .pseudo_oplocks = h->set->read_only,
                                                      .restrict_file_access = paths.count > 0,
                                                      .single_file_mapping = h->set->file};
        m.settings.vsmb.path = paths.folder;
        m.settings.vsmb.allowed_files = paths.files;
        m.settings.vsmb.allowed_files_count = paths.count;
        m.settings.vsmb.options = options;
    }
    if (rc == 0) {
        rc = uvm__modify_path(&m, h->single.resource, &f);
        UVM_ASSERT(rc == 0);
        rc = uvm__modify_build(e, &m, ret, &bytes, &f);
    }
    uvm__free(e, paths.files);
    uvm__free(e, paths.text);
    return rc;
}

static int guest_request(struct share *h, const char *tag, bool add, char **ret) {
    cJSON *root = uvm__guest_request("VSMBShare", add);
    cJSON *s = cJSON_CreateObject();
    const char *file = h->set->file ? uvm__share_file_name(h->set->host_path) : NULL;
    bool ok = root != NULL && s != NULL && cJSON_AddStringToObject(s, "Tag", tag) != NULL &&
              cJSON_AddStringToObject(s, "ShareName", h->name) != NULL &&
              cJSON_AddStringToObject(s, "MountPath", h->guest_path) != NULL &&
              (!h->set->read_only || cJSON_AddTrueToObject(s, "ReadOnly") != NULL) &&
              (file == NULL || cJSON_AddStringToObject(s, "File", file) != NULL);
    return uvm__guest_request_text(h->single.base.devices->engine, root, s, ok, ret);
}

/* The host has it. */
static int placed(struct uvm__single *s) {
    struct share *h = UVM__CONTAINER_OF(s, struct share, single);
    char tag[UVM__HCS_LOCATION_BYTES];
    int rc = uvm__hcs_location(s->base.devices->system, s->resource, tag);
    rc = rc < 0 ? rc : guest_request(h, tag, true, &s->mount);
    return rc < 0 ? rc : guest_request(h, tag, false, &s->unmount);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_share(struct uvm__device *dev) {
    struct share *h = share_of(dev);
    uvm_engine *e = dev->devices->engine;
    uvm__single_deinit(e, &h->single);
    uvm__free(e, h->set);
    uvm__free(e, h->guest_path);
    uvm__free(e, h);
}

static char *default_path(uvm_engine *e, const struct share *h) {
    const char *file = h->set->file ? uvm__share_file_name(h->set->host_path) : "";
    size_t bytes = sizeof "/run/mounts/vsmb/" + NAME_BYTES + strlen(file) + 1;
    char *path = uvm__alloc(e, bytes);
    if (path != NULL) {
        (void)snprintf(path, bytes, "/run/mounts/vsmb/%s%s%s", h->name, file[0] == 0 ? "" : "/",
                       file);
    }
    return path;
}

/* `guest_path` NULL: the default. Not in the registry yet. */
static struct share *new_share(struct uvm__devices *d, const char *name,
                               const struct uvm__share_params *p, const char *guest_path) {
    uvm_engine *e = d->engine;
    struct share *h = uvm__zalloc(e, sizeof *h);
    if (h == NULL) {
        return NULL;
    }
    h->single.base.devices = d;
    uvm__single_init(&h->single, over);
    h->single.placed = placed;
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    h->set = uvm__share_copy(e, p);
    if (h->set != NULL) {
        h->guest_path = guest_path == NULL ? default_path(e, h) : uvm__strdup(e, guest_path);
    }
    bool ok = h->guest_path != NULL && host_request(h, true, &h->single.add) == 0 &&
              host_request(h, false, &h->single.remove) == 0;
    if (!ok) {
        free_share(&h->single.base);
        return NULL;
    }
    return h;
}

/* ---- reserving ---------------------------------------------------------------------------- */

static struct share *find(const struct uvm__devices *d, const struct uvm__share_params *p) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind == &uvm__vsmb_kind && uvm__share_same_key(share_of(dev)->set, p)) {
            return share_of(dev);
        }
    }
    return NULL;
}

static int join(struct uvm__devices *d, struct share *h, const struct uvm__share_params *p,
                struct uvm__device **ret, struct uvm__fail *f) {
    struct uvm__device *dev = &h->single.base;
    int rc = uvm__single_join(&h->single, h->set->host_path, f);
    if (rc < 0) {
        return rc;
    }
    if (!uvm__share_same_files(h->set, p)) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is attached as %s with other files",
                         d->name, h->set->host_path, dev->id);
    }
    if (p->guest_path != NULL && strcmp(p->guest_path, h->guest_path) != 0) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is attached as %s, at %.100s", d->name,
                         h->set->host_path, dev->id,
                         h->guest_path[0] == 0 ? "no place of ours" : h->guest_path);
    }
    *ret = dev;
    return 0;
}

static int reserve_new(struct uvm__devices *d, const struct uvm__share_params *p,
                       struct uvm__device **ret, struct uvm__fail *f) {
    char name[NAME_BYTES];
    int rc = uvm__device_check_place(d, p->guest_path, f);
    if (rc < 0) {
        return rc;
    }
    (void)snprintf(name, sizeof name, "s%" PRIx64, ++d->vsmb.last_name);
    struct share *h = new_share(d, name, p, p->guest_path);
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__device_init(&h->single.base, d, &uvm__vsmb_kind);
    *ret = &h->single.base;
    return 0;
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__share_params *p = params;
    struct share *there = find(d, p);
    *ret_shared = there != NULL;
    return there != NULL ? join(d, there, p, ret, f) : reserve_new(d, p, ret, f);
}

/* A name of our own form is counted, so that none of ours meets it. */
static void note_name(struct uvm__devices *d, const char *name) {
    uint64_t number = 0;
    const char *at = name + 1;
    for (; name[0] == 's' && *at != 0 && at - name < 16; at++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *at);
        if (digit == NULL) {
            return;
        }
        number = number * 16 + (uint64_t)(digit - digits);
    }
    if (name[0] == 's' && *at == 0 && number > d->vsmb.last_name) {
        d->vsmb.last_name = number;
    }
}

int uvm__vsmb_pin(struct uvm__devices *d, const char *name, const struct uvm__share_params *p,
                  struct uvm__fail *f) {
    note_name(d, name);
    if (find(d, p) != NULL) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s: shared already", d->name, p->host_path);
    }
    struct share *h = new_share(d, name, p, "");
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__device_init(&h->single.base, d, &uvm__vsmb_kind);
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
    uvm__single_released(d, &uvm__vsmb_kind, resource);
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct share *h = share_of(dev);
    ret->guest_path = h->guest_path;
    ret->share = h->name;
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
    return at != NULL && cJSON_AddStringToObject(at, "share", h->name) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct share *h = share_of(dev);
    (void)snprintf(buf, bytes, "%s (%.80s as %s)", dev->id, h->set->host_path, h->name);
}

const struct uvm__device_kind uvm__vsmb_kind = {.name = "vsmb",
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
