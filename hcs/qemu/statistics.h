/* SPDX-License-Identifier: MIT
 * statistics.h — what a system has used; see statistics.c.
 */
#pragma once
#include "hcs/qemu/qemu_int.h"

#include <cjson/cJSON.h>

/* "Statistics" and "Memory", as far as the host knows them at once. False: no memory. */
bool uvm__qemu_add_statistics(const struct uvm__qemu_system *s, cJSON *root);
/* The counters of a disk in an answer of query-blockstats, by its device's id; NULL: QEMU has none of it. */
const cJSON *uvm__qemu_blockstats(const cJSON *blocks, const char *device);
/* Of /proc/PID/stat: ticks in user mode and in the kernel. False: it is none. */
bool uvm__qemu_read_times(const char *text, uint64_t *ret_user, uint64_t *ret_kernel);

/* All of it, with "Resources". See uvm__hcs_statistics(). */
int uvm__qemu_statistics(struct uvm__hcs_system *base, uvm_scope *scope, uvm_done_fn on_done,
                         void *arg, uvm_op **ret_op);
const char *uvm__qemu_statistics_result(uvm_op *op);
