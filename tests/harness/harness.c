/* SPDX-License-Identifier: MIT
 * harness.c — one VM of a test, from the first census to the second.
 *
 * Everything is made in one order (census, loop and engine, service, VM) and closed in the other; only after the
 * last of them is gone the second census is taken, so whatever one of them left is in it. Closing waits with the
 * same bounds as any call. A close that does not end leaves what hangs to the process: freeing it under the feet
 * of a callback that may still come would hide the fault behind a worse one.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/harness_int.h"

#define SETTLE_MS 1000u

/* ---- messages ----------------------------------------------------------------------------- */

int uvm__harness_fail(uvm_harness *h, int code, const uvm_error *err, const char *format, ...) {
    char *text = NULL;
    size_t bytes = 0;
    bool detailed = false;
    va_list args;
    FILE *f = open_memstream(&text, &bytes);
    if (f != NULL) {
        va_start(args, format);
        (void)vfprintf(f, format, args);
        va_end(args);
        fprintf(f, " (%s)\n", uvm_error_code_name(code));
        for (const uvm_error *e = err; e != NULL; e = uvm_error_cause(e)) {
            const char *detail = uvm_error_detail(e);
            detailed = detailed || *detail != '\0';
            fprintf(f, "%s: %s\n%s%s", uvm_error_step(e), uvm_error_message(e), detail,
                    *detail != '\0' && detail[strlen(detail) - 1] != '\n' ? "\n" : "");
        }
        bool helps = code == UVM_E_TIMEDOUT || code == UVM_E_EXITED || code == UVM_E_CLOSED;
        if (helps && !detailed && h->console_bytes > 0) {
            fprintf(f, "the guest's console:\n%s\n", h->console);
        }
        (void)fclose(f);
    }
    free(h->message); /* not before: it may be among the words */
    h->message = text;
    return -code;
}

const char *uvm_harness_message(const uvm_harness *h) {
    return h->message == NULL ? "" : h->message;
}

const char *uvm_harness_console(const uvm_harness *h) {
    return h->console;
}

static void on_console(uvm_vm *vm, const void *data, size_t bytes, void *arg) {
    uvm_harness *h = arg;
    const char *from = data;
    size_t n = bytes > UVM_HARNESS_CONSOLE_BYTES ? UVM_HARNESS_CONSOLE_BYTES : bytes;
    size_t keep = UVM_HARNESS_CONSOLE_BYTES - n;
    if (h->console_bytes > keep) {
        memmove(h->console, h->console + h->console_bytes - keep, keep);
        h->console_bytes = keep;
    }
    memcpy(h->console + h->console_bytes, from + bytes - n, n);
    h->console_bytes += n;
    for (size_t i = h->console_bytes - n; i < h->console_bytes; i++) {
        h->console[i] = h->console[i] == '\0' ? '?' : h->console[i]; /* it is a string to readers */
    }
    h->console[h->console_bytes] = '\0';
    if (h->on_console != NULL) {
        h->on_console(vm, data, bytes, h->console_arg);
    }
}

/* ---- made --------------------------------------------------------------------------------- */

static int take_census(uvm_harness *h, const struct uvm_harness_params *params) {
    struct uvm_harness_census_params census = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uv_loop_t first; /* the first loop of a process opens what libuv keeps for good */
    if (uv_loop_init(&first) != 0) {
        return -UVM_E_IO;
    }
    (void)uv_loop_close(&first);
    census.folders = params->folders;
    census.shared_folders = params->shared_folders;
    return uvm_harness_census_take(&census, &h->before);
}

int uvm_harness_new(const struct uvm_harness_params *params, uvm_harness **ret_harness) {
    if (params == NULL || params->size != sizeof *params || params->service == NULL) {
        return -UVM_E_INVAL;
    }
    uvm_harness *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    h->params = *params;
    h->params.call_ms = params->call_ms == 0 ? UVM_HARNESS_CALL_MS : params->call_ms;
    h->params.settle_ms = params->settle_ms == 0 ? SETTLE_MS : params->settle_ms;
    h->closed = true;
    int rc = take_census(h, params);
    rc = rc < 0 ? rc : uvm__harness_loop_open(h);
    if (rc == 0) {
        h->closed = false;
        rc = params->service(h->engine, params->service_arg, &h->service);
    }
    if (rc < 0) {
        uvm_harness_free(h);
        return rc;
    }
    *ret_harness = h;
    return 0;
}

struct uv_loop_s *uvm_harness_loop(uvm_harness *h) {
    return &h->loop;
}

uvm_engine *uvm_harness_engine(uvm_harness *h) {
    return h->engine;
}

uvm_vm *uvm_harness_vm(uvm_harness *h) {
    return h->vm;
}

/* ---- closed ------------------------------------------------------------------------------- */

static void set_true(void *arg) {
    *(bool *)arg = true;
}

/* Waits for what is closing. */
static int await_closed(uvm_harness *h, const bool *closed, const char *what) {
    if (uvm_harness_until(h, closed, UVM_HARNESS_UNDO_MS) == 0) {
        return 0;
    }
    h->stuck = true;
    return uvm__harness_fail(h, UVM_E_TIMEDOUT, NULL, "%s did not close", what);
}

static int close_vm(uvm_harness *h) {
    bool closed = h->vm == NULL;
    uvm_process_close(h->process);
    h->process = NULL;
    if (h->vm != NULL) {
        uvm_vm_close(h->vm, set_true, &closed);
        h->vm = NULL;
    }
    return await_closed(h, &closed, "the VM");
}

