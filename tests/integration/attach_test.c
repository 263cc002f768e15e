/* SPDX-License-Identifier: MIT
 * attach_test.c — disks of a real VM through the public API: attached while it runs, shared, mounted twice,
 * let go of, attached anew; what the engine says and what the guest sees agree.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 30000u
#define DISK_BYTES (8 << 20)

static const char *kernel, *initrd, *launch;

struct call {
    bool done;
    enum uvm_error_code code;
    char message[400];
    uvm_op *op;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done = true;
    c->code = err == NULL ? UVM_OK : uvm_error_code(err);
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void expect(uvm_harness *h, struct call *c, enum uvm_error_code code) {
    assert_int_equal(uvm_harness_until(h, &c->done, CALL_MS), 0);
    if (c->code != code) {
        fail_msg("%s: %s\n%s", uvm_error_code_name((int)c->code), c->message,
                 uvm_harness_console(h));
    }
}

static void attach(uvm_harness *h, const struct uvm_scsi_params *p, enum uvm_error_code code,
                   char ret_id[32]) {
    struct call c = {0};
    assert_int_equal(uvm_scsi_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, code);
    if (code == UVM_OK) {
        (void)snprintf(ret_id, 32, "%s", uvm_attach_result(c.op).id);
    }
    uvm_op_unref(c.op);
}

static void detach(uvm_harness *h, const char *id, enum uvm_error_code code) {
    struct call c = {0};
    assert_int_equal(uvm_detach(uvm_harness_vm(h), id, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, code);
    uvm_op_unref(c.op);
}

static void guest(uvm_harness *h, const char *line, int status, const char *said) {
    struct uvm_harness_result r;
    assert_int_equal(uvm_harness_sh(h, line, &r), 0);
    if (r.status != status || strstr(r.out, said) == NULL) {
        fail_msg("%s: %d, \"%s\" \"%s\"", line, r.status, r.out, r.err);
    }
}

static void make_disk(const char *path) {
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0666), 0);
    assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
    assert_int_equal(close(fd), 0);
}

/* A disk without a mount is written to; the same disk by a link to it reads that. */
static void share_and_let_go(uvm_harness *h, const char *a, const char *b) {
    char one[32], two[32], again[32];
    struct uvm_scsi_params bare = UVM_SCSI_PARAMS_INIT, link = UVM_SCSI_PARAMS_INIT;
    bare.host_path = link.host_path = a;
    link.guest_path = "/the/disk";
    link.block_dev = true;
    attach(h, &bare, UVM_OK, one);
    attach(h, &link, UVM_OK, two);
    assert_string_not_equal(one, two);
    guest(h, "cat /proc/partitions | grep -c sd", 0, "1");
    guest(h, "printf hello > /the/disk; sync; head -c 5 /dev/sda", 0, "hello");
    attach(h, &bare, UVM_OK, again); /* shared */
    assert_string_equal(one, again);
    bare.read_only = true;
    attach(h, &bare, UVM_E_EXISTS, again);
    bare.host_path = b;
    attach(h, &bare, UVM_OK, again); /* another one, read-only */
    guest(h, "printf x > /dev/sdb", 1, "");
    detach(h, two, UVM_OK);
    guest(h, "test -e /the/disk", 1, "");
    detach(h, one, UVM_OK);
    guest(h, "head -c 5 /dev/sda", 0, "hello"); /* there is one reference left */
    detach(h, one, UVM_OK);
    detach(h, one, UVM_E_NOTFOUND);
    detach(h, again, UVM_OK);
    guest(h, "cat /proc/partitions | grep -c sd", 1, "0");
    assert_string_equal(uvm_vm_devices(uvm_harness_vm(h)), "[]");
}

/* What the guest cannot mount leaves no disk; a file that is not there is the host's refusal. */
static void refusals_leave_nothing(uvm_harness *h, const char *b) {
    char id[32];
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = b;
    p.mount = true;
    attach(h, &p, UVM_E_PEER, id);
    p.host_path = "/nonexistent/disk.img";
    struct call c = {0};
    assert_int_equal(uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, &c, &c.op), 0);
    assert_int_equal(uvm_harness_until(h, &c.done, CALL_MS), 0);
    assert_true(c.code != UVM_OK && strstr(c.message, "/nonexistent") != NULL);
    uvm_op_unref(c.op);
    assert_string_equal(uvm_vm_devices(uvm_harness_vm(h)), "[]");
    guest(h, "cat /proc/partitions | grep -c sd", 1, "0");
}

