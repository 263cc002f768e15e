/* SPDX-License-Identifier: MIT
 * command.h — one QMP command of a saga's step or undo, to one of its ends; and the removal of a device.
 *
 * Embedded in an op's state. A command that was sent is waited for whatever happens, since its effect cannot be
 * told otherwise; a connection that is lost means that the VM is ending, and the command then ends when the
 * end is decided, so that whoever undoes knows that there is nothing left. Nothing is allocated for commands
 * whose arguments are short (under 190 bytes), except what a full socket queues; a removal that finds no memory
 * tries again. Commands that plug or unplug wait for their turn where there is a pace (pace.h) and a guest that
 * runs; until then they can be withdrawn.
 */
#pragma once
#include "hcs/qemu/pace.h"
#include "hcs/qemu/qemu_int.h"

#define UVM__COMMAND_BYTES 512u /* arguments of one command */

enum uvm__command_end {
    UVM__COMMAND_DONE,
    UVM__COMMAND_REFUSED, /* by QEMU */
    UVM__COMMAND_UNSENT,  /* no memory, or too many in flight */
    UVM__COMMAND_GONE     /* the VM has ended, and everything in it */
};

struct uvm__command {
    struct uvm__qemu_system *system;
    uvm_op *op;
    const char *name;
    char arguments[UVM__COMMAND_BYTES];
    bool must; /* what cannot be sent is tried again */
    struct uvm__call call;
    struct uvm__end_wait end;
    struct uvm__deadline again;
    struct uvm__pace *pace; /* of device_add and device_del; NULL: at once. Set by who wants it */
    struct uvm__pace_turn turn;
    /* Of a device's removal: the answer says only that it was asked; the event says that it is gone. */
    struct uvm__list unplug; /* of the system; unlinked: no removal, or over */
    char device[32];
    bool removes, answered, deleted;
    /* Once for each send; `take_err` for REFUSED and UNSENT, else NULL. Never inside a send that can be answered
     * only later, but inside it for UNSENT and GONE. */
    void (*fn)(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err);
};

void uvm__command_init(struct uvm__command *c, struct uvm__qemu_system *s, uvm_op *op);
bool uvm__command_idle(const struct uvm__command *c);

typedef void (*uvm__command_fn)(struct uvm__command *c, enum uvm__command_end how,
                                uvm_error *take_err);
/* Sends `name` with the text that is in c->arguments; `fd` (-1: none) goes along and stays the caller's. */
void uvm__command_send(struct uvm__command *c, const char *name, int fd, uvm__command_fn fn);
/* The same for what must happen: is tried until it could be sent. */
void uvm__command_must(struct uvm__command *c, const char *name, uvm__command_fn fn);
/* Starts the last one anew after UVM__MEMORY_RETRY_MS: for what QEMU refuses only as yet. */
void uvm__command_again(struct uvm__command *c);
/* Removes a device and waits until it is gone, however long: DONE also when there is none by the id. */
void uvm__command_unplug(struct uvm__command *c, const char *device, uvm__command_fn fn);
/* Takes back one that still waits for its turn: `fn` does not run for it. False: it was sent. */
bool uvm__command_withdraw(struct uvm__command *c);
/* QEMU has told that a device is gone. */
void uvm__command_on_deleted(struct uvm__qemu_system *s, const char *device);
