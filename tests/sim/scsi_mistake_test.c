/* SPDX-License-Identifier: MIT
 * scsi_mistake_test.c — the mistakes that engines of this kind are known for, each by name.
 *
 * References that are lost or dropped too early, slots that leak, somebody else's disk that is touched, one
 * slow guest call that holds up all; and what is quarantined, which must be freed late or tried again.
 */
#include "async/limits.h"
#include "async/scope.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define NAME DISK_VM

/* ---- known mistakes ----------------------------------------------------------------------- */

/* A waiter that gives up keeps its reference, and the disk is never detached. */
static void who_gives_up_gives_back(void **unused) {
    (void)unused;
    for (unsigned gives_up = 0; gives_up < 3; gives_up++) {
        struct world w;
        struct world_call c[3] = {0};
        char id[32];
        disk_open(&w, "who gives up gives back");
        struct uvm_scsi_params p = disk_mount("/a", NULL);
        for (unsigned i = 0; i < 3; i++) {
            EXPECT_EQ(&w, disk_attach(&w, &c[i], &p), 0);
        }
        world_pass(&w, 1); /* on its way */
        uvm_op_cancel(c[gives_up].op);
        disk_wait(&w, &c[gives_up], 0, UVM_E_CANCELED); /* at once: the others carry on */
        for (unsigned i = 0; i < 3; i++) {
            if (i != gives_up) {
                disk_wait(&w, &c[i], 1000, UVM_OK);
                (void)snprintf(id, sizeof id, "%s", uvm_attach_result(c[i].op).id);
            }
            disk_end(&c[i]);
        }
        disk_expect_agreement(&w);
        disk_detach_well(&w, id);
        disk_detach_well(&w, id);
        disk_expect_nothing(&w);
        disk_close(&w);
    }
}

/* All who wait for an attach that fails hear the same; nothing is left, and trying again works. */
static void all_hear_the_same_failure(void **unused) {
    (void)unused;
    for (unsigned where = 0; where < 2; where++) {
        struct world w;
        struct world_call c[3] = {0};
        char id[32];
        disk_open(&w, "all hear the same");
        struct guest_script script = {.refuse_mounts = where == 1};
        world_script(&w, &script);
        uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0,
                           where == 0 ? UVM__SIM_REFUSE : UVM__SIM_NONE);
        struct uvm_scsi_params p = disk_mount("/a", NULL), q = disk_bare("/b");
        for (unsigned i = 0; i < 3; i++) {
            EXPECT_EQ(&w, disk_attach(&w, &c[i], &p), 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            disk_wait(&w, &c[i], 1000, UVM_E_PEER);
            EXPECT(&w, strstr(uvm_error_message(c[i].err), "/a") != NULL);
            assert_string_equal(uvm_error_message(c[i].err), uvm_error_message(c[0].err));
        }
        for (unsigned i = 0; i < 3; i++) {
            disk_end(&c[i]);
        }
        disk_expect_nothing(&w);
        disk_attach_well(&w, &q, id); /* a stranger's disk in the same slot is not touched */
        disk_attach_well(&w, &p, id);
        disk_expect_agreement(&w);
        disk_close(&w);
    }
}

/* A mount and a disk without one fail together with their disk, each hears it. */
static void two_attachments_of_a_disk_that_fails(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c[2] = {0};
    disk_open(&w, "two attachments of a disk that fails");
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, UVM__SIM_REFUSE);
    struct uvm_scsi_params p = disk_mount("/a", NULL), q = disk_bare("/a");
    EXPECT_EQ(&w, disk_attach(&w, &c[0], &p), 0);
    EXPECT_EQ(&w, disk_attach(&w, &c[1], &q), 0);
    for (unsigned i = 0; i < 2; i++) {
        disk_wait(&w, &c[i], 1000, UVM_E_PEER);
        disk_end(&c[i]);
    }
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
    disk_close(&w);
}

/* A detach that fails drops its reference before anything has happened. */
static void a_refused_unmount_changes_nothing(void **unused) {
    (void)unused;
    struct world w;
    char id[32];
    struct disk_row row;
    disk_open(&w, "a refused unmount");
    struct uvm_scsi_params p = disk_mount("/a", NULL);
    disk_attach_well(&w, &p, id);
    for (unsigned i = 0; i < 3; i++) {
        struct guest_script script = {.refuse_unmounts = 1};
        world_script(&w, &script);
        EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_PEER);
        EXPECT(&w, disk_row(&w, id, &row) && row.refs == 1);
        disk_expect_agreement(&w);
    }
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK); /* can still be shared */
    disk_detach_well(&w, id);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* What fails behind the unmount can be tried again, and does not repeat what was done. */
