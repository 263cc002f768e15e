/* SPDX-License-Identifier: MIT
 * guest_mem.h — the guest's memory as the front end describes it: regions, mapped by descriptor.
 *
 * Addresses: gpa is the guest's physical address (descriptors), user the front end's own (rings). Every
 * length and sum is checked; translation compares by subtraction, so nothing wraps. A region of a file that
 * could shrink under us is known but not mapped: touching it might raise SIGBUS, so addresses in it do not
 * translate. Limits: UVM__GUEST_REGIONS_MAX regions, `bytes_max` in all.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__GUEST_REGIONS_MAX 512u

struct uvm__guest_region_desc {
    uint64_t gpa, bytes, user, offset; /* offset: in the file */
};

struct uvm__guest_region {
    uint64_t gpa, bytes, user;
    uint8_t *at; /* where gpa is; NULL: not mapped */
    void *map;   /* what to unmap */
    size_t map_bytes;
};

struct uvm__guest_mem {
    uvm_engine *engine;
    struct uvm__guest_region *regions; /* by rising gpa, disjoint */
    uint32_t count, capacity;
    uint32_t last; /* region of the last hit */
    uint64_t bytes, bytes_max;
};

void uvm__guest_mem_init(struct uvm__guest_mem *m, uvm_engine *e, uint64_t bytes_max);
void uvm__guest_mem_deinit(struct uvm__guest_mem *m); /* unmaps all; the table stays usable */

/* Adds one region; `fd` stays the caller's and is not needed afterwards. Errors: PROTOCOL (numbers that
 * cannot be, overlap, file too short), LIMIT, NOMEM, IO. Mapped regions do not move. */
int uvm__guest_mem_add(struct uvm__guest_mem *m, const struct uvm__guest_region_desc *d, int fd,
                       struct uvm__fail *f);
/* The region that is this one but for the offset; NULL: none. */
const struct uvm__guest_region *uvm__guest_mem_find(const struct uvm__guest_mem *m,
                                                    const struct uvm__guest_region_desc *d);
/* Unmaps it: nobody may point into it any more. */
void uvm__guest_mem_remove(struct uvm__guest_mem *m, const struct uvm__guest_region *r);

/* Where gpa is, and in *bytes (asked: > 0) how much of what was asked lies there in one piece; NULL: unmapped. */
uint8_t *uvm__guest_mem_at(struct uvm__guest_mem *m, uint64_t gpa, uint64_t *bytes);
/* Copies in, also over the seam of two regions. -UVM_E_PROTOCOL: some of it is unmapped. */
int uvm__guest_mem_read(struct uvm__guest_mem *m, uint64_t gpa, void *buf, size_t bytes);
/* Where the front end's address is, all of it in one region; NULL: no. */
uint8_t *uvm__guest_mem_user(const struct uvm__guest_mem *m, uint64_t user, uint64_t bytes);
