/* SPDX-License-Identifier: MIT
 * uvmctl_test.c — `uvmctl boot` as a person uses it: real VMs, real commands, what comes back.
 *
 * Each case runs the program and looks at its output, its status, and at what it left (kit_check). The
 * cases of what goes wrong are in uvmctl_fault_test.c.
 */
#include "tests/integration/uvmctl_kit.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* ---- a command's surroundings and its end ----------------------------------------------------- */

static void test_command(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(
        boot_run(&c, LIST("-w", "/tmp", "-e", "A=b c", "-e", "E=", "-u", "nobody", "--name", "demo",
                          "--memory", "128M", "--append", "uvm.test=1", "--", "/bin/sh", "-c",
                          "pwd; id -u; echo \"$A|${E-unset}|$PATH\"; cat; echo bad >&2;"
                          "grep -o uvm.test=1 /proc/cmdline; exit 7")),
        7);
    expect_out(&c, "/tmp\n65534\nb c||/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                   "\nuvm.test=1\n");
    assert_string_equal(c.err_text, "bad\n");
    command_free(&c);
}

static void test_json(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(
        boot_run(&c, LIST("--json", "--", "sh", "-c", "printf 'a\"\\377\\n'; echo e >&2; exit 3")),
        3);
    assert_string_equal(c.err_text, "");
    assert_non_null(strstr(c.out_text, "\"exit_code\":3,\"stdout\":\"a\\\"\xef\xbf\xbd\\n\","
                                       "\"stderr\":\"e\\n\"}"));
    static const char *const keys[] = {"{\"id\":\"",      "\"name\":\"uvm-",
                                       "\"accel\":\"",    "\"times_ms\":{\"create\":",
                                       "\"vmm_start\":",  "\"first_guest_contact\":",
                                       "\"negotiated\":", "\"total\":"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(strstr(c.out_text, keys[i]));
    }
    assert_ptr_equal(strchr(c.out_text, '\n'), c.out_text + c.out_len - 1); /* one line */
    command_free(&c);
}

/* 1 MiB of a stream is kept; the rest is read, so that the command gets to its end. */
static void test_json_cut(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(
        boot_run(&c, LIST("--json", "--", "sh", "-c",
                          "head -c 1100000 /dev/zero | tr '\\0' x; echo end >&2; exit 4")),
        4);
    const char *text = strstr(c.out_text, "\"stdout\":\"x");
    assert_non_null(text);
    assert_int_equal(strspn(text + 10, "x"), 1u << 20);
    assert_non_null(strstr(text, "\"stderr\":\"end\\n\",\"truncated\":true}"));
    command_free(&c);
}

static void test_not_found(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--name", "demo", "--", "no-such-program", "x")), 127);
    expect_err(&c, "demo: in the guest \"no-such-program\" was not found");
    expect_out(&c, "");
    command_free(&c);
}

static void test_not_runnable(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--json", "--name", "demo", "--", "/etc/passwd")), 126);
    expect_err(&c, "{\"error\":{\"code\":\"PEER\",\"message\":\"demo: in the guest "
                   "\\\"/etc/passwd\\\" could not be run: Permission denied\"");
    expect_out(&c, "");
    command_free(&c);
}

static void test_killed_by_signal(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--", "sh", "-c", "kill -USR1 $$")), 128 + SIGUSR1);
    assert_string_equal(c.err_text, "");
    command_free(&c);
}

/* ---- streams ---------------------------------------------------------------------------------- */

#define STREAM_BYTES (64u << 20)

static unsigned char byte_at(size_t i) {
    return (unsigned char)((i * 2654435761u) >> 13);
}

static void fill(unsigned char *buf, size_t at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        buf[i] = byte_at(at + i);
    }
}

static void check(const unsigned char *buf, size_t at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (buf[i] != byte_at(at + i)) {
            fail_msg("byte %zu is %u, not %u", at + i, buf[i], byte_at(at + i));
        }
    }
}

