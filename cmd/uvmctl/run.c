/* SPDX-License-Identifier: MIT
 * run.c — one UVM from boot to gone, as a chain of callbacks.
 *
 * boot → exec → wait, or boot → wait; whatever happens, finish() notes the outcome once and closes the
 * VM, and on_over comes when nothing of it is left. One scope carries the verb's deadline and the
 * interrupt to all of it. When the VM goes it is asked politely only if it has a disk that it may have
 * written to, which it then writes back: nothing else in it is worth keeping.
 */
#include "cmd/uvmctl/run.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/terminal.h"
#include "uvm/devices.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the end ------------------------------------------------------------------------------ */

static void on_closed(void *arg) {
    struct run *run = arg;
    run->vm = NULL;
    run->total_ms = uv_now(&run->app->loop) - run->begun_ms;
    run->on_over(run);
}

static void close_now(struct run *run) {
    if (!run->gone) {
        run->gone = true;
        uvm_vm_close(run->vm, on_closed, run);
    }
}

static void on_stopped(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)err; /* it ends now, in either way */
    close_now(arg);
}

static bool has_writable_disk(const struct run *run) {
    const struct uvm_scsi_params *const *disks = run->params->vm.disks;
    while (disks != NULL && *disks != NULL && (*disks)->read_only) {
        disks++;
    }
    return disks != NULL && *disks != NULL;
}

static void close_vm(struct run *run) {
    if (run->closing) {
        return;
    }
    run->closing = true;
    terminal_restore();
    run->times = uvm_vm_times(run->vm);
    run->exit = uvm_vm_exit(run->vm);
    run->exit.detail = "";
    uvm_process_close(run->process);
    run->process = NULL;
    run->scope = uvm_scope_unref(run->scope);
    if (uvm_vm_state(run->vm) != UVM_VM_RUNNING || !has_writable_disk(run) ||
        uvm_vm_stop(run->vm, 0, NULL, on_stopped, run, NULL) < 0) {
        close_now(run);
    }
}

static void fail(struct run *run, const uvm_error *err, int otherwise) {
    if (!run->closing) { /* else the outcome is known, and this is its echo */
        run->error = uvm_error_ref(err);
        run->status = app_status(run->app, err, otherwise);
    }
    close_vm(run);
}

/* ---- the command -------------------------------------------------------------------------- */

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    struct run *run = arg;
    struct capture *c = &run->captured[which == UVM_STDERR ? 1 : 0];
    (void)p;
    if (run->params->output == RUN_CAPTURE) {
        size_t n = bytes < CAPTURE_BYTES_MAX - c->len ? bytes : CAPTURE_BYTES_MAX - c->len;
        char *more = n == 0 ? NULL : realloc(c->data, c->len + n);
        if (more != NULL) {
            memcpy(more + c->len, data, n);
            c->data = more;
            c->len += n;
        }
        c->truncated = c->truncated || more == NULL || n < bytes;
    }
    return bytes;
}

static void on_process_end(uvm_op *op, const uvm_error *err, void *arg) {
    struct run *run = arg;
    struct uvm_process_exit exit;
    (void)op;
    if (err != NULL) {
        fail(run, err, EXIT_ENGINE);
        return;
    }
    if (run->process != NULL && uvm_process_exit(run->process, &exit) == 0) {
        run->has_status = true;
        if (uvm_process_lost(run->process)[0] != 0) {
            terminal_restore();
            out_message("%s: output was dropped: %s", run->name, uvm_process_lost(run->process));
        }
        run->status = exit.signal != 0 ? EXIT_SIGNAL + exit.signal : (int)(exit.code & 0xff);
    }
    close_vm(run);
}

static void on_exec(uvm_op *op, const uvm_error *err, void *arg) {
    struct run *run = arg;
    if (err != NULL) {
        fail(run, err, uvm_error_code(err) == UVM_E_PEER ? uvm_exec_status(op) : EXIT_ENGINE);
        return;
    }
    run->process = uvm_exec_result(op);
    if (run->params->tty) {
        (void)terminal_make_raw();
        run_resize(run); /* it may have changed since */
    }
    if (uvm_process_wait(run->process, run->scope, on_process_end, run, NULL) < 0) {
        close_vm(run); /* interrupted in this very moment */
    }
}

