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
    unsigned host;
    const char *expected;
} rows[] = {
    {NULL, 0, "console=ttyS0"},
    {"", UVM__LINE_TCG, "console=ttyS0" TCG},
    {"  quiet\t panic=-1  ", 0, "quiet panic=-1 console=ttyS0"},
    {"pci=off", 0, "console=ttyS0"},
    {"pci=nomsi", 0, "pci=nomsi console=ttyS0"},
    {"pmtmr=0 a", 0, "a console=ttyS0"},
    {"pmtmr=0x608", 0, "pmtmr=0x608 console=ttyS0"},
    {"8250_core.nr_uarts=0 quiet", 0, "console=ttyS0 quiet"},
    {"8250_core.nr_uarts=1 console=ttyS0,115200 quiet", 0,
     "8250_core.nr_uarts=1 console=ttyS0,115200 quiet"},
    {"console=tty", 0, "console=tty console=ttyS0"},
    {"nr_cpus=2", 0, "maxcpus=2 console=ttyS0"},
    {"initcall_blacklist=virtio_vsock_init", 0, "console=ttyS0"},
    {"initcall_blacklist=a,virtio_vsock_init,b", 0, "initcall_blacklist=a,b console=ttyS0"},
    {"initcall_blacklist=virtio_vsock_init_2", 0,
     "initcall_blacklist=virtio_vsock_init_2 console=ttyS0"},
    {"initcall_blacklist=,", 0, "console=ttyS0"},
    {"cryptomgr.notests", UVM__LINE_TCG,
     "cryptomgr.notests console=ttyS0 "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none no_timer_check init_on_alloc=0"},
    {"preempt=full", UVM__LINE_TCG,
     "preempt=full console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "no_timer_check init_on_alloc=0"},
    {"no_timer_check", UVM__LINE_TCG,
     "no_timer_check console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none init_on_alloc=0"},
    {"init_on_alloc=1", UVM__LINE_TCG,
     "init_on_alloc=1 console=ttyS0 cryptomgr.notests "
     "initcall_blacklist=crypto_kdf108_init,init_kprobe_trace,load_system_certificate_list "
     "preempt=none no_timer_check"},
    {"init_on_alloc=1", 0, "init_on_alloc=1 console=ttyS0"},
    {"swiotlb=512", UVM__LINE_PMEM, "swiotlb=512 console=ttyS0"},
    {"quiet", UVM__LINE_PMEM, "quiet console=ttyS0 swiotlb=noforce"},
    {"", UVM__LINE_TCG | UVM__LINE_PMEM, "console=ttyS0" TCG " swiotlb=noforce"},
    {"dm-mod.create=\"a pci=off -- b\" pci=off", 0,
     "dm-mod.create=\"a pci=off -- b\" console=ttyS0"},
    {"--", 0, "console=ttyS0"},
    {"a -- ", 0, "a console=ttyS0 -- "},
    {"a -- -e 1 /bin/sh pci=off", 0, "a console=ttyS0 -- -e 1 /bin/sh pci=off"},
    {"-- /bin/gcs", 0, "console=ttyS0 -- /bin/gcs -disable-time-sync"},
    {"-- /bin/gcs -v4 -disable-time-sync", 0, "console=ttyS0 -- /bin/gcs -v4 -disable-time-sync"},
    {"-- /bin/gcsx /opt/gcs.sh gcs", 0, "console=ttyS0 -- /bin/gcsx /opt/gcs.sh gcs"},
    {"-- /bin/gcsx /bin/gcs -v4", 0, "console=ttyS0 -- /bin/gcsx /bin/gcs -disable-time-sync -v4"},
    {"-- sh -c \"/bin/gcs\"", 0, "console=ttyS0 -- sh -c \"/bin/gcs -disable-time-sync\""},
    /* The two whole examples. */
    {" initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=2 "
     "brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel "
     "info",
     UVM__LINE_TCG,
     "console=ttyS0 panic=-1 quiet maxcpus=2 brd.rd_nr=0" TCG
     " -- -e 1 /bin/vsockexec -e 109 /bin/gcs -disable-time-sync -v4 -log-format json -loglevel "
     "info"},
    {"root=/dev/pmem0 ro rootwait init=/init initcall_blacklist=virtio_vsock_init "
     "8250_core.nr_uarts=1 8250_core.skip_txen_test=1 console=ttyS0,115200 nr_cpus=4 brd.rd_nr=0 "
     "pmtmr=0 -- -e 1 sh -c \"/bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug & "
     "exec sh\"",
     0,
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
        int rc = uvm__qemu_kernel_line(*state, rows[i].line, rows[i].host, &line, &f);
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
        assert_int_equal(uvm__qemu_kernel_line(*state, bads[i].line, 0, &line, &f), -bads[i].code);
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
    assert_int_equal(uvm__qemu_kernel_line(*state, text, 0, &line, &f), 0);
    assert_int_equal(strlen(line), 2047);
    uvm__free(*state, line);
    line = NULL;
    text[room] = 'a';
    text[room + 1] = '\0';
    assert_int_equal(uvm__qemu_kernel_line(*state, text, 0, &line, &f), -UVM_E_LIMIT);
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
