/* SPDX-License-Identifier: MIT
 * vpmem.h — read-only images in virtual PMem: a range of a device each, or a whole one.
 *
 * An image is keyed by its host path. Its range comes from the size classes of hcsshim's
 * internal/memory: 1 MiB times a power of 4, the smallest that holds it, in the device's lowest such
 * region. How large images and devices are the service says.
 */
#pragma once
#include "async/error.h"
#include "devices/scsi.h"

#define UVM__VPMEM_CLASS_MIN_BYTES (1ull << 20)
#define UVM__VPMEM_CLASSES 7u                /* each four times the one before: 1 MiB to 4 GiB */
#define UVM__VPMEM_DEVICE_MAPPINGS_MAX 1024u /* of one device */
#define UVM__VPMEM_UNITS 4096u /* of the smallest class in a device; more are not used */

/* The regions of one device: a bit a unit that is taken. */
struct uvm__vpmem_regions {
    uint64_t used[UVM__VPMEM_UNITS / 64];
    uint32_t units, mappings;
    bool whole;
};

void uvm__vpmem_regions_init(struct uvm__vpmem_regions *r, uint64_t device_bytes);
/* The class that holds so many bytes; UVM__VPMEM_CLASSES: none does. */
unsigned uvm__vpmem_class(uint64_t bytes);
/* The lowest free region of the class, or of the lowest free one of the next class that has one: its first
 * part. The offset in bytes; false: there is none. */
bool uvm__vpmem_regions_take(struct uvm__vpmem_regions *r, unsigned class, uint64_t *ret_offset);
void uvm__vpmem_regions_give(struct uvm__vpmem_regions *r, unsigned class, uint64_t offset);

/* The registry's part of this kind. */
struct uvm__vpmem {
    struct uvm__vpmem_regions *devices;
    uint32_t count;
};

/* What the system has; before anything is attached. -UVM_E_NOMEM. */
int uvm__vpmem_open(struct uvm__devices *d);
void uvm__vpmem_close(struct uvm__devices *d); /* idempotent; nothing is attached any more */

/* Params of the kind are a disk's, read-only and mounted, with whole_device and or_scsi; NULL options. */
int uvm__vpmem_check(const struct uvm__scsi_params *p, struct uvm__fail *f);
/* An image that the document maps: a device as long as the VM lives. -UVM_E_EXISTS, -UVM_E_LIMIT. */
int uvm__vpmem_pin(struct uvm__devices *d, uint32_t device, const char *host_path,
                   struct uvm__fail *f);
