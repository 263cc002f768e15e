/* SPDX-License-Identifier: MIT
 * world.c — running and checking a simulated world.
 *
 * The engine's memory is counted and can fail; the guests' and the test's own is not touched by that. The
 * log sink is where the engine lets itself be watched from inside: it keeps the last records for a
 * failure's report, and it is the place of the innermost points. Nothing here knows what is tried.
 */
#include "tests/sim/world.h"
#include "async/check.h"
#include <cjson/cJSON.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS 48u
#define CLOSE_LIMIT_MS 20000u

/* Printed only when a check fails. */
struct world_record {
    struct uvm_log_record said; /* its names are those of sagas and steps, which stay */
    char text[120];
};

static void print_record(const struct world_record *r) {
    static const char *const kinds[] = {
        [UVM_LOG_TEXT] = "",
        [UVM_LOG_OP_BEGIN] = "begins",
        [UVM_LOG_OP_END] = "ends",
        [UVM_LOG_STEP_BEGIN] = "step begins",
        [UVM_LOG_STEP_END] = "step ends",
        [UVM_LOG_UNDO_BEGIN] = "undo begins",
        [UVM_LOG_UNDO_END] = "undo ends",
    };
    print_error("  %6llu #%llu %s %s %s %s%s\n", (unsigned long long)r->said.at_ms,
                (unsigned long long)r->said.op_id, r->said.op, r->said.step, kinds[r->said.kind],
                r->said.code == 0 ? "" : uvm_error_code_name(r->said.code), r->text);
}

/* ---- failure ------------------------------------------------------------------------------ */

_Noreturn void world_fail(struct world *w, const char *file, int line, const char *what, int64_t a,
                          int64_t b) {
    static char text[4096];
    print_error("%s:%d: %s (%lld, %lld)\nin: %s\nat %llu ms, point %u\n", file, line, what,
                (long long)a, (long long)b, w->label, (unsigned long long)uvm__now_ms(w->e),
                w->points[WORLD_ANYWHERE]);
    uint32_t n = w->records_count < RECORDS ? w->records_count : RECORDS;
    for (uint32_t i = w->records_count - n; i < w->records_count; i++) {
        print_record(&w->records[i % RECORDS]);
    }
    (void)uvm__engine_dump(w->e, text, sizeof text);
    print_error("under way:\n%s", text);
    if (w->call != NULL && w->call->err != NULL) {
        const uvm_error *err = w->call->err;
        for (; err != NULL; err = uvm_error_cause(err)) {
            print_error("error: %s: %s: %s\n", uvm_error_code_name((int)uvm_error_code(err)),
                        uvm_error_step(err), uvm_error_message(err));
        }
        print_error("%s\n", uvm_error_detail(w->call->err));
    }
    _fail(file, line);
    abort();
}

/* ---- memory ------------------------------------------------------------------------------- */

static bool alloc_fails(struct world *w) {
    w->allocs++;
    return w->fail_at > 0 && (w->fail_for_good ? w->allocs >= w->fail_at : w->allocs == w->fail_at);
}

static void count(struct world *w, void *p) {
    if (p != NULL) {
        w->live++;
        w->live_bytes += malloc_usable_size(p);
        if (w->live_bytes > w->live_bytes_peak) {
            w->live_bytes_peak = w->live_bytes;
        }
    }
}

static void *world_malloc(size_t bytes, void *arg) {
    struct world *w = arg;
    void *p = alloc_fails(w) ? NULL : malloc(bytes);
    count(w, p);
    return p;
}

static void world_free(void *p, void *arg) {
    struct world *w = arg;
    UVM_ASSERT(p != NULL && w->live > 0);
    w->live--;
    w->live_bytes -= malloc_usable_size(p);
    free(p);
}

static void *world_realloc(void *p, size_t bytes, void *arg) {
    struct world *w = arg;
    if (alloc_fails(w)) {
        return NULL;
    }
    /* Always elsewhere, so that a stale pointer is found. */
    void *q = malloc(bytes);
    count(w, q);
    if (p != NULL && q != NULL) {
        size_t old = malloc_usable_size(p);
        memcpy(q, p, old < bytes ? old : bytes);
        world_free(p, w);
    }
    return q;
}

/* Trees of JSON come from the process's memory, which fails with the engine's. */
static struct world *world_of_trees;

