/* SPDX-License-Identifier: MIT
 * qemu_fault_test.c — the compute service with a VMM that lies, stalls or dies, and with no memory.
 *
 * qemu_fault_test KERNEL INITRD UVM-LAUNCH: the VMM is a shell script with the descriptors that QEMU gets:
 * 7 is QMP, 8 the console, 9 the hvsock device's front end. So each sign of an end can come alone, which
 * QEMU itself does not do on demand. The last tests run QEMU, without a guest.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/harness_census.h"
#include "tests/integration/qemu_kit.h"

static char dir[] = "/tmp/uvm-vmm-XXXXXX";
static char script[64];

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(dir) == NULL || chmod(dir, 0755) < 0) {
        return -1;
    }
    (void)snprintf(script, sizeof script, "%s/vmm", dir);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(script);
    return rmdir(dir);
}

/* What every script begins with: `event NAME DATA`, and the parts of a start that goes well. GET_CONFIG (24)
 * is all that the device must be asked. */
static const char prelude[] =
    "#!/bin/sh\n"
    "say() { printf '%s\\n' \"$1\" >&7; }\n"
    "event() { say \"{\\\"event\\\":\\\"$1\\\",\\\"data\\\":$2}\"; }\n"
    "answer() { read line <&7; say \"{\\\"$1\\\":$2,\\\"id\\\":${line##*:}\"; }\n"
    "greet() {\n"
    "  say '{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\":9}}}}'\n"
    "  answer return '{}'\n"
    "}\n"
    "configure() {\n"
    "  printf '\\030\\0\\0\\0\\1\\0\\0\\0\\024\\0\\0\\0' >&9\n"
    "  printf '\\0\\0\\0\\0\\010\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&9\n"
    "}\n"
    "last() { event SHUTDOWN \"{\\\"guest\\\":true,\\\"reason\\\":\\\"$1\\\"}\"; }\n"
    "stay() { exec sleep 60; }\n";

static void write_script(const char *body) {
    unlink(script);
    FILE *f = fopen(script, "we");
    assert_non_null(f);
    assert_true(fputs(prelude, f) >= 0 && fputs(body, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(script, 0755), 0);
}

static void open_with(struct kit *k, const char *body) {
    struct uvm_qemu_params p = kit_params();
    write_script(body);
    p.qemu_path = script;
    kit_open(k);
    kit_service(k, &p);
}

static void open_created(struct kit *k, const char *body) {
    open_with(k, body);
    kit_create(k);
    kit_wait_created(k);
    if (k->create_code != UVM_OK) {
        fail_msg("%s\n%s", uvm_error_message(uvm__op_error(k->create)),
                 uvm_error_detail(uvm__op_error(k->create)));
    }
}

/* ---- create ------------------------------------------------------------------------------- */

static const struct failing {
    const char *body;
    int code;
    const char *detail, *cause; /* NULL: none */
} failings[] = {
    {"echo boom >&2; exit 7", UVM_E_EXITED, "qemu: exit status 7\nboom", NULL},
    {"greet; exit 0", UVM_E_EXITED, "qemu: exit status 0", NULL},
    {"configure; exit 0", UVM_E_EXITED, "qemu: exit status 0", NULL},
    {"kill -11 $$", UVM_E_EXITED, "qemu: killed by SIGSEGV", NULL},
    {"configure; say garbage; stay", UVM_E_EXITED, "qemu: killed by SIGKILL", "qmp: not JSON"},
    {"configure; say '{\"event\":\"X\"}'; stay", UVM_E_EXITED, "killed by SIGKILL",
     "qmp: no greeting"},
    {"greet; printf 'garbage for a header' >&9; stay", UVM_E_EXITED,
     "its hvsock device was stopped; qemu: killed by SIGKILL", ""},
    {"greet; exec 9<&-; stay", UVM_E_EXITED, "still there, and was killed", NULL},
    {"configure; exec 7<&-; stay", UVM_E_EXITED, "still there, and was killed", NULL},
    {"configure; exec tr '\\0' x </dev/zero >&7", UVM_E_EXITED, "killed by SIG",
     "qmp: a line of more than"},
};

static void create_fails(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof failings / sizeof failings[0]; i++) {
        const struct failing *row = &failings[i];
        struct kit k;
        open_with(&k, row->body);
        kit_create(&k);
        kit_wait_created(&k);
        const uvm_error *err = uvm__op_error(k.create);
        const uvm_error *cause = err == NULL ? NULL : uvm_error_cause(err);
        if (k.create_code != row->code || strstr(uvm_error_detail(err), row->detail) == NULL ||
            (cause != NULL) != (row->cause != NULL) ||
            (cause != NULL && strstr(uvm_error_message(cause), row->cause) == NULL)) {
            fail_msg("row %zu (%s): %s\n%s\n%s", i, row->body, uvm_error_message(err),
                     uvm_error_detail(err), cause == NULL ? "" : uvm_error_message(cause));
        }
        kit_close(&k);
    }
}

