/* SPDX-License-Identifier: MIT
 * vm_state_test.c — the table of a VM's states: every pair of state and event, and docs/STATES.md.
 */
#include "tests/unit/cm.h"
#include "uvm/state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row a state, in the order of the events; "-" is a refusal or impossible. */
static const char *const want[UVM_VM_STATE_MAX][UVM__EV_MAX] = {
    {"starting", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"},
    {"-", "-", "-", "-", "-", "running", "created", "failed", "starting", "starting", "starting",
     "-"},
    {"-", "stopping", "running", "running", "running", "-", "-", "-", "paused", "running",
     "stopped", "failed"},
    {"-", "stopping", "paused", "-", "-", "-", "-", "-", "paused", "running", "stopped", "failed"},
    {"-", "stopping", "stopping", "-", "-", "-", "-", "-", "stopping", "stopping", "stopped",
     "failed"},
    {"-", "stopped", "stopped", "-", "-", "-", "-", "-", "-", "-", "-", "-"},
    {"-", "-", "-", "-", "-", "-", "-", "-", "failed", "failed", "failed", "-"},
};

static const char *next(unsigned s, unsigned ev) {
    enum uvm_vm_state to = UVM_VM_STATE_MAX;
    int rc = uvm__state_next((enum uvm_vm_state)s, (enum uvm__event)ev, &to);
    if (rc < 0) {
        assert_int_equal(rc, -UVM_E_STATE);
        assert_int_equal(to, UVM_VM_STATE_MAX);
        return "-";
    }
    return uvm_vm_state_text(to);
}

static void test_table(void **state) {
    (void)state;
    for (unsigned s = 0; s < UVM_VM_STATE_MAX; s++) {
        for (unsigned ev = 0; ev < UVM__EV_MAX; ev++) {
            assert_string_equal(next(s, ev), want[s][ev]);
        }
    }
}

/* The page shows this very table: "| state | event … |" rows below its heading. */
static void test_page(void **state) {
    const char *path = *state;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *page = calloc(1, 65536);
    assert_non_null(page);
    assert_true(fread(page, 1, 65535, f) > 0);
    (void)fclose(f);
    for (unsigned s = 0; s < UVM_VM_STATE_MAX; s++) {
        char row[512];
        int len = snprintf(row, sizeof row, "| %s |", uvm_vm_state_text((enum uvm_vm_state)s));
        for (unsigned ev = 0; ev < UVM__EV_MAX; ev++) {
            len += snprintf(row + len, sizeof row - (size_t)len, " %s |", next(s, ev));
        }
        if (strstr(page, row) == NULL) {
            fail_msg("%s lacks the row %s", path, row);
        }
    }
    free(page);
}

static void test_texts(void **state) {
    (void)state;
    assert_string_equal(uvm_vm_state_text(UVM_VM_FAILED), "failed");
    assert_string_equal(uvm_vm_state_text(UVM_VM_STATE_MAX), "unknown");
    assert_string_equal(uvm_exit_reason_key(UVM_EXIT_GUEST_PANIC), "guest-panic");
    assert_string_equal(uvm_exit_reason_text(UVM_EXIT_REASON_MAX), "unknown");
    assert_string_equal(uvm__event_text(UVM__EV_UNDO_FAILED), "undo failed");
}

int main(int argc, char **argv) {
    void *page = argc > 1 ? argv[1] : (void *)(uintptr_t) "docs/STATES.md";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test_prestate(test_page, page),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
