/* SPDX-License-Identifier: MIT
 * shrink.c — see shrink.h.
 */
#include "tests/sim/shrink.h"
#include <stdlib.h>
#include <string.h>

static uint32_t kept(const bool *keep, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += keep[i];
    }
    return n;
}

/* Drops `chunk` of those that are kept, from the nth on; returns how many it dropped. */
static uint32_t drop(bool *keep, uint32_t count, uint32_t nth, uint32_t chunk) {
    uint32_t seen = 0, dropped = 0;
    for (uint32_t i = 0; i < count && dropped < chunk; i++) {
        if (keep[i] && seen++ >= nth) {
            keep[i] = false;
            dropped++;
        }
    }
    return dropped;
}

uint32_t shrink(bool *keep, uint32_t count, bool (*fails)(const bool *keep, void *arg), void *arg,
                uint32_t tries_max) {
    bool *fewer = malloc(count + 1);
    uint32_t left = kept(keep, count), tries = 0;
    for (uint32_t chunk = (left + 1) / 2; fewer != NULL && chunk > 0;) {
        bool any = false;
        uint32_t nth = 0;
        while (nth < left && tries < tries_max) {
            memcpy(fewer, keep, count);
            uint32_t dropped = drop(fewer, count, nth, chunk);
            tries++;
            if (fails(fewer, arg)) {
                memcpy(keep, fewer, count);
                left -= dropped;
                any = true;
            } else {
                nth += chunk;
            }
        }
        if (tries == tries_max) {
            break;
        }
        chunk = chunk > 1 ? chunk / 2 : any; /* single ones until nothing goes any more */
    }
    free(fewer);
    return left;
}
