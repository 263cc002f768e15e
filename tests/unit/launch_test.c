/* SPDX-License-Identifier: MIT
 *
 * Tests of uvm-launch: the real helper (its path is argv[1]) is started as the engine starts it, by
 * posix_spawn with the status pipe at fd 3, and becomes a small shell command that tells what it
 * sees. Each case looks at both ends: the status pipe (EOF, or one record) and the program.
 *
 * What needs privileges (credentials, namespaces) skips itself when the test runs without them.
 * An alarm bounds the whole program, for the tests wait on pipes and processes only.
 */
#include "async/launch_proto.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }
#define SH(text) "--", "/bin/sh", "-c", text

enum { OUT_BYTES = 512, ARGS_MAX = 24 };

static const char *launch_path;
static char dir[] = "/tmp/uvm-launch-XXXXXX";

/* What became of one start. */
struct result {
    size_t record_bytes; /* 0: EOF, the program ran */
    enum uvm__launch_step step;
    int32_t err;
    int status;          /* of waitpid */
    char out[OUT_BYTES]; /* stdout, final newline cut */
};

/* Further descriptors for the child: at place `to`, which may be 0 for its stdin. */
struct extra {
    int from, to;
};

static size_t read_all(int fd, void *buf, size_t bytes) {
    size_t n = 0;
    ssize_t r;

    while (n < bytes && (r = read(fd, (char *)buf + n, bytes - n)) > 0) {
        n += (size_t)r;
    }
    close(fd);
    return n;
}

static pid_t spawn(const char *const *args, int status_w, int out_w, const struct extra *extra,
                   size_t extra_count) {
    static char *env[] = {NULL};
    const char *argv[ARGS_MAX] = {launch_path};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    for (size_t i = 0; args[i] != NULL; i++) {
        assert_true(i + 2 < ARGS_MAX);
        argv[i + 1] = args[i];
    }
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, status_w, 3), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out_w, 1), 0);
    for (size_t i = 0; i < extra_count; i++) {
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, extra[i].from, extra[i].to), 0);
    }
    assert_int_equal(posix_spawn(&pid, launch_path, &actions, NULL, (char **)argv, env), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

/* A pipe whose ends are above the places that the children use. */
static void pipe_high(int ret_fds[2]) {
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    for (int i = 0; i < 2; i++) {
        ret_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 20);
        assert_true(ret_fds[i] >= 20);
        close(fds[i]);
    }
}

static void read_record(int fd, struct result *r) {
    uint8_t record[64];

    r->record_bytes = read_all(fd, record, sizeof record);
    if (r->record_bytes > 0) {
        assert_int_equal(r->record_bytes, UVM__LAUNCH_RECORD_BYTES);
        assert_int_equal(uvm__launch_record_get(record, &r->step, &r->err), 0);
    }
}

static struct result run_with(const char *const *args, const struct extra *extra, size_t count) {
    struct result r = {.record_bytes = 0};
    int status[2], out[2];
    pid_t pid;
    size_t n;

    pipe_high(status);
    pipe_high(out);
    pid = spawn(args, status[1], out[1], extra, count);
    close(status[1]);
    close(out[1]);
    read_record(status[0], &r);
    n = read_all(out[0], r.out, OUT_BYTES - 1);
    while (n > 0 && r.out[n - 1] == '\n') {
        n--;
    }
    r.out[n] = '\0';
    assert_int_equal(waitpid(pid, &r.status, 0), pid);
    return r;
}

static struct result run(const char *const *args) {
    return run_with(args, NULL, 0);
}

static void assert_ran(const struct result *r, const char *out) {
    assert_int_equal(r->record_bytes, 0);
    assert_true(WIFEXITED(r->status));
    assert_int_equal(WEXITSTATUS(r->status), 0);
    assert_string_equal(r->out, out);
}

static void assert_failed(const struct result *r, enum uvm__launch_step step, int err) {
    assert_int_equal(r->record_bytes, UVM__LAUNCH_RECORD_BYTES);
    assert_string_equal(uvm__launch_step_name(r->step), uvm__launch_step_name(step));
    assert_int_equal(r->err, err);
    assert_true(WIFEXITED(r->status));
    assert_int_equal(WEXITSTATUS(r->status), UVM__LAUNCH_EXIT);
    assert_string_equal(r->out, "");
}

