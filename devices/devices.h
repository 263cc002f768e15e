/* SPDX-License-Identifier: MIT
 * devices.h — what a VM has attached: one registry for all kinds, and the verbs on it.
 *
 * An attachment (struct uvm__device, device_int.h) has an id from a counter of the VM that is never used
 * again, references of those who attached it, and a life: coming → host → ready → leaving → gone. Kinds
 * say what happens on the way; attach.c and detach.c are the same for all.
 * The registry knows the system from its creation on and the bridge from negotiation on: what is attached
 * before that is mounted then. The end of the VM releases everything at once.
 * Threading: loop thread.
 */
#pragma once
#include "async/json.h"
#include "async/saga.h"
#include "bridge/client.h"
#include "devices/nic.h"
#include "devices/plan9.h"
#include "devices/scsi.h"
#include "devices/vpci.h"
#include "devices/vpmem.h"
#include "devices/vsmb.h"
#include "hcs/compute_service.h"

#define UVM__DEVICE_ID_BYTES 32u /* with its end */

/* X(NAME, text): what happens to an attachment, for those who watch. */
#define UVM__DEVICE_NEWS_MAP(X)                                                                    \
    X(ATTACHED, "attached")                                                                        \
    X(QUARANTINED, "quarantined")                                                                  \
    X(DETACHED, "detached")
enum uvm__device_news {
    UVM__DEVICE_UNKNOWN, /* nothing was told of it: it is on its way, or did not come */
#define UVM__X(name, text) UVM__DEVICE_##name,
    UVM__DEVICE_NEWS_MAP(UVM__X)
#undef UVM__X
};
const char *uvm__device_news_text(enum uvm__device_news news);

struct uvm__attach_result;

struct uvm__devices {
    uvm_engine *engine;
    const char *name;               /* of the VM; outlives the registry */
    uvm_scope *scope;               /* the VM's undo root: what no caller cancels */
    struct uvm__hcs_system *system; /* NULL: there is no VM */
    struct uvm__bridge *bridge;     /* NULL: not negotiated yet */
    struct uvm__list list;          /* struct uvm__device.link, oldest first */
    struct uvm__list reserving;     /* attaches that wait for a place (attach.c) */
    uint64_t last_number;
    /* An attachment came, went, or is quarantined; what the document attached and what goes with the VM
     * is not told. May be NULL. Calls nothing of the registry but uvm__devices_json(). */
    void (*on_news)(struct uvm__devices *d, enum uvm__device_news news,
                    const struct uvm__attach_result *about);
    struct uvm__scsi scsi;
    struct uvm__vpmem vpmem;
    struct uvm__vsmb vsmb;
    struct uvm__plan9 plan9;
};

/* `name` and `scope` outlive it. */
void uvm__devices_init(struct uvm__devices *d, uvm_engine *e, const char *name, uvm_scope *scope);
void uvm__devices_deinit(struct uvm__devices *d); /* nothing may be left */

void uvm__devices_set_system(struct uvm__devices *d, struct uvm__hcs_system *system);
void uvm__devices_set_bridge(struct uvm__devices *d, struct uvm__bridge *bridge);
/* The VM is over: everything is released, whoever waits hears of it (UVM_E_CLOSED). Idempotent. */
void uvm__devices_end(struct uvm__devices *d);
/* The service's RELEASED: what was given up on has happened after all. */
void uvm__devices_released(struct uvm__devices *d, const char *resource);
/* Attachments in order of ids, quarantined ones included; NULL: no memory. */
cJSON *uvm__devices_json(const struct uvm__devices *d);

/* ---- attach ------------------------------------------------------------------------------- */

struct uvm__device_kind;
extern const struct uvm__device_kind uvm__scsi_kind, uvm__vpmem_kind;
extern const struct uvm__device_kind uvm__vpci_kind;
extern const struct uvm__device_kind uvm__vsmb_kind;
extern const struct uvm__device_kind uvm__plan9_kind;
extern const struct uvm__device_kind uvm__nic_kind; /* struct uvm__nic_params */
/* A copy of the kind's params, for uvm__free(). -UVM_E_NOMEM. */
int uvm__device_copy_params(const struct uvm__device_kind *kind, uvm_engine *e, const void *params,
                            void **ret);

struct uvm__attach_params {
    struct uvm__devices *devices;
    const struct uvm__device_kind *kind;
    const void
        *params; /* the kind's: a disk's and an image's struct uvm__scsi_params, a share's struct
                           uvm__share_params; copied */
    /* The host side is there; runs once at most, from the ready queue. May be NULL. */
    void (*on_host)(void *arg);
    void *arg;
    uint64_t deadline_ms; /* from now; 0: the scope's only */
};

struct uvm__attach_result {
    const char *id, *kind, *guest_path; /* live as long as the op, or the call of on_news */
    uint32_t controller, lun;           /* of SCSI */
    uint32_t device;                    /* of VPMem, and where in it */
    uint64_t offset, bytes;
    const char *share;    /* of vSMB and Plan9: its name */
    uint32_t port;        /* of Plan9 */
    const char *instance; /* of a NIC and a PCI function: the VMBus instance, a GUID */
    const char *mac;      /* of a NIC */
    bool shared;
    uint32_t refs;
};

#define UVM__ATTACH_RESULT_NONE                                                                    \
    { .id = "", .kind = "", .guest_path = "", .share = "", .instance = "", .mac = "" }

/* Errors: see uvm_scsi_attach(). CLOSED: the bridge or the VM is gone. */
int uvm__device_attach(const struct uvm__attach_params *params, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op);
const struct uvm__attach_result *uvm__device_attach_result(uvm_op *op);

/* ---- detach ------------------------------------------------------------------------------- */

int uvm__device_detach(struct uvm__devices *d, const char *id, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op);
