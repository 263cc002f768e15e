/* SPDX-License-Identifier: MIT
 * qemu_memory_test.c — memory of a host and of control groups, read from folders that look like theirs.
 */
#include "hcs/qemu/cgroup.h"
#include "hcs/qemu/host_memory.h"
#include "tests/unit/cm.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static int root;

static int setup(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/memory_testXXXXXX");
    assert_non_null(mkdtemp(folder));
    root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    return 0;
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    close(root);
    return nftw(folder, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text) {
    char part[256];
    for (const char *p = path; (p = strchr(p, '/')) != NULL; p++) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        assert_true(mkdirat(root, part, 0755) == 0 || errno == EEXIST);
    }
    int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void expect(uint64_t total_mb, uint64_t available_mb) {
    struct uvm__host_memory m = uvm__host_memory(root);
    assert_int_equal(m.total_mb, total_mb);
    assert_int_equal(m.available_mb, available_mb);
}

#define MEMINFO "MemTotal:       16777216 kB\nMemFree: 1024 kB\nMemAvailable:    8388608 kB\n"

static void test_unknown(void **state) {
    (void)state;
    expect(UINT64_MAX, UINT64_MAX);
    put("proc/meminfo", "MemTotal: 2048 kB\n"); /* a kernel that does not tell the other */
    expect(2, UINT64_MAX);
}

static void test_machine(void **state) {
    (void)state;
    put("proc/meminfo", MEMINFO);
    expect(16384, 8192);
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    expect(16384, 8192);
}

/* The smallest of the groups on the way up bounds; idle file pages are not lost. */
static void test_version_2(void **state) {
    (void)state;
    put("proc/meminfo", MEMINFO);
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/memory.max", "4294967296\n");
    put("sys/fs/cgroup/a/b/memory.current", "1073741824\n");
    expect(4096, 3072);
    put("sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 536870912\nactive_file 7\n");
    expect(4096, 3584);
    put("sys/fs/cgroup/a/memory.max", "2147483648\n");
    put("sys/fs/cgroup/a/memory.current", "2147483648\n");
    expect(2048, 0);
    put("sys/fs/cgroup/a/memory.current", "9147483648\n"); /* over its limit */
    expect(2048, 0);
}

static void test_version_1(void **state) {
    (void)state;
    put("proc/meminfo", MEMINFO);
    put("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/pod/x\n3:memory_else:/no\n0::/\n");
    put("sys/fs/cgroup/memory/pod/x/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "1073741824\n");
    put("sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "629145600\n");
    put("sys/fs/cgroup/memory/pod/memory.stat", "cache 5\ntotal_inactive_file 104857600\n");
    expect(1024, 524);
}

/* In a container the path may be the host's: the mount itself is the group. */
static void test_container(void **state) {
    (void)state;
    put("proc/meminfo", MEMINFO);
    put("proc/self/cgroup", "0::/../../elsewhere/x\n");
    put("sys/fs/cgroup/memory.max", "1073741824\n");
    put("sys/fs/cgroup/memory.current", "1048576\n");
    expect(1024, 1023);
}

/* A group of a VM's own: its limit and those around it, less what is used; words that say both. */
static void test_a_vms_group(void **state) {
    struct uvm__fail f = {0};
    (void)state;
    put("sys/fs/cgroup/a/vm/memory.max", "max\n");
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/a/vm", 352, 96, &f), 0);
    put("sys/fs/cgroup/a/memory.max", "536870912\n");
    put("sys/fs/cgroup/a/memory.current", "104857600\n");
    put("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 10485760\n");
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/a/vm", 422, 96, &f), 0);
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/a/vm", 423, 96, &f), -UVM_E_LIMIT);
    assert_string_equal(f.msg,
                        "cgroup: the VM needs 423 MiB (96 MiB for its VMM); /sys/fs/cgroup/a/vm, "
                        "with those around it, has 422 of 512 MiB left; give the VM less memory, "
                        "or the group more (memory.max)");
    put("sys/fs/cgroup/a/vm/memory.max", "104857600\n");
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/a/vm", 100, 96, &f), 0);
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/a/vm", 101, 96, &f), -UVM_E_LIMIT);
    assert_int_equal(uvm__cgroup_admit(root, "/sys/fs/cgroup/none", 101, 96, &f), 0);
}

static void test_rubbish(void **state) {
    static const char *const groups[] = {
        "", "\n", ":::", "0", "0:", "0::", "4:memory", "4:memory:", "4:,,,:/x\n\n0::/y"};
    (void)state;
    put("proc/meminfo", MEMINFO);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        put("proc/self/cgroup", groups[i]);
        expect(16384, 8192);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_unknown),   CASE(test_machine), CASE(test_version_2),   CASE(test_version_1),
        CASE(test_container), CASE(test_rubbish), CASE(test_a_vms_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
