/* SPDX-License-Identifier: MIT
 * qemu_service_test.c — the compute service on real QEMU: a VM's life from document to each of its ends.
 *
 * qemu_service_test KERNEL INITRD UVM-LAUNCH: three guests boot to the end; the other tests need no guest, or
 * not all of one. The guest is our image with a shell in the agent's place.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hcs/qemu/probe.h"
#include "tests/integration/qemu_kit.h"

/* ---- one guest's whole life --------------------------------------------------------------- */

struct accepted {
    bool any;
};

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    (void)l;
    uvm__stream_reset(s);
    ((struct accepted *)arg)->any = true;
}

/* A line of /proc/PID/status. */
static void expect_status(long pid, const char *line) {
    char path[64], text[8192];
    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    if (strstr(text, line) == NULL) {
        fail_msg("no \"%s\" in\n%s", line, text);
    }
}

static bool has_open(long pid, const char *target) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *dir = opendir(path);
    bool found = false;
    assert_non_null(dir);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        char link[512] = "";
        ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof link - 1);
        found = found || (n > 0 && strcmp(link, target) == 0);
    }
    closedir(dir);
    return found;
}

static void expect_confined(struct kit *k) {
    long pid = kit_vmm();
    char line[64];
    assert_true(pid > 0);
    assert_int_equal(strtol(kit_property(k, "Vmm.ProcessId"), NULL, 10), pid);
    expect_status(pid, "NoNewPrivs:\t1\n");
    expect_status(pid, "Seccomp:\t2\n");
    expect_status(pid, "CapEff:\t0000000000000000\n");
    if (geteuid() == 0) {
        long uid = strtol(kit_property(k, "Vmm.UserId"), NULL, 10);
        assert_true(uid >= 1879048192);
        (void)snprintf(line, sizeof line, "Uid:\t%ld\t%ld\t%ld\t%ld\n", uid, uid, uid, uid);
        expect_status(pid, line);
        expect_status(pid, "Groups:\t \n");
    }
    assert_int_equal(getpgid((pid_t)pid), pid);
}

static void expect_properties(struct kit *k) {
    assert_string_equal(kit_property(k, "Id"), "01234567-89ab-cdef-0123-456789abcdef");
    assert_string_equal(kit_property(k, "Name"), "test");
    assert_string_equal(kit_property(k, "State"), "Running");
    assert_string_equal(kit_property(k, "Vmm.Service"), "qemu");
    assert_non_null(strchr(kit_property(k, "Vmm.Version"), '.'));
    assert_non_null(kit_property(k, "Vmm.Accelerator"));
    assert_true(strlen(kit_property(k, "Vmm.AcceleratorReason")) > 0);
    assert_string_equal(kit_property(k, "Vmm.KernelCmdLine.Document"), KIT_SHELL);
    assert_non_null(strstr(kit_property(k, "Vmm.KernelCmdLine.Effective"), "maxcpus=1"));
    assert_non_null(kit_property(k, "Vmm.TimesMs.Started"));
    assert_null(kit_property(k, "ExitType"));
}

static void pause_and_resume(struct kit *k) {
    assert_int_equal(kit_run(k, uvm__hcs_resume), UVM_E_STATE);
    assert_int_equal(kit_run(k, uvm__hcs_start), UVM_E_STATE);
    assert_int_equal(kit_run(k, uvm__hcs_pause), UVM_OK);
    loop_until(&k->base, &k->paused);
    assert_false(k->resumed);
    assert_string_equal(kit_property(k, "State"), "Paused");
    assert_int_equal(kit_run(k, uvm__hcs_pause), UVM_E_STATE);
    assert_int_equal(kit_run(k, uvm__hcs_resume), UVM_OK);
    loop_until(&k->base, &k->resumed);
    assert_string_equal(kit_property(k, "State"), "Running");
    kit_type(k, "echo still $((40 + 2))");
    kit_expect(k, "still 42");
}

