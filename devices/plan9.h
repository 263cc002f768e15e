/* SPDX-License-Identifier: MIT
 * plan9.h — folders and files of the host that the guest mounts by 9P, over a port of its own each.
 *
 * A share is keyed by all that was asked for: host path, mode, allowed files, guest path. So two files of one folder
 * and the two modes of one folder are shares of their own. Its name is a decimal number that is never used again
 * (hcsshim's internal/uvm/plan9.go). No file is touched here.
 */
#pragma once
#include "devices/share.h"

struct uvm__devices;
struct uvm__doc_plan9_share;

/* The registry's part of this kind. */
struct uvm__plan9 {
    uint64_t next_name;
};

/* A share that the document has: on the host as long as the VM lives, and not mounted by us. Its name and its port
 * are never given to another. -UVM_E_NOMEM. */
int uvm__plan9_pin(struct uvm__devices *d, const struct uvm__doc_plan9_share *share);
