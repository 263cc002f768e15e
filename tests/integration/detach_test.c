/* SPDX-License-Identifier: MIT
 * detach_test.c — UVMs in the background, as a person uses them: real VMs, one for most of the cases.
 *
 * The state folder is the test's own. At the end of each group, and after each case with a VM of its own,
 * nothing is left, and nothing in the state folder.
 */
#include "tests/integration/detach_kit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static int stop_demo(void **state) {
    expect(0, NULL, NULL, LIST("stop", "demo"));
    return nothing_left(state);
}

/* ---- one VM for all of these -------------------------------------------------------------- */

static void test_ps_and_inspect(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("ps", "--json")), 0);
    static const char *const keys[] = {
        "[{\"id\":\"",      "\"name\":\"demo\"", "\"state\":\"running\"",
        "\"exit\":null",    "\"cpus\":1",        "\"memory_mb\":128",
        "\"started\":\"20", "\"owner_pid\":",    "\"vmm_pid\":"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strstr(c.out_text, keys[i]) == NULL) {
            fail_msg("%s lacks %s", c.out_text, keys[i]);
        }
    }
    char id[37] = "";
    (void)snprintf(id, sizeof id, "%s", strstr(c.out_text, "\"id\":\"") + 6);
    command_free(&c);
    expect(0, "demo  ", NULL, LIST("ps"));
    assert_int_equal(boot_run(&c, LIST("ps", "-q")), 0);
    expect_out(&c, "demo\n");
    command_free(&c);
    /* By name, prefix, id. */
    expect(0, "\"document\":{", NULL, LIST("inspect", "demo", "--json"));
    expect(0, id, NULL, LIST("inspect", "d"));
    expect(0, "\"name\":\t\"demo\"", NULL, LIST("inspect", id));
    expect(3, "", "nope: there is no such UVM", LIST("inspect", "nope"));
    expect(3, "", "\"code\":\"NOTFOUND\"", LIST("stop", "nope", "--json"));
    expect(2, "", "of which UVM?", LIST("inspect"));
}

static void test_exec(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("exec", "demo", "-w", "/tmp", "-e", "A=b c", "-u", "nobody",
                                       "--", "sh", "-c",
                                       "pwd; id -u; echo \"$A\"; echo e >&2; "
                                       "exit 7")),
                     7);
    expect_out(&c, "/tmp\n65534\nb c\n");
    assert_string_equal(c.err_text, "e\n");
    command_free(&c);
    expect(127, "", "\"no-such\" was not found", LIST("exec", "demo", "--", "no-such"));
    expect(126, "", "could not be run", LIST("exec", "demo", "--", "/etc/passwd"));
    expect(128 + SIGTERM, "", NULL, LIST("exec", "demo", "--", "sh", "-c", "kill $$"));
    expect(3, "\"exit_code\":3,\"stdout\":\"o\\n\",\"stderr\":\"e\\n\"", NULL,
           LIST("exec", "demo", "--json", "--", "sh", "-c", "echo o; echo e >&2; exit 3"));
    expect(125, "", "a command stands after --", LIST("exec", "demo"));
    expect(125, "", "nope", LIST("exec", "nope", "--", "true"));
    expect(124, "", "not done after 300 ms",
           LIST("exec", "demo", "--timeout", "300ms", "--", "sleep", "100"));
}

