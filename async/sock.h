/* SPDX-License-Identifier: MIT
 * sock.h — a connected unix stream socket (or pipe end) on the loop, with descriptor passing.
 *
 * Reading is pull: on_readable runs while data is there and reading is on; the owner calls recv until
 * it says AGAIN. ECONNRESET and EPIPE read as end of file. Writing never raises SIGPIPE on sockets; what
 * the kernel does not take is queued up to UVM__SOCK_OUT_BYTES_MAX (then -UVM_E_LIMIT).
 * Ownership: the descriptor is taken by open, also on failure. Callbacks run from the loop, never inside
 * a call of this header.
 */
#pragma once
#include "async/async.h"
#include <sys/types.h>

struct uvm__sock;
struct uvm__sock_events {
    void (*on_readable)(struct uvm__sock *s, void *arg); /* also at end of file and on errors */
    void (*on_drained)(struct uvm__sock *s, void *arg);  /* the queue became empty; may be NULL */
};

int uvm__sock_open(uvm_engine *e, int take_fd, const struct uvm__sock_events *ev, void *arg,
                   struct uvm__sock **ret);
void uvm__sock_reading(struct uvm__sock *s, bool on); /* starts off */
/* > 0 bytes, 0 end of file, -UVM_E_AGAIN, -UVM_E_IO, -UVM_E_PROTOCOL (descriptors truncated).
 * Received descriptors (CLOEXEC) go to `ret_fds` (up to *fds, in/out) and belong to the caller; without
 * `ret_fds` they are closed. */
ssize_t uvm__sock_recv(struct uvm__sock *s, void *buf, size_t bytes, int *ret_fds, size_t *fds);
/* All or nothing from the caller's view; `fds` are not consumed (duplicated by the kernel at once or,
 * when queued, by dup). */
int uvm__sock_send(struct uvm__sock *s, const void *data, size_t bytes, const int *fds,
                   size_t fds_count);
size_t uvm__sock_queued(const struct uvm__sock *s);
void uvm__sock_shutdown(struct uvm__sock *s); /* half-close once the queue is empty */
int uvm__sock_fd(const struct uvm__sock *s);
/* Closes now; on_closed (may be NULL) later. No other callback runs after this call. */
void uvm__sock_close(struct uvm__sock *s, void (*on_closed)(void *arg), void *arg);
/* CLOEXEC, non-blocking on [0]; [1] blocking as a child expects. 0 or -UVM_E_IO. */
int uvm__sock_pair(int ret_fds[2]);
