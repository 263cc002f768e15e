/* SPDX-License-Identifier: MIT
 * scsi_tools_test.c — the tools disk comes before the first mount that may format, once, whoever asks first;
 * and where it does not come, those who need it hear why, and nobody else does.
 */
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define TOOLS "/boot/tools.img"
#define TOOLS_AT "/run/uvm/tools"

static void open_world(struct world *w, const char *what) {
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.tools = TOOLS;
    disk_open_with(w, what, &vp);
}

static struct uvm_scsi_params formatted(const char *host_path) {
    struct uvm_scsi_params p = disk_mount(host_path, NULL);
    p.filesystem = "ext4";
    p.ensure_filesystem = true;
    return p;
}

/* The id of the tools disk; "": it is not there. */
static void tools_id(struct world *w, char ret[32]) {
    struct disk_row rows[8];
    uint32_t count = disk_rows(w, rows, 8);
    ret[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(rows[i].host_path, TOOLS) == 0) {
            EXPECT(w, rows[i].read_only && strcmp(rows[i].guest_path, TOOLS_AT) == 0);
            (void)snprintf(ret, 32, "%s", rows[i].id);
        }
    }
}

/* What is encrypted is always formatted, also where nobody says as what. */
static void comes_for_the_encrypted(void **unused) {
    (void)unused;
    struct world w;
    char id[32];
    struct guest_mount m;
    open_world(&w, "tools come for an encrypted disk");
    struct uvm_scsi_params p = disk_mount("/secret", "/run/secret");
    p.encrypted = true;
    disk_attach_well(&w, &p, id);
    EXPECT(&w, guest_mount_at(disk_guest(&w), TOOLS_AT, &m) && m.read_only);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/run/secret", &m) && m.encrypted);
    disk_expect_agreement(&w);
    disk_close(&w);
}

static void comes_once_and_stays(void **unused) {
    (void)unused;
    static const char *const paths[] = {"/a", "/b", "/c", "/d"};
    struct world_call calls[4];
    struct world w;
    char id[32], plain[32];
    struct guest_mount m;
    open_world(&w, "tools come once");
    struct uvm_scsi_params p = disk_mount("/plain", NULL);
    disk_attach_well(&w, &p, plain);
    tools_id(&w, id);
    assert_string_equal(id, ""); /* not before it is needed */
    for (size_t i = 0; i < 4; i++) {
        p = formatted(paths[i]);
        calls[i] = (struct world_call){0};
        EXPECT_EQ(&w, disk_attach(&w, &calls[i], &p), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        disk_wait(&w, &calls[i], 1000, UVM_OK);
        (void)snprintf(id, sizeof id, "%s", uvm_attach_result(calls[i].op).id);
        disk_end(&calls[i]);
        disk_detach_well(&w, id);
    }
    EXPECT_EQ(&w, w.seen.mounted, 6);
    EXPECT(&w, guest_mount_at(disk_guest(&w), TOOLS_AT, &m) && m.read_only);
    tools_id(&w, id);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_STATE);
    p = formatted("/a");
    disk_attach_well(&w, &p, plain);
    EXPECT_EQ(&w, w.seen.mounted, 7); /* and not the tools again */
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* The host has no such file, the guest refuses the mount, there is no place: said by all who need it. */
static void does_not_come(void **unused) {
    (void)unused;
    for (int how = 0; how < 2; how++) {
        struct world_call a = {0}, b = {0};
        struct world w;
        char id[32];
        open_world(&w, how == 0 ? "no tools on the host" : "no tools in the guest");
        struct uvm_scsi_params p = disk_bare("/plain");
        disk_attach_well(&w, &p, id);
        struct guest_script script = {.refuse_mounts = how == 1};
        world_script(&w, &script);
        p = formatted("/a");
        EXPECT_EQ(&w, disk_attach(&w, &a, &p), 0);
        p = formatted("/b");
        EXPECT_EQ(&w, disk_attach(&w, &b, &p), 0);
        uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 2,
                           how == 0 ? UVM__SIM_REFUSE : UVM__SIM_NONE);
        disk_wait(&w, &a, 1000, UVM_E_PEER);
        EXPECT(&w, strstr(uvm_error_message(a.err), "the tools disk did not come") != NULL);
        EXPECT(&w, strstr(uvm_error_message(a.err), TOOLS) != NULL);
        disk_end(&a);
        disk_wait(&w, &b, 1000, UVM_E_PEER);
        EXPECT(&w, strstr(uvm_error_message(b.err), "the tools disk did not come") != NULL);
        disk_end(&b);
        world_pass(&w, 1000);
        tools_id(&w, id);
        assert_string_equal(id, "");
        disk_expect_agreement(&w);
        disk_attach_well(&w, &p, id); /* tried anew */
        disk_expect_agreement(&w);
        disk_close(&w);
    }
}

