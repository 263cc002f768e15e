/* SPDX-License-Identifier: MIT
 * message_response.c — the bodies of responses: as the agent writes them, as the host reads them.
 *
 * A response must fit a frame of the host's limit. What can be too long is cut where it can be cut (an
 * error's text, which the reference writes twice, and stacks) and refused where it cannot (properties);
 * the room is counted beforehand with a writer that has no buffer.
 * The reader is strict: what does not decode ends the connection, as with the reference.
 */
#include "async/check.h"
#include "async/guid.h"
#include "bridge/json_in_int.h"
#include "bridge/json_out_int.h"
#include "bridge/message.h"
#include <errno.h>
#include <string.h>

static const char *const start_steps[UVM__START_MAX] = {"",
#define UVM__X(name, text) text,
                                                        UVM__START_STEP_MAP(UVM__X)
#undef UVM__X
};

const char *uvm__start_step_text(enum uvm__start_step step) {
    UVM_ASSERT_CMP(step, <, UVM__START_MAX);
    return start_steps[step];
}

int uvm__msg_start_status(const struct uvm__msg_start *start) {
    if (start->step != UVM__START_EXEC) {
        return 125;
    }
    return start->error == ENOENT ? 127 : 126;
}

/* ---- writing: success --------------------------------------------------------------------- */

static void open_response(struct uvm__json_out *o, struct uvm__buf *b, int32_t result,
                          const char *activity_id) {
    uvm__json_out_init(o, b, true);
    uvm__json_out_open(o, '{');
    uvm__json_out_member_int(o, "Result", result);
    if (activity_id != NULL && activity_id[0] != 0) {
        uvm__json_out_member(o, "ActivityId", activity_id);
    }
}

static void write_capabilities(struct uvm__json_out *o, const struct uvm__msg_capabilities *c) {
    uvm__json_out_member_int(o, "Version", c->version);
    uvm__json_out_key(o, "Capabilities");
    uvm__json_out_open(o, '{');
    uvm__json_out_member_true(o, "SendHostCreateMessage", c->send_host_create);
    uvm__json_out_member_true(o, "SendHostStartMessage", c->send_host_start);
    uvm__json_out_key(o, "SupportedSchemaVersions");
    uvm__json_out_open(o, '[');
    uvm__json_out_open(o, '{');
    uvm__json_out_member_int(o, "Major", 2);
    uvm__json_out_member_int(o, "Minor", 1);
    uvm__json_out_close(o, '}');
    uvm__json_out_close(o, ']');
    uvm__json_out_member(o, "RuntimeOsType", c->os_linux ? "Linux" : "Windows");
    uvm__json_out_key(o, "GuestDefinedCapabilities");
    uvm__json_out_open(o, '{');
    uvm__json_out_member_true(o, "NamespaceAddRequestSupported", c->namespace_add);
    uvm__json_out_member_true(o, "SignalProcessSupported", c->signal_process);
    uvm__json_out_member_true(o, "DumpStacksSupported", c->dump_stacks);
    uvm__json_out_member_true(o, "DeleteContainerStateSupported", c->delete_container_state);
    if (c->process_control > 0) {
        uvm__json_out_key(o, "UvmExtensions");
        uvm__json_out_open(o, '{');
        uvm__json_out_member_int(o, "ProcessControl", c->process_control);
        uvm__json_out_close(o, '}');
    }
    uvm__json_out_close(o, '}');
    uvm__json_out_close(o, '}');
}

static void write_exit(struct uvm__json_out *o, const struct uvm__msg_exit *exit,
                       uint32_t process_control) {
    uvm__json_out_member_int(o, "ExitCode", exit->code);
    if (process_control > 0 && exit->signal != 0) {
        uvm__json_out_key(o, "UvmExit");
        uvm__json_out_open(o, '{');
        uvm__json_out_member_int(o, "Signal", exit->signal);
        uvm__json_out_key(o, "CoreDump");
        const char *core = exit->core ? "true" : "false";
        uvm__json_out_raw(o, core, strlen(core));
        uvm__json_out_close(o, '}');
    }
}

/* The stacks up to the last whole line that fits beside what is written already. */
static void write_stacks(struct uvm__json_out *o, const char *text, size_t body_max) {
    static const char key[] = ",\"GuestStacks\":\"\"}";
    size_t bytes = strlen(text);
    size_t used = o->bytes + sizeof key;
    size_t room = used < body_max ? body_max - used : 0;
    if (room > UVM__GUEST_STACKS_BYTES_MAX) {
        room = UVM__GUEST_STACKS_BYTES_MAX;
    }
    size_t fits = uvm__json_out_fitting(text, bytes, true, room);
    if (fits < bytes) {
        const char *end = memrchr(text, '\n', fits);
        fits = end == NULL ? fits : (size_t)(end - text) + 1;
    }
    uvm__json_out_key(o, "GuestStacks");
    uvm__json_out_string(o, text, fits);
}

