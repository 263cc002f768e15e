/* SPDX-License-Identifier: MIT
 * limits_test.c — hosts that have no room: for a VM, for one more in the background, for a descriptor.
 *
 * What is refused is refused before a VMM starts, and works once there is room.
 */
#include "tests/integration/uvmctl_kit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Its status, and its words on stderr. */
static void expect(int status, const char *err, const char *const *words) {
    struct command c;
    int got = boot_run(&c, words);
    if (got != status || strstr(c.err_text, err) == NULL) {
        fail_msg("%s: status %d, not %d; no \"%s\" in: %s", words[0], got, status, err, c.err_text);
    }
    command_free(&c);
}

static void set_files(pid_t pid, rlim_t soft) {
    struct rlimit now;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &now), 0);
    now.rlim_cur = soft;
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &now, NULL), 0);
}

static void test_too_large(void **state) {
    (void)state;
    expect(125, "needs 921696 MiB (96 MiB for its VMM); 0 UVMs have 0 MiB of the ",
           LIST("--memory", "900G", "--", "true"));
    (void)setenv("UVM_MEMORY_MB_MAX", "351", 1);
    expect(125, "needs 352 MiB (96 MiB for its VMM); 0 UVMs have 0 MiB of the 351 MiB that are",
           LIST("--", "true"));
    (void)setenv("UVM_MEMORY_MB_MAX", "1G", 1);
    expect(125, "$UVM_MEMORY_MB_MAX: \"1G\" is no number", LIST("--", "true"));
    (void)unsetenv("UVM_MEMORY_MB_MAX");
}

/* An image in virtual PMem is memory, too: of the host, beside its VM's; a hole is none. */
static void test_image_too_large(void **state) {
    char path[128];
    static char data[20 << 20];
    (void)state;
    memset(data, 'x', sizeof data);
    kit_write("large.img", data, sizeof data, path);
    (void)setenv("UVM_MEMORY_MB_MAX", "371", 1);
    expect(125, "large.img in VPMem: needs 20 MiB of memory; 1 UVMs have 352 MiB of the 371 MiB",
           LIST("--vpmem", path, "--", "true"));
    (void)setenv("UVM_MEMORY_MB_MAX", "372", 1);
    expect(125, "no file system that is known", LIST("--vpmem", path, "--", "true"));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, sizeof data), 0);
    (void)setenv("UVM_MEMORY_MB_MAX", "352", 1);
    expect(125, "no file system that is known", LIST("--vpmem", path, "--", "true"));
    (void)unsetenv("UVM_MEMORY_MB_MAX");
    kit_forget(path);
}

/* Each has a process of its own: they see each other in the state folder. */
static void test_background(void **state) {
    (void)state;
    expect(0, "", LIST("boot", "--detach", "--name", "one"));
    (void)setenv("UVM_VMS_MAX", "1", 1);
    expect(5, "two: 1 UVMs are there already and 1 are allowed",
           LIST("boot", "--detach", "--name", "two"));
    (void)unsetenv("UVM_VMS_MAX");
    (void)setenv("UVM_MEMORY_MB_MAX", "703", 1);
    expect(5, "two: needs 352 MiB (96 MiB for its VMM); 1 UVMs have 352 MiB of the 703 MiB",
           LIST("boot", "--detach", "--name", "two"));
    expect(0, "", LIST("kill", "one"));
    expect(0, "", LIST("boot", "--detach", "--name", "two")); /* there is room now */
    (void)unsetenv("UVM_MEMORY_MB_MAX");
    expect(0, "", LIST("kill", "two"));
    expect(0, "", LIST("gc")); /* of what is remembered; then nothing may be left */
}

static void test_few_files(void **state) {
    struct rlimit before;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t n = 10; n <= 32; n += 2) { /* below, libuv itself gives up */
        set_files(0, n);
        expect(125, n < 12 ? "" : "needs 24 file descriptors, this process may open ",
               LIST("--", "true"));
    }
    set_files(0, before.rlim_cur);
    expect(0, "", LIST("--", "true"));
}

static pid_t owner(void) {
    struct command c;
    assert_int_equal(boot_run(&c, LIST("ps", "--json")), 0);
    const char *at = strstr(c.out_text, "\"owner_pid\":");
    assert_non_null(at);
    pid_t pid = (pid_t)strtol(at + 12, NULL, 10);
    command_free(&c);
    return pid;
}

/* The owner of a running VM may open no more: each client is told, and all is well afterwards. */
static void test_owner_has_few_files(void **state) {
    bool refused = false, done = false;
    (void)state;
    expect(0, "", LIST("boot", "--detach", "--name", "one"));
    pid_t pid = owner();
    for (rlim_t n = 27; n <= 40; n++) {
        struct command c;
        set_files(pid, n);
        int status = boot_run(&c, LIST("exec", "one", "--", "echo", "fine"));
        refused = refused || status == 125;
        done = done || status == 0;
        if (status == 0) {
            expect_out(&c, "fine\n");
        } else if (status != 125 || strstr(c.err_text, "may open no more files") == NULL) {
            fail_msg("%d files: status %d, %s", (int)n, status, c.err_text);
        }
        command_free(&c);
    }
    assert_true(refused && done);
    set_files(pid, 256);
    expect(0, "", LIST("exec", "one", "--", "true"));
    expect(0, "", LIST("stop", "one"));
    expect(0, "", LIST("gc"));
}

#define CASE(name) cmocka_unit_test_teardown(name, kit_check)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE(test_too_large), CASE(test_image_too_large),     CASE(test_background),
        CASE(test_few_files), CASE(test_owner_has_few_files),
    };
    assert_true(argc > 5);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    (void)unsetenv("UVM_VMS_MAX");
    (void)unsetenv("UVM_MEMORY_MB_MAX");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
