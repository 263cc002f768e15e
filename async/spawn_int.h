/* SPDX-License-Identifier: MIT
 * spawn_int.h — how a child process comes to be; for child_linux.c only.
 */
#pragma once
#include "async/child.h"
#include "async/limits.h"

/* What one start needs: the pipes and the command line of uvm-launch (a direct start has no status
 * pipe and its own command line), and the place of every descriptor in the child. Nothing of it is needed once the child runs. */
struct uvm__spawn {
    int status[2],
        err[2]; /* pipes: ours, the child's; whoever takes ours leaves -1; err only on demand */
    int null;
    const char **argv;
    struct uvm__child_fd fds[UVM__CHILD_FDS_MAX + 4]; /* with 0 to 3; each target once */
    size_t fds_count;
    int target_max;
};
#define UVM__SPAWN_INIT                                                                            \
    { .status = {-1, -1}, .err = {-1, -1}, .null = -1 }

/* Is that a child that can be started at all? 0, -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__spawn_check(const struct uvm__child_params *p, struct uvm__fail *f);
/* Makes everything but the process. Release is due afterwards, also on failure. */
int uvm__spawn_prepare(uvm_engine *e, const struct uvm__child_params *p, struct uvm__spawn *s,
                       struct uvm__fail *f);
/* Starts uvm-launch, or the program itself: signals at their defaults and none blocked, no
 * descriptor but those listed up to the highest target (uvm-launch closes what is above; in a
 * direct start that is done here). */
int uvm__spawn_run(const struct uvm__spawn *s, const struct uvm__child_params *p, pid_t *ret_pid,
                   struct uvm__fail *f);
void uvm__spawn_release(uvm_engine *e, struct uvm__spawn *s);
