/* SPDX-License-Identifier: MIT
 * choose.h — write a test with choices, and run it until every combination was seen.
 *
 *     struct choose c;
 *     for (choose_begin(&c); choose_next(&c);) {
 *         enum fault fault = choose(&c, FAULT_MAX);
 *         unsigned at = choose(&c, points);
 *         …
 *     }
 *
 * A bound may depend on the choices made before it in the same run; a run must make the same choices
 * when it is given the same answers.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define CHOOSE_DEPTH_MAX 16u

struct choose {
    struct {
        uint32_t value, bound;
    } at[CHOOSE_DEPTH_MAX];
    uint32_t depth; /* choices that the last run made */
    uint32_t next;  /* the choice that comes */
    bool begun;
    uint64_t runs;
};

void choose_begin(struct choose *c);
/* True: a run with new answers. False: all were seen. */
bool choose_next(struct choose *c);
/* 0 … bound - 1. */
uint32_t choose(struct choose *c, uint32_t bound);
/* "2/7 0/31", for messages about a run that failed. */
const char *choose_text(const struct choose *c, char *buf, uint32_t bytes);
