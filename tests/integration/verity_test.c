/* SPDX-License-Identifier: MIT
 * verity_test.c — layers under dm-verity in a real guest, made by veritysetup: they read as they were made, or not at
 * all; as a disk and in virtual PMem.
 *
 * One UVM serves all cases; after each of them nothing is attached, and device-mapper has nothing.
 */
#include "tests/integration/disk_kit.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DATA_BYTES (8 << 20)
#define ROOT_CHARS 64

static char root[ROOT_CHARS + 1];

/* layer.img: files that the guest reads, and behind them their hash tree, which `root` is the hash of. */
static void make_layer(void) {
    host(
        "rm -rf tree layer.img; mkdir tree; seq 1 100000 > tree/numbers; sha256sum < tree/numbers > sum; "
        "truncate -s 8M layer.img; /sbin/mkfs.ext4 -qF -b 4096 -d tree layer.img; "
        "/sbin/veritysetup format --hash-offset=%d --data-blocks=%d layer.img layer.img | "
        "sed -n 's/^Root hash:[[:space:]]*//p' > root; cp layer.img good.img",
        DATA_BYTES, DATA_BYTES / 4096);
    int fd = open(image("root"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, root, ROOT_CHARS), ROOT_CHARS);
    close(fd);
}

static int begin(void **state) {
    make_layer();
    struct command c;
    assert_int_equal(boot_run(&c, LIST("--name", "demo", "-d", "--annotation",
                                       "io.microsoft.virtualmachine.devices.virtualpmem."
                                       "maximumcount=2")),
                     0);
    command_free(&c);
    (void)state;
    return 0;
}

static void expect_numbers(void) {
    struct command c;
    char sum[80] = "";
    assert_int_equal(boot_run(&c, LIST("exec", "demo", "--", "sh", "-c",
                                       "echo 3 > /proc/sys/vm/drop_caches; sha256sum < "
                                       "/layer/numbers")),
                     0);
    int fd = open(image("sum"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, sum, ROOT_CHARS) == ROOT_CHARS);
    close(fd);
    assert_memory_equal(c.out_text, sum, ROOT_CHARS);
    command_free(&c);
}

/* An attach in virtual PMem, which the kit's does not know. */
static void attach_pmem(char ret_id[32]) {
    struct command c;
    int status = boot_run(&c, LIST("attach", "demo", "vpmem", image("layer.img"), "--mount",
                                   "/layer", "--verity", root));
    if (status != 0) {
        fail_msg("%d: %s", status, c.err_text);
    }
    (void)snprintf(ret_id, 32, "%.*s", (int)strcspn(c.out_text, " "), c.out_text);
    command_free(&c);
}

static void test_ten_rounds(void **state) {
    char id[32], script[160];
    (void)state;
    for (int i = 0; i < 10; i++) {
        bool pmem = i % 2 == 1;
        if (pmem) {
            attach_pmem(id);
        } else {
            attach(id, LIST(image("layer.img"), "--mount", "/layer", "--verity", root));
        }
        (void)snprintf(script, sizeof script,
                       "grep -q '^/dev/mapper/dm-verity-%s.*-%s /layer ext4 ro' /proc/mounts",
                       pmem ? "pmem" : "scsi-contr0-lun[0-9]*-p0", root);
        guest(0, "", script);
        expect_numbers();
        guest(1, "", "touch /layer/x 2>/dev/null");
        detach(id);
        guest(0, "control\n", "ls /dev/mapper");
    }
    host("cmp layer.img good.img");
}

/* One bit of each block of the file: not one wrong number is read. */
static void test_flipped(void **state) {
    char id[32];
    (void)state;
    host("/sbin/debugfs -R 'blocks numbers' layer.img 2>/dev/null > blocks; "
         "b=$(awk '{print $(NF / 2)}' blocks); c=$(dd if=layer.img bs=1 skip=$((b * 4096 + 77)) "
         "count=1 status=none); test \"$c\" != x; printf x | dd of=layer.img bs=1 "
         "seek=$((b * 4096 + 77)) conv=notrunc status=none");
    attach(id, LIST(image("layer.img"), "--mount", "/layer", "--verity", root));
    guest(0, "Input/output error\n", "cat /layer/numbers 2>&1 > /run/got | sed 's/.*: //'");
    guest(0, "",
          "n=$(wc -c < /run/got); head -c $n /run/got > /run/a; seq 1 100000 | head -c $n | "
          "cmp - /run/a && test $n -lt 588895");
    detach(id);
    attach_pmem(id);
    guest(0, "Input/output error\n", "cat /layer/numbers 2>&1 >/dev/null | sed 's/.*: //'");
    detach(id);
    host("cp good.img layer.img");
}

