/* SPDX-License-Identifier: MIT
 * vsock_engine_fuzz.c — any packets from a guest, and anything that the host does meanwhile.
 *
 * Input: one byte of action and what it needs. The rings are sound (their lies have a fuzzer of their own);
 * headers are made of the input's bytes over a few ports, so that conversations come about and go wrong.
 * What must hold: the engine's own assertions; every packet to the guest is well formed; credit is never
 * overrun as long as the guest's numbers make sense; at the end all goes.
 */
#include "async/check.h"
#include "async/engine.h"
#include "hvsock/vsock_conn.h"
#include "tests/unit/vsock_guest.h"
#include <stdlib.h>
#include <string.h>

enum { PORTS = 4, HOLD = 8, ACTIONS_MAX = 400 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct {
    uvm_engine *engine;
    struct guest g;
    struct uvm__guest_mem mem;
    struct uvm__vq queues[2];
    struct uvm__virtio_vsock v;
    struct uvm__stream *held[HOLD];
} bed;

static void hold(struct uvm__stream *s) {
    for (unsigned i = 0; i < HOLD; i++) {
        if (bed.held[i] == NULL) {
            bed.held[i] = s;
            return;
        }
    }
    uvm__stream_reset(s);
}

static void on_event(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    (void)arg;
    UVM_ASSERT(events != 0);
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    (void)l;
    (void)arg;
    uvm__stream_set_handler(s, on_event, NULL);
    hold(s);
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    (void)arg;
    if (err == NULL) {
        hold(uvm__hvsock_connect_result(op));
    }
}

static void on_interrupt(unsigned queue, void *arg) {
    (void)queue;
    (void)arg;
}

static void on_broken(unsigned queue, const char *rule, void *arg) {
    (void)queue;
    (void)rule;
    (void)arg;
    abort(); /* these rings are sound */
}

static void start_queue(unsigned queue, struct guest_ring *r) {
    uint64_t n[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct uvm__vq_params p = {.desc = uvm__guest_mem_at(&bed.mem, r->desc, &n[0]),
                               .avail = uvm__guest_mem_at(&bed.mem, r->avail, &n[1]),
                               .used = uvm__guest_mem_at(&bed.mem, r->used, &n[2]),
                               .size = r->size,
                               .event_idx = true,
                               .indirect = true};
    uvm__vq_start(&bed.queues[queue], &bed.mem, &p);
    uvm__virtio_vsock_queue_on(&bed.v, queue, &bed.queues[queue]);
}

static void turn(void) {
    for (unsigned i = 0; i < 100 && uvm__engine_turn(bed.engine); i++) {
    }
}

static void take(void) {
    static uint8_t payload[65536];
    struct guest_header h;
    while (guest_take(&bed.g, &h, payload)) {
        UVM_ASSERT(h.src_cid == 2 && h.dst_cid == GUEST_CID && h.op >= 1 && h.op <= 7);
        UVM_ASSERT((h.op == 5) == (h.len > 0));
    }
    UVM_ASSERT(guest_bad_lengths == 0);
    (void)guest_post(&bed.g, GUEST_QUEUE);
}

static void packet(const uint8_t b[8]) {
    static uint8_t payload[65536];
    struct guest_header h = {.src_cid = GUEST_CID,
                             .dst_cid = 2,
                             .src_port = 1000 + b[0] % PORTS,
                             .dst_port = (b[0] & 0x80) != 0 ? 0x60000000u + b[1] % 8 : b[1] % PORTS,
                             .type = b[2] == 0xff ? 2 : 1,
                             .op = b[2] == 0xfe ? 9 : b[2] % 8,
                             .flags = b[3],
                             .buf_alloc = (uint32_t)b[4] << 10,
                             .fwd_cnt = (uint32_t)b[5] << (b[6] & 15)};
    h.len = h.op == 5 ? 1 + b[7] * 257u : 0;
    (void)guest_send(&bed.g, &h, payload);
}

static void host(uint8_t what, uint8_t which, uint8_t how) {
    static uint8_t buf[70000];
    struct uvm__stream **s = &bed.held[which % HOLD];
    size_t n = 1 + how * 273u;
    if (what == 5) {
        (void)uvm__hvsock_connect(&bed.v.hvsock, 1000 + which % PORTS, NULL, on_dialled, NULL,
                                  NULL);
        return;
    }
    if (what == 6) {
        uvm__engine_advance(bed.engine, how * 40ull);
        return;
    }
    if (*s == NULL) {
        return;
    }
    switch (what) {
    case 0:
        (void)uvm__stream_read(*s, buf, n);
        break;
    case 1:
        (void)uvm__stream_write(*s, buf, n);
        break;
    case 2:
        uvm__stream_shutdown(*s);
        break;
    case 3:
        uvm__stream_close(*s);
        *s = NULL;
        break;
    default:
        uvm__stream_reset(*s);
        *s = NULL;
        break;
    }
}

static void act(const uint8_t b[9]) {
    switch (b[0] % 16) {
    case 0:
        take();
        break;
    case 1:
        turn();
        break;
    case 2: /* a pause, or another life of the driver */
        uvm__virtio_vsock_queue_off(&bed.v, 0);
        uvm__virtio_vsock_queue_off(&bed.v, 1);
        if ((b[1] & 1) != 0) {
            guest_restart(&bed.g);
            (void)guest_post(&bed.g, GUEST_QUEUE);
            uvm__virtio_vsock_reset(&bed.v);
            start_queue(0, &bed.g.rx);
            start_queue(1, &bed.g.tx);
        } else {
            uvm__virtio_vsock_queue_on(&bed.v, 0, &bed.queues[0]);
            uvm__virtio_vsock_queue_on(&bed.v, 1, &bed.queues[1]);
        }
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        host(b[1] % 7, b[2], b[3]);
        break;
    default:
        packet(b + 1);
        uvm__virtio_vsock_kick(&bed.v);
        break;
    }
}

static void open_bed(void) {
    memset(&bed, 0, sizeof bed);
    guest_open(&bed.g);
    int rc = uvm__engine_new_virtual(NULL, 1, &bed.engine);
    UVM_ASSERT(rc == 0);
    uvm__guest_mem_init(&bed.mem, bed.engine, UINT64_MAX);
    struct uvm__guest_region_desc d = {.bytes = bed.g.ram_bytes, .user = 4096};
    struct uvm__fail f;
    rc = uvm__guest_mem_add(&bed.mem, &d, bed.g.memfd, &f);
    UVM_ASSERT(rc == 0);
    struct uvm__virtio_vsock_params p = {.guest_cid = GUEST_CID,
                                         .streams_max = 16,
                                         .window_bytes = 65536,
                                         .interrupt = on_interrupt,
                                         .broken = on_broken};
    rc = uvm__virtio_vsock_init(&bed.v, bed.engine, &p);
    UVM_ASSERT(rc == 0);
    (void)guest_post(&bed.g, GUEST_QUEUE);
    start_queue(0, &bed.g.rx);
    start_queue(1, &bed.g.tx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    open_bed();
    struct uvm__listener *l[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct uvm__listen_params lp = {.port = i, .live_max = 4 * i, .on_accept = on_accept};
        int rc = uvm__hvsock_listen(&bed.v.hvsock, &lp, &l[i]);
        UVM_ASSERT(rc == 0);
    }
    for (unsigned i = 0; i < ACTIONS_MAX && bytes > 0; i++) {
        uint8_t b[9] = {0};
        size_t n = bytes < sizeof b ? bytes : sizeof b;
        memcpy(b, data, n);
        act(b);
        /* Short actions take few bytes, so that inputs stay small. */
        n = b[0] % 16 < 3 ? 2 : b[0] % 16 < 7 ? 4 : n;
        n = n < bytes ? n : bytes;
        data += n;
        bytes -= n;
    }
    turn();
    take();
    uvm__virtio_vsock_queue_off(&bed.v, 0);
    uvm__virtio_vsock_queue_off(&bed.v, 1);
    uvm__virtio_vsock_deinit(&bed.v);
    for (unsigned i = 0; i < 2; i++) {
        uvm__listener_close(l[i]);
    }
    turn();
    for (unsigned i = 0; i < HOLD; i++) {
        if (bed.held[i] != NULL) {
            uvm__stream_close(bed.held[i]);
        }
    }
    uvm__guest_mem_deinit(&bed.mem);
    uvm__engine_free_virtual(bed.engine);
    guest_close(&bed.g);
    return 0;
}
