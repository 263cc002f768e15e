/* SPDX-License-Identifier: MIT
 * vhost_user.h — the back end of a vhost-user connection: messages, memory table, rings, descriptors.
 *
 * Answers the front end from the loop; knows nothing of what the rings carry. Every size, index, address
 * and descriptor is checked. A message that breaks the protocol ends the connection with an error; a ring
 * that cannot be used (addresses outside the memory) is reported on its error descriptor and stays off.
 * Facts: the Vhost-user Protocol (docs/interop/vhost-user.rst of the VMM's sources, 7.2).
 * Threading: loop thread; callbacks run from the loop, none after close.
 */
#pragma once
#include "hvsock/virtqueue.h"

#define UVM__VHOST_RINGS 2u
#define UVM__VHOST_CONFIG_BYTES 8u

struct uvm__vhost_user;

struct uvm__vhost_user_params {
    int take_fd; /* taken, also on failure */
    uint64_t memory_bytes_max;
    uint8_t config[UVM__VHOST_CONFIG_BYTES]; /* the device's configuration space */
    void (*configured)(void *arg);           /* the configuration was asked for and sent */
    /* The ring may be used from now on, until off. `fresh`: not the continuation of what it was before. */
    void (*ring_on)(unsigned ring, struct uvm__vq *q, bool fresh, void *arg);
    void (*ring_off)(unsigned ring, void *arg);
    void (*kick)(unsigned ring, void *arg);
    /* Once; rings are off. NULL: the front end has gone. */
    void (*end)(uvm_error *take_err, void *arg);
    void *arg;
};

int uvm__vhost_user_open(uvm_engine *e, const struct uvm__vhost_user_params *params,
                         struct uvm__vhost_user **ret);
/* Rings are off (ring_off was called) and all memory unmapped when it returns; on_closed comes later. */
void uvm__vhost_user_close(struct uvm__vhost_user *u, void (*on_closed)(void *arg), void *arg);
/* Interrupts the guest. */
void uvm__vhost_user_interrupt(struct uvm__vhost_user *u, unsigned ring);
/* The ring's user found it broken: it is off for good, and the front end is told. No ring_off is called. */
void uvm__vhost_user_ring_broken(struct uvm__vhost_user *u, unsigned ring);
