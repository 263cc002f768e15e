/* SPDX-License-Identifier: MIT
 * saga.c — the runner of sagas: order, cancel check, undo, quarantine, in one place.
 *
 * Everything happens in op_turn(), which only the ready queue calls: so nothing is ever inline in a public
 * call, and step code may end inline without recursion. Three phases: RUN walks the table forward; UNDO
 * walks the armed steps back; OVER is the end. The outcome is reported once (resolved), which is usually
 * the step into OVER. A peer that does not answer within the undo's deadline makes the op resolve with
 * UVM_E_UNDO earlier: it then sits in its undo root's quarantine, still in RUN or UNDO, until the answer
 * comes late or the VM is gone, and then finishes silently.
 * Once the VM is gone (VM_EXITED on the undo scope) an undo cannot fail: what it would undo is gone too.
 * Undos are still run, since some of them are about the host.
 */
#include "async/saga.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine_int.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/mark.h"
#include "async/op_int.h"
#include "async/plant.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct uvm__step *step_row(const uvm_op *op, unsigned step) {
    UVM_ASSERT_CMP(step, <, op->saga->steps_count);
    return &op->saga->steps[step];
}

static bool has_reason(const uvm_scope *s, enum uvm__reason reason) {
    return (s->reasons & (1u << reason)) != 0;
}

static bool vm_gone(const uvm_op *op) {
    return has_reason(&op->undo_scope, UVM__VM_EXITED);
}

/* ---- spans -------------------------------------------------------------------------------- */

static void release_scope(uvm_scope *s) {
    uvm_op_unref(UVM__CONTAINER_OF(s, uvm_op, scope));
}

static void release_undo_scope(uvm_scope *s) {
    uvm_op_unref(UVM__CONTAINER_OF(s, uvm_op, undo_scope));
}

/* The op under whose scope, or undo scope, this one was started; 0: none. */
static uint64_t parent_id(const uvm_op *op) {
    for (uvm_scope *s = op->scope.parent; s != NULL; s = s->parent) {
        if (s->on_release == release_scope) {
            return UVM__CONTAINER_OF(s, uvm_op, scope)->id;
        }
        if (s->on_release == release_undo_scope) {
            return UVM__CONTAINER_OF(s, uvm_op, undo_scope)->id;
        }
    }
    return 0;
}

/* The clock is read only where somebody looks at it. */
static uint64_t begin_us(const uvm_op *op) {
    return uvm__log_span_wanted(op->engine) ? uvm__now_us(op->engine)
                                            : uvm__now_ms(op->engine) * 1000u;
}

static void say_span(const uvm_op *op, enum uvm_log_kind kind, const char *step, uint64_t from_us,
                     const uvm_error *err) {
    if (uvm__log_span_wanted(op->engine)) {
        struct uvm_log_record record = {.kind = kind,
                                        .op_id = op->id,
                                        .vm = op->scope.label,
                                        .op = op->saga->name,
                                        .step = step,
                                        .code = err == NULL ? UVM_OK : (int)uvm_error_code(err),
                                        .begin_us = from_us,
                                        .parent_id = parent_id(op)};
        uvm__log_span(op->engine, &record);
    }
}

static void op_free(uvm_op *op) {
    UVM_ASSERT(op->phase == UVM__OP_OVER);
    uvm_engine *e = op->engine;
    uvm__ready_cancel(e, &op->ready);
    if (op->saga->deinit != NULL) {
        op->saga->deinit(uvm__op_state(op));
    }
    uvm_error_unref(op->failure);
    uvm_error_unref(op->error);
    uvm__free(e, op);
}

uvm_op *uvm_op_ref(uvm_op *op) {
    UVM_ASSERT(op->refs > 0);
    op->refs++;
    return op;
}

uvm_op *uvm_op_unref(uvm_op *op) {
    if (op != NULL) {
        UVM_ASSERT(op->refs > 0);
        if (--op->refs == 0) {
            op_free(op);
        }
    }
    return NULL;
}

/* ---- outcome ------------------------------------------------------------------------------ */

