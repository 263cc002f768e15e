/* SPDX-License-Identifier: MIT
 * virtqueue_test.c — a split ring from the device's side: what a guest may offer, and each lie about it.
 */
#include "async/engine.h"
#include "hvsock/virtqueue.h"
#include "tests/unit/cm.h"
#include "tests/unit/vsock_guest.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { HOLE = 12 << 20 }; /* from here on the guest's memory is in pieces */

struct ring {
    uvm_engine *engine;
    struct guest g;
    struct uvm__guest_mem mem;
    struct uvm__vq q;
    struct uvm__vq_element el;
};

static struct ring ring;

static void add_region(uint64_t gpa, uint64_t bytes) {
    struct uvm__guest_region_desc d = {
        .gpa = gpa, .bytes = bytes, .user = 0x100000000 + gpa, .offset = gpa};
    struct uvm__fail f;
    assert_int_equal(uvm__guest_mem_add(&ring.mem, &d, ring.g.memfd, &f), 0);
}

static void start(bool event_idx, bool indirect) {
    struct guest_ring *r = &ring.g.tx;
    uint64_t n[3] = {UVM__VQ_DESC_BYTES(r->size), UVM__VQ_AVAIL_BYTES(r->size),
                     UVM__VQ_USED_BYTES(r->size)};
    ring.g.event_idx = event_idx;
    ring.g.indirect = indirect;
    guest_restart(&ring.g);
    struct uvm__vq_params p = {.desc = uvm__guest_mem_at(&ring.mem, r->desc, &n[0]),
                               .avail = uvm__guest_mem_at(&ring.mem, r->avail, &n[1]),
                               .used = uvm__guest_mem_at(&ring.mem, r->used, &n[2]),
                               .size = r->size,
                               .event_idx = event_idx,
                               .indirect = indirect};
    uvm__vq_start(&ring.q, &ring.mem, &p);
}

static int setup(void **state) {
    (void)state;
    memset(&ring, 0, sizeof ring);
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &ring.engine), 0);
    guest_open(&ring.g);
    uvm__guest_mem_init(&ring.mem, ring.engine, UINT64_MAX);
    add_region(0, HOLE);
    add_region(HOLE, 0x2000); /* two neighbours, mapped apart, and nothing behind */
    add_region(HOLE + 0x2000, 0x2000);
    start(true, true);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    uvm__guest_mem_deinit(&ring.mem);
    uvm__engine_free_virtual(ring.engine);
    guest_close(&ring.g);
    return 0;
}

static void desc(unsigned at, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
    guest_descriptor(&ring.g, &ring.g.tx, at, addr, len, flags, next);
}

/* An entry of an indirect table at `table`. */
static void entry(uint64_t table, unsigned at, uint64_t addr, uint32_t len, uint16_t flags,
                  uint16_t next) {
    struct guest_ring t = {.desc = table};
    guest_descriptor(&ring.g, &t, at, addr, len, flags, next);
}

static int offer(uint16_t head) {
    guest_offer(&ring.g, &ring.g.tx, head);
    return uvm__vq_peek(&ring.q, &ring.el);
}

static void is_broken(int rc, const char *rule) {
    assert_int_equal(rc, -UVM_E_PROTOCOL);
    assert_string_equal(ring.q.broken, rule);
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), -UVM_E_PROTOCOL); /* for good */
    assert_false(uvm__vq_kicks_on(&ring.q));
    start(true, true);
}

static void elements_come_in_order_and_go_back(void **state) {
    (void)state;
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 0);
    memcpy(guest_at(&ring.g, 0x900000), "helloworld", 10);
    desc(5, 0x900000, 5, NEXT, 9);
    desc(9, 0x900005, 5, NEXT, 2);
    desc(2, 0x901000, 100, WRITE | NEXT, 3);
    desc(3, 0x902000, 50, WRITE, 77);
    assert_int_equal(offer(5), 1);
    assert_int_equal(ring.el.head, 5);
    assert_int_equal(ring.el.readable, 2);
    assert_int_equal(ring.el.writable, 2);
    assert_int_equal(ring.el.readable_bytes, 10);
    assert_int_equal(ring.el.writable_bytes, 150);
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 1); /* still the guest's */
    char buf[16];
    struct uvm__vq_cursor c;
    uvm__vq_cursor_readable(&c, &ring.el);
    assert_int_equal(uvm__vq_cursor_get(&c, buf, 7), 7);
    assert_memory_equal(buf, "hellowo", 7);
    assert_int_equal(uvm__vq_cursor_get(&c, buf, sizeof buf), 3);
    uvm__vq_cursor_writable(&c, &ring.el);
    memset(buf, 'z', sizeof buf);
    assert_int_equal(uvm__vq_cursor_put(&c, buf, sizeof buf), sizeof buf);
    assert_memory_equal(guest_at(&ring.g, 0x901000), buf, sizeof buf);
    uvm__vq_complete(&ring.q, &ring.el, 16);
    assert_int_equal(guest_used_idx(&ring.g, &ring.g.tx), 0); /* not shown yet */
    (void)uvm__vq_show(&ring.q);
    assert_int_equal(guest_used_idx(&ring.g, &ring.g.tx), 1);
    assert_int_equal(guest_used_len(&ring.g, &ring.g.tx, 0), 16);
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 0);
}

