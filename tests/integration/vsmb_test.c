/* SPDX-License-Identifier: MIT
 * vsmb_test.c — shared folders of a real VM through the public API: ten rounds of known bytes both ways, read-only
 * that the host enforces, single files and lists of files, sharing and refusals, and what goes wrong: the file server
 * killed, the folder gone, links and "..", a file where a folder is expected, no free PCI port, files still open.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_MS 60000u
#define ROUNDS 10

static const char *kernel, *initrd, *launch;
static char folder[64];

/* ---- the host ----------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static void host(const char *fmt, ...) {
    char line[512];
    char *argv[] = {(char *)"/bin/sh", (char *)"-ec", line, NULL};
    va_list ap;
    pid_t pid;
    int status = -1;
    int n = snprintf(line, sizeof line, "cd %s; ", folder);
    va_start(ap, fmt);
    (void)vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        fail_msg("%s: status %d", line, status);
    }
}

static const char *in_folder(const char *name) {
    static char paths[16][128];
    static unsigned next;
    char *path = paths[next++ % 16];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Our children that are file servers. */
static unsigned servers(pid_t ret[8]) {
    char path[64], list[1024] = "", comm[32];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    (void)!fgets(list, sizeof list, f);
    (void)fclose(f);
    char *end = list;
    for (long pid = strtol(list, &end, 10); pid > 0; pid = strtol(end, &end, 10)) {
        (void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
        f = fopen(path, "re");
        if (f != NULL && fgets(comm, sizeof comm, f) != NULL && strcmp(comm, "virtiofsd\n") == 0) {
            ret[count++] = (pid_t)pid;
        }
        if (f != NULL) {
            (void)fclose(f);
        }
    }
    return count;
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
    char id[32], guest_path[128], name[32];
    uint32_t refs;
    bool shared;
};

static void attach(uvm_harness *h, const struct uvm_vsmb_params *p, struct place *ret) {
    struct call c = {0};
    assert_int_equal(uvm_vsmb_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
    expect(h, &c, UVM_OK);
    const struct uvm_attach_result r = uvm_attach_result(c.op);
    assert_string_equal(r.kind, "vsmb");
    *ret = (struct place){.refs = r.refs, .shared = r.shared};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r.id);
    (void)snprintf(ret->name, sizeof ret->name, "%s", r.share);
    (void)snprintf(ret->guest_path, sizeof ret->guest_path, "%s", r.guest_path);
    uvm_op_unref(c.op);
}

static void attach_fails(uvm_harness *h, const struct uvm_vsmb_params *p, enum uvm_error_code code,
                         const char *words) {
    struct call c = {0};
    assert_int_equal(uvm_vsmb_attach(uvm_harness_vm(h), p, NULL, on_done, &c, &c.op), 0);
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

static struct uvm_vsmb_params share(const char *name, bool read_only) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    p.host_path = in_folder(name);
    p.read_only = read_only;
    return p;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void boot(uvm_harness **ret) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_vsmb_params first = share("boot", false);
    const struct uvm_vsmb_params *list[] = {&first, NULL};
    uvm_harness *h = NULL;
    first.guest_path = "/boot-share";
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "vsmb";
    vp.kernel = kernel;
    vp.initrd = initrd;
    vp.vsmb = list;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    guest(h, 0, "from the boot", "cat /boot-share/word");
    *ret = h;
}

static void rounds(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params rw = share("rw", false), ro = share("ro", true);
    pid_t pids[8];
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct place w, r;
        char name[16];
        host("echo host %u > rw/word; echo fixed %u > ro/word", round, round);
        attach(h, &rw, &w);
        attach(h, &ro, &r);
        (void)snprintf(name, sizeof name, "s%x", 2 * round + 2);
        assert_string_equal(w.name, name); /* never used again */
        guest(h, 0, "host", "cat %s/word", w.guest_path);
        guest(h, 0, "fixed", "cat %s/word", r.guest_path);
        guest(h, 0, "", "echo guest %u > %s/answer && mkdir -p %s/sub && mv %s/answer %s/sub/",
              round, w.guest_path, w.guest_path, w.guest_path, w.guest_path);
        host("test \"$(cat rw/sub/answer)\" = 'guest %u'", round);
        guest(h, 1, "", "echo x > %s/word", r.guest_path);
        assert_int_equal(servers(pids), 2);
        detach(h, w.id, UVM_OK);
        detach(h, r.id, UVM_OK);
        guest(h, 1, "", "test -e %s", w.guest_path);
        assert_int_equal(servers(pids), 1); /* the boot's share */
    }
}