/* 64 MiB through `cat`; our end rests now and then, so that every buffer on the way fills up. */
static void test_64_mib(void **state) {
    static unsigned char out[65536], in[65536];
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    size_t sent = 0, got = 0, rests = 0;
    (void)state;
    o.in = -2;
    boot_start(&c, &o, LIST("--", "cat"));
    assert_int_equal(fcntl(c.in, F_SETFL, O_NONBLOCK), 0);
    while (got < STREAM_BYTES) {
        struct pollfd p[2] = {{.fd = c.out, .events = POLLIN},
                              {.fd = sent < STREAM_BYTES ? c.in : -1, .events = POLLOUT}};
        assert_true(poll(p, 2, BOOT_MS) > 0);
        if (p[1].revents != 0) {
            size_t n = STREAM_BYTES - sent < sizeof out ? STREAM_BYTES - sent : sizeof out;
            fill(out, sent, n);
            ssize_t wrote = write(c.in, out, n);
            assert_true(wrote > 0 || errno == EAGAIN);
            sent += wrote > 0 ? (size_t)wrote : 0;
        }
        if (p[0].revents != 0) {
            if (got >> 23 > rests) { /* at each 8 MiB */
                rests++;
                pause_ms(50);
            }
            ssize_t n = read(c.out, in, sizeof in);
            assert_true(n > 0);
            check(in, got, (size_t)n);
            got += (size_t)n;
        }
        if (sent == STREAM_BYTES && c.in >= 0) {
            close(c.in);
            c.in = -1;
        }
    }
    assert_int_equal(command_end(&c, BOOT_MS), 0);
    assert_int_equal(c.out_total, 0); /* nothing behind the last byte */
    assert_string_equal(c.err_text, "");
    command_free(&c);
}

static void test_output_closed_early(void **state) {
    struct command c;
    char line[2];
    (void)state;
    boot_start(&c, NULL, LIST("--", "yes"));
    assert_int_equal(read(c.out, line, 2), 2);
    assert_memory_equal(line, "y\n", 2);
    close(c.out);
    c.out = -1;
    int status = command_end(&c, BOOT_MS);
    /* What `yes` makes of a broken pipe: the signal, or the error. */
    assert_true(status == 128 + SIGPIPE || status == 1);
    command_free(&c);
}

/* A child in the background that keeps stdout open does not hold the end. */
static void test_background_child(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--", "sh", "-c", "sleep 1000 & echo hi")), 0);
    expect_out(&c, "hi\n");
    command_free(&c);
}

/* ---- a terminal ------------------------------------------------------------------------------- */

struct screen {
    int fd;
    char text[16384];
    size_t len;
};