static void write_file(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void records(void **state) {
    uint8_t record[UVM__LAUNCH_RECORD_BYTES];
    enum uvm__launch_step step = UVM__LAUNCH_NONE;
    int32_t err = 0;

    (void)state;
    uvm__launch_record_put(record, UVM__LAUNCH_EXEC, 0x01020304);
    assert_memory_equal(record, "\x0d\x04\x03\x02\x01", sizeof record);
    assert_int_equal(uvm__launch_record_get(record, &step, &err), 0);
    assert_int_equal(step, UVM__LAUNCH_EXEC);
    assert_int_equal(err, 0x01020304);
    assert_string_equal(uvm__launch_step_name(step), "exec");
    assert_string_equal(uvm__launch_step_name(UVM__LAUNCH_STEP_MAX), "?");
    assert_int_equal(uvm__launch_record_get((const uint8_t *)"\x00\x01\x00\x00\x00", &step, &err),
                     -1);
    assert_int_equal(uvm__launch_record_get((const uint8_t *)"\x0e\x01\x00\x00\x00", &step, &err),
                     -1);
    assert_int_equal(uvm__launch_record_get((const uint8_t *)"\x01\x00\x00\x00\x00", &step, &err),
                     -1);
    assert_int_equal(uvm__launch_record_get((const uint8_t *)"\x01\xff\xff\xff\xff", &step, &err),
                     -1);
    assert_int_equal(err, 0x01020304);
}

static void runs_program(void **state) {
    struct result r = run(ARGS(SH("echo \"$0\" $1; exit 7"), "zero", "one"));

    (void)state;
    assert_int_equal(r.record_bytes, 0);
    assert_string_equal(r.out, "zero one");
    assert_int_equal(WEXITSTATUS(r.status), 7);
}

static void refuses_bad_arguments(void **state) {
    const char *const *const cases[] = {
        ARGS("--"),
        ARGS("/bin/true"),
        ARGS("--pgroup"),
        ARGS("--no-such", "--", "/bin/true"),
        ARGS("--uid"),
        ARGS("--uid", "--", "/bin/true"),
        ARGS("--uid", "-1", "--", "/bin/true"),
        ARGS("--uid", "+1", "--", "/bin/true"),
        ARGS("--uid", "1x", "--", "/bin/true"),
        ARGS("--uid", "4294967295", "--", "/bin/true"),
        ARGS("--uid", "99999999999999999999", "--", "/bin/true"),
        ARGS("--deathsig", "65", "--", "/bin/true"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct result r = run(cases[i]);

        assert_failed(&r, UVM__LAUNCH_ARGS, EINVAL);
    }
}

static void reports_missing_program(void **state) {
    struct result r = run(ARGS("--", "/no/such/program"));

    (void)state;
    assert_failed(&r, UVM__LAUNCH_EXEC, ENOENT);
    r = run(ARGS("--search", "--path", "/no/such:/bin", "--", "uvm-no-such-program"));
    assert_failed(&r, UVM__LAUNCH_EXEC, ENOENT);
    r = run(ARGS("--search", "--", "sh"));
    assert_failed(&r, UVM__LAUNCH_EXEC, ENOENT);
}

static void searches_path(void **state) {
    char text[64], here[128], path[256];
    struct result r;

    (void)state;
    snprintf(here, sizeof here, "%s/prog", dir);
    write_file(here, "#!/bin/sh\nexit 3\n", 0644);
    snprintf(path, sizeof path, ":/no/such:%s/prog/below:%s", dir, dir);
    r = run(ARGS("--search", "--path", path, "--", "prog"));
    assert_failed(&r, UVM__LAUNCH_EXEC, EACCES);

    /* What may not be run does not hide what stands behind it. */
    snprintf(here, sizeof here, "%s/sub/prog", dir);
    snprintf(text, sizeof text, "%s/sub", dir);
    assert_int_equal(mkdir(text, 0755), 0);
    write_file(here, "#!/bin/sh\necho found\n", 0755);
    snprintf(path, sizeof path, "%s:%s/sub", dir, dir);
    r = run(ARGS("--search", "--path", path, "--", "prog"));
    assert_ran(&r, "found");

    /* An empty element is not the current directory. */
    r = run(ARGS("--chdir", text, "--search", "--path", ":", "--", "prog"));
    assert_failed(&r, UVM__LAUNCH_EXEC, ENOENT);
    r = run(ARGS("--chdir", text, "--search", "--path", "/bin", "--", "./prog"));
    assert_ran(&r, "found");
}

static void checks_parent(void **state) {
    char mine[16], other[16];
    struct result r;

    (void)state;
    snprintf(mine, sizeof mine, "%d", getpid());
    snprintf(other, sizeof other, "%d", getpid() + 1);
    r = run(ARGS("--parent", mine, SH("echo ran")));
    assert_ran(&r, "ran");
    r = run(ARGS("--deathsig", "9", "--parent", other, SH("echo ran")));
    assert_failed(&r, UVM__LAUNCH_PARENT, ESRCH);
}

#define SEES "for n in 0 1 2 3 4 5 6; do [ -e /proc/$$/fd/$n ] && printf $n; done; exit 0"

static void closes_descriptors(void **state) {
    int null = fcntl(open("/dev/null", O_RDWR | O_CLOEXEC), F_DUPFD_CLOEXEC, 20);
    const struct extra extra[] = {{null, 0}, {null, 4}, {null, 5}, {null, 6}};
    struct result r;

    (void)state;
    r = run_with(ARGS(SH(SEES)), extra, 4);
    assert_ran(&r, "012");
    r = run_with(ARGS("--keep-fds", "5", SH(SEES)), extra, 4);
    assert_ran(&r, "01245");
    close(null);
}

#define STAT "read -r p c s pp g sid rest </proc/self/stat; "

static void leads_group_and_session(void **state) {
    struct result r = run(ARGS(SH(STAT "[ $g != $p ] && [ $sid != $p ] && echo neither")));

    (void)state;
    assert_ran(&r, "neither");
    r = run(ARGS("--pgroup", SH(STAT "[ $g = $p ] && [ $sid != $p ] && echo group")));
    assert_ran(&r, "group");
    r = run(ARGS("--setsid", SH(STAT "[ $g = $p ] && [ $sid = $p ] && echo session")));
    assert_ran(&r, "session");
}

static void takes_terminal(void **state) {
    int master = fcntl(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), F_DUPFD_CLOEXEC, 20);
    struct extra extra = {-1, 4};
    char buf[32];
    struct result r;
    int slave;

    (void)state;
    assert_true(master >= 20);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(slave >= 0);
    extra.from = slave;
    r = run_with(ARGS("--setsid", "--ctty", "4", SH("echo on it >/dev/tty")), &extra, 1);
    assert_ran(&r, "");
    assert_int_equal(read(master, buf, sizeof buf), 7);
    assert_memory_equal(buf, "on it\r\n", 7);

    r = run(ARGS("--ctty", "0", SH("echo ran")));
    assert_failed(&r, UVM__LAUNCH_SESSION, ENOTTY);
    close(slave);
    close(master);
}

static void sets_limits(void **state) {
    struct result r =
        run(ARGS("--nofile", "77", "--no-core", SH("ulimit -n; ulimit -Hn; ulimit -c")));

    (void)state;
    assert_ran(&r, "77\n77\n0");
}

static void changes_directory(void **state) {
    struct result r = run(ARGS("--chdir", dir, SH("pwd")));

    (void)state;
    assert_ran(&r, dir);
    r = run(ARGS("--chdir", "/no/such", SH("pwd")));
    assert_failed(&r, UVM__LAUNCH_CHDIR, ENOENT);
}

static void joins_cgroup(void **state) {
    char path[64], text[2] = "";
    struct result r;
    int fd;

    (void)state;
    snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    write_file(path, "", 0644);
    r = run(ARGS("--cgroup", dir, SH("echo ran")));
    assert_ran(&r, "ran");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read_all(fd, text, sizeof text), 1);
    assert_int_equal(text[0], '0');
    r = run(ARGS("--cgroup", "/no/such", SH("echo ran")));
    assert_failed(&r, UVM__LAUNCH_CGROUP, ENOENT);
}

