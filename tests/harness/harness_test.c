/* SPDX-License-Identifier: MIT
 * harness_test.c — the harness around real VMs: what it returns, what it says, and what it finds left.
 *
 * Most cases share one VM; the one in which the VM ends boots another behind it. What is planted needs none.
 */
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

static char **args; /* kernel, initrd, uvm-launch */
static struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
static uvm_harness *h;
static size_t console_bytes;

static void expect(int rc, int wanted) {
    if (rc != wanted) {
        fail_msg("%d, not %d: %s", rc, wanted, uvm_harness_message(h));
    }
}

static void expect_message(const char *words) {
    if (strstr(uvm_harness_message(h), words) == NULL) {
        fail_msg("no \"%s\" in: %s", words, uvm_harness_message(h));
    }
}

static uvm_harness *make(void) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    uvm_harness *made = NULL;
    params.service = uvm_harness_qemu;
    params.service_arg = &qemu;
    assert_int_equal(uvm_harness_new(&params, &made), 0);
    return made;
}

static void on_console(uvm_vm *vm, const void *data, size_t bytes, void *arg) {
    (void)data;
    assert_ptr_equal(vm, uvm_harness_vm(h));
    *(size_t *)arg += bytes;
}

static struct uvm_vm_params small_vm(void) {
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    vm.memory_mb = 128;
    vm.kernel = args[0];
    vm.initrd = args[1];
    vm.on_console = on_console;
    vm.arg = &console_bytes;
    return vm;
}

static int open_shared(void **state) {
    struct uvm_vm_params vm = small_vm();
    (void)state;
    h = make();
    expect(uvm_harness_boot(h, &vm), 0);
    return 0;
}

static int close_shared(void **state) {
    (void)state;
    expect(uvm_harness_close(h), 0);
    assert_string_equal(uvm_harness_message(h), "");
    uvm_harness_free(h);
    return 0;
}

/* ---- one VM for all of these -------------------------------------------------------------- */

static void test_results(void **state) {
    struct uvm_harness_result r;
    (void)state;
    expect(uvm_harness_sh(h, "echo out; echo err >&2; exit 7", &r), 0);
    assert_int_equal(r.status, 7);
    assert_string_equal(r.out, "out\n");
    assert_string_equal(r.err, "err\n");
    expect(uvm_harness_sh(h, "kill -9 $$", &r), 0);
    assert_int_equal(r.status, 128 + 9);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    exec.argv = (const char *const[]){"sh", "-c", "echo $WHO; pwd; id -u", NULL};
    exec.env = (const char *const[]){"WHO=me", "PATH=/bin:/usr/bin", NULL};
    exec.cwd = "/tmp";
    exec.user = "1000";
    expect(uvm_harness_exec(h, &exec, &r), 0);
    assert_string_equal(r.out, "me\n/tmp\n1000\n");
}

static void test_no_such_program(void **state) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r;
    (void)state;
    exec.argv = (const char *const[]){"no-such-program", NULL};
    expect(uvm_harness_exec(h, &exec, &r), -UVM_E_PEER);
    assert_int_equal(r.status, 127);
    expect_message("no-such-program (PEER)");
    exec.argv = NULL;
    expect(uvm_harness_exec(h, &exec, &r), -UVM_E_INVAL);
}

/* More than any buffer on the way holds, both ways; what is over the limit is counted and holds nobody up. */
static void test_input_and_limits(void **state) {
    enum { BYTES = 3000000, KEPT = 1000 };
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r;
    char *data = malloc(BYTES);
    (void)state;
    assert_non_null(data);
    for (int i = 0; i < BYTES; i++) {
        data[i] = (char)('a' + i % 23);
    }
    exec.argv = (const char *const[]){"cat", NULL};
    exec.input = data;
    exec.input_bytes = BYTES;
    exec.output_bytes_max = BYTES;
    expect(uvm_harness_exec(h, &exec, &r), 0);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.out_bytes, BYTES);
    assert_memory_equal(r.out, data, BYTES);
    assert_int_equal(r.out_dropped, 0);
    exec.output_bytes_max = KEPT;
    expect(uvm_harness_exec(h, &exec, &r), 0);
    assert_int_equal(r.out_bytes, KEPT);
    assert_int_equal(r.out_dropped, BYTES - KEPT);
    assert_memory_equal(r.out, data, KEPT);
    assert_int_equal(r.out[KEPT], 0);
    exec.argv = (const char *const[]){"true", NULL}; /* reads nothing of it */
    expect(uvm_harness_exec(h, &exec, &r), 0);
    assert_int_equal(r.status, 0);
    exec.argv = (const char *const[]){"cat", NULL};
    exec.input_bytes = 0; /* an end and nothing before it */
    expect(uvm_harness_exec(h, &exec, &r), 0);
    assert_int_equal(r.out_bytes, 0);
    free(data);
}

