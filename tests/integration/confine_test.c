/* SPDX-License-Identifier: MIT
 * confine_test.c — where a VM's processes stand on the host: their control group, and that no core file would
 * hold the guest's memory. Read from /proc and from the group itself, of a real VMM.
 *
 * confine_test KERNEL INITRD UVM-LAUNCH. No guest runs to its end here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hcs/qemu/cgroup.h"
#include "tests/integration/qemu_kit.h"

/* A small file of the kernel's, terminated; "" when it cannot be read. */
static void read_file(const char *path, char *buf, size_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    ssize_t n = fd < 0 ? 0 : 1;
    while (n > 0 && got < bytes - 1) {
        n = read(fd, buf + got, bytes - 1 - got);
        got += n > 0 ? (size_t)n : 0;
    }
    buf[got] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- control groups ------------------------------------------------------------------------- */

/* Where the test may make groups: "" when this host has no v2 hierarchy that is ours to write. */
static char home[128];

static bool can_join(const char *group) {
    char procs[192];
    int status = 1;
    (void)snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(procs, O_WRONLY | O_CLOEXEC);
        _exit(fd >= 0 && write(fd, "0", 1) == 1 ? 0 : 1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void find_home(void) {
    char line[512], where[256], type[64];
    FILE *mounts = fopen("/proc/self/mounts", "re");
    assert_non_null(mounts);
    while (home[0] == '\0' && fgets(line, sizeof line, mounts) != NULL) {
        const char *at = strchr(line, ' ');
        size_t n = at == NULL ? 0 : strcspn(at + 1, " ");
        if (n == 0 || n >= sizeof where) {
            continue;
        }
        (void)snprintf(where, sizeof where, "%.*s", (int)n, at + 1);
        (void)snprintf(type, sizeof type, "%.*s", (int)strcspn(at + 1 + n + 1, " "),
                       at + 1 + n + 1);
        if (strcmp(type, "cgroup2") == 0 && strncmp(where, UVM__CGROUP_ROOT, 14) == 0) {
            (void)snprintf(home, sizeof home, "%.80s/uvm-test-%ld", where, (long)getpid());
        }
    }
    (void)fclose(mounts);
    if (home[0] != '\0' && (mkdir(home, 0755) != 0 || !can_join(home))) {
        (void)rmdir(home);
        home[0] = '\0';
    }
}

static void need_home(void) {
    if (home[0] == '\0') {
        print_message("skipped: no cgroup v2 hierarchy below " UVM__CGROUP_ROOT
                      " that this user may write\n");
        skip();
    }
}

/* Of a group of ours: the pids in it; -1: there is no such group. */
static int members(const char *group, long *ret_first) {
    char path[192], text[4096];
    int count = 0;
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", group);
    if (access(path, F_OK) != 0) {
        return -1;
    }
    read_file(path, text, sizeof text);
    *ret_first = strtol(text, NULL, 10);
    for (const char *p = text; *p != '\0'; p++) {
        count += *p == '\n';
    }
    return count;
}

static const char *child_group(const char *name) {
    static char path[192];
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

static void is_made_and_removed(void **state) {
    (void)state;
    struct kit k;
    long first = 0;
    need_home();
    const char *group = child_group("made");
    kit_open(&k);
    k.cgroup = group;
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    assert_int_equal(members(group, &first), 1);
    assert_int_equal(first, kit_vmm());
    assert_string_equal(kit_property(&k, "Vmm.Cgroup"), group);
    assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK);
    kit_close_system(&k);
    assert_int_equal(members(group, &first), -1);
    kit_close(&k);
}

static void one_that_was_there_stays(void **state) {
    (void)state;
    struct kit k;
    long first = 0;
    need_home();
    const char *group = child_group("there");
    assert_int_equal(mkdir(group, 0755), 0);
    kit_open(&k);
    k.cgroup = group;
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    assert_int_equal(members(group, &first), 1);
    kit_close(&k);
    assert_int_equal(members(group, &first), 0);
    assert_int_equal(rmdir(group), 0);
}

static void expect_refused(const char *cgroup, const char *launch, int code, const char *message) {
    struct kit k;
    struct uvm_qemu_params p = kit_params();
    if (launch != NULL) {
        p.launch_path = launch;
    }
    kit_open(&k);
    kit_service(&k, &p);
    k.cgroup = cgroup;
    kit_create(&k);
    kit_wait_created(&k);
    const uvm_error *err = uvm__op_error(k.create);
    if (err == NULL) {
        fail_msg("created; expected: %s", message);
    } else if (k.create_code != code || strstr(uvm_error_message(err), message) == NULL) {
        fail_msg("%s: %s; expected: %s", uvm_error_step(err), uvm_error_message(err), message);
    }
    assert_int_equal(kit_children(), 0);
    kit_close(&k);
}

static void paths_that_are_none(void **state) {
    (void)state;
    static const char *const paths[] = {
        "relative",
        "/",
        UVM__CGROUP_ROOT,
        UVM__CGROUP_ROOT "/",
        UVM__CGROUP_ROOT "/a/",
        UVM__CGROUP_ROOT "//a",
        UVM__CGROUP_ROOT "/../../etc",
        UVM__CGROUP_ROOT "/a/./b",
        UVM__CGROUP_ROOT "-not/a",
        "/tmp/uvm-group",
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        expect_refused(paths[i], NULL, UVM_E_INVAL, "is no group below " UVM__CGROUP_ROOT);
    }
    expect_refused(UVM__CGROUP_ROOT "/no-such/group", NULL, UVM_E_HOST,
                   "cgroup: " UVM__CGROUP_ROOT "/no-such: No such file or directory");
}

/* A folder of v1, or of the tmpfs that holds the hierarchies, limits nothing. */
static void no_v2_no_group(void **state) {
    (void)state;
    static const char in_v1[] = UVM__CGROUP_ROOT "/memory/uvm-test";
    if (access(UVM__CGROUP_ROOT "/memory/cgroup.procs", F_OK) != 0) {
        print_message("skipped: no v1 hierarchy here\n");
        skip();
    }
    expect_refused(in_v1, NULL, UVM_E_HOST, "is not in a cgroup v2 hierarchy");
    assert_int_not_equal(access(in_v1, F_OK), 0);
    static const char in_tmpfs[] = UVM__CGROUP_ROOT "/uvm-test";
    expect_refused(in_tmpfs, NULL, UVM_E_HOST, "is not in a cgroup v2 hierarchy");
    assert_int_not_equal(access(in_tmpfs, F_OK), 0);
}

/* What fails after the group was made takes it along. */
static void a_failed_start_leaves_none(void **state) {
    (void)state;
    long first = 0;
    need_home();
    const char *group = child_group("failed");
    expect_refused(group, "/nonexistent/uvm-launch", UVM_E_HOST, "is uvm-launch installed");
    assert_int_equal(members(group, &first), -1);
}

/* Below a threaded group there is no domain, so no process may join; what was made for it goes again. */
static void one_that_cannot_be_joined(void **state) {
    (void)state;
    char group[192], type[224], below[224];
    long first = 0;
    need_home();
    (void)snprintf(group, sizeof group, "%s", child_group("threads"));
    (void)snprintf(type, sizeof type, "%s/cgroup.type", group);
    (void)snprintf(below, sizeof below, "%s/below", group);
    assert_int_equal(mkdir(group, 0755), 0);
    int fd = open(type, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "threaded", 8), 8);
    close(fd);
    expect_refused(
        below, NULL, UVM_E_HOST,
        "cannot be joined: Operation not supported; it is a threaded group, or below one");
    assert_int_equal(members(below, &first), -1);
    assert_int_equal(rmdir(group), 0);
}

/* ---- core files ----------------------------------------------------------------------------- */

/* Each mapping of the guest's RAM in a process is marked as not to be dumped; how many there are. */
static int ram_mappings(long pid) {
    char path[64], line[512];
    int found = 0;
    bool in_ram = false;
    (void)snprintf(path, sizeof path, "/proc/%ld/smaps", pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "VmFlags:", 8) == 0) {
            if (in_ram && strstr(line, " dd") == NULL) {
                fail_msg("process %ld would dump the guest's memory: %s", pid, line);
            }
            found += in_ram;
            in_ram = false;
        } else if (strstr(line, "memfd:uvm-ram") != NULL) {
            in_ram = true;
        }
    }
    (void)fclose(f);
    return found;
}

