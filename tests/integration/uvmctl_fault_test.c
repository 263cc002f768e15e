/* SPDX-License-Identifier: MIT
 * uvmctl_fault_test.c — `uvmctl boot` when things go wrong: each error names the thing, the cause and the
 * remedy, comes in time, and nothing is left.
 *
 * The faults are real: files that are not what they should be, guests whose kernel panics, agents that lie
 * (liar.c), a VMM killed by its pid at each step of the boot, an owner that is killed. Which step a boot
 * has reached is read from its own trace on stderr.
 */
#include "tests/integration/uvmctl_kit.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what a boot needs and does not find ------------------------------------------------------ */

static void test_no_vmm(void **state) {
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    (void)state;
    o.path = "/nowhere:/else";
    boot_start(&c, &o, LIST("--", "true"));
    assert_int_equal(command_end(&c, BOOT_MS), 125);
    expect_err(&c, "qemu-system-x86_64");
    expect_err(&c, "/nowhere");
    expect_err(&c, "install");
    command_free(&c);
    boot_start(&c, &o, LIST("--measure"));
    assert_int_equal(command_end(&c, BOOT_MS), 1);
    command_free(&c);
}

static void test_no_helper(void **state) {
    struct command c;
    char path[128], kept[136];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/bin/uvm-launch", kit.folder);
    (void)snprintf(kept, sizeof kept, "%s.kept", path);
    assert_int_equal(rename(path, kept), 0);
    int status = boot_run(&c, LIST("--", "true"));
    assert_int_equal(rename(kept, path), 0);
    assert_int_equal(status, 125);
    expect_err(&c, path);
    command_free(&c);
}

static char *read_head(const char *path, size_t bytes) {
    char *data = calloc(1, bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_non_null(data);
    assert_int_equal(read(fd, data, bytes), (ssize_t)bytes);
    close(fd);
    return data;
}

/* Boots with one file exchanged; the error must name the file and say `words`. */
static void expect_refused(const char *option, const char *path, const char *words) {
    struct command c;
    int status = boot_run(&c, LIST(option, path, "--", "true"));
    if (status != 125) {
        fail_msg("%s %s: status %d: %s", option, path, status, c.err_text);
    }
    expect_err(&c, path);
    expect_err(&c, words);
    expect_err(&c, "at: vm boot › create");
    command_free(&c);
}

static void test_wrong_files(void **state) {
    char empty[128], cut[128], noise[128];
    char *head = read_head(kit.kernel, 1u << 20);
    (void)state;
    kit_write("no_bytes", "", 0, empty);
    kit_write("cut", head, 1u << 20, cut);
    kit_write("noise", "this is no archive, and no kernel either", 40, noise);
    free(head);
    static const char *const options[] = {"--kernel", "--initrd"};
    for (size_t i = 0; i < 2; i++) {
        expect_refused(options[i], "/no/such/file", "");
        expect_refused(options[i], empty, "empty");
        expect_refused(options[i], kit.folder, ""); /* a folder */
        expect_refused(options[i], noise, "give");
    }
    expect_refused("--kernel", cut, "");
    expect_refused("--kernel", kit.initrd, "");
    expect_refused("--initrd", kit.kernel, "");
    kit_forget(empty);
    kit_forget(cut);
    kit_forget(noise);
}

static void test_no_boot_files(void **state) {
    struct command c;
    (void)state;
    (void)setenv("UVM_BOOT_FILES", "/no/such/folder", 1);
    int status = boot_run(&c, LIST("--", "true"));
    (void)unsetenv("UVM_BOOT_FILES");
    assert_int_equal(status, 125);
    expect_err(&c, "no vmlinux in /no/such/folder ($UVM_BOOT_FILES)");
    expect_err(&c, "--kernel");
    command_free(&c);
}

static void test_little_memory(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_run(&c, LIST("--memory", "32M", "--", "true")), 125);
    expect_err(&c, "32 is too small");
    command_free(&c);
}

