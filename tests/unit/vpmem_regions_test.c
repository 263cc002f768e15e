/* SPDX-License-Identifier: MIT
 * vpmem_regions_test.c — regions of a VPMem device: classes, the order in which they are taken, splitting, merging,
 * devices of any size; and against a model that keeps lists, as hcsshim's internal/memory does.
 */
#include "devices/vpmem.h"
#include "tests/unit/cm.h"
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static void classes(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        unsigned class;
    } rows[] = {
        {0, UVM__VPMEM_CLASSES},
        {1, 0},
        {MIB, 0},
        {MIB + 1, 1},
        {4 * MIB, 1},
        {17 * MIB, 3},
        {64 * MIB, 3},
        {1024 * MIB, 5},
        {4096 * MIB, 6},
        {4096 * MIB + 1, UVM__VPMEM_CLASSES},
        {UINT64_MAX, UVM__VPMEM_CLASSES},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(uvm__vpmem_class(rows[i].bytes), rows[i].class);
    }
}

static uint64_t take(struct uvm__vpmem_regions *r, unsigned class) {
    uint64_t offset = UINT64_MAX;
    return uvm__vpmem_regions_take(r, class, &offset) ? offset / MIB : UINT64_MAX;
}

static void give(struct uvm__vpmem_regions *r, unsigned class, uint64_t at) {
    uvm__vpmem_regions_give(r, class, at * MIB);
}

static void the_order(void **state) {
    (void)state;
    struct uvm__vpmem_regions r;
    uvm__vpmem_regions_init(&r, 4096 * MIB);
    assert_int_equal(take(&r, 0), 0);
    assert_int_equal(take(&r, 1), 4); /* what the split of 16 left of its class */
    assert_int_equal(take(&r, 0), 1); /* of its own class before anything is split */
    assert_int_equal(take(&r, 2), 16);
    give(&r, 0, 0);
    assert_int_equal(take(&r, 1), 8); /* 0…3 is not whole: 1 is taken */
    give(&r, 0, 1);                   /* now it is */
    assert_int_equal(take(&r, 1), 0);
    give(&r, 1, 0);
    give(&r, 1, 4);
    give(&r, 1, 8);
    assert_int_equal(take(&r, 2), 0); /* merged */
    give(&r, 2, 0);
    give(&r, 2, 16);
    assert_int_equal(take(&r, 6), 0);
    assert_int_equal(take(&r, 0), UINT64_MAX);
    give(&r, 6, 0);
    assert_int_equal(r.mappings, 0);
}

static void a_device_of_any_size(void **state) {
    (void)state;
    struct uvm__vpmem_regions r;
    uvm__vpmem_regions_init(&r, 512 * MIB + 5 * MIB + 4096);
    assert_int_equal(take(&r, 5), UINT64_MAX); /* 1 GiB */
    assert_int_equal(take(&r, 1), 512); /* the only one of its class, beside two of 256 MiB */
    assert_int_equal(take(&r, 4), 0);
    assert_int_equal(take(&r, 4), 256);
    assert_int_equal(take(&r, 4), UINT64_MAX);
    assert_int_equal(take(&r, 0), 516);
    assert_int_equal(take(&r, 0), UINT64_MAX);
    uvm__vpmem_regions_init(&r, 4096); /* smaller than any */
    assert_int_equal(take(&r, 0), UINT64_MAX);
    uvm__vpmem_regions_init(&r, UINT64_MAX);
    assert_int_equal(r.units, UVM__VPMEM_UNITS);
}

/* The reference's: free regions by class, as sets of offsets in MiB. */
static bool model_free[UVM__VPMEM_CLASSES][UVM__VPMEM_UNITS];

static uint64_t model_take(unsigned class) {
    if (class == UVM__VPMEM_CLASSES) {
        return UINT64_MAX;
    }
    for (uint32_t at = 0; at < UVM__VPMEM_UNITS; at++) {
        if (model_free[class][at]) {
            model_free[class][at] = false;
            return at;
        }
    }
    uint64_t at = model_take(class + 1);
    for (unsigned i = 1; at != UINT64_MAX && i < 4; i++) {
        model_free[class][at + (uint64_t)i * (1u << 2 * class)] = true;
    }
    return at;
}

static void model_give(unsigned class, uint64_t at) {
    uint32_t units = 1u << (2 * class);
    uint64_t parent = at & ~(uint64_t)(4 * units - 1);
    bool whole = class + 1 < UVM__VPMEM_CLASSES;
    model_free[class][at] = true;
    for (unsigned i = 0; whole && i < 4; i++) {
        whole = model_free[class][parent + (uint64_t)i * units];
    }
    if (whole) {
        for (unsigned i = 0; i < 4; i++) {
            model_free[class][parent + (uint64_t)i * units] = false;
        }
        model_give(class + 1, parent);
    }
}

static void as_the_reference(void **state) {
    (void)state;
    static struct {
        unsigned class;
        uint64_t at;
    } taken[512];
    size_t count = 0;
    struct uvm__vpmem_regions r;
    uint32_t seed = 12345;
    memset(model_free, 0, sizeof model_free);
    model_free[UVM__VPMEM_CLASSES - 1][0] = true;
    uvm__vpmem_regions_init(&r, 4096 * MIB);
    for (unsigned i = 0; i < 3000; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned class = (seed >> 16) % 5;
        if ((seed >> 28) < 9 && count < 512) {
            uint64_t at = take(&r, class);
            assert_int_equal(at, model_take(class));
            if (at != UINT64_MAX) {
                taken[count].class = class;
                taken[count++].at = at;
            }
        } else if (count > 0) {
            size_t k = (seed >> 8) % count;
            give(&r, taken[k].class, taken[k].at);
            model_give(taken[k].class, taken[k].at);
            taken[k] = taken[--count];
        }
        assert_int_equal(r.mappings, count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(the_order),
        cmocka_unit_test(a_device_of_any_size),
        cmocka_unit_test(as_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
