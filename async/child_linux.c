/* SPDX-License-Identifier: MIT
 * child_linux.c — a child process from its start to its reaping, on the loop.
 *
 * Three sources tell of a child: the status pipe (how the start went), the pidfd (that it ended),
 * and its stderr. They become ready in any order; each only notes what it learned, and advance()
 * alone decides what is told: first the start, then the end, when stderr has come to its own end
 * too. Descendants may keep stderr open, and another thread's fork the status pipe:
 * UVM__CHILD_DRAIN_MS after the end they no longer count.
 *
 * The host program may reap our child before we do (it waits for any, or ignores SIGCHLD). Then
 * waitid says ECHILD and the status is unknown. Signals go through the pidfd, so they never reach
 * another process.
 *
 * Closing takes back what is left: a child that lives is killed and waited for, on the loop. The
 * object lives until its last handle was closed; `handles` counts them.
 *
 * The kernel may keep a process that was killed (a device or a file server does not answer). Nobody
 * can end it, so UVM__CHILD_KILLED_MS after the signal the close goes on without it, and says so. Its
 * object, by then a pidfd and what was entrusted to it, goes to the engine's list; whenever another
 * child starts or leaves, the list is looked through and what has died is reaped.
 */
#include "async/buf.h"
#include "async/check.h"
#include "async/child.h"
#include "async/cleanup.h"
#include "async/engine_int.h"
#include "async/launch_proto.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/sock.h"
#include "async/spawn_int.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define STDERR_READS_MAX 16 /* in one turn of the loop, of STDERR_READ_BYTES */
#define STDERR_READ_BYTES 4096

struct uvm__child {
    uvm_engine *engine;
    char *name, *program;
    void (*on_started)(struct uvm__child *c, const uvm_error *err, void *arg);
    void (*on_exit)(struct uvm__child *c, int status, void *arg);
    void *arg;

    pid_t pid;
    int pidfd;
    uv_poll_t poll;
    struct uvm__sock *status_pipe; /* NULL: its end was seen */
    struct uvm__sock *stderr_pipe; /* NULL: not captured, or its end was seen */
    uint8_t handles;               /* of the three above, those that libuv still knows */

    uint8_t record[UVM__LAUNCH_RECORD_BYTES + 1]; /* one more, to notice a longer one */
    size_t record_bytes;
    struct uvm__tail said; /* stderr */

    bool ended, drained, told_start, told_end, closing;
    bool asked_to_end; /* SIGTERM or more was sent */
    bool left;         /* closed, but the process is there */
    int status;
    int entrusted;         /* a descriptor that is closed with the process's end; -1: none */
    uint64_t killed_ms;    /* the first SIGKILL; 0: none */
    struct uvm__list link; /* of the engine's `left` */
    struct uvm__deadline kill_at, drain_until; /* the first, when closing: given up */
    struct uvm__ready gone, begun; /* begun: a direct start has nobody else to tell it later */
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void advance(struct uvm__child *c);

/* ---- handles ------------------------------------------------------------------------------ */

static void handle_gone(struct uvm__child *c) {
    UVM_ASSERT(c->handles > 0);
    c->handles--;
    if (c->handles == 0 && c->closing) {
        uvm__ready_push(c->engine, &c->gone);
    }
}

static void on_pipe_closed(void *arg) {
    handle_gone(arg);
}

static void close_pipe(struct uvm__child *c, struct uvm__sock **pipe) {
    struct uvm__sock *s = UVM_TAKE_PTR(*pipe);
    if (s != NULL) {
        uvm__sock_close(s, on_pipe_closed, c);
    }
}

static void on_poll_closed(uv_handle_t *poll) {
    handle_gone(poll->data);
}

static void free_child(struct uvm__child *c) {
    uvm__close_fd(&c->pidfd);
    uvm__close_fd(&c->entrusted);
    uvm__tail_deinit(&c->said);
    uvm__free(c->engine, c->name);
    uvm__free(c->engine, c->program);
    uvm__free(c->engine, c);
}

/* ---- those that do not die ---------------------------------------------------------------- */

static bool reap(struct uvm__child *c);

static void look_for_the_left(uvm_engine *e) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &e->left) {
        struct uvm__child *c = UVM__CONTAINER_OF(it, struct uvm__child, link);
        if (reap(c)) {
            uvm__list_remove(&c->link);
            free_child(c);
        }
    }
}