static void test_files(void **state) {
    static const char bytes[] = {'a', '\0', '\n', '\xff'};
    struct uvm_harness_result r;
    (void)state;
    expect(uvm_harness_push(h, "/tmp/a file", bytes, sizeof bytes, 0750), 0);
    expect(uvm_harness_pull(h, "/tmp/a file", sizeof bytes, &r), 0);
    assert_int_equal(r.out_bytes, sizeof bytes);
    assert_memory_equal(r.out, bytes, sizeof bytes);
    expect(uvm_harness_sh(h, "stat -c %a '/tmp/a file'", &r), 0);
    assert_string_equal(r.out, "750\n");
    expect(uvm_harness_pull(h, "/tmp/a file", sizeof bytes - 1, &r), -UVM_E_LIMIT);
    expect_message("/tmp/a file is longer than 3 bytes");
    expect(uvm_harness_push(h, "/tmp/a file", NULL, 0, 0644), 0);
    expect(uvm_harness_pull(h, "/tmp/a file", 0, &r), 0);
    assert_int_equal(r.out_bytes, 0);
    expect(uvm_harness_pull(h, "/tmp/none", 10, &r), -UVM_E_PEER);
    expect_message("/tmp/none was not read: status 1");
    expect(uvm_harness_push(h, "/none/at/all", "x", 1, 0644), -UVM_E_PEER);
    expect_message("/none/at/all was not written");
}

/* Killed with what it started; the VM goes on. */
static void test_deadline(void **state) {
    struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
    struct uvm_harness_result r;
    (void)state;
    exec.argv =
        (const char *const[]){"sh", "-c", "trap '' TERM; echo begun; sleep 999; echo", NULL};
    exec.deadline_ms = 1500;
    expect(uvm_harness_exec(h, &exec, &r), -UVM_E_TIMEDOUT);
    expect_message("sh (TIMEDOUT)");
    assert_string_equal(r.out, "begun\n");
    expect(uvm_harness_sh(h, "pidof sleep", &r), 0);
    assert_string_equal(r.out, "");
}

static void test_state(void **state) {
    struct uvm_vm_params vm = small_vm();
    bool never = false;
    (void)state;
    expect(uvm_harness_boot(h, &vm), -UVM_E_STATE);
    expect_message("there is a VM that is running");
    assert_int_equal(uvm_harness_until(h, &never, 1), -UVM_E_TIMEDOUT);
    assert_int_equal(uvm_vm_state(uvm_harness_vm(h)), UVM_VM_RUNNING);
}

/* The guest dies under a command; the harness goes on to the next VM. */
static void test_guest_dies(void **state) {
    struct uvm_vm_params vm = small_vm();
    struct uvm_vm_exit how = {0};
    struct uvm_harness_result r;
    (void)state;
    expect(uvm_harness_sh(
               h, "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 99", &r),
           -UVM_E_EXITED);
    expect_message("sysrq triggered crash");
    assert_non_null(strstr(uvm_harness_console(h), "sysrq triggered crash"));
    assert_true(console_bytes > 0);
    expect(uvm_harness_wait(h, &how), 0);
    assert_int_equal(how.reason, UVM_EXIT_GUEST_PANIC);
    expect(uvm_harness_sh(h, "true", &r), -UVM_E_STATE);
    expect(uvm_harness_boot(h, &vm), 0);
    expect(uvm_harness_sh(h, "true", &r), 0);
    expect(uvm_harness_stop(h, 0, &how), 0);
    assert_int_equal(how.reason, UVM_EXIT_GUEST_SHUTDOWN);
    expect(uvm_harness_terminate(h, &how), 0); /* ended already */
    assert_int_equal(how.reason, UVM_EXIT_GUEST_SHUTDOWN);
}

