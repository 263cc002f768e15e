/* SPDX-License-Identifier: MIT
 * kmsg.h — the kernel's messages of a priority, copied to the agent's log (-kmsgLogLevel).
 */
#pragma once
#include "cmd/gcs/log.h"

struct gcs_kmsg {
    uv_poll_t poll;
    int fd; /* -1: closed */
    unsigned level_max;
    struct gcs_log *log;
};

/* Copies from now on what comes with priority `level_max` or a lower number. 0 or -UVM_E_IO; then it is
 * closed. */
int gcs_kmsg_open(struct gcs_kmsg *k, uv_loop_t *loop, struct gcs_log *log, unsigned level_max);
void gcs_kmsg_init(struct gcs_kmsg *k);  /* closed */
void gcs_kmsg_close(struct gcs_kmsg *k); /* idempotent; the loop must still run once */

/* One record of /dev/kmsg, "priority,sequence,time,flags;text\n…": 0 and both, or -UVM_E_PROTOCOL. The text
 * is cut out of `record` in place. */
int gcs_kmsg_parse(char *record, unsigned *ret_level, const char **ret_text);