void uvm__children_forget(uvm_engine *e) {
    look_for_the_left(e);
    while (!uvm__list_empty(&e->left)) {
        struct uvm__child *c = UVM__CONTAINER_OF(e->left.next, struct uvm__child, link);
        uvm__list_remove(&c->link);
        free_child(c);
    }
}

static void leave(struct uvm__child *c) {
    uvm__log(c->engine, UVM_LOG_WARN, c->name,
             "process %d was killed and does not end: the kernel holds it (see "
             "/proc/%d/wchan); it is left behind",
             (int)c->pid, (int)c->pid);
    c->left = true;
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

static void on_gone(struct uvm__ready *r) {
    struct uvm__child *c = UVM__CONTAINER_OF(r, struct uvm__child, gone);
    uvm_engine *e = c->engine;
    void (*on_closed)(void *) = c->on_closed;
    void *arg = c->closed_arg;
    UVM_ASSERT((c->ended || c->left) && c->handles == 0);
    if (c->left) {
        uvm__list_append(&e->left, &c->link);
        look_for_the_left(e);
    } else {
        free_child(c);
    }
    if (on_closed != NULL) {
        on_closed(arg);
    }
    uvm__engine_release(e);
}

/* ---- how the start went ------------------------------------------------------------------- */

static void read_status(struct uvm__child *c) {
    ssize_t n = 1;
    while (n > 0 && c->record_bytes < sizeof c->record) {
        n = uvm__sock_recv(c->status_pipe, c->record + c->record_bytes,
                           sizeof c->record - c->record_bytes, NULL, NULL);
        c->record_bytes += n > 0 ? (size_t)n : 0;
    }
    if (n != -UVM_E_AGAIN) {
        close_pipe(c, &c->status_pipe);
    }
}

static void on_status(struct uvm__sock *s, void *arg) {
    (void)s;
    read_status(arg);
    advance(arg);
}

/* NULL: the program runs, or ran. */
static uvm_error *start_error(struct uvm__child *c) {
    enum uvm__launch_step step = UVM__LAUNCH_NONE;
    int32_t err = 0;
    if (c->record_bytes == 0) {
        return NULL;
    }
    if (c->record_bytes != UVM__LAUNCH_RECORD_BYTES ||
        uvm__launch_record_get(c->record, &step, &err) < 0) {
        return uvm__error_step(uvm__error(c->engine, UVM_E_PROTOCOL, 0,
                                          "%s: what was started is not uvm-launch", c->name),
                               "spawn");
    }
    const char *text = strerrordesc_np(err);
    const char *name = uvm__launch_step_name(step);
    bool missing = step == UVM__LAUNCH_EXEC && (err == ENOENT || err == EACCES);
    return uvm__error_step(uvm__error(c->engine, missing ? UVM_E_HOST : UVM_E_IO, err,
                                      "%s: %s %s: %s", c->name, name, c->program,
                                      text == NULL ? "unknown error" : text),
                           name);
}

static void on_begun(struct uvm__ready *r) {
    advance(UVM__CONTAINER_OF(r, struct uvm__child, begun));
}

static void tell_start(struct uvm__child *c) {
    uvm_error *err = start_error(c);
    c->told_start = true;
    c->on_started(c, err, c->arg);
    uvm_error_unref(err);
}

/* ---- stderr ------------------------------------------------------------------------------- */

/* A child that writes for ever must not keep the loop, so there is a bound; what is left shows up
 * again. */
static void read_stderr(struct uvm__child *c) {
    char buf[STDERR_READ_BYTES];
    ssize_t n = 1;
    for (int i = 0; i < STDERR_READS_MAX && n > 0; i++) {
        n = uvm__sock_recv(c->stderr_pipe, buf, sizeof buf, NULL, NULL);
        if (n > 0) {
            uvm__tail_write(&c->said, buf, (size_t)n);
        }
    }
    if (n <= 0 && n != -UVM_E_AGAIN) {
        close_pipe(c, &c->stderr_pipe);
    }
}

static void on_stderr(struct uvm__sock *s, void *arg) {
    (void)s;
    read_stderr(arg);
    advance(arg);
}

static void on_drain_over(struct uvm__deadline *d) {
    struct uvm__child *c = UVM__CONTAINER_OF(d, struct uvm__child, drain_until);
    c->drained = true;
    advance(c);
}

/* ---- the end ------------------------------------------------------------------------------ */

static int wait_status(const siginfo_t *info) {
    int value = info->si_status;
    switch (info->si_code) {
    case CLD_EXITED:
        return (value & 0xff) << 8;
    case CLD_DUMPED:
        return value | 0x80;
    default:
        return value;
    }
}

/* True when the process is gone. */
static bool reap(struct uvm__child *c) {
    siginfo_t info = {0};
    int rc = waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG);
    bool stopped = info.si_code == CLD_TRAPPED; /* told to who traces it, asked for or not */
    if (rc == 0 && (info.si_pid == 0 || stopped)) {
        return false;
    }
    c->status = rc < 0 ? -1 : wait_status(&info);
    return true;
}

