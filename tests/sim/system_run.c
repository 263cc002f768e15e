/* SPDX-License-Identifier: MIT
 * system_run.c — the steps of a plan, and what the model learns from their outcomes.
 */
#include "tests/sim/system_int.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- outcomes ----------------------------------------------------------------------------- */

static void learn_attached(struct system_act *a) {
    struct world *w = &a->r->w;
    struct system_vm *v = a->v;
    struct uvm_attach_result got = uvm_attach_result(a->call.op);
    struct system_disk *d = v->disks;
    while (d < v->disks + v->disks_count && strcmp(d->id, got.id) != 0) {
        d++;
    }
    if (d == v->disks + v->disks_count) {
        EXPECT(w, v->disks_count < SYSTEM_DISKS);
        v->disks_count++;
        *d = (struct system_disk){0};
        (void)snprintf(d->id, sizeof d->id, "%s", got.id);
        (void)snprintf(d->host_path, sizeof d->host_path, "%s", a->text);
    }
    EXPECT(w, strcmp(d->host_path, a->text) == 0);
    d->refs++;
}

/* `left`: it stays as something in between. */
static void learn_detached(struct system_act *a, bool left) {
    struct system_vm *v = a->v;
    for (uint32_t i = 0; i < v->disks_count; i++) {
        struct system_disk *d = &v->disks[i];
        if (strcmp(d->id, a->text) == 0) {
            EXPECT(&a->r->w, d->refs > 0 && (!left || d->refs == 1));
            if (--d->refs == 0) {
                *d = v->disks[--v->disks_count];
            }
            return;
        }
    }
    /* One that was quarantined: it leaves at the next try. */
    EXPECT(&a->r->w, v->undone > 0);
}

static void learn(struct world_call *c) {
    struct system_act *a = UVM__CONTAINER_OF(c, struct system_act, call);
    struct system_figures *f = a->r->figures;
    f->ok += c->code == UVM_OK;
    f->canceled += c->code == UVM_E_CANCELED || c->code == UVM_E_TIMEDOUT;
    f->undone += c->code == UVM_E_UNDO;
    f->failed += c->code != UVM_OK && c->code != UVM_E_CANCELED && c->code != UVM_E_TIMEDOUT;
    a->v->undone += c->code == UVM_E_UNDO;
    /* An agent without process control cannot kill what was started before the cancel came. */
    a->r->lost_execs += a->r->plan->plain_agent && a->verb == SYSTEM_EXEC && c->code == UVM_E_UNDO;
    if (a->verb == SYSTEM_DETACH && c->code == UVM_E_UNDO) {
        learn_detached(a, true);
    }
    if (a->r->plan->calm && !a->disturbed) {
        EXPECT(&a->r->w, c->code != UVM_E_UNDO && c->code != UVM_E_CANCELED &&
                             c->code != UVM_E_TIMEDOUT && c->code != UVM_E_PROTOCOL);
        EXPECT(&a->r->w, a->verb != SYSTEM_BOOT || c->code == UVM_OK || a->v->told);
    }
    if (c->code != UVM_OK) {
        return;
    }
    if (a->verb == SYSTEM_BOOT) {
        a->v->booted = true;
        f->booted++;
    } else if (a->verb == SYSTEM_ATTACH) {
        learn_attached(a);
    } else if (a->verb == SYSTEM_DETACH) {
        learn_detached(a, false);
    } else if (a->verb == SYSTEM_EXEC) {
        a->proc->p = uvm_exec_result(c->op);
        EXPECT(&a->r->w, a->proc->p != NULL);
        a->proc->pid = uvm_process_pid(a->proc->p);
    }
}

static struct system_act *act_new(struct system_run *r, struct system_vm *v,
                                  const struct system_step *s) {
    struct system_act *a = calloc(1, sizeof *a);
    UVM_ASSERT(a != NULL);
    a->r = r;
    a->v = v;
    a->verb = s->verb;
    a->call.then = learn;
    uvm__list_append(&r->acts, &a->link);
    if (s->c % 4 == 0 && s->verb != SYSTEM_STOP && s->verb != SYSTEM_TERMINATE) {
        a->disturbed =
            uvm_scope_new(r->w.e, uvm_vm_scope(v->vm), 1 + s->c / 4 % 40, &a->scope) == 0;
    }
    return a;
}

