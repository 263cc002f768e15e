/* SPDX-License-Identifier: MIT
 * exec.h — the state of one ExecuteProcess, shared by exec.c (the op) and launch_child.c (its last step).
 */
#pragma once
#include "async/saga.h"
#include "cmd/gcs/fault.h"
#include "cmd/gcs/process.h"

struct gcs_exec {
    struct gcs_agent *agent;
    struct uvm__server_request *request;
    struct uvm__msg_process params; /* owned */
    uint32_t control;               /* of the connection that asked */
    uint32_t ports[3];
    int fds[3];                  /* -1: not asked for, not dialled yet, or handed on */
    unsigned dialling;           /* which of them */
    char **words;                /* CommandLine, split; NULL: CommandArgs */
    const char *const *argv;     /* one of the two */
    struct gcs_process *process; /* while it starts */
    uint32_t pid;
    struct uvm__msg_start start; /* how it failed */
    struct gcs_fault place;
};

/* Ends the step under way; `err` is an errno. */
__attribute__((format(printf, 5, 6))) void gcs_exec_fail(uvm_op *op, enum uvm__start_step step,
                                                         int64_t err, struct gcs_fault place,
                                                         const char *fmt, ...);

/* The step "start": ends in the process running, or in gcs_exec_fail(). */
void gcs_exec_start(uvm_op *op, void *state);
