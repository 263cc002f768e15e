/* SPDX-License-Identifier: MIT
 * vmbus_int.h — the host's end inside: the registry (vmbus.c), the channel (channel.c), the ops (ops.c).
 */
#pragma once
#include "async/limits.h"
#include "async/list.h"
#include "vmbus/vmbus.h"
#include "vmbus/wire.h"

/* Somebody who waits for the guest's word; `fn` runs once, unlinked, with 0 or a negative code:
 * -UVM_E_STATE (rescinded meanwhile), -UVM_E_EXITED. */
struct uvm__vmbus_waiter {
    struct uvm__list link;
    void (*fn)(struct uvm__vmbus_waiter *w, int rc);
};

struct uvm__vmbus_offered {
    struct uvm__list link; /* of the bus, in the order of the offers */
    struct uvm__vmbus_device device;
    bool told;                         /* on this connection */
    bool opened;                       /* the guest said so, on the latest connection */
    bool rescinded;                    /* ours to take back … */
    bool rescind_told;                 /* … and the guest was told */
    struct uvm__list opening, closing; /* struct uvm__vmbus_waiter.link */
};

struct uvm__vmbus {
    uvm_engine *engine;
    uint32_t refs; /* the owner, ops */
    bool closed, dialled, complained;
    char name[64];
    struct uvm__list offered; /* struct uvm__vmbus_offered.link */
    uint32_t count;
    struct uvm__listener *listener;

    /* one connection */
    struct uvm__stream *stream; /* NULL: none */
    bool greeted, synced;       /* these lines were composed */
    char in[UVM__VMBUS_LINE_BYTES_MAX], out[UVM__VMBUS_LINE_BYTES_MAX];
    size_t in_bytes, out_bytes, out_at;
};

/* vmbus.c */
struct uvm__vmbus *uvm__vmbus_ref(struct uvm__vmbus *b);
void uvm__vmbus_unref(struct uvm__vmbus *b);
struct uvm__vmbus_offered *uvm__vmbus_find(const struct uvm__vmbus *b,
                                           const struct uvm__guid *instance);
/* Checks and allocates, without effect yet. Freed by uvm__free() until it is put. */
int uvm__vmbus_prepare(struct uvm__vmbus *b, const struct uvm__vmbus_device *d,
                       struct uvm__vmbus_offered **ret);
void uvm__vmbus_put(struct uvm__vmbus *b, struct uvm__vmbus_offered *take_o);
/* Takes it back; `w` hears of the end, perhaps at once. Idempotent but for `w`. */
void uvm__vmbus_take_back(struct uvm__vmbus *b, struct uvm__vmbus_offered *o,
                          struct uvm__vmbus_waiter *w);
/* The guest has let go, or does not know of it: gone. */
void uvm__vmbus_gone(struct uvm__vmbus *b, struct uvm__vmbus_offered *o, int rc);
/* Runs all waiters of the list. */
void uvm__vmbus_wake(struct uvm__list *waiters, int rc);

/* channel.c */
void uvm__vmbus_on_dial(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg);
/* Tells the guest what it has not heard of yet, as far as the stream takes it. */
void uvm__vmbus_tell(struct uvm__vmbus *b);
/* Ends the connection; nothing the guest was told counts any more. Idempotent. */
void uvm__vmbus_hang_up(struct uvm__vmbus *b);