/* A VMM that says nothing: the caller's deadline ends it, and everything is back. */
static void create_meets_its_deadline(void **state) {
    (void)state;
    static const char *const bodies[] = {"stay", "greet; stay", "configure; stay",
                                         "trap '' TERM; greet; stay"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct kit k;
        open_with(&k, bodies[i]);
        assert_int_equal(uvm_scope_new(k.base.engine, NULL, 300, &k.scope), 0);
        kit_create(&k);
        kit_wait_created(&k);
        assert_int_equal(k.create_code, UVM_E_TIMEDOUT);
        assert_string_equal(uvm_error_step(uvm__op_error(k.create)), "vm create › handshake");
        assert_int_equal(kit_children(), 0);
        kit_close(&k);
    }
}

/* ---- ends --------------------------------------------------------------------------------- */

static const struct end {
    const char *body; /* behind a start that went well */
    enum uvm__hcs_exit exit;
    const char *detail;
} ends[] = {
    {"exit 3", UVM__HCS_EXIT_VMM_DIED, "qemu: exit status 3"},
    {"last guest-shutdown; exit 0", UVM__HCS_EXIT_GUEST_SHUTDOWN,
     "guest-shutdown; qemu: exit status 0"},
    {"event GUEST_PANICKED '{\"action\":\"poweroff\"}'; exit 0", UVM__HCS_EXIT_GUEST_PANIC,
     "qemu: exit status 0"},
    {"last guest-reset; kill -9 $$", UVM__HCS_EXIT_GUEST_RESET,
     "guest-reset; qemu: killed by SIGKILL"},
    /* One sign alone: decided after a second, and what still runs is killed. */
    {"exec 7<&-; stay", UVM__HCS_EXIT_VMM_DIED, "qemu: still there, and was killed"},
    {"exec 9<&-; stay", UVM__HCS_EXIT_VMM_DIED, "qemu: still there, and was killed"},
    {"last guest-shutdown; exec 7<&-; stay", UVM__HCS_EXIT_GUEST_SHUTDOWN,
     "guest-shutdown; qemu: still there, and was killed"},
    /* Broken rules end it at once. */
    {"say '{\"return\":7}'; stay", UVM__HCS_EXIT_VMM_DIED,
     "qemu: killed by SIGKILL\nqmp: a reply without our id"},
    {"say garbage; stay", UVM__HCS_EXIT_VMM_DIED, "qemu: killed by SIGKILL\nqmp: not JSON"},
    {"printf 'not a header at all' >&9; stay", UVM__HCS_EXIT_VMM_DIED,
     "its hvsock device was stopped; qemu: killed by SIGKILL\n"},
    /* Odd, but none of them an end: they go on to one that is. */
    {"event SHUTDOWN 7; event SHUTDOWN '{}'; event X '{}'; exit 0", UVM__HCS_EXIT_VMM_DIED,
     "no reason given; qemu: exit status 0"},
    {"say '{\"return\":{},\"id\":99}'; last guest-shutdown; exit 0", UVM__HCS_EXIT_GUEST_SHUTDOWN,
     "exit status 0"},
};

static void each_end(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct kit k;
        char body[512];
        (void)snprintf(body, sizeof body, "greet; configure; read go <&8; %s", ends[i].body);
        open_created(&k, body);
        kit_type(&k, "go"); /* the console's input reaches the VMM before start, too */
        kit_wait_exit(&k);
        if (k.exit != ends[i].exit || strstr(k.exit_detail, ends[i].detail) == NULL) {
            fail_msg("row %zu (%s): %s, %s", i, ends[i].body, uvm__hcs_exit_text(k.exit),
                     k.exit_detail);
        }
        kit_close(&k);
    }
}

/* ---- verbs -------------------------------------------------------------------------------- */

static void start_is_refused(void **state) {
    (void)state;
    struct kit k;
    open_created(&k,
                 "greet; configure; answer error '{\"class\":\"GenericError\",\"desc\":\"no\"}'; "
                 "stay");
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_E_PEER);
    assert_string_equal(kit_property(&k, "State"), "Created");
    kit_close(&k);
}

static void the_vmm_ends_in_a_verb(void **state) {
    (void)state;
    struct kit k;
    open_created(&k, "greet; configure; read line <&7; echo oops >&2; exit 1");
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_E_EXITED);
    kit_wait_exit(&k);
    assert_string_equal(k.exit_detail, "qemu: exit status 1\noops\n");
    kit_close(&k);
}

