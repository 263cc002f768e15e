/* SPDX-License-Identifier: MIT
 * vhost_user_hostile_test.c — front ends that lie, break the protocol or go in the middle: the device ends, with
 * nothing left, and says why.
 */
#include "tests/unit/vhost_user_kit.h"

/* 18: places that cannot be used. The front end is told; the device stays, without rings. */
static void misplaced_rings(void **state) {
    struct front *f = *state;
    static const struct {
        uint64_t desc, used, avail;
    } rows[] = {
        {0x1001, 0x7000, 0x5000},
        {0x1000, 0x7002, 0x5000},
        {0x1000, 0x7000, 0x5001},
        {GUEST_RAM_BYTES - 16, 0x7000, 0x5000},
        {0x1000, GUEST_RAM_BYTES - 4, 0x5000},
        {0x1000, 0x7000, GUEST_RAM_BYTES - 2},
        {1ull << 50, 0x7000, 0x5000},
        {UINT64_MAX - 15 - FRONT_USER, 0x7000, 0x5000},
    };
    front_realize(f);
    front_send64(f, SET_FEATURES, 0x170000000);
    front_memory(f);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        f->g.rx.desc = rows[i].desc;
        f->g.rx.used = rows[i].used;
        f->g.rx.avail = rows[i].avail;
        front_ring(f, 0, 0);
        front_send_state(f, SET_VRING_ENABLE, 0, 1);
        front_turns(f);
        assert_true(front_signalled(f->err[0]));
        uint32_t state_of[2];
        front_send_state(f, GET_VRING_BASE, 0, 0);
        front_answer(f, GET_VRING_BASE, state_of, sizeof state_of);
        assert_int_equal(state_of[1], 0);
    }
    /* At the very end of the memory, all three over each other: fine. */
    f->g.rx.desc = f->g.rx.avail = f->g.rx.used = GUEST_RAM_BYTES - 16 * GUEST_QUEUE;
    front_ring(f, 0, 0);
    front_send_state(f, SET_VRING_ENABLE, 0, 1);
    front_turns(f);
    assert_false(front_signalled(f->err[0]));
    assert_false(f->ended);
}

/* 35: rings before there is memory, and before anything at all. */
static void rings_without_memory(void **state) {
    struct front *f = *state;
    front_realize(f);
    front_send64(f, SET_FEATURES, 0x170000000);
    for (unsigned i = 0; i < 2; i++) {
        front_ring(f, i, 0);
        front_send_state(f, SET_VRING_ENABLE, i, 1);
        front_turns(f);
        assert_true(front_signalled(f->err[i]));
    }
    front_kick(f);
    assert_false(f->ended);
    uint32_t rx;
    uint32_t tx;
    front_stop(f, &rx, &tx);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, rx, tx); /* in the right order it works */
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    front_still_works(f, &c, f->accepted);
}

static void questions_that_are_refused(void **state) {
    struct front *f = *state;
    uint8_t config[12 + 256] = {0};
    static const struct {
        uint32_t offset, size, bytes;
    } rows[] = {{0, 9, 21}, {8, 1, 13}, {1, 8, 20},    {UINT32_MAX, 8, 20},
                {0, 0, 12}, {0, 8, 13}, {0, 256, 268}, {0xfffffff9, 8, 20}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memcpy(config, &rows[i].offset, 4);
        memcpy(config + 4, &rows[i].size, 4);
        front_send(f, GET_CONFIG, 1, config, rows[i].bytes, NULL, 0);
        front_answer(f, GET_CONFIG, config, 0);
    }
    assert_false(f->configured);
    uint64_t value;
    front_send(f, GET_QUEUE_NUM, 1, NULL, 0, NULL, 0);
    front_answer(f, GET_QUEUE_NUM, &value, sizeof value);
    assert_int_equal(value, 2);
    /* Descriptors where none belong are closed, and that is all (the census sees them). */
    int fds[16];
    for (unsigned i = 0; i < 16; i++) {
        fds[i] = f->g.memfd;
    }
    front_send(f, GET_FEATURES, 1, NULL, 0, fds, 16);
    front_answer(f, GET_FEATURES, &value, sizeof value);
    front_send(f, 99, 1, NULL, 0, fds, 3);
    front_no_answer(f);
}

struct bad {
    uint32_t request, flags, size; /* size: as the header says */
    uint32_t words[12];            /* the payload */
    unsigned fds;
};

