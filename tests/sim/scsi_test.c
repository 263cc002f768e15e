/* SPDX-License-Identifier: MIT
 * scsi_test.c — disks of a running VM: what is shared, what is refused, who hears what, what stays.
 *
 * Undisturbed flows, refusals, races, the VM's end. After each of them the engine's list, the host and the
 * guest agree. Faults at every moment: sweep_test.c; known mistakes: scsi_mistake_test.c.
 */
#include "async/limits.h"
#include "async/scope.h"
#include "tests/sim/disk_flow.h"
#include <stdio.h>
#include <string.h>

#define NAME DISK_VM
#define SLOTS (UVM_SCSI_CONTROLLERS_MAX * UVM_SCSI_LUNS_MAX)

/* ---- flows -------------------------------------------------------------------------------- */

#define ROOT_HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"

static void bare_and_mounted(void **unused) {
    (void)unused;
    struct world w;
    char a[32], b[32], c[32];
    struct disk_row row;
    disk_open(&w, "bare and mounted");
    struct uvm_scsi_params p = disk_bare("/a.vhdx");
    disk_attach_well(&w, &p, a);
    assert_string_equal(a, "scsi-1");
    p = disk_mount("/b.vhdx", NULL);
    disk_attach_well(&w, &p, b);
    p = disk_mount("/a.vhdx", "//data/x/");
    p.partition = 2;
    disk_attach_well(&w, &p, c);
    EXPECT(&w, disk_row(&w, a, &row) && row.guest_path[0] == 0 && row.lun == 0);
    EXPECT(&w, disk_row(&w, b, &row) && strcmp(row.guest_path, "/run/mounts/scsi/m0") == 0);
    EXPECT(&w, disk_row(&w, c, &row) && strcmp(row.guest_path, "/data/x") == 0 && row.lun == 0);
    disk_expect_agreement(&w);
    disk_detach_well(&w, a);
    disk_expect_agreement(&w);
    EXPECT_EQ(&w, w.seen.ejects, 0); /* the disk is in use by its other mount */
    disk_detach_well(&w, c);
    disk_detach_well(&w, b);
    EXPECT_EQ(&w, w.seen.ejects, 2);
    disk_expect_nothing(&w);
    p = disk_bare("/a.vhdx");
    disk_attach_well(&w, &p, a);
    assert_string_equal(a, "scsi-4"); /* never one that was there before */
    disk_close(&w);
}

static void everything_reaches_the_guest(void **unused) {
    (void)unused;
    static const char *const options[] = {"shared", "noatime", NULL};
    struct world w;
    char id[32];
    struct guest_mount m;
    disk_open(&w, "everything reaches the guest");
    struct uvm_scsi_params p = disk_mount("/dev/sdx", "/data");
    p.physical = true;
    p.partition = 7;
    p.options = options;
    p.filesystem = "xfs";
    p.ensure_filesystem = true;
    p.encrypted = true;
    disk_attach_well(&w, &p, id);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/data", &m));
    EXPECT(&w, m.partition == 7 && m.encrypted && m.ensure_filesystem && !m.read_only);
    assert_string_equal(m.filesystem, "xfs");
    assert_string_equal(m.options, "shared,noatime");
    p = disk_mount("/b", "/dev-link");
    p.block_dev = true;
    p.read_only = true;
    disk_attach_well(&w, &p, id);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/dev-link", &m) && m.block_dev && m.read_only);
    p = disk_mount("/c", "/layer");
    p.read_only = true;
    p.verity = ROOT_HASH;
    disk_attach_well(&w, &p, id);
    EXPECT(&w, guest_mount_at(disk_guest(&w), "/layer", &m) && strcmp(m.verity, ROOT_HASH) == 0);
    disk_expect_agreement(&w);
    disk_close(&w);
}

static void sharing_counts(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    char id[32], again[32];
    struct disk_row row;
    disk_open(&w, "sharing counts");
    struct uvm_scsi_params p = disk_mount("/a", "/data");
    disk_attach_well(&w, &p, id);
    EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
    disk_wait(&w, &c, 1, UVM_OK);
    struct uvm_attach_result r = uvm_attach_result(c.op);
    EXPECT(&w, r.shared && r.refs == 2 && strcmp(r.id, id) == 0 && strcmp(r.kind, "scsi") == 0);
    assert_string_equal(r.guest_path, "/data");
    disk_end(&c);
    p.guest_path = NULL; /* at any path: the one that is there */
    disk_attach_well(&w, &p, again);
    assert_string_equal(again, id);
    EXPECT(&w, disk_row(&w, id, &row) && row.refs == 3);
    EXPECT_EQ(&w, w.seen.mounted, 1);
    disk_detach_well(&w, id);
    disk_detach_well(&w, id);
    disk_expect_agreement(&w);
    disk_detach_well(&w, id);
    disk_expect_nothing(&w);
    EXPECT_EQ(&w, disk_detach_code(&w, id), UVM_E_NOTFOUND);
    disk_close(&w);
}

