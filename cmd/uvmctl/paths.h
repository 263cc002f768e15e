/* SPDX-License-Identifier: MIT
 * paths.h — where the files are: helper and boot files, found from the program's own place.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define PATH_BYTES 4096u

/* uvm-launch, beside this program or in ../libexec/uvm. False: in none; `ret` is the first place. */
bool paths_launch(char ret[PATH_BYTES]);

/* A boot file ("vmlinux", "initrd.img"): in $UVM_BOOT_FILES if that is set, else where an installation
 * has it (../lib/uvm), else in the folder above this program's (out/ of a checkout). False: in none;
 * `ret_where` (may be NULL) is the list of folders that were searched, for people. */
bool paths_boot_file(const char *name, char ret[PATH_BYTES], char *ret_where, size_t bytes);
