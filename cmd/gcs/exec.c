/* SPDX-License-Identifier: MIT
 *
 * ExecuteProcess for the UVM, as an op of four steps: dial the streams that were asked for, in the order
 * stdin, stdout, stderr (PROTOCOL-bridge.md, Processes), then start the program. The host listens before it
 * asks, so a refused dial is final. The sockets themselves become the child's descriptors, unless there is
 * a terminal: then they are relayed. How the child is made is launch.c's.
 *
 * There is nothing to undo: descriptors that were not handed on are closed with the op's state, and a child
 * that did not become the program has ended by itself. A failure's words, place and step wait in the state
 * until the op resolves; the answer is sent there and nowhere else.
 */
#include "cmd/gcs/exec.h"

#include "async/alloc.h"
#include "async/check.h"
#include "cmd/gcs/words.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *const stream_names[3] = {"stdin", "stdout", "stderr"};

void gcs_exec_fail(uvm_op *op, enum uvm__start_step step, int64_t err, struct gcs_fault place,
                   const char *fmt, ...) {
    struct gcs_exec *x = uvm__op_state(op);
    uvm_error *error;
    va_list ap;

    x->start.step = step;
    x->start.error = (int32_t)err;
    x->place = place;
    va_start(ap, fmt);
    error = uvm__error_v(uvm__op_engine(op), UVM_E_IO, err, fmt, ap);
    va_end(ap);
    uvm__step_done(op, error);
}

/* ---- streams ------------------------------------------------------------------------------ */

static void on_dialled(uvm_op *dial, const uvm_error *err, void *arg) {
    uvm_op *op = arg;
    struct gcs_exec *x = uvm__op_state(op);

    UVM_ASSERT(x->dialling < 3 && x->fds[x->dialling] < 0);
    if (err != NULL) {
        gcs_exec_fail(op, UVM__START_STDIO, uvm_error_sys(err),
                      GCS_FAULT("connection.go", "Connect"),
                      "failed creating %s Connection: failed connecting the VsockConnection: %s",
                      stream_names[x->dialling], uvm_error_message(err));
        return;
    }
    x->fds[x->dialling] = uvm__dial_result(dial);
    uvm__step_done(op, NULL);
}

static void dial(uvm_op *op, struct gcs_exec *x, unsigned which, bool wanted) {
    struct gcs_agent *a = x->agent;

    x->dialling = which;
    if (!wanted) {
        uvm__step_done(op, NULL);
    } else if (a->flags.use_inouterr && a->flags.dial_unix_dir == NULL) {
        gcs_exec_fail(
            op, UVM__START_STDIO, ENODEV, GCS_FAULT("connection.go", "Connect"),
            "failed creating %s Connection: the bridge is on stdin and stdout and there is "
            "no -dial unix:DIR for streams",
            stream_names[which]);
    } else if (uvm__dial(a->engine, &a->dialer, x->ports[which], uvm__op_scope(op), on_dialled, op,
                         NULL) < 0) {
        gcs_exec_fail(op, UVM__START_STDIO, ENOMEM, GCS_FAULT("connection.go", "Connect"),
                      "failed creating %s Connection: out of memory", stream_names[which]);
    }
}

static void run_stdin(uvm_op *op, void *state) {
    struct gcs_exec *x = state;

    dial(op, x, STDIN_FILENO, x->params.in);
}

static void run_stdout(uvm_op *op, void *state) {
    struct gcs_exec *x = state;

    dial(op, x, STDOUT_FILENO, x->params.out);
}

static void run_stderr(uvm_op *op, void *state) {
    struct gcs_exec *x = state;

    dial(op, x, STDERR_FILENO, x->params.err);
}

/* ---- the op ----------------------------------------------------------------------------------- */

static int init(uvm_op *op, void *state, const void *params) {
    (void)op;
    memcpy(state, params, sizeof(struct gcs_exec));
    return 0;
}

static void deinit(void *state) {
    struct gcs_exec *x = state;
    uvm_engine *e = x->agent->engine;

    UVM_ASSERT(x->process == NULL);
    for (size_t i = 0; i < 3; i++) {
        if (x->fds[i] >= 0) {
            close(x->fds[i]);
        }
    }
    uvm__free(e, x->words);
    uvm__msg_process_deinit(e, &x->params);
}

