/* SPDX-License-Identifier: MIT
 * client_calls.c — the typed calls: each is an op of one step around one request.
 *
 * The request is encoded at start, into the op. run queues it; the reply ends the step. What cancel does
 * depends on how far the request is and on what it does in the guest (uvm__messages[].effect): not begun to
 * leave, it is withdrawn; without effect the step ends at once and the late reply finds `over` set; with
 * effect the reply is waited for, and the runner bounds that.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/log.h"
#include "async/mark.h"
#include "bridge/client_int.h"
#include <inttypes.h>
#include <string.h>

struct call_state {
    struct uvm__bridge *bridge;
    uvm_op *op;
    struct uvm__rpc rpc;
    bool of_uvm;
    bool heartbeat;
    bool too_large; /* the request did not fit its frame */
    bool begun;
    bool sent;
    bool over; /* the step has ended; a late reply changes nothing */
    /* results */
    cJSON *tree; /* holds `text` */
    const char *text;
    struct uvm__msg_exit exit;
    bool delivered;
};

struct call_params {
    struct uvm__bridge *bridge;
    enum uvm__message msg;
    union uvm__msg_request request;
    bool heartbeat;
    bool too_large;
    struct uvm__buf frame; /* taken by init */
};

static void step_over(struct call_state *c, uvm_error *take_err) {
    UVM_ASSERT(!c->over);
    c->over = true;
    uvm__step_done(c->op, take_err);
}

/* ---- what a reply means ------------------------------------------------------------------- */

static uvm_error *accept_negotiation(struct call_state *c,
                                     const struct uvm__msg_capabilities *caps) {
    struct uvm__bridge *b = c->bridge;
    if (caps->version != UVM__PROTOCOL_VERSION) {
        return uvm__error(b->engine, UVM_E_PROTOCOL, 0,
                          "%s: the guest chose version %" PRIu32 " (%u was offered)", b->name,
                          caps->version, UVM__PROTOCOL_VERSION);
    }
    if (!caps->os_linux) {
        return uvm__error(b->engine, UVM_E_UNSUPPORTED, 0, "%s: the guest is not a Linux", b->name);
    }
    b->negotiated = true;
    b->capabilities = *caps;
    if (b->capabilities.process_control > UVM__PROCESS_CONTROL) {
        b->capabilities.process_control = UVM__PROCESS_CONTROL;
    }
    uvm__log(b->engine, UVM_LOG_INFO, b->name, "bridge negotiated: version %" PRIu32 "%s",
             caps->version, caps->process_control > 0 ? ", process control" : "");
    return NULL;
}

static uvm_error *accept_reply(struct call_state *c, struct uvm__rpc_reply *reply) {
    int32_t result = reply->result.result;
    if (c->heartbeat || (c->rpc.msg == UVM__MSG_SIGNAL_PROCESS && result == UVM__HR_NOT_FOUND)) {
        return NULL; /* any answer is a sign of life; the process has ended, nothing was delivered */
    }
    if (result != 0) {
        return uvm__rpc_refused(&c->rpc, reply);
    }
    c->delivered = true;
    if (c->rpc.msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        return accept_negotiation(c, &reply->answer.capabilities);
    }
    if (c->rpc.msg == UVM__MSG_WAIT_FOR_PROCESS) {
        c->exit = reply->answer.exit;
    } else if (c->rpc.msg == UVM__MSG_GET_PROPERTIES) {
        c->text = reply->answer.properties;
        c->tree = UVM_TAKE_PTR(reply->tree);
    } else if (c->rpc.msg == UVM__MSG_DUMP_STACKS) {
        c->text = reply->answer.stacks;
        c->tree = UVM_TAKE_PTR(reply->tree);
    }
    return NULL;
}

/* A guest that powers off cannot be relied on to say so. */
static bool powers_off(const struct call_state *c) {
    return c->of_uvm &&
           (c->rpc.msg == UVM__MSG_SHUTDOWN_GRACEFUL || c->rpc.msg == UVM__MSG_SHUTDOWN_FORCED);
}

static void on_sent(struct uvm__rpc *rpc) {
    UVM__CONTAINER_OF(rpc, struct call_state, rpc)->sent = true;
}

static void on_reply(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply, const uvm_error *err) {
    struct call_state *c = UVM__CONTAINER_OF(rpc, struct call_state, rpc);
    if (c->over) {
        UVM__MARK_IF(bridge_orphan, reply != NULL);
        return;
    }
    if (reply == NULL) {
        step_over(c, c->sent && powers_off(c) ? NULL : uvm_error_ref(err));
        return;
    }
    uvm_error *failed = accept_reply(c, reply);
    if (failed != NULL && rpc->msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        uvm_error *why = uvm_error_ref(failed);
        step_over(c, failed);
        uvm__bridge_kill(c->bridge, why);
        return;
    }
    step_over(c, failed);
}

/* ---- the step ----------------------------------------------------------------------------- */

