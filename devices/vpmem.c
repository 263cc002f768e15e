/* SPDX-License-Identifier: MIT
 * vpmem.c — who has which place in virtual PMem; the rest of its life is single.c's.
 *
 * The table of a reservation, first row that holds:
 *   the image is there and quarantined               refused
 *   it is on its way out                             wait, then ask again
 *   it is there, whole or not as asked, at that path or at any     shared
 *   it is there in another way, or the guest path is in use        refused
 *   a whole device is asked for                      the first that nothing is in
 *   else                                             the first device with a region of the image's class
 *   no place, and the caller takes a disk instead    SCSI decides
 * A place is taken from here until the host has let go of it for certain. What an attachment occupies is the
 * image's size in whole pages, which is also what the guest maps.
 */
#include "devices/vpmem.h"
#include "devices/scsi_int.h"
#include "devices/single_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE UVM__DOC_VPMEM_PAGE_BYTES

struct image {
    struct uvm__single single; /* first: its base is the device */
    uint32_t device;
    uint64_t offset, bytes;
    unsigned class;
    bool whole;
    const char *guest_path; /* behind `path` */
    const char *verity;     /* behind that; NULL: unchecked */
    char path[];
};

static struct image *image_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF(uvm__single_of(dev), struct image, single);
}

int uvm__vpmem_open(struct uvm__devices *d) {
    uint32_t count = d->system->vpmem.devices;
    struct uvm__vpmem *v = &d->vpmem;
    UVM_ASSERT(v->devices == NULL);
    if (count == 0) {
        return 0;
    }
    v->devices = uvm__zalloc(d->engine, count * sizeof *v->devices);
    if (v->devices == NULL) {
        return -UVM_E_NOMEM;
    }
    v->count = count;
    for (uint32_t n = 0; n < count; n++) {
        uvm__vpmem_regions_init(&v->devices[n], d->system->vpmem.bytes);
    }
    return 0;
}

void uvm__vpmem_close(struct uvm__devices *d) {
    for (uint32_t n = 0; n < d->vpmem.count; n++) {
        UVM_ASSERT(d->vpmem.devices[n].mappings == 0 && !d->vpmem.devices[n].whole);
    }
    uvm__free(d->engine, d->vpmem.devices);
    d->vpmem = (struct uvm__vpmem){0};
}

/* ---- places ------------------------------------------------------------------------------- */

static void give_place(struct uvm__devices *d, uint32_t device, bool whole, unsigned class,
                       uint64_t offset) {
    struct uvm__vpmem_regions *r = &d->vpmem.devices[device];
    if (whole) {
        UVM_ASSERT(r->whole);
        r->whole = false;
    } else {
        uvm__vpmem_regions_give(r, class, offset);
    }
}

static void over(struct uvm__single *s) {
    const struct image *i = image_of(&s->base);
    give_place(s->base.devices, i->device, i->whole, i->class, i->offset);
}

static bool take_whole(struct uvm__devices *d, uint32_t *ret_device) {
    for (uint32_t n = 0; n < d->vpmem.count; n++) {
        struct uvm__vpmem_regions *r = &d->vpmem.devices[n];
        if (!r->whole && r->mappings == 0) {
            r->whole = true;
            *ret_device = n;
            return true;
        }
    }
    return false;
}

static bool take_region(struct uvm__devices *d, unsigned class, uint32_t *ret_device,
                        uint64_t *ret_offset) {
    for (uint32_t n = 0; n < d->vpmem.count; n++) {
        struct uvm__vpmem_regions *r = &d->vpmem.devices[n];
        if (!r->whole && r->mappings < UVM__VPMEM_DEVICE_MAPPINGS_MAX &&
            uvm__vpmem_regions_take(r, class, ret_offset)) {
            *ret_device = n;
            return true;
        }
    }
    return false;
}