#define FIELD(name) "sed -n 's/^" name ":[[:space:]]*//p' /proc/self/status"

static void locks_privileges(void **state) {
    struct result r = run(ARGS("--no-new-privs", SH(FIELD("NoNewPrivs"))));

    (void)state;
    assert_ran(&r, "1");
    if (geteuid() != 0) {
        skip();
    }
    r = run(ARGS("--no-new-privs", SH(FIELD("CapBnd"))));
    assert_ran(&r, "0000000000000000");
}

static void drops_user(void **state) {
    struct result r;

    (void)state;
    if (geteuid() != 0) {
        r = run(ARGS("--uid", "65534", SH("echo ran")));
        assert_failed(&r, UVM__LAUNCH_USER, EPERM);
        skip();
    }
    r = run(ARGS("--uid", "65533", "--gid", "65532", "--no-new-privs",
                 SH(FIELD("[UG]id") ";" FIELD("Groups") ";" FIELD("CapEff"))));
    assert_ran(&r, "65533\t65533\t65533\t65533\n65532\t65532\t65532\t65532\n\n0000000000000000");
    /* The directory is entered with the new credentials. */
    assert_int_equal(chmod(dir, 0700), 0);
    r = run(ARGS("--uid", "65534", "--chdir", dir, SH("echo ran")));
    assert_failed(&r, UVM__LAUNCH_CHDIR, EACCES);
}

