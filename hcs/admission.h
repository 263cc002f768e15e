/* SPDX-License-Identifier: MIT
 * admission.h — whether this host takes one more VM: counted and refused before anything of it starts.
 *
 * A service has a ledger of the VMs that were let in; each counts until it is dismissed. Two bounds may be
 * set (VMs, memory in all). Where memory is not bounded, the host is asked: what was promised to all VMs must
 * fit into it as a whole, and what the newcomer may take into what is available now, beside what others
 * were promised and have not touched yet. VMs of other engines, which the ledger does not know, are the
 * caller's to count.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__VMS_MAX 16384u /* VMs of one service, unless bounded otherwise */

struct uvm__hcs;

/* What the host has now. UINT64_MAX: not known, or without end. */
struct uvm__hcs_capacity {
    uint64_t memory_mb;           /* in all: of the machine, or of the group that we are in */
    uint64_t memory_available_mb; /* of it, now, without pushing anybody out */
    uint64_t memory_touched_mb;   /* that guests of this service have taken of theirs; 0: none */
    uint64_t overhead_mb;         /* of a VM beside its guest's memory; 0: none */
    uint64_t descriptors;         /* that this process may still open */
    uint64_t descriptors_per_vm;  /* that one takes; 0: none */
};

struct uvm__hcs_limits {
    uint32_t vms_max;       /* 0: UVM__VMS_MAX */
    uint64_t memory_mb_max; /* of all VMs, overhead included; 0: what the host has */
};

struct uvm__admission {
    struct uvm__hcs_limits limits;
    uint64_t vms,
        memory_mb; /* that were let in, images in memory among it; overhead is not in it */
    uint64_t tag;  /* of this ledger, among those of the host; 0: none yet */
};

struct uvm__admission_demand {
    const char *name;
    uint64_t memory_mb;
    uint64_t others, others_memory_mb; /* VMs of other engines on this host, and theirs */
};

/* Lets it in; -UVM_E_LIMIT, with what it needs, what there is, and what to do. */
int uvm__hcs_admit(struct uvm__hcs *h, const struct uvm__admission_demand *demand,
                   struct uvm__fail *f);
void uvm__hcs_dismiss(struct uvm__hcs *h, uint64_t memory_mb);
/* The same of an image that a VM which was let in gets into memory, `what` names it. VMs of other engines are
 * counted only by what the host has available. */
int uvm__hcs_admit_image(struct uvm__hcs *h, const char *what, uint64_t memory_mb,
                         struct uvm__fail *f);
void uvm__hcs_dismiss_image(struct uvm__hcs *h, uint64_t memory_mb);
