/* SPDX-License-Identifier: MIT
 * compute_service.h — the seam: a Host Compute Service as the engine sees it.
 *
 * Mirrors computecore: create, start, shut down, terminate, modify, properties, notifications, with HCS
 * schema 2 documents as JSON text. A service owns the platform side of a VM: VMM process, hvsock endpoint,
 * RAM, offers. Implementations embed struct uvm__hcs and struct uvm__hcs_system and fill ops; callers use
 * the functions below. Every verb is an op (saga.h). Threading: loop thread.
 */
#pragma once
#include "async/saga.h"
#include "hcs/admission.h"
#include "hvsock/hvsock.h"

struct uvm__hcs;
struct uvm__hcs_system;

/* How a system ended, decided once (ARCHITECTURE.md, How a VM's end is told apart). */
enum uvm__hcs_exit {
    UVM__HCS_EXIT_NONE,
    UVM__HCS_EXIT_GUEST_SHUTDOWN,
    UVM__HCS_EXIT_GUEST_RESET, /* reboot, or a panic that nobody reported */
    UVM__HCS_EXIT_GUEST_PANIC,
    UVM__HCS_EXIT_TERMINATED, /* by us */
    UVM__HCS_EXIT_VMM_DIED,   /* killed, crashed, or ended unasked */
    UVM__HCS_EXIT_STUCK       /* killed by us, but the host's kernel does not let it end */
};

enum uvm__hcs_event_kind {
    UVM__HCS_EVENT_EXITED, /* once, the last event */
    UVM__HCS_EVENT_PAUSED,
    UVM__HCS_EVENT_RESUMED,
    UVM__HCS_EVENT_CONSOLE, /* bytes of the guest's console, as they come */
    UVM__HCS_EVENT_RELEASED /* a removal that its op had given up on has happened after all */
};

struct uvm__hcs_event {
    enum uvm__hcs_event_kind kind;
    enum uvm__hcs_exit exit; /* EXITED */
    int status;              /* EXITED: of the VMM's process, 128 + n for a signal; -1: not known */
    const char *detail;      /* EXITED: "killed by SIGKILL", the VMM's stderr tail; never NULL */
    const void *data;        /* CONSOLE */
    size_t bytes;
    const char *resource; /* RELEASED: the ResourcePath; never NULL there */
};

/* Descriptors beside the document, by the name that the document uses (tap, console). Duplicated. */
struct uvm__hcs_fd {
    const char *name;
    int fd;
};

struct uvm__hcs_create_params {
    const char *id;       /* GUID text */
    const char *name;     /* for messages */
    const char *document; /* ComputeSystem, JSON text */
    size_t document_bytes;
    const struct uvm__hcs_fd *fds;
    size_t fds_count;
    /* Runs from the loop or the ready queue, never before create_result() took the system. */
    void (*on_event)(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg);
    void *arg;
    const char
        *cgroup; /* the control group (v2) of all processes of the VM, a path; NULL: the owner's */
};

/* One change of a system. All of it is copied, the descriptors are duplicated. */
struct uvm__hcs_modify_params {
    const char *request; /* ModifySettingRequest (hcsshim's schema2), JSON text, no GuestRequest */
    size_t request_bytes;
    const struct uvm__hcs_fd *fds; /* by the name that the settings use */
    size_t fds_count;
};

#define UVM__HCS_LOCATION_BYTES 64u    /* where the guest finds something, with its end */
#define UVM__HCS_NIC_ADDRESSES_MAX 16u /* addresses of a network adapter */
#define UVM__HCS_NIC_ROUTES_MAX 32u    /* routes through one */

/* What the host knows of an adapter's network. */
struct uvm__hcs_nic_config {
    char mac[18]; /* "02:00:00:12:34:56" */
    uint32_t mtu; /* 0: not known */
    /* Of the interface whose place the guest takes; none: it has to be told, or to ask. */
    uint32_t addresses_count, routes_count;
    char addresses[UVM__HCS_NIC_ADDRESSES_MAX][50]; /* "10.1.2.3/24" */
    struct {
        char destination[50]; /* "0.0.0.0/0" */
        char next_hop[50];    /* "": on the link */
        uint32_t metric;
    } routes[UVM__HCS_NIC_ROUTES_MAX];
};

