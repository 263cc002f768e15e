/* SPDX-License-Identifier: MIT
 * vsock_bed.c — a device without a front end: the rings are started by the test itself.
 *
 * The memory goes through the real table (a sealed memfd, mapped a second time), so what the guest's side
 * writes and what the device reads are two mappings, as in life.
 */
#include "tests/unit/vsock_bed.h"
#include "async/engine.h"
#include <stdlib.h>
#include <string.h>

static void on_interrupt(unsigned queue, void *arg) {
    struct bed *b = arg;
    b->interrupts[queue]++;
}

static void on_broken(unsigned queue, const char *rule, void *arg) {
    struct bed *b = arg;
    (void)queue;
    assert_null(b->broken);
    b->broken = rule;
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    struct bed *b = arg;
    (void)l;
    b->accepted = s;
    b->accepted_count++;
}

void bed_on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct bed *b = arg;
    (void)op;
    b->done++;
    b->code = err == NULL ? 0 : (int)uvm_error_code(err);
}

struct bed *bed_open(const struct uvm__virtio_vsock_params *params) {
    struct bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    guest_open(&b->g);
    struct uvm_allocator a = heap_allocator(&b->heap);
    struct uvm_engine_params ep = UVM_ENGINE_PARAMS_INIT;
    ep.allocator = &a;
    assert_int_equal(uvm__engine_new_virtual(&ep, 3, &b->engine), 0);
    uvm__guest_mem_init(&b->mem, b->engine, UINT64_MAX);
    struct uvm__guest_region_desc d = {.bytes = b->g.ram_bytes, .user = 0x7f0000000000};
    struct uvm__fail f;
    assert_int_equal(uvm__guest_mem_add(&b->mem, &d, b->g.memfd, &f), 0);
    struct uvm__virtio_vsock_params p = *params;
    p.guest_cid = GUEST_CID;
    p.interrupt = on_interrupt;
    p.broken = on_broken;
    p.arg = b;
    assert_int_equal(uvm__virtio_vsock_init(&b->v, b->engine, &p), 0);
    struct uvm__listen_params lp = {.port = BED_PORT, .on_accept = on_accept, .arg = b};
    assert_int_equal(uvm__hvsock_listen(&b->v.hvsock, &lp, &b->listener), 0);
    return b;
}

void bed_close(struct bed *b) {
    bed_stop(b);
    uvm_op_unref(b->op);
    uvm__listener_close(b->listener);
    uvm__virtio_vsock_deinit(&b->v);
    uvm__guest_mem_deinit(&b->mem);
    bed_turn(b);
    uvm__engine_free_virtual(b->engine);
    assert_int_equal(b->heap.live, 0);
    guest_close(&b->g);
    free(b);
}

int bed_setup(void **state) {
    struct uvm__virtio_vsock_params none = {0};
    struct bed *b = bed_open(&none);
    bed_start(b);
    *state = b;
    return 0;
}

int bed_teardown(void **state) {
    bed_close(*state);
    return 0;
}

static void start_queue(struct bed *b, unsigned queue, struct guest_ring *r) {
    uint64_t n = UINT64_MAX;
    uint64_t m = n;
    uint64_t k = n;
    struct uvm__vq_params p = {.desc = uvm__guest_mem_at(&b->mem, r->desc, &n),
                               .avail = uvm__guest_mem_at(&b->mem, r->avail, &m),
                               .used = uvm__guest_mem_at(&b->mem, r->used, &k),
                               .size = r->size,
                               .event_idx = b->g.event_idx,
                               .indirect = b->g.indirect};
    uvm__vq_start(&b->queues[queue], &b->mem, &p);
    uvm__virtio_vsock_queue_on(&b->v, queue, &b->queues[queue]);
}

void bed_start(struct bed *b) {
    guest_post(&b->g, GUEST_QUEUE);
    start_queue(b, UVM__VSOCK_RX, &b->g.rx);
    start_queue(b, UVM__VSOCK_TX, &b->g.tx);
    bed_turn(b);
}

void bed_stop(struct bed *b) {
    uvm__virtio_vsock_queue_off(&b->v, UVM__VSOCK_RX);
    uvm__virtio_vsock_queue_off(&b->v, UVM__VSOCK_TX);
}

void bed_turn(struct bed *b) {
    while (uvm__engine_turn(b->engine)) {
    }
}

void bed_kick(struct bed *b) {
    uvm__virtio_vsock_kick(&b->v);
    bed_turn(b);
}

void bed_advance(struct bed *b, uint64_t ms) {
    uvm__engine_advance(b->engine, ms);
    bed_turn(b);
}

void bed_settle(struct bed *b) {
    bed_kick(b);
    bed_advance(b, 2);
}

struct guest_conn bed_guest_conn(struct bed *b, uint32_t guest_port) {
    return (struct guest_conn){
        .g = &b->g, .guest_port = guest_port, .host_port = BED_PORT, .buf_alloc = 262144};
}

struct guest_header bed_expect(struct bed *b, struct guest_conn *c, uint16_t op) {
    struct guest_header h;
    assert_true(guest_take(&b->g, &h, b->payload));
    assert_int_equal(h.op, op);
    guest_book(c, &h);
    guest_post(&b->g, GUEST_QUEUE);
    return h;
}

void bed_expect_nothing(struct bed *b) {
    struct guest_header h;
    assert_false(guest_take(&b->g, &h, NULL));
}

struct uvm__stream *bed_accept(struct bed *b, struct guest_conn *c) {
    b->accepted = NULL;
    assert_true(guest_say(c, 1, 0));
    bed_kick(b);
    bed_expect(b, c, 2);
    assert_non_null(b->accepted);
    return b->accepted;
}

struct uvm__stream *bed_connect(struct bed *b, uint32_t port, struct guest_conn *c) {
    b->op = uvm_op_unref(b->op);
    int before = b->done;
    assert_int_equal(uvm__hvsock_connect(&b->v.hvsock, port, NULL, bed_on_done, b, &b->op), 0);
    bed_turn(b);
    struct guest_header h;
    assert_true(guest_take(&b->g, &h, NULL));
    assert_int_equal(h.op, 1);
    assert_int_equal(h.dst_port, port);
    *c = bed_guest_conn(b, port);
    c->host_port = h.src_port;
    guest_book(c, &h);
    guest_post(&b->g, GUEST_QUEUE);
    assert_true(guest_say(c, 2, 0));
    bed_kick(b);
    assert_int_equal(b->done, before + 1);
    assert_int_equal(b->code, 0);
    struct uvm__stream *s = uvm__hvsock_connect_result(b->op);
    assert_non_null(s);
    return s;
}

size_t bed_pump(struct bed *b, struct guest_conn *c) {
    struct guest_header h;
    size_t bytes = 0;
    while (guest_take(&b->g, &h, b->payload)) {
        guest_book(c, &h);
        bytes += h.op == 5 ? h.len : 0;
    }
    if (guest_post(&b->g, GUEST_QUEUE) > 0) {
        bed_kick(b);
    }
    return bytes;
}
