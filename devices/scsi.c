/* SPDX-License-Identifier: MIT
 * scsi.c — who has which slot: disks by path, attachments by what is mounted where.
 *
 * The table of a reservation, first row that holds:
 *   the path has no disk                           a free slot, a new disk
 *   its disk is on its way out                     wait, then ask again; quarantined: refused
 *   it is read-only, read-write was asked for …    refused
 *   no mount asked, one without mount is there     shared
 *   the same mount, at that path or at any         shared
 *   the guest path is in use                       refused
 *   the partition is formatted, encrypted or checked in another way    refused
 *   else                                           one more attachment of that disk
 * A slot is taken from here until the host has let go of the disk for certain.
 */
#include "devices/scsi_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

UVM_STATIC_ASSERT(UVM__SCSI_LUNS_MAX == 64, "a bit per LUN");

static struct uvm__scsi_disk *disk_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__scsi_disk, link);
}

static struct uvm__scsi_mount *mount_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__scsi_mount, link);
}

/* ---- slots -------------------------------------------------------------------------------- */

static unsigned count_bits(uint64_t bits) {
    return (unsigned)__builtin_popcountll(bits);
}

/* The one that was free longest, those that never had a disk first: a guest handles a disk's going and the coming
 * of the next one at the same place each in its own time. */
static int take_slot(struct uvm__devices *d, uint32_t *ret_controller, uint32_t *ret_lun,
                     struct uvm__fail *f) {
    struct uvm__scsi *s = &d->scsi;
    bool found = false;
    for (uint32_t c = 0; c < UVM__SCSI_CONTROLLERS_MAX; c++) {
        for (uint32_t lun = 0; (s->controllers & (1u << c)) != 0 && lun < UVM__SCSI_LUNS_MAX;
             lun++) {
            bool is_free = (s->used[c] & UINT64_C(1) << lun) == 0;
            if (is_free && (!found || s->freed[c][lun] < s->freed[*ret_controller][*ret_lun])) {
                *ret_controller = c;
                *ret_lun = lun;
                found = true;
            }
        }
    }
    if (found) {
        s->used[*ret_controller] |= UINT64_C(1) << *ret_lun;
        return 0;
    }
    unsigned controllers = count_bits(s->controllers), used = controllers * UVM__SCSI_LUNS_MAX;
    return uvm__fail(f, UVM_E_LIMIT, 0,
                     "%s: no free SCSI slot: %u of %u are used (%u controller%s)", d->name, used,
                     controllers * UVM__SCSI_LUNS_MAX, controllers, controllers == 1 ? "" : "s");
}

static void give_slot(struct uvm__scsi_disk *disk) {
    uint64_t bit = UINT64_C(1) << disk->lun;
    uint64_t *used = &disk->devices->scsi.used[disk->controller];
    UVM_ASSERT((*used & bit) != 0);
    *used &= ~bit;
    disk->devices->scsi.freed[disk->controller][disk->lun] = ++disk->devices->scsi.freed_last;
}

/* ---- disks -------------------------------------------------------------------------------- */

static struct uvm__scsi_disk *find_disk(struct uvm__devices *d, const char *path) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->scsi.disks) {
        if (strcmp(disk_of(it)->path, path) == 0) {
            return disk_of(it);
        }
    }
    return NULL;
}

static struct uvm__scsi_disk *new_disk(struct uvm__devices *d, const char *path, bool read_only,
                                       bool physical, uint32_t controller, uint32_t lun) {
    size_t bytes = strlen(path) + 1;
    struct uvm__scsi_disk *disk = uvm__zalloc(d->engine, sizeof *disk + bytes);
    if (disk == NULL) {
        return NULL;
    }
    disk->devices = d;
    disk->controller = controller;
    disk->lun = lun;
    disk->read_only = read_only;
    disk->physical = physical;
    memcpy(disk->path, path, bytes);
    uvm__list_init(&disk->link);
    uvm__list_init(&disk->mounts);
    uvm__deadline_init(&disk->timer, uvm__scsi_on_disk_timer);
    if (uvm__scsi_disk_requests(disk) < 0) {
        uvm__scsi_disk_free(disk);
        return NULL;
    }
    uvm__list_append(&d->scsi.disks, &disk->link);
    return disk;
}

void uvm__scsi_disk_free(struct uvm__scsi_disk *disk) {
    uvm_engine *e = disk->devices->engine;
    UVM_ASSERT(disk->call == NULL && !uvm__list_linked(&disk->link));
    uvm__deadline_clear(e, &disk->timer);
    uvm__free(e, disk->add);
    uvm__free(e, disk->eject);
    uvm__free(e, disk->remove);
    uvm__free(e, disk);
}