static void boot_disks(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_scsi_params a = disk_mount("/a", NULL), b = disk_bare("/b");
    const struct uvm_scsi_params *disks[] = {&a, &b, NULL};
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "boot disks");
    vp.disks = disks;
    vp.scsi_controllers = 2;
    w.vm = disk_vm_new(&w, &vp);
    a.host_path = "/changed"; /* copied */
    for (unsigned refuse = 0; refuse < 3; refuse++) {
        struct guest_script script = {.refuse_mounts = refuse == 0};
        world_script(&w, &script);
        uvm__sim_set_fault(w.host, UVM__SIM_MODIFY_ADD, 1,
                           refuse == 1 ? UVM__SIM_REFUSE : UVM__SIM_NONE);
        EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
        disk_wait(&w, &c, 1000, refuse == 2 ? UVM_OK : UVM_E_PEER);
        if (refuse < 2) {
            world_expect_error(&w, &c, NAME);
            EXPECT(&w, strstr(uvm_error_message(c.err), refuse == 0 ? "/a" : "/b") != NULL);
            EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_CREATED);
            world_expect_empty(&w);
        }
        disk_end(&c);
    }
    disk_expect_agreement(&w);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 2);
    EXPECT_EQ(&w, w.seen.mounts, 1);
    disk_detach_well(&w, "scsi-5");
    disk_detach_well(&w, "scsi-6");
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* A disk gets the place that was free longest: one that never had a disk, else the one that was given up first. */
static void the_place_that_was_free_longest(void **unused) {
    (void)unused;
    struct world w;
    struct disk_row row;
    char id[64][32], path[16];
    disk_open(&w, "the place that was free longest");
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(path, sizeof path, "/%u", i);
        struct uvm_scsi_params p = disk_bare(path);
        disk_attach_well(&w, &p, id[i]);
        EXPECT(&w, disk_row(&w, id[i], &row) && row.lun == i);
        if (i % 2 == 0) {
            disk_detach_well(&w, id[i]); /* and yet the next one has another place */
        }
    }
    disk_detach_well(&w, id[9]);
    disk_detach_well(&w, id[1]);
    for (unsigned i = 0; i < 34; i++) {
        (void)snprintf(path, sizeof path, "/again-%u", i);
        struct uvm_scsi_params p = disk_bare(path);
        disk_attach_well(&w, &p, id[0]);
        EXPECT(&w, disk_row(&w, id[0], &row));
        EXPECT_EQ(&w, row.lun, i < 32 ? 2 * i : i == 32 ? 9 : 1);
    }
    disk_expect_agreement(&w);
    disk_close(&w);
}

