/* SPDX-License-Identifier: MIT
 * vpmem.c — an image in virtual PMem: mapped into a range of an nvdimm, and taken out again.
 *
 *     Add      slot     the path is free, the VM has the device
 *              image    opened and checked; its range lies in the device and beside all others
 *              fill     copied in slices, one a turn of the loop. Undo punches what was written
 *     Remove   one step: the range is punched, likewise in slices; it only goes forward
 *
 * QEMU takes no part: the guest sees what is in the memfd. A whole device is a range from 0 to its end; when
 * it is removed the nvdimm stays, empty, until the VM ends (QEMU takes none away), and can be filled again.
 * Holes of an image are not written, so they take no memory either.
 */
#include "hcs/qemu/vpmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "hcs/qemu/disk_image.h"
#include "hcs/qemu/resource.h"

#define FILL_STEP_BYTES (1u << 20)   /* read from the image in one turn */
#define PUNCH_STEP_BYTES (64u << 20) /* given back in one turn */
#define BUFFER_BYTES (64u << 10)     /* where the kernel cannot copy from file to file */

struct range {
    struct uvm__resource resource; /* first */
    unsigned device;
    bool whole;
    uint64_t offset, bytes; /* in the device; 0 bytes: not known yet */
    uint64_t memory_mb;     /* that was admitted for it */
    struct uvm__disk_image image;
    char file[]; /* its path */
};

static struct range *range_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct range, resource);
}

static uint64_t round_up(uint64_t bytes) {
    return (bytes + UVM__DOC_VPMEM_PAGE_BYTES - 1) & ~(uint64_t)(UVM__DOC_VPMEM_PAGE_BYTES - 1);
}

/* ---- devices ------------------------------------------------------------------------------ */

/* Its size stays, and the VMM's uid may only read it. */
static int open_device(uint64_t bytes) {
    UVM_CLEANUP_FD int fd = memfd_create("uvm-pmem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool made = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && fchmod(fd, 0444) == 0 &&
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;

    return made ? UVM_TAKE_FD(fd) : -1;
}

int uvm__qemu_vpmem_open(struct uvm__qemu_system *s, struct uvm__fail *f) {
    uint64_t bytes = uvm__qemu_vpmem_bytes(&s->doc);
    unsigned count = uvm__qemu_vpmem_count(&s->doc);

    UVM_ASSERT(s->vpmem_count == 0);
    for (unsigned n = 0; n < count; n++) {
        s->vpmem[n] = open_device(bytes);
        if (s->vpmem[n] < 0) {
            return uvm__fail(f, UVM_E_IO, errno, "VPMem of %llu bytes: %s",
                             (unsigned long long)bytes, strerror(errno));
        }
        s->vpmem_count = n + 1;
    }
    s->base.vpmem.devices = count;
    s->base.vpmem.bytes = s->doc.vm.devices.vpmem.maximum_size_bytes;
    return 0;
}

void uvm__qemu_vpmem_close(struct uvm__qemu_system *s) {
    while (s->vpmem_count > 0) {
        uvm__close_fd(&s->vpmem[--s->vpmem_count]);
    }
}

int uvm__qemu_vpmem_reader(const struct uvm__qemu_system *s, unsigned n) {
    char path[32];

    UVM_ASSERT_CMP(n, <, s->vpmem_count);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", s->vpmem[n]);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* ---- images ------------------------------------------------------------------------------- */

static int open_image(const char *path, struct uvm__disk_image *ret, struct uvm__fail *f) {
    int rc = uvm__disk_image_open(path, true, false, ret, f);

    if (rc == 0 && ret->format != UVM__DISK_RAW && ret->format != UVM__DISK_VHD_FIXED) {
        uvm__disk_image_close(ret);
        rc = uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                       "disk %.140s: VPMem takes raw images and fixed VHDs; convert it, or attach "
                       "it by SCSI",
                       path);
    }
    return rc;
}

int uvm__qemu_image_bytes(struct uvm__hcs_system *base, const char *path, uint64_t *ret,
                          struct uvm__fail *f) {
    struct uvm__disk_image image = UVM__DISK_IMAGE_INIT;
    int rc = open_image(path, &image, f);

    (void)base;
    if (rc == 0) {
        *ret = image.bytes;
        uvm__disk_image_close(&image);
    }
    return rc;
}

/* ---- properties --------------------------------------------------------------------------- */

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct range *g = range_of((struct uvm__resource *)(uintptr_t)r);

    return uvm__json_add_u64(to, "Device", g->device) != NULL &&
           uvm__json_add_u64(to, "Offset", g->offset) != NULL &&
           uvm__json_add_u64(to, "Bytes", g->bytes) != NULL &&
           cJSON_AddBoolToObject(to, "WholeDevice", g->whole) != NULL &&
           cJSON_AddStringToObject(to, "Path", g->file) != NULL;
}

