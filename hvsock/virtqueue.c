/* SPDX-License-Identifier: MIT
 * virtqueue.c — split rings from the device's side.
 *
 * The guest owns every byte of the rings and may change it at any time: an index, a descriptor or a table is
 * loaded once, by an access the compiler may not repeat, and only the copy is judged. Our own positions are
 * private; of the used ring nothing is ever read back. Ordering: the available index is loaded with acquire
 * before what it announces; the used index is stored with release after what it announces; between a store
 * of ours and a load of the guest's answer to it stands a full fence, else one of two sleeps for ever.
 * Kick suppression with event indexes is an event behind us: it matches again after 65535 elements only.
 */
#include "hvsock/virtqueue.h"
#include "async/check.h"
#include <endian.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

struct descriptor {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

/* ---- guest memory, one access each -------------------------------------------------------- */

static uint16_t load16(const uint8_t *at, int order) {
    const uint16_t *p = (const uint16_t *)(const void *)at;
    return le16toh(order == __ATOMIC_ACQUIRE ? __atomic_load_n(p, __ATOMIC_ACQUIRE)
                                             : __atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store16(uint8_t *at, uint16_t value, int order) {
    uint16_t *p = (uint16_t *)(void *)at;
    if (order == __ATOMIC_RELEASE) {
        __atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
    } else {
        __atomic_store_n(p, htole16(value), __ATOMIC_RELAXED);
    }
}

static uint8_t *avail_idx(const struct uvm__vq *q) {
    return q->avail + 2;
}

static uint8_t *used_event(const struct uvm__vq *q) {
    return q->avail + 4 + 2 * (size_t)q->size;
}

static uint8_t *avail_event(const struct uvm__vq *q) {
    return q->used + 4 + 8 * (size_t)q->size;
}

static struct descriptor decode(uint64_t low, uint64_t high) {
    low = le64toh(low);
    high = le64toh(high);
    return (struct descriptor){.addr = low,
                               .len = (uint32_t)high,
                               .flags = (uint16_t)(high >> 32),
                               .next = (uint16_t)(high >> 48)};
}

static struct descriptor load_direct(const struct uvm__vq *q, uint16_t at) {
    const uint64_t *p = (const uint64_t *)(const void *)(q->desc + 16 * (size_t)at);
    uint64_t low = __atomic_load_n(p, __ATOMIC_RELAXED);
    uint64_t high = __atomic_load_n(p + 1, __ATOMIC_RELAXED);
    return decode(low, high);
}

/* ---- life --------------------------------------------------------------------------------- */

void uvm__vq_start(struct uvm__vq *q, struct uvm__guest_mem *mem, const struct uvm__vq_params *p) {
    UVM_ASSERT(p->size > 0 && p->size <= UVM__VQ_SIZE_MAX && (p->size & (p->size - 1)) == 0);
    *q = (struct uvm__vq){.mem = mem,
                          .size = p->size,
                          .event_idx = p->event_idx,
                          .indirect = p->indirect,
                          .last_avail = p->base,
                          .seen_avail = p->base,
                          .used_next = p->base,
                          .used_shown = p->base,
                          .used_told = p->base};
    uvm__vq_move(q, p->desc, p->avail, p->used);
    uvm__vq_kicks_off(q);
}

void uvm__vq_move(struct uvm__vq *q, uint8_t *desc, uint8_t *avail, uint8_t *used) {
    UVM_ASSERT(((uintptr_t)desc & 15) == 0 && ((uintptr_t)avail & 1) == 0 &&
               ((uintptr_t)used & 3) == 0);
    q->desc = desc;
    q->avail = avail;
    q->used = used;
}

static int broken(struct uvm__vq *q, const char *rule) {
    UVM_ASSERT(q->broken == NULL);
    q->broken = rule;
    return -UVM_E_PROTOCOL;
}

/* ---- taking ------------------------------------------------------------------------------- */

static int add_segment(struct uvm__vq *q, struct uvm__vq_element *el, uint64_t gpa, uint64_t bytes,
                       bool writable) {
    if (!writable && el->writable > 0) {
        return broken(q, "a readable buffer after a writable one");
    }
    if (bytes - 1 > UINT64_MAX - gpa) {
        return broken(q, "a buffer beyond the end of the address space");
    }
    while (bytes > 0) {
        uint64_t n = bytes;
        uint8_t *at = uvm__guest_mem_at(q->mem, gpa, &n);
        if (at == NULL) {
            return broken(q, "a buffer outside the guest's memory");
        }
        unsigned index = (unsigned)el->readable + el->writable;
        if (index == UVM__VQ_SEGMENTS_MAX) {
            return broken(q, "an element of too many pieces");
        }
        el->segments[index] = (struct iovec){at, n};
        if (writable) {
            el->writable++;
            el->writable_bytes += n;
        } else {
            el->readable++;
            el->readable_bytes += n;
        }
        gpa += n;
        bytes -= n;
    }
    return 0;
}

static int add_descriptor(struct uvm__vq *q, struct uvm__vq_element *el,
                          const struct descriptor *d) {
    return d->len == 0 ? 0 : add_segment(q, el, d->addr, d->len, (d->flags & DESC_WRITE) != 0);
}

static int walk_indirect(struct uvm__vq *q, struct uvm__vq_element *el,
                         const struct descriptor *table) {
    if (!q->indirect) {
        return broken(q, "an indirect descriptor that was not negotiated");
    }
    if ((table->flags & DESC_NEXT) != 0) {
        return broken(q, "an indirect descriptor that goes on");
    }
    uint32_t count = table->len / 16;
    if (count == 0 || table->len % 16 != 0 || count > UVM__VQ_SIZE_MAX) {
        return broken(q, "an indirect table of impossible length");
    }
    if (table->len - 1 > UINT64_MAX - table->addr) {
        return broken(q, "an indirect table beyond the end of the address space");
    }
    uint32_t at = 0;
    for (uint32_t steps = 0; steps < count; steps++) {
        uint64_t words[2];
        if (uvm__guest_mem_read(q->mem, table->addr + 16 * (uint64_t)at, words, sizeof words) < 0) {
            return broken(q, "an indirect table outside the guest's memory");
        }
        struct descriptor d = decode(words[0], words[1]);
        if ((d.flags & DESC_INDIRECT) != 0) {
            return broken(q, "an indirect descriptor in an indirect table");
        }
        int rc = add_descriptor(q, el, &d);
        if (rc < 0 || (d.flags & DESC_NEXT) == 0) {
            return rc;
        }
        if (d.next >= count) {
            return broken(q, "a next descriptor outside its indirect table");
        }
        at = d.next;
    }
    return broken(q, "a loop of descriptors in an indirect table");
}

static int walk(struct uvm__vq *q, struct uvm__vq_element *el) {
    uint16_t at = el->head;
    for (el->slots = 1; el->slots <= q->size; el->slots++) {
        struct descriptor d = load_direct(q, at);
        if ((d.flags & DESC_INDIRECT) != 0) {
            return walk_indirect(q, el, &d);
        }
        int rc = add_descriptor(q, el, &d);
        if (rc < 0 || (d.flags & DESC_NEXT) == 0) {
            return rc;
        }
        if (d.next >= q->size) {
            return broken(q, "a next descriptor outside the queue");
        }
        at = d.next;
    }
    return broken(q, "a loop of descriptors");
}

/* Looks at the guest's index, unless known elements are left. */
static int look(struct uvm__vq *q) {
    if (q->seen_avail != q->last_avail) {
        return 1;
    }
    q->seen_avail = load16(avail_idx(q), __ATOMIC_ACQUIRE);
    uint16_t pending = (uint16_t)(q->seen_avail - q->last_avail);
    if (pending > q->size) {
        return broken(q, "an available index that jumps");
    }
    return pending > 0;
}

int uvm__vq_peek(struct uvm__vq *q, struct uvm__vq_element *ret) {
    if (q->broken != NULL) {
        return -UVM_E_PROTOCOL;
    }
    int rc = look(q);
    if (rc <= 0) {
        return rc;
    }
    uint16_t head =
        load16(q->avail + 4 + 2 * (size_t)(q->last_avail & (q->size - 1u)), __ATOMIC_RELAXED);
    if (head >= q->size) {
        return broken(q, "a head outside the queue");
    }
    ret->head = head;
    ret->readable = ret->writable = 0;
    ret->readable_bytes = ret->writable_bytes = 0;
    rc = walk(q, ret);
    return rc < 0 ? rc : 1;
}

/* ---- giving back -------------------------------------------------------------------------- */

void uvm__vq_complete(struct uvm__vq *q, const struct uvm__vq_element *el, uint32_t written) {
    UVM_ASSERT(q->broken == NULL && q->seen_avail != q->last_avail);
    UVM_ASSERT(written <= el->writable_bytes);
    uint32_t entry[2] = {htole32(el->head), htole32(written)};
    memcpy(q->used + 4 + 8 * (size_t)(q->used_next & (q->size - 1u)), entry, sizeof entry);
    q->last_avail++;
    q->used_next++;
    UVM_ASSERT_CMP(q->last_avail, ==, q->used_next); /* nothing is held over a turn */
}

bool uvm__vq_show(struct uvm__vq *q) {
    if (q->used_shown == q->used_next) {
        return false;
    }
    q->used_shown = q->used_next;
    store16(q->used + 2, q->used_shown, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!q->event_idx) {
        return (load16(q->avail, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT) == 0;
    }
    uint16_t event = load16(used_event(q), __ATOMIC_RELAXED);
    uint16_t since = (uint16_t)(q->used_shown - q->used_told);
    bool wanted = !q->told || (uint16_t)(q->used_shown - event - 1) < since;
    q->used_told = q->used_shown;
    q->told = true;
    return wanted;
}

bool uvm__vq_kicks_on(struct uvm__vq *q) {
    if (q->broken != NULL) {
        return false;
    }
    q->kicks = true;
    if (q->event_idx) {
        store16(avail_event(q), q->last_avail, __ATOMIC_RELAXED);
    } else {
        store16(q->used, 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(avail_idx(q), __ATOMIC_RELAXED) != q->last_avail;
}

void uvm__vq_kicks_off(struct uvm__vq *q) {
    q->kicks = false;
    if (q->event_idx) {
        store16(avail_event(q), (uint16_t)(q->last_avail - 1), __ATOMIC_RELAXED);
    } else {
        store16(q->used, USED_NO_NOTIFY, __ATOMIC_RELAXED);
    }
}

/* ---- the bytes of an element -------------------------------------------------------------- */

void uvm__vq_cursor_readable(struct uvm__vq_cursor *c, const struct uvm__vq_element *el) {
    *c = (struct uvm__vq_cursor){el->segments, el->segments + el->readable, 0};
}

void uvm__vq_cursor_writable(struct uvm__vq_cursor *c, const struct uvm__vq_element *el) {
    const struct iovec *first = el->segments + el->readable;
    *c = (struct uvm__vq_cursor){first, first + el->writable, 0};
}

size_t uvm__vq_cursor_next(struct uvm__vq_cursor *c, size_t bytes, uint8_t **ret_at) {
    if (bytes == 0 || c->segment == c->end) {
        return 0;
    }
    size_t left = c->segment->iov_len - c->at;
    UVM_ASSERT(left > 0); /* empty pieces are not kept */
    size_t n = bytes < left ? bytes : left;
    *ret_at = (uint8_t *)c->segment->iov_base + c->at;
    c->at += n;
    if (n == left) {
        c->segment++;
        c->at = 0;
    }
    return n;
}

size_t uvm__vq_cursor_get(struct uvm__vq_cursor *c, void *buf, size_t bytes) {
    size_t done = 0;
    uint8_t *at;
    size_t n;
    while ((n = uvm__vq_cursor_next(c, bytes - done, &at)) > 0) {
        memcpy((uint8_t *)buf + done, at, n);
        done += n;
    }
    __asm__ volatile("" ::: "memory");
    return done;
}

size_t uvm__vq_cursor_put(struct uvm__vq_cursor *c, const void *data, size_t bytes) {
    size_t done = 0;
    uint8_t *at;
    size_t n;
    while ((n = uvm__vq_cursor_next(c, bytes - done, &at)) > 0) {
        memcpy(at, (const uint8_t *)data + done, n);
        done += n;
    }
    return done;
}