static void make_ext4(const char *path) {
    const char *const argv[] = {"mkfs.ext4", "-q", "-F", path, NULL};
    pid_t pid;
    int status = -1;
    assert_int_equal(
        posix_spawn(&pid, "/usr/sbin/mkfs.ext4", NULL, NULL, (char **)(uintptr_t)argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A link that somebody in the guest put on the way is not followed, to mount or to unmount. */
static void links_are_not_followed(uvm_harness *h, const char *b) {
    char id[32];
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    struct call c = {0};
    p.host_path = b;
    p.guest_path = "/run/box/in/disk";
    guest(h, "mkdir -p /run/box /run/real/disk; ln -s /run/real /run/box/in", 0, "");
    assert_int_equal(uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_E_PEER);
    assert_non_null(strstr(c.message, "/run/box/in is a symbolic link"));
    uvm_op_unref(c.op);
    guest(h, "grep -c /run/real /proc/mounts", 1, "0");
    guest(h, "rm /run/box/in; mkdir /run/box/in", 0, "");
    attach(h, &p, UVM_OK, id);
    guest(h, "touch /run/box/in/disk/x; grep -c ' /run/box/in/disk ext4 ' /proc/mounts", 0, "1");
    detach(h, id, UVM_OK);
    guest(h, "test -e /run/box/in/disk", 1, "");
}

/* A disk that a process of another mount namespace uses stays until that has let go of it. */
static void one_in_use_stays(uvm_harness *h, const char *b) {
    char id[32];
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = b;
    p.guest_path = "/run/disk";
    attach(h, &p, UVM_OK, id);
    guest(
        h,
        "setsid unshare -m sh -c 'cd /run/disk; echo $$ > /run/other; exec sleep 1000' >/dev/null 2>&1 </dev/null & "
        "until test -s /run/other; do :; done",
        0, "");
    detach(h, id, UVM_E_UNDO);
    assert_non_null(strstr(uvm_vm_devices(uvm_harness_vm(h)), "\"quarantined\":true"));
    guest(h, "test -e /sys/block/sda", 0, "");
    guest(h, "kill -9 $(cat /run/other); while kill -0 $(cat /run/other) 2>&1; do :; done", 0, "");
    detach(h, id, UVM_OK);
    assert_string_equal(uvm_vm_devices(uvm_harness_vm(h)), "[]");
}

enum { BURST = 24, BURST_ROUNDS = 2 };

/* All at once, then all away at once. */
static void burst(uvm_harness *h, const char *folder) {
    static struct call c[BURST], away[BURST];
    memset(c, 0, sizeof c);
    memset(away, 0, sizeof away);
    for (unsigned i = 0; i < BURST; i++) {
        char path[80];
        struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
        (void)snprintf(path, sizeof path, "%s/many%u.img", folder, i);
        p.host_path = path;
        assert_int_equal(uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, &c[i], &c[i].op), 0);
    }
    for (unsigned i = 0; i < BURST; i++) {
        expect(h, &c[i], UVM_OK);
    }
    for (unsigned i = 0; i < BURST; i++) {
        assert_int_equal(uvm_detach(uvm_harness_vm(h), uvm_attach_result(c[i].op).id, NULL, on_done,
                                    &away[i], &away[i].op),
                         0);
    }
    for (unsigned i = 0; i < BURST; i++) {
        expect(h, &away[i], UVM_OK);
        uvm_op_unref(away[i].op);
        uvm_op_unref(c[i].op);
    }
}

/* Who writes to a file system meanwhile sees no error of its disk: each coming and going is told to it, too. */
static void others_do_not_disturb(uvm_harness *h, const char *b, const char *folder) {
    char id[32], path[80];
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = b;
    p.guest_path = "/run/busy";
    for (unsigned i = 0; i < BURST; i++) {
        (void)snprintf(path, sizeof path, "%s/many%u.img", folder, i);
        make_disk(path);
    }
    attach(h, &p, UVM_OK, id);
    guest(
        h,
        "dmesg -c >/dev/null; cat > /run/write <<'END'\n"
        "n=0; until test -e /run/enough; do dd if=/dev/zero of=/run/busy/f bs=4k count=16 oflag=direct "
        "conv=fsync 2>/run/said || { cat /run/said; touch /run/wrong; }; n=$((n+1)); done\n"
        "echo $n writes; touch /run/written\n"
        "END\n"
        "setsid sh /run/write >/run/writes 2>&1 </dev/null & until test -s /run/busy/f; do :; done",
        0, "");
    for (unsigned i = 0; i < BURST_ROUNDS; i++) {
        burst(h, folder);
    }
    guest(h, "touch /run/enough; until test -e /run/written; do sleep 0.01; done; cat /run/writes",
          0, "writes");
    guest(h, "test ! -e /run/wrong && ! dmesg | grep -i 'error'", 0, "");
    guest(h, "touch /run/busy/still-writable; rm /run/writes /run/said", 0, "");
    detach(h, id, UVM_OK);
    for (unsigned i = 0; i < BURST; i++) {
        (void)snprintf(path, sizeof path, "%s/many%u.img", folder, i);
        assert_int_equal(unlink(path), 0);
    }
}

static void disks_come_and_go(void **state) {
    (void)state;
    char folder[] = "/tmp/uvm-attach-XXXXXX", a[64], b[64];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    (void)snprintf(a, sizeof a, "%s/a.img", folder);
    (void)snprintf(b, sizeof b, "%s/b.img", folder);
    make_disk(a);
    make_disk(b);

    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    uvm_harness *h = NULL;
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "attach";
    vp.kernel = kernel;
    vp.initrd = initrd;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }

    share_and_let_go(h, a, b);
    refusals_leave_nothing(h, b);
    make_ext4(b);
    links_are_not_followed(h, b);
    one_in_use_stays(h, b);
    others_do_not_disturb(h, b, folder);
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    assert_int_equal(unlink(a), 0); /* the host has let go of them */
    assert_int_equal(unlink(b), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "attach_test KERNEL INITRD LAUNCH\n");
        return 2;
    }
    kernel = realpath(argv[1], NULL);
    initrd = realpath(argv[2], NULL);
    launch = realpath(argv[3], NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(disks_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