static void a_detach_goes_on_where_it_stopped(void **unused) {
    (void)unused;
    for (unsigned where = 0; where < 2; where++) {
        struct world w;
        struct world_call c = {0};
        char id[32];
        struct disk_row row;
        disk_open(&w, "a detach goes on");
        struct uvm_scsi_params p = disk_mount("/a", NULL);
        disk_attach_well(&w, &p, id);
        for (unsigned i = 0; i < 2; i++) {
            struct guest_script script = {.refuse_ejects = where == 0};
            world_script(&w, &script);
            uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0,
                               where == 1 ? UVM__SIM_REFUSE : UVM__SIM_NONE);
            EXPECT_EQ(&w, disk_detach(&w, &c, id), 0);
            disk_wait(&w, &c, 1000, UVM_E_UNDO);
            EXPECT(&w, strstr(uvm_error_detail(c.err), id) != NULL);
            EXPECT(&w, strstr(uvm_error_detail(c.err), "/a") != NULL);
            disk_end(&c);
            EXPECT(&w, disk_row(&w, id, &row) && row.quarantined && row.refs == 0);
            EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_STATE);
        }
        EXPECT_EQ(&w, w.seen.unmounted, 1);
        disk_detach_well(&w, id);
        EXPECT_EQ(&w, w.seen.unmounted, 1);
        EXPECT_EQ(&w, w.seen.ejects, 1);
        disk_expect_nothing(&w);
        EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
        disk_close(&w);
    }
}

