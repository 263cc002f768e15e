/* SPDX-License-Identifier: MIT
 * sock_test.c — sockets on a real loop: back-pressure, descriptors, every kind of end.
 *
 * The other end of each pair is plain blocking code of the test. SIGPIPE has its default action
 * here, so a write that raised it would end the program.
 */
#include "async/limits.h"
#include "async/sock.h"
#include "tests/unit/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct loop_kit kit;
static struct uvm__sock *sock;
static int peer; /* blocking */

/* What the callbacks saw and do. */
static struct {
    bool readable, drained, closed;
    int readable_count, drained_count;
    bool close_when_readable, close_when_drained;
} seen;

static void on_closed(void *arg) {
    assert_ptr_equal(arg, &seen);
    assert_false(seen.closed);
    seen.closed = true;
}
static void close_sock(void) {
    uvm__sock_close(sock, on_closed, &seen);
    sock = NULL;
}
static void on_readable(struct uvm__sock *s, void *arg) {
    assert_ptr_equal(s, sock);
    assert_ptr_equal(arg, &kit);
    seen.readable = true;
    seen.readable_count++;
    if (seen.close_when_readable) {
        close_sock();
    }
}
static void on_drained(struct uvm__sock *s, void *arg) {
    assert_ptr_equal(s, sock);
    assert_ptr_equal(arg, &kit);
    assert_int_equal(uvm__sock_queued(s), 0);
    seen.drained = true;
    seen.drained_count++;
    if (seen.close_when_drained) {
        close_sock();
    }
}
static const struct uvm__sock_events events = {on_readable, on_drained};

static int setup(void **unused) {
    (void)unused;
    memset(&seen, 0, sizeof seen);
    loop_open(&kit);
    int fds[2];
    assert_int_equal(uvm__sock_pair(fds), 0);
    assert_int_equal(uvm__sock_open(kit.engine, fds[0], &events, &kit, &sock), 0);
    assert_int_equal(uvm__sock_fd(sock), fds[0]);
    peer = fds[1];
    return 0;
}
static int teardown(void **unused) {
    (void)unused;
    if (sock != NULL) {
        close_sock();
    }
    loop_until(&kit, &seen.closed);
    if (peer >= 0) {
        close(peer);
    }
    loop_close(&kit);
    return 0;
}

/* ---- the test's end ----------------------------------------------------------------------- */

static void peer_write(const char *text) {
    assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}