static uvm_error *begin(struct call_state *c) {
    struct uvm__bridge *b = c->bridge;
    const char *name = uvm__messages[c->rpc.msg].name;
    bool control = c->rpc.msg == UVM__MSG_SIGNAL_PROCESS || c->rpc.msg == UVM__MSG_RESIZE_CONSOLE;
    if (c->too_large) {
        return uvm__error(b->engine, UVM_E_LIMIT, 0, "%s: a %s request does not fit %u bytes",
                          b->name, name, UVM__REQUEST_BYTES_MAX);
    }
    if (control && c->of_uvm && b->stream != NULL && b->capabilities.process_control == 0) {
        return uvm__error(b->engine, UVM_E_UNSUPPORTED, 0,
                          "%s: %s: the agent lacks process control for processes of the VM itself",
                          b->name, name);
    }
    return uvm__rpc_send(&c->rpc, c->op);
}

static void call_run(uvm_op *op, void *state) {
    struct call_state *c = state;
    UVM_ASSERT(op == c->op);
    c->begun = true;
    uvm_error *err = begin(c);
    if (err != NULL) {
        step_over(c, err);
    }
}

static void call_cancel(uvm_op *op, void *state) {
    struct call_state *c = state;
    bool withdrawn = uvm__rpc_withdraw(&c->rpc);
    if (withdrawn && c->rpc.msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        c->bridge->negotiating = false;
    }
    if (withdrawn || !uvm__messages[c->rpc.msg].effect) {
        UVM__MARK_IF(bridge_abandoned, !withdrawn);
        uvm__rpc_abandon(&c->rpc);
        step_over(c, uvm__scope_error(uvm__op_scope(op)));
    }
}

static const struct uvm__step steps[] = {{"request", call_run, call_cancel, NULL, false}};

bool uvm__bridge_withdraw(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op)->steps == steps);
    struct call_state *c = uvm__op_state(op);
    if (!c->begun) {
        uvm_op_cancel(op);
        return true;
    }
    if (c->over || !uvm__rpc_withdraw(&c->rpc)) {
        return false;
    }
    step_over(c, uvm__error(c->bridge->engine, UVM_E_CANCELED, 0, "%s: %s: withdrawn",
                            c->bridge->name, uvm__messages[c->rpc.msg].name));
    return true;
}

static int call_init(uvm_op *op, void *state, const void *params) {
    struct call_state *c = state;
    const struct call_params *p = params;
    const char *id = p->request.base.container_id;
    c->op = op;
    c->bridge = uvm__bridge_ref(p->bridge);
    c->of_uvm = strcmp(id, UVM__NULL_ID) == 0;
    c->heartbeat = p->heartbeat;
    c->too_large = p->too_large;
    uvm__rpc_init(&c->rpc, p->bridge, p->msg);
    c->rpc.frame = p->frame;
    c->rpc.exempt = p->heartbeat;
    c->rpc.patient = p->heartbeat;
    c->rpc.on_sent = on_sent;
    c->rpc.on_reply = on_reply;
    if (p->msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        p->bridge->negotiating = true;
    }
    return 0;
}

static void call_deinit(void *state) {
    struct call_state *c = state;
    uvm__rpc_deinit(&c->rpc);
    cJSON_Delete(c->tree);
    uvm__bridge_unref(c->bridge);
}

#define CALL_SAGA(text)                                                                            \
    {                                                                                              \
        .name = (text), .steps = steps, .steps_count = 1,                                          \
        .state_bytes = sizeof(struct call_state), .init = call_init, .deinit = call_deinit,        \
    }
static const struct uvm__saga saga_negotiate = CALL_SAGA("negotiate");
static const struct uvm__saga saga_wait = CALL_SAGA("process wait");
static const struct uvm__saga saga_signal = CALL_SAGA("process signal");
static const struct uvm__saga saga_resize = CALL_SAGA("process resize");
static const struct uvm__saga saga_properties = CALL_SAGA("guest properties");
static const struct uvm__saga saga_stacks = CALL_SAGA("guest stacks");
static const struct uvm__saga saga_modify = CALL_SAGA("guest modify");
static const struct uvm__saga saga_shutdown = CALL_SAGA("guest shutdown");
static const struct uvm__saga saga_heartbeat = CALL_SAGA("heartbeat");
#undef CALL_SAGA

/* ---- start -------------------------------------------------------------------------------- */

static bool allowed(const struct uvm__bridge *b, enum uvm__message msg) {
    if (b->stream == NULL) {
        return true; /* the op says that the bridge is lost */
    }
    return msg == UVM__MSG_NEGOTIATE_PROTOCOL ? !b->negotiated && !b->negotiating : b->negotiated;
}

static int start(const struct uvm__saga *saga, struct call_params *p, uvm_scope *scope,
                 uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__bridge *b = p->bridge;
    if (!allowed(b, p->msg)) {
        return -UVM_E_STATE;
    }
    struct uvm__rpc rpc;
    uvm__rpc_init(&rpc, b, p->msg);
    int rc = uvm__rpc_encode(&rpc, &p->request);
    p->too_large = rc == -UVM_E_LIMIT;
    if (rc == 0 || p->too_large) {
        p->frame = rpc.frame;
        rc = uvm__op_start(b->engine, scope, saga, p, on_done, arg, ret_op);
    }
    if (rc < 0) {
        uvm__rpc_deinit(&rpc);
    }
    return rc;
}

