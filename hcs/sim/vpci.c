/* SPDX-License-Identifier: MIT
 * vpci.c — assigned PCI functions of a modelled host: each a disk without bytes, in a slot made from its GUID.
 *
 * The model's host has every function, and as many ports as a real one; one function is one VM's device once.
 */
#include "async/check.h"
#include "hcs/sim/sim_int.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FUNCTIONS_MAX 8u /* as many PCI ports a VM has */

/* FNV-1a of the GUID's 16 bytes: no two of a test are the same. */
uint64_t uvm__sim_vpci_slot(const char *guid) {
    struct uvm__guid g;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    int rc = uvm__guid_read(guid, strlen(guid), &g);
    UVM_ASSERT(rc == 0); /* by the reader */
    for (size_t i = 0; i < sizeof g; i++) {
        hash = (hash ^ ((const unsigned char *)&g)[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

struct uvm__sim_disk *uvm__sim_function_new(uvm_engine *e, const char *guid,
                                            const struct uvm__doc_vpci *v) {
    const struct uvm__doc_vpci_function *function = v->functions;
    const struct uvm__doc_scsi_attachment a = {.path = function->device_instance_path,
                                               .lun = uvm__sim_vpci_slot(guid)};
    struct uvm__sim_disk *d = uvm__sim_disk_new(e, UVM__SIM_VPCI, &a);
    if (d != NULL) {
        d->bytes = function->virtual_function;
        (void)snprintf(d->name, sizeof d->name, "%s", guid);
    }
    return d;
}

enum uvm_error_code uvm__sim_function_refused(const struct uvm__list *disks,
                                              const struct uvm__sim_disk *x, const char **ret_why) {
    const struct uvm__list *it;
    unsigned count = 0;
    UVM__LIST_FOREACH(it, disks) {
        const struct uvm__sim_disk *d = UVM__CONTAINER_OF(it, struct uvm__sim_disk, link);
        if (d->controller != UVM__SIM_VPCI) {
            continue;
        }
        count++;
        if (d->lun == x->lun || (d->bytes == x->bytes && strcasecmp(d->path, x->path) == 0)) {
            *ret_why = d->lun == x->lun ? "the instance is taken" : "the function is assigned";
            return UVM_E_EXISTS;
        }
    }
    *ret_why = "no PCI port is free";
    return count < FUNCTIONS_MAX ? UVM_OK : UVM_E_LIMIT;
}
