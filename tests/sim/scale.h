/* SPDX-License-Identifier: MIT
 * scale.h — very many VMs, all alive at once: each boots, gets a disk, runs a command; then all stop.
 */
#pragma once
#include "tests/sim/world.h"

struct scale {
    uint32_t vms;
    /* After each `step` VMs that came up (`up`) or went down. May be NULL. */
    void (*on_step)(bool up, uint32_t count, void *arg);
    uint32_t step;
    void *arg;
    uint64_t bytes_each, bytes_left; /* of the engine's memory: peak while all live; after all */
};
void scale_run(struct scale *s);
