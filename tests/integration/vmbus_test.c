/* SPDX-License-Identifier: MIT
 * vmbus_test.c — devices are offered to a real guest, which finds them where an agent for Hyper-V looks.
 *
 * vmbus_test KERNEL INITRD UVM-LAUNCH: two guests with a shell in the agent's place. Nobody pokes the guest's end of
 * the channel there, so that it loads the drivers when its patience is over.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "async/alloc.h"
#include "hcs/modify_doc.h"
#include "hcs/qemu/qemu_int.h"
#include "tests/integration/qemu_kit.h"

#define EMPTY_PORT "0000:00:17.0/00.0"

struct result {
    bool done;
    int code;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct result *r = arg;

    (void)op;
    assert_false(r->done);
    r->done = true;
    r->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

static struct uvm__vmbus *bus(struct kit *k) {
    return uvm__qemu_system_of(k->system)->vmbus;
}

static struct uvm__guid guid_of(const char *text) {
    struct uvm__guid guid;
    assert_int_equal(uvm__guid_read(text, strlen(text), &guid), 0);
    return guid;
}

static void wait_opened(struct kit *k, unsigned controller) {
    struct uvm__guid guid = guid_of(uvm__doc_scsi_controller_guids[controller]);
    struct result r = {false, 0};
    bool opened = false;

    assert_int_equal(uvm__vmbus_wait(bus(k), &guid, NULL, on_done, &r, NULL), 0);
    loop_until(&k->base, &r.done);
    assert_int_equal(r.code, UVM_OK);
    assert_true(uvm__vmbus_has(bus(k), &guid, &opened) && opened);
    assert_int_equal(uvm__vmbus_link(bus(k)), UVM__VMBUS_UP);
}

/* A disk is there for an agent that looks for its controller only once: not before the guest has found that. What
 * is given up meanwhile is not there. */
