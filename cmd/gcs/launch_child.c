/* SPDX-License-Identifier: MIT
 *
 * The last step of an exec: the child, as the leader of a session. With a terminal or another user it
 * is this binary as uvm-launch, which takes the terminal, becomes the user, changes folder, and execs.
 * All others are started directly, which costs one exec less (of three in an emulated guest's time for
 * /bin/true). The program is looked up here, in the agent's PATH and before anything is started, so
 * that "not found" is told apart and argv[0] stays what the host wrote.
 *
 * Ownership: the process object belongs to the step until on_started; from then on to the table. The
 * descriptors are closed when the child has its own, or become the relay's.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "cmd/gcs/exec.h"
#include "cmd/gcs/lookpath.h"
#include "cmd/gcs/user.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_STARTED GCS_FAULT("process.go", "newExternalProcess")
#define LAUNCH_ARGS_MAX 20

/* How it is started, with the memory of what is made here. */
struct options {
    bool simple;            /* directly */
    int cwd_fd;             /* directly: its folder, closed by the step; -1: the agent's */
    char program[PATH_MAX]; /* directly: what is executed */
    const char *argv[LAUNCH_ARGS_MAX]; /* of uvm-launch */
    size_t count;
    char uid[12], gid[12], folder[PATH_MAX];
};

static void option(struct options *o, const char *name, const char *value) {
    UVM_ASSERT_CMP(o->count + 3, <=, LAUNCH_ARGS_MAX);
    o->argv[o->count++] = name;
    if (value != NULL) {
        o->argv[o->count++] = value;
    }
    o->argv[o->count] = NULL;
}

/* Go's words for an errno are libc's without the capital. */
static const char *words(int64_t err, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, "%s", strerror((int)err));
    if (buf[0] >= 'A' && buf[0] <= 'Z' && buf[1] >= 'a' && buf[1] <= 'z') {
        buf[0] = (char)(buf[0] - 'A' + 'a');
    }
    return buf;
}

/* ---- what the child tells ---------------------------------------------------------------------- */

static void on_tty_over(struct gcs_tty *t, void *arg) {
    (void)t;
    gcs_process_tty_over(arg);
}

static void on_exit_of_child(struct uvm__child *c, int status, void *arg) {
    (void)c;
    gcs_process_reaped(arg, status);
}

static void started(uvm_op *op, struct gcs_process *p) {
    struct gcs_exec *x = uvm__op_state(op);

    gcs_process_running(p);
    x->pid = p->pid;
    uvm__step_done(op, NULL);
}

/* `where` is a step of uvm-launch by name. */
static void not_started(uvm_op *op, const char *where, int64_t err) {
    static const struct {
        const char *name;
        enum uvm__start_step step;
    } steps[] = {{"exec", UVM__START_EXEC}, {"chdir", UVM__START_CHDIR}, {"user", UVM__START_USER}};
    struct gcs_exec *x = uvm__op_state(op);
    enum uvm__start_step step = UVM__START_NONE;
    char text[128];

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(where, steps[i].name) == 0) {
            step = steps[i].step;
        }
    }
    (void)words(err, text, sizeof text);
    if (step == UVM__START_EXEC) {
        gcs_exec_fail(op, step, err, NOT_STARTED,
                      "failed to call Start for external process: fork/exec %s: %s", x->argv[0],
                      text);
    } else if (step == UVM__START_CHDIR) {
        gcs_exec_fail(op, step, err, NOT_STARTED,
                      "failed to call Start for external process: chdir %s: %s", x->params.cwd,
                      text);
    } else {
        gcs_exec_fail(op, step, err, NOT_STARTED,
                      "failed to call Start for external process: %s: %s: %s", where, x->argv[0],
                      text);
    }
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct gcs_process *p = arg;
    uvm_op *op = UVM_TAKE_PTR(p->op);
    struct gcs_exec *x = uvm__op_state(op);

    (void)c;
    UVM_ASSERT(x->process == p && p->state == GCS_STARTING);
    x->process = NULL;
    if (err == NULL) {
        started(op, p);
        return;
    }
    gcs_process_drop(p);
    not_started(op, uvm_error_step(err), uvm_error_sys(err));
}

