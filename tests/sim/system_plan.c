/* SPDX-License-Identifier: MIT
 * system_plan.c — plans from seeds.
 */
#include "async/check.h"
#include "tests/sim/system.h"
#include <stdlib.h>

#define STEPS 1500u
#define VMS 300u
#define QUIET_EVERY 375u
#define NEAR 6u /* most steps go to so many VMs, which change as the plan goes on */

static const struct {
    const char *text;
    uint32_t weight;
    bool calm;
} verbs[SYSTEM_VERB_MAX] = {
#define SIM_X(name, text, weight, calm) [SYSTEM_##name] = {text, weight, calm},
    SYSTEM_VERB_MAP(SIM_X)
#undef SIM_X
};

/* 0 … n - 1; splitmix64. */
static uint32_t chance(uint64_t *random, uint32_t n) {
    uint64_t z = (*random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

static enum system_verb some_verb(uint64_t *random, bool calm) {
    uint32_t total = 0;
    for (unsigned i = 0; i < SYSTEM_VERB_MAX; i++) {
        total += calm && !verbs[i].calm ? 0 : verbs[i].weight;
    }
    uint32_t at = chance(random, total);
    unsigned i = 0;
    for (;; i++) {
        uint32_t weight = calm && !verbs[i].calm ? 0 : verbs[i].weight;
        if (at < weight) {
            return (enum system_verb)i;
        }
        at -= weight;
    }
}

static struct system_step some_step(uint64_t *random, bool calm, uint32_t vm) {
    static const uint32_t ms[] = {UINT32_MAX, UINT32_MAX, 0, 0, 0, 1, 1, 2, 3, 5, 10, 30};
    struct system_step s = {.verb = some_verb(random, calm), .vm = vm};
    s.a = chance(random, 1u << 20);
    s.b = chance(random, 1u << 20);
    s.c = chance(random, 1u << 20);
    s.pass_ms = ms[chance(random, sizeof ms / sizeof ms[0])];
    if (chance(random, 100) == 0) {
        s.pass_ms = 6000;
    }
    return s;
}

void system_plan_make(struct system_plan *p, uint64_t seed) {
    uint64_t random = seed;
    *p = (struct system_plan){.seed = seed, .count = VMS + STEPS};
    p->calm = chance(&random, 4) == 0;
    p->plain_agent = chance(&random, 6) == 0;
    p->pace = chance(&random, WORLD_PACES);
    p->vms = VMS;
    p->steps = calloc(p->count, sizeof p->steps[0]);
    UVM_ASSERT(p->steps != NULL);
    for (uint32_t i = 0; i < VMS; i++) {
        p->steps[i] = (struct system_step){
            .verb = SYSTEM_BOOT, .vm = i, .c = 1, .pass_ms = i % 16 == 0 ? 1 : 0};
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t near = i * VMS / STEPS;
        uint32_t vm =
            chance(&random, 8) == 0 ? chance(&random, VMS) : (near + chance(&random, NEAR)) % VMS;
        p->steps[VMS + i] = some_step(&random, p->calm, vm);
        if ((i + 1) % QUIET_EVERY == 0) {
            p->steps[VMS + i].verb = SYSTEM_QUIET;
        }
    }
}

void system_plan_free(struct system_plan *p) {
    free(p->steps);
    p->steps = NULL;
}

void system_plan_print(const struct system_plan *p, const bool *keep) {
    for (uint32_t i = 0; i < p->count; i++) {
        const struct system_step *s = &p->steps[i];
        if (keep[i]) {
            print_message("  %4u: vm %u: %s (%u, %u, %u)", i, s->vm, verbs[s->verb].text, s->a,
                          s->b, s->c);
            print_message(s->pass_ms == UINT32_MAX ? " after one turn\n" : " after %u ms\n",
                          s->pass_ms);
        }
    }
}