/* The guest reads it as memory: nobody counts that. */
static bool statistics(const struct uvm__resource *r, const cJSON *blocks, cJSON *to) {
    const struct range *g = range_of((struct uvm__resource *)(uintptr_t)r);

    (void)blocks;
    return uvm__json_add_u64(to, "MappedBytes", g->bytes) != NULL;
}

static const struct uvm__resource_type range_type = {
    .name = "VirtualPMem", .describe = describe, .statistics = statistics};

/* ---- slices ------------------------------------------------------------------------------- */

/* The work on a range that goes on by a slice a turn, as a part of both ops. */
struct work {
    struct uvm__qemu_system *system;
    struct range *range; /* NULL: not begun, or over */
    uint64_t at;         /* done so far */
    struct uvm__ready more;
    char *buffer; /* made when it is needed */
};

static bool is_over(const struct uvm__qemu_system *s) {
    return s->closing || s->state == UVM__QEMU_ENDED || s->vpmem_count == 0;
}

static int fill_failed(const struct work *w, struct uvm__fail *f) {
    return uvm__fail(f, errno == ENOMEM || errno == ENOSPC ? UVM_E_NOMEM : UVM_E_IO, errno,
                     "disk %.140s: cannot be copied into VPMem: %s", w->range->file,
                     strerror(errno));
}

/* By a buffer: from a file system, or by a kernel, that cannot copy from file to file. */
static ssize_t copy_by_hand(struct work *w, int to, off_t at, size_t bytes) {
    if (w->buffer == NULL) {
        w->buffer = uvm__alloc(w->system->engine, BUFFER_BYTES);
    }
    if (w->buffer == NULL) {
        errno = ENOMEM;
        return -1;
    }
    ssize_t n =
        pread(w->range->image.fd, w->buffer, bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES, at);
    return n <= 0 ? n : pwrite(to, w->buffer, (size_t)n, (off_t)w->range->offset + at);
}

static ssize_t copy(struct work *w, int to, off_t at, size_t bytes) {
    off_t from = at, into = (off_t)w->range->offset + at;
    ssize_t n =
        w->buffer != NULL ? -1 : copy_file_range(w->range->image.fd, &from, to, &into, bytes, 0);
    bool cannot = n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                            errno == EOPNOTSUPP || errno == EBADF);
    /* Between two file systems some kernels say 0 instead. */
    return w->buffer != NULL || cannot || n == 0 ? copy_by_hand(w, to, at, bytes) : n;
}

/* A slice of the image; 1: there is more. */
static int fill_step(struct work *w, struct uvm__fail *f) {
    const struct range *g = w->range;
    int to = w->system->vpmem[g->device];

    for (uint64_t budget = FILL_STEP_BYTES; budget > 0 && w->at < g->image.bytes;) {
        off_t data = g->image.block ? (off_t)w->at : lseek(g->image.fd, (off_t)w->at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) { /* a hole up to the end */
            w->at = g->image.bytes;
            break;
        }
        w->at = data > (off_t)w->at ? (uint64_t)data : w->at;
        if (w->at >= g->image.bytes) { /* only a footer is left */
            w->at = g->image.bytes;
            break;
        }
        uint64_t left = g->image.bytes - w->at;
        ssize_t n = copy(w, to, (off_t)w->at, left < budget ? left : budget);
        if (n < 0) {
            return fill_failed(w, f);
        }
        if (n == 0) {
            return uvm__fail(f, UVM_E_IO, 0, "disk %.140s: became shorter while it was read",
                             g->file);
        }
        w->at += (uint64_t)n;
        budget -= (uint64_t)n;
    }
    return w->at < g->image.bytes;
}

