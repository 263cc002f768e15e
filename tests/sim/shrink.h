/* SPDX-License-Identifier: MIT
 * shrink.h — of the steps of a run that fails, few that still fail (delta debugging).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* `keep`, a flag a step, fails as it is; steps are taken away, many at a time, then few, as long as
 * `fails` says so, which is asked `tries_max` times at most. Returns how many are left. When it returned
 * before its tries were used up, each of them is needed. */
uint32_t shrink(bool *keep, uint32_t count, bool (*fails)(const bool *keep, void *arg), void *arg,
                uint32_t tries_max);
