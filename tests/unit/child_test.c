/* SPDX-License-Identifier: MIT
 * child_test.c — the life of a child process: how it started, what it said, how it ended, who
 * reaped it.
 *
 * Real processes through the real uvm-launch. pidfd_open() is replaced here, for what the kernel
 * will not do on demand.
 */
#include "async/launch_proto.h"
#include "async/limits.h"
#include "tests/unit/child_kit.h"
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- pidfd_open, replaced ----------------------------------------------------------------- */

static struct {
    int fail;        /* with this errno */
    bool reap_first; /* as a host program does that waits for any child */
    pid_t other;     /* as if the number were another process's by now */
    bool keep_pipes; /* as a thread does that forks just then */
    int kept[8];
    size_t kept_count;
    pid_t pid; /* last asked for */
} hook;

static void keep_pipes(void) {
    for (int fd = 3; fd < 64; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
            (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && hook.kept_count < 8) {
            hook.kept[hook.kept_count++] = fcntl(fd, F_DUPFD_CLOEXEC, 64);
        }
    }
}

int pidfd_open(pid_t pid, unsigned flags) {
    hook.pid = pid;
    if (hook.keep_pipes) {
        keep_pipes();
    }
    if (hook.fail != 0) {
        errno = hook.fail;
        return -1;
    }
    if (hook.reap_first) {
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    return (int)syscall(SYS_pidfd_open, hook.other != 0 ? hook.other : pid, flags);
}

static int hook_teardown(void **state) {
    for (size_t i = 0; i < hook.kept_count; i++) {
        close(hook.kept[i]);
    }
    memset(&hook, 0, sizeof hook);
    return kid_teardown(state);
}

/* ---- starts ------------------------------------------------------------------------------- */

static void it_starts_and_ends(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 3"));
    kid_spawn(&k, &p);
    loop_until(&kit, &k.started);
    assert_int_equal(k.code, 0);
    loop_until(&kit, &k.exited);
    assert_int_equal(k.status, 3 << 8);
    assert_string_equal(k.said, "");
    uvm__child_end(k.c, false); /* both are harmless by now */
    uvm__child_end(k.c, true);
    assert_int_equal(uvm__child_signal(k.c, SIGKILL), -UVM_E_STATE);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

static void a_failed_step_is_named(void **unused) {
    (void)unused;
    char script[] = "/tmp/uvm-child-test-XXXXXX";
    int fd = mkostemp(script, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    assert_int_equal(write(fd, "no program\n", 11), 11);
    close(fd);
    const struct {
        const char *program;
        const char *args[3];
        const char *step;
        int code, err;
        const char *message;
    } rows[] = {
        {"/no/such",
         {NULL},
         "exec",
         UVM_E_HOST,
         ENOENT,
         "kid: exec /no/such: No such file or directory"},
        {"/etc/passwd",
         {NULL},
         "exec",
         UVM_E_HOST,
         EACCES,
         "kid: exec /etc/passwd: Permission denied"},
        {script, {NULL}, "exec", UVM_E_IO, ENOEXEC, NULL},
        {"/bin/true",
         {"--chdir", "/no/such", NULL},
         "chdir",
         UVM_E_IO,
         ENOENT,
         "kid: chdir /bin/true: No such file or directory"},
        {"/bin/true", {"--netns", "/no/such", NULL}, "netns", UVM_E_IO, ENOENT, NULL},
        {"/bin/true", {"--bogus", NULL}, "args", UVM_E_IO, EINVAL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kid k;
        const char *const argv[] = {rows[i].program, NULL};
        struct uvm__child_params p = kid_params(&k, argv);
        p.launch_args = rows[i].args;
        kid_run(&k, &p);
        assert_string_equal(k.step, rows[i].step);
        assert_int_equal(k.code, rows[i].code);
        assert_int_equal(k.sys, rows[i].err);
        assert_int_equal(k.status, UVM__LAUNCH_EXIT << 8);
        if (rows[i].message != NULL) {
            assert_string_equal(k.message, rows[i].message);
        }
    }
    assert_int_equal(unlink(script), 0);
}

/* Whatever is started in place of the helper. */
static void run_impostor(struct kid *k, const char *script) {
    char path[] = "/tmp/uvm-child-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    char text[256];
    assert_true(fd >= 0);
    int n = snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    assert_int_equal(write(fd, text, (size_t)n), n);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    struct uvm__child_params p = kid_params(k, KID_SHELL("exit 3"));
    p.launch_path = path;
    kid_run(k, &p);
    assert_int_equal(unlink(path), 0);
}

static void what_is_not_uvm_launch_is_noticed(void **unused) {
    (void)unused;
    static const char *const records[] = {
        "printf x >&3",                            /* too short */
        "printf '\\001\\002\\000\\000\\000x' >&3", /* too long */
        "printf '\\377\\002\\000\\000\\000' >&3",  /* no such step */
        "printf '\\001\\000\\000\\000\\000' >&3",  /* no errno */
        "cat /proc/self/status >&3",
    };
    struct kid k;
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        run_impostor(&k, records[i]);
        assert_int_equal(k.code, UVM_E_PROTOCOL);
        assert_string_equal(k.step, "spawn");
        assert_string_equal(k.message, "kid: what was started is not uvm-launch");
    }
    run_impostor(&k, "printf '\\001\\002\\000\\000\\000' >&3; exit 127");
    assert_string_equal(k.step, "args");
    assert_int_equal(k.sys, ENOENT);
    /* A record that comes in pieces is one all the same. */
    run_impostor(
        &k,
        "printf '\\001\\002' >&3; cat /proc/self/stat >/dev/null; printf '\\000\\000\\000' >&3");
    assert_string_equal(k.step, "args");
}

/* ---- ends --------------------------------------------------------------------------------- */

static void signals_reach_it(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("echo up >&2; kill -STOP $$"));
    p.capture_stderr = true;
    kid_spawn(&k, &p);
    kid_until_said(&k, "up\n");
    assert_int_equal(uvm__child_signal(k.c, 9999), -UVM_E_INVAL);
    assert_int_equal(uvm__child_signal(k.c, 0), 0);
    assert_false(uvm__child_exited(k.c));
    assert_int_equal(uvm__child_signal(k.c, SIGUSR1), 0);
    assert_int_equal(uvm__child_signal(k.c, SIGCONT), 0);
    loop_until(&kit, &k.exited);
    assert_true(WIFSIGNALED(k.status) && WTERMSIG(k.status) == SIGUSR1);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

static void spawn_stubborn(struct kid *k, const char *trap) {
    char script[64];
    (void)snprintf(script, sizeof script, "%s echo up >&2; while :; do read x <&4; done", trap);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const struct uvm__child_fd given[] = {{fds[0], 4}, {fds[1], 5}}; /* it waits for itself */
    struct uvm__child_params p = kid_params(k, KID_SHELL(script));
    p.capture_stderr = true;
    p.fds = given;
    p.fds_count = 2;
    kid_spawn(k, &p);
    close(fds[0]);
    close(fds[1]);
    kid_until_said(k, "up\n");
}

static void the_ladder_asks_then_kills(void **unused) {
    (void)unused;
    struct kid k;
    spawn_stubborn(&k, "trap '' TERM;");
    uint64_t from = uv_now(&kit.loop);
    uvm__child_end(k.c, false);
    uvm__child_end(k.c, false);
    loop_until(&kit, &k.exited);
    assert_int_equal(WTERMSIG(k.status), SIGKILL);
    assert_true(uv_now(&kit.loop) - from >= UVM__CHILD_TERM_MS);
    kid_close(&k);
    loop_until(&kit, &k.closed);

    spawn_stubborn(&k, "");
    uvm__child_end(k.c, false);
    loop_until(&kit, &k.exited);
    assert_int_equal(WTERMSIG(k.status), SIGTERM);
    kid_close(&k);
    loop_until(&kit, &k.closed);

    spawn_stubborn(&k, "trap '' TERM;");
    uvm__child_end(k.c, false);
    uvm__child_end(k.c, true); /* the impatient one wins */
    loop_until(&kit, &k.exited);
    assert_int_equal(WTERMSIG(k.status), SIGKILL);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

static void closing_kills_and_reaps(void **unused) {
    (void)unused;
    struct kid k;
    spawn_stubborn(&k, "trap '' TERM HUP;");
    pid_t pid = uvm__child_pid(k.c);
    uvm__child_end(k.c, false);
    k.exited = false;
    kid_close(&k);
    loop_until(&kit, &k.closed);
    assert_false(k.exited);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void closing_is_allowed_at_any_time(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 0"));
    kid_spawn(&k, &p); /* at once */
    kid_close(&k);
    loop_until(&kit, &k.closed);
    assert_false(k.started);

    p = kid_params(&k, KID_SHELL("exit 0"));
    k.close_when_started = true;
    kid_spawn(&k, &p);
    loop_until(&kit, &k.closed);
    assert_true(k.started && !k.exited);

    p = kid_params(&k, KID_SHELL("exit 0"));
    k.close_when_exited = true;
    kid_spawn(&k, &p);
    loop_until(&kit, &k.closed);
    assert_true(k.exited);

    const char *const missing[] = {"/no/such", NULL};
    p = kid_params(&k, missing);
    k.close_when_started = true;
    kid_spawn(&k, &p);
    loop_until(&kit, &k.closed);
    assert_int_equal(k.code, UVM_E_HOST);

    p = kid_params(&k, KID_SHELL("exit 0")); /* nobody wants to know */
    kid_spawn(&k, &p);
    loop_until(&kit, &k.exited);
    uvm__child_close(k.c, NULL, NULL);
}

/* ---- a status that somebody else took ----------------------------------------------------- */

static void a_status_that_was_taken_is_unknown(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 3"));
    kid_spawn(&k, &p);
    assert_int_equal(waitpid(uvm__child_pid(k.c), NULL, 0), uvm__child_pid(k.c));
    loop_until(&kit, &k.exited);
    assert_int_equal(k.code, 0);
    assert_int_equal(k.status, -1);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

static void a_host_that_ignores_its_children(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 3"));
    assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    kid_run(&k, &p);
    assert_int_equal(k.status, -1);
    spawn_stubborn(&k, "");
    uvm__child_end(k.c, true);
    loop_until(&kit, &k.exited);
    assert_int_equal(k.status, -1);
    kid_close(&k);
    loop_until(&kit, &k.closed);
    assert_true(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

static void one_that_is_gone_before_it_is_watched(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("echo bye >&2; exit 3"));
    p.capture_stderr = true;
    hook.reap_first = true;
    kid_spawn(&k, &p);
    assert_true(uvm__child_exited(k.c));
    assert_int_equal(uvm__child_signal(k.c, SIGKILL), -UVM_E_STATE);
    loop_until(&kit, &k.exited);
    assert_int_equal(k.code, 0);
    assert_int_equal(k.status, -1);
    assert_string_equal(k.said, "bye\n");
    kid_close(&k);
    loop_until(&kit, &k.closed);

    memset(&k, 0, sizeof k); /* ... and closed at once */
    kid_spawn(&k, &p);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

/* The number is another process's by now: that one is left alone. */
static void a_process_that_is_not_ours_is_left_alone(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 3"));
    hook.other = getpid(); /* were it signalled, this test would end */
    kid_spawn(&k, &p);
    assert_true(uvm__child_exited(k.c));
    uvm__child_end(k.c, true);
    loop_until(&kit, &k.exited);
    assert_int_equal(k.status, -1);
    kid_close(&k);
    loop_until(&kit, &k.closed);
    assert_int_equal(waitpid(hook.pid, NULL, 0), hook.pid);
}

static void one_that_cannot_be_watched_is_not_started(void **unused) {
    (void)unused;
    static const struct {
        int err, code;
        const char *message;
    } rows[] = {
        {ENOSYS, -UVM_E_HOST, "kid: cannot be watched: Function not implemented"},
        {EMFILE, -UVM_E_IO, "kid: cannot be watched: Too many open files"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kid k;
        struct uvm__fail f = {.msg = ""};
        struct uvm__child_params p = kid_params(&k, KID_SHELL("while :; do :; done"));
        hook.fail = rows[i].err;
        p.capture_stderr = true;
        assert_int_equal(uvm__child_spawn(kit.engine, &p, &k.c, &f), rows[i].code);
        assert_string_equal(f.msg, rows[i].message);
        assert_int_equal(f.sys, rows[i].err);
        assert_null(k.c);
        assert_int_equal(kill(hook.pid, 0), -1);
        loop_turns(&kit);
        assert_false(k.started || k.exited);
    }
}

/* ---- stderr ------------------------------------------------------------------------------- */

static void stderr_is_kept(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("echo out; echo err >&2; exit 1"));
    p.capture_stderr = true;
    kid_run(&k, &p);
    assert_string_equal(k.said, "err\n");

    p = kid_params(&k,
                   KID_SHELL("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done >&2"));
    p.capture_stderr = true;
    kid_run(&k, &p);
    assert_int_equal(strlen(k.said), UVM__VMM_STDERR_BYTES);
    assert_string_equal(k.said + strlen(k.said) - 20, "line 2998\nline 2999\n");

    const char *const missing[] = {"/no/such", NULL};
    p = kid_params(&k, missing);
    p.capture_stderr = true;
    kid_run(&k, &p);
    assert_string_equal(k.step, "exec");
    assert_string_equal(k.said, "");
}

static void a_flood_does_not_hold_up_the_loop(void **unused) {
    (void)unused;
    struct kid k;
    const char *const argv[] = {"/bin/sh", "-c", "exec yes >&2", NULL};
    struct uvm__child_params p = kid_params(&k, argv);
    p.capture_stderr = true;
    kid_spawn(&k, &p);
    while (strlen(k.said) < UVM__VMM_STDERR_BYTES) {
        uv_run(&kit.loop, UV_RUN_ONCE);
        (void)uvm__child_stderr(k.c, k.said, sizeof k.said);
    }
    uvm__child_end(k.c, false);
    loop_until(&kit, &k.exited);
    assert_int_equal(WTERMSIG(k.status), SIGTERM);
    kid_close(&k);
    loop_until(&kit, &k.closed);
}

/* A descendant that keeps stderr open is waited for, but not for long. */
static void a_descendant_with_our_stderr(void **unused) {
    (void)unused;
    struct kid k;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const struct uvm__child_fd given[] = {{fds[0], 4}};
    struct uvm__child_params p =
        kid_params(&k, KID_SHELL("cat <&4 >/dev/null & echo left >&2; exit 5"));
    p.capture_stderr = true;
    p.fds = given;
    p.fds_count = 1;
    kid_spawn(&k, &p);
    uint64_t from = 0; /* not later than its end */
    while (!uvm__child_exited(k.c)) {
        from = uv_now(&kit.loop);
        uv_run(&kit.loop, UV_RUN_ONCE);
    }
    loop_until(&kit, &k.exited);
    assert_true(uv_now(&kit.loop) - from >= UVM__CHILD_DRAIN_MS);
    assert_int_equal(k.status, 5 << 8);
    assert_string_equal(k.said, "left\n");
    kid_close(&k);
    loop_until(&kit, &k.closed);

    /* Closed while it is waited for. */
    p.argv = KID_SHELL("cat <&4 >/dev/null & exit 5");
    memset(&k, 0, sizeof k);
    kid_spawn(&k, &p);
    while (!uvm__child_exited(k.c)) {
        uv_run(&kit.loop, UV_RUN_ONCE);
    }
    assert_false(k.exited);
    kid_close(&k);
    loop_until(&kit, &k.closed);
    assert_false(k.exited);
    close(fds[0]);
    close(fds[1]); /* the cats end here */
}

/* Another thread's fork can hold the status pipe: the start is told all the same, before the end.
 */
static void a_status_pipe_that_others_hold(void **unused) {
    (void)unused;
    struct kid k;
    struct uvm__child_params p = kid_params(&k, KID_SHELL("exit 6"));
    hook.keep_pipes = true;
    kid_run(&k, &p);
    assert_true(hook.kept_count > 0);
    assert_int_equal(k.code, 0);
    assert_int_equal(k.status, 6 << 8);
}

/* ---- the kernel keeps it ------------------------------------------------------------------ */

/* A process that is killed stops before it has ended, as long as we trace it: as one does whose device
 * does not answer. */
static pid_t hold(const struct kid *k) {
    pid_t pid = uvm__child_pid(k->c);
    assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, (void *)(uintptr_t)PTRACE_O_TRACEEXIT), 0);
    return pid;
}

static void let_die(pid_t pid) {
    assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    siginfo_t info = {0};
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* Spawned, killed and closed; its process is there. `*ret_fd` is entrusted to it. */
static pid_t close_held(struct kid *k, int *ret_fd) {
    struct uvm__child_params p = kid_params(k, KID_SHELL("read line <&4"));
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    const struct uvm__child_fd given[] = {{fds[0], 4}};
    p.fds = given;
    p.fds_count = 1;
    kid_spawn(k, &p);
    close(fds[0]);
    loop_until(&kit, &k->started);
    pid_t pid = hold(k);
    uvm__child_end(k->c, true);
    uint64_t from = uv_now(&kit.loop);
    uvm__child_entrust(k->c, fds[1]);
    kid_close(k);
    loop_until(&kit, &k->closed);
    assert_true(uv_now(&kit.loop) - from >= UVM__CHILD_KILLED_MS);
    *ret_fd = fds[1];
    assert_true(fcntl(fds[1], F_GETFD) >= 0);
    return pid;
}

static void one_that_does_not_die_is_left(void **unused) {
    (void)unused;
    struct kid k, next;
    int fd;
    pid_t pid = close_held(&k, &fd);
    struct uvm__child_params p = kid_params(&next, KID_SHELL("exit 0"));
    kid_run(&next, &p); /* looks, and finds it there still */
    assert_true(fcntl(fd, F_GETFD) >= 0);
    let_die(pid);
    p = kid_params(&next, KID_SHELL("exit 0"));
    kid_run(&next, &p);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* was reaped */
}

static void one_that_outlives_its_engine(void **unused) {
    (void)unused;
    struct kid k;
    int fd;
    pid_t pid = close_held(&k, &fd);
    loop_close(&kit);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    let_die(pid);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    loop_open(&kit);
}

/* ---- words -------------------------------------------------------------------------------- */

static void statuses_in_words(void **unused) {
    (void)unused;
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {-1, "status unknown"},         {0, "exit status 0"},
        {1 << 8, "exit status 1"},      {255 << 8, "exit status 255"},
        {SIGKILL, "killed by SIGKILL"}, {SIGSEGV | 0x80, "killed by SIGSEGV (core dumped)"},
        {44, "killed by signal 44"},
    };
    char buf[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uvm__child_status_text(rows[i].status, buf, sizeof buf);
        assert_string_equal(buf, rows[i].text);
    }
    uvm__child_status_text(0, buf, 5);
    assert_string_equal(buf, "exit");
}

static void many_at_a_time(void **unused) {
    (void)unused;
    enum { MANY = 24 };
    static struct kid kids[MANY];
    char scripts[MANY][48];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(scripts[i], sizeof scripts[i], "echo %d >&2; exit %d", i, i);
        struct uvm__child_params p = kid_params(&kids[i], KID_SHELL(scripts[i]));
        p.capture_stderr = true;
        kid_spawn(&kids[i], &p);
    }
    for (int i = 0; i < MANY; i++) {
        char want[16];
        (void)snprintf(want, sizeof want, "%d\n", i);
        loop_until(&kit, &kids[i].exited);
        assert_int_equal(kids[i].status, i << 8);
        assert_string_equal(kids[i].said, want);
        kid_close(&kids[i]);
    }
    for (int i = 0; i < MANY; i++) {
        loop_until(&kit, &kids[i].closed);
    }
}

#define HOOK_CASE(name) cmocka_unit_test_setup_teardown(name, kid_setup, hook_teardown)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        KID_CASE(it_starts_and_ends),
        KID_CASE(a_failed_step_is_named),
        KID_CASE(what_is_not_uvm_launch_is_noticed),
        KID_CASE(signals_reach_it),
        KID_CASE(the_ladder_asks_then_kills),
        KID_CASE(closing_kills_and_reaps),
        KID_CASE(closing_is_allowed_at_any_time),
        KID_CASE(a_status_that_was_taken_is_unknown),
        KID_CASE(a_host_that_ignores_its_children),
        HOOK_CASE(one_that_is_gone_before_it_is_watched),
        HOOK_CASE(a_process_that_is_not_ours_is_left_alone),
        HOOK_CASE(one_that_cannot_be_watched_is_not_started),
        KID_CASE(stderr_is_kept),
        KID_CASE(a_flood_does_not_hold_up_the_loop),
        KID_CASE(a_descendant_with_our_stderr),
        HOOK_CASE(a_status_pipe_that_others_hold),
        KID_CASE(one_that_does_not_die_is_left),
        KID_CASE(one_that_outlives_its_engine),
        KID_CASE(statuses_in_words),
        KID_CASE(many_at_a_time),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: child_test UVM-LAUNCH\n");
        return 2;
    }
    kid_launch = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
