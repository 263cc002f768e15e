/* SPDX-License-Identifier: MIT
 * vm_close_test.c — a VM that is closed while its VMM does not die.
 *
 * The service is one of the test's own: its create waits, and its undo ends when the test says so, like
 * that of a killed process which the kernel still holds. No model of a host does that by itself.
 */
#include "async/engine.h"
#include "async/limits.h"
#include "hcs/compute_service.h"
#include "tests/unit/cm.h"
#include "uvm/uvm.h"

static struct {
    uvm_engine *engine;
    struct uvm__hcs service;
    uvm_op *undoing; /* the create whose undo waits */
    int boots_done, boot_code, closed;
} t;

static void create_run(uvm_op *op, void *state) {
    (void)state;
    uvm__step_armed(op);
}

static void create_cancel(uvm_op *op, void *state) {
    (void)state;
    uvm__step_done(op, uvm__error(t.engine, UVM_E_CANCELED, 0, "given up"));
}

static void create_undo(uvm_op *op, void *state) {
    (void)state;
    t.undoing = op;
}

static const struct uvm__step create_steps[] = {
    {.name = "vmm", .run = create_run, .cancel = create_cancel, .undo = create_undo}};
static const struct uvm__saga create_saga = {
    .name = "vm create", .steps = create_steps, .steps_count = 1};

static int create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params, uvm_scope *scope,
                  uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    (void)params;
    return uvm__op_start(h->engine, scope, &create_saga, NULL, on_done, arg, ret_op);
}

static const struct uvm__hcs_ops ops = {.name = "stubborn", .create = create};

static void on_boot(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)arg;
    t.boots_done++;
    t.boot_code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

static void on_closed(void *arg) {
    (void)arg;
    t.closed++;
}

/* What is ready now and within `ms`. */
static void run(uint64_t ms) {
    for (uint64_t end = ms; uvm__engine_turn(t.engine) || end > 0;) {
        uint64_t next = uvm__engine_next_deadline(t.engine);
        if (next <= end) {
            uvm__engine_advance(t.engine, next);
            end -= next;
        } else if (!uvm__engine_turn(t.engine)) {
            uvm__engine_advance(t.engine, end);
            end = 0;
        }
    }
}

static void a_vmm_that_does_not_die_is_waited_for(void **state) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    uvm_vm *vm;
    uvm_op *op;
    (void)state;
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &t.engine), 0);
    t.service = (struct uvm__hcs){.ops = &ops, .engine = t.engine};
    p.kernel = "/kernel";
    p.initrd = "/initrd";
    assert_int_equal(uvm_vm_new(t.engine, &t.service, &p, &vm, NULL), 0);
    assert_int_equal(uvm_vm_boot(vm, NULL, on_boot, NULL, &op), 0);
    run(0);
    uvm_op_cancel(op);
    run(UVM__UNDO_MS + 1);
    assert_non_null(t.undoing);
    assert_int_equal(t.boots_done, 1);
    assert_int_equal(t.boot_code, UVM_E_CANCELED);
    uvm_op_unref(op);

    uvm_vm_close(vm, on_closed, NULL);
    run(60000);
    assert_int_equal(t.closed, 0);
    uvm__undo_done(t.undoing, NULL);
    run(1000);
    assert_int_equal(t.closed, 1);
    uvm__engine_free_virtual(t.engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_vmm_that_does_not_die_is_waited_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
