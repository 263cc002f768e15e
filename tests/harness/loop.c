/* SPDX-License-Identifier: MIT
 * loop.c — the harness's loop: run until something is so, and never longer than it may take.
 *
 * Each wait has an end of its own, behind the deadline of what is waited for: an operation that does not even
 * answer a cancel is a fault, and the test must see it. After that the loop is never run again, since callbacks
 * may then belong to frames that are gone; what hangs stays, and the close says so.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/harness_int.h"

/* ---- memory of the engine ----------------------------------------------------------------- */

static void *count_realloc(void *ptr, size_t bytes, void *arg) {
    void *grown = realloc(ptr, bytes);
    ((uvm_harness *)arg)->blocks += ptr == NULL && grown != NULL;
    return grown;
}

static void *count_malloc(size_t bytes, void *arg) {
    return count_realloc(NULL, bytes, arg);
}

static void count_free(void *ptr, void *arg) {
    ((uvm_harness *)arg)->blocks -= ptr != NULL;
    free(ptr);
}

/* ---- waiting ------------------------------------------------------------------------------ */

static void on_late(uv_timer_t *timer) {
    ((uvm_harness *)timer->data)->late = true;
}

int uvm_harness_until(uvm_harness *h, const bool *done, uint32_t ms) {
    if (h->stuck || h->closed) {
        return uvm__harness_fail(h, UVM_E_STATE, NULL, "the loop is not to be run any more");
    }
    h->late = false;
    uv_update_time(&h->loop);
    (void)uv_timer_start(&h->late_timer, on_late, ms, 0);
    while (!*done && !h->late) {
        (void)uv_run(&h->loop, UV_RUN_ONCE);
    }
    (void)uv_timer_stop(&h->late_timer);
    return *done ? 0 : uvm__harness_fail(h, UVM_E_TIMEDOUT, NULL, "nothing for %u ms", ms);
}

void uvm__harness_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__harness_wait *w = arg;
    (void)op;
    w->err = uvm_error_ref(err);
    w->done = true;
}

int uvm__harness_run(uvm_harness *h, const char *what, uint32_t deadline_ms,
                     uvm__harness_start_fn *start, const void *arg, uvm_op **ret_op) {
    struct uvm__harness_wait w = {false, NULL};
    uvm_scope *scope = NULL;
    uvm_op *op = NULL;
    if (h->stuck || h->closed || h->vm == NULL) {
        return uvm__harness_fail(h, UVM_E_STATE, NULL, "%s: there is no VM to do it", what);
    }
    int rc = uvm_scope_new(h->engine, uvm_vm_scope(h->vm), deadline_ms, &scope);
    if (rc == 0) {
        rc = start(h, arg, scope, uvm__harness_done, &w, &op);
    }
    if (rc < 0) {
        uvm_scope_unref(scope);
        return uvm__harness_fail(h, -rc, NULL, "%s: not begun", what);
    }
    rc = uvm_harness_until(h, &w.done, deadline_ms + UVM_HARNESS_UNDO_MS);
    if (rc < 0) {
        h->stuck = true;
        return uvm__harness_fail(h, -rc, NULL, "%s: neither done nor undone after %u ms", what,
                                 deadline_ms + UVM_HARNESS_UNDO_MS);
    }
    if (w.err != NULL) {
        rc = uvm__harness_fail(h, (int)uvm_error_code(w.err), w.err, "%s", what);
        uvm_error_unref(w.err);
    }
    if (ret_op != NULL) {
        *ret_op = op;
    } else {
        uvm_op_unref(op);
    }
    uvm_scope_unref(scope);
    return rc;
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__harness_loop_open(uvm_harness *h) {
    struct uvm_allocator allocator = {count_malloc, count_realloc, count_free, h};
    struct uvm_engine_params engine = UVM_ENGINE_PARAMS_INIT;
    engine.allocator = &allocator;
    engine.log = h->params.log;
    engine.log_arg = h->params.log_arg;
    engine.log_level = h->params.log_level;
    if (uv_loop_init(&h->loop) != 0) {
        return -UVM_E_IO;
    }
    h->loop_open = true;
    (void)uv_timer_init(&h->loop, &h->late_timer);
    h->late_timer.data = h;
    int rc = uvm_engine_new(&h->loop, &engine, &h->engine);
    if (rc < 0) {
        (void)uvm__harness_loop_close(h);
    }
    return rc;
}

static void tell_handle(uv_handle_t *handle, void *arg) {
    if (!uv_is_closing(handle)) {
        fprintf(arg, "  %-10s a %s%s\n", "handle", uv_handle_type_name(uv_handle_get_type(handle)),
                uv_is_active(handle) ? ", active" : "");
    }
}

bool uvm__harness_loop_end(uvm_harness *h) {
    /* What is closing calls back in the next turns; a handle that somebody left would hold a longer run. */
    for (int turn = 0; h->loop_open && turn < 16 && uv_run(&h->loop, UV_RUN_NOWAIT) != 0; turn++) {
    }
    h->loop_open = h->loop_open && uv_loop_close(&h->loop) != 0;
    return !h->loop_open;
}

int uvm__harness_loop_close(uvm_harness *h) {
    char *text = NULL;
    size_t bytes = 0;
    if (h->engine != NULL) {
        uvm_engine_close(h->engine, NULL, NULL);
        h->engine = NULL;
    }
    uv_close((uv_handle_t *)&h->late_timer, NULL);
    bool ended = uvm__harness_loop_end(h);
    if (ended && h->blocks == 0) {
        return 0;
    }
    FILE *f = open_memstream(&text, &bytes);
    if (f != NULL) {
        if (!ended) {
            uv_walk(&h->loop, tell_handle, f);
        }
        if (h->blocks != 0) {
            fprintf(f, "  %-10s %ld blocks of the engine\n", "memory", h->blocks);
        }
        (void)fclose(f);
    }
    free(h->message);
    h->message = text;
    return -UVM_E_UNDO;
}
