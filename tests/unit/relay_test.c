/* SPDX-License-Identifier: MIT
 *
 * Tests of the relay behind `vsockexec -r`: real programs write into a real pipe, and the peers are
 * ends of socket pairs, handed out by a scripted dial. Where a peer must read while the relay runs
 * it is a process of its own, which answers with its exit status.
 */
#include "cmd/gcs/relay.h"

#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEERS_MAX = 4 };

/* What dial gives, call by call: a descriptor, or -1; after the last it fails for ever. */
struct script {
    int fds[PEERS_MAX];
    int count, dials;
    int hold; /* closed with the last of them; 0: none */
};

static int dial(void *arg) {
    struct script *s = arg;
    int n = s->dials++;

    if (n + 1 == s->count && s->hold > 0) {
        close(s->hold);
    }

    return n < s->count ? s->fds[n] : -1;
}

/* Adds a connection to the script: the peer's end. */
static int peer(struct script *s) {
    int fds[2];

    assert_true(s->count < PEERS_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    s->fds[s->count++] = fds[0];
    return fds[1];
}

static void refusal(struct script *s) {
    assert_true(s->count < PEERS_MAX);
    s->fds[s->count++] = -1;
}

/* Runs the command with stdout in the relay's pipe. */
static int relay_with(struct script *s, const char *command, int input, int last_resort) {
    struct uvm__relay relay = {.dial = dial, .arg = s, .last_resort = last_resort};
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    relay.from = fds[0];
    relay.pid = fork();
    assert_true(relay.pid >= 0);
    if (relay.pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        if (input >= 0) {
            dup2(input, STDIN_FILENO);
        }
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    return uvm__relay_run(&relay);
}

static int relay(struct script *s, const char *command) {
    return relay_with(s, command, -1, -1);
}

static void assert_received(int fd, const char *text) {
    char buf[256];
    size_t n = 0;
    ssize_t r;

    while (n < sizeof buf && (r = read(fd, buf + n, sizeof buf - n)) > 0) {
        n += (size_t)r;
    }
    close(fd);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(buf, text, n);
}

static void delivers_and_ends_with_child(void **state) {
    struct script s = {.count = 0};
    int fd = peer(&s), status = relay(&s, "echo one; echo two; exit 5");

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
    assert_received(fd, "one\ntwo\n");
    assert_int_equal(s.dials, 1);
}

static void tells_of_signal(void **state) {
    struct script s = {.count = 0};
    int status = relay(&s, "kill -9 $$");

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), 9);
    assert_int_equal(s.dials, 0); /* nothing to say, nobody to dial */
}

static void dials_again(void **state) {
    struct script s = {.count = 0};
    int fd;

    (void)state;
    refusal(&s);
    refusal(&s);
    fd = peer(&s);
    assert_int_equal(relay(&s, "echo late"), 0);
    assert_received(fd, "late\n");
    assert_int_equal(s.dials, 3);
}

static void survives_peer_that_left(void **state) {
    struct script s = {.count = 0};
    int gone = peer(&s), fd = peer(&s);

    (void)state;
    close(gone);
    assert_int_equal(relay(&s, "echo kept"), 0);
    assert_received(fd, "kept\n");
    assert_int_equal(s.dials, 2);
}

/* The child's own child holds the pipe; the relay does not wait for it. */
static void does_not_wait_for_grandchildren(void **state) {
    struct script s = {.count = 0};
    int fd = peer(&s), input[2], status;

    (void)state;
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    status = relay_with(&s, "cat <&0 & echo mine; exit 4", input[0], -1);
    assert_int_equal(WEXITSTATUS(status), 4);
    assert_received(fd, "mine\n");
    close(input[0]);
    close(input[1]);
}

static void says_rest_where_nobody_listens(void **state) {
    struct script s = {.count = 0};
    int last[2];

    (void)state;
    assert_int_equal(pipe2(last, O_CLOEXEC), 0);
    assert_int_equal(relay_with(&s, "echo famous last words", -1, last[1]), 0);
    close(last[1]);
    assert_received(last[0], "famous last words\n");
    assert_true(s.dials >= 2);
}

#define LINES "20000"
/* What `seq LINES` writes: more than a pipe holds, less than a socket takes unread. */
enum { SEQ_LINES = 20000, SEQ_BYTES = 108894 };

static char *seq_text(void) {
    char *text = malloc(SEQ_BYTES + 1);
    size_t n = 0;

    assert_non_null(text);
    for (int i = 1; i <= SEQ_LINES; i++) {
        n += (size_t)snprintf(text + n, SEQ_BYTES + 1 - n, "%d\n", i);
    }
    assert_int_equal(n, SEQ_BYTES);
    return text;
}