static void *tree_malloc(size_t bytes) {
    return alloc_fails(world_of_trees) ? NULL : malloc(bytes);
}

void world_memory_fails(struct world *w, uint32_t n, bool for_good) {
    cJSON_Hooks hooks = {.malloc_fn = tree_malloc, .free_fn = free};
    w->allocs = 0;
    w->fail_at = n;
    w->fail_for_good = for_good;
    world_of_trees = w;
    cJSON_InitHooks(&hooks);
}

bool world_memory_is_back(struct world *w) {
    bool reached = w->allocs >= w->fail_at;
    w->fail_at = 0;
    cJSON_InitHooks(NULL);
    return reached;
}

/* ---- points and log ----------------------------------------------------------------------- */

static void pass_point(struct world *w, enum world_where where) {
    for (unsigned i = WORLD_ANYWHERE; i <= (unsigned)where; i++) {
        uint32_t at = w->points[i]++;
        for (unsigned k = 0; k < 2; k++) {
            struct world_inject *in = &w->inject[k];
            if (in->fn != NULL && in->where == (enum world_where)i && in->at == at) {
                w->inside++;
                in->at_ms = uvm__now_ms(w->e);
                in->done = in->fn(w, in->arg);
                w->inside--;
            }
        }
    }
}

static void on_log(const struct uvm_log_record *r, void *arg) {
    struct world *w = arg;
    struct world_record *record = &w->records[w->records_count++ % RECORDS];
    record->said = *r;
    record->text[0] = 0;
    if (r->kind == UVM_LOG_TEXT) {
        (void)snprintf(record->text, sizeof record->text, "%s", r->text);
    }
    if (w->mark_op != NULL && r->kind == UVM_LOG_STEP_END && strcmp(r->op, w->mark_op) == 0 &&
        strcmp(r->step, w->mark_step) == 0) {
        w->marked[WORLD_ANYWHERE] = w->points[WORLD_ANYWHERE];
        w->marked[WORLD_BETWEEN] = w->points[WORLD_BETWEEN];
    }
    if (r->kind != UVM_LOG_TEXT) {
        pass_point(w, WORLD_ANYWHERE);
    }
}

/* ---- peers ------------------------------------------------------------------------------- */

static void on_host_moment(enum uvm__sim_point point, enum uvm__sim_moment moment, void *arg) {
    struct world *w = arg;
    if (w->watch != NULL) {
        w->watch(w, false, point, (enum world_moment)moment);
    }
}

static void on_wire_moment(enum uvm__message msg, enum wire_moment moment, void *arg) {
    struct world *w = arg;
    if (w->watch != NULL) {
        w->watch(w, true, msg, (enum world_moment)moment);
    }
}

/* ---- guests ------------------------------------------------------------------------------- */

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *hvsock, void *arg) {
    struct world *w = arg;
    if (w->guests_count == w->guests_cap) {
        w->guests_cap = w->guests_cap * 2 + 4;
        w->guests = realloc(w->guests, w->guests_cap * sizeof w->guests[0]);
        UVM_ASSERT(w->guests != NULL);
    }
    w->guests[w->guests_count++].guest = guest_new(w->e, s, hvsock, &w->script, &w->seen);
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    struct world *w = arg;
    for (uint32_t i = 0; i < w->guests_count; i++) {
        if (guest_system(w->guests[i].guest) == s) {
            struct guest *g = w->guests[i].guest;
            w->guests[i] = w->guests[--w->guests_count];
            guest_stop(g);
            return;
        }
    }
    UVM_ASSERT(false); /* a guest that was never there */
}

static void on_disk_removed(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                            void *arg) {
    struct world *w = arg;
    struct guest *g = world_guest(w, s);
    if (g != NULL) {
        guest_disk_removed(g, controller, lun);
    }
}

struct guest *world_guest(struct world *w, const struct uvm__hcs_system *s) {
    for (uint32_t i = 0; i < w->guests_count; i++) {
        if (guest_system(w->guests[i].guest) == s) {
            return w->guests[i].guest;
        }
    }
    return NULL;
}

void world_script(struct world *w, const struct guest_script *script) {
    w->script = script == NULL ? (struct guest_script){0} : *script;
    w->script.wired = w->wired;
    w->script.plain_agent = w->plain_agent;
    w->script.step_ms = w->step_ms;
    w->script.wire.watch = on_wire_moment;
    w->script.wire.watch_arg = w;
    w->seen.ended_as_told = false;
}

