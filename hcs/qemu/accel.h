/* SPDX-License-Identifier: MIT
 * accel.h — which accelerator VMs get, decided once per service by trying it; a try that failed for
 * want of something on the way decides nothing.
 *
 * The answer is kept in memory and, where the engine has a folder for it, in a file that names the boot
 * of the host and the QEMU that it is about.
 */
#pragma once
#include "async/list.h"
#include "async/ready.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/qemu_service.h"

#define UVM__ACCEL_REASON_BYTES 200u

struct uvm__accel_answer {
    bool kvm;
    uint32_t kvm_gid; /* group that may open KVM's device; 0: any may */
    char reason[UVM__ACCEL_REASON_BYTES];
};

/* Somebody who waits for the answer; `fn` runs once, later. */
struct uvm__accel_wait {
    struct uvm__list link;
    void (*fn)(struct uvm__accel_wait *w);
};

struct uvm__accel {
    uvm_engine *engine;
    enum uvm_qemu_accel option;
    enum uvm_qemu_drop drop;
    uint32_t uid_base;
    const char *launch_path, *cache_dir; /* the service's */
    bool known;                          /* the answer is kept */
    bool telling;                        /* `tell` is to run, with this answer */
    struct uvm__accel_answer answer;
    struct uvm__list waiters;
    struct uvm__ready tell;
    uvm_op *probe; /* running */
    char probed_path[UVM__QEMU_PATH_BYTES];
    void (*on_idle)(struct uvm__accel *a);
};

void uvm__accel_init(struct uvm__accel *a, uvm_engine *e);
/* Whether a probe that ended so says something about the host. What came of a lack of memory,
 * descriptors, ids or time says nothing: those who wait are told, the next one asks again. */
bool uvm__accel_verdict(enum uvm_error_code code);
/* Asks about this QEMU; the answer is in a->answer when w->fn runs. */
void uvm__accel_ask(struct uvm__accel *a, const char *qemu_path, struct uvm__accel_wait *w);
void uvm__accel_forget(struct uvm__accel *a, struct uvm__accel_wait *w); /* idempotent */
/* Nobody will ask any more. True when nothing runs; else a probe is cancelled and `on_idle` runs later. */
bool uvm__accel_idle(struct uvm__accel *a, void (*on_idle)(struct uvm__accel *a));

/* A probe's answer (kvm, reason) in a file of `dir`, for the next engine. Read gives false when there is
 * none for this boot of the host, this binary and this user. Write is best effort. */
bool uvm__accel_cache_read(const char *dir, const char *qemu_path, struct uvm__accel_answer *ret);
void uvm__accel_cache_write(const char *dir, const char *qemu_path,
                            const struct uvm__accel_answer *answer);
