/* SPDX-License-Identifier: MIT
 * argv.h — from a document to QEMU's command line, by tables.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include "hcs/doc.h"

#define UVM__QEMU_PROCESSORS_MAX 240u
#define UVM__QEMU_ROOT_PORTS                                                                       \
    8u /* each costs 10 ms of boot; the ninth hot-added PCI device has no place */
#define UVM__QEMU_SLOT_SCSI 0x4u
#define UVM__QEMU_SLOT_ROOT_PORT 0x10u
#define UVM__QEMU_VPMEM_GIB_MAX 512u
#define UVM__QEMU_VPMEM_DEVICES_MAX 8u /* nvdimms of a VM */
/* The guest keeps 1/64 of an nvdimm's size in its own memory, and shall not lose more than 1/8 of that. */
#define UVM__QEMU_VPMEM_PER_RAM 8u
#define UVM__QEMU_ARGS_MAX 128u

/* Where the child finds its descriptors. Each is inherited; QEMU gets no other. */
enum uvm__qemu_fd {
    UVM__QEMU_FD_RAM = 4,
    UVM__QEMU_FD_KERNEL,
    UVM__QEMU_FD_INITRD,
    UVM__QEMU_FD_QMP,
    UVM__QEMU_FD_CONSOLE,
    UVM__QEMU_FD_VSOCK,
    UVM__QEMU_FD_VPMEM, /* and on: a device each */
    UVM__QEMU_FD_MAX = UVM__QEMU_FD_VPMEM + UVM__QEMU_VPMEM_DEVICES_MAX
};

struct uvm__qemu_argv_params {
    const char *qemu_path;
    const char *id; /* GUID: the machine's UUID, also for people who look at processes */
    const struct uvm__doc *doc;
    const char *kernel_line;      /* rewritten */
    uint32_t processors_possible; /* at least the document's count */
    bool kvm;
};

/* Owns its strings. */
struct uvm__argv {
    uvm_engine *engine;
    char *args[UVM__QEMU_ARGS_MAX + 1]; /* NULL-terminated */
    size_t count;
    int rc; /* the first failure; adding then does nothing */
};

/* Refuses by name what QEMU cannot honour: -UVM_E_UNSUPPORTED. */
int uvm__qemu_doc_check(const struct uvm__doc *doc, struct uvm__fail *f);

/* For a document that passed the check. -UVM_E_NOMEM. */
int uvm__qemu_argv(uvm_engine *e, const struct uvm__qemu_argv_params *params,
                   struct uvm__argv *ret);
/* The same command line that only starts firmware which writes one byte (probe.c). */
int uvm__qemu_probe_argv(uvm_engine *e, const char *qemu_path, bool kvm, struct uvm__argv *ret);
/* A QEMU with no machine that is only asked over QMP (capabilities.c). */
int uvm__qemu_ask_argv(uvm_engine *e, const char *qemu_path, struct uvm__argv *ret);
void uvm__argv_deinit(struct uvm__argv *argv);
/* Devices of VPMem that the VM begins with, each empty and of so many bytes: as many of the document's as fit
 * beside the guest's memory. */
unsigned uvm__qemu_vpmem_count(const struct uvm__doc *doc);
uint64_t uvm__qemu_vpmem_bytes(const struct uvm__doc *doc);
