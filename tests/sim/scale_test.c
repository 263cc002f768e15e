/* SPDX-License-Identifier: MIT
 * scale_test.c — ten thousand VMs in one process; and how soon a cancel is heard.
 */
#include "tests/sim/disk_flow.h"
#include "tests/sim/scale.h"
#include <string.h>

#define VMS 10000u
#define BYTES_EACH (64u << 10)

static void ten_thousand_vms(void **unused) {
    (void)unused;
    struct scale s = {.vms = VMS};
    scale_run(&s);
    print_message("%u VMs at once, each with a disk: at most %llu bytes each, %llu left\n", s.vms,
                  (unsigned long long)s.bytes_each, (unsigned long long)s.bytes_left);
    assert_true(s.bytes_each <= BYTES_EACH);
    assert_int_equal(s.bytes_left, 0);
}

/* ---- cancels ------------------------------------------------------------------------------ */

static int start_wait(struct world *w, struct world_call *c) {
    return uvm_vm_wait(w->vm, NULL, world_on_done, c, &c->op);
}

static int start_stop(struct world *w, struct world_call *c) {
    return uvm_vm_stop(w->vm, 100, NULL, world_on_done, c, &c->op);
}

static int start_process_wait(struct world *w, struct world_call *c) {
    return uvm_process_wait(w->subject, NULL, world_on_done, c, &c->op);
}

static int start_exec(struct world *w, struct world_call *c) {
    static const char *const argv[] = {"true", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    p.argv = argv;
    return uvm_exec_start(w->vm, &p, NULL, world_on_done, c, &c->op);
}

static int start_attach(struct world *w, struct world_call *c) {
    struct uvm_scsi_params p = disk_mount("/a", "/data");
    return uvm_scsi_attach(w->vm, &p, NULL, world_on_done, c, &c->op);
}

static int start_detach(struct world *w, struct world_call *c) {
    return uvm_detach(w->vm, "scsi-1", NULL, world_on_done, c, &c->op);
}

/* Each is canceled before its request has left, or waits for nothing but an end: no peer has a say. */
static const struct cancel_row {
    const char *what;
    int (*start)(struct world *w, struct world_call *c);
    bool settled; /* canceled when it waits; else before its first turn */
} cancel_rows[] = {
    {"wait for the VM", start_wait, true},
    {"wait for a process", start_process_wait, true},
    {"wait for the VM, at once", start_wait, false},
    {"wait for a process, at once", start_process_wait, false},
    {"stop", start_stop, false},
    {"exec", start_exec, false},
    {"attach", start_attach, false},
    {"detach", start_detach, false},
};

static uvm_process *long_process(struct world *w) {
    static const char *const argv[] = {"sleep", "900000", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    struct world_call c = {0};
    p.argv = argv;
    EXPECT_EQ(w, WORLD_START(w, &c, uvm_exec_start(w->vm, &p, NULL, world_on_done, &c, &c.op)), 0);
    world_wait(w, &c, 1000);
    uvm_process *process = uvm_exec_result(c.op);
    world_call_end(&c);
    EXPECT(w, process != NULL);
    return process;
}

static void a_cancel_takes_one_turn(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof cancel_rows / sizeof cancel_rows[0]; i++) {
        const struct cancel_row *row = &cancel_rows[i];
        struct world w;
        struct world_call c = {0};
        disk_open(&w, row->what);
        w.subject = long_process(&w);
        EXPECT_EQ(&w, WORLD_START(&w, &c, row->start(&w, &c)), 0);
        if (row->settled) {
            world_settle(&w);
        }
        EXPECT_EQ(&w, c.done, 0);
        uvm_op_cancel(c.op);
        (void)uvm__engine_turn(w.e);
        EXPECT_EQ(&w, c.done, 1);
        EXPECT_EQ(&w, c.code, UVM_E_CANCELED);
        world_call_end(&c);
        uvm_process_close(w.subject);
        disk_close(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_takes_one_turn),
        cmocka_unit_test(ten_thousand_vms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
