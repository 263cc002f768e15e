/* SPDX-License-Identifier: MIT
 * vsmb.c — the model's shared folders: a slot each, by the name. Where the guest finds one is the tag of its mode.
 */
#include "hcs/sim/sim_int.h"
#include <stdio.h>
#include <string.h>

/* FNV-1a: names of one system are few. */
uint64_t uvm__sim_vsmb_slot(const char *name) {
    uint64_t slot = UINT64_C(0xcbf29ce484222325);
    for (const char *c = name; *c != 0; c++) {
        slot = (slot ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    }
    return slot;
}

struct uvm__sim_disk *uvm__sim_vsmb_new(uvm_engine *e, const struct uvm__doc_vsmb_share *share) {
    const struct uvm__doc_scsi_attachment a = {
        .path = share->options.single_file_mapping ? share->allowed_files[0] : share->path,
        .read_only = share->options.read_only,
        .lun = uvm__sim_vsmb_slot(share->name)};
    struct uvm__sim_disk *d = uvm__sim_disk_new(e, UVM__SIM_VSMB, &a);
    if (d != NULL) {
        (void)snprintf(d->name, sizeof d->name, "%s", share->name);
    }
    return d;
}

int uvm__sim_location(struct uvm__hcs_system *base, const char *resource,
                      char ret[UVM__HCS_LOCATION_BYTES]) {
    static const char shares[] = "VirtualMachine/Devices/VirtualSmb/Shares/";
    const char *path;
    bool read_only;
    if (strncmp(resource, shares, sizeof shares - 1) != 0 ||
        !uvm__sim_disk_at(base, UVM__SIM_VSMB, uvm__sim_vsmb_slot(resource + sizeof shares - 1),
                          &path, &read_only)) {
        return -UVM_E_NOTFOUND;
    }
    (void)snprintf(ret, UVM__HCS_LOCATION_BYTES, "vsmb-%s", read_only ? "ro" : "rw");
    return 0;
}