static void flip_and_expect(unsigned long long at, const char *words) {
    host("printf '\\377' | dd of=layer.img bs=1 seek=%llu conv=notrunc status=none", at);
    expect(
        1, "", words,
        LIST("attach", "demo", "scsi", image("layer.img"), "--mount", "/layer", "--verity", root));
    guest(0, "control\n", "ls /dev/mapper");
    host("cp good.img layer.img");
}

static void test_corrupt(void **state) {
    (void)state;
    flip_and_expect(DATA_BYTES, "there is no superblock of dm-verity behind its data");
    flip_and_expect(DATA_BYTES + 8, "superblock of dm-verity: version 255");
    flip_and_expect(DATA_BYTES + 34, "another algorithm than sha256");
    flip_and_expect(DATA_BYTES + 64, "superblock of dm-verity: blocks of");
    flip_and_expect(DATA_BYTES + 75, "superblock of dm-verity: 4278192128 blocks");
    flip_and_expect(DATA_BYTES + 81, "a salt of");
    flip_and_expect(DATA_BYTES + 90, "what is on it is not what its root hash says"); /* salt */
    flip_and_expect(DATA_BYTES + 4096 + 9, "what is on it is not what its root hash says");
    flip_and_expect(1024 + 0x40, "what is on it is not what its root hash says");
    host("truncate -s %d layer.img", DATA_BYTES + 4096);
    expect(
        1, "", "the hash tree of dm-verity has 17 blocks",
        LIST("attach", "demo", "scsi", image("layer.img"), "--mount", "/layer", "--verity", root));
    host("truncate -s %d layer.img", DATA_BYTES);
    expect(
        1, "", "which is behind its end",
        LIST("attach", "demo", "scsi", image("layer.img"), "--mount", "/layer", "--verity", root));
    host("cp good.img layer.img");
}

static void test_wrong_root(void **state) {
    char wrong[ROOT_CHARS + 1], id[32];
    const char *const scsi[] = {"attach",   "demo", "scsi", image("layer.img"), "--mount", "/layer",
                                "--verity", wrong,  NULL};
    const char *const pmem[] = {"attach",           "demo",    "vpmem",
                                image("layer.img"), "--mount", "/layer",
                                "--verity",         wrong,     NULL};
    (void)state;
    memcpy(wrong, root, sizeof wrong);
    wrong[ROOT_CHARS - 1] = root[ROOT_CHARS - 1] == '0' ? '1' : '0';
    expect(1, "", "what is on it is not what its root hash says", scsi);
    expect(1, "", "what is on it is not what its root hash says", pmem);
    guest(0, "control\n", "ls /dev/mapper");
    attach(id, LIST(image("layer.img"), "--mount", "/layer", "--verity", root));
    expect(4, "", "formatted, encrypted or checked",
           (const char *const[]){"attach", "demo", "scsi", image("layer.img"), "--mount", "/other",
                                 "--verity", wrong, NULL});
    expect(4, "", "formatted, encrypted or checked",
           LIST("attach", "demo", "scsi", image("layer.img"), "--mount", "/other", "--ro"));
    detach(id);
    wrong[ROOT_CHARS - 1] = 'x';
    expect(2, "", "verity: the root hash is not 64 hexadecimal digits", scsi);
}

static void test_from_the_start(void **state) {
    struct command c;
    char disk[240], pmem[240];
    (void)state;
    host("cp good.img other.img");
    (void)snprintf(disk, sizeof disk, "%s,/layer,verity=%s", image("layer.img"), root);
    (void)snprintf(pmem, sizeof pmem, "%s,/other,verity=%s", image("other.img"), root);
    int status = boot_run(&c, LIST("--scsi", disk, "--vpmem", pmem, "--", "sh", "-c",
                                   "cmp /layer/numbers /other/numbers && grep -c "
                                   "^/dev/mapper/dm-verity /proc/mounts"));
    if (status != 0) {
        fail_msg("%d: %s", status, c.err_text);
    }
    expect_out(&c, "2\n");
    command_free(&c);
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
        CASE(test_ten_rounds), CASE(test_flipped),        CASE(test_corrupt),
        CASE(test_wrong_root), CASE(test_from_the_start),
    };
    if (argc != 7) {
        (void)fprintf(stderr, "usage: verity_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, begin, end);
    disks_close();
    return failed;
}