static void peer_read(const char *want) {
    char buf[64] = "";
    assert_int_equal(recv(peer, buf, strlen(want), MSG_WAITALL), strlen(want));
    assert_string_equal(buf, want);
}
static void peer_send_fds(const char *text, int fd, size_t count) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * 64)];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; i++) {
        memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    }
    assert_int_equal(sendmsg(peer, &msg, 0), strlen(text));
}
/* Reads exactly `want` and the descriptors that came with its first byte. */
static size_t peer_recv_fds(const char *want, int *fds, size_t max) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * 64)];
    } control = {0};
    char buf[64] = "";
    struct iovec iov = {buf, strlen(want)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    assert_int_equal(recvmsg(peer, &msg, 0), strlen(want));
    assert_string_equal(buf, want);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    size_t count = c == NULL ? 0 : (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    assert_true(count <= max);
    if (c != NULL) {
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
    }
    return count;
}
static bool same_file(int a, int b) {
    struct stat x, y;
    assert_int_equal(fstat(a, &x), 0);
    assert_int_equal(fstat(b, &y), 0);
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
static bool is_cloexec(int fd) {
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}
static int null_fd(void) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}
/* Sends until the kernel takes no more, so that something is queued; returns the bytes of it all.
 */
static size_t fill(void) {
    static const char block[512] = "x";
    size_t bytes = 0;
    while (uvm__sock_queued(sock) == 0) {
        assert_int_equal(uvm__sock_send(sock, block, sizeof block, NULL, 0), 0);
        bytes += sizeof block;
        assert_true(bytes < UVM__SOCK_OUT_BYTES_MAX);
    }
    return bytes;
}
static void peer_discard(size_t bytes) {
    char buf[4096];
    while (bytes > 0) {
        ssize_t n = recv(peer, buf, bytes < sizeof buf ? bytes : sizeof buf, MSG_DONTWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            uv_run(&kit.loop, UV_RUN_ONCE);
            continue;
        }
        assert_true(n > 0);
        bytes -= (size_t)n;
    }
}
static void set_fds_max(rlim_t max, rlim_t *ret_old) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (ret_old != NULL) {
        *ret_old = limit.rlim_cur;
    }
    limit.rlim_cur = max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* ---- bytes -------------------------------------------------------------------------------- */

static void bytes_go_both_ways(void **unused) {
    (void)unused;
    char buf[16] = "";
    assert_int_equal(uvm__sock_send(sock, "ping", 4, NULL, 0), 0);
    assert_int_equal(uvm__sock_queued(sock), 0);
    peer_read("ping");
    assert_int_equal(uvm__sock_send(sock, "", 0, NULL, 0), 0);

    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), -UVM_E_AGAIN);
    peer_write("pong");
    loop_turns(&kit);
    assert_false(seen.readable); /* reading is off */
    uvm__sock_reading(sock, true);
    loop_until(&kit, &seen.readable);
    assert_int_equal(uvm__sock_recv(sock, buf, 2, NULL, NULL), 2);
    assert_int_equal(uvm__sock_recv(sock, buf + 2, 10, NULL, NULL), 2);
    assert_string_equal(buf, "pong");
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), -UVM_E_AGAIN);

    uvm__sock_reading(sock, false);
    int count = seen.readable_count;
    peer_write("more");
    loop_turns(&kit);
    assert_int_equal(seen.readable_count, count);
    assert_int_equal(seen.drained_count, 0); /* nothing ever waited */
}