static void resolve(uvm_op *op, uvm_error *take_err) {
    UVM_ASSERT(!op->resolved && op->error == NULL);
    op->resolved = true;
    op->error = take_err == NULL ? NULL : uvm__error_step(take_err, op->saga->name);
    say_span(op, UVM_LOG_OP_END, "", op->started_us, op->error);
    if (op->on_done != NULL) {
        op->on_done(op, op->error, op->arg);
        if (UVM__PLANT(done_twice) && op->error != NULL) {
            op->on_done(op, op->error, op->arg);
        }
    }
}

static void over(uvm_op *op) {
    UVM_ASSERT(op->resolved && !op->in_flight && op->armed == 0);
    op->phase = UVM__OP_OVER;
    UVM__MARK_IF(saga_lifted, uvm__list_linked(&op->quarantine_link));
    uvm__ready_cancel(op->engine, &op->ready);
    uvm__deadline_clear(op->engine, &op->scope.deadline);
    uvm__deadline_clear(op->engine, &op->undo_scope.deadline);
    uvm__list_remove(&op->quarantine_link);
    uvm__list_remove(&op->link);
    uvm_scope_unref(&op->scope);
    uvm_scope_unref(&op->undo_scope);
    uvm_op_unref(op);
}

/* What may still exist: the step that has not answered, and every armed one. */
static void describe_quarantine(uvm_op *op, char *buf, size_t bytes) {
    size_t len = 0;
    buf[0] = 0;
    for (int s = op->saga->steps_count - 1; s >= 0; s--) {
        bool open = (op->armed & (1u << s)) != 0 || (s == op->step && (op->in_flight || op->stuck));
        if (!open) {
            continue;
        }
        char what[96] = "";
        if (op->saga->describe != NULL) {
            op->saga->describe(op, uvm__op_state(op), (unsigned)s, what, sizeof what);
        }
        int n = snprintf(buf + len, bytes - len, "%s%s%s%s%s", len == 0 ? "" : "; ",
                         step_row(op, (unsigned)s)->name, what[0] == 0 ? "" : " (", what,
                         what[0] == 0 ? "" : ")");
        if (n < 0 || (size_t)n >= bytes - len) {
            buf[len] = 0;
            break;
        }
        len += (size_t)n;
    }
}

/* The op reports now; its machine waits on for a late answer or the VM's end. */
static void resolve_quarantined(uvm_op *op, uvm_error *take_why) {
    if (op->resolved) {
        uvm_error_unref(take_why);
        return;
    }
    char what[512];
    describe_quarantine(op, what, sizeof what);
    uvm_error *err = uvm__error(op->engine, UVM_E_UNDO, 0,
                                "%s could not be undone, quarantined: %s", op->saga->name, what);
    err = uvm__error_detail(err, what, strlen(what));
    /* Where it went wrong, which need not be what remains. */
    if (op->failure != NULL && uvm_error_step(op->failure)[0] != 0) {
        err = uvm__error_step(err, uvm_error_step(op->failure));
    } else if (op->in_flight || op->stuck) {
        err = uvm__error_step(err, step_row(op, op->step)->name);
    }
    if (op->failure != NULL) {
        err = uvm__error_cause(err, uvm_error_ref(op->failure));
    }
    if (take_why != NULL) {
        err = uvm__error_cause(err, take_why);
    }
    uvm__list_append(&op->scope.undo_root->quarantine, &op->quarantine_link);
    resolve(op, err);
}

/* ---- undo --------------------------------------------------------------------------------- */

static void begin_undo(uvm_op *op, uvm_error *take_err) {
    UVM_ASSERT(op->phase == UVM__OP_RUN && !op->in_flight && !op->committed);
    UVM_ASSERT(take_err != NULL);
    if (op->failure == NULL) {
        op->failure = take_err;
    } else {
        uvm_error_unref(take_err);
    }
    op->phase = UVM__OP_UNDO;
    if (op->resolved) {
        /* A late success: its undo gets a time of its own. */
        op->undo_scope.reasons &= (uint8_t) ~(1u << UVM__TIMED_OUT);
        uvm__deadline_clear(op->engine, &op->undo_scope.deadline);
    }
    if (op->armed != 0) {
        uvm__scope_deadline(&op->undo_scope, UVM__UNDO_MS);
    }
}

