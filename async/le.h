/* SPDX-License-Identifier: MIT
 * le.h — little-endian numbers in bytes, at any place and of any size up to eight.
 */
#pragma once
#include <stdint.h>

static inline uint64_t uvm__le_get(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static inline void uvm__le_put(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}
