/* SPDX-License-Identifier: MIT
 * backend_sim.c — the model, on a virtual clock: time passes as fast as something waits for it.
 */
#include "hcs/sim/sim.h"
#include "tests/conformance/conform.h"
#include <stdlib.h>

static void open_service(struct conform *c) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    const struct uvm__sim_params params = {.act_ms = 2, .answer_ms = 3};
    struct uvm__sim_host *host = NULL;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &c->engine), 0);
    assert_int_equal(uvm__sim_host_new(c->engine, &params, &host), 0);
    c->own = host;
    c->service = uvm__sim_service(host);
}

static void close_service(struct conform *c) {
    uvm__engine_free_virtual(c->engine);
}

static void step(struct conform *c) {
    if (uvm__engine_turn(c->engine)) {
        return;
    }
    uint64_t next = uvm__engine_next_deadline(c->engine);
    if (next == UINT64_MAX) {
        fail_msg("sim: nothing will ever happen; until then:\n%s", c->said);
    }
    uvm__engine_advance(c->engine, next);
}

static void turns(struct conform *c) {
    while (uvm__engine_turn(c->engine)) {
    }
}

/* Nothing is answered until time passes, and only removals are ever awaited longer than that. */
static void stall(struct conform *c, bool stalled) {
    if (stalled) {
        uvm__sim_set_fault(c->own, UVM__SIM_MODIFY_REMOVE, 0, UVM__SIM_LATE);
    }
}

static void kill_vmm(struct conform *c) {
    uvm__sim_end(c->system, UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
}

const struct conform_backend conform_sim = {.name = "sim",
                                            .open = open_service,
                                            .close = close_service,
                                            .step = step,
                                            .turns = turns,
                                            .stall = stall,
                                            .kill = kill_vmm};
