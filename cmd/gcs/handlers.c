/* SPDX-License-Identifier: MIT
 *
 * The messages that need little: waits, signals, sizes, questions, and all that is about containers, which
 * this agent does not have. For those an id that is not the UVM's is an unknown container, and creating one
 * is refused in words; everything else is answered as the reference answers it (PROTOCOL-bridge.md).
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/json.h"
#include "cmd/gcs/fault.h"
#include "cmd/gcs/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Schema versions below 2.1 are refused (PROTOCOL-bridge.md, Error codes). */
#define SCHEMA_MAJOR 2
#define SCHEMA_MINOR 1

static bool of_the_uvm(const struct uvm__server_request *r) {
    return strcmp(uvm__server_request_body(r)->base.container_id, UVM__NULL_ID) == 0;
}

/* ---- processes ---------------------------------------------------------------------------------- */

static void on_wait(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const struct uvm__msg_wait *m = &uvm__server_request_body(r)->wait;
    struct gcs_process *p;

    (void)s;
    if (!of_the_uvm(r)) {
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
        return;
    }
    p = gcs_process_find(arg, m->pid);
    if (p == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
        return;
    }
    gcs_process_wait(p, r, m->timeout_ms);
}

/* Signals and sizes reach processes of the UVM only where process control was granted. */
static struct gcs_process *controlled(struct gcs_agent *a, struct uvm__server_request *r,
                                      uint32_t pid) {
    struct gcs_process *p = NULL;

    if (!of_the_uvm(r) || uvm__server_request_control(r) == 0) {
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
        return NULL;
    }
    p = gcs_process_find(a, pid);
    if (p == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
    }
    return p;
}

static void on_signal(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const struct uvm__msg_signal *m = &uvm__server_request_body(r)->signal;
    struct gcs_process *p = controlled(arg, r, m->pid);
    int rc;

    (void)s;
    if (p == NULL) {
        return;
    }
    rc = gcs_process_signal(p, m->signal == 0 ? SIGKILL : m->signal, m->group);
    if (rc == 0) {
        uvm__server_reply(r);
    } else if (rc == -UVM_E_NOTFOUND) {
        uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
    } else {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "signal %d to process %u: %s",
                        (int)m->signal, m->pid,
                        rc == -UVM_E_INVAL ? "no such signal" : uvm_error_code_text(rc));
    }
}

static void on_resize(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const struct uvm__msg_resize *m = &uvm__server_request_body(r)->resize;
    struct gcs_process *p = controlled(arg, r, m->pid);

    (void)s;
    if (p == NULL) {
        return;
    }
    if (!p->terminal) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "process %u has no terminal", m->pid);
    } else if (p->tty != NULL && gcs_tty_resize(p->tty, m->height, m->width) < 0) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "process %u: terminal not resized",
                        m->pid);
    } else {
        uvm__server_reply(r);
    }
}

/* ---- questions ----------------------------------------------------------------------------------- */

static void on_properties(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const char *query = uvm__server_request_body(r)->properties.query;
    cJSON *tree = NULL;
    struct uvm__fail f;

    (void)s;
    (void)arg;
    if (query[0] != '\0' && uvm__json_read(UVM__JSON_GO, query, strlen(query), &tree, &f) < 0) {
        gcs_fault_reply(r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
                        "failed to unmarshal JSON for Query: HRESULT 0xc037010d: %s", f.msg);
        return;
    }
    cJSON_Delete(tree);
    if (of_the_uvm(r)) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "the UVM itself has no properties");
    } else {
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
    }
}

