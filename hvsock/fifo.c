/* SPDX-License-Identifier: MIT
 * fifo.c — a list of fixed chunks; bytes go in at the last and come out of the first.
 *
 * Chunks after `last` are reserved and empty. The spare chunks of a pool spare the allocator the coming
 * and going of a busy stream's window (and the kernel the giving back and faulting in of its pages).
 */
#include "hvsock/fifo.h"
#include "async/alloc.h"
#include "async/check.h"
#include <string.h>

#define CHUNK_BYTES 8192u

struct uvm__fifo_chunk {
    struct uvm__fifo_chunk *next;
    uint32_t head, tail; /* data[head .. tail) is used */
    uint8_t data[];
};

#define DATA_BYTES (CHUNK_BYTES - sizeof(struct uvm__fifo_chunk))

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

static struct uvm__fifo_chunk *chunk_new(struct uvm__fifo *f) {
    struct uvm__fifo_chunk *c;
    if (f->pool != NULL && f->pool->spare != NULL) {
        c = f->pool->spare;
        f->pool->spare = c->next;
        f->pool->count--;
    } else {
        c = uvm__alloc(f->engine, CHUNK_BYTES);
    }
    if (c != NULL) {
        c->next = NULL;
        c->head = c->tail = 0;
    }
    return c;
}

static void chunk_free(struct uvm__fifo *f, struct uvm__fifo_chunk *c) {
    if (f->pool != NULL && f->pool->count < f->pool->max) {
        c->next = f->pool->spare;
        f->pool->spare = c;
        f->pool->count++;
    } else {
        uvm__free(f->engine, c);
    }
}

void uvm__fifo_pool_init(struct uvm__fifo_pool *p, uvm_engine *e, uint32_t chunks_max) {
    *p = (struct uvm__fifo_pool){.engine = e, .max = chunks_max};
}

void uvm__fifo_pool_deinit(struct uvm__fifo_pool *p) {
    while (p->spare != NULL) {
        struct uvm__fifo_chunk *c = p->spare;
        p->spare = c->next;
        uvm__free(p->engine, c);
    }
    p->count = 0;
}

void uvm__fifo_init(struct uvm__fifo *f, uvm_engine *e, struct uvm__fifo_pool *pool) {
    *f = (struct uvm__fifo){.engine = e, .pool = pool};
}

void uvm__fifo_clear(struct uvm__fifo *f) {
    while (f->first != NULL) {
        struct uvm__fifo_chunk *c = f->first;
        f->first = c->next;
        chunk_free(f, c);
    }
    f->last = NULL;
    f->len = 0;
}

int uvm__fifo_reserve(struct uvm__fifo *f, size_t bytes) {
    size_t room = 0;
    struct uvm__fifo_chunk *end = f->last;
    if (end != NULL) {
        room = DATA_BYTES - end->tail;
        for (; end->next != NULL; end = end->next) {
            room += DATA_BYTES;
        }
    }
    struct uvm__fifo_chunk *more = NULL;
    struct uvm__fifo_chunk *more_end = NULL;
    while (room < bytes) {
        struct uvm__fifo_chunk *c = chunk_new(f);
        if (c == NULL) {
            while (more != NULL) {
                c = more;
                more = c->next;
                chunk_free(f, c);
            }
            return -UVM_E_NOMEM;
        }
        if (more_end == NULL) {
            more = c;
        } else {
            more_end->next = c;
        }
        more_end = c;
        room += DATA_BYTES;
    }
    if (more == NULL) {
        return 0;
    }
    if (end == NULL) {
        f->first = f->last = more;
    } else {
        end->next = more;
    }
    return 0;
}

int uvm__fifo_append(struct uvm__fifo *f, const void *data, size_t bytes) {
    if (bytes == 0) {
        return 0;
    }
    int rc = uvm__fifo_reserve(f, bytes);
    if (rc < 0) {
        return rc;
    }
    const uint8_t *from = data;
    f->len += bytes;
    while (bytes > 0) {
        struct uvm__fifo_chunk *c = f->last;
        size_t n = min(bytes, DATA_BYTES - c->tail);
        if (n == 0) {
            UVM_ASSERT(c->next != NULL);
            f->last = c->next;
            continue;
        }
        memcpy(c->data + c->tail, from, n);
        c->tail += (uint32_t)n;
        from += n;
        bytes -= n;
    }
    return 0;
}

size_t uvm__fifo_take(struct uvm__fifo *f, void *buf, size_t bytes) {
    size_t taken = 0;
    bytes = min(bytes, f->len);
    while (taken < bytes) {
        struct uvm__fifo_chunk *c = f->first;
        size_t n = min(bytes - taken, c->tail - c->head);
        if (buf != NULL) {
            memcpy((uint8_t *)buf + taken, c->data + c->head, n);
        }
        c->head += (uint32_t)n;
        taken += n;
        if (c->head == c->tail && c != f->last) {
            f->first = c->next;
            chunk_free(f, c);
        }
    }
    f->len -= taken;
    if (f->len == 0) {
        uvm__fifo_clear(f);
    }
    return taken;
}
