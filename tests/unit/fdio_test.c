/* SPDX-License-Identifier: MIT
 * fdio_test.c — borrowed descriptors of every sort, on a real loop: bytes, waiting, ends, and flags that
 * stay as they were.
 */
#include "async/engine.h"
#include "async/fdio_linux.h"
#include "cm.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

static uv_loop_t loop;
static uvm_engine *engine;
static unsigned readies;

static int setup(void **state) {
    (void)state;
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    readies = 0;
    (void)signal(SIGPIPE, SIG_DFL); /* one that gets through kills the test */
    return uv_loop_init(&loop) + uvm_engine_new(&loop, &params, &engine);
}

static int teardown(void **state) {
    (void)state;
    uvm_engine_close(engine, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void on_ready(struct uvm__fdio *f, void *arg) {
    (void)f;
    (void)arg;
    readies++;
}

static struct uvm__fdio *borrow(int fd, enum uvm__fdio_direction direction) {
    struct uvm__fdio *f = NULL;
    assert_int_equal(uvm__fdio_open(engine, fd, direction, on_ready, NULL, &f), 0);
    return f;
}

static ssize_t get(struct uvm__fdio *f, void *buf, size_t bytes) {
    int err = 0;
    return uvm__fdio_read(f, buf, bytes, &err);
}

static ssize_t put(struct uvm__fdio *f, const void *buf, size_t bytes) {
    int err = 0;
    return uvm__fdio_write(f, buf, bytes, &err);
}

static void wait_ready(unsigned count) {
    for (int i = 0; i < 1000 && readies < count; i++) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    assert_int_equal(readies, count);
}

static void assert_nothing_ready(unsigned count) {
    for (int i = 0; i < 3; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(readies, count);
}

/* Both ends as a shell would give them: blocking, and to stay so. */
static void read_and_wait(int theirs, int ours) {
    char buf[16];
    int flags = fcntl(ours, F_GETFL);
    struct uvm__fdio *f = borrow(ours, UVM__FDIO_READ);
    assert_int_equal(get(f, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(get(f, buf, sizeof buf), -UVM_E_AGAIN);
    assert_nothing_ready(0);
    assert_int_equal(write(theirs, "hello", 5), 5);
    assert_int_equal(readies, 0);
    wait_ready(1);
    assert_int_equal(get(f, buf, 2), 2);
    assert_int_equal(get(f, buf, sizeof buf), 3);
    assert_memory_equal(buf, "llo", 3);
    assert_nothing_ready(1); /* one event per refusal */
    assert_int_equal(get(f, buf, sizeof buf), -UVM_E_AGAIN);
    close(theirs);
    wait_ready(2);
    assert_int_equal(get(f, buf, sizeof buf), 0);
    assert_int_equal(get(f, buf, sizeof buf), 0);
    assert_int_equal(fcntl(ours, F_GETFL), flags);
    assert_int_equal(flags & O_NONBLOCK, 0);
    uvm__fdio_close(f);
    close(ours);
}

static void write_and_wait(int theirs, int ours) {
    static char buf[65536];
    int flags = fcntl(ours, F_GETFL);
    struct uvm__fdio *f = borrow(ours, UVM__FDIO_WRITE);
    size_t sent = 0;
    ssize_t n;
    while ((n = put(f, buf, sizeof buf)) > 0) {
        sent += (size_t)n;
    }
    assert_int_equal(n, -UVM_E_AGAIN);
    assert_true(sent >= 4096);
    assert_nothing_ready(0);
    assert_int_equal(fcntl(ours, F_GETFL), flags);
    while (sent > 0) {
        n = read(theirs, buf, sent < sizeof buf ? sent : sizeof buf);
        assert_true(n > 0);
        sent -= (size_t)n;
    }
    wait_ready(1);
    assert_true(put(f, buf, 100) > 0);
    close(theirs);
    n = put(f, buf, 100);
    if (n > 0) { /* a socket may take one more */
        n = put(f, buf, 100);
    }
    assert_int_equal(n, -UVM_E_CLOSED);
    sigset_t pending;
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
    uvm__fdio_close(f);
    close(ours);
}

static void pipes(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    read_and_wait(fds[1], fds[0]);
    readies = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    write_and_wait(fds[0], fds[1]);
}

static void sockets(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    read_and_wait(fds[1], fds[0]);
    readies = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    write_and_wait(fds[0], fds[1]);
}

static void one_socket_both_ways(void **state) {
    (void)state;
    int fds[2];
    char buf[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct uvm__fdio *in = borrow(fds[0], UVM__FDIO_READ);
    struct uvm__fdio *out = borrow(fds[0], UVM__FDIO_WRITE);
    close(fds[0]); /* borrowed means during open only */
    assert_int_equal(get(in, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(put(out, "x", 1), 1);
    assert_int_equal(write(fds[1], "y", 1), 1);
    wait_ready(1);
    assert_int_equal(get(in, buf, sizeof buf), 1);
    assert_int_equal(read(fds[1], buf, 1), 1);
    uvm__fdio_close(in);
    uvm__fdio_close(out);
    assert_int_equal(read(fds[1], buf, 1), 0);
    close(fds[1]);
}

static void a_file_keeps_its_offset(void **state) {
    (void)state;
    char buf[16];
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = fileno(file);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
    struct uvm__fdio *in = borrow(fd, UVM__FDIO_READ);
    assert_int_equal(get(in, buf, 3), 3);
    assert_memory_equal(buf, "456", 3);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 7); /* as a shell expects: `(uvmctl …; cat) < file` */
    struct uvm__fdio *out = borrow(fd, UVM__FDIO_WRITE);
    assert_int_equal(put(out, "ab", 2), 2);
    assert_int_equal(get(in, buf, sizeof buf), 1);
    assert_int_equal(get(in, buf, sizeof buf), 0);
    uvm__fdio_close(in);
    uvm__fdio_close(out);
    assert_int_equal(pread(fd, buf, 10, 0), 10);
    assert_memory_equal(buf, "0123456ab9", 10);
    (void)fclose(file);
}

static void devices_that_cannot_be_polled(void **state) {
    (void)state;
    char buf[16];
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct uvm__fdio *in = borrow(fd, UVM__FDIO_READ);
    struct uvm__fdio *out = borrow(fd, UVM__FDIO_WRITE);
    assert_int_equal(get(in, buf, sizeof buf), 0);
    assert_int_equal(put(out, buf, sizeof buf), sizeof buf);
    uvm__fdio_close(in);
    uvm__fdio_close(out);
    close(fd);
}

static void terminals(void **state) {
    (void)state;
    char buf[64];
    int master;
    int line;
    assert_int_equal(openpty(&master, &line, NULL, NULL, NULL), 0);
    int flags = fcntl(line, F_GETFL);
    struct uvm__fdio *in = borrow(line, UVM__FDIO_READ);
    struct uvm__fdio *out = borrow(line, UVM__FDIO_WRITE);
    assert_int_equal(get(in, buf, sizeof buf), -UVM_E_AGAIN);
    assert_int_equal(write(master, "typed\n", 6), 6);
    wait_ready(1);
    assert_int_equal(get(in, buf, sizeof buf), 6);
    assert_memory_equal(buf, "typed\n", 6);
    assert_int_equal(put(out, "shown", 5), 5);
    /* The echo, and what was written. The master itself is not opened anew: that is another terminal. */
    struct uvm__fdio *other = borrow(master, UVM__FDIO_READ);
    ssize_t n = get(other, buf, sizeof buf);
    if (n == -UVM_E_AGAIN) {
        wait_ready(2);
        n = get(other, buf, sizeof buf);
    }
    assert_true(n > 0);
    assert_memory_equal(buf, "typed\r\n", n < 7 ? (size_t)n : 7);
    assert_int_equal(fcntl(line, F_GETFL), flags);
    assert_int_equal(fcntl(master, F_GETFL) & O_NONBLOCK, 0);
    unsigned before = readies;
    while (get(in, buf, sizeof buf) > 0) {
    }
    uvm__fdio_close(other);
    close(master); /* hangs up */
    for (int i = 0; i < 10; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_true(readies > before);
    assert_int_equal(get(in, buf, sizeof buf), 0);
    assert_int_equal(put(out, "x", 1), -UVM_E_CLOSED);
    uvm__fdio_close(in);
    uvm__fdio_close(out);
    close(line);
}

static void others_are_asked_first(void **state) {
    (void)state;
    uint64_t value = 0;
    int fd = eventfd(0, EFD_CLOEXEC); /* blocking, and nothing that could be opened anew */
    struct uvm__fdio *in = borrow(fd, UVM__FDIO_READ);
    assert_int_equal(get(in, &value, sizeof value), -UVM_E_AGAIN);
    value = 5;
    assert_int_equal(write(fd, &value, sizeof value), sizeof value);
    wait_ready(1);
    value = 0;
    assert_int_equal(get(in, &value, sizeof value), sizeof value);
    assert_true(value == 5);
    assert_int_equal(get(in, &value, sizeof value), -UVM_E_AGAIN);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    uvm__fdio_close(in);
    close(fd);
}

static void forbidden_pipe(int fds[2]) {
    (void)!pipe2(fds, O_CLOEXEC);
    (void)!fchmod(fds[0], 0); /* as one that another user made */
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    if (open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) >= 0) {
        _exit(1);
    }
}

static void pipes_that_cannot_be_opened_anew(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fds[2];
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) {
            _exit(2);
        }
        forbidden_pipe(fds);
        read_and_wait(fds[1], fds[0]);
        readies = 0;
        forbidden_pipe(fds);
        write_and_wait(fds[0], fds[1]);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_cannot_be_borrowed(void **state) {
    (void)state;
    struct uvm__fdio *f = NULL;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(uvm__fdio_open(engine, fds[0], UVM__FDIO_WRITE, on_ready, NULL, &f),
                     -UVM_E_INVAL);
    assert_int_equal(uvm__fdio_open(engine, fds[1], UVM__FDIO_READ, on_ready, NULL, &f),
                     -UVM_E_INVAL);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(uvm__fdio_open(engine, fds[0], UVM__FDIO_READ, on_ready, NULL, &f),
                     -UVM_E_INVAL);
    assert_int_equal(uvm__fdio_open(engine, -1, UVM__FDIO_READ, on_ready, NULL, &f), -UVM_E_INVAL);
    int dir = open("/", O_PATH | O_CLOEXEC);
    assert_int_equal(uvm__fdio_open(engine, dir, UVM__FDIO_READ, on_ready, NULL, &f), -UVM_E_INVAL);
    close(dir);
    dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(uvm__fdio_open(engine, dir, UVM__FDIO_READ, on_ready, NULL, &f), 0);
    char byte;
    int err = 0;
    assert_int_equal(uvm__fdio_read(f, &byte, 1, &err), -UVM_E_IO);
    assert_int_equal(err, EISDIR);
    uvm__fdio_close(f);
    close(dir);
    uvm__fdio_close(NULL);
    uvm_engine *virtual_engine;
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    assert_int_equal(uvm__engine_new_virtual(&params, 1, &virtual_engine), 0);
    assert_int_equal(uvm__fdio_open(virtual_engine, 0, UVM__FDIO_READ, on_ready, NULL, &f),
                     -UVM_E_UNSUPPORTED);
    uvm__engine_free_virtual(virtual_engine);
}

static void closing_while_waiting(void **state) {
    (void)state;
    int fds[2];
    char byte;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct uvm__fdio *f = borrow(fds[0], UVM__FDIO_READ);
    assert_int_equal(get(f, &byte, 1), -UVM_E_AGAIN);
    assert_int_equal(write(fds[1], "x", 1), 1);
    uvm__fdio_close(f);
    assert_nothing_ready(0);
    close(fds[0]);
    close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(pipes),
        TEST(sockets),
        TEST(one_socket_both_ways),
        TEST(a_file_keeps_its_offset),
        TEST(devices_that_cannot_be_polled),
        TEST(terminals),
        TEST(others_are_asked_first),
        TEST(pipes_that_cannot_be_opened_anew),
        TEST(what_cannot_be_borrowed),
        TEST(closing_while_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