static void on_stacks(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct gcs_agent *a = arg;
    size_t len = 0, bytes = UVM__GUEST_STACKS_BYTES_MAX + 1;
    char *text;
    int n;

    if (a->flags.policy_deny) {
        gcs_fault_reply(
            r, UVM__HR_FAIL,
            GCS_FAULT("securitypolicyenforcer.go",
                      "ClosedDoorSecurityPolicyEnforcer.EnforceDumpStacksPolicy"),
            NULL, "dump stacks denied due to policy: getting stack dumps is denied by policy");
        return;
    }
    text = uvm__alloc(a->engine, bytes);
    if (text == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_OUT_OF_MEMORY);
        return;
    }
    n = snprintf(text, bytes, "agent: %u running, %u ended, %u holds, log dropped %llu\n",
                 a->running, a->ended, a->holds, (unsigned long long)a->log.dropped_total);
    UVM_ASSERT(n > 0 && (size_t)n < bytes);
    len = (size_t)n;
    len += uvm__engine_dump(a->engine, text + len, bytes - len);
    len += uvm__server_dump(s, text + len, bytes - len);
    len += gcs_processes_dump(a, text + len, bytes - len);
    UVM_ASSERT(len < bytes);
    text[len] = '\0';
    uvm__server_reply_stacks(r, text);
    uvm__free(a->engine, text);
}

/* ---- containers ----------------------------------------------------------------------------------- */

/* A missing or malformed version counts as 0. */
static bool schema_old(const cJSON *config) {
    const cJSON *version = uvm__json_get(UVM__JSON_GO, config, "SchemaVersion");
    int64_t major = 0, minor = 0;

    (void)uvm__json_i64(uvm__json_get(UVM__JSON_GO, version, "Major"), INT32_MIN, INT32_MAX,
                        &major);
    (void)uvm__json_i64(uvm__json_get(UVM__JSON_GO, version, "Minor"), INT32_MIN, INT32_MAX,
                        &minor);
    return major < SCHEMA_MAJOR || (major == SCHEMA_MAJOR && minor < SCHEMA_MINOR);
}

static void on_create(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const struct uvm__msg_create *m = &uvm__server_request_body(r)->create;
    cJSON *config = NULL;
    struct uvm__fail f;
    bool old;

    (void)s;
    (void)arg;
    if (uvm__json_read(UVM__JSON_GO, m->config, strlen(m->config), &config, &f) < 0) {
        gcs_fault_reply(
            r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
            "failed to unmarshal JSON for ContainerConfig \"%s\": HRESULT 0xc037010d: %s",
            m->config, f.msg);
        return;
    }
    old = schema_old(config);
    cJSON_Delete(config);
    if (old) {
        gcs_fault_reply(r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
                        "HRESULT 0xc037010d: the schema version is below %d.%d", SCHEMA_MAJOR,
                        SCHEMA_MINOR);
        return;
    }
    gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL,
                    "container %s: containers are not supported by this agent yet",
                    m->base.container_id);
}

/* It only checks that the body is JSON, for any id (PROTOCOL-bridge.md, Messages). */
static void on_start(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    (void)arg;
    uvm__server_reply(r);
}

static void on_shutdown(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    if (of_the_uvm(r)) {
        gcs_agent_shutdown(arg, r);
    } else {
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
    }
}

static void on_delete(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    (void)arg;
    uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
}

void gcs_handlers_fill(struct uvm__server_params *params) {
    uvm__server_handle_fn *h = params->handlers;

    h[UVM__MSG_CREATE] = on_create;
    h[UVM__MSG_START] = on_start;
    h[UVM__MSG_SHUTDOWN_GRACEFUL] = on_shutdown;
    h[UVM__MSG_SHUTDOWN_FORCED] = on_shutdown;
    h[UVM__MSG_EXECUTE_PROCESS] = gcs_handle_execute;
    h[UVM__MSG_WAIT_FOR_PROCESS] = on_wait;
    h[UVM__MSG_SIGNAL_PROCESS] = on_signal;
    h[UVM__MSG_RESIZE_CONSOLE] = on_resize;
    h[UVM__MSG_GET_PROPERTIES] = on_properties;
    h[UVM__MSG_MODIFY_SETTINGS] = gcs_handle_modify;
    h[UVM__MSG_DUMP_STACKS] = on_stacks;
    h[UVM__MSG_DELETE_CONTAINER_STATE] = on_delete;
}
