/* SPDX-License-Identifier: MIT
 *
 * The agent's life. The host listens and the agent dials, for as long as it lives: whatever ends a bridge,
 * a new one is dialled after a pause, while processes and their waits stay (PROTOCOL-bridge.md). On stdin
 * and stdout (-use-inouterr) there is only one bridge, and its end is the agent's.
 *
 * Quitting has two halves. First everything that could start something is closed and what is under way is
 * told to stop; then, when the last child, terminal and op has reported (the holds), the engine is closed
 * and the loop runs dry. Powering off takes neither: there is nothing to clean up in a machine that is
 * going away.
 */
#include "cmd/gcs/agent.h"

#include "async/check.h"
#include "async/cleanup.h"
#include "cmd/gcs/machine.h"
#include "cmd/gcs/offers.h"
#include "cmd/gcs/process.h"
#include "cmd/gcs/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VSOCK_HOST 2u

/* ---- the end ---------------------------------------------------------------------------------- */

static void on_engine_closed(void *arg) {
    struct gcs_agent *a = arg;

    a->engine = NULL;
    gcs_log_close(&a->log);
}

static void finish(struct gcs_agent *a) {
    gcs_processes_drop(a); /* what came to life since */
    gcs_workers_drop(a);
    if (a->holds > 0 || a->engine_closing) {
        return;
    }
    a->engine_closing = true;
    a->scope = uvm_scope_unref(a->scope);
    uvm_engine_close(a->engine, on_engine_closed, a);
}

static void on_turn_quit(struct uvm__ready *r) {
    struct gcs_agent *a = UVM__CONTAINER_OF(r, struct gcs_agent, quit);

    if (a->server != NULL) {
        uvm__server_close(a->server);
        a->server = NULL;
        uvm_scope_cancel(a->scope);
        uvm__deadline_clear(a->engine, &a->redial);
        uvm__deadline_clear(a->engine, &a->linger);
        gcs_kmsg_close(&a->kmsg);
    }
    finish(a);
}

void gcs_agent_quit(struct gcs_agent *a, int status) {
    if (!a->quitting) {
        a->quitting = true;
        a->status = status;
        GCS_LOG(&a->log, UVM_LOG_INFO, "agent ends", GCS_NUMBER("status", status));
        uvm__ready_push(a->engine, &a->quit);
    }
}

void gcs_agent_hold(struct gcs_agent *a) {
    a->holds++;
}

void gcs_agent_release(struct gcs_agent *a) {
    UVM_ASSERT(a->holds > 0);
    a->holds--;
    if (a->holds == 0 && a->quitting) {
        uvm__ready_push(a->engine, &a->quit);
    }
}

static void on_linger_over(struct uvm__deadline *d) {
    struct gcs_agent *a = UVM__CONTAINER_OF(d, struct gcs_agent, linger);

    if (a->inside) {
        gcs_machine_power_off(a->inside);
    }
    gcs_agent_quit(a, 0);
}

void gcs_agent_shutdown(struct gcs_agent *a, struct uvm__server_request *take_r) {
    GCS_LOG(&a->log, UVM_LOG_INFO,
            a->inside ? "powering off"
                      : "shutdown outside of a VM: only the "
                        "agent ends");
    uvm__server_reply(take_r);
    if (!a->linger.linked && !a->quitting) {
        uvm__deadline_set(a->engine, &a->linger, uvm__now_ms(a->engine) + GCS_LINGER_MS);
    }
}

/* ---- the bridge ---------------------------------------------------------------------------------- */

static void dial(struct gcs_agent *a);

static void dial_later(struct gcs_agent *a) {
    if (!a->quitting) {
        uvm__deadline_set(a->engine, &a->redial, uvm__now_ms(a->engine) + GCS_REDIAL_MS);
    }
}

static void on_redial(struct uvm__deadline *d) {
    dial(UVM__CONTAINER_OF(d, struct gcs_agent, redial));
}

/* Takes both descriptors. */
static int attach(struct gcs_agent *a, int take_read_fd, int take_write_fd) {
    struct uvm__stream *s;
    int rc = uvm__stream_from_fds(a->engine, take_read_fd, take_write_fd, &s);

    if (rc == 0) {
        uvm__server_attach(a->server, s);
    }
    return rc;
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    struct gcs_agent *a = arg;

    a->dials++;
    if (a->quitting) {
        gcs_agent_release(a);
        return;
    }
    if (err != NULL && a->dials == 1) {
        GCS_LOG(&a->log, UVM_LOG_INFO, "the host does not answer yet: dialling on",
                GCS_TEXT("error", uvm_error_message(err)));
    }
    if (err == NULL) {
        int fd = uvm__dial_result(op);

        if (attach(a, fd, fd) == 0) {
            GCS_LOG(&a->log, UVM_LOG_INFO, "bridge connected", GCS_NUMBER("dials", a->dials));
            a->dials = 0;
            gcs_agent_release(a);
            return;
        }
    }
    gcs_agent_release(a);
    dial_later(a);
}

static void dial(struct gcs_agent *a) {
    if (uvm__dial(a->engine, &a->dialer, UVM__PORT_BRIDGE, a->scope, on_dialled, a, NULL) == 0) {
        gcs_agent_hold(a);
    } else {
        dial_later(a);
    }
}

