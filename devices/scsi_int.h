/* SPDX-License-Identifier: MIT
 * scsi_int.h — disks and their mounts, for scsi.c (who has which slot), scsi_check.c and scsi_turn.c.
 */
#pragma once
#include "devices/device_int.h"
#include "hcs/modify_doc.h"

/* A disk. X(STATE, what is there): of one with a call, while `call` runs. */
#define UVM__SCSI_STATES(X)                                                                        \
    X(NEW, "nothing")                                                                              \
    X(ATTACHING, "the host is asked")                                                              \
    X(ATTACHED, "the host has it, and the guest may see it")                                       \
    X(EJECTING, "the guest is asked to let go")                                                    \
    X(EJECTED, "the guest has let go of it")                                                       \
    X(REMOVING, "the host is asked to let go")                                                     \
    X(UNKNOWN, "the host did not say: only RELEASED, a removal or the VM's end settles it")

#define UVM__SCSI_CALLS(X)                                                                         \
    X(ATTACHING, "host Add", ATTACHED, NEW, UNKNOWN, UNKNOWN)                                      \
    X(EJECTING, "guest Remove of SCSIDevice", EJECTED, ATTACHED, ATTACHED, ATTACHED)               \
    X(REMOVING, "host Remove", NEW, EJECTED, UNKNOWN, EJECTED)

enum uvm__scsi_state {
#define UVM__X(name, text) UVM__SCSI_##name,
    UVM__SCSI_STATES(UVM__X)
#undef UVM__X
        UVM__SCSI_STATE_MAX
};

struct uvm__scsi_disk {
    struct uvm__list link; /* uvm__scsi.disks, until it is over */
    struct uvm__devices *devices;
    struct uvm__list mounts; /* struct uvm__scsi_mount.link, until each is gone */
    uint32_t controller, lun;
    bool read_only, physical, pinned;
    bool over; /* off the registry: freed with the call under way */
    enum uvm__scsi_state state;
    bool ejected;               /* the guest has let go of it */
    bool released;              /* RELEASED came */
    bool blocked;               /* the connection is lost: the VM's end settles it */
    uvm_op *call;               /* under way: host or guest */
    struct uvm__deadline timer; /* bounds a removal; or waits for memory */
    char *add, *eject, *remove; /* requests, made before anything happens */
    char path[];
};

/* A mount of it. */
#define UVM__SCSI_MOUNT_STATES(X)                                                                  \
    X(UNMOUNTED, "nothing is mounted")                                                             \
    X(MOUNTING, "the guest is asked")                                                              \
    X(MOUNTED, "it is mounted")                                                                    \
    X(UNMOUNTING, "the guest is asked to unmount it")

#define UVM__SCSI_MOUNT_CALLS(X)                                                                   \
    X(MOUNTING, "guest Add of MappedVirtualDisk", MOUNTED, UNMOUNTED, UNMOUNTED, MOUNTED)          \
    X(UNMOUNTING, "guest Remove of MappedVirtualDisk", UNMOUNTED, MOUNTED, MOUNTED, MOUNTED)

enum uvm__scsi_mounted {
#define UVM__X(name, text) UVM__SCSI_##name,
    UVM__SCSI_MOUNT_STATES(UVM__X)
#undef UVM__X
        UVM__SCSI_MOUNT_STATE_MAX
};

/* An attachment: of a disk without a mount, or a mount. */
struct uvm__scsi_mount {
    struct uvm__device base;
    struct uvm__list link;       /* of its disk, until gone */
    struct uvm__scsi_disk *disk; /* NULL: gone */
    uint32_t controller, lun;    /* of that disk, also later */
    bool mounts;
    enum uvm__scsi_mounted state;
    bool blocked; /* the connection is lost: the VM's end settles it */
    uvm_op *call;
    struct uvm__deadline timer; /* waits for memory */
    struct uvm__scsi_params *want;
    char *guest_path;      /* NULL: nothing to mount */
    char *mount, *unmount; /* requests */
};

static inline struct uvm__scsi_mount *uvm__scsi_mount_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF((struct uvm__device *)dev, struct uvm__scsi_mount, base);
}

/* scsi_tools.c */
#define UVM__SCSI_TOOLS "/run/uvm/tools" /* where the agent looks for programs (cmd/gcs/tools.h) */
/* Whether the guest has the tools that this mount may need. False: they are on their way, and bring its next
 * turn; or they cannot come, and it has failed. */
bool uvm__scsi_tools_ready(struct uvm__scsi_mount *m);
void uvm__scsi_tools_end(struct uvm__devices *d); /* the VM is over; idempotent */

/* scsi_check.c: the same mount, but for where; the order of the options does not count. */
bool uvm__scsi_same_mount(const struct uvm__scsi_params *a, const struct uvm__scsi_params *b);

/* It may make a file system: what is encrypted has a key of its own each time, so always. */
static inline bool uvm__scsi_formats(const struct uvm__scsi_params *p) {
    return p->ensure_filesystem || p->encrypted;
}

/* scsi_doc.c: the requests; -UVM_E_NOMEM. */
int uvm__scsi_disk_requests(struct uvm__scsi_disk *disk);
int uvm__scsi_mount_requests(struct uvm__scsi_mount *m);
/* The root hash as VerityInfo, unless it is NULL. */
bool uvm__scsi_put_verity(cJSON *settings, const char *root);
/* Its ResourcePath. */
void uvm__scsi_resource(const struct uvm__scsi_disk *disk, char ret[UVM__MODIFY_PATH_BYTES]);

/* scsi_turn.c */
void uvm__scsi_turn(struct uvm__device *dev);
bool uvm__scsi_withdraw(struct uvm__device *dev);
void uvm__scsi_again(struct uvm__device *dev);
void uvm__scsi_disk_released(struct uvm__scsi_disk *disk);
void uvm__scsi_on_disk_timer(struct uvm__deadline *t);
void uvm__scsi_on_mount_timer(struct uvm__deadline *t);

/* scsi.c */
void uvm__scsi_disk_over(struct uvm__scsi_disk *disk); /* no mount is left: its slot is free */
void uvm__scsi_disk_free(struct uvm__scsi_disk *disk); /* it is over, no call is under way */
void uvm__scsi_mount_gone(struct uvm__scsi_mount *m);  /* and its disk, if it was the last */