static void what_the_kernel_does_not_take_is_queued_in_order(void **unused) {
    (void)unused;
    enum { BYTES = 3000 * 1000 };
    uint8_t *sent = malloc(BYTES);
    uint8_t *got = malloc(BYTES);
    assert_true(sent != NULL && got != NULL);
    for (size_t i = 0; i < BYTES; i++) {
        sent[i] = (uint8_t)(i * 7 + i / 251);
    }
    size_t in = 0;
    size_t out = 0;
    size_t step = 1;
    while (in < BYTES) {
        size_t n = in + step < BYTES ? step : BYTES - in;
        int rc = uvm__sock_send(sock, sent + in, n, NULL, 0);
        if (rc == 0) {
            in += n;
            step = step % 9973 + 97;
            continue;
        }
        assert_int_equal(rc, -UVM_E_LIMIT);
        assert_true(uvm__sock_queued(sock) + n > UVM__SOCK_OUT_BYTES_MAX);
        ssize_t r = recv(peer, got + out, BYTES - out, MSG_DONTWAIT);
        out += r > 0 ? (size_t)r : 0;
        uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    while (out < BYTES) {
        ssize_t r = recv(peer, got + out, BYTES - out, MSG_DONTWAIT);
        out += r > 0 ? (size_t)r : 0;
        uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    loop_turns(&kit);
    assert_int_equal(uvm__sock_queued(sock), 0);
    assert_true(seen.drained_count >= 1);
    assert_memory_equal(sent, got, BYTES);
    free(sent);
    free(got);
}

static void the_queue_has_a_limit_and_drains_once(void **unused) {
    (void)unused;
    char *block = calloc(1, UVM__SOCK_OUT_BYTES_MAX + 1);
    assert_non_null(block);
    assert_int_equal(uvm__sock_send(sock, block, UVM__SOCK_OUT_BYTES_MAX + 1, NULL, 0),
                     -UVM_E_LIMIT);
    size_t bytes = fill();
    size_t room = UVM__SOCK_OUT_BYTES_MAX - uvm__sock_queued(sock);
    assert_int_equal(uvm__sock_send(sock, block, room + 1, NULL, 0), -UVM_E_LIMIT);
    assert_int_equal(uvm__sock_send(sock, block, room, NULL, 0), 0);
    assert_int_equal(uvm__sock_queued(sock), UVM__SOCK_OUT_BYTES_MAX);
    assert_int_equal(uvm__sock_send(sock, block, 1, NULL, 0), -UVM_E_LIMIT);
    loop_turns(&kit);
    assert_false(seen.drained);
    peer_discard(bytes + room);
    loop_until(&kit, &seen.drained);
    assert_int_equal(seen.drained_count, 1);
    assert_int_equal(uvm__sock_send(sock, "again", 5, NULL, 0), 0);
    peer_read("again");
    free(block);
}

/* One message beyond the queue, whose room is there again when it has left. */
static void a_message_longer_than_the_queue(void **unused) {
    (void)unused;
    size_t most = (size_t)3 * UVM__SOCK_OUT_BYTES_MAX;
    char *block = calloc(1, most + 1);
    assert_non_null(block);
    assert_int_equal(uvm__sock_send_long(sock, block, most + 1, most), -UVM_E_LIMIT);
    assert_int_equal(uvm__sock_queued(sock), 0);
    assert_int_equal(uvm__sock_send_long(sock, block, most, most), 0);
    size_t queued = uvm__sock_queued(sock);
    assert_true(queued > UVM__SOCK_OUT_BYTES_MAX);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_LIMIT);
    assert_int_equal(uvm__sock_send_long(sock, "x", 1, most), -UVM_E_LIMIT);
    assert_int_equal(uvm__sock_queued(sock), queued);
    peer_discard(most);
    loop_until(&kit, &seen.drained);
    assert_int_equal(uvm__sock_send_long(sock, "again", 5, most), 0);
    peer_read("again");
    free(block);
}

/* ---- descriptors -------------------------------------------------------------------------- */

static void descriptors_are_sent(void **unused) {
    (void)unused;
    int fd = null_fd();
    int mine[2] = {fd, peer};
    int got[4] = {-1, -1, -1, -1};
    assert_int_equal(uvm__sock_send(sock, "two", 3, mine, 2), 0);
    assert_int_equal(peer_recv_fds("two", got, 4), 2);
    assert_true(same_file(got[0], fd) && same_file(got[1], peer));
    close(got[0]);
    close(got[1]);
    close(fd);
}

static void queued_descriptors_outlive_the_callers(void **unused) {
    (void)unused;
    size_t bytes = fill();
    size_t queued = uvm__sock_queued(sock);
    int fd = null_fd();
    int keep = null_fd();
    assert_int_equal(uvm__sock_send(sock, "one", 3, &fd, 1), 0);
    assert_int_equal(uvm__sock_send(sock, "-", 1, NULL, 0), 0); /* joins the block before */
    assert_int_equal(uvm__sock_send(sock, "two", 3, &fd, 1), 0);
    assert_int_equal(uvm__sock_queued(sock), queued + 7);
    close(fd);
    peer_discard(bytes);
    loop_until(&kit, &seen.drained);
    for (int i = 0; i < 2; i++) {
        int got[2] = {-1, -1};
        assert_int_equal(peer_recv_fds(i == 0 ? "one-" : "two", got, 2), 1);
        assert_true(same_file(got[0], keep));
        close(got[0]);
    }
    close(keep);
}

static void descriptors_are_received(void **unused) {
    (void)unused;
    char buf[16] = "";
    int fds[UVM__SOCK_FDS_MAX] = {0};
    size_t count = UVM__SOCK_FDS_MAX;
    int fd = null_fd();
    peer_write("a");
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), 1);
    assert_int_equal(count, 0);
    count = UVM__SOCK_FDS_MAX;
    peer_send_fds("b", fd, UVM__SOCK_FDS_MAX);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), 1);
    assert_int_equal(count, UVM__SOCK_FDS_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(same_file(fds[i], fd) && is_cloexec(fds[i]));
        close(fds[i]);
    }
    /* A reader that has no use for them loses none. */
    uvm_harness_census *before = loop_fds();
    peer_send_fds("c", fd, 3);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 1);
    loop_expect_fds(before);
    uvm_harness_census_free(before);
    close(fd);
}

