/* SPDX-License-Identifier: MIT
 * client.c — lines to the owner and back, and errors that crossed the socket.
 *
 * The owner is of our own user or root's, but it may be of another version, be stuck, or die: an answer is
 * read as strictly as a request is there, what is not understood ends the connection, and the verb's
 * deadline bounds all waiting. An error comes back as an engine's error, so that it is shown as one of ours
 * would be.
 */
#include "cmd/uvmctl/client.h"
#include "async/alloc.h"
#include "async/buf.h"
#include "async/folder.h"
#include "async/limits.h"
#include "async/local.h"
#include "async/sock.h"
#include "cmd/uvmctl/trace.h"
#include "uvm/control.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX (UVM__CONTROL_ANSWER_BYTES_MAX + 131072u) /* and what came behind it */
#define CAUSES_MAX 8u

struct client {
    struct app *app;
    uvm_engine *engine;
    struct uvm__sock *sock;
    struct uvm__buf in;
    struct client_events events;
    char name[64];
    uint64_t next_id;
    bool closed, ended;
    struct {
        uint64_t id; /* 0: free */
        client_fn fn;
        void *arg;
        const char *method;
        uint64_t begin_us; /* for the trace */
    } calls[CLIENT_CALLS_MAX];
};

/* ---- errors ------------------------------------------------------------------------------- */

static enum uvm_error_code code_of(const char *name) {
    for (int i = 1; name != NULL && i < UVM_E_MAX; i++) {
        if (strcmp(uvm_error_code_name(i), name) == 0) {
            return (enum uvm_error_code)i;
        }
    }
    return UVM_E_PEER;
}

const cJSON *client_at(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key);
}

const char *client_text(const cJSON *o, const char *key) {
    const char *text = uvm__json_string(client_at(o, key));
    return text == NULL ? "" : text;
}

int64_t client_number(const cJSON *o, const char *key) {
    int64_t n = 0;
    (void)uvm__json_i64(client_at(o, key), 0, INT64_MAX, &n);
    return n;
}

static uvm_error *read_error(uvm_engine *e, const cJSON *data, const char *otherwise,
                             unsigned depth) {
    int64_t sys = 0;
    const char *message = client_text(data, "message");
    (void)uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, data, "sys"), INT64_MIN, INT64_MAX, &sys);
    uvm_error *err = uvm__error(e, code_of(client_text(data, "code")), sys, "%s",
                                message[0] == 0 ? otherwise : message);
    const char *detail = client_text(data, "detail");
    const char *step = client_text(data, "step");
    if (detail[0] != 0) {
        err = uvm__error_detail(err, detail, strlen(detail));
    }
    if (step[0] != 0) {
        err = uvm__error_step(err, step);
    }
    const cJSON *cause = uvm__json_get(UVM__JSON_STRICT, data, "cause");
    if (cJSON_IsObject(cause) && depth < CAUSES_MAX) {
        err = uvm__error_cause(err, read_error(e, cause, "?", depth + 1));
    }
    return err;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_sock_closed(void *arg) {
    struct client *c = arg;
    uvm__buf_deinit(&c->in);
    free(c);
}

void client_close(struct client *c) {
    if (c != NULL && !c->closed) {
        c->closed = true;
        uvm__sock_close(c->sock, on_sock_closed, c);
    }
}

static void fail_calls(struct client *c, const uvm_error *err) {
    for (size_t i = 0; i < CLIENT_CALLS_MAX && !c->closed; i++) {
        if (c->calls[i].id != 0) {
            client_fn fn = c->calls[i].fn;
            c->calls[i].id = 0;
            if (fn != NULL) {
                fn(c, NULL, err, 0, c->calls[i].arg);
            }
        }
    }
}

static void end(struct client *c, const char *why) {
    if (c->ended) {
        return;
    }
    c->ended = true;
    uvm__sock_reading(c->sock, false);
    uvm_error *err = uvm__error(c->engine, UVM_E_CLOSED, 0, "%s: %s", c->name, why);
    fail_calls(c, err);
    uvm_error_unref(err);
    if (!c->closed && c->events.on_end != NULL) {
        c->events.on_end(c, c->events.arg);
    }
}

/* ---- the trace ---------------------------------------------------------------------------- */

static void on_spans(struct client *c, const cJSON *result, const uvm_error *err, int status,
                     void *arg) {
    bool complete = true;
    (void)c;
    (void)err; /* an owner that does not know of spans */
    (void)status;
    (void)arg;
    (void)uvm__json_bool(uvm__json_get(UVM__JSON_STRICT, result, "complete"), &complete);
    if (!complete) {
        trace_owner_lost();
    }
}

