/* SPDX-License-Identifier: MIT
 * mounts.h — the file systems that every guest needs, mounted once by /init.                     */
#pragma once

/* /proc, /sys, /dev and below, /run, /tmp, cgroup v2. 0, or -1 after the one that the guest cannot
 * live without was named on stderr. Mounted already counts as done.                               */
int uvm__mounts_base(void);

/* Writable overlays, kept in RAM, over /etc and /var of a read-only root file system. As above. */
int uvm__mounts_overlays(void);