static void life_and_shutdown(void **state) {
    (void)state;
    struct kit k;
    struct accepted entropy = {false};
    struct uvm__listener *listener = NULL;

    kit_open(&k);
    int marker = open("/dev/full", O_RDONLY); /* inheritable on purpose: QEMU must not get it */
    kit_create(&k);
    kit_wait_created(&k);
    if (k.create_code != UVM_OK) {
        const uvm_error *err = uvm__op_error(k.create);
        fail_msg("%s: %s\n%s", uvm_error_step(err), uvm_error_message(err), uvm_error_detail(err));
    }
    assert_string_equal(kit_property(&k, "State"), "Created");
    assert_int_equal(kit_run(&k, uvm__hcs_pause), UVM_E_STATE);
    const struct uvm__listen_params port = {
        .port = UVM__PORT_ENTROPY, .on_accept = on_accept, .arg = &entropy};
    assert_int_equal(uvm__hvsock_listen(k.system->hvsock, &port, &listener), 0);
    assert_false(has_open(kit_vmm(), "/dev/full"));
    close(marker);
    assert_int_equal(k.text_bytes, 0); /* not an instruction before start */
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    kit_expect(&k, "guest is up");
    loop_until(&k.base, &entropy.any); /* its init dialled us */
    uvm__listener_close(listener);
    expect_confined(&k);
    expect_properties(&k);
    pause_and_resume(&k);
    /* More than a socket holds, while we look away: nothing stalls, and the tail is there. */
    kit_type(&k, "seq 20000; echo counted");
    kit_expect(&k, "counted");
    kit_type(&k, "busybox poweroff -f");
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_GUEST_SHUTDOWN);
    assert_string_equal(k.exit_detail, "guest-shutdown; qemu: exit status 0");
    assert_string_equal(kit_property(&k, "State"), "Stopped");
    assert_string_equal(kit_property(&k, "ExitType"), "guest shut down");
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_E_EXITED);
    assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK); /* it has ended: done */
    kit_close(&k);
}

static void panic_is_told_apart(void **state) {
    (void)state;
    struct kit k;
    kit_open(&k);
    kit_boot(&k);
    kit_type(&k, "echo c > /proc/sysrq-trigger");
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_GUEST_PANIC);
    assert_string_equal(k.exit_detail, "guest-panic; qemu: exit status 1");
    assert_non_null(strstr(k.text, "Kernel panic")); /* the console was read to its end */
    kit_close(&k);
}

static void reset_ends_it(void **state) {
    (void)state;
    struct kit k;
    kit_open(&k);
    kit_boot(&k);
    kit_type(&k, "busybox reboot -f");
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_GUEST_RESET);
    kit_close(&k);
}

/* ---- ends that the host makes ------------------------------------------------------------- */

static void killed_in_mid_boot(void **state) {
    (void)state;
    struct kit k;
    kit_open(&k);
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    assert_int_equal(kill((pid_t)kit_vmm(), SIGKILL), 0);
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_VMM_DIED);
    assert_string_equal(k.exit_detail, "qemu: killed by SIGKILL");
    kit_close(&k);
}

static void terminated(void **state) {
    (void)state;
    for (int running = 0; running < 2; running++) {
        struct kit k;
        kit_open(&k);
        kit_create(&k);
        kit_wait_created(&k);
        if (running) {
            assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
        }
        assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK);
        kit_wait_exit(&k);
        assert_int_equal(k.exit, UVM__HCS_EXIT_TERMINATED);
        assert_string_equal(k.exit_detail, "host-qmp-quit; qemu: exit status 0");
        assert_int_equal(kit_children(), 0);
        kit_close(&k);
    }
}

/* A VMM that does not answer any more is killed; one that somebody else ends is not ours. */
static void stopped_and_signalled(void **state) {
    (void)state;
    struct kit k;
    kit_open(&k);
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(kill((pid_t)kit_vmm(), SIGSTOP), 0);
    assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK);
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_TERMINATED);
    kit_close_system(&k);

    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(kill((pid_t)kit_vmm(), SIGTERM), 0);
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_VMM_DIED);
    assert_non_null(strstr(k.exit_detail, "host-signal"));
    kit_close(&k);
}

