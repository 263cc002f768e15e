/* SPDX-License-Identifier: MIT
 * decimal.h — numbers in text that people write: digits and nothing else.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The number that `text` begins with; *ret_rest is what follows it. False: no digit, or too large. (A
 * number of at most 2^64 - 10 is not.) */
static inline bool uvm__decimal(const char *text, uint64_t *ret, const char **ret_rest) {
    const char *p = text;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > (UINT64_MAX - 9) / 10) {
            return false;
        }
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *ret = n;
    *ret_rest = p;
    return p != text;
}
