/* SPDX-License-Identifier: MIT
 * bridge_message_fuzz.c — any bytes as the body of any message. The first byte picks the message and the
 * direction.
 *
 * What must hold: a refusal has words; what was read can be written, what was written is read again as the
 * same, and fits a frame; a request's base can be used whether or not the rest was read.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "bridge/message.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { WRITE_MAX = 8u << 20 };

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

/* ---- requests ----------------------------------------------------------------------------- */

static void assert_same_request(enum uvm__message msg, const union uvm__msg_request *a,
                                const union uvm__msg_request *b) {
    UVM_ASSERT(same(a->base.container_id, b->base.container_id));
    UVM_ASSERT(same(a->base.activity_id, b->base.activity_id));
    if (msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
        UVM_ASSERT(a->negotiate.version_min == b->negotiate.version_min);
        UVM_ASSERT(a->negotiate.version_max == b->negotiate.version_max);
        UVM_ASSERT(a->negotiate.process_control == b->negotiate.process_control);
    } else if (msg == UVM__MSG_CREATE) {
        UVM_ASSERT(same(a->create.config, b->create.config));
    } else if (msg == UVM__MSG_EXECUTE_PROCESS) {
        UVM_ASSERT(same(a->execute.parameters, b->execute.parameters));
        UVM_ASSERT(a->execute.port_in == b->execute.port_in);
        UVM_ASSERT(a->execute.port_out == b->execute.port_out);
        UVM_ASSERT(a->execute.port_err == b->execute.port_err);
    } else if (msg == UVM__MSG_WAIT_FOR_PROCESS) {
        UVM_ASSERT(a->wait.pid == b->wait.pid && a->wait.timeout_ms == b->wait.timeout_ms);
    } else if (msg == UVM__MSG_SIGNAL_PROCESS) {
        UVM_ASSERT(a->signal.pid == b->signal.pid && a->signal.signal == b->signal.signal);
        UVM_ASSERT(a->signal.group == b->signal.group);
    } else if (msg == UVM__MSG_RESIZE_CONSOLE) {
        UVM_ASSERT(a->resize.pid == b->resize.pid && a->resize.height == b->resize.height);
        UVM_ASSERT(a->resize.width == b->resize.width);
    } else if (msg == UVM__MSG_GET_PROPERTIES) {
        UVM_ASSERT(same(a->properties.query, b->properties.query));
    }
}

static bool same_list(const char *const *a, const char *const *b) {
    for (; *a != NULL && *b != NULL; a++, b++) {
        if (!same(*a, *b)) {
            return false;
        }
    }
    return *a == NULL && *b == NULL;
}

/* "A=B" and "A=B=C": on the wire the name ends at the first '=', so a name with one becomes another's. Only
 * one of the two survives the way back, as with any map. */
