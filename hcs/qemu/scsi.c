/* SPDX-License-Identifier: MIT
 * scsi.c — a disk on a LUN of a controller: from its image to the device, and back.
 *
 *     Add      slot      the controller is there, the path is free
 *              image     opened and checked, not open elsewhere in a way that excludes this one
 *              offer     a guest that runs has found the controller: an agent may look for it only once
 *              fdset     the descriptor goes to QEMU, which may not open the file itself
 *              node      blockdev-add by the format that we saw
 *              device    device_add, when its turn has come (pace.h): the guest sees the disk. What was done
 *                        is undone from here backwards
 *     Remove   one step: device_del in its turn, DEVICE_DELETED, blockdev-del, remove-fd; it only goes forward
 *
 * Names in QEMU come from a counter and are never used twice, so a late answer cannot mean another disk. An answer
 * that does not come leaves the op's machine waiting (saga.h): the path stays taken, and when the answer
 * comes after all the machine goes to its end and the owner hears RELEASED.
 *
 * A guest's own locks: QEMU takes locks on the image's open file, so two VMs cannot write one image. Within
 * one VM they are ours to tell, by words.
 */
#include "hcs/qemu/scsi.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/json.h"
#include "hcs/qemu/command.h"
#include "hcs/qemu/disk_image.h"
#include "hcs/qemu/resource.h"
#include "hcs/qemu/statistics.h"

struct disk {
    struct uvm__resource resource; /* first */
    uint64_t number;               /* in QEMU's names: disk-7, node-7, fdset 7 */
    char controller[UVM_GUID_TEXT];
    struct uvm__guid instance; /* the controller's */
    unsigned controller_number;
    uint64_t lun;
    bool pass_thru, ignore_flushes, identified;
    struct uvm__disk_image image;
    char file[]; /* its path */
};

static struct disk *disk_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct disk, resource);
}

/* ---- properties --------------------------------------------------------------------------- */

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct disk *d = disk_of((struct uvm__resource *)(uintptr_t)r);
    const char *format = d->identified ? uvm__disk_image_format(d->image.format) : "";

    return cJSON_AddStringToObject(to, "Controller", d->controller) != NULL &&
           uvm__json_add_u64(to, "Lun", d->lun) != NULL &&
           cJSON_AddStringToObject(to, "Path", d->file) != NULL &&
           cJSON_AddStringToObject(to, "Format", format) != NULL &&
           cJSON_AddBoolToObject(to, "ReadOnly", d->image.read_only) != NULL &&
           uvm__json_add_u64(to, "Bytes", d->image.bytes) != NULL;
}

static void put_name(const struct disk *d, char *buf, size_t bytes) {
    snprintf(buf, bytes, "disk-%llu", (unsigned long long)d->number);
}

/* Of the guest's requests to this device, not of the image's file. */
static bool statistics(const struct uvm__resource *r, const cJSON *blocks, cJSON *to) {
    static const struct {
        const char *key, *qemu;
    } rows[] = {
        {"ReadBytes", "rd_bytes"},
        {"WriteBytes", "wr_bytes"},
        {"ReadOperations", "rd_operations"},
        {"WriteOperations", "wr_operations"},
        {"FlushOperations", "flush_operations"},
    };
    char name[32];
    bool ok = true;

    put_name(disk_of((struct uvm__resource *)(uintptr_t)r), name, sizeof name);
    const cJSON *stats = uvm__qemu_blockstats(blocks, name);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const cJSON *node =
            stats == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, stats, rows[i].qemu);
        uint64_t n;
        if (node != NULL && uvm__json_u64(node, UINT64_MAX, &n) == 0) {
            ok = ok && uvm__json_add_u64(to, rows[i].key, n) != NULL;
        }
    }
    return ok;
}

static const struct uvm__resource_type disk_type = {
    .name = "Scsi", .describe = describe, .statistics = statistics};

/* ---- what is asked ------------------------------------------------------------------------ */

