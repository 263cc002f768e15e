/* SPDX-License-Identifier: MIT
 * session.h — signals to everything in a session.
 */
#pragma once
#include "async/async.h"
#include <sys/types.h>

/* Signals all processes of the session but those of process group `but_pgrp`, by pidfd, so that no reused
 * pid is hit. For SIGKILL it looks again until nothing new is there, since what forks may outrun one look.
 * Returns how many were signalled. Wants /proc; the session's leader must not have been reaped. */
unsigned gcs_session_signal(pid_t session, pid_t but_pgrp, int signo);

/* "pid (name) state ppid pgrp session …": 0, or -UVM_E_PROTOCOL. */
int gcs_session_parse(const char *stat, char *ret_state, pid_t *ret_pgrp, pid_t *ret_session);