static void act_free(struct system_act *a) {
    uvm__list_remove(&a->link);
    uvm_scope_unref(a->scope);
    world_call_end(&a->call);
    system_free(a);
}

/* A start that was refused was nothing. */
static bool act_started(struct system_act *a, int rc) {
    struct world *w = &a->r->w;
    EXPECT(w, rc == 0 || rc == -UVM_E_NOMEM || rc == -UVM_E_STATE || rc == -UVM_E_EXITED);
    a->r->figures->calls += rc == 0;
    if (rc < 0) {
        act_free(a);
    }
    return rc == 0;
}

void system_reap(struct system_run *r) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &r->acts) {
        struct system_act *a = UVM__CONTAINER_OF(it, struct system_act, link);
        if (a->call.done > 0) {
            act_free(a);
        }
    }
}

/* ---- disks -------------------------------------------------------------------------------- */

static void attach(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    static const char *const disks[] = {"/d0", "/d1", "/d2", "/d3", "/d4", "/d5"};
    static const char *const places[] = {"/m0", "/m1", "/m2", NULL};
    struct system_act *a = act_new(r, v, s);
    struct uvm_scsi_params p = disk_bare(disks[s->a % 6]);
    p.read_only = (s->a % 2 == 1) != (s->a / 6 % 16 == 0);
    if (s->b % 4 != 0) {
        p.mount = true;
        p.guest_path = s->b % 4 == 3 ? places[s->b / 4 % 4] : NULL;
    }
    (void)snprintf(a->text, sizeof a->text, "%s", p.host_path);
    (void)act_started(
        a, WORLD_START(&r->w, &a->call,
                       uvm_scsi_attach(v->vm, &p, a->scope, world_on_done, &a->call, &a->call.op)));
}

static void detach(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    struct system_act *a = act_new(r, v, s);
    if (v->disks_count > 0 && s->b % 16 != 0) {
        (void)snprintf(a->text, sizeof a->text, "%s", v->disks[s->a % v->disks_count].id);
    } else { /* nobody's, or one that is quarantined, or on its way */
        (void)snprintf(a->text, sizeof a->text, "scsi-%u", 1 + s->a % 12);
    }
    (void)act_started(
        a, WORLD_START(&r->w, &a->call,
                       uvm_detach(v->vm, a->text, a->scope, world_on_done, &a->call, &a->call.op)));
}

/* ---- processes ---------------------------------------------------------------------------- */

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    (void)p;
    (void)which;
    (void)data;
    (void)arg;
    return bytes;
}

static void exec(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    static const char *const programs[][3] = {
        {"true"}, {"exit", "7"},   {"sleep", "50"}, {"sleep", "20000"}, {"cat"},
        {"cat"},  {"yes", "5000"}, {"crash", "11"}, {"sleep", "900000"}};
    const char *const *argv = programs[s->a % 9];
    struct system_act *a = act_new(r, v, s);
    struct system_proc *p = calloc(1, sizeof *p);
    UVM_ASSERT(p != NULL);
    p->v = v;
    a->proc = p;
    uvm__list_append(&v->procs, &p->link);
    struct uvm_exec_params params = UVM_EXEC_PARAMS_INIT;
    params.argv = argv;
    p->input = strcmp(argv[0], "cat") == 0;
    params.stdio[UVM_STDIN] = p->input ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
    params.stdio[UVM_STDOUT] = s->b % 2 == 0 ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
    params.on_output = on_output;
    (void)act_started(a, WORLD_START(&r->w, &a->call,
                                     uvm_exec_start(v->vm, &params, a->scope, world_on_done,
                                                    &a->call, &a->call.op)));
}

