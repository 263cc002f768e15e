/* SPDX-License-Identifier: MIT
 * share_server.c — see share_server.h.
 *
 * start and stop are operations of their own, which nobody's cancel reaches: who wants a share waits for them, and
 * may go without disturbing the others. A server that nobody uses any more when it has come goes at once.
 *
 * virtiofsd takes a listening socket and serves whom it accepts first, so we connect before it runs, and QEMU gets
 * that end. The name of the socket is one that the kernel chooses, without a file, and only one connection may wait
 * (a backlog of 0): who found the name out and came before us makes ours fail, and is never served.
 * virtiofsd splits in two: we start the one, which shuts the other in; both are in the same mount namespace.
 */
#include "hcs/qemu/share_server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/log.h"
#include "async/sock.h"
#include "hcs/qemu/command.h"
#include "hvsock/virtio_fs_relay.h"

#define LISTEN_FD 4
/* More than any guest's driver uses: a request of 1 MiB takes 256 pages and some headers. */
#define QUEUE_SIZE 1024u

struct uvm__share_server {
    struct uvm__list link; /* of the system */
    struct uvm__qemu_system *system;
    bool read_only;
    unsigned port;
    uint32_t users, refs; /* refs: users, operations, a process that closes */
    bool ready, dead, leaving;
    uvm_op *op; /* start or stop, under way */
    struct uvm__child *child;
    struct uvm__fs_relay *relay; /* between QEMU and it; NULL: not yet, or no more */
    struct uvm__list waiters;    /* struct uvm__share_wait.link */
    char name[16];               /* in QEMU, and the guest's tag: "vsmb-3" */
    void (*on_child)(struct uvm__share_server *v, uvm_error *take_err); /* the step that waits */
    bool ending; /* the process, by end_process() */
    struct uvm__deadline late;
    void (*on_ended)(void *arg);
    void *ended_arg;
};

/* The state of start and stop. */
struct work {
    struct uvm__share_server *server;
    uvm_op *op;
    struct uvm__command command;
    struct uvm__end_wait end; /* of the step that waits for the process */
    int listener, socket;
};

bool uvm__share_server_dead(const struct uvm__share_server *v) {
    return v->dead;
}

pid_t uvm__share_server_pid(const struct uvm__share_server *v) {
    UVM_ASSERT(v->child != NULL);
    return uvm__child_pid(v->child);
}

const char *uvm__share_server_tag(const struct uvm__share_server *v) {
    return v->name;
}

static struct uvm__share_server *server_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__share_server, link);
}

static void unref(struct uvm__share_server *v) {
    UVM_ASSERT(v->refs > 0);
    if (--v->refs > 0) {
        return;
    }
    UVM_ASSERT(v->child == NULL && v->relay == NULL && v->op == NULL &&
               uvm__list_empty(&v->waiters));
    uvm__list_remove(&v->link);
    uvm__free(v->system->engine, v);
}

static void end_use(struct uvm__share_server *v) {
    UVM_ASSERT(v->users > 0);
    v->users--;
    unref(v);
}

/* The caller holds it. */
static void tell(struct uvm__share_server *v, const uvm_error *err) {
    while (!uvm__list_empty(&v->waiters)) {
        struct uvm__share_wait *w =
            UVM__CONTAINER_OF(v->waiters.next, struct uvm__share_wait, link);
        uvm__list_remove(&w->link);
        if (err != NULL && !v->leaving) {
            end_use(v);
        }
        w->fn(w, v->leaving ? NULL : err);
    }
}

/* ---- the process -------------------------------------------------------------------------- */

