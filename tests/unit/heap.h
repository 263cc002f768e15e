/* SPDX-License-Identifier: MIT
 * heap.h — an engine's memory in a test: counted, and short where the test wants it to be.
 */
#pragma once
#include "async/async.h"
#include <stdlib.h>

struct heap {
    uint32_t allocs;    /* asked for, since the test last set it to 0 */
    uint32_t fail_at;   /* that one of them fails (1: the first); 0: none */
    bool fail_for_good; /* and all behind it */
    long live;          /* blocks */
};

/* Counts one that is asked for; true: it fails. For memory that is not an engine's. */
static inline bool heap_fails(struct heap *h) {
    h->allocs++;
    return h->fail_at > 0 &&
           (h->allocs == h->fail_at || (h->fail_for_good && h->allocs > h->fail_at));
}

static inline void *heap_realloc(void *ptr, size_t bytes, void *arg) {
    struct heap *h = arg;
    void *grown = heap_fails(h) ? NULL : realloc(ptr, bytes);
    h->live += ptr == NULL && grown != NULL;
    return grown;
}

static inline void *heap_malloc(size_t bytes, void *arg) {
    return heap_realloc(NULL, bytes, arg);
}

static inline void heap_free(void *ptr, void *arg) {
    ((struct heap *)arg)->live -= ptr != NULL;
    free(ptr);
}

static inline struct uvm_allocator heap_allocator(struct heap *h) {
    return (struct uvm_allocator){heap_malloc, heap_realloc, heap_free, h};
}
