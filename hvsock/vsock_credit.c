/* SPDX-License-Identifier: MIT
 * vsock_credit.c — credit both ways, signed where a peer may have shrunk its window below what is in flight.
 *
 * Done unsigned, a shrunken window wraps to four billion bytes of credit; so room is 64-bit and signed.
 * A connection with nothing in flight may always send, whatever a packet is charged: the peer's window may be
 * smaller than the charge, and nothing would ever come to lift it.
 */
#include "hvsock/vsock_credit.h"
#include "async/check.h"

void uvm__vsock_credit_init(struct uvm__vsock_credit *c, uint32_t window, uint32_t start) {
    *c = (struct uvm__vsock_credit){.tx_cnt = start,
                                    .peer_fwd = start,
                                    .window = window,
                                    .rx_cnt = start,
                                    .fwd_cnt = start,
                                    .fwd_told = start};
}

uint32_t uvm__vsock_credit_in_flight(const struct uvm__vsock_credit *c) {
    return c->tx_cnt - c->peer_fwd;
}

/* Forgets the packets that the peer has forwarded. */
static void retire(struct uvm__vsock_credit *c) {
    while (c->used > 0) {
        unsigned at = c->first % UVM__VSOCK_CREDIT_BUCKETS;
        uint32_t left = c->tx_cnt - c->buckets[at].end; /* sent after it */
        if (uvm__vsock_credit_in_flight(c) > left) {
            return;
        }
        UVM_ASSERT(c->packets >= c->buckets[at].packets);
        c->packets -= c->buckets[at].packets;
        c->first++;
        c->used--;
    }
    UVM_ASSERT(c->packets == 0);
}

bool uvm__vsock_credit_take(struct uvm__vsock_credit *c, uint32_t peer_alloc, uint32_t peer_fwd) {
    if (c->tx_cnt - peer_fwd > uvm__vsock_credit_in_flight(c)) {
        return false; /* ahead of what was sent, or behind its last word */
    }
    c->peer_alloc = peer_alloc;
    if (peer_fwd != c->peer_fwd) {
        c->peer_fwd = peer_fwd;
        retire(c);
    }
    return true;
}

uint32_t uvm__vsock_credit_may_send(const struct uvm__vsock_credit *c) {
    int64_t room = (int64_t)c->peer_alloc - uvm__vsock_credit_in_flight(c);
    if (c->packets > 0) {
        room -= (int64_t)(c->packets + 1) * UVM__VSOCK_PACKET_OVERHEAD;
    }
    return room > 0 ? (uint32_t)room : 0;
}

void uvm__vsock_credit_sent(struct uvm__vsock_credit *c, uint32_t bytes) {
    UVM_ASSERT(bytes > 0 && bytes <= uvm__vsock_credit_may_send(c));
    uint32_t packets_max =
        c->peer_alloc / UVM__VSOCK_PACKET_OVERHEAD / UVM__VSOCK_CREDIT_BUCKETS + 1;
    unsigned last = (c->first + c->used - 1) % UVM__VSOCK_CREDIT_BUCKETS;
    if (c->used == 0 ||
        (c->used < UVM__VSOCK_CREDIT_BUCKETS && c->buckets[last].packets >= packets_max)) {
        last = (c->first + c->used) % UVM__VSOCK_CREDIT_BUCKETS;
        c->buckets[last].packets = 0;
        c->used++;
    }
    c->tx_cnt += bytes;
    c->buckets[last].end = c->tx_cnt;
    c->buckets[last].packets++;
    c->packets++;
}

bool uvm__vsock_credit_arrived(struct uvm__vsock_credit *c, uint32_t bytes) {
    uint32_t unread = c->rx_cnt - c->fwd_cnt;
    UVM_ASSERT_CMP(unread, <=, c->window);
    if (bytes > c->window - unread) {
        return false;
    }
    c->rx_cnt += bytes;
    return true;
}

void uvm__vsock_credit_consumed(struct uvm__vsock_credit *c, uint32_t bytes) {
    UVM_ASSERT_CMP(bytes, <=, c->rx_cnt - c->fwd_cnt);
    c->fwd_cnt += bytes;
}

bool uvm__vsock_credit_update_due(const struct uvm__vsock_credit *c) {
    uint32_t news = (c->fwd_cnt - c->fwd_told) + (c->window - c->window_told);
    if (news == 0) {
        return false;
    }
    uint32_t seen = c->window_told - (c->rx_cnt - c->fwd_told); /* free, as the peer knows */
    uint32_t low =
        c->window / 2 < UVM__VSOCK_CREDIT_LOW_BYTES ? c->window / 2 : UVM__VSOCK_CREDIT_LOW_BYTES;
    return news >= c->window / 4 || seen < low;
}

void uvm__vsock_credit_told(struct uvm__vsock_credit *c) {
    c->window_told = c->window;
    c->fwd_told = c->fwd_cnt;
}
