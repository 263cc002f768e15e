/* SPDX-License-Identifier: MIT
 * sim_service_test.c — the modelled compute service alone: verbs, faults, events, close, ledger.
 *
 * A virtual engine, one host, one system. Verbs take 2 ms to act and 3 more to answer, so that each test
 * can stand before, between and after the two. The guest is a hook that counts.
 */
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

static void note(struct world *w, const char *text) {
    size_t len = strlen(w->trace);
    (void)snprintf(w->trace + len, sizeof w->trace - len, "%s ", text);
}

/* ---- the world ---------------------------------------------------------------------------- */

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *guest, void *arg) {
    struct world *w = arg;
    (void)s;
    w->starts++;
    w->guest = guest;
    note(w, "start");
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    struct world *w = arg;
    (void)s;
    w->stops++;
    note(w, "stop");
}

static void on_closed(void *arg) {
    struct world *w = arg;
    w->closed++;
    w->closed_order = ++w->order;
    note(w, "closed");
}

static void on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
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

static void open_world(struct world *w) {
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

static void turn(struct world *w) {
    while (uvm__engine_turn(w->e)) {
    }
}

/* Everything that happens until `ms` from now, each moment in its order. */
static void pass(struct world *w, uint64_t ms) {
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

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done++;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    c->at_ms = uvm__now_ms(c->w->e);
    c->order = ++c->w->order;
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static int start_create(struct world *w) {
    const struct uvm__hcs_create_params p = {.id = "11111111-2222-3333-4444-555555555555",
                                             .name = "a",
                                             .document = "{}",
                                             .document_bytes = 2,
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

static void start_verb(struct world *w, enum uvm__sim_point point, struct call *c) {
    *c = (struct call){.w = w};
    assert_int_equal(verbs[point](w->s, NULL, on_done, c, &c->op), 0);
    assert_int_equal(c->done, 0);
}

static void drop(struct call *c) {
    c->op = uvm_op_unref(c->op);
}

static void created(struct world *w) {
    assert_int_equal(start_create(w), 0);
    pass(w, DONE_MS);
    assert_int_equal(w->create.code, UVM_OK);
    w->s = uvm__hcs_create_result(w->hcs, w->create.op);
    assert_non_null(w->s);
    assert_null(uvm__hcs_create_result(w->hcs, w->create.op)); /* taken */
    drop(&w->create);
    turn(w);
}

static void after(struct world *w, enum uvm__sim_point point) {
    struct call c;
    start_verb(w, point, &c);
    pass(w, DONE_MS);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.code, UVM_OK);
    drop(&c);
}

static void close_system(struct world *w) {
    uvm__hcs_close(w->s, on_closed, w);
    assert_int_equal(w->closed, 0);
    turn(w);
    assert_int_equal(w->closed, 1);
    w->s = NULL;
}

static void close_world(struct world *w) {
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

static void expect_ledger(struct world *w, uint32_t systems, uint32_t running) {
    struct uvm__sim_ledger l = uvm__sim_ledger(w->h);
    assert_int_equal(l.systems, systems);
    assert_int_equal(l.running, running);
}

/* ---- verbs -------------------------------------------------------------------------------- */

static void a_life(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, ACT_MS - 1);
    expect_ledger(&w, 0, 0);
    pass(&w, 1); /* acted */
    expect_ledger(&w, 1, 0);
    assert_int_equal(w.create.done, 0);
    pass(&w, ANSWER_MS);
    assert_int_equal(w.create.done, 1);
    assert_int_equal(w.create.at_ms, DONE_MS);
    w.s = uvm__hcs_create_result(w.hcs, w.create.op);
    drop(&w.create);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Created\""));
    after(&w, UVM__SIM_START);
    expect_ledger(&w, 1, 1);
    assert_int_equal(w.starts, 1);
    after(&w, UVM__SIM_PAUSE);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Paused\""));
    after(&w, UVM__SIM_RESUME);
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Running\""));
    after(&w, UVM__SIM_TERMINATE);
    expect_ledger(&w, 1, 0); /* ended; its record stays until it is closed */
    assert_int_equal(w.exit, UVM__HCS_EXIT_TERMINATED);
    assert_string_equal(w.trace, "start paused resumed stop exited ");
    after(&w, UVM__SIM_TERMINATE); /* idempotent */
    assert_non_null(strstr(uvm__hcs_properties(w.s), "\"State\":\"Stopped\""));
    close_system(&w);
    close_world(&w);
}

