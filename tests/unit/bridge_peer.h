/* SPDX-License-Identifier: MIT
 * bridge_peer.h — the other end of a bridge under test: a stream of a loopback pair, written and read by
 * the test, on a simulated engine whose allocations can be made to fail.
 */
#pragma once
#include "async/engine.h"
#include "bridge/message.h"
#include "cm.h"
#include "hvsock/hvsock.h"

struct peer {
    uvm_engine *engine;
    struct uvm__hvsock *host, *guest;
    struct uvm__stream *ours;   /* the end under test; its user takes it */
    struct uvm__stream *theirs; /* the scripted end; NULL: closed */
    struct uvm__frame_reader reader;
    char body[UVM__FRAME_BYTES_MAX]; /* of the last frame read, a C string */
};

/* Counts allocations of the engine; the `fail_at`th from now (1 is the next) fails, and with `for_good`
 * all after it. 0: none. Returns what is counted since the last call. */
unsigned peer_fail_at(unsigned fail_at, bool for_good);

void peer_open(struct peer *p, size_t window_bytes);
void peer_connect(struct peer *p); /* another pair of ends */
void peer_close(struct peer *p);   /* all must have ended: asserts that nothing is left */

void peer_run(struct peer *p);                  /* until nothing is ready */
void peer_advance(struct peer *p, uint64_t ms); /* the clock, with what falls due */

/* The scripted end. */
void peer_send_raw(struct peer *p, const void *data, size_t bytes);
void peer_send(struct peer *p, uint32_t type, uint64_t id, const char *body);
bool peer_receive(struct peer *p,
                  struct uvm__frame_header *ret); /* after peer_run(); body in p->body */
bool peer_at_end(struct peer *p);                 /* the end under test has closed or reset */
void peer_hang_up(struct peer *p);                /* closes; p->theirs is NULL then */
