/* SPDX-License-Identifier: MIT
 * disk_fault_test.c — disks of UVMs that begin with them, or end under them.
 */
#include "tests/integration/disk_kit.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the middle of an attach, which waits in the guest for a partition that does not come. */
static void test_vmm_killed(void **state) {
    struct command c;
    (void)boot_demo(state);
    make_ext4("slow.img", 8);
    pid_t vmm = await_vmm(SHORT_MS);
    assert_true(vmm > 0);
    boot_start(&c, NULL,
               LIST("attach", "demo", "scsi", image("slow.img"), "--mount", "/data", "-p", "3"));
    pause_ms(500);
    assert_int_equal(kill(vmm, SIGKILL), 0);
    assert_int_equal(command_end(&c, SHORT_MS), 1);
    expect_err(&c, "demo");
    command_free(&c);
    expect_nobody_left(SHORT_MS);
    assert_int_equal(entries(), 0);
    /* The image is nobody's any more. */
    (void)boot_demo(state);
    char id[32];
    attach(id, LIST(image("slow.img"), "--mount", "/data"));
    guest(0, "", "echo again > /data/x");
    expect(0, NULL, NULL, LIST("stop", "demo"));
    expect_in_image("slow.img", "x", "again"); /* a guest that shuts down writes what it has */
}

/* A root that knows nothing of us: a busybox, its links, and a file that says whose it is. */
static void make_root(void) {
    host(
        "rm -rf tree; mkdir -p tree/bin tree/etc tree/proc tree/sys tree/dev tree/run tree/tmp tree/mnt "
        "tree/var tree/root tree/data; cp \"$(command -v busybox)\" tree/bin/busybox; "
        "for w in sh cat echo mount grep ls id; do ln -s busybox tree/bin/$w; done; "
        "echo ID=foreign > tree/etc/os-release; rm -f root.img; truncate -s 32M root.img; "
        "/sbin/mkfs.ext4 -qF -d tree root.img");
}

static void test_foreign_root(void **state) {
    struct command c;
    char disk[200];
    (void)state;
    make_root();
    host("cp root.img root.copy");
    make_ext4("data.img", 8);
    make_ext4("more.img", 8);
    (void)snprintf(disk, sizeof disk, "%s,/data", image("data.img"));
    assert_int_equal(
        boot_run(&c, LIST("--rootfs", image("root.img"), "--scsi", disk, "--memory", "128M", "--",
                          "/bin/sh", "-c", "cat /etc/os-release; echo from it > /data/x")),
        0);
    expect_out(&c, "ID=foreign\n");
    command_free(&c);
    expect_in_image("data.img", "x", "from it");
    expect(0, "demo\n", NULL,
           LIST("boot", "-d", "--name", "demo", "--rootfs", image("root.img"), "--rootfs-on",
                "scsi", "--scsi", disk, "--memory", "128M"));
    guest(0, "ID=foreign\nfrom it\n", "cat /etc/os-release /data/x");
    guest(0, "written\n", "echo written > /etc/new; cat /etc/new"); /* an overlay over its /etc */
    guest(1, "", "echo x > /bin/x 2>/dev/null");
    expect(0, "\"refs\":1", NULL, LIST("devices", "demo", "--json"));
    expect(4, "", "is a disk of the boot", LIST("detach", "demo", "scsi-1"));
    detach("scsi-2");
    char id[32];
    attach(id, LIST(image("more.img"), "--mount", "/var/deep/er"));
    guest(0, "", "echo more > /var/deep/er/x");
    detach(id);
    expect_in_image("more.img", "x", "more");
    expect(0, NULL, NULL, LIST("stop", "demo"));
    host("cmp root.img root.copy"); /* read-only */
}

/* One more image beside the root, as a person attaches it: in a place of a device, in a device of its own, and where
 * neither has room for it as a disk. */
