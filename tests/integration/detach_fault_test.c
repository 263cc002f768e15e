/* SPDX-License-Identifier: MIT
 * detach_fault_test.c — UVMs in the background when things go wrong: an owner that is killed, or stuck; a
 * VMM that is killed; a guest that ends; gc beside UVMs that start.
 *
 * Whoever was attached ends with words that say what happened, nothing is left that gc does not sweep, and
 * what lives is never swept.
 */
#include "tests/integration/detach_kit.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_owner_killed(void **state) {
    struct command exec, wait, console;
    (void)state;
    (void)boot_demo(state);
    pid_t owner = owner_of("demo");
    assert_true(owner > 0);
    boot_start(&exec, NULL, LIST("exec", "demo", "--", "sh", "-c", "echo up >&2; exec sleep 1000"));
    boot_start(&wait, NULL, LIST("wait", "demo"));
    boot_start(&console, NULL, LIST("console", "demo"));
    assert_true(command_await(&exec, "up", SHORT_MS));
    expect(0, "demo", NULL, LIST("ps", "-q")); /* by now the others are connected, too */
    pause_ms(100);
    assert_int_equal(kill(owner, SIGKILL), 0);
    assert_int_equal(command_end(&exec, SHORT_MS), 125);
    expect_err(&exec, "demo: the connection to its owner has ended");
    assert_int_equal(command_end(&wait, SHORT_MS), 1);
    expect_err(&wait, "demo: the connection to its owner has ended");
    assert_int_equal(command_end(&console, SHORT_MS), 1);
    command_free(&exec);
    command_free(&wait);
    command_free(&console);
    expect_nobody_left(SHORT_MS); /* the VMM has gone with it */
    assert_int_equal(entries(), 1);
    expect(0, "", NULL, LIST("ps", "-q"));
    expect(3, "", "its owner is dead", LIST("stop", "demo"));
    expect(0, "demo\n", NULL, LIST("gc"));
    assert_int_equal(entries(), 0);
    expect(0, "[]\n", NULL, LIST("gc", "--json"));
}

/* Who hangs on a UVM when it ends: a command in it, one who waits for it, one who looks on. */
struct attached {
    struct command exec, wait, console;
};

static void attach(struct attached *a, const char *script) {
    boot_start(&a->wait, NULL, LIST("wait", "demo", "--json"));
    boot_start(&a->console, NULL, LIST("console", "demo"));
    expect(0, "demo", NULL, LIST("ps", "-q"));
    boot_start(&a->exec, NULL, LIST("exec", "demo", "--", "sh", "-c", script));
    assert_true(command_await(&a->exec, "up", SHORT_MS));
}

/* The command is told why, the others come to their end. */
static void expect_detached(struct attached *a, const char *reason, const char *words) {
    assert_int_equal(command_end(&a->exec, SHORT_MS), 125);
    expect_err(&a->exec, words);
    assert_int_equal(command_end(&a->wait, SHORT_MS), 0);
    if (strstr(a->wait.out_text, reason) == NULL) {
        fail_msg("wait said %s", a->wait.out_text);
    }
    (void)command_end(&a->console, SHORT_MS);
    command_free(&a->exec);
    command_free(&a->wait);
    command_free(&a->console);
    expect_nobody_left(SHORT_MS);
    assert_int_equal(entries(), 0);
    expect(3, "", "demo", LIST("stop", "demo"));
}

static void test_vmm_killed(void **state) {
    struct attached a;
    (void)boot_demo(state);
    pid_t vmm = await_vmm(SHORT_MS);
    assert_true(vmm > 0);
    attach(&a, "echo up >&2; exec sleep 1000");
    assert_int_equal(kill(vmm, SIGKILL), 0);
    expect_detached(&a, "\"reason\":\"vmm-died\"", "demo: the virtual machine monitor died");
}