static void enters_namespaces(void **state) {
    char theirs[64], ours[64], net[64];
    struct extra extra = {-1, 4};
    int hold[2], ready[2];
    struct result r;
    pid_t pid;

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    pipe_high(hold);
    pipe_high(ready);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(hold[1]);
        if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "", 1) == 1) {
            (void)!read(hold[0], net, 1);
        }
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read_all(ready[0], net, 1), 1);
    snprintf(net, sizeof net, "/proc/%d/ns/net", pid);
    theirs[readlink(net, theirs, sizeof theirs - 1)] = '\0';
    extra.from = open(net, O_RDONLY | O_CLOEXEC);
    r = run_with(ARGS("--netns", "4", "--keep-fds", "4",
                      SH("readlink /proc/self/ns/net; [ -e /proc/$$/fd/4 ] || exit 0")),
                 &extra, 1);
    assert_ran(&r, theirs);
    r = run(ARGS("--netns", net, SH("readlink /proc/self/ns/net")));
    assert_ran(&r, theirs);
    close(extra.from);
    close(hold[0]);
    close(hold[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);

    r = run(ARGS("--netns", "/no/such", SH("echo ran")));
    assert_failed(&r, UVM__LAUNCH_NETNS, ENOENT);
    ours[readlink("/proc/self/ns/mnt", ours, sizeof ours - 1)] = '\0';
    r = run(
        ARGS("--mountns", SH("readlink /proc/self/ns/mnt; grep -c shared: /proc/self/mountinfo")));
    assert_int_equal(r.record_bytes, 0);
    assert_null(strstr(r.out, ours));
    assert_non_null(strstr(r.out, "\n0"));
}

/* A parent that is killed takes the program with it, though the user was changed after the spawn:
 * the program holds `life`, so its end is seen as the end of that pipe.                         */
static void dies_with_parent(void **state) {
    const char *uid = geteuid() == 0 ? "65534" : NULL;
    int status[2], life[2], input[2];
    struct result r = {.record_bytes = 0};
    char byte, self[16];
    pid_t pid;

    (void)state;
    pipe_high(status);
    pipe_high(life);
    pipe_high(input);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct extra extra[] = {{input[0], 0}, {life[1], 4}};

        snprintf(self, sizeof self, "%d", getpid());
        spawn(uid == NULL
                  ? ARGS("--deathsig", "9", "--parent", self, "--keep-fds", "4", "--", "/bin/cat")
                  : ARGS("--deathsig", "9", "--parent", self, "--keep-fds", "4", "--uid", uid,
                         "--gid", uid, "--", "/bin/cat"),
              status[1], STDERR_FILENO, extra, 2);
        close(status[1]);
        for (;;) {
            pause();
        }
    }
    close(status[1]);
    close(life[1]);
    read_record(status[0], &r);
    assert_int_equal(r.record_bytes, 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(read(life[0], &byte, 1), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(waitpid(-1, &r.status, 0) > 0);
    assert_true(WIFSIGNALED(r.status));
    assert_int_equal(WTERMSIG(r.status), SIGKILL);
    close(life[0]);
    close(input[0]);
    close(input[1]);
}

static void needs_status_pipe(void **state) {
    static char *env[] = {NULL};
    char *argv[] = {(char *)launch_path, (char *)"--", (char *)"/bin/true", NULL};
    posix_spawn_file_actions_t actions;
    int status = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, 3, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn_file_actions_addclose(&actions, 3), 0);
    assert_int_equal(posix_spawn(&pid, launch_path, &actions, NULL, argv, env), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), UVM__LAUNCH_EXIT);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(dir) == NULL || chmod(dir, 0755) < 0;
}

static int teardown(void **state) {
    char path[64];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        static const char *const names[] = {"sub/prog", "sub", "prog", "cgroup.procs"};

        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    return remove(dir);
}

/* Above the places that the children use, too. */
static int open_high(const char *path) {
    int fd = open(path, O_PATH | O_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 20);

    assert_true(high >= 20);
    close(fd);
    return high;
}

#define SYSTEM "system /usr/bin\nsystem /bin\nsystem /usr/lib\nsystem /lib\nsystem /lib64\n"

/* The program sees what was named, may write where it may, and finds no way out: neither by "..", nor by a link,
 * nor by a descriptor. */