static const struct uvm__step steps[] = {
    {.name = "stdin", .run = run_stdin, .child = true},
    {.name = "stdout", .run = run_stdout, .child = true},
    {.name = "stderr", .run = run_stderr, .child = true},
    {.name = "start", .run = gcs_exec_start},
};

static const struct uvm__saga exec_saga = {
    .name = "exec",
    .steps = steps,
    .steps_count = 4,
    .commit_step = 3,
    .state_bytes = sizeof(struct gcs_exec),
    .init = init,
    .deinit = deinit,
};

static void on_exec_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct gcs_exec *x = uvm__op_state(op);
    struct gcs_agent *a = arg;

    gcs_agent_release(a);
    if (err == NULL) {
        uvm__server_reply_pid(x->request, x->pid);
        return;
    }
    GCS_LOG(&a->log, UVM_LOG_WARN, "process not started", GCS_TEXT("step", uvm_error_step(err)),
            GCS_TEXT("error", uvm_error_message(err)));
    gcs_fault_reply(x->request, UVM__HR_FAIL, x->place, &x->start, "%s", uvm_error_message(err));
}

/* ---- the request ------------------------------------------------------------------------------- */

/* Which argument vector it is; true when there is one of at least one word. */
static bool command(struct gcs_exec *x, struct uvm__server_request *r) {
    size_t count = 0;
    int rc;

    if (x->params.args != NULL && x->params.args[0] != NULL) {
        x->argv = x->params.args;
        return true;
    }
    if (x->params.command_line != NULL) {
        rc = gcs_words_split(x->agent->engine, x->params.command_line, &x->words, &count);
        if (rc < 0) {
            gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "CommandLine: %s",
                            rc == -UVM_E_INVAL ? "unfinished quote or escape" : "out of memory");
            return false;
        }
    }
    if (count == 0) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL,
                        "neither CommandArgs nor CommandLine names a program");
        return false;
    }
    x->argv = (const char *const *)x->words;
    return true;
}

static void start(struct gcs_agent *a, struct uvm__server_request *r, struct gcs_exec *x) {
    if (a->flags.policy_deny) {
        gcs_fault_reply(
            r, UVM__HR_FAIL,
            GCS_FAULT("securitypolicyenforcer.go",
                      "ClosedDoorSecurityPolicyEnforcer.EnforceExecExternalProcessPolicy"),
            NULL,
            "exec is denied due to policy: starting additional processes in uvm is "
            "denied by policy");
    } else if (a->running >= GCS_PROCESSES_MAX) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL, "%u of %u processes are running",
                        a->running, GCS_PROCESSES_MAX);
    } else if (command(x, r)) {
        if (uvm__op_start(a->engine, a->scope, &exec_saga, x, on_exec_done, a, NULL) == 0) {
            gcs_agent_hold(a);
            return;
        }
        uvm__server_reply_hresult(r, UVM__HR_OUT_OF_MEMORY);
    }
    deinit(x);
}

void gcs_handle_execute(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct gcs_agent *a = arg;
    const struct uvm__msg_execute *m = &uvm__server_request_body(r)->execute;
    struct gcs_exec x = {
        .agent = a,
        .request = r,
        .control = uvm__server_request_control(r),
        .ports = {m->port_in, m->port_out, m->port_err},
        .fds = {-1, -1, -1},
    };
    struct uvm__fail f;
    int rc;

    (void)s;
    rc = uvm__msg_process_read(a->engine, m->parameters, &x.params, &f);
    if (rc == -UVM_E_NOMEM) {
        uvm__server_reply_hresult(r, UVM__HR_OUT_OF_MEMORY);
    } else if (rc < 0) {
        gcs_fault_reply(
            r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
            "failed to unmarshal JSON for ProcessParameters \"%s\": HRESULT 0xc037010d: "
            "%s",
            m->parameters, f.msg);
    } else if (strcmp(m->base.container_id, UVM__NULL_ID) != 0 && !x.params.in_utility_vm) {
        uvm__msg_process_deinit(a->engine, &x.params);
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM);
    } else {
        start(a, r, &x);
    }
}