void uvm__scsi_disk_over(struct uvm__scsi_disk *disk) {
    UVM_ASSERT(uvm__list_empty(&disk->mounts) && !disk->over);
    give_slot(disk);
    uvm__list_remove(&disk->link);
    disk->over = true;
    if (disk->call == NULL) {
        uvm__scsi_disk_free(disk);
    }
}

void uvm__scsi_mount_gone(struct uvm__scsi_mount *m) {
    struct uvm__scsi_disk *disk = m->disk;
    bool last = disk->mounts.next == &m->link && disk->mounts.prev == &m->link;
    uvm__list_remove(&m->link);
    m->disk = NULL;
    if (last) {
        uvm__scsi_disk_over(disk);
    }
    uvm__device_gone(&m->base);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_mount(struct uvm__device *dev) {
    struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    uvm_engine *e = dev->devices->engine;
    UVM_ASSERT(m->call == NULL && m->disk == NULL);
    uvm__deadline_clear(e, &m->timer);
    uvm__free(e, m->want);
    uvm__free(e, m->guest_path);
    uvm__free(e, m->mount);
    uvm__free(e, m->unmount);
    uvm__free(e, m);
}

/* The attachment that has this guest path, of any disk. */
static struct uvm__scsi_mount *find_path(struct uvm__devices *d, const char *guest_path) {
    struct uvm__list *it, *jt;
    UVM__LIST_FOREACH(it, &d->scsi.disks) {
        UVM__LIST_FOREACH(jt, &disk_of(it)->mounts) {
            struct uvm__scsi_mount *m = mount_of(jt);
            if (m->mounts && strcmp(m->guest_path, guest_path) == 0) {
                return m;
            }
        }
    }
    return NULL;
}

/* The first of the default paths that nothing has. */
static char *default_path(struct uvm__devices *d) {
    char path[48];
    unsigned n = 0;
    do {
        (void)snprintf(path, sizeof path, "/run/mounts/scsi/m%u", n++);
    } while (find_path(d, path) != NULL);
    return uvm__strdup(d->engine, path);
}

static struct uvm__scsi_mount *new_mount(struct uvm__scsi_disk *disk,
                                         const struct uvm__scsi_params *p) {
    struct uvm__devices *d = disk->devices;
    struct uvm__scsi_mount *m = uvm__zalloc(d->engine, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    m->disk = disk;
    m->controller = disk->controller;
    m->lun = disk->lun;
    m->mounts = p->mount;
    m->want = uvm__scsi_copy(d->engine, p);
    uvm__deadline_init(&m->timer, uvm__scsi_on_mount_timer);
    if (m->want != NULL && p->mount) {
        m->guest_path =
            p->guest_path == NULL ? default_path(d) : uvm__strdup(d->engine, p->guest_path);
    }
    bool ok =
        m->want != NULL && (!p->mount || m->guest_path != NULL) && uvm__scsi_mount_requests(m) == 0;
    uvm__list_init(&m->link);
    if (ok) {
        uvm__list_append(&disk->mounts, &m->link);
        uvm__device_init(&m->base, d, &uvm__scsi_kind);
        return m;
    }
    m->disk = NULL;
    m->base.devices = d;
    free_mount(&m->base);
    return NULL;
}

/* ---- reserving ---------------------------------------------------------------------------- */

static const char *access_of(bool read_only) {
    return read_only ? "read-only" : "read-write";
}

/* What of the disk stands in the way; 0: nothing. */
static int check_disk(const struct uvm__scsi_disk *disk, const struct uvm__scsi_params *p,
                      struct uvm__fail *f) {
    const char *name = disk->devices->name;
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        const struct uvm__device *dev = &mount_of((struct uvm__list *)it)->base;
        if (uvm__device_quarantined(dev) || disk->state == UVM__SCSI_UNKNOWN) {
            return uvm__fail(f, UVM_E_STATE, 0, "%s: %s of %.100s is quarantined: detach it again",
                             name, dev->id, disk->path);
        }
        if (dev->leaving && disk->state >= UVM__SCSI_EJECTING) {
            return -UVM_E_AGAIN;
        }
    }
    if (disk->read_only != p->read_only || disk->physical != p->physical) {
        return uvm__fail(f, UVM_E_EXISTS, 0,
                         "%s: %.100s is attached %s%s at %" PRIu32 ":%" PRIu32
                         ", asked for was %s%s",
                         name, disk->path, access_of(disk->read_only),
                         disk->physical ? " as a physical disk" : "", disk->controller, disk->lun,
                         access_of(p->read_only), p->physical ? " as a physical disk" : "");
    }
    return 0;
}

static bool joins(const struct uvm__scsi_mount *m, const struct uvm__scsi_params *p) {
    return uvm__scsi_same_mount(m->want, p) &&
           (p->guest_path == NULL || strcmp(p->guest_path, m->guest_path) == 0);
}

/* One that fails or leaves cannot be joined: it is waited for. */
static int join(struct uvm__scsi_disk *disk, const struct uvm__scsi_params *p,
                struct uvm__device **ret) {
    struct uvm__list *it;
    bool wait = false;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        struct uvm__scsi_mount *m = mount_of(it);
        if (!joins(m, p)) {
            continue;
        }
        if (!m->base.leaving && m->base.failed == NULL) {
            *ret = &m->base;
            return 0;
        }
        wait = true;
    }
    return wait ? -UVM_E_AGAIN : 0;
}

