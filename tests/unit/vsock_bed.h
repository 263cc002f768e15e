/* SPDX-License-Identifier: MIT
 * vsock_bed.h — the packet engine on a virtual clock, with an in-process guest on its other side.
 */
#pragma once
#include "hvsock/virtio_vsock.h"
#include "tests/unit/cm.h"
#include "tests/unit/heap.h"
#include "tests/unit/vsock_guest.h"

struct bed {
    uvm_engine *engine;
    struct guest g;
    struct uvm__guest_mem mem;
    struct uvm__vq queues[2];
    struct uvm__virtio_vsock v;
    struct uvm__listener *listener;
    struct uvm__stream *accepted; /* the last one */
    unsigned accepted_count;
    unsigned interrupts[2];
    const char *broken;
    int done, code;
    uvm_op *op;
    uint8_t payload[65536];
    struct heap heap;
};

enum { BED_PORT = 109, BED_GUEST_PORT = 4000 };

int bed_setup(void **state);
int bed_teardown(void **state);
/* With other numbers than the usual ones. */
struct bed *bed_open(const struct uvm__virtio_vsock_params *params);
void bed_close(struct bed *b);
void bed_start(struct bed *b); /* both rings from base 0 */
void bed_stop(struct bed *b);
void bed_turn(struct bed *b);
void bed_kick(struct bed *b); /* kicks and turns until nothing is left to do */
void bed_advance(struct bed *b, uint64_t ms);
void bed_settle(struct bed *b); /* kicks, and lets all be shown that was done */

struct guest_conn bed_guest_conn(struct bed *b, uint32_t guest_port);
/* Guest dials BED_PORT; returns the accepted stream. */
struct uvm__stream *bed_accept(struct bed *b, struct guest_conn *c);
/* Host dials the guest's `port`, which answers; returns the stream and sets the connection. */
struct uvm__stream *bed_connect(struct bed *b, uint32_t port, struct guest_conn *c);
void bed_on_done(uvm_op *op, const uvm_error *err, void *arg);

/* The next packet to the guest, of this connection and op; its payload is in b->payload. */
struct guest_header bed_expect(struct bed *b, struct guest_conn *c, uint16_t op);
void bed_expect_nothing(struct bed *b);
/* Whatever came to the guest: taken, booked, buffers offered again. Returns bytes of data. */
size_t bed_pump(struct bed *b, struct guest_conn *c);
