/* SPDX-License-Identifier: MIT
 * exec_test.c — processes in the guest: their ends, their streams, and every way to disturb them.
 *
 * A flow is one process from exec to its end: started, fed where it reads, signalled where it would stay,
 * waited for, let go of. Undisturbed flows tell how many points there are; each disturbance is then tried
 * at each, in a VM of its own. Afterwards no process may be left in the guest that the engine does not
 * know of, and where the VM still runs, another flow must work in it.
 */
#include "async/limits.h"
#include "tests/sim/choose.h"
#include "tests/sim/world.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"
#define OK_BIT 1u
#define BIT(code) (1u << UVM_E_##code)
#define FLOW_LIMIT_MS 3000u
#define INPUT_BYTES 20000u

struct flow_row {
    const char *what;
    const char *argv[3];
    bool in, out;
    uint32_t output; /* bytes expected */
    uint32_t taken;  /* at most at a time; 0: all. A slow reader goes on a millisecond later */
    int signo;       /* sent once it runs; 0: none */
    uint32_t code;
    int signal; /* that ends it */
};

static const struct flow_row flow_rows[] = {
    {"true", {"true"}, false, true, 0, 0, 0, 0, 0},
    {"exit 7", {"exit", "7"}, false, false, 0, 0, 0, 7, 0},
    {"crash", {"crash", "11"}, false, true, 0, 0, 0, 0, 11},
    {"sleep", {"sleep", "50"}, false, false, 0, 0, 0, 0, 0},
    {"cat", {"cat"}, true, true, INPUT_BYTES, 0, 0, 0, 0},
    {"cat, slow reader", {"cat"}, true, true, INPUT_BYTES, 700, 0, 0, 0},
    {"yes", {"yes", "600000"}, false, true, 600000, 0, 0, 0, 0},
    {"yes, slow reader", {"yes", "300000"}, false, true, 300000, 5000, 0, 0, 0},
    {"a signal", {"stay"}, false, true, 0, 0, SIGTERM, 0, SIGTERM},
    {"a kill", {"stubborn"}, true, true, 0, 0, SIGKILL, 0, SIGKILL},
    {"a child stays", {"leave"}, false, true, 0, 0, 0, 0, 0},
};
enum { FLOWS = sizeof flow_rows / sizeof flow_rows[0] };

struct flow {
    struct world *w;
    const struct flow_row *row;
    struct world_call exec, wait, signal;
    uvm_process *p;
    uint32_t fed, output;
    bool wrong, stalled; /* a byte that was not sent; a reader that waits */
    int exec_status;
    struct uvm__deadline again;
};

static uint8_t byte_at(uint32_t i) {
    return (uint8_t)(i * 7u + (i >> 8));
}

/* ---- a flow ------------------------------------------------------------------------------- */

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    struct flow *f = arg;
    struct world *w = f->w;
    (void)p;
    EXPECT_EQ(w, w->inside, 0);
    EXPECT_EQ(w, which, UVM_STDOUT);
    size_t n = f->row->taken > 0 && bytes > f->row->taken ? f->row->taken : bytes;
    for (size_t i = 0; i < n; i++) {
        uint32_t at = f->output + (uint32_t)i;
        uint8_t want = f->row->in ? byte_at(at) : (uint8_t)(at % 2 == 0 ? 'y' : '\n');
        f->wrong = f->wrong || ((const uint8_t *)data)[i] != want;
    }
    f->output += (uint32_t)n;
    if (n < bytes) {
        uvm__deadline_set(w->e, &f->again, uvm__now_ms(w->e) + 1);
    }
    return n;
}

static void on_again(struct uvm__deadline *d) {
    struct flow *f = UVM__CONTAINER_OF(d, struct flow, again);
    if (f->p != NULL) {
        f->w->inside++;
        uvm_process_resume(f->p, UVM_STDOUT);
        f->w->inside--;
    }
}

