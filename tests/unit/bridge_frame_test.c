/* SPDX-License-Identifier: MIT
 * bridge_frame_test.c — headers byte by byte, frames in every segmentation, and sizes that lie.
 */
#include "async/engine.h"
#include "bridge/frame.h"
#include "cm.h"
#include <stdlib.h>
#include <string.h>

/* An allocator that remembers the largest block and can fail. */
struct counting {
    size_t largest;
    bool fail;
};

static void *take(void *ptr, size_t bytes, struct counting *c) {
    if (c->fail) {
        return NULL;
    }
    c->largest = bytes > c->largest ? bytes : c->largest;
    return realloc(ptr, bytes);
}

static void *counting_malloc(size_t bytes, void *arg) {
    return take(NULL, bytes, arg);
}

static void *counting_realloc(void *ptr, size_t bytes, void *arg) {
    return take(ptr, bytes, arg);
}

static void counting_free(void *ptr, void *arg) {
    (void)arg;
    free(ptr);
}

static struct counting counting;
static uvm_engine *engine;

static int setup(void **state) {
    (void)state;
    static const struct uvm_allocator allocator = {counting_malloc, counting_realloc, counting_free,
                                                   &counting};
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    params.allocator = &allocator;
    return uvm__engine_new_virtual(&params, 1, &engine);
}

static int teardown(void **state) {
    (void)state;
    uvm__engine_free_virtual(engine);
    return 0;
}

static void headers_are_little_endian(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0x01, 0x05, 0x10, 0x10, 0x9a, 0x01, 0, 0,
                                    6,    0,    0,    0,    0,    0,    0, 0x80};
    struct uvm__frame_header h;
    uvm__frame_header_read(bytes, &h);
    assert_int_equal(h.type, 0x10100501);
    assert_int_equal(h.size, 0x19a);
    assert_true(h.id == 0x8000000000000006u);
    uint8_t again[UVM__FRAME_HEADER_BYTES];
    uvm__frame_header_write(&h, again);
    assert_memory_equal(again, bytes, sizeof bytes);
}

static size_t put_frame(uint8_t *at, uint32_t type, uint64_t id, size_t body_bytes) {
    struct uvm__frame_header h = {type, (uint32_t)(UVM__FRAME_HEADER_BYTES + body_bytes), id};
    uvm__frame_header_write(&h, at);
    for (size_t i = 0; i < body_bytes; i++) {
        at[UVM__FRAME_HEADER_BYTES + i] = (uint8_t)(id * 31 + i);
    }
    return h.size;
}

static void assert_body(const struct uvm__frame *frame) {
    for (size_t i = 0; i < frame->body_bytes; i++) {
        assert_int_equal(frame->body[i], (uint8_t)(frame->header.id * 31 + i));
    }
}

static void every_segmentation_gives_the_same_frames(void **state) {
    (void)state;
    static const size_t bodies[] = {0, 1, 109, 4080, 4081, 20000, 65520, 0, 5};
    static uint8_t wire[100000];
    size_t wire_bytes = 0;
    for (size_t i = 0; i < 9; i++) {
        wire_bytes += put_frame(wire + wire_bytes, 0x20100101, i, bodies[i]);
    }
    static const size_t pieces[] = {1, 2, 15, 16, 17, 1000, 4096, 4097, 100000};
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        struct uvm__frame_reader r;
        struct uvm__fail f;
        struct uvm__frame frame;
        uvm__frame_reader_init(&r, engine, 65536);
        size_t at = 0;
        size_t seen = 0;
        while (at < wire_bytes) {
            size_t n = wire_bytes - at < pieces[p] ? wire_bytes - at : pieces[p];
            ssize_t took = uvm__frame_reader_feed(&r, wire + at, n);
            assert_true(took > 0);
            at += (size_t)took;
            while (uvm__frame_reader_next(&r, &frame, &f) == 1) {
                assert_int_equal(frame.header.id, seen);
                assert_int_equal(frame.body_bytes, bodies[seen]);
                assert_body(&frame);
                assert_int_equal(uvm__frame_reader_next(&r, &frame, &f), 1); /* the same one */
                assert_int_equal(frame.header.id, seen);
                uvm__frame_reader_drop(&r);
                seen++;
            }
        }
        assert_int_equal(seen, 9);
        assert_false(uvm__frame_reader_partial(&r));
        assert_true(r.cap <= 4096); /* the large block is given back */
        uvm__frame_reader_deinit(&r);
    }
}

