/* SPDX-License-Identifier: MIT
 * gcs.h — the programs that the guest's one binary is, picked by argv[0] (main.c).
 *
 * Each takes the command line of its name and comes back with an exit status. All of them but the
 * agent are plain blocking C without a loop. The marker is how the agent knows where it is.       */
#pragma once

#include <stdbool.h>

int uvm__init_main(int argc, char **argv);      /* /init, the guest's first process */
int uvm__vsockexec_main(int argc, char **argv); /* a program with host ports as its stdio */
int uvm__agent_main(int argc, char **argv);     /* gcs: the agent itself (flags.h) */
int uvm__modules_main(int argc, char **argv);   /* gcs-modules LIST: loads modules of the image */
int uvm__dhcp_main(int argc, char **argv);   /* gcs-dhcp EVENT: what a DHCP client runs (nic.h) */
int uvm__device_main(int argc, char **argv); /* gcs-device: one request about a device (device.h) */

/* What /init puts into the environment of what it starts. */
#define UVM__INIT_MARKER "UVM_INIT"

/* Whether this process may act as the guest's master (mount, reboot, set clocks and limits): the
 * marker is there, and PID 1 is this very binary. False in doubt. Needs /proc.                    */
bool uvm__under_our_init(void);
