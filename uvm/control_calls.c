/* SPDX-License-Identifier: MIT
 * control_calls.c — what a control client may ask of a VM: the table, and all of it but processes and
 * devices.
 *
 * A call is answered at once (hello, properties, inspect, cancel), by an operation of the engine (stop,
 * kill), or by something that happens to the VM (wait_vm, events, kill during boot, streams). Stop and kill
 * run under the VM's scope: a client that goes away after it asked has still asked.
 */
#include "async/cleanup.h"
#include "uvm/control_int.h"
#include <string.h>

static uvm_vm *vm_of(const struct control_call *call) {
    return call->conn->control->vm;
}

/* Takes `node` whatever happens. */
static bool add(cJSON *to, const char *key, cJSON *take_node) {
    if (to != NULL && take_node != NULL && cJSON_AddItemToObject(to, key, take_node)) {
        return true;
    }
    cJSON_Delete(take_node);
    return false;
}

/* The whole or nothing: NULL makes the connection end for lack of memory. */
static cJSON *if_complete(cJSON *take_tree, bool complete) {
    if (complete) {
        return take_tree;
    }
    cJSON_Delete(take_tree);
    return NULL;
}

static void reply_exit(struct control_call *call) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__vm_add_exit(o, vm_of(call));
    uvm__control_reply(call, if_complete(o, ok));
}

/* ---- at once ------------------------------------------------------------------------------ */

static int hello(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct control_conn *conn = call->conn;
    uvm_vm *vm = vm_of(call);
    uint64_t version = 0;
    int rc = uvm__control_get_u64(params, "version", 1, UINT32_MAX, &version, f);
    if (rc < 0) {
        return rc;
    }
    if (version != UVM_CONTROL_VERSION) {
        rc = uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                       "%s: its owner speaks version %u of the control protocol, not %llu",
                       vm->options.name, UVM_CONTROL_VERSION, (unsigned long long)version);
        uvm__control_refuse_code(call, rc, f);
        uvm__control_conn_leave(conn);
        return 0;
    }
    conn->greeted = true;
    uvm__deadline_clear(conn->engine, &conn->timer);
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__json_add_u64(o, "version", UVM_CONTROL_VERSION) != NULL &&
              uvm__control_add_text(o, "id", vm->options.id) != NULL &&
              uvm__control_add_text(o, "name", vm->options.name) != NULL;
    uvm__control_reply(call, if_complete(o, ok));
    return 0;
}

static cJSON *properties_of(const struct control_call *call) {
    const uvm_control *c = call->conn->control;
    cJSON *o = cJSON_CreateObject();
    bool ok = add(o, "vm", uvm__control_raw(c->engine, uvm_vm_properties(c->vm))) &&
              uvm__json_add_u64(o, "owner_pid", c->owner_pid) != NULL &&
              uvm__json_add_u64(o, "started_ms", c->started_ms) != NULL &&
              uvm__json_add_u64(o, "clients", c->conns_count) != NULL;
    return if_complete(o, ok);
}

static int properties(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    (void)params;
    (void)f;
    uvm__control_reply(call, properties_of(call));
    return 0;
}

static int inspect(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_vm *vm = vm_of(call);
    (void)params;
    (void)f;
    cJSON *o = properties_of(call);
    bool ok = add(o, "document", uvm__control_raw(vm->engine, uvm_vm_document(vm)));
    uvm__control_reply(call, if_complete(o, ok));
    return 0;
}

/* ---- statistics --------------------------------------------------------------------------- */

static void on_statistics(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_call *call = arg;
    if (err != NULL) {
        uvm__control_refuse(call, err);
    } else {
        uvm__control_reply(call,
                           uvm__control_raw(call->conn->engine, uvm_vm_statistics_result(op)));
    }
}

static int stats(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_vm *vm = vm_of(call);
    (void)params;
    int rc = uvm_vm_statistics(vm, call->conn->scope, on_statistics, call, &call->op);
    return rc < 0 ? uvm__control_refused(vm, rc, f) : 0;
}

/* ---- the VM's end ------------------------------------------------------------------------- */

static void on_ended(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_call *call = arg;
    (void)op;
    if (err != NULL) {
        uvm__control_refuse(call, err);
    } else {
        reply_exit(call);
    }
}

int uvm__control_refused(const uvm_vm *vm, int rc, struct uvm__fail *f) {
    if (rc == -UVM_E_STATE) {
        return uvm__fail(f, UVM_E_STATE, 0, "%s is %s", vm->options.name,
                         vm->closing ? "being closed" : uvm_vm_state_text(vm->state));
    }
    return uvm__fail(f, (enum uvm_error_code) - rc, 0, "%s: %s", vm->options.name,
                     uvm_error_code_text(rc));
}

static int stop(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_vm *vm = vm_of(call);
    uint64_t grace_ms = 0;
    int rc = uvm__control_get_u64(params, "grace_ms", 1, UINT32_MAX, &grace_ms, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm_vm_stop(vm, (uint32_t)grace_ms, NULL, on_ended, call, &call->op);
    return rc < 0 ? uvm__control_refused(vm, rc, f) : 0;
}

static int kill_vm(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_vm *vm = vm_of(call);
    (void)params;
    if (vm->state == UVM_VM_STARTING && vm->boot != NULL) {
        call->wait = CONTROL_WAIT_UNBOOT;
        uvm_op_cancel(vm->boot->op);
        return 0;
    }
    int rc = uvm_vm_terminate(vm, NULL, on_ended, call, &call->op);
    return rc < 0 ? uvm__control_refused(vm, rc, f) : 0;
}

static int wait_vm(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    (void)params;
    (void)f;
    if (uvm__vm_has_ended(vm_of(call))) {
        reply_exit(call);
    } else {
        call->wait = CONTROL_WAIT_VM;
    }
    return 0;
}

/* ---- events and streams ------------------------------------------------------------------- */

static cJSON *state_event(const uvm_control *c) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__control_add_text(o, "event", "state") != NULL &&
              uvm__control_add_text(o, "id", c->vm->options.id) != NULL &&
              uvm__control_add_text(o, "name", c->vm->options.name) != NULL &&
              uvm__control_add_text(o, "state", uvm_vm_state_text(c->vm->state)) != NULL &&
              uvm__json_add_u64(o, "at_ms", uvm__wall_ns(c->engine) / 1000000u) != NULL &&
              uvm__vm_add_exit(o, c->vm);
    return if_complete(o, ok);
}

