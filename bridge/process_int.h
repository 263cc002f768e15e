/* SPDX-License-Identifier: MIT
 * process_int.h — a process in the guest, as its start (process_exec.c) and its life (process.c) share it.
 */
#pragma once
#include "bridge/client_int.h"
#include "bridge/stdio_int.h"

struct uvm__process {
    struct uvm__bridge *bridge;
    uvm_op *op;
    struct uvm__process_events events;
    void *arg;
    char *container_id; /* NULL: of the UVM */
    bool too_large;     /* the request did not fit its frame */
    bool needs_control;
    struct uvm__rpc execute, wait, kill;
    uint64_t sent_ms;
    uint32_t ports[UVM__STDIO_MAX];
    struct uvm__listener *listeners[UVM__STDIO_MAX];
    struct uvm__relay relays[UVM__STDIO_MAX];
    struct uvm__deadline accept;
    bool answered;   /* the request was; without a pid it started nothing */
    bool connecting; /* the last step waits for streams */
    bool undoing;    /* an undo waits for the wait's answer */
    uint32_t pid;    /* 0: none */
    struct uvm__msg_start failure;
    bool exited; /* the wait was answered: exit, or exit_err */
    bool gone;   /* and by that the process is no more */
    struct uvm__process_exit exit;
    uvm_error *exit_err;
    bool taken, closed, told;
    struct uvm__ready ready; /* on_exit */
};

extern const struct uvm__saga uvm__process_saga;

void uvm__process_close_listeners(struct uvm__process *p);
void uvm__process_stop_relays(struct uvm__process *p);
/* The step that waits for the streams ends. */
void uvm__process_connect_over(struct uvm__process *p, uvm_error *take_err);
/* A relay for each stream wanted. */
int uvm__process_init_relays(struct uvm__process *p, const struct uvm__process_params *params);
void uvm__process_on_wait_reply(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply,
                                const uvm_error *err);
/* After a release of everything the process is as it was before init. */
void uvm__process_release(struct uvm__process *p);