int uvm__msg_response_write(struct uvm__buf *b, enum uvm__message msg, const char *activity_id,
                            const union uvm__msg_answer *answer, uint32_t process_control,
                            size_t frame_max) {
    size_t body_max = frame_max - UVM__FRAME_HEADER_BYTES;
    size_t before = b->len;
    struct uvm__json_out o;
    open_response(&o, b, 0, activity_id);
    if (msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        write_capabilities(&o, &answer->capabilities);
    } else if (msg == UVM__MSG_CREATE) {
        uvm__json_out_member_int(&o, "SelectedProtocolVersion", 0);
    } else if (msg == UVM__MSG_EXECUTE_PROCESS) {
        uvm__json_out_member_int(&o, "ProcessId", answer->pid);
    } else if (msg == UVM__MSG_WAIT_FOR_PROCESS) {
        write_exit(&o, &answer->exit, process_control);
    } else if (msg == UVM__MSG_GET_PROPERTIES) {
        uvm__json_out_member(&o, "Properties", answer->properties);
    } else if (msg == UVM__MSG_DUMP_STACKS) {
        write_stacks(&o, answer->stacks, body_max);
    }
    uvm__json_out_close(&o, '}');
    if (o.rc == 0 && o.bytes > body_max) {
        o.rc = -UVM_E_LIMIT;
    }
    if (o.rc < 0) {
        b->len = before;
    }
    return o.rc;
}

/* ---- writing: errors ---------------------------------------------------------------------- */

struct error_shape {
    const char *activity_id;
    size_t message_bytes;
    const char *stack;
    uint32_t process_control;
};

static size_t write_error(struct uvm__buf *b, const struct uvm__msg_error *err,
                          const struct error_shape *shape, int *ret_rc) {
    bool placed = err->file != NULL && err->file[0] != 0;
    struct uvm__json_out o;
    open_response(&o, b, err->result, shape->activity_id);
    uvm__json_out_key(&o, "ErrorMessage");
    uvm__json_out_string(&o, err->message, shape->message_bytes);
    uvm__json_out_key(&o, "ErrorRecords");
    uvm__json_out_open(&o, '[');
    uvm__json_out_open(&o, '{');
    uvm__json_out_member_int(&o, "Result", err->result);
    uvm__json_out_key(&o, "Message");
    uvm__json_out_string(&o, err->message, shape->message_bytes);
    if (shape->stack != NULL && shape->stack[0] != 0) {
        uvm__json_out_member(&o, "StackTrace", shape->stack);
    }
    uvm__json_out_member(&o, "ModuleName", "gcs");
    uvm__json_out_member(&o, "FileName", err->file);
    uvm__json_out_member_int(&o, "Line", placed ? err->line : UINT32_MAX);
    if (err->function != NULL && err->function[0] != 0) {
        uvm__json_out_member(&o, "FunctionName", err->function);
    }
    uvm__json_out_close(&o, '}');
    uvm__json_out_close(&o, ']');
    if (shape->process_control > 0 && err->start.step != UVM__START_NONE) {
        uvm__json_out_key(&o, "UvmStart");
        uvm__json_out_open(&o, '{');
        uvm__json_out_member(&o, "Step", uvm__start_step_text(err->start.step));
        uvm__json_out_member_int(&o, "Errno", err->start.error);
        uvm__json_out_close(&o, '}');
    }
    uvm__json_out_close(&o, '}');
    *ret_rc = o.rc;
    return o.bytes;
}