/* True when there is more to do at once. */
static bool turn_undo(uvm_op *op) {
    if (op->stuck && vm_gone(op)) {
        UVM__MARK(saga_unstuck);
        op->stuck = false;
    }
    if (op->in_flight || op->stuck) {
        if (has_reason(&op->undo_scope, UVM__TIMED_OUT)) {
            UVM__MARK_IF(saga_quarantine_undo, !op->resolved);
            resolve_quarantined(op, NULL);
        }
        return false;
    }
    if (UVM__PLANT(cancel_stops_undo) && has_reason(&op->scope, UVM__CANCELED)) {
        op->armed = 0;
    }
    if (op->armed == 0) {
        if (!op->resolved) {
            resolve(op, UVM_TAKE_PTR(op->failure));
        }
        over(op);
        return false;
    }
    op->step = (uint8_t)(31 - __builtin_clz(op->armed));
    op->armed &= ~(1u << op->step);
    if (UVM__PLANT(skip_undo) && op->step == 0) {
        return true;
    }
    op->in_flight = true;
    op->step_us = begin_us(op);
    say_span(op, UVM_LOG_UNDO_BEGIN, step_row(op, op->step)->name, op->step_us, NULL);
    step_row(op, op->step)->undo(op, uvm__op_state(op));
    return !op->in_flight;
}

void uvm__undo_done(uvm_op *op, uvm_error *take_err) {
    UVM_ASSERT(op->phase == UVM__OP_UNDO && op->in_flight);
    op->in_flight = false;
    say_span(op, UVM_LOG_UNDO_END, step_row(op, op->step)->name, op->step_us, take_err);
    UVM__MARK_IF(saga_undo_vm_gone, take_err != NULL && vm_gone(op));
    if (take_err != NULL && !vm_gone(op)) {
        /* A lost connection mostly means that the VM is going: its end settles it, or the deadline. */
        op->stuck = true;
        UVM__MARK_IF(saga_undo_lost, uvm_error_code(take_err) == UVM_E_CLOSED);
        if (uvm_error_code(take_err) != UVM_E_CLOSED) {
            UVM__MARK(saga_undo_failed);
            uvm_error *why = uvm_error_ref(take_err);
            if (op->failure == NULL) {
                op->failure = why;
            } else {
                op->failure = uvm__error_cause(op->failure, why);
            }
            uvm__scope_fail(&op->undo_scope, UVM__TIMED_OUT, NULL);
        }
    }
    uvm_error_unref(take_err);
    uvm__ready_push(op->engine, &op->ready);
}

/* ---- run ---------------------------------------------------------------------------------- */

/* A reason holds while a step is under way. */
static void react(uvm_op *op) {
    UVM__MARK_IF(saga_stop_committed, op->committed && uvm__scope_reason(&op->scope) != UVM__GO);
    if (op->committed || uvm__scope_reason(&op->scope) == UVM__GO) {
        return;
    }
    const struct uvm__step *row = step_row(op, op->step);
    if (!op->asked) {
        op->asked = true;
        if (!row->child) {
            uvm__scope_deadline(&op->undo_scope, UVM__UNDO_MS);
        }
        if (row->cancel != NULL) {
            row->cancel(op, uvm__op_state(op));
        }
    }
    if (op->in_flight && has_reason(&op->undo_scope, UVM__TIMED_OUT)) {
        if (op->failure == NULL) {
            op->failure = uvm__scope_error(&op->scope);
        }
        UVM__MARK_IF(saga_quarantine_run, !op->resolved);
        resolve_quarantined(op, NULL);
    }
}