static void slots_are_counted(void **unused) {
    (void)unused;
    enum { ASKED = 300 };
    static struct world_call calls[ASKED];
    struct world w;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.scsi_controllers = UVM_SCSI_CONTROLLERS_MAX;
    disk_open_with(&w, "300 on 256", &vp);
    unsigned ok = 0, full = 0;
    char id[32] = "";
    for (unsigned i = 0; i < ASKED; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/disk-%u", i);
        struct uvm_scsi_params p = i % 2 == 0 ? disk_bare(path) : disk_mount(path, NULL);
        calls[i] = (struct world_call){0};
        EXPECT_EQ(&w, disk_attach(&w, &calls[i], &p), 0);
    }
    for (unsigned i = 0; i < ASKED; i++) {
        w.call = &calls[i];
        world_wait(&w, &calls[i], 2000);
        ok += calls[i].code == UVM_OK;
        full += calls[i].code == UVM_E_LIMIT;
        if (calls[i].code == UVM_E_LIMIT) {
            EXPECT(&w, strstr(uvm_error_message(calls[i].err), "256 of 256") != NULL);
        } else {
            (void)snprintf(id, sizeof id, "%s", uvm_attach_result(calls[i].op).id);
        }
        disk_end(&calls[i]);
    }
    EXPECT_EQ(&w, ok, SLOTS);
    EXPECT_EQ(&w, full, ASKED - SLOTS);
    disk_expect_agreement(&w);
    struct uvm_scsi_params p = disk_bare("/one-more");
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_LIMIT);
    disk_detach_well(&w, id);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
    disk_expect_agreement(&w);
    disk_close(&w);
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void nothing_happens_before_a_refusal(void **unused) {
    (void)unused;
    static char longest[1200], host[4200];
    static const char *const flags[] = {"ro", NULL};
    memset(longest, 'a', sizeof longest - 1);
    memset(host, 'a', sizeof host - 1);
    longest[0] = host[0] = '/';
    const struct {
        const char *host, *guest;
        bool mount, ro, ensure, block;
        const char *fs;
        const char *const *options;
        int code;
        const char *words;
    } rows[] = {
        {NULL, NULL, false, false, false, false, NULL, NULL, UVM_E_INVAL, "host_path"},
        {"", NULL, false, false, false, false, NULL, NULL, UVM_E_INVAL, "host_path"},
        {"a.vhdx", NULL, false, false, false, false, NULL, NULL, UVM_E_INVAL, "begin with /"},
        {"/a\n", NULL, false, false, false, false, NULL, NULL, UVM_E_INVAL, "control"},
        {host, NULL, false, false, false, false, NULL, NULL, UVM_E_LIMIT, "4095"},
        {"/a", "data", true, false, false, false, NULL, NULL, UVM_E_INVAL, "begin with /"},
        {"/a", "", true, false, false, false, NULL, NULL, UVM_E_INVAL, "empty"},
        {"/a", "/", true, false, false, false, NULL, NULL, UVM_E_INVAL, "guest's own"},
        {"/a", "//", true, false, false, false, NULL, NULL, UVM_E_INVAL, "guest's own"},
        {"/a", "/x/../y", true, false, false, false, NULL, NULL, UVM_E_INVAL, "\"..\""},
        {"/a", "/x/.", true, false, false, false, NULL, NULL, UVM_E_INVAL, "\".\""},
        {"/a", "/x\x7f", true, false, false, false, NULL, NULL, UVM_E_INVAL, "control"},
        {"/a", "/x\xff", true, false, false, false, NULL, NULL, UVM_E_INVAL, "UTF-8"},
        {"/a", longest, true, false, false, false, NULL, NULL, UVM_E_LIMIT, "1023"},
        {"/a", NULL, false, false, false, false, NULL, flags, UVM_E_INVAL, "mount"},
        {"/a", NULL, true, false, true, false, NULL, NULL, UVM_E_INVAL, "ensure_filesystem"},
        {"/a", NULL, true, true, true, false, "ext4", NULL, UVM_E_INVAL, "read_only"},
        {"/a", NULL, true, false, false, true, "ext4", NULL, UVM_E_INVAL, "block_dev"},
    };
    struct world w;
    disk_open(&w, "refusals");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world_call c = {0};
        struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
        p.host_path = rows[i].host;
        p.guest_path = rows[i].guest;
        p.mount = rows[i].mount;
        p.read_only = rows[i].ro;
        p.ensure_filesystem = rows[i].ensure;
        p.block_dev = rows[i].block;
        p.filesystem = rows[i].fs;
        p.options = rows[i].options;
        EXPECT_EQ(&w, disk_attach(&w, &c, &p), 0);
        disk_wait(&w, &c, 1, rows[i].code);
        w.call = &c;
        world_expect_error(&w, &c, NAME);
        EXPECT(&w, strstr(uvm_error_message(c.err), rows[i].words) != NULL);
        disk_end(&c);
    }
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks_added, 0);
    EXPECT_EQ(&w, uvm_detach(w.vm, "", NULL, NULL, NULL, NULL), -UVM_E_INVAL);
    EXPECT_EQ(&w, uvm_detach(w.vm, NULL, NULL, NULL, NULL, NULL), -UVM_E_INVAL);
    EXPECT_EQ(&w, uvm_scsi_attach(w.vm, NULL, NULL, NULL, NULL, NULL), -UVM_E_INVAL);
    disk_close(&w);
}

/* What is checked is checked in one way, and what is encrypted is there once. */
static void checked_or_not(void **unused) {
    (void)unused;
    static const char *const wrong[] = {"", "12", ROOT_HASH "0", "x" ROOT_HASH, NULL};
    struct world w;
    char id[32], again[32];
    disk_open(&w, "checked or not");
    struct uvm_scsi_params p = disk_mount("/a", "/data");
    for (size_t i = 0; wrong[i] != NULL; i++) {
        p.verity = wrong[i];
        EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_INVAL);
    }
    p.verity = ROOT_HASH;
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_INVAL); /* not read-only */
    p.read_only = true;
    disk_attach_well(&w, &p, id);
    disk_attach_well(&w, &p, again);
    assert_string_equal(id, again);
    struct uvm_scsi_params q = p;
    q.guest_path = "/other";
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS);
    q.verity = NULL;
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS);
    q.partition = 1; /* that is something else */
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_OK);
    q = disk_mount("/b", "/b");
    q.encrypted = true;
    disk_attach_well(&w, &q, id);
    q.guest_path = "/b2";
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS);
    q.encrypted = false;
    q.block_dev = true;
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS);
    disk_expect_agreement(&w);
    disk_close(&w);
}