static void attach_images(void) {
    const char *layer = image("layer.img");
    host(
        "echo hello > word; rm -f large.img; truncate -s 600M large.img; "
        "/sbin/mkfs.ext4 -qF layer.img && /sbin/debugfs -w -R 'write word word' layer.img 2>/dev/null; "
        "/sbin/mkfs.ext4 -qF large.img");
    expect(0, "vpmem-2 /mnt\n", NULL, LIST("attach", "demo", "vpmem", layer, "--mount", "/mnt"));
    guest(0, "hello\n", "cat /mnt/word");
    expect(0, " ro   1+0M ", NULL, LIST("devices", "demo"));
    expect(4, "", "vpmem-2", LIST("attach", "demo", "vpmem", layer, "--whole-device"));
    detach("vpmem-2");
    expect(0, "vpmem-3 /run/layers/p1\n", NULL,
           LIST("attach", "demo", "vpmem", layer, "--whole-device"));
    guest(0, "hello\n", "cat /run/layers/p1/word");
    expect(1, "", "large.img", LIST("attach", "demo", "vpmem", image("large.img")));
    expect(0, "scsi-4 /run/mounts/scsi/m0\n", NULL,
           LIST("attach", "demo", "vpmem", image("large.img"), "--or-scsi"));
    expect(2, "", "--or-scsi: not with scsi",
           LIST("attach", "demo", "scsi", image("large.img"), "--or-scsi"));
    detach("scsi-4");
    detach("vpmem-3");
}

/* The same root from memory: no disk is there, what is written goes to the overlays, and another image shares the
 * devices with it. */
static void test_root_in_memory(void **state) {
    struct command c;
    char image_and_place[200];
    (void)state;
    make_root();
    host("cp root.img root.copy");
    make_ext4("layer.img", 8);
    (void)snprintf(image_and_place, sizeof image_and_place, "%s,/mnt", image("layer.img"));
    assert_int_equal(
        boot_run(&c, LIST("--rootfs", image("root.img"), "--rootfs-on", "vpmem", "--vpmem",
                          image_and_place, "--memory", "128M", "--", "/bin/sh", "-c",
                          "cat /etc/os-release; echo new > /etc/new && cat /etc/new; "
                          "echo x 2>/dev/null > /bin/x; "
                          "grep -c '^/dev/pmem0 / ' /proc/mounts; "
                          "grep -c ' /mnt ext4 ro' /proc/mounts; ls /sys/block | grep -c sd")),
        1); /* of grep: there is no disk */
    expect_out(&c, "ID=foreign\nnew\n1\n1\n0\n");
    command_free(&c);
    expect(0, "demo\n", NULL,
           LIST("boot", "-d", "--name", "demo", "--rootfs", image("root.img"), "--rootfs-on",
                "vpmem", "--memory", "128M"));
    expect(0, "\"kind\":\"vpmem\"", NULL, LIST("devices", "demo", "--json"));
    expect(0, "\"mapped_bytes\":", NULL, LIST("stats", "demo", "--json"));
    expect(4, "", "of the boot", LIST("detach", "demo", "vpmem-1"));
    attach_images();
    expect(0, NULL, NULL, LIST("stop", "demo"));
    host("cmp root.img root.copy");
}

static void test_boot_with_a_disk_that_cannot_be(void **state) {
    char disk[200];
    (void)state;
    make_ext4("data.img", 8);
    host("rm -f zero.img; truncate -s 4M zero.img");
    (void)snprintf(disk, sizeof disk, "%s,/data", image("zero.img"));
    expect(125, "", "no file system that is known", LIST("--scsi", disk, "--", "true"));
    expect_nobody_left(SHORT_MS);
    (void)snprintf(disk, sizeof disk, "%s,/data,rw", image("data.img"));
    expect(125, "", "\"rw\" is neither \"ro\" nor \"encrypted\" nor \"verity=HASH\"",
           LIST("--scsi", disk, "--", "true"));
    (void)snprintf(disk, sizeof disk, "%s,/data,ro", image("data.img"));
    expect(1, "", NULL, LIST("--scsi", disk, "--", "sh", "-c", "echo x > /data/x"));
    expect(125, "", "No such file", LIST("--rootfs", image("missing.img"), "--", "true"));
    expect_nobody_left(SHORT_MS);
}

int main(int argc, char **argv) {
#define CASE(name) cmocka_unit_test_teardown(name, nothing_left)
    const struct CMUnitTest tests[] = {
        CASE(test_foreign_root),
        CASE(test_root_in_memory),
        CASE(test_vmm_killed),
        CASE(test_boot_with_a_disk_that_cannot_be),
    };
    if (argc != 7) {
        (void)fprintf(stderr,
                      "usage: disk_fault_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    disks_close();
    return failed;
}
