/* SPDX-License-Identifier: MIT
 * choose.c — an odometer of choices: the last one turns fastest, and one that is through is dropped.
 *
 * Each run replays the answers that are on the dials and adds zeros for choices beyond them. Between
 * runs the last dial moves on; a dial at its bound falls away and the one before it moves. So the walk is
 * over when no dial is left, and visits each combination once, whatever the shape of the tree.
 */
#include "tests/sim/choose.h"
#include "async/check.h"
#include <stdio.h>

void choose_begin(struct choose *c) {
    *c = (struct choose){0};
}

bool choose_next(struct choose *c) {
    /* A run that made fewer choices than are on the dials was not the same one. */
    UVM_ASSERT(!c->begun || c->next == c->depth);
    if (c->begun) {
        while (c->depth > 0 && c->at[c->depth - 1].value + 1 == c->at[c->depth - 1].bound) {
            c->depth--;
        }
        if (c->depth == 0) {
            return false;
        }
        c->at[c->depth - 1].value++;
    }
    c->begun = true;
    c->next = 0;
    c->runs++;
    return true;
}

uint32_t choose(struct choose *c, uint32_t bound) {
    UVM_ASSERT(c->begun && bound > 0);
    UVM_ASSERT_CMP(c->next, <, CHOOSE_DEPTH_MAX);
    if (c->next == c->depth) {
        c->at[c->depth].value = 0;
        c->at[c->depth].bound = bound;
        c->depth++;
    }
    UVM_ASSERT_CMP(c->at[c->next].bound, ==, bound);
    return c->at[c->next++].value;
}

const char *choose_text(const struct choose *c, char *buf, uint32_t bytes) {
    uint32_t len = 0;
    buf[0] = 0;
    for (uint32_t i = 0; i < c->next; i++) {
        int n = snprintf(buf + len, bytes - len, "%s%u/%u", i == 0 ? "" : " ", c->at[i].value,
                         c->at[i].bound);
        if (n < 0 || (uint32_t)n >= bytes - len) {
            break;
        }
        len += (uint32_t)n;
    }
    return buf;
}
