/* SPDX-License-Identifier: MIT
 * virtqueue.h — the device's side of one split virtqueue, over memory that a hostile guest writes.
 *
 * Pure: no system call, no allocation, no clock. Elements are taken one at a time, in order, and completed
 * in the same turn: peek, then either leave it, or take and complete it. Everything the guest wrote is read
 * once, into our memory, and checked there. A queue that broke a rule is broken until it is started anew.
 * Facts: virtio 1.2 §2.7.
 */
#pragma once
#include "hvsock/guest_mem.h"
#include <sys/uio.h>

#define UVM__VQ_SIZE_MAX 1024u /* entries of a queue, and of an indirect table */
#define UVM__VQ_SEGMENTS_MAX                                                                       \
    1088u /* pieces of one element; a little more for seams between regions */

/* Bytes of the three parts of a queue of n entries. */
#define UVM__VQ_DESC_BYTES(n) (16u * (uint64_t)(n))
#define UVM__VQ_AVAIL_BYTES(n) (6u + 2u * (uint64_t)(n))
#define UVM__VQ_USED_BYTES(n) (6u + 8u * (uint64_t)(n))

struct uvm__vq {
    struct uvm__guest_mem *mem;
    uint8_t *desc, *avail, *used;
    uint16_t size;
    bool event_idx, indirect;
    bool kicks;          /* the guest has been asked to tell of new elements */
    bool told;           /* an interrupt was decided since start */
    uint16_t last_avail; /* elements taken */
    uint16_t seen_avail; /* the guest's index when last looked at */
    uint16_t used_next;  /* elements completed */
    uint16_t used_shown; /* of these the guest can see */
    uint16_t used_told;  /* and the index at the last interrupt decision */
    const char *broken;  /* what rule was broken; NULL: none */
};

/* One element: readable pieces first, then writable ones. */
struct uvm__vq_element {
    uint16_t head;
    uint16_t slots;              /* descriptors of the queue itself that it takes */
    uint16_t readable, writable; /* pieces of each kind */
    uint64_t readable_bytes, writable_bytes;
    struct iovec segments[UVM__VQ_SEGMENTS_MAX];
};

/* Walks the bytes of one kind of an element's pieces. */
struct uvm__vq_cursor {
    const struct iovec *segment, *end;
    size_t at; /* in segment */
};

struct uvm__vq_params {
    uint8_t *desc, *avail, *used; /* translated, aligned 16, 2, 4; each whole in one region */
    uint16_t size;                /* a power of two, up to UVM__VQ_SIZE_MAX */
    uint16_t base;                /* elements taken and completed so far */
    bool event_idx, indirect;     /* negotiated */
};

void uvm__vq_start(struct uvm__vq *q, struct uvm__guest_mem *mem, const struct uvm__vq_params *p);
/* The memory table changed: the same ring, elsewhere. */
void uvm__vq_move(struct uvm__vq *q, uint8_t *desc, uint8_t *avail, uint8_t *used);

/* 1: `ret` is the next element, still the guest's; 0: none; -UVM_E_PROTOCOL: broken, see q->broken. */
int uvm__vq_peek(struct uvm__vq *q, struct uvm__vq_element *ret);
/* Takes the element that was peeked and gives it back with `written` bytes; seen by the guest after show. */
void uvm__vq_complete(struct uvm__vq *q, const struct uvm__vq_element *el, uint32_t written);
/* Lets the guest see what was completed; true: it wants an interrupt for that. */
bool uvm__vq_show(struct uvm__vq *q);

/* Asks the guest (not) to kick. Asking may find that elements came meanwhile: true, go on without waiting. */
bool uvm__vq_kicks_on(struct uvm__vq *q);
void uvm__vq_kicks_off(struct uvm__vq *q);

void uvm__vq_cursor_readable(struct uvm__vq_cursor *c, const struct uvm__vq_element *el);
void uvm__vq_cursor_writable(struct uvm__vq_cursor *c, const struct uvm__vq_element *el);
/* The next up to `bytes` bytes in one piece; returns how many, 0 at the end. */
size_t uvm__vq_cursor_next(struct uvm__vq_cursor *c, size_t bytes, uint8_t **ret_at);
/* Copies out of, or into, guest memory; returns how many. */
size_t uvm__vq_cursor_get(struct uvm__vq_cursor *c, void *buf, size_t bytes);
size_t uvm__vq_cursor_put(struct uvm__vq_cursor *c, const void *data, size_t bytes);
