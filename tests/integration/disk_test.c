/* SPDX-License-Identifier: MIT
 * disk_test.c — disks of a UVM that runs, as a person attaches and detaches them: every format, every option,
 * what is written in the guest read on the host, what is refused and in which words.
 *
 * One UVM serves all cases; after each of them nothing is attached or mounted.
 */
#include "tests/integration/disk_kit.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_each_format(void **state) {
    static const struct {
        const char *name, *format, *option;
    } rows[] = {
        {"raw.img", "raw", "size=16777216"},
        {"fixed.vhd", "vpc", "subformat=fixed,force_size=on"},
        {"dynamic.vhd", "vpc", "subformat=dynamic,force_size=on"},
        {"a.vhdx", "vhdx", "subformat=dynamic"},
        {"a.qcow2", "qcow2", "compat=1.1"},
    };
    (void)state;
    make_ext4("base.img", 16);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char id[32], script[128];
        const char *name = rows[i].name;
        if (i == 0) {
            host("cp base.img %s", name);
        } else {
            host("qemu-img convert -q -f raw -O %s -o %s base.img %s", rows[i].format,
                 rows[i].option, name);
        }
        attach(id, LIST(image(name), "--mount", "/data"));
        (void)snprintf(script, sizeof script, "echo 'it is %s' > /data/said", name);
        guest(0, "", script);
        detach(id);
        host("qemu-img convert -q -f %s -O raw %s back.img", rows[i].format, name);
        (void)snprintf(script, sizeof script, "it is %s", name);
        expect_in_image("back.img", "said", script);
    }
}

static void test_mount_options(void **state) {
    char id[32];
    (void)state;
    make_ext4("options.img", 8);
    attach(id, LIST(image("options.img"), "--mount", "/data", "--option", "noatime", "--option",
                    "ro", "--option", "errors=continue", "--option", "shared"));
    guest(
        0, "/data rw,noatime shared\n",
        "sed -n 's|^[0-9]* [0-9]* [0-9:]* / \\(/data\\) \\([^ ]*\\) \\(shared\\):.*|\\1 \\2 \\3|p' "
        "/proc/self/mountinfo");
    guest(0, "", "touch /data/x");
    detach(id);
    expect(1, "", "perhaps for its options: no-such-word",
           LIST("attach", "demo", "scsi", image("options.img"), "--mount", "/data", "--option",
                "no-such-word"));
}

static void test_read_only(void **state) {
    char id[32];
    (void)state;
    make_ext4("ro.img", 8);
    host("cp ro.img ro.copy");
    attach(id, LIST(image("ro.img"), "--ro", "--mount", "/data"));
    guest(1, "", "echo x > /data/x 2>/dev/null");
    guest(0, "", "! mount -o remount,rw /data 2>/dev/null");
    guest(1, "", "echo x > /dev/$(ls -d /sys/block/sd* | tail -1 | xargs basename) 2>/dev/null");
    expect(4, "", "is attached read-only at", LIST("attach", "demo", "scsi", image("ro.img")));
    detach(id);
    host("cmp ro.img ro.copy");
}

/* Where the disk is in the guest, by its place. */
#define DISK_AT "/dev/$(ls /sys/bus/scsi/devices/*:0:0:%s/block)"

static void test_without_a_mount(void **state) {
    struct command c;
    char id[32] = "", lun[8], script[160];
    (void)state;
    host(
        "rm -f plain.img; truncate -s 4M plain.img; printf 'known bytes' | dd of=plain.img conv=notrunc "
        "status=none");
    assert_int_equal(boot_run(&c, LIST("attach", "demo", "scsi", image("plain.img"))), 0);
    const char *at = strstr(c.out_text, " controller 0, LUN ");
    assert_non_null(at);
    (void)snprintf(id, sizeof id, "%.*s", (int)(at - c.out_text), c.out_text);
    (void)snprintf(lun, sizeof lun, "%.*s", (int)strcspn(at + 19, "\n"), at + 19);
    command_free(&c);
    (void)snprintf(script, sizeof script, "head -c 11 " DISK_AT, lun);
    guest(0, "known bytes", script);
    (void)snprintf(script, sizeof script,
                   "printf written | dd of=" DISK_AT " bs=1 seek=100 2>/dev/null", lun);
    guest(0, "", script);
    detach(id);
    host("test $(dd if=plain.img bs=1 skip=100 count=7 status=none) = written");
    (void)snprintf(script, sizeof script, "test -e /sys/bus/scsi/devices/*:0:0:%s", lun);
    guest(1, "", script);
}

