/* SPDX-License-Identifier: MIT
 * vpci.c — an assigned device: from a function to a device of the guest, and back.
 *
 *     Add      slot      the path is free; no other device of this VM is the function
 *              function  found on the host, with all that vfio needs (pci_function.h)
 *              port      a root port is free
 *              device    device_add
 *              offer     a guest that runs opens it, under the instance's GUID; others find it when they run.
 *                        What was done is undone from here backwards
 *     Remove   one step: rescinded, and the guest has closed it (its driver is unbound by then); device_del,
 *              DEVICE_DELETED; it only goes forward. A guest that does not close it keeps it: the Remove fails,
 *              and can be tried again
 *
 * The device is the guest's only after it was offered, and taken away only after it was let go of, so no driver of the
 * guest loses its device from under it. The undo of a device that a guest was offered keeps to that, too.
 */
#include "hcs/qemu/vpci.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "hcs/qemu/command.h"
#include "hcs/qemu/pci_function.h"
#include "hcs/qemu/resource.h"

#define REMOVE_MS (UVM__VMBUS_CLOSE_MS + UVM__UNDO_MS + UVM__UNPLUG_MS)

struct function {
    struct uvm__resource resource; /* first */
    uint64_t number;               /* in QEMU's name of it: vpci-7 */
    struct uvm__guid instance;
    struct uvm__pci_function fn;
    unsigned port;
    bool has_port;
};

static struct function *function_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct function, resource);
}

static void put_name(const struct function *x, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, "vpci-%" PRIu64, x->number);
}

static void give_port(struct uvm__qemu_system *s, struct function *x) {
    if (x->has_port) {
        x->has_port = false;
        uvm__qemu_port_give(&s->ports, x->port);
    }
}

/* ---- properties --------------------------------------------------------------------------- */

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct function *x = function_of((struct uvm__resource *)(uintptr_t)r);
    char location[UVM__VMBUS_LOCATION_BYTES] = "";

    if (x->has_port) {
        uvm__qemu_port_location(x->port, location);
    }
    return cJSON_AddStringToObject(to, "Function", uvm__pci_function_name(&x->fn)) != NULL &&
           cJSON_AddBoolToObject(to, "Emulated", x->fn.model != NULL) != NULL &&
           cJSON_AddStringToObject(to, "IommuGroup", x->fn.group) != NULL &&
           cJSON_AddStringToObject(to, "Location", location) != NULL;
}

static const struct uvm__resource_type function_type = {.name = "VirtualPci", .describe = describe};

/* ---- the guest's word --------------------------------------------------------------------- */

/* Takes the offer back and waits for the guest. `fn` runs once, perhaps inside: NULL: it has let go, or never
 * knew; else it has not, and may still. */
struct notice {
    struct uvm__qemu_system *system;
    struct uvm__guid instance;
    struct uvm__deadline again; /* no memory for the op: an undo has no other way */
    void (*fn)(struct notice *n, uvm_error *take_err);
};

static void notice_give(struct notice *n);

static void notice_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct notice *n = arg;
    (void)op;
    n->fn(n, err == NULL ? NULL : uvm_error_ref(err));
}

static void notice_again(struct uvm__deadline *d) {
    notice_give(UVM__CONTAINER_OF(d, struct notice, again));
}

/* Under no caller's scope: it bounds itself. */
static void notice_give(struct notice *n) {
    struct uvm__qemu_system *s = n->system;
    int rc = s->vmbus == NULL
                 ? -UVM_E_EXITED
                 : uvm__vmbus_rescind(s->vmbus, &n->instance, NULL, notice_done, n, NULL);

    if (rc == -UVM_E_NOMEM) {
        uvm__deadline_set(s->engine, &n->again, uvm__now_ms(s->engine) + UVM__MEMORY_RETRY_MS);
    } else if (rc < 0) {
        n->fn(n, NULL); /* not offered, or the VM has ended */
    }
}

static void notice_init(struct notice *n, struct uvm__qemu_system *s,
                        void (*fn)(struct notice *n, uvm_error *take_err)) {
    n->system = s;
    n->fn = fn;
    uvm__deadline_init(&n->again, notice_again);
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
    struct function *function; /* NULL: is the system's for good, or was released */
    int wrong;                 /* what the settings got wrong, and why */
    struct uvm__fail why;
    struct uvm__command command;
    struct notice notice;
};

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

/* A function can be one device only. */
static int check_shared(struct uvm__qemu_system *s, const struct function *x, struct uvm__fail *f) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type == &function_type && r != &x->resource &&
            uvm__pci_function_same(&function_of(r)->fn, &x->fn)) {
            return uvm__fail(f, UVM_E_EXISTS, 0, "pci %s: is the VM's already, as %s",
                             uvm__pci_function_name(&x->fn), r->path);
        }
    }
    return 0;
}

static void slot_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    int rc = a->wrong;

    rc = rc < 0 ? rc : uvm__resource_take(a->system, &a->function->resource, &a->why);
    fail_step(op, rc, &a->why);
}

