/* SPDX-License-Identifier: MIT
 * spawn_test.c — what a child finds when it begins: descriptors, signals, environment, arguments;
 * and starts that lack memory, descriptors or sense.
 *
 * The program starts itself as the child that lists its descriptors ("--fds").
 */
#include "async/limits.h"
#include "tests/unit/child_kit.h"
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char self[PATH_MAX];

/* ---- the child ---------------------------------------------------------------------------- */

/* One "NUMBER DEVICE:INODE" a line on descriptor 1. */
static int list_fds(void) {
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0) {
            printf("%d %lu:%lu\n", fd, (unsigned long)st.st_dev, (unsigned long)st.st_ino);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- what it writes to descriptor 1 ------------------------------------------------------- */

/* Runs the child with a pipe as its stdout, and collects that. At most a pipe full. */
static const char *run_for_stdout(struct uvm__child_params *p, const struct uvm__child_fd *more,
                                  size_t count) {
    static char text[65536];
    struct kid *k = p->arg;
    struct uvm__child_fd fds[16];
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    fds[0] = (struct uvm__child_fd){out[1], 1};
    for (size_t i = 0; i < count; i++) {
        fds[i + 1] = more[i];
    }
    p->fds = fds;
    p->fds_count = count + 1;
    kid_run(k, p);
    close(out[1]);
    ssize_t n = read(out[0], text, sizeof text - 1);
    close(out[0]);
    assert_true(n >= 0);
    assert_int_equal(k->code, 0);
    assert_int_equal(k->status, 0);
    text[n] = 0;
    return text;
}

/* ---- descriptors -------------------------------------------------------------------------- */

static int temporary(void) {
    char path[] = "/tmp/uvm-spawn-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    return fd;
}

/* Moves the descriptor to a number of the test's choice, which must be free. */
static int move_to(int fd, int number) {
    assert_int_equal(fcntl(number, F_GETFD), -1);
    assert_int_equal(dup3(fd, number, O_CLOEXEC), number);
    close(fd);
    return number;
}

static void expect_line(char *want, size_t bytes, int number, int fd) {
    struct stat st;
    size_t n = strlen(want);
    assert_int_equal(fstat(fd, &st), 0);
    (void)snprintf(want + n, bytes - n, "%d %lu:%lu\n", number, (unsigned long)st.st_dev,
                   (unsigned long)st.st_ino);
}

/* The child has what it was given, in the right places, and nothing else. */
static void run_list(const struct uvm__child_fd *fds, size_t count) {
    struct kid k;
    const char *const argv[] = {self, "--fds", NULL};
    struct uvm__child_params p = kid_params(&k, argv);
    /* What runs under a sanitizer asks for its options. */
    const char *const env[] = {"ASAN_OPTIONS=detect_leaks=0", NULL};
    p.envp = env;
    char want[1024] = "";
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    char head[64] = "";
    expect_line(head, sizeof head, 0, null);
    expect_line(want, sizeof want, 2, null);
    for (int number = 4; number <= (int)UVM__CHILD_TARGET_MAX; number++) {
        for (size_t i = 0; i < count; i++) {
            if (fds[i].target == number) {
                expect_line(want, sizeof want, number, fds[i].fd);
            }
        }
    }
    close(null);
    const char *got = run_for_stdout(&p, fds, count);
    assert_memory_equal(got, head, strlen(head));
    got += strlen(head);
    assert_memory_equal(got, "1 ", 2); /* the pipe */
    got = strchr(got, '\n') + 1;
    assert_string_equal(got, want);
    for (size_t i = 0; i < count; i++) {
        assert_true((fcntl(fds[i].fd, F_GETFD) & FD_CLOEXEC) != 0); /* ours is as it was */
    }
}

static void descriptors_come_to_their_places(void **unused) {
    (void)unused;
    int a = move_to(temporary(), 100);
    int b = move_to(temporary(), 101);
    int c = move_to(temporary(), 102);
    run_list(NULL, 0);
    const struct uvm__child_fd same[] = {{a, 100}, {b, 101}};
    run_list(same, 2);
    const struct uvm__child_fd turned[] = {{a, 101}, {b, 102}, {c, 100}};
    run_list(turned, 3);
    const struct uvm__child_fd back[] = {{a, 102}, {b, 100}, {c, 101}};
    run_list(back, 3);
    const struct uvm__child_fd chain[] = {{c, 4}, {b, 102}, {a, 101}};
    run_list(chain, 3);
    const struct uvm__child_fd copies[] = {{a, 4}, {a, 5}, {a, 255}};
    run_list(copies, 3);
    close(a);
    close(b);
    close(c);
}

static void what_the_host_left_open_does_not_leak(void **unused) {
    (void)unused;
    int given = move_to(temporary(), 100);
    int below = dup2(given, 50); /* no CLOEXEC: between the targets, and above them */
    int above = dup2(given, 300);
    assert_true(below == 50 && above == 300);
    const struct uvm__child_fd fds[] = {{given, 101}};
    run_list(fds, 1);
    run_list(NULL, 0);
    close(below);
    close(above);
    close(given);
}

/* All of 0, 1, 2 from the caller, who uses these numbers otherwise himself. */
static void the_standard_three_may_be_given(void **unused) {
    (void)unused;
    struct kid k;
    int file = temporary();
    const struct uvm__child_fd fds[] = {{file, 2}, {file, 0}};
    struct uvm__child_params p =
        kid_params(&k, KID_SHELL("echo one >&2; cat /proc/self/fdinfo/0 >/dev/null; echo two >&0"));
    assert_string_equal(run_for_stdout(&p, fds, 2), "");
    char text[16] = "";
    assert_int_equal(pread(file, text, sizeof text, 0), 8);
    assert_string_equal(text, "one\ntwo\n");
    close(file);
}

/* ---- the rest ----------------------------------------------------------------------------- */

static void signals_are_at_their_defaults(void **unused) {
    (void)unused;
    struct kid k;
    const char *const argv[] = {"/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL};
    struct uvm__child_params p = kid_params(&k, argv);
    sigset_t set;
    sigset_t old;
    sigfillset(&set);
    assert_int_equal(sigprocmask(SIG_SETMASK, &set, &old), 0);
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGINT, SIG_IGN) != SIG_ERR &&
                signal(SIGRTMIN, SIG_IGN) != SIG_ERR);
    const char *text = run_for_stdout(&p, NULL, 0);
    assert_memory_equal(text, "SigBlk:\t", 8);
    unsigned long blocked = strtoul(text + 8, NULL, 16);
    text = strstr(text, "SigIgn:\t");
    assert_non_null(text);
    unsigned long ignored = strtoul(text + 8, NULL, 16);
    assert_int_equal(blocked, 0);
    /* 32 and 33 are the C library's own; it leaves them ignored in what it starts. */
    assert_int_equal(ignored & ~(3ul << 31), 0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGRTMIN, SIG_DFL);
    assert_int_equal(sigprocmask(SIG_SETMASK, &old, NULL), 0);
}

