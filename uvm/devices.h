/* SPDX-License-Identifier: MIT
 * devices.h — devices of a running VM: attach, detach, list.
 *
 * Attaching what is there already shares it: the same id comes back, counted once more, and the last
 * detach takes it away. An id ("scsi-3") names one attachment for the VM's whole life and is never
 * used again. A disk may be attached without a mount, and mounted several times: each is an attachment.
 *
 * All verbs are operations (async/async.h). What could not be taken back is quarantined: it stays in
 * uvm_vm_devices(), keeps its place, and uvm_detach() tries its removal again. The VM's end releases
 * everything.
 * Ownership: params are copied. Threading: the loop's thread only. */
#pragma once
#include "uvm/uvm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UVM_VPCI_BOOT_MAX 64u               /* assigned PCI functions of a boot */
#define UVM_SCSI_CONTROLLERS_MAX 4u         /* SCSI controllers of a VM */
#define UVM_SCSI_LUNS_MAX 64u               /* disks on one of them */
#define UVM_SCSI_CONTROLLERS_DEFAULT 1u     /* SCSI controllers, where nothing is said */
#define UVM_DISK_HOST_PATH_BYTES_MAX 4095u  /* a disk's path on the host */
#define UVM_DISK_GUEST_PATH_BYTES_MAX 1023u /* where a disk is mounted */
#define UVM_DISK_OPTIONS_MAX 32u            /* options of one mount */
#define UVM_DISK_OPTION_BYTES_MAX 255u      /* one of them */
#define UVM_NIC_ADDRESSES_MAX 16u           /* addresses of one network adapter */
#define UVM_NIC_GATEWAYS_MAX 2u             /* default routes by it */
#define UVM_NIC_DNS_MAX 3u                  /* DNS servers that it brings */
#define UVM_NIC_SEARCH_MAX 6u               /* search domains that it brings */
#define UVM_DISK_FILESYSTEM_BYTES_MAX 31u   /* a file system's name */

/* Zero or NULL: no, or the default. */
struct uvm_scsi_params {
    size_t size;           /* sizeof this struct */
    const char *host_path; /* absolute: a disk image or a block device; needed */
    bool read_only;        /* the disk, and so the mount */
    bool physical;         /* a whole disk of the host, not an image */
    bool mount; /* false, and no guest path: the guest gets the disk and mounts nothing */
    const char *guest_path;     /* where to mount; absolute; default /run/mounts/scsi/m<n> */
    uint64_t partition;         /* 1 …; 0: the whole disk. This and what follows: of the mount */
    const char *const *options; /* NULL-terminated; in any order */
    const char *filesystem;     /* default: what the guest finds */
    bool ensure_filesystem;     /* formats with `filesystem` what has another one; with the tools
                                 * disk, if the VM has one (uvm_vm_params) */
    bool block_dev;             /* guest_path becomes a link to the device instead of a mount */
    bool encrypted;     /* scratch: formatted anew, as `filesystem` (ext4), under a key that only
                                 * the guest's kernel has; after the detach nobody can read it. With the
                                 * tools disk; needs a mount, excludes read_only and block_dev */
    const char *verity; /* the root hash (sha256, hex) of the dm-verity tree that is in the image
                                 * behind its file system: what the guest reads is that, or an error.
                                 * Needs read_only and a mount. NULL: unchecked */
};
#define UVM_SCSI_PARAMS_INIT                                                                       \
    {                                                                                              \
        sizeof(struct uvm_scsi_params), NULL, false, false, false, NULL, 0, NULL, NULL, false,     \
            false, false, NULL                                                                     \
    }

/* Attaches a disk and mounts it if asked to. Legal in `running`, else -UVM_E_STATE; what is wrong with
 * the params is the operation's error, in words. Commit point: the guest's answer to the mount (nothing
 * to mount: the guest has the disk). Before it a cancel or a failure takes everything back. Who asks for
 * what is just being attached waits for it; when it fails all of them hear why, and who gives up leaves
 * the others alone. Deadline: 60 s, or the scope's.
 * Errors: INVAL (an option), EXISTS (the disk or the guest path is in use in another way), LIMIT (no free
 * slot), STATE (the disk is quarantined), PEER (the guest or the host refused), EXITED, UNDO. */
