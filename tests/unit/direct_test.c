/* SPDX-License-Identifier: MIT
 * direct_test.c — children started without uvm-launch: session, folder, name, descriptors, signals; the
 * errors that the spawn itself tells; closing at any time.
 */
#include "tests/unit/child_kit.h"
#include <signal.h>
#include <stdlib.h>

static struct uvm__child_direct direct;

static struct uvm__child_params direct_params(struct kid *k, const char *path,
                                              const char *const *argv) {
    struct uvm__child_params p = kid_params(k, argv);
    direct = (struct uvm__child_direct){.path = path, .folder_fd = -1};
    p.direct = &direct;
    p.launch_path = NULL;
    p.capture_stderr = true;
    return p;
}
#define SHELL(k, script)                                                                           \
    direct_params(k, "/bin/sh", (const char *const[]){"name", "-c", (script), NULL})

static void it_starts_and_ends(void **unused) {
    struct kid k;
    struct uvm__child_params p = SHELL(&k, "echo $0 >&2; exit 7");
    (void)unused;
    kid_run(&k, &p);
    assert_true(k.started);
    assert_int_equal(k.code, 0);
    assert_int_equal(k.status, 7 << 8);
    assert_string_equal(k.said, "name\n"); /* it is told argv[0], not the path */
}

static void it_has_a_session_and_a_folder_if_asked(void **unused) {
    static const char script[] = "pwd >&2; read -r p n s pp g sid r </proc/$$/stat; "
                                 "[ $sid = $$ ] && echo leads >&2";
    int folder = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct kid k;
    struct uvm__child_params p = SHELL(&k, script);
    (void)unused;
    direct.folder_fd = folder;
    direct.session = true;
    kid_run(&k, &p);
    assert_string_equal(k.said, "/usr\nleads\n");
    p = SHELL(&k, script);
    kid_run(&k, &p);
    assert_null(strstr(k.said, "leads"));
    /* a relative path is relative to it */
    p = direct_params(&k, "bin/env", (const char *const[]){"env", NULL});
    direct.folder_fd = folder;
    kid_run(&k, &p);
    assert_int_equal(k.status, 0);
    close(folder);
}

/* The folder's number is also a target, and two numbers that were left open without CLOEXEC are not. */
static void descriptors_are_its_own(void **unused) {
    int folder = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const struct uvm__child_fd fds[] = {{file, folder}};
    struct kid k;
    struct uvm__child_params p = SHELL(&k, "cd /proc/$$/fd && echo * >&2");
    char want[32];
    (void)unused;
    assert_true(folder > 3 && folder < 50 && dup2(file, 50) == 50 && dup2(file, 300) == 300);
    direct.folder_fd = folder;
    p.fds = fds;
    p.fds_count = 1;
    kid_run(&k, &p);
    close(50);
    close(300);
    close(file);
    (void)snprintf(want, sizeof want, "0 1 2 3 %d\n", folder); /* 3 is the shell's, reading */
    assert_string_equal(k.said, want);
    close(folder);
}

static void signals_are_at_their_defaults(void **unused) {
    struct kid k;
    struct uvm__child_params p = SHELL(&k, "kill -PIPE $$; exit 1");
    (void)unused;
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    kid_run(&k, &p);
    (void)signal(SIGPIPE, SIG_DFL);
    assert_int_equal(k.status, SIGPIPE);
}

static void an_exec_that_fails_is_told_at_once(void **unused) {
    static const struct {
        const char *path;
        int code, err;
    } rows[] = {
        {"/no/such", -UVM_E_HOST, ENOENT},
        {"/etc/passwd", -UVM_E_HOST, EACCES},
        {"/etc/passwd/x", -UVM_E_IO, ENOTDIR},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kid k;
        struct uvm__fail f = {.msg = ""};
        struct uvm__child_params p =
            direct_params(&k, rows[i].path, (const char *const[]){"x", NULL});
        assert_int_equal(uvm__child_spawn(kit.engine, &p, &k.c, &f), rows[i].code);
        assert_int_equal(f.sys, rows[i].err);
        assert_non_null(strstr(f.msg, rows[i].path));
        assert_null(k.c);
        loop_turns(&kit);
        assert_false(k.started);
    }
}

static void closing_is_allowed_at_any_time(void **unused) {
    (void)unused;
    for (int when = 0; when < 3; when++) {
        struct kid k;
        struct uvm__child_params p = SHELL(&k, when == 2 ? "exit 0" : "sleep 100");
        kid_spawn(&k, &p);
        k.close_when_started = when == 1;
        k.close_when_exited = when == 2;
        if (when == 0) {
            kid_close(&k);
        }
        loop_until(&kit, &k.closed);
        assert_int_equal(k.started, when != 0);
        assert_int_equal(k.exited, when == 2);
    }
}

static void every_allocation_may_fail(void **unused) {
    bool done = false;
    (void)unused;
    for (long at = 0; !done; at++) {
        struct kid k;
        struct uvm__fail f = {.msg = ""};
        struct uvm__child_params p = SHELL(&k, "exit 4");
        kit.fail_at = at;
        done = uvm__child_spawn(kit.engine, &p, &k.c, &f) == 0;
        kit.fail_at = -1;
        if (!done) {
            assert_null(k.c);
            loop_turns(&kit);
            continue;
        }
        assert_true(at >= 4);
        loop_until(&kit, &k.exited);
        assert_int_equal(k.status, 4 << 8);
        kid_close(&k);
        loop_until(&kit, &k.closed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        KID_CASE(it_starts_and_ends),
        KID_CASE(it_has_a_session_and_a_folder_if_asked),
        KID_CASE(descriptors_are_its_own),
        KID_CASE(signals_are_at_their_defaults),
        KID_CASE(an_exec_that_fails_is_told_at_once),
        KID_CASE(closing_is_allowed_at_any_time),
        KID_CASE(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
