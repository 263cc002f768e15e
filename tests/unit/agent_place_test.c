/* SPDX-License-Identifier: MIT
 * agent_place_test.c — where the guest's agent mounts: paths, links that others put in the way, what is left after
 * a failure; and tools that end with who runs them.
 */
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"
#include "cmd/gcs/tools.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static struct gcs_words words;

static int setup(void **unused) {
    (void)unused;
    memset(&words, 0, sizeof words);
    (void)snprintf(folder, sizeof folder, "%s", "/tmp/agent_place_XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **unused) {
    (void)unused;
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool is_there(const char *name) {
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

static void paths_are_checked(void **unused) {
    static const struct {
        const char *path;
        int status; /* of the words; 0: a path */
    } rows[] = {
        {"/a", 0},
        {"/a/b//c/", 0},
        {"/...", 0},
        {"/a/..b", 0},
        {"", GCS_DEVICE_BAD_SETTINGS},
        {"a", GCS_DEVICE_BAD_SETTINGS},
        {"/", GCS_DEVICE_BAD_SETTINGS},
        {"//", GCS_DEVICE_BAD_SETTINGS},
        {"/..", GCS_DEVICE_BAD_SETTINGS},
        {"/a/../b", GCS_DEVICE_BAD_SETTINGS},
        {"/a/./b", GCS_DEVICE_BAD_SETTINGS},
        {"/a/..", GCS_DEVICE_BAD_SETTINGS},
    };
    char name[NAME_MAX + 3];
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&words, 0, sizeof words);
        if (gcs_path_check("MountPath", rows[i].path, &words) != (rows[i].status == 0 ? 0 : -1) ||
            words.status != rows[i].status) {
            fail_msg("%s: %s", rows[i].path, words.text);
        }
    }
    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    assert_int_equal(gcs_path_check("MountPath", name, &words), -1);
    name[sizeof name - 2] = '\0';
    assert_int_equal(gcs_path_check("MountPath", name, &words), 0);
}

static void folders_are_made_and_taken_back(void **unused) {
    struct gcs_place at;
    (void)unused;
    assert_int_equal(gcs_place_open(path_of("a/b/c"), false, &at, &words), 0);
    assert_int_equal(at.folder, -1);
    assert_int_equal(mkdir(path_of("a"), 0755), 0);
    assert_int_equal(gcs_place_open(path_of("a//b/c/d/"), true, &at, &words), 1);
    assert_string_equal(at.name, "d");
    assert_true(is_there("a/b/c") && !is_there("a/b/c/d"));
    assert_false(gcs_place_mounted(&at));
    gcs_place_unmake(&at);
    gcs_place_close(&at);
    assert_true(is_there("a") && !is_there("a/b"));

    /* What somebody has put there in the meantime stays. */
    assert_int_equal(gcs_place_open(path_of("a/b/c/d"), true, &at, &words), 1);
    assert_int_equal(mkdir(path_of("a/b/theirs"), 0755), 0);
    gcs_place_unmake(&at);
    gcs_place_close(&at);
    assert_true(is_there("a/b/theirs") && !is_there("a/b/c"));
    assert_int_equal(rmdir(path_of("a/b/theirs")), 0);
    assert_int_equal(rmdir(path_of("a/b")), 0);
    assert_int_equal(rmdir(path_of("a")), 0);
}

static void what_is_mounted_is_seen(void **unused) {
    struct gcs_place at;
    (void)unused;
    assert_int_equal(gcs_place_open("/proc", false, &at, &words), 1);
    assert_true(gcs_place_mounted(&at));
    gcs_place_close(&at);
}

/* A link on the way, or at the place: nothing is made or removed where it leads, and the words name it. */
static void links_are_not_followed(void **unused) {
    struct gcs_place at;
    struct gcs_mount m = {.type = "", .read_only = true};
    char source[128], target[128];
    (void)unused;
    assert_int_equal(mkdir(path_of("real"), 0755), 0);
    assert_int_equal(mkdir(path_of("box"), 0755), 0);
    assert_int_equal(symlink(path_of("real"), path_of("box/link")), 0);
    assert_int_equal(gcs_place_open(path_of("box/new/x"), true, &at, &words), 1);
    gcs_place_unmake(&at);
    gcs_place_close(&at);

    assert_int_equal(gcs_place_open(path_of("box/link/x/y"), true, &at, &words), -1);
    assert_int_equal(at.folder, -1);
    assert_non_null(strstr(words.text, "box/link is a symbolic link; name the folder"));
    assert_false(is_there("real/x"));
    assert_int_equal(gcs_place_open(path_of("box/link/x"), false, &at, &words), -1);
    assert_int_equal(mkdir(path_of("real/x"), 0755), 0);
    assert_int_equal(gcs_unmount(path_of("box/link/x"), &words), -1);
    assert_true(is_there("real/x"));
    assert_int_equal(rmdir(path_of("real/x")), 0);

    /* A file with the magic of ext4 is enough to get as far as the mount. */
    (void)snprintf(source, sizeof source, "%s", path_of("disk"));
    (void)snprintf(target, sizeof target, "%s", path_of("box/link"));
    int fd = open(source, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && pwrite(fd, "\x53\xef", 2, 1080) == 2);
    close(fd);
    m.source = source;
    m.target = target;
    assert_int_equal(gcs_mount(&m, &words), -1);
    assert_non_null(strstr(words.text, "no folder, or a symbolic link"));
    assert_true(is_there("box/link"));
    assert_int_equal(unlink(source), 0);
    assert_int_equal(unlink(target), 0);
    assert_int_equal(rmdir(path_of("box")), 0);
    assert_int_equal(rmdir(path_of("real")), 0);
}

/* What a tool says of a disk that could not be read or written is told apart from its other ends: it is tried
 * again, with a file system that was half made. */
static void a_tool_that_met_a_disk_of_the_moment(void **unused) {
    static const struct {
        const char *line;
        bool unreadable;
    } rows[] = {
        {"echo 'mkfs.ext4: Input/output error while writing out and closing file system'; exit 1",
         true},
        {"echo '/dev/sda: No such device or address'; exit 1", true},
        {"echo 'error reading: Input/output error'; echo; exit 1", true},
        {"echo 'mkfs.ext4: Device size reported to be zero.'; exit 1", false},
        {"echo 'Input/output error'; kill -9 $$", false},
        {"exit 7", false},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const argv[] = {"sh", "-c", rows[i].line, NULL};
        words.unreadable = !rows[i].unreadable;
        assert_int_equal(gcs_tool_run(argv, &words), -1);
        assert_int_equal(words.unreadable, rows[i].unreadable);
    }
}

/* The worker that is killed takes its tool along. */
static void a_tool_ends_with_who_runs_it(void **unused) {
    static const char *const argv[] = {"sh", "-c", "echo $$ >&3; exec sleep 1000", NULL};
    int ends[2], status;
    char text[32] = "";
    (void)unused;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_int_equal(pipe(ends), 0);
    pid_t worker = fork();
    if (worker == 0) {
        (void)dup2(ends[1], 3);
        (void)gcs_tool_run(argv, &words);
        _exit(1);
    }
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    pid_t tool = (pid_t)strtol(text, NULL, 10);
    assert_true(tool > 0);
    assert_int_equal(kill(worker, SIGKILL), 0);
    assert_int_equal(waitpid(worker, &status, 0), worker);
    assert_int_equal(waitpid(tool, &status, 0), tool);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(folders_are_made_and_taken_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_mounted_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(links_are_not_followed, setup, teardown),
        cmocka_unit_test(a_tool_that_met_a_disk_of_the_moment),
        cmocka_unit_test_setup_teardown(a_tool_ends_with_who_runs_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
