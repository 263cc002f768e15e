/* SPDX-License-Identifier: MIT
 * vmbus.h — the host's end: devices offered to one VM, and what its guest says to each.
 *
 * A service makes one for each VM, offers a device once its host side is there and rescinds it before
 * taking that away. The guest dials UVM__PORT_OFFERS, hears of every device, and says "opened" when it has found
 * one and "closed" when it let go (docs/PROTOCOL-vmbus.md). A guest that never dials gets no word of any;
 * whoever needs its answer fails with words that say so, whoever does not asks uvm__vmbus_link() first.
 * The guest is not trusted: what it says wrongly costs it the channel, and it may dial anew.
 * Ownership: params are copied. Threading: loop thread only. Limits: UVM__VMBUS_DEVICES_MAX devices.
 */
#pragma once
#include "async/saga.h"
#include "hvsock/hvsock.h"
#include "vmbus/device.h"

struct uvm__vmbus;

/* Listens on the endpoint, which must outlive the uvm__vmbus_close(). `name` of the VM, for messages; copied.
 * -UVM_E_NOMEM, -UVM_E_EXISTS (somebody listens on the port). */
int uvm__vmbus_open(uvm_engine *e, struct uvm__hvsock *hvsock, const char *name,
                    struct uvm__vmbus **ret);
/* The VM is gone: hangs up, forgets all devices, ends what waits with EXITED. The memory goes with the last op.
 * Accepts NULL. */
void uvm__vmbus_close(struct uvm__vmbus *b);

enum uvm__vmbus_link {
    UVM__VMBUS_NEVER, /* the guest has not dialled yet, or never will */
    UVM__VMBUS_UP,    /* it has heard of all that was there when it dialled */
    UVM__VMBUS_LOST   /* it had dialled; it may do so again */
};
enum uvm__vmbus_link uvm__vmbus_link(const struct uvm__vmbus *b);

/* Offers a device and waits for nobody: for what is there before the first instruction. Of the same instance
 * only one: -UVM_E_EXISTS; -UVM_E_INVAL (location), -UVM_E_LIMIT, -UVM_E_NOMEM. */
int uvm__vmbus_present(struct uvm__vmbus *b, const struct uvm__vmbus_device *d);

/* Offers a device; done when the guest has opened it. Starts fail as uvm__vmbus_present(). Commit point: the
 * guest's word; until then cancelling rescinds. After UVM__VMBUS_OPEN_MS: UNSUPPORTED when the guest never dialled,
 * else TIMEDOUT; both rescinded. STATE: rescinded by somebody meanwhile. */
int uvm__vmbus_offer(struct uvm__vmbus *b, const struct uvm__vmbus_device *d, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Done when the guest has opened a device that is offered, at the latest after UVM__VMBUS_OPEN_MS, with the errors
 * of uvm__vmbus_offer(), but the device stays. -UVM_E_NOTFOUND. */
int uvm__vmbus_wait(struct uvm__vmbus *b, const struct uvm__guid *instance, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Takes an offer back; done when the guest has closed the device, at once when it does not know of it. Cannot be
 * cancelled: after a cancel, or UVM__VMBUS_CLOSE_MS, a guest that still does not answer makes it UNDO; its late word
 * frees the instance. Joins a rescind that is under way. -UVM_E_NOTFOUND. */
int uvm__vmbus_rescind(struct uvm__vmbus *b, const struct uvm__guid *instance, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* Whether the instance is offered, and whether its guest has opened it. */
bool uvm__vmbus_has(const struct uvm__vmbus *b, const struct uvm__guid *instance, bool *ret_opened);
