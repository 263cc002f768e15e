/* SPDX-License-Identifier: MIT
 * vsmb_test.c — shared folders of a simulated VM: names, what is shared and what is refused, files and lists of
 * them, what a boot brings, and a guest or host that refuses. Its flows under every fault are the sweep's.
 */
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

static struct uvm_vsmb_params share(const char *host_path) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    p.host_path = host_path;
    return p;
}

static void attach(struct world *w, const struct uvm_vsmb_params *p, char id[32]) {
    EXPECT_EQ(w, disk_vsmb_code(w, p, id), UVM_OK);
}

/* Names are hexadecimal numbers from 1 on that are never used again. */
static void names(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct disk_row row;
    struct guest_mount m;
    disk_open(&w, "vsmb");
    for (unsigned n = 1; n <= 17; n++) {
        char path[64];
        struct uvm_vsmb_params p = share("/a/b/");
        p.read_only = n % 2 == 0;
        attach(&w, &p, id);
        EXPECT(&w, disk_row(&w, id, &row));
        EXPECT(&w, strcmp(row.host_path, "/a/b") == 0);
        (void)snprintf(path, sizeof path, "/run/mounts/vsmb/s%x", n);
        EXPECT(&w, strcmp(row.guest_path, path) == 0);
        EXPECT(&w, guest_mount_at(disk_guest(&w), path, &m));
        EXPECT_EQ(&w, m.read_only, p.read_only);
        disk_expect_agreement(&w);
        disk_detach_well(&w, id);
        disk_expect_nothing(&w);
    }
    disk_close(&w);
}

/* The key is the path, the mode, and whether it is a file; the rest must be the same. */
static void what_is_shared(void **state) {
    (void)state;
    static const char *const ab[] = {"a", "b", NULL}, *const ba[] = {"b", "a", NULL},
                             *const a[] = {"a", NULL};
    struct world w;
    char one[32], id[4][32];
    struct disk_row row;
    disk_open(&w, "vsmb");
    struct uvm_vsmb_params p = share("/x"), q = share("/x//");
    p.guest_path = "/one";
    p.files = ab;
    attach(&w, &p, one);
    q.files = ba; /* in any order, wherever it is */
    attach(&w, &q, id[0]);
    EXPECT(&w, strcmp(one, id[0]) == 0 && disk_row(&w, one, &row));
    EXPECT_EQ(&w, row.refs, 2);
    q.files = a;
    EXPECT_EQ(&w, disk_vsmb_code(&w, &q, NULL), UVM_E_EXISTS);
    q.files = NULL;
    EXPECT_EQ(&w, disk_vsmb_code(&w, &q, NULL), UVM_E_EXISTS);
    q.files = ab;
    q.guest_path = "/two";
    EXPECT_EQ(&w, disk_vsmb_code(&w, &q, NULL), UVM_E_EXISTS);
    q = share("/x");
    q.read_only = true;
    attach(&w, &q, id[1]);
    EXPECT(&w, strcmp(one, id[1]) != 0);
    q.file = true; /* a file where a folder was: the host's to tell */
    attach(&w, &q, id[2]);
    EXPECT(&w, strcmp(id[1], id[2]) != 0);
    q = share("/y");
    q.guest_path = "/one"; /* taken, by another */
    EXPECT_EQ(&w, disk_vsmb_code(&w, &q, NULL), UVM_E_EXISTS);
    disk_expect_agreement(&w);
    disk_detach_well(&w, one);
    for (unsigned i = 0; i < 3; i++) {
        disk_detach_well(&w, id[i]);
    }
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void files(void **state) {
    (void)state;
    static const char *const up[] = {"..", NULL}, *const sub[] = {"a/b", NULL},
                             *const twice[] = {"a", "a", NULL}, *const one[] = {"a", NULL};
    struct world w;
    char id[32];
    struct disk_row row;
    disk_open(&w, "vsmb");
    struct uvm_vsmb_params p = share("/etc/hosts");
    p.file = true;
    attach(&w, &p, id);
    EXPECT(&w, disk_row(&w, id, &row));
    EXPECT(&w, strcmp(row.guest_path, "/run/mounts/vsmb/s1/hosts") == 0);
    disk_detach_well(&w, id);
    p.files = one; /* it is one itself */
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_INVAL);
    p = share("/etc/");
    p.file = true;
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_INVAL);
    p = share("/x");
    const char *const *bad[] = {up, sub, twice};
    for (unsigned i = 0; i < 3; i++) {
        p.files = bad[i];
        EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_INVAL);
    }
    p = share("relative");
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_INVAL);
    p = share("/");
    attach(&w, &p, id);
    EXPECT(&w, disk_row(&w, id, &row) && strcmp(row.host_path, "/") == 0);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void of_a_boot(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_vsmb_params a = share("/a"), b = share("/b");
    const struct uvm_vsmb_params *list[] = {&a, &b, NULL};
    vp.vsmb = list;
    disk_open_with(&w, "boot with shares", &vp);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 2);
    attach(&w, &b, id);
    EXPECT(&w, strcmp(id, "vsmb-2") == 0);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_detach_well(&w, id);
    disk_detach_well(&w, "vsmb-1");
    disk_expect_nothing(&w);
    disk_close(&w);
}

static void refusals(void **state) {
    (void)state;
    struct world w;
    char id[32];
    struct guest_script script = {.refuse_mounts = 1, .refuse_unmounts = 1};
    const struct uvm_vsmb_params p = share("/a");
    disk_open(&w, "vsmb");
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    world_script(&w, &script);
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_PEER);
    disk_expect_nothing(&w);
    attach(&w, &p, id);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_PEER); /* nothing has happened */
    disk_expect_agreement(&w);
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_REFUSE);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_UNDO); /* the guest has let go */
    EXPECT_EQ(&w, disk_vsmb_code(&w, &p, NULL), UVM_E_STATE);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),     cmocka_unit_test(what_is_shared), cmocka_unit_test(files),
        cmocka_unit_test(of_a_boot), cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