static void environment_and_arguments_pass(void **unused) {
    (void)unused;
    struct kid k;
    const char *const env_argv[] = {"/usr/bin/env", NULL};
    struct uvm__child_params p = kid_params(&k, env_argv);
    assert_string_equal(run_for_stdout(&p, NULL, 0), "");
    const char *const env[] = {"A=1", "B=two words", NULL};
    p = kid_params(&k, env_argv);
    p.envp = env;
    assert_string_equal(run_for_stdout(&p, NULL, 0), "A=1\nB=two words\n");
    const char *const argv[] = {"/usr/bin/printf", "[%s]", "a b", "--", "", "--uid", NULL};
    p = kid_params(&k, argv);
    assert_string_equal(run_for_stdout(&p, NULL, 0), "[a b][--][][--uid]");
}

/* The helper's options pass, and come after what it is always told. */
static void options_of_the_helper_pass(void **unused) {
    (void)unused;
    struct kid k;
    const char *const options[] = {"--pgroup", "--chdir", "/usr", "--nofile", "77", NULL};
    struct uvm__child_params p =
        kid_params(&k, KID_SHELL("read a b c d pgrp rest </proc/self/stat; "
                                 "[ $pgrp = $$ ] && echo leads; pwd; ulimit -n"));
    p.launch_args = options;
    assert_string_equal(run_for_stdout(&p, NULL, 0), "leads\n/usr\n77\n");
    const char *const parent[] = {"--parent", "1", NULL}; /* ours is not init */
    p = kid_params(&k, KID_SHELL("exit 0"));
    p.launch_args = parent;
    if (getpid() != 1) {
        kid_run(&k, &p);
        assert_string_equal(k.step, "parent");
        assert_int_equal(k.sys, ESRCH);
    }
}

