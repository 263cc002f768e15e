/* SPDX-License-Identifier: MIT
 * bridge_peer.c — a scripted bridge peer over loopback.
 *
 * Everything is synchronous for the test: peer_run() turns the engine until nothing is ready. cJSON's
 * memory is not the engine's, so its hooks are set, too: a test program may do that.
 */
#include "bridge_peer.h"
#include "tests/unit/heap.h"
#include <stdlib.h>
#include <string.h>

static struct heap heap;

static void *tree_malloc(size_t bytes) {
    return heap_fails(&heap) ? NULL : malloc(bytes);
}

unsigned peer_fail_at(unsigned fail_at, bool for_good) {
    unsigned before = heap.allocs;
    heap.allocs = 0;
    heap.fail_at = fail_at;
    heap.fail_for_good = for_good;
    return before;
}

void peer_open(struct peer *p, size_t window_bytes) {
    struct uvm_allocator allocator = heap_allocator(&heap);
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    params.allocator = &allocator;
    cJSON_Hooks hooks = {tree_malloc, free};
    cJSON_InitHooks(&hooks);
    memset(p, 0, sizeof *p);
    (void)peer_fail_at(0, false);
    assert_int_equal(uvm__engine_new_virtual(&params, 7, &p->engine), 0);
    assert_int_equal(uvm__loopback_new(p->engine, window_bytes, &p->host, &p->guest), 0);
    uvm__frame_reader_init(&p->reader, p->engine, 1u << 30);
    peer_connect(p);
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *stream, void *arg) {
    (void)l;
    *(struct uvm__stream **)arg = stream;
}

void peer_connect(struct peer *p) {
    struct uvm__listener *l;
    struct uvm__listen_params params = {
        .port = 0x50000000u, .once = true, .on_accept = on_accept, .arg = &p->ours};
    uvm_op *op;
    uvm__frame_reader_reset(&p->reader);
    assert_null(p->theirs);
    assert_int_equal(uvm__hvsock_listen(p->host, &params, &l), 0);
    assert_int_equal(uvm__hvsock_connect(p->guest, 0x50000000u, NULL, NULL, NULL, &op), 0);
    peer_run(p);
    p->theirs = uvm__hvsock_connect_result(op);
    assert_non_null(p->theirs);
    assert_non_null(p->ours);
    uvm_op_unref(op);
    uvm__listener_close(l);
}

void peer_close(struct peer *p) {
    (void)peer_fail_at(0, false);
    peer_hang_up(p);
    peer_run(p);
    uvm__frame_reader_deinit(&p->reader);
    uvm__loopback_free(p->host, p->guest);
    peer_run(p);
    uvm__engine_free_virtual(p->engine);
    cJSON_InitHooks(NULL);
}

void peer_run(struct peer *p) {
    for (unsigned i = 0; uvm__engine_turn(p->engine); i++) {
        assert_true(i < 1000000); /* something spins */
    }
}

void peer_advance(struct peer *p, uint64_t ms) {
    uvm__engine_advance(p->engine, ms);
    peer_run(p);
}

void peer_send_raw(struct peer *p, const void *data, size_t bytes) {
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t n = uvm__stream_write(p->theirs, at, bytes);
        if (n == -UVM_E_AGAIN) {
            peer_run(p);
            n = uvm__stream_write(p->theirs, at, bytes);
        }
        assert_true(n > 0);
        at += n;
        bytes -= (size_t)n;
    }
}

void peer_send(struct peer *p, uint32_t type, uint64_t id, const char *body) {
    uint8_t header[UVM__FRAME_HEADER_BYTES];
    struct uvm__frame_header h = {type, (uint32_t)(UVM__FRAME_HEADER_BYTES + strlen(body)), id};
    uvm__frame_header_write(&h, header);
    peer_send_raw(p, header, sizeof header);
    peer_send_raw(p, body, strlen(body));
}

bool peer_receive(struct peer *p, struct uvm__frame_header *ret) {
    struct uvm__frame frame;
    struct uvm__fail f;
    for (;;) {
        int rc = uvm__frame_reader_next(&p->reader, &frame, &f);
        assert_true(rc >= 0);
        if (rc == 1) {
            assert_true(frame.body_bytes < sizeof p->body);
            memcpy(p->body, frame.body, frame.body_bytes);
            p->body[frame.body_bytes] = 0;
            *ret = frame.header;
            uvm__frame_reader_drop(&p->reader);
            return true;
        }
        ssize_t n = uvm__frame_reader_fill(&p->reader, p->theirs);
        if (n == -UVM_E_AGAIN) {
            peer_run(p);
            n = uvm__frame_reader_fill(&p->reader, p->theirs);
        }
        if (n <= 0) {
            return false;
        }
    }
}

bool peer_at_end(struct peer *p) {
    char byte;
    ssize_t n = uvm__stream_read(p->theirs, &byte, 1);
    assert_true(n <= 0);
    return n == 0 || n == -UVM_E_CLOSED;
}

void peer_hang_up(struct peer *p) {
    if (p->theirs != NULL) {
        uvm__stream_close(p->theirs);
        p->theirs = NULL;
    }
}
