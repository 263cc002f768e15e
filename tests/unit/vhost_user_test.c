/* SPDX-License-Identifier: MIT
 * vhost_user_test.c — the vsock device behind a front end that plays the real one's part: start, pause, reset,
 * memory that changes, interrupts, and no memory of our own.
 */
#include "tests/unit/vhost_user_kit.h"

static void the_real_sequence(void **state) {
    struct front *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1) { /* and with memory region by region */
            teardown(state);
            setup(state);
            f->slots = true;
        }
        front_realize(f);
        assert_true(front_signalled(f->call[0])); /* at once: one may have been lost */
        assert_true(front_signalled(f->call[1]));
        guest_post(&f->g, GUEST_QUEUE);
        front_driver_ok(f, 0, 0);
        assert_int_equal(f->starts, 1);
        assert_true(front_signalled(f->call[0]));
        assert_true(front_signalled(f->call[1]));
        struct guest_conn c = front_conn(f, 1);
        front_accept(f, &c);
        front_still_works(f, &c, f->accepted);
        front_still_works(f, &c, f->accepted);
        uint32_t rx;
        uint32_t tx;
        front_stop(f, &rx, &tx);
        assert_int_equal(rx, guest_used_idx(&f->g, &f->g.rx));
        assert_int_equal(tx, guest_used_idx(&f->g, &f->g.tx));
        close(f->fd);
        f->fd = -1;
        front_turns(f);
        assert_true(f->ended);
        assert_int_equal(f->end_code, 0);
    }
}

/* A pause: everything is sent again, the bases are those we gave. The stream does not notice. */
static void a_pause_keeps_the_streams(void **state) {
    struct front *f = *state;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t rx;
        uint32_t tx;
        assert_int_equal(guest_write(&c, "x", 1), 1); /* offered, never kicked for */
        front_stop(f, &rx, &tx);
        uint16_t used = guest_used_idx(&f->g, &f->g.tx);
        assert_int_equal(uvm__stream_write(f->accepted, "y", 1), 1);
        front_turns(f);
        assert_int_equal(guest_used_idx(&f->g, &f->g.tx), used); /* nobody touches the rings */
        front_driver_ok(f, rx, tx);
        char byte;
        assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), 1);
        struct guest_header h;
        assert_true(guest_take(&f->g, &h, &byte));
        assert_int_equal(h.op, 5);
        guest_book(&c, &h);
        guest_post(&f->g, GUEST_QUEUE);
        front_still_works(f, &c, f->accepted);
    }
    assert_int_equal(f->starts, 11);
}

/* A reset: the same messages, but the driver begins anew. */
static void a_reset_drops_them(void **state) {
    struct front *f = *state;
    uint32_t rx;
    uint32_t tx;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    assert_int_equal(uvm__stream_write(f->accepted, "old", 3), 3);
    front_stop(f, &rx, &tx);
    assert_int_equal(uvm__stream_write(f->accepted, "older", 5), 5);
    guest_restart(&f->g);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    char byte;
    struct guest_header h;
    assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), -UVM_E_CLOSED);
    assert_false(guest_take(&f->g, &h, NULL));
    c = front_conn(f, 1);
    front_accept(f, &c);
    front_still_works(f, &c, f->accepted);
    /* The same bases by chance, but rings elsewhere: another driver, too. */
    front_stop(f, &rx, &tx);
    uint64_t moved = 0x3000;
    memcpy(guest_at(&f->g, f->g.rx.used + moved), guest_at(&f->g, f->g.rx.used), 0x600);
    f->g.rx.used += moved;
    front_driver_ok(f, rx, tx);
    assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), -UVM_E_CLOSED);
}

static uint64_t set_two_regions(struct front *f, uint64_t seam, const int fds[2]) {
    uint32_t count[2] = {2, 0};
    uint64_t regions[8] = {0,   seam, FRONT_USER, 0, seam, f->g.ram_bytes - seam, FRONT_USER + seam,
                           seam};
    uint8_t raw[72];
    memcpy(raw, count, 8);
    memcpy(raw + 8, regions, 64);
    return front_acked(f, SET_MEM_TABLE, raw, sizeof raw, fds, 2);
}

