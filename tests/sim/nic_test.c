/* SPDX-License-Identifier: MIT
 * nic_test.c — network adapters of a simulated VM: who shares, what is refused, what a boot and a document bring, a
 * guest or a host that refuses. Their flows under every fault are the sweep's.
 */
#include "async/limits.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

static struct uvm_nic_params user(void) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    return p;
}

static void come_and_go(void **state) {
    (void)state;
    struct world w;
    char id[9][32];
    struct disk_row row;
    struct uvm_nic_params p = user();
    disk_open(&w, "nic");
    for (unsigned i = 0; i < 8; i++) { /* none is shared */
        EXPECT_EQ(&w, disk_nic_code(&w, &p, id[i]), UVM_OK);
        EXPECT(&w, disk_row(&w, id[i], &row));
        EXPECT_EQ(&w, row.refs, 1);
        EXPECT(&w, i == 0 || strcmp(id[i], id[i - 1]) != 0);
    }
    p.type = UVM_NIC_NETNS;
    p.target = "/run/netns/a";
    EXPECT_EQ(&w, disk_nic_code(&w, &p, id[8]), UVM_OK);
    EXPECT(&w, strstr(uvm_vm_devices(w.vm), "\"mac\":\"02:00:00:09:08:07\",\"mtu\":1400") != NULL);
    disk_expect_agreement(&w);
    for (unsigned i = 0; i < 9; i++) {
        disk_detach_well(&w, id[i]);
    }
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void sharing_and_macs(void **state) {
    (void)state;
    struct world w;
    char one[32], two[32];
    struct uvm_nic_params p = user();
    disk_open(&w, "nic sharing");
    p.id = "0A0A0A0A-0000-4000-8000-000000000001";
    p.mac = "02-00-00-00-00-0A";
    EXPECT_EQ(&w, disk_nic_code(&w, &p, one), UVM_OK);
    p.mac = "02:00:00:00:00:0a";
    EXPECT_EQ(&w, disk_nic_code(&w, &p, two), UVM_OK);
    EXPECT(&w, strcmp(one, two) == 0);
    p.mtu = 1400;
    EXPECT_EQ(&w, disk_nic_code(&w, &p, NULL), UVM_E_EXISTS);
    p.id = NULL;
    EXPECT_EQ(&w, disk_nic_code(&w, &p, NULL), UVM_E_EXISTS); /* the MAC */
    p.mac = NULL;
    EXPECT_EQ(&w, disk_nic_code(&w, &p, two), UVM_OK);
    disk_detach_well(&w, one);
    disk_detach_well(&w, two);
    disk_expect_agreement(&w);
    disk_detach_well(&w, one);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void what_is_refused(void **state) {
    (void)state;
    static const char *const good[] = {"10.0.0.2/24", NULL}, *const bare[] = {"10.0.0.2", NULL},
                             *const twice[] = {"10.0.0.2/24", "10.0.0.2/24", NULL},
                             *const host[] = {"10.0.0.1", NULL},
                             *const two[] = {"10.0.0.1", "10.0.0.3", NULL},
                             *const domain[] = {"a b", NULL};
    const struct uvm_nic_params rows[] = {
#define ROW(...) {.size = sizeof(struct uvm_nic_params), __VA_ARGS__}
        ROW(.target = "x"),
        ROW(.type = UVM_NIC_TAP),
        ROW(.type = UVM_NIC_TAP, .target = "a/b"),
        ROW(.type = UVM_NIC_TAP, .target = "longer-than-linux"),
        ROW(.type = UVM_NIC_NETNS, .target = "relative"),
        ROW(.type = (enum uvm_nic_type)9),
        ROW(.interface = "eth0"),
        ROW(.id = "not a guid"),
        ROW(.namespace_id = "neither"),
        ROW(.mac = "01:00:00:00:00:01"),
        ROW(.mac = "00:00:00:00:00:00"),
        ROW(.mac = "02:00:00:00:00"),
        ROW(.mac = "02:00:00:00:00:0g"),
        ROW(.mtu = 67),
        ROW(.mtu = 65522),
        ROW(.addresses = bare),
        ROW(.addresses = twice),
        ROW(.addresses = good, .dhcp = true),
        ROW(.addresses = good, .gateways = good),
        ROW(.addresses = good, .gateways = two),
        ROW(.gateways = host),
        ROW(.dns = good),
        ROW(.search = domain),
#undef ROW
    };
    struct world w;
    disk_open(&w, "nic refused");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        EXPECT_EQ(&w, disk_nic_code(&w, &rows[i], NULL), UVM_E_INVAL);
    }
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void guest_and_host_refuse(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct uvm_nic_params p = user();
    disk_open(&w, "nic refusals");
    const struct guest_script no = {.refuse_mounts = 1};
    world_script(&w, &no);
    EXPECT_EQ(&w, disk_nic_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, disk_nic_code(&w, &p, id), UVM_OK);
    const struct guest_script keeps = {.refuse_unmounts = 1};
    world_script(&w, &keeps);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_PEER);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void of_a_boot(void **state) {
    (void)state;
    struct world w;
    struct disk_row row;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_nic_params a = user(), b = user();
    const struct uvm_nic_params *list[] = {&a, &b, NULL};
    b.type = UVM_NIC_TAP;
    b.target = "tap0";
    vp.nics = list;
    disk_open_with(&w, "nic boot", &vp);
    EXPECT(&w, disk_row(&w, "nic-1", &row) && disk_row(&w, "nic-2", &row));
    disk_expect_agreement(&w);
    disk_detach_well(&w, "nic-2");
    disk_expect_agreement(&w);
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(come_and_go),     cmocka_unit_test(sharing_and_macs),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(guest_and_host_refuse),
        cmocka_unit_test(of_a_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