static void too_many_descriptors_are_closed_and_reported(void **unused) {
    (void)unused;
    char buf[16];
    int fds[UVM__SOCK_FDS_MAX] = {0};
    int fd = null_fd();
    uvm_harness_census *before = loop_fds();
    size_t count = 1;
    peer_send_fds("a", fd, 2); /* more than the caller takes */
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), -UVM_E_PROTOCOL);
    assert_int_equal(count, 1);
    loop_expect_fds(before);
    count = UVM__SOCK_FDS_MAX;
    peer_send_fds("b", fd, 60); /* more than anybody takes */
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), -UVM_E_PROTOCOL);
    loop_expect_fds(before);
    /* ... and when there is no room for them in the process */
    rlim_t old = 0;
    peer_send_fds("c", fd, 2);
    set_fds_max(3, &old);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), -UVM_E_PROTOCOL);
    set_fds_max(old, NULL);
    loop_expect_fds(before);
    uvm_harness_census_free(before);
    close(fd);
}

static void credentials_do_not_disturb(void **unused) {
    (void)unused;
    char buf[4];
    int on = 1;
    int fds[UVM__SOCK_FDS_MAX] = {0};
    size_t count = UVM__SOCK_FDS_MAX;
    int fd = null_fd();
    assert_int_equal(setsockopt(uvm__sock_fd(sock), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    peer_send_fds("a", fd, UVM__SOCK_FDS_MAX);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), 1);
    assert_int_equal(count, UVM__SOCK_FDS_MAX);
    for (size_t i = 0; i < count; i++) {
        close(fds[i]);
    }
    close(fd);
}

/* ---- refused sends ------------------------------------------------------------------------ */

static void a_refused_send_sends_nothing(void **unused) {
    (void)unused;
    int fd = null_fd();
    int many[UVM__SOCK_FDS_MAX + 1];
    for (size_t i = 0; i <= UVM__SOCK_FDS_MAX; i++) {
        many[i] = fd;
    }
    int bad = 1 << 20;
    assert_int_equal(uvm__sock_send(sock, "", 0, &fd, 1), -UVM_E_INVAL);
    assert_int_equal(uvm__sock_send(sock, "x", 1, many, UVM__SOCK_FDS_MAX + 1), -UVM_E_LIMIT);
    assert_int_equal(uvm__sock_send(sock, "x", 1, &bad, 1), -UVM_E_IO);
    kit.fail_at = 0;
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_NOMEM);
    assert_int_equal(uvm__sock_send(sock, "ok", 2, NULL, 0), 0);
    peer_read("ok");

    size_t bytes = fill();
    size_t queued = uvm__sock_queued(sock);
    int two[2] = {fd, bad};
    assert_int_equal(uvm__sock_send(sock, "x", 1, two, 2), -UVM_E_IO);
    kit.fail_at = 0;
    assert_int_equal(uvm__sock_send(sock, "x", 1, &fd, 1), -UVM_E_NOMEM);
    assert_int_equal(uvm__sock_queued(sock), queued);
    peer_discard(bytes);
    loop_until(&kit, &seen.drained);
    assert_int_equal(recv(peer, two, 1, MSG_DONTWAIT), -1);
    close(fd);
}

/* ---- ends --------------------------------------------------------------------------------- */

static void the_end_of_file_is_told_once(void **unused) {
    (void)unused;
    char buf[8];
    int fds[1];
    size_t count = 1;
    uvm__sock_reading(sock, true);
    peer_write("last");
    close(peer);
    peer = -1;
    loop_until(&kit, &seen.readable);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 4);
    seen.readable = false;
    loop_until(&kit, &seen.readable);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, fds, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 0);
    int told = seen.readable_count;
    uvm__sock_reading(sock, false);
    uvm__sock_reading(sock, true);
    loop_turns(&kit);
    assert_int_equal(seen.readable_count, told);
}

