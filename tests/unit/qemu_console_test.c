/* SPDX-License-Identifier: MIT
 * qemu_console_test.c — the console's relay: what is typed reaches the guest, whole and in order, also when
 * memory is short for a while.
 */
#include "hcs/qemu/console.h"
#include "tests/unit/loop.h"
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TYPED "the quick brown fox jumps over the lazy dog\n"

static void on_output(struct uvm__console *c, const void *data, size_t bytes, void *arg) {
    (void)c;
    (void)data;
    *(size_t *)arg += bytes;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

struct bed {
    struct loop_kit kit;
    struct uvm__console *console;
    int vmm, peer; /* the other ends */
    size_t shown;
};

static void open_bed(struct bed *b) {
    int vmm[2], peer[2];
    *b = (struct bed){0};
    loop_open(&b->kit);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, vmm), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, peer), 0);
    b->vmm = vmm[1];
    b->peer = peer[1];
    const struct uvm__console_params p = {
        .take_fd = vmm[0], .take_peer_fd = peer[0], .on_output = on_output, .arg = &b->shown};
    assert_int_equal(uvm__console_open(b->kit.engine, &p, &b->console), 0);
}

static void close_bed(struct bed *b) {
    bool closed = false;
    uvm__console_close(b->console, on_closed, &closed);
    loop_until(&b->kit, &closed);
    close(b->vmm);
    close(b->peer);
    loop_close(&b->kit);
}

/* The loop until the guest has been given so many bytes; they are those that were typed. */
static void expect_typed(struct bed *b, const char *text, size_t bytes) {
    char got[65536];
    size_t n = 0;
    for (unsigned i = 0; n < bytes; i++) {
        ssize_t more = read(b->vmm, got + n, sizeof got - n);
        n += more > 0 ? (size_t)more : 0;
        if (more <= 0) {
            (void)uv_run(&b->kit.loop, UV_RUN_ONCE); /* a turn, or the wait for the next try */
        }
        assert_true(i < 10000);
    }
    assert_int_equal(n, bytes);
    assert_memory_equal(got, text, bytes);
}

static void both_ways(void **state) {
    struct bed b;
    char got[16] = "";
    (void)state;
    open_bed(&b);
    assert_int_equal(write(b.peer, TYPED, strlen(TYPED)), (ssize_t)strlen(TYPED));
    expect_typed(&b, TYPED, strlen(TYPED));
    assert_int_equal(write(b.vmm, "hello", 5), 5);
    while (b.shown < 5) {
        (void)uv_run(&b.kit.loop, UV_RUN_ONCE);
    }
    assert_int_equal(read(b.peer, got, sizeof got), 5);
    assert_string_equal(got, "hello");
    close_bed(&b);
}

static void memory_is_short(void **state) {
    struct bed b;
    char text[4 * 1024];
    (void)state;
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)('a' + i % 23);
    }
    open_bed(&b);
    loop_turns(&b.kit);
    b.kit.fail_at = 0;
    b.kit.for_good = true;
    assert_int_equal(write(b.peer, text, sizeof text), (ssize_t)sizeof text);
    loop_turns(&b.kit); /* read, and not sent */
    assert_int_equal(read(b.vmm, text, 1), -1);
    b.kit.fail_at = -1;
    b.kit.for_good = false;
    expect_typed(&b, text, sizeof text);
    close_bed(&b);
}

/* It goes while something is held. */
static void closed_meanwhile(void **state) {
    struct bed b;
    (void)state;
    open_bed(&b);
    loop_turns(&b.kit);
    b.kit.fail_at = 0;
    b.kit.for_good = true;
    assert_int_equal(write(b.peer, TYPED, strlen(TYPED)), (ssize_t)strlen(TYPED));
    loop_turns(&b.kit);
    b.kit.fail_at = -1;
    close_bed(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(memory_is_short),
        cmocka_unit_test(closed_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
