/* SPDX-License-Identifier: MIT
 * doctor_host.h — what the host itself has: programs, folders, rights. Each look gives one finding.
 */
#pragma once
#include "cmd/uvmctl/paths.h"

enum finding_status {
    FINDING_OK,
    FINDING_MISSING, /* a boot needs it */
    FINDING_ABSENT   /* something else does: the remedy says what */
};

struct finding {
    enum finding_status status;
    char text[PATH_BYTES + 300];
    char remedy[400]; /* unless OK */
};

/* The state folder: there or to be made, ours, writable, with room. */
void doctor_state(struct finding *ret);
/* Who we are, and whether VMMs can be given a user of their own. */
void doctor_rights(struct finding *ret);
/* User namespaces, in which helpers confine themselves. */
void doctor_namespaces(struct finding *ret);
/* Control groups, for limits of VMs. */
void doctor_cgroup(struct finding *ret);

/* An IOMMU that is on, and vfio-pci, which gives functions of the host's PCI buses away. */
void doctor_iommu(struct finding *ret);
void doctor_vfio(struct finding *ret);

/* Programs that some features need, looked for in their usual places and in $PATH. */
struct doctor_program {
    const char *check, *name, *places, *remedy;
};
extern const struct doctor_program doctor_programs[]; /* ends with check NULL */
void doctor_program(const struct doctor_program *p, struct finding *ret);