static bool going(const struct uvm__device *dev) {
    return (dev->leaving || dev->failed != NULL) && !uvm__device_quarantined(dev);
}

static int check_mounts(struct uvm__devices *d, const struct uvm__scsi_disk *disk,
                        const struct uvm__scsi_params *p, struct uvm__fail *f) {
    struct uvm__scsi_mount *at = p->guest_path == NULL ? NULL : find_path(d, p->guest_path);
    if (at != NULL) {
        return going(&at->base)
                   ? -UVM_E_AGAIN
                   : uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s in the guest is %s's (%.80s)",
                               d->name, p->guest_path, at->base.id, at->disk->path);
    }
    if (disk == NULL || !p->mount) {
        return 0;
    }
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        const struct uvm__scsi_mount *m = mount_of((struct uvm__list *)it);
        const struct uvm__scsi_params *w = m->want;
        bool formats = uvm__scsi_formats(w) || uvm__scsi_formats(p);
        /* What device-mapper puts over the partition has one name, so it is there once. */
        bool alone = w->encrypted || p->encrypted || w->verity != NULL || p->verity != NULL;
        if (!m->mounts || w->partition != p->partition) {
            continue;
        }
        if (alone || (formats && !p->block_dev && !uvm__scsi_same_mount(w, p))) {
            return going(&m->base)
                       ? -UVM_E_AGAIN
                       : uvm__fail(f, UVM_E_EXISTS, 0,
                                   "%s: %.100s is mounted as %s in another way, and one of the "
                                   "two would be formatted, encrypted or checked",
                                   d->name, disk->path, m->base.id);
        }
    }
    return 0;
}

static int reserve_new(struct uvm__devices *d, struct uvm__scsi_disk *disk,
                       const struct uvm__scsi_params *p, struct uvm__device **ret,
                       struct uvm__fail *f) {
    bool fresh = disk == NULL;
    if (fresh) {
        uint32_t controller = 0, lun = 0;
        int rc = take_slot(d, &controller, &lun, f);
        if (rc < 0) {
            return rc;
        }
        disk = new_disk(d, p->host_path, p->read_only, p->physical, controller, lun);
        if (disk == NULL) {
            d->scsi.used[controller] &= ~(UINT64_C(1) << lun);
            return -UVM_E_NOMEM;
        }
    }
    struct uvm__scsi_mount *m = new_mount(disk, p);
    if (m == NULL) {
        if (fresh) {
            uvm__scsi_disk_over(disk);
        }
        return -UVM_E_NOMEM;
    }
    *ret = &m->base;
    return 0;
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__scsi_params *p = params;
    char why[sizeof f->msg];
    int rc = uvm__scsi_check(p, f);
    if (rc < 0) {
        (void)snprintf(why, sizeof why, "%s", f->msg);
        return uvm__fail(f, (enum uvm_error_code)(-rc), 0, "%s: %s", d->name, why);
    }
    struct uvm__scsi_disk *disk = find_disk(d, p->host_path);
    *ret_shared = false;
    if (disk != NULL) {
        rc = check_disk(disk, p, f);
        rc = rc < 0 ? rc : join(disk, p, ret);
        *ret_shared = rc == 0 && *ret != NULL;
        if (rc < 0 || *ret_shared) {
            return rc;
        }
    }
    rc = check_mounts(d, disk, p, f);
    return rc < 0 ? rc : reserve_new(d, disk, p, ret, f);
}

