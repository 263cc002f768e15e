/* SPDX-License-Identifier: MIT
 * qmp.c — a QMP client: three states (greeting, capabilities, ready), one table of calls.
 *
 * QEMU is the peer that is trusted least after the guest, for a guest that breaks out speaks with its mouth:
 * each line is bounded, read strictly, and looked at member by member. An end of the stream may come as
 * ECONNRESET when unread bytes were in the socket; sock.h reads that as end of file.
 *
 * on_end is told last: what was read before the end was handled, so the last SHUTDOWN event is never lost.
 * A callback may close the client; the object then lives until its socket's close callback, so every loop
 * looks at `closing` after each callback.
 */
#include "hcs/qemu/qmp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/json.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/sock.h"
#include "hcs/qemu/qmp_frame.h"

#define CHUNK_BYTES 4096u
#define CHUNKS_PER_TURN 16u /* a VMM that talks without end leaves the loop to others */
#define CAPABILITIES_ID 0u

enum state { GREETING, CAPABILITIES, READY, ENDED };

struct uvm__qmp {
    uvm_engine *engine;
    uint32_t refs; /* open, and each command that is an op */
    struct uvm__sock *sock;
    struct uvm__qmp_frame frame;
    struct uvm__calls calls;
    uint64_t next_id;
    enum state state;
    bool closing;
    char version[32];
    struct uvm__qmp_params params;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* ---- end ---------------------------------------------------------------------------------- */

static void fail_calls(struct uvm__qmp *q, const uvm_error *err) {
    uvm_error *closed = uvm__error(q->engine, UVM_E_CLOSED, 0, "qmp: connection lost");

    if (err != NULL) {
        closed = uvm__error_cause(closed, uvm_error_ref(err));
    }
    uvm__calls_fail(&q->calls, closed);
    uvm_error_unref(closed);
}

static void end(struct uvm__qmp *q, uvm_error *take_err) {
    UVM_ASSERT(q->state != ENDED && !q->closing);
    q->state = ENDED;
    uvm__sock_reading(q->sock, false);
    fail_calls(q, take_err);
    if (!q->closing) {
        q->params.on_end(q, take_err, q->params.arg);
    }
    uvm_error_unref(take_err);
}

/* ---- what comes in ------------------------------------------------------------------------ */

static uvm_error *protocol_error(struct uvm__qmp *q, const char *what, const char *line,
                                 size_t bytes) {
    uvm_error *err = uvm__error(q->engine, UVM_E_PROTOCOL, 0, "qmp: %s", what);
    return uvm__error_detail(err, line, bytes < 200 ? bytes : 200);
}

static int send_text(struct uvm__qmp *q, const char *text, size_t bytes, const int *fds,
                     size_t fds_count) {
    uvm__log(q->engine, UVM_LOG_TRACE, "", "qmp > %.*s", (int)bytes - 1, text);
    return uvm__sock_send(q->sock, text, bytes, fds, fds_count);
}

static uvm_error *on_greeting(struct uvm__qmp *q, const cJSON *greeting) {
    static const char *const parts[] = {"major", "minor", "micro"};
    static const char ask[] = "{\"execute\":\"qmp_capabilities\",\"id\":0}\n";
    const cJSON *version = uvm__json_get(UVM__JSON_STRICT, greeting, "version");
    const cJSON *qemu =
        cJSON_IsObject(version) ? uvm__json_get(UVM__JSON_STRICT, version, "qemu") : NULL;
    int64_t n[3] = {0};

    for (size_t i = 0; i < 3; i++) {
        const cJSON *part =
            cJSON_IsObject(qemu) ? uvm__json_get(UVM__JSON_STRICT, qemu, parts[i]) : NULL;
        if (part == NULL || uvm__json_i64(part, 0, 9999, &n[i]) < 0) {
            return uvm__error(q->engine, UVM_E_PROTOCOL, 0, "qmp: greeting without a version");
        }
    }
    snprintf(q->version, sizeof q->version, "%" PRId64 ".%" PRId64 ".%" PRId64, n[0], n[1], n[2]);
    q->state = CAPABILITIES;
    int rc = send_text(q, ask, sizeof ask - 1, NULL, 0);
    return rc < 0
               ? uvm__error(q->engine, (enum uvm_error_code) - rc, 0, "qmp: cannot be written to")
               : NULL;
}

static uvm_error *on_reply(struct uvm__qmp *q, const cJSON *reply, const char *line, size_t bytes) {
    const cJSON *id_node = uvm__json_get(UVM__JSON_STRICT, reply, "id");
    uint64_t id;

    if (id_node == NULL || uvm__json_u64(id_node, UINT64_MAX, &id) < 0) {
        return protocol_error(q, "a reply without our id", line, bytes);
    }
    if (q->state == CAPABILITIES && id == CAPABILITIES_ID) {
        if (uvm__json_get(UVM__JSON_STRICT, reply, "return") == NULL) {
            return protocol_error(q, "capabilities were refused", line, bytes);
        }
        q->state = READY;
        q->params.on_ready(q, q->params.arg);
        return NULL;
    }
    struct uvm__call *call = uvm__call_find(&q->calls, id);
    if (call == NULL) {
        uvm__log(q->engine, UVM_LOG_WARN, "", "qmp: a reply to id %" PRIu64 ", which nobody sent",
                 id);
        return NULL;
    }
    uvm__call_finish(&q->calls, call, reply, NULL);
    return NULL;
}

static uvm_error *on_message(struct uvm__qmp *q, const cJSON *m, const char *line, size_t bytes) {
    const cJSON *greeting = uvm__json_get(UVM__JSON_STRICT, m, "QMP");
    const char *event = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, m, "event"));

    if (q->state == GREETING) {
        return cJSON_IsObject(greeting) ? on_greeting(q, greeting)
                                        : protocol_error(q, "no greeting", line, bytes);
    }
    if (event != NULL) {
        const cJSON *data = uvm__json_get(UVM__JSON_STRICT, m, "data");
        q->params.on_event(q, event, cJSON_IsObject(data) ? data : NULL, q->params.arg);
        return NULL;
    }
    if (uvm__json_get(UVM__JSON_STRICT, m, "return") != NULL ||
        uvm__json_get(UVM__JSON_STRICT, m, "error") != NULL) {
        return on_reply(q, m, line, bytes);
    }
    return protocol_error(q, "a message that is none", line, bytes);
}