/* One that is in hand; NULL: none. */
static struct system_proc *some_proc(struct system_vm *v, uint32_t at) {
    uint32_t n = 0;
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &v->procs) {
        n += UVM__CONTAINER_OF(it, struct system_proc, link)->p != NULL;
    }
    at = n == 0 ? 0 : at % n;
    UVM__LIST_FOREACH(it, &v->procs) {
        struct system_proc *p = UVM__CONTAINER_OF(it, struct system_proc, link);
        if (p->p != NULL && at-- == 0) {
            return p;
        }
    }
    return NULL;
}

static void let_go(struct system_run *r, struct system_proc *p) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &r->acts) {
        struct system_act *a = UVM__CONTAINER_OF(it, struct system_act, link);
        a->disturbed = a->disturbed || a->proc == p;
    }
    uvm_process_close(p->p);
    p->p = NULL;
    p->let_go = true;
}

static void with_process(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    static const int signals[] = {SIGTERM, SIGKILL, SIGINT};
    static const char text[300] = "text";
    struct system_proc *p = some_proc(v, s->a);
    if (p == NULL) {
        return;
    }
    if (s->verb == SYSTEM_STDIN) {
        if (!p->input) {
            return;
        }
        if (s->b % 4 == 0) {
            uvm_process_close_stdin(p->p);
        } else {
            (void)uvm_process_write(p->p, text, sizeof text);
        }
        return;
    }
    if (s->verb == SYSTEM_LET_GO) {
        let_go(r, p);
        return;
    }
    struct system_act *a = act_new(r, v, s);
    struct world_call *c = &a->call;
    a->proc = p;
    world_call_begin(&r->w, c);
    int rc = s->verb == SYSTEM_WAIT ? uvm_process_wait(p->p, a->scope, world_on_done, c, &c->op)
                                    : uvm_process_signal(p->p, signals[s->b % 3], false, a->scope,
                                                         world_on_done, c, &c->op);
    (void)act_started(a, world_call_started(c, rc));
}

static void let_go_of_all(struct system_vm *v) {
    while (!uvm__list_empty(&v->procs)) {
        struct system_proc *p = UVM__CONTAINER_OF(v->procs.next, struct system_proc, link);
        uvm__list_remove(&p->link);
        uvm_process_close(p->p);
        system_free(p);
    }
}

/* ---- VMs ---------------------------------------------------------------------------------- */

static void whole_vm(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    struct system_act *a = act_new(r, v, s);
    struct world_call *c = &a->call;
    world_call_begin(&r->w, c);
    int rc;
    switch (s->verb) {
    case SYSTEM_BOOT:
        rc = uvm_vm_boot(v->vm, a->scope, world_on_done, c, &c->op);
        break;
    case SYSTEM_STOP:
        rc = uvm_vm_stop(v->vm, 1 + s->a % 300, a->scope, world_on_done, c, &c->op);
        break;
    case SYSTEM_TERMINATE:
        rc = uvm_vm_terminate(v->vm, a->scope, world_on_done, c, &c->op);
        break;
    default:
        rc = uvm_vm_wait(v->vm, a->scope, world_on_done, c, &c->op);
    }
    v->told = v->told || (rc == 0 && (s->verb == SYSTEM_STOP || s->verb == SYSTEM_TERMINATE));
    (void)act_started(a, world_call_started(c, rc));
}

static void vm_make(struct system_run *r, struct system_vm *v) {
    r->w.fail_at = 0;
    v->disks_count = v->undone = 0;
    v->booted = v->told = false;
    v->vm = world_vm_new(&r->w, v->name);
}

static void close_vm(struct system_run *r, struct system_vm *v) {
    v->told = true;
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &r->acts) {
        struct system_act *a = UVM__CONTAINER_OF(it, struct system_act, link);
        a->disturbed = a->disturbed || a->v == v;
    }
    world_vm_close(&r->w, v->vm);
    v->vm = NULL;
    let_go_of_all(v);
    system_reap(r);
}