static void set_ended(struct uvm__child *c) {
    c->ended = true;
    uvm__deadline_clear(c->engine, &c->kill_at);
    if (!c->closing) {
        uvm__deadline_set(c->engine, &c->drain_until, uvm__now_ms(c->engine) + UVM__CHILD_DRAIN_MS);
    }
}

static void on_pidfd(uv_poll_t *poll, int status, int events) {
    struct uvm__child *c = poll->data;
    (void)status;
    (void)events;
    if (!reap(c)) {
        return;
    }
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
    uvm__close_fd(&c->pidfd);
    set_ended(c);
    /* The process wrote all it ever will: fetch it now rather than in the next turn. */
    if (c->status_pipe != NULL) {
        read_status(c);
    }
    if (c->stderr_pipe != NULL) {
        read_stderr(c);
    }
    advance(c);
}

/* Tells what may be told by now. Each callback may close the child, after which nothing is told. */
static void advance(struct uvm__child *c) {
    if (c->closing) {
        return;
    }
    if (!c->told_start && (c->status_pipe == NULL || (c->ended && c->drained))) {
        tell_start(c);
    }
    if (c->closing || !c->ended || c->told_end) {
        return;
    }
    if (c->drained || (c->status_pipe == NULL && c->stderr_pipe == NULL)) {
        UVM_ASSERT(c->told_start);
        uvm__deadline_clear(c->engine, &c->drain_until);
        close_pipe(c, &c->status_pipe);
        close_pipe(c, &c->stderr_pipe);
        c->told_end = true;
        c->on_exit(c, c->status, c->arg);
    }
}

/* ---- signals ------------------------------------------------------------------------------ */

int uvm__child_signal(struct uvm__child *c, int signo) {
    UVM_ASSERT(!c->closing);
    if (c->ended) {
        return -UVM_E_STATE;
    }
    if (pidfd_send_signal(c->pidfd, signo, NULL, 0) < 0) {
        return errno == ESRCH ? -UVM_E_STATE : errno == EINVAL ? -UVM_E_INVAL : -UVM_E_IO;
    }
    return 0;
}

