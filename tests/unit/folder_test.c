/* SPDX-License-Identifier: MIT
 * folder_test.c — folders with owners: claimed once, swept when the owner is dead, never under a living one.
 */
#include "async/clock.h"
#include "async/folder.h"
#include "tests/unit/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop_kit k;
static char root[64];
static int parent;
static struct uvm__fail f;

static int setup(void **state) {
    (void)state;
    loop_open(&k);
    (void)snprintf(root, sizeof root, "/tmp/uvm_folderXXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(uvm__folder_open(root, true, &parent, &f), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    close(parent);
    assert_int_equal(rmdir(root), 0);
    loop_close(&k);
    return 0;
}

static bool count(const char *name, void *arg) {
    (void)name;
    ++*(int *)arg;
    return true;
}

static int entries(void) {
    int n = 0;
    assert_int_equal(uvm__folder_list(parent, count, &n, &f), 0);
    return n;
}

static void names(void **state) {
    static const char *const good[] = {"a", "A-b_c.9", "-x", "_"};
    static const char *const bad[] = {
        "",         ".",   "..",
        ".a",       "a/b", "a b",
        "\xc3\xa4", "a\n", "0123456789012345678901234567890123456789012345678901234567890123"};
    int fd;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(uvm__folder_name_ok(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(uvm__folder_name_ok(bad[i]));
        assert_int_equal(uvm__folder_claim(k.engine, parent, bad[i], &fd, &f), -UVM_E_INVAL);
    }
    assert_int_equal(entries(), 0);
}

static void claimed_once(void **state) {
    int fd, other;
    char buf[8];
    (void)state;
    assert_int_equal(uvm__folder_claim(k.engine, parent, "a", &fd, &f), 0);
    assert_int_equal(uvm__folder_claim(k.engine, parent, "a", &other, &f), -UVM_E_EXISTS);
    assert_int_equal(uvm__folder_sweep(k.engine, parent, "a", &f), -UVM_E_EXISTS);
    assert_int_equal(uvm__folder_claim(k.engine, parent, "b", &other, &f), 0);
    assert_int_equal(entries(), 2);
    assert_true(uvm__folder_lives(parent, "a"));
    assert_false(uvm__folder_lives(parent, "none"));
    assert_int_equal(uvm__folder_write(fd, "file", "one", 3, &f), 0);
    assert_int_equal(uvm__folder_write(fd, "file", "three", 5, &f), 0);
    assert_int_equal(uvm__folder_read(fd, "file", buf, sizeof buf), 5);
    assert_string_equal(buf, "three");
    assert_int_equal(uvm__folder_read(fd, "file", buf, 5), -UVM_E_LIMIT);
    assert_int_equal(uvm__folder_read(fd, "none", buf, 5), -UVM_E_NOTFOUND);
    uvm__folder_release(k.engine, parent, "a", fd);
    uvm__folder_release(k.engine, parent, "b", other);
    assert_int_equal(uvm__folder_sweep(k.engine, parent, "a", &f), -UVM_E_NOTFOUND);
    assert_int_equal(entries(), 0);
}

/* What a killed owner left goes to the next one, empty. */
static void of_a_dead_owner(void **state) {
    int fd, tells[2];
    char told = 0;
    (void)state;
    assert_int_equal(pipe2(tells, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool ok = uvm__folder_claim(k.engine, parent, "a", &fd, &f) == 0 &&
                  uvm__folder_write(fd, "file", "x", 1, &f) == 0;
        (void)!write(tells[1], ok ? "y" : "n", 1);
        for (;;) {
            (void)pause();
        }
    }
    assert_int_equal(read(tells[0], &told, 1), 1);
    assert_int_equal(told, 'y');
    assert_true(uvm__folder_lives(parent, "a"));
    assert_int_equal(uvm__folder_claim(k.engine, parent, "a", &fd, &f), -UVM_E_EXISTS);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(entries(), 1);
    assert_false(uvm__folder_lives(parent, "a"));
    assert_int_equal(uvm__folder_claim(k.engine, parent, "a", &fd, &f), 0);
    assert_int_equal(faccessat(fd, "file", F_OK, 0), -1);
    uvm__folder_release(k.engine, parent, "a", fd);
    close(tells[0]);
    close(tells[1]);
}

/* Files in one folder: the oldest go first, and all that are too old. */
static void pruned(void **state) {
    int fd;
    char name[2] = "a", buf[4];
    uint64_t now_s = uvm__wall_ns(k.engine) / 1000000000u;
    (void)state;
    assert_int_equal(uvm__folder_make(parent, ".kept", &fd, &f), 0);
    close(fd);
    assert_int_equal(uvm__folder_make(parent, ".kept", &fd, &f), 0); /* it is there already */
    for (unsigned i = 0; i < 10; i++, name[0]++) {
        const struct timespec at[2] = {{.tv_sec = (time_t)(now_s - 1000 + 100ul * i)},
                                       {.tv_sec = (time_t)(now_s - 1000 + 100ul * i)}};
        assert_int_equal(uvm__folder_write(fd, name, "x", 1, &f), 0);
        assert_int_equal(utimensat(fd, name, at, 0), 0);
    }
    uvm__folder_prune(k.engine, fd, 8, 5000);
    assert_int_equal(uvm__folder_read(fd, "b", buf, sizeof buf), -UVM_E_NOTFOUND);
    assert_int_equal(uvm__folder_read(fd, "c", buf, sizeof buf), 1);
    uvm__folder_prune(k.engine, fd, 8, 350);
    assert_int_equal(uvm__folder_read(fd, "g", buf, sizeof buf), -UVM_E_NOTFOUND);
    assert_int_equal(uvm__folder_read(fd, "h", buf, sizeof buf), 1);
    assert_true(uvm__folder_unlink(fd, "h"));
    assert_true(uvm__folder_unlink(fd, "h")); /* is not there: as well */
    assert_int_equal(uvm__folder_read(fd, "h", buf, sizeof buf), -UVM_E_NOTFOUND);
    uvm__folder_prune(k.engine, fd, 0, 5000);
    uvm__folder_prune(k.engine, fd, 0, 0);
    close(fd);
    assert_int_equal(unlinkat(parent, ".kept", AT_REMOVEDIR), 0);
    assert_int_equal(uvm__folder_write(parent, "file", "x", 1, &f), 0);
    assert_int_equal(uvm__folder_make(parent, "file", &fd, &f), -UVM_E_IO);
    assert_true(uvm__folder_unlink(parent, "file"));
}

static void not_ours(void **state) {
    char path[128];
    int fd;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/a", root);
    assert_int_equal(symlink("/", path), 0); /* nobody is led elsewhere */
    assert_int_equal(uvm__folder_claim(k.engine, parent, "a", &fd, &f), -UVM_E_IO);
    assert_int_equal(uvm__folder_sweep(k.engine, parent, "a", &f), -UVM_E_IO);
    assert_int_equal(uvm__folder_open(path, true, &fd, &f), -UVM_E_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(uvm__folder_open(path, true, &fd, &f), -UVM_E_HOST);
    assert_non_null(strstr(f.msg, "others may write in it (mode 777)"));
    if (geteuid() == 0 && chown(path, 12345, 0) == 0) {
        assert_int_equal(chmod(path, 0700), 0);
        assert_int_equal(uvm__folder_open(path, true, &fd, &f), -UVM_E_HOST);
        assert_non_null(strstr(f.msg, "belongs to user 12345, not to 0"));
        assert_int_equal(uvm__folder_sweep(k.engine, parent, "a", &f), -UVM_E_HOST);
    }
    assert_int_equal(rmdir(path), 0);
    (void)snprintf(path, sizeof path, "%s/no/such", root);
    assert_int_equal(uvm__folder_open(path, true, &fd, &f), -UVM_E_IO);
    assert_int_equal(uvm__folder_open(path, false, &fd, &f), -UVM_E_NOTFOUND);
    assert_int_equal(entries(), 0);
}

/* Claims, releases, deaths and sweeps of one name, by four processes at once: at most one has it, and at
 * the end nothing is left. */
static _Noreturn void contend(unsigned me) {
    int held, fd, bad = 0;
    char path[128];
    (void)snprintf(path, sizeof path, "%s.held", root);
    for (int i = 0; i < 300; i++) {
        if (me == 3) {
            (void)uvm__folder_sweep(k.engine, parent, "a", &f);
            continue;
        }
        if (uvm__folder_claim(k.engine, parent, "a", &fd, &f) < 0) {
            continue;
        }
        held = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        bad += held < 0;
        bad += uvm__folder_write(fd, "file", "x", 1, &f) < 0;
        bad += unlink(path) != 0;
        close(held);
        if (i % 3 == 0) {
            close(fd); /* as if it had died */
        } else {
            uvm__folder_release(k.engine, parent, "a", fd);
        }
    }
    _exit(bad != 0);
}

static void many_at_once(void **state) {
    pid_t pids[4];
    int status;
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            uint64_t r; /* the same engine in each: other names all the same */
            for (unsigned n = 0; n < i * 1000; n++) {
                uvm__random(k.engine, &r, sizeof r);
            }
            contend(i);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    (void)uvm__folder_sweep(k.engine, parent, "a", &f);
    assert_int_equal(entries(), 0);
}

int main(void) {
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(names),  CASE(claimed_once), CASE(of_a_dead_owner),
        CASE(pruned), CASE(not_ours),     CASE(many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