/* Who asked first gives up: the others go on with what he began. */
static void who_asked_first_gives_up(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms < 12; ms++) {
        struct world_call a = {0}, b = {0};
        struct world w;
        open_world(&w, "the first gives up");
        struct uvm_scsi_params p = formatted("/a");
        EXPECT_EQ(&w, disk_attach(&w, &a, &p), 0);
        p = formatted("/b");
        EXPECT_EQ(&w, disk_attach(&w, &b, &p), 0);
        world_pass(&w, ms);
        uvm_op_cancel(a.op);
        world_wait(&w, &a, 1000);
        EXPECT(&w, a.code == UVM_E_CANCELED || a.code == UVM_OK);
        disk_end(&a);
        disk_wait(&w, &b, 1000, UVM_OK);
        disk_end(&b);
        disk_expect_agreement(&w);
        disk_close(&w);
    }
}

/* At each moment: what waits hears of the VM's end, nothing is left. */
static void the_vm_ends_meanwhile(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms < 16; ms++) {
        struct world_call a = {0};
        struct world w;
        open_world(&w, "the VM ends meanwhile");
        struct uvm_scsi_params p = formatted("/a");
        EXPECT_EQ(&w, disk_attach(&w, &a, &p), 0);
        world_pass(&w, ms);
        uvm__sim_end(uvm__sim_newest(w.host), UVM__HCS_EXIT_VMM_DIED, "");
        world_wait(&w, &a, 1000);
        EXPECT(&w, a.code == UVM_E_EXITED || a.code == UVM_OK);
        disk_end(&a);
        disk_close(&w);
    }
}

/* Each allocation of the first attach that formats fails once: it may, and the next one is served. */
static void without_memory(void **unused) {
    (void)unused;
    unsigned failed = 0;
    for (uint32_t n = 1; n < 200; n++) {
        struct world_call a = {0};
        struct world w;
        char id[32];
        open_world(&w, "tools without memory");
        struct uvm_scsi_params p = formatted("/a");
        w.allocs = 0;
        w.fail_at = n;
        int rc = disk_attach(&w, &a, &p);
        if (rc == 0) {
            world_wait(&w, &a, 10000);
            failed += a.code != UVM_OK;
        }
        w.fail_at = 0;
        disk_end(&a);
        world_pass(&w, 1000);
        disk_attach_well(&w, &p, id);
        disk_expect_agreement(&w);
        disk_close(&w);
    }
    assert_true(failed > 0);
}

/* Somebody has the tools disk as a disk of his own, or gets it, or lets go of it at that moment. */
static void somebody_has_it(void **unused) {
    (void)unused;
    for (uint64_t ms = 0; ms < 16; ms++) {
        for (int leaves = 0; leaves < 2; leaves++) {
            struct world_call own = {0}, a = {0};
            struct world w;
            char id[32];
            open_world(&w, leaves ? "somebody lets go of the tools" : "somebody has the tools");
            struct uvm_scsi_params p = disk_mount(TOOLS, TOOLS_AT);
            p.read_only = true;
            p.filesystem = "ext4";
            if (leaves) {
                disk_attach_well(&w, &p, id);
                EXPECT_EQ(&w, disk_detach(&w, &own, id), 0);
            } else {
                EXPECT_EQ(&w, disk_attach(&w, &own, &p), 0);
            }
            world_pass(&w, ms);
            p = formatted("/a");
            EXPECT_EQ(&w, disk_attach(&w, &a, &p), 0);
            disk_wait(&w, &a, 1000, UVM_OK);
            disk_end(&a);
            disk_wait(&w, &own, 1000, UVM_OK);
            disk_end(&own);
            tools_id(&w, id);
            if (!leaves) {
                EXPECT_EQ(&w, w.seen.mounted, 2);
                disk_detach_well(&w, id);
            }
            EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_STATE); /* it is there for good */
            disk_expect_agreement(&w);
            disk_close(&w);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_once_and_stays),  cmocka_unit_test(comes_for_the_encrypted),
        cmocka_unit_test(does_not_come),         cmocka_unit_test(who_asked_first_gives_up),
        cmocka_unit_test(the_vm_ends_meanwhile), cmocka_unit_test(somebody_has_it),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
