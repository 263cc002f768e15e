/* SPDX-License-Identifier: MIT
 * verbs.h — the verbs, one file each. Each takes the words after its name and returns an exit status.
 */
#pragma once
#include "cmd/uvmctl/help.h"
#include "cmd/uvmctl/run.h"

extern const struct verb verb_attach, verb_boot, verb_console, verb_detach, verb_devices,
    verb_doctor, verb_events, verb_exec, verb_gc, verb_inspect, verb_kill, verb_logs, verb_plot,
    verb_ps, verb_stats, verb_stop, verb_wait;

/* measure.c: `count` boots, `parallel` at a time, and their times. */
int measure(struct app *app, const struct run_params *params, uint32_t count, uint32_t parallel,
            bool table, bool json);
