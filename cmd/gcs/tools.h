/* SPDX-License-Identifier: MIT
 * tools.h — programs that few guests need, which come on the tools disk (mkfs and the like).
 *
 * They are dynamic programs with their libraries beside them, so they are run by the disk's own
 * loader: UVM__TOOLS/lib/ld-linux-x86-64.so.2. What the image itself has in its PATH comes first.   */
#pragma once
#include "cmd/gcs/device.h"

#define UVM__TOOLS "/run/uvm/tools"

/* Runs the program to its end with no input. 0 when its status was 0. Else -1, with
 * `failed to execute NAME: STATUS: LAST WORDS`, in the reference's words where it is missing; w->unreadable when
 * its last words are of a disk that could not be read or written. */
int gcs_tool_run(const char *const *argv, struct gcs_words *w);

/* The same with so many bytes (1 … 4096) on its input, which are nowhere else. */
int gcs_tool_run_fed(const char *const *argv, const void *input, size_t bytes, struct gcs_words *w);
