/* SPDX-License-Identifier: MIT
 * plan9.c — see plan9.h.
 *
 *     Add      folder   the name is free; folder and files opened, so that nothing else can be meant later
 *              server   diod started with one end of a socket pair. Undo ends it
 *              port     listened on
 *     Remove   one step: port closed, streams reset, diod killed; done when the process is gone
 *
 * diod follows what names the guest sends, through links that the guest made: its root is the only thing that
 * keeps it in. What is read-only is so twice, by diod's configuration and by the mount.
 * A diod that shall go is killed: what the guest was told to be written was given to the kernel before.
 */
#include "hcs/qemu/plan9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "async/log.h"
#include "async/sock.h"
#include "hcs/qemu/plan9_server.h"
#include "hcs/qemu/resource.h"
#include "hvsock/hvsock.h"
#include "hvsock/join.h"

struct share {
    struct uvm__resource resource; /* first */
    struct uvm__qemu_system *system;
    int folder; /* what is shared, O_PATH; -1: the server has it */
    bool read_only;
    struct uvm__plan9_file *files; /* the engine's, names behind it; NULL: all of the folder */
    size_t files_count;
    uint32_t port;
    struct uvm__listener *listener; /* NULL: the port refuses */
    struct uvm__child *child;       /* NULL: none, or taken to be closed */
    bool closing;                   /* it is */
    bool broken;                    /* it ended although the share was in use */
    int socket;                     /* our end of its pair until it is joined; -1: none */
    struct uvm__join *join;
    uvm_op *starting; /* the step that waits for the start */
    void (*gone)(
        struct share *); /* who waits for the end of the process: an undo, or a removal … */
    uvm_op *gone_op;
    void (*part_closed)(void *arg); /* … and the system, which closes */
    char file[];                    /* the folder's path */
};

static const struct uvm__resource_type share_type;

static struct share *share_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct share, resource);
}

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

/* ---- properties --------------------------------------------------------------------------- */

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct share *h = share_of((struct uvm__resource *)(uintptr_t)r);
    const char *state = h->broken             ? "Broken"
                        : h->join != NULL     ? "Mounted"
                        : h->listener != NULL ? "Waiting"
                                              : "Idle";

    return uvm__json_add_u64(to, "Port", h->port) != NULL &&
           cJSON_AddStringToObject(to, "Path", h->file) != NULL &&
           cJSON_AddBoolToObject(to, "ReadOnly", h->read_only) != NULL &&
           cJSON_AddStringToObject(to, "Server", state) != NULL &&
           (h->child == NULL ||
            uvm__json_add_u64(to, "ServerPid", (uint64_t)uvm__child_pid(h->child)) != NULL);
}

static const struct uvm__resource_type share_type = {.name = "Plan9", .describe = describe};

/* ---- the end of a server ------------------------------------------------------------------ */

static void on_child_closed(void *arg) {
    struct share *h = arg;
    struct uvm__qemu_system *s = h->system;
    void (*part_closed)(void *) = UVM_TAKE_PTR(h->part_closed);
    void (*gone)(struct share *) = UVM_TAKE_PTR(h->gone);

    h->closing = false;
    if (gone != NULL) {
        gone(h); /* may free it */
    }
    if (part_closed != NULL) {
        part_closed(s); /* may free the system, and it */
    }
}

static void close_child(struct share *h) {
    struct uvm__child *child = UVM_TAKE_PTR(h->child);

    if (child != NULL) {
        h->closing = true;
        uvm__child_close(child, on_child_closed, h);
    }
}

static void close_files(struct share *h) {
    uvm__close_fd(&h->folder);
    for (size_t i = 0; i < h->files_count; i++) {
        uvm__close_fd(&h->files[i].fd);
    }
    uvm__free(h->system->engine, UVM_TAKE_PTR(h->files));
    h->files_count = 0;
}

/* Whatever it has, but its path. */
static void hang_up(struct share *h) {
    uvm__listener_close(UVM_TAKE_PTR(h->listener));
    uvm__join_free(UVM_TAKE_PTR(h->join));
    uvm__close_fd(&h->socket);
    close_files(h);
    close_child(h);
}

/* Hangs up; `gone` runs when no process is left, which may be now. */
static void end_server(struct share *h, uvm_op *op, void (*gone)(struct share *)) {
    hang_up(h);
    h->gone_op = op;
    if (h->closing) {
        h->gone = gone;
    } else {
        gone(h);
    }
}