/* The same of giving back. */
static int punch_step(struct work *w, struct uvm__fail *f) {
    const struct range *g = w->range;
    uint64_t left = g->bytes - w->at;
    uint64_t bytes = left < PUNCH_STEP_BYTES ? left : PUNCH_STEP_BYTES;

    if (bytes > 0 &&
        fallocate(w->system->vpmem[g->device], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(g->offset + w->at), (off_t)bytes) < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "memory of VPMem: cannot be given back: %s",
                         strerror(errno));
    }
    w->at += bytes;
    return w->at < g->bytes;
}

static void work_init(struct work *w, struct uvm__qemu_system *s,
                      void (*more)(struct uvm__ready *r)) {
    w->system = uvm__qemu_ref(s);
    uvm__ready_init(&w->more, more);
}

static void work_deinit(struct work *w) {
    uvm__free(w->system->engine, w->buffer);
    uvm__ready_cancel(w->system->engine, &w->more);
    uvm__qemu_unref(w->system);
}

static void work_begin(struct work *w) {
    w->at = 0;
    uvm__ready_push(w->system->engine, &w->more);
}

/* ---- add ---------------------------------------------------------------------------------- */

struct add_params {
    struct uvm__qemu_system *system;
    const struct uvm__modify *request;
    const char *path;
};

struct add_state {
    struct work work; /* its range: until it is the system's for good, or was released */
    uvm_op *op;
    bool dynamic, undoing;
};

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

static int check_device(const struct uvm__qemu_system *s, unsigned device, struct uvm__fail *f) {
    uint64_t maximum = s->doc.vm.devices.vpmem.maximum_count;

    if (device < s->vpmem_count) {
        return 0;
    }
    return device < maximum
               ? uvm__fail(f, UVM_E_LIMIT, 0,
                           "ResourcePath: VPMem device %u: only %u of the document's %llu fit "
                           "beside the guest's memory",
                           device, s->vpmem_count, (unsigned long long)maximum)
               : uvm__fail(f, UVM_E_NOTFOUND, 0, "ResourcePath: the VM has no VPMem device %u",
                           device);
}

static void slot_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__qemu_system *s = a->work.system;
    struct uvm__fail f = {0};
    int rc = a->dynamic ? uvm__fail(&f, UVM_E_UNSUPPORTED, 0,
                                    "Settings.ImageFormat: only Vhd1 (a raw image, or a fixed VHD)")
                        : check_device(s, a->work.range->device, &f);

    rc = rc < 0 ? rc : uvm__resource_take(s, &a->work.range->resource, &f);
    fail_step(op, rc, &f);
}

static void slot_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct range *g = UVM_TAKE_PTR(a->work.range);

    uvm__resource_release(a->work.system, &g->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

/* Inside its device, and nowhere on another's. */
static int check_range(struct uvm__qemu_system *s, const struct range *g, struct uvm__fail *f) {
    uint64_t room = s->base.vpmem.bytes;
    struct uvm__list *it;

    if (g->offset > room || g->bytes > room - g->offset) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "disk %.140s: its %llu bytes do not fit at %llu into VPMem device %u of "
                         "%llu",
                         g->file, (unsigned long long)g->image.bytes, (unsigned long long)g->offset,
                         g->device, (unsigned long long)room);
    }
    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type != &range_type || r == &g->resource) {
            continue;
        }
        const struct range *o = range_of(r);
        if (o->device == g->device && o->offset < g->offset + g->bytes &&
            g->offset < o->offset + o->bytes) {
            return uvm__fail(f, UVM_E_EXISTS, 0,
                             "disk %.120s: VPMem device %u holds %.120s from %llu to %llu", g->file,
                             g->device, o->file, (unsigned long long)o->offset,
                             (unsigned long long)o->offset + o->bytes);
        }
    }
    return 0;
}