static void test_exec_of_a_megabyte(void **state) {
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    char block[65536];
    size_t sent = 0;
    (void)state;
    memset(block, 'z', sizeof block);
    o.in = -2;
    boot_start(&c, &o, LIST("exec", "demo", "--", "wc", "-c"));
    while (sent < 16 * sizeof block) {
        ssize_t n = write(c.in, block, sizeof block);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    close(c.in);
    c.in = -1;
    assert_int_equal(command_end(&c, SHORT_MS), 0);
    assert_int_equal(strtol(c.out_text, NULL, 10), (long)sent);
    command_free(&c);
}

/* Is there a process in the guest that has this in its command line? */
static bool guest_runs(const char *word) {
    struct command c;
    char script[160];
    (void)snprintf(script, sizeof script, "ps | grep '%s' | grep -v grep >/dev/null", word);
    int status = boot_run(&c, LIST("exec", "demo", "--", "sh", "-c", script));
    command_free(&c);
    return status == 0;
}

/* However the client goes: what it ran is gone. */
static void test_client_dies(void **state) {
    static const int signals[] = {SIGKILL, SIGTERM, SIGHUP, SIGINT};
    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct command c;
        boot_start(&c, NULL,
                   LIST("exec", "demo", "--", "sh", "-c", "echo up >&2; exec sleep 7654"));
        assert_true(command_await(&c, "up", SHORT_MS));
        assert_int_equal(kill(c.pid, signals[i]), 0);
        assert_int_equal(command_end(&c, SHORT_MS), 128 + signals[i]);
        command_free(&c);
        for (int n = 0; guest_runs("[s]leep 7654"); n++) {
            assert_true(n < 50);
        }
    }
}

struct screen {
    int fd;
    char text[16384];
    size_t len;
};

/* False: it does not come within the time. */
static bool look_for(struct screen *s, const char *text, int ms) {
    while (strstr(s->text, text) == NULL) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, ms) <= 0) {
            return false;
        }
        ssize_t n = read(s->fd, s->text + s->len, sizeof s->text - 1 - s->len);
        if (n <= 0) {
            fail_msg("the terminal closed without \"%s\": %s", text, s->text);
        }
        s->len += (size_t)n;
    }
    return true;
}

static void await_screen(struct screen *s, const char *text) {
    if (!look_for(s, text, SHORT_MS)) {
        fail_msg("the screen lacks \"%s\": %s", text, s->text);
    }
}

static void wipe(struct screen *s) {
    s->len = 0;
    memset(s->text, 0, sizeof s->text);
}