static void sharing_and_refusals(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params rw = share("rw", false), none = share("none", false),
                           file = share("rw/word", true);
    struct place one, two;
    attach(h, &rw, &one);
    attach(h, &rw, &two);
    assert_true(two.shared && two.refs == 2);
    assert_string_equal(one.id, two.id);
    rw.guest_path = "/elsewhere";
    attach_fails(h, &rw, UVM_E_EXISTS, one.id);
    rw.guest_path = NULL;
    rw.files = (const char *const[]){"word", NULL};
    attach_fails(h, &rw, UVM_E_EXISTS, "other files");
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_OK);
    attach_fails(h, &none, UVM_E_NOTFOUND, "none");
    attach_fails(h, &file, UVM_E_INVAL, "no folder");
}

/* What the guest may do with a share that is read-only, and where links and ".." lead. */
static void the_host_enforces(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params ro = share("ro", true), rw = share("rw", false);
    struct place r, w;
    attach(h, &ro, &r);
    attach(h, &rw, &w);
    host("cp ro/word word.before");
    /* The guest's own mounts are the guest's to change; the host's are not. */
    guest(h, 0, "", "mount -o remount,bind,rw %s && grep ' %s virtiofs rw' /proc/mounts",
          r.guest_path, r.guest_path);
    guest(h, 1, "", "echo x > %s/word", r.guest_path);
    guest(h, 1, "", "echo x > %s/new", r.guest_path);
    guest(h, 1, "", "rm -f %s/word", r.guest_path);
    guest(h, 1, "", "chmod 777 %s/word", r.guest_path);
    /* The tag's root is ours: nothing can be made there either. */
    guest(h, 1, "", "touch /run/uvm/vsmb/*/new");
    guest(h, 1, "", "mkdir /run/uvm/vsmb/vsmb-1/s999");
    host("cmp ro/word word.before; test ! -e ro/new");
    host("echo of the host > secret; ln -sfn $PWD/secret rw/link; ln -sfn /etc/shadow rw/shadow; "
         "ln -sfn ../secret rw/up");
    guest(h, 1, "", "cat %s/link", w.guest_path);
    guest(h, 1, "", "cat %s/up", w.guest_path);
    guest(h, 0, "", "cd %s; cd ../../../../../../..; test \"$(pwd)\" = / && test ! -e %s",
          w.guest_path, folder);
    /* A link is the guest's to follow, in the guest. */
    guest(h, 0, "of the guest", "echo of the guest > /etc/shadow; cat %s/shadow", w.guest_path);
    guest(h, 0, "", "rm /etc/shadow; ln -s / %s/root && test ! -e %s/root%s/secret", w.guest_path,
          w.guest_path, folder);
    host("rm rw/link rw/shadow rw/up rw/root secret");
    detach(h, r.id, UVM_OK);
    detach(h, w.id, UVM_OK);
}

static void files_and_lists(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params file = share("rw/word", false), list = share("rw", true);
    struct place f, l;
    host("echo one > rw/word; echo two > rw/two; echo three > rw/three; ln -s word rw/link");
    file.file = true;
    file.guest_path = "/etc/of-the-host";
    list.files = (const char *const[]){"two", "word", NULL};
    attach(h, &file, &f);
    attach(h, &list, &l);
    guest(h, 0, "one", "cat /etc/of-the-host");
    guest(h, 0, "", "echo written >> /etc/of-the-host");
    host("test \"$(cat rw/word)\" = \"$(printf 'one\\nwritten')\"");
    guest(h, 0, "two\nword\n", "ls %s", l.guest_path);
    guest(h, 0, "written", "cat %s/word", l.guest_path);
    guest(h, 1, "", "cat %s/three", l.guest_path);
    guest(h, 1, "", "touch %s/four", l.guest_path);
    detach(h, f.id, UVM_OK);
    detach(h, l.id, UVM_OK);
    guest(h, 1, "", "test -e /etc/of-the-host");
    list.files = (const char *const[]){"link", NULL};
    attach_fails(h, &list, UVM_E_INVAL, "link: no regular file");
    list.files = (const char *const[]){"two", "missing", NULL};
    attach_fails(h, &list, UVM_E_NOTFOUND, "missing");
    list.files = (const char *const[]){"../secret", NULL};
    attach_fails(h, &list, UVM_E_INVAL, "no name of a file");
    file = share("rw", false);
    file.file = true;
    attach_fails(h, &file, UVM_E_INVAL, "no regular file");
    host("rm rw/link rw/two rw/three");
}