/* Closing without a word ends the VM too; and a create that nobody takes ends with its op. */
static void closed_or_never_taken(void **state) {
    (void)state;
    struct kit k;
    kit_open(&k);
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    kit_close_system(&k);
    assert_false(k.exited); /* no event after close */
    assert_int_equal(kit_children(), 0);

    kit_create(&k);
    loop_until_ms(&k.base, &k.created, KIT_WAIT_MS);
    assert_int_equal(k.create_code, UVM_OK);
    kit_close(&k);
}

/* ---- every moment of create --------------------------------------------------------------- */

/* Lets the loop turn `turns` times from the start of create. */
static void turn_some(struct kit *k, int turns) {
    for (int i = 0; i < turns && !k->created; i++) {
        uv_run(&k->base.loop, UV_RUN_ONCE);
    }
}

static void killed_at_each_turn(void **state) {
    (void)state;
    bool through = false;
    for (int turns = 1; turns < 200 && !through; turns += 2) {
        struct kit k;
        kit_open(&k);
        kit_create(&k);
        turn_some(&k, turns);
        through = k.created;
        long pid = kit_vmm();
        if (pid > 0) {
            assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
        }
        kit_wait_created(&k);
        if (k.system != NULL && pid > 0) {
            kit_wait_exit(&k);
            assert_int_equal(k.exit, UVM__HCS_EXIT_VMM_DIED);
        } else if (pid > 0) {
            const uvm_error *err = uvm__op_error(k.create);
            bool early = k.create_code == UVM_E_HOST; /* uvm-launch itself was hit */
            if (!early && k.create_code != UVM_E_EXITED) {
                fail_msg("turn %d: %s", turns, uvm_error_message(err));
            }
            assert_true(early || strstr(uvm_error_detail(err), "killed by SIGKILL") != NULL);
        }
        kit_close(&k);
    }
    assert_true(through);
}

static void canceled_at_each_turn(void **state) {
    (void)state;
    bool through = false;
    int canceled = 0;
    for (int turns = 0; turns < 200 && !through; turns += 2) {
        struct kit k;
        kit_open(&k);
        kit_create(&k);
        turn_some(&k, turns);
        through = k.created;
        uvm_op_cancel(k.create);
        kit_wait_created(&k);
        assert_true(k.create_code == UVM_OK || k.create_code == UVM_E_CANCELED);
        if (k.create_code == UVM_E_CANCELED) {
            canceled++;
            assert_int_equal(kit_children(), 0); /* before the op itself is gone */
        }
        kit_close(&k);
    }
    assert_true(through);
    assert_true(canceled > 3);
}

/* ---- what a host may lack, and what a document may ask ------------------------------------- */

static void expect_refused(struct kit *k, int code, const char *step, const char *message,
                           const char *detail) {
    kit_create(k);
    kit_wait_created(k);
    const uvm_error *err = uvm__op_error(k->create);
    if (err == NULL || k->create_code != code || strstr(uvm_error_message(err), message) == NULL ||
        strcmp(uvm_error_step(err), step) != 0 || strstr(uvm_error_detail(err), detail) == NULL) {
        fail_msg("%s: %s\n%s\nexpected: %s", uvm_error_step(err), uvm_error_message(err),
                 uvm_error_detail(err), message);
    }
    assert_int_equal(kit_children(), 0);
    kit_close_system(k);
}