static void feed(struct flow *f) {
    while (f->row->in && f->row->output > 0 && f->fed < INPUT_BYTES) {
        uint8_t buf[3000];
        size_t n = INPUT_BYTES - f->fed < sizeof buf ? INPUT_BYTES - f->fed : sizeof buf;
        for (size_t i = 0; i < n; i++) {
            buf[i] = byte_at(f->fed + (uint32_t)i);
        }
        f->w->inside++;
        int64_t sent = uvm_process_write(f->p, buf, n);
        f->w->inside--;
        if (sent <= 0) {
            return;
        }
        f->fed += (uint32_t)sent;
    }
    if (f->row->in && f->row->output > 0) {
        uvm_process_close_stdin(f->p);
    }
}

static void on_writable(uvm_process *p, void *arg) {
    struct flow *f = arg;
    EXPECT(f->w, f->p == NULL || f->p == p);
    if (f->p != NULL) {
        feed(f);
    }
}

static void on_exec(struct world_call *c) {
    struct flow *f = UVM__CONTAINER_OF(c, struct flow, exec);
    struct world *w = f->w;
    f->exec_status = uvm_exec_status(c->op);
    if (c->code != UVM_OK) {
        EXPECT(w, uvm_exec_result(c->op) == NULL);
        return;
    }
    f->p = uvm_exec_result(c->op);
    EXPECT(w, f->p != NULL && uvm_exec_result(c->op) == NULL);
    EXPECT(w, uvm_process_pid(f->p) != 0);
    (void)WORLD_START(w, &f->wait,
                      uvm_process_wait(f->p, NULL, world_on_done, &f->wait, &f->wait.op));
    feed(f);
    if (f->row->signo != 0) {
        (void)WORLD_START(w, &f->signal,
                          uvm_process_signal(f->p, f->row->signo, false, NULL, world_on_done,
                                             &f->signal, &f->signal.op));
    }
}

static int flow_start(struct flow *f, struct world *w, uvm_vm *vm, const struct flow_row *row,
                      uvm_scope *scope) {
    *f = (struct flow){.w = w, .row = row, .exec.then = on_exec};
    uvm__deadline_init(&f->again, on_again);
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    p.argv = row->argv;
    p.stdio[UVM_STDIN] = row->in ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
    p.stdio[UVM_STDOUT] = row->out ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
    p.on_output = on_output;
    p.on_writable = on_writable;
    p.arg = f;
    return WORLD_START(w, &f->exec,
                       uvm_exec_start(vm, &p, scope, world_on_done, &f->exec, &f->exec.op));
}

static bool pending(const struct world_call *c) {
    return c->w != NULL && c->done == 0 && c->op != NULL;
}

/* Until all its calls are done, at most so long; a wait that is not is given up then. */
static void flow_wait(struct flow *f, uint64_t limit_ms) {
    struct world *w = f->w;
    w->call = &f->exec;
    world_wait(w, &f->exec, limit_ms);
    w->call = &f->wait;
    for (uint64_t ms = 0; pending(&f->wait) && ms < limit_ms; ms += 10) {
        world_pass(w, 10);
    }
    if (pending(&f->wait)) {
        uvm_op_cancel(f->wait.op);
        world_wait(w, &f->wait, 1);
    }
    if (pending(&f->signal)) {
        w->call = &f->signal;
        world_wait(w, &f->signal, limit_ms);
    }
    w->call = NULL;
}

static void flow_end(struct flow *f) {
    uvm__deadline_clear(f->w->e, &f->again);
    uvm_process_close(f->p);
    f->p = NULL;
    world_call_end(&f->exec);
    world_call_end(&f->wait);
    world_call_end(&f->signal);
}

