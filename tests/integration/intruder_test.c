/* SPDX-License-Identifier: MIT
 * intruder_test.c — hostile guests, for real: dials that nobody expects, floods, and a device whose rings lie.
 *
 * The first group shares a VM whose agent is ours; the intruder is a command in it, as another user. In the second
 * one the intruder has the agent's place, and root. The owner goes on or ends the VM in order; that nothing is left
 * is checked after each.
 */
#include "tests/integration/uvmctl_kit.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHORT_MS 30000

static void expect(int status, const char *out, const char *const *words) {
    struct command c;
    int got = boot_run(&c, words);
    if (got != status || (out != NULL && strcmp(c.out_text, out) != 0)) {
        fail_msg("%s: status %d, not %d; stdout \"%s\", stderr \"%s\"", words[0], got, status,
                 c.out_text, c.err_text);
    }
    command_free(&c);
}

/* A number of the owner's /proc/PID/status. */
static long owner_holds(const char *key) {
    struct command c;
    char path[64], text[8192];
    assert_int_equal(boot_run(&c, LIST("ps", "--json")), 0);
    const char *at = strstr(c.out_text, "\"owner_pid\":");
    assert_non_null(at);
    (void)snprintf(path, sizeof path, "/proc/%ld/status", strtol(at + 12, NULL, 10));
    command_free(&c);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    close(fd);
    at = strstr(text, key);
    assert_non_null(at);
    return strtol(at + strlen(key), NULL, 10);
}

/* The sanitizer keeps freed blocks for a while, so that under it the figure says little. */
static void expect_no_growth(long before_kb) {
    long after_kb = owner_holds("RssAnon:");
    print_message("owner: %ld KiB before, %ld after\n", before_kb, after_kb);
#ifdef __SANITIZE_ADDRESS__
    assert_true(after_kb <= before_kb + 16384);
#else
    assert_true(after_kb <= before_kb + 256);
#endif
}

static int boot_guest(void **state) {
    (void)state;
    expect(0, "demo\n",
           LIST("boot", "--detach", "--name", "demo", "--memory", "256M", "--initrd", kit.liar));
    return 0;
}

static int stop_guest(void **state) {
    expect(0, NULL, LIST("stop", "demo"));
    expect(0, NULL, LIST("gc")); /* how it ended is remembered; then nothing may be left */
    return kit_check(state);
}

/* Not one of 81: agent, log and entropy have their streams, and nobody listens elsewhere. */
static void no_port_is_open(void **state) {
    (void)state;
    expect(0, "refused 81\n", LIST("exec", "-u", "65534", "demo", "--", "/bin/intruder", "ports"));
}

static void floods_cost_nothing_that_stays(void **state) {
    (void)state;
    expect(0, "refused 200\n", LIST("exec", "demo", "--", "/bin/intruder", "flood", "200"));
    long before = owner_holds("RssAnon:");
    expect(0, "refused 10000\n",
           LIST("exec", "-u", "65534", "demo", "--", "/bin/intruder", "flood", "10000"));
    expect_no_growth(before);
    expect(0, "refused 2000\n", LIST("exec", "demo", "--", "/bin/intruder", "crowd", "2000"));
    expect_no_growth(before);
}

/* While it floods, others are served. */
static void a_flood_does_not_starve_others(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL,
               LIST("exec", "-u", "65534", "demo", "--", "/bin/intruder", "flood", "1000000"));
    for (int i = 0; i < 20; i++) {
        expect(0, "served\n", LIST("exec", "demo", "--", "echo", "served"));
    }
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    assert_int_not_equal(command_end(&c, SHORT_MS), 0); /* it was at it all the time */
    command_free(&c);
}

/* ---- root and the device ---------------------------------------------------------------------- */

/* Without a command the console is on stdout: what the intruder says there is seen as it comes. */
static void rings_that_lie(void **state) {
    static const char *const hows[] = {"odd", "text", "resets", "all"};
    (void)state;
    for (size_t i = 0; i < sizeof hows / sizeof hows[0]; i++) {
        struct command c;
        char agent[96], document[128];
        (void)snprintf(agent, sizeof agent, "/bin/vsockexec -e 109 /bin/intruder rings %s",
                       hows[i]);
        kit_document(kit.liar, agent, document);
        boot_start(&c, NULL, LIST("--name", "demo", "--document", document));
        for (int n = 0; !c.ended && strstr(c.out_text, ": done") == NULL; n++) {
            assert_true(n < BOOT_MS / 100);
            (void)command_await(&c, "no such words", 100);
        }
        if (!c.ended) {
            (void)kill(c.pid, SIGINT);
        }
        int status = command_end(&c, SHORT_MS);
        kit_forget(document);
        print_message("%s: status %d: %.*s\n", hows[i], status, (int)strcspn(c.err_text, "\n"),
                      c.err_text);
        if ((status != 1 && status != 130) ||
            strstr(c.out_text, "intruder: has the device") == NULL) {
            fail_msg("%s: status %d: %s; console: %s", hows[i], status, c.err_text, c.out_text);
        }
        command_free(&c);
        assert_int_equal(kit_check(state), 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest dials[] = {
        cmocka_unit_test(no_port_is_open),
        cmocka_unit_test(floods_cost_nothing_that_stays),
        cmocka_unit_test(a_flood_does_not_starve_others),
    };
    const struct CMUnitTest root[] = {
        cmocka_unit_test(rings_that_lie),
    };
    assert_true(argc > 5);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    int failed = cmocka_run_group_tests(dials, boot_guest, stop_guest);
    failed += cmocka_run_group_tests(root, NULL, NULL);
    kit_close();
    return failed;
}
