/* SPDX-License-Identifier: MIT
 * wire.h — one line of the offer channel (docs/PROTOCOL-vmbus.md), read and written. Both ends use it.
 */
#pragma once
#include "async/error.h"
#include "async/limits.h"
#include "vmbus/device.h"

#define UVM__VMBUS_VERSION 1u

/* X(name, member): a line is an object of one member, whose name says what it is. */
#define UVM__VMBUS_LINE_MAP(X)                                                                     \
    X(VERSION, "version")                                                                          \
    X(OFFER, "offer")                                                                              \
    X(RESCIND, "rescind")                                                                          \
    X(SYNC, "sync") /* to the guest, up to here */                                                 \
    X(OPENED, "opened")                                                                            \
    X(CLOSED, "closed")
enum uvm__vmbus_line_kind {
#define UVM__X(name, member) UVM__VMBUS_LINE_##name,
    UVM__VMBUS_LINE_MAP(UVM__X)
#undef UVM__X
        UVM__VMBUS_LINE_MAX
};

struct uvm__vmbus_line {
    enum uvm__vmbus_line_kind kind;
    uint32_t version;                /* VERSION */
    struct uvm__vmbus_device device; /* OFFER; of RESCIND, OPENED and CLOSED the instance alone */
};

/* Writes the line with its line feed into `buf`; always fits. Returns its bytes. */
size_t uvm__vmbus_line_write(const struct uvm__vmbus_line *line,
                             char buf[UVM__VMBUS_LINE_BYTES_MAX]);
/* Reads one line without its line feed. -UVM_E_PROTOCOL with words, -UVM_E_NOMEM. A class that is not known
 * reads as UVM__VMBUS_CLASS_MAX. */
int uvm__vmbus_line_read(const char *text, size_t bytes, struct uvm__vmbus_line *ret,
                         struct uvm__fail *f);
