/* SPDX-License-Identifier: MIT
 * vsmb.c — a shared folder, or some files of it: shown to the VM's file server, and hidden again.
 *
 *     Add      slot     the name is free
 *              server   the file server of the share's mode is there (share_server.h)
 *              view     uvm-view shows it the folder as /NAME, read-only by the kernel where that is asked for
 *     Remove   one step: uvm-view takes the folder out, and the last of a mode ends the server. While the guest has
 *              something of it open, that is refused: it is tried for UVM__SHARE_BUSY_MS, since what the guest forgets
 *              takes a moment to arrive, and then nothing has happened. After it the removal only goes forward
 *
 * A name is never shown twice at once, so that whoever still has the name of an old share finds nothing.
 */
#include "hcs/qemu/vsmb.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "hcs/qemu/resource.h"
#include "hcs/qemu/share_server.h"
#include "hcs/qemu/share_view.h"

#define BUSY_AGAIN_MS 10u

struct share {
    struct uvm__resource resource;    /* first */
    struct uvm__share_server *server; /* that it uses; NULL: none */
    struct uvm__doc_vsmb_share set;   /* its strings are behind */
    char text[];
};

static struct share *share_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct share, resource);
}

/* ---- properties --------------------------------------------------------------------------- */

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct share *h = share_of((struct uvm__resource *)(uintptr_t)r);
    bool lost = h->server != NULL && uvm__share_server_dead(h->server);

    return cJSON_AddStringToObject(to, "Name", h->set.name) != NULL &&
           cJSON_AddStringToObject(to, "Path", h->set.path) != NULL &&
           cJSON_AddBoolToObject(to, "ReadOnly", h->set.options.read_only) != NULL &&
           cJSON_AddBoolToObject(to, "Lost", lost) != NULL;
}

static const struct uvm__resource_type share_type = {.name = "VirtualSmb", .describe = describe};

int uvm__qemu_location(struct uvm__hcs_system *base, const char *resource,
                       char ret[UVM__HCS_LOCATION_BYTES]) {
    struct uvm__resource *r = uvm__resource_find(uvm__qemu_system_of(base), resource);

    if (r == NULL || r->type != &share_type || share_of(r)->server == NULL) {
        return -UVM_E_NOTFOUND;
    }
    (void)snprintf(ret, UVM__HCS_LOCATION_BYTES, "%s", uvm__share_server_tag(share_of(r)->server));
    return 0;
}

/* ---- what is asked ------------------------------------------------------------------------ */

/* Hints for the caches of an SMB client say nothing to virtio-fs; what would change who may do what does. */
const char *uvm__qemu_vsmb_refused(const struct uvm__doc_vsmb_options *o, const char **ret_why) {
    const struct {
        bool found;
        const char *option, *why;
    } rows[] = {
        {o->take_backup_privilege, "Options.TakeBackupPrivilege", "it is Windows'"},
        {o->use_share_root_identity, "Options.UseShareRootIdentity",
         "files are served with the guest's own users"},
        {o->no_locks, "Options.NoLocks", "locks are the guest's own"},
        {o->vm_shared_memory, "Options.VmSharedMemory", "it is Hyper-V's"},
        {o->reparse_base_layer, "Options.ReparseBaseLayer", "it is Windows'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].found) {
            *ret_why = rows[i].why;
            return rows[i].option;
        }
    }
    return NULL;
}

static size_t text_bytes(const struct uvm__doc_vsmb_share *set) {
    size_t bytes = strlen(set->name) + strlen(set->path) + 2 +
                   set->allowed_files_count * sizeof(char *) + sizeof(char *);

    for (size_t i = 0; i < set->allowed_files_count; i++) {
        bytes += strlen(set->allowed_files[i]) + 1;
    }
    return bytes;
}

static char *put(char **at, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = *at;

    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

static struct share *new_share(struct uvm__qemu_system *s, const struct uvm__doc_vsmb_share *set,
                               const char *path) {
    struct share *h = uvm__zalloc(s->engine, sizeof *h + text_bytes(set));

    if (h == NULL) {
        return NULL;
    }
    const char **files = (const char **)(void *)h->text; /* aligned: the struct ends in pointers */
    char *at = h->text + set->allowed_files_count * sizeof *files;
    uvm__list_init(&h->resource.link);
    h->resource.type = &share_type;
    memcpy(h->resource.path, path, strlen(path) + 1);
    h->set = *set;
    h->set.name = put(&at, set->name);
    h->set.path = put(&at, set->path);
    for (size_t i = 0; i < set->allowed_files_count; i++) {
        files[i] = put(&at, set->allowed_files[i]);
    }
    h->set.allowed_files = files;
    return h;
}

/* What uvm-view said, as an error. */
static uvm_error *view_error(const struct uvm__view *v, const struct share *h) {
    static const enum uvm_error_code codes[] = {
        [UVM__VIEW_DONE] = UVM_E_HOST,        [UVM__VIEW_FAILED] = UVM_E_HOST,
        [UVM__VIEW_NO_PATH] = UVM_E_NOTFOUND, [UVM__VIEW_WRONG] = UVM_E_INVAL,
        [UVM__VIEW_BUSY] = UVM_E_PEER,        [UVM__VIEW_NO_SERVER] = UVM_E_HOST,
    };
    return uvm__error(v->engine, codes[v->status], 0, "share %s: %s", h->set.name, v->text);
}

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

/* ---- add ---------------------------------------------------------------------------------- */

struct params {
    struct uvm__qemu_system *system;
    const struct uvm__modify *request;
    const char *path;
};

struct add_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct share *share; /* NULL: is the system's for good, or was released */
    const char *refused, *why;
    bool undoing;
    struct uvm__share_wait wait;
    struct uvm__view view;
    struct uvm__deadline again;
};

