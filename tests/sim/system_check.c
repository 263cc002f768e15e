/* SPDX-License-Identifier: MIT
 * system_check.c — the model against the engine, the host and the guests.
 */
#include "tests/sim/system_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest that an answer can be late, and what follows it. */
#define LATE_MS (3u * UVM__UNDO_MS + 2u * UVM__REMOVE_MS + UVM__UNPLUG_MS + 10000u)
#define QUIET_MS (2u * UVM__RPC_MS + UVM__BOOT_MS)

static bool is_busy(const struct system_run *r) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &r->acts) {
        const struct system_act *a = UVM__CONTAINER_OF(it, struct system_act, link);
        if (a->call.done == 0 && a->verb != SYSTEM_WAIT && a->verb != SYSTEM_WAIT_VM) {
            return true;
        }
    }
    return false;
}

static const struct system_disk *find(const struct system_vm *v, const char *id) {
    for (uint32_t i = 0; i < v->disks_count; i++) {
        if (strcmp(v->disks[i].id, id) == 0) {
            return &v->disks[i];
        }
    }
    return NULL;
}

static void check_row(struct system_run *r, const struct system_vm *v, const struct disk_row *row,
                      struct uvm__hcs_system *s, const struct guest *g) {
    struct world *w = &r->w;
    const struct system_disk *d = find(v, row->id);
    const char *path = NULL;
    bool read_only;
    EXPECT(w, d != NULL);
    EXPECT_EQ(w, d->refs, row->refs);
    EXPECT(w, strcmp(row->state, "attached") == 0 && strcmp(d->host_path, row->host_path) == 0);
    EXPECT(w, uvm__sim_disk_at(s, row->controller, row->lun, &path, &read_only));
    EXPECT(w, strcmp(path, row->host_path) == 0 && read_only == row->read_only);
    struct guest_mount m;
    EXPECT(w, row->guest_path[0] == 0 || (guest_mount_at(g, row->guest_path, &m) &&
                                          m.controller == row->controller && m.lun == row->lun));
    r->figures->disks_checked++;
}

static void check_disks(struct system_run *r, struct system_vm *v, struct uvm__hcs_system *s,
                        const struct guest *g) {
    static struct disk_row rows[2 * SYSTEM_DISKS];
    struct world *w = &r->w;
    w->vm = v->vm;
    uint32_t n = disk_rows(w, rows, 2 * SYSTEM_DISKS), bad = 0, slots = 0, mounts = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool first = true;
        for (uint32_t k = 0; k < i; k++) {
            first =
                first && (rows[k].controller != rows[i].controller || rows[k].lun != rows[i].lun);
            EXPECT(w, strcmp(rows[k].id, rows[i].id) != 0);
        }
        slots += first;
        mounts += rows[i].guest_path[0] != 0;
        bad += rows[i].quarantined;
        if (!rows[i].quarantined) {
            check_row(r, v, &rows[i], s, g);
        }
    }
    w->vm = NULL;
    EXPECT(w, bad <= v->undone);
    EXPECT_EQ(w, n - bad, v->disks_count);
    EXPECT(w, uvm__sim_disks(s) <= slots && guest_mounts(g) <= mounts);
    EXPECT(w, bad > 0 || (uvm__sim_disks(s) == slots && guest_mounts(g) == mounts));
    r->figures->quarantined += bad;
}

struct counts {
    uint32_t running, disks, mounts, processes;
    uint32_t missing, extra; /* processes that the host, or the guest, does not know the end of */
};

static void check_processes(struct system_run *r, struct system_vm *v, const struct guest *g,
                            struct counts *c) {
    const struct uvm__list *it;
    uint32_t known = 0, let_go = 0, there = guest_processes(g);
    UVM__LIST_FOREACH(it, &v->procs) {
        const struct system_proc *p = UVM__CONTAINER_OF(it, struct system_proc, link);
        struct uvm_process_exit exit;
        let_go += p->let_go && guest_runs_process(g, p->pid);
        if (p->p != NULL) {
            bool lives = uvm_process_exit(p->p, &exit) < 0;
            bool runs = guest_runs_process(g, p->pid);
            EXPECT(&r->w, lives || !runs);
            known += runs;
            c->missing += lives && !runs;
            r->figures->processes_checked++;
        }
    }
    EXPECT(&r->w, there >= known + let_go);
    c->extra += there - known - let_go;
}

static void check_vm(struct system_run *r, struct system_vm *v, struct counts *c) {
    struct world *w = &r->w;
    struct uvm__hcs_system *s = uvm__sim_find(w->host, v->name);
    enum uvm_vm_state state = uvm_vm_state(v->vm);
    bool runs = state == UVM_VM_RUNNING || state == UVM_VM_PAUSED;
    (void)snprintf(w->label, sizeof w->label, "--seed %llu, %s", (unsigned long long)r->plan->seed,
                   v->name);
    EXPECT(w, !r->plan->calm || !v->booted || v->told || runs);
    r->figures->vms_checked++;
    if (!runs) {
        EXPECT(w, s == NULL);
        EXPECT(w, state == UVM_VM_CREATED || state == UVM_VM_STOPPED || state == UVM_VM_FAILED);
        v->disks_count = v->undone = 0;
        return;
    }
    EXPECT(w, v->booted && s != NULL);
    const struct guest *g = world_guest(w, s);
    EXPECT(w, g != NULL);
    check_disks(r, v, s, g);
    check_processes(r, v, g, c);
    c->running++;
    c->disks += uvm__sim_disks(s);
    c->mounts += guest_mounts(g);
    c->processes += guest_processes(g);
}

void system_free(void *memory) {
    free(memory);
}

void system_quiet(struct system_run *r) {
    struct world *w = &r->w;
    struct counts c = {0};
    w->fail_at = 0;
    world_script(w, NULL);
    uint64_t until = uvm__now_ms(w->e) + QUIET_MS;
    while (is_busy(r)) {
        EXPECT(w, uvm__now_ms(w->e) < until);
        world_pass(w, 500);
    }
    world_pass(w, LATE_MS);
    EXPECT(w, !is_busy(r));
    system_reap(r);
    for (uint32_t i = 0; i < r->plan->vms; i++) {
        check_vm(r, &r->vms[i], &c);
    }
    (void)snprintf(w->label, sizeof w->label, "--seed %llu", (unsigned long long)r->plan->seed);
    /* Nothing is anywhere that is not somebody's. */
    struct uvm__sim_ledger l = uvm__sim_ledger(w->host);
    EXPECT_EQ(w, l.running, c.running);
    EXPECT_EQ(w, l.disks, c.disks);
    EXPECT_EQ(w, w->seen.guests, c.running);
    EXPECT_EQ(w, w->seen.mounts, c.mounts);
    EXPECT_EQ(w, w->seen.processes, c.processes);
    EXPECT(w, c.missing <= r->lost_waits && c.extra <= r->lost_execs);
    EXPECT(w, !r->plan->calm || w->seen.yanked == 0);
}
