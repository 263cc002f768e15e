/* SPDX-License-Identifier: MIT
 * disk_bench.c — a disk from the request to "mounted", beside the same by hand; and many at once, beside one after
 * the other. bench.py calls it.
 *
 *   disk_bench KERNEL INITRD LAUNCH VMM FOLDER PAIRS
 *
 * By hand is the least that does it: two QMP commands on the same socket (blockdev-add of a file that QEMU opens
 * itself, device_add), then a shell that waits in the guest looks for the disk and mounts it. In turn, so that both
 * see the same minutes. FOLDER must be one that QEMU's user can enter.
 */
#include "tests/bench/bench_kit.h"
#include "tests/bench/hand_kit.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISKS = 64, PAIRS_MAX = 1000, HAND_LUN = 63, ROUNDS = 3 };

static const char *folder;

static const char *image(unsigned n) {
    static char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/disk-%u.img", folder, n);
    return path;
}

static void make_image(unsigned n) {
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s", image(n));
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666), status = -1;
    char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4", (char *)(uintptr_t) "-qF", path, NULL};
    pid_t pid;
    if (fd < 0 || fchmod(fd, 0666) < 0 || ftruncate(fd, 4 << 20) < 0 ||
        posix_spawn(&pid, "/sbin/mkfs.ext4", NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0) {
        bench_fail(path, NULL);
    }
    close(fd);
}

/* ---- by hand ------------------------------------------------------------------------------ */

static const char script[] =
    "mkdir -p /hand; while read lun; do "
    "until test -e /sys/bus/scsi/devices/*:0:0:$lun/block; do usleep 2000; done; "
    "d=$(echo /sys/bus/scsi/devices/*:0:0:$lun/block/*); "
    "until test -e /dev/${d##*/}; do usleep 2000; done; "
    "mount -t ext4 /dev/${d##*/} /hand && echo mounted; "
    "read over; umount /hand; echo 1 > ${d%/block/*}/delete; echo gone; done";

static uint64_t by_hand(unsigned n) {
    char arguments[PATH_MAX + 300];
    uint64_t t = bench_now_us();
    (void)snprintf(arguments, sizeof arguments,
                   "{\"driver\":\"raw\",\"node-name\":\"hand-%u\",\"discard\":\"unmap\",\"file\":"
                   "{\"driver\":\"file\",\"filename\":\"%s\",\"discard\":\"unmap\"}}",
                   n, image(0));
    hand_qmp("blockdev-add", arguments);
    (void)snprintf(arguments, sizeof arguments,
                   "{\"driver\":\"scsi-hd\",\"id\":\"hand\",\"bus\":\"scsi0.0\",\"channel\":0,"
                   "\"scsi-id\":0,\"lun\":%u,\"drive\":\"hand-%u\"}",
                   (unsigned)HAND_LUN, n);
    hand_qmp("device_add", arguments);
    hand_say("63\n");
    hand_await("mounted\n");
    t = bench_now_us() - t;
    hand_say("over\n");
    hand_await("gone\n");
    hand_qmp("device_del", "{\"id\":\"hand\"}");
    (void)snprintf(arguments, sizeof arguments, "{\"node-name\":\"hand-%u\"}", n);
    hand_qmp_until_done("blockdev-del", arguments); /* in use until the device has gone */
    return t;
}

/* ---- ours --------------------------------------------------------------------------------- */

static unsigned under_way;
static void on_one(uvm_op *op, const uvm_error *err, void *arg) {
    if (err != NULL) {
        bench_on_done(op, err, arg);
    }
    under_way--;
}

static uvm_op *attach(unsigned n) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    char path[32];
    uvm_op *op = NULL;
    (void)snprintf(path, sizeof path, "/m/%u", n);
    p.host_path = image(n);
    p.mount = true;
    p.guest_path = path;
    p.filesystem = "ext4";
    under_way++;
    bench_check(uvm_scsi_attach(b.vm, &p, NULL, on_one, "attach", &op), "attach");
    return op;
}

static void settle(void) {
    while (under_way > 0) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
}

static void detach(uvm_op *take_op) {
    under_way++;
    bench_check(uvm_detach(b.vm, uvm_attach_result(take_op).id, NULL, on_one, "detach", NULL),
                "detach");
    settle();
    uvm_op_unref(take_op);
}

static uint64_t ours(void) {
    uint64_t t = bench_now_us();
    uvm_op *op = attach(0);
    settle();
    t = bench_now_us() - t;
    detach(op);
    return t;
}

static uint64_t many(bool at_once) {
    static uvm_op *ops[DISKS];
    uint64_t t = bench_now_us();
    for (unsigned i = 0; i < DISKS; i++) {
        ops[i] = attach(i);
        if (!at_once) {
            settle();
        }
    }
    settle();
    t = bench_now_us() - t;
    for (unsigned i = 0; i < DISKS; i++) {
        detach(ops[i]);
    }
    return t;
}

int main(int argc, char **argv) {
    static uint64_t own[PAIRS_MAX], other[PAIRS_MAX], once[ROUNDS], row[ROUNDS];
    if (argc != 7) {
        fprintf(stderr, "usage: disk_bench KERNEL INITRD LAUNCH VMM FOLDER PAIRS\n");
        return 2;
    }
    folder = argv[5];
    size_t pairs = strtoul(argv[6], NULL, 10);
    pairs = pairs == 0 || pairs > PAIRS_MAX ? 50 : pairs;
    for (unsigned i = 0; i < DISKS; i++) {
        make_image(i);
    }
    bench_boot(argv);
    hand_open(script);
    (void)ours(); /* which loads the driver of the file system */
    (void)by_hand(PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        other[i] = by_hand((unsigned)i);
        own[i] = ours();
    }
    hand_print("attach_mounted", hand_median(own, pairs), hand_median(other, pairs));
    for (size_t i = 0; i < ROUNDS; i++) {
        row[i] = many(false);
        once[i] = many(true);
    }
    hand_print("attach_64_at_once", hand_median(once, ROUNDS), hand_median(row, ROUNDS));
    hand_close();
    bench_end();
    for (unsigned i = 0; i < DISKS; i++) {
        (void)unlink(image(i));
    }
    return 0;
}
