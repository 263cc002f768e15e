/* SPDX-License-Identifier: MIT
 * stream_fd_test.c — streams over real descriptors, and dialling out over unix sockets.
 */
#include "async/engine.h"
#include "async/saga.h"
#include "hvsock/hvsock.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include <uv.h>

struct bed {
    uv_loop_t loop;
    uvm_engine *engine;
    unsigned events, count;
    int done, code;
};

static int setup(void **state) {
    static struct bed bed;
    memset(&bed, 0, sizeof bed);
    assert_int_equal(uv_loop_init(&bed.loop), 0);
    assert_int_equal(uvm_engine_new(&bed.loop, NULL, &bed.engine), 0);
    *state = &bed;
    return 0;
}

static void on_engine_closed(void *arg) {
    *(bool *)arg = true;
}

static int teardown(void **state) {
    struct bed *b = *state;
    bool closed = false;
    uvm_engine_close(b->engine, on_engine_closed, &closed);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    return 0;
}

static void on_event(struct uvm__stream *s, unsigned events, void *arg) {
    struct bed *b = arg;
    (void)s;
    b->events |= events;
    b->count++;
}

/* Runs the loop until one of `events` came; the test's own time limit bounds it. */
static void wait_for(struct bed *b, unsigned events) {
    while ((b->events & events) == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    b->events &= ~events;
}

static struct uvm__stream *stream_of(struct bed *b, int read_fd, int write_fd) {
    struct uvm__stream *s = NULL;
    assert_int_equal(uvm__stream_from_fds(b->engine, read_fd, write_fd, &s), 0);
    return s;
}

static void is_gone(int fd) {
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
}

static void a_socket_both_ways(void **state) {
    struct bed *b = *state;
    int fds[2];
    char buf[64];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct uvm__stream *s = stream_of(b, fds[0], fds[0]);
    uvm__stream_set_handler(s, on_event, b);
    wait_for(b, UVM__STREAM_WRITABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(write(fds[1], "ping", 4), 4);
    wait_for(b, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 4);
    assert_int_equal(uvm__stream_write(s, "pong!", 5), 5);
    uvm__stream_shutdown(s);
    assert_int_equal(uvm__stream_write(s, "x", 1), -UVM_E_CLOSED);
    assert_int_equal(read(fds[1], buf, sizeof buf), 5);
    assert_int_equal(read(fds[1], buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(write(fds[1], "more", 4), 4);
    close(fds[1]);
    wait_for(b, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 4);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    uvm__stream_close(s);
    is_gone(fds[0]);
}

static void back_pressure_is_the_kernels(void **state) {
    struct bed *b = *state;
    int fds[2];
    static char data[1 << 20], got[1 << 20];
    memset(data, 'x', sizeof data);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct uvm__stream *s = stream_of(b, fds[0], fds[0]);
    uvm__stream_set_handler(s, on_event, b);
    wait_for(b, UVM__STREAM_WRITABLE);
    size_t sent = 0;
    ssize_t n;
    while ((n = uvm__stream_write(s, data, sizeof data)) > 0) {
        sent += (size_t)n;
    }
    assert_int_equal(n, -UVM_E_AGAIN);
    assert_true(sent > 0);
    b->count = 0;
    size_t left = sent;
    while (left > 0) {
        n = read(fds[1], got, sizeof got);
        assert_true(n > 0);
        left -= (size_t)n;
    }
    wait_for(b, UVM__STREAM_WRITABLE);
    assert_int_equal(b->count, 1);
    close(fds[1]);
    assert_int_equal(uvm__stream_write(s, data, 1), -UVM_E_CLOSED); /* and no signal */
    uvm__stream_reset(s);
}

static void two_pipes(void **state) {
    struct bed *b = *state;
    int in[2], out[2];
    char buf[8];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    int keep = dup(in[0]); /* the same open file, as another process might have it */
    struct uvm__stream *s = stream_of(b, in[0], out[1]);
    assert_int_equal(fcntl(keep, F_GETFL) & O_NONBLOCK, 0); /* it was opened anew */
    uvm__stream_set_handler(s, on_event, b);
    wait_for(b, UVM__STREAM_WRITABLE);
    assert_int_equal(write(in[1], "abc", 3), 3);
    wait_for(b, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(s, buf, 3), 3);
    assert_int_equal(uvm__stream_write(s, buf, 3), 3);
    uvm__stream_shutdown(s);
    is_gone(out[1]);
    assert_int_equal(read(out[0], buf, sizeof buf), 3);
    assert_int_equal(read(out[0], buf, sizeof buf), 0);
    close(in[1]);
    assert_int_equal(uvm__stream_read(s, buf, 3), 0);
    uvm__stream_close(s);
    is_gone(in[0]);
    close(out[0]);
    close(keep);
}

static void a_socket_gets_its_flags_back(void **state) {
    struct bed *b = *state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    int keep = dup(fds[0]);
    struct uvm__stream *s = stream_of(b, fds[0], fds[0]);
    assert_true((fcntl(keep, F_GETFL) & O_NONBLOCK) != 0);
    uvm__stream_close(s);
    assert_int_equal(fcntl(keep, F_GETFL) & O_NONBLOCK, 0);
    close(keep);
    close(fds[1]);
}

static void regular_files_and_dev_null(void **state) {
    struct bed *b = *state;
    char path[] = "/tmp/stream_fd_test.XXXXXX";
    int fd = mkstemp(path);
    char buf[16];
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "content", 7), 7);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    struct uvm__stream *s = stream_of(b, fd, open("/dev/null", O_WRONLY | O_CLOEXEC));
    uvm__stream_set_handler(s, on_event, b);
    wait_for(b, UVM__STREAM_READABLE | UVM__STREAM_WRITABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 7);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_write(s, buf, 7), 7);
    uvm__stream_close(s);
    assert_int_equal(unlink(path), 0);
    /* One direction only. */
    s = stream_of(b, -1, -1);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_write(s, buf, 1), -UVM_E_CLOSED);
    uvm__stream_set_handler(s, on_event, b);
    b->events = 0;
    wait_for(b, UVM__STREAM_WRITABLE);
    uvm__stream_shutdown(s);
    uvm__stream_close(s);
}