static uvm_error *on_line(struct uvm__qmp *q, const char *line, size_t bytes) {
    struct uvm__fail f = {0};
    cJSON *m = NULL;

    uvm__log(q->engine, UVM_LOG_TRACE, "", "qmp < %.*s", (int)bytes, line);
    int rc = uvm__json_read(UVM__JSON_STRICT, line, bytes, &m, &f);
    if (rc < 0) {
        uvm_error *err = protocol_error(q, "not JSON", line, bytes);
        return rc == -UVM_E_NOMEM ? (uvm_error_unref(err), uvm__error_nomem())
                                  : uvm__error_cause(err, uvm__fail_error(q->engine, rc, &f));
    }
    uvm_error *err = cJSON_IsObject(m) ? on_message(q, m, line, bytes)
                                       : protocol_error(q, "not an object", line, bytes);
    cJSON_Delete(m);
    return err;
}

/* The lines that are whole; false when the connection ended or is being closed. */
static bool take_lines(struct uvm__qmp *q) {
    const char *line;
    size_t bytes;

    while (!q->closing && uvm__qmp_frame_next(&q->frame, &line, &bytes)) {
        uvm_error *err = on_line(q, line, bytes);
        if (err != NULL && q->closing) {
            uvm_error_unref(err);
        } else if (err != NULL) {
            end(q, err);
            return false;
        }
    }
    return !q->closing;
}