static void indirect_tables(void **state) {
    (void)state;
    entry(0x800000, 0, 0x900000, 44, NEXT, 1);
    entry(0x800000, 1, 0x901000, 65536, 0, 9);
    desc(0, 0x800000, 32, INDIRECT | WRITE, 5); /* WRITE there means nothing */
    assert_int_equal(offer(0), 1);
    assert_int_equal(ring.el.readable, 2);
    assert_int_equal(ring.el.readable_bytes, 65580);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    /* Direct ones first, then a table, which here lies over the seam of two regions. */
    entry(HOLE + 0x1ff0, 0, 0x900000, 10, NEXT, 1);
    entry(HOLE + 0x1ff0, 1, 0x901000, 20, WRITE, 0);
    desc(1, 0x902000, 5, NEXT, 2);
    desc(2, HOLE + 0x1ff8 - 8, 32, INDIRECT, 0);
    assert_int_equal(offer(1), 1);
    assert_int_equal(ring.el.readable_bytes, 15);
    assert_int_equal(ring.el.writable_bytes, 20);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    /* An entry itself over the seam. */
    entry(HOLE + 0x1ff8, 0, 0x900000, 33, 0, 0);
    desc(3, HOLE + 0x1ff8, 16, INDIRECT, 0);
    assert_int_equal(offer(3), 1);
    assert_int_equal(ring.el.readable_bytes, 33);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    assert_null(ring.q.broken);
}

static void buffers_over_seams_and_empty_ones(void **state) {
    (void)state;
    desc(0, HOLE - 4, 0x2008, NEXT, 1);
    desc(1, 0x900000, 0, NEXT, 2);
    desc(2, 0x900000, 0, WRITE | NEXT, 3); /* empty ones count for nothing, in no order */
    desc(3, 0x900000, 8, 0, 0);
    assert_int_equal(offer(0), 1);
    assert_int_equal(ring.el.readable, 4);
    assert_int_equal(ring.el.readable_bytes, 0x2010);
    assert_int_equal(ring.el.segments[0].iov_len, 4);
    assert_int_equal(ring.el.segments[1].iov_len, 0x2000);
    assert_int_equal(ring.el.segments[2].iov_len, 4);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    desc(4, 0xffffffffffffffff, 0, 0, 0);
    assert_int_equal(offer(4), 1);
    assert_int_equal(ring.el.readable + ring.el.writable, 0);
}

static void lies_about_the_index(void **state) {
    (void)state;
    desc(0, 0x900000, 8, 0, 0);
    ring.g.tx.avail_idx = GUEST_QUEUE;
    is_broken(offer(0), "an available index that jumps");
    ring.g.tx.avail_idx = 0xfffe; /* backward */
    is_broken(offer(0), "an available index that jumps");
    ring.g.tx.avail_idx = GUEST_QUEUE - 1; /* a whole ring of the same head is legal */
    assert_int_equal(offer(0), 1);
    for (unsigned i = 0; i < GUEST_QUEUE; i++) {
        assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 1);
        uvm__vq_complete(&ring.q, &ring.el, 0);
    }
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 0);
    is_broken(offer(GUEST_QUEUE), "a head outside the queue");
    is_broken(offer(0xffff), "a head outside the queue");
}

static void lies_about_chains(void **state) {
    (void)state;
    desc(0, 0x900000, 1, NEXT, GUEST_QUEUE);
    is_broken(offer(0), "a next descriptor outside the queue");
    desc(0, 0x900000, 1, NEXT, 0);
    is_broken(offer(0), "a loop of descriptors");
    for (unsigned i = 0; i < GUEST_QUEUE; i++) { /* the longest loop */
        desc(i, 0x900000, 0, NEXT, (uint16_t)((i + 1) % GUEST_QUEUE));
    }
    is_broken(offer(0), "a loop of descriptors");
    for (unsigned i = 0; i < GUEST_QUEUE; i++) { /* the longest chain */
        desc(i, 0x900000 + i, 1, i + 1 < GUEST_QUEUE ? NEXT : 0, (uint16_t)(i + 1));
    }
    assert_int_equal(offer(0), 1);
    assert_int_equal(ring.el.readable_bytes, GUEST_QUEUE);
    start(true, true);
    desc(0, 0x900000, 1, WRITE | NEXT, 1);
    desc(1, 0x900000, 1, 0, 0);
    is_broken(offer(0), "a readable buffer after a writable one");
}