unsigned uvm__qemu_plan9_close(struct uvm__qemu_system *s, void (*on_closed)(void *arg)) {
    struct uvm__list *it;
    unsigned count = 0;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type != &share_type) {
            continue;
        }
        struct share *h = share_of(r);
        uvm_op *starting = UVM_TAKE_PTR(h->starting);
        hang_up(h);
        if (h->closing) {
            h->part_closed = on_closed;
            count++;
        }
        if (starting != NULL) {
            uvm__step_done(starting, uvm__qemu_end_error(s, "cannot share a folder"));
        }
    }
    return count;
}

/* ---- the server and its stream ------------------------------------------------------------ */

/* One end of the three ends all: the guest's stream, the server, the removal. */
static void on_joined_end(struct uvm__join *j, bool guest_ended, void *arg) {
    struct share *h = arg;

    UVM_ASSERT(h->join == j);
    uvm__join_free(UVM_TAKE_PTR(h->join));
    h->broken = h->broken || !guest_ended;
}

/* Once only: the listener has closed itself. */
static void on_dial(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    struct share *h = arg;
    struct uvm__qemu_system *s = h->system;
    struct uvm__stream *server = NULL;
    int fd = UVM_TAKE_FD(h->socket);

    UVM_ASSERT(h->listener == l && h->join == NULL && fd >= 0);
    uvm__listener_close(UVM_TAKE_PTR(h->listener));
    int rc = uvm__stream_from_fds(s->engine, fd, fd, &server);
    if (rc < 0) {
        uvm__stream_reset(take_stream);
    } else {
        rc = uvm__join_new(s->engine, take_stream, server, on_joined_end, h, &h->join);
    }
    if (rc < 0) {
        h->broken = true;
        uvm__log(s->engine, UVM_LOG_WARN, s->name, "%s: the guest's dial could not be served",
                 h->resource.path);
    }
}

static void on_server_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct share *h = arg;
    uvm_engine *e = h->system->engine;
    uvm_op *op = UVM_TAKE_PTR(h->starting);

    (void)c;
    if (op == NULL) {
        return;
    }
    close_files(h); /* it has it */
    if (err == NULL) {
        uvm__step_done(op, NULL);
        return;
    }
    int sys = (int)uvm_error_sys(err);
    uvm__step_done(op, uvm__error_cause(uvm__error(e, UVM_E_HOST, sys,
                                                   "share %.140s: its server cannot be started "
                                                   "(%s: %s)",
                                                   h->file, uvm_error_step(err), strerror(sys)),
                                        uvm_error_ref(err)));
}

/* Expected when the guest has unmounted; else the share is lost. */
static void on_server_exit(struct uvm__child *c, int status, void *arg) {
    struct share *h = arg;
    struct uvm__qemu_system *s = h->system;
    char how[64], said[256] = "";

    (void)uvm__child_stderr(c, said, sizeof said);
    uvm__child_status_text(status, how, sizeof how);
    if (h->join != NULL || h->listener != NULL || h->broken) {
        h->broken = true;
        uvm__log(s->engine, UVM_LOG_WARN, s->name,
                 "%s: the server of %.140s ended (%s)%s%s; the share is lost, detach it",
                 h->resource.path, h->file, how, said[0] == '\0' ? "" : ": ", said);
    }
    uvm__listener_close(UVM_TAKE_PTR(h->listener));
    close_child(h);
}

/* ---- add ---------------------------------------------------------------------------------- */

struct add_state {
    struct share *share; /* until it is the system's for good, or was released */
    struct uvm__qemu_system *system;
    const char *refused, *why; /* a field that cannot be honoured; NULL: none. Static */
    char name[UVM__DOC_SHARE_NAME_BYTES_MAX + 1];
};

const char *uvm__qemu_plan9_refused(const struct uvm__doc_plan9_share *s, const char **ret_why) {
    const uint64_t known = UVM__DOC_PLAN9_READ_ONLY | UVM__DOC_PLAN9_LINUX_METADATA |
                           UVM__DOC_PLAN9_CASE_SENSITIVE | UVM__DOC_PLAN9_RESTRICT_FILES;

    if ((s->flags & UVM__DOC_PLAN9_ROOT_IDENTITY) != 0) {
        *ret_why = "0x10 (UseShareRootIdentity) is not supported on QEMU";
        return "Flags";
    }
    if ((s->flags & UVM__DOC_PLAN9_UNLIMITED_CONNECTIONS) != 0) {
        *ret_why = "0x100 (UnlimitedConnections) is not supported on QEMU: a share has one";
        return "Flags";
    }
    if ((s->flags & ~known) != 0) {
        *ret_why = "only 0x1 (ReadOnly), 0x4 (LinuxMetadata), 0x8 (CaseSensitive) and 0x80 "
                   "(RestrictFileAccess) are supported on QEMU";
        return "Flags";
    }
    if (s->port != UVM__PORT_PLAN9 &&
        (s->port < UVM__PORT_PLAN9_FIRST || s->port > UVM__PORT_PLAN9_LAST)) {
        *ret_why = "must be 564, or one from 0x30000000 to 0x3000ffff, on QEMU";
        return "Port";
    }
    if (strspn(s->access_name, "0123456789") != strlen(s->access_name)) {
        *ret_why = "must be a decimal number on QEMU"; /* it is a folder beside /usr there */
        return "AccessName";
    }
    if (s->allowed_files_count > UVM__PLAN9_FILES_MAX) {
        *ret_why = "more than 128 are not supported on QEMU";
        return "AllowedFiles";
    }
    return NULL;
}