static int events(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    (void)params;
    (void)f;
    call->wait = CONTROL_WAIT_EVENTS;
    uvm__control_notify(call->conn, state_event(call->conn->control));
    return 0;
}

static int stream(struct control_call *call, const cJSON *params, enum control_source source,
                  struct uvm__fail *f) {
    bool tail = true, follow = false;
    int fd;
    int rc = uvm__control_get_bool(params, "tail", &tail, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(params, "follow", &follow, f);
    rc = rc < 0 ? rc : uvm__control_take_fds(call->conn, &fd, 1, f);
    if (rc < 0) {
        return rc;
    }
    call->wait = CONTROL_WAIT_STREAM;
    rc = uvm__control_stream_open(call, source, tail, follow, fd, f);
    uvm__close_fd(&fd);
    return rc;
}

static int console(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    return stream(call, params, CONTROL_CONSOLE, f);
}

static int guest_log(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    return stream(call, params, CONTROL_LOG, f);
}

/* ---- cancel ------------------------------------------------------------------------------- */

static void end_wait(struct control_call *call) {
    switch (call->wait) {
    case CONTROL_WAIT_STREAM:
        uvm__control_stream_finish(call->stream);
        return;
    case CONTROL_WAIT_EVENTS:
        uvm__control_reply(call, cJSON_CreateObject());
        return;
    case CONTROL_WAIT_SPANS:
        uvm__control_spans_reply(call, true);
        return;
    case CONTROL_WAIT_UNBOOT:
    case CONTROL_WAIT_VM:
        if (uvm__vm_has_ended(vm_of(call))) {
            reply_exit(call);
            return;
        }
        break;
    case CONTROL_WAIT_NONE:
        return;
    }
    struct uvm__fail f;
    int rc =
        uvm__fail(&f, UVM_E_CANCELED, 0, "%s: no longer waited for", vm_of(call)->options.name);
    uvm__control_refuse_code(call, rc, &f);
}

static int cancel(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct uvm__list *it, *tmp;
    char *id = cJSON_PrintUnformatted(
        params == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, params, "id"));
    if (id == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: which \"id\"?");
    }
    UVM__LIST_FOREACH_SAFE(it, tmp, &call->conn->calls) {
        struct control_call *other = UVM__CONTAINER_OF(it, struct control_call, link);
        if (other != call && strcmp(other->id, id) == 0) {
            if (other->wait != CONTROL_WAIT_NONE) {
                end_wait(other);
            } else if (other->op != NULL) {
                uvm_op_cancel(other->op);
            }
            break;
        }
    }
    cJSON_free(id);
    uvm__control_reply(call, cJSON_CreateObject());
    return 0;
}

/* ---- the table ---------------------------------------------------------------------------- */

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct control_method methods[] = {
    {"hello", hello, KEYS("version", "client")},
    {"properties", properties, NULL},
    {"inspect", inspect, NULL},
    {"stats", stats, NULL},
    {"exec", uvm__control_exec, KEYS("argv", "env", "cwd", "user", "tty", "rows", "cols", "stdio")},
    {"signal", uvm__control_signal, KEYS("process", "signal", "group")},
    {"resize", uvm__control_resize, KEYS("process", "rows", "cols")},
    {"wait", uvm__control_wait, KEYS("process")},
    {"attach", uvm__control_attach, KEYS("kind", "settings")},
    {"detach", uvm__control_detach, KEYS("device")},
    {"devices", uvm__control_devices, NULL},
    {"console", console, KEYS("tail", "follow")},
    {"log", guest_log, KEYS("tail", "follow")},
    {"events", events, NULL},
    {"spans", uvm__control_spans, NULL},
    {"stop", stop, KEYS("grace_ms")},
    {"kill", kill_vm, NULL},
    {"wait_vm", wait_vm, NULL},
    {"cancel", cancel, KEYS("id")},
};

const struct control_method *uvm__control_method(const char *name) {
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

/* ---- what happens to the VM --------------------------------------------------------------- */

void uvm__control_calls_on_state(struct control_conn *conn) {
    enum uvm_vm_state state = conn->control->vm->state;
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &conn->calls) {
        struct control_call *call = UVM__CONTAINER_OF(it, struct control_call, link);
        if (call->wait == CONTROL_WAIT_EVENTS) {
            uvm__control_notify(conn, state_event(conn->control));
        } else if ((call->wait == CONTROL_WAIT_VM && uvm__vm_has_ended(conn->control->vm)) ||
                   (call->wait == CONTROL_WAIT_UNBOOT && state != UVM_VM_STARTING)) {
            reply_exit(call);
        }
    }
}

void uvm__control_calls_end(struct control_conn *conn) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &conn->calls) {
        struct control_call *call = UVM__CONTAINER_OF(it, struct control_call, link);
        if (call->wait == CONTROL_WAIT_STREAM && conn->torn) {
            uvm__control_reply(call, NULL);
        } else {
            end_wait(call);
        }
    }
}
