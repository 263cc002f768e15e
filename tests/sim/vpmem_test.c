/* SPDX-License-Identifier: MIT
 * vpmem_test.c — images in virtual PMem of a simulated VM: places, sharing, what does not fit, what a boot brings,
 * and a guest or host that refuses. Its flows under every fault are the sweep's.
 */
#include "async/limits.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static struct uvm_vpmem_params image(const char *host_path) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    p.host_path = host_path;
    return p;
}

static void open_vm(struct world *w, uint32_t devices, uint64_t mb) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.vpmem_devices = devices;
    p.vpmem_device_mb = mb;
    disk_open_with(w, "vpmem", &p);
}

static void attach(struct world *w, const char *path, char id[32]) {
    struct uvm_vpmem_params p = image(path);
    EXPECT_EQ(w, disk_vpmem_code(w, &p, id), UVM_OK);
}

/* Where it is: device and offset. */
static void expect_at(struct world *w, const char *id, unsigned device, uint64_t offset) {
    struct disk_row row;
    EXPECT(w, disk_row(w, id, &row));
    EXPECT_EQ(w, row.controller, UVM__SIM_VPMEM + device);
    EXPECT_EQ(w, row.lun, offset);
}

static void places(void **state) {
    (void)state;
    struct world w;
    char id[9][32], path[16];
    open_vm(&w, 2, 16);
    uvm__sim_set_image_bytes(w.host, 3 * MIB); /* a class of 4 MiB: four fit into a device */
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(path, sizeof path, "/i%u", i);
        attach(&w, path, id[i]);
        expect_at(&w, id[i], i / 4, (uint64_t)(i % 4 * 4) * MIB);
    }
    struct uvm_vpmem_params more = image("/more");
    EXPECT_EQ(&w, disk_vpmem_code(&w, &more, NULL), UVM_E_LIMIT);
    more.or_scsi = true;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &more, id[8]), UVM_OK);
    EXPECT(&w, strncmp(id[8], "scsi-", 5) == 0);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id[8]);
    disk_detach_well(&w, id[5]); /* its place is the next one's */
    attach(&w, "/again", id[5]);
    expect_at(&w, id[5], 1, 4 * MIB);
    for (unsigned i = 0; i < 8; i++) {
        disk_detach_well(&w, id[i]);
    }
    disk_expect_nothing(&w);
    uvm__sim_set_image_bytes(w.host, 17 * MIB);
    more.or_scsi = false;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &more, NULL), UVM_E_LIMIT);
    uvm__sim_set_image_bytes(w.host, 0);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &more, NULL), UVM_E_LIMIT);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void sharing(void **state) {
    (void)state;
    struct world w;
    char one[32], two[32];
    struct disk_row row;
    open_vm(&w, 2, 64);
    struct uvm_vpmem_params p = image("/a"), q = image("/b");
    p.guest_path = "/layer";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, one), UVM_OK);
    p.guest_path = NULL;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, two), UVM_OK);
    EXPECT(&w, strcmp(one, two) == 0 && disk_row(&w, one, &row));
    EXPECT_EQ(&w, row.refs, 2);
    p.guest_path = "/other";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_EXISTS);
    p.guest_path = NULL;
    p.verity = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_EXISTS);
    p.verity = NULL;
    p.whole_device = true;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_EXISTS);
    q.guest_path = "/layer";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &q, NULL), UVM_E_EXISTS);
    q.guest_path = "relative";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &q, NULL), UVM_E_INVAL);
    disk_expect_agreement(&w);
    disk_detach_well(&w, one);
    disk_expect_agreement(&w);
    disk_detach_well(&w, one);
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, disk_detach_code(&w, one), UVM_E_NOTFOUND);
    disk_close(&w);
}

static void checked(void **state) {
    static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct world w;
    char one[32], two[32];
    struct guest_mount m;
    (void)state;
    open_vm(&w, 2, 64);
    struct uvm_vpmem_params p = image("/a");
    p.guest_path = "/layer";
    p.verity = "none";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_INVAL);
    p.verity = hash;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, one), UVM_OK);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/layer", &m) && strcmp(m.verity, hash) == 0);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, two), UVM_OK);
    assert_string_equal(one, two);
    p.verity = NULL;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_EXISTS);
    p.verity = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_EXISTS);
    disk_detach_well(&w, one);
    disk_detach_well(&w, one);
    disk_expect_nothing(&w);
    p.or_scsi = true; /* as a disk it is checked too */
    uvm__sim_set_image_bytes(w.host, 65 * MIB);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, one), UVM_OK);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/layer", &m) && strcmp(m.verity, p.verity) == 0);
    EXPECT(&w, strncmp(one, "scsi-", 5) == 0);
    disk_close(&w);
}

static void whole_devices(void **state) {
    (void)state;
    struct world w;
    char mapped[32], whole[32];
    open_vm(&w, 2, 64);
    attach(&w, "/mapped", mapped);
    struct uvm_vpmem_params p = image("/whole"), q = image("/none");
    p.whole_device = q.whole_device = true;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, whole), UVM_OK);
    expect_at(&w, whole, 1, 0);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &q, NULL), UVM_E_LIMIT);
    disk_expect_agreement(&w);
    disk_detach_well(&w, whole);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &q, whole), UVM_OK);
    expect_at(&w, whole, 1, 0);
    disk_detach_well(&w, whole);
    disk_detach_well(&w, mapped);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void without_devices(void **state) {
    (void)state;
    struct world w;
    char id[32];
    disk_open(&w, "no vpmem");
    struct uvm_vpmem_params p = image("/a");
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_LIMIT);
    p.or_scsi = true;
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, id), UVM_OK);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void of_a_boot(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct disk_row row;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_vpmem_params a = image("/a"), b = image("/b");
    const struct uvm_vpmem_params *list[] = {&a, &b, NULL};
    vp.vpmem = list;
    vp.rootfs = "/root";
    vp.rootfs_on = UVM_ROOTFS_ON_VPMEM;
    vp.vpmem_devices = 2;
    disk_open_with(&w, "boot with vpmem", &vp);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 3);
    EXPECT(&w, disk_row(&w, "vpmem-1", &row));
    EXPECT(&w, strcmp(row.host_path, "/root") == 0);
    expect_at(&w, "vpmem-1", 0, 0);
    EXPECT_EQ(&w, disk_detach_code(&w, "vpmem-1"), UVM_E_STATE);
    expect_at(&w, "vpmem-2", 1, 0);
    attach(&w, "/a", id); /* shared */
    EXPECT(&w, strcmp(id, "vpmem-2") == 0);
    disk_detach_well(&w, id);
    disk_detach_well(&w, "vpmem-2");
    disk_detach_well(&w, "vpmem-3");
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 1);
    EXPECT_EQ(&w, w.seen.mounts, 0);
    disk_close(&w);
}

static void refusals(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct guest_script script = {.refuse_mounts = 1, .refuse_unmounts = 1};
    open_vm(&w, 1, 64);
    struct uvm_vpmem_params p = image("/a");
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    world_script(&w, &script);
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    attach(&w, "/a", id);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_PEER); /* nothing has happened */
    disk_expect_agreement(&w);
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_UNDO); /* the guest has let go */
    EXPECT_EQ(&w, disk_vpmem_code(&w, &p, NULL), UVM_E_STATE);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),          cmocka_unit_test(sharing),
        cmocka_unit_test(checked),         cmocka_unit_test(whole_devices),
        cmocka_unit_test(without_devices), cmocka_unit_test(of_a_boot),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
