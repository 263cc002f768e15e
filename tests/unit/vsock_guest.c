/* SPDX-License-Identifier: MIT
 * vsock_guest.c — the driver's side of the two virtqueues, and of a connection's credit.
 *
 * Slot i of a ring owns descriptor i (and i's neighbours in its private chain area) and a fixed piece of
 * memory, and is offered in turn: the device completes in order, so slots come back in order too. A chain of
 * several descriptors lives in an indirect table, or takes descriptors from a second half of the table.
 */
#include "tests/unit/vsock_guest.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHAIN = 4 }; /* descriptors that a slot may use; a ring has size / CHAIN slots when direct */

unsigned guest_bad_lengths;

void *guest_at(struct guest *g, uint64_t gpa) {
    assert_true(gpa < g->ram_bytes);
    return g->ram + gpa;
}

static void put16(struct guest *g, uint64_t gpa, uint16_t v) {
    __atomic_store_n((uint16_t *)guest_at(g, gpa), v, __ATOMIC_RELEASE);
}

static uint16_t get16(struct guest *g, uint64_t gpa) {
    return __atomic_load_n((uint16_t *)guest_at(g, gpa), __ATOMIC_ACQUIRE);
}

static void ring_place(struct guest_ring *r, uint64_t base) {
    *r = (struct guest_ring){
        .desc = base, .avail = base + 0x4000, .used = base + 0x6000, .size = GUEST_QUEUE};
}

void guest_restart(struct guest *g) {
    memset(g->ram, 0, 0x20000);
    ring_place(&g->rx, 0x1000);
    ring_place(&g->tx, 0x10000);
}

