/* SPDX-License-Identifier: MIT
 * vpmem_test.c — virtual PMem of a real VM through the public API: images mapped, read in the guest, shared, taken
 * out again and their memory with them; what does not fit; a whole device; images of the boot.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 30000u
#define ROUNDS 10

static const char *kernel, *initrd, *launch;
static char folder[64];

/* ---- images ------------------------------------------------------------------------------- */

static const char *in_folder(const char *name) {
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void run_tool(const char *const *argv) {
    pid_t pid;
    int status = -1;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ) != 0) {
        fail_msg("%s cannot be run; `make setup` installs it", argv[0]);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A file system with a file "word" that says `word`, and one of 3 MiB that holds no zeros. */
static void make_image(const char *name, const char *word) {
    char content[128], path[160];
    (void)snprintf(content, sizeof content, "%s/content", folder);
    assert_true(mkdir(content, 0755) == 0 || access(content, F_OK) == 0);
    (void)snprintf(path, sizeof path, "%s/word", content);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fprintf(f, "%s\n", word) > 0);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(path, sizeof path, "%s/large", content);
    f = fopen(path, "we");
    assert_non_null(f);
    for (unsigned i = 0; i < 3u << 18; i++) {
        assert_int_equal(fwrite("load", 4, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    const char *argv[] = {"/sbin/mkfs.ext4", "-q", "-F", "-d", content, "-L", name,
                          in_folder(name),   "8M", NULL};
    run_tool(argv);
}

/* What an nvdimm of ours takes of the host's memory; the engine lives in this process. */
static uint64_t memory_of(unsigned device) {
    uint64_t bytes = UINT64_MAX;
    unsigned seen = 0;
    for (int fd = 0; fd < 1024 && bytes == UINT64_MAX; fd++) { /* they were made in their order */
        char link[64], path[64];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n < 0 ? 0 : n] = 0;
        struct stat st;
        if (strncmp(link, "/memfd:uvm-pmem", 15) == 0 && seen++ == device) {
            assert_int_equal(fstat(fd, &st), 0);
            bytes = (uint64_t)st.st_blocks * 512u;
        }
    }
    assert_true(bytes != UINT64_MAX);
    return bytes;
}

/* ---- calls -------------------------------------------------------------------------------- */

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

struct place {
    char id[32], kind[16], guest_path[128];
    uint32_t device, refs;
    uint64_t offset, bytes;
    bool shared;
};

static void attach(uvm_harness *h, const struct uvm_vpmem_params *p, struct place *ret) {
    struct call c = {0};
    assert_int_equal(uvm_vpmem_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_OK);
    const struct uvm_attach_result r = uvm_attach_result(c.op);
    *ret = (struct place){.device = r.device,
                          .refs = r.refs,
                          .offset = r.offset,
                          .bytes = r.bytes,
                          .shared = r.shared};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r.id);
    (void)snprintf(ret->kind, sizeof ret->kind, "%s", r.kind);
    (void)snprintf(ret->guest_path, sizeof ret->guest_path, "%s", r.guest_path);
    uvm_op_unref(c.op);
}

static void attach_fails(uvm_harness *h, const struct uvm_vpmem_params *p, enum uvm_error_code code,
                         const char *words) {
    struct call c = {0};
    assert_int_equal(uvm_vpmem_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, code);
    if (strstr(c.message, words) == NULL) {
        fail_msg("\"%s\" without \"%s\"", c.message, words);
    }
    uvm_op_unref(c.op);
}

static void detach(uvm_harness *h, const char *id, enum uvm_error_code code) {
    struct call c = {0};
    assert_int_equal(uvm_detach(uvm_harness_vm(h), id, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, code);
    uvm_op_unref(c.op);
}

static void guest(uvm_harness *h, int status, const char *said, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void guest(uvm_harness *h, int status, const char *said, const char *fmt, ...) {
    struct uvm_harness_result r;
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    assert_int_equal(uvm_harness_sh(h, line, &r), 0);
    if (r.status != status || strstr(r.out, said) == NULL) {
        fail_msg("%s: %d, \"%s\" \"%s\"", line, r.status, r.out, r.err);
    }
}

static struct uvm_vpmem_params image(const char *name) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    p.host_path = in_folder(name);
    return p;
}

/* ---- tests -------------------------------------------------------------------------------- */

/* Images of the boot: one is mapped and mounted before the boot is done. */
static void boot(uvm_harness **ret) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_vpmem_params first = image("boot.img");
    const struct uvm_vpmem_params *list[] = {&first, NULL};
    uvm_harness *h = NULL;
    first.guest_path = "/boot-image";
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "vpmem";
    vp.kernel = kernel;
    vp.initrd = initrd;
    vp.vpmem = list;
    vp.vpmem_devices = 3;
    vp.vpmem_device_mb = 256;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    guest(h, 0, "boot", "cat /boot-image/word");
    *ret = h;
}

static void rounds(uvm_harness *h) {
    struct uvm_vpmem_params p[] = {image("a.img"), image("b.img"), image("fixed.vhd")};
    static const char *const words[] = {"alpha", "beta", "alpha"};
    uint64_t empty = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct place at[3];
        for (unsigned i = 0; i < 3; i++) {
            attach(h, &p[i], &at[i]);
            assert_string_equal(at[i].kind, "vpmem");
            assert_int_equal(at[i].device, 0);
            assert_int_equal(at[i].offset, (i + 1) * (16u << 20)); /* a class of 16 MiB each */
            guest(h, 0, words[i], "cat %s/word", at[i].guest_path);
            if (round % 9 == 0) {
                guest(h, 0, "b26c9629", "md5sum %s/large", at[i].guest_path);
            }
        }
        guest(h, 1, "", "echo x > %s/word", at[0].guest_path);
        if (round == 0) {
            guest(h, 0, "dm-linear-pmem0-16777216-8388608", "ls /dev/mapper");
        }
        uint64_t full = memory_of(0);
        for (unsigned i = 0; i < 3; i++) {
            detach(h, at[i].id, UVM_OK);
            guest(h, 1, "", "test -e %s", at[i].guest_path);
        }
        /* The guest's own looks at the empty device are a few pages, once. */
        uint64_t left = memory_of(0);
        empty = round == 0 ? left : empty;
        assert_true(full >= left + ((uint64_t)9 << 20));
        assert_true(full <
                    left + ((uint64_t)16 << 20)); /* the data of three, not their 16 MiB each */
        assert_int_equal(left, empty);
    }
    print_message("an empty device has %llu bytes, with the image of the boot\n",
                  (unsigned long long)empty);
    guest(h, 0, "1", "ls /dev/mapper | grep -c dm-linear"); /* the boot's */
}

