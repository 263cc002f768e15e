/* SPDX-License-Identifier: MIT
 * kinds_bench.c — shares, network adapters and PCI functions from the request to "usable in the guest", beside the
 * same by hand; and what a guest reads from a share, beside the same server set up by hand. bench.py calls it.
 *
 *   kinds_bench KERNEL INITRD LAUNCH VMM FOLDER PAIRS [KIND…]
 *
 * By hand is the least that does it: QMP commands on the same socket, QEMU's own back ends, and a shell that waits
 * in the guest. In turn, so that both see the same minutes. FOLDER must be one that QEMU's user can enter; what is shared stays in it.
 */
#include "tests/bench/bench_kit.h"
#include "tests/bench/hand_kit.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

enum { PAIRS_MAX = 1000, FILES = 2000, LARGE_MIB = 64, RATES = 15 };

static const char *folder;

static const char *in_folder(const char *name) {
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- the shell in the guest --------------------------------------------------------------- */

static const char script[] =
    "mkdir -p /hand; while read -r line; do "
    "if eval \"$line\" > /dev/null; then echo done; else echo failed:; fi; done";

/* One line of the guest's shell; how long it took, in microseconds. */
static uint64_t shell(const char *line) {
    uint64_t t = bench_now_us();
    hand_say(line);
    hand_say("\n");
    hand_await("done\n");
    return bench_now_us() - t;
}

/* ---- what is shared ----------------------------------------------------------------------- */

static void make_share(void) {
    static char block[1 << 20];
    char path[PATH_MAX];
    if (mkdir(in_folder("share"), 0777) < 0 || mkdir(in_folder("share/tree"), 0777) < 0) {
        bench_fail("a folder to share", NULL);
    }
    int fd = open(in_folder("share/large"), O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    for (unsigned i = 0; i < LARGE_MIB; i++) {
        memset(block, (int)i + 1, sizeof block);
        if (fd < 0 || write(fd, block, sizeof block) != sizeof block) {
            bench_fail("a large file to share", NULL);
        }
    }
    close(fd);
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(path, sizeof path, "%s/share/tree/%u", folder, i);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
        if (fd < 0) {
            bench_fail(path, NULL);
        }
        close(fd);
    }
}

#define AT_PORT "/sys/devices/pci0000:00/0000:00:17.0/*:00.0" /* where root port 7 is */

/* ---- virtiofs by hand --------------------------------------------------------------------- */

static pid_t server;

static void start_server(const char *program, char *const *argv) {
    posix_spawn_file_actions_t quiet;
    (void)posix_spawn_file_actions_init(&quiet);
    (void)posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&server, program, &quiet, NULL, argv, environ) != 0) {
        bench_fail(argv[0], NULL);
    }
    (void)posix_spawn_file_actions_destroy(&quiet);
}

static void end_server(void) {
    int status;
    (void)kill(server, SIGTERM);
    (void)waitpid(server, &status, 0);
}

static void start_daemon(void) {
    static char socket_option[PATH_MAX + 32], source[PATH_MAX + 16];
    (void)snprintf(socket_option, sizeof socket_option, "--socket-path=%s", in_folder("fs.sock"));
    (void)snprintf(source, sizeof source, "source=%s", in_folder("share"));
    char *const argv[] = {(char *)(uintptr_t) "/usr/lib/qemu/virtiofsd",
                          socket_option,
                          (char *)(uintptr_t) "-o",
                          source,
                          (char *)(uintptr_t) "-o",
                          (char *)(uintptr_t) "cache=auto",
                          NULL};
    start_server(argv[0], argv);
    while (chmod(in_folder("fs.sock"), 0666) < 0) { /* it listens from the moment it is there */
        uv_sleep(1);
    }
}

static void hand_vsmb_up(void) {
    char arguments[PATH_MAX + 300];
    start_daemon();
    (void)snprintf(arguments, sizeof arguments,
                   "{\"id\":\"hand\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":"
                   "\"unix\",\"data\":{\"path\":\"%s\"}},\"server\":false}}}",
                   in_folder("fs.sock"));
    hand_qmp("chardev-add", arguments);
    hand_qmp("device_add", "{\"driver\":\"vhost-user-fs-pci\",\"id\":\"hand\",\"chardev\":\"hand\","
                           "\"tag\":\"hand\",\"bus\":\"rp7\",\"addr\":\"0x0\"}");
    (void)shell("until mount -t virtiofs hand /hand 2>/dev/null; do usleep 2000; done");
}