/* G13: the table changes under a running device, whole or in parts. */
static void memory_changes_while_it_runs(void **state) {
    struct front *f = *state;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    for (unsigned i = 0; i < 20; i++) {
        int fds[2] = {f->g.memfd, f->g.memfd};
        assert_int_equal(guest_write(&c, "x", 1), 1);
        assert_int_equal(set_two_regions(f, (100ull + i) * 4096, fds), 0);
        char byte;
        front_kick(f);
        assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), 1);
        front_still_works(f, &c, f->accepted);
        front_memory(f);
        front_still_works(f, &c, f->accepted);
    }
}

static void regions_come_and_go(void **state) {
    struct front *f = *state;
    f->slots = true;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    uint64_t words[5] = {0, 1ull << 40, 4096, 0x1000, 0};
    for (unsigned i = 0; i < 300; i++) {
        words[1] = (1ull << 40) + i * 4096ull;
        words[3] = 0x100000 + i * 4096ull;
        words[4] = i * 4096ull;
        assert_int_equal(front_acked(f, ADD_MEM_REG, words, sizeof words, &f->g.memfd, 1), 0);
    }
    front_still_works(f, &c, f->accepted);
    /* The same one again (a front end that forgot): replaced. */
    assert_int_equal(front_acked(f, ADD_MEM_REG, words, sizeof words, &f->g.memfd, 1), 0);
    front_memory(f); /* even the one with the rings in it */
    front_still_works(f, &c, f->accepted);
    for (unsigned i = 300; i-- > 0;) {
        words[1] = (1ull << 40) + i * 4096ull;
        words[3] = 0x100000 + i * 4096ull;
        words[4] = 0;
        assert_int_equal(front_acked(f, REM_MEM_REG, words, sizeof words, NULL, 0), 0);
    }
    front_still_works(f, &c, f->accepted);
    /* 37: the region with the rings goes: they are off, and nobody looks there. */
    assert_false(front_signalled(f->err[0]));
    uint64_t all[5] = {0, 0, f->g.ram_bytes, FRONT_USER, 0};
    assert_int_equal(front_acked(f, REM_MEM_REG, all, sizeof all, NULL, 0), 0);
    assert_true(front_signalled(f->err[0]));
    assert_true(front_signalled(f->err[1]));
    assert_int_equal(guest_write(&c, "x", 1), 1);
    front_kick(f);
    assert_int_equal(uvm__stream_write(f->accepted, "y", 1), 1);
    front_turns(f);
    assert_false(f->ended);
    /* And start anew once the memory is back. */
    uint32_t rx;
    uint32_t tx;
    front_stop(f, &rx, &tx);
    front_driver_ok(f, rx, tx);
    char byte;
    assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), 1);
}

static void a_table_without_the_rings_turns_them_off(void **state) {
    struct front *f = *state;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    uint32_t none[2] = {0, 0};
    assert_int_equal(front_acked(f, SET_MEM_TABLE, none, sizeof none, NULL, 0), 0);
    assert_true(front_signalled(f->err[0]));
    assert_int_equal(uvm__stream_write(f->accepted, "y", 1), 1);
    front_turns(f);
    assert_false(f->ended);
}

static void order_of_enable_and_kick_does_not_matter(void **state) {
    struct front *f = *state;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_send_state(f, SET_VRING_ENABLE, 0, 1); /* never started: harmless */
    front_send_state(f, SET_VRING_ENABLE, 1, 1);
    front_send_state(f, SET_VRING_ENABLE, 1, 0);
    front_send64(f, SET_FEATURES, 0x170000000);
    front_memory(f);
    front_ring(f, 0, 0);
    front_ring(f, 1, 0);
    struct guest_conn c = front_conn(f, 1);
    assert_true(guest_say(&c, 1, 0));
    uint64_t one = 1;
    assert_int_equal(write(f->kick[1], &one, sizeof one), sizeof one); /* before it is enabled */
    front_turns(f);
    assert_int_equal(guest_used_idx(&f->g, &f->g.tx), 0);
    front_send_state(f, SET_VRING_ENABLE, 1, 1);
    front_turns(f);
    front_taken(f, 1); /* without another kick */
    assert_true(f->accepted_any);
}