/* ---- time --------------------------------------------------------------------------------- */

void world_settle(struct world *w) {
    uint32_t turns = 0;
    do {
        pass_point(w, WORLD_BETWEEN);
        EXPECT(w, ++turns < 100000);
    } while (uvm__engine_turn(w->e));
}

/* To the next deadline, or as far as `until_ms`; false: it is there. */
static bool advance(struct world *w, uint64_t until_ms) {
    uint64_t now = uvm__now_ms(w->e);
    if (now >= until_ms) {
        return false;
    }
    uint64_t next = uvm__engine_next_deadline(w->e);
    uvm__engine_advance(w->e, next < until_ms - now ? next : until_ms - now);
    return true;
}

void world_pass(struct world *w, uint64_t ms) {
    uint64_t until = uvm__now_ms(w->e) + ms;
    do {
        world_settle(w);
    } while (advance(w, until));
}

void world_wait(struct world *w, struct world_call *c, uint64_t limit_ms) {
    uint64_t until = uvm__now_ms(w->e) + limit_ms;
    do {
        world_settle(w);
    } while (c->done == 0 && advance(w, until));
    EXPECT_EQ(w, c->done, 1);
}

/* ---- calls -------------------------------------------------------------------------------- */

void world_call_begin(struct world *w, struct world_call *c) {
    *c = (struct world_call){.w = w, .started_ms = uvm__now_ms(w->e), .then = c->then};
    w->inside++;
}

int world_call_started(struct world_call *c, int rc) {
    struct world *w = c->w;
    w->inside--;
    EXPECT(w, rc <= 0);
    EXPECT(w, rc == 0 || c->op == NULL);
    EXPECT_EQ(w, c->done, 0);
    w->calls += rc == 0;
    return rc;
}

void world_on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct world_call *c = arg;
    struct world *w = c->w;
    EXPECT_EQ(w, w->inside, 0);
    EXPECT(w, c->op == NULL || c->op == op);
    c->done++;
    EXPECT_EQ(w, c->done, 1);
    EXPECT(w, w->calls > 0);
    w->calls--;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    c->err = uvm_error_ref(err);
    c->ended_ms = uvm__now_ms(w->e);
    if (c->then != NULL) {
        c->then(c);
    }
}

void world_call_end(struct world_call *c) {
    c->err = uvm_error_unref(c->err);
    c->op = uvm_op_unref(c->op);
}

int world_boot(struct world *w, struct world_call *c, uvm_vm *vm, uvm_scope *scope) {
    return WORLD_START(w, c, uvm_vm_boot(vm, scope, world_on_done, c, &c->op));
}

/* ---- VMs ---------------------------------------------------------------------------------- */

static void on_console(uvm_vm *vm, const void *data, size_t bytes, void *arg) {
    struct world *w = arg;
    (void)vm;
    (void)data;
    EXPECT_EQ(w, w->inside, 0);
    w->console_bytes += bytes;
}

uvm_vm *world_vm_new(struct world *w, const char *name) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.name = name;
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";
    p.on_console = on_console;
    p.arg = w;
    uvm_vm *vm = NULL;
    uvm_error *err = NULL;
    w->inside++;
    int rc = uvm_vm_new(w->e, w->service, &p, &vm, &err);
    w->inside--;
    EXPECT(w, (rc < 0) == (vm == NULL));
    EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM);
    EXPECT(w, rc == 0 || (err != NULL && uvm_error_code(err) == UVM_E_NOMEM));
    uvm_error_unref(err);
    w->vms += rc == 0;
    return vm;
}

static void on_closed(void *arg) {
    struct world_closing *c = arg;
    EXPECT_EQ(c->w, c->w->inside, 0);
    EXPECT(c->w, !c->closed);
    EXPECT(c->w, c->w->vms > 1 || c->w->calls == 0); /* closed last */
    c->closed = true;
}

void world_vm_close_begin(struct world *w, uvm_vm *vm, struct world_closing *c) {
    *c = (struct world_closing){.w = w};
    w->inside++;
    uvm_vm_close(vm, on_closed, c);
    w->inside--;
    EXPECT(w, !c->closed);
}

static void wait_closed(struct world_closing *c) {
    uint64_t until = uvm__now_ms(c->w->e) + CLOSE_LIMIT_MS;
    do {
        world_settle(c->w);
    } while (!c->closed && advance(c->w, until));
    EXPECT(c->w, c->closed);
}

