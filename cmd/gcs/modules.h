/* SPDX-License-Identifier: MIT
 * modules.h — kernel modules by list: no dependencies, no modprobe.
 *
 * The image builder (cmd/gcs/image/modules.py) wrote the lists beside the modules, in the order in
 * which they load: modules.load is for /init, before the first dial; the others are for what needs
 * them. A line is a path and, behind a blank, the module's parameters. Loading blocks for milliseconds
 * a module, so no process with a loop does it.                                                     */
#pragma once

/* Loads /lib/modules/RELEASE/`list`. A module that is there already counts as loaded; one that
 * fails is named on stderr ("who: …") and the others are loaded all the same. Returns the number of
 * failures. An image without the list has none to load: 0.                                        */
int uvm__modules_load(const char *who, const char *list);
