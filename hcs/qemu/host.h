/* SPDX-License-Identifier: MIT
 * host.h — what this host has: QEMU's binary, processors, KVM's device, memory for a guest.
 *
 * Synchronous and quick: a few small files of /proc and /dev.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__QEMU_PROGRAM "qemu-system-x86_64"
#define UVM__QEMU_PATH_BYTES 1024u

/* `path` NULL: the first executable QEMU of the colon-separated folders of `search`. -UVM_E_HOST. */
int uvm__host_find_qemu(const char *path, const char *search, char ret[UVM__QEMU_PATH_BYTES],
                        struct uvm__fail *f);

/* The server of shared folders; NULL: there is none. */
const char *uvm__host_virtiofsd(void);

/* The 9P server of the package diod, in the folders of `search` or where the package puts it. -UVM_E_HOST. */
#define UVM__DIOD_PROGRAM "diod"
int uvm__host_find_diod(const char *search, char ret[UVM__QEMU_PATH_BYTES], struct uvm__fail *f);

uint32_t uvm__host_processors(void);

/* Whether the text of /proc/cpuinfo names vmx or svm among the flags. */
bool uvm__host_cpu_virtualizes(const char *cpuinfo);

/* Whether KVM may be worth a probe for a VMM that runs with our ids, or (dropped) as an unprivileged uid;
 * then *ret_gid becomes the group that owns the device, if only that may open it. False: `reason` says
 * why not, and *ret_lasting whether it will stay so (else there was a lack of something just now). */
bool uvm__host_kvm(bool dropped, uint32_t *ret_gid, bool *ret_lasting, char *reason, size_t bytes);

/* The id of this boot of the host; "" when unknown. */
void uvm__host_boot_id(char ret[40]);

/* A memfd of that size that can neither shrink nor grow any more. -UVM_E_NOMEM, -UVM_E_IO. */
int uvm__host_ram(uint64_t bytes, int *ret_fd, struct uvm__fail *f);
/* A sealed memfd with these bytes. */
int uvm__host_blob(const void *data, size_t bytes, int *ret_fd, struct uvm__fail *f);