/* ---- starts that fail --------------------------------------------------------------------- */

static void expect_refused(const struct uvm__child_params *p, int code, int err,
                           const char *message) {
    struct uvm__child *c = NULL;
    struct uvm__fail f = {.sys = -1, .msg = ""};
    assert_int_equal(uvm__child_spawn(kit.engine, p, &c, &f), code);
    assert_string_equal(f.msg, message);
    assert_int_equal(f.sys, err);
    assert_null(c);
    loop_turns(&kit);
    assert_false(((struct kid *)p->arg)->started);
}

static void what_makes_no_sense_is_refused(void **unused) {
    (void)unused;
    struct kid k;
    const struct uvm__child_params good = kid_params(&k, KID_SHELL("exit 0"));
    struct uvm__child_params p = good;
    const char *const nothing[] = {NULL};
    p.argv = nothing;
    expect_refused(&p, -UVM_E_INVAL, 0, "child: no helper, name or program");
    p.argv = NULL;
    expect_refused(&p, -UVM_E_INVAL, 0, "child: no helper, name or program");
    p = good;
    p.name = NULL;
    expect_refused(&p, -UVM_E_INVAL, 0, "child: no helper, name or program");
    p = good;
    p.launch_path = NULL;
    expect_refused(&p, -UVM_E_INVAL, 0, "child: no helper, name or program");

    static const struct {
        struct uvm__child_fd fds[2];
        bool capture;
        const char *message;
    } rows[] = {
        {{{0, 3}, {0, 4}}, false, "kid: descriptor 0 cannot become 3"}, /* the status pipe's */
        {{{-1, 4}, {0, 5}}, false, "kid: descriptor -1 cannot become 4"},
        {{{0, -1}, {0, 5}}, false, "kid: descriptor 0 cannot become -1"},
        {{{0, 256}, {0, 5}}, false, "kid: descriptor 0 cannot become 256"},
        {{{0, 4}, {1, 4}}, false, "kid: descriptor 1 cannot become 4"},
        {{{0, 1}, {0, 2}}, true, "kid: descriptor 0 cannot become 2"}, /* it is captured */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        p = good;
        p.fds = rows[i].fds;
        p.fds_count = 2;
        p.capture_stderr = rows[i].capture;
        expect_refused(&p, -UVM_E_INVAL, 0, rows[i].message);
    }
    const struct uvm__child_fd not_open[] = {{91, 90}};
    p = good;
    p.fds = not_open;
    p.fds_count = 1;
    expect_refused(&p, -UVM_E_INVAL, EBADF, "kid: descriptor 91 is not open");
    p = good;
    struct uvm__child_fd many[UVM__CHILD_FDS_MAX + 1] = {{0, 0}};
    p.fds = many;
    p.fds_count = UVM__CHILD_FDS_MAX + 1;
    expect_refused(&p, -UVM_E_LIMIT, 0, "kid: 65 descriptors (at most 64)");

    uvm_engine *virtual = NULL;
    struct uvm__child *c = NULL;
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &virtual), 0);
    assert_int_equal(uvm__child_spawn(virtual, &good, &c, NULL), -UVM_E_UNSUPPORTED);
    uvm__engine_free_virtual(virtual);
}

static void as_many_descriptors_as_allowed(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_fd fds[UVM__CHILD_FDS_MAX];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < (int)UVM__CHILD_FDS_MAX; i++) {
        fds[i] = (struct uvm__child_fd){null, 4 + i};
    }
    struct uvm__child_params p = kid_params(&k, KID_SHELL("true <&4 && true <&9"));
    p.fds = fds;
    p.fds_count = UVM__CHILD_FDS_MAX;
    kid_run(&k, &p);
    assert_int_equal(k.status, 0);
    close(null);
}

static void a_helper_that_is_missing(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 0"));
    p.capture_stderr = true;
    p.launch_path = "/no/such/uvm-launch";
    expect_refused(&p, -UVM_E_HOST, ENOENT,
                   "kid: cannot start /no/such/uvm-launch: No such file or directory");
    p.launch_path = "/etc/passwd";
    expect_refused(&p, -UVM_E_HOST, EACCES, "kid: cannot start /etc/passwd: Permission denied");
}

