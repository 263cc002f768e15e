/* SPDX-License-Identifier: MIT
 * progress.h — the steps of a boot as they end, on a terminal, once it has lasted a second.
 */
#pragma once
#include "cmd/uvmctl/app.h"

/* NULL when standard error is no terminal. Freed by progress_close(). */
struct progress *progress_open(uv_loop_t *loop);
void progress_record(struct progress *p, const struct uvm_log_record *record);
/* No line comes after it; accepts NULL. */
void progress_close(struct progress *p);