static void type(const struct screen *s, const char *keys) {
    assert_int_equal(write(s->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* A shell that was about to read when a signal came runs its trap at the next line: it gets one. */
static void await_screen(struct screen *s, const char *text) {
    for (int quiet = 0; strstr(s->text, text) == NULL;) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        int ready = poll(&p, 1, 3000);
        if (ready == 0 && ++quiet < BOOT_MS / 3000) {
            type(s, s->len > 0 ? "again\n" : "");
            continue;
        }
        ssize_t n = ready <= 0 ? 0 : read(s->fd, s->text + s->len, sizeof s->text - 1 - s->len);
        if (n <= 0) {
            fail_msg("the screen lacks \"%s\": %s", text, s->text);
        }
        s->len += (size_t)n;
    }
}

static bool same_settings(const struct termios *a, const struct termios *b) {
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
           a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, sizeof a->c_cc) == 0;
}

static void open_terminal(struct screen *s, struct command_options *o, struct termios *before) {
    struct winsize size = {.ws_row = 33, .ws_col = 77};
    *s = (struct screen){.fd = -1};
    assert_int_equal(openpty(&s->fd, &o->tty, NULL, NULL, &size), 0);
    (void)fcntl(s->fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(o->tty, F_SETFD, FD_CLOEXEC);
    assert_int_equal(tcgetattr(o->tty, before), 0);
}

static void test_terminal(void **state) {
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    struct screen s;
    struct termios before, during, after;
    (void)state;
    open_terminal(&s, &o, &before);
    boot_start(&c, &o,
               LIST("-t", "-e", "TERM=vt100", "--", "sh", "-c",
                    "trap 'echo size $(stty size)' WINCH; trap 'echo interrupted' INT;"
                    "tty; stty size; echo $TERM;"
                    "while :; do read -r x || continue; echo \"got $x\";"
                    "[ \"$x\" = q ] && exit 5; done"));
    await_screen(&s, "/dev/pts/");
    await_screen(&s, "33 77\r\n");
    await_screen(&s, "vt100\r\n");
    assert_int_equal(tcgetattr(o.tty, &during), 0);
    assert_int_equal(during.c_lflag & (ECHO | ICANON | ISIG), 0);
    struct winsize larger = {.ws_row = 40, .ws_col = 100};
    assert_int_equal(ioctl(s.fd, TIOCSWINSZ, &larger), 0);
    await_screen(&s, "size 40 100\r\n");
    type(&s, "\003");
    await_screen(&s, "interrupted\r\n");
    type(&s, "hello\n");
    await_screen(&s, "got hello\r\n");
    type(&s, "q\n");
    await_screen(&s, "got q\r\n");
    assert_int_equal(command_end(&c, BOOT_MS), 5);
    assert_int_equal(tcgetattr(o.tty, &after), 0);
    assert_true(same_settings(&before, &after));
    close(s.fd);
    close(o.tty);
    command_free(&c);
}

/* Killed from outside while the terminal is raw: it is given back all the same. */
static void test_terminal_restored(void **state) {
    static const int signals[] = {SIGTERM, SIGABRT};
    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct command c;
        struct command_options o = COMMAND_OPTIONS_INIT;
        struct screen s;
        struct termios before, after;
        open_terminal(&s, &o, &before);
        boot_start(&c, &o, LIST("-t", "--", "sh", "-c", "echo ready; cat"));
        await_screen(&s, "ready\r\n");
        assert_int_equal(kill(c.pid, signals[i]), 0);
        assert_int_equal(command_end(&c, BOOT_MS), 128 + signals[i]);
        assert_int_equal(tcgetattr(o.tty, &after), 0);
        assert_true(same_settings(&before, &after));
        close(s.fd);
        close(o.tty);
        command_free(&c);
        expect_nobody_left(1000);
    }
}

/* ---- without a command ------------------------------------------------------------------------ */

static void await_out(struct command *c, const char *text) {
    while (strstr(c->out_text, text) == NULL) {
        struct pollfd p = {.fd = c->out, .events = POLLIN};
        assert_true(poll(&p, 1, BOOT_MS) > 0);
        ssize_t n = read(c->out, c->out_text + c->out_len, COMMAND_OUTPUT_MAX - c->out_len);
        assert_true(n > 0);
        c->out_len += (size_t)n;
    }
}

static void test_console(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL, LIST("--append", "loglevel=7"));
    await_out(&c, "Linux version");
    await_out(&c, "init: started at");
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(command_end(&c, BOOT_MS), 130);
    assert_string_equal(c.err_text, "uvmctl: interrupted\n");
    command_free(&c);
}

static void test_console_closed_early(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL, LIST("--append", "loglevel=7"));
    await_out(&c, "Linux version");
    close(c.out);
    c.out = -1;
    assert_int_equal(command_end(&c, BOOT_MS), 128 + SIGPIPE);
    assert_string_equal(c.err_text, "");
    command_free(&c);
}

/* ---- many ------------------------------------------------------------------------------------- */

/* ---- disks ------------------------------------------------------------------------------------- */

/* What the command wrote is on the disk afterwards, although nobody unmounted it. */
static void test_disk_is_written_back(void **state) {
    struct command_options o = COMMAND_OPTIONS_INIT;
    struct command c;
    char path[128], disk[160];
    (void)state;
    kit_write("disk.img", "", 0, path);
    assert_int_equal(truncate(path, 32 << 20), 0);
    assert_int_equal(command_run(&c, &o, LIST("/sbin/mkfs.ext4", "-q", path), BOOT_MS), 0);
    command_free(&c);
    (void)snprintf(disk, sizeof disk, "%s,/data", path);
    assert_int_equal(
        boot_run(&c, LIST("--scsi", disk, "--", "sh", "-c", "echo kept > /data/file; exit 3")), 3);
    assert_string_equal(c.err_text, "");
    command_free(&c);
    assert_int_equal(command_run(&c, &o, LIST("/sbin/debugfs", "-R", "cat /file", path), BOOT_MS),
                     0);
    expect_out(&c, "kept\n");
    command_free(&c);
    kit_forget(path);
}

static void test_many(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL, LIST("--count", "10", "--parallel", "2", "--measure", "--", "/bin/true"));
    assert_int_equal(command_end(&c, 4 * BOOT_MS), 0);
    assert_string_equal(c.err_text, "");
    assert_non_null(strstr(c.out_text, "10 boots, 0 failed; ms: min "));
    size_t rows = 0;
    for (const char *p = c.out_text; (p = strchr(p, '\n')) != NULL; p++) {
        rows++;
    }
    assert_int_equal(rows, 12);
    command_free(&c);
}