static void verbs_know_the_state(void **unused) {
    (void)unused;
    /* What each verb answers in Created, Running, Paused, Stopped. */
    static const int expected[UVM__SIM_POINT_MAX][4] = {
        [UVM__SIM_START] = {0, -UVM_E_STATE, -UVM_E_STATE, -UVM_E_EXITED},
        [UVM__SIM_TERMINATE] = {0, 0, 0, 0},
        [UVM__SIM_PAUSE] = {-UVM_E_STATE, 0, -UVM_E_STATE, -UVM_E_EXITED},
        [UVM__SIM_RESUME] = {-UVM_E_STATE, -UVM_E_STATE, 0, -UVM_E_EXITED},
    };
    static const enum uvm__sim_point into[] = {UVM__SIM_START, UVM__SIM_PAUSE, UVM__SIM_TERMINATE};
    for (unsigned state = 0; state < 4; state++) {
        for (unsigned p = UVM__SIM_START; p < UVM__SIM_POINT_MAX; p++) {
            struct world w;
            open_world(&w);
            created(&w);
            for (unsigned i = 0; i < state; i++) {
                after(&w, into[i]);
            }
            struct call c = {.w = &w};
            assert_int_equal(verbs[p](w.s, NULL, on_done, &c, &c.op), expected[p][state]);
            assert_true((c.op != NULL) == (expected[p][state] == 0));
            pass(&w, DONE_MS);
            assert_int_equal(c.done, expected[p][state] == 0);
            drop(&c);
            close_system(&w);
            close_world(&w);
        }
    }
}

/* Both are accepted in Created; the later one finds it started. */
static void two_starts(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    struct call a, b;
    start_verb(&w, UVM__SIM_START, &a);
    start_verb(&w, UVM__SIM_START, &b);
    pass(&w, DONE_MS);
    assert_int_equal(a.code, UVM_OK);
    assert_int_equal(b.done, 1);
    assert_int_equal(b.code, UVM_E_STATE);
    expect_ledger(&w, 1, 1);
    drop(&a);
    drop(&b);
    close_system(&w);
    close_world(&w);
}

/* ---- faults ------------------------------------------------------------------------------- */

enum { NEVER = -1 };

static const struct fault_row {
    enum uvm__sim_point point;
    enum uvm__sim_fault fault;
    int code; /* NEVER: no answer */
    uint64_t at_ms;
    uint32_t systems, running; /* afterwards, or a minute later */
} fault_rows[] = {
    {UVM__SIM_CREATE, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_MUTE_IDLE, NEVER, 0, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 0},
    {UVM__SIM_CREATE, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 0, 0},
    {UVM__SIM_CREATE, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 0, 0},
    {UVM__SIM_START, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 1},
    {UVM__SIM_START, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 0},
    {UVM__SIM_START, UVM__SIM_MUTE_IDLE, NEVER, 0, 1, 0},
    {UVM__SIM_START, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 1},
    {UVM__SIM_START, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 1},
    {UVM__SIM_START, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 1, 0},
    {UVM__SIM_START, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_NONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 1},
    {UVM__SIM_TERMINATE, UVM__SIM_MUTE_IDLE, NEVER, 0, 1, 1},
    {UVM__SIM_TERMINATE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_LATE, UVM_OK, ACT_MS + LATE_MS, 1, 0},
    {UVM__SIM_TERMINATE, UVM__SIM_DIE_IDLE, UVM_OK, ACT_MS, 1, 0}, /* that is what was asked for */
    {UVM__SIM_TERMINATE, UVM__SIM_DIE_DONE, UVM_OK, DONE_MS, 1, 0},
    {UVM__SIM_PAUSE, UVM__SIM_REFUSE, UVM_E_PEER, ACT_MS, 1, 1},
    {UVM__SIM_PAUSE, UVM__SIM_MUTE_DONE, NEVER, 0, 1, 1},
    {UVM__SIM_PAUSE, UVM__SIM_DIE_IDLE, UVM_E_EXITED, ACT_MS, 1, 0},
    {UVM__SIM_PAUSE, UVM__SIM_DIE_DONE, UVM_E_EXITED, DONE_MS, 1, 0},
};

