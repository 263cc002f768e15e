/* SPDX-License-Identifier: MIT
 * vpmem.h — virtual PMem: nvdimms that are there from the boot, and images mapped into them.
 *
 * QEMU cannot take an nvdimm away again, so all that a VM will have are there when it starts, empty: each is a
 * sealed memfd of ours, which costs what is written into it. An image is copied into a range of one; its
 * removal punches the range out again. QEMU gets the memfd for reading only.
 */
#pragma once
#include "hcs/doc.h"
#include "hcs/qemu/modify.h"

/* Rows of the kinds: a whole device, and a range of one. */
extern const struct uvm__qemu_kind uvm__qemu_vpmem, uvm__qemu_vpmem_mapping;

/* The devices of a VM whose document was checked, empty. */
int uvm__qemu_vpmem_open(struct uvm__qemu_system *s, struct uvm__fail *f);
void uvm__qemu_vpmem_close(struct uvm__qemu_system *s); /* idempotent */
/* A descriptor of device `n` that only reads; -1: errno. */
int uvm__qemu_vpmem_reader(const struct uvm__qemu_system *s, unsigned n);

/* struct uvm__hcs_ops.image_bytes. */
int uvm__qemu_image_bytes(struct uvm__hcs_system *base, const char *path, uint64_t *ret,
                          struct uvm__fail *f);
