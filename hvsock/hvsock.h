/* SPDX-License-Identifier: MIT
 * hvsock.h — the host's end of one VM's hvsock: listen, accept, connect, by port.
 *
 * An endpoint belongs to one VM; its ports are a private space. Transports embed struct uvm__hvsock and
 * fill ops; listening and accepting are shared code (listen.c). A guest that dials a port nobody listens
 * on, or one at its limit, is refused at once (RST).
 */
#pragma once
#include "async/list.h"
#include "async/saga.h"
#include "hvsock/ports.h"
#include "hvsock/stream.h"

struct uvm__hvsock;
struct uvm__listener;

struct uvm__listen_params {
    uint32_t port;
    bool once; /* closes itself at the first accept */
    uint32_t
        live_max; /* accepted streams alive at a time; further dials are refused; 0: no limit of its own */
    /* Later, on the ready queue; the stream is the callee's. */
    void (*on_accept)(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg);
    void *arg;
};

/* -UVM_E_EXISTS when the port is taken, -UVM_E_NOMEM. */
int uvm__hvsock_listen(struct uvm__hvsock *h, const struct uvm__listen_params *params,
                       struct uvm__listener **ret);
/* Accepted streams live on; those not yet handed over are reset. Called by the owner also with `once` and
 * after the endpoint has gone; legal inside on_accept. Accepts NULL. */
void uvm__listener_close(struct uvm__listener *l);
uint32_t uvm__listener_port(const struct uvm__listener *l);

/* Dials a guest port. Errors: REFUSED, TIMEDOUT (UVM__VSOCK_CONNECT_MS or the scope's), CLOSED, LIMIT.
 * Cancel: at once; a late answer is reset. A start beyond UVM__CONNECTS_MAX in flight: -UVM_E_LIMIT. */
int uvm__hvsock_connect(struct uvm__hvsock *h, uint32_t port, uvm_scope *scope, uvm_done_fn on_done,
                        void *arg, uvm_op **ret_op);
/* Takes the stream out of a successful connect op; NULL when taken already. An untaken one is reset
 * when the op is freed. */
struct uvm__stream *uvm__hvsock_connect_result(uvm_op *op);

/* The text form of a port's service GUID (docs/PROTOCOL-bridge.md, Transport), and back. */
void uvm__hvsock_port_to_guid(uint32_t port, char ret_text[37]);
int uvm__hvsock_guid_to_port(const char *text, uint32_t *ret_port); /* -UVM_E_INVAL */

/* In-process pair for tests and simulation: what one side dials, the other side listens on. Dialling goes
 * through uvm__hvsock_connect on either. Works without a loop. `window_bytes` each way and stream; 0: the
 * usual. Freed together: streams are reset and stay their owners', listeners too, dials fail. */
int uvm__loopback_new(uvm_engine *e, size_t window_bytes, struct uvm__hvsock **ret_host,
                      struct uvm__hvsock **ret_guest);
/* Resets all streams of both sides (VM reset, VM gone). */
void uvm__loopback_reset(struct uvm__hvsock *side);
void uvm__loopback_free(struct uvm__hvsock *host, struct uvm__hvsock *guest);

/* The guest's (or test's) side on a real kernel: dials a port and gives a connected, non-blocking, CLOEXEC
 * descriptor. Kind AF_VSOCK to the host (CID 2), or unix sockets in a folder, named by the port in decimal
 * ("DIR/109"). Copied. */
struct uvm__dialer {
    const char *unix_dir; /* NULL: AF_VSOCK */
    uint32_t cid;         /* AF_VSOCK: 2 */
};
/* Result by uvm__dial_result (fd taken by the caller, else closed with the op; -1 when there is none). Tries
 * and pauses as hcsshim's agent (10 × 100 ms, only on ETIMEDOUT). An error's sys is the errno. */
int uvm__dial(uvm_engine *e, const struct uvm__dialer *d, uint32_t port, uvm_scope *scope,
              uvm_done_fn on_done, void *arg, uvm_op **ret_op);
int uvm__dial_result(uvm_op *op);
