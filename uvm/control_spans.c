/* SPDX-License-Identifier: MIT
 * control_spans.c — the spans of the engine's operations for a VM, to control clients that trace them.
 *
 * A client hears of all that is done for the VM while it listens, not only of what it asked for: what it
 * waits for may be the work of others. Spans are names of operations and steps, ids and times; nothing that
 * a caller or a guest said is in them. A client gets UVM__CONTROL_SPANS_MAX, and none when it reads so slowly
 * that its answers would suffer: then the call ends and says that the rest is missing.
 */
#include "uvm/control_int.h"

static const char *const kinds[] = {
    [UVM_LOG_TEXT] = "",
    [UVM_LOG_OP_BEGIN] = "op_begin",
    [UVM_LOG_OP_END] = "op_end",
    [UVM_LOG_STEP_BEGIN] = "step_begin",
    [UVM_LOG_STEP_END] = "step_end",
    [UVM_LOG_UNDO_BEGIN] = "undo_begin",
    [UVM_LOG_UNDO_END] = "undo_end",
};

static cJSON *span_event(const struct uvm_log_record *r) {
    const char *code = r->code == UVM_OK ? "OK" : uvm_error_code_name(r->code);
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__control_add_text(o, "event", "span") != NULL &&
              uvm__control_add_text(o, "kind", kinds[r->kind]) != NULL &&
              uvm__json_add_u64(o, "op_id", r->op_id) != NULL &&
              uvm__json_add_u64(o, "parent_id", r->parent_id) != NULL &&
              uvm__control_add_text(o, "op", r->op) != NULL &&
              uvm__control_add_text(o, "step", r->step) != NULL &&
              uvm__json_add_u64(o, "begin_us", r->begin_us) != NULL &&
              uvm__json_add_u64(o, "at_us", r->at_us) != NULL &&
              uvm__control_add_text(o, "code", code) != NULL;
    if (!ok) {
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

static void feed(struct control_call *call, const struct uvm_log_record *record) {
    struct control_conn *conn = call->conn;
    if (conn->torn) {
        return;
    }
    if (call->number == UVM__CONTROL_SPANS_MAX ||
        uvm__sock_queued(conn->sock) > UVM__SOCK_OUT_BYTES_MAX / 4) {
        uvm__control_spans_reply(call, false);
    } else {
        call->number++;
        uvm__control_notify(conn, span_event(record));
    }
}

static void on_span(struct uvm__span_tap *tap, const struct uvm_log_record *record) {
    uvm_control *c = UVM__CONTAINER_OF(tap, uvm_control, spans);
    struct uvm__list *conn, *it, *tmp;
    if (record->vm != c->vm->options.name) { /* the very name: another VM's may read the same */
        return;
    }
    UVM__LIST_FOREACH(conn, &c->conns) {
        UVM__LIST_FOREACH_SAFE(it, tmp,
                               &UVM__CONTAINER_OF(conn, struct control_conn, link)->calls) {
            struct control_call *call = UVM__CONTAINER_OF(it, struct control_call, link);
            if (call->wait == CONTROL_WAIT_SPANS) {
                feed(call, record);
            }
        }
    }
}

int uvm__control_spans(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_control *c = call->conn->control;
    (void)params;
    (void)f;
    call->wait = CONTROL_WAIT_SPANS;
    if (c->spans_calls++ == 0) {
        c->spans.fn = on_span;
        uvm__span_tap_add(c->engine, &c->spans);
    }
    return 0;
}

void uvm__control_spans_reply(struct control_call *call, bool complete) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__json_add_u64(o, "spans", call->number) != NULL &&
              cJSON_AddBoolToObject(o, "complete", complete) != NULL;
    if (!ok) {
        cJSON_Delete(o);
        o = NULL;
    }
    uvm__control_reply(call, o);
}

void uvm__control_spans_free(struct control_call *call) {
    uvm_control *c = call->conn->control;
    UVM_ASSERT(call->wait == CONTROL_WAIT_SPANS && c->spans_calls > 0);
    if (--c->spans_calls == 0) {
        uvm__span_tap_remove(&c->spans);
    }
}