const char *uvm__qemu_scsi_refused(const struct uvm__doc_scsi_attachment *a, const char **ret_why) {
    const struct {
        bool found;
        const char *field, *why;
    } rows[] = {
        {strcmp(a->type, "ExtensibleVirtualDisk") == 0, "Type",
         "virtual disk providers are Hyper-V's"},
        {a->caching_mode != NULL, "CachingMode", "not supported on QEMU"},
        {a->no_write_hardening, "NoWriteHardening", "not supported on QEMU"},
        {a->disable_expansion_optimization, "DisableExpansionOptimization",
         "not supported on QEMU"},
        {a->ignore_relative_locator, "IgnoreRelativeLocator",
         "no image that needs its parent is supported on QEMU"},
        {a->capture_io_attribution_context, "CaptureIoAttributionContext", "it is Hyper-V's"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].found) {
            *ret_why = rows[i].why;
            return rows[i].field;
        }
    }
    return NULL; /* compressed volumes and sparse files need no leave here */
}

static int find_controller(const struct uvm__qemu_system *s, struct disk *d, struct uvm__fail *f) {
    const struct uvm__doc_devices *devices = &s->doc.vm.devices;
    struct uvm__guid guid;

    int rc = uvm__guid_read(d->controller, strlen(d->controller), &d->instance);
    if (rc == 0) {
        uvm__guid_text(&d->instance, d->controller); /* in the path's case, whoever wrote it */
    }
    for (size_t i = 0; rc == 0 && i < devices->scsi_count; i++) {
        const char *text = devices->scsi[i].guid;
        if (uvm__guid_read(text, strlen(text), &guid) == 0 &&
            uvm__guid_equal(&guid, &d->instance)) {
            d->controller_number = uvm__doc_scsi_number(&s->doc, i);
            return 0;
        }
    }
    return uvm__fail(f, UVM_E_NOTFOUND, 0, "ResourcePath: the VM has no SCSI controller %s",
                     d->controller);
}

/* One writer, or readers. */
static int check_shared(struct uvm__qemu_system *s, const struct disk *d, struct uvm__fail *f) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type != &disk_type || r == &d->resource) {
            continue;
        }
        const struct disk *o = disk_of(r);
        if (o->identified && uvm__disk_image_same(&o->image, &d->image) &&
            !(o->image.read_only && d->image.read_only)) {
            return uvm__fail(
                f, UVM_E_STATE, 0,
                "disk %.120s: is attached at LUN %llu of controller %u, %s; one image can "
                "be attached more than once only for reading",
                d->file, (unsigned long long)o->lun, o->controller_number,
                o->image.read_only ? "read-only" : "for writing");
        }
    }
    return 0;
}

/* ---- add ---------------------------------------------------------------------------------- */

struct add_params {
    struct uvm__qemu_system *system;
    const struct uvm__modify *request;
    const char *path;
};

struct add_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct disk *disk;         /* NULL: is the system's for good, or was released */
    const char *refused, *why; /* the field that QEMU cannot honour; NULL: none */
    struct uvm__command command;
};

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

static void slot_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__fail f = {0};
    int rc = a->refused == NULL
                 ? find_controller(a->system, a->disk, &f)
                 : uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "Settings.%s: %s", a->refused, a->why);

    if (rc == 0) {
        rc = uvm__resource_take(a->system, &a->disk->resource, &f);
    }
    fail_step(op, rc, &f);
}

static void slot_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct disk *d = a->disk;

    a->disk = NULL;
    uvm__resource_release(a->system, &d->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

static void image_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct disk *d = a->disk;
    struct uvm__fail f = {0};
    int rc = uvm__disk_image_open(d->file, d->image.read_only, d->pass_thru, &d->image, &f);

    if (rc == 0) {
        rc = check_shared(a->system, d, &f);
        d->identified = rc == 0;
    }
    if (rc < 0) {
        uvm__disk_image_close(&d->image);
    }
    fail_step(op, rc, &f);
}

static void image_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    uvm__disk_image_close(&a->disk->image);
    uvm__undo_done(op, NULL);
}

static void offer_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct add_state *a = arg;

    (void)child;
    uvm__step_done(a->op, err == NULL ? NULL : uvm_error_ref(err));
}

static void offer_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__fail f;

    if (!uvm__qemu_offer_pending(a->system, &a->disk->instance)) {
        uvm__step_done(op, NULL);
        return;
    }
    int rc = uvm__vmbus_wait(a->system->vmbus, &a->disk->instance, uvm__op_scope(op), offer_done, a,
                             NULL);
    if (rc < 0) {
        (void)uvm__fail(&f, (enum uvm_error_code) - rc, 0, "controller %s cannot be waited for",
                        a->disk->controller);
        fail_step(op, rc, &f);
    }
}