static int close_service(uvm_harness *h) {
    bool closed = h->service == NULL;
    if (h->service != NULL) {
        uvm_service_close(h->service, set_true, &closed);
        h->service = NULL;
    }
    return await_closed(h, &closed, "the service");
}

/* What the second census has to say goes before what loop and memory said. */
static int compare(uvm_harness *h, int loop_rc) {
    char *text = NULL;
    int left = uvm_harness_census_compare(h->before, 0, h->params.settle_ms, &text);
    if (left < 0) {
        return uvm__harness_fail(h, -left, NULL, "the census after it");
    }
    if (left == 0 && loop_rc == 0) {
        return 0;
    }
    char *inside = h->message;
    h->message = NULL;
    if (asprintf(&h->message, "left behind:\n%s%s", text == NULL ? "" : text,
                 loop_rc == 0 || inside == NULL ? "" : inside) < 0) {
        h->message = NULL;
    }
    free(text);
    free(inside);
    return -UVM_E_UNDO;
}

int uvm_harness_close(uvm_harness *h) {
    if (h->closed) {
        return uvm__harness_fail(h, UVM_E_STATE, NULL, "closed already");
    }
    int rc = h->stuck ? -UVM_E_TIMEDOUT : close_vm(h); /* stuck: the message says in what */
    rc = rc < 0 ? rc : close_service(h);
    if (rc == 0) {
        rc = compare(h, uvm__harness_loop_close(h));
    }
    h->closed = true;
    return rc;
}

void uvm_harness_free(uvm_harness *h) {
    static uvm_harness *lost; /* so that a leak checker finds them */

    if (h == NULL) {
        return;
    }
    if (!h->closed) {
        (void)uvm_harness_close(h);
    }
    uvm_harness_census_free(h->before);
    free(h->message);
    free(h->out.data);
    free(h->err.data);
    if (!h->stuck && uvm__harness_loop_end(h)) {
        free(h);
    } else { /* somebody's handles point into it */
        h->next_lost = lost;
        lost = h;
    }
}

/* ---- a VM's life -------------------------------------------------------------------------- */

static int start_boot(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                      void *done_arg, uvm_op **ret_op) {
    (void)arg;
    return uvm_vm_boot(h->vm, scope, on_done, done_arg, ret_op);
}

int uvm_harness_boot(uvm_harness *h, const struct uvm_vm_params *vm) {
    struct uvm_vm_params params;
    uvm_error *err = NULL;
    if (h->closed || h->stuck) {
        return uvm__harness_fail(h, UVM_E_STATE, NULL, "boot: the harness is closed, or stuck");
    }
    if (vm == NULL || vm->size != sizeof params) {
        return uvm__harness_fail(h, UVM_E_INVAL, NULL, "boot: params of another size");
    }
    if (h->vm != NULL) {
        enum uvm_vm_state state = uvm_vm_state(h->vm);
        if (state != UVM_VM_CREATED && state != UVM_VM_STOPPED && state != UVM_VM_FAILED) {
            return uvm__harness_fail(h, UVM_E_STATE, NULL, "boot: there is a VM that is %s",
                                     uvm_vm_state_text(state));
        }
        int rc = close_vm(h);
        if (rc < 0) {
            return rc;
        }
    }
    params = *vm;
    h->on_console = vm->on_console;
    h->console_arg = vm->arg;
    h->console_bytes = 0;
    h->console[0] = '\0';
    params.on_console = on_console;
    params.arg = h;
    int rc = uvm_vm_new(h->engine, h->service, &params, &h->vm, &err);
    if (rc < 0) {
        (void)uvm__harness_fail(h, -rc, err, "a VM was not made");
        uvm_error_unref(err);
        return rc;
    }
    return uvm__harness_run(h, "boot", h->params.call_ms, start_boot, NULL, NULL);
}

static int start_stop(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                      void *done_arg, uvm_op **ret_op) {
    return uvm_vm_stop(h->vm, *(const uint32_t *)arg, scope, on_done, done_arg, ret_op);
}

static int start_terminate(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                           void *done_arg, uvm_op **ret_op) {
    (void)arg;
    return uvm_vm_terminate(h->vm, scope, on_done, done_arg, ret_op);
}

static int start_wait(uvm_harness *h, const void *arg, uvm_scope *scope, uvm_done_fn on_done,
                      void *done_arg, uvm_op **ret_op) {
    (void)arg;
    return uvm_vm_wait(h->vm, scope, on_done, done_arg, ret_op);
}

/* How it ended, of a verb that ended well. */
static int told(uvm_harness *h, int rc, struct uvm_vm_exit *ret_exit) {
    if (rc == 0 && ret_exit != NULL) {
        *ret_exit = uvm_vm_exit(h->vm);
    }
    return rc;
}

int uvm_harness_stop(uvm_harness *h, uint32_t grace_ms, struct uvm_vm_exit *ret_exit) {
    int rc = uvm__harness_run(h, "stop", h->params.call_ms, start_stop, &grace_ms, NULL);
    return told(h, rc, ret_exit);
}

int uvm_harness_terminate(uvm_harness *h, struct uvm_vm_exit *ret_exit) {
    int rc = uvm__harness_run(h, "terminate", h->params.call_ms, start_terminate, NULL, NULL);
    return told(h, rc, ret_exit);
}

int uvm_harness_wait(uvm_harness *h, struct uvm_vm_exit *ret_exit) {
    return told(h, uvm__harness_run(h, "wait", h->params.call_ms, start_wait, NULL, NULL),
                ret_exit);
}
