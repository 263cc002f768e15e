/* SPDX-License-Identifier: MIT
 * virtio_fs_relay.h — a virtio-fs device's vhost-user connection, passed on to a file server; when that has gone,
 * the requests of the guest are answered here, each with ENOTCONN.
 *
 * Only messages pass through: the rings are between guest and server. A server that dies leaves requests in the rings,
 * whose processes nothing in the guest can wake, and a device that no driver can leave. So the relay remembers what
 * the front end said, and with the end of the server says it again to a back end of our own, which goes on where the
 * used ring stands. For that a server must answer a ring's requests in their order.
 * Threading: loop thread; on_lost runs from the loop, not after close.
 */
#pragma once
#include "async/async.h"

struct uvm__fs_relay;

struct uvm__fs_relay_params {
    int take_front_fd, take_back_fd; /* connected sockets; taken, also on failure */
    void (*on_lost)(void *arg);      /* the server has gone while the front end was there; once */
    void *arg;
};

/* -UVM_E_NOMEM, -UVM_E_IO. */
int uvm__fs_relay_open(uvm_engine *e, const struct uvm__fs_relay_params *params,
                       struct uvm__fs_relay **ret);
/* Hangs up on both sides; on_closed comes later. */
void uvm__fs_relay_close(struct uvm__fs_relay *r, void (*on_closed)(void *arg), void *arg);