/* ---- guests that do not come up --------------------------------------------------------------- */

static void test_guest_panics(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(
        boot_run(&c, LIST("--name", "demo", "--append", "rdinit=/nonexistent", "--", "true")), 125);
    expect_err(&c, "demo: while it booted the guest's kernel panicked: VFS: Unable to mount root");
    expect_err(&c, "check that kernel and initrd belong together");
    expect_err(&c, "at: vm boot › guest");
    expect_err(&c, "guest console, last lines:");
    expect_err(&c, "Kernel Offset: "); /* the console's tail is there, to its end */
    expect_err(&c, "guest panicked");  /* in the events */
    command_free(&c);
}

/* An archive that the kernel takes, without anything that it could run. */
static void test_initrd_without_init(void **state) {
    static const char trailer[] =
        "070701000000000000000000000000000000000000000100000000000000000000"
        "00000000000000000000000000000000000000000B00000000TRAILER!!!";
    struct command c;
    char path[128];
    (void)state;
    kit_write("nothing.img", trailer, sizeof trailer, path);
    assert_int_equal(boot_run(&c, LIST("--initrd", path, "--", "true")), 125);
    expect_err(&c, "the guest's kernel panicked: ");
    kit_forget(path);
    command_free(&c);
}

/* Boots with `agent` in the agent's place. */
static int boot_agent(struct command *c, const char *agent, const char *timeout) {
    char document[128];
    kit_document(kit.liar, agent, document);
    int status = boot_run(
        c, LIST("--name", "demo", "--document", document, "--timeout", timeout, "--", "true"));
    kit_forget(document);
    return status;
}

static void test_agent_absent(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_agent(&c, "/bin/vsockexec -e 109 /bin/no-such-agent", "90s"), 125);
    expect_err(&c, "demo: while it booted the guest's kernel panicked: Attempted to kill init!");
    expect_err(&c, "/init ran, so look at the agent in the initrd");
    expect_err(&c, "at: vm boot › agent");
    command_free(&c);
}

static void test_agent_ends(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_agent(&c, "/bin/vsockexec -e 109 /bin/liar gone", "90s"), 125);
    expect_err(&c, "the guest's kernel panicked");
    expect_err(&c, "agent log, last lines:\n  liar: gone\n");
    command_free(&c);
}

/* The guest is up when its deadline passes: the slowest boot here takes less than that. */
#define DEADLINE "15s"
#define IN_TIME "demo: within 15."

static void test_agent_never_dials(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_agent(&c, "/bin/vsockexec -e 109 /bin/liar mute", DEADLINE), 124);
    expect_err(&c, IN_TIME);
    expect_err(&c, "s the guest's agent did not call in, /init did: the agent is not there, or "
                   "hangs; see its log");
    expect_err(&c, "at: vm boot › agent");
    expect_err(&c, "agent log, last lines:\n  liar: mute\n");
    expect_err(&c, "because: deadline passed");
    command_free(&c);
}

static void test_agent_silent(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(boot_agent(&c, "/bin/vsockexec -e 109 /bin/liar silent", DEADLINE), 124);
    expect_err(&c, IN_TIME);
    expect_err(&c, "s the guest's agent called in and then said nothing");
    expect_err(&c, "at: vm boot › negotiate");
    command_free(&c);
}