void guest_open(struct guest *g) {
    memset(g, 0, sizeof *g);
    g->ram_bytes = GUEST_RAM_BYTES;
    g->memfd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(g->memfd >= 0);
    assert_int_equal(ftruncate(g->memfd, (off_t)g->ram_bytes), 0);
    assert_int_equal(fcntl(g->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    g->ram = mmap(NULL, g->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->memfd, 0);
    assert_true(g->ram != MAP_FAILED);
    g->event_idx = g->indirect = true;
    g->layout = GUEST_INDIRECT;
    g->rx_bytes = GUEST_RX_BYTES;
    guest_restart(g);
}

void guest_close(struct guest *g) {
    assert_int_equal(munmap(g->ram, g->ram_bytes), 0);
    close(g->memfd);
}

/* ---- rings -------------------------------------------------------------------------------- */

uint64_t guest_slot(struct guest *g, struct guest_ring *r, unsigned at) {
    uint64_t base = r == &g->rx ? 0x20000 : 0x20000 + (uint64_t)GUEST_QUEUE * 0x2000;
    return base + (uint64_t)at * (r == &g->rx ? 0x2000 : GUEST_SLOT_BYTES);
}

void guest_descriptor(struct guest *g, struct guest_ring *r, unsigned at, uint64_t addr,
                      uint32_t len, uint16_t flags, uint16_t next) {
    uint8_t *d = guest_at(g, r->desc + 16ul * at);
    memcpy(d, &addr, 8);
    memcpy(d + 8, &len, 4);
    memcpy(d + 12, &flags, 2);
    memcpy(d + 14, &next, 2);
}

void guest_offer(struct guest *g, struct guest_ring *r, uint16_t head) {
    put16(g, r->avail + 4 + 2ul * (r->avail_idx % r->size), head);
    put16(g, r->avail + 2, ++r->avail_idx);
}

uint16_t guest_used_idx(struct guest *g, struct guest_ring *r) {
    return get16(g, r->used + 2);
}

uint32_t guest_used_len(struct guest *g, struct guest_ring *r, uint16_t at) {
    uint32_t len;
    memcpy(&len, guest_at(g, r->used + 8 + 8ul * (at % r->size)), 4);
    return len;
}

static uint32_t used_id(struct guest *g, struct guest_ring *r, uint16_t at) {
    uint32_t id;
    memcpy(&id, guest_at(g, r->used + 4 + 8ul * (at % r->size)), 4);
    return id;
}

bool guest_wants_kick(struct guest *g, struct guest_ring *r) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t old = r->told;
    r->told = r->avail_idx;
    bool wants;
    if (g->event_idx) {
        uint16_t event = get16(g, r->used + 4 + 8ul * r->size);
        wants = (uint16_t)(r->avail_idx - event - 1) < (uint16_t)(r->avail_idx - old);
    } else {
        wants = old != r->avail_idx && (get16(g, r->used) & 1) == 0;
    }
    g->kicks += wants;
    return wants;
}

bool guest_sleep(struct guest *g, struct guest_ring *r) {
    put16(g, r->avail, 0);
    put16(g, r->avail + 4 + 2ul * r->size, r->used_seen);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return guest_used_idx(g, r) != r->used_seen;
}

void guest_no_interrupts(struct guest *g, struct guest_ring *r) {
    put16(g, r->avail, 1);
    put16(g, r->avail + 4 + 2ul * r->size, (uint16_t)(r->used_seen - 1));
}

/* ---- packets ------------------------------------------------------------------------------ */

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

unsigned guest_post(struct guest *g, unsigned count) {
    unsigned done = 0;
    while (done < count && (uint16_t)(g->rx.avail_idx - g->rx.used_seen) < g->rx.size) {
        uint16_t slot = (uint16_t)(g->rx.avail_idx % g->rx.size);
        guest_descriptor(g, &g->rx, slot, guest_slot(g, &g->rx, slot), g->rx_bytes, WRITE, 0);
        guest_offer(g, &g->rx, slot);
        done++;
    }
    return done;
}

static void encode(const struct guest_header *h, uint8_t *raw) {
    memcpy(raw, &h->src_cid, 8);
    memcpy(raw + 8, &h->dst_cid, 8);
    memcpy(raw + 16, &h->src_port, 4);
    memcpy(raw + 20, &h->dst_port, 4);
    memcpy(raw + 24, &h->len, 4);
    memcpy(raw + 28, &h->type, 2);
    memcpy(raw + 30, &h->op, 2);
    memcpy(raw + 32, &h->flags, 4);
    memcpy(raw + 36, &h->buf_alloc, 4);
    memcpy(raw + 40, &h->fwd_cnt, 4);
}

static void decode(const uint8_t *raw, struct guest_header *h) {
    memcpy(&h->src_cid, raw, 8);
    memcpy(&h->dst_cid, raw + 8, 8);
    memcpy(&h->src_port, raw + 16, 4);
    memcpy(&h->dst_port, raw + 20, 4);
    memcpy(&h->len, raw + 24, 4);
    memcpy(&h->type, raw + 28, 2);
    memcpy(&h->op, raw + 30, 2);
    memcpy(&h->flags, raw + 32, 4);
    memcpy(&h->buf_alloc, raw + 36, 4);
    memcpy(&h->fwd_cnt, raw + 40, 4);
}

/* The pieces of a packet of `bytes` at `data`, in the layout of the day. */
static unsigned pieces(const struct guest *g, uint64_t data, uint32_t bytes, uint64_t *addr,
                       uint32_t *len) {
    static const uint32_t cuts[][CHAIN] = {[GUEST_DIRECT] = {44, 0},
                                           [GUEST_INDIRECT] = {44, 0},
                                           [GUEST_SHREDS] = {7, 30, 20, 0},
                                           [GUEST_ONE] = {0}};
    unsigned n = 0;
    for (unsigned i = 0; i < CHAIN - 1 && cuts[g->layout][i] > 0; i++) {
        uint32_t cut = cuts[g->layout][i] < bytes ? cuts[g->layout][i] : bytes;
        if (cut > 0) {
            addr[n] = data;
            len[n++] = cut;
        }
        data += cut;
        bytes -= cut;
    }
    if (bytes > 0) {
        addr[n] = data;
        len[n++] = bytes;
    }
    return n;
}

bool guest_send(struct guest *g, const struct guest_header *h, const void *payload) {
    struct guest_ring *r = &g->tx;
    bool indirect = g->indirect && g->layout != GUEST_DIRECT;
    unsigned slots = indirect ? r->size : r->size / CHAIN;
    (void)guest_reap(g);
    if ((uint16_t)(r->avail_idx - r->used_seen) >= slots) {
        return false;
    }
    unsigned slot = r->avail_idx % slots;
    uint64_t at = guest_slot(g, r, slot);
    uint64_t data = at + 256;
    encode(h, guest_at(g, data));
    if (payload != NULL) {
        memcpy(guest_at(g, data + 44), payload, h->len);
    }
    uint64_t addr[CHAIN];
    uint32_t len[CHAIN];
    unsigned n = pieces(g, data, 44 + (payload == NULL ? 0 : h->len), addr, len);
    struct guest_ring table = {.desc = at};
    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = i + 1 < n ? NEXT : 0;
        if (indirect) {
            guest_descriptor(g, &table, i, addr[i], len[i], flags, (uint16_t)(i + 1));
        } else {
            unsigned d = slot * CHAIN + i;
            guest_descriptor(g, r, d, addr[i], len[i], flags, (uint16_t)(d + 1));
        }
    }
    if (indirect) {
        guest_descriptor(g, r, slot, at, 16 * n, INDIRECT, 0);
    }
    guest_offer(g, r, (uint16_t)(indirect ? slot : slot * CHAIN));
    g->packets_out++;
    return true;
}

