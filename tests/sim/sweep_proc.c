/* SPDX-License-Identifier: MIT
 * sweep_proc.c — the sweep's rows about processes: exec, wait, signal, resize, and their streams.
 */
#include "tests/sim/sweep.h"
#include <signal.h>
#include <string.h>

#define LIMIT_MS 1000u
#define INPUT_BYTES 20000u
#define SLOW_BYTES 700u /* taken at a time by a slow reader */

/* ---- a process ---------------------------------------------------------------------------- */

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    struct sweep *s = arg;
    (void)p;
    (void)data;
    EXPECT_EQ(&s->w, s->w.inside, 0);
    EXPECT_EQ(&s->w, which, UVM_STDOUT);
    size_t n = s->taken > 0 && bytes > s->taken ? s->taken : bytes;
    s->output += (uint32_t)n;
    if (n < bytes) {
        uvm__deadline_set(s->w.e, &s->again, uvm__now_ms(s->w.e) + 1);
    }
    return n;
}

static void feed(struct sweep *s);

static void on_again(struct uvm__deadline *d) {
    struct sweep *s = UVM__CONTAINER_OF(d, struct sweep, again);
    if (s->p != NULL && s->hungry) {
        feed(s);
    }
    if (s->p != NULL) {
        s->w.inside++;
        uvm_process_resume(s->p, UVM_STDOUT);
        s->w.inside--;
    }
}

static void feed(struct sweep *s) {
    static const char zeros[3000];
    int64_t n = 1;
    s->w.inside++;
    while (s->left > 0 && n > 0) {
        n = uvm_process_write(s->p, zeros, s->left < sizeof zeros ? s->left : sizeof zeros);
        s->left -= n > 0 ? (uint32_t)n : 0;
    }
    s->hungry = n == -UVM_E_NOMEM;
    if (s->hungry) {
        uvm__deadline_set(s->w.e, &s->again, uvm__now_ms(s->w.e) + 1);
    }
    if (s->left == 0) {
        uvm_process_close_stdin(s->p);
    }
    s->w.inside--;
}

static void on_writable(uvm_process *p, void *arg) {
    struct sweep *s = arg;
    if (s->p == p && s->left > 0) {
        feed(s);
    }
}

