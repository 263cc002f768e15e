/* SPDX-License-Identifier: MIT
 * spawn_linux.c — posix_spawn of uvm-launch with every descriptor in its place.
 *
 * Two traps of doing that by a list of dup2: a source may be the target of an earlier dup2, which
 * would have replaced it by then; and a dup2 of a number onto itself leaves CLOEXEC set (glibc
 * clears it since 2.29, others do not). Both are gone when no source is as low as any target, so
 * every source that is gets duplicated above the highest target first. All our descriptors are
 * CLOEXEC, so nothing of this is seen by a process that another thread of the host program starts
 * meanwhile.
 *
 * A child that needs nothing else (`direct`) is spawned without the helper: posix_spawn itself then
 * makes the session, changes folder, closes what is above the targets, and says how the exec went.
 *
 * What the host program itself left open without CLOEXEC between the targets is closed here; what
 * is above them uvm-launch closes with one call (--keep-fds). --parent makes it give up when we are
 * gone by then.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/launch_proto.h"
#include "async/spawn_int.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_BYTES 16u

/* ---- what the child gets ------------------------------------------------------------------ */

/* What is executed first. */
static const char *program_path(const struct uvm__child_params *p) {
    return p->direct == NULL ? p->launch_path : p->direct->path;
}

int uvm__spawn_check(const struct uvm__child_params *p, struct uvm__fail *f) {
    bool taken[UVM__CHILD_TARGET_MAX + 1] = {[UVM__LAUNCH_STATUS_FD] = true};
    if (program_path(p) == NULL || p->name == NULL || p->argv == NULL || p->argv[0] == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "child: no helper, name or program");
    }
    if (p->fds_count > UVM__CHILD_FDS_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: %zu descriptors (at most %u)", p->name,
                         p->fds_count, UVM__CHILD_FDS_MAX);
    }
    taken[STDERR_FILENO] = p->capture_stderr;
    for (size_t i = 0; i < p->fds_count; i++) {
        int fd = p->fds[i].fd;
        int target = p->fds[i].target;
        if (fd < 0 || target < 0 || target > (int)UVM__CHILD_TARGET_MAX || taken[target]) {
            return uvm__fail(f, UVM_E_INVAL, 0, "%s: descriptor %d cannot become %d", p->name, fd,
                             target);
        }
        if (fcntl(fd, F_GETFD) < 0) { /* before a number that is free becomes one of ours */
            return uvm__fail(f, UVM_E_INVAL, errno, "%s: descriptor %d is not open", p->name, fd);
        }
        taken[target] = true;
    }
    return 0;
}

static bool is_target(const struct uvm__child_fd *fds, size_t count, int target) {
    for (size_t i = 0; i < count; i++) {
        if (fds[i].target == target) {
            return true;
        }
    }
    return false;
}

static void add_fd(struct uvm__spawn *s, int fd, int target) {
    UVM_ASSERT_CMP(s->fds_count, <, sizeof s->fds / sizeof s->fds[0]);
    s->fds[s->fds_count++] = (struct uvm__child_fd){fd, target};
    s->target_max = target > s->target_max ? target : s->target_max;
}

static int open_pipe(int fds[2]) {
    int made[2];
    if (pipe2(made, O_CLOEXEC) < 0) {
        return errno;
    }
    fds[0] = made[0];
    fds[1] = made[1];
    return 0;
}

/* Opens what the child gets besides the caller's, and lists all of it. 0 or errno. */
static int open_fds(struct uvm__spawn *s, const struct uvm__child_params *p) {
    int err = p->direct == NULL ? open_pipe(s->status) : 0;
    if (err == 0 && p->capture_stderr) {
        err = open_pipe(s->err);
    }
    if (err == 0) {
        s->null = open("/dev/null", O_RDWR | O_CLOEXEC);
        err = s->null < 0 ? errno : 0;
    }
    if (err != 0) {
        return err;
    }
    for (int target = 0; target <= STDERR_FILENO; target++) {
        if (!is_target(p->fds, p->fds_count, target)) {
            bool captured = target == STDERR_FILENO && p->capture_stderr;
            add_fd(s, captured ? s->err[1] : s->null, target);
        }
    }
    if (p->direct == NULL) {
        add_fd(s, s->status[1], UVM__LAUNCH_STATUS_FD);
    }
    for (size_t i = 0; i < p->fds_count; i++) {
        add_fd(s, p->fds[i].fd, p->fds[i].target);
    }
    return 0;
}

static size_t count_args(const char *const *args) {
    size_t n = 0;
    while (args != NULL && args[n] != NULL) {
        n++;
    }
    return n;
}

/* uvm-launch --parent PID --keep-fds MAX [launch_args] -- PROGRAM ARG... The texts of the two
 * numbers are in the same block, behind the pointers. */
static const char **make_argv(uvm_engine *e, const struct uvm__child_params *p, int keep_fds) {
    size_t options = count_args(p->launch_args);
    size_t args = count_args(p->argv);
    size_t count = 5 + options + 1 + args + 1;
    const char **argv = uvm__alloc(e, count * sizeof *argv + (size_t)2 * NUMBER_BYTES);
    if (argv == NULL) {
        return NULL;
    }
    char *parent = (char *)(argv + count);
    char *keep = parent + NUMBER_BYTES;
    (void)snprintf(parent, NUMBER_BYTES, "%ld", (long)getpid());
    (void)snprintf(keep, NUMBER_BYTES, "%d", keep_fds);
    const char *const first[] = {"uvm-launch", "--parent", parent, "--keep-fds", keep};
    size_t n = 0;
    for (; n < sizeof first / sizeof first[0]; n++) {
        argv[n] = first[n];
    }
    for (size_t i = 0; i < options; i++) {
        argv[n++] = p->launch_args[i];
    }
    argv[n++] = "--";
    for (size_t i = 0; i < args; i++) {
        argv[n++] = p->argv[i];
    }
    argv[n++] = NULL;
    UVM_ASSERT(n == count);
    return argv;
}

