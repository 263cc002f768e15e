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
#include "hcs/qemu/qemu_int.h"
#include "hcs/qemu/qmp.h"
#include "tests/bench/bench_kit.h"
#include "uvm/devices.h"
#include "uvm/vm_int.h"
#include <fcntl.h>
#include <inttypes.h>
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
static uvm_process *hand; /* the shell of the other way */
static char said[64];
static size_t said_bytes;

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

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    (void)p;
    (void)which;
    (void)arg;
    size_t n = bytes < sizeof said - 1 - said_bytes ? bytes : sizeof said - 1 - said_bytes;
    memcpy(said + said_bytes, data, n);
    said_bytes += n;
    said[said_bytes] = 0;
    return bytes;
}

static void hand_open(void) {
    static const char script[] =
        "mkdir -p /hand; while read lun; do "
        "until test -e /sys/bus/scsi/devices/*:0:0:$lun/block; do usleep 2000; done; "
        "d=$(echo /sys/bus/scsi/devices/*:0:0:$lun/block/*); "
        "until test -e /dev/${d##*/}; do usleep 2000; done; "
        "mount -t ext4 /dev/${d##*/} /hand && echo mounted; "
        "read over; umount /hand; echo 1 > ${d%/block/*}/delete; echo gone; done";
    static const char *const env[] = {"PATH=/bin:/sbin", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    uvm_op *op = NULL;
    p.argv = (const char *const[]){"/bin/sh", "-c", script, NULL};
    p.env = env;
    p.on_output = on_output;
    p.stdio[UVM_STDIN] = p.stdio[UVM_STDOUT] = p.stdio[UVM_STDERR] = UVM_STDIO_CALLBACK;
    bench_check(uvm_exec_start(b.vm, &p, NULL, bench_on_done, "shell", &op), "shell");
    bench_run();
    hand = uvm_exec_result(op);
    uvm_op_unref(op);
}

static void hand_say(const char *line) {
    if (uvm_process_write(hand, line, strlen(line)) != (int64_t)strlen(line)) {
        bench_fail("the shell's input", NULL);
    }
}

static void hand_await(const char *word) {
    while (strstr(said, word) == NULL) {
        if (strchr(said, ':') != NULL) {
            bench_fail(said, NULL); /* of mount, or the shell */
        }
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    said_bytes = 0;
    said[0] = 0;
}

static struct uvm__qemu_system *vmm(void) {
    return uvm__qemu_system_of(b.vm->system);
}

static void qmp(const char *command, const char *arguments) {
    const struct uvm__qmp_execute_params p = {vmm()->qmp, command, arguments, true};
    bench_check(uvm__qmp_execute(&p, NULL, bench_on_done, (void *)(uintptr_t)command, NULL),
                command);
    bench_run();
}

static void on_tried(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    *(bool *)arg = err == NULL;
    b.done = true;
}

static void qmp_until_done(const char *command, const char *arguments) {
    const struct uvm__qmp_execute_params p = {vmm()->qmp, command, arguments, true};
    uint64_t until = bench_now_us() + 20000000;
    for (bool ok = false; !ok;) {
        bench_check(uvm__qmp_execute(&p, NULL, on_tried, &ok, NULL), command);
        bench_run();
        if (bench_now_us() > until) {
            bench_fail(command, NULL);
        }
    }
}

static uint64_t by_hand(unsigned n) {
    char arguments[PATH_MAX + 300];
    uint64_t t = bench_now_us();
    (void)snprintf(arguments, sizeof arguments,
                   "{\"driver\":\"raw\",\"node-name\":\"hand-%u\",\"discard\":\"unmap\",\"file\":"
                   "{\"driver\":\"file\",\"filename\":\"%s\",\"discard\":\"unmap\"}}",
                   n, image(0));
    qmp("blockdev-add", arguments);
    (void)snprintf(arguments, sizeof arguments,
                   "{\"driver\":\"scsi-hd\",\"id\":\"hand\",\"bus\":\"scsi0.0\",\"channel\":0,"
                   "\"scsi-id\":0,\"lun\":%u,\"drive\":\"hand-%u\"}",
                   (unsigned)HAND_LUN, n);
    qmp("device_add", arguments);
    hand_say("63\n");
    hand_await("mounted\n");
    t = bench_now_us() - t;
    hand_say("over\n");
    hand_await("gone\n");
    qmp("device_del", "{\"id\":\"hand\"}");
    (void)snprintf(arguments, sizeof arguments, "{\"node-name\":\"hand-%u\"}", n);
    qmp_until_done("blockdev-del", arguments); /* in use until the device has gone */
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

/* ---- figures ------------------------------------------------------------------------------ */

static int by_value(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
    return a < c ? -1 : a > c;
}

static uint64_t median(uint64_t *us, size_t count) {
    qsort(us, count, sizeof us[0], by_value);
    return us[count / 2];
}

static void print(const char *name, uint64_t us, uint64_t reference_us) {
    printf("{\"name\":\"%s\",\"median_us\":%" PRIu64 ",\"reference_us\":%" PRIu64
           ",\"ratio\":%.3f}\n",
           name, us, reference_us, (double)us / (double)reference_us);
    fflush(stdout);
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
    hand_open();
    (void)ours(); /* which loads the driver of the file system */
    (void)by_hand(PAIRS_MAX);
    for (size_t i = 0; i < pairs; i++) {
        other[i] = by_hand((unsigned)i);
        own[i] = ours();
    }
    print("attach_mounted", median(own, pairs), median(other, pairs));
    for (size_t i = 0; i < ROUNDS; i++) {
        row[i] = many(false);
        once[i] = many(true);
    }
    print("attach_64_at_once", median(once, ROUNDS), median(row, ROUNDS));
    bench_check(uvm_process_signal(hand, 9, true, NULL, bench_on_done, "kill", NULL), "kill");
    bench_run();
    uvm_process_close(hand);
    bench_end();
    for (unsigned i = 0; i < DISKS; i++) {
        (void)unlink(image(i));
    }
    return 0;
}
