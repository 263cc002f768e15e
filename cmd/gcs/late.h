/* SPDX-License-Identifier: MIT
 * late.h — the kernel modules that the first dial did not need, loaded after the first negotiation.
 */
#pragma once
#include "cmd/gcs/agent.h"

/* Starts `gcs-modules modules.late` as a process, under our own /init only. Its failure is a warning: what a
 * module is missing for says so itself. */
void gcs_late_start(struct gcs_agent *a);
