/* SPDX-License-Identifier: MIT
 * client_int.h — the client's connection (client.c), as its calls (client_calls.c) and processes see it.
 *
 * A request is a struct uvm__rpc in the state of an op, with its frame encoded beforehand, so that sending
 * allocates nothing. Life: idle → queued → leaving (its id is taken) → sent (in the table) → idle.
 */
#pragma once
#include "async/call.h"
#include "async/engine.h"
#include "async/limits.h"
#include "bridge/client.h"

enum uvm__rpc_state { UVM__RPC_IDLE, UVM__RPC_QUEUED, UVM__RPC_LEAVING, UVM__RPC_SENT };

/* Borrowed by on_reply; the strings of `answer` are the tree's. */
struct uvm__rpc_reply {
    struct uvm__msg_result result;
    union uvm__msg_answer answer;
    cJSON *tree; /* on_reply may take it: it leaves NULL */
};

struct uvm__rpc {
    struct uvm__call call;
    struct uvm__list link; /* of the bridge's queue */
    struct uvm__deadline deadline;
    struct uvm__bridge *bridge;
    uvm_op *op; /* referenced while queued or leaving; the table does while sent */
    struct uvm__buf frame;
    size_t written;
    enum uvm__message msg;
    enum uvm__rpc_state state;
    /* Exempt from the limits: part of an undo, of what a commit promised, or a heartbeat. */
    bool exempt;
    bool patient; /* no deadline */
    /* The whole frame has left: from here on there may be an effect. May be NULL. */
    void (*on_sent)(struct uvm__rpc *rpc);
    /* Once per send that was accepted and not withdrawn: `reply`, or NULL with `err` (connection lost).
     * The rpc is idle again. */
    void (*on_reply)(struct uvm__rpc *rpc, struct uvm__rpc_reply *reply, const uvm_error *err);
};

struct uvm__bridge {
    uint32_t refs; /* owner, op states, the function at work */
    uvm_engine *engine;
    struct uvm__hvsock *hvsock;
    struct uvm__stream *stream; /* NULL: lost or closed */
    bool closed;
    bool negotiating, negotiated;
    struct uvm__msg_capabilities capabilities;
    uvm_error *lost_err; /* why, with code CLOSED; NULL: it lives */
    void (*on_lost)(struct uvm__bridge *b, const uvm_error *err, void *arg);
    void *arg;
    struct uvm__frame_reader reader;
    struct uvm__ready ready, lost_ready;
    struct uvm__deadline memory; /* tries again what memory lacked for */
    uint64_t memory_since_ms;    /* 0: it does not lack */
    struct uvm__list queue;      /* uvm__rpc.link; the first one may be leaving */
    uint32_t queue_count;
    size_t queue_bytes;
    struct uvm__calls calls;
    uint64_t next_id;
    uint32_t next_port;
    struct uvm__list watches; /* uvm__exit_watch.link */
    char name[];
};

struct uvm__bridge *uvm__bridge_ref(struct uvm__bridge *b);
void uvm__bridge_unref(struct uvm__bridge *b);
/* What a call gets on a bridge that is lost: the caller's reference. */
uvm_error *uvm__bridge_lost_error(struct uvm__bridge *b);
/* A stdio port that was never used on this connection. */
int uvm__bridge_take_port(struct uvm__bridge *b, uint32_t *ret_port);

/* `msg` and a reference-free link to the bridge, which must outlive the rpc. */
void uvm__rpc_init(struct uvm__rpc *rpc, struct uvm__bridge *b, enum uvm__message msg);
void uvm__rpc_deinit(struct uvm__rpc *rpc);
/* Encodes; -UVM_E_LIMIT when it is too large, -UVM_E_NOMEM. */
int uvm__rpc_encode(struct uvm__rpc *rpc, const union uvm__msg_request *req);
/* Queues the encoded frame, for `op`. NULL: accepted. Else an error: CLOSED or LIMIT. */
uvm_error *uvm__rpc_send(struct uvm__rpc *rpc, uvm_op *op);
/* True: it had not begun to leave and never will; on_reply does not run. */
bool uvm__rpc_withdraw(struct uvm__rpc *rpc);
/* Nobody waits any more: no deadline. on_reply still runs. */
void uvm__rpc_abandon(struct uvm__rpc *rpc);
/* The error of a reply with a result other than 0: code PEER. */
uvm_error *uvm__rpc_refused(struct uvm__rpc *rpc, const struct uvm__rpc_reply *reply);