static void slot_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct function *x = UVM_TAKE_PTR(a->function);

    uvm__resource_release(a->system, &x->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

/* What QEMU may do here. */
static struct uvm__pci_host host_of(const struct uvm__qemu_system *s) {
    struct uvm__pci_host host = {.sys = "/sys", .dev = "/dev", .uid = geteuid(), .gid = getegid()};
    struct rlimit limit;

    if (s->lease.drop) {
        host.uid = s->lease.uid;
        host.gid = s->lease.gid;
    }
    host.guest_bytes = (s->doc.vm.topology.memory.size_in_mb << 20) +
                       s->vpmem_count * uvm__qemu_vpmem_bytes(&s->doc);
    bool told = s->pid > 0 && prlimit(s->pid, RLIMIT_MEMLOCK, NULL, &limit) == 0;
    host.unlimited = host.uid == 0 || !told || limit.rlim_cur == RLIM_INFINITY;
    host.lock_bytes = told ? limit.rlim_cur : 0;
    return host;
}

static void function_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    const struct uvm__pci_host host = host_of(a->system);
    struct uvm__fail f = {0};
    int rc = uvm__pci_function_find(&host, &a->function->fn, &f);

    rc = rc < 0 ? rc : check_shared(a->system, a->function, &f);
    fail_step(op, rc, &f);
}

static void port_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct function *x = a->function;
    struct uvm__fail f = {0};
    char who[32];

    (void)snprintf(who, sizeof who, "pci %s", uvm__pci_function_name(&x->fn));
    int rc = uvm__qemu_port_take(&a->system->ports, who, &x->port, &f);
    x->has_port = rc == 0;
    fail_step(op, rc, &f);
}

static void port_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    give_port(a->system, a->function);
    uvm__undo_done(op, NULL);
}

/* QEMU's own words are in the detail, behind their class. */
static uvm_error *add_error(const struct add_state *a, uvm_error *take_err) {
    bool qemu = uvm_error_code(take_err) == UVM_E_PEER;
    const char *said = qemu ? strchr(uvm_error_detail(take_err), ' ') : NULL;
    uvm_error *err =
        uvm__error(a->system->engine, uvm_error_code(take_err), 0, "pci %s: %s%s%s",
                   uvm__pci_function_name(&a->function->fn), uvm_error_message(take_err),
                   said == NULL ? "" : ":", said == NULL ? "" : said);
    return uvm__error_cause(err, take_err);
}

static void add_on_command(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);

    if (how == UVM__COMMAND_GONE) {
        take_err = uvm__qemu_end_error(a->system, "cannot attach a PCI function");
    }
    uvm__step_done(a->op, take_err == NULL ? NULL : add_error(a, take_err));
}

static void device_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    const struct function *x = a->function;
    char name[32];

    (void)op;
    put_name(x, name, sizeof name);
    uvm__pci_function_device(&x->fn, name, x->port, a->command.arguments);
    uvm__command_send(&a->command, "device_add", -1, add_on_command);
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

/* A guest that does not answer the notice loses the device all the same: nobody here wants it to have it. */
static void undo_on_notice(struct notice *n, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(n, struct add_state, notice);
    char name[32];

    uvm_error_unref(take_err);
    put_name(a->function, name, sizeof name);
    uvm__command_unplug(&a->command, name, undo_on_unplug);
}

static void device_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    (void)op;
    notice_give(&a->notice);
}

static void offer_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct add_state *a = arg;

    (void)child;
    err = uvm__qemu_offer_error(err);
    uvm__step_done(a->op, err == NULL ? NULL : add_error(a, uvm_error_ref(err)));
}

static void offer_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__qemu_system *s = a->system;
    struct uvm__vmbus_device device = {.kind = UVM__VMBUS_VPCI, .instance = a->function->instance};
    bool runs = s->state == UVM__QEMU_RUNNING;

    uvm__qemu_port_location(a->function->port, device.location);
    int rc = s->vmbus == NULL ? -UVM_E_EXITED
             : runs ? uvm__vmbus_offer(s->vmbus, &device, uvm__op_scope(op), offer_done, a, NULL)
                    : uvm__vmbus_present(s->vmbus, &device);
    if (rc < 0 || !runs) {
        uvm__step_done(op, rc == 0
                               ? NULL
                               : uvm__error(s->engine, (enum uvm_error_code)(-rc), 0,
                                            "pci %s: device %s cannot be offered to the guest%s",
                                            uvm__pci_function_name(&a->function->fn),
                                            a->function->resource.path,
                                            rc == -UVM_E_EXISTS ? ": its GUID is in use" : ""));
    }
}

