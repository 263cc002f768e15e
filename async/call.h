/* SPDX-License-Identifier: MIT
 * call.h — a request in flight to a peer that answers by id: the bridge and QMP share it.
 *
 * The node is embedded in its op's state and holds a reference on the op while linked, so its id stays
 * taken until the reply or the connection's end, also when the op has resolved (an orphan).
 */
#pragma once
#include "async/list.h"
#include "async/saga.h"

#define UVM__CALLS_BUCKETS 64u

struct uvm__call {
    struct uvm__list link; /* bucket; self-linked: not in flight */
    uint64_t id;
    uvm_op *op;
    void *body_type; /* spare for the table's owner */
    /* Runs once, after the call left the table: `reply` is what the owner passed (borrowed), or NULL
     * with `err` when the connection ended. The op reference is dropped after it returns. */
    void (*on_reply)(struct uvm__call *call, const void *reply, const uvm_error *err);
};

struct uvm__calls {
    struct uvm__list buckets[UVM__CALLS_BUCKETS];
    uint32_t count;
};

void uvm__calls_init(struct uvm__calls *t);
void uvm__call_add(struct uvm__calls *t, struct uvm__call *call, uint64_t id, uvm_op *op,
                   void (*on_reply)(struct uvm__call *, const void *, const uvm_error *));
struct uvm__call *uvm__call_find(struct uvm__calls *t, uint64_t id);
void uvm__call_finish(struct uvm__calls *t, struct uvm__call *call, const void *reply,
                      const uvm_error *err);
/* Finishes every call with `err`, oldest id first. */
void uvm__calls_fail(struct uvm__calls *t, const uvm_error *err);