/* The process ended as its row says, and all of its output came. */
static void flow_expect(struct flow *f) {
    struct world *w = f->w;
    struct uvm_process_exit exit;
    EXPECT_EQ(w, f->exec.code, UVM_OK);
    EXPECT_EQ(w, f->wait.code, UVM_OK);
    EXPECT_EQ(w, uvm_process_exit(f->p, &exit), 0);
    EXPECT_EQ(w, exit.signal, f->row->signal);
    EXPECT(w, f->row->signal != 0 || exit.code == f->row->code);
    EXPECT_EQ(w, f->output, f->row->output);
    EXPECT(w, !f->wrong);
    EXPECT(w, f->row->signo == 0 || f->signal.code == UVM_OK);
}

static void flow_well(struct world *w, uvm_vm *vm, const struct flow_row *row) {
    struct flow f;
    EXPECT_EQ(w, flow_start(&f, w, vm, row, NULL), 0);
    flow_wait(&f, FLOW_LIMIT_MS);
    flow_expect(&f);
    flow_end(&f);
}

/* ---- trials ------------------------------------------------------------------------------- */

struct trial {
    char what[160];
    const struct flow_row *row;
    struct guest_script script;
    struct world_inject inject;
    uint64_t deadline_ms; /* of the exec's scope; 0: none */
    uint64_t limit_ms;    /* of each call */
    uint32_t exec_codes, wait_codes;
    bool kills_vm; /* it may have ended */
    /* what came of it */
    int exec_code, wait_code;
    uint32_t points[2], marked[2];
    uint64_t ms;
    enum uvm_exit_reason reason;
};

static void expect_code(struct world *w, const struct world_call *c, uint32_t allowed,
                        const char *what) {
    if ((allowed >> c->code & 1u) == 0) {
        w->call = (struct world_call *)(uintptr_t)c;
        world_fail(w, __FILE__, __LINE__, what, c->code, (int64_t)allowed);
    }
    EXPECT(w, c->code == UVM_OK || uvm_error_step(c->err)[0] != 0);
}

/* Processes in the guest that nobody here knows of. */
static void expect_no_strays(struct world *w, const struct flow *f) {
    bool known = f->exec.code == UVM_OK && f->wait.code != UVM_OK;
    bool lost = f->exec.code == UVM_E_UNDO;
    EXPECT(w, w->seen.processes == 0 || known || lost);
}

