/* SPDX-License-Identifier: MIT
 * vsock_credit.h — how much may be sent each way on one vsock connection (virtio 1.2 §5.10.6.3).
 *
 * Pure arithmetic on counters that run free modulo 2^32. The peer's numbers are checked: what it says to have
 * forwarded lies between its last word and what was sent, or the connection is in error.
 * Beside bytes, packets are counted: newer Linux guests charge each queued packet some 576 bytes of the same
 * window and reset a connection that exceeds it although credit is left. Packets whose bytes were not yet
 * forwarded are counted in a few buckets, so a count is at most one bucket too high.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define UVM__VSOCK_CREDIT_BUCKETS 8u
#define UVM__VSOCK_PACKET_OVERHEAD 640u    /* bytes charged for a packet in flight */
#define UVM__VSOCK_CREDIT_LOW_BYTES 65536u /* a peer that sees less room may be waiting */

struct uvm__vsock_credit {
    /* what we send */
    uint32_t tx_cnt, peer_alloc, peer_fwd;
    uint32_t packets; /* in all buckets */
    uint32_t first, used;
    struct {
        uint32_t end; /* tx_cnt after its last packet */
        uint32_t packets;
    } buckets[UVM__VSOCK_CREDIT_BUCKETS];
    /* what the peer sends */
    uint32_t window, rx_cnt, fwd_cnt;
    uint32_t window_told, fwd_told;
};

/* `start`: where the byte counters begin; 0 but in tests of their wrapping. */
void uvm__vsock_credit_init(struct uvm__vsock_credit *c, uint32_t window, uint32_t start);

/* Takes over what a packet says; false: it cannot be. */
bool uvm__vsock_credit_take(struct uvm__vsock_credit *c, uint32_t peer_alloc, uint32_t peer_fwd);
uint32_t uvm__vsock_credit_in_flight(const struct uvm__vsock_credit *c);
uint32_t uvm__vsock_credit_may_send(
    const struct uvm__vsock_credit *c); /* bytes of the next packet */
void uvm__vsock_credit_sent(struct uvm__vsock_credit *c, uint32_t bytes); /* one packet */

/* False: beyond the window. */
bool uvm__vsock_credit_arrived(struct uvm__vsock_credit *c, uint32_t bytes);
void uvm__vsock_credit_consumed(struct uvm__vsock_credit *c, uint32_t bytes);
/* The peer should hear of the room there is: a quarter of the window is new, or it may be waiting. */
bool uvm__vsock_credit_update_due(const struct uvm__vsock_credit *c);
void uvm__vsock_credit_told(struct uvm__vsock_credit *c); /* a packet with our numbers left */
