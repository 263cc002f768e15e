/* SPDX-License-Identifier: MIT
 * message.c — the table of messages, and the bodies of requests.
 *
 * One writer and one reader per message, picked by the table's row; the base fields are common to all.
 * The reader fills what it can before it fails, since the answer to a bad request names its activity.
 */
#include "bridge/message.h"
#include "async/check.h"
#include "bridge/json_in_int.h"
#include "bridge/json_out_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct uvm__message_row uvm__messages[UVM__MSG_MAX] = {
#define UVM__X(name, word, text, effect) [UVM__MSG_##name] = {word, text, effect},
    UVM__MESSAGE_MAP(UVM__X)
#undef UVM__X
};

enum uvm__message uvm__message_of(uint32_t word) {
    for (unsigned m = 0; m < UVM__MSG_MAX; m++) {
        if (uvm__messages[m].word == word) {
            return (enum uvm__message)m;
        }
    }
    return UVM__MSG_MAX;
}

uint32_t uvm__message_response_word(uint32_t word) {
    return (word & 0x0fffffffu) | 0x20000000u;
}

void uvm__message_word_text(uint32_t word, char *buf, size_t bytes) {
    enum uvm__message request = uvm__message_of(word);
    enum uvm__message response = uvm__message_of((word & 0x0fffffffu) | 0x10000000u);
    bool is_response = (word & 0xf0000000u) == 0x20000000u;
    if (request != UVM__MSG_MAX) {
        (void)snprintf(buf, bytes, "ComputeSystem%sV1", uvm__messages[request].name);
    } else if (is_response && response < UVM__MSG_DELETE_CONTAINER_STATE) {
        /* The reference has no name for the response of its newest message. */
        (void)snprintf(buf, bytes, "ComputeSystemResponse%sV1", uvm__messages[response].name);
    } else if (word == UVM__NOTIFICATION_WORD) {
        (void)snprintf(buf, bytes, "ComputeSystemNotificationV1");
    } else if (word == 0) {
        (void)snprintf(buf, bytes, "None");
    } else {
        (void)snprintf(buf, bytes, "%" PRIu32, word);
    }
}