static void sizes_that_lie_are_refused_by_their_header(void **state) {
    (void)state;
    static const struct {
        uint32_t size;
        int rc;
    } rows[] = {
        {0, -UVM_E_PROTOCOL},
        {1, -UVM_E_PROTOCOL},
        {15, -UVM_E_PROTOCOL},
        {16, 1},
        {17, 0},
        {65536, 0},
        {65537, -UVM_E_PROTOCOL},
        {0x80000000u, -UVM_E_PROTOCOL},
        {UINT32_MAX, -UVM_E_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uvm__frame_reader r;
        struct uvm__fail f = {0};
        struct uvm__frame frame;
        uint8_t header[UVM__FRAME_HEADER_BYTES];
        struct uvm__frame_header h = {0x20100101, rows[i].size, 3};
        uvm__frame_header_write(&h, header);
        uvm__frame_reader_init(&r, engine, 65536);
        assert_int_equal(uvm__frame_reader_feed(&r, header, sizeof header), sizeof header);
        assert_int_equal(uvm__frame_reader_next(&r, &frame, &f), rows[i].rc);
        assert_int_equal(f.msg[0] != 0, rows[i].rc < 0);
        if (rows[i].rc < 0) {
            /* Nothing more goes in. */
            assert_int_equal(uvm__frame_reader_feed(&r, header, sizeof header), 0);
        }
        uvm__frame_reader_deinit(&r);
    }
}

static void a_promise_allocates_nothing(void **state) {
    (void)state;
    struct uvm__frame_reader r;
    uint8_t header[UVM__FRAME_HEADER_BYTES];
    struct uvm__frame_header h = {0x10100501, 16u << 20, 0};
    uvm__frame_header_write(&h, header);
    uvm__frame_reader_init(&r, engine, 16u << 20);
    counting.largest = 0;
    assert_int_equal(uvm__frame_reader_feed(&r, header, sizeof header), sizeof header);
    static uint8_t data[4096];
    for (size_t sent = sizeof header; sent < 100000;) {
        ssize_t n = uvm__frame_reader_feed(&r, data, sizeof data);
        assert_true(n > 0);
        sent += (size_t)n;
        assert_true(counting.largest <= 2 * sent + 4096);
    }
    uvm__frame_reader_deinit(&r);
}

static void lack_of_memory_takes_nothing(void **state) {
    (void)state;
    struct uvm__frame_reader r;
    struct uvm__fail f;
    struct uvm__frame frame;
    uint8_t wire[64];
    size_t bytes = put_frame(wire, 1, 7, 20);
    uvm__frame_reader_init(&r, engine, 65536);
    counting.fail = true;
    assert_int_equal(uvm__frame_reader_feed(&r, wire, bytes), -UVM_E_NOMEM);
    counting.fail = false;
    assert_false(uvm__frame_reader_partial(&r));
    assert_int_equal(uvm__frame_reader_feed(&r, wire, bytes), bytes);
    assert_int_equal(uvm__frame_reader_next(&r, &frame, &f), 1);
    assert_body(&frame);
    uvm__frame_reader_deinit(&r);
}

static void a_frame_is_built_within_its_limit(void **state) {
    (void)state;
    struct uvm__buf b;
    uvm__buf_init(&b, engine, 1000);
    assert_int_equal(uvm__frame_begin(&b), 0);
    assert_int_equal(uvm__buf_puts(&b, "{}\n"), 0);
    assert_int_equal(uvm__frame_end(&b, 0x10100b01, 0, 18), -UVM_E_LIMIT);
    assert_int_equal(uvm__frame_end(&b, 0x10100b01, 0, 19), 0);
    uvm__frame_set_id(&b, 0x0102030405060708u);
    static const uint8_t want[] = {0x01, 0x0b, 0x10, 0x10, 19,   0,    0,   0,   0x08, 0x07,
                                   0x06, 0x05, 0x04, 0x03, 0x02, 0x01, '{', '}', '\n'};
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    uvm__buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_little_endian),
        cmocka_unit_test(every_segmentation_gives_the_same_frames),
        cmocka_unit_test(sizes_that_lie_are_refused_by_their_header),
        cmocka_unit_test(a_promise_allocates_nothing),
        cmocka_unit_test(lack_of_memory_takes_nothing),
        cmocka_unit_test(a_frame_is_built_within_its_limit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
