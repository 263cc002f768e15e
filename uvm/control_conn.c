/* SPDX-License-Identifier: MIT
 * control_conn.c — one connection of a control client: lines in, answers out, and its end.
 *
 * A line is a JSON-RPC 2.0 request; the first one says hello. What cannot be read as one ends the
 * connection after an answer that says why, since nothing behind it could be trusted; a request that makes
 * no sense is refused and the connection goes on. Descriptors come with the bytes of the line that takes
 * them: what is left over when all that came has been read is a breach, too.
 *
 * Bounds: a line, descriptors, calls in flight; answers that a client does not read fill the socket's queue
 * and then end the connection. A client has UVM__CONTROL_HELLO_MS to say hello; after it, silence costs
 * one descriptor and is allowed.
 */
#include "async/cleanup.h"
#include "uvm/control_int.h"
#include <stdio.h>
#include <string.h>

#define READ_BYTES 16384u

#define RPC_PARSE (-32700)
#define RPC_REQUEST (-32600)
#define RPC_METHOD (-32601)
#define RPC_PARAMS (-32602)
#define RPC_ENGINE (-32000) /* minus the engine's code */

/* ---- sending ------------------------------------------------------------------------------ */

/* False: it did not leave, and the connection ends; but when it is longer than an answer may be, its length is in
 * *ret_too_long (NULL: cannot be), and nothing has happened. */
static bool send_long(struct control_conn *conn, cJSON *take_tree, bool complete,
                      size_t *ret_too_long) {
    size_t bytes = 0;
    char *text = complete ? uvm__json_print(conn->engine, take_tree, &bytes) : NULL;
    cJSON_Delete(take_tree);
    if (conn->sock == NULL || conn->torn) {
        uvm__free(conn->engine, text);
        return false;
    }
    int rc = -UVM_E_NOMEM;
    if (text != NULL) {
        text[bytes] = '\n'; /* in the terminator's place */
        if (ret_too_long != NULL && bytes + 1 > UVM__CONTROL_ANSWER_BYTES_MAX) {
            *ret_too_long = bytes + 1;
            uvm__free(conn->engine, text);
            return false;
        }
        rc = uvm__sock_send_long(conn->sock, text, bytes + 1, UVM__CONTROL_ANSWER_BYTES_MAX);
        uvm__free(conn->engine, text);
    }
    if (rc < 0) {
        uvm__control_conn_doom(conn);
    }
    return rc == 0;
}

static bool send_tree(struct control_conn *conn, cJSON *take_tree, bool complete) {
    return send_long(conn, take_tree, complete, NULL);
}

