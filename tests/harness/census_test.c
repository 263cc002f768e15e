/* SPDX-License-Identifier: MIT
 * census_test.c — a leak of each kind is planted, and must be named; taken away, nothing may be left.
 *
 * Mounts are planted in a mount namespace of the test's own, where the kernel lets it have one.
 */
#include "async/async.h"
#include "tests/harness/harness_census.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_MS 10000u /* never needed where something is to be left */

static char folder[128];
static bool may_mount;
static uvm_harness_census *before;

static int begin(void **state) {
    struct uvm_harness_census_params params = UVM_HARNESS_CENSUS_PARAMS_INIT;
    const char *const folders[] = {folder, "/nowhere/at/all", NULL};
    (void)state;
    params.folders = folders;
    assert_int_equal(uvm_harness_census_take(&params, &before), 0);
    assert_int_equal(uvm_harness_census_compare(before, 0, 0, NULL), 0);
    return 0;
}

static int end(void **state) {
    char *text = NULL;
    (void)state;
    if (uvm_harness_census_compare(before, 0, SETTLE_MS, &text) != 0) {
        fail_msg("it is gone, and the census has\n%s", text);
    }
    assert_null(text);
    uvm_harness_census_free(before);
    return 0;
}

/* So many things are left, and one line has both words. */
static void expect_left(int count, enum uvm_harness_kind kind, const char *word) {
    char *text = NULL;
    int left = uvm_harness_census_compare(before, 0, 0, &text);
    bool found = false;
    assert_non_null(text);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        const char *at = line + strspn(line, " ");
        size_t n = strlen(uvm_harness_kind_text(kind));
        found = found || (strncmp(at, uvm_harness_kind_text(kind), n) == 0 && at[n] == ' ' &&
                          strstr(at, word) != NULL);
        if (rest != NULL) {
            rest[-1] = '\n';
        }
    }
    if (left != count || !found) {
        fail_msg("%d left, not %d, or no %s with \"%s\":\n%s", left, count,
                 uvm_harness_kind_text(kind), word, text);
    }
    free(text);
}

/* ---- processes ---------------------------------------------------------------------------- */

/* A child that runs until it is killed; `orphan`: it has one of its own and goes. Returns the one that stays. */
static pid_t fork_one(bool orphan) {
    int said[2];
    pid_t stays = -1, child;
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
        pid_t self = orphan && fork() != 0 ? 0 : getpid();
        if (self == 0) {
            _exit(0);
        }
        (void)!write(said[1], &self, sizeof self);
        for (;;) {
            (void)pause();
        }
    }
    assert_int_equal(read(said[0], &stays, sizeof stays), sizeof stays);
    if (orphan) {
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    close(said[0]);
    close(said[1]);
    return stays;
}

