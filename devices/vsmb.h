/* SPDX-License-Identifier: MIT
 * vsmb.h — shared folders and files that a document calls vSMB.
 *
 * A share is keyed by its host path, its mode, and whether it is a file: asked for again in the same way it is
 * shared, in another way refused. Its name on the host is "s" and a number in hexadecimal that is never used again
 * (hcsshim's internal/uvm/vsmb.go). No file is touched here.
 */
#pragma once
#include "devices/share.h"

struct uvm__devices;

/* The registry's part of this kind. */
struct uvm__vsmb {
    uint64_t last_name;
};

/* A share that the document has: on the host as long as the VM lives, and not mounted by us. Its name is never
 * given to another. */
int uvm__vsmb_pin(struct uvm__devices *d, const char *name, const struct uvm__share_params *p,
                  struct uvm__fail *f);
