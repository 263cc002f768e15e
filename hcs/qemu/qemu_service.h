/* SPDX-License-Identifier: MIT
 * qemu_service.h — a compute service for Linux hosts: each VM is a QEMU of its own.
 *
 * The public constructor and the probe; VMs on it are made by uvm_vm_new() (uvm/uvm.h).
 * Ownership: params are copied. Threading: the engine's loop thread. Nothing here reads the environment.
 */
#pragma once
#include "async/async.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uvm__hcs;

enum uvm_qemu_accel {
    UVM_QEMU_ACCEL_AUTO, /* KVM where it really runs guests, else emulation */
    UVM_QEMU_ACCEL_KVM,  /* KVM, or the VM is not created (UVM_E_HOST) */
    UVM_QEMU_ACCEL_TCG   /* emulation, without asking for more */
};

enum uvm_qemu_drop {
    UVM_QEMU_DROP_AUTO, /* root gives every VMM an unprivileged uid of its own */
    UVM_QEMU_DROP_NEVER /* VMMs run as the owner does */
};

struct uvm_qemu_params {
    size_t size;             /* sizeof this struct */
    const char *qemu_path;   /* NULL: qemu-system-x86_64 in search_path */
    const char *search_path; /* colon-separated folders; NULL: none */
    const char *launch_path; /* uvm-launch; needed */
    enum uvm_qemu_accel accel;
    enum uvm_qemu_drop drop;
    uint32_t vmm_uid_base;        /* first uid for VMMs; 0: 1879048192 */
    uint32_t processors_possible; /* that a VM may grow to; 0: the host's, at most 8 */
    const char
        *cache_dir; /* an existing folder for the answer about KVM; NULL: kept in memory only */
    /* Bounds of all VMs of this service (and of those that are published in the same state folder by
     * others, for a VM that is published itself). A boot that would pass one is refused: UVM_E_LIMIT. */
    uint32_t vms_max; /* 0: 16384 */
    uint64_t
        memory_mb_max; /* their memory and what each VMM takes beside it; 0: what this machine, or
                             * the control group that we are in, has; then it must be available, too */
};
#define UVM_QEMU_PARAMS_INIT                                                                       \
    {                                                                                              \
        sizeof(struct uvm_qemu_params), NULL, NULL, NULL, UVM_QEMU_ACCEL_AUTO, UVM_QEMU_DROP_AUTO, \
            0, 0, NULL, 0, 0                                                                       \
    }

/* Needs no QEMU on the host: what is missing is told by create. -UVM_E_INVAL, -UVM_E_NOMEM,
 * -UVM_E_UNSUPPORTED on an engine without a loop. Closed by uvm_service_close(). */
int uvm_qemu_service_new(uvm_engine *engine, const struct uvm_qemu_params *params,
                         struct uvm__hcs **ret_service);

/* Something that this QEMU can or cannot do. Strings are static. */
struct uvm_qemu_capability {
    const char *name; /* "virtio-scsi" */
    const char *use;  /* what needs it: "disks" */
    bool needed;      /* without it no VM boots */
    bool present;
};

/* What VMs would get on this host, for people: which QEMU, what it can do, which accelerator, why. Asks
 * a QEMU that runs for a moment, and may run the probe VM. Errors: HOST when there is no QEMU or it does
 * not run, or no KVM where it was demanded. */
struct uvm_qemu_facts {
    const char *qemu_path;
    const char *accel;   /* "kvm", "tcg" */
    const char *reason;  /* why that one */
    const char *user;    /* how VMMs run: "a uid of its own", … */
    const char *version; /* "7.2.22" */
    const struct uvm_qemu_capability *capabilities;
    size_t capabilities_count;
};
int uvm_qemu_service_probe(struct uvm__hcs *service, uvm_scope *scope, uvm_done_fn on_done,
                           void *arg, uvm_op **ret_op);
/* Looks at a boot file as create does, and says in one line what it is: "6.1.0-56-cloud-amd64, PVH entry,
 * 43 MiB". For programs that diagnose: it reads the file, and waits for the disk. On failure the error
 * (*ret_err, may be NULL, the caller's to release) says what is wrong and what to do: NOTFOUND, INVAL, IO. */
#define UVM_QEMU_LOOK_BYTES 160u /* a boot file in one line of text */
int uvm_qemu_kernel_look(uvm_engine *engine, const char *path, char ret_text[UVM_QEMU_LOOK_BYTES],
                         uvm_error **ret_err);
int uvm_qemu_initrd_look(uvm_engine *engine, const char *path, char ret_text[UVM_QEMU_LOOK_BYTES],
                         uvm_error **ret_err);

/* Of a successful probe; valid as long as the op. */
const struct uvm_qemu_facts *uvm_qemu_service_probe_result(uvm_op *op);

#ifdef __cplusplus
}
#endif
