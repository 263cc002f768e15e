/* SPDX-License-Identifier: MIT
 * disk_flow.h — disks of a simulated VM: attach and detach as watched calls, and the three views of them.
 *
 * What the engine says (uvm_vm_devices), what the host has (hcs/sim) and what the guest has mounted must
 * agree whenever nothing is under way: disk_expect_agreement().
 */
#pragma once
#include "tests/sim/world.h"
#include "uvm/devices.h"

/* A disk without and with a mount. */
struct uvm_scsi_params disk_bare(const char *host_path);
struct uvm_scsi_params disk_mount(const char *host_path, const char *guest_path);

int disk_attach(struct world *w, struct world_call *c, const struct uvm_scsi_params *p);
int disk_vpmem(struct world *w, struct world_call *c, const struct uvm_vpmem_params *p);
int disk_plan9(struct world *w, struct world_call *c, const struct uvm_plan9_params *p);
int disk_vsmb(struct world *w, struct world_call *c, const struct uvm_vsmb_params *p);
int disk_vpci(struct world *w, struct world_call *c, const struct uvm_vpci_params *p);
int disk_detach(struct world *w, struct world_call *c, const char *id);
/* Within the usual time, with this code. The id of an attachment is copied. */
void disk_attach_well(struct world *w, const struct uvm_scsi_params *p, char ret_id[32]);
int disk_attach_code(struct world *w, const struct uvm_scsi_params *p);
int disk_nic(struct world *w, struct world_call *c, const struct uvm_nic_params *p);
int disk_nic_code(struct world *w, const struct uvm_nic_params *p, char ret_id[32]);
int disk_vpmem_code(struct world *w, const struct uvm_vpmem_params *p, char ret_id[32]);
int disk_plan9_code(struct world *w, const struct uvm_plan9_params *p, char ret_id[32]);
int disk_vsmb_code(struct world *w, const struct uvm_vsmb_params *p, char ret_id[32]);
int disk_vpci_code(struct world *w, const struct uvm_vpci_params *p, char ret_id[32]);
void disk_detach_well(struct world *w, const char *id);
int disk_detach_code(struct world *w, const char *id);

/* One row of uvm_vm_devices(). Of other kinds controller and LUN are as hcs/sim/sim.h has them. */
struct disk_row {
    char id[32], host_path[64], guest_path[64], state[16];
    unsigned controller;
    uint64_t lun;
    uint32_t refs;
    bool quarantined, read_only;
};
uint32_t disk_rows(struct world *w, struct disk_row *ret, uint32_t max);
bool disk_row(struct world *w, const char *id, struct disk_row *ret);

/* The guest of the world's VM; NULL: none. */
struct guest *disk_guest(struct world *w);
/* The engine's list, the host and the guest have the same disks and mounts, and nothing is quarantined. */
void disk_expect_agreement(struct world *w);
void disk_expect_nothing(struct world *w);

/* A world with one VM, w->vm, that runs and whose bridge can be mistreated. */
#define DISK_VM "sim-1"
uvm_vm *disk_vm_new(struct world *w, struct uvm_vm_params *p);
void disk_open_with(struct world *w, const char *what, struct uvm_vm_params *p);
void disk_open(struct world *w, const char *what);
void disk_close(struct world *w);
/* What happens to the request about a disk after `skip` more. */
void disk_mistreat(struct world *w, enum wire_fault fault, uint32_t skip, uint32_t late_ms);
void disk_wait(struct world *w, struct world_call *c, uint64_t ms, int code);
void disk_end(struct world_call *c);