static void on_detached(struct uvm__server *s, const uvm_error *err, void *arg) {
    struct gcs_agent *a = arg;
    bool clean = uvm_error_code(err) == UVM_E_EOF;

    (void)s;
    GCS_LOG(&a->log, clean ? UVM_LOG_INFO : UVM_LOG_ERROR, "bridge ended",
            GCS_TEXT("error", uvm_error_message(err)));
    if (a->flags.use_inouterr) {
        gcs_agent_quit(a, clean ? 0 : 1);
    } else {
        dial_later(a);
    }
}

static void on_negotiated(struct uvm__server *s, void *arg) {
    struct gcs_agent *a = arg;

    GCS_LOG(&a->log, UVM_LOG_INFO, "negotiated", GCS_NUMBER("version", uvm__server_version(s)),
            GCS_NUMBER("process_control", uvm__server_process_control(s)));
    if (a->inside && !a->negotiated_once) {
        uvm__offers_poke();
    }
    a->negotiated_once = true;
}

/* stdin and stdout for the bridge alone: whatever still writes to them by mistake writes to nothing. */
static int attach_inouterr(struct gcs_agent *a) {
    UVM_CLEANUP_FD int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    UVM_CLEANUP_FD int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    UVM_CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (in < 0 || out < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(null, STDOUT_FILENO) < 0) {
        return -UVM_E_IO;
    }
    return attach(a, UVM_TAKE_FD(in), UVM_TAKE_FD(out));
}

/* ---- the beginning ------------------------------------------------------------------------------- */

static int make_engine(struct gcs_agent *a) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    bool trace = a->flags.log_level == UVM_LOG_TRACE;

    params.log = gcs_log_engine;
    params.log_arg = &a->log;
    /* Each op's steps are for those who trace: a dial that is refused ten times a second is not news. */
    params.log_level =
        trace || a->flags.log_level < UVM_LOG_INFO ? a->flags.log_level : UVM_LOG_INFO;
    if (uvm_engine_new(a->loop, &params, &a->engine) < 0) {
        return -UVM_E_NOMEM;
    }
    uvm__ready_init(&a->quit, on_turn_quit);
    uvm__deadline_init(&a->redial, on_redial);
    uvm__deadline_init(&a->linger, on_linger_over);
    return uvm_scope_new(a->engine, NULL, 0, &a->scope);
}

static int make_server(struct gcs_agent *a) {
    struct uvm__server_params params = {
        .v4 = a->flags.v4,
        .process_control = UVM__PROCESS_CONTROL,
        .on_detached = on_detached,
        .on_negotiated = on_negotiated,
        .arg = a,
    };

    gcs_handlers_fill(&params);
    return uvm__server_new(a->engine, &params, &a->server);
}

/* What belongs to the machine, and only inside of ours. */
static void set_up_machine(struct gcs_agent *a) {
    struct uvm__fail f;

    if (!a->inside) {
        return;
    }
    if (a->flags.core_dump_location[0] != '\0' &&
        gcs_machine_core_pattern(a->inside, a->flags.core_dump_location, &f) < 0) {
        GCS_LOG(&a->log, UVM_LOG_WARN, "no core dumps", GCS_TEXT("error", f.msg));
    }
    if (gcs_kmsg_open(&a->kmsg, a->loop, &a->log, a->flags.kmsg_level) < 0) {
        GCS_LOG(&a->log, UVM_LOG_WARN, "kernel messages are not copied: no /dev/kmsg");
    }
    if (!a->flags.disable_time_sync) {
        GCS_LOG(&a->log, UVM_LOG_WARN,
                "the clock is not synchronised: this agent cannot do that yet");
    }
}

static int start(struct gcs_agent *a) {
    int rc;

    uvm__list_init(&a->processes);
    uvm__list_init(&a->workers);
    a->dialer.unix_dir = a->flags.dial_unix_dir;
    a->dialer.cid = VSOCK_HOST;
    gcs_kmsg_init(&a->kmsg);
    gcs_log_mute(&a->log, a->flags.policy_deny);
    rc = make_engine(a);
    if (rc < 0) {
        return rc;
    }
    rc = make_server(a);
    if (rc < 0) {
        return rc;
    }
    a->inside = gcs_machine_inside();
    GCS_LOG(&a->log, UVM_LOG_INFO, "agent starts", GCS_NUMBER("pid", getpid()),
            GCS_TEXT("where", a->inside ? "utility VM" : "outside: the machine is left alone"));
    set_up_machine(a);
    if (a->flags.use_inouterr) {
        return attach_inouterr(a);
    }
    dial(a);
    return 0;
}

int gcs_agent_run(struct gcs_agent *a, const struct gcs_flags *flags) {
    uv_loop_t loop;
    struct uvm__fail f;
    int rc;

    a->flags = *flags;
    a->loop = &loop;
    if (uv_loop_init(&loop) != 0) {
        return 1;
    }
    if (gcs_log_open(&a->log, &loop, flags, &f) < 0) {
        dprintf(STDERR_FILENO, "gcs: %s\n", f.msg);
        return 1;
    }
    rc = start(a);
    if (rc < 0) {
        dprintf(STDERR_FILENO, "gcs: cannot start: %s\n", uvm_error_code_text(rc));
        return 1;
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    UVM_ASSERT(a->engine == NULL);
    rc = uv_loop_close(&loop);
    UVM_ASSERT_CMP(rc, ==, 0);
    return a->status;
}