/* QEMU's own words are in the detail, behind their class; what people meet most has a remedy. */
static uvm_error *add_error(const struct add_state *a, uvm_error *take_err) {
    bool qemu = uvm_error_code(take_err) == UVM_E_PEER;
    const char *said = qemu ? strchr(uvm_error_detail(take_err), ' ') : NULL;
    const char *locked = said != NULL && strstr(said, " lock") != NULL
                             ? "; another VM or program has it open: end that one, or attach it "
                               "read-only in both"
                             : "";
    uvm_error *err = uvm__error(a->system->engine, uvm_error_code(take_err), 0, "disk %s: %s%s%s%s",
                                a->disk->file, uvm_error_message(take_err), said == NULL ? "" : ":",
                                said == NULL ? "" : said, locked);
    return uvm__error_cause(err, take_err);
}

/* The end of a step's command. */
static void add_on_command(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);

    if (how == UVM__COMMAND_GONE) {
        take_err = uvm__qemu_end_error(a->system, "cannot attach a disk");
    }
    uvm__step_done(a->op, take_err == NULL ? NULL : add_error(a, take_err));
}

static void fdset_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__command *c = &a->command;

    (void)op;
    snprintf(c->arguments, sizeof c->arguments, "{\"fdset-id\":%llu}",
             (unsigned long long)a->disk->number);
    uvm__command_send(c, "add-fd", a->disk->image.fd, add_on_command);
}

/* What is undone by one command: refused means that there is nothing of it. */
static void undo_on_command(struct uvm__command *c, enum uvm__command_end how,
                            uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);
    (void)how;
    uvm_error_unref(take_err);
    uvm__undo_done(a->op, NULL);
}

static void put_remove_fd(struct uvm__command *c, const struct disk *d) {
    snprintf(c->arguments, sizeof c->arguments, "{\"fdset-id\":%llu}",
             (unsigned long long)d->number);
}

static void fdset_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    (void)op;
    put_remove_fd(&a->command, a->disk);
    uvm__command_must(&a->command, "remove-fd", undo_on_command);
}

static void put_node(struct uvm__command *c, const struct disk *d) {
    static const char *const drivers[UVM__DISK_FORMAT_MAX] = {
        [UVM__DISK_RAW] = "raw",   [UVM__DISK_VHD_FIXED] = "raw", [UVM__DISK_VHD_DYNAMIC] = "vpc",
        [UVM__DISK_VHDX] = "vhdx", [UVM__DISK_QCOW2] = "qcow2",
    };
    const struct uvm__disk_image *i = &d->image;
    const char *read_only = i->read_only ? "true" : "false";
    char more[64] = "";

    /* A size of our own hides a fixed VHD's footer, and what a raw file grows by while it is attached. */
    if (strcmp(drivers[i->format], "raw") == 0 && !i->block) {
        snprintf(more, sizeof more, ",\"size\":%llu", (unsigned long long)i->bytes);
    } else if (i->format == UVM__DISK_QCOW2) {
        snprintf(more, sizeof more, ",\"backing\":null");
    }
    int n =
        snprintf(c->arguments, sizeof c->arguments,
                 "{\"driver\":\"%s\",\"node-name\":\"node-%llu\",\"read-only\":%s,"
                 "\"discard\":\"unmap\",\"cache\":{\"no-flush\":%s}%s,"
                 "\"file\":{\"driver\":\"%s\",\"filename\":\"/dev/fdset/%llu\",\"read-only\":%s,"
                 "\"discard\":\"unmap\"}}",
                 drivers[i->format], (unsigned long long)d->number, read_only,
                 d->ignore_flushes ? "true" : "false", more, i->block ? "host_device" : "file",
                 (unsigned long long)d->number, read_only);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof c->arguments);
}

static void node_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    (void)op;
    uvm__disk_image_close(&a->disk->image); /* QEMU has its own */
    put_node(&a->command, a->disk);
    uvm__command_send(&a->command, "blockdev-add", -1, add_on_command);
}