static void on_readable(struct uvm__sock *s, void *arg) {
    struct uvm__qmp *q = arg;

    for (unsigned i = 0; i < CHUNKS_PER_TURN; i++) { /* what is left shows up again */
        char chunk[CHUNK_BYTES];
        ssize_t n = uvm__sock_recv(s, chunk, sizeof chunk, NULL, NULL);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n <= 0) {
            end(q, n == 0 ? NULL
                          : uvm__error(q->engine, (enum uvm_error_code) - n, 0,
                                       "qmp: cannot be read from"));
            return;
        }
        int rc = uvm__qmp_frame_feed(&q->frame, chunk, (size_t)n);
        if (rc < 0) {
            end(q, rc == -UVM_E_NOMEM
                       ? uvm__error_nomem()
                       : uvm__error(q->engine, UVM_E_PROTOCOL, 0,
                                    "qmp: a line of more than %u bytes", UVM__QMP_LINE_BYTES_MAX));
            return;
        }
        if (!take_lines(q)) {
            return;
        }
    }
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__qmp_open(uvm_engine *e, const struct uvm__qmp_params *params, struct uvm__qmp **ret) {
    static const struct uvm__sock_events events = {.on_readable = on_readable};
    struct uvm__qmp *q = uvm__zalloc(e, sizeof *q);

    if (q == NULL) {
        close(params->take_fd);
        return -UVM_E_NOMEM;
    }
    q->engine = e;
    q->refs = 1;
    q->params = *params;
    q->next_id = CAPABILITIES_ID + 1;
    uvm__qmp_frame_init(&q->frame, e);
    uvm__calls_init(&q->calls);
    int rc = uvm__sock_open(e, params->take_fd, &events, q, &q->sock);
    if (rc < 0) {
        uvm__free(e, q);
        return rc;
    }
    uvm__sock_reading(q->sock, true);
    *ret = q;
    return 0;
}

bool uvm__qmp_ready(const struct uvm__qmp *q) {
    return q->state == READY;
}

const char *uvm__qmp_version(const struct uvm__qmp *q) {
    return q->version;
}

uint32_t uvm__qmp_pending(const struct uvm__qmp *q) {
    return q->calls.count;
}

static void unref(struct uvm__qmp *q) {
    UVM_ASSERT(q->refs > 0);
    if (--q->refs == 0) {
        uvm__qmp_frame_deinit(&q->frame);
        uvm__free(q->engine, q);
    }
}

static void closed(void *arg) {
    struct uvm__qmp *q = arg;
    void (*on_closed)(void *) = q->on_closed;
    void *closed_arg = q->closed_arg;

    q->sock = NULL;
    unref(q);
    if (on_closed != NULL) {
        on_closed(closed_arg);
    }
}

void uvm__qmp_close(struct uvm__qmp *q, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!q->closing);
    q->closing = true;
    q->on_closed = on_closed;
    q->closed_arg = arg;
    if (q->state != ENDED) {
        q->state = ENDED;
        fail_calls(q, NULL);
    }
    uvm__sock_close(q->sock, closed, q);
}

/* ---- commands ----------------------------------------------------------------------------- */

int uvm__qmp_call(struct uvm__qmp *q, struct uvm__call *call, uvm_op *op, const char *command,
                  const char *arguments, const int *fds, size_t fds_count,
                  void (*on_reply_fn)(struct uvm__call *, const void *, const uvm_error *)) {
    char small[256];
    char *text = small;

    if (q->state != READY) {
        return q->state == ENDED ? -UVM_E_CLOSED : -UVM_E_STATE;
    }
    if (q->calls.count >= UVM__RPC_PENDING_MAX) {
        return -UVM_E_LIMIT;
    }
    uint64_t id = q->next_id;
    size_t room = strlen(command) + (arguments == NULL ? 0 : strlen(arguments)) + 64;
    if (room > sizeof small) {
        text = uvm__alloc(q->engine, room);
        if (text == NULL) {
            return -UVM_E_NOMEM;
        }
    }
    int n = snprintf(text, room, "{\"execute\":\"%s\"%s%s,\"id\":%" PRIu64 "}\n", command,
                     arguments == NULL ? "" : ",\"arguments\":", arguments == NULL ? "" : arguments,
                     id);
    UVM_ASSERT(n > 0 && (size_t)n < room);
    int rc = send_text(q, text, (size_t)n, fds, fds_count);
    if (text != small) {
        uvm__free(q->engine, text);
    }
    if (rc == 0) {
        q->next_id++;
        uvm__call_add(&q->calls, call, id, op, on_reply_fn);
    }
    return rc;
}