static cJSON *message(void) {
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && cJSON_AddStringToObject(o, "jsonrpc", "2.0") == NULL) {
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

/* Takes `node` whatever happens. */
static bool add(cJSON *to, const char *key, cJSON *take_node) {
    if (to != NULL && take_node != NULL && cJSON_AddItemToObject(to, key, take_node)) {
        return true;
    }
    cJSON_Delete(take_node);
    return false;
}

void uvm__control_notify(struct control_conn *conn, cJSON *take_params) {
    cJSON *o = message();
    bool ok = o != NULL && cJSON_AddStringToObject(o, "method", "event") != NULL;
    ok = add(o, "params", take_params) && ok;
    (void)send_tree(conn, o, ok);
}

/* `status`: of an exec that failed; 0: of something else. */
static void send_error(struct control_conn *conn, const char *id, int code, const uvm_error *err,
                       int status) {
    cJSON *o = message();
    cJSON *error = o == NULL ? NULL : cJSON_AddObjectToObject(o, "error");
    bool ok = error != NULL && uvm__json_add_i64(error, "code", code) != NULL &&
              uvm__control_add_text(error, "message", uvm_error_message(err)) != NULL;
    cJSON *data = ok ? uvm__control_error(conn->engine, err) : NULL;
    ok = data != NULL && (status == 0 || uvm__json_add_i64(data, "exec_status", status) != NULL);
    ok = add(error, "data", data) && ok;
    ok = ok && add(o, "id", cJSON_CreateRaw(id));
    (void)send_tree(conn, o, ok);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_sock_closed(void *arg) {
    struct control_conn *conn = arg;
    conn->sock = NULL;
    uvm__control_conn_check(conn);
}

static void drop_fds(struct control_conn *conn) {
    for (size_t i = 0; i < conn->fds_count; i++) {
        uvm__close_fd(&conn->fds[i]);
    }
    conn->fds_count = 0;
}

static void tear_down(struct control_conn *conn) {
    if (conn->torn) {
        return;
    }
    conn->torn = conn->doomed = true;
    uvm__ready_cancel(conn->engine, &conn->doom_ready);
    uvm__deadline_clear(conn->engine, &conn->timer);
    drop_fds(conn);
    uvm__control_calls_end(conn);
    uvm__control_processes_end(conn);
    uvm_scope_cancel(conn->scope);
    conn->scope = uvm_scope_unref(conn->scope);
    uvm__sock_close(conn->sock, on_sock_closed, conn);
}

static void on_doom(struct uvm__ready *r) {
    tear_down(UVM__CONTAINER_OF(r, struct control_conn, doom_ready));
}

void uvm__control_conn_doom(struct control_conn *conn) {
    if (!conn->doomed) {
        conn->doomed = true;
        uvm__ready_push(conn->engine, &conn->doom_ready);
    }
}

void uvm__control_conn_check(struct control_conn *conn) {
    if (!conn->torn) {
        bool idle = conn->leaving && conn->calls_count == 0;
        if (idle && uvm__sock_queued(conn->sock) == 0) {
            uvm__control_conn_doom(conn);
        }
        return;
    }
    if (conn->sock == NULL && conn->calls_count == 0 && conn->processes_count == 0) {
        UVM_ASSERT(uvm__list_empty(&conn->calls) && uvm__list_empty(&conn->processes));
        uvm_control *c = conn->control;
        uvm_engine *e = conn->engine;
        uvm__buf_deinit(&conn->in);
        uvm__list_remove(&conn->link);
        uvm__control_on_conn_gone(c, conn);
        uvm__free(e, conn);
    }
}

void uvm__control_conn_leave(struct control_conn *conn) {
    if (conn->torn || conn->leaving) {
        return;
    }
    conn->leaving = true;
    uvm__sock_reading(conn->sock, false);
    uvm__deadline_set(conn->engine, &conn->timer,
                      uvm__now_ms(conn->engine) + UVM__CONTROL_LINGER_MS);
    uvm__control_conn_check(conn);
}

static void on_timer(struct uvm__deadline *d) {
    uvm__control_conn_doom(UVM__CONTAINER_OF(d, struct control_conn, timer));
}

static void on_drained(struct uvm__sock *s, void *arg) {
    (void)s;
    uvm__control_conn_check(arg);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void call_free(struct control_call *call) {
    struct control_conn *conn = call->conn;
    UVM_ASSERT(conn->calls_count > 0);
    conn->calls_count--;
    uvm__list_remove(&call->link);
    if (call->wait == CONTROL_WAIT_SPANS) {
        uvm__control_spans_free(call);
    }
    uvm_op_unref(call->op);
    uvm__control_stream_free(call->stream);
    UVM_ASSERT(call->process == NULL);
    uvm__free(conn->engine, call);
    uvm__control_conn_check(conn);
}

bool uvm__control_reply(struct control_call *call, cJSON *take_result) {
    struct control_conn *conn = call->conn;
    size_t too_long = 0;
    bool sent = false;
    if (conn->torn) {
        cJSON_Delete(take_result);
    } else {
        cJSON *o = message();
        bool ok = add(o, "result", take_result);
        ok = ok && add(o, "id", cJSON_CreateRaw(call->id));
        sent = send_long(conn, o, ok, &too_long);
    }
    if (too_long > 0) {
        struct uvm__fail f;
        int rc =
            uvm__fail(&f, UVM_E_LIMIT, 0, "%s: the answer has %zu bytes, and one may have %u",
                      conn->control->vm->options.name, too_long, UVM__CONTROL_ANSWER_BYTES_MAX);
        uvm__control_refuse_code(call, rc, &f);
        return false;
    }
    call_free(call);
    return sent;
}

void uvm__control_refuse(struct control_call *call, const uvm_error *err) {
    if (!call->conn->torn) {
        int code =
            uvm_error_code(err) == UVM_E_INVAL ? RPC_PARAMS : RPC_ENGINE - (int)uvm_error_code(err);
        send_error(call->conn, call->id, code, err, call->exec_status);
    }
    call_free(call);
}

void uvm__control_refuse_code(struct control_call *call, int negative, const struct uvm__fail *f) {
    uvm_error *err = uvm__fail_error(call->conn->engine, negative, f);
    uvm__control_refuse(call, err);
    uvm_error_unref(err);
}

int uvm__control_take_fds(struct control_conn *conn, int *ret_fds, size_t count,
                          struct uvm__fail *f) {
    if (count > conn->fds_count) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%zu descriptors are wanted, %zu came along", count,
                         conn->fds_count);
    }
    memcpy(ret_fds, conn->fds, count * sizeof(int));
    conn->fds_count -= count;
    memmove(conn->fds, conn->fds + count, conn->fds_count * sizeof(int));
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------- */

/* The last words of a connection. */
static void break_off(struct control_conn *conn, const char *id, int code, const char *text) {
    uvm_error *err = uvm__error(conn->engine, UVM_E_PROTOCOL, 0, "%s", text);
    send_error(conn, id, code, err, 0);
    uvm_error_unref(err);
    drop_fds(conn);
    uvm_scope_cancel(conn->scope);
    conn->in.len = 0;
    uvm__control_conn_leave(conn);
    uvm__control_calls_end(conn);
}

static bool read_id(const cJSON *node, char ret[CONTROL_ID_BYTES]) {
    uint64_t number;
    const char *text = uvm__json_string(node);
    if (text == NULL) {
        return uvm__json_u64(node, UINT64_C(1) << 53, &number) == 0 &&
               snprintf(ret, CONTROL_ID_BYTES, "%llu", (unsigned long long)number) > 0;
    }
    /* Nothing that would need an escape. */
    for (const char *p = text; *p != 0; p++) {
        if (*p < 0x20 || *p > 0x7e || *p == '"' || *p == '\\') {
            return false;
        }
    }
    int n = snprintf(ret, CONTROL_ID_BYTES, "\"%s\"", text);
    return n > 0 && (size_t)n < CONTROL_ID_BYTES;
}

static bool in_flight(const struct control_conn *conn, const char *id) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &conn->calls) {
        if (strcmp(UVM__CONTAINER_OF(it, struct control_call, link)->id, id) == 0) {
            return true;
        }
    }
    return false;
}