static void lies_about_addresses(void **state) {
    (void)state;
    static const struct {
        uint64_t addr;
        uint32_t len;
        const char *rule;
    } rows[] = {
        {GUEST_RAM_BYTES, 1, "a buffer outside the guest's memory"},
        {HOLE + 0x3fff, 2, "a buffer outside the guest's memory"},
        {HOLE - 4, 0x4005, "a buffer outside the guest's memory"},
        {0x900000, 0xffffffff, "a buffer outside the guest's memory"},
        {UINT64_MAX, 2, "a buffer beyond the end of the address space"},
        {UINT64_MAX - 0xfffffffd, 0xffffffff, "a buffer beyond the end of the address space"},
        {UINT64_MAX, 1, "a buffer outside the guest's memory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc(0, rows[i].addr, rows[i].len, 0, 0);
        is_broken(offer(0), rows[i].rule);
    }
}

static void lies_about_indirect_tables(void **state) {
    (void)state;
    static const struct {
        uint32_t len;
        uint16_t flags;
        const char *rule;
    } rows[] = {
        {0, INDIRECT, "an indirect table of impossible length"},
        {15, INDIRECT, "an indirect table of impossible length"},
        {17, INDIRECT, "an indirect table of impossible length"},
        {16 * (UVM__VQ_SIZE_MAX + 1), INDIRECT, "an indirect table of impossible length"},
        {0xfffffff0, INDIRECT, "an indirect table of impossible length"},
        {32, INDIRECT | NEXT, "an indirect descriptor that goes on"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        desc(0, 0x800000, rows[i].len, rows[i].flags, 1);
        is_broken(offer(0), rows[i].rule);
    }
    entry(0x800000, 0, 0x800000, 16, INDIRECT, 0);
    desc(0, 0x800000, 32, INDIRECT, 0);
    is_broken(offer(0), "an indirect descriptor in an indirect table");
    desc(0, 0x800000, 32, INDIRECT, 0);
    entry(0x800000, 0, 0x900000, 1, NEXT, 2);
    is_broken(offer(0), "a next descriptor outside its indirect table");
    desc(0, 0x800000, 32, INDIRECT, 0);
    entry(0x800000, 0, 0x900000, 1, NEXT, 1);
    entry(0x800000, 1, 0x900000, 1, NEXT, 0);
    is_broken(offer(0), "a loop of descriptors in an indirect table");
    desc(0, GUEST_RAM_BYTES, 32, INDIRECT, 0);
    is_broken(offer(0), "an indirect table outside the guest's memory");
    desc(0, HOLE + 0x3ff0, 32, INDIRECT, 0);
    entry(HOLE + 0x3ff0, 0, 0x900000, 1, NEXT, 1);
    is_broken(offer(0), "an indirect table outside the guest's memory");
    desc(0, UINT64_MAX - 15, 32, INDIRECT, 0);
    is_broken(offer(0), "an indirect table beyond the end of the address space");
    start(true, false);
    desc(0, 0x800000, 32, INDIRECT, 0);
    is_broken(offer(0), "an indirect descriptor that was not negotiated");
}

static void many_pieces(void **state) {
    (void)state;
    for (unsigned i = 0; i < UVM__VQ_SIZE_MAX; i++) {
        entry(0x800000, i, HOLE + 0x1fff, 1, NEXT, (uint16_t)(i + 1));
    }
    entry(0x800000, UVM__VQ_SIZE_MAX - 1, 0x900000, 1, 0, 0);
    desc(0, 0x800000, 16 * UVM__VQ_SIZE_MAX, INDIRECT, 0);
    assert_int_equal(offer(0), 1);
    assert_int_equal(ring.el.readable, UVM__VQ_SIZE_MAX);
    start(true, true);
    for (unsigned i = 0; i < UVM__VQ_SIZE_MAX - 1; i++) { /* each over a seam: twice as many */
        entry(0x800000, i, HOLE + 0x1fff, 2, NEXT, (uint16_t)(i + 1));
    }
    desc(0, 0x800000, 16 * UVM__VQ_SIZE_MAX, INDIRECT, 0);
    is_broken(offer(0), "an element of too many pieces");
}

/* The interrupt decision against the rule as the standard words it, over the wrap of the index. */
static void interrupts_by_event_index(void **state) {
    (void)state;
    desc(0, 0x900000, 8, 0, 0);
    uint32_t r = 7;
    bool first = true;
    uint16_t told = 0;
    unsigned wanted_count = 0;
    for (unsigned i = 0; i < 40000; i++) {
        r = r * 1664525u + 1013904223u;
        unsigned batch = 1 + (r >> 24) % 5;
        for (unsigned k = 0; k < batch; k++) {
            assert_int_equal(offer(0), 1);
            uvm__vq_complete(&ring.q, &ring.el, 0);
        }
        uint16_t event = (uint16_t)(ring.q.used_next - 8 + (r >> 16) % 16);
        ring.g.tx.used_seen = event;
        (void)guest_sleep(&ring.g, &ring.g.tx);
        bool wanted = first;
        for (uint16_t at = told; at != ring.q.used_next; at++) {
            wanted = wanted || at == event;
        }
        assert_int_equal(uvm__vq_show(&ring.q), wanted);
        wanted_count += wanted;
        assert_false(uvm__vq_show(&ring.q)); /* nothing new */
        told = ring.q.used_next;
        first = false;
    }
    assert_in_range(wanted_count, 1000, 39000);
}

static void interrupts_and_kicks_without_event_index(void **state) {
    (void)state;
    start(false, false);
    desc(0, 0x900000, 8, 0, 0);
    assert_false(guest_wants_kick(&ring.g, &ring.g.tx)); /* nothing offered */
    assert_int_equal(offer(0), 1);
    assert_false(guest_wants_kick(&ring.g, &ring.g.tx)); /* suppressed from the start */
    uvm__vq_complete(&ring.q, &ring.el, 0);
    assert_true(uvm__vq_show(&ring.q));
    guest_no_interrupts(&ring.g, &ring.g.tx);
    assert_int_equal(offer(0), 1);
    assert_true(uvm__vq_kicks_on(&ring.q)); /* one is there */
    uvm__vq_complete(&ring.q, &ring.el, 0);
    assert_false(uvm__vq_show(&ring.q));
    assert_false(uvm__vq_kicks_on(&ring.q));
    guest_offer(&ring.g, &ring.g.tx, 0);
    assert_true(guest_wants_kick(&ring.g, &ring.g.tx));
    uvm__vq_kicks_off(&ring.q);
    guest_offer(&ring.g, &ring.g.tx, 0);
    assert_false(guest_wants_kick(&ring.g, &ring.g.tx));
}

static void kicks_by_event_index(void **state) {
    (void)state;
    desc(0, 0x900000, 8, 0, 0);
    for (unsigned i = 0; i < 70000; i++) { /* over the wrap */
        assert_false(uvm__vq_kicks_on(&ring.q));
        guest_offer(&ring.g, &ring.g.tx, 0);
        assert_true(guest_wants_kick(&ring.g, &ring.g.tx));
        guest_offer(&ring.g, &ring.g.tx, 0);
        assert_false(guest_wants_kick(&ring.g, &ring.g.tx)); /* one kick is enough */
        uvm__vq_kicks_off(&ring.q);
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 1);
            uvm__vq_complete(&ring.q, &ring.el, 0);
            if (k == 0) {
                guest_offer(&ring.g, &ring.g.tx, 0);
                assert_false(guest_wants_kick(&ring.g, &ring.g.tx));
            }
        }
        (void)uvm__vq_show(&ring.q);
        assert_true(uvm__vq_kicks_on(&ring.q));
        assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 1);
        uvm__vq_complete(&ring.q, &ring.el, 0);
    }
}

