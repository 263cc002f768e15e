/* SPDX-License-Identifier: MIT
 * boot_devices.h — the devices of `uvmctl boot`, a table of their options.
 */
#pragma once
#include "cmd/uvmctl/disk.h"

#define BOOT_DEVICES_MAX 128u /* devices of one kind that a boot begins with */

enum boot_kind { BOOT_SCSI, BOOT_VPMEM, BOOT_VPCI, BOOT_VSMB, BOOT_PLAN9, BOOT_NIC, BOOT_KIND_MAX };

/* One of them: its word, and what the engine wants of it. */
struct boot_device {
    struct disk_words words; /* what the params point into */
    union {
        struct uvm_scsi_params scsi;
        struct uvm_vpmem_params vpmem;
        struct uvm_vpci_params vpci;
        struct uvm_vsmb_params vsmb;
        struct uvm_plan9_params plan9;
        struct uvm_nic_params nic;
    } params;
};

/* Zeroed before the first use. */
struct boot_devices {
    struct boot_device *items[BOOT_KIND_MAX]; /* of BOOT_DEVICES_MAX each; NULL: none */
    const void *lists[BOOT_KIND_MAX][BOOT_DEVICES_MAX + 1];
    size_t counts[BOOT_KIND_MAX];
};

/* False: it said why. `vm` has the list from the first one on. */
bool boot_devices_add(struct boot_devices *b, enum boot_kind kind, const char *word,
                      struct uvm_vm_params *vm);
void boot_devices_free(struct boot_devices *b);