static void test_many_fail(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--count", "2", "--measure", "--json", "--", "false")), 1);
    assert_non_null(strstr(c.out_text, "\"failed\":2"));
    assert_non_null(strstr(c.out_text, "\"status\":1"));
    assert_non_null(strstr(c.out_text, "\"summary\":{\"min\":0,"));
    command_free(&c);
    /* Each of these is over before its start has returned. */
    assert_int_equal(boot_run(&c, LIST("--count", "100000", "--memory", "33M", "--", "true")), 1);
    assert_non_null(strstr(c.err_text, "33 MB is odd"));
    command_free(&c);
}

/* ---- words ------------------------------------------------------------------------------------ */

static void test_help(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("help")), 0);
    static const char *const later[] = {"save", "restore", "template", "update"};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        char row[32];
        (void)snprintf(row, sizeof row, "\n  %s ", later[i]);
        assert_null(strstr(c.out_text, row));
    }
    assert_non_null(strstr(c.out_text, "\n  boot "));
    command_free(&c);
    assert_int_equal(boot_run(&c, LIST("--help")), 0);
    assert_non_null(strstr(c.out_text, "usage: uvmctl boot"));
    assert_non_null(strstr(c.out_text, "Example:\n"));
    command_free(&c);
    assert_int_equal(boot_run(&c, LIST("help", "doctor")), 0);
    command_free(&c);
}

static void test_usage(void **state) {
    static const struct {
        const char *words[7];
        int status;
        const char *err;
    } rows[] = {
        {{"bot"}, 2, "unknown verb \"bot\"; did you mean \"boot\"?"},
        {{"--memroy", "1G"}, 2, "did you mean \"--memory\"?"},
        {{"--memory", "1X"}, 2, "--memory: \"1X\" is not a size"},
        {{"--memory", "7M"}, 2, "memory: 7 MB is not in 32"},
        {{"--cpus", "0"}, 2, "--cpus: \"0\" is not a number"},
        {{"--cpus", "64"}, 2, "--cpus: 64, but this host has"},
        {{"--accel", "hvf"}, 2, "--accel: \"hvf\" is not auto, kvm or tcg"},
        {{"--timeout", "5"}, 2, "--timeout: \"5\" is not a duration"},
        {{"--annotation", "io.microsoft.virtualmachine.console.pipe=x"}, 2, "does not support it"},
        {{"--name", "a/b"}, 2, "name: \"a/b\""},
        {{"-t"}, 2, "there is none"},
        {{"--json"}, 2, "--json is about a command"},
        {{"-t", "--", "sh"}, 125, "-t: standard input is no terminal"},
        {{"--memory", "1X", "--", "sh"}, 125, "is not a size"},
        {{"--"}, 125, "after -- there is no command"},
        {{"--cgroup", "/x", "--count", "2", "--parallel", "2"}, 2, "each UVM has one of its own"},
        {{"boot", "vm1"}, 2, "\"vm1\" is no option; a command stands after --"},
        {{"--document", "/no/such/file"}, 2, "--document: /no/such/file: No such file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        int status = boot_run(&c, rows[i].words);
        if (status != rows[i].status) {
            fail_msg("row %zu: status %d: %s", i, status, c.err_text);
        }
        expect_err(&c, rows[i].err);
        expect_out(&c, "");
        command_free(&c);
    }
}

#define CASE(name) cmocka_unit_test_teardown(name, kit_check)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE(test_help),
        CASE(test_usage),
        CASE(test_command),
        CASE(test_json),
        CASE(test_json_cut),
        CASE(test_not_found),
        CASE(test_not_runnable),
        CASE(test_killed_by_signal),
        CASE(test_64_mib),
        CASE(test_output_closed_early),
        CASE(test_background_child),
        CASE(test_terminal),
        CASE(test_terminal_restored),
        CASE(test_console),
        CASE(test_console_closed_early),
        CASE(test_many_fail),
        CASE(test_disk_is_written_back),
        CASE(test_many),
    };
    if (argc != 6) {
        (void)fprintf(stderr, "usage: uvmctl_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR\n");
        return 2;
    }
    kit_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