static int connect_pair(struct work *w, struct uvm__fail *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t bytes = sizeof address.sun_family; /* the kernel finds a name */

    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    w->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = w->listener >= 0 && w->socket >= 0 &&
              bind(w->listener, (const struct sockaddr *)&address, bytes) == 0 &&
              listen(w->listener, 0) == 0;
    bytes = sizeof address;
    ok = ok && getsockname(w->listener, (struct sockaddr *)&address, &bytes) == 0 &&
         connect(w->socket, (const struct sockaddr *)&address, bytes) == 0;
    return ok ? 0
              : uvm__fail(f, UVM_E_LIMIT, errno, "shares: socket to virtiofsd: %s",
                          strerror(errno));
}

static void child_told(struct uvm__share_server *v, uvm_error *take_err) {
    void (*on_child)(struct uvm__share_server *, uvm_error *) = UVM_TAKE_PTR(v->on_child);
    on_child(v, take_err);
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct uvm__share_server *v = arg;
    uvm_engine *e = v->system->engine;

    (void)c;
    if (v->on_child == NULL) {
        return;
    }
    uvm_error *why =
        err == NULL
            ? NULL
            : uvm__error_cause(uvm__error(e, UVM_E_HOST, (int)uvm_error_sys(err),
                                          "shares: virtiofsd cannot be started (%s: %s)",
                                          uvm_error_step(err), strerror((int)uvm_error_sys(err))),
                               uvm_error_ref(err));
    child_told(v, why);
}

static void on_relay_closed(void *arg) {
    uvm__qemu_unref(arg);
}

/* Its end is nobody's to wait for: it holds the system meanwhile. */
static void close_relay(struct uvm__share_server *v) {
    if (v->relay != NULL) {
        uvm__fs_relay_close(UVM_TAKE_PTR(v->relay), on_relay_closed, uvm__qemu_ref(v->system));
    }
}

static void close_process(struct uvm__share_server *v) {
    close_relay(v);
    uvm__deadline_clear(v->system->engine, &v->late);
    uvm__child_close(UVM_TAKE_PTR(v->child), v->on_ended, v->ended_arg);
}

static void on_late(struct uvm__deadline *d) {
    close_process(UVM__CONTAINER_OF(d, struct uvm__share_server, late));
}

/* The other end of its socket has been closed, or is about to be: both processes end by themselves then, the inner
 * one first. Killed are they only where they do not. */
static void end_process(struct uvm__share_server *v, void (*on_ended)(void *arg), void *arg) {
    uvm_engine *e = v->system->engine;

    UVM_ASSERT(v->child != NULL && !v->ending);
    v->ending = true;
    v->on_ended = on_ended;
    v->ended_arg = arg;
    if (uvm__child_exited(v->child)) {
        close_process(v);
    } else {
        uvm__deadline_set(e, &v->late, uvm__now_ms(e) + UVM__CHILD_TERM_MS);
    }
}

/* Wanted after a stop; else the shares are lost, and the guest's requests that it had are never answered. */
static void on_exited(struct uvm__child *c, int status, void *arg) {
    struct uvm__share_server *v = arg;
    char how[64], said[256] = "";

    uvm__child_status_text(status, how, sizeof how);
    (void)uvm__child_stderr(c, said, sizeof said);
    v->dead = true;
    if (v->ending) {
        close_process(v);
        return;
    }
    if (v->ready && !v->leaving && status != 0) { /* 0: QEMU has let go of it, the VM is ending */
        uvm__log(v->system->engine, UVM_LOG_WARN, v->system->name,
                 "the server of %s shares ended (%s)%s%s: they are lost, detach them",
                 v->read_only ? "read-only" : "writable", how, said[0] == '\0' ? "" : ": ", said);
    }
    if (v->on_child != NULL) {
        child_told(v, uvm__error(v->system->engine, UVM_E_HOST, 0, "shares: virtiofsd: %s%s%s", how,
                                 said[0] == '\0' ? "" : ": ", said));
    }
}

/* What the guest waits for is answered by the relay from here on. */
static void on_lost(void *arg) {
    struct uvm__share_server *v = arg;
    v->dead = true;
}

