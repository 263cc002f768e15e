/* SPDX-License-Identifier: MIT
 * plan9_test.c — folders by 9P of a simulated VM: names and ports, what is shared and what is another share, what a
 * boot brings, and a guest or host that refuses. Its flows under every fault are the sweep's.
 */
#include "async/limits.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define FIRST_PORT 0x30000000u /* hvsock/ports.h */

static struct uvm_plan9_params folder(const char *host_path) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    p.host_path = host_path;
    return p;
}

static void attach(struct world *w, const struct uvm_plan9_params *p, char id[32]) {
    EXPECT_EQ(w, disk_plan9_code(w, p, id), UVM_OK);
}

/* Names and ports are never used again. */
static void names_and_ports(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct disk_row row;
    struct guest_mount m;
    disk_open(&w, "plan9");
    for (unsigned n = 0; n < 3; n++) {
        char path[64];
        const struct uvm_plan9_params p = folder("/a");
        attach(&w, &p, id);
        EXPECT(&w, disk_row(&w, id, &row));
        EXPECT_EQ(&w, row.controller, UVM__SIM_PLAN9);
        EXPECT_EQ(&w, row.lun, FIRST_PORT + n);
        (void)snprintf(path, sizeof path, "/run/mounts/plan9/%u", n);
        EXPECT(&w, strcmp(row.guest_path, path) == 0);
        EXPECT(&w, guest_mount_at(disk_guest(&w), path, &m));
        EXPECT_EQ(&w, m.lun, row.lun);
        disk_expect_agreement(&w);
        disk_detach_well(&w, id);
        disk_expect_nothing(&w);
    }
    disk_close(&w);
}

/* The key is all that was asked for. */
static void what_is_shared(void **state) {
    (void)state;
    static const char *const ab[] = {"a", "b", NULL}, *const ba[] = {"b", "a", NULL},
                             *const a[] = {"a", NULL};
    struct world w;
    char one[32], id[8][32];
    struct disk_row row;
    disk_open(&w, "plan9");
    struct uvm_plan9_params p = folder("/x"), q = folder("/x");
    p.guest_path = "/one";
    attach(&w, &p, one);
    attach(&w, &q, id[0]); /* wherever it is */
    EXPECT(&w, strcmp(one, id[0]) == 0 && disk_row(&w, one, &row));
    EXPECT_EQ(&w, row.refs, 2);
    q.guest_path = "/two";
    attach(&w, &q, id[1]);
    q.guest_path = NULL;
    q.read_only = true;
    attach(&w, &q, id[2]);
    q.files = ab;
    attach(&w, &q, id[3]);
    q.files = ba; /* in any order */
    attach(&w, &q, id[4]);
    EXPECT(&w, strcmp(id[3], id[4]) == 0);
    q.files = a;
    attach(&w, &q, id[5]);
    for (unsigned i = 1; i < 6; i++) {
        EXPECT(&w, strcmp(id[i], one) != 0);
        EXPECT(&w, i == 4 || strcmp(id[i], id[i - 1]) != 0);
    }
    q.guest_path = "/one"; /* taken, by another */
    EXPECT_EQ(&w, disk_plan9_code(&w, &q, NULL), UVM_E_EXISTS);
    struct uvm_scsi_params disk = disk_mount("/disk", "/one");
    EXPECT(&w, disk_attach_code(&w, &disk) != UVM_OK);
    disk_expect_agreement(&w);
    disk_detach_well(&w, one);
    for (unsigned i = 0; i < 6; i++) {
        disk_detach_well(&w, id[i]);
    }
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* Where a file is in the guest, and what is no name of one. */
static void single_files(void **state) {
    (void)state;
    static const char *const up[] = {"..", NULL}, *const sub[] = {"a/b", NULL},
                             *const twice[] = {"a", "a", NULL};
    struct world w;
    char id[32];
    struct disk_row row;
    disk_open(&w, "plan9");
    struct uvm_plan9_params p = folder("/etc/hosts");
    p.file = true;
    attach(&w, &p, id);
    EXPECT(&w, disk_row(&w, id, &row));
    EXPECT(&w, strcmp(row.guest_path, "/run/mounts/plan9/0/hosts") == 0);
    disk_detach_well(&w, id);
    p.guest_path = "/in";
    attach(&w, &p, id);
    EXPECT(&w, disk_row(&w, id, &row) && strcmp(row.guest_path, "/in/hosts") == 0);
    disk_detach_well(&w, id);
    p = folder("/x");
    const char *const *bad[] = {up, sub, twice};
    for (unsigned i = 0; i < 3; i++) {
        p.files = bad[i];
        EXPECT_EQ(&w, disk_plan9_code(&w, &p, NULL), UVM_E_INVAL);
    }
    p = folder("relative");
    EXPECT_EQ(&w, disk_plan9_code(&w, &p, NULL), UVM_E_INVAL);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void of_a_boot(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_plan9_params a = folder("/a"), b = folder("/b");
    const struct uvm_plan9_params *list[] = {&a, &b, NULL};
    vp.plan9 = list;
    disk_open_with(&w, "boot with folders", &vp);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 2);
    attach(&w, &b, id);
    EXPECT(&w, strcmp(id, "plan9-2") == 0);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_detach_well(&w, id);
    disk_detach_well(&w, "plan9-1");
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void refusals(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct guest_script script = {.refuse_mounts = 1, .refuse_unmounts = 1};
    const struct uvm_plan9_params p = folder("/a");
    disk_open(&w, "plan9");
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_plan9_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    world_script(&w, &script);
    EXPECT_EQ(&w, disk_plan9_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    attach(&w, &p, id);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_PEER); /* nothing has happened */
    disk_expect_agreement(&w);
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_UNDO); /* the guest has let go */
    EXPECT_EQ(&w, disk_plan9_code(&w, &p, NULL), UVM_E_STATE);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_ports), cmocka_unit_test(what_is_shared),
        cmocka_unit_test(single_files),    cmocka_unit_test(of_a_boot),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
