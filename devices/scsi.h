/* SPDX-License-Identifier: MIT
 * scsi.h — disks: slots on up to four controllers, and the mounts of each disk.
 *
 * A disk is keyed by its host path: one slot, whoever asks; to ask for it read-only and read-write is
 * refused. Of one disk there may be several attachments: without a mount, and mounts that differ. No file
 * is touched here: the service opens them.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include "async/list.h"

#define UVM__SCSI_CONTROLLERS_MAX 4u         /* SCSI controllers that the manager uses */
#define UVM__SCSI_LUNS_MAX 64u               /* slots on one of them */
#define UVM__DISK_HOST_PATH_BYTES_MAX 4095u  /* a disk's path on the host */
#define UVM__DISK_GUEST_PATH_BYTES_MAX 1023u /* where a disk is mounted */
#define UVM__DISK_OPTIONS_MAX 32u            /* options of one mount */
#define UVM__DISK_OPTION_BYTES_MAX 255u      /* one of them */
#define UVM__DISK_FILESYSTEM_BYTES_MAX 31u   /* a file system's name */
#define UVM__DISK_VERITY_BYTES 64u           /* a root hash in hexadecimal digits */

struct uvm__devices;

/* The registry's part of this kind. */
struct uvm__scsi {
    struct uvm__list disks;                   /* struct uvm__scsi_disk.link */
    uint64_t used[UVM__SCSI_CONTROLLERS_MAX]; /* bit per LUN: taken */
    uint32_t freed[UVM__SCSI_CONTROLLERS_MAX]
                  [UVM__SCSI_LUNS_MAX]; /* 0: never taken; else in order */
    uint32_t freed_last;
    uint8_t controllers;           /* bit per controller that the VM has */
    const char *tools_path;        /* scsi_tools.c; NULL: there is no tools disk */
    struct uvm__scsi_tools *tools; /* NULL: not needed yet */
};

/* Borrowed during the call; see struct uvm_scsi_params (uvm/devices.h). */
struct uvm__scsi_params {
    const char *host_path;
    bool read_only, physical, mount;
    const char *guest_path;
    uint64_t partition;
    const char *const *options;
    const char *filesystem;
    bool ensure_filesystem, block_dev, encrypted;
    const char *verity;         /* NULL or "": unchecked */
    bool whole_device, or_scsi; /* of VPMem only (vpmem.h) */
};

/* What can be said about params without a VM; `f` says what is wrong: -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__scsi_check(const struct uvm__scsi_params *p, struct uvm__fail *f);

/* The same root hash, or both without one. */
bool uvm__scsi_same_verity(const char *a, const char *b);

/* Checked params with everything in one block, which uvm__free() releases; the guest path without doubled
 * and final slashes. NULL: no memory. */
struct uvm__scsi_params *uvm__scsi_copy(uvm_engine *e, const struct uvm__scsi_params *p);

/* The controllers that the VM's document has, before anything is attached. */
void uvm__scsi_set_controllers(struct uvm__devices *d, uint8_t controllers);
/* The image of the tools disk, which the first mount that may format brings; NULL: none. `path` outlives
 * the registry. */
void uvm__scsi_set_tools(struct uvm__devices *d, const char *path);
/* A disk that the document attaches: in its slot as long as the VM lives, shared by whoever asks for the
 * same path. -UVM_E_EXISTS: the slot or the path is taken. */
int uvm__scsi_pin(struct uvm__devices *d, uint32_t controller, uint32_t lun, const char *host_path,
                  bool read_only, bool physical, struct uvm__fail *f);
