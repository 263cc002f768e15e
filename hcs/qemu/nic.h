/* SPDX-License-Identifier: MIT
 * nic.h — network adapters of a VM on QEMU: virtio-net at a root port, joined to something of the host.
 */
#pragma once
#include "hcs/qemu/modify.h"

extern const struct uvm__qemu_kind uvm__qemu_nic;

/* The first field that QEMU cannot honour, or lacks, and why; NULL: none. */
const char *uvm__qemu_nic_refused(const struct uvm__doc_nic *n, const char **ret_why);

/* What is known of an adapter that is there: see uvm__hcs_nic_config(). */
int uvm__qemu_nic_config(struct uvm__hcs_system *base, const char *guid,
                         struct uvm__hcs_nic_config *ret);

/* nic_join.c: what an adapter is joined to, once it is open. */
struct uvm__nic_join {
    int fd;      /* a tap, or a stream; until QEMU has it. -1: none */
    int netlink; /* of another network namespace; -1: none */
    int index;   /* there: of the interface that is redirected */
    struct uvm__hcs_nic_config config;
};
void uvm__nic_join_init(struct uvm__nic_join *j);
/* What can be opened at once: User, Tap and Stream. `f` says what is wrong. */
int uvm__nic_join_open(struct uvm__nic_join *j, const struct uvm__doc_linux_endpoint *e,
                       struct uvm__fail *f);
/* A helper's answer, which waits at `fd`. -UVM_E_PROTOCOL. */
int uvm__nic_join_receive(struct uvm__nic_join *j, int fd, struct uvm__fail *f);
/* Gives the interface back its frames, and closes what is open. Idempotent. */
void uvm__nic_join_close(struct uvm__nic_join *j);
