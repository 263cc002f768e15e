/* SPDX-License-Identifier: MIT
 * join.h — two streams made one: what comes out of the one goes into the other, in both directions.
 *
 * A buffer each way; a side is read only when the other has taken everything, so whoever is slow slows the other
 * down, and nothing piles up. The first end of either side ends both, after what it had said was passed on.
 * Threading: loop thread.
 */
#pragma once
#include "hvsock/stream.h"

struct uvm__join;

/* `first_ended`: it was the first stream that ended, or broke. Once, never inside a call of this header; both
 * streams are gone then, and the join is the owner's to free. */
typedef void (*uvm__join_fn)(struct uvm__join *j, bool first_ended, void *arg);

/* Takes both streams, also on failure (they are reset). -UVM_E_NOMEM. */
int uvm__join_new(uvm_engine *e, struct uvm__stream *take_first, struct uvm__stream *take_second,
                  uvm__join_fn on_end, void *arg, struct uvm__join **ret);
/* Resets what has not ended; no callback follows. Accepts NULL. */
void uvm__join_free(struct uvm__join *j);
