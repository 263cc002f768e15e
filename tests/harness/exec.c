/* SPDX-License-Identifier: MIT
 * exec.c — commands in the guest, from start to status, and small files through its shell.
 *
 * A command's output is always taken: what is more than the test wants is counted and dropped, since a stream
 * that nobody reads would hold the command. Its input is fed as the guest takes it, and given up when it does
 * not. A command whose time is over is killed with its whole group and waited for, so that the next call finds
 * the guest as this one did.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/harness_int.h"

#define KILL_MS 10000u
#define FILE_ERROR_BYTES 4096u

/* ---- streams ------------------------------------------------------------------------------ */

static void keep(struct uvm__harness_text *t, const void *data, size_t bytes, size_t max) {
    size_t n = bytes < max - t->bytes ? bytes : max - t->bytes;
    if (t->bytes + n + 1 > t->room) {
        size_t room = 2 * (t->bytes + n) + 64;
        char *grown = realloc(t->data, room);
        if (grown == NULL) {
            n = 0;
        } else {
            t->data = grown;
            t->room = room;
        }
    }
    if (n > 0) {
        memcpy(t->data + t->bytes, data, n);
        t->bytes += n;
        t->data[t->bytes] = '\0';
    }
    t->dropped += bytes - n;
}

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    uvm_harness *h = arg;
    (void)p;
    keep(which == UVM_STDERR ? &h->err : &h->out, data, bytes, h->output_max);
    return bytes;
}

/* Gives as much as is taken now. */
static void feed(uvm_process *p, void *arg) {
    uvm_harness *h = arg;
    while (h->input != NULL && h->input_left > 0) {
        int64_t n = uvm_process_write(p, h->input, h->input_left);
        if (n == -UVM_E_AGAIN || n == 0) {
            return;
        }
        if (n < 0) { /* it reads no more */
            break;
        }
        h->input += n;
        h->input_left -= (size_t)n;
    }
    if (h->input != NULL) {
        h->input = NULL;
        uvm_process_close_stdin(p);
    }
}

/* ---- one command -------------------------------------------------------------------------- */

static int start_exec(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                      void *done_arg, uvm_op **ret_op) {
    return uvm_exec_start(h->vm, arg, scope, on_done, done_arg, ret_op);
}

static int start_process_wait(uvm_harness *h, const void *arg, uvm_scope *scope,
                              uvm_done_fn on_done, void *done_arg, uvm_op **ret_op) {
    (void)arg;
    return uvm_process_wait(h->process, scope, on_done, done_arg, ret_op);
}

static int start_kill(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                      void *done_arg, uvm_op **ret_op) {
    (void)arg;
    return uvm_process_signal(h->process, SIGKILL, true, scope, on_done, done_arg, ret_op);
}

/* The message is the one of the deadline, whatever else goes wrong now. */
static void kill_it(uvm_harness *h) {
    char *message = h->message;
    h->message = NULL;
    if (uvm__harness_run(h, "kill", KILL_MS, start_kill, NULL, NULL) == 0) {
        (void)uvm__harness_run(h, "kill", KILL_MS, start_process_wait, NULL, NULL);
    }
    if (!h->stuck) {
        free(h->message);
        h->message = message;
    } else {
        free(message);
    }
}

static uint64_t loop_ms(uvm_harness *h) {
    uv_update_time(&h->loop);
    return uv_now(&h->loop);
}

/* Starts it and waits for its end, both within `ms`. */
static int run_process(uvm_harness *h, const struct uvm_exec_params *exec, uint32_t ms,
                       int *ret_status) {
    uint64_t began = loop_ms(h);
    uvm_op *op = NULL;
    int rc = uvm__harness_run(h, exec->argv[0], ms, start_exec, exec, &op);
    if (rc < 0) {
        *ret_status = op == NULL ? 125 : uvm_exec_status(op);
        uvm_op_unref(op);
        return rc;
    }
    h->process = uvm_exec_result(op);
    uvm_op_unref(op);
    feed(h->process, h);
    uint64_t took = loop_ms(h) - began;
    rc = uvm__harness_run(h, exec->argv[0], took < ms ? ms - (uint32_t)took : 1, start_process_wait,
                          NULL, NULL);
    struct uvm_process_exit how = {0};
    if (rc == 0 && (rc = uvm_process_exit(h->process, &how)) < 0) {
        (void)uvm__harness_fail(h, -rc, NULL, "%s: its status is not known", exec->argv[0]);
    }
    if (rc == -UVM_E_TIMEDOUT && !h->stuck) {
        kill_it(h);
    }
    h->input = NULL;
    if (!h->stuck) {
        uvm_process_close(h->process);
        h->process = NULL;
    }
    *ret_status = how.signal != 0 ? 128 + how.signal : (int)how.code;
    return rc;
}