static void test_agent_lies(void **state) {
    static const struct {
        const char *agent, *err;
    } rows[] = {
        {"/bin/vsockexec -e 109 /bin/liar garbage", "2021161080"}, /* "xxxx", as a size */
        {"/bin/vsockexec -e 109 /bin/liar huge", "4294967295"},
        {"/bin/vsockexec -e 109 /bin/liar version", "version 5"},
        {"/bin/vsockexec -e 109 /bin/liar hangup", "the guest closed the bridge"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        int status = boot_agent(&c, rows[i].agent, "90s");
        if (status != 125) {
            fail_msg("%s: status %d: %s", rows[i].agent, status, c.err_text);
        }
        expect_err(&c, rows[i].err);
        expect_err(&c, "demo: no agreement with the guest's agent: ");
        expect_err(&c, "at: vm boot › negotiate");
        command_free(&c);
    }
}

/* ---- a VMM that is killed --------------------------------------------------------------------- */

static const char *const steps[] = {
    NULL, /* as soon as it is there */
    "vm boot › create: done",
    "vm boot › start: done",
    "vm boot › guest: done",
    "vm boot › agent: done",
    "vm boot › negotiate: done",
};

static void test_vmm_killed_at_each_step(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct command c;
        boot_start(&c, NULL, LIST("-vvv", "--name", "demo", "--", "sleep", "1000"));
        pid_t vmm = await_vmm(20000);
        assert_true(vmm > 0);
        if (steps[i] != NULL && !command_await(&c, steps[i], BOOT_MS)) {
            fail_msg("never reached %s: %s", steps[i], c.err_text);
        }
        assert_int_equal(kill(vmm, SIGKILL), 0);
        int status = command_end(&c, 10000);
        if (status != 125 || strstr(c.err_text, "killed by SIGKILL") == NULL) {
            fail_msg("after %s: status %d: %s", steps[i] == NULL ? "spawn" : steps[i], status,
                     c.err_text);
        }
        command_free(&c);
        expect_nobody_left(1000);
    }
}

static void test_vmm_killed_while_running(void **state) {
    struct command c;
    char line[4] = "";
    (void)state;
    boot_start(&c, NULL, LIST("--name", "demo", "--", "sh", "-c", "echo up; sleep 1000"));
    assert_int_equal(read(c.out, line, 3), 3);
    pid_t vmm = await_vmm(1000);
    assert_int_equal(kill(vmm, SIGKILL), 0);
    assert_int_equal(command_end(&c, 5000), 125);
    expect_err(&c, "demo: the virtual machine monitor died: ");
    expect_err(&c, "killed by SIGKILL");
    command_free(&c);
}

/* ---- guests that stand still ------------------------------------------------------------------ */

/* Two heartbeats of 5 s, one that had just been answered, 3 s for a better reason, and the ways there. */
#define HUNG_MS 30000

static void expect_hung(struct command *c, int status) {
    assert_int_equal(command_end(c, HUNG_MS), status);
    expect_err(c,
               "demo: the guest's agent was lost: the agent did not answer 2 heartbeats in 10 s");
    command_free(c);
    expect_nobody_left(1000);
}

static void test_vmm_stopped(void **state) {
    struct command c;
    char line[4] = "";
    (void)state;
    boot_start(&c, NULL, LIST("--name", "demo", "--", "sh", "-c", "echo up; sleep 1000"));
    assert_int_equal(read(c.out, line, 3), 3);
    pid_t vmm = await_vmm(1000);
    assert_true(vmm > 0);
    assert_int_equal(kill(vmm, SIGSTOP), 0);
    expect_hung(&c, 125);
}

static void test_agent_stopped(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL,
               LIST("--name", "demo", "--", "sh", "-c", "kill -STOP $PPID; exec sleep 1000"));
    expect_hung(&c, 125);
}

/* It agreed, and that was all. */
static void test_agent_deaf(void **state) {
    struct command c;
    char path[128];
    (void)state;
    kit_document(kit.liar, "/bin/vsockexec -e 109 /bin/liar deaf", path);
    boot_start(&c, NULL, LIST("--name", "demo", "--document", path));
    expect_hung(&c, 1);
    kit_forget(path);
}

/* ---- guests that end while they run ----------------------------------------------------------- */

