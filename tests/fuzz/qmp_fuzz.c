/* SPDX-License-Identifier: MIT
 * qmp_fuzz.c — any bytes from a VMM that was taken over: the client answers, ends, or goes on, and every
 * command that was sent ends exactly once.
 *
 * The first byte says in which pieces the rest arrives. Three commands are in flight from the moment the
 * client is ready, one of them abandoned, so that replies meet all kinds of calls.
 */
#include "async/check.h"
#include "async/engine.h"
#include "async/sock.h"
#include "hcs/qemu/qmp.h"

#include <string.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct world {
    uv_loop_t loop;
    uvm_engine *engine;
    struct uvm__qmp *qmp;
    int started, done;
    bool ended, closed;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    const cJSON *result = uvm__qmp_execute_result(op);

    UVM_ASSERT(result == NULL || err == NULL);
    ((struct world *)arg)->done++;
}

static void on_ready(struct uvm__qmp *q, void *arg) {
    struct world *w = arg;

    for (int i = 0; i < 3; i++) {
        const struct uvm__qmp_execute_params p = {q, "query-status", "{}", i == 0};
        uvm_op *op = NULL;
        UVM_ASSERT(uvm__qmp_execute(&p, NULL, on_done, w, &op) == 0);
        if (i == 2) {
            uvm_op_cancel(op);
        }
        uvm_op_unref(op);
        w->started++;
    }
}

static void on_event(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg) {
    (void)q;
    (void)arg;
    UVM_ASSERT(name != NULL && (data == NULL || cJSON_IsObject(data)));
}

static void on_end(struct uvm__qmp *q, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)q;
    (void)err;
    UVM_ASSERT(!w->ended);
    w->ended = true;
}

static void on_closed(void *arg) {
    ((struct world *)arg)->closed = true;
}

static void turns(struct world *w) {
    for (int i = 0; i < 3; i++) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct world w = {.started = 0};
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    size_t piece = bytes == 0 || data[0] == 0 ? bytes + 1 : data[0];
    int pair[2];

    if (bytes > 65536) {
        return 0; /* what a socket takes at once */
    }
    UVM_ASSERT(uv_loop_init(&w.loop) == 0);
    UVM_ASSERT(uvm_engine_new(&w.loop, &params, &w.engine) == 0);
    UVM_ASSERT(uvm__sock_pair(pair) == 0);
    const struct uvm__qmp_params p = {.take_fd = pair[0],
                                      .on_ready = on_ready,
                                      .on_event = on_event,
                                      .on_end = on_end,
                                      .arg = &w};
    UVM_ASSERT(uvm__qmp_open(w.engine, &p, &w.qmp) == 0);
    for (size_t at = 1; at < bytes && !w.ended; at += piece) {
        size_t n = bytes - at < piece ? bytes - at : piece;
        if (write(pair[1], data + at, n) != (ssize_t)n) {
            break;
        }
        turns(&w);
    }
    close(pair[1]);
    turns(&w);
    uvm__qmp_close(w.qmp, on_closed, &w);
    while (!w.closed) {
        uv_run(&w.loop, UV_RUN_ONCE);
    }
    turns(&w);
    UVM_ASSERT_CMP(w.done, ==, w.started);
    uvm_engine_close(w.engine, NULL, NULL);
    UVM_ASSERT(uv_run(&w.loop, UV_RUN_DEFAULT) == 0);
    UVM_ASSERT(uv_loop_close(&w.loop) == 0);
    return 0;
}