/* QEMU talks to the relay, and the relay to the server. */
static int open_relay(struct work *w, struct uvm__fail *f) {
    int pair[2] = {-1, -1};
    int rc = uvm__sock_pair(pair);

    if (rc == 0) {
        const struct uvm__fs_relay_params params = {.take_front_fd = pair[0],
                                                    .take_back_fd = UVM_TAKE_FD(w->socket),
                                                    .on_lost = on_lost,
                                                    .arg = w->server};
        rc = uvm__fs_relay_open(w->server->system->engine, &params, &w->server->relay);
        w->socket = pair[1];
    }
    return rc < 0 ? uvm__fail(f, (enum uvm_error_code)(-rc), 0, "shares: socket to virtiofsd") : 0;
}

static int spawn(struct work *w, struct uvm__fail *f) {
    struct uvm__share_server *v = w->server;
    struct uvm__qemu_system *s = v->system;
    char listener[32];
    const char *program = uvm__host_virtiofsd();
    const char *const argv[] = {program,
                                "-f",
                                listener,
                                "-o",
                                "source=" UVM__SHARE_TMPFS ",sandbox=namespace,cache=auto",
                                "-o",
                                "log_level=err,modcaps=-mknod:-setfcap",
                                "--thread-pool-size=1", /* in their order: see the relay */
                                NULL};
    const char *options[16];
    size_t n = 0;

    if (geteuid() != 0) {
        return uvm__fail(f, UVM_E_HOST, 0,
                         "shares: the owner of the VM must be root, for virtiofsd serves files of "
                         "all users");
    }
    if (program == NULL) {
        return uvm__fail(f, UVM_E_HOST, 0,
                         "shares: there is no virtiofsd; install qemu-system-common");
    }
    options[n++] = "--pgroup";
    options[n++] = "--no-core"; /* of privileges it gives up what it needs no more by itself */
    if (s->cgroup.path != NULL) {
        options[n++] = "--cgroup";
        options[n++] = s->cgroup.path;
    }
    options[n++] = "--mountns";
    options[n++] = "--tmpfs";
    options[n++] = UVM__SHARE_TMPFS;
    options[n++] = "--deathsig";
    options[n++] = "9";
    options[n] = NULL;
    (void)snprintf(listener, sizeof listener, "--fd=%d", LISTEN_FD);
    const struct uvm__child_fd fd = {w->listener, LISTEN_FD};
    const struct uvm__child_params params = {.launch_path = s->service->launch_path,
                                             .name = "virtiofsd",
                                             .argv = argv,
                                             .launch_args = options,
                                             .fds = &fd,
                                             .fds_count = 1,
                                             .capture_stderr = true,
                                             .on_started = on_started,
                                             .on_exit = on_exited,
                                             .arg = v};
    return uvm__child_spawn(s->engine, &params, &v->child, f);
}

/* ---- start -------------------------------------------------------------------------------- */

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

static void port_run(uvm_op *op, void *state) {
    struct work *w = state;
    struct uvm__share_server *v = w->server;
    struct uvm__fail f = {0};

    fail_step(op, uvm__qemu_port_take(&v->system->ports, "shares", &v->port, &f), &f);
}

static void port_undo(uvm_op *op, void *state) {
    struct work *w = state;
    uvm__qemu_port_give(&w->server->system->ports, w->server->port);
    uvm__undo_done(op, NULL);
}

static void process_on_child(struct uvm__share_server *v, uvm_error *take_err) {
    struct work *w = uvm__op_state(v->op);

    uvm__qemu_end_forget(&w->end);
    uvm__close_fd(&w->listener);
    uvm__step_done(w->op, take_err);
}

static void process_on_end(struct uvm__end_wait *end) {
    struct work *w = UVM__CONTAINER_OF(end, struct work, end);

    w->server->on_child = NULL;
    uvm__step_done(w->op, uvm__qemu_end_error(w->server->system, "cannot serve shares"));
}