static void slot_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__fail f = {0};
    int rc = a->refused == NULL
                 ? uvm__resource_take(a->system, &a->share->resource, &f)
                 : uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "Settings.%s: %s", a->refused, a->why);

    fail_step(op, rc, &f);
}

static void slot_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    uvm__resource_release(a->system, &UVM_TAKE_PTR(a->share)->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

static void on_server(struct uvm__share_wait *w, const uvm_error *err) {
    struct add_state *a = UVM__CONTAINER_OF(w, struct add_state, wait);

    if (a->undoing) {
        uvm__undo_done(a->op, NULL);
        return;
    }
    if (err != NULL) {
        a->share->server = NULL;
    }
    uvm__step_done(a->op, err == NULL ? NULL : uvm_error_ref(err));
}

static void server_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__fail f = {0};
    int rc = uvm__share_server_use(a->system, a->share->set.options.read_only, &a->wait,
                                   &a->share->server);

    if (rc == 0) {
        return;
    }
    if (rc < 0) {
        (void)uvm__fail(&f, UVM_E_NOMEM, 0, "share %s: out of memory", a->share->set.name);
    }
    fail_step(op, rc < 0 ? rc : 0, &f);
}

/* It waits no more, and its undo gives back what it uses. */
static void server_cancel(uvm_op *op, void *state) {
    struct add_state *a = state;

    uvm__step_armed(op);
    uvm__list_remove(&a->wait.link);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

static void server_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__share_server *v = UVM_TAKE_PTR(a->share->server);

    a->undoing = true;
    if (v == NULL || uvm__share_server_drop(v, &a->wait)) {
        uvm__undo_done(op, NULL);
    }
}

static void view_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct share *h = a->share;

    if (uvm__share_server_dead(h->server)) {
        struct uvm__fail f = {0};
        fail_step(op, uvm__fail(&f, UVM_E_HOST, 0, "share %s: its server has ended", h->set.name),
                  &f);
        return;
    }
    uvm__step_armed(op);
    uvm__view_add(&a->view, a->system->service->launch_path, uvm__share_server_pid(h->server),
                  &h->set);
}

static void view_cancel(uvm_op *op, void *state) {
    struct add_state *a = state;
    (void)op;
    uvm__view_stop(&a->view);
}

static void hide(struct add_state *a) {
    struct share *h = a->share;

    if (uvm__share_server_dead(h->server)) {
        uvm__undo_done(a->op, NULL);
        return;
    }
    uvm__view_remove(&a->view, a->system->service->launch_path, uvm__share_server_pid(h->server),
                     h->set.name);
}

static void view_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    (void)op;
    a->undoing = true;
    hide(a);
}

static void add_again(struct uvm__deadline *d) {
    hide(UVM__CONTAINER_OF(d, struct add_state, again));
}

static void add_on_view(struct uvm__view *v) {
    struct add_state *a = UVM__CONTAINER_OF(v, struct add_state, view);
    uvm_engine *e = a->system->engine;

    if (!a->undoing) {
        uvm__step_done(a->op, v->status == UVM__VIEW_DONE ? NULL : view_error(v, a->share));
    } else if (v->status == UVM__VIEW_DONE || v->status == UVM__VIEW_NO_SERVER) {
        uvm__undo_done(a->op, NULL);
    } else { /* no guest was told of it, so it is not for long */
        uvm__deadline_set(e, &a->again, uvm__now_ms(e) + UVM__MEMORY_RETRY_MS);
    }
}

