/* SPDX-License-Identifier: MIT
 * machine.h — the only door to what belongs to the machine and not to the agent.
 *
 * Everything here asserts that the process runs under our own /init inside a UVM (gcs_agent.inside), so
 * that a mistake elsewhere cannot reboot or change the machine of whoever tries the agent out.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

/* Under our own /init: uvm__under_our_init() and this process is not PID 1 itself. */
bool gcs_machine_inside(void);

/* Writes back file systems, at most GCS_SYNC_MS of it, and switches the power off. Does not return. */
_Noreturn void gcs_machine_power_off(bool inside);

/* /proc/sys/kernel/core_pattern. -UVM_E_IO. */
int gcs_machine_core_pattern(bool inside, const char *pattern, struct uvm__fail *f);

/* With GCS_LINGER_MS clearly less than the host's UVM__STOP_GRACE_MS, which ends a VM that is still
 * writing: asserted in machine.c. */
#define GCS_SYNC_MS 5000