static void run(struct trial *t) {
    struct world w;
    struct flow f;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "%s", t->what);
    w.wired = t->script.wire.fault != WIRE_NONE;
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    world_script(&w, &t->script);
    memset(w.points, 0, sizeof w.points);
    w.inject[0] = t->inject;
    w.mark_op = "process exec";
    w.mark_step = "streams connected";
    EXPECT_EQ(&w, uvm_scope_new(w.e, uvm_vm_scope(w.vm), t->deadline_ms, &w.scope), 0);
    w.call = &f.exec;
    EXPECT_EQ(&w, flow_start(&f, &w, w.vm, t->row, w.scope), 0);
    flow_wait(&f, t->limit_ms);
    memcpy(t->points, w.points, sizeof t->points);
    memcpy(t->marked, w.marked, sizeof t->marked);
    t->ms = uvm__now_ms(w.e) - f.exec.started_ms;
    world_pass(&w, 20);
    expect_code(&w, &f.exec, t->exec_codes, "the code of exec");
    if (f.wait.w != NULL) {
        expect_code(&w, &f.wait, t->wait_codes, "the code of wait");
    }
    t->exec_code = f.exec.code;
    t->wait_code = f.wait.w == NULL ? -1 : f.wait.code;
    if (f.exec.code == UVM_OK && f.wait.code == UVM_OK && f.wait.done == 1) {
        EXPECT(&w, !f.wrong);
    }
    expect_no_strays(&w, &f);
    flow_end(&f);
    w.inject[0].fn = NULL;
    w.scope = uvm_scope_unref(w.scope);
    t->reason = uvm_vm_exit(w.vm).reason;
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        world_script(&w, NULL);
        world_pass(&w, 10000); /* a bridge that is lost ends the VM by then */
    }
    t->reason = uvm_vm_exit(w.vm).reason;
    EXPECT(&w, t->kills_vm || uvm_vm_state(w.vm) == UVM_VM_RUNNING);
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        flow_well(&w, w.vm, &flow_rows[4]);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static struct trial plain(const struct flow_row *row) {
    struct trial t = {
        .row = row, .exec_codes = OK_BIT, .wait_codes = OK_BIT, .limit_ms = FLOW_LIMIT_MS};
    (void)snprintf(t.what, sizeof t.what, "undisturbed %s", row->what);
    run(&t);
    assert_true(t.marked[WORLD_ANYWHERE] > 0);
    return t;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void each_flow(void **unused) {
    (void)unused;
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    for (unsigned i = 0; i < FLOWS; i++) {
        (void)snprintf(w.label, sizeof w.label, "%s", flow_rows[i].what);
        flow_well(&w, w.vm, &flow_rows[i]);
        EXPECT_EQ(&w, w.seen.processes, 0);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void many_at_once(void **unused) {
    (void)unused;
    static struct flow f[40];
    struct world w;
    world_open(&w);
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    for (unsigned i = 0; i < 40; i++) {
        EXPECT_EQ(&w, flow_start(&f[i], &w, w.vm, &flow_rows[i % FLOWS], NULL), 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        flow_wait(&f[i], 10000);
        flow_expect(&f[i]);
        flow_end(&f[i]);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

static void programs_that_do_not_start(void **unused) {
    (void)unused;
    static const struct flow_row rows[] = {
        {"a missing program", {"nothing-of-the-kind"}, true, true, 0, 0, 0, 0, 0},
        {"no program", {"/etc/passwd"}, false, true, 0, 0, 0, 0, 0},
    };
    static const int status[] = {127, 126};
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct flow f;
        world_open(&w);
        w.vm = world_vm_new(&w, NAME);
        world_boot_well(&w, w.vm);
        EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &rows[i], NULL), 0);
        flow_wait(&f, FLOW_LIMIT_MS);
        EXPECT_EQ(&w, f.exec.code, UVM_E_PEER);
        EXPECT_EQ(&w, f.exec_status, status[i]);
        flow_end(&f);
        EXPECT_EQ(&w, w.seen.processes, 0);
        flow_well(&w, w.vm, &flow_rows[0]);
        world_vm_close(&w, w.vm);
        world_close(&w);
    }
}

static bool cancel_exec(struct world *w, int arg) {
    (void)arg;
    if (w->scope == NULL) {
        return false;
    }
    uvm_scope_cancel(w->scope);
    return true;
}

static bool end_system(struct world *w, int exit) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    if (s == NULL) {
        return false;
    }
    uvm__sim_end(s, (enum uvm__hcs_exit)exit, "");
    return true;
}

static bool lose_connections(struct world *w, int arg) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    (void)arg;
    if (s == NULL) {
        return false;
    }
    uvm__loopback_reset(s->hvsock);
    return true;
}

static void disturb(const char *what, bool (*fn)(struct world *w, int arg), int arg,
                    enum world_where where, uint32_t exec_codes, uint32_t wait_codes, bool kills,
                    uint64_t limit_ms) {
    uint64_t runs = 0, points = 0;
    for (unsigned i = 0; i < FLOWS; i++) {
        if (flow_rows[i].output > INPUT_BYTES) {
            continue; /* the same points many times */
        }
        struct trial p = plain(&flow_rows[i]);
        uint32_t n = p.points[where];
        points += n;
        for (uint32_t at = 0; at < n; at += 1 + n / 150) {
            struct trial t = {.row = &flow_rows[i],
                              .inject = {fn, arg, where, at, false, 0},
                              .exec_codes = exec_codes,
                              .wait_codes = wait_codes,
                              .kills_vm = kills,
                              .limit_ms = limit_ms};
            if (fn == cancel_exec && at > p.marked[where]) {
                t.exec_codes = OK_BIT;
            } else if (fn == cancel_exec) {
                t.exec_codes = BIT(CANCELED);
            }
            (void)snprintf(t.what, sizeof t.what, "%s: %s at point %u", flow_rows[i].what, what,
                           at);
            run(&t);
            runs++;
        }
    }
    print_message("%s: %llu points, %llu trials\n", what, (unsigned long long)points,
                  (unsigned long long)runs);
}

static void cancel_anywhere(void **unused) {
    (void)unused;
    disturb("cancel", cancel_exec, 0, WORLD_ANYWHERE, 0, OK_BIT, false, FLOW_LIMIT_MS);
}

static void the_vm_ends_anywhere(void **unused) {
    (void)unused;
    disturb("VMM killed", end_system, UVM__HCS_EXIT_VMM_DIED, WORLD_BETWEEN, OK_BIT | BIT(EXITED),
            OK_BIT | BIT(EXITED), true, FLOW_LIMIT_MS);
    disturb("guest panics", end_system, UVM__HCS_EXIT_GUEST_PANIC, WORLD_BETWEEN,
            OK_BIT | BIT(EXITED), OK_BIT | BIT(EXITED), true, FLOW_LIMIT_MS);
}

static void connections_are_lost_anywhere(void **unused) {
    (void)unused;
    disturb("connections lost", lose_connections, 0, WORLD_BETWEEN,
            OK_BIT | BIT(EXITED) | BIT(PEER), OK_BIT | BIT(EXITED), true, 20000);
}

static void deadline_anywhere(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < FLOWS; i++) {
        for (uint64_t ms = 1; ms < 8; ms++) {
            struct trial t = {.row = &flow_rows[i],
                              .deadline_ms = ms,
                              .exec_codes = OK_BIT | BIT(TIMEDOUT),
                              .wait_codes = OK_BIT,
                              .limit_ms = FLOW_LIMIT_MS};
            (void)snprintf(t.what, sizeof t.what, "%s: a deadline of %u ms", flow_rows[i].what,
                           (unsigned)ms);
            run(&t);
        }
    }
}

