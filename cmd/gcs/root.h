/* SPDX-License-Identifier: MIT
 * root.h — a root file system on a disk, entered from the initrd.
 *
 * Debian's drivers are modules, so the disk's kernel arguments (root=, ro or rw, rootfstype=, init=)
 * are carried out here and not by the kernel. The image stays visible below UVM__IMAGE, where the
 * agent, its modules and a shell are found by guests that have none of their own.                  */
#pragma once
#include <limits.h>
#include <stddef.h>

/* Mounts what `root=` on the kernel's command line names and makes it the root. 0: done, and `init`
 * is the program there that init= names, "" for none; or there is no root= and nothing was done. -1
 * after a line on stderr. Needs the base mounts (mounts.h), which move along. */
int uvm__root_enter(char init[PATH_MAX]);