/* True: it was one. */
static bool span(const struct client *c, const cJSON *params) {
    static const char *const kinds[] = {
        [UVM_LOG_OP_BEGIN] = "op_begin",     [UVM_LOG_OP_END] = "op_end",
        [UVM_LOG_STEP_BEGIN] = "step_begin", [UVM_LOG_STEP_END] = "step_end",
        [UVM_LOG_UNDO_BEGIN] = "undo_begin", [UVM_LOG_UNDO_END] = "undo_end"};
    struct uvm_log_record r = {.vm = c->name, .op = client_text(params, "op")};
    const char *code = client_text(params, "code");
    if (strcmp(client_text(params, "event"), "span") != 0) {
        return false;
    }
    for (size_t i = UVM_LOG_OP_BEGIN; i < sizeof kinds / sizeof kinds[0]; i++) {
        r.kind = strcmp(client_text(params, "kind"), kinds[i]) == 0 ? (enum uvm_log_kind)i : r.kind;
    }
    r.step = client_text(params, "step");
    r.code = strcmp(code, "OK") == 0 ? UVM_OK : (int)code_of(code);
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {{"op_id", &r.op_id},
                   {"parent_id", &r.parent_id},
                   {"at_us", &r.at_us},
                   {"begin_us", &r.begin_us}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, params, numbers[i].key), INT64_MAX,
                            numbers[i].to);
    }
    trace_record(&r, true);
    return true;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void answer(struct client *c, const cJSON *tree, uint64_t id) {
    for (size_t i = 0; i < CLIENT_CALLS_MAX; i++) {
        if (c->calls[i].id != id) {
            continue;
        }
        const cJSON *result = uvm__json_get(UVM__JSON_STRICT, tree, "result");
        const cJSON *error = uvm__json_get(UVM__JSON_STRICT, tree, "error");
        c->calls[i].id = 0;
        if (trace_wanted() && c->calls[i].fn != on_spans) {
            const cJSON *data = uvm__json_get(UVM__JSON_STRICT, error, "data");
            enum uvm_error_code code = result == NULL ? code_of(client_text(data, "code")) : UVM_OK;
            trace_call(c->calls[i].method, c->calls[i].begin_us,
                       code == UVM_OK ? "OK" : uvm_error_code_name((int)code));
        }
        if (c->calls[i].fn == NULL) {
            return;
        }
        if (result != NULL) {
            c->calls[i].fn(c, result, NULL, 0, c->calls[i].arg);
            return;
        }
        int64_t status = 0;
        const cJSON *data = uvm__json_get(UVM__JSON_STRICT, error, "data");
        (void)uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, data, "exec_status"), 0, 255, &status);
        uvm_error *err = read_error(c->engine, data, client_text(error, "message"), 0);
        c->calls[i].fn(c, NULL, err, (int)status, c->calls[i].arg);
        uvm_error_unref(err);
        return;
    }
}

static void line(struct client *c, const char *text, size_t bytes) {
    cJSON *tree = NULL;
    struct uvm__fail f;
    uint64_t id = 0;
    if (uvm__json_read(UVM__JSON_STRICT, text, bytes, &tree, &f) < 0) {
        end(c, "its owner does not speak the control protocol");
        return;
    }
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, tree, "id");
    const cJSON *params = uvm__json_get(UVM__JSON_STRICT, tree, "params");
    if (node == NULL && params != NULL) {
        if (!span(c, params) && c->events.on_event != NULL) {
            c->events.on_event(c, params, c->events.arg);
        }
    } else if (uvm__json_u64(node, UINT64_MAX, &id) == 0 && id != 0) {
        answer(c, tree, id);
    } else if (!uvm__json_absent(uvm__json_get(UVM__JSON_STRICT, tree, "error"))) {
        end(c, client_text(uvm__json_get(UVM__JSON_STRICT, tree, "error"), "message"));
    }
    cJSON_Delete(tree);
}

static void lines(struct client *c) {
    size_t done = 0;
    while (!c->closed && !c->ended) {
        const char *at = (const char *)c->in.data + done;
        const char *stop = done == c->in.len ? NULL : memchr(at, '\n', c->in.len - done);
        if (stop == NULL) {
            break;
        }
        done += (size_t)(stop - at) + 1;
        line(c, at, (size_t)(stop - at));
    }
    uvm__buf_consume(&c->in, done);
}