uvm_error *uvm__qmp_reply_error(uvm_engine *e, const char *command, const cJSON *reply) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, reply, "error");
    char text[512];

    if (node == NULL) {
        return NULL;
    }
    const char *class = cJSON_IsObject(node)
                            ? uvm__json_string(uvm__json_get(UVM__JSON_STRICT, node, "class"))
                            : NULL;
    const char *desc = cJSON_IsObject(node)
                           ? uvm__json_string(uvm__json_get(UVM__JSON_STRICT, node, "desc"))
                           : NULL;
    int n = snprintf(text, sizeof text, "%s: %s", class == NULL ? "?" : class,
                     desc == NULL ? "?" : desc);
    uvm_error *err = uvm__error(e, UVM_E_PEER, 0, "qmp: %s was refused", command);
    return uvm__error_detail(err, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ---- a command as an op ------------------------------------------------------------------- */

struct execute {
    struct uvm__qmp *qmp;
    struct uvm__call call;
    cJSON *result;
    bool over; /* the step has ended: a reply is late */
    const char *command, *arguments;
    char texts[]; /* both of the above */
};

static size_t execute_extra(const void *params) {
    const struct uvm__qmp_execute_params *p = params;
    return strlen(p->command) + 1 + (p->arguments == NULL ? 0 : strlen(p->arguments) + 1);
}

static int execute_init(uvm_op *op, void *state, const void *params) {
    const struct uvm__qmp_execute_params *p = params;
    struct execute *x = state;
    size_t bytes = strlen(p->command) + 1;

    (void)op;
    x->qmp = p->qmp;
    x->qmp->refs++;
    memcpy(x->texts, p->command, bytes);
    x->command = x->texts;
    if (p->arguments != NULL) {
        memcpy(x->texts + bytes, p->arguments, strlen(p->arguments) + 1);
        x->arguments = x->texts + bytes;
    }
    uvm__list_init(&x->call.link);
    return 0;
}

static void execute_deinit(void *state) {
    struct execute *x = state;
    UVM_ASSERT(!uvm__list_linked(&x->call.link));
    cJSON_Delete(x->result);
    unref(x->qmp);
}

static void execute_on_reply(struct uvm__call *call, const void *reply, const uvm_error *err) {
    struct execute *x = UVM__CONTAINER_OF(call, struct execute, call);
    uvm_op *op = (uvm_op *)call->body_type;

    if (x->over) {
        return;
    }
    x->over = true;
    if (err != NULL) {
        uvm__step_done(op, uvm_error_ref(err));
        return;
    }
    uvm_error *refused = uvm__qmp_reply_error(uvm__op_engine(op), x->command, reply);
    if (refused == NULL) {
        cJSON *m = (cJSON *)(uintptr_t)reply; /* ours: on_line() deletes what is left of it */
        x->result = cJSON_DetachItemFromObjectCaseSensitive(m, "return");
    }
    uvm__step_done(op, refused);
}

static void execute_run(uvm_op *op, void *state) {
    struct execute *x = state;

    x->call.body_type = op;
    int rc =
        uvm__qmp_call(x->qmp, &x->call, op, x->command, x->arguments, NULL, 0, execute_on_reply);
    if (rc < 0) {
        x->over = true;
        uvm__step_done(op, uvm__error(uvm__op_engine(op), (enum uvm_error_code) - rc, 0,
                                      "qmp: %s cannot be sent", x->command));
    }
}

static void execute_cancel(uvm_op *op, void *state) {
    struct execute *x = state;
    x->over = true; /* the call stays in the table until its reply */
    uvm__step_done(
        op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "qmp: %s abandoned", x->command));
}

static const struct uvm__step effect_steps[] = {{.name = "reply", .run = execute_run}};
static const struct uvm__step query_steps[] = {
    {.name = "reply", .run = execute_run, .cancel = execute_cancel}};
#define EXECUTE_SAGA(table)                                                                        \
    {                                                                                              \
        .name = "qmp", .steps = (table), .steps_count = 1, .commit_step = 0,                       \
        .state_bytes = sizeof(struct execute), .extra_bytes = execute_extra, .init = execute_init, \
        .deinit = execute_deinit                                                                   \
    }
static const struct uvm__saga effect_saga = EXECUTE_SAGA(effect_steps);
static const struct uvm__saga query_saga = EXECUTE_SAGA(query_steps);

int uvm__qmp_execute(const struct uvm__qmp_execute_params *params, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return uvm__op_start(params->qmp->engine, scope, params->effect ? &effect_saga : &query_saga,
                         params, on_done, arg, ret_op);
}

const cJSON *uvm__qmp_execute_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &effect_saga || uvm__op_saga(op) == &query_saga);
    const struct execute *x = uvm__op_state(op);
    return uvm__op_succeeded(op) ? x->result : NULL;
}