static void a_terminal_hangs_up(void **state) {
    struct bed *b = *state;
    int master, slave;
    char buf[16];
    struct termios raw;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    struct uvm__stream *s = stream_of(b, master, master);
    uvm__stream_set_handler(s, on_event, b);
    wait_for(b, UVM__STREAM_WRITABLE);
    assert_int_equal(uvm__stream_write(s, "typed", 5), 5);
    assert_int_equal(read(slave, buf, sizeof buf), 5);
    assert_int_equal(write(slave, "shown", 5), 5);
    wait_for(b, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 5);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), -UVM_E_AGAIN);
    close(slave);
    wait_for(b, UVM__STREAM_READABLE);
    assert_int_equal(uvm__stream_read(s, buf, sizeof buf), 0);
    uvm__stream_close(s);
}

static void bad_descriptors_are_refused(void **state) {
    struct bed *b = *state;
    struct uvm__stream *s = NULL;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(uvm__stream_from_fds(b->engine, 1000, -1, &s), -UVM_E_IO);
    assert_int_equal(uvm__stream_from_fds(b->engine, fds[0], 1000, &s), -UVM_E_IO);
    assert_null(s);
    is_gone(fds[0]);
    close(fds[1]);
}

/* ---- dialling ----------------------------------------------------------------------------- */

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct bed *b = arg;
    (void)op;
    b->done++;
    b->code = err == NULL ? 0 : (int)uvm_error_code(err);
}

static uvm_op *dial(struct bed *b, const char *dir, uint32_t port, bool cancel) {
    struct uvm__dialer d = {.unix_dir = dir};
    uvm_op *op = NULL;
    int before = b->done;
    assert_int_equal(uvm__dial(b->engine, &d, port, NULL, on_done, b, &op), 0);
    if (cancel) {
        uvm_op_cancel(op);
    }
    while (b->done == before) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    return op;
}

