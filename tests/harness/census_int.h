/* SPDX-License-Identifier: MIT
 * census_int.h — between counting (census_take.c) and comparing (census.c).
 */
#pragma once
#include "tests/harness/harness_census.h"

/* One thing. Two are the same when kind and key are. */
struct uvm__harness_item {
    enum uvm_harness_kind kind;
    char *key;
    char *text; /* for people; the key where that says it */
};

struct uvm_harness_census {
    unsigned kinds;
    bool shared_folders, reap;
    char **folders; /* NULL-terminated, or NULL */
    struct uvm__harness_item *items;
    size_t count, room;
    int rc; /* what went wrong while counting: the first -UVM_E_… */
};

/* Adds one; both texts may be freed afterwards. A failure is in rc. */
__attribute__((format(printf, 3, 4))) void uvm__harness_add(struct uvm_harness_census *c,
                                                            enum uvm_harness_kind kind,
                                                            const char *format, ...);
/* What the last one is, in words, where its key does not say it. */
__attribute__((format(printf, 2, 3))) void uvm__harness_explain(struct uvm_harness_census *c,
                                                                const char *format, ...);

/* Each counts what it is named for. */
void uvm__harness_count_processes(struct uvm_harness_census *c);
void uvm__harness_count_descriptors(struct uvm_harness_census *c);
void uvm__harness_count_mounts(struct uvm_harness_census *c);
void uvm__harness_count_files(struct uvm_harness_census *c);

static inline bool uvm__harness_counts(const struct uvm_harness_census *c, unsigned kind) {
    return (c->kinds & 1u << kind) != 0;
}