static void hand_vsmb_down(void) {
    (void)shell("umount /hand");
    hand_qmp("device_del", "{\"id\":\"hand\"}");
    (void)shell("while test -e " AT_PORT "; do usleep 2000; done");
    hand_qmp_until_done("chardev-remove", "{\"id\":\"hand\"}");
    end_server();
    (void)unlink(in_folder("fs.sock"));
}

/* ---- a disk by hand ----------------------------------------------------------------------- */

/* The share as a file system, twice: one image cannot be two disks. */
static void make_disks(void) {
    static const char *const names[] = {"own.img", "hand.img"};
    for (unsigned i = 0; i < 2; i++) {
        char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4",
                              (char *)(uintptr_t) "-qF",
                              (char *)(uintptr_t) "-d",
                              (char *)(uintptr_t)in_folder("share"),
                              (char *)(uintptr_t)in_folder(names[i]),
                              (char *)(uintptr_t) "96M",
                              NULL};
        int status = -1;
        start_server("/sbin/mkfs.ext4", argv);
        if (waitpid(server, &status, 0) != server || status != 0 ||
            chmod(in_folder(names[i]), 0666) < 0) {
            bench_fail(names[i], NULL);
        }
    }
}

static void hand_scsi_up(void) {
    char arguments[PATH_MAX + 200];
    (void)snprintf(arguments, sizeof arguments,
                   "{\"driver\":\"raw\",\"node-name\":\"hand\",\"file\":{\"driver\":\"file\","
                   "\"filename\":\"%s\"}}",
                   in_folder("hand.img"));
    hand_qmp("blockdev-add", arguments);
    hand_qmp("device_add", "{\"driver\":\"scsi-hd\",\"id\":\"hand\",\"bus\":\"scsi0.0\","
                           "\"channel\":0,\"scsi-id\":0,\"lun\":63,\"drive\":\"hand\"}");
    (void)shell("until test -e /sys/bus/scsi/devices/*:0:0:63/block; do usleep 2000; done; "
                "d=$(echo /sys/bus/scsi/devices/*:0:0:63/block/*); "
                "until test -e /dev/${d##*/}; do usleep 2000; done; "
                "mount -t ext4 /dev/${d##*/} /hand");
}

static void hand_scsi_down(void) {
    (void)shell("umount /hand; echo 1 > ${d%/block/*}/delete");
    hand_qmp("device_del", "{\"id\":\"hand\"}");
    hand_qmp_until_done("blockdev-del", "{\"node-name\":\"hand\"}");
}

static int attach_scsi(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = in_folder("own.img");
    p.guest_path = "/m/share";
    return uvm_scsi_attach(b.vm, &p, NULL, done, arg, ret_op);
}

/* ---- virtual PMem by hand ----------------------------------------------------------------- */

static const char *layer(void) {
    return in_folder("layer.img");
}

/* 16 MiB, half of it data. */
static void make_layer(void) {
    char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4",
                          (char *)(uintptr_t) "-qF",
                          (char *)(uintptr_t) "-d",
                          (char *)(uintptr_t)in_folder("data"),
                          (char *)(uintptr_t)layer(),
                          (char *)(uintptr_t) "16M",
                          NULL};
    static char block[1 << 20];
    int fd = -1, status = -1;
    if (mkdir(in_folder("data"), 0777) == 0) {
        fd = open(in_folder("data/large"), O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(block, (int)i + 1, sizeof block);
        if (fd < 0 || write(fd, block, sizeof block) != sizeof block) {
            bench_fail("data of an image", NULL);
        }
    }
    close(fd);
    start_server("/sbin/mkfs.ext4", argv);
    if (waitpid(server, &status, 0) != server || status != 0) {
        bench_fail(argv[0], NULL);
    }
}

/* The memory of the second nvdimm, which the engine, and so this process, has open. */
static int other_memory(void) {
    unsigned seen = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char link[64], path[64];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n < 0 ? 0 : n] = 0;
        if (strncmp(link, "/memfd:uvm-pmem", 15) == 0 && seen++ == 1) {
            return fd;
        }
    }
    bench_fail("a second nvdimm", NULL);
}

/* As cp does: what is read is written. */
static void hand_vpmem_up(void) {
    static char block[1 << 17];
    int from = open(layer(), O_RDONLY | O_CLOEXEC), to = other_memory();
    ssize_t n;
    for (off_t at = 0; (n = read(from, block, sizeof block)) > 0; at += n) {
        if (pwrite(to, block, (size_t)n, at) != n) {
            bench_fail("copy", NULL);
        }
    }
    close(from);
    (void)shell("mount -t ext4 -o ro,noload /dev/pmem1 /hand");
}

static void hand_vpmem_down(void) {
    (void)shell("umount /hand");
}

