/* SPDX-License-Identifier: MIT
 * clock_test.c — deadlines fire in order whatever the order of setting and clearing; ready queue turns.
 */
#include "async/engine.h"
#include "async/list.h"
#include "tests/unit/cm.h"
#include <uv.h>

enum { NODES = 500 };

struct node {
    struct uvm__deadline d;
    uint64_t at;
    bool set;
};
static struct {
    struct node nodes[NODES];
    uint64_t last_at;
    int fired;
} all; /* the callback has no argument */

static void on_fire(struct uvm__deadline *d) {
    struct node *n = UVM__CONTAINER_OF(d, struct node, d);
    assert_true(n->set);
    assert_true(n->at >= all.last_at);
    all.last_at = n->at;
    n->set = false;
    all.fired++;
}

static void random_sets_and_clears_fire_in_order(void **unused) {
    (void)unused;
    uvm_engine *e = NULL;
    assert_int_equal(uvm__engine_new_virtual(NULL, 7, &e), 0);
    for (int i = 0; i < NODES; i++) {
        uvm__deadline_init(&all.nodes[i].d, on_fire);
    }
    int live = 0;
    for (int round = 0; round < 20000; round++) {
        uint32_t r;
        uvm__random(e, &r, sizeof r);
        struct node *n = &all.nodes[r % NODES];
        if ((r >> 16) % 3 == 0) {
            uvm__deadline_clear(e, &n->d);
            live -= n->set ? 1 : 0;
            n->set = false;
        } else {
            live += n->set ? 0 : 1;
            n->set = true;
            n->at = uvm__now_ms(e) + (r >> 20);
            uvm__deadline_set(e, &n->d, n->at);
        }
        if (round % 100 == 0) {
            all.last_at = 0;
            int before = all.fired;
            uvm__engine_advance(e, 50);
            live -= all.fired - before;
        }
    }
    all.last_at = 0;
    all.fired = 0;
    uvm__engine_advance(e, 10000);
    assert_int_equal(all.fired, live);
    assert_int_equal(uvm__engine_next_deadline(e), UINT64_MAX);
    uvm__engine_free_virtual(e);
}

static struct uvm__ready first, second;
static uvm_engine *engine;
static int order;

static void on_second(struct uvm__ready *r) {
    (void)r;
    order = order * 10 + 2;
}
static void on_first(struct uvm__ready *r) {
    order = order * 10 + 1;
    if (order < 100) {
        uvm__ready_push(engine, r); /* runs in the next turn */
    }
}

static void ready_runs_once_per_push_and_not_in_its_own_turn(void **unused) {
    (void)unused;
    assert_int_equal(uvm__engine_new_virtual(NULL, 7, &engine), 0);
    uvm__ready_init(&first, on_first);
    uvm__ready_init(&second, on_second);
    uvm__ready_push(engine, &first);
    uvm__ready_push(engine, &first);
    uvm__ready_push(engine, &second);
    assert_true(uvm__engine_turn(engine));
    assert_int_equal(order, 12);
    assert_true(uvm__engine_turn(engine));
    assert_int_equal(order, 121);
    assert_false(uvm__engine_turn(engine));
    uvm__engine_free_virtual(engine);
}

static bool closed;
static void on_closed(void *arg) {
    (void)arg;
    closed = true;
}
static void on_real_fire(struct uvm__deadline *d) {
    (void)d;
    order = 5;
    uvm_engine_close(engine, on_closed, NULL);
}

static void a_real_engine_fires_and_leaves_the_loop_empty(void **unused) {
    (void)unused;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uvm_engine_new(&loop, NULL, &engine), 0);
    struct uvm__deadline d;
    uvm__deadline_init(&d, on_real_fire);
    uvm__deadline_set(engine, &d, uvm__now_ms(engine) + 5);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(order, 5);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sets_and_clears_fire_in_order),
        cmocka_unit_test(ready_runs_once_per_push_and_not_in_its_own_turn),
        cmocka_unit_test(a_real_engine_fires_and_leaves_the_loop_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
