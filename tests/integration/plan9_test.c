/* SPDX-License-Identifier: MIT
 * plan9_test.c — folders and files of the host in a real VM by 9P, through the public API: bytes both ways, shared,
 * read-only, restricted to files, taken away and back; and what goes wrong: a server that is killed, a folder
 * that vanishes, a port that answers once, a file in use, no server on the host.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 60000u
#define ROUNDS 10

static const char *kernel, *initrd, *launch;
static char folder[64];

/* ---- the host ----------------------------------------------------------------------------- */

static const char *in_folder(const char *name) {
    static char paths[128][192];
    static unsigned next;
    char *path = paths[next++ % 128];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void run_tool(const char *const *argv) {
    pid_t pid;
    int status = -1;
    assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void write_file(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void expect_file(const char *name, const char *text) {
    char got[256] = "";
    FILE *f = fopen(in_folder(name), "re");
    assert_non_null(f);
    (void)!fread(got, 1, sizeof got - 1, f);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(got, text);
}

/* Processes of that name that are children of this one; the first of them. */
static unsigned servers(pid_t *ret_first) {
    char path[64], line[256];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", getpid(), getpid());
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    char word[16];
    while (fscanf(f, "%15s", word) == 1) {
        pid_t pid = (pid_t)strtol(word, NULL, 10);
        (void)snprintf(path, sizeof path, "/proc/%d/comm", pid);
        FILE *comm = fopen(path, "re");
        if (comm != NULL && fgets(line, sizeof line, comm) != NULL && strcmp(line, "diod\n") == 0) {
            *ret_first = count++ == 0 ? pid : *ret_first;
        }
        if (comm != NULL) {
            (void)fclose(comm);
        }
    }
    (void)fclose(f);
    return count;
}

static unsigned server_count(void) {
    pid_t ignored = 0;
    return servers(&ignored);
}

/* ---- calls -------------------------------------------------------------------------------- */

struct call {
    bool done;
    enum uvm_error_code code;
    char message[600];
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
    char id[32], share[16], guest_path[128];
    uint32_t port, refs;
    bool shared;
};

static void attach(uvm_harness *h, const struct uvm_plan9_params *p, struct place *ret) {
    struct call c = {0};
    assert_int_equal(uvm_plan9_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_OK);
    const struct uvm_attach_result r = uvm_attach_result(c.op);
    assert_string_equal(r.kind, "plan9");
    *ret = (struct place){.port = r.port, .refs = r.refs, .shared = r.shared};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r.id);
    (void)snprintf(ret->share, sizeof ret->share, "%s", r.share);
    (void)snprintf(ret->guest_path, sizeof ret->guest_path, "%s", r.guest_path);
    uvm_op_unref(c.op);
}

static void attach_fails(uvm_harness *h, const struct uvm_plan9_params *p, enum uvm_error_code code,
                         const char *words) {
    struct call c = {0};
    assert_int_equal(uvm_plan9_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
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
    if (r.status != status || (strstr(r.out, said) == NULL && strstr(r.err, said) == NULL)) {
        fail_msg("%s: %d, \"%s\" \"%s\"", line, r.status, r.out, r.err);
    }
}

static struct uvm_plan9_params share(const char *name) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    p.host_path = in_folder(name);
    return p;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void boot(uvm_harness **ret) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_plan9_params first = share("first");
    const struct uvm_plan9_params *list[] = {&first, NULL};
    uvm_harness *h = NULL;
    first.guest_path = "/first";
    first.read_only = true;
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "plan9";
    vp.kernel = kernel;
    vp.initrd = initrd;
    vp.plan9 = list;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    guest(h, 0, "from the boot", "cat /first/word");
    assert_int_equal(server_count(), 1);
    *ret = h;
}

static void rounds(void **state) {
    uvm_harness *h = *state;
    const struct uvm_plan9_params p = share("both");
    char last[16] = "";
    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[64], path[64];
        struct place at;
        (void)snprintf(text, sizeof text, "host %u\n", round);
        write_file("both/in", text);
        attach(h, &p, &at);
        assert_string_not_equal(at.share, last);
        (void)snprintf(last, sizeof last, "%s", at.share);
        (void)snprintf(path, sizeof path, "/run/mounts/plan9/%s", at.share);
        assert_string_equal(at.guest_path, path);
        assert_int_equal(server_count(), 2);
        (void)snprintf(text, sizeof text, "host %u", round);
        guest(h, 0, text, "cat %s/in", at.guest_path);
        guest(h, 0, "", "echo guest %u > %s/out && mkdir -p %s/sub && mv %s/out %s/sub/out", round,
              at.guest_path, at.guest_path, at.guest_path, at.guest_path);
        (void)snprintf(text, sizeof text, "guest %u\n", round);
        expect_file("both/sub/out", text);
        detach(h, at.id, UVM_OK);
        assert_int_equal(server_count(), 1);
        guest(h, 1, "", "test -e %s", at.guest_path);
    }
}

/* 3 MiB each way, in pieces of every size. */
static void large_files(void **state) {
    uvm_harness *h = *state;
    const struct uvm_plan9_params p = share("both");
    struct place at;
    attach(h, &p, &at);
    FILE *f = fopen(in_folder("both/large"), "we");
    for (unsigned i = 0; i < 3u << 18; i++) {
        assert_int_equal(fwrite("load", 4, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    guest(h, 0, "b26c9629", "md5sum %s/large", at.guest_path);
    guest(h, 0, "b26c9629", "dd if=%s/large of=%s/copy bs=70001 2>/dev/null; md5sum %s/copy",
          at.guest_path, at.guest_path, at.guest_path);
    struct stat st;
    assert_int_equal(stat(in_folder("both/copy"), &st), 0);
    assert_int_equal(st.st_size, 3 << 20);
    detach(h, at.id, UVM_OK);
}

static void read_only(void **state) {
    uvm_harness *h = *state;
    struct uvm_plan9_params p = share("both");
    struct place at;
    p.read_only = true;
    attach(h, &p, &at);
    guest(h, 1, "Read-only file system", "echo x > %s/in", at.guest_path);
    guest(h, 1, "Read-only file system", "rm %s/sub/out", at.guest_path);
    guest(h, 1, "", "mount -o remount,rw %s && echo x > %s/in", at.guest_path, at.guest_path);
    expect_file("both/in", "host 9\n");
    expect_file("both/sub/out", "guest 9\n");
    detach(h, at.id, UVM_OK);
    assert_int_equal(server_count(), 1);
}

static void some_files(void **state) {
    uvm_harness *h = *state;
    const char *const one[] = {"a", NULL}, *const two[] = {"a", "b", NULL};
    struct uvm_plan9_params some = share("files"), other = share("files"), file = share("files/b");
    struct place at[3];
    some.files = two;
    other.files = one;
    other.read_only = true;
    file.file = true;
    file.guest_path = "/of a file";
    attach(h, &some, &at[0]);
    guest(h, 0, "a\nb\n", "ls %s", at[0].guest_path);
    guest(h, 0, "2", "ls -a %s | grep -vc '^[.]'", at[0].guest_path);
    guest(h, 0, "file b", "cat %s/b", at[0].guest_path);
    guest(h, 1, "", "cat %s/secret", at[0].guest_path);
    guest(h, 1, "", "echo x > %s/new", at[0].guest_path);
    guest(h, 1, "", "rm %s/a", at[0].guest_path);
    guest(h, 0, "", "echo changed > %s/a && echo more >> %s/a", at[0].guest_path, at[0].guest_path);
    expect_file("files/a", "changed\nmore\n");
    attach(h, &other, &at[1]); /* another list is another share */
    assert_string_not_equal(at[0].id, at[1].id);
    guest(h, 0, "changed", "cat %s/a", at[1].guest_path);
    guest(h, 1, "", "cat %s/b", at[1].guest_path);
    guest(h, 1, "Read-only file system", "echo x > %s/a", at[1].guest_path);
    attach(h, &file, &at[2]);
    assert_string_equal(at[2].guest_path, "/of a file/b");
    guest(h, 0, "file b", "cat '%s' && test \"$(ls '/of a file')\" = b", at[2].guest_path);
    for (unsigned i = 0; i < 3; i++) {
        detach(h, at[i].id, UVM_OK);
    }
    assert_int_equal(server_count(), 1);
}

static void sharing_and_use(void **state) {
    uvm_harness *h = *state;
    struct uvm_plan9_params p = share("both"), there = share("files");
    struct place one, two, elsewhere;
    attach(h, &p, &one);
    attach(h, &p, &two);
    assert_true(two.shared && two.refs == 2);
    assert_string_equal(one.id, two.id);
    there.guest_path = one.guest_path;
    attach_fails(h, &there, UVM_E_EXISTS, one.id);
    p.guest_path = "/elsewhere";
    attach(h, &p, &elsewhere);
    assert_string_not_equal(one.id, elsewhere.id);
    detach(h, elsewhere.id, UVM_OK);
    guest(h, 0, "", "sleep 1000 < %s/in > /dev/null 2>&1 & echo $! > /tmp/user", one.guest_path);
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_E_PEER); /* busy: it stays as it was */
    guest(h, 0, "host 9", "cat %s/in", one.guest_path);
    guest(h, 0, "",
          "kill $(cat /tmp/user); while kill -0 $(cat /tmp/user) 2>/dev/null; do :; done");
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_E_NOTFOUND);
}

static void refusals(void **state) {
    uvm_harness *h = *state;
    const char *const link[] = {"link", NULL}, *const sub[] = {"folder", NULL},
                      *const none[] = {"none", NULL};
    struct uvm_plan9_params p = share("none");
    attach_fails(h, &p, UVM_E_NOTFOUND, "none: No such file");
    p = share("files/a");
    attach_fails(h, &p, UVM_E_INVAL, "files/a: no folder");
    p = share("both");
    p.file = true;
    attach_fails(h, &p, UVM_E_INVAL, "both: no regular file");
    p = share("files");
    p.files = link;
    attach_fails(h, &p, UVM_E_INVAL, "link: is a symbolic link");
    p.files = sub;
    attach_fails(h, &p, UVM_E_INVAL, "folder: no regular file");
    p.files = none;
    attach_fails(h, &p, UVM_E_NOTFOUND, "none: No such file");
    assert_int_equal(server_count(), 1);
}

/* The port answers the agent, and nobody after it. */
static void a_port_answers_once(void **state) {
    uvm_harness *h = *state;
    const struct uvm_plan9_params p = share("both");
    struct place at;
    attach(h, &p, &at);
    guest(h, 1, "", "vsockexec -o %u true", at.port);
    guest(h, 0, "host 9", "cat %s/in", at.guest_path);
    detach(h, at.id, UVM_OK);
    guest(h, 1, "", "vsockexec -o %u true", at.port);
}

static void a_server_is_killed(void **state) {
    uvm_harness *h = *state;
    const struct uvm_plan9_params p = share("both");
    struct place at;
    pid_t pid = 0;
    detach(h, "plan9-1", UVM_OK); /* of the boot: the only other server */
    assert_int_equal(server_count(), 0);
    attach(h, &p, &at);
    assert_int_equal(servers(&pid), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    guest(h, 1, "", "cat %s/in", at.guest_path);
    guest(h, 0, "alive", "echo alive");
    detach(h, at.id, UVM_OK);
    assert_int_equal(server_count(), 0);
    attach(h, &p, &at);
    guest(h, 0, "host 9", "cat %s/in", at.guest_path);
    detach(h, at.id, UVM_OK);
}

static void a_folder_vanishes(void **state) {
    uvm_harness *h = *state;
    struct uvm_plan9_params p = share("going");
    struct place at;
    attach(h, &p, &at);
    guest(h, 0, "here", "cat %s/word", at.guest_path);
    assert_int_equal(unlink(in_folder("going/word")), 0);
    assert_int_equal(rmdir(in_folder("going")), 0);
    guest(h, 1, "", "cat %s/word", at.guest_path);
    guest(h, 1, "", "echo x > %s/new", at.guest_path);
    detach(h, at.id, UVM_OK);
    attach_fails(h, &p, UVM_E_NOTFOUND, "going: No such file");
}

/* For a moment this process sees no diod. */
static void no_server_on_the_host(void **state) {
    uvm_harness *h = *state;
    const struct uvm_plan9_params p = share("both");
    int before = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    assert_true(before >= 0);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("/dev/null", "/usr/sbin/diod", NULL, MS_BIND, NULL), 0);
    attach_fails(h, &p, UVM_E_HOST, "install diod");
    assert_int_equal(setns(before, CLONE_NEWNS), 0);
    assert_int_equal(close(before), 0);
}

static void make_folders(void) {
    (void)snprintf(folder, sizeof folder, "/tmp/uvm-plan9-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(mkdir(in_folder("first"), 0755), 0);
    assert_int_equal(mkdir(in_folder("both"), 0755), 0);
    assert_int_equal(mkdir(in_folder("going"), 0755), 0);
    assert_int_equal(mkdir(in_folder("files"), 0755), 0);
    assert_int_equal(mkdir(in_folder("files/folder"), 0755), 0);
    write_file("first/word", "from the boot\n");
    write_file("going/word", "here\n");
    write_file("files/a", "file a\n");
    write_file("files/b", "file b\n");
    write_file("files/secret", "secret\n");
    assert_int_equal(symlink("/etc/hostname", in_folder("files/link")), 0);
}

/* A document's share is there from the start, on the reference's port; whoever knows of it mounts it, once. */
static void of_a_document(void **state) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    uvm_harness *h = NULL;
    char text[2048];
    (void)state;
    (void)snprintf(text, sizeof text,
                   "{\"Owner\":\"test\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},"
                   "\"VirtualMachine\":{\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{"
                   "\"KernelFilePath\":\"%s\",\"InitRdPath\":\"%s\"}},\"ComputeTopology\":{"
                   "\"Memory\":{\"SizeInMB\":256,\"AllowOvercommit\":true},"
                   "\"Processor\":{\"Count\":1}},\"Devices\":{\"Plan9\":{\"Shares\":[{"
                   "\"Name\":\"5\",\"AccessName\":\"5\",\"Path\":\"%s\",\"Port\":564,\"Flags\":5}"
                   "]}}},\"ShouldTerminateOnLastHandleClosed\":true}",
                   kernel, initrd, in_folder("both"));
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "document";
    vp.document = text;
    vp.document_bytes = strlen(text);
    unsigned before = server_count();
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    assert_int_equal(server_count(), before + 1);
    assert_non_null(strstr(uvm_vm_devices(uvm_harness_vm(h)), "\"port\":564"));
    detach(h, "plan9-1", UVM_E_STATE);
    guest(
        h, 0, "host 9",
        "UVM_INIT=1 gcs-device MappedDirectory Add "
        "'{\"MountPath\":\"/d\",\"Port\":564,\"ShareName\":\"5\",\"ReadOnly\":true}' && cat /d/in");
    guest(
        h, 1, "refused",
        "UVM_INIT=1 gcs-device MappedDirectory Add '{\"MountPath\":\"/e\",\"Port\":564,\"ShareName\":\"5\"}'");
    const struct uvm_plan9_params p = share("files");
    struct place at;
    attach(h, &p, &at); /* its name is none that the document has */
    assert_string_equal(at.share, "6");
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    assert_int_equal(server_count(), before);
}

static int setup(void **state) {
    make_folders();
    boot((uvm_harness **)state);
    return 0;
}

/* Nothing is left: neither of the VM, nor a server. */
static int teardown(void **state) {
    uvm_harness *h = *state;
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    assert_int_equal(server_count(), 0);
    run_tool((const char *[]){"rm", "-r", folder, NULL});
    return 0;
}

/* In this order: the VM is one. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds),
        cmocka_unit_test(large_files),
        cmocka_unit_test(read_only),

        cmocka_unit_test(some_files),
        cmocka_unit_test(sharing_and_use),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a_port_answers_once),
        cmocka_unit_test(a_server_is_killed),
        cmocka_unit_test(a_folder_vanishes),
        cmocka_unit_test(no_server_on_the_host),
        cmocka_unit_test(of_a_document),
    };
    if (argc != 4 || geteuid() != 0) {
        (void)fprintf(stderr, "plan9_test KERNEL INITRD UVM-LAUNCH, as root\n");
        return argc != 4 ? 2 : 0;
    }
    kernel = realpath(argv[1], NULL);
    initrd = realpath(argv[2], NULL);
    launch = realpath(argv[3], NULL);
    return cmocka_run_group_tests(tests, setup, teardown);
}