int uvm__spawn_prepare(uvm_engine *e, const struct uvm__child_params *p, struct uvm__spawn *s,
                       struct uvm__fail *f) {
    int err = open_fds(s, p);
    if (err != 0) {
        return uvm__fail(f, UVM_E_IO, err, "%s: no descriptors for its start: %s", p->name,
                         strerrordesc_np(err));
    }
    if (p->direct != NULL) {
        return 0;
    }
    s->argv = make_argv(e, p, s->target_max);
    if (s->argv == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "%s: out of memory", p->name);
    }
    return 0;
}

void uvm__spawn_release(uvm_engine *e, struct uvm__spawn *s) {
    int *const fds[] = {&s->status[0], &s->status[1], &s->err[0], &s->err[1], &s->null};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        uvm__close_fd(fds[i]);
    }
    uvm__free(e, s->argv);
    s->argv = NULL;
}

/* ---- the start ---------------------------------------------------------------------------- */

/* Where each descriptor of the list is taken from, and which of these are ours to close. */
struct sources {
    int fds[UVM__CHILD_FDS_MAX + 4];
    bool moved[UVM__CHILD_FDS_MAX + 4];
};

static int move_sources(const struct uvm__spawn *s, struct sources *from) {
    for (size_t i = 0; i < s->fds_count; i++) {
        from->fds[i] = s->fds[i].fd;
        if (s->fds[i].fd <= s->target_max) {
            int fd = fcntl(s->fds[i].fd, F_DUPFD_CLOEXEC, s->target_max + 1);
            if (fd < 0) {
                return errno;
            }
            from->fds[i] = fd;
            from->moved[i] = true;
        }
        UVM_ASSERT_CMP(from->fds[i], >, s->target_max);
    }
    return 0;
}

static int place(const struct uvm__spawn *s, const struct sources *from,
                 const struct uvm__child_direct *direct, posix_spawn_file_actions_t *actions) {
    int err = 0;
    if (direct != NULL && direct->folder_fd >= 0) { /* first, while its number is still its own */
        err = posix_spawn_file_actions_addfchdir_np(actions, direct->folder_fd);
    }
    for (size_t i = 0; i < s->fds_count && err == 0; i++) {
        err = posix_spawn_file_actions_adddup2(actions, from->fds[i], s->fds[i].target);
    }
    for (int fd = 0; fd < s->target_max && err == 0; fd++) {
        if (!is_target(s->fds, s->fds_count, fd)) {
            err =
                posix_spawn_file_actions_addclose(actions, fd); /* no error where it is not open */
        }
    }
    if (err == 0 && direct != NULL) {
        err = posix_spawn_file_actions_addclosefrom_np(actions, s->target_max + 1);
    }
    return err;
}

static int set_attributes(posix_spawnattr_t *attr, bool session) {
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int err = posix_spawnattr_setsigmask(attr, &none);
    if (err == 0) {
        err = posix_spawnattr_setsigdefault(attr, &all);
    }
    if (err == 0) {
        err = posix_spawnattr_setflags(attr, session ? (short)(flags | POSIX_SPAWN_SETSID) : flags);
    }
    return err;
}

static int spawn_from(const struct uvm__spawn *s, const struct sources *from,
                      const struct uvm__child_params *p, pid_t *ret_pid) {
    static char *const no_env[] = {NULL};
    const struct uvm__child_direct *direct = p->direct;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int err = posix_spawn_file_actions_init(&actions);
    if (err != 0) {
        return err;
    }
    err = posix_spawnattr_init(&attr);
    if (err == 0) {
        err = place(s, from, direct, &actions);
        if (err == 0) {
            err = set_attributes(&attr, direct != NULL && direct->session);
        }
        if (err == 0) {
            /* posix_spawn's types lack a const: it does not write to either. */
            char *const *argv =
                (char *const *)(direct == NULL ? (uintptr_t)s->argv : (uintptr_t)p->argv);
            char *const *env = p->envp == NULL ? no_env : (char *const *)(uintptr_t)p->envp;
            err = posix_spawn(ret_pid, program_path(p), &actions, &attr, argv, env);
        }
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return err;
}

int uvm__spawn_run(const struct uvm__spawn *s, const struct uvm__child_params *p, pid_t *ret_pid,
                   struct uvm__fail *f) {
    struct sources from = {0};
    int err = move_sources(s, &from);
    if (err == 0) {
        err = spawn_from(s, &from, p, ret_pid);
    }
    for (size_t i = 0; i < s->fds_count; i++) {
        if (from.moved[i]) {
            uvm__close_fd(&from.fds[i]);
        }
    }
    if (err == 0) {
        return 0;
    }
    bool missing = err == ENOENT || err == EACCES || err == ENOEXEC;
    return uvm__fail(f, missing ? UVM_E_HOST : UVM_E_IO, err, "%s: cannot start %s: %s", p->name,
                     program_path(p), strerrordesc_np(err));
}