/* What it takes: the image without its holes. A file that shares its blocks with others counts them all. */
static int admit(struct uvm__qemu_system *s, struct range *g, struct uvm__fail *f) {
    char what[200];
    struct stat st;
    uint64_t bytes = g->image.bytes;

    if (!g->image.block && fstat(g->image.fd, &st) == 0 && (uint64_t)st.st_blocks * 512u < bytes) {
        bytes = (uint64_t)st.st_blocks * 512u;
    }
    uint64_t mb = (bytes + (1u << 20) - 1) >> 20;
    (void)snprintf(what, sizeof what, "disk %.140s in VPMem", g->file);
    int rc = uvm__hcs_admit_image(&s->service->base, what, mb, f);
    if (rc == 0) {
        g->memory_mb = mb;
        s->vpmem_mb += mb;
    }
    return rc;
}

static void dismiss(struct uvm__qemu_system *s, struct range *g) {
    uvm__hcs_dismiss_image(&s->service->base, g->memory_mb);
    s->vpmem_mb -= g->memory_mb;
    g->memory_mb = 0;
}

static void image_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct range *g = a->work.range;
    struct uvm__qemu_system *s = a->work.system;
    struct uvm__fail f = {0};
    int rc = open_image(g->file, &g->image, &f);

    if (rc == 0) {
        uint64_t image = round_up(g->image.bytes), room = s->base.vpmem.bytes;
        g->bytes = g->whole && image < room ? room : image;
        rc = check_range(s, g, &f);
        rc = rc < 0 ? rc : admit(s, g, &f);
    }
    if (rc < 0) {
        g->bytes = 0; /* stands in nobody's way */
        uvm__disk_image_close(&g->image);
    }
    fail_step(op, rc, &f);
}

static void image_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    dismiss(a->work.system, a->work.range);
    uvm__disk_image_close(&a->work.range->image);
    uvm__undo_done(op, NULL);
}

static void fill_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    uvm__step_armed(op);
    work_begin(&a->work);
}

static void fill_cancel(uvm_op *op, void *state) {
    struct add_state *a = state;
    uvm__ready_cancel(a->work.system->engine, &a->work.more);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

static void fill_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    (void)op;
    a->undoing = true;
    work_begin(&a->work);
}

static void add_more(struct uvm__ready *r) {
    struct add_state *a = UVM__CONTAINER_OF(r, struct add_state, work.more);
    struct uvm__fail f = {0};
    bool over = is_over(a->work.system); /* with everything that was in it */
    int rc = over ? 0 : a->undoing ? punch_step(&a->work, &f) : fill_step(&a->work, &f);

    if (rc > 0) {
        uvm__ready_push(a->work.system->engine, r);
    } else if (a->undoing) {
        uvm__undo_done(a->op, rc < 0 ? uvm__fail_error(a->work.system->engine, rc, &f) : NULL);
    } else if (over) {
        uvm__step_done(a->op, uvm__qemu_end_error(a->work.system, "cannot map an image"));
    } else {
        fail_step(a->op, rc, &f);
    }
}