static void test_guest_ends(void **state) {
    static const struct {
        const char *command, *err;
    } rows[] = {
        {"echo c > /proc/sysrq-trigger; sleep 1000",
         "demo: the guest's kernel panicked: sysrq triggered crash"},
        {"echo o > /proc/sysrq-trigger; sleep 1000", "demo: the guest shut down"},
        {"kill -9 $PPID; sleep 1000", "demo: the guest's kernel panicked: Attempted to kill init!"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct command c;
        int status = boot_run(&c, LIST("--name", "demo", "--", "sh", "-c", rows[i].command));
        if (status != 125) {
            fail_msg("%s: status %d: %s", rows[i].command, status, c.err_text);
        }
        expect_err(&c, rows[i].err);
        command_free(&c);
    }
}

/* ---- owners that are stopped or killed -------------------------------------------------------- */

static void test_interrupted_at_any_moment(void **state) {
    static const int moments_ms[] = {5, 150, 400, 1200, 2500};
    (void)state;
    for (size_t i = 0; i < sizeof moments_ms / sizeof moments_ms[0]; i++) {
        struct command c;
        boot_start(&c, NULL, LIST("--", "sleep", "1000"));
        pause_ms(moments_ms[i]);
        assert_int_equal(kill(c.pid, SIGINT), 0);
        int status = command_end(&c, 10000);
        assert_true(status == 130);
        expect_out(&c, "");
        command_free(&c);
        expect_nobody_left(0);
    }
}

static void await_running(struct command *c, const struct command_options *o,
                          const char *const *words) {
    char line[4] = "";
    boot_start(c, o, words);
    assert_int_equal(read(c->out, line, 3), 3);
    assert_string_equal(line, "up\n");
}

/* A command that ignores TERM does not hold anybody: Ctrl-C, deadline and hang-up end it. */
static void test_stubborn_command(void **state) {
    static const char stubborn[] = "trap '' TERM INT HUP; echo up; while :; do sleep 1; done";
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct command c;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        await_running(&c, NULL, LIST("--", "sh", "-c", stubborn));
        assert_int_equal(kill(c.pid, signals[i]), 0);
        if (i == 0) {
            (void)kill(c.pid, signals[i]); /* twice: shortens, skips nothing */
        }
        assert_int_equal(command_end(&c, 8000), 128 + signals[i]);
        command_free(&c);
        expect_nobody_left(0);
    }
    await_running(&c, NULL, LIST("--timeout", "12s", "--", "sh", "-c", stubborn));
    assert_int_equal(command_end(&c, 20000), 124);
    expect_err(&c, "still ran when its time was over");
    command_free(&c);
}

static void test_owner_killed(void **state) {
    struct command c;
    (void)state;
    for (int running = 0; running < 2; running++) {
        if (running) {
            await_running(&c, NULL, LIST("--", "sh", "-c", "echo up; sleep 1000"));
        } else {
            boot_start(&c, NULL, LIST("--", "true"));
        }
        assert_true(await_vmm(20000) > 0);
        assert_int_equal(kill(c.pid, SIGKILL), 0);
        assert_int_equal(command_end(&c, 5000), 128 + SIGKILL);
        command_free(&c);
        expect_nobody_left(1000);
    }
}

#define CASE(name) cmocka_unit_test_teardown(name, kit_check)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE(test_no_vmm),
        CASE(test_no_helper),
        CASE(test_wrong_files),
        CASE(test_no_boot_files),
        CASE(test_little_memory),
        CASE(test_guest_panics),
        CASE(test_initrd_without_init),
        CASE(test_agent_absent),
        CASE(test_agent_ends),
        CASE(test_agent_never_dials),
        CASE(test_agent_silent),
        CASE(test_agent_lies),
        CASE(test_vmm_killed_at_each_step),
        CASE(test_vmm_killed_while_running),
        CASE(test_vmm_stopped),
        CASE(test_agent_stopped),
        CASE(test_agent_deaf),
        CASE(test_guest_ends),
        CASE(test_interrupted_at_any_moment),
        CASE(test_stubborn_command),
        CASE(test_owner_killed),
    };
    if (argc != 6) {
        (void)fprintf(stderr, "usage: uvmctl_fault_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR\n");
        return 2;
    }
    kit_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