/* A process that reads `bytes` in small pieces, or to the end if there are fewer, closes, and then
 * tells by a pipe how many it got, and whether they are `text`.                                  */
static pid_t reader(int fd, const struct script *s, size_t bytes, const char *text, int report) {
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        size_t n = 0;
        ssize_t r = 1;
        char buf[777];
        bool same = true;

        for (int i = 0; i < s->count; i++) {
            close(s->fds[i]);
        }
        while (n < bytes && r > 0) {
            size_t want = bytes - n < sizeof buf ? bytes - n : sizeof buf;

            r = read(fd, buf, want);
            if (r > 0) {
                same = same && memcmp(buf, text + n, (size_t)r) == 0;
                n += (size_t)r;
            }
        }
        close(fd);
        _exit(write(report, &n, sizeof n) == sizeof n && same ? 0 : 1);
    }
    close(fd);
    return pid;
}

/* A process that takes everything as it comes, so that the relay never waits for room, and says it at the end. */
static pid_t collector(int fd, const struct script *s, int say) {
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        static char text[SEQ_BYTES + 1];
        size_t n = 0, said = 0;
        ssize_t r = 1;

        for (int i = 0; i < s->count; i++) {
            close(s->fds[i]);
        }
        while (n < sizeof text && (r = read(fd, text + n, sizeof text - n)) > 0) {
            n += (size_t)r;
        }
        while (said < n && (r = write(say, text + said, n - said)) > 0) {
            said += (size_t)r;
        }
        _exit(said == n ? 0 : 1);
    }
    close(fd);
    close(say);
    return pid;
}

static void assert_exits_0(pid_t pid) {
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void waits_for_slow_peer(void **state) {
    struct script s = {.count = 0};
    char *text = seq_text();
    int fd = peer(&s), report[2];
    size_t got = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid = reader(fd, &s, SIZE_MAX, text, report[1]);
    assert_int_equal(relay(&s, "seq " LINES), 0);
    assert_exits_0(pid);
    assert_int_equal(read(report[0], &got, sizeof got), sizeof got);
    assert_int_equal(got, SEQ_BYTES);
    close(report[0]);
    close(report[1]);
    free(text);
}

/* The first peer leaves in the middle. The second gets everything that the first connection had not
 * taken: the end of the text, without a hole after where it begins. The program lives until the second
 * is there, so that the relay's last second is not one in which the reader must get its turn.    */
static void sends_remainder_to_next_peer(void **state) {
    struct script s = {.count = 0};
    char *text = seq_text(), *rest = malloc(SEQ_BYTES + 1);
    int first = peer(&s), second = peer(&s), report[2], all[2], hold[2], small = 4096;
    size_t got = 0, n = 0;
    ssize_t r;
    pid_t pid, other;

    (void)state;
    assert_non_null(rest);
    assert_int_equal(setsockopt(s.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid = reader(first, &s, SEQ_BYTES / 4, text, report[1]);
    assert_int_equal(pipe2(all, O_CLOEXEC), 0);
    other = collector(second, &s, all[1]);
    assert_int_equal(pipe2(hold, O_CLOEXEC), 0); /* after the fork: only we can let go */
    s.hold = hold[1];
    assert_int_equal(relay_with(&s, "seq " LINES "; read word; true", hold[0], -1), 0);
    close(hold[0]);
    assert_exits_0(pid);
    assert_int_equal(read(report[0], &got, sizeof got), sizeof got);
    assert_int_equal(got, SEQ_BYTES / 4);
    while ((r = read(all[0], rest + n, SEQ_BYTES + 1 - n)) > 0) {
        n += (size_t)r;
    }
    assert_exits_0(other);
    assert_true(n > 0 && n <= SEQ_BYTES - SEQ_BYTES / 4);
    assert_memory_equal(rest, text + SEQ_BYTES - n, n);
    assert_int_equal(s.dials, 2);
    close(all[0]);
    close(report[0]);
    close(report[1]);
    free(rest);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_and_ends_with_child),
        cmocka_unit_test(tells_of_signal),
        cmocka_unit_test(dials_again),
        cmocka_unit_test(survives_peer_that_left),
        cmocka_unit_test(does_not_wait_for_grandchildren),
        cmocka_unit_test(says_rest_where_nobody_listens),
        cmocka_unit_test(waits_for_slow_peer),
        cmocka_unit_test(sends_remainder_to_next_peer),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