static void messages_in_any_pieces(void **state) {
    struct front *f = *state;
    int fd = f->fd;
    int pair[2];
    uint8_t raw[1000];
    /* Recorded once... */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->fd = pair[0];
    uint8_t config[20] = {0, 0, 0, 0, 8};
    front_send(f, SET_OWNER, 1, NULL, 0, NULL, 0);
    front_send64(f, SET_PROTOCOL_FEATURES, 0x8208);
    front_send(f, GET_FEATURES, 1, NULL, 0, NULL, 0);
    front_send(f, 77, 9, config, sizeof config, NULL, 0);         /* unknown: refused */
    front_send(f, 78, 1, config, sizeof config, NULL, 0);         /* unknown, no answer wanted */
    front_send(f, GET_CONFIG, 9, config, sizeof config, NULL, 0); /* its answer is the answer */
    ssize_t bytes = read(pair[1], raw, sizeof raw);
    assert_true(bytes > 100);
    close(pair[0]);
    close(pair[1]);
    f->fd = fd;
    /* ...then byte by byte, and all at once. */
    for (ssize_t i = 0; i < bytes; i++) {
        assert_int_equal(write(f->fd, raw + i, 1), 1);
        uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value;
        front_answer(f, GET_FEATURES, &value, sizeof value);
        front_answer(f, 77, &value, sizeof value);
        assert_int_equal(value, 1);
        front_answer(f, GET_CONFIG, config, sizeof config);
        front_no_answer(f);
        if (i == 0) {
            assert_int_equal(write(f->fd, raw, (size_t)bytes), bytes);
        }
    }
    assert_true(f->configured);
}

static void interrupts_go_where_they_should(void **state) {
    struct front *f = *state;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    uint64_t none = 0x100;
    front_send(f, SET_VRING_CALL, 1, &none, sizeof none, NULL, 0); /* ring 0: no interrupts */
    front_turns(f);
    (void)front_signalled(f->call[0]);
    assert_int_equal(uvm__stream_write(f->accepted, "x", 1), 1);
    (void)guest_sleep(&f->g, &f->g.rx);
    front_turns(f);
    assert_false(front_signalled(f->call[0]));
    uint64_t ring = 0;
    front_send(f, SET_VRING_CALL, 1, &ring, sizeof ring, &f->err[1], 1);
    front_turns(f);
    assert_true(front_signalled(f->err[1]));
    /* A counter that is full, or no eventfd at all, does not hold us up. */
    uint64_t full = UINT64_MAX - 1;
    assert_int_equal(write(f->err[1], &full, sizeof full), sizeof full);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(uvm__stream_write(f->accepted, "x", 1), 1);
        (void)guest_sleep(&f->g, &f->g.rx);
        front_turns(f);
    }
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    front_send(f, SET_VRING_CALL, 1, &ring, sizeof ring, &pipe_fds[1], 1);
    front_turns(f);
    close(pipe_fds[1]);
    char byte;
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* not kept */
    close(pipe_fds[0]);
    assert_false(f->ended);
}