static void attach_waits(struct kit *k) {
    struct uvm__guid guid = guid_of(uvm__doc_scsi_controller_guids[0]);
    struct uvm__modify m = {.kind = UVM__MODIFY_SCSI, .number = 3, .has_settings = true};
    struct result given_up = {false, 0}, r = {false, 0};
    struct uvm__hcs_modify_params p = {0};
    struct uvm__fail f;
    const char *folder = getenv("TEST_TMPDIR");
    uvm_op *op = NULL;
    char *text = NULL, path[300];
    bool opened = true;

    (void)snprintf(path, sizeof path, "%s/vmbus.img", folder == NULL ? "/tmp" : folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    close(fd);
    (void)snprintf(m.guid, sizeof m.guid, "%s", uvm__doc_scsi_controller_guids[0]);
    m.settings.scsi = (struct uvm__doc_scsi_attachment){.type = "VirtualDisk", .path = path};
    assert_int_equal(uvm__modify_build(k->base.engine, &m, &text, &p.request_bytes, &f), 0);
    p.request = text;
    while (uvm__vmbus_link(bus(k)) != UVM__VMBUS_UP) {
        uv_run(&k->base.loop, UV_RUN_ONCE);
    }
    assert_true(uvm__vmbus_has(bus(k), &guid, &opened) &&
                !opened); /* its driver is not loaded yet */
    assert_int_equal(uvm__hcs_modify(k->system, &p, NULL, on_done, &given_up, &op), 0);
    for (int i = 0; i < 8; i++) {
        uv_run(&k->base.loop, UV_RUN_NOWAIT);
    }
    assert_false(given_up.done);
    uvm_op_cancel(op);
    loop_until(&k->base, &given_up.done);
    uvm_op_unref(op);
    assert_int_equal(given_up.code, UVM_E_CANCELED);
    assert_int_equal(uvm__hcs_modify(k->system, &p, NULL, on_done, &r, NULL), 0);
    loop_until(&k->base, &r.done);
    assert_int_equal(r.code, UVM_OK);
    assert_true(uvm__vmbus_has(bus(k), &guid, &opened) && opened);
    uvm__free(k->base.engine, text);
    assert_int_equal(unlink(path), 0);
}

/* As an agent does it: the entry of the controller's folder, then the SCSI host of that number. */
static void expect_controller(struct kit *k, unsigned controller) {
    char line[256], said[128];

    (void)snprintf(line, sizeof line,
                   "cd /sys/bus/vmbus/devices/%s; h=$(echo host*); "
                   "echo $(ls | wc -l) $(readlink -f $h | grep -o 0000:00:..\\\\..) "
                   "$(cat /sys/class/scsi_host/$h/proc_name) seen; cd /",
                   uvm__doc_scsi_controller_guids[controller]);
    (void)snprintf(said, sizeof said, "1 0000:00:%02x.0 virtio_scsi seen", 4 + controller);
    kit_type(k, line);
    kit_expect(k, said);
}

static void shows_one(void **state) {
    (void)state;
    struct kit k;

    kit_open(&k);
    kit_boot(&k);
    attach_waits(&k);
    wait_opened(&k, 0);
    expect_controller(&k, 0);
    kit_type(&k, "echo $(ls /sys/bus/vmbus/devices | wc -l) device");
    kit_expect(&k, "1 device");
    /* What was there is there still, in this view and below /sys/devices. */
    kit_type(&k, "ls /sys/bus/pci/devices/0000:00:04.0/vendor /sys/bus/scsi/devices && "
                 "echo $(cat /sys/bus/pci/devices/0000:00:1e.0/device) whole");
    kit_expect(&k, "0x0011 whole");
    kit_close_system(&k);
    kit_close(&k);
}

/* A function that QEMU has on bus 0 stands in for an assigned one. */
static void live(struct kit *k) {
    struct uvm__vmbus_device device = {.kind = UVM__VMBUS_VPCI,
                                       .instance = guid_of("11111111-2222-3333-4444-555555555555"),
                                       .location = "0000:00:1e.0"};
    struct result r = {false, 0};

    assert_int_equal(uvm__vmbus_offer(bus(k), &device, NULL, on_done, &r, NULL), 0);
    loop_until(&k->base, &r.done);
    assert_int_equal(r.code, UVM_OK);
    kit_type(k, "cat /sys/bus/vmbus/devices/1111*/pci*/*/device; echo offered");
    kit_expect(k, "0x0011");
    kit_expect(k, "offered");
    kit_type(k, "readlink /sys/bus/pci/devices/0000:00:1e.0/driver");
    kit_expect(k, "pvpanic-pci");

    r = (struct result){false, 0};
    assert_int_equal(uvm__vmbus_rescind(bus(k), &device.instance, NULL, on_done, &r, NULL), 0);
    loop_until(&k->base, &r.done);
    assert_int_equal(r.code, UVM_OK);
    kit_type(
        k,
        "echo $(ls /sys/bus/vmbus/devices | wc -l) left; echo $(ls -A /sys/bus/vmbus | wc -l) there");
    kit_expect(k, "4 left");
    kit_expect(k, "1 there");
    /* Its driver let go before the host heard that it is closed. */
    kit_type(
        k,
        "cd /sys/bus/pci/devices/0000:00:1e.0; ls -d driver || echo $(cat device) unbound; cd /");
    kit_expect(k, "0x0011 unbound");
}

/* Nothing is plugged there: the guest never opens it, and a cancel takes the offer back from it. */
static void nothing_there(struct kit *k) {
    struct uvm__vmbus_device device = {.kind = UVM__VMBUS_NETVSC,
                                       .instance = guid_of("aaaaaaaa-2222-3333-4444-555555555555"),
                                       .location = EMPTY_PORT};
    struct result r = {false, 0};
    uvm_op *op = NULL;
    bool opened;

    assert_int_equal(uvm__vmbus_offer(bus(k), &device, NULL, on_done, &r, &op), 0);
    kit_type(k, "echo $((1 + 1)) looks");
    kit_expect(k, "2 looks");
    assert_false(r.done);
    uvm_op_cancel(op);
    loop_until(&k->base, &r.done);
    uvm_op_unref(op);
    assert_int_equal(r.code, UVM_E_CANCELED);
    assert_false(uvm__vmbus_has(bus(k), &device.instance, &opened));
}

static void shows_four(void **state) {
    (void)state;
    static struct uvm__doc_scsi_controller controllers[4];
    struct kit k;

    kit_open(&k);
    for (unsigned i = 0; i < 4; i++) {
        controllers[i].guid =
            uvm__doc_scsi_controller_guids[3 - i]; /* the document's order is none */
    }
    k.doc.vm.devices.scsi = controllers;
    k.doc.vm.devices.scsi_count = 4;
    kit_boot(&k);
    for (unsigned i = 0; i < 4; i++) {
        wait_opened(&k, i);
        expect_controller(&k, i);
    }
    live(&k);
    nothing_there(&k);
    kit_close_system(&k);
    kit_close(&k);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_one),
        cmocka_unit_test(shows_four),
    };
    kit_arguments(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
