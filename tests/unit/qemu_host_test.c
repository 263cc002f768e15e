/* SPDX-License-Identifier: MIT
 * qemu_host_test.c — what the host has: QEMU's binary, a processor that virtualises, sealed memory, uids.
 */
#include "hcs/qemu/accel.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/uid.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void finding_qemu(void **state) {
    (void)state;
    char dir[] = "/tmp/uvm-host-XXXXXX", program[128], search[256], found[UVM__QEMU_PATH_BYTES];
    struct uvm__fail f = {0};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(program, sizeof program, "%s/qemu-system-x86_64", dir);
    (void)snprintf(search, sizeof search, "::/nonexistent:%s:/usr/bin", dir);

    assert_int_equal(uvm__host_find_qemu(NULL, "/nonexistent", found, &f), -UVM_E_HOST);
    assert_string_equal(f.msg,
                        "qemu-system-x86_64 not found in /nonexistent; install qemu-system-x86");
    assert_int_equal(uvm__host_find_qemu(NULL, NULL, found, &f), -UVM_E_HOST);
    assert_int_equal(uvm__host_find_qemu(program, NULL, found, &f), -UVM_E_HOST);
    assert_non_null(strstr(f.msg, "no executable file; install qemu-system-x86 or name another"));
    assert_int_equal(mkdir(program, 0755), 0); /* a folder of that name is none */
    assert_int_equal(uvm__host_find_qemu(program, NULL, found, &f), -UVM_E_HOST);
    assert_int_equal(rmdir(program), 0);
    int fd = open(program, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    close(fd);
    assert_int_equal(uvm__host_find_qemu(program, NULL, found, &f), -UVM_E_HOST);
    assert_int_equal(chmod(program, 0755), 0);
    assert_int_equal(uvm__host_find_qemu(program, NULL, found, &f), 0);
    assert_string_equal(found, program);
    assert_int_equal(uvm__host_find_qemu(NULL, search, found, &f), 0);
    assert_string_equal(found, program);
    unlink(program);
    rmdir(dir);
}

static void processors_that_virtualize(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool answer;
    } rows[] = {
        {"", false},
        {"flags", false},
        {"processor\t: 0\nflags\t\t: fpu vme vmx est\nbugs\t: x\n", true},
        {"flags\t\t: fpu svm", true},
        {"flags\t\t: fpu vmx", true},
        {"flags\t\t: fpu vmxx svm_lock xvmx\n", false},
        {"flags\t\t: fpu\nvmx flags\t: vmnotify\n", false}, /* of that line only */
        {"model name\t: vmx\nflags\t: fpu\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (uvm__host_cpu_virtualizes(rows[i].text) != rows[i].answer) {
            fail_msg("row %zu", i);
        }
    }
}

/* What was said while there was no descriptor left is no word about the host. */
static void no_descriptor_is_no_verdict(void **state) {
    struct rlimit before, none;
    char reason[UVM__ACCEL_REASON_BYTES] = "";
    uint32_t gid = 0;
    bool lasting = true;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool kvm = uvm__host_kvm(false, &gid, &lasting, reason, sizeof reason);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(kvm);
    assert_false(lasting);
    assert_true(strlen(reason) > 0);
    if (!uvm__host_kvm(false, &gid, &lasting, reason, sizeof reason)) {
        assert_true(lasting); /* no device, no rights, no such processor */
    }
}

static void guest_memory_is_sealed(void **state) {
    (void)state;
    struct uvm__fail f = {0};
    struct stat st;
    int fd = -1;
    assert_int_equal(uvm__host_ram(64u << 20, &fd, &f), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 64u << 20);
    assert_int_equal(st.st_blocks, 0); /* nothing is taken before it is touched */
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
    fd = -1;
    assert_int_equal(uvm__host_ram(UINT64_MAX, &fd, &f), -UVM_E_IO);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(f.msg, "guest memory of 18446744073709551615 bytes"));
}

