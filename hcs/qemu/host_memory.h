/* SPDX-License-Identifier: MIT
 * host_memory.h — how much memory there is for us: the machine's, or what our control group leaves of it.
 */
#pragma once
#include <stdint.h>

struct uvm__host_memory {
    uint64_t total_mb, available_mb; /* UINT64_MAX: the host does not say */
};

/* `root` is the folder that proc/ and sys/ are in. */
struct uvm__host_memory uvm__host_memory(int root);
/* What a control group of version 2 and those around it leave; `folder` is below `root`, at or below
 * "sys/fs/cgroup", without a slash at its ends. */
struct uvm__host_memory uvm__group_memory(int root, const char *folder);
