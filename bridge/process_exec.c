/* SPDX-License-Identifier: MIT
 * process_exec.c — a process in the guest: the exec saga.
 *
 * A process is the state of its exec op, so everything that it will need (frames, buffers, descriptors) is
 * allocated by start, and the undo allocates nothing. After success the op stays referenced by the process
 * (until close) and by its WaitForProcess (until the answer).
 *
 * The effect may exist from the moment when the request has left as a whole. Its undo closes the streams,
 * kills the process with its group, and ends with the answer of the wait, which went out right behind the
 * successful reply. Where the agent cannot kill, the op reports at once that the process is quarantined;
 * the wait's answer lifts that when the process ends by itself.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/mark.h"
#include "bridge/process_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ACCEPT_AFTER_REPLY_MS 1000u /* at least, whenever the reply came */
#define SHORT_FRAME_BYTES 320u      /* of a wait or signal, without the container's id */

enum { STEP_LISTEN, STEP_EXECUTE, STEP_CONNECT, STEPS };

struct exec_params {
    struct uvm__bridge *bridge;
    const struct uvm__process_params *user;
    uint32_t ports[UVM__STDIO_MAX];
    bool too_large;
    struct uvm__buf frame; /* taken by a successful init */
};

static const char *id_of(const struct uvm__process *p) {
    return p->container_id == NULL ? UVM__NULL_ID : p->container_id;
}

/* ---- streams ------------------------------------------------------------------------------ */

static bool connected(const struct uvm__process *p) {
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        if (p->listeners[i] != NULL) {
            return false;
        }
    }
    return true;
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    struct uvm__process *p = arg;
    unsigned i = 0;
    while (i < UVM__STDIO_MAX && p->listeners[i] != l) {
        i++;
    }
    UVM_ASSERT(i < UVM__STDIO_MAX);
    p->listeners[i] = NULL;
    uvm__listener_close(l);
    uvm__relay_connect(&p->relays[i], take_stream);
    if (p->connecting && connected(p)) {
        uvm__process_connect_over(p, NULL);
    }
}

static void on_accept_deadline(struct uvm__deadline *d) {
    struct uvm__process *p = UVM__CONTAINER_OF(d, struct uvm__process, accept);
    struct uvm__bridge *b = p->bridge;
    static const char *const names[UVM__STDIO_MAX] = {"stdin", "stdout", "stderr"};
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        if (p->listeners[i] != NULL) {
            uvm__process_connect_over(
                p, uvm__error(b->engine, UVM_E_TIMEDOUT, 0,
                              "%s: process %" PRIu32 " runs, but the guest did not connect "
                              "its %s (port %" PRIu32 ") within %u ms",
                              b->name, p->pid, names[i], p->ports[i], UVM__ACCEPT_STDIO_MS));
            return;
        }
    }
}

/* ---- the saga ----------------------------------------------------------------------------- */

static uvm_error *listen_all(struct uvm__process *p) {
    struct uvm__bridge *b = p->bridge;
    if (b->stream == NULL) {
        return uvm__bridge_lost_error(b); /* with the VM its endpoint may be gone */
    }
    if (p->too_large) {
        return uvm__error(b->engine, UVM_E_LIMIT, 0, "%s: the command does not fit %u bytes",
                          b->name, UVM__REQUEST_BYTES_MAX);
    }
    if (p->needs_control && b->capabilities.process_control == 0) {
        return uvm__error(b->engine, UVM_E_UNSUPPORTED, 0,
                          "%s: a process as another user: the agent lacks process control",
                          b->name);
    }
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        if (p->ports[i] == 0) {
            continue;
        }
        struct uvm__listen_params params = {
            .port = p->ports[i], .once = true, .on_accept = on_accept, .arg = p};
        int rc = uvm__hvsock_listen(b->hvsock, &params, &p->listeners[i]);
        if (rc < 0) {
            return uvm__error(b->engine, (enum uvm_error_code) - rc, 0,
                              "%s: cannot listen on port %" PRIu32, b->name, p->ports[i]);
        }
    }
    return NULL;
}