static void run(struct control_conn *conn, const char *id, const struct control_method *method,
                const cJSON *params) {
    struct uvm__fail f = {0};
    struct control_call *call = uvm__zalloc(conn->engine, sizeof *call);
    if (call == NULL) {
        uvm__control_conn_doom(conn);
        return;
    }
    uvm__list_init(&call->link);
    call->conn = conn;
    call->method = method;
    (void)snprintf(call->id, sizeof call->id, "%s", id);
    uvm__list_append(&conn->calls, &call->link);
    conn->calls_count++;
    int rc = uvm__control_check_keys(params, method->keys, &f);
    rc = rc < 0 ? rc : method->run(call, params, &f);
    if (rc < 0) {
        uvm__control_refuse_code(call, rc, &f);
    }
}

static void request(struct control_conn *conn, const cJSON *tree) {
    static const char *const keys[] = {"jsonrpc", "id", "method", "params", NULL};
    char id[CONTROL_ID_BYTES] = "null";
    struct uvm__fail ignored;
    const char *version = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, tree, "jsonrpc"));
    const char *name = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, tree, "method"));
    if (!cJSON_IsObject(tree) || version == NULL || strcmp(version, "2.0") != 0 || name == NULL ||
        !read_id(uvm__json_get(UVM__JSON_STRICT, tree, "id"), id) ||
        uvm__control_check_keys(tree, keys, &ignored) < 0) {
        break_off(conn, id, RPC_REQUEST, "that is no request: jsonrpc, id, method, params");
        return;
    }
    if (in_flight(conn, id)) {
        break_off(conn, id, RPC_REQUEST, "a call with this id is in flight");
        return;
    }
    const struct control_method *method = uvm__control_method(name);
    if (!conn->greeted && (method == NULL || strcmp(name, "hello") != 0)) {
        break_off(conn, id, RPC_REQUEST, "the first call is hello");
        return;
    }
    if (method == NULL) {
        uvm_error *err =
            uvm__error(conn->engine, UVM_E_UNSUPPORTED, 0, "there is no method \"%.80s\"", name);
        send_error(conn, id, RPC_METHOD, err, 0);
        uvm_error_unref(err);
    } else if (conn->calls_count >= UVM__CONTROL_CALLS_MAX) {
        uvm_error *err =
            uvm__error(conn->engine, UVM_E_LIMIT, 0, "%u calls are in flight", conn->calls_count);
        send_error(conn, id, RPC_ENGINE - UVM_E_LIMIT, err, 0);
        uvm_error_unref(err);
    } else {
        run(conn, id, method, uvm__json_get(UVM__JSON_STRICT, tree, "params"));
    }
}

