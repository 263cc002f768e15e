/* SPDX-License-Identifier: MIT
 * agent.h — the guest agent: one engine, one bridge server, a table of processes.
 *
 * Life: open → dial the host until it answers, again whenever the connection ends → quit. Processes and
 * waits outlive connections. Quitting ends the processes that still run, and with the last of them the loop
 * runs dry; the machine is powered off only under our own /init (machine.h), never elsewhere.
 * Threading: the loop's thread.
 */
#pragma once
#include "async/engine.h"
#include "async/list.h"
#include "bridge/server.h"
#include "cmd/gcs/flags.h"
#include "cmd/gcs/kmsg.h"
#include "cmd/gcs/log.h"
#include "hvsock/hvsock.h"

#define GCS_REDIAL_MS 100u /* between two dials of the bridge, for ever, as the reference's agent */
#define GCS_LINGER_MS 50u  /* a shutdown's answer may leave before the machine does */
#define GCS_PROCESSES_MAX 1024u /* running, or ended and not waited for, each */
#define GCS_STREAM_BYTES 8192u  /* copied at a time between a terminal and its streams */
#define GCS_INTERNAL_PATH "/bin:/usr/bin:/sbin:/usr/sbin" /* where there is no PATH */
#define GCS_LAUNCH_PATH "/proc/self/exe" /* this binary is uvm-launch, too (main.c) */

struct gcs_agent {
    uv_loop_t *loop;
    uvm_engine *engine;
    uvm_scope *scope; /* of everything that is under way */
    struct uvm__server *server;
    struct gcs_flags flags;
    struct gcs_log log;
    struct gcs_kmsg kmsg;
    struct uvm__dialer dialer;
    struct uvm__deadline redial, linger;
    struct uvm__ready quit;
    struct uvm__list processes; /* gcs_process.link, oldest first */
    uint32_t running, ended;    /* of them */
    struct uvm__list workers;   /* of worker.c, oldest first */
    uint32_t workers_running;
    uint32_t holds; /* ops and closes under way, which quitting waits for */
    uint64_t dials; /* since the last connection */
    bool inside;    /* under our own /init */
    bool negotiated_once, quitting, engine_closing;
    int status; /* the program's */
};

/* Runs the agent to its end; returns the exit status. */
int gcs_agent_run(struct gcs_agent *a, const struct gcs_flags *flags);

/* Ends the agent with `status`, later. Idempotent: the first status counts. */
void gcs_agent_quit(struct gcs_agent *a, int status);

/* ShutdownGraceful or -Forced of the UVM: answers, then powers off or, outside our init, quits with 0. */
void gcs_agent_shutdown(struct gcs_agent *a, struct uvm__server_request *take_r);

/* Something that quitting waits for: an op or a close under way. */
void gcs_agent_hold(struct gcs_agent *a);
void gcs_agent_release(struct gcs_agent *a);

/* Handlers by message (exec.c, modify.c, the others in handlers.c); `arg` is the agent. */
void gcs_handle_execute(struct uvm__server *s, struct uvm__server_request *r, void *arg);
void gcs_handle_modify(struct uvm__server *s, struct uvm__server_request *r, void *arg);
void gcs_handlers_fill(struct uvm__server_params *params);
