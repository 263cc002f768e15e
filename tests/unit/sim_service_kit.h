/* SPDX-License-Identifier: MIT
 * sim_service_kit.h — a virtual engine, one modelled host, one system on it.
 *
 * Verbs take 2 ms to act and 3 more to answer, so that each test can stand before, between and after the two.
 * The guest is a hook that counts.
 */
#pragma once
#include "async/engine.h"
#include "async/limits.h"
#include "hcs/sim/sim.h"
#include "tests/unit/cm.h"
#include "tests/unit/heap.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { ACT_MS = 2, ANSWER_MS = 3, DONE_MS = ACT_MS + ANSWER_MS, LATE_MS = 3 * UVM__UNDO_MS };

#define DOCUMENT                                                                                   \
    "{\"Owner\":\"t\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"            \
    "\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":\"/k\",\"InitRdPath\":\"/i\"}},"       \
    "\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":64},\"Processor\":{\"Count\":1}}}}"

struct call {
    struct world *w;
    uvm_op *op;
    int done, code;
    uint64_t at_ms; /* of its end */
    uint32_t order; /* among all that the world noted */
    char message[160];
};

struct world {
    uvm_engine *e;
    struct uvm__sim_host *h;
    struct uvm__hcs *hcs;
    struct uvm__hcs_system *s;
    struct call create;
    char trace[256];
    uint32_t order, closed_order;
    int starts, stops, closed;
    bool close_on_exit;
    enum uvm__hcs_exit exit;
    char detail[128];
    struct uvm__hvsock *guest;
    struct heap heap;
};

static inline void note(struct world *w, const char *text) {
    size_t len = strlen(w->trace);
    (void)snprintf(w->trace + len, sizeof w->trace - len, "%s ", text);
}

/* ---- the world ---------------------------------------------------------------------------- */

static inline void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *guest, void *arg) {
    struct world *w = arg;
    (void)s;
    w->starts++;
    w->guest = guest;
    note(w, "start");
}

static inline void on_stop(struct uvm__hcs_system *s, void *arg) {
    struct world *w = arg;
    (void)s;
    w->stops++;
    note(w, "stop");
}

static inline void on_closed(void *arg) {
    struct world *w = arg;
    w->closed++;
    w->closed_order = ++w->order;
    note(w, "closed");
}

static inline void on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
    struct world *w = arg;
    assert_ptr_equal(s, w->s);
    assert_non_null(ev->detail);
    if (ev->kind == UVM__HCS_EVENT_CONSOLE) {
        char text[64];
        (void)snprintf(text, sizeof text, "[%.*s]", (int)ev->bytes, (const char *)ev->data);
        note(w, text);
        return;
    }
    assert_int_equal(w->exit, UVM__HCS_EXIT_NONE); /* once, and last */
    if (ev->kind != UVM__HCS_EVENT_EXITED) {
        note(w, ev->kind == UVM__HCS_EVENT_PAUSED ? "paused" : "resumed");
        return;
    }
    w->exit = ev->exit;
    (void)snprintf(w->detail, sizeof w->detail, "%s", ev->detail);
    note(w, "exited");
    if (w->close_on_exit) {
        uvm__hcs_close(s, on_closed, w);
    }
}

static inline void open_world(struct world *w) {
    memset(w, 0, sizeof *w);
    struct uvm_allocator a = heap_allocator(&w->heap);
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    p.allocator = &a;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &w->e), 0);
    const struct uvm__sim_params params = {.act_ms = ACT_MS,
                                           .answer_ms = ANSWER_MS,
                                           .on_start = on_start,
                                           .on_stop = on_stop,
                                           .arg = w};
    assert_int_equal(uvm__sim_host_new(w->e, &params, &w->h), 0);
    w->hcs = uvm__sim_service(w->h);
}

static inline void turn(struct world *w) {
    while (uvm__engine_turn(w->e)) {
    }
}

/* Everything that happens until `ms` from now, each moment in its order. */
static inline void pass(struct world *w, uint64_t ms) {
    uint64_t until = uvm__now_ms(w->e) + ms;
    turn(w);
    for (;;) {
        uint64_t next = uvm__engine_next_deadline(w->e);
        uint64_t left = until - uvm__now_ms(w->e);
        if (next > left) {
            uvm__engine_advance(w->e, left);
            return;
        }
        uvm__engine_advance(w->e, next);
        turn(w);
    }
}

static inline void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done++;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    c->at_ms = uvm__now_ms(c->w->e);
    c->order = ++c->w->order;
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static inline int start_create(struct world *w) {
    const struct uvm__hcs_create_params p = {.id = "11111111-2222-3333-4444-555555555555",
                                             .name = "a",
                                             .document = DOCUMENT,
                                             .document_bytes = sizeof DOCUMENT - 1,
                                             .on_event = on_event,
                                             .arg = w};
    w->create = (struct call){.w = w};
    int rc = uvm__hcs_create(w->hcs, &p, NULL, on_done, &w->create, &w->create.op);
    assert_int_equal(w->create.done, 0); /* never inline */
    return rc;
}

typedef int verb_fn(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op);
static verb_fn *const verbs[UVM__SIM_POINT_MAX] = {
    [UVM__SIM_START] = uvm__hcs_start,
    [UVM__SIM_TERMINATE] = uvm__hcs_terminate,
    [UVM__SIM_PAUSE] = uvm__hcs_pause,
    [UVM__SIM_RESUME] = uvm__hcs_resume,
};

static inline void start_verb(struct world *w, enum uvm__sim_point point, struct call *c) {
    *c = (struct call){.w = w};
    assert_int_equal(verbs[point](w->s, NULL, on_done, c, &c->op), 0);
    assert_int_equal(c->done, 0);
}

static inline void drop(struct call *c) {
    c->op = uvm_op_unref(c->op);
}

static inline void created(struct world *w) {
    assert_int_equal(start_create(w), 0);
    pass(w, DONE_MS);
    assert_int_equal(w->create.code, UVM_OK);
    w->s = uvm__hcs_create_result(w->hcs, w->create.op);
    assert_non_null(w->s);
    assert_null(uvm__hcs_create_result(w->hcs, w->create.op)); /* taken */
    drop(&w->create);
    turn(w);
}

static inline void after(struct world *w, enum uvm__sim_point point) {
    struct call c;
    start_verb(w, point, &c);
    pass(w, DONE_MS);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.code, UVM_OK);
    drop(&c);
}

static inline void close_system(struct world *w) {
    uvm__hcs_close(w->s, on_closed, w);
    assert_int_equal(w->closed, 0);
    turn(w);
    assert_int_equal(w->closed, 1);
    w->s = NULL;
}

static inline void close_world(struct world *w) {
    struct uvm__sim_ledger l = uvm__sim_ledger(w->h);
    assert_int_equal(l.systems, 0);
    assert_int_equal(l.running, 0);
    assert_int_equal(l.created, l.ended);
    assert_int_equal(w->starts, w->stops);
    assert_int_equal(w->starts, l.started);
    w->closed = 0;
    uvm__hcs_service_close(w->hcs, on_closed, w);
    assert_int_equal(w->closed, 0);
    turn(w);
    assert_int_equal(w->closed, 1);
    uvm__engine_free_virtual(w->e);
    assert_int_equal(w->heap.live, 0);
}

static inline void expect_ledger(struct world *w, uint32_t systems, uint32_t running) {
    struct uvm__sim_ledger l = uvm__sim_ledger(w->h);
    assert_int_equal(l.systems, systems);
    assert_int_equal(l.running, running);
}