static void each_fault(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof fault_rows / sizeof fault_rows[0]; i++) {
        const struct fault_row *row = &fault_rows[i];
        struct world w;
        struct call c = {0};
        open_world(&w);
        if (row->point != UVM__SIM_CREATE) {
            created(&w);
            if (row->point != UVM__SIM_START) {
                after(&w, UVM__SIM_START);
            }
        }
        uvm__sim_set_fault(w.h, row->point, 0, row->fault);
        uint64_t from = uvm__now_ms(w.e);
        struct call *seen = row->point == UVM__SIM_CREATE ? &w.create : &c;
        if (row->point == UVM__SIM_CREATE) {
            assert_int_equal(start_create(&w), 0);
        } else {
            start_verb(&w, row->point, &c);
        }
        pass(&w, 60000);
        assert_int_equal(uvm__sim_fault_met(w.h, row->point), row->fault != UVM__SIM_NONE);
        expect_ledger(&w, row->systems, row->running);
        assert_int_equal(seen->done, row->code != NEVER);
        if (row->code != NEVER) {
            assert_int_equal(seen->code, row->code);
            assert_int_equal(seen->at_ms - from, row->at_ms);
        }
        if (row->code > 0) {
            assert_non_null(strstr(seen->message, uvm__sim_point_name(row->point)));
            assert_int_equal(seen->message[0], 'a'); /* the system's name */
        }
        if (w.s != NULL) {
            close_system(&w);
        } else {
            uvm_op_cancel(w.create.op);
            turn(&w);
        }
        assert_int_equal(seen->done, 1); /* a close or a cancel ends what had no answer */
        drop(seen);
        close_world(&w);
    }
}

static void faults_wait_their_turn(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    uvm__sim_set_fault(w.h, UVM__SIM_PAUSE, 1, UVM__SIM_REFUSE);
    after(&w, UVM__SIM_START);
    after(&w, UVM__SIM_PAUSE); /* skipped */
    after(&w, UVM__SIM_RESUME);
    assert_false(uvm__sim_fault_met(w.h, UVM__SIM_PAUSE));
    struct call c;
    start_verb(&w, UVM__SIM_PAUSE, &c);
    pass(&w, DONE_MS);
    assert_int_equal(c.code, UVM_E_PEER);
    assert_true(uvm__sim_fault_met(w.h, UVM__SIM_PAUSE));
    drop(&c);
    after(&w, UVM__SIM_PAUSE); /* works once */
    close_system(&w);
    close_world(&w);
}

/* ---- cancel ------------------------------------------------------------------------------- */

static void create_is_cancelled_at_each_moment(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms <= DONE_MS; ms++) {
        struct world w;
        open_world(&w);
        assert_int_equal(start_create(&w), 0);
        pass(&w, ms);
        uvm_op_cancel(w.create.op);
        assert_int_equal(w.create.done, ms == DONE_MS);
        turn(&w);
        assert_int_equal(w.create.done, 1);
        assert_int_equal(w.create.code, ms == DONE_MS ? UVM_OK : UVM_E_CANCELED);
        expect_ledger(&w, ms == DONE_MS, 0);
        assert_int_equal(uvm__sim_ledger(w.h).created, ms >= ACT_MS);
        drop(&w.create); /* the result that nobody took ends with the op */
        turn(&w);
        close_world(&w);
    }
}

static void create_is_cancelled_in_the_tick_of_its_answer(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, DONE_MS - 1);
    uvm__engine_advance(w.e, 1); /* answered, not yet told */
    assert_int_equal(w.create.done, 0);
    uvm_op_cancel(w.create.op);
    turn(&w);
    assert_int_equal(w.create.code, UVM_OK); /* committed: the answer came first */
    drop(&w.create);
    turn(&w);
    close_world(&w);
}

static void a_start_without_answer_is_quarantined(void **unused) {
    (void)unused;
    static const enum uvm__sim_fault faults[] = {UVM__SIM_MUTE_IDLE, UVM__SIM_MUTE_DONE,
                                                 UVM__SIM_LATE};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct world w;
        open_world(&w);
        created(&w);
        uvm__sim_set_fault(w.h, UVM__SIM_START, 0, faults[i]);
        struct call c;
        start_verb(&w, UVM__SIM_START, &c);
        pass(&w, DONE_MS);
        uvm_op_cancel(c.op);
        pass(&w, UVM__UNDO_MS - 1);
        assert_int_equal(c.done, 0);
        pass(&w, 1);
        assert_int_equal(c.code, UVM_E_UNDO);
        if (faults[i] == UVM__SIM_LATE) {
            pass(&w, LATE_MS); /* the late answer finishes silently */
        }
        drop(&c);
        close_system(&w);
        close_world(&w);
    }
}

/* ---- events ------------------------------------------------------------------------------- */