static void process_run(uvm_op *op, void *state) {
    struct work *w = state;
    struct uvm__share_server *v = w->server;
    struct uvm__fail f = {0};
    bool over = v->system->closing || v->system->state == UVM__QEMU_ENDED || v->system->qmp == NULL;
    int rc = over ? uvm__fail(&f, UVM_E_EXITED, 0, "vm %s: has ended", v->system->name)
                  : connect_pair(w, &f);

    rc = rc < 0 ? rc : open_relay(w, &f);
    rc = rc < 0 ? rc : spawn(w, &f);
    if (rc < 0) {
        close_relay(v);
        uvm__close_fd(&w->listener);
        uvm__close_fd(&w->socket);
        fail_step(op, rc, &f);
        return;
    }
    uvm__step_armed(op);
    v->on_child = process_on_child;
    uvm__qemu_end_wait(v->system, &w->end);
}

static void undo_on_closed(void *arg) {
    struct work *w = arg;
    uvm__undo_done(w->op, NULL);
}

static void process_undo(uvm_op *op, void *state) {
    struct work *w = state;

    uvm__close_fd(&w->listener);
    uvm__close_fd(&w->socket);
    close_relay(w->server);
    if (w->server->child == NULL || w->server->ending) { /* goes with the VM */
        uvm__undo_done(op, NULL);
        return;
    }
    end_process(w->server, undo_on_closed, w);
}

static void on_command(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct work *w = UVM__CONTAINER_OF(c, struct work, command);

    if (how == UVM__COMMAND_GONE) {
        take_err = uvm__qemu_end_error(w->server->system, "cannot serve shares");
    }
    uvm__step_done(w->op, take_err);
}

static void undo_on_command(struct uvm__command *c, enum uvm__command_end how,
                            uvm_error *take_err) {
    (void)how; /* refused: there is nothing of it */
    uvm_error_unref(take_err);
    uvm__undo_done(UVM__CONTAINER_OF(c, struct work, command)->op, NULL);
}

static void put(struct uvm__command *c, const char *key, const char *name) {
    (void)snprintf(c->arguments, sizeof c->arguments, "{\"%s\":\"%s\"}", key, name);
}

static void socket_run(uvm_op *op, void *state) {
    struct work *w = state;
    (void)op;
    put(&w->command, "fdname", w->server->name);
    uvm__command_send(&w->command, "getfd", w->socket, on_command);
}

static void socket_undo(uvm_op *op, void *state) {
    struct work *w = state;
    (void)op;
    put(&w->command, "fdname", w->server->name);
    uvm__command_must(&w->command, "closefd", undo_on_command);
}

static void chardev_run(uvm_op *op, void *state) {
    struct work *w = state;
    const char *name = w->server->name;

    (void)op;
    uvm__close_fd(&w->socket); /* QEMU has its own */
    int n = snprintf(w->command.arguments, sizeof w->command.arguments,
                     "{\"id\":\"%s\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
                     "\"fd\",\"data\":{\"str\":\"%s\"}},\"server\":false}}}",
                     name, name);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof w->command.arguments);
    uvm__command_send(&w->command, "chardev-add", -1, on_command);
}

static void chardev_undo(uvm_op *op, void *state) {
    struct work *w = state;
    (void)op;
    put(&w->command, "id", w->server->name);
    uvm__command_must(&w->command, "chardev-remove", undo_on_command);
}

static void device_run(uvm_op *op, void *state) {
    struct work *w = state;
    const struct uvm__share_server *v = w->server;

    (void)op;
    int n = snprintf(w->command.arguments, sizeof w->command.arguments,
                     "{\"driver\":\"vhost-user-fs-pci\",\"id\":\"%s\",\"chardev\":\"%s\","
                     "\"tag\":\"%s\",\"queue-size\":%u,\"bus\":\"rp%u\",\"addr\":\"0x0\"}",
                     v->name, v->name, v->name, QUEUE_SIZE, v->port);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof w->command.arguments);
    uvm__command_send(&w->command, "device_add", -1, on_command);
}