static int attach_vpmem(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    p.host_path = layer();
    p.guest_path = "/m/layer";
    return uvm_vpmem_attach(b.vm, &p, NULL, done, arg, ret_op);
}

/* ---- a network adapter by hand ------------------------------------------------------------ */

static void hand_nic_up(void) {
    hand_qmp("netdev_add", "{\"type\":\"user\",\"id\":\"hand\"}");
    hand_qmp("device_add", "{\"driver\":\"virtio-net-pci\",\"id\":\"hand\",\"netdev\":\"hand\","
                           "\"bus\":\"rp7\",\"addr\":\"0x0\",\"romfile\":\"\"}");
    (void)shell("until test -e " AT_PORT "/virtio*/net/*/address; do usleep 2000; done; "
                "n=$(echo " AT_PORT "/virtio*/net/*); n=${n##*/}; "
                "ip addr add 10.0.2.15/24 dev $n && ip link set $n up && "
                "ip route add default via 10.0.2.2 dev $n");
}

static void hand_nic_down(void) {
    (void)shell("ip link set $n down");
    hand_qmp("device_del", "{\"id\":\"hand\"}");
    (void)shell("while test -e " AT_PORT
                "; do usleep 2000; done"); /* the next one finds it empty */
    hand_qmp_until_done("netdev_del", "{\"id\":\"hand\"}");
}

/* ---- 9P by hand --------------------------------------------------------------------------- */

#define DIOD_PORT "56409"

/* The same server, over TCP through QEMU's own network: the least that a guest without hvsock has. */
static void hand_plan9_up(void) {
    char *const argv[] = {(char *)(uintptr_t) "/usr/sbin/diod",
                          (char *)(uintptr_t) "-f",
                          (char *)(uintptr_t) "-n",
                          (char *)(uintptr_t) "-N",
                          (char *)(uintptr_t) "-l",
                          (char *)(uintptr_t) "127.0.0.1:" DIOD_PORT,
                          (char *)(uintptr_t) "-e",
                          (char *)(uintptr_t)in_folder("share"),
                          NULL};
    char line[PATH_MAX + 200];
    start_server(argv[0], argv);
    (void)snprintf(line, sizeof line,
                   "until mount -t 9p -o trans=tcp,port=" DIOD_PORT
                   ",uname=root,access=user,msize=65536,aname=%s 10.0.2.2 /hand 2>/dev/null; do "
                   "usleep 2000; done",
                   in_folder("share"));
    (void)shell(line);
}

static void hand_plan9_down(void) {
    (void)shell("umount /hand");
    end_server();
}

/* ---- a PCI function by hand --------------------------------------------------------------- */

static void hand_vpci_up(void) {
    hand_qmp("device_add", "{\"driver\":\"edu\",\"id\":\"hand\",\"bus\":\"rp7\",\"addr\":\"0x0\"}");
    (void)shell("until test -e " AT_PORT "/resource0; do usleep 2000; done");
}

static void hand_vpci_down(void) {
    (void)shell("echo 1 > $(echo " AT_PORT "/remove)");
    hand_qmp("device_del", "{\"id\":\"hand\"}");
    (void)shell("while test -e " AT_PORT "; do usleep 2000; done");
}

/* ---- ours --------------------------------------------------------------------------------- */

static int attach_vsmb(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    p.host_path = in_folder("share");
    p.guest_path = "/m/share";
    return uvm_vsmb_attach(b.vm, &p, NULL, done, arg, ret_op);
}

static int attach_plan9(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    p.host_path = in_folder("share");
    p.guest_path = "/m/share";
    return uvm_plan9_attach(b.vm, &p, NULL, done, arg, ret_op);
}

static int attach_nic(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    p.type = UVM_NIC_USER;
    p.addresses = (const char *const[]){"10.0.2.15/24", NULL};
    p.gateways = (const char *const[]){"10.0.2.2", NULL};
    return uvm_nic_attach(b.vm, &p, NULL, done, arg, ret_op);
}

static int attach_vpci(uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = "emulated:edu";
    return uvm_vpci_attach(b.vm, &p, NULL, done, arg, ret_op);
}

/* ---- in turn ------------------------------------------------------------------------------ */

