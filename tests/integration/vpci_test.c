/* SPDX-License-Identifier: MIT
 * vpci_test.c — assigned devices of a real VM through the public API. No host of ours has an IOMMU, so the functions are
 * those that QEMU makes up: added, found by the guest under their GUIDs, read and written there, removed with
 * their drivers bound and without; every port taken; what is refused; devices of the boot.
 *
 * arguments: kernel, initrd, uvm-launch
 */
#include "tests/harness/harness.h"
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_MS 40000u
#define ROUNDS 10
#define PORTS 8
#define GUID "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
#define VIEW "/sys/bus/vmbus/devices/"

static const char *kernel, *initrd, *launch;

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

struct function {
    char id[32], guest_path[128], instance[64];
    uint32_t refs;
    bool shared;
};

static void start(uvm_harness *h, const struct uvm_vpci_params *p, struct call *c) {
    *c = (struct call){.done = false};
    assert_int_equal(uvm_vpci_attach(uvm_harness_vm(h), p, NULL, on_done, c, &c->op), 0);
}

static void attach(uvm_harness *h, const struct uvm_vpci_params *p, struct function *ret) {
    struct call c;
    start(h, p, &c);
    expect(h, &c, UVM_OK);
    const struct uvm_attach_result r = uvm_attach_result(c.op);
    assert_string_equal(r.kind, "vpci");
    *ret = (struct function){.refs = r.refs, .shared = r.shared};
    (void)snprintf(ret->id, sizeof ret->id, "%s", r.id);
    (void)snprintf(ret->guest_path, sizeof ret->guest_path, "%s", r.guest_path);
    (void)snprintf(ret->instance, sizeof ret->instance, "%s", r.instance);
    assert_string_equal(ret->guest_path + strlen(VIEW), ret->instance);
    uvm_op_unref(c.op);
}

static void attach_fails(uvm_harness *h, const struct uvm_vpci_params *p, enum uvm_error_code code,
                         const char *words) {
    struct call c;
    start(h, p, &c);
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
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof line);
    assert_int_equal(uvm_harness_sh(h, line, &r), 0);
    if (r.status != status || strstr(r.out, said) == NULL) {
        fail_msg("%s: %d, \"%s\" \"%s\"", line, r.status, r.out, r.err);
    }
}

static struct uvm_vpci_params model(const char *device) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = device;
    return p;
}

/* Where the host says that the instance is: a root port's address. */
static void location(uvm_harness *h, const struct function *f, char ret[16]) {
    const char *text = uvm_vm_properties(uvm_harness_vm(h));
    char path[128];
    assert_non_null(text);
    (void)snprintf(path, sizeof path, "VirtualPci/%s", f->instance);
    const char *at = strstr(text, path);
    at = at == NULL ? NULL : strstr(at, "\"Location\":\"");
    if (at == NULL) {
        fail_msg("no %s in %s", path, text);
    } else {
        (void)snprintf(ret, 16, "%.12s", at + sizeof "\"Location\":\"" - 1);
    }
}

static void expect_devices(uvm_harness *h, unsigned count) {
    char said[16];
    (void)snprintf(said, sizeof said, "%u\n", count);
    /* Those of the class of PCI functions; a controller has another entry. */
    guest(h, 0, said, "ls -d " VIEW "*/pci* 2>/dev/null | wc -l");
}

/* ---- tests -------------------------------------------------------------------------------- */