static void a_root_of_its_own(void **state) {
    char folder[sizeof dir + 16], file[sizeof dir + 24], link[sizeof dir + 24],
        out[sizeof dir + 24];
    struct result r;

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    (void)snprintf(folder, sizeof folder, "%s/rooted", dir);
    (void)snprintf(file, sizeof file, "%s/file", folder);
    (void)snprintf(link, sizeof link, "%s/link", folder);
    (void)snprintf(out, sizeof out, "%s/secret", dir);
    assert_int_equal(mkdir(folder, 0755), 0);
    write_file(file, "known", 0644);
    write_file(out, "secret", 0644);
    assert_int_equal(symlink(out, link), 0);
    int fd = open_high(folder), one = open_high(file);
    int low = open(file, O_RDONLY | O_CLOEXEC), data = fcntl(low, F_DUPFD_CLOEXEC, 20);
    const struct extra extra[] = {{fd, 7}, {fd, 8}, {one, 9}, {data, 6}};

    r = run_with(
        ARGS("--root",
             SYSTEM "bind 7 rw /rw\nbind 8 ro /a/ro\nbind 9 ro /few/a b\nfolder /no\n"
                    "system /nowhere\ndata 6 /of data\ntext /conf x = { \"y\" }",
             "--keep-fds", "9",
             SH("cd /; echo *; cat rw/file '/few/a b' conf '/of data'; echo; echo new >rw/new && "
                "cat a/ro/new; ls /few /no; "
                "{ echo x >a/ro/x || echo x >few/x || echo x >'few/a b' || echo x >x || "
                "cat rw/link || cat rw/../../.."
                "/tmp/*; } 2>&- || echo none; "
                "for n in 6 7 8 9; do { true <&$n; } 2>&- && echo open; done; true")),
        extra, 4);
    assert_ran(
        &r,
        "a bin conf few lib lib64 no of data rw usr\nknownknownx = { \"y\" }known\nnew\n/few:\na b\n\n/no:\n"
        "none");
    close(fd);
    close(one);
    close(low);
    close(data);
    (void)unlink(link);
    (void)unlink(file);
    (void)snprintf(file, sizeof file, "%s/new", folder);
    assert_int_equal(unlink(file), 0); /* it was written here */
    (void)unlink(out);
    assert_int_equal(rmdir(folder), 0);
}

static void a_root_that_cannot_be(void **state) {
    static const char *const bad[] = {"bind x ro /a", "bind 10 wo /a", "bind 10 ro a",
                                      "bind 10 ro /", "what /a",       "data x /a",
                                      "system usr",   "folder",        "text /"};

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = open_high("/");
        const struct extra extra = {fd, 10};
        struct result r = run_with(ARGS("--root", bad[i], "--", "/bin/true"), &extra, 1);
        assert_failed(&r, UVM__LAUNCH_ROOT, EINVAL);
        close(fd);
    }
    struct result r = run(ARGS("--root", "bind 77 ro /a", "--", "/bin/true"));
    assert_failed(&r, UVM__LAUNCH_ROOT, EBADF);
    r = run(ARGS("--root", "folder /a", "--", "/bin/true"));
    assert_failed(&r, UVM__LAUNCH_EXEC, ENOENT);
}

/* Root without more than it is left. */
static void few_capabilities(void **state) {
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    struct result r = run(ARGS("--no-new-privs", "--caps", "9",
                               SH("grep -E '^Cap(Prm|Bnd)' /proc/self/status | tr -d '\\t'")));
    assert_ran(&r, "CapPrm:0000000000000009\nCapBnd:0000000000000009");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_root_of_its_own),
        cmocka_unit_test(a_root_that_cannot_be),
        cmocka_unit_test(few_capabilities),
        cmocka_unit_test(records),
        cmocka_unit_test(runs_program),
        cmocka_unit_test(refuses_bad_arguments),
        cmocka_unit_test(reports_missing_program),
        cmocka_unit_test(searches_path),
        cmocka_unit_test(checks_parent),
        cmocka_unit_test(closes_descriptors),
        cmocka_unit_test(leads_group_and_session),
        cmocka_unit_test(takes_terminal),
        cmocka_unit_test(sets_limits),
        cmocka_unit_test(changes_directory),
        cmocka_unit_test(joins_cgroup),
        cmocka_unit_test(locks_privileges),
        cmocka_unit_test(enters_namespaces),
        cmocka_unit_test(dies_with_parent),
        cmocka_unit_test(needs_status_pipe),
        cmocka_unit_test(drops_user),
    };

    if (argc != 2 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
        fprintf(stderr, "usage: launch_test UVM-LAUNCH\n");
        return 2;
    }
    launch_path = argv[1];
    alarm(60);
    return cmocka_run_group_tests(tests, setup, teardown);
}