static void present_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    a->function->resource.state = UVM__RESOURCE_PRESENT;
    a->function = NULL;
    uvm__step_done(op, NULL);
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    const struct uvm__doc_vpci_function *set = p->request->settings.vpci.functions;
    struct add_state *a = state;
    struct function *x = uvm__zalloc(p->system->engine, sizeof *x);

    if (x == NULL) {
        return -UVM_E_NOMEM;
    }
    int rc = uvm__guid_read(p->request->guid, strlen(p->request->guid), &x->instance);
    UVM_ASSERT(rc == 0); /* by the reader */
    uvm__list_init(&x->resource.link);
    x->resource.type = &function_type;
    memcpy(x->resource.path, p->path, strlen(p->path) + 1);
    x->number = ++p->system->resource_number;
    a->wrong =
        uvm__pci_function_read(set->device_instance_path, set->virtual_function, &x->fn, &a->why);
    a->function = x;
    a->op = op;
    a->system = uvm__qemu_ref(p->system);
    uvm__command_init(&a->command, a->system, op);
    notice_init(&a->notice, a->system, undo_on_notice);
    a->notice.instance = x->instance;
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;

    UVM_ASSERT(uvm__command_idle(&a->command) && !a->notice.again.linked);
    if (a->function != NULL) {
        UVM_ASSERT(!a->function->has_port && !uvm__list_linked(&a->function->resource.link));
        uvm__free(a->system->engine, a->function);
    }
    uvm__qemu_unref(a->system);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", a->function == NULL ? "" : a->function->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "slot", .run = slot_run, .undo = slot_undo},
    {.name = "function", .run = function_run},
    {.name = "port", .run = port_run, .undo = port_undo},
    {.name = "device", .run = device_run, .undo = device_undo},
    {.name = "offer", .run = offer_run, .child = true},
    {.name = "present", .run = present_run},
};
static const struct uvm__saga add_saga = {
    .name = "vpci add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = 4, /* offer */
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
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct function *function; /* NULL: not begun, or over */
    struct uvm__command command;
    struct notice notice;
    char path[UVM__MODIFY_PATH_BYTES];
};

static void keep(struct remove_state *r, uvm_error *take_err) {
    UVM_TAKE_PTR(r->function)->resource.state = UVM__RESOURCE_PRESENT;
    uvm__step_done(r->op, take_err);
}

static void remove_on_unplug(struct uvm__command *c, enum uvm__command_end how,
                             uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(c, struct remove_state, command);

    if (how == UVM__COMMAND_REFUSED) {
        keep(r, take_err);
        return;
    }
    struct function *x = UVM_TAKE_PTR(r->function);
    bool gone = how == UVM__COMMAND_GONE;
    give_port(r->system, x);
    uvm__resource_release(r->system, &x->resource, uvm__op_resolved(r->op));
    uvm__step_done(r->op,
                   gone ? uvm__qemu_end_error(r->system, "cannot remove a PCI function") : NULL);
}

static void remove_on_notice(struct notice *n, uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(n, struct remove_state, notice);
    char name[32];

    if (take_err != NULL) {
        uvm_error *err =
            uvm__error(r->system->engine, UVM_E_PEER, 0,
                       "pci %s: the guest does not let go of it; a driver or a process "
                       "there may be using it, try again later",
                       uvm__pci_function_name(&r->function->fn));
        keep(r, uvm__error_cause(err, take_err));
        return;
    }
    put_name(r->function, name, sizeof name);
    uvm__command_unplug(&r->command, name, remove_on_unplug);
}

static void remove_run(uvm_op *op, void *state) {
    struct remove_state *r = state;
    struct uvm__resource *found;
    struct uvm__fail f = {0};
    int rc = uvm__resource_removing(r->system, r->path, &found, &f);

    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    r->function = function_of(found);
    r->notice.instance = r->function->instance;
    notice_give(&r->notice);
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    struct remove_state *r = state;

    r->op = op;
    memcpy(r->path, p->path, strlen(p->path) + 1);
    r->system = uvm__qemu_ref(p->system);
    uvm__command_init(&r->command, r->system, op);
    notice_init(&r->notice, r->system, remove_on_notice);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *r = state;

    UVM_ASSERT(uvm__command_idle(&r->command) && !r->notice.again.linked && r->function == NULL);
    uvm__qemu_unref(r->system);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *r = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", r->path);
}

static const struct uvm__step remove_steps[] = {{.name = "unplug", .run = remove_run}};
static const struct uvm__saga remove_saga = {
    .name = "vpci remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .deadline_ms = REMOVE_MS,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

static int remove_function(struct uvm__qemu_system *s, const struct uvm__modify *m,
                           uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &remove_saga, m, scope, on_done, arg, ret_op);
}

const struct uvm__qemu_kind uvm__qemu_vpci = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_function},
    .refused = {[UVM__MODIFY_UPDATE] =
                    "an assigned device cannot be changed; remove it and add another"},
};

int uvm__qemu_vpci_check(const struct uvm__doc_vpci *v, struct uvm__fail *f) {
    struct uvm__pci_function ignored;
    UVM_ASSERT_CMP(v->functions_count, ==, 1); /* by the reader */
    return uvm__pci_function_read(v->functions[0].device_instance_path,
                                  v->functions[0].virtual_function, &ignored, f);
}