static void device_undo(uvm_op *op, void *state) {
    struct work *w = state;
    (void)op;
    uvm__command_unplug(&w->command, w->server->name, undo_on_command);
}

static int work_init(uvm_op *op, void *state, const void *params) {
    struct work *w = state;

    w->server = (struct uvm__share_server *)(uintptr_t)params;
    w->server->refs++;
    w->op = op;
    w->listener = w->socket = -1;
    w->end.fn = process_on_end;
    uvm__list_init(&w->end.link);
    uvm__command_init(&w->command, uvm__qemu_ref(w->server->system), op);
    return 0;
}

static void work_deinit(void *state) {
    struct work *w = state;

    UVM_ASSERT(uvm__command_idle(&w->command) && w->listener < 0 && w->socket < 0);
    unref(w->server);
    uvm__qemu_unref(w->command.system);
}

static const struct uvm__step start_steps[] = {
    {.name = "port", .run = port_run, .undo = port_undo},
    {.name = "process", .run = process_run, .undo = process_undo},
    {.name = "socket", .run = socket_run, .undo = socket_undo},
    {.name = "chardev", .run = chardev_run, .undo = chardev_undo},
    {.name = "device", .run = device_run, .undo = device_undo},
};
static const struct uvm__saga start_saga = {
    .name = "share server start",
    .steps = start_steps,
    .steps_count = sizeof start_steps / sizeof start_steps[0],
    .commit_step = sizeof start_steps / sizeof start_steps[0] - 1,
    .state_bytes = sizeof(struct work),
    .init = work_init,
    .deinit = work_deinit,
};

/* ---- stop --------------------------------------------------------------------------------- */

static void stop_on_ended(void *arg) {
    struct work *w = arg;

    uvm__qemu_port_give(&w->server->system->ports, w->server->port);
    uvm__step_done(w->op, NULL);
}

/* QEMU has closed its end. */
static void stop_process(struct work *w) {
    struct uvm__share_server *v = w->server;

    if (v->child == NULL || v->ending) { /* goes with the VM */
        stop_on_ended(w);
    } else {
        end_process(v, stop_on_ended, w);
    }
}

static void stop_on_chardev(struct uvm__command *c, enum uvm__command_end how,
                            uvm_error *take_err) {
    uvm_error_unref(take_err);
    if (how == UVM__COMMAND_REFUSED) { /* still in use for a moment */
        uvm__command_again(c);
    } else {
        stop_process(UVM__CONTAINER_OF(c, struct work, command));
    }
}

static void stop_on_unplug(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct work *w = UVM__CONTAINER_OF(c, struct work, command);

    uvm_error_unref(take_err);
    if (how == UVM__COMMAND_REFUSED) {
        uvm__command_again(c);
    } else if (how == UVM__COMMAND_GONE) {
        stop_process(w);
    } else {
        put(c, "id", w->server->name);
        uvm__command_must(c, "chardev-remove", stop_on_chardev);
    }
}

static void stop_run(uvm_op *op, void *state) {
    struct work *w = state;
    (void)op;
    uvm__command_unplug(&w->command, w->server->name, stop_on_unplug);
}

static const struct uvm__step stop_steps[] = {{.name = "unplug", .run = stop_run, .child = true}};
static const struct uvm__saga stop_saga = {
    .name = "share server stop",
    .steps = stop_steps,
    .steps_count = 1,
    .commit_step = 0,
    .state_bytes = sizeof(struct work),
    .init = work_init,
    .deinit = work_deinit,
};

/* ---- users -------------------------------------------------------------------------------- */

static void on_stopped(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__share_server *v = arg;

    (void)op;
    (void)err;
    v->op = uvm_op_unref(v->op);
    tell(v, NULL);
    unref(v);
}