static void write_file(const char *path, const char *text, mode_t mode) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void refused_documents(void **state) {
    (void)state;
    struct kit k;
    char dir[] = "/tmp/uvm-qemu-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/garbage", dir);
    write_file(path, "this is no kernel", 0644);
    kit_open(&k);
    struct uvm__doc good = k.doc;

    k.doc.vm.topology.processor.limit = 5;
    expect_refused(&k, UVM_E_UNSUPPORTED, "vm create › document",
                   "VirtualMachine.ComputeTopology.Processor.Limit: ", "");
    k.doc = good;
    k.doc.vm.chipset.linux_kernel_direct.kernel_file_path = path;
    expect_refused(&k, UVM_E_INVAL, "vm create › boot files", "garbage: not an ELF file", "");
    k.doc = good;
    k.doc.vm.chipset.linux_kernel_direct.init_rd_path = path;
    expect_refused(&k, UVM_E_INVAL, "vm create › boot files", "garbage: neither a cpio", "");
    k.doc = good;
    k.doc.vm.chipset.linux_kernel_direct.kernel_file_path = "/nonexistent";
    expect_refused(&k, UVM_E_NOTFOUND, "vm create › boot files",
                   "kernel /nonexistent: No such file or directory; give", "");
    k.doc = good;
    k.doc.vm.topology.memory.size_in_mb = 64;
    expect_refused(
        &k, UVM_E_INVAL, "vm create › boot files",
        "VirtualMachine.ComputeTopology.Memory.SizeInMB: 64 is too small; this kernel and "
        "initrd need at least ",
        "");
    k.doc = good; /* QEMU itself finds this one too large, and says so */
    k.doc.vm.topology.memory.size_in_mb = UVM__DOC_MEMORY_MB_MAX;
    expect_refused(&k, UVM_E_EXITED, "vm create › handshake", "qemu ended at its start",
                   "exit status 1\nqemu-system-x86_64: ");
    k.doc = good;
    k.doc.vm.devices.com_ports_count = 0; /* and no descriptor: fine */
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    kit_close(&k);
    unlink(path);
    rmdir(dir);
}

static void descriptors_and_names_match(void **state) {
    (void)state;
    struct kit k;
    const struct uvm__doc_com_port other[] = {{.named_pipe = "other"}};
    kit_open(&k);
    k.doc.vm.devices.com_ports = other;
    expect_refused(&k, UVM_E_INVAL, "vm create › document",
                   "descriptor \"console\" is not named by the document", "");
    kit_close(&k);
}

static void hosts_that_lack_something(void **state) {
    (void)state;
    char dir[] = "/tmp/uvm-qemu-XXXXXX", path[64];
    struct kit k;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/qemu", dir);
    struct uvm_qemu_params p = kit_params();

    p.search_path = dir;
    kit_open(&k);
    kit_service(&k, &p);
    expect_refused(&k, UVM_E_HOST, "vm create › host", "not found in /tmp/uvm-qemu-", "");
    kit_close(&k);

    p = kit_params(); /* one that says its last words */
    p.qemu_path = path;
    write_file(path, "#!/bin/sh\necho 'qemu: cannot allocate guest memory' >&2\nexit 1\n", 0755);
    kit_open(&k);
    kit_service(&k, &p);
    expect_refused(&k, UVM_E_EXITED, "vm create › handshake", "vm test: qemu ended at its start",
                   "qemu: exit status 1\nqemu: cannot allocate guest memory");
    kit_close(&k);

    write_file(path,
               "\x7f"
               "ELFgarbage",
               0755); /* cannot be executed */
    kit_open(&k);
    kit_service(&k, &p);
    expect_refused(&k, UVM_E_HOST, "vm create › vmm", "cannot be started; install qemu-system-x86",
                   "");
    kit_close(&k);

    p = kit_params();
    p.launch_path = "/nonexistent/uvm-launch";
    kit_open(&k);
    kit_service(&k, &p);
    expect_refused(&k, UVM_E_HOST, "vm create › vmm", "is uvm-launch installed", "");
    kit_close(&k);
    unlink(path);
    rmdir(dir);
}

/* ---- accelerators -------------------------------------------------------------------------- */

struct probed {
    bool done;
    int code;
    char message[256], detail[1024];
};

