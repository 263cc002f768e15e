/* SPDX-License-Identifier: MIT
 * doctor_test.c — `uvmctl doctor` on a host that has everything, and on hosts that lack one thing each.
 */
#include "tests/integration/uvmctl_kit.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOCTOR_MS 30000

static int doctor(struct command *c, const char *path, bool json) {
    struct command_options o = COMMAND_OPTIONS_INIT;
    o.path = path;
    boot_start(c, &o, json ? LIST("doctor", "--json") : LIST("doctor"));
    return command_end(c, DOCTOR_MS);
}

/* A line that begins with `status`, then names `check`, and has `text`; the one after it the remedy. */
static void expect_line(const struct command *c, const char *status, const char *check,
                        const char *text, const char *remedy) {
    char begin[64];
    (void)snprintf(begin, sizeof begin, "%-8s %-12s ", status, check);
    for (const char *line = c->out_text; line != NULL && *line != 0;) {
        const char *end = strchr(line, '\n');
        const char *after = end == NULL ? NULL : strchr(end + 1, '\n');
        const char *at = strstr(line, text);
        if (strncmp(line, begin, strlen(begin)) == 0 && end != NULL && at != NULL && at < end) {
            const char *remedy_at = remedy == NULL ? NULL : strstr(end, remedy);
            if (remedy == NULL || (remedy_at != NULL && after != NULL && remedy_at < after)) {
                return;
            }
        }
        line = end == NULL ? NULL : end + 1;
    }
    fail_msg("no line \"%s%s\" with \"%s\" in:\n%s", begin, text, remedy == NULL ? "" : remedy,
             c->out_text);
}

static void test_good(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(doctor(&c, NULL, false), 0);
    assert_null(strstr(c.out_text, "missing"));
    expect_line(&c, "ok", "kernel", "PVH entry", NULL);
    expect_line(&c, "ok", "initrd", "initrd.img: c", NULL);
    expect_line(&c, "ok", "vmm", "/qemu-system-x86_64: version ", NULL);
    expect_line(&c, "ok", "vmm can", "vhost-user-vsock", NULL);
    expect_line(&c, "ok", "vmm can", "nvdimm", NULL);
    expect_line(&c, "ok", "accelerator", ": ", NULL);
    expect_line(&c, "ok", "state folder", "/empty/state, made with the first UVM", NULL);
    expect_line(&c, "ok", "rights", geteuid() == 0 ? "root" : "user", NULL);
    command_free(&c);
}

static void test_json(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(doctor(&c, "/nowhere", true), 5);
    assert_int_equal(c.out_text[0], '[');
    assert_non_null(strstr(c.out_text, "{\"check\":\"vmm\",\"ok\":false,\"needed\":true,"));
    assert_non_null(strstr(c.out_text, "\"remedy\":\"apt-get install --no-install-recommends "
                                       "qemu-system-x86\"}"));
    assert_non_null(strstr(c.out_text, "{\"check\":\"virtiofsd\","));
    assert_non_null(strstr(c.out_text, "{\"check\":\"vfio\","));
    assert_non_null(strstr(c.out_text, "\"check\":\"kernel\",\"ok\":true,\"needed\":true,"));
    assert_string_equal(c.err_text, "");
    command_free(&c);
}

static void test_no_qemu(void **state) {
    struct command c;
    (void)state;
    assert_int_equal(doctor(&c, "/nowhere", false), 5);
    expect_line(&c, "missing", "vmm", "not found in /nowhere", "install --no-install-recommends");
    if (access("/sys/kernel/iommu_groups/0", F_OK) != 0) {
        expect_line(&c, "absent", "IOMMU", "none is on", "intel_iommu=on");
    }
    if (access("/usr/sbin/diod", X_OK) != 0) {
        expect_line(&c, "absent", "9P server", "no diod in /usr/sbin or $PATH",
                    "needed for shares");
    }
    command_free(&c);
}