static void present_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    UVM_TAKE_PTR(a->share)->resource.state = UVM__RESOURCE_PRESENT;
    uvm__step_done(op, NULL);
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct params *p = params;
    struct add_state *a = state;

    a->share = new_share(p->system, &p->request->settings.vsmb, p->path);
    if (a->share == NULL) {
        return -UVM_E_NOMEM;
    }
    a->refused = uvm__qemu_vsmb_refused(&p->request->settings.vsmb.options, &a->why);
    a->op = op;
    a->system = uvm__qemu_ref(p->system);
    a->wait.fn = on_server;
    uvm__list_init(&a->wait.link);
    uvm__view_init(&a->view, p->system->engine, add_on_view);
    uvm__deadline_init(&a->again, add_again);
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;

    UVM_ASSERT(!uvm__view_runs(&a->view));
    if (a->share != NULL) {
        UVM_ASSERT(a->share->server == NULL && !uvm__list_linked(&a->share->resource.link));
        uvm__free(a->system->engine, a->share);
    }
    uvm__deadline_clear(a->system->engine, &a->again);
    uvm__qemu_unref(a->system);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", a->share == NULL ? "" : a->share->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "slot", .run = slot_run, .undo = slot_undo},
    {.name = "server", .run = server_run, .cancel = server_cancel, .undo = server_undo},
    {.name = "view", .run = view_run, .cancel = view_cancel, .undo = view_undo},
    {.name = "present", .run = present_run},
};
static const struct uvm__saga add_saga = {
    .name = "vsmb add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = 2, /* view */
    .state_bytes = sizeof(struct add_state),
    .init = add_init,
    .deinit = add_deinit,
    .describe = add_describe,
};

/* ---- remove ------------------------------------------------------------------------------- */

struct remove_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct share *share; /* NULL: not begun, or over */
    struct uvm__share_wait wait;
    struct uvm__view view;
    struct uvm__deadline again;
    uint64_t until_ms; /* of tries */
    char path[UVM__MODIFY_PATH_BYTES];
};

static void remove_over(struct remove_state *r) {
    uvm__resource_release(r->system, &UVM_TAKE_PTR(r->share)->resource, uvm__op_resolved(r->op));
    uvm__step_done(r->op, NULL);
}

static void remove_on_server(struct uvm__share_wait *w, const uvm_error *err) {
    (void)err;
    remove_over(UVM__CONTAINER_OF(w, struct remove_state, wait));
}

static void drop_server(struct remove_state *r) {
    if (uvm__share_server_drop(UVM_TAKE_PTR(r->share->server), &r->wait)) {
        remove_over(r);
    }
}

static void try_to_hide(struct remove_state *r) {
    struct share *h = r->share;

    if (uvm__share_server_dead(h->server)) {
        drop_server(r); /* nobody sees anything any more */
    } else {
        uvm__view_remove(&r->view, r->system->service->launch_path,
                         uvm__share_server_pid(h->server), h->set.name);
    }
}

static void remove_again(struct uvm__deadline *d) {
    try_to_hide(UVM__CONTAINER_OF(d, struct remove_state, again));
}

static void remove_on_view(struct uvm__view *v) {
    struct remove_state *r = UVM__CONTAINER_OF(v, struct remove_state, view);
    uvm_engine *e = r->system->engine;
    uint64_t now_ms = uvm__now_ms(e);

    if (v->status == UVM__VIEW_DONE || v->status == UVM__VIEW_NO_SERVER) {
        drop_server(r);
    } else if (now_ms < r->until_ms) {
        uvm__deadline_set(e, &r->again, now_ms + BUSY_AGAIN_MS);
    } else {
        struct share *h = UVM_TAKE_PTR(r->share);
        h->resource.state = UVM__RESOURCE_PRESENT; /* it can be removed again */
        uvm__step_done(r->op, v->status == UVM__VIEW_BUSY
                                  ? uvm__error(e, UVM_E_PEER, 0,
                                               "share %s: the guest still has files of it open",
                                               h->set.name)
                                  : view_error(v, h));
    }
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
    r->share = share_of(found);
    r->until_ms = uvm__now_ms(r->system->engine) + UVM__SHARE_BUSY_MS;
    try_to_hide(r);
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct params *p = params;
    struct remove_state *r = state;

    r->op = op;
    memcpy(r->path, p->path, strlen(p->path) + 1);
    r->system = uvm__qemu_ref(p->system);
    r->wait.fn = remove_on_server;
    uvm__list_init(&r->wait.link);
    uvm__view_init(&r->view, p->system->engine, remove_on_view);
    uvm__deadline_init(&r->again, remove_again);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *r = state;
    UVM_ASSERT(!uvm__view_runs(&r->view) && r->share == NULL);
    uvm__qemu_unref(r->system);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *r = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", r->path);
}

static const struct uvm__step remove_steps[] = {{.name = "hide", .run = remove_run}};
static const struct uvm__saga remove_saga = {
    .name = "vsmb remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .deadline_ms = UVM__UNPLUG_MS,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

/* ---- the kind ----------------------------------------------------------------------------- */

static int start(struct uvm__qemu_system *s, const struct uvm__saga *saga,
                 const struct uvm__modify *m, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                 uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, saga, &p, on_done, arg, ret_op);
}

static int add(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
               uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &add_saga, m, scope, on_done, arg, ret_op);
}

static int remove_share(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &remove_saga, m, scope, on_done, arg, ret_op);
}

const struct uvm__qemu_kind uvm__qemu_vsmb = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_share},
    .refused = {[UVM__MODIFY_UPDATE] =
                    "a share's files cannot be changed on QEMU; remove it and add another"},
};
