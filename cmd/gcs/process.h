/* SPDX-License-Identifier: MIT
 * process.h — the processes of the UVM that the host started, and who waits for them.
 *
 * Life: starting → running → ended → gone. A process is in the agent's table from the moment it runs; it
 * leaves with the first answered wait (PROTOCOL-bridge.md), or, when nobody ever asks, as the oldest of
 * GCS_PROCESSES_MAX ended ones, or when its pid is used again. Exit is known when the child was reaped and,
 * with a terminal, its output went out.
 * A pid is signalled only as long as its child was not reaped.
 */
#pragma once
#include "async/child.h"
#include "cmd/gcs/agent.h"
#include "cmd/gcs/tty.h"

enum gcs_process_state { GCS_STARTING, GCS_RUNNING, GCS_ENDED, GCS_GONE };

struct gcs_process {
    struct uvm__list link; /* in the agent's table: RUNNING and ENDED */
    struct gcs_agent *agent;
    enum gcs_process_state state;
    uint32_t pid;
    uvm_op *op;               /* the exec that starts it, while STARTING */
    struct uvm__child *child; /* NULL once closed */
    bool closing;             /* the child's close is under way */
    struct gcs_tty *tty;      /* NULL: none, or over */
    bool terminal;            /* it has or had one */
    bool reaped;
    int status; /* of waitpid; -1: unknown */
    uint64_t started_ms;
    struct uvm__list waiters; /* gcs_waiter.link */
    char name[32];            /* argv[0], cut; for log and dump */
};

/* A new process in STARTING; NULL: no memory. */
struct gcs_process *gcs_process_new(struct gcs_agent *a, const char *name);
/* It runs: into the table under its child's pid. */
void gcs_process_running(struct gcs_process *p);
/* Child and terminal report here. */
void gcs_process_reaped(struct gcs_process *p, int status);
void gcs_process_tty_over(struct gcs_process *p);
/* Closes its child (killing what runs) and terminal and frees it; waits are answered "no such process". */
void gcs_process_drop(struct gcs_process *p);
/* All of them. */
void gcs_processes_drop(struct gcs_agent *a);

/* By pid; NULL: none, or its wait was answered. */
struct gcs_process *gcs_process_find(struct gcs_agent *a, uint32_t pid);

/* Takes the request: answered now, at the process's end, or when the time is over. */
void gcs_process_wait(struct gcs_process *p, struct uvm__server_request *take_r,
                      uint32_t timeout_ms);

/* To the process alone, or with `group` to its whole process group, and for HUP, TERM and KILL to
 * everything else in its session. -UVM_E_NOTFOUND: it has ended; -UVM_E_INVAL; -UVM_E_IO. */
int gcs_process_signal(struct gcs_process *p, int signo, bool group);

/* One line a process and terminal. Returns the bytes written. */
size_t gcs_processes_dump(struct gcs_agent *a, char *buf, size_t bytes);
