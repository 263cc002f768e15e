/* SPDX-License-Identifier: MIT
 * plan9.h — a folder of the host's that the guest mounts by 9P, over a port of its hvsock.
 *
 * Each share has a diod of its own (package diod), which begins with the Add: in the VM's control group, in an
 * empty root that holds the folder and what the program itself needs, with few capabilities. Its port answers
 * one dial, the mount's; from then on, and after its Remove, it refuses. A diod that dies while the share is mounted
 * takes the share with it (the guest sees I/O errors), not the VM.
 */
#pragma once
#include "hcs/qemu/modify.h"

extern const struct uvm__qemu_kind uvm__qemu_plan9;

/* Which field of the settings QEMU's side cannot honour; NULL: none. */
const char *uvm__qemu_plan9_refused(const struct uvm__doc_plan9_share *s, const char **ret_why);
/* With the VM's parts: ends all of them; `on_closed` later for each process, whose number is returned. */
unsigned uvm__qemu_plan9_close(struct uvm__qemu_system *s, void (*on_closed)(void *arg));