/* ---- answers that are not as agreed ------------------------------------------------------- */

static void wire_faults(enum uvm__message msg, const struct flow_row *row, const char *what) {
    uint32_t ends = 0;
    for (unsigned i = 0; i < WIRE_FAULT_MAX; i++) {
        if (i == WIRE_BAD_VERSION || i == WIRE_BAD_OS) {
            continue;
        }
        struct trial t = {.row = row,
                          .exec_codes = UINT32_MAX,
                          .wait_codes = UINT32_MAX,
                          .kills_vm = true,
                          .limit_ms = 400000};
        t.script.wire =
            (struct wire_plan){.msg = msg, .fault = (enum wire_fault)i, .late_ms = 20000};
        (void)snprintf(t.what, sizeof t.what, "%s: %s", what, wire_fault_text((enum wire_fault)i));
        run(&t);
        print_message("%s: exec %s wait %s %llu ms, VM %s\n", t.what,
                      uvm_error_code_name(t.exec_code),
                      t.wait_code < 0 ? "-" : uvm_error_code_name(t.wait_code),
                      (unsigned long long)t.ms, uvm_exit_reason_key(t.reason));
        ends++;
    }
}

static void answers(void **unused) {
    (void)unused;
    wire_faults(UVM__MSG_EXECUTE_PROCESS, &flow_rows[4], "execute");
    wire_faults(UVM__MSG_WAIT_FOR_PROCESS, &flow_rows[4], "wait");
    wire_faults(UVM__MSG_SIGNAL_PROCESS, &flow_rows[8], "signal");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_flow),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(programs_that_do_not_start),
        cmocka_unit_test(cancel_anywhere),
        cmocka_unit_test(the_vm_ends_anywhere),
        cmocka_unit_test(connections_are_lost_anywhere),
        cmocka_unit_test(deadline_anywhere),
        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