static void put_node_del(struct uvm__command *c, const struct disk *d) {
    snprintf(c->arguments, sizeof c->arguments, "{\"node-name\":\"node-%llu\"}",
             (unsigned long long)d->number);
}

/* A node that is still in use will not be for long: requests of the guest that are under way. */
static void undo_on_node_del(struct uvm__command *c, enum uvm__command_end how,
                             uvm_error *take_err) {
    if (how == UVM__COMMAND_REFUSED) {
        uvm_error_unref(take_err);
        uvm__command_again(c);
        return;
    }
    undo_on_command(c, how, take_err);
}

static void node_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    (void)op;
    put_node_del(&a->command, a->disk);
    uvm__command_must(&a->command, "blockdev-del", undo_on_node_del);
}

static void device_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__command *c = &a->command;
    const struct disk *d = a->disk;
    bool pass_thru = d->pass_thru && d->image.scsi && !d->image.read_only;
    char name[32];

    (void)op;
    put_name(d, name, sizeof name);
    /* An I/O error is the guest's to see: the default would stop the VM when the host's disk is full. */
    int n = snprintf(c->arguments, sizeof c->arguments,
                     "{\"driver\":\"%s\",\"id\":\"%s\",\"bus\":\"scsi%u.0\",\"channel\":0,"
                     "\"scsi-id\":0,\"lun\":%llu,\"drive\":\"node-%llu\",\"werror\":\"report\","
                     "\"rerror\":\"report\"}",
                     pass_thru ? "scsi-block" : "scsi-hd", name, d->controller_number,
                     (unsigned long long)d->lun, (unsigned long long)d->number);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof c->arguments);
    c->pace = &a->system->plugs[d->controller_number];
    uvm__command_send(c, "device_add", -1, add_on_command);
}

static void device_cancel(uvm_op *op, void *state) {
    struct add_state *a = state;

    if (uvm__command_withdraw(&a->command)) {
        uvm__step_done(op, uvm__scope_error(uvm__op_scope(op)));
    }
}

static void undo_on_unplug(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);
    uvm_error_unref(take_err);
    if (how == UVM__COMMAND_REFUSED) {
        uvm__command_again(c);
        return;
    }
    uvm__undo_done(a->op, NULL);
}

static void device_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    char name[32];

    (void)op;
    put_name(a->disk, name, sizeof name);
    uvm__command_unplug(&a->command, name, undo_on_unplug);
}

static void present_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    a->disk->resource.state = UVM__RESOURCE_PRESENT;
    a->disk = NULL;
    uvm__step_done(op, NULL);
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    const struct uvm__doc_scsi_attachment *set = &p->request->settings.scsi;
    struct add_state *a = state;
    size_t bytes = strlen(set->path) + 1;
    struct disk *d = uvm__zalloc(p->system->engine, sizeof *d + bytes);

    if (d == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__list_init(&d->resource.link);
    d->resource.type = &disk_type;
    memcpy(d->resource.path, p->path, strlen(p->path) + 1);
    memcpy(d->controller, p->request->guid, sizeof d->controller);
    d->lun = p->request->number;
    d->number = ++p->system->resource_number;
    d->pass_thru = strcmp(set->type, "PassThru") == 0;
    d->ignore_flushes = set->ignore_flushes;
    d->image.fd = -1;
    d->image.read_only = set->read_only;
    memcpy(d->file, set->path, bytes);
    a->refused = uvm__qemu_scsi_refused(set, &a->why);
    a->disk = d;
    a->op = op;
    a->system = uvm__qemu_ref(p->system);
    uvm__command_init(&a->command, a->system, op);
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;

    UVM_ASSERT(uvm__command_idle(&a->command));
    if (a->disk != NULL) {
        UVM_ASSERT(a->disk->image.fd < 0 && !uvm__list_linked(&a->disk->resource.link));
        uvm__free(a->system->engine, a->disk);
    }
    uvm__qemu_unref(a->system);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    snprintf(buf, bytes, "%s", a->disk == NULL ? "" : a->disk->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "slot", .run = slot_run, .undo = slot_undo},
    {.name = "image", .run = image_run, .undo = image_undo},
    {.name = "offer", .run = offer_run, .child = true},
    {.name = "fdset", .run = fdset_run, .undo = fdset_undo},
    {.name = "node", .run = node_run, .undo = node_undo},
    {.name = "device", .run = device_run, .cancel = device_cancel, .undo = device_undo},
    {.name = "present", .run = present_run},
};
static const struct uvm__saga add_saga = {
    .name = "scsi add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = 5, /* device */
    .state_bytes = sizeof(struct add_state),
    .init = add_init,
    .deinit = add_deinit,
    .describe = add_describe,
};