static void a_moved_ring_goes_on(void **state) {
    (void)state;
    desc(0, 0x900000, 8, 0, 0);
    assert_int_equal(offer(0), 1);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    guest_offer(&ring.g, &ring.g.tx, 0);
    struct uvm__guest_mem old = ring.mem;
    uvm__guest_mem_init(&ring.mem, ring.engine, UINT64_MAX);
    add_region(0, GUEST_RAM_BYTES);
    uint64_t n = UINT64_MAX;
    uint64_t m = n;
    uint64_t k = n;
    uvm__vq_move(&ring.q, uvm__guest_mem_at(&ring.mem, ring.g.tx.desc, &n),
                 uvm__guest_mem_at(&ring.mem, ring.g.tx.avail, &m),
                 uvm__guest_mem_at(&ring.mem, ring.g.tx.used, &k));
    uvm__guest_mem_deinit(&old);
    assert_int_equal(uvm__vq_peek(&ring.q, &ring.el), 1);
    uvm__vq_complete(&ring.q, &ring.el, 0);
    (void)uvm__vq_show(&ring.q);
    assert_int_equal(guest_used_idx(&ring.g, &ring.g.tx), 2);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(elements_come_in_order_and_go_back),
        CASE(indirect_tables),
        CASE(buffers_over_seams_and_empty_ones),
        CASE(lies_about_the_index),
        CASE(lies_about_chains),
        CASE(lies_about_addresses),
        CASE(lies_about_indirect_tables),
        CASE(many_pieces),
        CASE(interrupts_by_event_index),
        CASE(interrupts_and_kicks_without_event_index),
        CASE(kicks_by_event_index),
        CASE(a_moved_ring_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