/* What the guest wrote is what the host counted, under the attachment's id. */
static void test_stats(void **state) {
    struct command c;
    char id[32] = "", lun[8], script[200];
    (void)state;
    host("rm -f counted.img; truncate -s 4M counted.img");
    assert_int_equal(boot_run(&c, LIST("attach", "demo", "scsi", image("counted.img"))), 0);
    const char *at = strstr(c.out_text, " controller 0, LUN ");
    assert_non_null(at);
    (void)snprintf(id, sizeof id, "%.*s", (int)(at - c.out_text), c.out_text);
    (void)snprintf(lun, sizeof lun, "%.*s", (int)strcspn(at + 19, "\n"), at + 19);
    command_free(&c);
    expect(0, "\"write_bytes\":0,", NULL, LIST("stats", "demo", "--json"));
    (void)snprintf(script, sizeof script,
                   "dd if=/dev/zero of=" DISK_AT " bs=64k count=24 oflag=direct 2>/dev/null", lun);
    guest(0, "", script);
    (void)snprintf(script, sizeof script, "{\"kind\":\"scsi\",\"ids\":[\"%s\"],", id);
    expect(0, script, NULL, LIST("stats", "demo", "--json"));
    expect(0, "\"write_bytes\":1572864,", NULL, LIST("stats", "demo", "--json"));
    expect(0, "\"writes\":24,", NULL, LIST("stats", "demo", "--json"));
    expect(0, "1.5 MiB", NULL, LIST("stats", "demo"));
    expect(0, " MiB assigned, ", NULL, LIST("stats", "demo"));
    detach(id);
    assert_int_equal(boot_run(&c, LIST("stats", "demo", "--json")), 0);
    assert_null(strstr(c.out_text, "counted.img"));
    command_free(&c);
    expect(124, "\"uptime_ms\":", "not done",
           LIST("stats", "demo", "--watch", "--json", "--timeout", "500ms"));
    expect(3, "", "", LIST("stats", "nobody"));
}

static void test_two_mounts(void **state) {
    char a[32], b[32], again[32];
    (void)state;
    make_ext4("two.img", 8);
    attach(a, LIST(image("two.img"), "--mount", "/one"));
    attach(b, LIST(image("two.img"), "--mount", "/two"));
    assert_string_not_equal(a, b);
    guest(0, "shared\n", "echo shared > /one/x; cat /two/x");
    attach(again, LIST(image("two.img"), "--mount", "/one"));
    assert_string_equal(again, a);
    expect(0, "\"refs\":2,", NULL, LIST("devices", "demo", "--json"));
    detach(a);
    guest(0, "shared\n", "cat /one/x");
    detach(a);
    guest(0, "shared\n", "test ! -e /one && cat /two/x");
    expect(3, "", "is not attached", LIST("detach", "demo", a));
    detach(b);
    expect_in_image("two.img", "x", "shared");
}

/* A disk with one partition, from 1 MiB on. */
static void make_partitioned(void) {
    static const unsigned char entry[16] = {0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x40, 0, 0};
    make_ext4("part.one", 8);
    host("rm -f part.img; truncate -s 1M part.img; cat part.one >> part.img");
    int fd = open(image("part.img"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, entry, sizeof entry, 446), sizeof entry);
    assert_int_equal(pwrite(fd, "\x55\xaa", 2, 510), 2);
    close(fd);
}

