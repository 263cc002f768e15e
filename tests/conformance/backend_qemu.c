/* SPDX-License-Identifier: MIT
 * backend_qemu.c — real QEMU, by the kit of its own tests. It stalls as a process does that is stopped.
 */
#include "async/limits.h"
#include "tests/conformance/conform.h"
#include "tests/integration/qemu_kit.h"
#include <signal.h>
#include <stdlib.h>

static struct kit kit;

static void open_service(struct conform *c) {
    kit_open(&kit);
    kit_service(&kit, NULL);
    c->engine = kit.base.engine;
    c->service = kit.service;
}

/* The service is closed already; nothing of it may be left. */
static void close_service(struct conform *c) {
    (void)c;
    kit.service = NULL;
    kit_close(&kit);
}

static void on_late(uv_timer_t *timer) {
    struct conform *c = timer->data;
    fail_msg("qemu: nothing happened for %d ms; until then:\n%s", KIT_WAIT_MS, c->said);
}

static void step(struct conform *c) {
    uv_timer_t timer;
    assert_int_equal(uv_timer_init(&kit.base.loop, &timer), 0);
    timer.data = c;
    assert_int_equal(uv_timer_start(&timer, on_late, KIT_WAIT_MS, 0), 0);
    (void)uv_run(&kit.base.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&kit.base.loop, UV_RUN_NOWAIT);
}

static void turns(struct conform *c) {
    (void)c;
    loop_turns(&kit.base);
}

static void signal_vmm(int signal) {
    pid_t pid = (pid_t)kit_vmm();
    assert_true(pid > 0);
    assert_int_equal(kill(pid, signal), 0);
}

static void stall(struct conform *c, bool stalled) {
    (void)c;
    signal_vmm(stalled ? SIGSTOP : SIGCONT);
}

static void kill_vmm(struct conform *c) {
    (void)c;
    signal_vmm(SIGKILL);
}

static void apart(struct conform *c) {
    uint64_t until = uv_hrtime() + UINT64_C(2) * UVM__PLUG_APART_MS * 1000000;
    (void)c;
    while (uv_hrtime() < until) {
        (void)uv_run(&kit.base.loop, UV_RUN_NOWAIT);
    }
}

const struct conform_backend conform_qemu = {.name = "qemu",
                                             .open = open_service,
                                             .close = close_service,
                                             .step = step,
                                             .turns = turns,
                                             .stall = stall,
                                             .kill = kill_vmm,
                                             .apart = apart};
