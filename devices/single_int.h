/* SPDX-License-Identifier: MIT
 * single_int.h — a device that is one thing on the host and one in the guest: what such kinds share.
 *
 * A kind embeds struct uvm__single as its first member, fills in its requests before anything happens,
 * and takes single.c's functions into its row; what is left to it is who gets which place.
 */
#pragma once
#include "devices/device_int.h"
#include "hcs/modify_doc.h"

/* X(STATE, what is there): of one with a call, while `call` runs. */
#define UVM__SINGLE_STATES(X)                                                                      \
    X(NEW, "nothing")                                                                              \
    X(ADDING, "the host is asked")                                                                 \
    X(ADDED, "the host has it")                                                                    \
    X(MOUNTING, "the guest is asked")                                                              \
    X(MOUNTED, "the guest has it")                                                                 \
    X(UNMOUNTING, "the guest is asked to let go")                                                  \
    X(REMOVING, "the host is asked to let go")                                                     \
    X(UNKNOWN, "the host did not say: only RELEASED, a removal or the VM's end settles it")

#define UVM__SINGLE_CALLS(X)                                                                       \
    X(ADDING, "host Add", ADDED, NEW, UNKNOWN, UNKNOWN)                                            \
    X(MOUNTING, "guest Add", MOUNTED, ADDED, ADDED, MOUNTED)                                       \
    X(UNMOUNTING, "guest Remove", ADDED, MOUNTED, MOUNTED, MOUNTED)                                \
    X(REMOVING, "host Remove", NEW, ADDED, UNKNOWN, ADDED)

enum uvm__single_state {
#define UVM__X(name, text) UVM__SINGLE_##name,
    UVM__SINGLE_STATES(UVM__X)
#undef UVM__X
        UVM__SINGLE_STATE_MAX
};

struct uvm__single {
    struct uvm__device base;
    enum uvm__single_state state;
    bool released;              /* RELEASED came */
    bool blocked;               /* the connection is lost: the VM's end settles it */
    uvm_op *call;               /* under way: host or guest; holds the device */
    struct uvm__deadline timer; /* bounds a removal; or waits for memory */
    char *add, *remove, *mount; /* requests; the engine's */
    char *unmount;              /* likewise; NULL: the guest is not asked to let go */
    const char *guest_fails;    /* what is said when the guest refuses; static */
    const char *guest_keeps;    /* ... when it does not let go */
    char resource[UVM__MODIFY_PATH_BYTES];
    /* The host has it: makes the guest's requests, where only the host says what is in them. NULL: they are there. */
    int (*placed)(struct uvm__single *s);
    void (*over)(
        struct uvm__single *s); /* its place is free: the host has let go, or the VM is over */
};

static inline struct uvm__single *uvm__single_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF((struct uvm__device *)dev, struct uvm__single, base);
}

/* Before uvm__device_init(). */
void uvm__single_init(struct uvm__single *s, void (*over)(struct uvm__single *s));
/* Frees the requests; at any time after init, without a call under way. */
void uvm__single_deinit(uvm_engine *e, struct uvm__single *s);

/* Whether another may share it: 0; -UVM_E_STATE, of one that is quarantined, and `what` it is; -UVM_E_AGAIN, of one
 * on its way out. */
int uvm__single_join(const struct uvm__single *s, const char *what, struct uvm__fail *f);

/* Of a row: */
void uvm__single_turn(struct uvm__device *dev);
bool uvm__single_withdraw(struct uvm__device *dev);
void uvm__single_again(struct uvm__device *dev);
void uvm__single_end(struct uvm__device *dev);
/* For a row's released(): looks among the devices of that kind. */
void uvm__single_released(struct uvm__devices *d, const struct uvm__device_kind *kind,
                          const char *resource);