static void opening_may_fail(void **state) {
    struct front *f = *state;
    struct uvm__vsock_params p = {.guest_cid = 3};
    struct uvm__vsock_device *d = NULL;
    p.on_configured = (void (*)(struct uvm__vsock_device *, void *))abort;
    p.on_end = (void (*)(struct uvm__vsock_device *, const uvm_error *, void *))abort;
    static const uint64_t cids[] = {0, 2, 0xffffffff, 1ull << 32};
    for (unsigned i = 0; i < 4; i++) {
        p.take_fd = dup(f->kick[0]);
        p.guest_cid = cids[i];
        assert_int_equal(uvm__vsock_device_open(kit.engine, &p, &d), -UVM_E_INVAL);
    }
    p.guest_cid = 0xfffffffe;
    for (long at = 0;; at++) {
        p.take_fd = dup(f->kick[0]);
        kit.fail_at = at;
        int rc = uvm__vsock_device_open(kit.engine, &p, &d);
        kit.fail_at = -1;
        if (rc == 0) {
            assert_true(at >= 4);
            break;
        }
        assert_int_equal(rc, -UVM_E_NOMEM);
        assert_null(d);
    }
    bool closed = false;
    uvm__vsock_device_close(d, on_flag, &closed);
    loop_until(&kit, &closed);
    p.take_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(uvm__vsock_device_open(kit.engine, &p, &d), -UVM_E_IO);
}

/* Without the feature that brings ENABLE, a ring runs from its start. */
static void an_old_front_end(void **state) {
    struct front *f = *state;
    guest_post(&f->g, GUEST_QUEUE);
    front_send64(f, SET_FEATURES, 0x130000000);
    f->slots = true;
    front_send64(f, SET_PROTOCOL_FEATURES, 0x8208);
    front_memory(f);
    front_ring(f, 0, 0);
    front_ring(f, 1, 0);
    front_send(f, SET_VRING_CALL, 1, &(uint64_t){0}, 8, &f->call[0], 1);
    front_turns(f);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    front_still_works(f, &c, f->accepted);
    struct uvm__vsock_stats stats;
    uvm__vsock_device_stats(f->device, &stats);
    assert_int_equal(stats.streams, 1);
    uvm__vsock_device_paused(f->device, true);
    uvm__vsock_device_paused(f->device, false);
    /* A kick that is no eventfd ends it. */
    front_send(f, SET_VRING_KICK, 1, &(uint64_t){0}, 8, &f->g.memfd, 1);
    ends_in_error(f);
}

/* Every allocation of a device's life fails once. */
static void memory_may_run_out_anywhere(void **state) {
    struct front *f = *state;
    unsigned ended = 0;
    for (long at = 0; at < 40; at++) {
        uint64_t region[5] = {0, 0, GUEST_RAM_BYTES, FRONT_USER, 0};
        f->kit->fail_at = at;
        front_send64(f, SET_FEATURES, 0x170000000);
        front_send(f, ADD_MEM_REG, 1, region, sizeof region, &f->g.memfd, 1);
        guest_post(&f->g, GUEST_QUEUE);
        front_ring(f, 0, 0);
        front_ring(f, 1, 0);
        front_send_state(f, SET_VRING_ENABLE, 0, 1);
        front_send_state(f, SET_VRING_ENABLE, 1, 1);
        struct guest_conn c = front_conn(f, 1);
        assert_true(guest_say(&c, 1, 0));
        front_turns(f);
        c.peer_alloc = 1000;
        (void)guest_write(&c, "hello", 5);
        front_kick(f);
        bool done = f->kit->fail_at >= 0;
        f->kit->fail_at = -1;
        assert_true(!f->ended || f->end_code == UVM_E_NOMEM);
        ended += f->ended;
        teardown(state);
        setup(state);
        if (done) {
            assert_true(ended >= 3);
            return;
        }
    }
    fail();
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_real_sequence),
        CASE(a_pause_keeps_the_streams),
        CASE(a_reset_drops_them),
        CASE(memory_changes_while_it_runs),
        CASE(regions_come_and_go),
        CASE(a_table_without_the_rings_turns_them_off),
        CASE(order_of_enable_and_kick_does_not_matter),
        CASE(messages_in_any_pieces),
        CASE(interrupts_go_where_they_should),
        CASE(opening_may_fail),
        CASE(an_old_front_end),
        CASE(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
