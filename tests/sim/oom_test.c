/* SPDX-License-Identifier: MIT
 * oom_test.c — lack of memory: the nth allocation of the engine fails, once and from then on, for all n.
 *
 * Whatever fails says so, leaves nothing behind, and works when there is memory again. The simulated guest
 * has memory of its own, but what it dials needs the engine's: it tries again, so a boot without memory
 * may also end by its deadline.
 */
#include "async/limits.h"
#include "tests/sim/world.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME "sim-1"
#define N_MAX 3000u

struct tally {
    uint32_t codes[UVM_E_MAX];
    uint32_t refused; /* by start */
    uint32_t n;
};

static void report(const char *what, bool for_good, const struct tally *t) {
    char text[256];
    int len = snprintf(text, sizeof text, "%s, %s: %u allocations, start refused %u", what,
                       for_good ? "for good" : "once", t->n - 1, t->refused);
    for (unsigned i = 0; i < UVM_E_MAX && len > 0 && (size_t)len < sizeof text; i++) {
        if (t->codes[i] > 0) {
            len += snprintf(text + len, sizeof text - (size_t)len, ", %s %u",
                            uvm_error_code_name((int)i), t->codes[i]);
        }
    }
    print_message("%s\n", text);
}

/* Trees of JSON come from the process's memory, which fails with the engine's. */
static struct world *world_of_trees;

static void *tree_malloc(size_t bytes) {
    return world_alloc_fails(world_of_trees) ? NULL : malloc(bytes);
}

static void memory_fails_at(struct world *w, uint32_t n, bool for_good) {
    cJSON_Hooks hooks = {.malloc_fn = tree_malloc, .free_fn = free};
    w->allocs = 0;
    w->fail_at = n;
    w->fail_for_good = for_good;
    world_of_trees = w;
    cJSON_InitHooks(&hooks);
}

/* Returns whether the nth allocation was reached. */
static bool memory_is_back(struct world *w) {
    bool reached = w->allocs >= w->fail_at;
    w->fail_at = 0;
    cJSON_InitHooks(NULL);
    return reached;
}

static void expect_code(struct world *w, const struct world_call *c) {
    switch (c->code) {
    case UVM_OK:
    case UVM_E_NOMEM:
    case UVM_E_PEER:     /* the guest's words about its own */
    case UVM_E_CLOSED:   /* a bridge that could not be read */
    case UVM_E_EXITED:   /* a guest whose log could not be taken */
    case UVM_E_TIMEDOUT: /* a guest that could not dial */
        return;
    default:
        world_fail(w, __FILE__, __LINE__, "the code", c->code, 0);
    }
}

static bool vm_new(uint32_t n, bool for_good, struct tally *t) {
    struct world w;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "new: allocation %u fails", n);
    memory_fails_at(&w, n, for_good);
    uvm_vm *vm = world_vm_new(&w, NAME);
    bool reached = memory_is_back(&w);
    EXPECT(&w, reached || vm != NULL);
    t->codes[vm == NULL ? UVM_E_NOMEM : UVM_OK]++;
    if (vm == NULL) {
        vm = world_vm_new(&w, NAME);
    }
    world_boot_well(&w, vm);
    world_vm_close(&w, vm);
    world_close(&w);
    return reached;
}

static bool boot(uint32_t n, bool for_good, struct tally *t) {
    struct world w;
    struct world_call c = {0};
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "boot: allocation %u fails", n);
    w.vm = world_vm_new(&w, NAME);
    w.call = &c;
    memory_fails_at(&w, n, for_good);
    int rc = world_boot(&w, &c, w.vm, NULL);
    if (rc < 0) {
        EXPECT_EQ(&w, rc, -UVM_E_NOMEM);
        t->refused++;
    } else {
        world_wait(&w, &c, UVM__BOOT_MS + UVM__UNDO_MS + 100);
        expect_code(&w, &c);
        t->codes[c.code]++;
    }
    bool reached = memory_is_back(&w);
    if (rc == 0 && c.code != UVM_OK) {
        EXPECT_EQ(&w, uvm_vm_state(w.vm), UVM_VM_CREATED);
        world_expect_empty(&w);
    }
    world_call_end(&c);
    w.call = NULL;
    if (uvm_vm_state(w.vm) == UVM_VM_CREATED) {
        world_boot_well(&w, w.vm);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
    return reached;
}

/* What must not fail waits for memory, at worst until there is some. */
static void wait_for(struct world *w, struct world_call *c, uint64_t limit_ms) {
    uint64_t until = uvm__now_ms(w->e) + limit_ms;
    while (c->done == 0 && uvm__now_ms(w->e) < until) {
        world_pass(w, 100);
    }
    if (c->done == 0) {
        EXPECT(w, w->fail_for_good);
        w->fail_for_good = false; /* what was reached stays so */
        world_wait(w, c, 10000);
    }
}

