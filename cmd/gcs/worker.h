/* SPDX-License-Identifier: MIT
 * worker.h — what blocks in a ModifySettings request, as a process beside the agent's loop.
 *
 * One `gcs-device` (device.h) a request, GCS_WORKERS_MAX at a time; the others wait in order, for the
 * host may ask for 64 disks at once. A process that takes longer than GCS_WORKER_MS is killed: the
 * host has given up by then. Threading: the loop's thread.
 */
#pragma once
#include "cmd/gcs/agent.h"

#define GCS_WORKERS_MAX 16u  /* processes at a time; the other requests wait */
#define GCS_WORKER_MS 60000u /* of one; a large disk is formatted in it */

/* Serves the request and answers it, later. `settings` is JSON text. */
void gcs_worker_serve(struct gcs_agent *a, struct uvm__server_request *take_r, const char *resource,
                      const char *request, const char *settings);
/* Ends all of them: the agent quits. */
void gcs_workers_drop(struct gcs_agent *a);