static void listen_run(uvm_op *op, void *state) {
    struct uvm__process *p = state;
    uvm_error *err = listen_all(p);
    if (err != NULL) {
        uvm__process_close_listeners(p);
    }
    uvm__step_done(op, err);
}

static void listen_undo(uvm_op *op, void *state) {
    uvm__process_close_listeners(state);
    uvm__process_stop_relays(state);
    uvm__undo_done(op, NULL);
}

static void execute_run(uvm_op *op, void *state) {
    struct uvm__process *p = state;
    uvm_error *err = uvm__rpc_send(&p->execute, op);
    if (err != NULL) {
        uvm__step_done(op, err);
    }
}

static void execute_cancel(uvm_op *op, void *state) {
    struct uvm__process *p = state;
    if (uvm__rpc_withdraw(&p->execute)) {
        uvm__step_done(op, uvm__scope_error(uvm__op_scope(op)));
    }
}

static void on_execute_sent(struct uvm__rpc *rpc) {
    struct uvm__process *p = UVM__CONTAINER_OF(rpc, struct uvm__process, execute);
    p->sent_ms = uvm__now_ms(p->bridge->engine);
    uvm__step_armed(p->op);
}

static void send_wait(struct uvm__process *p) {
    union uvm__msg_request req = {.wait = {{id_of(p), NULL}, p->pid, UVM__WAIT_INFINITE}};
    int rc = uvm__rpc_encode(&p->wait, &req);
    UVM_ASSERT_CMP(rc, ==, 0); /* start has reserved the room */
    uvm_error *err = uvm__rpc_send(&p->wait, p->op);
    UVM_ASSERT(err == NULL); /* the bridge lives: it has just given us a reply */
}

static void on_execute_reply(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply,
                             const uvm_error *err) {
    struct uvm__process *p = UVM__CONTAINER_OF(rpc, struct uvm__process, execute);
    struct uvm__bridge *b = p->bridge;
    p->answered = reply != NULL;
    if (reply == NULL) {
        uvm__step_done(p->op, uvm_error_ref(err));
    } else if (reply->result.result != 0) {
        p->failure = reply->result.start;
        uvm__step_done(p->op, uvm__rpc_refused(rpc, reply));
    } else if (reply->answer.pid == 0) {
        uvm__step_done(p->op, uvm__error(b->engine, UVM_E_PROTOCOL, 0,
                                         "%s: the guest started a process without an id", b->name));
    } else {
        p->pid = reply->answer.pid;
        send_wait(p);
        uvm__step_done(p->op, NULL);
    }
}

static void on_kill_reply(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply,
                          const uvm_error *err) {
    struct uvm__process *p = UVM__CONTAINER_OF(rpc, struct uvm__process, kill);
    (void)err; /* a lost bridge is told by the wait, too */
    bool refused =
        reply != NULL && reply->result.result != 0 && reply->result.result != UVM__HR_NOT_FOUND;
    if (refused && p->undoing) {
        UVM__MARK(process_kill_refused);
        p->undoing = false;
        uvm__undo_done(p->op, uvm__rpc_refused(rpc, reply));
    }
}

static void execute_undo(uvm_op *op, void *state) {
    struct uvm__process *p = state;
    struct uvm__bridge *b = p->bridge;
    uvm__process_close_listeners(
        p); /* some agents hold the exit back until the streams are closed */
    uvm__process_stop_relays(p);
    if (p->pid == 0) {
        /* Refused; or the bridge was lost with the request on its way, and nobody can say. */
        uvm__undo_done(op, p->answered ? NULL : uvm__bridge_lost_error(b));
        return;
    }
    if (p->exited) {
        UVM__MARK(process_exited);
        uvm__undo_done(op, p->gone ? NULL : uvm_error_ref(p->exit_err));
        return;
    }
    p->undoing = true;
    bool can_kill = p->container_id != NULL || b->capabilities.process_control > 0;
    if (!can_kill) {
        UVM__MARK(process_unkillable);
        uvm__scope_fail(uvm__op_undo_scope(op), UVM__TIMED_OUT, NULL);
        return;
    }
    union uvm__msg_request req = {.signal = {{id_of(p), NULL}, p->pid, 0, p->container_id == NULL}};
    int rc = uvm__rpc_encode(&p->kill, &req);
    UVM_ASSERT_CMP(rc, ==, 0); /* start has reserved the room */
    uvm_error *err = uvm__rpc_send(&p->kill, op);
    if (err != NULL) {
        p->undoing = false;
        uvm__undo_done(op, err);
    }
}

