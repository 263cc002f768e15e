/* SPDX-License-Identifier: MIT
 * owner.c — the process in which a UVM in the background lives.
 *
 * listen (the name is taken) → boot → tell the starter, leave his terminal and folder → until the UVM has
 * ended → close, which answers clients and gives the name back. Before it runs, an interrupt or the end of
 * the starter undoes the boot; after that the first signal asks the guest to shut down, the second ends it.
 * Nothing is written but the state folder: what the engine says afterwards is in the errors and tails that
 * clients ask for.
 */
#include "async/sock.h"
#include "cmd/uvmctl/detach.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/progress.h"
#include "cmd/uvmctl/state.h"
#include "cmd/uvmctl/trace.h"
#include "uvm/control.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STARTER_FD 3

struct owner {
    struct app *app;
    uvm_vm *vm;
    uvm_scope *scope; /* of the boot */
    struct uvm__sock *starter;
    bool running, closing;
    int status;
};

static bool is_owner;

void detach_become_owner(void) {
    is_owner = true;
}

bool detach_is_owner(void) {
    return is_owner;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void leave_starter(struct owner *o) {
    if (o->starter != NULL) {
        uvm__sock_close(o->starter, NULL, NULL);
        o->starter = NULL;
    }
}

static void on_closed(void *arg) {
    struct owner *o = arg;
    leave_starter(o);
    progress_close(o->app->progress);
    o->app->progress = NULL;
    app_close(o->app);
}

static void close_vm(struct owner *o) {
    if (!o->closing) {
        o->closing = true;
        o->scope = uvm_scope_unref(o->scope);
        uvm_vm_close(o->vm, on_closed, o);
    }
}

static void fail(struct owner *o, const uvm_error *err) {
    if (!o->closing) {
        if (o->app->interrupted != 0) {
            out_message("interrupted");
        } else {
            out_error(err);
        }
        o->status = uvm_error_code(err) == UVM_E_EXISTS  ? EXIT_WRONG_STATE
                    : uvm_error_code(err) == UVM_E_INVAL ? EXIT_USAGE
                                                         : app_status(o->app, err, EXIT_FAILED);
    }
    close_vm(o);
}

/* ---- the life ----------------------------------------------------------------------------- */

static void on_end(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)err;
    close_vm(arg);
}

/* From here on we belong to nobody. */
static void tell_starter(struct owner *o) {
    char text[200];
    int n = snprintf(text, sizeof text, "running %s %s\n", uvm_vm_name(o->vm), uvm_vm_id(o->vm));
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    o->running = true;
    trace_close(EXIT_DONE); /* what was asked for is the boot; the starter may look at it now */
    o->app->show = UVM_LOG_ERROR;
    progress_close(o->app->progress);
    o->app->progress = NULL;
    if (null >= 0) {
        (void)dup2(null, STDERR_FILENO);
        close(null);
    }
    (void)!chdir("/");
    (void)uvm__sock_send(o->starter, text, (size_t)n, NULL, 0);
    leave_starter(o);
}

static void on_booted(uvm_op *op, const uvm_error *err, void *arg) {
    struct owner *o = arg;
    (void)op;
    if (err != NULL) {
        fail(o, err);
        return;
    }
    if (uvm_vm_wait(o->vm, NULL, on_end, o, NULL) < 0) {
        close_vm(o);
    } else {
        tell_starter(o);
    }
}

static void on_starter(struct uvm__sock *s, void *arg) {
    struct owner *o = arg;
    char byte;
    if (uvm__sock_recv(s, &byte, 1, NULL, NULL) != -UVM_E_AGAIN && !o->closing) {
        uvm__sock_reading(s, false);
        uvm_scope_cancel(o->scope); /* nobody waits for this UVM */
    }
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct owner *o = app->arg;
    (void)signo;
    if (o->closing) {
        return;
    }
    if (times == 1 && !o->running) {
        uvm_scope_cancel(o->scope);
    } else if (times > 1 || uvm_vm_stop(o->vm, 0, NULL, NULL, NULL, NULL) < 0) {
        close_vm(o);
    }
}

/* ---- the begin ---------------------------------------------------------------------------- */

static int publish(struct owner *o, uvm_error **ret_err) {
    struct uvm_control_params p = UVM_CONTROL_PARAMS_INIT;
    char folder[PATH_BYTES];
    struct uvm__fail f = {0};
    if (!state_path(folder, &f)) {
        *ret_err = uvm__fail_error(o->app->engine, -UVM_E_HOST, &f);
        return -UVM_E_HOST;
    }
    p.folder = folder;
    p.owner_pid = (uint32_t)getpid();
    return uvm_control_listen(o->vm, &p, NULL, ret_err);
}

static void begin(struct owner *o, const struct run_params *params) {
    uvm_error *err = NULL;
    int rc = uvm_vm_new(o->app->engine, o->app->service, &params->vm, &o->vm, &err);
    if (rc < 0) {
        out_error(err);
        uvm_error_unref(err);
        o->status = EXIT_USAGE;
        on_closed(o);
        return;
    }
    rc = publish(o, &err);
    rc = rc < 0
             ? rc
             : uvm_scope_new(o->app->engine, uvm_vm_scope(o->vm), app_left_ms(o->app), &o->scope);
    rc = rc < 0 ? rc : uvm_vm_boot(o->vm, o->scope, on_booted, o, NULL);
    if (rc < 0) {
        if (err == NULL) {
            err = uvm__fail_error(o->app->engine, rc, NULL);
        }
        fail(o, err);
        uvm_error_unref(err);
    }
}

int detach_own(struct app *app, const struct run_params *params) {
    static const struct uvm__sock_events events = {on_starter, NULL};
    struct owner o = {.app = app, .status = EXIT_DONE};
    struct stat st;
    app->arg = &o;
    app->on_interrupt = on_interrupt;
    (void)umask(077);
    if (fstat(STARTER_FD, &st) != 0 || !S_ISSOCK(st.st_mode) ||
        fcntl(STARTER_FD, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(STARTER_FD, F_SETFL, O_NONBLOCK) != 0 ||
        uvm__sock_open(app->engine, STARTER_FD, &events, &o, &o.starter) < 0) {
        out_message("this name of the program is for \"uvmctl boot --detach\"");
        app_close(app);
        app_run(app);
        return EXIT_USAGE;
    }
    uvm__sock_reading(o.starter, true);
    begin(&o, params);
    app_run(app);
    return o.status;
}