unsigned guest_reap(struct guest *g) {
    uint16_t idx = guest_used_idx(g, &g->tx);
    unsigned n = (uint16_t)(idx - g->tx.used_seen);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(guest_used_len(g, &g->tx, (uint16_t)(g->tx.used_seen + i)), 0);
    }
    g->tx.used_seen = idx;
    return n;
}

bool guest_take(struct guest *g, struct guest_header *ret, void *payload) {
    struct guest_ring *r = &g->rx;
    if (guest_used_idx(g, r) == r->used_seen) {
        return false;
    }
    uint32_t slot = used_id(g, r, r->used_seen);
    uint32_t len = guest_used_len(g, r, r->used_seen);
    assert_int_equal(slot, r->used_seen % r->size); /* in order */
    r->used_seen++;
    if (len < 44 || len > g->rx_bytes) {
        guest_bad_lengths++;
        memset(ret, 0, sizeof *ret);
        return true;
    }
    const uint8_t *raw = guest_at(g, guest_slot(g, r, slot));
    decode(raw, ret);
    guest_bad_lengths += len != 44 + ret->len;
    if (payload != NULL) {
        memcpy(payload, raw + 44, len - 44);
    }
    g->packets_in++;
    return true;
}

/* ---- connections -------------------------------------------------------------------------- */

struct guest_header guest_packet(const struct guest_conn *c, uint16_t op) {
    return (struct guest_header){.src_cid = GUEST_CID,
                                 .dst_cid = 2,
                                 .src_port = c->guest_port,
                                 .dst_port = c->host_port,
                                 .type = 1,
                                 .op = op,
                                 .buf_alloc = c->buf_alloc,
                                 .fwd_cnt = c->fwd_cnt};
}

bool guest_say(struct guest_conn *c, uint16_t op, uint32_t flags) {
    struct guest_header h = guest_packet(c, op);
    h.flags = flags;
    return guest_send(c->g, &h, NULL);
}

size_t guest_write(struct guest_conn *c, const void *data, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        uint32_t free_bytes = c->peer_alloc - (c->tx_cnt - c->peer_fwd);
        size_t n = bytes - done < free_bytes ? bytes - done : free_bytes;
        n = n < 65536 ? n : 65536;
        struct guest_header h = guest_packet(c, 5);
        h.len = (uint32_t)n;
        if (n == 0 || !guest_send(c->g, &h, (const uint8_t *)data + done)) {
            break;
        }
        c->tx_cnt += (uint32_t)n;
        done += n;
    }
    return done;
}

void guest_book(struct guest_conn *c, const struct guest_header *h) {
    assert_int_equal(h->src_cid, 2);
    assert_int_equal(h->dst_cid, GUEST_CID);
    assert_int_equal(h->src_port, c->host_port);
    assert_int_equal(h->dst_port, c->guest_port);
    assert_int_equal(h->type, 1);
    if (h->op == 3) {
        return;
    }
    c->peer_alloc = h->buf_alloc;
    c->peer_fwd = h->fwd_cnt;
    assert_true((uint32_t)(c->tx_cnt - c->peer_fwd) <= c->peer_alloc);
    if (h->op == 5) {
        c->rx_cnt += h->len;
        assert_true(h->len > 0);
        assert_true((uint32_t)(c->rx_cnt - c->fwd_cnt) <= c->buf_alloc);
    }
}
