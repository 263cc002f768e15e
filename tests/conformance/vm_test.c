/* SPDX-License-Identifier: MIT
 * vm_test.c — one level up: a whole utility VM, on the model with the simulated guest and on QEMU with a real one.
 *
 * vm_test KERNEL INITRD UVM-LAUNCH. What the public API answers to boot, commands, disks and the end must be the
 * same text on both; the simulated guest is what thousands of runs are tried against.
 */
#include "hcs/sim/sim.h"
#include "tests/harness/harness_qemu.h"
#include "tests/sim/guest.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char **args, folder[PATH_MAX];
static struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
static uvm_harness *h;
static char said[8192];

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...) {
    size_t at = strlen(said);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(said + at, sizeof said - at, fmt, ap);
    va_end(ap);
    assert_true(n > 0 && at + (size_t)n < sizeof said);
}

/* ---- the simulated guest ------------------------------------------------------------------ */

static struct {
    uvm_engine *engine;
    struct guest *guest; /* one VM at a time */
    struct guest_script script;
    struct guest_seen seen;
} sim;

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *hvsock, void *arg) {
    (void)arg;
    sim.guest = guest_new(sim.engine, s, hvsock, &sim.script, &sim.seen);
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    (void)s;
    (void)arg;
    guest_stop(sim.guest);
    sim.guest = NULL;
}

static void on_disk_removed(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                            void *arg) {
    (void)s;
    (void)arg;
    guest_disk_removed(sim.guest, controller, lun);
}

static int sim_service(uvm_engine *engine, void *arg, uvm_service **ret) {
    const struct uvm__sim_params params = {.act_ms = 1,
                                           .answer_ms = 1,
                                           .on_start = on_start,
                                           .on_stop = on_stop,
                                           .on_disk_removed = on_disk_removed};
    struct uvm__sim_host *host;
    (void)arg;
    sim.engine = engine;
    int rc = uvm__sim_host_new(engine, &params, &host);
    if (rc == 0) {
        *ret = uvm__sim_service(host);
    }
    return rc;
}

struct backend {
    const char *name;
    uvm_harness_service_fn service;
    void *arg;
    bool real;
};
static const struct backend backends[] = {{"sim", sim_service, NULL, false},
                                          {"qemu", uvm_harness_qemu, &qemu, true}};

/* ---- steps -------------------------------------------------------------------------------- */

struct call {
    bool done;
    int code;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done = true;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

static void wait_for(struct call *c) {
    assert_int_equal(uvm_harness_until(h, &c->done, UVM_HARNESS_CALL_MS), 0);
}

static void attach(const char *file, const char *guest_path, bool read_only) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    struct call c = {false, 0};
    char path[PATH_MAX + 32];
    uvm_op *op = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    p.host_path = path;
    p.read_only = read_only;
    p.mount = guest_path != NULL;
    p.guest_path = guest_path != NULL && guest_path[0] != 0 ? guest_path : NULL;
    say("attach %s%s %s:", file, read_only ? " read-only" : "",
        guest_path == NULL ? "without a mount" : guest_path);
    int rc = uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, &c, &op);
    if (rc < 0) {
        say(" -%s\n", uvm_error_code_name(rc));
        return;
    }
    wait_for(&c);
    struct uvm_attach_result r = uvm_attach_result(op);
    say(" %s", uvm_error_code_name(c.code));
    if (c.code == UVM_OK) {
        say(" %s at \"%s\" %u:%u shared %d refs %u", r.id, r.guest_path, r.controller, r.lun,
            r.shared, r.refs);
    }
    say("\n");
    uvm_op_unref(op);
}

static void detach(const char *id) {
    struct call c = {false, 0};
    uvm_op *op = NULL;
    int rc = uvm_detach(uvm_harness_vm(h), id, NULL, on_done, &c, &op);
    if (rc == 0) {
        wait_for(&c);
        uvm_op_unref(op);
    }
    say("detach %s: %s%s\n", id, rc < 0 ? "-" : "", uvm_error_code_name(rc < 0 ? rc : c.code));
}

static void list(void) {
    const char *text = uvm_vm_devices(uvm_harness_vm(h));
    assert_non_null(text);
    for (const char *at = text; *at != 0;) { /* without the folder */
        size_t n = strlen(folder);
        if (strncmp(at, folder, n) == 0) {
            at += n;
        } else {
            say("%c", *at++);
        }
    }
    say("\n");
}

static void command(const char *const *argv, const char *input) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r = {0};
    exec.argv = argv;
    exec.input = input;
    exec.input_bytes = input == NULL ? 0 : strlen(input);
    int rc = uvm_harness_exec(h, &exec, &r);
    say("%s: %s, status %d, \"%s\"\n", argv[0], uvm_error_code_name(rc), r.status,
        r.out == NULL ? "" : r.out);
}
#define COMMAND(...) command((const char *const[]){__VA_ARGS__, NULL}, NULL)

static void kill_by_deadline(void) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r = {0};
    exec.argv = (const char *const[]){"sleep", "1000000", NULL};
    exec.deadline_ms = 700;
    say("sleep: %s\n", uvm_error_code_name(uvm_harness_exec(h, &exec, &r)));
}

