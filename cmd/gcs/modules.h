/* SPDX-License-Identifier: MIT
 * modules.h — kernel modules by list: no dependencies, no modprobe.
 *
 * The image builder (cmd/gcs/image/modules.py) wrote the lists beside the modules, in the order in
 * which they load: modules.load is for /init, before the first dial; modules.late for afterwards.
 * Loading blocks for milliseconds a module, so the agent, which has a loop, starts `gcs-modules
 * modules.late` as a process instead of calling this, and hands it the marker of gcs.h.           */
#pragma once

/* Loads /lib/modules/RELEASE/`list`. A module that is there already counts as loaded; one that
 * fails is named on stderr ("who: …") and the others are loaded all the same. Returns the number of
 * failures. An image without the list has none to load: 0.                                        */
int uvm__modules_load(const char *who, const char *list);