static int add(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
               uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct add_params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, &add_saga, &p, on_done, arg, ret_op);
}

/* ---- remove ------------------------------------------------------------------------------- */

struct remove_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct disk *disk; /* NULL: not begun, or over */
    struct uvm__command command;
    char path[UVM__MODIFY_PATH_BYTES];
};

/* The last of it. With the VM everything in it has gone. */
static void remove_over(struct remove_state *r, bool gone) {
    struct disk *d = r->disk;

    r->disk = NULL;
    uvm__resource_release(r->system, &d->resource, uvm__op_resolved(r->op));
    uvm__step_done(r->op, gone ? uvm__qemu_end_error(r->system, "cannot remove a disk") : NULL);
}

static void remove_on_fd(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    uvm_error_unref(take_err); /* refused: it is not there */
    remove_over(UVM__CONTAINER_OF(c, struct remove_state, command), how == UVM__COMMAND_GONE);
}

static void remove_on_node(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(c, struct remove_state, command);

    uvm_error_unref(take_err);
    if (how == UVM__COMMAND_GONE) {
        remove_over(r, true);
    } else if (how == UVM__COMMAND_REFUSED) {
        uvm__command_again(c); /* still in use, by what is under way */
    } else {
        put_remove_fd(c, r->disk);
        uvm__command_must(c, "remove-fd", remove_on_fd);
    }
}

static void remove_on_unplug(struct uvm__command *c, enum uvm__command_end how,
                             uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(c, struct remove_state, command);

    if (how == UVM__COMMAND_GONE) {
        remove_over(r, true);
    } else if (how == UVM__COMMAND_REFUSED) {
        r->disk->resource.state = UVM__RESOURCE_PRESENT; /* nothing has begun */
        r->disk = NULL;
        uvm__step_done(r->op, take_err);
    } else {
        put_node_del(c, r->disk);
        uvm__command_must(c, "blockdev-del", remove_on_node);
    }
}

static void remove_run(uvm_op *op, void *state) {
    struct remove_state *r = state;
    struct uvm__resource *found;
    struct uvm__fail f = {0};
    char name[32];
    int rc = uvm__resource_removing(r->system, r->path, &found, &f);

    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    r->disk = disk_of(found);
    put_name(r->disk, name, sizeof name);
    r->command.pace = &r->system->plugs[r->disk->controller_number];
    uvm__command_unplug(&r->command, name, remove_on_unplug);
}

/* Only while it waits for its turn: nothing has begun. */
static void remove_cancel(uvm_op *op, void *state) {
    struct remove_state *r = state;

    if (r->disk != NULL && uvm__command_withdraw(&r->command)) {
        r->disk->resource.state = UVM__RESOURCE_PRESENT;
        r->disk = NULL;
        uvm__step_done(op, uvm__scope_error(uvm__op_scope(op)));
    }
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    struct remove_state *r = state;

    r->op = op;
    memcpy(r->path, p->path, strlen(p->path) + 1);
    r->system = uvm__qemu_ref(p->system);
    uvm__command_init(&r->command, r->system, op);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *r = state;
    UVM_ASSERT(uvm__command_idle(&r->command) && r->disk == NULL);
    uvm__qemu_unref(r->system);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *r = state;
    (void)op;
    (void)step;
    snprintf(buf, bytes, "%s", r->path);
}

static const struct uvm__step remove_steps[] = {
    {.name = "unplug", .run = remove_run, .cancel = remove_cancel}};
static const struct uvm__saga remove_saga = {
    .name = "scsi remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .deadline_ms = UVM__UNPLUG_MS,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

static int remove_disk(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct add_params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, &remove_saga, &p, on_done, arg, ret_op);
}

const struct uvm__qemu_kind uvm__qemu_scsi = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_disk},
    .refused = {[UVM__MODIFY_UPDATE] =
                    "an attachment's image cannot be changed on QEMU; remove it and add another"},
};
