/* SPDX-License-Identifier: MIT
 * verbs.c — start, pause, resume: one QMP command each, by one saga; terminate.
 *
 * Sending the command is the commit point: a cancel before it wins, one after it does not, for a guest
 * that has run or stopped cannot be put back to the moment before. A connection that is lost in the
 * middle means that the VM is ending: the verb then waits for the decision, which is at most
 * UVM__EXIT_CLASSIFY_MS away, to say what happened.
 *
 * QMP keeps the order of commands, so verbs may overlap; of two that want the same the later one finds that it
 * is too late. Ops hold a reference on the system.
 */
#include "hcs/qemu/qemu_int.h"

#include "async/check.h"

struct verb_row {
    const char *what, *command;
    enum uvm__qemu_state from, to;
};

enum verb { START, PAUSE, RESUME };
static const struct verb_row verbs[] = {
    [START] = {"cannot start", "cont", UVM__QEMU_CREATED, UVM__QEMU_RUNNING},
    [PAUSE] = {"cannot pause", "stop", UVM__QEMU_RUNNING, UVM__QEMU_PAUSED},
    [RESUME] = {"cannot resume", "cont", UVM__QEMU_PAUSED, UVM__QEMU_RUNNING},
};

struct verb_params {
    struct uvm__qemu_system *system;
    enum verb verb;
};

struct verb_state {
    struct uvm__qemu_system *system;
    const struct verb_row *row;
    uvm_op *op;
    struct uvm__call call;
    struct uvm__end_wait end;
};

static void verb_on_end(struct uvm__end_wait *w) {
    struct verb_state *v = UVM__CONTAINER_OF(w, struct verb_state, end);
    uvm__step_done(v->op, uvm__qemu_end_error(v->system, v->row->what));
}

/* QMP is lost: the end is near, or was decided already. */
static void verb_on_lost(struct verb_state *v) {
    if (v->system->state == UVM__QEMU_ENDED) {
        verb_on_end(&v->end);
    } else {
        uvm__qemu_end_wait(v->system, &v->end);
    }
}

static void set_state(struct uvm__qemu_system *s, enum uvm__qemu_state state) {
    if (s->state == UVM__QEMU_ENDED) {
        return;
    }
    s->state = state;
    if (s->times.started_us == 0 && state == UVM__QEMU_RUNNING) {
        s->times.started_us = uvm__now_us(s->engine);
    }
}

static void verb_on_reply(struct uvm__call *call, const void *reply, const uvm_error *err) {
    struct verb_state *v = UVM__CONTAINER_OF(call, struct verb_state, call);
    struct uvm__qemu_system *s = v->system;

    UVM_ASSERT_CMP(s->verbs_sent, >, 0);
    s->verbs_sent--;
    if (err != NULL) {
        verb_on_lost(v);
        return;
    }
    uvm_error *refused = uvm__qmp_reply_error(s->engine, v->row->command, reply);
    if (refused == NULL) {
        set_state(s, v->row->to);
    }
    uvm__step_done(v->op, refused);
}

static void verb_run(uvm_op *op, void *state) {
    struct verb_state *v = state;
    struct uvm__qemu_system *s = v->system;
    enum uvm__qemu_state now = s->verbs_sent > 0 ? s->verbs_to : s->state;
    if (now != v->row->from && s->state != UVM__QEMU_ENDED) {
        uvm__step_done(op, uvm__error(s->engine, UVM_E_STATE, 0,
                                      "vm %s: %s: another call was first", s->name, v->row->what));
        return;
    }
    int rc = s->qmp == NULL ? -UVM_E_CLOSED
                            : uvm__qmp_call(s->qmp, &v->call, op, v->row->command, NULL, NULL, 0,
                                            verb_on_reply);

    v->op = op;
    if (rc == 0) {
        s->verbs_sent++;
        s->verbs_to = v->row->to;
    } else if (rc == -UVM_E_CLOSED && !s->closing) {
        verb_on_lost(v);
    } else {
        uvm__step_done(op,
                       uvm__error(s->engine, (enum uvm_error_code) - rc, 0,
                                  "vm %s: %s cannot be sent to qemu", s->name, v->row->command));
    }
}

