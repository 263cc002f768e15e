/* SPDX-License-Identifier: MIT
 * vsock_conn.h — one connection of the vsock device: its state, what it owes the guest, its stream.
 *
 *   dial: CONNECTING --RESPONSE--> OPEN          guest's REQUEST, listener ok: OPEN
 *   OPEN --stream closed, all sent--> CLOSING    (SHUTDOWN 3 sent, waits for the guest's RST)
 *   any --rule broken, reset, clean end--> RESETTING (an RST is owed)    any --RST, timer--> GONE
 *
 * CONNECTING to RESETTING are in the engine's table; GONE has left it and lives until its stream is let go.
 */
#pragma once
#include "hvsock/virtio_vsock.h"
#include "hvsock/vsock_credit.h"

#define UVM__VSOCK_OUT_BYTES                                                                       \
    65536u /* accepted from the host, not yet the guest's, per connection */

enum uvm__vsock_state {
    UVM__VSOCK_CONNECTING,
    UVM__VSOCK_OPEN,
    UVM__VSOCK_CLOSING,
    UVM__VSOCK_RESETTING,
    UVM__VSOCK_GONE
};

/* Packets owed to the guest. */
enum {
    UVM__VSOCK_OWES_REQUEST = 1,
    UVM__VSOCK_OWES_RESPONSE = 2,
    UVM__VSOCK_OWES_RST = 4,
    UVM__VSOCK_OWES_SHUTDOWN = 8,
    UVM__VSOCK_OWES_UPDATE = 16,
    UVM__VSOCK_OWES_CREDIT_REQUEST = 32
};

struct uvm__vsock_conn {
    struct uvm__stream stream;
    struct uvm__virtio_vsock *v; /* NULL: the engine has gone */
    struct uvm__vsock_conn *hash_next;
    struct uvm__list link;      /* v->conns */
    struct uvm__list send_link; /* v->control or v->data */
    struct uvm__deadline timer;
    uint64_t timer_left; /* while timers stand still; 0: not set */
    struct uvm__dialing *dialing;
    uint32_t guest_port, host_port;
    struct uvm__vsock_credit credit;
    struct uvm__fifo in, out; /* from and to the guest */
    uint8_t state, owes;
    uint8_t peer_shut;  /* flags of the guest's SHUTDOWNs */
    uint8_t shut_sent;  /* flags of ours */
    uint8_t starvation; /* credit was asked for that often in vain; 0: not starved */
    bool handle;        /* somebody has the stream */
    bool shut;          /* we send no more after what was accepted */
};

/* Makes a connection in `state` under a key that is free. NULL: no memory. */
struct uvm__vsock_conn *uvm__vsock_conn_new(struct uvm__virtio_vsock *v, uint32_t guest_port,
                                            uint32_t host_port, enum uvm__vsock_state state);
/* A valid header for this connection came, its payload behind `payload`. */
void uvm__vsock_conn_packet(struct uvm__vsock_conn *c, const struct uvm__vsock_header *h,
                            struct uvm__vq_cursor *payload);
/* Owes an RST from now on; what arrived can still be read. */
void uvm__vsock_conn_abort(struct uvm__vsock_conn *c, int dial_code);
/* Leaves the table at once; nothing is sent. May free it. */
void uvm__vsock_conn_gone(struct uvm__vsock_conn *c, int dial_code);
/* After any change: what does it owe, what can it send, who waits for it. May free it. */
void uvm__vsock_conn_update(struct uvm__vsock_conn *c);

/* Builds the next packet: the header, and the payload into `to` (room for `room` bytes). Returns the
 * payload's length. May free it. */
uint32_t uvm__vsock_conn_build(struct uvm__vsock_conn *c, struct uvm__vsock_header *ret,
                               struct uvm__vq_cursor *to, size_t room);

/* Timers stand still, and go on. */
void uvm__vsock_conn_freeze(struct uvm__vsock_conn *c, bool frozen);
/* The engine goes: the stream lives on by itself. The connection is GONE. */
void uvm__vsock_conn_orphan(struct uvm__vsock_conn *c);
