/* SPDX-License-Identifier: MIT
 * vpci_silent_test.c — a PCI function for a guest that hears of no offers: refused by name after its time, and taken
 * away again.
 *
 * vpci_silent_test KERNEL INITRD UVM-LAUNCH: the initrd is the least there can be, a kernel without a client of ours.
 */
#include <stdio.h>
#include <string.h>

#include "async/limits.h"
#include "tests/integration/qemu_kit.h"

#define REQUEST                                                                                    \
    "{\"ResourcePath\":\"VirtualMachine/Devices/VirtualPci/aaaaaaaa-1111-4222-8333-"               \
    "bbbbbbbbbbbb\",\"RequestType\":\"Add\",\"Settings\":{\"Functions\":[{"                        \
    "\"DeviceInstancePath\":\"emulated:edu\"}]}}"

struct result {
    bool done;
    int code;
    char message[400];
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct result *r = arg;

    (void)op;
    r->done = true;
    r->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(r->message, sizeof r->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void never_dialled(void **state) {
    const struct uvm__hcs_modify_params p = {.request = REQUEST,
                                             .request_bytes = sizeof REQUEST - 1};
    struct result r = {false, 0, ""};
    struct kit k;

    (void)state;
    kit_open(&k);
    kit_create(&k);
    kit_wait_created(&k);
    assert_int_equal(k.create_code, UVM_OK);
    k.create = uvm_op_unref(k.create);
    assert_int_equal(kit_run(&k, uvm__hcs_start), UVM_OK);
    kit_expect(&k, "tiny: up");
    assert_int_equal(uvm__hcs_modify(k.system, &p, NULL, on_done, &r, NULL), 0);
    loop_until_ms(&k.base, &r.done, UVM__VMBUS_OPEN_MS + 20000u);
    assert_int_equal(r.code, UVM_E_UNSUPPORTED);
    if (strstr(r.message, "the guest never dialled the offer channel") == NULL) {
        fail_msg("%s", r.message);
    }
    assert_null(strstr(uvm__hcs_properties(k.system), "VirtualPci"));
    kit_close_system(&k);
    kit_close(&k);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_dialled)};
    kit_arguments(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