static void test_partition(void **state) {
    char id[32];
    (void)state;
    make_partitioned();
    attach(id, LIST(image("part.img"), "--mount", "/data", "--partition", "1"));
    guest(0, "", "echo in it > /data/x; mount | grep -q '^/dev/sd.1 on /data '");
    detach(id);
    host("tail -c +1048577 part.img > part.one");
    expect_in_image("part.one", "x", "in it");
    expect(1, "", "has no partition 2",
           LIST("attach", "demo", "scsi", image("part.img"), "--mount", "/data", "-p", "2"));
}

static void test_block_device(void **state) {
    char id[32];
    (void)state;
    host(
        "rm -f block.img; truncate -s 4M block.img; printf 'a block' | dd of=block.img conv=notrunc "
        "status=none");
    attach(id, LIST(image("block.img"), "--mount", "/dev/mine", "--block-dev"));
    guest(0, "a block", "test -L /dev/mine && head -c 7 /dev/mine");
    detach(id);
    guest(1, "", "test -L /dev/mine");
}

static void test_ensure_filesystem(void **state) {
    char id[32];
    (void)state;
    host("rm -f e.img x.img; truncate -s 32M e.img; truncate -s 320M x.img");
    static const char *const rows[][2] = {{"e.img", "ext4"}, {"x.img", "xfs"}};
    for (size_t i = 0; i < 2; i++) {
        char script[160];
        for (int round = 0; round < 2; round++) { /* what has it is not formatted anew */
            attach(id, LIST(image(rows[i][0]), "--mount", "/data", "--filesystem", rows[i][1],
                            "--ensure-filesystem"));
            (void)snprintf(script, sizeof script,
                           "mount | grep -c ' /data type %s '; cat /data/x%s", rows[i][1],
                           round == 0 ? " 2>/dev/null; echo kept > /data/x" : "");
            guest(0, round == 0 ? "1\n" : "1\nkept\n", script);
            detach(id);
        }
    }
    expect_in_image("e.img", "x", "kept");
    expect(0, "/run/uvm/tools", NULL, LIST("devices", "demo"));
    expect(0, "\"internal\":true", NULL, LIST("inspect", "demo", "--json"));
    /* It is the engine's. */
    struct command c;
    assert_int_equal(boot_run(&c, LIST("devices", "demo", "--json")), 0);
    const char *tools = strstr(c.out_text, "\"id\":\"");
    assert_non_null(tools);
    (void)snprintf(id, sizeof id, "%.*s", (int)strcspn(tools + 6, "\""), tools + 6);
    command_free(&c);
    expect(4, "", "is the tools disk", LIST("detach", "demo", id));
}

/* Two at once: one does it, the other shares it. */
static void test_joined(void **state) {
    struct command c[2];
    char id[32] = "";
    unsigned shared = 0;
    (void)state;
    host("rm -f j.img; truncate -s 64M j.img");
    for (int i = 0; i < 2; i++) {
        boot_start(&c[i], NULL,
                   LIST("attach", "demo", "scsi", image("j.img"), "--mount", "auto", "--filesystem",
                        "ext4", "--ensure-filesystem", "--json"));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(command_end(&c[i], BOOT_MS), 0);
        assert_non_null(strstr(c[i].out_text, "{\"id\":\"scsi-"));
        assert_non_null(strstr(c[i].out_text, "\"guest_path\":\"/run/mounts/scsi/m0\""));
        assert_non_null(strstr(c[i].out_text, "\"location\":{\"controller\":0,\"lun\":"));
        shared += strstr(c[i].out_text, "\"shared\":true") != NULL;
        const char *this = c[i].out_text + strlen("{\"id\":\"");
        assert_true(i == 0 || strncmp(this, id, strlen(id)) == 0);
        (void)snprintf(id, sizeof id, "%.*s", (int)strcspn(this, "\""), this);
        command_free(&c[i]);
    }
    assert_int_equal(shared, 1);
    detach(id);
    guest(0, "1\n", "mount | grep -c /run/mounts/scsi/m0");
    expect(0, "\"id\":\"scsi-", NULL, LIST("detach", "demo", id, "--json"));
}

