/* SPDX-License-Identifier: MIT
 * join_test.c — two streams made one: bytes both ways, a reader that is slow, and each side's end.
 */
#include "async/cleanup.h"
#include "async/sock.h"
#include "hvsock/join.h"
#include "tests/unit/loop.h"
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop_kit kit;

struct bed {
    struct uvm__join *join;
    int first, second; /* the far ends; non-blocking */
    bool ended, first_ended;
};

static void on_end(struct uvm__join *j, bool first_ended, void *arg) {
    struct bed *b = arg;
    assert_ptr_equal(b->join, j);
    assert_false(b->ended);
    b->ended = true;
    b->first_ended = first_ended;
}

static struct uvm__stream *side(int *ret_far) {
    struct uvm__stream *s = NULL;
    int pair[2];
    assert_int_equal(uvm__sock_pair(pair), 0);
    assert_int_equal(uvm__stream_from_fds(kit.engine, pair[0], pair[0], &s), 0);
    *ret_far = pair[1];
    return s;
}

static void open_bed(struct bed *b) {
    memset(b, 0, sizeof *b);
    struct uvm__stream *first = side(&b->first), *second = side(&b->second);
    assert_int_equal(uvm__join_new(kit.engine, first, second, on_end, b, &b->join), 0);
}

static void close_bed(struct bed *b) {
    uvm__join_free(b->join);
    uvm__close_fd(&b->first);
    uvm__close_fd(&b->second);
    (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
}

static void say(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int fd, const char *text) {
    char got[64] = "";
    size_t n = 0;
    while (n < strlen(text)) {
        ssize_t r = recv(fd, got + n, strlen(text) - n, MSG_DONTWAIT);
        n += r > 0 ? (size_t)r : 0;
        (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(got, text);
}

static void both_ways(void **state) {
    struct bed b;
    (void)state;
    open_bed(&b);
    for (unsigned i = 0; i < 100; i++) {
        say(b.first, "question");
        hear(b.second, "question");
        say(b.second, "answer");
        hear(b.first, "answer");
    }
    assert_false(b.ended);
    close_bed(&b);
}

/* The writer stops when nobody reads, and what he wrote comes in its order. */
static void a_slow_reader(void **state) {
    struct bed b;
    static uint8_t block[65536], got[65536];
    size_t sent = 0, heard = 0;
    (void)state;
    open_bed(&b);
    for (unsigned idle = 0; idle < 50;) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (uint8_t)((sent + i) * 7 >> 3);
        }
        ssize_t n = send(b.first, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    assert_in_range(sent, 1, 4u << 20); /* two sockets and a buffer */
    while (heard < sent) {
        ssize_t n = recv(b.second, got, sizeof got, MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(got[i], (uint8_t)((heard + (size_t)i) * 7 >> 3));
        }
        heard += n > 0 ? (size_t)n : 0;
        (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    close_bed(&b);
}

/* What the side had said is passed on, then the other ends, too. */
static void each_ends(void **state) {
    (void)state;
    for (unsigned first = 0; first < 2; first++) {
        struct bed b;
        char byte;
        open_bed(&b);
        int *ends = first != 0 ? &b.first : &b.second, *other = first != 0 ? &b.second : &b.first;
        say(*ends, "last words");
        uvm__close_fd(ends);
        loop_until(&kit, &b.ended);
        assert_int_equal(b.first_ended, first != 0);
        hear(*other, "last words");
        ssize_t n;
        while ((n = recv(*other, &byte, 1, MSG_DONTWAIT)) < 0) {
            (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(n, 0);
        close_bed(&b);
    }
}

static void freed_early(void **state) {
    struct bed b;
    (void)state;
    open_bed(&b);
    say(b.first, "unheard");
    uvm__join_free(UVM_TAKE_PTR(b.join));
    (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
    assert_false(b.ended);
    close_bed(&b);
}

static void without_memory(void **state) {
    struct bed b = {.first = -1};
    (void)state;
    struct uvm__stream *first = side(&b.first), *second = side(&b.second);
    kit.fail_at = 0;
    assert_int_equal(uvm__join_new(kit.engine, first, second, on_end, &b, &b.join), -UVM_E_NOMEM);
    kit.fail_at = -1;
    close_bed(&b);
}

static int setup(void **state) {
    (void)state;
    loop_open(&kit);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    loop_close(&kit);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {CASE(both_ways), CASE(a_slow_reader), CASE(each_ends),
                                       CASE(freed_early), CASE(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
