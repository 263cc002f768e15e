/* SPDX-License-Identifier: MIT
 * uid.h — an unprivileged uid of its own for each VMM that root starts.
 *
 * A uid is leased by binding an abstract unix socket named after it: no file, held by nothing but the
 * descriptor, gone with its owner, and seen by every engine of the network namespace.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__VMM_UID_BASE 1879048192u /* above what distributions and container managers hand out */
#define UVM__VMM_UIDS_MAX 65536u
#define UVM__VMM_UID_SHARED 65534u

struct uvm__uid_lease {
    bool drop; /* start the VMM as uid and gid below */
    uint32_t uid, gid;
    int fd;           /* the lease; -1: none (shared, or nothing to drop) */
    const char *note; /* one line for people: why it is as it is; static */
};
#define UVM__UID_LEASE_INIT                                                                        \
    { false, 0, 0, -1, "" }

enum uvm__uid_drop { UVM__UID_DROP_AUTO, UVM__UID_DROP_NEVER };

/* Nothing to drop when we are not root. Where uids from `base` (0: UVM__VMM_UID_BASE) on are not mapped
 * in our user namespace, the shared 65534; where that is not mapped either, our own uid, which the note
 * says. -UVM_E_LIMIT when every uid is leased, -UVM_E_IO. */
int uvm__uid_lease(enum uvm__uid_drop drop, uint32_t base, struct uvm__uid_lease *ret,
                   struct uvm__fail *f);
void uvm__uid_release(struct uvm__uid_lease *lease); /* idempotent */

/* Whether `id` is inside a mapping of the text of /proc/self/uid_map. */
bool uvm__uid_is_mapped(const char *map, uint32_t id);