/* ---- what it is made of --------------------------------------------------------------------------- */

/* Where the program is, when its name has no slash. False: the step has failed. */
static bool look_up(uvm_op *op, const struct gcs_exec *x, struct options *o) {
    const char *name = x->argv[0];
    const char *path = getenv("PATH");
    int rc;

    if (strchr(name, '/') != NULL) {
        return true;
    }
    rc = gcs_lookpath(name, path == NULL ? GCS_INTERNAL_PATH : path, o->folder, sizeof o->folder);
    if (rc < 0) {
        gcs_exec_fail(
            op, UVM__START_EXEC, rc == -UVM_E_PEER ? EACCES : ENOENT, NOT_STARTED,
            "failed to call Start for external process: exec: \"%s\": executable file not "
            "found in $PATH",
            name);
        return false;
    }
    option(o, "--search", NULL);
    option(o, "--path", o->folder);
    return true;
}

/* For the direct start: the program's path and its folder. False: the step has failed. */
static bool locate(uvm_op *op, const struct gcs_exec *x, struct options *o) {
    const char *name = x->argv[0], *cwd = x->params.cwd;
    bool slash = strchr(name, '/') != NULL;
    int n = snprintf(o->program, sizeof o->program, "%s%s%s", slash ? "" : o->folder,
                     slash ? "" : "/", name);

    if (n < 0 || (size_t)n >= sizeof o->program) {
        not_started(op, "exec", ENAMETOOLONG);
        return false;
    }
    if (cwd == NULL || cwd[0] == '\0') {
        return true;
    }
    o->cwd_fd = open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (o->cwd_fd < 0 || faccessat(o->cwd_fd, ".", X_OK, AT_EACCESS) < 0) {
        not_started(op, "chdir", errno);
        return false;
    }
    return true;
}

/* As whom, when the host may say so. False: the step has failed. */
static bool become(uvm_op *op, const struct gcs_exec *x, struct options *o) {
    struct gcs_user user;
    struct uvm__fail f;

    if (x->control == 0 || x->params.user == NULL || x->params.user[0] == '\0') {
        return true;
    }
    if (gcs_user_find(x->params.user, "/etc/passwd", "/etc/group", &user, &f) < 0) {
        gcs_exec_fail(op, UVM__START_USER, f.sys, NOT_STARTED,
                      "failed to call Start for external process: %s", f.msg);
        return false;
    }
    (void)snprintf(o->uid, sizeof o->uid, "%" PRIu32, user.uid);
    (void)snprintf(o->gid, sizeof o->gid, "%" PRIu32, user.gid);
    option(o, "--uid", o->uid);
    option(o, "--gid", o->gid);
    return true;
}

static bool options(uvm_op *op, const struct gcs_exec *x, struct options *o) {
    o->count = 0;
    o->cwd_fd = -1;
    option(o, "--setsid", NULL);
    if (x->params.terminal) {
        option(o, "--ctty", "0");
    }
    if (x->params.cwd != NULL && x->params.cwd[0] != '\0') {
        option(o, "--chdir", x->params.cwd);
    }
    option(o, "--deathsig", "9");
    bool no_user = x->params.user == NULL || x->params.user[0] == '\0';
    o->simple = !x->params.terminal && (x->control == 0 || no_user);
    return become(op, x, o) && look_up(op, x, o) && (!o->simple || locate(op, x, o));
}

/* The terminal and its relay, which takes the dialled descriptors. Returns the child's end, or -1 when the
 * step has failed. */
