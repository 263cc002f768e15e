/* SPDX-License-Identifier: MIT
 * client.h — the host's end of the bridge: requests out, replies and notifications in.
 *
 * A bridge lives on one stream. Ids run 0, 1, 2 … in wire order and are taken when a frame
 * begins to leave; a request that has not begun to leave can still be withdrawn. Each typed call
 * is an op of one step. What each does on cancel is a column of UVM__MESSAGE_MAP: calls without
 * effect end at once and their id stays taken as an orphan until the late reply; calls with
 * effect wait for it.
 *
 * The connection is lost on: end of file, read or write error, a frame out of bounds, an
 * unknown or used id, a body that does not decode, a notification that nobody registered for, a
 * call without an answer for UVM__RPC_MS (WaitForProcess and heartbeats excepted). Then every call fails with
 * UVM_E_CLOSED (its cause says why) and on_lost runs once, later. Calls started after that fail
 * in the same way. When memory for a reply is lacking the frame waits in the reader and is tried
 * again; after UVM__BRIDGE_MEMORY_MS the bridge is lost.
 *
 * Ownership: arguments are copied. A bridge is counted: ops and processes keep what they need of
 * it.
 * Threading: loop thread only.
 * Limits: UVM__RPC_PENDING_MAX calls, UVM__REQUEST_BYTES_MAX and UVM__FRAME_BYTES_MAX a frame,
 * UVM__BRIDGE_OUT_BYTES_MAX waiting to leave; each is a worded UVM_E_LIMIT through on_done.
 * Errors of calls: PEER (the guest's answer; sys is its HRESULT, detail its words), CLOSED,
 * LIMIT, UNSUPPORTED (needs process control), CANCELED, TIMEDOUT, UNDO.
 * Source: docs/PROTOCOL-bridge.md, Frames to Messages. */
#pragma once
#include "async/saga.h"
#include "bridge/message.h"
#include "hvsock/hvsock.h"

struct uvm__bridge;

struct uvm__bridge_params {
    const char *name;                /* of the VM, for messages and the log; copied */
    struct uvm__hvsock *hvsock;      /* for stdio ports; outlives the bridge; NULL: no streams */
    struct uvm__stream *take_stream; /* taken on success only */
    /* Once, later, when the connection was lost without uvm__bridge_close(). */
    void (*on_lost)(struct uvm__bridge *b, const uvm_error *err, void *arg);
    void *arg;
};

int uvm__bridge_open(uvm_engine *e, const struct uvm__bridge_params *params,
                     struct uvm__bridge **ret);
/* Ends the connection: calls in flight fail with UVM_E_CLOSED (their on_done later). Accepts
 * NULL. The owner's pointer is gone; on_lost does not run any more. */
void uvm__bridge_close(struct uvm__bridge *b);

/* The connection is lost for this reason, and on_lost follows; idempotent (the first reason stays). */
void uvm__bridge_kill(struct uvm__bridge *b, uvm_error *take_cause);

bool uvm__bridge_lost(const struct uvm__bridge *b);
bool uvm__bridge_negotiated(const struct uvm__bridge *b);
uint32_t uvm__bridge_process_control(const struct uvm__bridge *b); /* granted level; 0: none */
/* What the guest said; zero before negotiation. */
const struct uvm__msg_capabilities *uvm__bridge_capabilities(const struct uvm__bridge *b);
/* Calls without a reply, orphans included. */
uint32_t uvm__bridge_pending(const struct uvm__bridge *b);

/* ---- calls ------------------------------------------------------------------------------------
 * Start fails with -UVM_E_NOMEM, -UVM_E_INVAL, and with -UVM_E_STATE before negotiation (for the
 * negotiation itself: after it). `container_id` NULL: the UVM. */

/* Asks for version 4 and process control. An answer that is neither 4 nor Linux loses the
 * bridge. */
int uvm__bridge_negotiate(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                          uvm_op **ret_op);

/* Ends when the process does, or after timeout_ms (UVM__WAIT_INFINITE: never): PEER with sys
 * UVM__HR_TIMEOUT. PEER with UVM__HR_NOT_FOUND: no such process, or its status was collected. */
int uvm__bridge_wait(struct uvm__bridge *b, const char *container_id, uint32_t pid,
                     uint32_t timeout_ms, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op);
struct uvm__msg_exit uvm__bridge_wait_result(uvm_op *op);

/* signo 0: SIGKILL. `group`: its whole process group. For a process of the UVM this needs
 * process control. A process that has ended is no error: then `delivered` is false. */
int uvm__bridge_signal(struct uvm__bridge *b, const char *container_id, uint32_t pid, int signo,
                       bool group, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                       uvm_op **ret_op);
bool uvm__bridge_signal_delivered(uvm_op *op);

int uvm__bridge_resize(struct uvm__bridge *b, const char *container_id, uint32_t pid,
                       uint16_t height, uint16_t width, uvm_scope *scope, uvm_done_fn on_done,
                       void *arg, uvm_op **ret_op);

/* `query`: JSON text, "" allowed. The result is JSON text, as long as the op lives. */
int uvm__bridge_get_properties(struct uvm__bridge *b, const char *container_id, const char *query,
                               uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
const char *uvm__bridge_properties_result(uvm_op *op);

int uvm__bridge_dump_stacks(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                            uvm_op **ret_op);
const char *uvm__bridge_stacks_result(uvm_op *op);

/* `request`: the Request object as JSON text, passed on verbatim; -UVM_E_INVAL when it is not
 * one. */
int uvm__bridge_modify(struct uvm__bridge *b, const char *container_id, const char *request,
                       uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* True: the call's request had not begun to leave and never will; the call ends with CANCELED, soon.
 * False: nothing has changed. For who must have the answer once there can be one. */
bool uvm__bridge_withdraw(uvm_op *op);

/* Of a container: a signal to its init. Of the UVM (NULL): the guest powers off, and the end of the
 * connection after the request has left counts as success. */
int uvm__bridge_shutdown(struct uvm__bridge *b, const char *container_id, bool forced,
                         uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* GetProperties of the UVM with an empty query: any answer is success (the reference refuses
 * it). Exempt from the limits and from UVM__RPC_MS: how long to wait is the caller's to judge. */
int uvm__bridge_heartbeat(struct uvm__bridge *b, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                          uvm_op **ret_op);

/* ---- exit notifications -----------------------------------------------------------------------
 * The caller's node, linked from register (before Create is sent) until the container's one
 * notification, the end of the bridge, or unregister. -UVM_E_EXISTS: the id is registered. */
struct uvm__exit_watch {
    struct uvm__list link;
    struct uvm__ready ready;
    struct uvm__bridge *bridge;
    const char *container_id; /* set by the caller, stays the caller's */
    /* Once, later. `type` as in the notification; "" with `err` when the bridge was lost first. */
    void (*on_exit)(struct uvm__exit_watch *w, const char *type, const uvm_error *err);
    char type[24];
};
int uvm__bridge_watch_exit(struct uvm__bridge *b, struct uvm__exit_watch *w);
/* Idempotent on a node that was registered once. */
void uvm__bridge_unwatch_exit(struct uvm__exit_watch *w);
