/* SPDX-License-Identifier: MIT
 * cgroup.h — the control group (v2) of one VM: checked, made when it is missing, removed again.
 *
 * The VMM and every helper of the VM join it before they become what they are, so that their memory, their
 * processor time and all that they start count there. Limits in it are its owner's affair: whoever wants
 * some makes the group beforehand, or sets them on its parent.
 */
#pragma once
#include <stdbool.h>

#include "async/async.h"
#include "async/error.h"

#define UVM__CGROUP_ROOT "/sys/fs/cgroup"

struct uvm__cgroup {
    char *path; /* the engine's; NULL: none */
    bool made;  /* by us, so it goes with us */
};

/* `path`: below UVM__CGROUP_ROOT, in a v2 hierarchy and not its root. Its parent must be there. On failure
 * nothing is left: -UVM_E_INVAL (no such place), -UVM_E_HOST (no v2, missing parent, no right),
 * -UVM_E_NOMEM. */
int uvm__cgroup_open(uvm_engine *e, const char *path, struct uvm__cgroup *ret, struct uvm__fail *f);
/* Removes it if we made it and nobody is in it; idempotent. */
/* Whether a VM that needs so much in all fits into what the group and those around it leave; `root`: the folder
 * that sys/ is in. -UVM_E_LIMIT, in words. */
int uvm__cgroup_admit(int root, const char *path, uint64_t need_mb, uint64_t vmm_mb,
                      struct uvm__fail *f);
void uvm__cgroup_close(uvm_engine *e, struct uvm__cgroup *g);
/* Why a process could not join, in words; "" when the errno says it all. */
const char *uvm__cgroup_hint(int sys);
