/* SPDX-License-Identifier: MIT
 * clock.c — time and randomness, real or simulated, and the heap of deadlines.
 *
 * A pairing heap: nodes are the owners' own, so setting and clearing never allocate. Equal times fire in
 * the order they were set (seq), which keeps a simulation's runs the same.
 */
#include "async/clock.h"
#include "async/engine_int.h"
#include <errno.h>
#include <sys/random.h>
#include <time.h>

static bool before(const struct uvm__deadline *a, const struct uvm__deadline *b) {
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static struct uvm__deadline *meld(struct uvm__deadline *a, struct uvm__deadline *b) {
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (before(b, a)) {
        struct uvm__deadline *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->sibling = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    a->child = b;
    a->sibling = NULL;
    a->prev = NULL;
    return a;
}

/* Pairs siblings left to right, then melds right to left; iterative, the list may be long. */
static struct uvm__deadline *meld_list(struct uvm__deadline *first) {
    struct uvm__deadline *pairs = NULL;
    while (first != NULL) {
        struct uvm__deadline *a = first;
        struct uvm__deadline *b = a->sibling;
        first = b == NULL ? NULL : b->sibling;
        a->sibling = NULL;
        a->prev = NULL;
        if (b != NULL) {
            b->sibling = NULL;
            b->prev = NULL;
        }
        struct uvm__deadline *m = meld(a, b);
        m->sibling = pairs;
        pairs = m;
    }
    struct uvm__deadline *root = NULL;
    while (pairs != NULL) {
        struct uvm__deadline *next = pairs->sibling;
        pairs->sibling = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

static void heap_remove(uvm_engine *e, struct uvm__deadline *d) {
    if (e->deadlines == d) {
        e->deadlines = meld_list(d->child);
    } else {
        if (d->prev->child == d) {
            d->prev->child = d->sibling;
        } else {
            d->prev->sibling = d->sibling;
        }
        if (d->sibling != NULL) {
            d->sibling->prev = d->prev;
        }
        e->deadlines = meld(e->deadlines, meld_list(d->child));
    }
    d->child = d->sibling = d->prev = NULL;
    d->linked = false;
}

void uvm__deadline_init(struct uvm__deadline *d, void (*fn)(struct uvm__deadline *d)) {
    *d = (struct uvm__deadline){.fn = fn};
}

void uvm__deadline_set(uvm_engine *e, struct uvm__deadline *d, uint64_t at_ms) {
    UVM_ASSERT(d->fn != NULL);
    if (d->linked) {
        heap_remove(e, d);
    }
    d->at_ms = at_ms;
    d->seq = ++e->deadline_seq;
    d->linked = true;
    e->deadlines = meld(e->deadlines, d);
    uvm__engine_arm_timer(e);
}

void uvm__deadline_clear(uvm_engine *e, struct uvm__deadline *d) {
    if (d->linked) {
        heap_remove(e, d);
        uvm__engine_arm_timer(e);
    }
}

bool uvm__deadlines_fire(uvm_engine *e, uint64_t now_ms) {
    bool any = false;
    /* What a callback sets for now or earlier waits for the next round: a callback that re-arms itself
     * with zero must not spin here. */
    uint64_t seq_max = e->deadline_seq;
    while (e->deadlines != NULL && e->deadlines->at_ms <= now_ms && e->deadlines->seq <= seq_max) {
        struct uvm__deadline *d = e->deadlines;
        heap_remove(e, d);
        any = true;
        d->fn(d);
    }
    return any;
}

uint64_t uvm__engine_next_deadline(uvm_engine *e) {
    UVM_ASSERT(e->loop == NULL);
    if (e->deadlines == NULL) {
        return UINT64_MAX;
    }
    uint64_t at = e->deadlines->at_ms;
    return at > e->virtual_ms ? at - e->virtual_ms : 0;
}

void uvm__engine_advance(uvm_engine *e, uint64_t ms) {
    UVM_ASSERT(e->loop == NULL);
    e->virtual_ms += ms;
    (void)uvm__deadlines_fire(e, e->virtual_ms);
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    UVM_ASSERT(rc == 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t uvm__now_ms(uvm_engine *e) {
    return e->loop == NULL ? e->virtual_ms : uv_now(e->loop);
}

uint64_t uvm__now_us(uvm_engine *e) {
    return e->loop == NULL ? e->virtual_ms * 1000u : clock_ns(CLOCK_MONOTONIC) / 1000u;
}

uint64_t uvm__wall_ns(uvm_engine *e) {
    return e->loop == NULL ? e->virtual_ms * 1000000u : clock_ns(CLOCK_REALTIME);
}

/* splitmix64: enough for a simulation, never used on a real engine. */
static uint64_t virtual_random(uvm_engine *e) {
    uint64_t z = (e->random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void uvm__random(uvm_engine *e, void *ret_bytes, size_t bytes) {
    uint8_t *out = ret_bytes;
    while (bytes > 0) {
        size_t n = bytes < 256 ? bytes : 256; /* getrandom is whole up to 256 bytes */
        if (e->loop == NULL) {
            uint64_t v = virtual_random(e);
            n = n < sizeof v ? n : sizeof v;
            __builtin_memcpy(out, &v, n);
        } else {
            ssize_t got = getrandom(out, n, 0);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            UVM_ASSERT(got > 0);
            n = (size_t)got;
        }
        out += n;
        bytes -= n;
    }
}