/* True when there is more to do at once. */
static bool turn_run(uvm_op *op) {
    if (op->in_flight) {
        react(op);
        return !op->in_flight && op->phase != UVM__OP_OVER;
    }
    if (op->failure != NULL && !op->committed) {
        begin_undo(op, uvm_error_ref(op->failure));
        return true;
    }
    if (!op->committed && uvm__scope_reason(&op->scope) != UVM__GO) {
        UVM__MARK_IF(saga_stop_idle, !op->asked);
        begin_undo(op, uvm__scope_error(&op->scope));
        return true;
    }
    if (op->failure != NULL || op->step == op->saga->steps_count) {
        op->armed = 0; /* committed: what the steps made stays */
        resolve(op, UVM_TAKE_PTR(op->failure));
        over(op);
        return false;
    }
    const struct uvm__step *row = step_row(op, op->step);
    op->in_flight = true;
    op->asked = false;
    op->step_us = begin_us(op);
    say_span(op, UVM_LOG_STEP_BEGIN, row->name, op->step_us, NULL);
    row->run(op, uvm__op_state(op));
    return !op->in_flight;
}

static void op_turn(struct uvm__ready *r) {
    uvm_op *op = uvm_op_ref(UVM__CONTAINER_OF(r, uvm_op, ready));
    bool more = true;
    while (more) {
        if (op->phase == UVM__OP_RUN) {
            more = turn_run(op);
        } else {
            more = op->phase == UVM__OP_UNDO && turn_undo(op);
        }
    }
    uvm_op_unref(op);
}

void uvm__step_armed(uvm_op *op) {
    UVM_ASSERT(op->phase == UVM__OP_RUN && op->in_flight);
    UVM_ASSERT(step_row(op, op->step)->undo != NULL);
    op->armed |= 1u << op->step;
}

void uvm__step_done(uvm_op *op, uvm_error *take_err) {
    UVM_ASSERT(op->phase == UVM__OP_RUN && op->in_flight);
    const struct uvm__step *row = step_row(op, op->step);
    op->in_flight = false;
    say_span(op, UVM_LOG_STEP_END, row->name, op->step_us, take_err);
    UVM__MARK_IF(saga_late_success, take_err == NULL && op->resolved);
    UVM__MARK_IF(saga_late_failure, take_err != NULL && op->resolved);
    if (take_err == NULL) {
        bool drop = UVM__PLANT(drop_late_success) && uvm__scope_reason(&op->scope) != UVM__GO;
        if (row->undo != NULL && !drop) {
            op->armed |= 1u << op->step;
        }
        UVM__MARK_IF(saga_same_tick, uvm__scope_reason(&op->scope) != UVM__GO && !op->asked);
        UVM__MARK_IF(saga_asked_too_late, op->asked);
        /* A reason that came before this success wins, unless there is nothing to take back. */
        bool wanted = uvm__scope_reason(&op->scope) == UVM__GO || op->armed == 0;
        if (op->step == op->saga->commit_step && !op->resolved && wanted) {
            op->committed = true;
        }
        op->step++;
    } else {
        UVM__MARK_IF(saga_failed_armed, (op->armed & 1u << op->step) != 0);
        uvm_error *err = uvm__error_step(take_err, row->name);
        /* A step that ended because it was asked to did not fail: the reason is the outcome. */
        bool obeyed = uvm__scope_reason(&op->scope) != UVM__GO && !op->committed &&
                      (op->asked || uvm_error_code(err) == UVM_E_CANCELED ||
                       uvm_error_code(err) == UVM_E_TIMEDOUT);
        if (op->failure != NULL || (obeyed && uvm_error_code(err) != UVM_E_UNDO)) {
            if (op->failure == NULL) {
                op->failure = uvm__error_step(uvm__scope_error(&op->scope), row->name);
            }
            uvm_error_unref(err);
        } else {
            op->failure = err;
        }
    }
    uvm__ready_push(op->engine, &op->ready);
}

/* ---- start -------------------------------------------------------------------------------- */

static void on_reason(uvm_scope *s) {
    uvm_op *op = UVM__CONTAINER_OF(s, uvm_op, scope);
    uvm__ready_push(op->engine, &op->ready);
}

static void on_undo_reason(uvm_scope *s) {
    uvm_op *op = UVM__CONTAINER_OF(s, uvm_op, undo_scope);
    uvm__ready_push(op->engine, &op->ready);
}

