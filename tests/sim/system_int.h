/* SPDX-License-Identifier: MIT
 * system_int.h — a run's inside, for system_run.c (steps and outcomes) and system_check.c (quiet points).
 */
#pragma once
#include "async/check.h"
#include "async/limits.h"
#include "async/list.h"
#include "tests/sim/disk_flow.h"
#include "tests/sim/system.h"

#define SYSTEM_DISKS 40u /* attachments of one VM */

struct system_disk {
    char id[32], host_path[32];
    uint32_t refs;
};

struct system_vm {
    uvm_vm *vm;
    char name[16];
    struct system_disk disks[SYSTEM_DISKS];
    uint32_t disks_count;
    uint32_t undone;        /* operations on disks that could not be taken back */
    bool booted, told;      /* told: something was asked for that may end it */
    struct uvm__list procs; /* struct system_proc.link: also those that have ended */
};

struct system_proc {
    struct uvm__list link;
    struct system_vm *v;
    uvm_process *p; /* NULL: not yet, never, or let go of */
    uint32_t pid;
    bool let_go, input;
};

/* A call under way. */
struct system_act {
    struct world_call call;
    struct uvm__list link;
    struct system_run *r;
    struct system_vm *v;
    enum system_verb verb;
    struct system_proc *proc; /* of an exec, a wait, a signal */
    uvm_scope *scope;         /* with a deadline; may be NULL */
    bool disturbed;           /* has one, or was canceled */
    char text[32];            /* attach: the host path; detach: the id */
};

struct system_run {
    struct world w;
    const struct system_plan *plan;
    struct system_figures *figures;
    struct system_vm *vms;
    struct uvm__list acts;
    /* Faults so far whose loss the model cannot see by itself. */
    uint32_t lost_execs, lost_waits;
};

/* Lets time pass until nothing but waits is under way, and late answers are in; then all must agree. */
void system_quiet(struct system_run *r);
void system_reap(struct system_run *r);
/* free(), where the analyzer does not follow a list that shrinks. */
void system_free(void *memory);