static int take_place(struct uvm__devices *d, const struct uvm__scsi_params *p, uint64_t bytes,
                      struct image *ret, struct uvm__fail *f) {
    uint64_t room = d->vpmem.count == 0 ? 0 : d->system->vpmem.bytes;
    ret->bytes = (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    ret->whole = p->whole_device;
    ret->class = uvm__vpmem_class(ret->bytes);
    if (d->vpmem.count == 0) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: it was made without virtual PMem", d->name);
    }
    uint64_t unit = UVM__VPMEM_CLASS_MIN_BYTES << (2 * ret->class);
    if (ret->bytes > room || (!ret->whole && (ret->class == UVM__VPMEM_CLASSES || unit > room))) {
        return uvm__fail(
            f, UVM_E_LIMIT, 0,
            "%s: %.100s has %" PRIu64 " bytes%s; its VPMem devices have %" PRIu64, d->name,
            p->host_path, bytes,
            ret->bytes > room ? "" : ", and the region that holds it has more than fit", room);
    }
    bool taken = ret->whole ? take_whole(d, &ret->device)
                            : take_region(d, ret->class, &ret->device, &ret->offset);
    return taken ? 0
                 : uvm__fail(f, UVM_E_LIMIT, 0,
                             "%s: no room in its %" PRIu32 " VPMem device%s for %.100s: %s",
                             d->name, d->vpmem.count, d->vpmem.count == 1 ? "" : "s", p->host_path,
                             ret->whole ? "something is in each" : "no region of its size is free");
}

/* ---- requests ----------------------------------------------------------------------------- */

static int host_request(struct image *i, bool add, char **ret) {
    struct uvm__modify m = {.verb = add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE,
                            .kind = i->whole ? UVM__MODIFY_VPMEM : UVM__MODIFY_VPMEM_MAPPING,
                            .number = i->device,
                            .offset = i->offset,
                            .has_settings = add};
    struct uvm__fail f;
    size_t bytes;
    if (add) {
        m.settings.vpmem = (struct uvm__doc_vpmem_device){
            .host_path = i->path, .read_only = i->whole, .image_format = "Vhd1"};
    }
    int rc = uvm__modify_path(&m, i->single.resource, &f);
    UVM_ASSERT(rc == 0);
    return uvm__modify_build(i->single.base.devices->engine, &m, ret, &bytes, &f);
}

static bool put_number(cJSON *o, const char *key, uint64_t value) {
    return value == 0 || uvm__json_add_u64(o, key, value) != NULL;
}

static int guest_request(struct image *i, bool add, char **ret) {
    cJSON *root = uvm__guest_request("VPMemDevice", add);
    cJSON *s = cJSON_CreateObject();
    bool ok = root != NULL && s != NULL && put_number(s, "DeviceNumber", i->device) &&
              cJSON_AddStringToObject(s, "MountPath", i->guest_path) != NULL;
    if (ok && !i->whole) {
        cJSON *info = cJSON_AddObjectToObject(s, "MappingInfo");
        ok = info != NULL && put_number(info, "DeviceOffsetInBytes", i->offset) &&
             put_number(info, "DeviceSizeInBytes", i->bytes);
    }
    ok = ok && uvm__scsi_put_verity(s, i->verity);
    return uvm__guest_request_text(i->single.base.devices->engine, root, s, ok, ret);
}