static void type(const struct screen *s, const char *keys) {
    assert_int_equal(write(s->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

/* The first words may be faster than the answer to exec, at which the client makes it raw. */
static void await_raw(int slave) {
    struct termios now;
    for (int n = 0;; n++) {
        assert_int_equal(tcgetattr(slave, &now), 0);
        if ((now.c_lflag & (tcflag_t)(ICANON | ECHO | ISIG)) == 0) {
            return;
        }
        assert_true(n < 500);
        pause_ms(10);
    }
}

static void test_terminal(void **state) {
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    struct winsize size = {.ws_row = 33, .ws_col = 77}, wider = {.ws_row = 44, .ws_col = 99};
    struct screen s = {0};
    struct termios before, after;
    int slave;
    (void)state;
    assert_int_equal(openpty(&s.fd, &slave, NULL, NULL, &size), 0);
    /* Nobody else may hold an end when we close ours. */
    assert_int_equal(fcntl(s.fd, F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(fcntl(slave, F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(tcgetattr(slave, &before), 0);
    o.tty = slave;
    boot_start(&c, &o, LIST("exec", "demo", "-t", "--", "sh"));
    await_screen(&s, "# ");
    await_raw(slave);
    type(&s, "stty size; tty\r");
    await_screen(&s, "33 77");
    assert_int_equal(ioctl(s.fd, TIOCSWINSZ, &wider), 0);
    wipe(&s);
    for (int i = 0; strstr(s.text, "44 99") == NULL; i++) {
        assert_true(i < 20); /* the news of the size travels beside the keys */
        type(&s, "stty size\r");
        await_screen(&s, "\n");
        await_screen(&s, "# ");
        if (strstr(s.text, "44 99") == NULL) {
            wipe(&s);
        }
    }
    type(&s, "echo now; sleep 500\r");
    /* Before that the shell itself reads keys, and this one is none for it; and until the command has the
     * terminal, the shell may take it and go on to wait. */
    await_screen(&s, "now\r\n");
    wipe(&s);
    for (int i = 0; !look_for(&s, "# ", i == 0 ? 0 : 1000); i++) {
        assert_true(i < 20);
        type(&s, "\003"); /* for the guest, not for us */
    }
    type(&s, "exit 9\r");
    assert_int_equal(command_end(&c, SHORT_MS), 9);
    command_free(&c);
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    /* The terminal goes away: so does the command. */
    boot_start(&c, &o, LIST("exec", "demo", "-t", "--", "sh", "-c", "echo up; exec sleep 7655"));
    wipe(&s);
    await_screen(&s, "up");
    close(slave);
    close(s.fd);
    assert_int_equal(command_end(&c, SHORT_MS), 128 + SIGHUP);
    command_free(&c);
    for (int n = 0; guest_runs("[s]leep 7655"); n++) {
        assert_true(n < 50);
    }
}

/* ---- terminals that go away --------------------------------------------------------------- */

/* A terminal of our own; nobody else may hold an end of it when we close ours. */
static int open_terminal(struct screen *s, struct termios *ret_before) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int slave;
    *s = (struct screen){0};
    assert_int_equal(openpty(&s->fd, &slave, NULL, NULL, &size), 0);
    assert_int_equal(fcntl(s->fd, F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(fcntl(slave, F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(tcgetattr(slave, ret_before), 0);
    return slave;
}

static void expect_restored(int slave, const struct termios *before) {
    struct termios now;
    assert_int_equal(tcgetattr(slave, &now), 0);
    assert_int_equal(now.c_iflag, before->c_iflag);
    assert_int_equal(now.c_oflag, before->c_oflag);
    assert_int_equal(now.c_lflag, before->c_lflag);
}

/* Nothing of them is in the guest, and nobody but who asks is connected. */
static void expect_left_alone(const char *word) {
    for (int n = 0; guest_runs(word); n++) {
        assert_true(n < 50);
    }
    for (int n = 0, alone = 0; !alone; n++) {
        struct command c;
        assert_int_equal(boot_run(&c, LIST("inspect", "demo", "--json")), 0);
        alone = strstr(c.out_text, "\"clients\":1,") != NULL;
        assert_true(alone || n < 50);
        command_free(&c);
    }
}

/* However the news comes, whatever the command thinks of it, whether or not somebody reads the screen: the
 * command is ended, and a terminal that is still there is as it was. */
static void test_exec_is_hung_up(void **state) {
    static const struct {
        const char *command, *word;
        int signo;   /* 0: the terminal is closed */
        bool unread; /* and it is full */
    } rows[] = {
        {"echo up; exec sleep 7711", "[s]leep 7711", SIGHUP, false},
        {"trap '' HUP TERM INT; echo up; sleep 7712; sleep 7712", "[s]leep 7712", SIGHUP, false},
        {"echo up; exec yes 7713", "[y]es 7713", SIGHUP, true},
        {"echo up; exec yes 7714", "[y]es 7714", SIGTERM, true},
        {"trap '' HUP TERM INT; echo up; sleep 7715; sleep 7715", "[s]leep 7715", 0, false},
        {"echo up; exec yes 7716", "[y]es 7716", 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        struct command_options o = COMMAND_OPTIONS_INIT;
        struct screen s;
        struct termios before;
        int slave = open_terminal(&s, &before);
        o.tty = slave;
        boot_start(&c, &o, LIST("exec", "demo", "-t", "--", "sh", "-c", rows[i].command));
        await_screen(&s, "up");
        await_raw(slave);
        if (rows[i].unread) {
            pause_ms(300); /* for it to fill; it may be ended before it has, too */
        }
        if (rows[i].signo != 0) {
            assert_int_equal(kill(c.pid, rows[i].signo), 0);
        } else {
            close(slave);
            close(s.fd);
        }
        assert_int_equal(command_end(&c, SHORT_MS),
                         128 + (rows[i].signo == 0 ? SIGHUP : rows[i].signo));
        command_free(&c);
        if (rows[i].signo != 0) {
            expect_restored(slave, &before);
            close(slave);
            close(s.fd);
        }
        expect_left_alone(rows[i].word);
    }
}

/* Who watches the console has nothing in the guest: the UVM goes on. */
static void test_console_is_hung_up(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct command c;
        struct command_options o = COMMAND_OPTIONS_INIT;
        struct screen s;
        struct termios before;
        int slave = open_terminal(&s, &before);
        o.tty = slave;
        expect(0, NULL, NULL,
               LIST("exec", "demo", "--", "sh", "-c", "echo seen-on-console >/dev/console"));
        boot_start(&c, &o, LIST("console", "demo"));
        await_screen(&s, "seen-on-console");
        if (closed) {
            close(slave);
            close(s.fd);
        } else {
            assert_int_equal(kill(c.pid, SIGHUP), 0);
        }
        assert_int_equal(command_end(&c, SHORT_MS), 128 + SIGHUP);
        command_free(&c);
        if (!closed) {
            expect_restored(slave, &before);
            close(slave);
            close(s.fd);
        }
        expect_left_alone("[n]othing-of-it");
        expect(0, "running", NULL, LIST("ps"));
    }
}

static void test_console_and_logs(void **state) {
    struct command c;
    (void)state;
    expect(0, NULL, NULL,
           LIST("exec", "demo", "--", "sh", "-c", "echo words-on-console >/dev/console"));
    expect(0, "words-on-console", NULL, LIST("console", "demo", "--no-follow"));
    expect(0, "{\"line\":\"", NULL, LIST("console", "demo", "--no-follow", "--json"));
    expect(0, "\"msg\":\"", NULL, LIST("logs", "demo"));
    expect(0, "{\"line\":\"{", NULL, LIST("logs", "demo", "--json"));
    boot_start(&c, NULL, LIST("logs", "demo", "-f"));
    expect(127, NULL, NULL, LIST("exec", "demo", "--", "marker-for-the-log"));
    char text[65536] = "";
    for (size_t len = 0; strstr(text, "marker-for-the-log") == NULL;) {
        struct pollfd p = {.fd = c.out, .events = POLLIN};
        assert_int_equal(poll(&p, 1, SHORT_MS), 1);
        ssize_t n = read(c.out, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = 0;
    }
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(command_end(&c, SHORT_MS), 130);
    command_free(&c);
}

static void test_name_taken(void **state) {
    (void)state;
    expect(4, "", "demo: a UVM of this name is there already",
           LIST("boot", "--detach", "--name", "demo"));
    expect(0, "", NULL, LIST("gc")); /* it lives: nothing to sweep */
    expect(0, "demo", NULL, LIST("ps", "-q"));
}

/* ---- VMs of their own --------------------------------------------------------------------- */

static void test_two_stops_and_events(void **state) {
    struct command a, b, wait, events;
    (void)state;
    (void)boot_demo(state);
    boot_start(&events, NULL, LIST("events", "demo", "--json"));
    boot_start(&wait, NULL, LIST("wait", "demo", "--json"));
    expect(0, "true", NULL, LIST("exec", "demo", "--", "echo", "true"));
    boot_start(&a, NULL, LIST("stop", "demo"));
    boot_start(&b, NULL, LIST("stop", "demo"));
    int first = command_end(&a, SHORT_MS), second = command_end(&b, SHORT_MS);
    assert_true((first == 0 || first == 3) && (second == 0 || second == 3));
    assert_true(first == 0 || second == 0);
    assert_int_equal(command_end(&wait, SHORT_MS), 0);
    assert_non_null(strstr(wait.out_text, "\"reason\":\"guest-shutdown\""));
    assert_int_equal(command_end(&events, SHORT_MS), 0);
    assert_non_null(strstr(events.out_text, "\"state\":\"stopped\""));
    command_free(&a);
    command_free(&b);
    command_free(&wait);
    command_free(&events);
}

/* Whoever comes too late is told how it ended. */
static void test_end_is_remembered(void **state) {
    static const char ended[] =
        "\"state\":\"stopped\",\"exit\":{\"reason\":\"guest-shutdown\",\"code\":0,";
    struct command c;
    char id[37] = "";
    (void)state;
    (void)boot_demo(state);
    expect(0, "[]", NULL, LIST("gc", "--json")); /* the one before it is forgotten by now */
    assert_int_equal(boot_run(&c, LIST("ps", "--json")), 0);
    (void)snprintf(id, sizeof id, "%s", strstr(c.out_text, "\"id\":\"") + 6);
    command_free(&c);
    expect(0, NULL, NULL, LIST("stop", "demo"));
    expect(0, "the guest shut down\n", NULL, LIST("wait", "demo"));
    expect(0, "the guest shut down\n", NULL, LIST("wait", id));
    expect(0, "{\"name\":\"demo\",\"exit\":{\"reason\":\"guest-shutdown\",\"code\":0,", NULL,
           LIST("wait", "dem", "--json"));
    expect(0, "[]\n", NULL, LIST("ps", "--json"));
    expect(0, ended, NULL, LIST("ps", "--all", "--json"));
    expect(0, "guest-shutdown", NULL, LIST("ps", "-a"));
    expect(0, "\"ended_ms\":", NULL, LIST("inspect", "demo", "--json"));
    expect(3, "", "demo: it has ended: the guest shut down", LIST("stop", "demo"));
    expect(125, "", "demo: it has ended: the guest shut down", LIST("exec", "demo", "--", "true"));
    expect(3, "", "demo: it has ended", LIST("events", "demo"));
    expect(3, "", "nope: there is no such UVM", LIST("wait", "nope"));
    /* Another of that name, which ends in another way. */
    struct command wait;
    (void)boot_demo(state);
    expect(0, "\"exit\":null", NULL, LIST("ps", "-a", "--json"));
    boot_start(&wait, NULL, LIST("wait", "demo", "--json"));
    expect(0, "true", NULL, LIST("exec", "demo", "--", "echo", "true"));
    pid_t vmm = await_vmm(1000);
    assert_true(vmm > 0);
    assert_int_equal(kill(vmm, SIGKILL), 0);
    assert_int_equal(command_end(&wait, SHORT_MS), 0);
    assert_non_null(strstr(wait.out_text, "{\"reason\":\"vmm-died\",\"code\":137,"));
    command_free(&wait);
    expect(0, "the virtual machine monitor died\n", "killed by SIGKILL", LIST("wait", "demo"));
    expect(0, "demo\n", NULL, LIST("gc"));
    expect(3, "", "there is no such UVM", LIST("wait", "demo"));
    expect(0, "[]\n", NULL, LIST("ps", "--all", "--json"));
}

/* Without a name: of all, of those that come later, too; the state folder may not be there yet. */
static void test_events_of_all(void **state) {
    struct command c;
    char text[65536] = "";
    size_t len = 0;
    (void)state;
    assert_int_equal(rmdir(kit.state), 0);
    boot_start(&c, NULL, LIST("events"));
    (void)boot_demo(state);
    expect(0, NULL, NULL, LIST("stop", "demo"));
    while (strstr(text, "demo stopped guest-shutdown\n") == NULL) {
        struct pollfd p = {.fd = c.out, .events = POLLIN};
        assert_int_equal(poll(&p, 1, SHORT_MS), 1);
        ssize_t n = read(c.out, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = 0;
    }
    assert_non_null(strstr(text, "demo starting\n"));
    assert_non_null(strstr(text, "demo running\n"));
    assert_int_equal(kill(c.pid, SIGINT), 0); /* it waits for more */
    assert_int_equal(command_end(&c, SHORT_MS), 130);
    command_free(&c);
}

/* A boot in the foreground has nobody else: all of it goes. */
static void test_boot_is_hung_up(void **state) {
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct command c;
        struct command_options o = COMMAND_OPTIONS_INIT;
        struct screen s;
        struct termios before;
        int slave = open_terminal(&s, &before);
        o.tty = slave;
        boot_start(&c, &o, LIST("-t", "--", "sh", "-c", "trap '' HUP; echo up; sleep 7720"));
        await_screen(&s, "up");
        if (closed) {
            close(slave);
            close(s.fd);
        } else {
            assert_int_equal(kill(c.pid, SIGHUP), 0);
        }
        assert_int_equal(command_end(&c, SHORT_MS), 128 + SIGHUP);
        command_free(&c);
        if (!closed) {
            expect_restored(slave, &before);
            close(slave);
            close(s.fd);
        }
        expect_nobody_left(1000);
    }
}

static void test_kill_during_boot(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL, LIST("boot", "--detach", "--name", "demo"));
    assert_true(await_vmm(SHORT_MS) > 0);
    expect(4, "", "is starting", LIST("stop", "demo"));
    expect(0, NULL, NULL, LIST("kill", "demo"));
    assert_int_equal(command_end(&c, SHORT_MS), 1);
    expect_out(&c, "");
    command_free(&c);
}

/* Whoever waits for the boot is interrupted, or killed: nobody wants the UVM. */
static void test_starter_goes(void **state) {
    static const int signals[] = {SIGINT, SIGKILL};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct command c;
        boot_start(&c, NULL, LIST("boot", "--detach", "--name", "demo"));
        assert_true(await_vmm(SHORT_MS) > 0);
        assert_int_equal(kill(c.pid, signals[i]), 0);
        assert_int_equal(command_end(&c, SHORT_MS), 128 + signals[i]);
        command_free(&c);
        expect_nobody_left(SHORT_MS);
        assert_int_equal(entries(), 0);
    }
}

static void test_state_folder(void **state) {
    char path[160];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/below/state", kit.state);
    (void)setenv("UVM_STATE_DIR", path, 1);
    expect(1, "", "below/state", LIST("boot", "--detach"));
    expect(0, "", NULL, LIST("ps", "-q"));
    (void)setenv("UVM_STATE_DIR", "/tmp", 1); /* everybody may write there */
    expect(5, "", "/tmp: others may write in it", LIST("boot", "--detach"));
    expect(5, "", "/tmp: others may write in it", LIST("ps"));
    if (geteuid() == 0) {
        (void)snprintf(path, sizeof path, "%s/owned", kit.state);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(chown(path, 12345, 0), 0);
        (void)setenv("UVM_STATE_DIR", path, 1);
        expect(5, "", "belongs to user 12345", LIST("boot", "--detach"));
        assert_int_equal(rmdir(path), 0);
    }
    (void)setenv("UVM_STATE_DIR", "/sys/uvm", 1);
    expect(5, "", "/sys/uvm: could not be made", LIST("boot", "--detach"));
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    expect(2, "", "--detach goes with no command", LIST("boot", "--detach", "--count", "2"));
}

/* ---- nowhere to write --------------------------------------------------------------------- */

static bool may_mount; /* in a mount namespace of our own */

/* A file system of that size over the state folder, for us and our children only. Skips where we may not. */
static void mount_over_state(const char *options) {
    if (!may_mount) {
        print_message("skipped: no file system may be mounted here\n");
        skip();
    }
    assert_int_equal(mount("tmpfs", kit.state, "tmpfs", MS_NOSUID | MS_NODEV, options), 0);
}

/* Takes all the room that is left. */
static void fill_state(void) {
    char path[128];
    static const char page[4096] = {'x'};
    (void)snprintf(path, sizeof path, "%s/fill", kit.state);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, page, sizeof page) == (ssize_t)sizeof page) {
    }
    close(fd);
}

static void empty_state(void) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/fill", kit.state);
    (void)unlink(path);
}

/* No boot where its folder cannot be made or filled, in words that say which; nothing stays behind. */
static void test_state_folder_is_full(void **state) {
    char words[200];
    (void)state;
    (void)snprintf(words, sizeof words, "the state folder %s: ", kit.state);
    mount_over_state("size=16k,mode=0700");
    fill_state();
    expect(5, "", "No space left on device", LIST("boot", "--detach", "--name", "demo"));
    expect(5, "", words, LIST("boot", "--detach", "--name", "demo"));
    expect(0, "[]\n", NULL, LIST("ps", "--json"));
    assert_int_equal(entries(), 1); /* what fills it */
    assert_int_equal(umount(kit.state), 0);
    mount_over_state("size=16k,mode=0700,nr_inodes=1");
    expect(5, "", "No space left on device", LIST("boot", "--detach", "--name", "demo"));
    assert_int_equal(umount(kit.state), 0);
    mount_over_state("mode=0700,ro");
    expect(5, "", "Read-only file system", LIST("boot", "--detach", "--name", "demo"));
    expect(0, "[]\n", NULL, LIST("ps", "--json"));
    assert_int_equal(umount(kit.state), 0);
}

/* A UVM that is there goes on without room, and ends; that its end is not remembered is all. */
static void test_state_folder_fills_up(void **state) {
    (void)state;
    mount_over_state("size=16k,mode=0700");
    (void)boot_demo(state);
    fill_state();
    expect(0, "hi\n", NULL, LIST("exec", "demo", "--", "echo", "hi"));
    expect(0, "demo", NULL, LIST("ps", "-q"));
    expect(0, NULL, NULL, LIST("stop", "demo"));
    expect(0, "", NULL, LIST("ps", "-q"));
    expect(3, "", "there is no such UVM", LIST("wait", "demo"));
    empty_state();
    assert_int_equal(entries(), 0);
    assert_int_equal(umount(kit.state), 0);
}

/* Standard output on a full disk. */
static void expect_full(int status, const char *err, const char *const *words) {
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    o.out = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(o.out >= 0);
    boot_start(&c, &o, words);
    int got = command_end(&c, SHORT_MS);
    close(o.out);
    if (got != status || strstr(c.err_text, err) == NULL) {
        fail_msg("%s: status %d, not %d; stderr \"%s\"", words[0], got, status, c.err_text);
    }
    command_free(&c);
}

static void test_output_is_full(void **state) {
    static const char lost[] = "standard output could not be written to";
    (void)state;
    expect_full(1, lost, LIST("ps"));
    expect_full(1, lost, LIST("ps", "--json"));
    expect_full(1, lost, LIST("inspect", "demo"));
    expect_full(1, lost, LIST("logs", "demo"));
    expect_full(1, lost, LIST("logs", "demo", "--json"));
    expect_full(1, lost, LIST("console", "demo", "--no-follow"));
    expect_full(1, lost, LIST("console", "demo"));
    expect_full(1, lost, LIST("events", "demo"));
    /* The command's own status, and what became of its words. */
    expect_full(7, "demo: output was dropped: stdout: No space left on device",
                LIST("exec", "demo", "--", "sh", "-c", "echo words; exit 7"));
    expect_full(0, "output was dropped: stdout: No space left on device",
                LIST("boot", "--", "sh", "-c", "echo words"));
    expect(0, "demo", NULL, LIST("ps", "-q"));
}

/* A limit of the shell: an error, and no signal that kills the owner. */
static void test_files_may_not_grow(void **state) {
    struct rlimit before, none;
    struct command c;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int status = boot_run(&c, LIST("boot", "--detach", "--name", "demo"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, 5);
    expect_err(&c, "File too large");
    command_free(&c);
}

static void test_ten_in_a_row(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++) {
        (void)boot_demo(state);
        expect(0, NULL, NULL, i % 2 == 0 ? LIST("kill", "demo") : LIST("stop", "demo", "--force"));
        assert_int_equal(entries(), 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(test_ps_and_inspect),     cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_of_a_megabyte), cmocka_unit_test(test_client_dies),
        cmocka_unit_test(test_terminal),           cmocka_unit_test(test_exec_is_hung_up),
        cmocka_unit_test(test_console_is_hung_up), cmocka_unit_test(test_console_and_logs),
        cmocka_unit_test(test_name_taken),         cmocka_unit_test(test_output_is_full),
    };
    const struct CMUnitTest own[] = {
        cmocka_unit_test_teardown(test_two_stops_and_events, nothing_left),
        cmocka_unit_test_teardown(test_end_is_remembered, nothing_left),
        cmocka_unit_test_teardown(test_events_of_all, nothing_left),
        cmocka_unit_test_teardown(test_boot_is_hung_up, nothing_left),
        cmocka_unit_test_teardown(test_kill_during_boot, nothing_left),
        cmocka_unit_test_teardown(test_starter_goes, nothing_left),
        cmocka_unit_test_teardown(test_state_folder, nothing_left),
        cmocka_unit_test_teardown(test_state_folder_is_full, nothing_left),
        cmocka_unit_test_teardown(test_state_folder_fills_up, nothing_left),
        cmocka_unit_test_teardown(test_files_may_not_grow, nothing_left),
        cmocka_unit_test_teardown(test_ten_in_a_row, nothing_left),
    };
    assert_true(argc > 5);
    may_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    int failed = cmocka_run_group_tests(shared, boot_demo, stop_demo);
    failed += cmocka_run_group_tests(own, NULL, NULL);
    kit_close();
    return failed;
}