static void nothing_is_told_before_the_system_was_taken(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    assert_int_equal(start_create(&w), 0);
    pass(&w, 1000);
    assert_string_equal(w.trace, "");
    w.s = uvm__hcs_create_result(w.hcs, w.create.op);
    drop(&w.create);
    uvm__sim_console(w.s, "one");
    uvm__sim_console(w.s, "two");
    assert_string_equal(w.trace, ""); /* not inline */
    turn(&w);
    assert_string_equal(w.trace, "[onetwo] ");
    close_system(&w);
    close_world(&w);
}

static void the_guests_last_words_come_before_the_end(void **unused) {
    (void)unused;
    static const enum uvm__hcs_exit ends[] = {UVM__HCS_EXIT_GUEST_SHUTDOWN,
                                              UVM__HCS_EXIT_GUEST_RESET, UVM__HCS_EXIT_GUEST_PANIC,
                                              UVM__HCS_EXIT_VMM_DIED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct world w;
        open_world(&w);
        created(&w);
        after(&w, UVM__SIM_START);
        uvm__sim_console(w.s, "help");
        uvm__sim_end(w.s, ends[i], "so");
        uvm__sim_end(w.s, UVM__HCS_EXIT_VMM_DIED, "again"); /* decided once */
        assert_string_equal(w.trace, "start stop ");
        turn(&w);
        assert_string_equal(w.trace, "start stop [help] exited ");
        assert_int_equal(w.exit, ends[i]);
        assert_string_equal(w.detail, "so");
        pass(&w, 1000);
        close_system(&w);
        close_world(&w);
    }
}

static void the_end_fails_what_is_under_way(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    struct call pause, terminate;
    start_verb(&w, UVM__SIM_PAUSE, &pause);
    start_verb(&w, UVM__SIM_TERMINATE, &terminate);
    pass(&w, 1);
    uvm__sim_end(w.s, UVM__HCS_EXIT_GUEST_PANIC, "panic");
    turn(&w);
    assert_int_equal(pause.code, UVM_E_EXITED);
    assert_int_equal(terminate.done, 1);
    assert_int_equal(terminate.code, UVM_OK);
    assert_int_equal(w.exit, UVM__HCS_EXIT_GUEST_PANIC);
    drop(&pause);
    drop(&terminate);
    close_system(&w);
    close_world(&w);
}

static void the_guest_dials_from_its_first_instruction(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    assert_non_null(w.guest);
    struct call c = {.w = &w};
    assert_int_equal(uvm__hvsock_connect(w.guest, UVM__PORT_BRIDGE, NULL, on_done, &c, &c.op), 0);
    turn(&w);
    assert_int_equal(c.code, UVM_E_REFUSED); /* nobody listens */
    drop(&c);
    close_system(&w);
    close_world(&w);
}

/* ---- close -------------------------------------------------------------------------------- */

static void close_ends_what_is_under_way_first(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms < DONE_MS; ms++) {
        for (unsigned told = 0; told < 2; told++) {
            struct world w;
            open_world(&w);
            created(&w);
            after(&w, UVM__SIM_START);
            if (told) {
                uvm__sim_console(w.s, "x"); /* an event is on its way already */
            }
            struct call pause, terminate;
            start_verb(&w, UVM__SIM_PAUSE, &pause);
            start_verb(&w, UVM__SIM_TERMINATE, &terminate);
            if (ms > 0) {
                pass(&w, ms - 1);
            }
            close_system(&w);
            assert_int_equal(pause.done, 1);
            assert_int_equal(terminate.done, 1);
            assert_int_equal(terminate.code, UVM_OK);
            assert_true(pause.order < w.closed_order && terminate.order < w.closed_order);
            assert_int_equal(strncmp(w.trace + strlen(w.trace) - 7, "closed ", 7), 0);
            drop(&pause);
            drop(&terminate);
            close_world(&w);
        }
    }
}

static void close_from_the_last_event(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    after(&w, UVM__SIM_START);
    w.close_on_exit = true;
    uvm__sim_end(w.s, UVM__HCS_EXIT_GUEST_SHUTDOWN, "");
    turn(&w);
    assert_string_equal(w.trace, "start stop exited closed ");
    close_world(&w);
}