static void what_contradicts_is_refused(void **unused) {
    (void)unused;
    struct world w;
    char id[32];
    disk_open(&w, "contradictions");
    struct uvm_scsi_params p = disk_mount("/a", "/data");
    disk_attach_well(&w, &p, id);
    struct uvm_scsi_params q = p;
    q.read_only = true;
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS); /* read-only beside read-write */
    q = p;
    q.physical = true;
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS);
    q = disk_mount("/b", "/data");
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS); /* somebody else's guest path */
    q = p;
    q.partition = 1;
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS); /* likewise, the same disk's */
    q = disk_mount("/a", "/other");
    q.ensure_filesystem = true;
    q.filesystem = "ext4";
    EXPECT_EQ(&w, disk_attach_code(&w, &q), UVM_E_EXISTS); /* would format what is mounted */
    disk_expect_agreement(&w);
    EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks_added, 1);
    disk_close(&w);
}

static void only_while_it_runs(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "only while it runs");
    w.vm = world_vm_new(&w, NAME);
    struct uvm_scsi_params p = disk_bare("/a");
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_STATE);
    EXPECT_EQ(&w, disk_detach_code(&w, "scsi-1"), UVM_E_STATE);
    world_boot_well(&w, w.vm);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_OK);
    EXPECT_EQ(&w, WORLD_START(&w, &c, uvm_vm_stop(w.vm, 0, NULL, world_on_done, &c, &c.op)), 0);
    EXPECT_EQ(&w, disk_attach_code(&w, &p), UVM_E_STATE);
    disk_wait(&w, &c, 1000, UVM_OK);
    disk_end(&c);
    disk_expect_nothing(&w); /* the VM's end released it */
    disk_close(&w);
}

/* ---- races -------------------------------------------------------------------------------- */

static void attach_while_it_leaves(void **unused) {
    (void)unused;
    struct world w;
    for (unsigned ms = 0; ms < 14; ms++) {
        struct world_call out = {0}, in = {0};
        char id[32];
        disk_open(&w, "attach while it leaves");
        struct uvm_scsi_params p = disk_mount("/a", "/data");
        disk_attach_well(&w, &p, id);
        EXPECT_EQ(&w, disk_detach(&w, &out, id), 0);
        world_pass(&w, ms);
        EXPECT_EQ(&w, disk_attach(&w, &in, &p), 0);
        disk_wait(&w, &out, 1000, UVM_OK);
        disk_wait(&w, &in, 1000, UVM_OK);
        EXPECT(&w, strcmp(uvm_attach_result(in.op).id, id) != 0);
        EXPECT_EQ(&w, uvm_attach_result(in.op).refs, 1);
        disk_end(&out);
        disk_end(&in);
        disk_expect_agreement(&w);
        disk_close(&w);
    }
}

/* The disk that is being taken back is wanted again, in another way: whoever comes then canceled nothing. */
static void attach_while_another_is_taken_back(void **unused) {
    (void)unused;
    struct world w;
    for (unsigned at = 0; at < 64; at++) {
        struct world_call gone = {0}, in = {0};
        disk_open(&w, "attach while another is taken back");
        struct uvm_scsi_params p = disk_mount("/a", "/data"), q = disk_mount("/a", "/other");
        EXPECT_EQ(&w, disk_attach(&w, &gone, &p), 0);
        world_pass(&w, at / 8);
        uvm_op_cancel(gone.op);
        world_pass(&w, at % 8);
        EXPECT_EQ(&w, disk_attach(&w, &in, &q), 0);
        disk_wait(&w, &in, 1000, UVM_OK);
        if (gone.done == 0) {
            world_wait(&w, &gone, 1000);
        }
        EXPECT(&w, gone.code == UVM_E_CANCELED || (at >= 48 && gone.code == UVM_OK));
        EXPECT_EQ(&w, uvm_attach_result(in.op).refs, 1);
        disk_end(&gone);
        disk_end(&in);
        disk_expect_agreement(&w);
        EXPECT_EQ(&w, uvm__sim_ledger(w.host).disks, 1);
        disk_close(&w);
    }
}