static void ended(const char *how, int rc, const struct uvm_vm_exit *exit) {
    say("%s: %s, %s\n", how, uvm_error_code_name(rc), uvm_exit_reason_key(exit->reason));
}

/* What a real guest finds on a blank disk, the simulated one is told. */
static void next_mount_fails(void) {
    sim.script.refuse_mounts = 1;
}

static void boot(void) {
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    vm.memory_mb = 128;
    vm.kernel = args[0];
    vm.initrd = args[1];
    sim.script = (struct guest_script){0};
    say("boot: %s\n", uvm_error_code_name(uvm_harness_boot(h, &vm)));
}

static void tell(const struct backend *b) {
    struct uvm_vm_exit how = {0};
    boot();
    COMMAND("true");
    COMMAND("no-such-program");
    command((const char *const[]){"cat", NULL}, "to and fro");
    kill_by_deadline();
    list();
    attach("a.img", "/data", false);
    attach("a.img", "/data", false); /* shared */
    attach("a.img", NULL, false);
    attach("a.img", "/data", true); /* in another way */
    attach("b.img", "/data", true); /* that path is taken */
    attach("b.img", "/b", true);
    attach("c.img", "not/absolute", false);
    attach("c.img", "/x/../y", false);
    attach("c.img", "", false); /* where the engine likes */
    list();
    detach("scsi-1");
    list();
    detach("scsi-1");
    detach("scsi-1");
    detach("scsi-99");
    detach("nothing");
    attach("a.img", "/data", true); /* still attached without a mount, for writing */
    next_mount_fails();
    attach("blank.img", "/blank", false);
    list();
    attach("blank.img", NULL, false); /* nothing of that was left */
    detach("scsi-2");
    attach("a.img", "/data", true); /* now it can be */
    list();
    if (b->real) { /* and it is what it says */
        struct uvm_harness_result r;
        assert_int_equal(
            uvm_harness_sh(h, "echo 1 > /data/f; grep -c ' /data ext4 ro' /proc/mounts", &r), 0);
        assert_string_equal(r.out, "1\n");
    } else {
        struct guest_mount m;
        assert_true(guest_mount_at(sim.guest, "/data", &m) && m.read_only);
    }
    int rc = uvm_harness_stop(h, 0, &how); /* with disks attached */
    ended("stop", rc, &how);
    attach("a.img", "/data", false);
    detach("scsi-1");
    COMMAND("true");
    boot();
    attach("a.img", "/data", false);
    list();
    rc = uvm_harness_terminate(h, &how);
    ended("terminate", rc, &how);
    COMMAND("true");
}

/* ---- both --------------------------------------------------------------------------------- */

static void run(const struct backend *b) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    params.service = b->service;
    params.service_arg = b->arg;
    said[0] = 0;
    assert_int_equal(uvm_harness_new(&params, &h), 0);
    tell(b);
    if (uvm_harness_close(h) != 0) {
        fail_msg("%s: %s", b->name, uvm_harness_message(h));
    }
    uvm_harness_free(h);
}

static void the_same_on_both(void **state) {
    char model[sizeof said];
    (void)state;
    run(&backends[0]);
    memcpy(model, said, sizeof said);
    assert_int_equal(sim.seen.yanked, 0);
    assert_int_equal(sim.seen.guests, 0);
    run(&backends[1]);
    if (strcmp(model, said) != 0) {
        fprintf(stderr, "the model:\n%s---- qemu:\n%s", model, said);
        fail();
    }
    static const char *const must[] = {"boot: OK", "cat: OK, status 0, \"to and fro\"",
                                       "no-such-program: PEER, status 127",
                                       "stop: OK, guest-shutdown", "terminate: OK, terminated"};
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++) {
        if (strstr(said, must[i]) == NULL) {
            fail_msg("no \"%s\" in\n%s", must[i], said);
        }
    }
}

static void make_image(const char *name, bool filesystem) {
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600), status = 0;
    char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4", (char *)(uintptr_t) "-qF", path, NULL};
    pid_t pid;
    assert_true(fd >= 0 && ftruncate(fd, 4 << 20) == 0);
    close(fd);
    if (filesystem) {
        assert_int_equal(posix_spawn(&pid, "/sbin/mkfs.ext4", NULL, NULL, argv, environ), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    assert_int_equal(status, 0);
}

static int set_up(void **state) {
    (void)state;
    make_image("a.img", true);
    make_image("b.img", true);
    make_image("c.img", true);
    make_image("blank.img", false);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_on_both)};
    const char *temporary = getenv("TEST_TMPDIR");
    if (argc < 4) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH\n", argv[0]);
        return 2;
    }
    args = argv + 1;
    qemu.launch_path = realpath(args[2], NULL);
    if (realpath(temporary == NULL ? "/tmp" : temporary, folder) == NULL) {
        return 2;
    }
    int failed = cmocka_run_group_tests(tests, set_up, NULL);
    free((void *)(uintptr_t)qemu.launch_path);
    return failed;
}
