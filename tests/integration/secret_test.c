/* SPDX-License-Identifier: MIT
 * secret_test.c — what a command in the guest is told stays between its caller and the guest.
 *
 * Commands get a secret as an argument and in their environment, with everything said that can be said: the
 * host's log, the agent's, the console, the control socket's answers, errors of every kind. None of it, and no
 * file of the state folder, may have the secret in it. A program's own name is no secret, nor are folder and
 * user: errors name them.
 */
#include "tests/integration/uvmctl_kit.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SECRET "hunter2-Zq7"
#define IN_ENV "TOKEN=" SECRET
#define SHORT_MS 20000

static char trace[128];

static void expect_none(const char *where, const char *text, size_t bytes) {
    const char *at = memmem(text, bytes, SECRET, sizeof SECRET - 1);
    if (at != NULL) {
        size_t before = (size_t)(at - text) < 200 ? (size_t)(at - text) : 200;
        fail_msg("%s: the secret is in it: %.*s", where, (int)before + 60, at - before);
    }
}

/* Runs it; what it wrote has `words` (may be NULL), and not the secret. */
static void silent(int status, const char *words, const char *const *argv) {
    struct command c;
    int got = boot_run(&c, argv);
    if (got != status ||
        (words != NULL && strstr(c.err_text, words) == NULL && strstr(c.out_text, words) == NULL)) {
        fail_msg("%s: status %d, not %d; stdout \"%s\", stderr \"%s\"", argv[0], got, status,
                 c.out_text, c.err_text);
    }
    expect_none("stdout", c.out_text, c.out_len);
    expect_none("stderr", c.err_text, c.err_len);
    command_free(&c);
}

/* The trace of what was just run: it is there, and tells nothing. */
static void silent_trace(void) {
    static char text[1 << 18];
    int fd = open(trace, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    assert_true(n > 0);
    close(fd);
    assert_non_null(memmem(text, (size_t)n, "\"vm exec\"", 9));
    expect_none("the trace", text, (size_t)n);
    kit_forget(trace);
}

/* ---- a command of a VM of its own ------------------------------------------------------------- */

static void test_boot_says_nothing(void **state) {
    (void)state;
    /* The logs of both ends are in it, or the test would see nothing. */
    silent(0, "process started",
           LIST("-vvv", "-e", IN_ENV, "--", "sh", "-c", "test \"$1\" = \"$TOKEN\"", "sh", SECRET));
    silent(127, "was not found",
           LIST("-vvv", "--trace", trace, "-e", IN_ENV, "--", "no-such-program", SECRET));
    silent_trace();
    silent(125, NULL,
           LIST("-vvv", "--json", "-e", IN_ENV, "-w", "/no/folder", "--", "true", SECRET));
    silent(2, "it is not K=V", LIST("-e", "=" SECRET));
}

/* ---- a VM in the background ------------------------------------------------------------------- */

/* What starts it, and what it says until it is on its own. */
static struct command owner;

static void start_owner(void) {
    boot_start(&owner, NULL, LIST("boot", "--detach", "-vvv", "--name", "demo"));
    assert_true(command_await(&owner, "vm boot", 60000));
    for (int i = 0;; i++) {
        struct command c;
        assert_true(i < 200);
        int got = boot_run(&c, LIST("exec", "demo", "--", "true"));
        command_free(&c);
        if (got == 0) {
            break;
        }
        pause_ms(100);
    }
}

/* What is spoken on the control socket when a client gets it wrong, and when it does not. */
static void test_control_says_nothing(void **state) {
    static const char *const lines[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{\"version\":1}}",
        /* right, but for what the guest lacks */
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"exec\",\"params\":{\"argv\":[\"no-such\",\"" SECRET
        "\"],\"env\":[\"" IN_ENV "\"],\"stdio\":[\"none\",\"none\",\"none\"]}}",
        /* no KEY=VALUE, no string, no list, an unknown member */
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"exec\",\"params\":{\"argv\":[\"true\"],\"env\":[\"" SECRET
        "\"]}}",
        "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"exec\",\"params\":{\"argv\":[\"" SECRET
        "\",7],\"env\":[\"" IN_ENV "\"]}}",
        "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"exec\",\"params\":{\"argv\":\"" SECRET "\"}}",
        "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"exec\",\"params\":{\"argv\":[\"true\",\"" SECRET
        "\"],\"stdio\":[\"fd\",\"" SECRET "\",\"none\"]}}",
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"inspect\"}",
        /* no JSON: the last one */
        "{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"exec\",\"params\":{\"argv\":[\"" SECRET
        "\" \"" SECRET "\"]}}",
    };
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static char text[1 << 18];
    size_t len = 0;
    (void)state;
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%.80s/demo/control.sock", kit.state);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_true(send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL) > 0);
        assert_true(send(fd, "\n", 1, MSG_NOSIGNAL) == 1);
        size_t before = len; /* each is answered before the next is sent */
        while (memchr(text + before, '\n', len - before) == NULL) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            assert_int_equal(poll(&p, 1, SHORT_MS), 1);
            ssize_t n = recv(fd, text + len, sizeof text - 1 - len, 0);
            assert_true(n > 0);
            len += (size_t)n;
        }
    }
    close(fd);
    assert_non_null(strstr(text, "\"exec_status\":127"));
    assert_non_null(strstr(text, "-32602"));
    assert_non_null(strstr(text, "-32700"));
    assert_non_null(strstr(text, "\"document\""));
    expect_none("control socket", text, len);
}