static void test_guest_panics(void **state) {
    struct attached a;
    (void)boot_demo(state);
    attach(&a, "echo up >&2; sleep 0.5; echo c > /proc/sysrq-trigger; sleep 1000");
    expect_detached(&a, "\"reason\":\"guest-panic\"", "demo: the guest's kernel panicked");
}

static void test_guest_shuts_down(void **state) {
    struct attached a;
    (void)boot_demo(state);
    attach(&a, "echo up >&2; sleep 0.5; echo o > /proc/sysrq-trigger; sleep 1000");
    expect_detached(&a, "\"reason\":\"guest-shutdown\"", "demo: the guest shut down");
}

/* One that does not answer is shown as that, and holds up nobody else. */
static void test_owner_stuck(void **state) {
    (void)boot_demo(state);
    expect(0, "other\n", NULL, LIST("boot", "--detach", "--name", "other", "--memory", "128M"));
    pid_t owner = owner_of("demo");
    assert_true(owner > 0);
    assert_int_equal(kill(owner, SIGSTOP), 0);
    expect(0, "demo                 unknown", NULL, LIST("ps"));
    expect(0, "other                running", NULL, LIST("ps"));
    expect(0, "\"name\":\"demo\",\"state\":\"unknown\"", NULL, LIST("ps", "--json"));
    expect(0, "", NULL, LIST("gc"));
    expect(124, "", "demo: not done after 300 ms", LIST("stop", "demo", "--timeout", "300ms"));
    expect(0, "up\n", NULL, LIST("exec", "other", "--", "echo", "up"));
    assert_int_equal(kill(owner, SIGCONT), 0);
    /* Of what it was asked meanwhile it does nothing: nobody waits for that any more. */
    expect(0, "demo                 running", NULL, LIST("ps"));
    expect(0, NULL, NULL, LIST("kill", "other"));
    expect(0, NULL, NULL, LIST("kill", "demo"));
}

/* Sweeps without a pause, while UVMs begin, live and end: only what is dead goes. */
static void test_gc_beside_starts(void **state) {
    static const char script[] = "trap 'exit 0' TERM; while :; do \"$0\" gc || exit 9; done";
    struct command_options o = COMMAND_OPTIONS_INIT;
    struct command sweepers[2];
    char path[192];
    (void)state;
    for (int i = 0; i < 2; i++) {
        command_start(&sweepers[i], &o, LIST("/bin/sh", "-c", script, kit.uvmctl));
    }
    for (int i = 0; i < 5; i++) {
        (void)boot_demo(state);
        (void)snprintf(path, sizeof path, "%s/left-%d", kit.state, i); /* of an owner that died */
        assert_int_equal(mkdir(path, 0700), 0);
        expect(0, "alive\n", NULL, LIST("exec", "demo", "--", "echo", "alive"));
        while (access(path, F_OK) == 0) {
            expect(0, "demo\n", NULL, LIST("ps", "-q"));
        }
        expect(0, "alive\n", NULL, LIST("exec", "demo", "--", "echo", "alive"));
        expect(0, NULL, NULL, LIST("kill", "demo"));
    }
    unsigned swept = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kill(sweepers[i].pid, SIGTERM), 0);
        assert_int_equal(command_end(&sweepers[i], SHORT_MS), 0);
        assert_string_equal(sweepers[i].err_text, "");
        for (const char *at = sweepers[i].out_text; (at = strstr(at, "left-")) != NULL; at++) {
            swept++;
        }
        command_free(&sweepers[i]);
    }
    assert_int_equal(swept, 5);
}

int main(int argc, char **argv) {
#define CASE(name) cmocka_unit_test_teardown(name, nothing_left)
    const struct CMUnitTest tests[] = {
        CASE(test_owner_killed),     CASE(test_vmm_killed),  CASE(test_guest_panics),
        CASE(test_guest_shuts_down), CASE(test_owner_stuck), CASE(test_gc_beside_starts),
    };
    assert_true(argc > 5);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
