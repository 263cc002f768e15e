/* SPDX-License-Identifier: MIT
 * device_int.h — an attachment's inside, for the files of this room.
 *
 * Who changes something about a device says so by uvm__device_changed(); who wants something done sets
 * the wish and calls uvm__device_touch(). Both only push onto the ready queue: the kind's turn() and the
 * waiting operations never run inside each other.
 */
#pragma once
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/limits.h"
#include "devices/devices.h"

enum uvm__device_phase {
    UVM__DEVICE_COMING, /* the host side is not there yet */
    UVM__DEVICE_HOST,   /* it is; the guest's is not */
    UVM__DEVICE_READY,
    UVM__DEVICE_LEFT, /* the guest uses it no more; the rest is on its way out */
    UVM__DEVICE_GONE
};

struct uvm__device {
    struct uvm__list link; /* the registry's, until GONE */
    struct uvm__devices *devices;
    const struct uvm__device_kind *kind;
    uint64_t number;
    char id[UVM__DEVICE_ID_BYTES];
    uint32_t holds;   /* operations, calls under way, and the registry until GONE */
    uint32_t refs;    /* attaches that succeeded and were not given back */
    uint32_t pending; /* attaches under way */
    enum uvm__device_phase phase;
    enum uvm__device_news told; /* the latest */
    bool pinned;                /* the VM cannot be without it */
    bool internal;              /* of the engine's own use; pinned once it is there */
    bool leaving;               /* it shall go */
    uvm_error *failed;          /* why it does not come: all who wait hear it, then it leaves */
    uvm_error *stuck; /* why it did not leave at the last try; with `leaving`: quarantined */
    bool abandoned;   /* an operation gave up on it while it was leaving: quarantined */
    uvm_op *detach;   /* the latest one that waits for its end; borrowed */
    struct uvm__list waiters; /* struct uvm__device_wait.link */
    struct uvm__ready ready;  /* the kind's turn */
};

/* An operation that waits for a device to change. */
struct uvm__device_wait {
    struct uvm__list link;
    struct uvm__ready ready; /* runs after each change, until unlinked */
};

struct uvm__device_kind {
    const char *name;
    /* Finds or makes the attachment that the params ask for. -UVM_E_AGAIN: one stands in the way that is
     * just leaving; asked again after a change. A new one comes unlinked to nothing but its kind. */
    int (*reserve)(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f);
    int (*copy)(uvm_engine *e, const void *params,
                void **ret); /* for as long as reserve may need */
    /* Does the next thing that is to be done for it, if anything. */
    void (*turn)(struct uvm__device *dev);
    /* Asked of one that leaves. True: the guest was not asked to let go yet and will not be. */
    bool (*withdraw)(struct uvm__device *dev);
    void (*again)(struct uvm__device *dev); /* it did not leave, and is tried once more */
    void (*released)(struct uvm__devices *d, const char *resource);
    void (*end)(struct uvm__device *dev); /* the VM is over; dev is GONE already */
    void (*free)(struct uvm__device *dev);
    void (*result)(const struct uvm__device *dev, struct uvm__attach_result *ret);
    bool (*json)(const struct uvm__device *dev, cJSON *object);
    void (*text)(const struct uvm__device *dev, char *buf, size_t bytes); /* "scsi-3 (/x at 0:1)" */
};
#define UVM__DEVICE_TEXT_BYTES 160u

/* The table of kinds (registry.c). */
extern const struct uvm__device_kind *const uvm__device_kinds[];
extern const size_t uvm__device_kinds_count;

/* A new one: id, one hold (the registry's), in the list. */
void uvm__device_init(struct uvm__device *dev, struct uvm__devices *d,
                      const struct uvm__device_kind *kind);
void uvm__device_hold(struct uvm__device *dev);
void uvm__device_drop(struct uvm__device *dev); /* may free it */
void uvm__device_touch(struct uvm__device *dev);
void uvm__device_changed(struct uvm__device *dev);
void uvm__device_set_phase(struct uvm__device *dev, enum uvm__device_phase phase);
/* GONE: off the registry. The caller still holds it, or does not touch it any more. */
void uvm__device_gone(struct uvm__device *dev);
void uvm__device_fail(struct uvm__device *dev, uvm_error *take_err);  /* the first one stays */
void uvm__device_stick(struct uvm__device *dev, uvm_error *take_err); /* the latest one stays */
bool uvm__device_quarantined(const struct uvm__device *dev);
struct uvm__device *uvm__device_find(const struct uvm__devices *d, const char *id);

/* How a call of a manager ended. What that leads to is a table of each kind's calls, rows
 * X(STATE, what is called, DONE, REFUSED, UNSAID, LOST): the state while it runs, and the one after each end. */
enum uvm__call_end {
    UVM__CALL_DONE,
    UVM__CALL_REFUSED, /* nothing has changed */
    UVM__CALL_UNSAID,  /* the host does not know what has changed (UNDO) */
    UVM__CALL_LOST,    /* the connection or the VM is gone */
    UVM__CALL_ENDS
};

/* scsi_check.c, of all kinds: text of at most so many bytes without control characters, named `what` in the error;
 * an absolute path of the host; one of the guest that does not climb. -UVM_E_INVAL, -UVM_E_LIMIT. */
int uvm__check_text(const char *what, const char *text, size_t bytes_max, struct uvm__fail *f);
int uvm__check_host_path(const char *path, struct uvm__fail *f);
int uvm__check_guest_path(const char *path, struct uvm__fail *f);

/* Whether something of any kind is at the guest path (NULL: nowhere): -UVM_E_EXISTS, or -UVM_E_AGAIN where it is
 * just leaving (explain.c). */
int uvm__device_check_place(struct uvm__devices *d, const char *path, struct uvm__fail *f);

/* explain.c: */
enum uvm__call_end uvm__device_call_end(const uvm_error *err); /* NULL: DONE */
/* The connection or the VM is gone. */
bool uvm__device_lost(const uvm_error *err);
/* Says which device it was; a lost connection is told as CLOSED, whoever noticed it first. */
uvm_error *uvm__device_explain(const struct uvm__device *dev, const uvm_error *err,
                               const char *what);
/* A request to the guest without its settings; NULL: no memory. */
cJSON *uvm__guest_request(const char *resource_type, bool add);
/* The text of a request with its settings; both are taken, and may be NULL for lack of memory. */
int uvm__guest_request_text(uvm_engine *e, cJSON *take_root, cJSON *take_settings, bool ok,
                            char **ret);

void uvm__device_wait_init(struct uvm__device_wait *w, void (*fn)(struct uvm__ready *r));
void uvm__device_wait(struct uvm__device_wait *w, struct uvm__list *list);
void uvm__device_unwait(struct uvm__devices *d, struct uvm__device_wait *w); /* idempotent */