static int exec(struct sweep *s, struct world_call *c, uvm_scope *scope, const char *name,
                const char *arg, bool in) {
    const char *argv[] = {name, arg, NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    uvm__deadline_init(&s->again, on_again);
    s->output = s->left = 0;
    p.argv = argv;
    p.tty = strcmp(name, "stay") == 0 && !in;
    p.stdio[UVM_STDIN] = in ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
    p.stdio[UVM_STDOUT] = UVM_STDIO_CALLBACK;
    p.on_output = on_output;
    p.on_writable = on_writable;
    p.arg = s;
    return WORLD_START(&s->w, c, uvm_exec_start(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static void exec_well(struct sweep *s, const char *name, const char *arg, bool in, uint32_t taken) {
    struct world_call c = {0};
    s->taken = taken;
    EXPECT_EQ(&s->w, exec(s, &c, NULL, name, arg, in), 0);
    world_wait(&s->w, &c, LIMIT_MS);
    EXPECT_EQ(&s->w, c.code, UVM_OK);
    s->p = uvm_exec_result(c.op);
    EXPECT(&s->w, s->p != NULL);
    world_call_end(&c);
}

static void wait_well(struct sweep *s) {
    struct world_call c = {0};
    EXPECT_EQ(&s->w, WORLD_START(&s->w, &c, uvm_process_wait(s->p, NULL, world_on_done, &c, &c.op)),
              0);
    world_wait(&s->w, &c, LIMIT_MS);
    EXPECT_EQ(&s->w, c.code, UVM_OK);
    world_call_end(&c);
}

static void kill_well(struct sweep *s) {
    struct world_call c = {0};
    EXPECT_EQ(&s->w,
              WORLD_START(&s->w, &c,
                          uvm_process_signal(s->p, SIGKILL, false, NULL, world_on_done, &c, &c.op)),
              0);
    world_wait(&s->w, &c, LIMIT_MS);
    EXPECT_EQ(&s->w, c.code, UVM_OK);
    world_call_end(&c);
    s->taken = 0; /* a slow reader would keep it waiting */
    uvm_process_resume(s->p, UVM_STDOUT);
    if (s->t->wire.fault == WIRE_NONE || s->t->wire.msg != UVM__MSG_WAIT_FOR_PROCESS) {
        wait_well(s);
    } else {
        world_pass(&s->w, LIMIT_MS); /* whose end nobody is told */
    }
}

void sweep_proc_end(struct sweep *s) {
    struct uvm_process_exit exit;
    if (s->p == NULL) {
        return;
    }
    if (s->w.vm != NULL && uvm_vm_state(s->w.vm) == UVM_VM_RUNNING &&
        uvm_process_exit(s->p, &exit) < 0) {
        kill_well(s);
    }
    uvm__deadline_clear(s->w.e, &s->again);
    uvm_process_close(s->p);
    s->p = NULL;
}

/* ---- exec --------------------------------------------------------------------------------- */

static int start_exec(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return exec(s, c, scope, "stay", NULL, false);
}

static int start_exec_io(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return exec(s, c, scope, "stubborn", NULL, true);
}

static void finish_exec(struct sweep *s, const struct world_call *c) {
    if (c->code == UVM_OK) {
        s->p = uvm_exec_result(c->op);
        EXPECT(&s->w, s->p != NULL && uvm_process_pid(s->p) != 0);
    }
}

const struct sweep_row sweep_exec = {
    .name = "exec", .effect = {.processes = 1}, .start = start_exec, .finish = finish_exec};
const struct sweep_row sweep_exec_io = {.name = "exec with two streams",
                                        .effect = {.processes = 1},
                                        .start = start_exec_io,
                                        .finish = finish_exec};

/* ---- wait --------------------------------------------------------------------------------- */

static void prepare_sleep(struct sweep *s) {
    exec_well(s, "sleep", "10", false, 0);
}

static int start_wait(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c, uvm_process_wait(s->p, scope, world_on_done, c, &c->op));
}

static void finish_wait(struct sweep *s, const struct world_call *c) {
    struct uvm_process_exit exit;
    EXPECT(&s->w, c->code != UVM_OK || uvm_process_exit(s->p, &exit) == 0);
}

const struct sweep_row sweep_wait = {.name = "process wait",
                                     .effect = {.processes = -1},
                                     .endless = true,
                                     .may_be_done = true,
                                     .prepare = prepare_sleep,
                                     .start = start_wait,
                                     .finish = finish_wait};

/* ---- signal, resize ----------------------------------------------------------------------- */

static void prepare_stay(struct sweep *s) {
    exec_well(s, "stay", NULL, false, 0);
}

static int start_signal(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c,
                       uvm_process_signal(s->p, SIGTERM, false, scope, world_on_done, c, &c->op));
}

static int start_resize(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c,
                       uvm_process_resize(s->p, 40, 100, scope, world_on_done, c, &c->op));
}

const struct sweep_row sweep_signal = {.name = "signal",
                                       .effect = {.processes = -1},
                                       .may_be_done = true,
                                       .prepare = prepare_stay,
                                       .start = start_signal};
const struct sweep_row sweep_resize = {
    .name = "resize", .prepare = prepare_stay, .start = start_resize};

/* ---- streams ------------------------------------------------------------------------------ */

static void prepare_cat(struct sweep *s) {
    exec_well(s, "cat", NULL, true, 0);
}

/* Writes, ends stdin, and waits until all of it has come back. */
static int start_stdin(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    s->left = INPUT_BYTES;
    feed(s);
    return start_wait(s, c, scope);
}

static void finish_stdin(struct sweep *s, const struct world_call *c) {
    finish_wait(s, c);
    EXPECT(&s->w, c->code != UVM_OK || s->output == INPUT_BYTES);
}

static void prepare_yes(struct sweep *s) {
    exec_well(s, "yes", "20000", false, SLOW_BYTES);
}

static void finish_stdout(struct sweep *s, const struct world_call *c) {
    finish_wait(s, c);
    EXPECT(&s->w, c->code != UVM_OK || s->output == 20000);
}

const struct sweep_row sweep_stdin = {.name = "write and end stdin",
                                      .effect = {.processes = -1},
                                      .endless = true,
                                      .may_be_done = true,
                                      .prepare = prepare_cat,
                                      .start = start_stdin,
                                      .finish = finish_stdin};
const struct sweep_row sweep_stdout = {.name = "a slow reader",
                                       .effect = {.processes = -1},
                                       .endless = true,
                                       .may_be_done = true,
                                       .prepare = prepare_yes,
                                       .start = start_wait,
                                       .finish = finish_stdout};