static int check_port(struct uvm__qemu_system *s, const struct share *h, struct uvm__fail *f) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type == &share_type && r != &h->resource && share_of(r)->port == h->port) {
            return uvm__fail(f, UVM_E_EXISTS, 0, "Settings.Port: %u is %s's; a share has its own",
                             h->port, r->path);
        }
    }
    return 0;
}

static int cannot_open(const struct share *h, const char *name, struct uvm__fail *f) {
    int err = errno;

    return uvm__fail(f,
                     err == ENOENT    ? UVM_E_NOTFOUND
                     : err == ENOTDIR ? UVM_E_INVAL
                                      : UVM_E_IO,
                     err, "share %.140s%s%.100s: %s", h->file, name[0] == '\0' ? "" : ": ", name,
                     err == ENOTDIR ? "no folder" : strerror(err));
}

/* No link is followed: the guest may have put it there when it had the folder. */
static int open_file(const struct share *h, struct uvm__plan9_file *file, struct uvm__fail *f) {
    struct stat st;

    file->fd = openat(h->folder, file->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &st) < 0) {
        return cannot_open(h, file->name, f);
    }
    return S_ISREG(st.st_mode)
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0, "share %.140s: %.100s: %s", h->file, file->name,
                           S_ISLNK(st.st_mode) ? "is a symbolic link; name the file itself"
                                               : "no regular file");
}

static int open_all(struct share *h, struct uvm__fail *f) {
    h->folder = open(h->file, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = h->folder < 0 ? cannot_open(h, "", f) : 0;

    for (size_t i = 0; rc == 0 && i < h->files_count; i++) {
        rc = open_file(h, &h->files[i], f);
    }
    return rc;
}

static void folder_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct share *h = a->share;
    struct uvm__fail f = {0};
    int rc = a->refused == NULL
                 ? 0
                 : uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "Settings.%s: %s", a->refused, a->why);

    rc = rc < 0 ? rc : uvm__resource_take(a->system, &h->resource, &f);
    if (rc == 0) {
        rc = check_port(a->system, h, &f);
        rc = rc < 0 ? rc : open_all(h, &f);
        if (rc < 0) {
            uvm__list_remove(&h->resource.link);
        }
    }
    fail_step(op, rc, &f);
}

static void folder_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct share *h = UVM_TAKE_PTR(a->share);

    close_files(h);
    uvm__resource_release(a->system, &h->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

static void server_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct share *h = a->share;
    struct uvm__qemu_system *s = a->system;
    struct uvm__fail f = {0};
    const struct uvm__plan9_server params = {.launch_path = s->service->launch_path,
                                             .search_path = s->service->search_path,
                                             .cgroup = s->cgroup.path,
                                             .name = a->name,
                                             .folder = h->folder,
                                             .files = h->files,
                                             .files_count = h->files_count,
                                             .read_only = h->read_only,
                                             .on_started = on_server_started,
                                             .on_exit = on_server_exit,
                                             .arg = h};

    if (s->closing || s->state == UVM__QEMU_ENDED) {
        uvm__step_done(op, uvm__qemu_end_error(s, "cannot share a folder"));
        return;
    }
    uvm__step_armed(op);
    int rc = uvm__plan9_server_spawn(s->engine, &params, &h->child, &h->socket, &f);
    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    h->starting = op;
}

static void server_gone(struct share *h) {
    uvm__undo_done(UVM_TAKE_PTR(h->gone_op), NULL);
}

static void server_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    end_server(a->share, op, server_gone);
}

static void port_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct share *h = a->share;
    struct uvm__qemu_system *s = a->system;
    struct uvm__fail f = {0};
    const struct uvm__listen_params params = {
        .port = h->port, .once = true, .on_accept = on_dial, .arg = h};

    if (s->base.hvsock == NULL || h->child == NULL || uvm__child_exited(h->child)) {
        uvm__step_done(op, s->base.hvsock == NULL
                               ? uvm__qemu_end_error(s, "cannot share a folder")
                               : uvm__error(s->engine, UVM_E_HOST, 0,
                                            "share %.140s: its server ended at once", h->file));
        return;
    }
    int rc = uvm__hvsock_listen(s->base.hvsock, &params, &h->listener);
    if (rc < 0) {
        (void)uvm__fail(&f, (enum uvm_error_code) - rc, 0, "Settings.Port: %u is taken", h->port);
    } else {
        a->share = NULL;
        h->resource.state = UVM__RESOURCE_PRESENT;
    }
    fail_step(op, rc, &f);
}

