/* SPDX-License-Identifier: MIT
 * clock.h — the only door to time and randomness: real, or virtual and seeded for simulation.
 *
 * Deadlines are intrusive nodes of one heap over one timer: no allocation, no failure. A node's `fn`
 * runs from the loop (or from uvm__engine_advance), after the node was unlinked; it may set it again.
 */
#pragma once
#include "async/async.h"

struct uvm__deadline {
    struct uvm__deadline *child, *sibling,
        *prev; /* pairing heap; prev NULL and not root: unlinked */
    uint64_t at_ms, seq;
    void (*fn)(struct uvm__deadline *d);
    bool linked;
};

void uvm__deadline_init(struct uvm__deadline *d, void (*fn)(struct uvm__deadline *d));
void uvm__deadline_set(uvm_engine *e, struct uvm__deadline *d, uint64_t at_ms); /* replaces */
void uvm__deadline_clear(uvm_engine *e, struct uvm__deadline *d);               /* idempotent */

uint64_t uvm__now_ms(uvm_engine *e);  /* monotonic, from an arbitrary start; cached per loop turn */
uint64_t uvm__now_us(uvm_engine *e);  /* monotonic, read now; for measurements */
uint64_t uvm__wall_ns(uvm_engine *e); /* since 1970 */
void uvm__random(uvm_engine *e, void *ret_bytes, size_t bytes);