int uvm__msg_error_write(struct uvm__buf *b, const char *activity_id,
                         const struct uvm__msg_error *err, uint32_t process_control,
                         size_t frame_max) {
    UVM_ASSERT(err->result != 0);
    size_t body_max = frame_max - UVM__FRAME_HEADER_BYTES;
    struct uvm__msg_error e = *err;
    e.message = err->message == NULL ? "" : err->message;
    struct error_shape shape = {activity_id, 0, err->stack, process_control};
    int rc;
    size_t bare = write_error(NULL, &e, &shape, &rc);
    if (bare > body_max / 2) {
        shape.stack = NULL; /* the words matter more */
        bare = write_error(NULL, &e, &shape, &rc);
    }
    if (bare > body_max / 2) {
        shape.activity_id = NULL;
        bare = write_error(NULL, &e, &shape, &rc);
    }
    UVM_ASSERT_CMP(bare, <=, body_max);
    shape.message_bytes =
        uvm__json_out_fitting(e.message, strlen(e.message), true, (body_max - bare) / 2);
    size_t before = b->len;
    (void)write_error(b, &e, &shape, &rc);
    if (rc < 0) {
        b->len = before;
    }
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* ActivityId is a GUID where it is present (PROTOCOL-bridge.md, JSON rules). */
static void read_activity(struct uvm__json_in *in, const cJSON *body, const char **ret) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, body, "ActivityId");
    struct uvm__guid guid;
    const char *text = uvm__json_in_string(in, body, "ActivityId");
    if (cJSON_IsString(node) && uvm__guid_read(text, strlen(text), &guid) < 0) {
        uvm__json_in_wrong(in, "ActivityId", "a GUID", node);
    }
    *ret = text;
}

static void read_records(struct uvm__json_in *in, const cJSON *body, const char **ret_stack) {
    const cJSON *records = uvm__json_in_array(in, body, "ErrorRecords");
    const cJSON *it;
    *ret_stack = "";
    cJSON_ArrayForEach(it, records) {
        if (cJSON_IsNull(it)) {
            continue;
        }
        if (!cJSON_IsObject(it)) {
            uvm__json_in_wrong(in, "ErrorRecords", "a list of objects", it);
            return;
        }
        (void)uvm__json_in_int(in, it, "Result");
        (void)uvm__json_in_string(in, it, "Message");
        (void)uvm__json_in_string(in, it, "ModuleName");
        (void)uvm__json_in_string(in, it, "FileName");
        (void)uvm__json_in_uint(in, it, "Line", UINT32_MAX);
        (void)uvm__json_in_string(in, it, "FunctionName");
        const char *stack = uvm__json_in_string(in, it, "StackTrace");
        if ((*ret_stack)[0] == 0) {
            *ret_stack = stack;
        }
    }
}

static void read_start(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_start *ret) {
    const cJSON *start = uvm__json_in_object(in, body, "UvmStart");
    const char *step = uvm__json_in_string(in, start, "Step");
    ret->error = uvm__json_in_int(in, start, "Errno");
    for (unsigned s = UVM__START_NONE + 1; s < UVM__START_MAX; s++) {
        if (strcmp(step, start_steps[s]) == 0) {
            ret->step = (enum uvm__start_step)s;
        }
    }
}

static void read_capabilities(struct uvm__json_in *in, const cJSON *body,
                              struct uvm__msg_capabilities *c) {
    c->version = uvm__json_in_uint(in, body, "Version", UINT32_MAX);
    const cJSON *caps = uvm__json_in_object(in, body, "Capabilities");
    c->send_host_create = uvm__json_in_bool(in, caps, "SendHostCreateMessage");
    c->send_host_start = uvm__json_in_bool(in, caps, "SendHostStartMessage");
    const char *os = uvm__json_in_string(in, caps, "RuntimeOsType");
    c->os_linux = strcasecmp(os, "linux") == 0;
    const cJSON *guest = uvm__json_get(UVM__JSON_GO, caps, "GuestDefinedCapabilities");
    if (guest == NULL) {
        uvm__json_in_wrong(in, "GuestDefinedCapabilities", "an object or null", NULL);
        return;
    }
    guest = uvm__json_in_object(in, caps, "GuestDefinedCapabilities");
    c->namespace_add = uvm__json_in_bool(in, guest, "NamespaceAddRequestSupported");
    c->signal_process = uvm__json_in_bool(in, guest, "SignalProcessSupported");
    c->dump_stacks = uvm__json_in_bool(in, guest, "DumpStacksSupported");
    c->delete_container_state = uvm__json_in_bool(in, guest, "DeleteContainerStateSupported");
    const cJSON *ours = uvm__json_in_object(in, guest, "UvmExtensions");
    c->process_control = uvm__json_in_uint(in, ours, "ProcessControl", UINT32_MAX);
}

static void read_exit(struct uvm__json_in *in, const cJSON *body, struct uvm__msg_exit *ret) {
    ret->code = uvm__json_in_uint(in, body, "ExitCode", UINT32_MAX);
    const cJSON *ours = uvm__json_in_object(in, body, "UvmExit");
    ret->signal = uvm__json_in_int(in, ours, "Signal");
    ret->core = uvm__json_in_bool(in, ours, "CoreDump");
    if (ret->signal < 0 || ret->signal > 64) {
        uvm__json_in_wrong(in, "Signal", "a signal's number",
                           uvm__json_get(UVM__JSON_GO, ours, "Signal"));
    }
}