struct add_params {
    struct uvm__qemu_system *system;
    const struct uvm__modify *request;
    const char *path;
};

/* Their names, for as long as the op needs them; nothing is opened yet. */
static int copy_files(struct share *h, const struct uvm__doc_plan9_share *set) {
    size_t count = set->allowed_files_count, bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += strlen(set->allowed_files[i]) + 1;
    }
    if (count == 0) {
        return 0;
    }
    h->files = uvm__zalloc(h->system->engine, count * sizeof *h->files + bytes);
    if (h->files == NULL) {
        return -UVM_E_NOMEM;
    }
    char *at = (char *)(h->files + count);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(set->allowed_files[i]) + 1;
        h->files[i] = (struct uvm__plan9_file){-1, memcpy(at, set->allowed_files[i], n)};
        at += n;
    }
    h->files_count = count;
    return 0;
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    const struct uvm__doc_plan9_share *set = &p->request->settings.plan9;
    struct add_state *a = state;
    size_t bytes = strlen(set->path) + 1;
    struct share *h = uvm__zalloc(p->system->engine, sizeof *h + bytes);

    (void)op;
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    h->system = p->system;
    if (copy_files(h, set) < 0) {
        uvm__free(p->system->engine, h);
        return -UVM_E_NOMEM;
    }
    a->refused = uvm__qemu_plan9_refused(set, &a->why);
    (void)snprintf(a->name, sizeof a->name, "%s", set->access_name);
    uvm__list_init(&h->resource.link);
    h->resource.type = &share_type;
    memcpy(h->resource.path, p->path, strlen(p->path) + 1);
    h->port = (uint32_t)set->port;
    h->folder = -1;
    h->read_only = (set->flags & UVM__DOC_PLAN9_READ_ONLY) != 0;
    h->socket = -1;
    memcpy(h->file, set->path, bytes);
    a->system = uvm__qemu_ref(p->system);
    a->share = h;
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;
    struct share *h = a->share;

    if (h != NULL) {
        UVM_ASSERT(h->child == NULL && !h->closing && !uvm__list_linked(&h->resource.link));
        close_files(h);
        uvm__free(a->system->engine, h);
    }
    uvm__qemu_unref(a->system);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", a->share == NULL ? "" : a->share->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "folder", .run = folder_run, .undo = folder_undo},
    {.name = "server", .run = server_run, .undo = server_undo},
    {.name = "port", .run = port_run},
};
static const struct uvm__saga add_saga = {
    .name = "plan9 add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = sizeof add_steps / sizeof add_steps[0] - 1,
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
    uint32_t port;
    char path[UVM__MODIFY_PATH_BYTES];
};

static void share_gone(struct share *h) {
    struct uvm__qemu_system *s = h->system;
    uvm_op *op = UVM_TAKE_PTR(h->gone_op);

    uvm__resource_release(s, &h->resource, uvm__op_resolved(op));
    uvm__step_done(op, NULL);
}

static void remove_run(uvm_op *op, void *state) {
    struct remove_state *m = state;
    struct uvm__resource *found = uvm__resource_find(m->system, m->path);
    struct uvm__fail f = {0};
    bool other = found != NULL && share_of(found)->port != m->port;
    int rc = other ? uvm__fail(&f, UVM_E_NOTFOUND, 0, "%s is on port %u, not %u", m->path,
                               share_of(found)->port, m->port)
                   : uvm__resource_removing(m->system, m->path, &found, &f);

    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    end_server(share_of(found), op, share_gone);
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    struct remove_state *m = state;

    (void)op;
    memcpy(m->path, p->path, strlen(p->path) + 1);
    m->port = (uint32_t)p->request->settings.plan9.port;
    m->system = uvm__qemu_ref(p->system);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *m = state;
    uvm__qemu_unref(m->system);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *m = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", m->path);
}

static const struct uvm__step remove_steps[] = {{.name = "server", .run = remove_run}};
static const struct uvm__saga remove_saga = {
    .name = "plan9 remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

static int remove_share(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return start(s, &remove_saga, m, scope, on_done, arg, ret_op);
}

const struct uvm__qemu_kind uvm__qemu_plan9 = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_share},
    .refused = {[UVM__MODIFY_UPDATE] = "a share cannot be changed; remove it and add another"},
};