static void a_reset_reads_as_the_end(void **unused) {
    (void)unused;
    char buf[8];
    assert_int_equal(uvm__sock_send(sock, "never read", 10, NULL, 0), 0);
    uvm__sock_reading(sock, true);
    peer_write("last");
    close(peer);
    peer = -1;
    loop_until(&kit, &seen.readable);
    ssize_t n = 0;
    while ((n = uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL)) > 0) {
        assert_int_equal(n, 4);
    }
    assert_int_equal(n, 0);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_CLOSED);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_CLOSED);
}

static void a_peer_that_goes_drops_the_queue(void **unused) {
    (void)unused;
    int fd = null_fd();
    (void)fill();
    assert_int_equal(uvm__sock_send(sock, "x", 1, &fd, 1), 0);
    close(fd);
    close(peer);
    peer = -1;
    loop_until(&kit, &seen.drained);
    assert_int_equal(seen.drained_count, 1);
    assert_int_equal(uvm__sock_queued(sock), 0);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_CLOSED);
    uvm__sock_reading(sock, true);
    loop_until(&kit, &seen.readable);
    char buf[8];
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 0);
}

static void half_close_waits_for_the_queue(void **unused) {
    (void)unused;
    char buf[8] = "";
    size_t bytes = fill();
    uvm__sock_shutdown(sock);
    uvm__sock_shutdown(sock);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_STATE);
    peer_discard(bytes);
    loop_until(&kit, &seen.drained);
    assert_int_equal(recv(peer, buf, 1, 0), 0);
    peer_write("late");
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 4);
}

static void half_close_without_a_queue_is_at_once(void **unused) {
    (void)unused;
    char buf[8];
    uvm__sock_shutdown(sock);
    assert_int_equal(recv(peer, buf, 1, 0), 0);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_STATE);
}

/* The descriptor's number is made to stand for something else, as nothing but a bug could: the
 * calls then fail in ways that no peer can cause. */
static void other_errors_end_it(void **unused) {
    (void)unused;
    char buf[8];
    (void)fill();
    loop_turns(&kit); /* watched for writing from here on */
    int real = fcntl(uvm__sock_fd(sock), F_DUPFD_CLOEXEC, 0);
    int null = null_fd();
    assert_true(dup3(null, uvm__sock_fd(sock), O_CLOEXEC) >= 0);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), -UVM_E_IO);
    while (!seen.drained) {
        char drop[65536];
        (void)recv(peer, drop, sizeof drop, MSG_DONTWAIT);
        uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_CLOSED);
    assert_true(dup3(real, uvm__sock_fd(sock), O_CLOEXEC) >= 0); /* epoll knows the file by it */
    close(real);
    close(null);
}

/* ---- closing and opening ------------------------------------------------------------------ */

static void closing_drops_what_is_queued(void **unused) {
    (void)unused;
    int fd = null_fd();
    (void)fill();
    assert_int_equal(uvm__sock_send(sock, "x", 1, &fd, 1), 0);
    close(fd);
    uvm__sock_reading(sock, true);
    peer_write("unread");
    int number = uvm__sock_fd(sock);
    close_sock();
    assert_int_equal(fcntl(number, F_GETFD), -1); /* gone at once */
    assert_false(seen.closed);                    /* but told later */
    loop_until(&kit, &seen.closed);
    assert_false(seen.readable);
    assert_false(seen.drained);
}

static void a_callback_may_close(void **unused) {
    (void)unused;
    (void)fill();
    uvm__sock_reading(sock, true);
    peer_write("x");
    seen.close_when_readable = true;
    loop_until(&kit, &seen.closed);
    assert_int_equal(seen.readable_count, 1);
}

static void the_drained_callback_may_close_too(void **unused) {
    (void)unused;
    size_t bytes = fill();
    uvm__sock_reading(sock, true);
    seen.close_when_drained = true;
    char drop[4096];
    while (bytes > 0) {
        ssize_t n = recv(peer, drop, sizeof drop, 0);
        bytes -= n > 0 ? (size_t)n : 0;
        if (!seen.drained) {
            uv_run(&kit.loop, UV_RUN_NOWAIT);
        }
        if (seen.drained) {
            break;
        }
    }
    loop_until(&kit, &seen.closed);
    assert_false(seen.readable);
}

