/* SPDX-License-Identifier: MIT
 * ready.h — the engine's ready queue: everything that happens "later" goes through it.
 *
 * Intrusive, no allocation, no failure. A node runs once per push; pushing a linked node is a no-op.
 * Nodes pushed while the queue drains run in the next turn, so that the loop is never starved.
 */
#pragma once
#include "async/async.h"
#include "async/list.h"

struct uvm__ready {
    struct uvm__list link;
    void (*fn)(struct uvm__ready *r);
};

void uvm__ready_init(struct uvm__ready *r, void (*fn)(struct uvm__ready *r));
void uvm__ready_push(uvm_engine *e, struct uvm__ready *r);
void uvm__ready_cancel(uvm_engine *e, struct uvm__ready *r); /* idempotent */
bool uvm__ready_linked(const struct uvm__ready *r);