/* A detach while the guest has something open changes nothing; the folder's end is the guest's to see. */
static void in_use_and_gone(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params rw = share("rw", false), gone = share("gone", false);
    struct place w, g;
    attach(h, &rw, &w);
    guest(h, 0, "", "sleep 1000 < %s/word > /dev/null 2>&1 & echo $! > /tmp/user", w.guest_path);
    detach(h, w.id, UVM_E_PEER);
    guest(h, 0, "", "cat %s/word", w.guest_path);
    guest(h, 0, "",
          "kill $(cat /tmp/user); while kill -0 $(cat /tmp/user) 2>/dev/null; do :; done");
    detach(h, w.id, UVM_OK);
    host("mkdir gone; echo x > gone/x");
    attach(h, &gone, &g);
    host("rm -r gone");
    guest(h, 1, "", "cat %s/x", g.guest_path);
    guest(h, 1, "", "touch %s/y", g.guest_path);
    detach(h, g.id, UVM_OK);
    attach_fails(h, &gone, UVM_E_NOTFOUND, "gone");
}

/* The file server of the read-only shares is killed while the guest waits for it. */
static void the_server_is_killed(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params ro = share("ro", true);
    struct place before, after;
    pid_t pids[8] = {0};
    char path[64], inner[32] = "";
    attach(h, &ro, &before);
    assert_int_equal(servers(pids), 2); /* beside the boot's, which came first */
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pids[1], (int)pids[1]);
    FILE *f = fopen(path, "re");
    assert_true(f != NULL && fgets(inner, sizeof inner, f) != NULL && fclose(f) == 0);
    assert_int_equal(kill((pid_t)strtol(inner, NULL, 10), SIGSTOP), 0);
    guest(h, 0, "", "(cat %s/word; echo $? > /tmp/status) > /dev/null 2>&1 &", before.guest_path);
    guest(h, 0, "from the boot", "cat /boot-share/word"); /* the others live */
    guest(h, 1, "", "test -e /tmp/status");
    assert_int_equal(kill((pid_t)strtol(inner, NULL, 10), SIGKILL), 0);
    guest(h, 0, "1", "while ! cat /tmp/status 2>/dev/null; do :; done"); /* it has heard of it */
    guest(h, 1, "", "cat %s/word", before.guest_path);
    guest(h, 1, "", "ls %s", before.guest_path);
    guest(h, 0, "from the boot", "cat /boot-share/word");
    detach(h, before.id, UVM_OK);
    assert_int_equal(servers(pids), 1);
    for (unsigned i = 0; i < 2; i++) {
        attach(h, &ro, &after);
        guest(h, 0, "fixed", "cat %s/word", after.guest_path);
        detach(h, after.id, UVM_OK);
    }
}

/* All shares of a mode take one PCI port; the boot's has one, PCI functions all the others. */
static void no_port_is_free(void **state) {
    uvm_harness *h = *state;
    struct uvm_vsmb_params ro = share("ro", true), rw = share("rw", false);
    struct uvm_vpci_params function = UVM_VPCI_PARAMS_INIT;
    char ids[7][32];
    struct place at;
    function.device = "emulated:pci-testdev";
    for (unsigned i = 0; i < 7; i++) {
        struct call c = {0};
        function.virtual_function = i;
        assert_int_equal(uvm_vpci_attach(uvm_harness_vm(h), &function, NULL, on_done, &c, &c.op),
                         0);
        expect(h, &c, UVM_OK);
        (void)snprintf(ids[i], sizeof ids[i], "%s", uvm_attach_result(c.op).id);
        uvm_op_unref(c.op);
    }
    attach_fails(h, &ro, UVM_E_LIMIT, "all 8 PCI ports");
    attach(h, &rw, &at); /* beside the boot's */
    detach(h, at.id, UVM_OK);
    detach(h, ids[3], UVM_OK);
    attach(h, &ro, &at);
    guest(h, 0, "fixed", "cat %s/word", at.guest_path);
    detach(h, at.id, UVM_OK);
}

static int open_all(void **state) {
    uvm_harness *h = NULL;
    (void)snprintf(folder, sizeof folder, "/tmp/uvm-vsmb-XXXXXX");
    assert_non_null(mkdtemp(folder));
    host("mkdir boot rw ro; echo from the boot > boot/word");
    boot(&h);
    *state = h;
    return 0;
}

static int close_all(void **state) {
    uvm_harness *h = *state;
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    host("rm -r %s", folder);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "vsmb_test KERNEL INITRD LAUNCH\n");
        return 2;
    }
    kernel = realpath(argv[1], NULL);
    initrd = realpath(argv[2], NULL);
    launch = realpath(argv[3], NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds),
        cmocka_unit_test(sharing_and_refusals),
        cmocka_unit_test(the_host_enforces),
        cmocka_unit_test(files_and_lists),
        cmocka_unit_test(in_use_and_gone),
        cmocka_unit_test(the_server_is_killed),
        cmocka_unit_test(no_port_is_free),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
