/* SPDX-License-Identifier: MIT
 * sock.h — a connected unix stream socket (or the reading end of a pipe) on the loop, with
 * descriptor passing.
 *
 * Reading is pull: on_readable runs while data is there and reading is on; the owner calls recv
 * until it says AGAIN. ECONNRESET and EPIPE read as end of file, after which reading is off.
 * Writing is for sockets only and never raises SIGPIPE; what the kernel does not take is queued, up
 * to UVM__SOCK_OUT_BYTES_MAX (then -UVM_E_LIMIT).
 * A peer that is gone: what is queued is dropped, sends say -UVM_E_CLOSED, and the reading side
 * comes to its end after what had arrived. A queue that cannot be sent for another reason shuts the
 * socket down.
 * Ownership: the descriptor is taken by open, also on failure. Callbacks run from the loop, never
 * inside a call of this header; each of them may close the socket.
 */
#pragma once
#include "async/async.h"
#include <sys/types.h>

struct uvm__sock;
struct uvm__sock_events {
    void (*on_readable)(struct uvm__sock *s, void *arg); /* also at end of file and on errors */
    void (*on_drained)(struct uvm__sock *s,
                       void *arg); /* the queue became empty (sent, or dropped); may be NULL */
};

/* -UVM_E_NOMEM, -UVM_E_IO (not a descriptor that can be polled, or one that is already), or
 * -UVM_E_UNSUPPORTED on an engine without a loop. */
int uvm__sock_open(uvm_engine *e, int take_fd, const struct uvm__sock_events *ev, void *arg,
                   struct uvm__sock **ret);
void uvm__sock_reading(struct uvm__sock *s, bool on); /* starts off */
/* > 0 bytes, 0 end of file, -UVM_E_AGAIN, -UVM_E_IO, -UVM_E_PROTOCOL (descriptors truncated).
 * Received descriptors (CLOEXEC) go to `ret_fds` (up to *fds, in/out) and belong to the caller;
 * without `ret_fds` they are closed. */
ssize_t uvm__sock_recv(struct uvm__sock *s, void *buf, size_t bytes, int *ret_fds, size_t *fds);
/* All or nothing: on failure no byte was sent or queued. `fds` are not consumed (duplicated by the
 * kernel at once or, when queued, by dup); they need at least one byte to travel with
 * (-UVM_E_INVAL). -UVM_E_LIMIT, -UVM_E_CLOSED (the peer is gone), -UVM_E_STATE (after shutdown),
 * -UVM_E_NOMEM, -UVM_E_IO, -UVM_E_UNSUPPORTED (not a socket). */
int uvm__sock_send(struct uvm__sock *s, const void *data, size_t bytes, const int *fds,
                   size_t fds_count);
/* The same for a message that may be longer than the queue: as long as what was queued before is within its limit,
 * up to `bytes_max`. Others have no room until it has left. */
int uvm__sock_send_long(struct uvm__sock *s, const void *data, size_t bytes, size_t bytes_max);
size_t uvm__sock_queued(const struct uvm__sock *s);
void uvm__sock_shutdown(struct uvm__sock *s); /* half-close once the queue is empty */
int uvm__sock_fd(const struct uvm__sock *s);
/* Closes now; on_closed (may be NULL) later. No other callback runs after this call. */
void uvm__sock_close(struct uvm__sock *s, void (*on_closed)(void *arg), void *arg);
/* CLOEXEC, non-blocking on [0]; [1] blocking as a child expects. 0 or -UVM_E_IO. */
int uvm__sock_pair(int ret_fds[2]);
