/* SPDX-License-Identifier: MIT
 * flow.c — processes from exec to their end, and trials with one of them.
 *
 * A flow's calls follow one another inside on_done, as an embedder's would. What a process reads and
 * writes is checked byte by byte, so that a trial which says "success" has also delivered everything.
 */
#include "tests/sim/flow.h"
#include "async/limits.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NAME "sim-1"

const struct flow_row flow_rows[FLOWS] = {
    [FLOW_TRUE] = {"true", {"true"}, false, true, 0, 0, 0, 0, 0},
    [FLOW_EXIT] = {"exit 7", {"exit", "7"}, false, false, 0, 0, 0, 7, 0},
    [FLOW_CRASH] = {"crash", {"crash", "11"}, false, true, 0, 0, 0, 0, 11},
    [FLOW_SLEEP] = {"sleep", {"sleep", "50"}, false, false, 0, 0, 0, 0, 0},
    [FLOW_CAT] = {"cat", {"cat"}, true, true, FLOW_INPUT_BYTES, 0, 0, 0, 0},
    [FLOW_CAT_SLOW] = {"cat, slow reader", {"cat"}, true, true, FLOW_INPUT_BYTES, 700, 0, 0, 0},
    [FLOW_YES] = {"yes", {"yes", "600000"}, false, true, 600000, 0, 0, 0, 0},
    [FLOW_YES_SLOW] = {"yes, slow reader", {"yes", "300000"}, false, true, 300000, 5000, 0, 0, 0},
    [FLOW_SIGNAL] = {"a signal", {"stay"}, false, true, 0, 0, SIGTERM, 0, SIGTERM},
    [FLOW_KILL] = {"a kill", {"stubborn"}, true, true, 0, 0, SIGKILL, 0, SIGKILL},
    [FLOW_LEAVE] = {"a child stays", {"leave"}, false, true, 0, 0, 0, 0, 0},
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
    while (f->row->in && f->row->output > 0 && f->fed < FLOW_INPUT_BYTES) {
        uint8_t buf[3000];
        size_t n = FLOW_INPUT_BYTES - f->fed < sizeof buf ? FLOW_INPUT_BYTES - f->fed : sizeof buf;
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
    int rc = WORLD_START(w, &f->wait,
                         uvm_process_wait(f->p, NULL, world_on_done, &f->wait, &f->wait.op));
    /* -UVM_E_STATE: a VM that closes. */
    EXPECT(w, rc == 0 ? uvm_process_pid(f->p) != 0 : rc == -UVM_E_STATE || rc == -UVM_E_NOMEM);
    feed(f);
    if (f->row->signo != 0) {
        (void)WORLD_START(w, &f->signal,
                          uvm_process_signal(f->p, f->row->signo, false, NULL, world_on_done,
                                             &f->signal, &f->signal.op));
    }
}

int flow_start(struct flow *f, struct world *w, uvm_vm *vm, const struct flow_row *row,
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

void flow_wait(struct flow *f, uint64_t limit_ms) {
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

void flow_end(struct flow *f) {
    uvm__deadline_clear(f->w->e, &f->again);
    uvm_process_close(f->p);
    f->p = NULL;
    world_call_end(&f->exec);
    world_call_end(&f->wait);
    world_call_end(&f->signal);
}

void flow_expect(struct flow *f) {
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

void flow_well(struct world *w, uvm_vm *vm, enum flow_kind kind) {
    struct flow f;
    EXPECT_EQ(w, flow_start(&f, w, vm, &flow_rows[kind], NULL), 0);
    flow_wait(&f, FLOW_LIMIT_MS);
    flow_expect(&f);
    flow_end(&f);
}

/* ---- trials ------------------------------------------------------------------------------- */

static int code_of(struct world *w, struct world_call *c, uint32_t allowed, const char *what) {
    if (c->w == NULL) {
        return -1;
    }
    if ((allowed >> c->code & 1u) == 0) {
        w->call = c;
        world_fail(w, __FILE__, __LINE__, what, c->code, (int64_t)allowed);
    }
    EXPECT(w, c->code == UVM_OK || uvm_error_step(c->err)[0] != 0);
    return c->code;
}

static void check(struct world *w, struct flow_trial *t, struct flow *f) {
    memcpy(t->points, w->points, sizeof t->points);
    memcpy(t->marked, w->marked, sizeof t->marked);
    t->ms = uvm__now_ms(w->e) - f->exec.started_ms;
    t->seen = w->seen;
    t->exec_code = code_of(w, &f->exec, t->exec_codes, "the code of exec");
    t->wait_code = code_of(w, &f->wait, t->wait_codes, "the code of wait");
    t->signal_code = code_of(w, &f->signal, t->signal_codes == 0 ? UINT32_MAX : t->signal_codes,
                             "the code of signal");
    if (t->cut_ms > 0 && w->inject[0].done) {
        EXPECT(w, f->exec.ended_ms <= w->inject[0].at_ms + t->cut_ms);
    }
    EXPECT(w, !f->wrong);
    EXPECT(w, t->wait_code != UVM_OK || f->output == f->row->output || f->p == NULL);
    /* No process is left in the guest that nobody knows of. */
    bool known = t->exec_code == UVM_OK && t->wait_code != UVM_OK;
    EXPECT(w, w->seen.processes == 0 || known || t->exec_code == UVM_E_UNDO);
}

void flow_run(struct flow_trial *t) {
    struct world w;
    struct flow f;
    world_open(&w);
    (void)snprintf(w.label, sizeof w.label, "%s", t->what);
    w.wired = t->script.wire.fault != WIRE_NONE;
    w.plain_agent = t->script.plain_agent;
    w.vm = world_vm_new(&w, NAME);
    world_boot_well(&w, w.vm);
    world_script(&w, &t->script);
    memset(w.points, 0, sizeof w.points);
    memcpy(w.inject, t->inject, sizeof w.inject);
    w.mark_op = "process exec";
    w.mark_step = "streams connected";
    w.subject = &f;
    EXPECT_EQ(&w, uvm_scope_new(w.e, uvm_vm_scope(w.vm), t->deadline_ms, &w.scope), 0);
    w.call = &f.exec;
    EXPECT_EQ(&w, flow_start(&f, &w, w.vm, &flow_rows[t->kind], w.scope), 0);
    flow_wait(&f, t->limit_ms);
    world_pass(&w, 20);
    check(&w, t, &f);
    flow_end(&f);
    memset(w.inject, 0, sizeof w.inject);
    w.scope = uvm_scope_unref(w.scope);
    world_script(&w, NULL);
    world_pass(&w, t->rest_ms > 0 ? t->rest_ms : 10000); /* a lost bridge ends the VM by then */
    t->reason = uvm_vm_exit(w.vm).reason;
    EXPECT(&w, t->kills_vm || uvm_vm_state(w.vm) == UVM_VM_RUNNING);
    if (uvm_vm_state(w.vm) == UVM_VM_RUNNING) {
        uint32_t left = w.seen.processes;
        flow_well(&w, w.vm, FLOW_CAT);
        EXPECT_EQ(&w, w.seen.processes, left);
    }
    world_vm_close(&w, w.vm);
    world_close(&w);
}

struct flow_trial flow_plain(enum flow_kind kind) {
    struct flow_trial t = {
        .kind = kind, .exec_codes = OK_BIT, .wait_codes = OK_BIT, .limit_ms = FLOW_LIMIT_MS};
    (void)snprintf(t.what, sizeof t.what, "undisturbed %s", flow_rows[kind].what);
    flow_run(&t);
    assert_true(t.marked[WORLD_ANYWHERE] > 0);
    return t;
}

bool flow_cancel(struct world *w, int arg) {
    (void)arg;
    if (w->scope == NULL) {
        return false;
    }
    uvm_scope_cancel(w->scope);
    return true;
}

bool flow_end_system(struct world *w, int exit) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    if (s == NULL) {
        return false;
    }
    uvm__sim_end(s, (enum uvm__hcs_exit)exit, "");
    return true;
}

bool flow_lose_connections(struct world *w, int arg) {
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    (void)arg;
    if (s == NULL) {
        return false;
    }
    uvm__loopback_reset(s->hvsock);
    return true;
}

bool flow_let_go(struct world *w, int arg) {
    struct flow *f = w->subject;
    (void)arg;
    if (f == NULL || f->p == NULL) {
        return false;
    }
    uvm_process_close(f->p);
    f->p = NULL;
    return true;
}

bool flow_cancel_calls(struct world *w, int arg) {
    struct flow *f = w->subject;
    (void)arg;
    if (f == NULL || f->wait.op == NULL) {
        return false;
    }
    uvm_op_cancel(f->wait.op);
    if (f->signal.op != NULL) {
        uvm_op_cancel(f->signal.op);
    }
    return true;
}
