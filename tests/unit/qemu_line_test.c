/* SPDX-License-Identifier: MIT
 * qemu_line_test.c — the kernel's command line, rewritten: one row a rule, and both examples whole.
 */
#include "async/alloc.h"
#include "async/engine.h"
#include "hcs/qemu/kernel_line.h"
#include "tests/unit/cm.h"

#include <string.h>

#define TCG                                                                                        \
    " cryptomgr.notests "                                                                          \
    "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "        \
    "preempt=none no_timer_check init_on_alloc=0"

static const struct row {
    const char *line;
    bool tcg;
    const char *expected;
} rows[] = {
    {NULL, false, "console=ttyS0"},
    {"", true, "console=ttyS0" TCG},
    {"  quiet\t panic=-1  ", false, "quiet panic=-1 console=ttyS0"},
    {"pci=off", false, "console=ttyS0"},
    {"pci=nomsi", false, "pci=nomsi console=ttyS0"},
    {"pmtmr=0 a", false, "a console=ttyS0"},
    {"pmtmr=0x608", false, "pmtmr=0x608 console=ttyS0"},
    {"8250_core.nr_uarts=0 quiet", false, "console=ttyS0 quiet"},
    {"8250_core.nr_uarts=1 console=ttyS0,115200 quiet", false,
     "8250_core.nr_uarts=1 console=ttyS0,115200 quiet"},
    {"console=tty", false, "console=tty console=ttyS0"},
    {"nr_cpus=2", false, "maxcpus=2 console=ttyS0"},
    {"initcall_blacklist=virtio_vsock_init", false, "console=ttyS0"},
    {"initcall_blacklist=a,virtio_vsock_init,b", false, "initcall_blacklist=a,b console=ttyS0"},
    {"initcall_blacklist=virtio_vsock_init_2", false,
     "initcall_blacklist=virtio_vsock_init_2 console=ttyS0"},
    {"initcall_blacklist=,", false, "console=ttyS0"},
    {"cryptomgr.notests", true,
     "cryptomgr.notests console=ttyS0 "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none no_timer_check init_on_alloc=0"},
    {"preempt=full", true,
     "preempt=full console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "no_timer_check init_on_alloc=0"},
    {"no_timer_check", true,
     "no_timer_check console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none init_on_alloc=0"},
    {"init_on_alloc=1", true,
     "init_on_alloc=1 console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none no_timer_check"},
    {"init_on_alloc=1", false, "init_on_alloc=1 console=ttyS0"},
    {"dm-mod.create=\"a pci=off -- b\" pci=off", false,
     "dm-mod.create=\"a pci=off -- b\" console=ttyS0"},
    {"--", false, "console=ttyS0"},
    {"a -- ", false, "a console=ttyS0 -- "},
    {"a -- -e 1 /bin/sh pci=off", false, "a console=ttyS0 -- -e 1 /bin/sh pci=off"},
    {"-- /bin/gcs", false, "console=ttyS0 -- /bin/gcs -disable-time-sync"},
    {"-- /bin/gcs -v4 -disable-time-sync", false,
     "console=ttyS0 -- /bin/gcs -v4 -disable-time-sync"},
    {"-- /bin/gcsx /opt/gcs.sh gcs", false, "console=ttyS0 -- /bin/gcsx /opt/gcs.sh gcs"},
    {"-- /bin/gcsx /bin/gcs -v4", false,
     "console=ttyS0 -- /bin/gcsx /bin/gcs -disable-time-sync -v4"},
    {"-- sh -c \"/bin/gcs\"", false, "console=ttyS0 -- sh -c \"/bin/gcs -disable-time-sync\""},
    /* The two whole examples. */
    {" initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=2 "
     "brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel "
     "info",
     true,
     "console=ttyS0 panic=-1 quiet maxcpus=2 brd.rd_nr=0" TCG
     " -- -e 1 /bin/vsockexec -e 109 /bin/gcs -disable-time-sync -v4 -log-format json -loglevel "
     "info"},
    {"root=/dev/pmem0 ro rootwait init=/init initcall_blacklist=virtio_vsock_init "
     "8250_core.nr_uarts=1 8250_core.skip_txen_test=1 console=ttyS0,115200 nr_cpus=4 brd.rd_nr=0 "
     "pmtmr=0 -- -e 1 sh -c \"/bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug & "
     "exec sh\"",
     false,
     "root=/dev/pmem0 ro rootwait init=/init 8250_core.nr_uarts=1 8250_core.skip_txen_test=1 "
     "console=ttyS0,115200 maxcpus=4 brd.rd_nr=0 -- -e 1 sh -c \"/bin/vsockexec -e 109 /bin/gcs "
     "-disable-time-sync -v4 -log-format json -loglevel debug & exec sh\""},
};

static int set_up(void **state) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    return uvm__engine_new_virtual(&p, 1, (uvm_engine **)state);
}

static int tear_down(void **state) {
    uvm__engine_free_virtual(*state);
    return 0;
}

static void each_rule(void **state) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *line = NULL;
        struct uvm__fail f = {0};
        int rc = uvm__qemu_kernel_line(*state, rows[i].line, rows[i].tcg, &line, &f);
        if (rc != 0 || strcmp(line, rows[i].expected) != 0) {
            fail_msg("row %zu: %d, \"%s\", expected \"%s\"; %s", i, rc, rc == 0 ? line : "",
                     rows[i].expected, f.msg);
        }
        uvm__free(*state, line);
    }
}

#define WHERE "VirtualMachine.Chipset.LinuxKernelDirect.KernelCmdLine: "

static void bad_lines(void **state) {
    static const struct {
        const char *line;
        int code;
        const char *message;
    } bads[] = {
        {"a\nb", UVM_E_INVAL, WHERE "control character 0x0a at byte 1"},
        {"a\x7f", UVM_E_INVAL, WHERE "control character 0x7f at byte 1"},
        {"a=\"b c", UVM_E_INVAL, WHERE "a quote is not closed"},
    };
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        char *line = NULL;
        struct uvm__fail f = {0};
        assert_int_equal(uvm__qemu_kernel_line(*state, bads[i].line, false, &line, &f),
                         -bads[i].code);
        assert_string_equal(f.msg, bads[i].message);
        assert_null(line);
    }
}

/* The kernel's own limit: 2047 bytes are taken, one more is refused. */
static void length_limit(void **state) {
    char text[2048];
    char *line = NULL;
    struct uvm__fail f = {0};
    size_t room = 2047 - strlen(" console=ttyS0");

    memset(text, 'a', room);
    text[room] = '\0';
    assert_int_equal(uvm__qemu_kernel_line(*state, text, false, &line, &f), 0);
    assert_int_equal(strlen(line), 2047);
    uvm__free(*state, line);
    line = NULL;
    text[room] = 'a';
    text[room + 1] = '\0';
    assert_int_equal(uvm__qemu_kernel_line(*state, text, false, &line, &f), -UVM_E_LIMIT);
    assert_string_equal(f.msg,
                        WHERE "too long once rewritten for this host; the kernel takes 2047 bytes");
    assert_null(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(length_limit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
