/* SPDX-License-Identifier: MIT
 * options.h — what a VM shall be: public params and annotations, checked and copied.
 *
 * Every bound is checked here, each error names its option ("memory: …"). Files are not touched: the
 * service opens them. An option that was not given is zero or NULL; document.c knows the defaults.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include "async/guid.h"
#include "devices/nic.h"
#include "devices/vpci.h"
#include "devices/vpmem.h"
#include "devices/vsmb.h"
#include "uvm/devices.h"

struct uvm__options {
    uvm_engine *engine;
    char id[UVM_GUID_TEXT];
    char name[UVM_VM_NAME_BYTES_MAX + 1];
    char *owner, *kernel, *initrd, *append; /* NULL: not given */
    char *cgroup;
    char *rootfs;          /* NULL: not given */
    bool rootfs_on_vpmem;  /* or on SCSI */
    char *tools;           /* NULL: not given */
    char *agent_args;      /* further arguments of the agent; NULL: none */
    const char *log_level; /* a static string; NULL: not given */
    uint32_t cpus;
    uint64_t memory_mb;
    uint64_t cpu_limit, cpu_weight;
    uint64_t iops_max, bandwidth_max;
    bool no_overcommit, deferred_commit, cold_discard;
    uint64_t low_mmio_gap_mb, high_mmio_base_mb, high_mmio_gap_mb;
    bool no_time_sync;
    struct uvm__boot_device *boot; /* what the VM begins with, by its order; NULL: nothing */
    size_t boot_count;
    bool boot_vpmem;           /* some of it is in virtual PMem */
    uint64_t vpmem_devices;    /* 0: not given */
    uint64_t vpmem_bytes;      /* of each; 0: not given */
    uint32_t scsi_controllers; /* 0: not given */
    uint8_t scsi_mask;         /* bit per controller that the document has (document.c) */
    bool attachments;          /* ... and it attaches disks or images itself */
    bool vpci;                 /* keeps the PCI bus in the guest's kernel */
};

/* A device of the boot: params as its kind copies them, the engine's. */
struct uvm__boot_device {
    const struct uvm__device_kind *kind;
    void *params;
};

/* On failure `f` says which option and why, and nothing is kept. */
int uvm__options_read(uvm_engine *e, const struct uvm_vm_params *params, struct uvm__options *ret,
                      struct uvm__fail *f);
void uvm__options_deinit(struct uvm__options *o);

/* annotation.c: one "KEY=VALUE". Sets what is not set yet. */
int uvm__annotation_read(struct uvm__options *o, const char *text, struct uvm__fail *f);

/* disk.c: what the caller's struct says, borrowed and checked; -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__disk_read(const struct uvm_scsi_params *params, struct uvm__scsi_params *ret,
                   struct uvm__fail *f);
/* The same of virtual PMem. */
int uvm__vpmem_read(const struct uvm_vpmem_params *params, struct uvm__scsi_params *ret,
                    struct uvm__fail *f);
/* The same of an assigned PCI function. */
int uvm__vpci_read(const struct uvm_vpci_params *params, struct uvm__vpci_params *ret,
                   struct uvm__fail *f);
/* And of shares. */
int uvm__plan9_read(const struct uvm_plan9_params *params, struct uvm__share_params *ret,
                    struct uvm__fail *f);
int uvm__vsmb_read(const struct uvm_vsmb_params *params, struct uvm__share_params *ret,
                   struct uvm__fail *f);
/* nic.c: the same of a network adapter. */
int uvm__nic_read(const struct uvm_nic_params *params, struct uvm__nic_params *ret,
                  struct uvm__fail *f);
/* All that the params begin with, of every kind. */
int uvm__boot_list_read(struct uvm__options *o, const struct uvm_vm_params *params,
                        struct uvm__fail *f);
void uvm__boot_list_free(struct uvm__options *o); /* idempotent */

/* Shared by both: an option's text, checked and copied. `take` is replaced. */
int uvm__options_text(struct uvm__options *o, char **field, const char *option, const char *text,
                      size_t bytes_max, struct uvm__fail *f);
int uvm__options_memory(struct uvm__options *o, const char *option, uint64_t mb,
                        struct uvm__fail *f);
int uvm__options_cpus(struct uvm__options *o, const char *option, uint64_t cpus,
                      struct uvm__fail *f);