static void kill_now(struct uvm__child *c) {
    if (c->ended) {
        return;
    }
    (void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
    if (c->killed_ms == 0) {
        c->killed_ms = uvm__now_ms(c->engine);
    }
}

static void on_kill(struct uvm__deadline *d) {
    struct uvm__child *c = UVM__CONTAINER_OF(d, struct uvm__child, kill_at);
    if (c->closing) {
        leave(c);
    } else {
        kill_now(c);
    }
}

void uvm__child_end(struct uvm__child *c, bool now) {
    UVM_ASSERT(!c->closing);
    if (c->ended) {
        return;
    }
    if (now) {
        uvm__deadline_clear(c->engine, &c->kill_at);
        c->asked_to_end = true;
        kill_now(c);
    } else if (!c->asked_to_end) {
        c->asked_to_end = true;
        uvm__deadline_set(c->engine, &c->kill_at, uvm__now_ms(c->engine) + UVM__CHILD_TERM_MS);
        (void)pidfd_send_signal(c->pidfd, SIGTERM, NULL, 0);
    }
}

void uvm__child_entrust(struct uvm__child *c, int take_fd) {
    UVM_ASSERT(!c->closing && c->entrusted < 0);
    c->entrusted = take_fd;
}

void uvm__child_close(struct uvm__child *c, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!c->closing);
    c->closing = true;
    c->on_closed = on_closed;
    c->closed_arg = arg;
    uvm__ready_cancel(c->engine, &c->begun);
    uvm__deadline_clear(c->engine, &c->kill_at);
    uvm__deadline_clear(c->engine, &c->drain_until);
    close_pipe(c, &c->status_pipe);
    close_pipe(c, &c->stderr_pipe);
    kill_now(c); /* the pidfd tells when it has died */
    if (!c->ended) {
        uvm__deadline_set(c->engine, &c->kill_at, c->killed_ms + UVM__CHILD_KILLED_MS);
    }
    if (c->handles == 0) {
        uvm__ready_push(c->engine, &c->gone);
    }
}

/* ---- the start ---------------------------------------------------------------------------- */

static int open_reader(struct uvm__child *c, int *take_fd,
                       void (*on_readable)(struct uvm__sock *, void *), struct uvm__sock **ret) {
    const struct uvm__sock_events events = {.on_readable = on_readable};
    int rc = uvm__sock_open(c->engine, UVM_TAKE_FD(*take_fd), &events, c, ret);
    if (rc == 0) {
        c->handles++;
        uvm__sock_reading(*ret, true);
    }
    return rc;
}

/* Everything that may lack memory, before there is a process. */
static int prepare(struct uvm__child *c, const struct uvm__child_params *p, struct uvm__spawn *s,
                   struct uvm__fail *f) {
    int rc = uvm__spawn_prepare(c->engine, p, s, f);
    if (rc < 0) {
        return rc;
    }
    c->name = uvm__strdup(c->engine, p->name);
    c->program = uvm__strdup(c->engine, p->argv[0]);
    rc = c->name == NULL || c->program == NULL ? -UVM_E_NOMEM : 0;
    if (rc == 0 && p->capture_stderr) {
        rc = uvm__tail_init(&c->said, c->engine, UVM__VMM_STDERR_BYTES);
    }
    if (rc == 0 && p->direct == NULL) {
        rc = open_reader(c, &s->status[0], on_status, &c->status_pipe);
    }
    if (rc == 0 && p->capture_stderr) {
        rc = open_reader(c, &s->err[0], on_stderr, &c->stderr_pipe);
    }
    return rc == 0 ? 0
                   : uvm__fail(f, (enum uvm_error_code) - rc, 0, "%s: cannot be watched: %s",
                               p->name, uvm_error_code_text(rc));
}

/* Ends a process that cannot be watched. It has just been born and does not hold SIGKILL up, so
 * waiting for it here is short. */
