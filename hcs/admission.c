/* SPDX-License-Identifier: MIT
 * admission.c — four questions, the cheap ones first; the first that is answered by no is the news.
 */
#include "hcs/admission.h"

#include <inttypes.h>

#include "async/check.h"
#include "hcs/compute_service.h"

#define MIB "%" PRIu64 " MiB"

static const struct uvm__hcs_capacity endless = {UINT64_MAX, UINT64_MAX, 0, 0, UINT64_MAX, 0};

static int check_count(const struct uvm__admission *a, const struct uvm__admission_demand *d,
                       struct uvm__fail *f) {
    uint64_t max = a->limits.vms_max == 0 ? UVM__VMS_MAX : a->limits.vms_max;
    uint64_t there = a->vms + d->others;

    return there < max ? 0
                       : uvm__fail(f, UVM_E_LIMIT, 0,
                                   "%s: %" PRIu64 " UVMs are there already and %" PRIu64
                                   " are allowed; end one, or allow more (vms_max)",
                                   d->name, there, max);
}

static int check_descriptors(const struct uvm__hcs_capacity *c,
                             const struct uvm__admission_demand *d, struct uvm__fail *f) {
    return c->descriptors >= c->descriptors_per_vm
               ? 0
               : uvm__fail(f, UVM_E_LIMIT, 0,
                           "%s: needs %" PRIu64 " file descriptors, this process may open %" PRIu64
                           " more; raise its limit (ulimit -n)",
                           d->name, c->descriptors_per_vm, c->descriptors);
}

static int check_memory(const struct uvm__admission *a, const struct uvm__hcs_capacity *c,
                        const struct uvm__admission_demand *d, struct uvm__fail *f) {
    uint64_t others = a->vms + d->others;
    uint64_t promised = a->memory_mb + d->others_memory_mb + others * c->overhead_mb;
    uint64_t need = d->memory_mb + c->overhead_mb;
    bool bounded = a->limits.memory_mb_max != 0;
    uint64_t max = bounded ? a->limits.memory_mb_max : c->memory_mb;

    if (need > max || promised > max - need) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "%s: needs " MIB " (" MIB " for its VMM); %" PRIu64 " UVMs have " MIB
                         " of the " MIB " that %s; give it less memory%s",
                         d->name, need, c->overhead_mb, others, promised, max,
                         bounded ? "are allowed" : "the host has",
                         bounded ? ", end one, or allow more (memory_mb_max)" : ", or end one");
    }
    uint64_t untouched =
        a->memory_mb > c->memory_touched_mb ? a->memory_mb - c->memory_touched_mb : 0;
    if (!bounded && (need > c->memory_available_mb || untouched > c->memory_available_mb - need)) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "%s: needs " MIB " (" MIB " for its VMM); the host has " MIB
                         " available, " MIB " of it promised; give it less memory, or free some",
                         d->name, need, c->overhead_mb, c->memory_available_mb, untouched);
    }
    return 0;
}

static int check_image(const struct uvm__admission *a, const struct uvm__hcs_capacity *c,
                       const char *what, uint64_t need, struct uvm__fail *f) {
    uint64_t promised = a->memory_mb + a->vms * c->overhead_mb;
    bool bounded = a->limits.memory_mb_max != 0;
    uint64_t max = bounded ? a->limits.memory_mb_max : c->memory_mb;

    if (need > max || promised > max - need) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "%.160s: needs " MIB " of memory; %" PRIu64 " UVMs have " MIB
                         " of the " MIB " that %s; detach another image, end a UVM%s",
                         what, need, a->vms, promised, max,
                         bounded ? "are allowed" : "the host has",
                         bounded ? ", or allow more (memory_mb_max)" : ", or attach it by SCSI");
    }
    uint64_t untouched =
        a->memory_mb > c->memory_touched_mb ? a->memory_mb - c->memory_touched_mb : 0;
    if (!bounded && (need > c->memory_available_mb || untouched > c->memory_available_mb - need)) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "%.160s: needs " MIB " of memory; the host has " MIB " available, " MIB
                         " of it promised; detach another image, end a UVM, or attach it by SCSI",
                         what, need, c->memory_available_mb, untouched);
    }
    return 0;
}

int uvm__hcs_admit_image(struct uvm__hcs *h, const char *what, uint64_t memory_mb,
                         struct uvm__fail *f) {
    struct uvm__admission *a = &h->admission;
    struct uvm__hcs_capacity c = endless;

    if (h->ops->capacity != NULL) {
        h->ops->capacity(h, &c);
    }
    int rc = check_image(a, &c, what, memory_mb, f);
    a->memory_mb += rc == 0 ? memory_mb : 0;
    return rc;
}

void uvm__hcs_dismiss_image(struct uvm__hcs *h, uint64_t memory_mb) {
    UVM_ASSERT(h->admission.memory_mb >= memory_mb);
    h->admission.memory_mb -= memory_mb;
}

int uvm__hcs_admit(struct uvm__hcs *h, const struct uvm__admission_demand *demand,
                   struct uvm__fail *f) {
    struct uvm__admission *a = &h->admission;
    int rc = check_count(a, demand, f);

    if (rc == 0) {
        struct uvm__hcs_capacity c = endless;
        if (h->ops->capacity != NULL) {
            h->ops->capacity(h, &c);
        }
        rc = check_descriptors(&c, demand, f);
        rc = rc < 0 ? rc : check_memory(a, &c, demand, f);
    }
    if (rc == 0) {
        a->vms++;
        a->memory_mb += demand->memory_mb;
    }
    return rc;
}

void uvm__hcs_dismiss(struct uvm__hcs *h, uint64_t memory_mb) {
    struct uvm__admission *a = &h->admission;

    UVM_ASSERT(a->vms > 0 && a->memory_mb >= memory_mb);
    a->vms--;
    a->memory_mb -= memory_mb;
}