int uvm__op_start(uvm_engine *e, uvm_scope *scope, const struct uvm__saga *saga, const void *params,
                  uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    UVM_ASSERT(saga->steps_count > 0 && saga->steps_count <= UVM__STEPS_MAX);
    UVM_ASSERT_CMP(saga->commit_step, <, saga->steps_count);
    UVM_ASSERT(!e->closing);
    size_t offset = (sizeof(uvm_op) + 15) & ~(size_t)15;
    size_t extra = saga->extra_bytes == NULL ? 0 : saga->extra_bytes(params);
    if (extra > (size_t)UVM__DOCUMENT_BYTES_MAX * 4u) {
        return -UVM_E_LIMIT;
    }
    uvm_op *op = uvm__zalloc(e, offset + saga->state_bytes + extra);
    if (op == NULL) {
        return -UVM_E_NOMEM;
    }
    op->engine = e;
    op->saga = saga;
    op->state_offset = offset;
    op->id = uvm__engine_next_id(e);
    op->started_us = begin_us(op);
    op->refs = 3; /* run, scope, undo scope */
    op->on_done = on_done;
    op->arg = arg;
    uvm__ready_init(&op->ready, op_turn);
    uvm__list_init(&op->link);
    uvm__list_init(&op->quarantine_link);
    int rc = saga->init == NULL ? 0 : saga->init(op, uvm__op_state(op), params);
    if (rc < 0) {
        uvm__free(e, op);
        return rc;
    }
    uvm__scope_init(&op->scope, e, scope == NULL ? &e->root : scope, release_scope);
    op->scope.on_reason = on_reason;
    uvm__scope_init(&op->undo_scope, e, op->scope.undo_root, release_undo_scope);
    op->undo_scope.undo_root = op->scope.undo_root;
    op->undo_scope.on_reason = on_undo_reason;
    if (saga->deadline_ms > 0) {
        uvm__scope_deadline(&op->scope, saga->deadline_ms);
    }
    uvm__list_append(&e->ops, &op->link);
    say_span(op, UVM_LOG_OP_BEGIN, "", op->started_us, NULL);
    uvm__ready_push(e, &op->ready);
    if (ret_op != NULL) {
        op->refs++;
        *ret_op = op;
    }
    return 0;
}

void uvm_op_cancel(uvm_op *op) {
    if (!op->resolved) {
        uvm_scope_cancel(&op->scope);
        if (UVM__PLANT(done_inline) && op->step == 0 && !op->in_flight) {
            op_turn(&op->ready);
        }
    }
}

/* ---- queries ------------------------------------------------------------------------------ */

void *uvm__op_state(uvm_op *op) {
    return (char *)op + op->state_offset;
}

uvm_engine *uvm__op_engine(const uvm_op *op) {
    return op->engine;
}

uvm_scope *uvm__op_scope(uvm_op *op) {
    return &op->scope;
}

uvm_scope *uvm__op_undo_scope(uvm_op *op) {
    return &op->undo_scope;
}

const uvm_error *uvm__op_error(const uvm_op *op) {
    return op->error;
}

bool uvm__op_resolved(const uvm_op *op) {
    return op->resolved;
}

bool uvm__op_succeeded(const uvm_op *op) {
    return op->resolved && op->error == NULL;
}

const struct uvm__saga *uvm__op_saga(const uvm_op *op) {
    return op->saga;
}

uint64_t uvm__op_id(const uvm_op *op) {
    return op->id;
}

const char *uvm_op_name(const uvm_op *op) {
    return op->saga->name;
}

size_t uvm__engine_dump(uvm_engine *e, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    size_t len = 0;
    buf[0] = 0;
    uint64_t now = uvm__now_us(e);
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &e->ops) {
        const uvm_op *op = UVM__CONTAINER_OF(it, uvm_op, link);
        const char *step =
            op->step < op->saga->steps_count ? op->saga->steps[op->step].name : "end";
        const char *how = op->resolved                ? " (quarantined)"
                          : op->phase == UVM__OP_UNDO ? " (undo)"
                                                      : "";
        int n = snprintf(buf + len, bytes - len, "#%" PRIu64 " %s › %s %" PRIu64 " ms%s\n", op->id,
                         op->saga->name, step, (now - op->started_us) / 1000u, how);
        if (n < 0 || (size_t)n >= bytes - len) {
            buf[len] = 0; /* whole lines only */
            break;
        }
        len += (size_t)n;
    }
    return len;
}