static void test_ten_rounds(void **state) {
    char id[32], last[32] = "";
    (void)state;
    make_ext4("ten.img", 8);
    for (int i = 0; i < 10; i++) {
        attach(id, LIST(image("ten.img"), "--mount", "/data"));
        assert_string_not_equal(id, last);
        guest(0, "", "echo -n x >> /data/x");
        detach(id);
        memcpy(last, id, sizeof last);
    }
    expect_in_image("ten.img", "x", "xxxxxxxxxx");
}

static void test_refused(void **state) {
    (void)state;
    make_ext4("ok.img", 8);
    host("rm -f zero.img; truncate -s 4M zero.img; mkfifo fifo || true");
    host("qemu-img convert -q -f raw -O vhdx ok.img cut.vhdx; truncate -s 300K cut.vhdx");
    host("qemu-img convert -q -f raw -O qcow2 ok.img cut.qcow2; truncate -s 40 cut.qcow2");
    const struct {
        const char *words[8];
        int status;
        const char *said;
    } rows[] = {
        {{image("missing.img")}, 2, "No such file"},
        {{"/tmp"}, 1, "a directory"},
        {{image("fifo")}, 1, "neither a file nor"},
        {{"/dev/null"}, 1, "neither a file nor"},
        {{image("cut.vhdx")}, 1, "cut.vhdx"},
        {{image("cut.qcow2")}, 1, "cut.qcow2"},
        {{image("zero.img"), "--mount", "/data"}, 1, "no file system that is known"},
        {{image("ok.img"), "--mount", "/data", "--filesystem", "xfs"}, 1, "as xfs"},
        {{image("ok.img"), "--mount", "/data", "--filesystem", "nofs"}, 1, "nofs"},
        {{image("ok.img"), "--mount", "/proc"}, 1, "something is mounted there already"},
        {{image("ok.img"), "--mount", "/etc/passwd/x"}, 1, "/etc/passwd"},
        {{image("ok.img"), "--mount", "data"}, 2, "does not begin with /"},
        {{image("ok.img"), "--mount", "/a/../b"}, 2, "has a part \"..\""},
        {{image("ok.img"), "--mount", "/"}, 2, "/ is the guest's own"},
        {{image("ok.img"), "--partition", "1"}, 2, "options of a mount"},
        {{image("ok.img"), "--partition", "0"}, 2, "is not a number from 1 on"},
        {{image("ok.img"), "--mount", "/x", "--ensure-filesystem"}, 2, "which one is not said"},
        {{image("ok.img"), "--what"}, 2, "unknown option"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *line[12] = {"attach", "demo", "scsi"};
        memcpy(line + 3, rows[i].words, sizeof rows[i].words);
        expect(rows[i].status, "", rows[i].said, line);
        expect_no_disks();
    }
    expect(2, "", "floppy", LIST("attach", "demo", "floppy", image("ok.img")));
    expect(2, "", "after scsi stands FILE", LIST("attach", "demo", "scsi"));
    expect(2, "", "after NAME stands", LIST("detach", "demo"));
    expect(3, "", "is not attached", LIST("detach", "demo", "scsi-99999"));
    expect(3, "", "no such UVM", LIST("attach", "none", "scsi", image("ok.img")));
    expect(3, "", "no such UVM", LIST("detach", "none", "scsi-1"));
    expect(3, "", "no such UVM", LIST("devices", "none"));
}

static void test_in_the_way(void **state) {
    char a[32];
    (void)state;
    make_ext4("a.img", 8);
    make_ext4("b.img", 8);
    attach(a, LIST(image("a.img"), "--mount", "/data"));
    expect(4, "", "/data in the guest is scsi-",
           LIST("attach", "demo", "scsi", image("b.img"), "--mount", "/data"));
    /* A mount that is in use stays, and goes when it is not. */
    guest(0, "", "cd /data && (sleep 1000 > /dev/null 2>&1 & echo $! > /tmp/pid)");
    expect(1, "", "busy, a process in the guest still uses it", LIST("detach", "demo", a));
    expect(0, "\"state\":\"attached\",\"quarantined\":false", NULL,
           LIST("devices", "demo", "--json"));
    guest(0, "", "echo still > /data/x; kill $(cat /tmp/pid); rm /tmp/pid");
    detach(a);
    expect_in_image("a.img", "x", "still");
}

/* An attach that waits in the guest for a partition that does not come. */
static void start_slow(struct command *c, const char *more) {
    boot_start(
        c, NULL,
        LIST("attach", "demo", "scsi", image("slow.img"), "--mount", "/data", "-p", "3", more));
    for (int i = 0; i < 200; i++) {
        struct command list;
        assert_int_equal(boot_run(&list, LIST("devices", "demo", "--json")), 0);
        bool mounting = strstr(list.out_text, "\"state\":\"mounting\"") != NULL;
        command_free(&list);
        if (mounting) {
            return;
        }
    }
    fail_msg("no attach under way");
}

static void test_given_up(void **state) {
    struct command c;
    (void)state;
    make_ext4("slow.img", 8);
    start_slow(&c, NULL);
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(command_end(&c, SHORT_MS), 130);
    assert_string_equal(c.out_text, "");
    command_free(&c);
    expect(0, "[]", NULL, LIST("devices", "demo", "--json")); /* at once: it was waited for */
    start_slow(&c, "--timeout=1s");
    assert_int_equal(command_end(&c, SHORT_MS), 124);
    expect_err(&c, "not done after 1000 ms");
    command_free(&c);
    expect(0, "[]", NULL, LIST("devices", "demo", "--json"));
    start_slow(&c, NULL);
    assert_int_equal(kill(c.pid, SIGKILL), 0); /* the owner sees it go */
    (void)command_end(&c, SHORT_MS);
    command_free(&c);
    expect_no_disks();
    char id[32];
    attach(id, LIST(image("slow.img")));
    detach(id);
}

static void test_events(void **state) {
    struct command c;
    char id[32], line[64];
    (void)state;
    make_ext4("ev.img", 8);
    struct command_options o = COMMAND_OPTIONS_INIT;
    int fd = memfd_create("events", MFD_CLOEXEC);
    assert_true(fd >= 0);
    o.out = fd;
    boot_start(&c, &o, LIST("events", "demo"));
    pause_ms(300);
    attach(id, LIST(image("ev.img"), "--mount", "/data"));
    detach(id);
    assert_int_equal(kill(c.pid, SIGINT), 0);
    assert_int_equal(command_end(&c, SHORT_MS), 130);
    command_free(&c);
    char text[2048] = "";
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    (void)snprintf(line, sizeof line, " demo attached %s /data\n", id);
    assert_non_null(strstr(text, line));
    (void)snprintf(line, sizeof line, " demo detached %s /data\n", id);
    assert_non_null(strstr(text, line));
}

/* ---- the frame ---------------------------------------------------------------------------- */

static int no_disks(void **state) {
    (void)state;
    expect_no_disks();
    return 0;
}

static int end(void **state) {
    expect(0, NULL, NULL, LIST("stop", "demo"));
    return nothing_left(state);
}

int main(int argc, char **argv) {
#define CASE(name) cmocka_unit_test_teardown(name, no_disks)
    const struct CMUnitTest tests[] = {
        CASE(test_given_up),      CASE(test_each_format),
        CASE(test_read_only),     CASE(test_without_a_mount),
        CASE(test_two_mounts),    CASE(test_partition),
        CASE(test_block_device),  CASE(test_ensure_filesystem),
        CASE(test_stats),         CASE(test_joined),
        CASE(test_ten_rounds),    CASE(test_refused),
        CASE(test_in_the_way),    CASE(test_events),
        CASE(test_mount_options),
    };
    if (argc != 7) {
        (void)fprintf(stderr, "usage: disk_test UVMCTL UVM-LAUNCH VMLINUX INITRD LIAR TOOLS\n");
        return 2;
    }
    disks_open(argv + 1);
    int failed = cmocka_run_group_tests(tests, boot_demo, end);
    disks_close();
    return failed;
}