static void connect_run(uvm_op *op, void *state) {
    struct uvm__process *p = state;
    if (connected(p)) {
        uvm__step_done(op, NULL);
        return;
    }
    uint64_t now = uvm__now_ms(p->bridge->engine);
    uint64_t at = p->sent_ms + UVM__ACCEPT_STDIO_MS;
    if (at < now + ACCEPT_AFTER_REPLY_MS) {
        at = now + ACCEPT_AFTER_REPLY_MS;
    }
    p->connecting = true;
    uvm__deadline_set(p->bridge->engine, &p->accept, at);
}

static void connect_cancel(uvm_op *op, void *state) {
    uvm__process_connect_over(state, uvm__scope_error(uvm__op_scope(op)));
}

static const struct uvm__step steps[STEPS] = {
    [STEP_LISTEN] = {"listen for streams", listen_run, NULL, listen_undo, false},
    [STEP_EXECUTE] = {"execute", execute_run, execute_cancel, execute_undo, false},
    [STEP_CONNECT] = {"streams connected", connect_run, connect_cancel, NULL, false},
};

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct uvm__process *p = state;
    (void)op;
    if (step != STEP_EXECUTE) {
        return;
    }
    if (p->pid == 0) {
        (void)snprintf(buf, bytes, "a process may have started");
    } else {
        bool can_kill = p->container_id != NULL || p->bridge->capabilities.process_control > 0;
        (void)snprintf(buf, bytes, "process %" PRIu32 "%s", p->pid,
                       can_kill ? "" : ": the agent lacks process control");
    }
}

/* ---- start -------------------------------------------------------------------------------- */

static int reserve(struct uvm__process *p, struct uvm__rpc *rpc, enum uvm__message msg) {
    uvm__rpc_init(rpc, p->bridge, msg);
    rpc->exempt = true;
    return uvm__buf_reserve(&rpc->frame, SHORT_FRAME_BYTES + 6 * strlen(id_of(p)));
}

static int fill(struct uvm__process *p, const struct exec_params *params) {
    const struct uvm__process_params *u = params->user;
    if (u->container_id != NULL) {
        p->container_id = uvm__strdup(p->bridge->engine, u->container_id);
        if (p->container_id == NULL) {
            return -UVM_E_NOMEM;
        }
    }
    int rc = reserve(p, &p->wait, UVM__MSG_WAIT_FOR_PROCESS);
    if (rc == 0) {
        rc = reserve(p, &p->kill, UVM__MSG_SIGNAL_PROCESS);
    }
    return rc < 0 ? rc : uvm__process_init_relays(p, u);
}

static int exec_init(uvm_op *op, void *state, const void *arg) {
    struct uvm__process *p = state;
    const struct exec_params *params = arg;
    p->op = op;
    p->bridge = uvm__bridge_ref(params->bridge);
    p->events = params->user->events;
    p->arg = params->user->arg;
    memcpy(p->ports, params->ports, sizeof p->ports);
    p->too_large = params->too_large;
    p->needs_control = params->user->user != NULL && params->user->user[0] != 0;
    uvm__deadline_init(&p->accept, on_accept_deadline);
    int rc = fill(p, params);
    if (rc < 0) {
        uvm__process_release(p);
        return rc;
    }
    uvm__rpc_init(&p->execute, p->bridge, UVM__MSG_EXECUTE_PROCESS);
    p->execute.frame = params->frame;
    p->execute.on_sent = on_execute_sent;
    p->execute.on_reply = on_execute_reply;
    p->wait.on_reply = uvm__process_on_wait_reply;
    p->kill.on_reply = on_kill_reply;
    return 0;
}