static struct uvm__msg_base base_of(const char *container_id) {
    return (struct uvm__msg_base){container_id == NULL ? UVM__NULL_ID : container_id, NULL};
}

static struct call_state *state_of(uvm_op *op, const struct uvm__saga *saga) {
    UVM_ASSERT(uvm__op_saga(op) == saga);
    return uvm__op_state(op);
}

int uvm__bridge_negotiate(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                          uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_NEGOTIATE_PROTOCOL};
    p.request.negotiate = (struct uvm__msg_negotiate){
        {"", NULL}, UVM__PROTOCOL_VERSION, UVM__PROTOCOL_VERSION, UVM__PROCESS_CONTROL};
    return start(&saga_negotiate, &p, scope, on_done, arg, ret_op);
}

int uvm__bridge_wait(struct uvm__bridge *b, const char *container_id, uint32_t pid,
                     uint32_t timeout_ms, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_WAIT_FOR_PROCESS};
    p.request.wait = (struct uvm__msg_wait){base_of(container_id), pid, timeout_ms};
    return start(&saga_wait, &p, scope, on_done, arg, ret_op);
}

struct uvm__msg_exit uvm__bridge_wait_result(uvm_op *op) {
    return state_of(op, &saga_wait)->exit;
}

int uvm__bridge_signal(struct uvm__bridge *b, const char *container_id, uint32_t pid, int signo,
                       bool group, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                       uvm_op **ret_op) {
    if (signo < 0 || signo > 64 || (group && container_id != NULL)) {
        return -UVM_E_INVAL;
    }
    struct call_params p = {.bridge = b, .msg = UVM__MSG_SIGNAL_PROCESS};
    p.request.signal = (struct uvm__msg_signal){base_of(container_id), pid, signo, group};
    return start(&saga_signal, &p, scope, on_done, arg, ret_op);
}

bool uvm__bridge_signal_delivered(uvm_op *op) {
    return state_of(op, &saga_signal)->delivered;
}

int uvm__bridge_resize(struct uvm__bridge *b, const char *container_id, uint32_t pid,
                       uint16_t height, uint16_t width, uvm_scope *scope, uvm_done_fn on_done,
                       void *arg, uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_RESIZE_CONSOLE};
    p.request.resize = (struct uvm__msg_resize){base_of(container_id), pid, height, width};
    return start(&saga_resize, &p, scope, on_done, arg, ret_op);
}

int uvm__bridge_get_properties(struct uvm__bridge *b, const char *container_id, const char *query,
                               uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_GET_PROPERTIES};
    p.request.properties = (struct uvm__msg_properties){base_of(container_id), query};
    return start(&saga_properties, &p, scope, on_done, arg, ret_op);
}

const char *uvm__bridge_properties_result(uvm_op *op) {
    const char *text = state_of(op, &saga_properties)->text;
    return text == NULL ? "" : text;
}

int uvm__bridge_dump_stacks(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                            uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_DUMP_STACKS};
    p.request.base = base_of(NULL);
    return start(&saga_stacks, &p, scope, on_done, arg, ret_op);
}

const char *uvm__bridge_stacks_result(uvm_op *op) {
    const char *text = state_of(op, &saga_stacks)->text;
    return text == NULL ? "" : text;
}

int uvm__bridge_modify(struct uvm__bridge *b, const char *container_id, const char *request,
                       uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_MODIFY_SETTINGS};
    struct uvm__fail f;
    cJSON *tree = NULL;
    int rc = uvm__json_read(UVM__JSON_STRICT, request, strlen(request), &tree, &f);
    bool object = rc == 0 && cJSON_IsObject(tree);
    cJSON_Delete(tree);
    if (!object) {
        return rc == -UVM_E_NOMEM ? rc : -UVM_E_INVAL;
    }
    p.request.modify = (struct uvm__msg_modify){base_of(container_id), request, NULL};
    return start(&saga_modify, &p, scope, on_done, arg, ret_op);
}

int uvm__bridge_shutdown(struct uvm__bridge *b, const char *container_id, bool forced,
                         uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_SHUTDOWN_GRACEFUL};
    if (forced) {
        p.msg = UVM__MSG_SHUTDOWN_FORCED;
    }
    p.request.base = base_of(container_id);
    return start(&saga_shutdown, &p, scope, on_done, arg, ret_op);
}

int uvm__bridge_heartbeat(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                          uvm_op **ret_op) {
    struct call_params p = {.bridge = b, .msg = UVM__MSG_GET_PROPERTIES, .heartbeat = true};
    p.request.properties = (struct uvm__msg_properties){base_of(NULL), ""};
    return start(&saga_heartbeat, &p, scope, on_done, arg, ret_op);
}