static void kill_unwatched(pid_t pid) {
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* Whoever reaped our child at once may have made room for another process of that number. */
static bool is_ours(int pidfd) {
    siginfo_t info = {0};
    return waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Begins to watch c->pid. 0 or errno, and then the process is gone. */
static int watch(struct uvm__child *c) {
    c->pidfd = pidfd_open(c->pid, 0);
    int err = c->pidfd < 0 ? errno : 0;
    if (err == ESRCH || (err == 0 && !is_ours(c->pidfd))) {
        uvm__close_fd(&c->pidfd); /* somebody else reaped it already */
        set_ended(c);
        return 0;
    }
    if (err == 0) {
        err = -uv_poll_init(uvm__engine_loop(c->engine), &c->poll, c->pidfd);
    }
    if (err != 0) {
        kill_unwatched(c->pid);
        uvm__close_fd(&c->pidfd);
        return err;
    }
    c->handles++;
    c->poll.data = c;
    int rc = uv_poll_start(&c->poll, UV_READABLE, on_pidfd);
    UVM_ASSERT(rc == 0);
    return 0;
}

static struct uvm__child *new_child(uvm_engine *e, const struct uvm__child_params *p) {
    struct uvm__child *c = uvm__zalloc(e, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->engine = e;
    c->on_started = p->on_started;
    c->on_exit = p->on_exit;
    c->arg = p->arg;
    c->pidfd = -1;
    c->entrusted = -1;
    c->status = -1;
    uvm__list_init(&c->link);
    uvm__deadline_init(&c->kill_at, on_kill);
    uvm__deadline_init(&c->drain_until, on_drain_over);
    uvm__ready_init(&c->gone, on_gone);
    uvm__ready_init(&c->begun, on_begun);
    uvm__engine_hold(e);
    return c;
}

int uvm__child_spawn(uvm_engine *e, const struct uvm__child_params *params, struct uvm__child **ret,
                     struct uvm__fail *f) {
    struct uvm__spawn s = UVM__SPAWN_INIT;
    UVM_ASSERT(params->on_started != NULL && params->on_exit != NULL);
    int rc = uvm__spawn_check(params, f);
    if (rc < 0) {
        return rc;
    }
    if (uvm__engine_loop(e) == NULL) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "%s: no processes in a simulation", params->name);
    }
    look_for_the_left(e);
    struct uvm__child *c = new_child(e, params);
    if (c == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "%s: out of memory", params->name);
    }
    rc = prepare(c, params, &s, f);
    if (rc == 0) {
        rc = uvm__spawn_run(&s, params, &c->pid, f);
    }
    if (rc == 0) {
        int err = watch(c);
        rc = err == 0 ? 0
                      : uvm__fail(f, err == ENOSYS ? UVM_E_HOST : UVM_E_IO, err,
                                  "%s: cannot be watched: %s", params->name, strerrordesc_np(err));
    }
    uvm__spawn_release(e, &s);
    if (rc < 0) {
        c->ended = true; /* there is no process */
        uvm__child_close(c, NULL, NULL);
        return rc;
    }
    if (params->direct != NULL) {
        uvm__ready_push(e, &c->begun);
    }
    *ret = c;
    return 0;
}

/* ---- queries ------------------------------------------------------------------------------ */

pid_t uvm__child_pid(const struct uvm__child *c) {
    return c->pid;
}

bool uvm__child_exited(const struct uvm__child *c) {
    return c->ended;
}

size_t uvm__child_stderr(const struct uvm__child *c, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    if (c->said.data == NULL) {
        buf[0] = 0;
        return 0;
    }
    return uvm__tail_read(&c->said, buf, bytes);
}

void uvm__child_status_text(int status, char *buf, size_t bytes) {
    if (status < 0) {
        (void)snprintf(buf, bytes, "status unknown");
    } else if (WIFEXITED(status)) {
        (void)snprintf(buf, bytes, "exit status %d", WEXITSTATUS(status));
    } else {
        const char *name = sigabbrev_np(WTERMSIG(status));
        const char *core = WCOREDUMP(status) ? " (core dumped)" : "";
        if (name != NULL) {
            (void)snprintf(buf, bytes, "killed by SIG%s%s", name, core);
        } else {
            (void)snprintf(buf, bytes, "killed by signal %d%s", WTERMSIG(status), core);
        }
    }
}
