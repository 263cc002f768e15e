/* SPDX-License-Identifier: MIT
 * scope.h — a tree of cancellation and deadlines.
 *
 * Reasons travel down at once and set bits; what an op does about them happens later, on the ready
 * queue. A scope keeps the strongest reason and, for VM exit and transport loss, the error that says
 * why. Children hold a reference on their parent. A scope made under a cancelled one is born cancelled.
 */
#pragma once
#include "async/clock.h"
#include "async/list.h"

/* Strongest last (ARCHITECTURE.md, Operations: caller's cancel > deadline > VM exit > transport loss). */
enum uvm__reason {
    UVM__GO,
    UVM__TRANSPORT_LOST,
    UVM__VM_EXITED,
    UVM__TIMED_OUT,
    UVM__CANCELED,
    UVM__REASON_MAX
};

struct uvm_scope {
    uint32_t refs;
    uint8_t reasons; /* bit per enum uvm__reason */
    uvm_engine *engine;
    uvm_scope *parent;
    uvm_scope *undo_root;      /* where undo scopes of ops below hang; inherited */
    struct uvm__list children; /* uvm_scope.link */
    struct uvm__list link;
    const char *label; /* name of the VM that it belongs to, "": none; inherited, outlives it */
    struct uvm__list
        quarantine; /* of an undo root: ops that could not undo (uvm_op.quarantine_link) */
    struct uvm__deadline deadline;
    uvm_error *why;                   /* of VM_EXITED or TRANSPORT_LOST */
    void (*on_reason)(uvm_scope *s);  /* set bits: called at once; must only push a ready node */
    void (*on_release)(uvm_scope *s); /* embedded scopes; NULL: freed */
};

/* Embedded scope: `refs` 1, released by uvm_scope_unref(). */
void uvm__scope_init(uvm_scope *s, uvm_engine *e, uvm_scope *parent,
                     void (*on_release)(uvm_scope *s));
void uvm__scope_deadline(uvm_scope *s, uint64_t ms); /* from now; earlier of the two wins */
void uvm__scope_fail(uvm_scope *s, enum uvm__reason reason, const uvm_error *why);
enum uvm__reason uvm__scope_reason(const uvm_scope *s);
/* An error for the scope's strongest reason, the others as causes; NULL when there is none. */
uvm_error *uvm__scope_error(uvm_scope *s);
/* Ops under this undo root whose undo failed or has not answered. */
size_t uvm__scope_quarantined(const uvm_scope *undo_root);
