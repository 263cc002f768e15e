/* SPDX-License-Identifier: MIT
 * crypt_test.c — disks under a throw-away key in a real guest: what is written there is nowhere on the host in
 * clear, and gone after the detach; what fails, and what a request leaves out, leaves no device behind.
 *
 * One UVM serves all cases; after each of them nothing is attached, and device-mapper has nothing.
 */
#include "tests/integration/disk_kit.h"
#include <stdio.h>
#include <string.h>

#define WORDS "these words are known to nobody else"
#define CRYPT "/dev/mapper/dm-crypt-scsi-contr0-lun"

/* What the words are not seen in, a plain disk must show them in: the search could find them. */
static void test_plain_disk_shows_them(void **state) {
    char id[32];
    (void)state;
    make_ext4("plain.img", 16);
    attach(id, LIST(image("plain.img"), "--mount", "/data"));
    guest(0, "", "yes \"" WORDS "\" | head -n 2000 > /data/said");
    detach(id);
    host("grep -q '" WORDS "' plain.img");
}

static void test_ten_rounds(void **state) {
    char id[32];
    (void)state;
    host("rm -f secret.img; truncate -s 48M secret.img; : > headers");
    for (int i = 0; i < 10; i++) {
        attach(id, LIST(image("secret.img"), "--mount", "/data", "--encrypted"));
        guest(0, "", "grep -q '^" CRYPT "[0-9]*-p0 /data ext4 rw' /proc/mounts");
        guest(0, "lost+found\n", "ls /data"); /* of the last round there is nothing */
        guest(0, "2000\n",
              "yes \"" WORDS "\" | head -n 2000 > /data/said; sync; "
              "echo 3 > /proc/sys/vm/drop_caches; grep -c '^" WORDS "$' /data/said");
        detach(id);
        guest(0, "control\n", "ls /dev/mapper; ! grep cryptsetup /proc/keys");
        host("! grep -q '" WORDS "' secret.img");
        host("head -c 512k secret.img | sha256sum >> headers");
    }
    host("test $(sort -u headers | wc -l) = 10"); /* each with a key of its own */
}

/* What the host writes over the disk the guest reads as an error, and not as something else. */
static void test_changed(void **state) {
    char id[32];
    (void)state;
    host("rm -f secret.img; truncate -s 24M secret.img");
    attach(id, LIST(image("secret.img"), "--mount", "/data", "--encrypted"));
    guest(0, "", "yes '" WORDS "' | head -n 20000 > /data/said; sync");
    host("dd if=/dev/zero of=secret.img bs=1M seek=1 count=22 conv=notrunc status=none");
    guest(0, "Input/output error\n0\n",
          "echo 3 > /proc/sys/vm/drop_caches; cat /data/said 2>&1 > /run/got | sed 's/.*: //'; "
          "grep -vc '^" WORDS "$' /run/got; true");
    detach(id);
}

static void test_others(void **state) {
    char a[32], b[32];
    (void)state;
    host("rm -f one.img two.img; truncate -s 24M one.img; truncate -s 400M two.img");
    attach(a, LIST(image("one.img"), "--mount", "/one", "--encrypted", "--filesystem", "ext4",
                   "--ensure-filesystem", "--option", "noatime"));
    attach(b, LIST(image("two.img"), "--mount", "/two", "--encrypted", "--filesystem", "xfs"));
    guest(0, "2\n", "grep -c '^" CRYPT "' /proc/mounts");
    guest(0, "", "grep -q ' /two xfs rw' /proc/mounts; cp /bin/busybox /one; cp /one/busybox /two");
    guest(0, "",
          "sync; echo 3 > /proc/sys/vm/drop_caches; cmp /two/busybox /bin/busybox && "
          "! dmesg | grep 'INTEGRITY AEAD'");
    detach(b);
    guest(0, "1\n", "grep -c '^" CRYPT "' /proc/mounts");
    detach(a);
}