struct uvm__hcs_ops {
    const char *name; /* of the service, for properties */
    int (*create)(struct uvm__hcs *h, const struct uvm__hcs_create_params *params, uvm_scope *scope,
                  uvm_done_fn on_done, void *arg, uvm_op **ret_op);
    struct uvm__hcs_system *(*create_result)(uvm_op *op); /* takes; untaken ones end with the op */
    int (*start)(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                 uvm_op **ret_op);
    /* Ends it for certain; done when it has exited (EXITED was or will be told), or is STUCK, which is told
     * as an exit, too. Idempotent. */
    int (*terminate)(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op);
    int (*pause)(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                 uvm_op **ret_op);
    int (*resume)(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                  uvm_op **ret_op);
    /* NULL: the service cannot change a running system. See uvm__hcs_modify(). */
    int (*modify)(struct uvm__hcs_system *s, const struct uvm__hcs_modify_params *params,
                  uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
    /* The bytes that a guest would see of an image, synchronously. NULL: no image can be looked at. */
    int (*image_bytes)(struct uvm__hcs_system *s, const char *path, uint64_t *ret,
                       struct uvm__fail *f);
    /* NULL: the guest finds things by their ResourcePath alone. See uvm__hcs_location(). */
    int (*location)(struct uvm__hcs_system *s, const char *resource,
                    char ret[UVM__HCS_LOCATION_BYTES]);
    /* NULL: it has no network adapters. See uvm__hcs_nic_config(). */
    int (*nic_config)(struct uvm__hcs_system *s, const char *guid, struct uvm__hcs_nic_config *ret);
    /* What the host has for VMs now: quick and synchronous. NULL: without end. */
    void (*capacity)(struct uvm__hcs *h, struct uvm__hcs_capacity *ret);
    /* Properties as JSON text (fields: hcsshim's schema1.go), valid until the system is closed or
     * asked again. */
    const char *(*properties)(struct uvm__hcs_system *s);
    /* See uvm__hcs_statistics(). NULL: the service cannot tell. */
    int (*statistics)(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                      uvm_op **ret_op);
    const char *(*statistics_result)(uvm_op *op);
    /* Terminates what still runs, frees; on_closed later, in bounded time, no event after the call. */
    void (*close)(struct uvm__hcs_system *s, void (*on_closed)(void *arg), void *arg);
    /* Closes a service without systems. */
    void (*close_service)(struct uvm__hcs *h, void (*on_closed)(void *arg), void *arg);
};

struct uvm__hcs {
    const struct uvm__hcs_ops *ops;
    uvm_engine *engine;
    struct uvm__admission admission;
};

struct uvm__hcs_system {
    struct uvm__hcs *service;
    struct uvm__hvsock *hvsock; /* serving from create's success on */
    /* Devices of virtual PMem that images can be mapped into, each of so many bytes. */
    struct {
        uint32_t devices;
        uint64_t bytes;
    } vpmem;
};

/* The last bytes of the guest's console are an error's best detail: implementations attach them. */

/* ---- what callers use ---------------------------------------------------------------------- */

/* Starts creating a system. Params are copied, the descriptors duplicated. The document is checked by
 * the op: its error names the JSON path. `on_event` is not called before create_result() took the
 * system; what happened until then is told right after. */
int uvm__hcs_create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Takes the system out of a successful create op; NULL when it was taken already or there is none. */
struct uvm__hcs_system *uvm__hcs_create_result(const struct uvm__hcs *h, uvm_op *op);
/* -UVM_E_STATE when the system is not in a state for the verb, -UVM_E_EXITED when it has ended. */
int uvm__hcs_start(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                   uvm_op **ret_op);
int uvm__hcs_terminate(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                       uvm_op **ret_op);
int uvm__hcs_pause(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                   uvm_op **ret_op);
int uvm__hcs_resume(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op);
/* Changes a system that was created, also before its start. Add: success when the host side is there and,
 * where a device is offered to the guest, the guest has acknowledged the offer; after any failure nothing is
 * left, or the op ends with UNDO and RELEASED follows if the rest goes away later. Remove: what is not there
 * is NOTFOUND; once the host began to remove it only goes forward, and a removal that does not end in time is
 * UNDO: the resource is still taken until RELEASED. While a change of a resource has not ended, also when it was
 * given up, another Add of it is EXISTS and a Remove is STATE. Paths: hcsshim's resourcepaths. -UVM_E_UNSUPPORTED,
 * -UVM_E_STATE before create's success, -UVM_E_EXITED. What the request gets wrong is the op's error. */
int uvm__hcs_modify(struct uvm__hcs_system *s, const struct uvm__hcs_modify_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* How large the image at an absolute path is for a guest: a few small reads, no wait. What is wrong with
 * it `f` says: as an Add would. */
int uvm__hcs_image_bytes(struct uvm__hcs_system *s, const char *path, uint64_t *ret,
                         struct uvm__fail *f);
/* Where the guest finds what was added, in words of the service that the guest's agent knows: of a share the tag
 * to mount. Synchronous. -UVM_E_NOTFOUND: nothing is there by that name (modify_doc.h). */
int uvm__hcs_location(struct uvm__hcs_system *s, const char *resource,
                      char ret[UVM__HCS_LOCATION_BYTES]);
/* Of an adapter that was added, by its GUID in lower case, until it is removed: -UVM_E_NOTFOUND. */
int uvm__hcs_nic_config(struct uvm__hcs_system *s, const char *guid,
                        struct uvm__hcs_nic_config *ret);
/* NULL: no memory. */
const char *uvm__hcs_properties(struct uvm__hcs_system *s);
/* Asks what a system that runs has used, now. -UVM_E_UNSUPPORTED; -UVM_E_EXITED when it has ended. Cancel: at
 * once, nothing is changed. */
int uvm__hcs_statistics(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                        uvm_op **ret_op);
/* The answer, JSON text that lives as long as the op: `Statistics` (Uptime100ns, Processor) and `Memory` as
 * hcsshim's schema2 has them, `Memory.UsedBytes` (Guest, VirtualPMem, Vmm), and `Resources`: of each that can
 * tell `Kind`, `ResourcePath` and its own fields. NULL: it did not succeed. */
const char *uvm__hcs_statistics_result(const struct uvm__hcs_system *s, uvm_op *op);
void uvm__hcs_close(struct uvm__hcs_system *s, void (*on_closed)(void *arg), void *arg);
void uvm__hcs_service_close(struct uvm__hcs *h, void (*on_closed)(void *arg), void *arg);

/* "guest shut down", "killed or crashed"; never NULL. */
const char *uvm__hcs_exit_text(enum uvm__hcs_exit exit);