static int exec_command(struct run *run) {
    const struct run_params *p = run->params;
    struct uvm_exec_params x = UVM_EXEC_PARAMS_INIT;
    x.argv = (const char *const *)p->command;
    x.env = p->env;
    x.cwd = p->cwd;
    x.user = p->user;
    x.tty = p->tty;
    x.on_output = on_output;
    x.arg = run;
    if (p->tty) {
        terminal_size(&x.rows, &x.cols);
    }
    static const int fds[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    for (int i = 0; i < UVM_STDIO_MAX; i++) {
        bool relayed = p->output == RUN_RELAY || (i == UVM_STDIN && p->output == RUN_CAPTURE);
        x.stdio[i] = relayed ? UVM_STDIO_FD : i == UVM_STDIN ? UVM_STDIO_NONE : UVM_STDIO_CALLBACK;
        x.fd[i] = fds[i];
    }
    if (p->tty) {
        x.stdio[UVM_STDERR] = UVM_STDIO_NONE; /* a terminal has one output */
    }
    return uvm_exec_start(run->vm, &x, run->scope, on_exec, run, NULL);
}

/* ---- boot --------------------------------------------------------------------------------- */

static void on_vm_end(uvm_op *op, const uvm_error *err, void *arg) {
    struct run *run = arg;
    (void)op;
    if (err != NULL) {
        fail(run, err, EXIT_FAILED);
        return;
    }
    struct uvm_vm_exit exit = uvm_vm_exit(run->vm);
    if (exit.reason != UVM_EXIT_GUEST_SHUTDOWN) {
        out_message("%s: %s%s%s", uvm_vm_name(run->vm), uvm_exit_reason_text(exit.reason),
                    exit.detail[0] == 0 ? "" : ": ", exit.detail);
    }
    run->status = exit.reason == UVM_EXIT_GUEST_SHUTDOWN ? EXIT_DONE : EXIT_FAILED;
    close_vm(run);
}

static void on_boot(uvm_op *op, const uvm_error *err, void *arg) {
    struct run *run = arg;
    (void)op;
    if (err != NULL) {
        fail(run, err, run->params->command == NULL ? EXIT_FAILED : EXIT_ENGINE);
        return;
    }
    (void)snprintf(run->accel, sizeof run->accel, "%s", uvm_vm_accel(run->vm));
    int rc = 0;
    if (run->params->command != NULL) {
        rc = exec_command(run);
    } else if (run->params->until_negotiated) {
        close_vm(run);
    } else {
        rc = uvm_vm_wait(run->vm, run->scope, on_vm_end, run, NULL);
    }
    if (rc < 0) {
        out_message("%s: the command could not be sent: %s", run->name, uvm_error_code_text(rc));
        run->status = EXIT_ENGINE;
        close_vm(run);
    }
}

void run_start(struct run *run, struct app *app, const struct run_params *params,
               void (*on_over)(struct run *run), void *arg) {
    *run = (struct run){.app = app, .params = params, .on_over = on_over, .arg = arg};
    run->begun_ms = uv_now(&app->loop);
    struct uvm_vm_params vm = params->vm;
    vm.arg = run;
    if (uvm_vm_new(app->engine, app->service, &vm, &run->vm, &run->error) < 0) {
        run->status = params->command == NULL ? EXIT_USAGE : EXIT_ENGINE;
        on_over(run);
        return;
    }
    (void)snprintf(run->id, sizeof run->id, "%s", uvm_vm_id(run->vm));
    (void)snprintf(run->name, sizeof run->name, "%s", uvm_vm_name(run->vm));
    run->status = EXIT_ENGINE;
    int rc = uvm_scope_new(app->engine, uvm_vm_scope(run->vm), app_left_ms(app), &run->scope);
    rc = rc < 0 ? rc : uvm_vm_boot(run->vm, run->scope, on_boot, run, NULL);
    if (rc < 0) {
        out_message("%s: no boot: %s", run->name, uvm_error_code_text(rc));
        close_vm(run);
    }
}

void run_interrupt(struct run *run, unsigned times) {
    if (run->vm == NULL) {
        return;
    }
    if (run->closing) {
        close_now(run); /* whoever insists does not wait for what the guest writes back */
        return;
    }
    if (times == 1) {
        uvm_scope_cancel(run->scope);
    } else {
        run->status = EXIT_SIGNAL + run->app->interrupted;
        close_vm(run);
    }
}

void run_output_gone(struct run *run) {
    if (run->vm != NULL && !run->closing) {
        run->status = EXIT_SIGNAL + SIGPIPE;
        close_vm(run);
    }
}

void run_resize(struct run *run) {
    uint16_t rows, cols;
    if (run->process == NULL || run->closing) {
        return;
    }
    terminal_size(&rows, &cols);
    /* A guest that cannot resize goes on with the size that it has. */
    (void)uvm_process_resize(run->process, rows, cols, NULL, NULL, NULL, NULL);
}

void run_deinit(struct run *run) {
    uvm_error_unref(run->error);
    run->error = NULL;
    for (size_t i = 0; i < 2; i++) {
        free(run->captured[i].data);
        run->captured[i] = (struct capture){0};
    }
}