static bool named_twice(const char *const *env) {
    for (const char *const *a = env; *a != NULL; a++) {
        size_t name = strcspn(*a, "=") + 1;
        for (const char *const *b = a + 1; *b != NULL; b++) {
            if (strncmp(*a, *b, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool has(const char *const *list, const char *text) {
    while (*list != NULL && strcmp(*list, text) != 0) {
        list++;
    }
    return *list != NULL;
}

/* The same variables, in any order: the writer sorts by what it takes for the name. */
static bool same_variables(const char *const *a, const char *const *b) {
    size_t count_a = 0, count_b = 0;
    for (; a[count_a] != NULL; count_a++) {
        if (!has(b, a[count_a])) {
            return false;
        }
    }
    while (b[count_b] != NULL) {
        count_b++;
    }
    return count_a == count_b;
}

static void try_process(uvm_engine *e, const char *text) {
    struct uvm__msg_process p;
    struct uvm__msg_process again;
    struct uvm__fail f = {0};
    struct uvm__buf b;
    int rc = uvm__msg_process_read(e, text, &p, &f);
    if (rc < 0) {
        UVM_ASSERT(rc == -UVM_E_PROTOCOL || rc == -UVM_E_LIMIT);
        UVM_ASSERT(f.msg[0] != 0);
        return;
    }
    uvm__buf_init(&b, e, WRITE_MAX);
    rc = uvm__msg_process_write(&b, &p, 1);
    UVM_ASSERT(rc == 0 || rc == -UVM_E_INVAL); /* a variable without a name */
    if (rc == 0) {
        rc = uvm__msg_process_read(e, (const char *)b.data, &again, &f);
        UVM_ASSERT(rc == 0);
        UVM_ASSERT(same_list(p.args, again.args));
        UVM_ASSERT(named_twice(p.env) || same_variables(p.env, again.env));
        UVM_ASSERT(same(p.command_line, again.command_line) && same(p.cwd, again.cwd));
        UVM_ASSERT(same(p.user, again.user) && p.terminal == again.terminal);
        UVM_ASSERT(p.in == again.in && p.out == again.out && p.err == again.err);
        UVM_ASSERT(p.height == again.height && p.width == again.width);
        uvm__msg_process_deinit(e, &again);
    }
    uvm__buf_deinit(&b);
    uvm__msg_process_deinit(e, &p);
}

static void try_request(uvm_engine *e, enum uvm__message msg, const uint8_t *data, size_t bytes) {
    union uvm__msg_request req;
    union uvm__msg_request again;
    cJSON *tree = NULL;
    cJSON *tree_again = NULL;
    struct uvm__fail f = {0};
    int rc = uvm__msg_request_read(msg, data, bytes, &req, &tree, &f);
    UVM_ASSERT(req.base.activity_id != NULL && req.base.container_id != NULL);
    if (rc < 0) {
        UVM_ASSERT(rc == -UVM_E_PROTOCOL || rc == -UVM_E_LIMIT);
        UVM_ASSERT(f.msg[0] != 0);
        cJSON_Delete(tree);
        return;
    }
    char *request_text = NULL;
    if (msg == UVM__MSG_MODIFY_SETTINGS) {
        request_text = uvm__json_print(e, req.modify.request, NULL);
        req.modify.request_text = request_text == NULL ? "null" : request_text;
    }
    struct uvm__buf b;
    uvm__buf_init(&b, e, WRITE_MAX);
    rc = uvm__msg_request_write(&b, msg, &req);
    UVM_ASSERT(rc == 0);
    rc = uvm__msg_request_read(msg, b.data, b.len, &again, &tree_again, &f);
    UVM_ASSERT(rc == 0);
    assert_same_request(msg, &req, &again);
    if (msg == UVM__MSG_EXECUTE_PROCESS) {
        try_process(e, req.execute.parameters);
    }
    uvm__buf_deinit(&b);
    uvm__free(e, request_text);
    cJSON_Delete(tree);
    cJSON_Delete(tree_again);
}

/* ---- responses ---------------------------------------------------------------------------- */

static void try_error(uvm_engine *e, const struct uvm__msg_result *result) {
    struct uvm__msg_error err = {.result = result->result,
                                 .message = result->message,
                                 .stack = result->records,
                                 .start = result->start};
    struct uvm__buf b;
    struct uvm__msg_result again;
    union uvm__msg_answer answer;
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    uvm__buf_init(&b, e, UVM__FRAME_BYTES_MAX - UVM__FRAME_HEADER_BYTES);
    int rc = uvm__msg_error_write(&b, UVM__NULL_ID, &err, 1, UVM__FRAME_BYTES_MAX);
    UVM_ASSERT(rc == 0);
    rc = uvm__msg_response_read(UVM__MSG_START, b.data, b.len, &again, &answer, &tree, &f);
    UVM_ASSERT(rc == 0 && again.result == result->result);
    UVM_ASSERT(strncmp(again.message, result->message, strlen(again.message)) == 0);
    UVM_ASSERT(again.start.step == result->start.step);
    cJSON_Delete(tree);
    uvm__buf_deinit(&b);
}

static void try_response(uvm_engine *e, enum uvm__message msg, const uint8_t *data, size_t bytes) {
    struct uvm__msg_result result;
    union uvm__msg_answer answer;
    union uvm__msg_answer again;
    cJSON *tree = NULL;
    cJSON *tree_again = NULL;
    struct uvm__fail f = {0};
    int rc = uvm__msg_response_read(msg, data, bytes, &result, &answer, &tree, &f);
    if (rc < 0) {
        UVM_ASSERT(rc == -UVM_E_PROTOCOL || rc == -UVM_E_LIMIT);
        UVM_ASSERT(f.msg[0] != 0);
        return;
    }
    if (result.result != 0) {
        try_error(e, &result);
        cJSON_Delete(tree);
        return;
    }
    if (msg == UVM__MSG_GET_PROPERTIES && answer.properties[0] == 0) {
        answer.properties = "{}"; /* absent; as text it would be refused */
    }
    struct uvm__buf b;
    uvm__buf_init(&b, e, WRITE_MAX);
    rc = uvm__msg_response_write(&b, msg, UVM__NULL_ID, &answer, 1, UVM__FRAME_BYTES_MAX);
    UVM_ASSERT(rc == 0 || rc == -UVM_E_LIMIT);
    if (rc == 0) {
        UVM_ASSERT(b.len + UVM__FRAME_HEADER_BYTES <= UVM__FRAME_BYTES_MAX);
        rc = uvm__msg_response_read(msg, b.data, b.len, &result, &again, &tree_again, &f);
        UVM_ASSERT(rc == 0);
        if (msg == UVM__MSG_WAIT_FOR_PROCESS) {
            UVM_ASSERT(answer.exit.code == again.exit.code);
            UVM_ASSERT(answer.exit.signal == again.exit.signal);
        } else if (msg == UVM__MSG_GET_PROPERTIES) {
            UVM_ASSERT(same(answer.properties, again.properties));
        } else if (msg == UVM__MSG_EXECUTE_PROCESS) {
            UVM_ASSERT(answer.pid == again.pid);
        } else if (msg == UVM__MSG_NEGOTIATE_PROTOCOL) {
            UVM_ASSERT(answer.capabilities.version == again.capabilities.version);
            UVM_ASSERT(answer.capabilities.process_control == again.capabilities.process_control);
        }
    }
    uvm__buf_deinit(&b);
    cJSON_Delete(tree);
    cJSON_Delete(tree_again);
}

static void try_notification(uvm_engine *e, const uint8_t *data, size_t bytes) {
    struct uvm__msg_notification n;
    struct uvm__msg_notification again;
    cJSON *tree = NULL;
    cJSON *tree_again = NULL;
    struct uvm__fail f = {0};
    if (uvm__msg_notification_read(data, bytes, &n, &tree, &f) < 0) {
        UVM_ASSERT(f.msg[0] != 0);
        return;
    }
    struct uvm__buf b;
    uvm__buf_init(&b, e, WRITE_MAX);
    int rc = uvm__msg_notification_write(&b, &n);
    UVM_ASSERT(rc == 0);
    rc = uvm__msg_notification_read(b.data, b.len, &again, &tree_again, &f);
    UVM_ASSERT(rc == 0);
    UVM_ASSERT(same(n.type, again.type) && same(n.base.container_id, again.base.container_id));
    uvm__buf_deinit(&b);
    cJSON_Delete(tree);
    cJSON_Delete(tree_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) {
        return 0;
    }
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    uvm_engine *e = NULL;
    int rc = uvm__engine_new_virtual(&params, 1, &e);
    UVM_ASSERT(rc == 0);
    unsigned pick = data[0] % (2 * UVM__MSG_MAX + 1);
    if (pick < UVM__MSG_MAX) {
        try_request(e, (enum uvm__message)pick, data + 1, bytes - 1);
    } else if (pick < 2 * UVM__MSG_MAX) {
        try_response(e, (enum uvm__message)(pick - UVM__MSG_MAX), data + 1, bytes - 1);
    } else {
        try_notification(e, data + 1, bytes - 1);
    }
    uvm__engine_free_virtual(e);
    return 0;
}