static const struct kind {
    const char *name;
    bool shares;    /* what is read and looked at */
    bool needs_nic; /* the other way does */
    int (*attach)(uvm_done_fn done, void *arg, uvm_op **ret_op);
    void (*hand_up)(void), (*hand_down)(void);
} kinds[] = {
    {"scsi", true, false, attach_scsi, hand_scsi_up, hand_scsi_down},
    {"vpmem", false, false, attach_vpmem, hand_vpmem_up, hand_vpmem_down},
    {"vsmb", true, false, attach_vsmb, hand_vsmb_up, hand_vsmb_down},
    {"plan9", true, true, attach_plan9, hand_plan9_up, hand_plan9_down},
    {"nic", false, false, attach_nic, hand_nic_up, hand_nic_down},
    {"vpci", false, false, attach_vpci, hand_vpci_up, hand_vpci_down},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static uvm_op *up(int (*attach)(uvm_done_fn, void *, uvm_op **), const char *name) {
    uvm_op *op = NULL;
    bench_check(attach(bench_on_done, (void *)(uintptr_t)name, &op), name);
    bench_run();
    return op;
}

static void down(uvm_op *take_op) {
    bench_check(
        uvm_detach(b.vm, uvm_attach_result(take_op).id, NULL, bench_on_done, "detach", NULL),
        "detach");
    bench_run();
    uvm_op_unref(take_op);
}

static void measure(const struct kind *k, size_t pairs) {
    static uint64_t own[PAIRS_MAX], other[PAIRS_MAX];
    char name[64];
    for (size_t i = 0; i < pairs + 1; i++) { /* the first loads the drivers: not counted */
        size_t at = i == 0 ? 0 : i - 1;
        uint64_t t = bench_now_us();
        uvm_op *op = up(k->attach, k->name);
        own[at] = bench_now_us() - t;
        down(op);
        t = bench_now_us();
        k->hand_up();
        other[at] = bench_now_us() - t;
        k->hand_down();
    }
    (void)snprintf(name, sizeof name, "attach_%s", k->name);
    hand_print(name, hand_median(own, pairs), hand_median(other, pairs));
}

/* ---- what a guest gets from a share ------------------------------------------------------- */

/* The large file, and the names and sizes of the many, from a cache that knows nothing of them. */
static uint64_t read_large(const char *at) {
    char line[128];
    (void)snprintf(line, sizeof line, "cat %s/large", at);
    (void)shell("echo 3 > /proc/sys/vm/drop_caches");
    return shell(line);
}

static uint64_t stat_many(const char *at) {
    char line[128];
    (void)snprintf(line, sizeof line, "ls -l %s/tree", at);
    (void)shell("echo 3 > /proc/sys/vm/drop_caches");
    return shell(line);
}

static void print_rate(const char *kind, const char *what, double amount, uint64_t us,
                       uint64_t reference_us) {
    printf("{\"name\":\"%s_%s\",\"rate\":%.1f,\"reference_rate\":%.1f,\"ratio\":%.3f}\n", what,
           kind, amount * 1e6 / (double)us, amount * 1e6 / (double)reference_us,
           (double)reference_us / (double)us);
    fflush(stdout);
}

/* Both are there at once, and take turns. */
static void measure_rates(const struct kind *k) {
    uint64_t own[2][RATES], other[2][RATES];
    k->hand_up();
    uvm_op *op = up(k->attach, k->name);
    for (unsigned i = 0; i < RATES; i++) {
        other[0][i] = read_large("/hand");
        own[0][i] = read_large("/m/share");
        other[1][i] = stat_many("/hand");
        own[1][i] = stat_many("/m/share");
    }
    down(op);
    k->hand_down();
    print_rate(k->name, "read", LARGE_MIB, hand_median(own[0], RATES),
               hand_median(other[0], RATES));
    print_rate(k->name, "stat", FILES, hand_median(own[1], RATES), hand_median(other[1], RATES));
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: kinds_bench KERNEL INITRD LAUNCH VMM FOLDER PAIRS [KIND...]\n");
        return 2;
    }
    folder = argv[5];
    size_t pairs = strtoul(argv[6], NULL, 10);
    pairs = pairs == 0 || pairs > PAIRS_MAX ? 50 : pairs;
    make_share();
    make_disks();
    make_layer();
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.vpmem_devices = 2;
    vp.vpmem_device_mb = 128;
    bench_boot_with(argv, &vp);
    hand_open(script);
    for (size_t i = 0; i < KINDS; i++) {
        bool wanted = argc == 7;
        for (int n = 7; n < argc; n++) {
            wanted = wanted || strcmp(argv[n], kinds[i].name) == 0;
        }
        uvm_op *nic = wanted && kinds[i].needs_nic ? up(attach_nic, "nic") : NULL;
        if (wanted) {
            measure(&kinds[i], pairs);
        }
        if (wanted && kinds[i].shares) {
            measure_rates(&kinds[i]);
        }
        if (nic != NULL) {
            down(nic);
        }
    }
    hand_close();
    bench_end();
    return 0;
}