/* By the service, whoever asked it. */
static void pause_or_resume(struct system_run *r, struct system_vm *v,
                            const struct system_step *s) {
    struct uvm__hcs_system *sys = uvm__sim_find(r->w.host, v->name);
    enum uvm_vm_state state = uvm_vm_state(v->vm);
    if (sys == NULL || (state != UVM_VM_RUNNING && state != UVM_VM_PAUSED)) {
        return;
    }
    (void)(s->verb == SYSTEM_PAUSE ? uvm__hcs_pause(sys, NULL, NULL, NULL, NULL)
                                   : uvm__hcs_resume(sys, NULL, NULL, NULL, NULL));
}

/* ---- disturbances ------------------------------------------------------------------------- */

static void cancel(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    struct uvm__list *it;
    uint32_t skip = s->a % 3;
    UVM__LIST_FOREACH(it, &r->acts) {
        struct system_act *a = UVM__CONTAINER_OF(it, struct system_act, link);
        if (a->v == v && a->call.done == 0 && skip-- == 0) {
            a->disturbed = true;
            r->w.inside++;
            uvm_op_cancel(a->call.op);
            r->w.inside--;
            return;
        }
    }
}

static void fault_of_guests(struct system_run *r, const struct system_step *s) {
    static const enum uvm__message messages[] = {
        UVM__MSG_EXECUTE_PROCESS, UVM__MSG_WAIT_FOR_PROCESS,  UVM__MSG_SIGNAL_PROCESS,
        UVM__MSG_MODIFY_SETTINGS, UVM__MSG_SHUTDOWN_GRACEFUL, UVM__MSG_MODIFY_SETTINGS};
    /* What breaks or stays silent; what a guest lies about, nobody can know. */
    static const enum wire_fault faults[] = {WIRE_LOSE_REQUEST, WIRE_LOSE_REPLY,  WIRE_LATE,
                                             WIRE_TWICE,        WIRE_CUT_REQUEST, WIRE_CUT_REPLY,
                                             WIRE_CUT_HALF,     WIRE_GARBAGE,     WIRE_END};
    struct guest_script script = {.late_ms = 200};
    if (s->b % 4 == 0) {
        script.end = (enum guest_end)(1 + s->b / 4 % (GUEST_END_MAX - 1));
        script.end_at = (enum guest_stage)(s->c % GUEST_STAGE_MAX);
    } else if (s->b % 4 == 1) {
        script.refuse_mounts = s->b / 4 % 3;
        script.refuse_unmounts = s->c % 3;
        script.refuse_ejects = s->c / 3 % 3;
    } else {
        script.wire =
            (struct wire_plan){.msg = messages[s->a % 6],
                               .fault = faults[s->b / 4 % (sizeof faults / sizeof faults[0])],
                               .skip = s->c % 3,
                               .late_ms = 1 + s->c % 9000};
        r->lost_execs += script.wire.msg == UVM__MSG_EXECUTE_PROCESS;
        r->lost_waits += script.wire.msg == UVM__MSG_WAIT_FOR_PROCESS;
    }
    world_script(&r->w, &script);
}

static void fault_of_host(struct system_run *r, const struct system_step *s) {
    enum uvm__sim_point point = (enum uvm__sim_point)(s->a % UVM__SIM_POINT_MAX);
    enum uvm__sim_fault fault = (enum uvm__sim_fault)(1 + s->b % (UVM__SIM_FAULT_MAX - 1));
    if (point == UVM__SIM_TERMINATE && fault < UVM__SIM_LATE) {
        fault = UVM__SIM_LATE; /* the seam's promise: terminate ends a VM for certain */
    }
    uvm__sim_set_fault(r->w.host, point, s->c % 3, fault);
}

