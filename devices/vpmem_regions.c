/* SPDX-License-Identifier: MIT
 * vpmem_regions.c — which ranges of a device are free, as hcsshim's internal/memory has it.
 *
 * Its pool keeps a list of free regions a class, splits one into four and merges four into one. Since it
 * merges whenever it can, the lists follow from what is taken: a region is on its class's list when nothing
 * in it is taken and its parent is not such a one. So a bit a unit says it all, and a device of any size
 * has the regions that lie in it whole.
 */
#include "async/check.h"
#include "devices/vpmem.h"
#include <string.h>

static uint32_t units_of(unsigned class) {
    return 1u << (2 * class);
}

unsigned uvm__vpmem_class(uint64_t bytes) {
    unsigned class = 0;
    if (bytes == 0) {
        return UVM__VPMEM_CLASSES;
    }
    while (class < UVM__VPMEM_CLASSES && bytes > UVM__VPMEM_CLASS_MIN_BYTES * units_of(class)) {
        class ++;
    }
    return class;
}

void uvm__vpmem_regions_init(struct uvm__vpmem_regions *r, uint64_t device_bytes) {
    uint64_t units = device_bytes / UVM__VPMEM_CLASS_MIN_BYTES;
    memset(r, 0, sizeof *r);
    r->units = units < UVM__VPMEM_UNITS ? (uint32_t)units : UVM__VPMEM_UNITS;
}

static bool is_taken(const struct uvm__vpmem_regions *r, uint32_t unit) {
    return (r->used[unit / 64] >> (unit % 64) & 1) != 0;
}

static bool is_free(const struct uvm__vpmem_regions *r, unsigned class, uint32_t at) {
    uint32_t units = units_of(class);
    if (class >= UVM__VPMEM_CLASSES || at + units > r->units) {
        return false;
    }
    for (uint32_t u = at; u < at + units; u++) {
        if (is_taken(r, u)) {
            return false;
        }
    }
    return true;
}

static bool is_listed(const struct uvm__vpmem_regions *r, unsigned class, uint32_t at) {
    uint32_t parent = at & ~(units_of(class + 1) - 1);
    return is_free(r, class, at) && !is_free(r, class + 1, parent);
}

static void mark(struct uvm__vpmem_regions *r, unsigned class, uint32_t at, bool taken) {
    for (uint32_t u = at; u < at + units_of(class); u++) {
        UVM_ASSERT(is_taken(r, u) != taken);
        r->used[u / 64] ^= UINT64_C(1) << (u % 64);
    }
}

bool uvm__vpmem_regions_take(struct uvm__vpmem_regions *r, unsigned class, uint64_t *ret_offset) {
    for (unsigned from = class; from < UVM__VPMEM_CLASSES; from++) {
        for (uint32_t at = 0; at + units_of(from) <= r->units; at += units_of(from)) {
            if (is_listed(r, from, at)) {
                mark(r, class, at, true);
                r->mappings++;
                *ret_offset = at * UVM__VPMEM_CLASS_MIN_BYTES;
                return true;
            }
        }
    }
    return false;
}

void uvm__vpmem_regions_give(struct uvm__vpmem_regions *r, unsigned class, uint64_t offset) {
    UVM_ASSERT(r->mappings > 0);
    r->mappings--;
    mark(r, class, (uint32_t)(offset / UVM__VPMEM_CLASS_MIN_BYTES), false);
}