static void test_exec_says_nothing(void **state) {
    (void)state;
    silent(0, NULL,
           LIST("exec", "-e", IN_ENV, "demo", "--", "sh", "-c", "test $1 = $TOKEN", "sh", SECRET));
    silent(127, "was not found",
           LIST("exec", "--trace", trace, "-e", IN_ENV, "demo", "--", "no-such", SECRET));
    silent_trace();
    silent(0, NULL, LIST("exec", "--trace", trace, "-e", IN_ENV, "demo", "--", "true", SECRET));
    silent_trace();
    silent(125, "is no user there",
           LIST("exec", "-u", "nobody-here", "demo", "--", "true", SECRET));
    silent(125, "could not become its folder",
           LIST("exec", "-w", "/no/folder", "-e", IN_ENV, "demo", "--", "true", SECRET));
    silent(126, "could not be run", LIST("exec", "-e", IN_ENV, "demo", "--", "/etc", SECRET));
    silent(137, NULL, LIST("exec", "-e", IN_ENV, "demo", "--", "sh", "-c", "kill -9 $$", SECRET));
    silent(125, "it is not K=V", LIST("exec", "-e", "=" SECRET, "demo", "--", "true"));
}

static void test_looking_shows_nothing(void **state) {
    (void)state;
    silent(0, "process started", LIST("logs", "demo"));
    silent(0, NULL, LIST("logs", "demo", "--json"));
    silent(0, NULL, LIST("console", "demo", "--no-follow"));
    silent(0, "CommandLine", LIST("inspect", "demo"));
    silent(0, "demo", LIST("ps", "--json"));
}

/* Whatever lies in the VM's folder, and what was told of it to its end. */
static void test_nothing_was_written(void **state) {
    char folder[160];
    size_t files = 0;
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/demo", kit.state);
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        static char text[65536];
        int fd = e->d_type == DT_REG ? openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
        files += n > 0;
        expect_none(e->d_name, text, n > 0 ? (size_t)n : 0);
        if (fd >= 0) {
            close(fd);
        }
    }
    closedir(d);
    assert_true(files > 0);
    struct command events;
    boot_start(&events, NULL, LIST("events", "demo", "--json"));
    silent(0, NULL, LIST("exec", "-e", IN_ENV, "demo", "--", "true", SECRET));
    silent(0, NULL, LIST("stop", "demo"));
    assert_int_equal(command_end(&events, SHORT_MS), 0);
    expect_none("events", events.out_text, events.out_len);
    command_free(&events);
    assert_int_equal(command_end(&owner, SHORT_MS), 0);
    expect_none("the owner's log", owner.err_text, owner.err_len);
    command_free(&owner);
    silent(0, NULL, LIST("gc")); /* of what is remembered; then nothing may be left */
}

int main(int argc, char **argv) {
    const struct CMUnitTest alone[] = {
        cmocka_unit_test_teardown(test_boot_says_nothing, kit_check),
    };
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(test_control_says_nothing),
        cmocka_unit_test(test_exec_says_nothing),
        cmocka_unit_test(test_looking_shows_nothing),
        cmocka_unit_test_teardown(test_nothing_was_written, kit_check),
    };
    assert_true(argc > 5);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    (void)snprintf(trace, sizeof trace, "%s/trace.json", kit.folder);
    int failed = cmocka_run_group_tests(alone, NULL, NULL);
    start_owner();
    failed += cmocka_run_group_tests(shared, NULL, NULL);
    kit_close();
    return failed;
}
