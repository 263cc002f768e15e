/* SPDX-License-Identifier: MIT
 * server.h — the guest agent's end of the bridge: requests in, answers out, over one connection
 * after another.
 *
 * The server reads frames, answers by itself what no handler sees (negotiation, unknown types,
 * the wrong protocol state, bodies that do not decode), and calls the agent's handler for the
 * rest with the body decoded. A handler keeps the request as long as it likes and ends it by
 * exactly one of the reply calls, in any order; requests are independent of each other.
 *
 * The server outlives connections: attach gives it the next one. Requests in work go on while
 * there is none; answers that did not leave as a whole wait for the next connection, where they
 * follow its negotiation and take the shape that it granted. Notifications go first. The
 * negotiated state is per connection.
 *
 * Back-pressure: while UVM__SERVER_REPLIES_MAX answers wait to leave, or memory for a request is
 * lacking, nothing more is read. A frame out of bounds (size below 16, above
 * UVM__SERVER_FRAME_BYTES_MAX) ends the connection. Replying never fails: where memory lacks, a
 * smaller answer goes out (UVM__HR_OUT_OF_MEMORY), from memory that the request brought along.
 * Answers never exceed UVM__FRAME_BYTES_MAX.
 * Threading: loop thread only.
 * Source: docs/PROTOCOL-bridge.md, Frames to Messages, Reconnection. */
#pragma once
#include "bridge/message.h"

struct uvm__server;
struct uvm__server_request; /* one request in work; belongs to the handler until it replies */

typedef void (*uvm__server_handle_fn)(struct uvm__server *s, struct uvm__server_request *r,
                                      void *arg);

struct uvm__server_params {
    bool v4;                  /* false: no handler at all, not even negotiation (the -v4 flag) */
    uint32_t process_control; /* level that may be granted; 0: none */
    /* By message; NULL: answered UVM__HR_NOT_SUPPORTED. NEGOTIATE_PROTOCOL's is the server's
     * own. */
    uvm__server_handle_fn handlers[UVM__MSG_MAX];
    /* Later, once per attached stream that ended by itself. `err` has code EOF for a clean end
     * of file, PROTOCOL for a broken frame, CLOSED else. The server is without a connection
     * then. */
    void (*on_detached)(struct uvm__server *s, const uvm_error *err, void *arg);
    /* Later, once per connection that negotiated with success. May be NULL. */
    void (*on_negotiated)(struct uvm__server *s, void *arg);
    void *arg;
};

int uvm__server_new(uvm_engine *e, const struct uvm__server_params *params,
                    struct uvm__server **ret);
/* Closes the connection. Requests that are still in work may be replied to afterwards (dropped).
 * Accepts NULL. */
void uvm__server_close(struct uvm__server *s);

/* Takes the stream. There must be no connection (asserted). */
void uvm__server_attach(struct uvm__server *s, struct uvm__stream *take_stream);
/* Ends the connection now; on_detached does not run for it. Idempotent. */
void uvm__server_detach(struct uvm__server *s);
bool uvm__server_attached(const struct uvm__server *s);
uint32_t uvm__server_version(const struct uvm__server *s);         /* 0: not negotiated */
uint32_t uvm__server_process_control(const struct uvm__server *s); /* granted on this connection */
uint32_t uvm__server_in_work(const struct uvm__server *s);

/* ---- a request ------------------------------------------------------------------------------ */

enum uvm__message uvm__server_request_message(const struct uvm__server_request *r);
const union uvm__msg_request *uvm__server_request_body(const struct uvm__server_request *r);
/* The body as it came, for error texts that quote it. */
const void *uvm__server_request_text(const struct uvm__server_request *r, size_t *ret_bytes);
/* Level of process control of the connection that the request came on, at that time. */
uint32_t uvm__server_request_control(const struct uvm__server_request *r);
uint64_t uvm__server_request_age_ms(const struct uvm__server_request *r);
/* The handler's own pointer; NULL at first. */
void uvm__server_request_set_data(struct uvm__server_request *r, void *data);
void *uvm__server_request_data(const struct uvm__server_request *r);

/* ---- its end: exactly one of these; the request is gone ------------------------------------- */

void uvm__server_reply(struct uvm__server_request *take_r); /* success, base fields only */
void uvm__server_reply_pid(struct uvm__server_request *take_r, uint32_t pid);
void uvm__server_reply_exit(struct uvm__server_request *take_r, const struct uvm__msg_exit *exit);
void uvm__server_reply_properties(struct uvm__server_request *take_r, const char *json);
void uvm__server_reply_stacks(struct uvm__server_request *take_r, const char *text);
/* Strings are copied. */
void uvm__server_reply_error(struct uvm__server_request *take_r, const struct uvm__msg_error *err);
/* The text form of a bare code: "HRESULT: 0xc037010e". */
void uvm__server_reply_hresult(struct uvm__server_request *take_r, int32_t result);
/* `failed to unmarshal JSON in message "<body>": HRESULT 0xc037010d: <words>` */
void uvm__server_reply_bad_json(struct uvm__server_request *take_r, const char *words);
/* UVM__HR_NOT_SUPPORTED as for an unknown message. */
void uvm__server_reply_unsupported(struct uvm__server_request *take_r);

/* A container's exit. Queued until a connection is there. -UVM_E_NOMEM: nothing is queued. */
int uvm__server_notify_exit(struct uvm__server *s, const char *container_id,
                            const char *activity_id, const char *type);

/* The in-work requests, oldest first, for DumpStacks: one line each "WaitForProcess #5 1200 ms". */
size_t uvm__server_dump(const struct uvm__server *s, char *buf, size_t bytes);
