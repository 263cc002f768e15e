/* SPDX-License-Identifier: MIT
 * sweep_found_test.c — bugs that the sweep has found, each by its name (docs/reliability.md).
 */
#include "async/limits.h"
#include "tests/sim/sweep.h"
#include <string.h>

static const struct sweep_row *row(const char *name) {
    for (unsigned i = 0; i < sweep_rows_count; i++) {
        if (strcmp(sweep_rows[i]->name, name) == 0) {
            return sweep_rows[i];
        }
    }
    fail_msg("no row %s", name);
    return NULL;
}

/* The disks of a boot had the time of an attach, half of that of a boot. */
static void a_boot_with_disks_takes_its_time(void **unused) {
    (void)unused;
    struct world w;
    struct world_call c = {0};
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    struct uvm_scsi_params a = disk_mount("/a", NULL);
    const struct uvm_scsi_params *disks[] = {&a, NULL};
    p.disks = disks;
    world_open(&w);
    w.vm = disk_vm_new(&w, &p);
    const struct guest_script late = {.conduct = GUEST_AGENT_LATE,
                                      .late_ms = UVM__ATTACH_MS + 10000u};
    world_script(&w, &late);
    EXPECT_EQ(&w, world_boot(&w, &c, w.vm, NULL), 0);
    w.call = &c;
    world_wait(&w, &c, UVM__BOOT_MS);
    EXPECT_EQ(&w, c.code, UVM_OK);
    disk_expect_agreement(&w);
    w.call = NULL;
    world_call_end(&c);
    world_vm_close(&w, w.vm);
    world_close(&w);
}

/* It failed with UNDO, five seconds later, and the VM could not be booted again. */
static void a_boot_whose_agent_goes_while_disks_are_mounted(void **unused) {
    (void)unused;
    struct sweep_trial t = {
        .row = row("boot with disks"),
        .wire = {.msg = UVM__MSG_NEGOTIATE_PROTOCOL, .fault = WIRE_TWICE},
        .codes = SWEEP_BIT(CLOSED),
    };
    sweep_run(&t);
    assert_int_equal(t.code, UVM_E_CLOSED);
    assert_true(t.ms < UVM__UNDO_MS);
}

/* Signals to it were said to have been sent. */
static void a_process_whose_wait_failed_is_killed(void **unused) {
    (void)unused;
    struct sweep_trial t = {
        .row = row("exec"),
        .wire = {.msg = UVM__MSG_WAIT_FOR_PROCESS, .fault = WIRE_DENY},
    };
    sweep_run(&t);
    assert_int_equal(t.code, UVM_OK);
    assert_true(t.reached);
}

/* It was told as the end of the stream. */
static void a_write_without_memory_is_tried_again(void **unused) {
    (void)unused;
    struct sweep_trial t = {.row = row("write and end stdin"), .codes = SWEEP_BIT(NOMEM)};
    do {
        t.fail_at++;
        sweep_run(&t);
    } while (t.reached);
    assert_int_equal(t.code, UVM_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_boot_with_disks_takes_its_time),
        cmocka_unit_test(a_boot_whose_agent_goes_while_disks_are_mounted),
        cmocka_unit_test(a_process_whose_wait_failed_is_killed),
        cmocka_unit_test(a_write_without_memory_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