void world_vm_close_wait(struct world_closing *c) {
    struct world *w = c->w;
    wait_closed(c);
    EXPECT(w, w->vms > 0);
    w->vms--;
    if (w->vms == 0) {
        world_expect_empty(w);
    }
}

void world_vm_close(struct world *w, uvm_vm *vm) {
    struct world_closing c;
    world_vm_close_begin(w, vm, &c);
    world_vm_close_wait(&c);
}

void world_boot_well(struct world *w, uvm_vm *vm) {
    struct world_call c = {0};
    world_script(w, NULL);
    EXPECT_EQ(w, world_boot(w, &c, vm, NULL), 0);
    w->call = &c;
    world_wait(w, &c, 1000);
    EXPECT_EQ(w, c.code, UVM_OK);
    EXPECT_EQ(w, uvm_vm_state(vm), UVM_VM_RUNNING);
    w->call = NULL;
    world_call_end(&c);
}

/* ---- checks ------------------------------------------------------------------------------- */

void world_expect_empty(struct world *w) {
    struct uvm__sim_ledger l = uvm__sim_ledger(w->host);
    EXPECT_EQ(w, l.systems, 0);
    EXPECT_EQ(w, l.running, 0);
    EXPECT_EQ(w, l.created, l.ended);
    EXPECT_EQ(w, w->seen.guests, 0);
    EXPECT_EQ(w, w->seen.streams, 0);
    EXPECT_EQ(w, w->seen.processes, 0);
    EXPECT_EQ(w, l.disks, 0);
    EXPECT_EQ(w, w->seen.mounts, 0);
}

void world_expect_error(struct world *w, const struct world_call *c, const char *name) {
    EXPECT(w, c->err != NULL);
    EXPECT(w, uvm_error_code(c->err) == UVM_E_NOMEM || uvm_error_step(c->err)[0] != 0);
    EXPECT(w, uvm_error_code(c->err) == UVM_E_NOMEM ||
                  strncmp(uvm_error_message(c->err), name, strlen(name)) == 0);
}

/* ---- life --------------------------------------------------------------------------------- */

const struct world_pace world_paces[WORLD_PACES] = {
    {WORLD_ACT_MS, WORLD_ANSWER_MS, 1, 0}, {0, 0, 0, 0}, {1, 40, 1, 0}, {1, 1, 7, 100}};

void world_open(struct world *w) {
    world_open_at(w, &world_paces[0]);
}

void world_open_at(struct world *w, const struct world_pace *pace) {
    memset(w, 0, sizeof *w);
    w->step_ms = pace->step_ms;
    w->records = calloc(RECORDS, sizeof w->records[0]);
    UVM_ASSERT(w->records != NULL);
    const struct uvm_allocator a = {world_malloc, world_realloc, world_free, w};
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    p.allocator = &a;
    p.log = on_log;
    p.log_arg = w;
    p.log_level = UVM_LOG_TRACE;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &w->e), 0);
    const struct uvm__sim_params sim = {.act_ms = pace->act_ms,
                                        .answer_ms = pace->answer_ms,
                                        .window_bytes = pace->window_bytes,
                                        .on_start = on_start,
                                        .on_stop = on_stop,
                                        .on_disk_removed = on_disk_removed,
                                        .on_moment = on_host_moment,
                                        .arg = w};
    assert_int_equal(uvm__sim_host_new(w->e, &sim, &w->host), 0);
    w->service = uvm__sim_service(w->host);
    world_script(w, NULL);
}

void world_close(struct world *w) {
    w->inject[0].fn = w->inject[1].fn = NULL;
    EXPECT_EQ(w, w->vms, 0);
    EXPECT_EQ(w, w->calls, 0);
    world_expect_empty(w);
    EXPECT_EQ(w, w->service->admission.vms, 0);
    EXPECT_EQ(w, w->service->admission.memory_mb, 0);
    struct world_closing c = {.w = w};
    uvm_service_close(w->service, on_closed, &c);
    wait_closed(&c);
    world_settle(w);
    uvm__engine_free_virtual(w->e);
    if (w->live != 0) {
        print_error("%llu blocks were not freed in: %s\n", (unsigned long long)w->live, w->label);
        fail();
    }
    free(w->guests);
    free(w->records);
}