static void every_allocation_may_fail(void **unused) {
    (void)unused;
    for (int for_good = 0; for_good < 2; for_good++) {
        bool done = false;
        long failures = 0;
        for (long at = 0; !done; at++) {
            struct kid k;
            struct uvm__fail f = {.msg = ""};
            struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 4"));
            p.capture_stderr = true;
            kit.fail_at = at;
            kit.for_good = for_good != 0;
            int rc = uvm__child_spawn(kit.engine, &p, &k.c, &f);
            kit.fail_at = -1;
            done = rc == 0;
            if (!done) {
                assert_int_equal(rc, -UVM_E_NOMEM);
                assert_non_null(strstr(f.msg, "out of memory"));
                assert_null(k.c);
                loop_turns(&kit);
                failures++;
                continue;
            }
            loop_until(&kit, &k.exited);
            assert_int_equal(k.status, 4 << 8);
            kid_close(&k);
            loop_until(&kit, &k.closed);
        }
        assert_true(failures >= 6);
    }
}

/* After the start nothing that matters needs memory: the error of a failed exec has at least its
 * code. */
static void a_child_ends_without_memory(void **unused) {
    (void)unused;
    struct kid k;
    const char *const missing[] = {"/no/such", NULL};
    struct uvm__child_params p = kid_params(&k, missing);
    p.capture_stderr = true;
    kid_spawn(&k, &p);
    kit.for_good = true;
    kit.fail_at = 0;
    loop_until(&kit, &k.exited);
    assert_int_equal(k.code, UVM_E_HOST);
    assert_int_equal(k.status, 127 << 8);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

static void every_descriptor_may_be_the_last(void **unused) {
    (void)unused;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlim_t normal = limit.rlim_cur;
    int file = temporary();
    const struct uvm__child_fd fds[] = {{file, 4}};
    bool done = false;
    long failures = 0;
    for (rlim_t max = 5; !done; max++) {
        struct kid k;
        struct uvm__fail f = {.msg = ""};
        struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 4"));
        p.capture_stderr = true;
        p.fds = fds;
        p.fds_count = 1;
        limit.rlim_cur = max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        int rc = uvm__child_spawn(kit.engine, &p, &k.c, &f);
        limit.rlim_cur = normal;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        done = rc == 0;
        if (!done) {
            assert_int_equal(rc, -UVM_E_IO);
            assert_true(f.sys == EMFILE || f.sys == EINVAL || f.sys == EBADF);
            loop_turns(&kit);
            failures++;
            continue;
        }
        loop_until(&kit, &k.exited);
        assert_int_equal(k.status, 4 << 8);
        kid_close(&k);
        loop_until(&kit, &k.closed);
    }
    assert_true(failures >= 6);
    close(file);
}

static void a_target_beyond_the_limit(void **unused) {
    (void)unused;
    struct kid k;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlim_t normal = limit.rlim_cur;
    const struct uvm__child_fd fds[] = {{2, 200}};
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 4"));
    p.fds = fds;
    p.fds_count = 1;
    char want[256];
    (void)snprintf(want, sizeof want, "kid: cannot start %s: Invalid argument", kid_launch);
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    expect_refused(&p, -UVM_E_IO, EINVAL, want);
    limit.rlim_cur = normal;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KID_CASE(descriptors_come_to_their_places), KID_CASE(what_the_host_left_open_does_not_leak),
        KID_CASE(the_standard_three_may_be_given),  KID_CASE(signals_are_at_their_defaults),
        KID_CASE(environment_and_arguments_pass),   KID_CASE(options_of_the_helper_pass),
        KID_CASE(what_makes_no_sense_is_refused),   KID_CASE(as_many_descriptors_as_allowed),
        KID_CASE(a_helper_that_is_missing),         KID_CASE(every_allocation_may_fail),
        KID_CASE(a_child_ends_without_memory),      KID_CASE(every_descriptor_may_be_the_last),
        KID_CASE(a_target_beyond_the_limit),
    };
    if (argc == 2 && strcmp(argv[1], "--fds") == 0) {
        return list_fds();
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (argc != 2 || n < 0) {
        fprintf(stderr, "usage: spawn_test UVM-LAUNCH\n");
        return 2;
    }
    kid_launch = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
