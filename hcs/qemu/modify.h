/* SPDX-License-Identifier: MIT
 * modify.h — changes of a VM that was created: what a kind of resource gives, and the verb.
 */
#pragma once
#include "hcs/modify_doc.h"
#include "hcs/qemu/qemu_int.h"

/* A kind is one file and one row of modify.c's table. */
struct uvm__qemu_kind {
    /* By enum uvm__modify_verb, each an op; NULL: `refused` says why not. The request is valid until the call
     * returns: what the op needs it copies. */
    int (*verbs[UVM__MODIFY_VERB_MAX])(struct uvm__qemu_system *s, const struct uvm__modify *m,
                                       uvm_scope *scope, uvm_done_fn on_done, void *arg,
                                       uvm_op **ret_op);
    const char *refused[UVM__MODIFY_VERB_MAX];
};

int uvm__qemu_modify(struct uvm__hcs_system *base, const struct uvm__hcs_modify_params *params,
                     uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* The document's own devices, from its first to its last: the same ops as a later Add's. */
struct uvm__boot_devices {
    struct uvm__qemu_system *system;
    uvm_op *op;                                                    /* whose step this is */
    size_t controller, attachment, vpmem, vpci, share, nic, plan9; /* the next ones */
    struct uvm__modify request;                                    /* the current one's */
};
/* Ends the step. */
void uvm__boot_devices_run(struct uvm__boot_devices *b, struct uvm__qemu_system *s, uvm_op *op);
