/* SPDX-License-Identifier: MIT
 * loop.h — a real engine on a real loop for tests: bounded waiting, an allocator that fails on
 * demand, and a census of descriptors and blocks when it closes.
 */
#pragma once
#include "async/engine.h"
#include "tests/harness/harness_census.h"
#include "tests/unit/cm.h"
#include <stdlib.h>
#include <uv.h>

#define LOOP_LATE_MS 20000u

struct loop_kit {
    uv_loop_t loop;
    uvm_engine *engine;
    struct uvm_allocator allocator;
    long fail_at;  /* counts down; 0: that allocation fails; negative: none */
    bool for_good; /* ... and all that follow */
    long blocks;
    uvm_harness_census *fds;
    bool late;
};

static inline void *loop_allocate(void *ptr, size_t bytes, void *arg) {
    struct loop_kit *k = arg;
    if (k->fail_at == 0) {
        k->fail_at = k->for_good ? 0 : -1;
        return NULL;
    }
    k->fail_at -= k->fail_at > 0;
    k->blocks += ptr == NULL;
    return realloc(ptr, bytes);
}
static inline void *loop_malloc(size_t bytes, void *arg) {
    return loop_allocate(NULL, bytes, arg);
}
static inline void loop_free(void *ptr, void *arg) {
    ((struct loop_kit *)arg)->blocks--;
    free(ptr);
}

/* What is open now; for loop_expect_fds(), or to be freed. */
static inline uvm_harness_census *loop_fds(void) {
    struct uvm_harness_census_params params = UVM_HARNESS_CENSUS_PARAMS_INIT;
    uvm_harness_census *census = NULL;
    params.kinds =
        1u << UVM_HARNESS_DESCRIPTOR | 1u << UVM_HARNESS_MEMFD | 1u << UVM_HARNESS_SOCKET;
    assert_int_equal(uvm_harness_census_take(&params, &census), 0);
    return census;
}

/* The same must be open again. */
static inline void loop_expect_fds(const uvm_harness_census *census) {
    char *text = NULL;
    if (uvm_harness_census_compare(census, 0, 0, &text) != 0) {
        print_error("%s", text == NULL ? "" : text);
        free(text);
        fail_msg("a descriptor was left, or is closed");
    }
}

static inline void loop_open(struct loop_kit *k) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    uv_loop_t first; /* the first loop of a process opens what libuv keeps for good */
    assert_int_equal(uv_loop_init(&first), 0);
    assert_int_equal(uv_loop_close(&first), 0);
    *k = (struct loop_kit){.fail_at = -1, .fds = loop_fds()};
    k->allocator = (struct uvm_allocator){loop_malloc, loop_allocate, loop_free, k};
    params.allocator = &k->allocator;
    assert_int_equal(uv_loop_init(&k->loop), 0);
    assert_int_equal(uvm_engine_new(&k->loop, &params, &k->engine), 0);
}

/* Nothing may be left: no handle, no block, no descriptor. */
static inline void loop_close(struct loop_kit *k) {
    k->fail_at = -1;
    uvm_engine_close(k->engine, NULL, NULL);
    assert_int_equal(uv_run(&k->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&k->loop), 0);
    assert_int_equal(k->blocks, 0);
    loop_expect_fds(k->fds);
    uvm_harness_census_free(k->fds);
}

static inline void loop_on_late(uv_timer_t *timer) {
    ((struct loop_kit *)timer->data)->late = true;
}

/* Runs the loop until *done, or fails after `ms`. */
static inline void loop_until_ms(struct loop_kit *k, const bool *done, uint64_t ms) {
    uv_timer_t timer;
    uv_timer_init(&k->loop, &timer);
    timer.data = k;
    k->late = false;
    uv_timer_start(&timer, loop_on_late, ms, 0);
    while (!*done && !k->late) {
        uv_run(&k->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&k->loop, UV_RUN_NOWAIT);
    if (!*done) {
        fail_msg("nothing happened for %u ms", (unsigned)ms);
    }
}
static inline void loop_until(struct loop_kit *k, const bool *done) {
    loop_until_ms(k, done, LOOP_LATE_MS);
}

/* What is ready now, and what follows from it at once. */
static inline void loop_turns(struct loop_kit *k) {
    for (int i = 0; i < 8; i++) {
        uv_run(&k->loop, UV_RUN_NOWAIT);
    }
}