/* A program of that name that is no QEMU. */
static void test_other_qemu(void **state) {
    static const char script[] = "#!/bin/sh\necho \"I am none\" >&2\nexit 3\n";
    struct command c;
    char path[128];
    (void)state;
    kit_write("qemu-system-x86_64", script, sizeof script - 1, path);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(doctor(&c, kit.folder, false), 5);
    expect_line(&c, "missing", "vmm", "does not run as one: exit status 3; I am none", "apt-get");
    command_free(&c);
    kit_forget(path);
}

static void test_no_launch(void **state) {
    struct command c;
    char path[128], aside[140];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/bin/uvm-launch", kit.folder);
    (void)snprintf(aside, sizeof aside, "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(doctor(&c, NULL, false), 5);
    assert_int_equal(rename(aside, path), 0);
    expect_line(&c, "missing", "uvm-launch", path, "install uvm-launch beside uvmctl");
    command_free(&c);
}

static void test_boot_files(void **state) {
    struct command c;
    char kernel[160], initrd[160];
    (void)state;
    (void)snprintf(kernel, sizeof kernel, "%s/vmlinux", kit.empty);
    (void)snprintf(initrd, sizeof initrd, "%s/initrd.img", kit.empty);
    assert_int_equal(setenv("UVM_BOOT_FILES", kit.empty, 1), 0);
    assert_int_equal(doctor(&c, NULL, false), 5);
    expect_line(&c, "missing", "kernel", "no vmlinux in ", "make all");
    expect_line(&c, "missing", "initrd", "no initrd.img in ", "make all");
    command_free(&c);

    assert_int_equal(symlink(kit.uvmctl, kernel), 0); /* an ELF, but no kernel */
    assert_int_equal(symlink(kit.uvmctl, initrd), 0);
    assert_int_equal(doctor(&c, NULL, false), 5);
    expect_line(&c, "missing", "kernel", "no PVH entry", "make all");
    expect_line(&c, "missing", "initrd", "neither a cpio archive nor", "make all");
    command_free(&c);
    assert_int_equal(unlink(kernel), 0);
    assert_int_equal(unlink(initrd), 0);
    assert_int_equal(unsetenv("UVM_BOOT_FILES"), 0);
}

static void expect_state(const char *folder, const char *text) {
    struct command c;
    assert_int_equal(setenv("UVM_STATE_DIR", folder, 1), 0);
    assert_int_equal(doctor(&c, NULL, false), 5);
    expect_line(&c, "missing", "state folder", text, "$UVM_STATE_DIR");
    command_free(&c);
}

static void test_state_folder(void **state) {
    char folder[160], below[200];
    const char *before = getenv("UVM_STATE_DIR");
    char kept[160];
    (void)state;
    assert_non_null(before);
    (void)snprintf(kept, sizeof kept, "%s", before);
    (void)snprintf(folder, sizeof folder, "%s/other", kit.empty);
    (void)snprintf(below, sizeof below, "%s/none/state", kit.empty);
    expect_state(below, "cannot be made in");
    expect_state(kit.uvmctl, "Not a directory");
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    expect_state(folder, "others may write in it (mode 777)");
    if (geteuid() == 0) {
        assert_int_equal(chmod(folder, 0700), 0);
        assert_int_equal(chown(folder, 12345, 12345), 0);
        expect_state(folder, "belongs to user 12345");
    }
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(setenv("UVM_STATE_DIR", kept, 1), 0);
}

#define CASE(name) cmocka_unit_test_teardown(name, kit_check)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE(test_good),      CASE(test_json),       CASE(test_no_qemu),      CASE(test_other_qemu),
        CASE(test_no_launch), CASE(test_boot_files), CASE(test_state_folder),
    };
    if (argc != 6) {
        (void)fprintf(stderr, "usage: doctor_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR\n");
        return 2;
    }
    kit_open(argv + 1);
    char folder[160];
    (void)snprintf(folder, sizeof folder, "%s/state", kit.empty);
    (void)setenv("UVM_STATE_DIR", folder, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