void uvm__hresult_text(int32_t hr, char ret_text[UVM__HR_TEXT_BYTES]) {
    (void)snprintf(ret_text, UVM__HR_TEXT_BYTES, "HRESULT: 0x%08" PRIx32, (uint32_t)hr);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void write_execute(struct uvm__json_out *o, const struct uvm__msg_execute *m) {
    uvm__json_out_key(o, "Settings");
    uvm__json_out_open(o, '{');
    uvm__json_out_member(o, "ProcessParameters", m->parameters);
    uvm__json_out_key(o, "VsockStdioRelaySettings");
    uvm__json_out_open(o, '{');
    static const char *const keys[] = {"StdIn", "StdOut", "StdErr"};
    const uint32_t ports[] = {m->port_in, m->port_out, m->port_err};
    for (size_t i = 0; i < 3; i++) {
        if (ports[i] != 0) {
            uvm__json_out_member_int(o, keys[i], ports[i]);
        }
    }
    uvm__json_out_close(o, '}');
    uvm__json_out_close(o, '}');
}

static void write_negotiate(struct uvm__json_out *o, const struct uvm__msg_negotiate *m) {
    uvm__json_out_member_int(o, "MinimumVersion", m->version_min);
    uvm__json_out_member_int(o, "MaximumVersion", m->version_max);
    if (m->process_control > 0) {
        uvm__json_out_key(o, "UvmExtensions");
        uvm__json_out_open(o, '{');
        uvm__json_out_member_int(o, "ProcessControl", m->process_control);
        uvm__json_out_close(o, '}');
    }
}

static void write_signal(struct uvm__json_out *o, const struct uvm__msg_signal *m) {
    uvm__json_out_member_int(o, "ProcessId", m->pid);
    if (m->signal != 0 || m->group) {
        uvm__json_out_key(o, "Options");
        uvm__json_out_open(o, '{');
        if (m->signal != 0) {
            uvm__json_out_member_int(o, "Signal", m->signal);
        }
        uvm__json_out_member_true(o, "UvmGroup", m->group);
        uvm__json_out_close(o, '}');
    }
}

static void write_resize(struct uvm__json_out *o, const struct uvm__msg_resize *m) {
    uvm__json_out_member_int(o, "ProcessId", m->pid);
    uvm__json_out_member_int(o, "Height", m->height);
    uvm__json_out_member_int(o, "Width", m->width);
}

static void write_rest(struct uvm__json_out *o, enum uvm__message msg,
                       const union uvm__msg_request *req) {
    switch (msg) {
    case UVM__MSG_NEGOTIATE_PROTOCOL:
        write_negotiate(o, &req->negotiate);
        break;
    case UVM__MSG_CREATE:
        uvm__json_out_member(o, "ContainerConfig", req->create.config);
        break;
    case UVM__MSG_EXECUTE_PROCESS:
        write_execute(o, &req->execute);
        break;
    case UVM__MSG_WAIT_FOR_PROCESS:
        uvm__json_out_member_int(o, "ProcessId", req->wait.pid);
        uvm__json_out_member_int(o, "TimeoutInMs", req->wait.timeout_ms);
        break;
    case UVM__MSG_SIGNAL_PROCESS:
        write_signal(o, &req->signal);
        break;
    case UVM__MSG_RESIZE_CONSOLE:
        write_resize(o, &req->resize);
        break;
    case UVM__MSG_GET_PROPERTIES:
        uvm__json_out_member(o, "Query", req->properties.query);
        break;
    case UVM__MSG_MODIFY_SETTINGS:
        uvm__json_out_key(o, "Request");
        uvm__json_out_raw(o, req->modify.request_text, strlen(req->modify.request_text));
        break;
    case UVM__MSG_START:
    case UVM__MSG_SHUTDOWN_GRACEFUL:
    case UVM__MSG_SHUTDOWN_FORCED:
    case UVM__MSG_DUMP_STACKS:
    case UVM__MSG_DELETE_CONTAINER_STATE:
    case UVM__MSG_MAX:
        break;
    }
}

int uvm__msg_request_write(struct uvm__buf *b, enum uvm__message msg,
                           const union uvm__msg_request *req) {
    UVM_ASSERT_CMP(msg, <, UVM__MSG_MAX);
    const char *activity = req->base.activity_id;
    struct uvm__json_out o;
    uvm__json_out_init(&o, b, false);
    uvm__json_out_open(&o, '{');
    uvm__json_out_member(&o, "ContainerId", req->base.container_id);
    uvm__json_out_member(&o, "ActivityId", activity == NULL ? UVM__NULL_ID : activity);
    write_rest(&o, msg, req);
    uvm__json_out_close(&o, '}');
    uvm__json_out_raw(&o, "\n", 1);
    return o.rc;
}

/* ---- reading ------------------------------------------------------------------------------ */

static void read_base(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_base *ret) {
    ret->container_id = uvm__json_in_string(in, body, "ContainerId");
    ret->activity_id = uvm__json_in_string(in, body, "ActivityId");
    const cJSON *trace = uvm__json_in_object(in, body, "otsc");
    const cJSON *it;
    cJSON_ArrayForEach(it, trace) {
        if (!cJSON_IsString(it) && !cJSON_IsNull(it)) {
            uvm__json_in_wrong(in, "otsc", "a map of strings", it);
        }
    }
}

static void read_negotiate(struct uvm__json_in *in, const cJSON *body,
                           struct uvm__msg_negotiate *m) {
    m->version_min = uvm__json_in_uint(in, body, "MinimumVersion", UINT32_MAX);
    m->version_max = uvm__json_in_uint(in, body, "MaximumVersion", UINT32_MAX);
    const cJSON *ours = uvm__json_in_object(in, body, "UvmExtensions");
    m->process_control = uvm__json_in_uint(in, ours, "ProcessControl", UINT32_MAX);
}

static void read_execute(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_execute *m) {
    const cJSON *settings = uvm__json_in_object(in, body, "Settings");
    m->parameters = uvm__json_in_string(in, settings, "ProcessParameters");
    const cJSON *ports = uvm__json_in_object(in, settings, "VsockStdioRelaySettings");
    m->port_in = uvm__json_in_uint(in, ports, "StdIn", UINT32_MAX);
    m->port_out = uvm__json_in_uint(in, ports, "StdOut", UINT32_MAX);
    m->port_err = uvm__json_in_uint(in, ports, "StdErr", UINT32_MAX);
}

static void read_signal(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_signal *m) {
    m->pid = uvm__json_in_uint(in, body, "ProcessId", UINT32_MAX);
    const cJSON *options = uvm__json_in_object(in, body, "Options");
    m->signal = uvm__json_in_int(in, options, "Signal");
    m->group = uvm__json_in_bool(in, options, "UvmGroup");
}

static void read_resize(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_resize *m) {
    m->pid = uvm__json_in_uint(in, body, "ProcessId", UINT32_MAX);
    m->height = (uint16_t)uvm__json_in_uint(in, body, "Height", UINT16_MAX);
    m->width = (uint16_t)uvm__json_in_uint(in, body, "Width", UINT16_MAX);
}

static void read_rest(struct uvm__json_in *in, enum uvm__message msg, const cJSON *body,
                      union uvm__msg_request *ret) {
    switch (msg) {
    case UVM__MSG_NEGOTIATE_PROTOCOL:
        read_negotiate(in, body, &ret->negotiate);
        break;
    case UVM__MSG_CREATE:
        ret->create.config = uvm__json_in_string(in, body, "ContainerConfig");
        break;
    case UVM__MSG_EXECUTE_PROCESS:
        read_execute(in, body, &ret->execute);
        break;
    case UVM__MSG_WAIT_FOR_PROCESS:
        ret->wait.pid = uvm__json_in_uint(in, body, "ProcessId", UINT32_MAX);
        ret->wait.timeout_ms = uvm__json_in_uint(in, body, "TimeoutInMs", UINT32_MAX);
        break;
    case UVM__MSG_SIGNAL_PROCESS:
        read_signal(in, body, &ret->signal);
        break;
    case UVM__MSG_RESIZE_CONSOLE:
        read_resize(in, body, &ret->resize);
        break;
    case UVM__MSG_GET_PROPERTIES:
        ret->properties.query = uvm__json_in_string(in, body, "Query");
        break;
    case UVM__MSG_MODIFY_SETTINGS: {
        const cJSON *request = uvm__json_get(UVM__JSON_GO, body, "Request");
        ret->modify.request = cJSON_IsNull(request) ? NULL : request;
        break;
    }
    case UVM__MSG_START:
    case UVM__MSG_SHUTDOWN_GRACEFUL:
    case UVM__MSG_SHUTDOWN_FORCED:
    case UVM__MSG_DUMP_STACKS:
    case UVM__MSG_DELETE_CONTAINER_STATE:
    case UVM__MSG_MAX:
        break;
    }
}

int uvm__msg_request_read(enum uvm__message msg, const void *body, size_t bytes,
                          union uvm__msg_request *ret, cJSON **ret_tree, struct uvm__fail *f) {
    *ret_tree = NULL;
    *ret = (union uvm__msg_request){.base = {"", ""}};
    cJSON *tree = NULL;
    int rc = uvm__json_in_body(body, bytes, &tree, f);
    if (rc < 0) {
        return rc;
    }
    *ret_tree = tree;
    struct uvm__json_in in = {.fail = f};
    memset(ret, 0, sizeof *ret);
    read_base(&in, tree, &ret->base);
    read_rest(&in, msg, tree, ret);
    return in.rc;
}

/* ---- notifications ------------------------------------------------------------------------ */

int uvm__msg_notification_write(struct uvm__buf *b, const struct uvm__msg_notification *n) {
    const char *activity = n->base.activity_id;
    bool none = activity == NULL || activity[0] == 0; /* the host refuses an empty one */
    struct uvm__json_out o;
    uvm__json_out_init(&o, b, true);
    uvm__json_out_open(&o, '{');
    uvm__json_out_member(&o, "ContainerId", n->base.container_id);
    uvm__json_out_member(&o, "ActivityId", none ? UVM__NULL_ID : activity);
    uvm__json_out_member(&o, "Type", n->type);
    uvm__json_out_member(&o, "Operation", "None");
    uvm__json_out_member_int(&o, "Result", 0);
    uvm__json_out_close(&o, '}');
    return o.rc;
}