static void on_readable(struct uvm__sock *s, void *arg) {
    struct client *c = arg;
    char buf[65536];
    ssize_t n = uvm__sock_recv(s, buf, sizeof buf, NULL, NULL);
    if (n == -UVM_E_AGAIN) {
        return;
    }
    if (n <= 0) {
        end(c, "the connection to its owner has ended");
    } else if (uvm__buf_append(&c->in, buf, (size_t)n) < 0) {
        end(c, "its owner says too much");
    } else {
        lines(c);
    }
}

/* ---- calls -------------------------------------------------------------------------------- */

uint64_t client_call(struct client *c, const char *method, cJSON *take_params, const int *fds,
                     size_t fds_count, client_fn fn, void *arg) {
    size_t slot = 0, bytes = 0;
    while (slot < CLIENT_CALLS_MAX && c->calls[slot].id != 0) {
        slot++;
    }
    cJSON *o = cJSON_CreateObject();
    uint64_t id = ++c->next_id;
    bool ok = slot < CLIENT_CALLS_MAX && o != NULL && !c->ended && !c->closed &&
              cJSON_AddStringToObject(o, "jsonrpc", "2.0") != NULL &&
              uvm__json_add_u64(o, "id", id) != NULL &&
              cJSON_AddStringToObject(o, "method", method) != NULL;
    if (take_params != NULL && (!ok || !cJSON_AddItemToObject(o, "params", take_params))) {
        cJSON_Delete(take_params);
    }
    char *text = ok ? uvm__json_print(c->engine, o, &bytes) : NULL;
    cJSON_Delete(o);
    if (text != NULL) {
        text[bytes] = '\n';
        /* A broken connection is told by its reading side, and by nobody else. */
        c->calls[slot].id = id;
        c->calls[slot].fn = fn;
        c->calls[slot].arg = arg;
        c->calls[slot].method = method;
        c->calls[slot].begin_us = trace_wanted() ? trace_now_us() : 0;
        (void)uvm__sock_send(c->sock, text, bytes + 1, fds, fds_count);
        uvm__free(c->engine, text);
    }
    return text == NULL ? 0 : id;
}

/* ---- begin -------------------------------------------------------------------------------- */

static void on_hello(struct client *c, const cJSON *result, const uvm_error *err, int status,
                     void *arg) {
    (void)status;
    (void)arg;
    if (result == NULL && !c->ended) {
        fail_calls(c, err); /* another version: that is what each of them hears */
    }
}

static int dial(int state, const char *name, int *ret_fd, struct uvm__fail *f) {
    int folder;
    int rc = uvm__folder_enter(state, name, &folder, f);
    if (rc == -UVM_E_NOTFOUND) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0, "%s: there is no such UVM", name);
    }
    if (rc < 0) {
        return rc;
    }
    rc = uvm__local_connect(folder, UVM_CONTROL_SOCKET, ret_fd, f);
    close(folder);
    if (rc == -UVM_E_REFUSED || rc == -UVM_E_NOTFOUND) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0,
                         "%s: there is no such UVM: its owner is dead, \"uvmctl gc\" sweeps it",
                         name);
    }
    return rc;
}

int client_open(struct app *app, int state, const char *name, const struct client_events *events,
                struct client **ret, struct uvm__fail *f) {
    static const struct uvm__sock_events sock_events = {on_readable, NULL};
    int fd = -1;
    int rc = dial(state, name, &fd, f);
    if (rc < 0) {
        return rc;
    }
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    rc = uvm__sock_open(app->engine, fd, &sock_events, c, &c->sock);
    if (rc < 0) {
        free(c);
        return uvm__fail(f, (enum uvm_error_code) - rc, 0, "%s: its socket cannot be used", name);
    }
    c->app = app;
    c->engine = app->engine;
    c->events = *events;
    (void)snprintf(c->name, sizeof c->name, "%s", name);
    uvm__buf_init(&c->in, app->engine, LINE_BYTES_MAX);
    uvm__sock_reading(c->sock, true);
    cJSON *params = cJSON_CreateObject();
    if (params != NULL) {
        (void)uvm__json_add_u64(params, "version", UVM_CONTROL_VERSION);
    }
    client_call(c, "hello", params, NULL, 0, on_hello, NULL);
    if (trace_wanted()) {
        client_call(c, "spans", NULL, NULL, 0, on_spans, NULL);
    }
    *ret = c;
    return 0;
}

const char *client_name(const struct client *c) {
    return c->name;
}