static void boot(uvm_harness **ret) {
    struct uvm_qemu_params qp = UVM_QEMU_PARAMS_INIT;
    struct uvm_harness_params hp = UVM_HARNESS_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_vpci_params first = model("emulated:pci-testdev");
    const struct uvm_vpci_params *list[] = {&first, NULL};
    uvm_harness *h = NULL;
    first.guid = GUID;
    qp.launch_path = launch;
    hp.service = uvm_harness_qemu;
    hp.service_arg = &qp;
    assert_int_equal(uvm_harness_new(&hp, &h), 0);
    vp.name = "vpci";
    vp.kernel = kernel;
    vp.initrd = initrd;
    vp.vpci = list;
    if (uvm_harness_boot(h, &vp) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    guest(h, 0, "0x0005", "cat " VIEW GUID "/pci*/*/device");
    *ret = h;
}

/* Of edu: its name, a register that answers with the complement, and one of configuration space that keeps what is
 * written. */
static void use_edu(uvm_harness *h, const struct function *f, unsigned round) {
    char port[16];
    location(h, f, port);
    guest(h, 0, port, "readlink -f %s/pci*/*", f->guest_path);
    guest(h, 0, "0x1234\n0x11e8\n", "cd %s/pci*/*; cat vendor device", f->guest_path);
    guest(h, 0, "",
          "cd %s/pci*/*; echo 1 > enable; "
          "printf '\\x%02x' | dd of=config bs=1 seek=60 conv=notrunc 2>/dev/null",
          f->guest_path, 0x40 + round);
    char byte[8];
    (void)snprintf(byte, sizeof byte, "%02x", 0x40 + round);
    guest(h, 0, byte, "cd %s/pci*/*; dd if=config bs=1 skip=60 count=1 2>/dev/null | od -tx1",
          f->guest_path);
    guest(h, 0, "0x010000ED",
          "cd %s/pci*/*; at=$(head -n1 resource | cut -d' ' -f1); busybox devmem $at 32",
          f->guest_path);
    char wrote[16], answer[16];
    (void)snprintf(wrote, sizeof wrote, "0x%08X", 0x11110000u + round);
    (void)snprintf(answer, sizeof answer, "0x%08X", ~(0x11110000u + round));
    guest(h, 0, answer,
          "cd %s/pci*/*; at=$(($(head -n1 resource | cut -d' ' -f1) + 4)); "
          "busybox devmem $at 32 %s; busybox devmem $at 32",
          f->guest_path, wrote);
}

static void rounds(uvm_harness *h) {
    const struct uvm_vpci_params edu = model("emulated:edu");
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct function f;
        attach(h, &edu, &f);
        assert_int_equal(f.refs, 1);
        expect_devices(h, 2);
        use_edu(h, &f, round);
        detach(h, f.id, UVM_OK);
        guest(h, 1, "", "test -e %s", f.guest_path);
        guest(h, 1, "", "grep -l 0x11e8 /sys/bus/pci/devices/*/device");
        assert_null(strstr(uvm_vm_properties(uvm_harness_vm(h)), f.instance));
    }
}

/* The driver has let go before the function goes. */
static void with_a_driver(uvm_harness *h) {
    const struct uvm_vpci_params rng = model("emulated:virtio-rng-pci");
    for (unsigned round = 0; round < 3; round++) {
        struct function f;
        attach(h, &rng, &f);
        guest(h, 0, "/virtio-pci\n", "readlink -f %s/pci*/*/driver", f.guest_path);
        detach(h, f.id, UVM_OK);
        guest(h, 1, "", "test -e %s", f.guest_path);
    }
    guest(h, 1, "", "dmesg | grep -E 'BUG:|WARNING:|Call Trace'");
}

static void other_models(uvm_harness *h) {
    static const char *const names[] = {"emulated:e1000e", "emulated:nvme", "emulated:pci-testdev"};
    struct function f[3];
    for (unsigned i = 0; i < 3; i++) {
        struct uvm_vpci_params p = model(names[i]);
        p.virtual_function = i == 2; /* another one than the boot's */
        attach(h, &p, &f[i]);
    }
    guest(h, 0, "0x10d3", "cat %s/pci*/*/device", f[0].guest_path);
    guest(h, 0, "0x010802", "cat %s/pci*/*/class", f[1].guest_path);
    guest(h, 0, "0x0005", "cat %s/pci*/*/device", f[2].guest_path);
    for (unsigned i = 3; i-- > 0;) {
        detach(h, f[i].id, UVM_OK);
    }
    expect_devices(h, 1);
}

/* The ninth has no place until one of the eight has gone. */
static void all_ports(uvm_harness *h) {
    struct function f[PORTS];
    struct uvm_vpci_params p = model("emulated:edu");
    for (unsigned i = 1; i < PORTS; i++) { /* the boot's has one */
        p.virtual_function = i;
        attach(h, &p, &f[i]);
    }
    expect_devices(h, PORTS);
    p.virtual_function = PORTS;
    attach_fails(h, &p, UVM_E_LIMIT, "all 8 PCI ports");
    detach(h, f[3].id, UVM_OK);
    attach(h, &p, &f[3]);
    use_edu(h, &f[3], 3);
    for (unsigned i = 1; i < PORTS; i++) {
        detach(h, f[i].id, UVM_OK);
    }
    expect_devices(h, 1);
}