int uvm_scsi_attach(uvm_vm *vm, const struct uvm_scsi_params *params, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* Virtual PMem. Zero or NULL: no, or the default. */
struct uvm_vpmem_params {
    size_t size;           /* sizeof this struct */
    const char *host_path; /* absolute: a raw image or a fixed VHD; needed */
    const char
        *guest_path;    /* where to mount; absolute; default /run/layers/p<device>-<offset>-<size>
                             * (of a whole device: /run/layers/p<device>) */
    bool whole_device;  /* a device of its own, instead of a range of one */
    bool or_scsi;       /* where VPMem has no room for it: a read-only disk, mounted */
    const char *verity; /* as of a disk */
};
#define UVM_VPMEM_PARAMS_INIT                                                                      \
    { sizeof(struct uvm_vpmem_params), NULL, NULL, false, false, NULL }

/* Maps an image into virtual PMem and mounts it, read-only: the guest reads memory instead of asking for
 * blocks. The VM must have been made with VPMem devices (uvm_vm_params.vpmem_devices). Legal, commit point,
 * sharing and errors as uvm_scsi_attach(), and LIMIT: no region or device is free that holds it, or it is
 * larger than any; UNSUPPORTED: another format. A mapping takes a region of 1 MiB, 4 MiB, 16 MiB … 4 GiB, and
 * of memory what the image has; its detach gives both back. A VMM may be unable to take a device away:
 * of a whole one that was detached the memory is given back, and the device waits for another image until the
 * VM ends. */
int uvm_vpmem_attach(uvm_vm *vm, const struct uvm_vpmem_params *params, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* An assigned PCI function. Zero or NULL: no, or the default. */
struct uvm_vpci_params {
    size_t size; /* sizeof this struct */
    /* Which; needed. On a Linux host a PCI address ("0000:3b:00.0") that is bound to vfio-pci, or "emulated:MODEL",
     * which the VMM makes up: edu, pci-testdev, virtio-rng-pci, e1000e, nvme. On Windows a PnP path. */
    const char *device;
    uint32_t virtual_function; /* of an SR-IOV device; of a model it tells several apart */
    const char *guid;          /* the VMBus instance in the guest; default: a random one */
};
#define UVM_VPCI_PARAMS_INIT                                                                       \
    { sizeof(struct uvm_vpci_params), NULL, 0, NULL }

/* Takes a device's id as containers' documents have it apart: DEVICE, or DEVICE/N (or \N) with a decimal N of at most
 * 65535, which is the virtual function (else 0). Returns the bytes of DEVICE. */
size_t uvm_vpci_id_split(const char *id, uint32_t *ret_virtual_function);

/* Assigns a PCI function: done when the guest has it, at guest_path, a folder with pci<DDDD:BB>/<DDDD:BB:SS.F>. Its
 * driver is the guest's affair. Legal, commit point and sharing as uvm_scsi_attach(); device and virtual_function
 * are what is shared. uvm_detach() tells the guest first, whose driver lets go of the function; a guest that
 * does not keeps it (the id is quarantined, and detach can be tried again).
 * Errors: INVAL, EXISTS (attached under another GUID; the GUID is in use), NOTFOUND (no such function), STATE (a
 * driver of the host has it; quarantined), HOST (no IOMMU; no rights), LIMIT (no free PCI port), UNSUPPORTED (no
 * such model; a guest that does not hear of offers), TIMEDOUT (the guest did not find it), PEER, EXITED, UNDO. */
int uvm_vpci_attach(uvm_vm *vm, const struct uvm_vpci_params *params, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op);

#define UVM_SHARE_FILES_MAX 256u           /* files of a share that shows only some */
#define UVM_SHARE_FILE_NAME_BYTES_MAX 255u /* the name of one */

/* A shared folder or file. Zero or NULL: no, or the default. */
struct uvm_vsmb_params {
    size_t size; /* sizeof this struct */
    const char *
        host_path; /* absolute: a folder, or with `file` a file; needed. Its links are followed once */
    const char *
        guest_path; /* where to mount; absolute; default /run/mounts/vsmb/<name>, of a file with its
                             * name behind */
    bool read_only; /* enforced on the host */
    bool file;      /* one regular file, which is mounted over an empty one */
    const char *const
        *files; /* of a folder: the names of the files in it that the guest sees, NULL-terminated,
                               * 256 at most; what is made there later it does not. NULL: all */
};
#define UVM_VSMB_PARAMS_INIT                                                                       \
    { sizeof(struct uvm_vsmb_params), NULL, NULL, false, false, NULL }

/* Shares a folder or a file of the host, and mounts it. Guest and host see each other's changes; owners and modes
 * are the host's. File systems mounted below the folder are not seen. The same path in the same mode is one
 * share: with the same files and guest path (or none) it is shared, else EXISTS. Legal, commit point and errors as
 * uvm_scsi_attach(), and NOTFOUND: there is no such path; INVAL: it is of another type; LIMIT: the VM has no free
 * PCI port, of which all shares of a mode take one; HOST: the file server cannot be run here (it needs an owner that
 * is root). A detach while the guest has something of it open is refused (PEER). */
int uvm_vsmb_attach(uvm_vm *vm, const struct uvm_vsmb_params *params, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op);

enum uvm_nic_type {
    UVM_NIC_USER,  /* a network of the host's user: outwards only, the host is 10.0.2.2 */
    UVM_NIC_TAP,   /* an existing tap in the owner's network namespace */
    UVM_NIC_NETNS, /* the place of an interface in another network namespace */
    UVM_NIC_STREAM /* frames over a unix socket, each behind its length (32 bits, big-endian) */
};

/* A network adapter. Zero or NULL: the default. */
struct uvm_nic_params {
    size_t size; /* sizeof this struct */
    enum uvm_nic_type type;
    const char *target; /* TAP: its name; NETNS: the namespace's file; STREAM: the socket's path */
    const char *interface; /* NETNS: whose place the guest takes; default eth0 */
    const char *id;        /* the VMBus instance, a GUID; default: a new one */
    const char
        *mac;     /* "02:00:00:12:34:56"; default: the namespace's interface's, else a random one */
    uint32_t mtu; /* default: the interface's or the tap's, else 1500 */
    bool dhcp;    /* the guest asks, whatever the namespace's interface has */
    const char *const
        *addresses; /* "10.1.2.3/24", NULL-terminated, as what follows. None: those of the
                                   * namespace's interface, with its routes; where there are none, DHCP */
    const char *const *gateways; /* one a family; they go with addresses */
    const char *const *dns;      /* servers; default: what DHCP says */
    const char *const *search;   /* domains */
    const char *namespace_id;    /* the guest's group of adapters, a GUID */
};
#define UVM_NIC_PARAMS_INIT                                                                        \
    {                                                                                              \
        sizeof(struct uvm_nic_params), UVM_NIC_USER, NULL, NULL, NULL, NULL, 0, false, NULL, NULL, \
            NULL, NULL, NULL                                                                       \
    }

/* Attaches a network adapter and has the guest configure it: link, MTU, addresses, routes, resolver; its
 * detach takes all of it back, in the guest first. Never shared, but for the same params with the same `id`. In the
 * guest it is configured in the agent's own network namespace; the namespace_id groups adapters for a container.
 * NETNS needs CAP_SYS_ADMIN and CAP_NET_ADMIN there; while it is attached the namespace itself hears nothing by that
 * interface. Legal, commit point and errors as uvm_scsi_attach(), and: EXISTS: the MAC address is another adapter's;
 * LIMIT: no PCI port is free; HOST: what it shall be joined to cannot be opened; NOTFOUND: there is no such tap or
 * namespace; UNSUPPORTED: the guest does not listen to offers; PEER: the guest could not configure it (no DHCP
 * server answered). */
int uvm_nic_attach(uvm_vm *vm, const struct uvm_nic_params *params, uvm_scope *scope,
                   uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* A folder or a file of the host over 9P. Zero or NULL: no, or the default. */
struct uvm_plan9_params {
    size_t size;           /* sizeof this struct */
    const char *host_path; /* absolute: a folder, or with `file` a file; needed */
    const char
        *guest_path; /* where to mount, a folder, also of a file, which is in it; absolute; default
                             * /run/mounts/plan9/<name> */
    bool read_only;  /* enforced on the host */
    bool file;       /* host_path is a regular file */
    const char *const
        *files; /* of a folder: the names of the files in it that the guest sees, NULL-terminated,
                               * 128 at most; what is made there later it does not. NULL: all */
};
#define UVM_PLAN9_PARAMS_INIT                                                                      \
    { sizeof(struct uvm_plan9_params), NULL, NULL, false, false, NULL }

/* Shares a folder or a file of the host by the 9P server diod, and mounts it. Guest and host see each other's
 * changes; owners and modes are the host's. File systems mounted below the folder are not seen. What was asked for
 * in the same way is shared; in another way (mode, files, guest path) it is another share. Where the guest finds it
 * is guest_path of the result: of a file, the file itself. Legal, commit point and errors as uvm_scsi_attach(), and
 * NOTFOUND: there is no such path; INVAL: it is of another type, or one of `files` is a link; HOST: the server cannot
 * be run here (package diod; it needs an owner that is root). A server that dies while the guest uses it leaves I/O
 * errors there; detach and attach again is the remedy. */
int uvm_plan9_attach(uvm_vm *vm, const struct uvm_plan9_params *params, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op);

struct uvm_attach_result {
    const char *id;           /* "scsi-3" */
    const char *kind;         /* "scsi", "vpmem", "vsmb", "nic" */
    const char *guest_path;   /* "": nothing is mounted */
    uint32_t controller, lun; /* of SCSI */
    bool shared;              /* it was there, or on its way, before */
    uint32_t refs;            /* with this one */
    uint32_t device;          /* of VPMem */
    uint64_t offset, bytes;   /* likewise: the range of the device */
    const char *share;        /* of vSMB and Plan9: its name; else "", as what follows */
    uint32_t port;            /* of Plan9: the hvsock port */
    const char *instance;     /* of a NIC and a PCI function: the VMBus instance, a GUID */
    const char *mac;          /* of a NIC */
};
/* Of a successful attach; strings live as long as the op. Otherwise all is zero and "". */
struct uvm_attach_result uvm_attach_result(uvm_op *op);

/* Gives one reference back. The last one: unmount in the guest, let go of the disk there, remove it on
 * the host; success means that all three have happened. Commit point: the guest's answer to the unmount.
 * An unmount that the guest refuses changes nothing (PEER). What fails later is quarantined (UNDO):
 * detaching the id again goes on from there. NOTFOUND: no such id. STATE: it is being detached or still
 * being attached, or belongs to the boot. Legal in `running`. Deadline: 60 s, or the scope's. */
int uvm_detach(uvm_vm *vm, const char *id, uvm_scope *scope, uvm_done_fn on_done, void *arg,
               uvm_op **ret_op);

/* A JSON array, in order of ids: {"id","kind","host_path","read_only","guest_path","partition",
 * "location":{"controller","lun"},"refs","state","quarantined","internal"}; state: attaching, mounting,
 * attached, detaching; internal: the engine's own (the tools disk). Of VPMem "whole_device" instead of
 * "partition", and "location":{"device","offset","bytes"}; of vSMB "files" (where it shows only some) instead of
 * it, and "location":{"share"}. NULL: no memory. */
const char *uvm_vm_devices(uvm_vm *vm);

#ifdef __cplusplus
}
#endif