/* Runs on: nobody uses it, and where there is no memory to stop it, it waits for the next one. */
static bool stop(struct uvm__share_server *v) {
    UVM_ASSERT(v->users == 0 && v->op == NULL && v->ready);
    v->refs++;
    int rc = uvm__op_start(v->system->engine, NULL, &stop_saga, v, on_stopped, v, &v->op);
    if (rc < 0) {
        unref(v);
        return false;
    }
    v->leaving = true;
    return true;
}

static void on_start_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__share_server *v = arg;

    (void)op;
    v->op = uvm_op_unref(v->op);
    v->ready = err == NULL;
    v->dead = v->dead || (v->child != NULL && uvm__child_exited(v->child));
    if (v->ready && v->leaving && stop(v)) {
        unref(v); /* the start's; the stop has its own */
        return;
    }
    tell(v, err);
    unref(v);
}

static struct uvm__share_server *find(struct uvm__qemu_system *s, bool read_only) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->share_servers) {
        struct uvm__share_server *v = server_of(it);
        if (v->read_only == read_only && !v->dead && !v->leaving && (v->ready || v->op != NULL)) {
            return v;
        }
    }
    return NULL;
}

static struct uvm__share_server *new_server(struct uvm__qemu_system *s, bool read_only) {
    struct uvm__share_server *v = uvm__zalloc(s->engine, sizeof *v);

    if (v == NULL) {
        return NULL;
    }
    v->system = s;
    v->read_only = read_only;
    v->refs = 1; /* the start's, until it is done */
    (void)snprintf(v->name, sizeof v->name, "vsmb-%u", ++s->share_servers_made);
    uvm__list_init(&v->waiters);
    uvm__deadline_init(&v->late, on_late);
    uvm__list_append(&s->share_servers, &v->link);
    if (uvm__op_start(s->engine, NULL, &start_saga, v, on_start_done, v, &v->op) < 0) {
        unref(v);
        return NULL;
    }
    return v;
}

int uvm__share_server_use(struct uvm__qemu_system *s, bool read_only, struct uvm__share_wait *w,
                          struct uvm__share_server **ret) {
    struct uvm__share_server *v = find(s, read_only);

    v = v == NULL ? new_server(s, read_only) : v;
    if (v == NULL) {
        return -UVM_E_NOMEM;
    }
    v->users++;
    v->refs++;
    *ret = v;
    if (v->ready) {
        return 1;
    }
    uvm__list_append(&v->waiters, &w->link);
    return 0;
}

bool uvm__share_server_drop(struct uvm__share_server *v, struct uvm__share_wait *w) {
    bool goes = false;

    uvm__list_remove(&w->link);
    UVM_ASSERT(v->users > 0);
    v->users--;
    if (v->users == 0 && v->op != NULL) {
        v->leaving = goes = true; /* it has not come yet */
        uvm_op_cancel(v->op);
    } else if (v->users == 0) {
        goes = stop(v);
    }
    if (goes) {
        uvm__list_append(&v->waiters, &w->link);
    }
    unref(v);
    return !goes;
}

unsigned uvm__share_servers_close(struct uvm__qemu_system *s, void (*on_closed)(void *arg),
                                  void *arg) {
    struct uvm__list *it;
    unsigned count = 0;

    UVM__LIST_FOREACH(it, &s->share_servers) {
        struct uvm__share_server *v = server_of(it);
        if (v->child != NULL && !v->ending) {
            v->dead = true;
            count++;
            end_process(v, on_closed, arg);
        }
    }
    return count;
}

void uvm__share_servers_free(struct uvm__qemu_system *s) {
    while (!uvm__list_empty(&s->share_servers)) {
        struct uvm__share_server *v = server_of(s->share_servers.next);
        v->refs = 1; /* what is left are shares that end with the VM */
        unref(v);
    }
}