/* A mount that failed makes the disk impossible to detach for ever. */
static void a_failed_mount_leaves_no_disk(void **unused) {
    (void)unused;
    struct world w;
    char id[32];
    disk_open(&w, "a failed mount");
    struct uvm_scsi_params bare = disk_bare("/a"), p = disk_mount("/a", "/data");
    disk_attach_well(&w, &bare, id);
    struct guest_script script = {.refuse_mounts = 1};
    world_script(&w, &script);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_PEER);
    disk_expect_agreement(&w); /* the other attachment of the disk is as it was */
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* An attach that is taken back before it came to anything leaves a mount without references. */
static void an_attach_taken_back_at_once(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    disk_open(&w, "taken back at once");
    struct uvm_scsi_params p = disk_mount("/a", NULL);
    EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
    uvm_op_cancel(c.op);
    disk_wait(&w, &c, 0, UVM_E_CANCELED);
    disk_end(&c);
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks_added, 0);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* A slow guest call blocks everybody. */
static void a_slow_guest_holds_up_nobody_else(void **unused) {
    (void)unused;
    struct world w;
    struct world_call slow = {0};
    char id[32];
    disk_open(&w, "a slow guest");
    struct uvm_scsi_params p = disk_mount("/slow", NULL), q = disk_mount("/quick", NULL);
    disk_mistreat(&w, WIRE_LATE, 0, 3000);
    EXPECT_EQ(&w, disk_attach(&w, &slow, &p), 0);
    world_pass(&w, 100);
    EXPECT_EQ(&w, slow.done, 0);
    disk_attach_well(&w, &q, id);
    disk_detach_well(&w, id);
    p = disk_bare("/slow"); /* the same disk, not mounted: it is there */
    disk_attach_well(&w, &p, id);
    EXPECT_EQ(&w, slow.done, 0);
    disk_wait(&w, &slow, 4000, UVM_OK);
    disk_end(&slow);
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* Many disks at once are as quick as one. */
static void disks_do_not_queue(void **unused) {
    (void)unused;
    enum { DISKS = 64 };
    static struct world_call calls[DISKS];
    struct world w;
    disk_open(&w, "disks do not queue");
    uint64_t took = 0;
    for (unsigned i = 0; i < DISKS; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/d%u", i);
        struct uvm_scsi_params p = disk_mount(path, NULL);
        calls[i] = (struct world_call){0};
        EXPECT_EQ(&w, disk_attach(&w, &calls[i], &p), 0);
    }
    for (unsigned i = 0; i < DISKS; i++) {
        disk_wait(&w, &calls[i], 1000, UVM_OK);
        uint64_t ms = calls[i].ended_ms - calls[i].started_ms;
        took = ms > took ? ms : took;
        disk_end(&calls[i]);
    }
    EXPECT(&w, took <= 2ul * (WORLD_ACT_MS + WORLD_ANSWER_MS + 1));
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* Detaching what is not there crashes, or acts on somebody else's. */
static void an_unknown_id_touches_nothing(void **unused) {
    (void)unused;
    static const char *const ids[] = {"scsi-2",  "scsi-0", "scsi--1", "scsi",
                                      "vpmem-1", "SCSI-1", "scsi-01", "scsi-18446744073709551617"};
    struct world w;
    char id[32];
    disk_open(&w, "an unknown id");
    struct uvm_scsi_params p = disk_mount("/a", NULL);
    disk_attach_well(&w, &p, id);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        EXPECT_EQ(&w, disk_detach_code(&w, ids[i]), UVM_E_NOTFOUND);
    }
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* A requested guest path is ignored when the rest matches; the caller's options are re-ordered. */
static void another_guest_path_is_another_mount(void **unused) {
    (void)unused;
    const char *options[] = {"z", "a", NULL};
    const char *sorted[] = {"A", "z", NULL};
    struct world w;
    char one[32], two[32], three[32];
    disk_open(&w, "another guest path");
    struct uvm_scsi_params p = disk_mount("/a", "/one");
    p.options = options;
    disk_attach_well(&w, &p, one);
    assert_string_equal(options[0], "z");
    p.guest_path = "/two";
    disk_attach_well(&w, &p, two);
    assert_string_not_equal(one, two);
    EXPECT_EQ(&w, w.seen.mounts, 2);
    p.options = sorted; /* order and case do not count */
    disk_attach_well(&w, &p, three);
    assert_string_equal(two, three);
    p.options = NULL;
    p.guest_path = NULL;
    disk_attach_well(&w, &p, three); /* other options: one more mount */
    EXPECT_EQ(&w, w.seen.mounts, 3);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks_added, 1);
    disk_expect_agreement(&w);
    disk_close(&w);
}

#define ROOT_DOCUMENT                                                                              \
    "{\"Owner\":\"t\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"            \
    "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{\"KernelFilePath\":\"/k\","          \
    "\"InitRdPath\":\"/i\",\"KernelCmdLine\":\"panic=-1\"}},\"ComputeTopology\":{\"Memory\":{"     \
    "\"SizeInMB\":256},\"Processor\":{\"Count\":1}},\"Devices\":{\"Scsi\":{"                       \
    "\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{\"Attachments\":{\"0\":{\"Type\":\"VirtualDisk\","  \
    "\"Path\":\"/root.vhdx\",\"ReadOnly\":true}}},"                                                \
    "\"0110f83b-de10-5172-a266-78bca56bf50a\":{}}}},\"ShouldTerminateOnLastHandleClosed\":true}"

/* The boot's disk can be detached; asking for its path attaches it again and frees its slot. */
static void the_boots_own_disk_stays(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    char id[32];
    struct disk_row row;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.document = ROOT_DOCUMENT;
    vp.document_bytes = strlen(ROOT_DOCUMENT);
    disk_open_with(&w, "the boot's own disk", &vp);
    EXPECT(&w, disk_row(&w, "scsi-1", &row) && row.refs == 1 && row.lun == 0);
    disk_expect_agreement(&w);
    struct uvm_scsi_params p = disk_mount("/root.vhdx", "/peek"), q = disk_bare("/root.vhdx");
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_EXISTS); /* it is read-only */
    p.read_only = q.read_only = true;
    disk_attach_well(&w, &p, id);
    disk_detach_well(&w, id); /* the mount is gone, the disk is not */
    disk_attach_well(&w, &q, id);
    assert_string_equal(id, "scsi-1");
    disk_detach_well(&w, id);
    EXPECT_EQ(&w, disk_detach(&w, &c, id), 0);
    disk_wait(&w, &c, 1, UVM_E_STATE);
    EXPECT(&w, strstr(uvm_error_message(c.err), "boot") != NULL);
    disk_end(&c);
    EXPECT_EQ(&w, w.seen.ejects, 0);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks_added, 1);
    p = disk_bare("/other"); /* gets another slot */
    disk_attach_well(&w, &p, id);
    EXPECT(&w, disk_row(&w, id, &row) && (row.controller != 0 || row.lun != 0));
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* Controllers without disks are dropped from the document. */
static void controllers_without_disks_are_kept(void **unused) {
    (void)unused;
    struct world w;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.scsi_controllers = 3;
    disk_open_with(&w, "controllers without disks", &vp);
    const char *at = uvm_vm_document(w.vm);
    unsigned n = 0;
    for (; (at = strstr(at, "f50a\":{}")) != NULL || n == 99; at++) {
        n++;
    }
    EXPECT_EQ(&w, n, 1);
    EXPECT(&w, strstr(uvm_vm_document(w.vm), "df6d0690-79e5-55b6-a5ec-c1e2f77f580a") != NULL);
    EXPECT(&w, strstr(uvm_vm_document(w.vm), "b5d2d8d4-3a75-51bf-945b-3444dc6b8579") != NULL);
    disk_close(&w);
    world_open(&w);
    uvm_vm *vm = NULL;
    vp.scsi_controllers = 5;
    EXPECT_EQ(&w, uvm_vm_new(w.e, w.service, &vp, &vm, NULL), -UVM_E_INVAL);
    world_close(&w);
}

/* ---- quarantine --------------------------------------------------------------------------- */