static void fill(uvm_harness *h, struct uvm_harness_result *ret, int status) {
    *ret = (struct uvm_harness_result){
        .status = status,
        .out = h->out.data == NULL ? "" : h->out.data,
        .out_bytes = h->out.bytes,
        .out_dropped = h->out.dropped,
        .err = h->err.data == NULL ? "" : h->err.data,
        .err_bytes = h->err.bytes,
        .err_dropped = h->err.dropped,
    };
}

static void start_text(struct uvm__harness_text *t) {
    t->bytes = 0;
    t->dropped = 0;
    if (t->data != NULL) {
        t->data[0] = '\0';
    }
}

int uvm_harness_exec(uvm_harness *h, const struct uvm_harness_exec_params *params,
                     struct uvm_harness_result *ret) {
    struct uvm_exec_params exec = UVM_EXEC_PARAMS_INIT;
    int status = 125;
    if (params->size != sizeof *params || params->argv == NULL || params->argv[0] == NULL) {
        return uvm__harness_fail(h, UVM_E_INVAL, NULL,
                                 "exec: no command, or params of another size");
    }
    exec.argv = params->argv;
    exec.env = params->env;
    exec.cwd = params->cwd;
    exec.user = params->user;
    exec.stdio[UVM_STDIN] = params->input == NULL ? UVM_STDIO_NONE : UVM_STDIO_CALLBACK;
    exec.stdio[UVM_STDOUT] = exec.stdio[UVM_STDERR] = UVM_STDIO_CALLBACK;
    exec.on_output = on_output;
    exec.on_writable = feed;
    exec.arg = h;
    start_text(&h->out);
    start_text(&h->err);
    h->input = params->input;
    h->input_left = params->input_bytes;
    h->output_max =
        params->output_bytes_max == 0 ? UVM_HARNESS_OUTPUT_BYTES : params->output_bytes_max;
    int rc = run_process(
        h, &exec, params->deadline_ms == 0 ? h->params.call_ms : params->deadline_ms, &status);
    fill(h, ret, status);
    return rc;
}

int uvm_harness_sh(uvm_harness *h, const char *line, struct uvm_harness_result *ret) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    exec.argv = (const char *const[]){"sh", "-c", line, NULL};
    return uvm_harness_exec(h, &exec, ret);
}

/* ---- files -------------------------------------------------------------------------------- */

int uvm_harness_push(uvm_harness *h, const char *path, const void *data, size_t bytes,
                     unsigned mode) {
    static const char line[] = "umask 077; cat > \"$1\" && chmod \"$2\" \"$1\" && wc -c < \"$1\"";
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r;
    char octal[16];
    (void)snprintf(octal, sizeof octal, "%o", mode & 07777u);
    exec.argv = (const char *const[]){"sh", "-c", line, "sh", path, octal, NULL};
    exec.input = bytes == 0 ? "" : data;
    exec.input_bytes = bytes;
    exec.output_bytes_max = FILE_ERROR_BYTES;
    int rc = uvm_harness_exec(h, &exec, &r);
    if (rc == 0 && (r.status != 0 || strtoull(r.out, NULL, 10) != bytes)) {
        rc = uvm__harness_fail(h, UVM_E_PEER, NULL, "%s was not written: status %d, %s", path,
                               r.status, r.err);
    }
    return rc;
}

int uvm_harness_pull(uvm_harness *h, const char *path, size_t bytes_max,
                     struct uvm_harness_result *ret) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    exec.argv = (const char *const[]){"sh", "-c", "exec cat < \"$1\"", "sh", path, NULL};
    exec.output_bytes_max = bytes_max == 0 ? 1 : bytes_max;
    int rc = uvm_harness_exec(h, &exec, ret);
    if (rc == 0 && ret->status != 0) {
        return uvm__harness_fail(h, UVM_E_PEER, NULL, "%s was not read: status %d, %s", path,
                                 ret->status, ret->err);
    }
    if (rc == 0 && (ret->out_dropped > 0 || ret->out_bytes > bytes_max)) {
        return uvm__harness_fail(h, UVM_E_LIMIT, NULL, "%s is longer than %zu bytes", path,
                                 bytes_max);
    }
    return rc;
}
