/* SPDX-License-Identifier: MIT
 * bench_kit.h — one VM through the public API, and calls that wait: what the programs of this folder share.
 * Whatever fails ends the program with words.
 */
#pragma once
#include "async/async.h"
#include "uvm/uvm.h"
#include <uv.h>

struct bench {
    uv_loop_t loop;
    uvm_engine *engine;
    uvm_service *service;
    uvm_vm *vm;
    bool done; /* what bench_run() waits for */
};
extern struct bench b;

uint64_t bench_now_us(void);
_Noreturn void bench_fail(const char *what, const uvm_error *err); /* err NULL: no more is known */
void bench_check(int rc, const char *what);

/* The loop, until b.done. bench_on_done: a uvm_done_fn that sets it, `arg` is what to call it. */
void bench_run(void);
void bench_on_done(uvm_op *op, const uvm_error *err, void *arg);

/* argv[1] to argv[4]: KERNEL INITRD LAUNCH VMM. */
void bench_boot(char **argv);
/* The same of a VM of these params, whose name and boot files are filled in. */
void bench_boot_with(char **argv, struct uvm_vm_params *vp);
void bench_end(void);
pid_t bench_vmm(void); /* the VMM's process */

/* A process of the guest without stdio, and its end, which must be 0. */
uvm_process *bench_start(const char *const *argv);
void bench_finish(uvm_process *p, const char *what);
/* The number that a command prints on stdout. */
double bench_ask(const char *const *argv);