struct io {
    uint32_t bytes;
};

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    (void)p;
    (void)which;
    (void)data;
    ((struct io *)arg)->bytes += (uint32_t)bytes;
    return bytes;
}

static int exec(struct world *w, struct world_call *c, struct io *io) {
    static const char *const argv[] = {"yes", "3000", NULL};
    static const char *const env[] = {"A=1", "B=2", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    p.argv = argv;
    p.env = env;
    p.cwd = "/tmp";
    p.stdio[UVM_STDIN] = UVM_STDIO_CALLBACK;
    p.stdio[UVM_STDOUT] = UVM_STDIO_CALLBACK;
    p.on_output = on_output;
    p.arg = io;
    return WORLD_START(w, c, uvm_exec_start(w->vm, &p, NULL, world_on_done, c, &c->op));
}

/* One process from exec to its end; what came of it, as far as the memory allowed. */
static void run_process(struct world *w, struct tally *t) {
    struct world_call x = {0}, wait = {0};
    struct io io = {0};
    w->call = &x;
    int rc = exec(w, &x, &io);
    if (rc < 0) {
        EXPECT_EQ(w, rc, -UVM_E_NOMEM);
        t->refused++;
        w->call = NULL;
        return;
    }
    wait_for(w, &x, 20000);
    if (x.code != UVM_E_UNDO) {
        expect_code(w, &x);
    }
    t->codes[x.code]++;
    uvm_process *p = x.code == UVM_OK ? uvm_exec_result(x.op) : NULL;
    if (p != NULL) {
        w->call = &wait;
        rc = WORLD_START(w, &wait, uvm_process_wait(p, NULL, world_on_done, &wait, &wait.op));
        EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM);
        if (rc == 0) {
            wait_for(w, &wait, 20000);
            EXPECT(w, wait.code != UVM_OK || io.bytes == 3000);
            expect_code(w, &wait);
        }
        world_call_end(&wait);
    }
    w->call = NULL;
    world_call_end(&x);
    uvm_process_close(p);
}

static bool process(uint32_t n, bool for_good, struct tally *t) {
    struct world w;
    struct tally again = {0};
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "process: allocation %u fails %s", n,
                   for_good ? "for good" : "once");
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    memory_fails_at(&w, n, for_good);
    run_process(&w, t);
    bool reached = memory_is_back(&w);
    world_pass(&w, 20000);
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        run_process(&w, &again);
        EXPECT_EQ(&w, again.codes[UVM_OK], 1);
        world_pass(&w, 1000);
        EXPECT_EQ(&w, w.seen.processes, 0);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
    return reached;
}

static bool stop(uint32_t n, bool for_good, struct tally *t) {
    struct world w;
    struct world_call c = {0};
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "stop: allocation %u fails", n);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    w.call = &c;
    memory_fails_at(&w, n, for_good);
    int rc = WORLD_START(&w, &c, uvm_vm_stop(w.vm, 0, NULL, world_on_done, &c, &c.op));
    if (rc < 0) {
        EXPECT_EQ(&w, rc, -UVM_E_NOMEM);
        t->refused++;
    } else {
        wait_for(&w, &c, UVM__STOP_GRACE_MS + 1000);
        t->codes[c.code]++;
        EXPECT(&w, c.code == UVM_OK || c.code == UVM_E_NOMEM);
        EXPECT_EQ(&w, uvm_vm_state(w.vm), c.code == UVM_OK ? UVM_VM_STOPPED : UVM_VM_RUNNING);
    }
    bool reached = memory_is_back(&w);
    world_call_end(&c);
    w.call = NULL;
    world_vm_close(&w, w.vm);
    world_close(&w);
    return reached;
}

static void for_all_n(const char *what, bool (*fn)(uint32_t n, bool for_good, struct tally *t)) {
    for (unsigned for_good = 0; for_good < 2; for_good++) {
        struct tally t = {0};
        bool reached = true;
        for (t.n = 1; reached; t.n++) {
            assert_true(t.n < N_MAX);
            reached = fn(t.n, for_good == 1, &t);
        }
        assert_true(t.codes[UVM_OK] > 0 && t.n > 2);
        report(what, for_good == 1, &t);
    }
}

static void of_new(void **unused) {
    (void)unused;
    for_all_n("new", vm_new);
}

static void of_boot(void **unused) {
    (void)unused;
    for_all_n("boot", boot);
}

static void of_a_process(void **unused) {
    (void)unused;
    for_all_n("process", process);
}

static void of_stop(void **unused) {
    (void)unused;
    for_all_n("stop", stop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_new),
        cmocka_unit_test(of_boot),
        cmocka_unit_test(of_a_process),
        cmocka_unit_test(of_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
