/* SPDX-License-Identifier: MIT
 * sim_bench.c — the engine by itself, on one core: operations from start to end, and ten thousand
 * simulated VMs. Prints a table; asserts nothing about times.
 */
#include "async/engine.h"
#include "async/saga.h"
#include "tests/sim/scale.h"
#include <stdio.h>
#include <time.h>

#define OPS 2000000u
#define BATCH 1000u
#define VMS 10000u
#define THOUSAND 1000u

static double now_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- operations --------------------------------------------------------------------------- */

static void nothing(uvm_op *op, void *state) {
    (void)state;
    uvm__step_done(op, NULL);
}

static const struct uvm__step steps[] = {{"nothing", nothing, NULL, NULL, false}};
static const struct uvm__saga saga = {.name = "nothing", .steps = steps, .steps_count = 1};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    *(uint64_t *)arg += err == NULL;
}

static void operations(void) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    uvm_engine *e = NULL;
    uint64_t done = 0;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &e), 0);
    double begin = now_s();
    for (uint32_t i = 0; i < OPS; i += BATCH) {
        for (uint32_t k = 0; k < BATCH; k++) {
            assert_int_equal(uvm__op_start(e, NULL, &saga, NULL, on_done, &done, NULL), 0);
        }
        while (uvm__engine_turn(e)) {
        }
    }
    double s = now_s() - begin;
    assert_int_equal(done, OPS);
    uvm__engine_free_virtual(e);
    print_message("operations, start to end: %.2f M a second (wanted: 1.00 M, ratio %.2f)\n",
                  OPS / s / 1e6, OPS / s / 1e6);
}

/* ---- VMs ---------------------------------------------------------------------------------- */

struct laps {
    double at, us[2][VMS / THOUSAND];
};

static void on_step(bool up, uint32_t count, void *arg) {
    struct laps *l = arg;
    double now = now_s();
    if (count > 0) {
        l->us[up][count / THOUSAND - 1] = (now - l->at) * 1e6 / THOUSAND;
    }
    l->at = now;
}

static void vms(void) {
    static struct laps laps;
    struct scale s = {.vms = VMS, .on_step = on_step, .step = THOUSAND, .arg = &laps};
    scale_run(&s);
    print_message("%u VMs at once: %llu bytes of the engine's memory each (wanted: 65536)\n", s.vms,
                  (unsigned long long)s.bytes_each);
    for (unsigned up = 2; up-- > 0;) {
        print_message("%s, µs a VM, by thousands:",
                      up == 1 ? "boot, disk, command" : "stop, close");
        double last = 0, first = laps.us[up][0];
        for (unsigned i = 0; i < VMS / THOUSAND; i++) {
            last = laps.us[up][i];
            print_message(" %.1f", last);
        }
        print_message("; last to first %.2f (wanted: 1.20)\n", last / first);
    }
}

int main(void) {
    operations();
    vms();
    return 0;
}
