/* SPDX-License-Identifier: MIT
 * vpci_test.c — PCI functions of a simulated VM: who is counted and when, GUIDs, what has no place, what a boot and a
 * document bring, a guest that never finds one. Its flows under every fault are the sweep's.
 */
#include "async/limits.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define GUID "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
#define UPPER "AAAAAAAA-1111-4222-8333-BBBBBBBBBBBB"
#define OTHER "cccccccc-1111-4222-8333-bbbbbbbbbbbb"
#define VIEW "/sys/bus/vmbus/devices/"

static struct uvm_vpci_params function(const char *device, uint32_t n, const char *guid) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = device;
    p.virtual_function = n;
    p.guid = guid;
    return p;
}

static void attach(struct world *w, const struct uvm_vpci_params *p, char id[32]) {
    EXPECT_EQ(w, disk_vpci_code(w, p, id), UVM_OK);
}

static void code(struct world *w, const char *device, uint32_t n, const char *guid,
                 enum uvm_error_code wanted) {
    struct uvm_vpci_params p = function(device, n, guid);
    EXPECT_EQ(w, disk_vpci_code(w, &p, NULL), wanted);
}

static void refs(struct world *w, const char *id, uint32_t wanted) {
    struct disk_row row;
    EXPECT(w, disk_row(w, id, &row));
    EXPECT_EQ(w, row.refs, wanted);
}

/* Each virtual function is a device of its own; paths do not tell cases apart. */
static void keys(void **state) {
    (void)state;
    struct world w;
    char id[4][32];
    disk_open(&w, "keys");
    struct uvm_vpci_params p = function("0000:3B:00.0", 0, NULL);
    attach(&w, &p, id[0]);
    p.device = "0000:3b:00.0";
    attach(&w, &p, id[1]);
    EXPECT(&w, strcmp(id[0], id[1]) == 0);
    refs(&w, id[0], 2);
    p.virtual_function = 1;
    attach(&w, &p, id[2]);
    EXPECT(&w, strcmp(id[0], id[2]) != 0);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id[0]);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id[0]);
    EXPECT_EQ(&w, disk_detach_code(&w, id[0]), UVM_E_NOTFOUND);
    disk_detach_well(&w, id[2]);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* The caller's GUID is honoured, also by those who share; another one is refused, and so is one in use. */
