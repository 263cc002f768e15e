/* SPDX-License-Identifier: MIT
 * kinds_uvmctl_test.c — every kind of device by uvmctl: on a UVM in the background, from another terminal, and on one
 * that another embedder owns, which is this program.
 */
#include "tests/harness/harness_qemu.h"
#include "tests/integration/detach_kit.h"
#include "uvm/control.h"
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define VPMEM "io.microsoft.virtualmachine.devices.virtualpmem.maximumcount=1"

static uvm_harness *embedder; /* NULL: the UVM's owner is another process */
static char disk[128], image[128], shared[128];

/* A row a kind: what is attached, and what the guest's shell must find then, and not without it. */
static const struct row {
    const char *kind, *host,
        *mount; /* host NULL: made by the test; mount NULL: the kind has none */
    char *made;
    const char *found;
} rows[] = {
    {"scsi", NULL, "/m/scsi", disk, "grep -q ' /m/scsi ext4' /proc/mounts"},
    {"vpmem", NULL, "/m/vpmem", image, "grep -q ' /m/vpmem ext4' /proc/mounts"},
    {"vsmb", NULL, "/m/vsmb", shared, "test \"$(cat /m/vsmb/word)\" = shared"},
    {"plan9", NULL, "/m/plan9", shared, "test \"$(cat /m/plan9/word)\" = shared"},
    {"nic", "user", NULL, NULL, "ls /sys/class/net | grep -q eth"},
    {"vpci", "emulated:edu", NULL, NULL, "grep -q 0x11e8 /sys/bus/pci/devices/*/device"},
};
#define ROWS (sizeof rows / sizeof rows[0])

/* Runs uvmctl to its end, while the embedder's loop goes on. */
static int run(struct command *c, const char *const *words) {
    struct command_options o = COMMAND_OPTIONS_INIT;
    boot_start(c, &o, words);
    while (embedder != NULL && !c->ended) {
        (void)uv_run(uvm_harness_loop(embedder), UV_RUN_NOWAIT);
        (void)command_await(c, "words that nobody says", 2);
    }
    return command_end(c, BOOT_MS);
}

static void must(int status, const char *out, const char *const *words) {
    struct command c;
    int got = run(&c, words);
    if (got != status || (out != NULL && strstr(c.out_text, out) == NULL)) {
        fail_msg("%s %s: status %d, not %d; stdout \"%s\", stderr \"%s\"", words[0], words[2], got,
                 status, c.out_text, c.err_text);
    }
    command_free(&c);
}

static void in_guest(int status, const char *line) {
    must(status, NULL, LIST("exec", "demo", "--", "/bin/sh", "-c", line));
}

/* Its id, which is a line's first word. */
static void attach(const struct row *r, char ret_id[32]) {
    const char *host = r->host == NULL ? r->made : r->host;
    const char *const mounted[] = {"attach", "demo", r->kind, host, "--mount", r->mount, NULL};
    const char *const bare[] = {"attach", "demo", r->kind, host, NULL};
    struct command c;
    if (run(&c, r->mount == NULL ? bare : mounted) != 0) {
        fail_msg("attach %s: %s", r->kind, c.err_text);
    }
    (void)snprintf(ret_id, 32, "%.*s", (int)strcspn(c.out_text, " \n"), c.out_text);
    assert_memory_equal(ret_id, r->kind, strlen(r->kind));
    command_free(&c);
}

static void all_kinds(void) {
    char ids[ROWS][32];
    for (size_t i = 0; i < ROWS; i++) {
        in_guest(1, rows[i].found);
        attach(&rows[i], ids[i]);
        in_guest(0, rows[i].found);
        must(0, ids[i], LIST("devices", "demo"));
        must(0, ids[i], LIST("inspect", "demo"));
    }
    for (size_t i = ROWS; i-- > 0;) { /* the others stay */
        must(0, NULL, LIST("detach", "demo", ids[i]));
        in_guest(1, rows[i].found);
        must(3, NULL, LIST("detach", "demo", ids[i]));
    }
}

static void make_image(char path[128], const char *name) {
    static const char nothing[1];
    struct command c;
    struct command_options o = COMMAND_OPTIONS_INIT;
    kit_write(name, nothing, 0, path);
    assert_int_equal(truncate(path, 8 << 20), 0);
    o.path = "/sbin:/usr/sbin";
    assert_int_equal(command_run(&c, &o, LIST("/sbin/mkfs.ext4", "-qF", path), BOOT_MS), 0);
    command_free(&c);
}

static int make_hosts(void **state) {
    char word[160];
    (void)state;
    make_image(disk, "disk.img");
    make_image(image, "image.img");
    (void)snprintf(shared, sizeof shared, "%s/shared", kit.folder);
    assert_int_equal(mkdir(shared, 0755), 0);
    (void)snprintf(word, sizeof word, "%s/word", shared);
    int fd = open(word, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && write(fd, "shared\n", 7) == 7);
    assert_int_equal(close(fd), 0);
    return 0;
}

static int forget_hosts(void **state) {
    char word[160];
    (void)snprintf(word, sizeof word, "%s/word", shared);
    assert_int_equal(unlink(word), 0);
    assert_int_equal(rmdir(shared), 0);
    kit_forget(disk);
    kit_forget(image);
    return nothing_left(state);
}

/* ---- cases -------------------------------------------------------------------------------- */

static void from_another_terminal(void **state) {
    (void)state;
    expect(0, "demo\n", NULL, LIST("boot", "--detach", "--name", "demo", "--annotation", VPMEM));
    all_kinds();
    expect(0, NULL, NULL, LIST("stop", "demo"));
}

static void of_another_embedder(void **state) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    struct uvm_control_params control = UVM_CONTROL_PARAMS_INIT;
    struct uvm_vm_exit how = {0};
    char launch[160];
    uvm_error *err = NULL;
    (void)state;
    (void)snprintf(launch, sizeof launch, "%s/bin/uvm-launch", kit.folder);
    qemu.launch_path = launch;
    params.service = uvm_harness_qemu;
    params.service_arg = &qemu;
    assert_int_equal(uvm_harness_new(&params, &embedder), 0);
    vm.name = "demo";
    vm.kernel = kit.kernel;
    vm.initrd = kit.initrd;
    vm.vpmem_devices = 1;
    vm.vpmem_device_mb = 128;
    if (uvm_harness_boot(embedder, &vm) != 0) {
        fail_msg("%s", uvm_harness_message(embedder));
    }
    control.folder = kit.state;
    control.owner_pid = (uint32_t)getpid();
    if (uvm_control_listen(uvm_harness_vm(embedder), &control, NULL, &err) != 0) {
        fail_msg("%s", uvm_error_message(err));
    }
    all_kinds();
    assert_int_equal(uvm_harness_stop(embedder, 0, &how), 0);
    if (uvm_harness_close(embedder) != 0) {
        fail_msg("%s", uvm_harness_message(embedder));
    }
    uvm_harness_free(embedder);
    embedder = NULL;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_another_terminal, make_hosts, forget_hosts),
        cmocka_unit_test_setup_teardown(of_another_embedder, make_hosts, forget_hosts),
    };
    uv_loop_t first; /* libuv keeps a pipe from its first loop on: before the kit counts */
    (void)argc;
    assert_int_equal(uv_loop_init(&first), 0);
    assert_int_equal(uv_loop_close(&first), 0);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
