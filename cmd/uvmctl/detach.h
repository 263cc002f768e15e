/* SPDX-License-Identifier: MIT
 * detach.h — a UVM in the background: the one who asks for it, and the owner, who is uvmctl again.
 *
 * The owner is this program under the name DETACH_OWNER, with the same words, in a session of its own. Until
 * the UVM runs it shares our standard errors, so that it says itself what goes wrong; descriptor 3 is a
 * socket between the two: "running NAME ID\n" comes on it, and its end is each one's sign that the other is
 * gone.
 */
#pragma once
#include "cmd/uvmctl/run.h"

#define DETACH_OWNER "uvm-owner"

/* Starts the owner with `argv` (behind the verb), waits until the UVM runs; the exit status of the verb. */
int detach_boot(char **argv, bool json);
/* In the owner: this process was started as one. */
void detach_become_owner(void);
bool detach_is_owner(void);
/* Owns a UVM from here to its end; the exit status. */
int detach_own(struct app *app, const struct run_params *params);