/* ---- without a VM ------------------------------------------------------------------------- */

static int no_service(uvm_engine *engine, void *arg, uvm_service **ret) {
    (void)engine;
    (void)ret;
    return *(int *)arg;
}

static void test_refused(void **state) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    uvm_harness *none = NULL;
    int code = -UVM_E_HOST;
    (void)state;
    assert_int_equal(uvm_harness_new(&params, &none), -UVM_E_INVAL);
    params.service = no_service;
    params.service_arg = &code;
    assert_int_equal(uvm_harness_new(&params, &none), -UVM_E_HOST);
    params.size++;
    assert_int_equal(uvm_harness_new(&params, &none), -UVM_E_INVAL);
    params.size--;
    params.service = uvm_harness_qemu;
    params.service_arg = NULL;
    assert_int_equal(uvm_harness_new(&params, &none), -UVM_E_INVAL);
    assert_null(none);
}

static void test_boot_fails(void **state) {
    struct uvm_vm_params vm = small_vm();
    struct uvm_harness_result r;
    (void)state;
    h = make();
    expect(uvm_harness_sh(h, "true", &r), -UVM_E_STATE);
    expect_message("there is no VM");
    vm.kernel = "/no/such/kernel";
    assert_true(uvm_harness_boot(h, &vm) < 0);
    expect_message("/no/such/kernel");
    vm.name = "-";
    expect(uvm_harness_boot(h, &vm), -UVM_E_INVAL);
    expect_message("name");
    expect(uvm_harness_close(h), 0);
    expect(uvm_harness_close(h), -UVM_E_STATE);
    uvm_harness_free(h);
}

/* A descriptor, a handle on the loop and an error that nobody released: all three are named. */
static void test_left_behind(void **state) {
    struct uvm_vm_params vm = small_vm();
    uvm_error *err = NULL;
    uvm_vm *none = NULL;
    uv_timer_t timer;
    (void)state;
    h = make();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    expect(uvm_harness_close(h), -UVM_E_UNDO);
    expect_message("left behind:\n  descriptor ");
    expect_message(": /dev/null\n");
    close(fd);
    uvm_harness_free(h);

    h = make();
    vm.name = "-";
    assert_int_equal(uvm_vm_new(uvm_harness_engine(h), NULL, &vm, &none, &err), -UVM_E_INVAL);
    expect(uvm_harness_close(h), -UVM_E_UNDO);
    expect_message("memory ");
    uvm_error_unref(err);
    uvm_harness_free(h);

    h = make();
    uv_loop_t *loop = uvm_harness_loop(h);
    assert_int_equal(uv_timer_init(loop, &timer), 0);
    expect(uvm_harness_close(h), -UVM_E_UNDO);
    expect_message("handle     a timer\n");
    uv_close((uv_handle_t *)&timer, NULL);
    uvm_harness_free(h);
}

int main(int argc, char **argv) {
    const struct CMUnitTest shared[] = {
        cmocka_unit_test(test_results),          cmocka_unit_test(test_no_such_program),
        cmocka_unit_test(test_input_and_limits), cmocka_unit_test(test_files),
        cmocka_unit_test(test_deadline),         cmocka_unit_test(test_state),
        cmocka_unit_test(test_guest_dies),
    };
    const struct CMUnitTest own[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_boot_fails),
        cmocka_unit_test(test_left_behind),
    };
    if (argc < 4) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH\n", argv[0]);
        return 2;
    }
    args = argv + 1;
    qemu.launch_path = realpath(args[2], NULL);
    int failed = cmocka_run_group_tests(own, NULL, NULL);
    failed += cmocka_run_group_tests(shared, open_shared, close_shared);
    free((void *)(uintptr_t)qemu.launch_path);
    return failed;
}