static void uid_maps(void **state) {
    (void)state;
    static const struct {
        const char *map;
        uint32_t id;
        bool mapped;
    } rows[] = {
        {"         0          0 4294967295\n", 1879048192, true},
        {"         0          0 4294967295\n", 4294967295, false},
        {"         0       1000          1\n", 0, true},
        {"         0       1000          1\n", 1, false},
        {"0 1000 1\n1 100000 65536\n", 65534, true},
        {"0 1000 1\n1 100000 65536\n", 65537, false},
        {"5 0 3\n", 4, false},
        {"5 0 3\n", 7, true},
        {"5 0 3\n", 8, false},
        {"", 0, false},
        {"garbage\n", 0, false},
        {"1 2\n", 1, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (uvm__uid_is_mapped(rows[i].map, rows[i].id) != rows[i].mapped) {
            fail_msg("row %zu", i);
        }
    }
}

static void leases_are_distinct_and_come_back(void **state) {
    (void)state;
    struct uvm__uid_lease a, b, again;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__uid_lease(UVM__UID_DROP_NEVER, 0, &a, &f), 0);
    assert_false(a.drop);
    assert_int_equal(a.uid, geteuid());
    assert_int_equal(a.fd, -1);
    assert_int_equal(uvm__uid_lease(UVM__UID_DROP_AUTO, 0, &a, &f), 0);
    if (geteuid() != 0) {
        assert_false(a.drop);
        assert_string_equal(a.note, "the owner's own uid");
        return;
    }
    if (a.fd < 0) { /* root of a namespace without so many uids */
        assert_true(!a.drop || a.uid == UVM__VMM_UID_SHARED);
        return;
    }
    assert_true(a.drop && a.uid >= UVM__VMM_UID_BASE && a.gid == a.uid);
    assert_int_equal(uvm__uid_lease(UVM__UID_DROP_AUTO, 0, &b, &f), 0);
    assert_int_equal(b.uid, a.uid + 1);
    uvm__uid_release(&a);
    uvm__uid_release(&a);
    assert_int_equal(uvm__uid_lease(UVM__UID_DROP_AUTO, 0, &again, &f), 0);
    assert_int_equal(again.uid, b.uid - 1);
    uvm__uid_release(&again);
    uvm__uid_release(&b);
    /* A base that leaves no room is not used. */
    assert_int_equal(uvm__uid_lease(UVM__UID_DROP_AUTO, UINT32_MAX - 10, &a, &f), 0);
    assert_int_equal(a.fd, -1);
    assert_int_equal(a.uid, UVM__VMM_UID_SHARED);
}

/* What a probe met on its way is not taken for the host's nature. */
static void verdicts(void **state) {
    (void)state;
    for (int code = UVM_OK; code < UVM_E_MAX; code++) {
        bool verdict = code == UVM_OK || code == UVM_E_HOST || code == UVM_E_PROTOCOL;
        assert_int_equal(uvm__accel_verdict((enum uvm_error_code)code), verdict);
    }
}

/* The probe's answer is believed for the very same host, binary and user, and nothing else. */
static void kept_answers(void **state) {
    (void)state;
    char dir[] = "/tmp/uvm-host-XXXXXX", path[64], program[64], text[2048];
    struct uvm__accel_answer in = {.kvm = true, .reason = "a probe VM ran"}, out = {.kvm = false};
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/kvm-probe", dir);
    (void)snprintf(program, sizeof program, "%s/qemu", dir);

    uvm__accel_cache_write(dir, program, &in); /* no such binary: nothing is kept */
    assert_int_equal(access(path, F_OK), -1);
    int fd = open(program, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_false(uvm__accel_cache_read(dir, program, &out));
    uvm__accel_cache_write(dir, program, &in);
    assert_true(uvm__accel_cache_read(dir, program, &out));
    assert_true(out.kvm);
    assert_string_equal(out.reason, "a probe VM ran");
    in = (struct uvm__accel_answer){.kvm = false, .reason = "no"};
    uvm__accel_cache_write(dir, program, &in);
    assert_true(uvm__accel_cache_read(dir, program, &out));
    assert_false(out.kvm);
    assert_false(uvm__accel_cache_read(dir, "/bin/sh", &out));
    assert_false(uvm__accel_cache_read("/nonexistent", program, &out));
    uvm__accel_cache_write("/nonexistent", program, &in);

    /* Each byte of it changed, and each beginning. */
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t bytes = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    for (size_t i = 0; i < bytes * 2; i++) {
        size_t n = i < bytes ? bytes : i - bytes;
        bool in_reason = i < bytes && i >= bytes - 3 && i != bytes - 1;
        text[i < bytes ? i : 0] ^= i < bytes ? 1 : 0;
        f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(text, 1, n, f), n);
        (void)fclose(f);
        if (uvm__accel_cache_read(dir, program, &out) && !in_reason) {
            fail_msg("believed: change %zu of %zu", i, bytes);
        }
        text[i < bytes ? i : 0] ^= i < bytes ? 1 : 0;
    }
    uvm__accel_cache_write(dir, program, &in);
    assert_int_equal(write(fd, "x", 1), 1); /* another binary by the same name */
    assert_false(uvm__accel_cache_read(dir, program, &out));
    close(fd);
    unlink(path);
    unlink(program);
    assert_int_equal(rmdir(dir), 0); /* and no file beside them */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finding_qemu),
        cmocka_unit_test(processors_that_virtualize),
        cmocka_unit_test(no_descriptor_is_no_verdict),
        cmocka_unit_test(guest_memory_is_sealed),
        cmocka_unit_test(uid_maps),
        cmocka_unit_test(leases_are_distinct_and_come_back),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(kept_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