static void detach_while_it_comes(void **unused) {
    (void)unused;
    struct world w;
    struct world_call in = {0};
    disk_open(&w, "detach while it comes");
    struct uvm_scsi_params p = disk_mount("/a", "/data");
    EXPECT_EQ(&w, disk_attach(&w, &in, &p), 0);
    world_pass(&w, 1);
    EXPECT_EQ(&w, disk_detach_code(&w, "scsi-1"), UVM_E_STATE);
    disk_wait(&w, &in, 1000, UVM_OK);
    disk_end(&in);
    disk_expect_agreement(&w);
    struct world_call a = {0}, b = {0};
    EXPECT_EQ(&w, disk_detach(&w, &a, "scsi-1"), 0);
    EXPECT_EQ(&w, disk_detach(&w, &b, "scsi-1"), 0);
    disk_wait(&w, &b, 1000, UVM_E_STATE); /* one reference, one detach */
    disk_wait(&w, &a, 1000, UVM_OK);
    disk_end(&a);
    disk_end(&b);
    disk_expect_nothing(&w);
    disk_close(&w);
}

/* A detach that is given up before its request left keeps everything; later it only goes forward. */
static void a_detach_given_up(void **unused) {
    (void)unused;
    struct world w;
    for (unsigned ms = 0; ms < 14; ms++) {
        struct world_call c = {0};
        char id[32];
        disk_open(&w, "a detach given up");
        struct uvm_scsi_params p = disk_mount("/a", "/data");
        disk_attach_well(&w, &p, id);
        EXPECT_EQ(&w, disk_detach(&w, &c, id), 0);
        world_pass(&w, ms);
        uvm_op_cancel(c.op);
        w.call = &c;
        world_wait(&w, &c, 1000);
        EXPECT(&w, c.code == UVM_OK || c.code == UVM_E_CANCELED);
        bool kept = c.code == UVM_E_CANCELED;
        disk_end(&c);
        disk_expect_agreement(&w);
        EXPECT_EQ(&w, w.seen.mounts, kept ? 1 : 0);
        EXPECT_EQ(&w, disk_detach_code(&w, id), kept ? UVM_OK : UVM_E_NOTFOUND);
        disk_expect_nothing(&w);
        disk_close(&w);
    }
}

/* ---- the VM's end ------------------------------------------------------------------------- */

static void the_end_releases_everything(void **unused) {
    (void)unused;
    for (unsigned how = 0; how < 2; how++) {
        struct world w;
        struct world_call in = {0}, out = {0};
        char id[32];
        disk_open(&w, "the end releases everything");
        struct uvm_scsi_params p = disk_mount("/a", NULL), q = disk_mount("/b", NULL);
        disk_attach_well(&w, &p, id);
        disk_mistreat(&w, WIRE_LOSE_REPLY, 0, 0);
        EXPECT_EQ(&w, disk_attach(&w, &in, &q), 0);
        world_pass(&w, 50);
        disk_mistreat(&w, WIRE_LOSE_REQUEST, 0, 0);
        EXPECT_EQ(&w, disk_detach(&w, &out, id), 0);
        world_pass(&w, 50);
        if (how == 0) {
            uvm__sim_end(uvm__sim_newest(w.host), UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
            disk_wait(&w, &in, 100, UVM_E_EXITED);
            disk_wait(&w, &out, 100, UVM_E_EXITED);
            disk_expect_nothing(&w);
            EXPECT(&w, strstr(uvm_error_message(in.err), "SIGKILL") != NULL);
        }
        struct world_closing closing;
        world_vm_close_begin(&w, w.vm, &closing);
        world_vm_close_wait(&closing);
        EXPECT(&w, in.done == 1 && out.done == 1);
        disk_end(&in);
        disk_end(&out);
        world_close(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_and_mounted),
        cmocka_unit_test(everything_reaches_the_guest),
        cmocka_unit_test(sharing_counts),
        cmocka_unit_test(boot_disks),
        cmocka_unit_test(the_place_that_was_free_longest),
        cmocka_unit_test(slots_are_counted),
        cmocka_unit_test(nothing_happens_before_a_refusal),
        cmocka_unit_test(what_contradicts_is_refused),
        cmocka_unit_test(checked_or_not),
        cmocka_unit_test(only_while_it_runs),
        cmocka_unit_test(attach_while_it_leaves),
        cmocka_unit_test(attach_while_another_is_taken_back),
        cmocka_unit_test(detach_while_it_comes),
        cmocka_unit_test(a_detach_given_up),
        cmocka_unit_test(the_end_releases_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