static bool open_to_requests(const struct control_conn *conn) {
    return !conn->doomed && !conn->leaving;
}

static void line(struct control_conn *conn, const char *text, size_t bytes) {
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    int rc = uvm__json_read(UVM__JSON_STRICT, text, bytes, &tree, &f);
    if (rc == -UVM_E_NOMEM) {
        uvm__control_conn_doom(conn);
    } else if (rc < 0) {
        break_off(conn, "null", RPC_PARSE, f.msg);
    } else {
        request(conn, tree);
    }
    cJSON_Delete(tree);
}

static void lines(struct control_conn *conn) {
    size_t done = 0;
    while (open_to_requests(conn)) {
        const char *at = (const char *)conn->in.data + done;
        size_t left = conn->in.len - done;
        const char *end = left == 0 ? NULL : memchr(at, '\n', left);
        if (end == NULL) {
            break;
        }
        size_t n = (size_t)(end - at);
        done += n + 1;
        line(conn, at, n);
    }
    if (!open_to_requests(conn)) {
        conn->in.len = 0;
        return;
    }
    uvm__buf_consume(&conn->in, done);
    if (conn->in.len == conn->in.max) {
        break_off(conn, "null", RPC_REQUEST, "a message has at most 131071 bytes");
    } else if (conn->in.len == 0 && conn->fds_count > 0) {
        break_off(conn, "null", RPC_REQUEST, "descriptors came that no call takes");
    }
}

static void on_readable(struct uvm__sock *s, void *arg) {
    struct control_conn *conn = arg;
    int fds[UVM__SOCK_FDS_MAX];
    size_t fds_count = UVM__SOCK_FDS_MAX;
    uint8_t buf[READ_BYTES];
    size_t room = conn->in.max - conn->in.len;
    if (!open_to_requests(conn)) {
        uvm__sock_reading(s, false);
        return;
    }
    ssize_t n = uvm__sock_recv(s, buf, room < sizeof buf ? room : sizeof buf, fds, &fds_count);
    if (n == -UVM_E_AGAIN) {
        return;
    }
    if (n == -UVM_E_PROTOCOL) {
        break_off(conn, "null", RPC_REQUEST,
                  "descriptors came that could not be taken: too many, or the owner may open no "
                  "more files (ulimit -n)");
        return;
    }
    if (n <= 0) {
        uvm__control_conn_doom(conn);
        return;
    }
    bool too_many = fds_count > UVM__CONTROL_FDS_MAX - conn->fds_count;
    for (size_t i = 0; i < fds_count; i++) {
        if (too_many) {
            uvm__close_fd(&fds[i]);
        } else {
            conn->fds[conn->fds_count++] = fds[i];
        }
    }
    if (too_many) {
        break_off(conn, "null", RPC_REQUEST, "too many descriptors");
    } else if (uvm__buf_append(&conn->in, buf, (size_t)n) < 0) {
        uvm__control_conn_doom(conn);
    } else {
        lines(conn);
    }
}

/* ---- begin -------------------------------------------------------------------------------- */

int uvm__control_conn_new(uvm_control *c, int take_fd) {
    static const struct uvm__sock_events events = {on_readable, on_drained};
    UVM_CLEANUP_FD int fd = take_fd;
    struct control_conn *conn = uvm__zalloc(c->engine, sizeof *conn);
    if (conn == NULL) {
        return -UVM_E_NOMEM;
    }
    int rc = uvm_scope_new(c->engine, uvm_vm_scope(c->vm), 0, &conn->scope);
    rc = rc < 0 ? rc : uvm__sock_open(c->engine, UVM_TAKE_FD(fd), &events, conn, &conn->sock);
    if (rc < 0) {
        uvm_scope_unref(conn->scope);
        uvm__free(c->engine, conn);
        return rc;
    }
    conn->control = c;
    conn->engine = c->engine;
    uvm__buf_init(&conn->in, c->engine, UVM__CONTROL_LINE_BYTES_MAX);
    uvm__list_init(&conn->calls);
    uvm__list_init(&conn->processes);
    uvm__ready_init(&conn->doom_ready, on_doom);
    uvm__deadline_init(&conn->timer, on_timer);
    uvm__deadline_set(c->engine, &conn->timer, uvm__now_ms(c->engine) + UVM__CONTROL_HELLO_MS);
    uvm__list_init(&conn->link);
    uvm__list_append(&c->conns, &conn->link);
    c->conns_count++;
    uvm__sock_reading(conn->sock, true);
    return 0;
}
