/* SPDX-License-Identifier: MIT
 * limits_test.c — a host that has no room for one more VM: refused before anything of it is made, in words
 * that say what it needs, what there is and what to do; and let in again when there is room.
 */
#include "async/limits.h"
#include "tests/sim/world.h"
#include <stdio.h>
#include <string.h>

#define VMS 3u
#define EACH_MB 256u /* a VM's, by default */

static const struct uvm__hcs_capacity endless = {UINT64_MAX, UINT64_MAX, 0, 0, UINT64_MAX, 0};

static void expect_refused(struct world *w, uvm_vm *vm, const char *const *texts) {
    struct world_call c = {0};
    uint64_t created = uvm__sim_ledger(w->host).created;
    EXPECT_EQ(w, world_boot(w, &c, vm, NULL), 0);
    world_wait(w, &c, 1);
    EXPECT_EQ(w, c.code, UVM_E_LIMIT);
    for (; *texts != NULL; texts++) {
        if (strstr(uvm_error_message(c.err), *texts) == NULL) {
            fail_msg("no \"%s\" in: %s", *texts, uvm_error_message(c.err));
        }
    }
    EXPECT_EQ(w, uvm__sim_ledger(w->host).created, created); /* the host was not even asked */
    EXPECT_EQ(w, uvm_vm_state(vm), UVM_VM_CREATED);
    world_call_end(&c);
}

/* Two fit, the third does not until one of them is closed. */
static void two_fit(const char *label, const struct uvm__hcs_limits *limits,
                    const struct uvm__hcs_capacity *capacity, const char *const *texts) {
    struct world w;
    uvm_vm *vms[VMS];
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "%s", label);
    uvm__sim_set_room(w.host, limits, capacity);
    for (unsigned i = 0; i < VMS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "sim-%u", i);
        vms[i] = world_vm_new(&w, name);
    }
    for (unsigned round = 0; round < 3; round++) {
        if (round == 0) {
            world_boot_well(&w, vms[0]);
        }
        world_boot_well(&w, vms[1]);
        expect_refused(&w, vms[2], texts);
        expect_refused(&w, vms[2], texts);
        world_vm_close(&w, vms[1]);
        vms[1] = vms[2];
        vms[2] = world_vm_new(&w, "sim-next");
    }
    for (unsigned i = 0; i < VMS; i++) {
        world_vm_close(&w, vms[i]);
    }
    world_close(&w);
}

static void count_is_bounded(void **unused) {
    (void)unused;
    two_fit("two VMs", &(struct uvm__hcs_limits){.vms_max = 2}, &endless,
            (const char *const[]){"2 UVMs are there already and 2 are allowed", "vms_max", NULL});
}

static void memory_is_bounded(void **unused) {
    struct uvm__hcs_capacity c = endless;
    (void)unused;
    c.overhead_mb = 10;
    two_fit("memory for two", &(struct uvm__hcs_limits){.memory_mb_max = 3 * (EACH_MB + 10) - 1},
            &c,
            (const char *const[]){"needs 266 MiB (10 MiB for its VMM)",
                                  "2 UVMs have 532 MiB of the 797 MiB that are allowed",
                                  "memory_mb_max", NULL});
}

static void host_is_small(void **unused) {
    struct uvm__hcs_capacity c = endless;
    (void)unused;
    c.memory_mb = 2ul * EACH_MB;
    two_fit("a host for two", &(struct uvm__hcs_limits){0}, &c,
            (const char *const[]){"needs 256 MiB", "512 MiB of the 512 MiB that the host has",
                                  "give it less memory, or end one", NULL});
}

/* Nothing was touched yet: what was promised is not there for others. */
static void host_is_busy(void **unused) {
    struct uvm__hcs_capacity c = endless;
    (void)unused;
    c.memory_mb = 10000;
    c.memory_available_mb = 700;
    c.overhead_mb = 10;
    two_fit("a busy host", &(struct uvm__hcs_limits){0}, &c,
            (const char *const[]){"needs 266 MiB", "has 680 MiB available, 512 MiB of it promised",
                                  "or free some", NULL});
    struct world w;
    world_open(&w);
    c.memory_touched_mb = UINT64_MAX; /* all has been touched: what is available is free */
    uvm__sim_set_room(w.host, &(struct uvm__hcs_limits){0}, &c);
    uvm_vm *vms[VMS];
    for (unsigned i = 0; i < VMS; i++) {
        vms[i] = world_vm_new(&w, "sim");
        world_boot_well(&w, vms[i]);
    }
    for (unsigned i = 0; i < VMS; i++) {
        world_vm_close(&w, vms[i]);
    }
    world_close(&w);
}

static void descriptors_are_few(void **unused) {
    struct uvm__hcs_capacity c = endless;
    (void)unused;
    c.descriptors = 60;
    c.descriptors_per_vm = 24;
    two_fit(
        "few descriptors", &(struct uvm__hcs_limits){0}, &c,
        (const char *const[]){"needs 24 file descriptors", "may open 12 more", "ulimit -n", NULL});
}

/* Whatever way a boot fails, what it took is given back. (world_close() looks.) */
static void failed_boots_do_not_count(void **unused) {
    (void)unused;
    for (int fault = UVM__SIM_REFUSE; fault < UVM__SIM_FAULT_MAX; fault++) {
        struct world w;
        struct world_call c = {0};
        world_open(&w);
        (void)snprintf(w.label, sizeof w.label, "a create that %s",
                       uvm__sim_fault_name((enum uvm__sim_fault)fault));
        uvm__sim_set_room(w.host, &(struct uvm__hcs_limits){.vms_max = 1}, &endless);
        uvm__sim_set_fault(w.host, UVM__SIM_CREATE, 0, (enum uvm__sim_fault)fault);
        uvm_vm *vm = world_vm_new(&w, "sim-1");
        EXPECT_EQ(&w, world_boot(&w, &c, vm, NULL), 0);
        world_wait(&w, &c, UVM__BOOT_MS + 2 * UVM__UNDO_MS);
        EXPECT(&w, c.code != UVM_E_LIMIT);
        if (c.code == UVM_OK || c.code == UVM_E_UNDO) { /* late, or something may be left */
            EXPECT_EQ(&w, w.service->admission.vms, 1);
            world_vm_close(&w, vm);
            vm = world_vm_new(&w, "sim-1");
        }
        EXPECT_EQ(&w, w.service->admission.vms, 0);
        world_call_end(&c);
        world_boot_well(&w, vm);
        EXPECT_EQ(&w, w.service->admission.vms, 1);
        world_vm_close(&w, vm);
        world_close(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count_is_bounded),    cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(host_is_small),       cmocka_unit_test(host_is_busy),
        cmocka_unit_test(descriptors_are_few), cmocka_unit_test(failed_boots_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