/* JSON text in a string, where it is present: an empty one is refused. */
static void read_properties(struct uvm__json_in *in, const cJSON *body, const char **ret) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, body, "Properties");
    *ret = uvm__json_in_string(in, body, "Properties");
    if (node == NULL || cJSON_IsNull(node) || in->rc < 0) {
        return;
    }
    struct uvm__fail f;
    cJSON *inner = NULL;
    int rc = uvm__json_read(UVM__JSON_GO, *ret, strlen(*ret), &inner, &f);
    cJSON_Delete(inner);
    if (rc == -UVM_E_NOMEM) {
        in->rc = rc;
    } else if (rc < 0) {
        in->rc = uvm__fail(in->fail, UVM_E_PROTOCOL, 0, "Properties: %.180s", f.msg);
    }
}

static void read_answer(struct uvm__json_in *in, enum uvm__message msg, const cJSON *body,
                        union uvm__msg_answer *ret) {
    if (msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        read_capabilities(in, body, &ret->capabilities);
    } else if (msg == UVM__MSG_EXECUTE_PROCESS) {
        ret->pid = uvm__json_in_uint(in, body, "ProcessId", UINT32_MAX);
    } else if (msg == UVM__MSG_WAIT_FOR_PROCESS) {
        read_exit(in, body, &ret->exit);
    } else if (msg == UVM__MSG_GET_PROPERTIES) {
        read_properties(in, body, &ret->properties);
    } else if (msg == UVM__MSG_DUMP_STACKS) {
        ret->stacks = uvm__json_in_string(in, body, "GuestStacks");
    }
}

int uvm__msg_response_read(enum uvm__message msg, const void *body, size_t bytes,
                           struct uvm__msg_result *ret_result, union uvm__msg_answer *ret_answer,
                           cJSON **ret_tree, struct uvm__fail *f) {
    cJSON *tree = NULL;
    int rc = uvm__json_in_body(body, bytes, &tree, f);
    if (rc < 0) {
        return rc;
    }
    struct uvm__json_in in = {.fail = f};
    const char *activity;
    memset(ret_result, 0, sizeof *ret_result);
    memset(ret_answer, 0, sizeof *ret_answer);
    ret_result->result = uvm__json_in_int(&in, tree, "Result");
    read_activity(&in, tree, &activity);
    ret_result->message = uvm__json_in_string(&in, tree, "ErrorMessage");
    read_records(&in, tree, &ret_result->records);
    read_start(&in, tree, &ret_result->start);
    if (ret_result->result == 0) {
        read_answer(&in, msg, tree, ret_answer);
    }
    if (in.rc < 0) {
        cJSON_Delete(tree);
        return in.rc;
    }
    *ret_tree = tree;
    return 0;
}

int uvm__msg_notification_read(const void *body, size_t bytes, struct uvm__msg_notification *ret,
                               cJSON **ret_tree, struct uvm__fail *f) {
    cJSON *tree = NULL;
    int rc = uvm__json_in_body(body, bytes, &tree, f);
    if (rc < 0) {
        return rc;
    }
    struct uvm__json_in in = {.fail = f};
    ret->base.container_id = uvm__json_in_string(&in, tree, "ContainerId");
    read_activity(&in, tree, &ret->base.activity_id);
    ret->type = uvm__json_in_string(&in, tree, "Type");
    (void)uvm__json_in_string(&in, tree, "Operation");
    (void)uvm__json_in_int(&in, tree, "Result");
    const cJSON *info = uvm__json_get(UVM__JSON_GO, tree, "ResultInfo");
    if (info != NULL && !cJSON_IsNull(info)) {
        const char *text = uvm__json_in_string(&in, tree, "ResultInfo");
        struct uvm__fail why;
        cJSON *inner = NULL;
        if (in.rc == 0 && uvm__json_read(UVM__JSON_GO, text, strlen(text), &inner, &why) < 0) {
            in.rc = uvm__fail(f, UVM_E_PROTOCOL, 0, "ResultInfo: %.180s", why.msg);
        }
        cJSON_Delete(inner);
    }
    if (in.rc < 0) {
        cJSON_Delete(tree);
        return in.rc;
    }
    *ret_tree = tree;
    return 0;
}