/* A Remove as the reference's first host sends it, which does not say that the disk was encrypted. */
static void test_remove_that_does_not_say_so(void **state) {
    char id[32];
    (void)state;
    host("rm -f one.img; truncate -s 24M one.img");
    attach(id, LIST(image("one.img"), "--mount", "/data", "--encrypted"));
    guest(
        0, "",
        "n=$(grep ' /data ' /proc/mounts | sed 's/.*-lun\\([0-9]*\\)-.*/\\1/'); UVM_INIT=1 "
        "gcs-device MappedVirtualDisk Remove \"{\\\"MountPath\\\":\\\"/data\\\",\\\"Lun\\\":$n}\"");
    guest(0, "control\n", "ls /dev/mapper");
    detach(id);
}

/* What cannot be mounted in the end leaves no device; nor does a process that still uses it let it go. */
static void test_refused(void **state) {
    char id[32];
    (void)state;
    host("rm -f one.img small.img; truncate -s 24M one.img; truncate -s 256k small.img");
    expect(1, "", "perhaps for its options: no-such-word",
           LIST("attach", "demo", "scsi", image("one.img"), "--mount", "/data", "--encrypted",
                "--option", "no-such-word"));
    guest(0, "control\n", "ls /dev/mapper");
    expect(1, "", "failed to execute cryptsetup",
           LIST("attach", "demo", "scsi", image("small.img"), "--mount", "/data", "--encrypted"));
    expect(1, "", "only as ext4 or xfs",
           LIST("attach", "demo", "scsi", image("one.img"), "--mount", "/data", "--encrypted",
                "--filesystem", "vfat"));
    expect(2, "", "cannot be formatted or encrypted",
           LIST("attach", "demo", "scsi", image("one.img"), "--mount", "/data", "--encrypted",
                "--ro"));
    expect(2, "", "options of a mount are given, but none is asked for",
           LIST("attach", "demo", "scsi", image("one.img"), "--encrypted"));
    attach(id, LIST(image("one.img"), "--mount", "/data", "--encrypted"));
    guest(0, "", "cd /data; sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > /run/user");
    expect(1, "", "busy, a process in the guest still uses it", LIST("detach", "demo", id));
    guest(0, "", "echo still there > /data/x; kill -9 $(cat /run/user)");
    detach(id);
}

static void test_from_the_start(void **state) {
    struct command c;
    char disk[160];
    (void)state;
    host("rm -f boot.img; truncate -s 32M boot.img");
    (void)snprintf(disk, sizeof disk, "%s,/data,encrypted", image("boot.img"));
    assert_int_equal(boot_run(&c, LIST("--scsi", disk, "--", "sh", "-c",
                                       "yes '" WORDS "' | head -n 2000 > /data/said; sync; "
                                       "grep -c '" WORDS "' /data/said; umount /data")),
                     0);
    expect_out(&c, "2000\n");
    command_free(&c);
    host("! grep -q '" WORDS "' boot.img");
}

static int nothing_mapped(void **state) {
    (void)state;
    expect_no_disks();
    guest(0, "0\n", "ls /dev/mapper | grep -vc control; true");
    return 0;
}

static int end(void **state) {
    expect(0, NULL, NULL, LIST("stop", "demo"));
    return nothing_left(state);
}

int main(int argc, char **argv) {
#define CASE(name) cmocka_unit_test_teardown(name, nothing_mapped)
    const struct CMUnitTest tests[] = {
        CASE(test_plain_disk_shows_them),
        CASE(test_ten_rounds),
        CASE(test_others),
        CASE(test_changed),
        CASE(test_remove_that_does_not_say_so),
        CASE(test_refused),
        CASE(test_from_the_start),
    };
    if (argc != 7) {
        (void)fprintf(stderr, "usage: crypt_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, boot_demo, end);
    disks_close();
    return failed;
}