static int make_requests(struct image *i) {
    int rc = host_request(i, true, &i->single.add);
    rc = rc < 0 ? rc : host_request(i, false, &i->single.remove);
    rc = rc < 0 ? rc : guest_request(i, true, &i->single.mount);
    return rc < 0 ? rc : guest_request(i, false, &i->single.unmount);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_image(struct uvm__device *dev) {
    uvm_engine *e = dev->devices->engine;
    uvm__single_deinit(e, uvm__single_of(dev));
    uvm__free(e, image_of(dev));
}

/* In the place that `at` has; where nothing is asked for, mounted as hcsshim does. */
static struct image *new_image(struct uvm__devices *d, const struct image *at, const char *path,
                               const char *guest_path, const char *verity) {
    char default_path[96];
    if (at->whole) {
        (void)snprintf(default_path, sizeof default_path, "/run/layers/p%" PRIu32, at->device);
    } else {
        (void)snprintf(default_path, sizeof default_path,
                       "/run/layers/p%" PRIu32 "-%" PRIu64 "-%" PRIu64, at->device, at->offset,
                       at->bytes);
    }
    guest_path = guest_path == NULL ? default_path : guest_path;
    size_t path_bytes = strlen(path) + 1, guest_bytes = strlen(guest_path) + 1;
    size_t verity_bytes = verity == NULL ? 0 : strlen(verity) + 1;
    struct image *i = uvm__zalloc(d->engine, sizeof *i + path_bytes + guest_bytes + verity_bytes);
    if (i == NULL) {
        return NULL;
    }
    i->device = at->device;
    i->offset = at->offset;
    i->bytes = at->bytes;
    i->class = at->class;
    i->whole = at->whole;
    memcpy(i->path, path, path_bytes);
    memcpy(i->path + path_bytes, guest_path, guest_bytes);
    i->guest_path = i->path + path_bytes;
    if (verity != NULL) {
        i->verity = memcpy(i->path + path_bytes + guest_bytes, verity, verity_bytes);
    }
    i->single.base.devices = d;
    uvm__single_init(&i->single, over);
    if (make_requests(i) < 0) {
        free_image(&i->single.base);
        return NULL;
    }
    uvm__device_init(&i->single.base, d, &uvm__vpmem_kind);
    return i;
}

/* ---- reserving ---------------------------------------------------------------------------- */

static struct image *find_image(const struct uvm__devices *d, const char *path) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind == &uvm__vpmem_kind && strcmp(image_of(dev)->path, path) == 0) {
            return image_of(dev);
        }
    }
    return NULL;
}

static int join(struct uvm__devices *d, struct image *i, const struct uvm__scsi_params *p,
                struct uvm__device **ret, struct uvm__fail *f) {
    struct uvm__device *dev = &i->single.base;
    int rc = uvm__single_join(&i->single, i->path, f);
    if (rc < 0) {
        return rc;
    }
    if (i->whole != p->whole_device ||
        (p->guest_path != NULL && strcmp(p->guest_path, i->guest_path) != 0)) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is attached as %s, %s, at %.100s", d->name,
                         i->path, dev->id, i->whole ? "a whole device" : "a mapping",
                         i->guest_path);
    }
    if (!uvm__scsi_same_verity(i->verity, p->verity)) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is attached as %s, %s", d->name, i->path,
                         dev->id,
                         i->verity == NULL ? "unchecked" : "checked against another root hash");
    }
    *ret = dev;
    return 0;
}

int uvm__vpmem_check(const struct uvm__scsi_params *p, struct uvm__fail *f) {
    return uvm__scsi_check(p, f);
}