static int copy(uvm_engine *e, const void *params, void **ret) {
    *ret = uvm__scsi_copy(e, params);
    return *ret == NULL ? -UVM_E_NOMEM : 0;
}

/* ---- disks of the document ---------------------------------------------------------------- */

void uvm__scsi_set_controllers(struct uvm__devices *d, uint8_t controllers) {
    UVM_ASSERT(uvm__list_empty(&d->scsi.disks));
    d->scsi.controllers = controllers;
}

void uvm__scsi_set_tools(struct uvm__devices *d, const char *path) {
    UVM_ASSERT(d->scsi.tools == NULL);
    d->scsi.tools_path = path;
}

int uvm__scsi_pin(struct uvm__devices *d, uint32_t controller, uint32_t lun, const char *host_path,
                  bool read_only, bool physical, struct uvm__fail *f) {
    UVM_ASSERT(controller < UVM__SCSI_CONTROLLERS_MAX && lun < UVM__SCSI_LUNS_MAX);
    uint64_t bit = UINT64_C(1) << lun;
    if ((d->scsi.used[controller] & bit) != 0 || find_disk(d, host_path) != NULL) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s at %" PRIu32 ":%" PRIu32 ": taken already",
                         d->name, host_path, controller, lun);
    }
    const struct uvm__scsi_params p = {
        .host_path = host_path, .read_only = read_only, .physical = physical};
    struct uvm__scsi_disk *disk = new_disk(d, host_path, read_only, physical, controller, lun);
    if (disk == NULL) {
        return -UVM_E_NOMEM;
    }
    d->scsi.used[controller] |= bit;
    disk->pinned = true;
    disk->state = UVM__SCSI_ATTACHED;
    struct uvm__scsi_mount *m = new_mount(disk, &p);
    if (m == NULL) {
        uvm__scsi_disk_over(disk);
        return -UVM_E_NOMEM;
    }
    m->base.pinned = true;
    m->base.refs = 1;
    m->base.phase = UVM__DEVICE_READY;
    return 0;
}

/* ---- the kind ----------------------------------------------------------------------------- */

static void released(struct uvm__devices *d, const char *resource) {
    char own[UVM__MODIFY_PATH_BYTES];
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &d->scsi.disks) {
        uvm__scsi_resource(disk_of(it), own);
        if (strcmp(own, resource) == 0) {
            uvm__scsi_disk_released(disk_of(it));
            return;
        }
    }
}

static void end(struct uvm__device *dev) {
    struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    struct uvm__scsi_disk *disk = m->disk;
    uvm__deadline_clear(dev->devices->engine, &m->timer);
    uvm__list_remove(&m->link);
    m->disk = NULL;
    if (uvm__list_empty(&disk->mounts)) {
        uvm__scsi_disk_over(disk);
    }
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    ret->guest_path = m->mounts ? m->guest_path : "";
    ret->controller = m->controller;
    ret->lun = m->lun;
}

static bool json(const struct uvm__device *dev, cJSON *o) {
    const struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    const struct uvm__scsi_disk *disk = m->disk;
    bool ok = cJSON_AddStringToObject(o, "host_path", disk->path) != NULL &&
              cJSON_AddBoolToObject(o, "read_only", disk->read_only) != NULL &&
              cJSON_AddStringToObject(o, "guest_path", m->mounts ? m->guest_path : "") != NULL &&
              uvm__json_add_u64(o, "partition", m->want->partition) != NULL;
    cJSON *at = ok ? cJSON_AddObjectToObject(o, "location") : NULL;
    return at != NULL && uvm__json_add_u64(at, "controller", disk->controller) != NULL &&
           uvm__json_add_u64(at, "lun", disk->lun) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    if (m->disk == NULL) {
        (void)snprintf(buf, bytes, "%s", dev->id);
        return;
    }
    (void)snprintf(buf, bytes, "%s (%.100s at %" PRIu32 ":%" PRIu32 ")", dev->id, m->disk->path,
                   m->disk->controller, m->disk->lun);
}

const struct uvm__device_kind uvm__scsi_kind = {.name = "scsi",
                                                .reserve = reserve,
                                                .copy = copy,
                                                .turn = uvm__scsi_turn,
                                                .withdraw = uvm__scsi_withdraw,
                                                .again = uvm__scsi_again,
                                                .released = released,
                                                .end = end,
                                                .free = free_mount,
                                                .result = result,
                                                .json = json,
                                                .text = text};