/* An unplug that is never acknowledged: UNDO at the end of its time, and a late one frees the slot. */
static void a_late_removal_frees_its_slot(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    char id[32];
    struct disk_row row;
    disk_open(&w, "a late removal");
    struct uvm_scsi_params p = disk_mount("/a", NULL);
    disk_attach_well(&w, &p, id);
    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_LATE);
    EXPECT_EQ(&w, uvm_scope_new(w.e, uvm_vm_scope(w.vm), 1000, &w.scope), 0);
    EXPECT_EQ(&w, disk_detach(&w, &c, id), 0);
    w.scope = uvm_scope_unref(w.scope);
    disk_wait(&w, &c, 1000 + UVM__UNDO_MS, UVM_E_UNDO);
    disk_end(&c);
    EXPECT(&w, disk_row(&w, id, &row) && row.quarantined);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 1);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_STATE);
    world_pass(&w, 3u * UVM__UNDO_MS + UVM__REMOVE_MS);
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, uvm__scope_quarantined(uvm_vm_scope(w.vm)->undo_root), 0);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* A host that never says whether the disk is there: UNDO; a detach of the id takes it away. */
static void a_mute_host_is_asked_again(void **unused) {
    (void)unused;
    static const enum uvm__sim_fault faults[] = {UVM__SIM_MUTE_IDLE, UVM__SIM_MUTE_DONE};
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct world_call c = {0};
        disk_open(&w, "a mute host");
        struct uvm_scsi_params p = disk_mount("/a", NULL);
        uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, faults[i]);
        EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
        world_pass(&w, 100);
        uvm_op_cancel(c.op);
        disk_wait(&w, &c, UVM__UNDO_MS + 1, UVM_E_UNDO);
        EXPECT(&w, strstr(uvm_error_detail(c.err), "scsi-1") != NULL);
        disk_end(&c);
        world_settle(&w);
        struct disk_row row;
        EXPECT(&w, disk_row(&w, "scsi-1", &row) && row.quarantined && row.refs == 0);
        EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_STATE);
        disk_detach_well(&w, "scsi-1");
        disk_expect_nothing(&w);
        EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
        disk_expect_agreement(&w);
        disk_close(&w);
    }
}

static void expect_words(struct world *w, const struct world_call *c, const char *step,
                         const char *detail, bool remembers) {
    EXPECT(w, strcmp(uvm_error_step(c->err), step) == 0);
    EXPECT(w, strstr(uvm_error_detail(c->err), detail) != NULL);
    EXPECT(w, (strstr(uvm_error_detail(c->err), "ms boot\n") != NULL) == remembers);
}

/* The way to the step that failed, and what the VM did before; a request that was wrong has no such past. */
static void errors_tell_where_and_what_came_before(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    disk_open(&w, "errors tell where");
    struct uvm_scsi_params p = disk_mount("/a", NULL);
    struct guest_script script = {.refuse_mounts = 1};
    world_script(&w, &script);
    EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
    disk_wait(&w, &c, 1000, UVM_E_PEER);
    expect_words(&w, &c, "vm attach › device › device attach › mount", "simulated agent starts",
                 true);
    disk_end(&c);

    EXPECT_EQ(&w, disk_detach(&w, &c, "scsi-77"), 0);
    disk_wait(&w, &c, 1000, UVM_E_NOTFOUND);
    expect_words(&w, &c, "vm detach › device › device detach › detach", "", false);
    disk_end(&c);

    uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 0, UVM__SIM_MUTE_IDLE);
    EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
    world_pass(&w, 100);
    uvm_op_cancel(c.op);
    disk_wait(&w, &c, UVM__UNDO_MS + 1, UVM_E_UNDO);
    expect_words(&w, &c, "vm attach › device › device attach › attach", "scsi-", true);
    disk_end(&c);
    disk_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_gives_up_gives_back),
        cmocka_unit_test(all_hear_the_same_failure),
        cmocka_unit_test(two_attachments_of_a_disk_that_fails),
        cmocka_unit_test(a_refused_unmount_changes_nothing),
        cmocka_unit_test(a_detach_goes_on_where_it_stopped),
        cmocka_unit_test(a_failed_mount_leaves_no_disk),
        cmocka_unit_test(an_attach_taken_back_at_once),
        cmocka_unit_test(a_slow_guest_holds_up_nobody_else),
        cmocka_unit_test(disks_do_not_queue),
        cmocka_unit_test(an_unknown_id_touches_nothing),
        cmocka_unit_test(another_guest_path_is_another_mount),
        cmocka_unit_test(the_boots_own_disk_stays),
        cmocka_unit_test(controllers_without_disks_are_kept),
        cmocka_unit_test(a_late_removal_frees_its_slot),
        cmocka_unit_test(a_mute_host_is_asked_again),
        cmocka_unit_test(errors_tell_where_and_what_came_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