static void expect_no_core(long pid) {
    static const char name[] = "Max core file size";
    char path[64], text[4096];
    unsigned long soft = 1, hard = 1;
    (void)snprintf(path, sizeof path, "/proc/%ld/limits", pid);
    read_file(path, text, sizeof text);
    char *at = strstr(text, name);
    assert_non_null(at);
    at += sizeof name - 1;
    soft = strtoul(at, &at, 10); /* "unlimited" is no number: *at stays before it */
    hard = strtoul(at, &at, 10);
    assert_int_equal(soft, 0);
    assert_int_equal(hard, 0);
    assert_memory_equal(at + strspn(at, " "), "bytes", 5);
}

static void no_core_holds_the_guests_memory(void **state) {
    (void)state;
    struct kit k;
    struct rlimit before, core;
    assert_int_equal(getrlimit(RLIMIT_CORE, &before), 0);
    core = before;
    core.rlim_cur = core.rlim_max; /* this process would leave one */
    assert_int_equal(setrlimit(RLIMIT_CORE, &core), 0);
    kit_open(&k);
    kit_boot(&k); /* the guest's driver is on: both processes have its memory */
    long pid = kit_vmm();
    expect_no_core(pid);
    assert_true(ram_mappings(pid) > 0);
    assert_true(ram_mappings((long)getpid()) > 0);
    kit_close(&k);
    assert_int_equal(setrlimit(RLIMIT_CORE, &before), 0);
}

int main(int argc, char **argv) {
    kit_arguments(argc, argv);
    find_home();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_made_and_removed),
        cmocka_unit_test(one_that_was_there_stays),
        cmocka_unit_test(paths_that_are_none),
        cmocka_unit_test(no_v2_no_group),
        cmocka_unit_test(a_failed_start_leaves_none),
        cmocka_unit_test(one_that_cannot_be_joined),
        cmocka_unit_test(no_core_holds_the_guests_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (home[0] != '\0' && rmdir(home) != 0) {
        print_message("%s stays: %s\n", home, strerror(errno));
        failed++;
    }
    return failed;
}