static int verb_init(uvm_op *op, void *state, const void *params) {
    const struct verb_params *p = params;
    struct verb_state *v = state;

    (void)op;
    v->system = uvm__qemu_ref(p->system);
    v->row = &verbs[p->verb];
    v->end.fn = verb_on_end;
    uvm__list_init(&v->end.link);
    uvm__list_init(&v->call.link);
    return 0;
}

static void verb_deinit(void *state) {
    struct verb_state *v = state;
    UVM_ASSERT(!uvm__list_linked(&v->end.link) && !uvm__list_linked(&v->call.link));
    uvm__qemu_unref(v->system);
}

static const struct uvm__step start_steps[] = {{.name = "cont", .run = verb_run}};
static const struct uvm__step pause_steps[] = {{.name = "stop", .run = verb_run}};
#define VERB_SAGA(title, table)                                                                    \
    {                                                                                              \
        .name = (title), .steps = (table), .steps_count = 1, .commit_step = 0,                     \
        .state_bytes = sizeof(struct verb_state), .init = verb_init, .deinit = verb_deinit         \
    }
static const struct uvm__saga sagas[] = {
    [START] = VERB_SAGA("vm start", start_steps),
    [PAUSE] = VERB_SAGA("vm pause", pause_steps),
    [RESUME] = VERB_SAGA("vm resume", start_steps),
};

static int verb_start(struct uvm__hcs_system *base, enum verb verb, uvm_scope *scope,
                      uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);
    const struct verb_params params = {s, verb};

    UVM_ASSERT(!s->closing);
    if (s->state == UVM__QEMU_ENDED) {
        return -UVM_E_EXITED;
    }
    if (s->state != verbs[verb].from) {
        return -UVM_E_STATE;
    }
    return uvm__op_start(s->engine, scope, &sagas[verb], &params, on_done, arg, ret_op);
}

int uvm__qemu_start(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op) {
    return verb_start(s, START, scope, on_done, arg, ret_op);
}

int uvm__qemu_pause(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op) {
    return verb_start(s, PAUSE, scope, on_done, arg, ret_op);
}

int uvm__qemu_resume(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    return verb_start(s, RESUME, scope, on_done, arg, ret_op);
}

/* ---- terminate ---------------------------------------------------------------------------- */

struct terminate_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct uvm__call call;
    struct uvm__end_wait end;
};

static void terminate_on_end(struct uvm__end_wait *w) {
    struct terminate_state *t = UVM__CONTAINER_OF(w, struct terminate_state, end);
    uvm__step_done(t->op, NULL);
}

static void terminate_run(uvm_op *op, void *state) {
    struct terminate_state *t = state;

    t->op = op;
    if (t->system->state == UVM__QEMU_ENDED) {
        uvm__step_done(op, NULL);
        return;
    }
    uvm__qemu_end_wait(t->system, &t->end);
    uvm__qemu_end(t->system, &t->call, op);
}

static int terminate_init(uvm_op *op, void *state, const void *params) {
    struct terminate_state *t = state;

    (void)op;
    t->system = uvm__qemu_ref((struct uvm__qemu_system *)(uintptr_t)params);
    t->end.fn = terminate_on_end;
    uvm__list_init(&t->end.link);
    uvm__list_init(&t->call.link);
    return 0;
}

static void terminate_deinit(void *state) {
    struct terminate_state *t = state;
    UVM_ASSERT(!uvm__list_linked(&t->end.link) && !uvm__list_linked(&t->call.link));
    uvm__qemu_unref(t->system);
}

static const struct uvm__step terminate_steps[] = {{.name = "end", .run = terminate_run}};
static const struct uvm__saga terminate_saga = {
    .name = "vm terminate",
    .steps = terminate_steps,
    .steps_count = 1,
    .commit_step = 0,
    .state_bytes = sizeof(struct terminate_state),
    .init = terminate_init,
    .deinit = terminate_deinit,
};

int uvm__qemu_terminate(struct uvm__hcs_system *base, uvm_scope *scope, uvm_done_fn on_done,
                        void *arg, uvm_op **ret_op) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);

    UVM_ASSERT(!s->closing);
    return uvm__op_start(s->engine, scope, &terminate_saga, s, on_done, arg, ret_op);
}