static void present_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct range *g = UVM_TAKE_PTR(a->work.range);

    uvm__disk_image_close(&g->image); /* it is copied */
    g->resource.state = UVM__RESOURCE_PRESENT;
    uvm__step_done(op, NULL);
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    const struct uvm__doc_vpmem_device *set = &p->request->settings.vpmem;
    struct add_state *a = state;
    size_t bytes = strlen(set->host_path) + 1;
    struct range *g = uvm__zalloc(p->system->engine, sizeof *g + bytes);

    if (g == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__list_init(&g->resource.link);
    g->resource.type = &range_type;
    memcpy(g->resource.path, p->path, strlen(p->path) + 1);
    g->device = (unsigned)p->request->number;
    g->whole = p->request->kind == UVM__MODIFY_VPMEM;
    g->offset = p->request->offset;
    g->image.fd = -1;
    memcpy(g->file, set->host_path, bytes);
    a->dynamic = set->image_format != NULL && strcmp(set->image_format, "Vhdx") == 0;
    a->op = op;
    a->work.range = g;
    work_init(&a->work, p->system, add_more);
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;
    struct range *g = a->work.range;

    if (g != NULL) {
        UVM_ASSERT(g->image.fd < 0 && !uvm__list_linked(&g->resource.link));
        uvm__free(a->work.system->engine, g);
    }
    work_deinit(&a->work);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", a->work.range == NULL ? "" : a->work.range->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "slot", .run = slot_run, .undo = slot_undo},
    {.name = "image", .run = image_run, .undo = image_undo},
    {.name = "fill", .run = fill_run, .cancel = fill_cancel, .undo = fill_undo},
    {.name = "present", .run = present_run},
};
static const struct uvm__saga add_saga = {
    .name = "vpmem add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = 2, /* fill */
    .state_bytes = sizeof(struct add_state),
    .init = add_init,
    .deinit = add_deinit,
    .describe = add_describe,
};

static int start(struct uvm__qemu_system *s, const struct uvm__saga *saga,
                 const struct uvm__modify *m, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                 uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct add_params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, saga, &p, on_done, arg, ret_op);
}

static int add(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
               uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &add_saga, m, scope, on_done, arg, ret_op);
}

/* ---- remove ------------------------------------------------------------------------------- */

struct remove_state {
    struct work work;
    uvm_op *op;
    char path[UVM__MODIFY_PATH_BYTES];
};

static void remove_more(struct uvm__ready *r) {
    struct remove_state *m = UVM__CONTAINER_OF(r, struct remove_state, work.more);
    struct uvm__qemu_system *s = m->work.system;
    struct uvm__fail f = {0};
    bool over = is_over(s);
    int rc = over ? 0 : punch_step(&m->work, &f);

    if (rc > 0) {
        uvm__ready_push(s->engine, r);
        return;
    }
    struct range *g = UVM_TAKE_PTR(m->work.range);
    if (rc < 0) {
        g->resource.state = UVM__RESOURCE_PRESENT; /* in parts; it can be removed again */
        fail_step(m->op, rc, &f);
        return;
    }
    dismiss(s, g);
    uvm__resource_release(s, &g->resource, uvm__op_resolved(m->op));
    uvm__step_done(m->op, over ? uvm__qemu_end_error(s, "cannot remove an image") : NULL);
}

static void remove_run(uvm_op *op, void *state) {
    struct remove_state *m = state;
    struct uvm__resource *found;
    struct uvm__fail f = {0};
    int rc = uvm__resource_removing(m->work.system, m->path, &found, &f);

    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    m->work.range = range_of(found);
    work_begin(&m->work);
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    struct remove_state *m = state;

    m->op = op;
    memcpy(m->path, p->path, strlen(p->path) + 1);
    work_init(&m->work, p->system, remove_more);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *m = state;
    UVM_ASSERT(m->work.range == NULL);
    work_deinit(&m->work);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *m = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", m->path);
}

static const struct uvm__step remove_steps[] = {{.name = "punch", .run = remove_run}};
static const struct uvm__saga remove_saga = {
    .name = "vpmem remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

static int remove_range(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &remove_saga, m, scope, on_done, arg, ret_op);
}

#define NO_UPDATE "an image in VPMem cannot be changed; remove it and add another"
const struct uvm__qemu_kind uvm__qemu_vpmem = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_range},
    .refused = {[UVM__MODIFY_UPDATE] = NO_UPDATE},
};
const struct uvm__qemu_kind uvm__qemu_vpmem_mapping = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_range},
    .refused = {[UVM__MODIFY_UPDATE] = NO_UPDATE},
};