static const struct bad bad_rows[] = {
    {GET_FEATURES, 0, 0, {0}, 0},
    {GET_FEATURES, 2, 0, {0}, 0},
    {GET_FEATURES, 5, 0, {0}, 0},
    {GET_FEATURES, 1, 0xffffffff, {0}, 0},
    {99, 1, 4097, {0}, 0},
    {GET_FEATURES, 1, 8, {0}, 0},
    {SET_FEATURES, 1, 8, {0, 0x80000000}, 0},
    {SET_FEATURES, 1, 8, {2}, 0},
    {SET_FEATURES, 1, 4, {0}, 0},
    {SET_PROTOCOL_FEATURES, 1, 8, {1}, 0},
    {SET_VRING_NUM, 1, 8, {0, 0}, 0},
    {SET_VRING_NUM, 1, 8, {0, 3}, 0},
    {SET_VRING_NUM, 1, 8, {0, 65535}, 0},
    {SET_VRING_NUM, 1, 8, {0, 2048}, 0},
    {SET_VRING_NUM, 1, 8, {0, 0x10080}, 0},
    {SET_VRING_NUM, 1, 8, {2, 128}, 0},
    {SET_VRING_NUM, 1, 8, {255, 128}, 0},
    {SET_VRING_NUM, 1, 8, {0xffffffff, 128}, 0},
    {SET_VRING_BASE, 1, 8, {0, 65536}, 0},
    {SET_VRING_BASE, 1, 8, {2, 0}, 0},
    {SET_VRING_ADDR, 1, 40, {2}, 0},
    {SET_VRING_ADDR, 1, 32, {0}, 0},
    {GET_VRING_BASE, 1, 8, {2}, 0},
    {SET_VRING_ENABLE, 1, 8, {2, 1}, 0},
    {SET_VRING_KICK, 1, 8, {2}, 1},
    {SET_VRING_KICK, 1, 8, {0}, 1},
    {SET_VRING_KICK, 1, 8, {0x100}, 0},
    {SET_VRING_KICK, 1, 8, {0}, 0},
    {SET_VRING_CALL, 1, 8, {0}, 0},
    {SET_VRING_CALL, 1, 8, {0}, 2},
    {SET_VRING_CALL, 1, 8, {0x100}, 1},
    {SET_VRING_CALL, 1, 8, {255}, 1},
    {SET_VRING_ERR, 1, 8, {9}, 1},
    {SET_MEM_TABLE, 1, 8, {1}, 1},
    {SET_MEM_TABLE, 1, 8, {0xffffffff}, 0},
    {SET_MEM_TABLE, 1, 40, {1}, 0},
    {SET_MEM_TABLE, 1, 40, {1}, 1},
    {SET_MEM_TABLE, 1, 40, {2, 0, 0, 0, 0x1000}, 2},
    {SET_MEM_TABLE, 1, 296, {9}, 9},
    {ADD_MEM_REG, 1, 40, {0}, 1},
    {ADD_MEM_REG, 1, 40, {0, 0, 0, 0, 0x1000}, 0},
    {ADD_MEM_REG, 1, 40, {0, 0, 0, 0, 0x1000}, 2},
    {REM_MEM_REG, 1, 40, {0, 0, 0, 0, 0x1000}, 0},
    {ADD_MEM_REG, 1, 32, {0}, 1},
    /* gpa + size wraps; file too short; offset beyond it */
    {ADD_MEM_REG, 1, 40, {0, 0, 0xfffff000, 0xffffffff, 0x2000}, 1},
    {ADD_MEM_REG, 1, 40, {0, 0, 0, 0, 0x2000000}, 1},
    {ADD_MEM_REG, 1, 40, {0, 0, 0, 0, 0x1000, 0, 0, 0, 0x1000000}, 1},
};

static void messages_that_break_the_protocol(void **state) {
    for (unsigned i = 0; i < sizeof bad_rows / sizeof bad_rows[0]; i++) {
        struct front *f = *state;
        int fds[9];
        for (unsigned k = 0; k < 9; k++) {
            fds[k] = bad_rows[i].request == SET_VRING_CALL ? f->call[0] : f->g.memfd;
        }
        uint32_t payload[120] = {0};
        memcpy(payload, bad_rows[i].words, sizeof bad_rows[i].words);
        bool huge = bad_rows[i].size > sizeof payload;
        if (huge) {
            uint32_t header[3] = {bad_rows[i].request, bad_rows[i].flags, bad_rows[i].size};
            assert_int_equal(write(f->fd, header, sizeof header), sizeof header);
        } else {
            front_send(f, bad_rows[i].request, bad_rows[i].flags, payload, bad_rows[i].size, fds,
                       bad_rows[i].fds);
        }
        front_turns(f);
        if (!f->ended) {
            fail_msg("row %u was taken", i);
        }
        ends_in_error(f);
        teardown(state);
        setup(state);
    }
}