static void test_process(void **state) {
    (void)state;
    for (int orphan = 0; orphan < 2; orphan++) {
        pid_t pid = fork_one(orphan != 0), found[4] = {0};
        char word[64];
        (void)snprintf(word, sizeof word, "%d census_test, child of %d", (int)pid, (int)getpid());
        expect_left(1, UVM_HARNESS_PROCESS, word);
        assert_int_equal(uvm_harness_descendants("census_test", found, 4), 1);
        assert_int_equal(found[0], pid);
        assert_int_equal(uvm_harness_descendants("census", found, 4), 0);
        assert_int_equal(uvm_harness_descendants(NULL, NULL, 0), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

static void test_zombie(void **state) {
    pid_t pid = fork();
    siginfo_t how;
    (void)state;
    if (pid == 0) {
        _exit(0);
    }
    assert_int_equal(waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT), 0);
    expect_left(1, UVM_HARNESS_ZOMBIE, "census_test");
    assert_int_equal(uvm_harness_descendants(NULL, NULL, 0), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Asked to, it waits for children that have ended, and what is ending has its moment. */
static void test_reap_and_settle(void **state) {
    struct uvm_harness_census_params params = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uvm_harness_census *reaping = NULL;
    (void)state;
    params.reap = true;
    assert_int_equal(uvm_harness_census_take(&params, &reaping), 0);
    pid_t pid = fork_one(true);
    assert_int_equal(uvm_harness_census_compare(reaping, 0, 0, NULL), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(uvm_harness_census_compare(reaping, 0, SETTLE_MS, NULL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), -1);
    uvm_harness_census_free(reaping);
}

/* ---- descriptors -------------------------------------------------------------------------- */

static void test_descriptor(void **state) {
    int fds[2];
    char word[64];
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    (void)snprintf(word, sizeof word, "%d: pipe:[", fds[1]);
    expect_left(2, UVM_HARNESS_DESCRIPTOR, word);
    close(fds[0]);
    expect_left(1, UVM_HARNESS_DESCRIPTOR, word);
    close(fds[1]);
}

/* Who closes one that was there has closed somebody else's. */
static void test_closed_descriptor(void **state) {
    uvm_harness_census *other = NULL;
    char *text = NULL;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(uvm_harness_census_take(NULL, &other), 0);
    close(fd);
    assert_int_equal(uvm_harness_census_compare(other, 0, 0, &text), 1);
    assert_non_null(strstr(text, "/dev/null is closed"));
    free(text);
    assert_int_equal(uvm_harness_census_compare(other, 1u << UVM_HARNESS_PROCESS, SETTLE_MS, &text),
                     0);
    assert_null(text);
    uvm_harness_census_free(other);
}

static void test_memfd(void **state) {
    int fd = memfd_create("planted-ram", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(ftruncate(fd, 8192), 0);
    expect_left(1, UVM_HARNESS_MEMFD, "planted-ram, 8192 bytes");
    void *at = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(at != MAP_FAILED);
    close(fd);
    expect_left(1, UVM_HARNESS_MEMFD, "mapped: planted-ram");
    assert_int_equal(munmap(at, 8192), 0);
}

static int bound(const char *name, bool listening) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = (size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    if (address.sun_path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
                     0);
    assert_true(!listening || listen(fd, 1) == 0);
    return fd;
}

static void test_socket(void **state) {
    int pair[2];
    char path[160], word[256], name[64];
    (void)state;
    (void)snprintf(name, sizeof name, "@census_test/%d", (int)getpid());
    int fd = bound(name, false);
    (void)snprintf(word, sizeof word, "%d: unix stream, %s", fd, name);
    expect_left(1, UVM_HARNESS_SOCKET, word);
    close(fd);

    (void)snprintf(path, sizeof path, "%s/sock", folder);
    fd = bound(path, true);
    (void)snprintf(word, sizeof word, "unix stream, listening, %s", path);
    expect_left(2, UVM_HARNESS_SOCKET, word);
    close(fd);
    expect_left(1, UVM_HARNESS_FILE, "/sock, a socket of 0 bytes");
    assert_int_equal(unlink(path), 0);

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    expect_left(2, UVM_HARNESS_SOCKET, "unix seqpacket, without a name");
    close(pair[0]);
    close(pair[1]);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect_left(1, UVM_HARNESS_SOCKET, "socket ");
    close(fd);
}

/* ---- files and mounts --------------------------------------------------------------------- */

static void test_file(void **state) {
    char sub[160], path[192];
    (void)state;
    (void)snprintf(sub, sizeof sub, "%s/sub", folder);
    (void)snprintf(path, sizeof path, "%s/left", sub);
    assert_int_equal(mkdir(sub, 0700), 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "12345", 5), 5);
    close(fd);
    expect_left(2, UVM_HARNESS_FILE, "/sub/left, a file of 5 bytes");
    expect_left(2, UVM_HARNESS_FILE, "/sub, a folder of");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(sub), 0);
}

static void test_shared_folders(void **state) {
    struct uvm_harness_census_params params = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uvm_harness_census *shared = NULL;
    char *text = NULL, name[64], path[96];
    (void)state;
    params.kinds = 1u << UVM_HARNESS_FILE;
    params.shared_folders = true;
    assert_int_equal(uvm_harness_census_take(&params, &shared), 0);
    (void)snprintf(name, sizeof name, "/uvm-census-test-%d", (int)getpid());
    (void)snprintf(path, sizeof path, "/dev/shm%s", name);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_true(uvm_harness_census_compare(shared, 0, 0, &text) >= 1); /* others may have theirs */
    assert_non_null(strstr(text, path));
    free(text);
    close(fd);
    assert_int_equal(shm_unlink(name), 0);
    uvm_harness_census_free(shared);
}

static void test_mount(void **state) {
    (void)state;
    if (!may_mount) {
        skip();
    }
    assert_int_equal(mount("planted", folder, "tmpfs", 0, NULL), 0);
    char word[160];
    (void)snprintf(word, sizeof word, "%s (tmpfs)", folder);
    expect_left(1, UVM_HARNESS_MOUNT, word);
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void test_refused(void **state) {
    struct uvm_harness_census_params params = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uvm_harness_census *none = NULL;
    char path[2048];
    size_t n = (size_t)snprintf(path, sizeof path, "%s", folder);
    const char *const folders[] = {folder, NULL};
    (void)state;
    params.kinds = 1u << UVM_HARNESS_KIND_MAX;
    assert_int_equal(uvm_harness_census_take(&params, &none), -UVM_E_INVAL);
    params.kinds = 1u << UVM_HARNESS_FILE;
    params.size--;
    assert_int_equal(uvm_harness_census_take(&params, &none), -UVM_E_INVAL);
    params.size++;
    params.folders = folders;
    for (unsigned i = 0; i <= UVM_HARNESS_FOLDER_DEPTH_MAX; i++) {
        n += (size_t)snprintf(path + n, sizeof path - n, "/deep");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(uvm_harness_census_take(&params, &none), -UVM_E_LIMIT);
    for (; strlen(path) > strlen(folder); *strrchr(path, '/') = '\0') {
        assert_int_equal(rmdir(path), 0);
    }
    assert_null(none);
    assert_string_equal(uvm_harness_kind_text(UVM_HARNESS_KIND_MAX), "thing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_process, begin, end),
        cmocka_unit_test_setup_teardown(test_zombie, begin, end),
        cmocka_unit_test_setup_teardown(test_reap_and_settle, begin, end),
        cmocka_unit_test_setup_teardown(test_descriptor, begin, end),
        cmocka_unit_test_setup_teardown(test_closed_descriptor, begin, end),
        cmocka_unit_test_setup_teardown(test_memfd, begin, end),
        cmocka_unit_test_setup_teardown(test_socket, begin, end),
        cmocka_unit_test_setup_teardown(test_file, begin, end),
        cmocka_unit_test_setup_teardown(test_shared_folders, begin, end),
        cmocka_unit_test_setup_teardown(test_mount, begin, end),
        cmocka_unit_test_setup_teardown(test_refused, begin, end),
    };
    const char *tmp = getenv("TEST_TMPDIR");
    /* The path of a socket has to fit in its address. */
    (void)snprintf(folder, sizeof folder, "%s/censusXXXXXX",
                   tmp == NULL || strlen(tmp) > 60 ? "/tmp" : tmp);
    assert_non_null(mkdtemp(folder));
    may_mount = unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)rmdir(folder);
    return failed;
}