/* A VMM that pauses by itself, as QEMU does after an internal error. */
static void it_stops_by_itself(void **state) {
    (void)state;
    struct kit k;
    open_created(&k, "greet; configure; event RESUME '{}'; answer return '{}'; event STOP '{}'; "
                     "answer return '{}'; event RESUME '{}'; stay");
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    loop_until(&k.base, &k.paused);
    assert_false(k.resumed); /* the one before start was none */
    assert_string_equal(kit_property(&k, "State"), "Paused");
    assert_int_equal(kit_run(&k, uvm__hcs_resume), UVM_OK);
    assert_string_equal(kit_property(&k, "State"), "Running");
    kit_close(&k);
}

struct waiting {
    bool done;
    int code;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct waiting *w = arg;
    (void)op;
    w->done = true;
    w->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

/* `quit` without an answer: killed half a second later; a verb that still waits hears of the end. */
static void terminate_does_not_wait_for_ever(void **state) {
    (void)state;
    struct kit k;
    struct waiting start = {false, 0};
    open_created(&k, "greet; configure; stay");
    assert_int_equal(uvm__hcs_start(k.system, NULL, on_done, &start, NULL), 0);
    loop_turns(&k.base);
    assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK);
    loop_until(&k.base, &start.done);
    assert_int_equal(start.code, UVM_E_EXITED);
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_TERMINATED);
    assert_string_equal(k.exit_detail, "qemu: killed by SIGKILL");
    kit_close(&k);
}

/* A VMM that the kernel does not let end: as long as it is traced it stops before it has ended. */
static void the_kernel_keeps_the_vmm(void **state) {
    (void)state;
    struct kit k;
    pid_t pid = 0;
    open_created(&k, "greet; configure; stay");
    assert_int_equal(uvm_harness_descendants(NULL, &pid, 1), 1);
    assert_int_equal(ptrace(PTRACE_SEIZE, pid, NULL, (void *)(uintptr_t)PTRACE_O_TRACEEXIT), 0);
    assert_int_equal(kit_run(&k, uvm__hcs_terminate), UVM_OK);
    kit_wait_exit(&k);
    assert_int_equal(k.exit, UVM__HCS_EXIT_STUCK);
    assert_non_null(strstr(k.exit_detail, "which the kernel holds"));
    kit_close_system(&k);
    int status;
    assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    kit_close(&k);
}

/* Closing while verbs are on their way: each of them ends, none of them crashes. */
static void closed_under_verbs(void **state) {
    (void)state;
    struct kit k;
    struct waiting start = {false, 0}, terminate = {false, 0}, late = {false, 0};
    open_created(&k, "greet; configure; stay");
    assert_int_equal(uvm__hcs_start(k.system, NULL, on_done, &start, NULL), 0);
    loop_turns(&k.base);
    assert_int_equal(uvm__hcs_terminate(k.system, NULL, on_done, &terminate, NULL), 0);
    assert_int_equal(uvm__hcs_start(k.system, NULL, on_done, &late, NULL), 0);
    kit_close_system(&k);
    loop_turns(&k.base);
    assert_true(start.done && terminate.done && late.done);
    assert_int_equal(start.code, UVM_E_EXITED);
    assert_int_equal(terminate.code, UVM_OK);
    kit_close(&k);
}

/* ---- no memory ---------------------------------------------------------------------------- */

/* The nth allocation of create and start fails, once or with all that follow. */
static void allocations_fail(void **state) {
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        bool through = false;
        for (long n = 0; n < 400 && !through; n += n < 40 ? 1 : 3) {
            struct kit k;
            kit_open(&k);
            kit_service(&k, NULL);
            k.fail_at = n;
            k.fail_for_good = for_good != 0;
            kit_create(&k);
            kit_wait_created(&k);
            if (k.system != NULL) {
                (void)kit_run(&k, uvm__hcs_start);
            }
            through = k.base.fail_at > 0;
            k.base.fail_at = -1;
            kit_close(&k);
        }
        assert_true(through);
    }
}

int main(int argc, char **argv) {
    kit_arguments(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_fails),
        cmocka_unit_test(create_meets_its_deadline),
        cmocka_unit_test(each_end),
        cmocka_unit_test(start_is_refused),
        cmocka_unit_test(the_vmm_ends_in_a_verb),
        cmocka_unit_test(it_stops_by_itself),
        cmocka_unit_test(terminate_does_not_wait_for_ever),
        cmocka_unit_test(the_kernel_keeps_the_vmm),
        cmocka_unit_test(closed_under_verbs),
        cmocka_unit_test(allocations_fail),
    };
    cmocka_set_test_filter(getenv("TESTBRIDGE_TEST_ONLY")); /* --test_filter */
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