static void disturb(struct system_run *r, struct system_vm *v, const struct system_step *s) {
    static const enum uvm__hcs_exit exits[] = {UVM__HCS_EXIT_GUEST_PANIC, UVM__HCS_EXIT_VMM_DIED,
                                               UVM__HCS_EXIT_GUEST_RESET};
    struct uvm__hcs_system *sys = uvm__sim_find(r->w.host, v->name);
    switch (s->verb) {
    case SYSTEM_HOST_FAULT:
        fault_of_host(r, s);
        break;
    case SYSTEM_GUEST_FAULT:
        fault_of_guests(r, s);
        break;
    case SYSTEM_END:
        if (sys != NULL) {
            uvm__sim_end(sys, exits[s->a % 3], "as the plan says");
        }
        break;
    case SYSTEM_LOSE:
        if (sys != NULL) {
            uvm__loopback_reset(sys->hvsock);
        }
        break;
    default:
        r->w.fail_at = r->w.allocs + 1 + s->a % 60;
    }
}

/* ---- a run -------------------------------------------------------------------------------- */

static void take_step(struct system_run *r, const struct system_step *s) {
    struct system_vm *v = &r->vms[s->vm];
    switch (s->verb) {
    case SYSTEM_BOOT:
    case SYSTEM_STOP:
    case SYSTEM_TERMINATE:
    case SYSTEM_WAIT_VM:
        whole_vm(r, v, s);
        break;
    case SYSTEM_ATTACH:
        attach(r, v, s);
        break;
    case SYSTEM_DETACH:
        detach(r, v, s);
        break;
    case SYSTEM_EXEC:
        exec(r, v, s);
        break;
    case SYSTEM_STDIN:
    case SYSTEM_SIGNAL:
    case SYSTEM_WAIT:
    case SYSTEM_LET_GO:
        with_process(r, v, s);
        break;
    case SYSTEM_CLOSE:
        close_vm(r, v);
        vm_make(r, v);
        break;
    case SYSTEM_PAUSE:
    case SYSTEM_RESUME:
        pause_or_resume(r, v, s);
        break;
    case SYSTEM_CANCEL:
        cancel(r, v, s);
        break;
    case SYSTEM_QUIET:
        system_quiet(r);
        break;
    default:
        disturb(r, v, s);
    }
}

static void pass(struct system_run *r, const struct system_step *s) {
    if (s->pass_ms == UINT32_MAX) {
        (void)uvm__engine_turn(r->w.e);
    } else if (s->pass_ms > 0) {
        world_pass(&r->w, s->pass_ms);
    }
}

static void finish(struct system_run *r) {
    struct world *w = &r->w;
    w->fail_at = 0;
    for (uint32_t i = 0; i < r->plan->vms; i++) {
        close_vm(r, &r->vms[i]);
    }
    EXPECT_EQ(w, w->calls, 0);
    system_reap(r);
    EXPECT(w, uvm__list_empty(&r->acts));
    r->figures->virtual_ms += uvm__now_ms(w->e);
    world_close(w);
    free(r->vms);
}

void system_run(const struct system_plan *p, const bool *keep, struct system_figures *f) {
    static struct system_run run;
    struct system_run *r = &run;
    memset(r, 0, sizeof *r);
    r->plan = p;
    r->figures = f;
    uvm__list_init(&r->acts);
    world_open_at(&r->w, &world_paces[p->pace]);
    (void)snprintf(r->w.label, sizeof r->w.label, "--seed %llu", (unsigned long long)p->seed);
    r->w.wired = !p->calm;
    r->w.plain_agent = p->plain_agent;
    world_script(&r->w, NULL);
    r->vms = calloc(p->vms, sizeof r->vms[0]);
    UVM_ASSERT(r->vms != NULL);
    for (uint32_t i = 0; i < p->vms; i++) {
        (void)snprintf(r->vms[i].name, sizeof r->vms[i].name, "sim-%u", i);
        uvm__list_init(&r->vms[i].procs);
        vm_make(r, &r->vms[i]);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        pass(r, &p->steps[i]); /* also of one that is left out: the others stay where they were */
        if (keep == NULL || keep[i]) {
            take_step(r, &p->steps[i]);
            f->steps++;
        }
    }
    finish(r);
}
