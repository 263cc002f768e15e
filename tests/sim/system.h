/* SPDX-License-Identifier: MIT
 * system.h — hundreds of VMs in one world, random steps on them, and a model of what must be there.
 *
 * A plan is a list of steps that follows from a seed alone. A step brings all its choices with it, as
 * numbers that are read against what is there when it runs; so any of them can be left out, and the others
 * still mean something. The model learns from outcomes only: what succeeded is there, what failed is not,
 * and what is in between is quarantined. At each quiet point it is held against the engine, the host and
 * the guests (system_check.c).
 */
#pragma once
#include "tests/sim/world.h"

/* X(NAME, text, weight, also in calm plans) */
#define SYSTEM_VERB_MAP(X)                                                                         \
    X(BOOT, "boot", 10, 1)                                                                         \
    X(ATTACH, "attach", 30, 1)                                                                     \
    X(DETACH, "detach", 22, 1)                                                                     \
    X(EXEC, "exec", 20, 1)                                                                         \
    X(STDIN, "stdin", 8, 1)                                                                        \
    X(SIGNAL, "signal", 6, 1)                                                                      \
    X(WAIT, "wait for a process", 8, 1)                                                            \
    X(LET_GO, "close a process", 3, 1)                                                             \
    X(STOP, "stop", 3, 1)                                                                          \
    X(TERMINATE, "terminate", 2, 1)                                                                \
    X(WAIT_VM, "wait for the VM", 2, 1)                                                            \
    X(CLOSE, "close, and make anew", 4, 1)                                                         \
    X(PAUSE, "pause", 2, 1)                                                                        \
    X(RESUME, "resume", 3, 1)                                                                      \
    X(CANCEL, "cancel", 12, 1)                                                                     \
    X(HOST_FAULT, "a fault of the host", 5, 0)                                                     \
    X(GUEST_FAULT, "a fault of the guests", 6, 0)                                                  \
    X(END, "the VM's end", 2, 0)                                                                   \
    X(LOSE, "its connections lost", 2, 0)                                                          \
    X(NO_MEMORY, "an allocation that fails", 6, 0)                                                 \
    X(QUIET, "quiet", 0, 1)
enum system_verb {
#define SIM_X(name, text, weight, calm) SYSTEM_##name,
    SYSTEM_VERB_MAP(SIM_X)
#undef SIM_X
        SYSTEM_VERB_MAX
};

struct system_step {
    enum system_verb verb;
    uint32_t vm;
    uint32_t a, b, c; /* what the verb reads as it likes */
    uint32_t pass_ms; /* before it; UINT32_MAX: one turn */
};

struct system_plan {
    uint64_t seed;
    bool calm; /* no faults: cancels and deadlines only */
    bool plain_agent;
    uint32_t pace, vms, count;
    struct system_step *steps;
};

void system_plan_make(struct system_plan *p, uint64_t seed);
void system_plan_free(struct system_plan *p);
void system_plan_print(const struct system_plan *p, const bool *keep);

struct system_figures {
    uint64_t steps, calls, ok, canceled, failed, undone;
    uint64_t booted, vms_checked, disks_checked, processes_checked, quarantined, virtual_ms;
    uint64_t trace; /* a hash of what the engine logged: the same for the same steps */
};

/* Runs the steps that are kept (NULL: all); fails as a check does. */
void system_run(const struct system_plan *p, const bool *keep, struct system_figures *f);
