/* SPDX-License-Identifier: MIT
 * vsock_guest.h — a guest's vsock driver in the test's process: rings in a memfd that the device maps too.
 *
 * Written against the standard, not against the device: it keeps its own credit, obeys event indexes like a
 * real driver, and has knobs to lie. Everything is by guest physical address; `at` gives our own mapping.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GUEST_CID = 3,
    GUEST_QUEUE = 128,
    GUEST_RX_BYTES = 3776,           /* of a buffer, as current drivers post them */
    GUEST_SLOT_BYTES = 4096 + 65536, /* of memory for one element of the tx queue */
    GUEST_RAM_BYTES = 16 << 20
};

enum guest_layout { GUEST_DIRECT, GUEST_INDIRECT, GUEST_SHREDS, GUEST_ONE };

struct guest_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
};

struct guest_ring {
    uint64_t desc, avail, used; /* gpa */
    uint16_t size;
    uint16_t avail_idx; /* elements offered */
    uint16_t used_seen; /* elements got back */
    uint16_t told;      /* avail_idx when the device was last asked whether it wants a kick */
};

struct guest {
    int memfd;
    uint8_t *ram;
    size_t ram_bytes;
    bool event_idx, indirect;
    enum guest_layout layout;
    uint32_t rx_bytes; /* of each buffer posted from now on */
    struct guest_ring rx, tx;
    uint64_t kicks, packets_in, packets_out;
};

/* One connection as the guest sees it. */
struct guest_conn {
    struct guest *g;
    uint32_t guest_port, host_port;
    uint32_t buf_alloc, fwd_cnt, rx_cnt;   /* what we take */
    uint32_t peer_alloc, peer_fwd, tx_cnt; /* what we send */
};

void guest_open(struct guest *g);
void guest_close(struct guest *g);
/* A new life of the driver: empty rings, all buffers to be posted again. */
void guest_restart(struct guest *g);
void *guest_at(struct guest *g, uint64_t gpa);

/* Offers rx buffers up to the ring's size, or `count` of them; returns how many. */
unsigned guest_post(struct guest *g, unsigned count);
/* Puts one packet into the tx ring; false: full. */
bool guest_send(struct guest *g, const struct guest_header *h, const void *payload);
/* Takes one packet out of the rx ring; `payload` has room for 65536. Its slot is free, not offered again. */
bool guest_take(struct guest *g, struct guest_header *ret, void *payload);
/* Used lengths that are not 44 plus the header's len count here. */
extern unsigned guest_bad_lengths;
/* Elements of the tx ring that came back are forgotten; returns how many. */
unsigned guest_reap(struct guest *g);

/* Should the driver kick for what it offered since it last asked? */
bool guest_wants_kick(struct guest *g, struct guest_ring *r);
/* Asks for an interrupt at the next completion; true: there is one already. */
bool guest_sleep(struct guest *g, struct guest_ring *r);
void guest_no_interrupts(struct guest *g, struct guest_ring *r);

/* Raw access for hostile tests. */
void guest_descriptor(struct guest *g, struct guest_ring *r, unsigned at, uint64_t addr,
                      uint32_t len, uint16_t flags, uint16_t next);
void guest_offer(struct guest *g, struct guest_ring *r, uint16_t head);
uint16_t guest_used_idx(struct guest *g, struct guest_ring *r);
uint32_t guest_used_len(struct guest *g, struct guest_ring *r, uint16_t at);
uint64_t guest_slot(struct guest *g, struct guest_ring *r, unsigned at); /* memory of an element */

struct guest_header guest_packet(const struct guest_conn *c, uint16_t op);
bool guest_say(struct guest_conn *c, uint16_t op, uint32_t flags);
/* Sends up to `bytes` of data as far as credit and ring go; returns how many. */
size_t guest_write(struct guest_conn *c, const void *data, size_t bytes);
/* Books a packet of this connection: credit of the device, and that data fits our window. */
void guest_book(struct guest_conn *c, const struct guest_header *h);