static void opening_takes_the_descriptor_whatever_happens(void **unused) {
    (void)unused;
    struct uvm__sock *other = NULL;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); /* a file cannot be polled */
    assert_int_equal(uvm__sock_open(kit.engine, fd, &events, &kit, &other), -UVM_E_IO);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(uvm__sock_open(kit.engine, 1 << 20, &events, &kit, &other), -UVM_E_IO);
    int fds[2];
    assert_int_equal(uvm__sock_pair(fds), 0);
    kit.fail_at = 0;
    assert_int_equal(uvm__sock_open(kit.engine, fds[0], &events, &kit, &other), -UVM_E_NOMEM);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    uvm_engine *virtual = NULL;
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &virtual), 0);
    assert_int_equal(uvm__sock_open(virtual, fds[1], &events, &kit, &other), -UVM_E_UNSUPPORTED);
    assert_int_equal(fcntl(fds[1], F_GETFD), -1);
    uvm__engine_free_virtual(virtual);
    assert_null(other);
}

static void a_pair_is_as_promised(void **unused) {
    (void)unused;
    int fds[2] = {-1, -1};
    assert_int_equal(uvm__sock_pair(fds), 0);
    assert_true(is_cloexec(fds[0]) && is_cloexec(fds[1]));
    assert_true((fcntl(fds[0], F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fds[1], F_GETFL) & O_NONBLOCK) == 0);
    close(fds[0]);
    close(fds[1]);
    rlim_t old = 0;
    int before = fds[0];
    set_fds_max(3, &old);
    assert_int_equal(uvm__sock_pair(fds), -UVM_E_IO);
    set_fds_max(old, NULL);
    assert_int_equal(fds[0], before);
}

static void a_pipe_is_read_like_a_socket(void **unused) {
    (void)unused;
    int fds[2];
    char buf[8] = "";
    size_t count = 4;
    int got[4] = {-1, -1, -1, -1};
    close_sock();
    loop_until(&kit, &seen.closed);
    seen.closed = false;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(uvm__sock_open(kit.engine, fds[0], &events, &kit, &sock), 0);
    uvm__sock_reading(sock, true);
    assert_int_equal(uvm__sock_send(sock, "x", 1, NULL, 0), -UVM_E_UNSUPPORTED);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), -UVM_E_AGAIN);
    assert_int_equal(write(fds[1], "text", 4), 4);
    loop_until(&kit, &seen.readable);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, got, &count), 4);
    assert_string_equal(buf, "text");
    close(fds[1]);
    seen.readable = false;
    loop_until(&kit, &seen.readable);
    assert_int_equal(uvm__sock_recv(sock, buf, sizeof buf, NULL, NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(bytes_go_both_ways),
        CASE(what_the_kernel_does_not_take_is_queued_in_order),
        CASE(the_queue_has_a_limit_and_drains_once),
        CASE(a_message_longer_than_the_queue),
        CASE(descriptors_are_sent),
        CASE(queued_descriptors_outlive_the_callers),
        CASE(descriptors_are_received),
        CASE(too_many_descriptors_are_closed_and_reported),
        CASE(credentials_do_not_disturb),
        CASE(a_refused_send_sends_nothing),
        CASE(the_end_of_file_is_told_once),
        CASE(a_reset_reads_as_the_end),
        CASE(a_peer_that_goes_drops_the_queue),
        CASE(half_close_waits_for_the_queue),
        CASE(half_close_without_a_queue_is_at_once),
        CASE(other_errors_end_it),
        CASE(closing_drops_what_is_queued),
        CASE(a_callback_may_close),
        CASE(the_drained_callback_may_close_too),
        CASE(opening_takes_the_descriptor_whatever_happens),
        CASE(a_pair_is_as_promised),
        CASE(a_pipe_is_read_like_a_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