static void on_probed(uvm_op *op, const uvm_error *err, void *arg) {
    struct probed *p = arg;
    (void)op;
    p->done = true;
    p->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(p->message, sizeof p->message, "%s", err == NULL ? "" : uvm_error_message(err));
    (void)snprintf(p->detail, sizeof p->detail, "%s", err == NULL ? "" : uvm_error_detail(err));
}

static struct probed probe(struct kit *k, const char *qemu_path, bool kvm) {
    const struct uvm__probe_params params = {
        .qemu_path = qemu_path, .launch_path = kit_files.launch, .kvm = kvm};
    struct probed p = {.done = false};
    assert_int_equal(uvm__qemu_probe(k->base.engine, &params, NULL, on_probed, &p, NULL), 0);
    loop_until_ms(&k->base, &p.done, KIT_WAIT_MS);
    assert_int_equal(kit_children(), 0);
    return p;
}

/* The probe's guest is real, and under emulation it always runs. */
static void probe_guests(void **state) {
    (void)state;
    char dir[] = "/tmp/uvm-qemu-XXXXXX", path[64];
    struct kit k;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/qemu", dir);
    kit_open(&k);
    assert_int_equal(probe(&k, "/usr/bin/qemu-system-x86_64", false).code, UVM_OK);
    write_file(path, "#!/bin/sh\nexec sleep 60\n", 0755); /* starts, and runs no guest code */
    assert_int_equal(probe(&k, path, false).code, UVM_E_TIMEDOUT);
    write_file(path, "#!/bin/sh\necho 'failed to set MSR' >&2\nkill -6 $$\n", 0755);
    struct probed p = probe(&k, path, false);
    assert_int_equal(p.code, UVM_E_HOST);
    assert_string_equal(p.message, "the probe VM ended: killed by SIGABRT");
    assert_string_equal(p.detail, "failed to set MSR\n");
    kit_close(&k);
    unlink(path);
    rmdir(dir);
}

static void the_choice_is_told(void **state) {
    (void)state;
    struct kit k;
    struct uvm_qemu_params params = kit_params();
    struct probed p = {.done = false};
    uvm_op *op = NULL;
    bool kvm = false;

    kit_open(&k);
    kit_service(&k, &params);
    assert_int_equal(uvm_qemu_service_probe(k.service, NULL, on_probed, &p, &op), 0);
    loop_until_ms(&k.base, &p.done, KIT_WAIT_MS);
    assert_int_equal(p.code, UVM_OK);
    const struct uvm_qemu_facts *facts = uvm_qemu_service_probe_result(op);
    assert_true(strlen(facts->reason) > 0 && strlen(facts->user) > 0);
    assert_string_equal(facts->qemu_path, "/usr/bin/qemu-system-x86_64");
    kvm = strcmp(facts->accel, "kvm") == 0;
    assert_true(facts->version[0] >= '5' && facts->capabilities_count > 0);
    for (size_t i = 0; i < facts->capabilities_count; i++) {
        assert_true(facts->capabilities[i].present || !facts->capabilities[i].needed);
    }
    uvm_op_unref(op);
    kit_close(&k);

    params.accel = UVM_QEMU_ACCEL_KVM; /* demanded: given, or refused with the reason */
    kit_open(&k);
    kit_service(&k, &params);
    if (kvm) {
        kit_create(&k);
        kit_wait_created(&k);
        assert_string_equal(kit_property(&k, "Vmm.Accelerator"), "kvm");
    } else {
        expect_refused(&k, UVM_E_HOST, "vm create › accelerator", "choose auto or tcg", "");
    }
    kit_close(&k);

    params.accel = UVM_QEMU_ACCEL_TCG;
    kit_open(&k);
    kit_service(&k, &params);
    kit_create(&k);
    kit_wait_created(&k);
    assert_string_equal(kit_property(&k, "Vmm.Accelerator"), "tcg");
    assert_string_equal(kit_property(&k, "Vmm.AcceleratorReason"), "asked for");
    kit_close(&k);
}

