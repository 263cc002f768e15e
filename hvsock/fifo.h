/* SPDX-License-Identifier: MIT
 * fifo.h — bytes in order, in chunks that exist only while they hold something.
 *
 * An empty fifo owns no memory; a pool, if there is one, keeps a few chunks between uses. The owner bounds
 * the length. A fifo may outlive its pool: set `pool` to NULL first.
 */
#pragma once
#include "async/async.h"

struct uvm__fifo_chunk;

struct uvm__fifo_pool {
    uvm_engine *engine;
    struct uvm__fifo_chunk *spare;
    uint32_t count, max;
};

struct uvm__fifo {
    uvm_engine *engine;
    struct uvm__fifo_pool *pool; /* NULL: none */
    struct uvm__fifo_chunk *first, *last;
    size_t len;
};

void uvm__fifo_pool_init(struct uvm__fifo_pool *p, uvm_engine *e, uint32_t chunks_max);
void uvm__fifo_pool_deinit(struct uvm__fifo_pool *p);

void uvm__fifo_init(struct uvm__fifo *f, uvm_engine *e, struct uvm__fifo_pool *pool);
void uvm__fifo_clear(struct uvm__fifo *f); /* drops all; the fifo stays usable */
/* Makes room for `bytes` more, so that appending them cannot fail. -UVM_E_NOMEM: unchanged. */
int uvm__fifo_reserve(struct uvm__fifo *f, size_t bytes);
int uvm__fifo_append(struct uvm__fifo *f, const void *data, size_t bytes);
/* Copies out and drops up to `bytes`; returns how many. `buf` NULL: drops only. */
size_t uvm__fifo_take(struct uvm__fifo *f, void *buf, size_t bytes);