static void sharing_and_refusals(uvm_harness *h) {
    struct uvm_vpci_params p = model("emulated:edu"), q = model("emulated:virtio-rng-pci");
    struct function one, two;
    attach(h, &p, &one);
    attach(h, &p, &two);
    assert_true(two.shared && two.refs == 2);
    assert_string_equal(one.id, two.id);
    p.guid = GUID;
    attach_fails(h, &p, UVM_E_EXISTS, one.instance);
    q.guid = one.instance;
    attach_fails(h, &q, UVM_E_EXISTS, one.id);
    q.guid = "df6d0690-79e5-55b6-a5ec-c1e2f77f580a"; /* the SCSI controller's */
    attach_fails(h, &q, UVM_E_EXISTS, "in use");
    detach(h, one.id, UVM_OK);
    guest(h, 0, "0x11e8", "cat %s/pci*/*/device", one.guest_path);
    detach(h, one.id, UVM_OK);
    detach(h, one.id, UVM_E_NOTFOUND);
    p = model("emulated:gpu");
    attach_fails(h, &p, UVM_E_UNSUPPORTED, "edu, pci-testdev");
    p = model("3b:00.0");
    attach_fails(h, &p, UVM_E_INVAL, "no PCI address");
    p = model("fff0:1f:00.0");
    attach_fails(h, &p, UVM_E_NOTFOUND, "this host has no such function");
    p = model("emulated:edu");
    p.guid = "edu";
    attach_fails(h, &p, UVM_E_INVAL, "no GUID");
    expect_devices(h, 1);
}

/* Stops, or lets go on, the process that finds what is offered. */
static void offers(uvm_harness *h, const char *signal) {
    guest(h, 0, "",
          "for p in /proc/[0-9]*; do "
          "[ \"$(cat $p/comm)\" = gcs-offers ] && kill -%s ${p#/proc/} && exit 0; done; exit 1",
          signal);
}

static void give_up(uvm_harness *h, struct call *c, enum uvm_error_code code) {
    guest(h, 0, "", "true"); /* it has got somewhere by then */
    assert_false(c->done);
    uvm_op_cancel(c->op);
    expect(h, c, code);
    uvm_op_unref(c->op);
}

/* A guest that hears, and does not answer: what it was not given it does not have, what it has stays until it lets
 * go. */
static void a_guest_that_stands_still(uvm_harness *h) {
    const struct uvm_vpci_params edu = model("emulated:edu");
    struct function f;
    struct call c;
    offers(h, "STOP");
    start(h, &edu, &c);
    give_up(h, &c, UVM_E_UNDO); /* it may have found it */
    assert_non_null(strstr(uvm_vm_devices(uvm_harness_vm(h)), "\"quarantined\":true"));
    attach_fails(h, &edu, UVM_E_STATE, "is quarantined");
    offers(h, "CONT");
    for (unsigned i = 0; i < 100 && strstr(uvm_vm_devices(uvm_harness_vm(h)), "edu") != NULL; i++) {
        guest(h, 0, "", "sleep 0.1"); /* the late word settles it */
    }
    expect_devices(h, 1);
    attach(h, &edu, &f);
    offers(h, "STOP");
    detach(h, f.id, UVM_E_UNDO);
    guest(h, 0, "0x11e8", "cat %s/pci*/*/device", f.guest_path);
    offers(h, "CONT");
    detach(h, f.id, UVM_OK);
    guest(h, 1, "", "test -e %s", f.guest_path);
}

/* What is under way ends with the VM, and in its words. */
static void vm_ends_meanwhile(uvm_harness *h) {
    struct uvm_vpci_params p = model("emulated:edu");
    struct call c, off = {0};
    start(h, &p, &c);
    assert_int_equal(uvm_vm_terminate(uvm_harness_vm(h), NULL, on_done, &off, NULL), 0);
    expect(h, &off, UVM_OK);
    assert_int_equal(uvm_harness_until(h, &c.done, CALL_MS), 0);
    assert_true(c.code == UVM_E_EXITED || c.code == UVM_E_CANCELED);
    uvm_op_unref(c.op);
}

static void functions_come_and_go(void **state) {
    (void)state;
    uvm_harness *h = NULL;
    boot(&h);
    rounds(h);
    with_a_driver(h);
    other_models(h);
    sharing_and_refusals(h);
    all_ports(h);
    a_guest_that_stands_still(h);
    vm_ends_meanwhile(h);
    if (uvm_harness_close(h) < 0) {
        fail_msg("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "vpci_test KERNEL INITRD LAUNCH\n");
        return 2;
    }
    kernel = realpath(argv[1], NULL);
    initrd = realpath(argv[2], NULL);
    launch = realpath(argv[3], NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