static void exec_deinit(void *state) {
    struct uvm__process *p = state;
    UVM_ASSERT(!p->taken || p->closed);
    uvm__ready_cancel(p->bridge->engine, &p->ready);
    uvm__deadline_clear(p->bridge->engine, &p->accept);
    uvm__rpc_deinit(&p->execute);
    uvm__process_release(p);
}

const struct uvm__saga uvm__process_saga = {
    .name = "process exec",
    .steps = steps,
    .steps_count = STEPS,
    .commit_step = STEP_CONNECT,
    .state_bytes = sizeof(struct uvm__process),
    .init = exec_init,
    .deinit = exec_deinit,
    .describe = describe,
};

static int write_inner(struct uvm__buf *b, const struct uvm__process_params *params,
                       uint32_t process_control) {
    struct uvm__msg_process m = {
        .command_line = params->command_line,
        .args = params->args,
        .env = params->env,
        .cwd = params->cwd,
        .user = params->user,
        .terminal = params->terminal,
        .in = params->stdio[UVM__STDIN] != UVM__STDIO_NONE,
        .out = params->stdio[UVM__STDOUT] != UVM__STDIO_NONE,
        .err = params->stdio[UVM__STDERR] != UVM__STDIO_NONE,
        .height = params->height,
        .width = params->width,
    };
    if (params->container_id == NULL && (m.cwd == NULL || m.cwd[0] == 0)) {
        m.cwd = "/";
    }
    return uvm__msg_process_write(b, &m, process_control);
}

/* The request into params->frame; too_large when it does not fit. */
static int encode(struct exec_params *params) {
    struct uvm__bridge *b = params->bridge;
    struct uvm__buf inner;
    struct uvm__rpc rpc;
    uvm__buf_init(&inner, b->engine, UVM__REQUEST_BYTES_MAX);
    uvm__rpc_init(&rpc, b, UVM__MSG_EXECUTE_PROCESS);
    int rc = write_inner(&inner, params->user, b->capabilities.process_control);
    if (rc == 0) {
        const char *id = params->user->container_id;
        union uvm__msg_request req = {.execute = {{id == NULL ? UVM__NULL_ID : id, NULL},
                                                  (const char *)inner.data,
                                                  params->ports[UVM__STDIN],
                                                  params->ports[UVM__STDOUT],
                                                  params->ports[UVM__STDERR]}};
        rc = uvm__rpc_encode(&rpc, &req);
    }
    uvm__buf_deinit(&inner);
    params->too_large = rc == -UVM_E_LIMIT;
    if (rc < 0 && !params->too_large) {
        uvm__rpc_deinit(&rpc);
        return rc;
    }
    params->frame = rpc.frame;
    return 0;
}

static bool valid(const struct uvm__process_params *params) {
    bool args = params->args != NULL && params->args[0] != NULL;
    bool line = params->command_line != NULL && params->command_line[0] != 0;
    /* An agent of the reference's kind dies of a process of the UVM without a command. */
    return params->container_id == NULL ? args != line : !args && !line;
}

int uvm__process_exec(struct uvm__bridge *b, const struct uvm__process_params *params,
                      uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    if (!valid(params)) {
        return -UVM_E_INVAL;
    }
    if (!b->negotiated && b->stream != NULL) {
        return -UVM_E_STATE;
    }
    struct exec_params p = {.bridge = b, .user = params};
    for (unsigned i = 0; i < UVM__STDIO_MAX; i++) {
        if (params->stdio[i] != UVM__STDIO_NONE) {
            int rc = b->hvsock == NULL ? -UVM_E_UNSUPPORTED : uvm__bridge_take_port(b, &p.ports[i]);
            if (rc < 0) {
                return rc;
            }
        }
    }
    int rc = encode(&p);
    if (rc < 0) {
        return rc;
    }
    rc = uvm__op_start(b->engine, scope, &uvm__process_saga, &p, on_done, arg, ret_op);
    if (rc < 0) {
        uvm__buf_deinit(&p.frame);
    }
    return rc;
}