static void guids(void **state) {
    (void)state;
    struct world w;
    char id[2][32];
    struct disk_row row;
    disk_open(&w, "guids");
    struct uvm_vpci_params p = function("edu", 0, UPPER);
    attach(&w, &p, id[0]);
    EXPECT(&w, disk_row(&w, id[0], &row));
    EXPECT(&w, strcmp(row.guest_path, VIEW GUID) == 0);
    code(&w, "edu", 0, OTHER, UVM_E_EXISTS);
    code(&w, "nic", 0, GUID, UVM_E_EXISTS);
    code(&w, "nic", 0, "no guid", UVM_E_INVAL);
    refs(&w, id[0], 1);
    p.guid = GUID;
    attach(&w, &p, id[1]);
    p.guid = NULL;
    attach(&w, &p, id[1]);
    refs(&w, id[0], 3);
    for (unsigned i = 0; i < 3; i++) {
        disk_detach_well(&w, id[0]);
    }
    p = function("nic", 0, GUID); /* it is free again */
    attach(&w, &p, id[0]);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id[0]);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void bad_params(void **state) {
    (void)state;
    struct world w;
    char lengthy[1100];
    disk_open(&w, "bad params");
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    code(&w, NULL, 0, NULL, UVM_E_INVAL);
    code(&w, "", 0, NULL, UVM_E_INVAL);
    code(&w, "e\ndu", 0, NULL, UVM_E_INVAL);
    code(&w, "e du", 0, NULL, UVM_E_INVAL);
    code(&w, lengthy, 0, NULL, UVM_E_LIMIT);
    code(&w, "edu", 65536, NULL, UVM_E_INVAL);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* The ninth waits for nobody: it is told that there is no place, until there is one. */
static void no_port(void **state) {
    (void)state;
    struct world w;
    char id[9][32];
    disk_open(&w, "no port");
    for (uint32_t i = 0; i < 8; i++) {
        struct uvm_vpci_params p = function("edu", i, NULL);
        attach(&w, &p, id[i]);
    }
    code(&w, "edu", 8, NULL, UVM_E_LIMIT);
    disk_detach_well(&w, id[5]);
    struct uvm_vpci_params p = function("edu", 8, NULL);
    attach(&w, &p, id[5]);
    disk_expect_agreement(&w);
    for (unsigned i = 0; i < 8; i++) {
        disk_detach_well(&w, id[i]);
    }
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* One caller's detach does not take it from another who is waiting for it: each counts from its reservation on. */
static void counted_from_the_reservation(void **state) {
    (void)state;
    struct world w;
    disk_open(&w, "counted");
    struct uvm_vpci_params p = function("edu", 0, NULL);
    struct world_call first = {0}, second = {0};
    char id[32];
    disk_mistreat(&w, WIRE_LATE, 0, 100);
    EXPECT_EQ(&w, disk_vpci(&w, &first, &p), 0);
    EXPECT_EQ(&w, disk_vpci(&w, &second, &p), 0);
    uvm_op_cancel(first.op); /* the guest has been asked by then, or will be */
    disk_wait(&w, &first, 2000, UVM_E_CANCELED);
    disk_wait(&w, &second, 2000, UVM_OK);
    (void)snprintf(id, sizeof id, "%s", uvm_attach_result(second.op).id);
    disk_end(&first);
    disk_end(&second);
    refs(&w, id, 1);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* A host that does not say whether it removed it: the function is known until it does. */
static void known_until_it_is_gone(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct disk_row row;
    disk_open(&w, "known");
    struct uvm_vpci_params p = function("edu", 0, NULL);
    attach(&w, &p, id);
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_UNDO);
    EXPECT(&w, disk_row(&w, id, &row) && row.quarantined);
    code(&w, "edu", 0, NULL, UVM_E_STATE);
    disk_detach_well(&w, id);
    attach(&w, &p, id);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* The agent says that it did not find it, and nothing is left. */
static void never_found(void **state) {
    (void)state;
    struct world w;
    disk_open(&w, "never found");
    struct guest_script script = {.refuse_mounts = 1};
    world_script(&w, &script);
    code(&w, "edu", 0, NULL, UVM_E_PEER);
    disk_expect_nothing(&w);
    char id[32];
    struct uvm_vpci_params p = function("edu", 0, NULL);
    attach(&w, &p, id);
    disk_detach_well(&w, id);
    disk_close(&w);
}

/* Those of the params come and go like others; those of the document stay, and are shared. */
static void of_a_boot(void **state) {
    (void)state;
    struct world w;
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm_vpci_params one = function("edu", 0, GUID), two = function("edu", 1, NULL);
    const struct uvm_vpci_params *const list[] = {&one, &two, NULL};
    p.vpci = list;
    disk_open_with(&w, "of a boot", &p);
    disk_expect_agreement(&w);
    static struct disk_row rows[4];
    EXPECT_EQ(&w, disk_rows(&w, rows, 4), 2);
    EXPECT(&w, strcmp(rows[0].guest_path, VIEW GUID) == 0);
    disk_detach_well(&w, rows[0].id);
    disk_detach_well(&w, rows[1].id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void of_a_document(void **state) {
    (void)state;
    static const char document[] =
        "{\"Owner\":\"o\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"
        "\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":\"/k\",\"InitRdPath\":\"/i\"}},"
        "\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":256,\"AllowOvercommit\":true},"
        "\"Processor\":{\"Count\":1}},"
        "\"Devices\":{\"VirtualPci\":{\"" GUID "\":{\"Functions\":[{"
        "\"DeviceInstancePath\":\"edu\",\"VirtualFunction\":3}]}}}},"
        "\"ShouldTerminateOnLastHandleClosed\":true}";
    struct world w;
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    char id[32];
    p.document = document;
    p.document_bytes = sizeof document - 1;
    disk_open_with(&w, "of a document", &p);
    struct uvm_vpci_params same = function("edu", 3, NULL);
    attach(&w, &same, id);
    refs(&w, id, 2);
    code(&w, "edu", 3, OTHER, UVM_E_EXISTS);
    disk_detach_well(&w, id);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_STATE); /* it stays as long as the VM */
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(guids),
        cmocka_unit_test(bad_params),
        cmocka_unit_test(no_port),
        cmocka_unit_test(counted_from_the_reservation),
        cmocka_unit_test(known_until_it_is_gone),
        cmocka_unit_test(never_found),
        cmocka_unit_test(of_a_boot),
        cmocka_unit_test(of_a_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