static void sharing_and_refusals(uvm_harness *h) {
    struct uvm_vpmem_params a = image("a.img"), b = image("b.img"), large = image("large.img");
    struct uvm_vpmem_params junk = image("junk.img"), qcow = image("a.qcow2"),
                            none = image("none.img");
    struct place one, two;
    attach(h, &a, &one);
    attach(h, &a, &two);
    assert_true(two.shared && two.refs == 2);
    assert_string_equal(one.id, two.id);
    a.guest_path = "/elsewhere";
    attach_fails(h, &a, UVM_E_EXISTS, one.id);
    b.guest_path = one.guest_path;
    attach_fails(h, &b, UVM_E_EXISTS, one.id);
    guest(h, 0, "", "sleep 1000 < %s/large > /dev/null 2>&1 & echo $! > /tmp/user", one.guest_path);
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_E_PEER); /* busy */
    guest(h, 0, "",
          "kill $(cat /tmp/user); while kill -0 $(cat /tmp/user) 2>/dev/null; do :; done");
    guest(h, 0, "alpha", "cat %s/word", one.guest_path);
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_E_NOTFOUND);
    attach_fails(h, &large, UVM_E_LIMIT, "large.img");
    attach_fails(h, &junk, UVM_E_PEER, "file system");
    attach_fails(h, &qcow, UVM_E_UNSUPPORTED, "raw images and fixed VHDs");
    attach_fails(h, &none, UVM_E_NOTFOUND, "none.img");
    guest(h, 0, "1", "ls /dev/mapper | grep -c dm-linear"); /* the boot's */
}

static void a_whole_device(uvm_harness *h) {
    struct uvm_vpmem_params p = image("a.img"), large = image("large.img");
    struct place at, other;
    p.whole_device = true;
    for (unsigned i = 0; i < 2; i++) { /* it stays, empty, and is filled again */
        uint64_t before = memory_of(1);
        attach(h, &p, &at);
        assert_int_equal(at.device, 1);
        assert_string_equal(at.guest_path, "/run/layers/p1");
        guest(h, 0, "alpha", "cat /run/layers/p1/word");
        guest(h, 0, "/run/layers/p1 ext4 ro", "grep pmem /proc/mounts");
        detach(h, at.id, UVM_OK);
        assert_true(memory_of(1) <= before + (1u << 20));
    }
    large.or_scsi = true; /* it has no place here */
    attach(h, &large, &other);
    assert_string_equal(other.kind, "scsi");
    guest(h, 0, "large", "cat %s/word", other.guest_path);
    detach(h, other.id, UVM_OK);
}

static void images_come_and_go(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/uvm-vpmem-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    make_image("boot.img", "boot");
    make_image("b.img", "beta");
    make_image("large.img", "large");
    make_image("a.img", "alpha");
    assert_int_equal(truncate(in_folder("large.img"), 300 << 20), 0);
    const char *vhd[] = {"qemu-img",
                         "convert",
                         "-f",
                         "raw",
                         "-O",
                         "vpc",
                         "-o",
                         "subformat=fixed,force_size=on",
                         in_folder("a.img"),
                         in_folder("fixed.vhd"),
                         NULL};
    run_tool(vhd);
    const char *qcow[] = {
        "qemu-img",           "convert", "-f", "raw", "-O", "qcow2", in_folder("a.img"),
        in_folder("a.qcow2"), NULL};
    run_tool(qcow);
    int fd = open(in_folder("junk.img"), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0 && close(fd) == 0);

    uvm_harness *h = NULL;
    boot(&h);
    rounds(h);
    sharing_and_refusals(h);
    a_whole_device(h);
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    const char *clean[] = {"rm", "-r", folder, NULL};
    run_tool(clean);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "vpmem_test KERNEL INITRD LAUNCH\n");
        return 2;
    }
    kernel = realpath(argv[1], NULL);
    initrd = realpath(argv[2], NULL);
    launch = realpath(argv[3], NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(images_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