static void two_systems_are_apart(void **unused) {
    (void)unused;
    struct world w;
    open_world(&w);
    created(&w);
    struct uvm__hcs_system *first = w.s;
    created(&w);
    struct uvm__hcs_system *second = w.s;
    expect_ledger(&w, 2, 0);
    after(&w, UVM__SIM_START);
    expect_ledger(&w, 2, 1);
    close_system(&w);
    expect_ledger(&w, 1, 0);
    w.s = first;
    w.closed = 0;
    assert_ptr_not_equal(first, second);
    close_system(&w);
    assert_int_equal(uvm__sim_ledger(w.h).systems_peak, 2);
    close_world(&w);
}

/* ---- a real loop -------------------------------------------------------------------------- */

static void real_closed(void *arg) {
    ((struct world *)arg)->closed++;
}

static void real_terminated(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    assert_null(err);
    uvm__hcs_close(w->s, real_closed, w);
}

static void real_started(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    assert_null(err);
    assert_int_equal(uvm__hcs_terminate(w->s, NULL, real_terminated, w, NULL), 0);
}

static void real_created(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    assert_null(err);
    w->s = uvm__hcs_create_result(w->hcs, op);
    assert_int_equal(uvm__hcs_start(w->s, NULL, real_started, w, NULL), 0);
}

static void works_on_a_real_loop(void **unused) {
    (void)unused;
    struct world w;
    memset(&w, 0, sizeof w);
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uvm_engine_new(&loop, NULL, &w.e), 0);
    const struct uvm__sim_params params = {
        .act_ms = 1, .answer_ms = 1, .on_start = on_start, .on_stop = on_stop, .arg = &w};
    assert_int_equal(uvm__sim_host_new(w.e, &params, &w.h), 0);
    w.hcs = uvm__sim_service(w.h);
    const struct uvm__hcs_create_params p = {.id = "1",
                                             .name = "a",
                                             .document = "{}",
                                             .document_bytes = 2,
                                             .on_event = on_event,
                                             .arg = &w};
    assert_int_equal(uvm__hcs_create(w.hcs, &p, NULL, real_created, &w, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_string_equal(w.trace, "start stop exited ");
    assert_int_equal(w.closed, 1);
    uvm__hcs_service_close(w.hcs, real_closed, &w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w.closed, 2);
    uvm_engine_close(w.e, real_closed, &w);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(w.closed, 3);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- memory ------------------------------------------------------------------------------- */

static void nth_allocation_fails(void **unused) {
    (void)unused;
    for (unsigned good = 0; good < 2; good++) {
        bool past_the_end = false;
        for (uint32_t n = 1; !past_the_end; n++) {
            assert_true(n < 100);
            struct world w;
            open_world(&w);
            w.heap.allocs = 0;
            w.heap.fail_at = n;
            w.heap.fail_for_good = good;
            int rc = start_create(&w);
            pass(&w, DONE_MS);
            if (rc == 0 && w.create.code == UVM_OK) {
                assert_int_equal(w.create.done, 1);
                w.s = uvm__hcs_create_result(w.hcs, w.create.op);
                struct call c = {.w = &w};
                rc = uvm__hcs_start(w.s, NULL, on_done, &c, &c.op);
                pass(&w, DONE_MS);
                past_the_end = rc == 0 && w.heap.allocs < n;
                assert_true(rc == 0 ? c.code == UVM_OK : rc == -UVM_E_NOMEM && c.done == 0);
                drop(&c);
                uvm__sim_console(w.s, "lost when there is no memory");
                turn(&w);
                close_system(&w);
            } else {
                assert_int_equal(rc == 0 ? -w.create.code : rc, -UVM_E_NOMEM);
                expect_ledger(&w, 0, 0);
            }
            drop(&w.create);
            close_world(&w);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life),
        cmocka_unit_test(verbs_know_the_state),
        cmocka_unit_test(two_starts),
        cmocka_unit_test(each_fault),
        cmocka_unit_test(faults_wait_their_turn),
        cmocka_unit_test(create_is_cancelled_at_each_moment),
        cmocka_unit_test(create_is_cancelled_in_the_tick_of_its_answer),
        cmocka_unit_test(a_start_without_answer_is_quarantined),
        cmocka_unit_test(nothing_is_told_before_the_system_was_taken),
        cmocka_unit_test(the_guests_last_words_come_before_the_end),
        cmocka_unit_test(the_end_fails_what_is_under_way),
        cmocka_unit_test(the_guest_dials_from_its_first_instruction),
        cmocka_unit_test(close_ends_what_is_under_way_first),
        cmocka_unit_test(close_from_the_last_event),
        cmocka_unit_test(two_systems_are_apart),
        cmocka_unit_test(works_on_a_real_loop),
        cmocka_unit_test(nth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