static int reserve_new(struct uvm__devices *d, const struct uvm__scsi_params *p,
                       struct uvm__device **ret, struct uvm__fail *f) {
    struct image at = {.device = 0};
    uint64_t bytes = 0;
    char why[sizeof f->msg];
    int rc = uvm__device_check_place(d, p->guest_path, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm__hcs_image_bytes(d->system, p->host_path, &bytes, f);
    if (rc < 0) {
        (void)snprintf(why, sizeof why, "%s", f->msg);
        return uvm__fail(f, (enum uvm_error_code)(-rc), f->sys, "%s: %s", d->name, why);
    }
    rc = take_place(d, p, bytes, &at, f);
    if (rc < 0) {
        return rc;
    }
    struct image *i = new_image(d, &at, p->host_path, p->guest_path, p->verity);
    if (i == NULL) {
        give_place(d, at.device, at.whole, at.class, at.offset);
        return -UVM_E_NOMEM;
    }
    *ret = &i->single.base;
    return 0;
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__scsi_params *p = params;
    char why[sizeof f->msg];
    int rc = uvm__vpmem_check(p, f);
    if (rc < 0) {
        (void)snprintf(why, sizeof why, "%s", f->msg);
        return uvm__fail(f, (enum uvm_error_code)(-rc), 0, "%s: %s", d->name, why);
    }
    struct image *there = find_image(d, p->host_path);
    *ret_shared = there != NULL;
    if (there != NULL) {
        return join(d, there, p, ret, f);
    }
    rc = reserve_new(d, p, ret, f);
    return rc == -UVM_E_LIMIT && p->or_scsi ? uvm__scsi_kind.reserve(d, params, ret, ret_shared, f)
                                            : rc;
}

int uvm__vpmem_pin(struct uvm__devices *d, uint32_t device, const char *host_path,
                   struct uvm__fail *f) {
    if (device >= d->vpmem.count) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "%s: %.100s: the utility VM has no VPMem device %" PRIu32, d->name,
                         host_path, device);
    }
    struct uvm__vpmem_regions *r = &d->vpmem.devices[device];
    if (r->whole || find_image(d, host_path) != NULL) {
        return uvm__fail(f, UVM_E_EXISTS, 0,
                         "%s: %.100s in VPMem device %" PRIu32 ": taken already", d->name,
                         host_path, device);
    }
    const struct image at = {.device = device, .whole = true};
    struct image *i = new_image(d, &at, host_path, "", NULL);
    if (i == NULL) {
        return -UVM_E_NOMEM;
    }
    r->whole = true;
    i->single.state = UVM__SINGLE_MOUNTED;
    i->single.base.pinned = true;
    i->single.base.refs = 1;
    i->single.base.phase = UVM__DEVICE_READY;
    return 0;
}

/* ---- the kind ----------------------------------------------------------------------------- */

static int copy(uvm_engine *e, const void *params, void **ret) {
    *ret = uvm__scsi_copy(e, params);
    return *ret == NULL ? -UVM_E_NOMEM : 0;
}

static void released(struct uvm__devices *d, const char *resource) {
    uvm__single_released(d, &uvm__vpmem_kind, resource);
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct image *i = image_of(dev);
    ret->guest_path = i->guest_path;
    ret->device = i->device;
    ret->offset = i->offset;
    ret->bytes = i->bytes;
}

static bool json(const struct uvm__device *dev, cJSON *o) {
    const struct image *i = image_of(dev);
    bool ok = cJSON_AddStringToObject(o, "host_path", i->path) != NULL &&
              cJSON_AddTrueToObject(o, "read_only") != NULL &&
              cJSON_AddStringToObject(o, "guest_path", i->guest_path) != NULL &&
              cJSON_AddBoolToObject(o, "whole_device", i->whole) != NULL;
    cJSON *at = ok ? cJSON_AddObjectToObject(o, "location") : NULL;
    return at != NULL && uvm__json_add_u64(at, "device", i->device) != NULL &&
           uvm__json_add_u64(at, "offset", i->offset) != NULL &&
           uvm__json_add_u64(at, "bytes", i->bytes) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct image *i = image_of(dev);
    (void)snprintf(buf, bytes, "%s (%.80s in VPMem %" PRIu32 " at %" PRIu64 ")", dev->id, i->path,
                   i->device, i->offset);
}

const struct uvm__device_kind uvm__vpmem_kind = {.name = "vpmem",
                                                 .reserve = reserve,
                                                 .copy = copy,
                                                 .turn = uvm__single_turn,
                                                 .withdraw = uvm__single_withdraw,
                                                 .again = uvm__single_again,
                                                 .released = released,
                                                 .end = uvm__single_end,
                                                 .free = free_image,
                                                 .result = result,
                                                 .json = json,
                                                 .text = text};