static void dials_a_unix_socket(void **state) {
    struct bed *b = *state;
    char dir[] = "/tmp/dial_test.XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/109", dir);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 4), 0);
    uvm_op *op = dial(b, dir, 109, false);
    assert_int_equal(b->code, 0);
    int fd = uvm__dial_result(op);
    assert_true(fd >= 0);
    assert_int_equal(uvm__dial_result(op), -1);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    int peer = accept(listener, NULL, NULL);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    close(peer);
    uvm_op_unref(op);
    /* A result that nobody takes is closed with the op. */
    op = dial(b, dir, 109, false);
    peer = accept(listener, NULL, NULL);
    uvm_op_unref(op);
    char c;
    assert_int_equal(read(peer, &c, 1), 0);
    close(peer);
    op = dial(b, dir, 109, true);
    assert_int_equal(b->code, UVM_E_CANCELED);
    uvm_op_unref(op);
    op = dial(b, dir, 110, false);
    assert_int_equal(b->code, UVM_E_IO);
    assert_int_equal(uvm_error_sys(uvm__op_error(op)), ENOENT);
    assert_int_equal(uvm__dial_result(op), -1);
    uvm_op_unref(op);
    struct uvm__dialer d = {.unix_dir =
                                "/a-folder-with-a-very-very-long-name/that-does-not-fit/"
                                "in/an-address/of-a-unix-socket/which-has-108-bytes-at-most"};
    assert_int_equal(uvm__dial(b->engine, &d, 1, NULL, NULL, NULL, NULL), -UVM_E_LIMIT);
    close(listener);
    assert_int_equal(unlink(a.sun_path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* A full backlog is a reason to wait; waiting ends when there is room, or at the tenth try. */
static void a_dial_waits_for_room(void **state) {
    struct bed *b = *state;
    char dir[] = "/tmp/dial_test.XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/1", dir);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 0), 0);
    int first = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(first, (struct sockaddr *)&a, sizeof a), 0);
    struct uvm__dialer d = {.unix_dir = dir};
    uvm_op *op = NULL;
    assert_int_equal(uvm__dial(b->engine, &d, 1, NULL, on_done, b, &op), 0);
    for (unsigned i = 0; i < 4; i++) { /* over the first pause */
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->done, 0);
    int peer = accept(listener, NULL, NULL);
    while (b->done == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->code, 0);
    uvm_op_unref(op);
    close(peer);
    close(accept(listener, NULL, NULL));
    int second = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(second, (struct sockaddr *)&a, sizeof a), 0);
    op = NULL;
    assert_int_equal(uvm__dial(b->engine, &d, 1, NULL, on_done, b, &op), 0);
    for (unsigned i = 0; i < 4; i++) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    uvm_op_cancel(op); /* in a pause */
    while (b->done == 1) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->code, UVM_E_CANCELED);
    uvm_op_unref(op);
    close(first);
    close(second);
    close(listener);
    assert_int_equal(unlink(a.sun_path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* Context 1 is this machine itself: refused, or not there at all. */
static void a_vsock_dial_fails_in_words(void **state) {
    struct bed *b = *state;
    struct uvm__dialer d = {.cid = 1};
    uvm_op *op = NULL;
    assert_int_equal(uvm__dial(b->engine, &d, 0x7ffffff0, NULL, on_done, b, &op), 0);
    while (b->done == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->code, UVM_E_IO);
    assert_non_null(
        strstr(uvm_error_message(uvm__op_error(op)), "dial port 2147483632 of context 1: "));
    uvm_op_unref(op);
}

int main(void) {
    signal(SIGPIPE, SIG_DFL); /* so that one raised by a socket is seen */
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_socket_both_ways),
        CASE(back_pressure_is_the_kernels),
        CASE(two_pipes),
        CASE(a_socket_gets_its_flags_back),
        CASE(regular_files_and_dev_null),
        CASE(a_terminal_hangs_up),
        CASE(bad_descriptors_are_refused),
        CASE(dials_a_unix_socket),
        CASE(a_dial_waits_for_room),
        CASE(a_vsock_dial_fails_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