/* Files that only root may read reach an unprivileged QEMU as copies. */
static void files_for_root_only(void **state) {
    (void)state;
    struct kit k;
    char dir[] = "/tmp/uvm-qemu-XXXXXX", kernel[64], initrd[64];
    if (geteuid() != 0) {
        skip();
    }
    assert_non_null(mkdtemp(dir)); /* 0700 */
    (void)snprintf(kernel, sizeof kernel, "%s/k", dir);
    (void)snprintf(initrd, sizeof initrd, "%s/i", dir);
    const char *const from[] = {kit_files.kernel, kit_files.initrd}, *const to[] = {kernel, initrd};
    for (int i = 0; i < 2; i++) {
        int in = open(from[i], O_RDONLY | O_CLOEXEC);
        int out = open(to[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        char buf[65536];
        ssize_t n;
        assert_true(in >= 0 && out >= 0);
        while ((n = read(in, buf, sizeof buf)) > 0) {
            assert_int_equal(write(out, buf, (size_t)n), n);
        }
        close(in);
        close(out);
    }
    kit_open(&k);
    k.doc.vm.chipset.linux_kernel_direct.kernel_file_path = kernel;
    k.doc.vm.chipset.linux_kernel_direct.init_rd_path = initrd;
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    kit_close(&k);
    unlink(kernel);
    unlink(initrd);
    rmdir(dir);
}

/* ---- the owner dies ----------------------------------------------------------------------- */

/* In a process of its own: boots a VM, says QEMU's pid, and waits to be killed. */
_Noreturn static void be_owner(void) {
    struct kit k;
    kit_open(&k);
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    long pid = kit_vmm();
    assert_int_equal(write(STDOUT_FILENO, &pid, sizeof pid), sizeof pid);
    for (;;) {
        uv_run(&k.base.loop, UV_RUN_ONCE);
    }
}

static void no_vmm_outlives_its_owner(void **state) {
    char *const *args = *state;
    char *const argv[] = {args[0], args[1], args[2], args[3], "owner", NULL};
    int out[2], status;
    long vmm = 0;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t owner = fork();
    assert_true(owner >= 0);
    if (owner == 0) {
        dup2(out[1], STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(out[1]);
    assert_int_equal(read(out[0], &vmm, sizeof vmm), sizeof vmm);
    close(out[0]);
    struct pollfd p = {.fd = pidfd_open((pid_t)vmm, 0), .events = POLLIN};
    assert_true(p.fd >= 0);
    assert_int_equal(poll(&p, 1, 0), 0); /* it runs */
    assert_int_equal(kill(owner, SIGKILL), 0);
    assert_int_equal(waitpid(owner, &status, 0), owner);
    assert_int_equal(poll(&p, 1, 1000), 1);
    close(p.fd);
    assert_int_equal(waitpid((pid_t)vmm, &status, 0), vmm); /* it came to us: we are a subreaper */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(kit_children(), 0);
}

int main(int argc, char **argv) {
    kit_arguments(argc, argv);
    if (argc == 5) {
        be_owner();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_and_shutdown),
        cmocka_unit_test(panic_is_told_apart),
        cmocka_unit_test(reset_ends_it),
        cmocka_unit_test(killed_in_mid_boot),
        cmocka_unit_test(terminated),
        cmocka_unit_test(stopped_and_signalled),
        cmocka_unit_test(closed_or_never_taken),
        cmocka_unit_test(killed_at_each_turn),
        cmocka_unit_test(canceled_at_each_turn),
        cmocka_unit_test(refused_documents),
        cmocka_unit_test(descriptors_and_names_match),
        cmocka_unit_test(hosts_that_lack_something),
        cmocka_unit_test(files_for_root_only),
        cmocka_unit_test(probe_guests),
        cmocka_unit_test(the_choice_is_told),
        cmocka_unit_test_prestate(no_vmm_outlives_its_owner, argv),
    };
    cmocka_set_test_filter(getenv("TESTBRIDGE_TEST_ONLY")); /* --test_filter */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