static int terminal(uvm_op *op, struct gcs_exec *x, struct gcs_process *p) {
    bool sized = x->control > 0;
    UVM_CLEANUP_FD int slave = -1;
    struct uvm__fail f;
    int rc;

    p->terminal = true;
    rc = gcs_tty_open(x->agent->engine, sized ? x->params.height : 0, sized ? x->params.width : 0,
                      &p->tty, &slave, &f);
    if (rc < 0) {
        gcs_exec_fail(op, UVM__START_STDIO, f.sys, NOT_STARTED, "%s", f.msg);
        return -1;
    }
    rc = gcs_tty_start(p->tty, UVM_TAKE_FD(x->fds[0]), UVM_TAKE_FD(x->fds[1]),
                       UVM_TAKE_FD(x->fds[2]), on_tty_over, p);
    if (rc < 0) {
        gcs_exec_fail(op, UVM__START_STDIO, ENOMEM, NOT_STARTED, "terminal: %s",
                      uvm_error_code_text(rc));
        return -1;
    }
    return UVM_TAKE_FD(slave);
}

/* The child's descriptors 0, 1 and 2; they must block, as any program expects. */
static size_t descriptors(const struct gcs_exec *x, int slave, struct uvm__child_fd fds[3]) {
    size_t count = 0;

    for (int i = 0; i < 3; i++) {
        int fd = x->params.terminal ? slave : x->fds[i];

        if (fd >= 0) {
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
            fds[count].fd = fd;
            fds[count].target = i;
            count++;
        }
    }
    return count;
}

static int spawn(struct gcs_exec *x, const struct options *o, int slave, struct gcs_process *p,
                 struct uvm__fail *f) {
    const struct uvm__child_direct direct = {o->program, o->cwd_fd, true};
    struct uvm__child_fd fds[3];
    const struct uvm__child_params params = {
        .direct = o->simple ? &direct : NULL,
        .launch_path = GCS_LAUNCH_PATH,
        .name = p->name,
        .argv = x->argv,
        .envp = x->params.env,
        .launch_args = o->argv,
        .fds = fds,
        .fds_count = descriptors(x, slave, fds),
        .on_started = on_started,
        .on_exit = on_exit_of_child,
        .arg = p,
    };

    return uvm__child_spawn(x->agent->engine, &params, &p->child, f);
}

/* A direct start tells by the spawn itself that the exec failed, or that there was no process to exec. */
static void not_spawned(uvm_op *op, const struct options *o, const struct uvm__fail *f) {
    bool no_process =
        f->sys == 0 || f->sys == EAGAIN || f->sys == ENOMEM || f->sys == EMFILE || f->sys == ENFILE;

    if (o->simple && !no_process) {
        not_started(op, "exec", f->sys);
    } else {
        gcs_exec_fail(op, UVM__START_NONE, f->sys, NOT_STARTED,
                      "failed to call Start for external process: %s", f->msg);
    }
}

/* The process object of the step, with the terminal if there is to be one. NULL: the step has failed. */
static struct gcs_process *make_process(uvm_op *op, struct gcs_exec *x, int *ret_slave) {
    struct gcs_process *p = gcs_process_new(x->agent, x->argv[0]);

    if (p == NULL) {
        gcs_exec_fail(op, UVM__START_NONE, ENOMEM, GCS_NO_PLACE, "out of memory");
        return NULL;
    }
    if (x->params.terminal) {
        *ret_slave = terminal(op, x, p);
        if (*ret_slave < 0) {
            gcs_process_drop(p);
            return NULL;
        }
    }
    p->op = op;
    return p;
}

void gcs_exec_start(uvm_op *op, void *state) {
    struct gcs_exec *x = state;
    UVM_CLEANUP_FD int slave = -1;
    struct gcs_process *p = NULL;
    struct options o;
    struct uvm__fail f;

    if (options(op, x, &o)) {
        p = make_process(op, x, &slave);
    }
    if (p != NULL && spawn(x, &o, slave, p, &f) < 0) {
        gcs_process_drop(p);
        not_spawned(op, &o, &f);
    } else if (p != NULL) {
        x->process = p;
        for (size_t i = 0; i < 3; i++) {
            uvm__close_fd(&x->fds[i]);
        }
    }
    uvm__close_fd(&o.cwd_fd);
}