static void overlapping_tables_and_too_many_descriptors(void **state) {
    struct front *f = *state;
    int fds[20];
    for (unsigned i = 0; i < 20; i++) {
        fds[i] = f->g.memfd;
    }
    uint64_t words[9] = {2, 0, 0x2000, 0x10000, 0, 0x1000, 0x2000, 0x20000, 0};
    front_send(f, SET_MEM_TABLE, 1, words, sizeof words, fds, 2);
    ends_in_error(f);
    teardown(state);
    setup(state);
    front_send(f, GET_FEATURES, 1, NULL, 0, fds, 17);
    ends_in_error(f);
    teardown(state);
    setup(state);
    /* Descriptors with the second part of a message. */
    uint32_t header[3] = {SET_FEATURES, 1, 8};
    assert_int_equal(write(f->fd, header, sizeof header), sizeof header);
    front_turns(f);
    front_send(f, 0, 0, NULL, 0, fds, 1); /* any bytes, with a descriptor */
    ends_in_error(f);
    teardown(state);
    setup(state);
    /* A ring that is changed while it runs. */
    front_realize(f);
    front_driver_ok(f, 0, 0);
    front_send_state(f, SET_VRING_NUM, 0, 64);
    ends_in_error(f);
}

/* 38: the front end goes at any byte of all that it says. */
static void the_front_end_goes_at_any_byte(void **state) {
    struct front *f = *state;
    uint8_t raw[2000];
    int pair[2];
    int fd = f->fd;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->fd = pair[0];
    uint8_t config[20] = {0, 0, 0, 0, 8};
    front_send64(f, SET_PROTOCOL_FEATURES, 0x8208);
    front_send(f, GET_CONFIG, 1, config, sizeof config, NULL, 0);
    front_send64(f, SET_FEATURES, 0x170000000);
    for (unsigned i = 0; i < 2; i++) {
        front_send_state(f, SET_VRING_NUM, i, 128);
        front_send_state(f, SET_VRING_BASE, i, 0);
        front_send_state(f, SET_VRING_ENABLE, i, 1);
        front_send_state(f, GET_VRING_BASE, i, 0);
    }
    ssize_t bytes = read(pair[1], raw, sizeof raw);
    close(pair[0]);
    close(pair[1]);
    f->fd = fd;
    for (ssize_t i = 0; i <= bytes; i++) {
        assert_int_equal(write(f->fd, raw, (size_t)i), i);
        if (i % 2 == 0) {
            front_turns(f);
        }
        assert_int_equal(shutdown(f->fd, SHUT_RDWR), 0);
        front_turns(f);
        assert_true(f->ended);
        assert_int_equal(f->end_code, 0);
        teardown(state);
        setup(state);
    }
}

static void the_front_end_goes_while_streams_are_open(void **state) {
    struct front *f = *state;
    char byte;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    close(f->fd);
    f->fd = -1;
    front_turns(f);
    assert_int_equal(f->ends, 1);
    assert_int_equal(f->end_code, 0);
    assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), -UVM_E_CLOSED);
    assert_int_equal(uvm__stream_write(f->accepted, &byte, 1), -UVM_E_CLOSED);
}

static void a_guest_that_breaks_a_ring(void **state) {
    struct front *f = *state;
    char byte;
    front_realize(f);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    struct guest_conn c = front_conn(f, 1);
    front_accept(f, &c);
    guest_offer(&f->g, &f->g.tx, 0xffff);
    front_kick(f);
    assert_int_equal(f->ends, 1);
    assert_int_equal(f->end_code, UVM_E_PROTOCOL);
    assert_true(front_signalled(f->err[0]));
    assert_true(front_signalled(f->err[1]));
    assert_int_equal(uvm__stream_read(f->accepted, &byte, 1), -UVM_E_CLOSED);
    /* The front end is answered all the same, and may start again what will not run. */
    uint32_t rx;
    uint32_t tx;
    front_stop(f, &rx, &tx);
    assert_int_equal(tx, guest_used_idx(&f->g, &f->g.tx));
    guest_restart(&f->g);
    guest_post(&f->g, GUEST_QUEUE);
    front_driver_ok(f, 0, 0);
    assert_true(guest_say(&c, 1, 0));
    front_kick(f);
    assert_int_equal(guest_used_idx(&f->g, &f->g.tx), 0);
    close(f->fd);
    f->fd = -1;
    front_turns(f);
    assert_int_equal(f->ends, 1); /* told once */
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(misplaced_rings),
        CASE(rings_without_memory),
        CASE(questions_that_are_refused),
        CASE(messages_that_break_the_protocol),
        CASE(overlapping_tables_and_too_many_descriptors),
        CASE(the_front_end_goes_at_any_byte),
        CASE(the_front_end_goes_while_streams_are_open),
        CASE(a_guest_that_breaks_a_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
