/* SPDX-License-Identifier: MIT
 * uvm.h — utility VMs: make one, boot it, run commands in it, end it.
 *
 * An embedder makes an engine on its libuv loop (async/async.h), a compute service for its platform
 * (the service's own header, below hcs/), and VMs on that service. Verbs are operations: see
 * async/async.h for what their four outcomes mean.
 *
 * Ownership: params are copied. A VM belongs to its maker until uvm_vm_close() has called back.
 * Strings that a function returns live as long as the VM, or until the same function is called again.
 * Threading: the loop's thread only. Callbacks run from the loop, never inside a call of this header.
 * Scopes: `scope` NULL is the VM's own; another one must have been made below uvm_vm_scope(), else
 * -UVM_E_INVAL. */
#pragma once
#include "async/async.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---------------------------------------------------------------------------------- */

/* Of these headers; the one place where it stands. Until 1.0 a minor version may break the interface:
 * the library's file is then called otherwise, so that older programs do not take it. */
#define UVM_VERSION_MAJOR 0
#define UVM_VERSION_MINOR 1
#define UVM_VERSION_PATCH 0

/* For comparing: `#if UVM_VERSION_NUMBER >= UVM_VERSION_OF(0, 2, 0)`. */
#define UVM_VERSION_OF(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define UVM_VERSION_NUMBER UVM_VERSION_OF(UVM_VERSION_MAJOR, UVM_VERSION_MINOR, UVM_VERSION_PATCH)
#define UVM__TEXT_OF(x) #x
#define UVM__TEXT(x) UVM__TEXT_OF(x)
#define UVM_VERSION                                                                                \
    UVM__TEXT(UVM_VERSION_MAJOR)                                                                   \
    "." UVM__TEXT(UVM_VERSION_MINOR) "." UVM__TEXT(UVM_VERSION_PATCH)

/* Of the library that the program runs with: "0.1.0", and the number that compares. */
const char *uvm_version(void);
int uvm_version_number(void);

/* ---- services --------------------------------------------------------------------------------- */

typedef struct uvm__hcs uvm_service; /* a compute service */
typedef struct uvm_vm uvm_vm;
typedef struct uvm_process uvm_process;
struct uvm_scsi_params;  /* uvm/devices.h */
struct uvm_vpmem_params; /* uvm/devices.h */
struct uvm_vpci_params;  /* uvm/devices.h */
struct uvm_vsmb_params;  /* uvm/devices.h */
struct uvm_plan9_params; /* uvm/devices.h */
struct uvm_nic_params;   /* uvm/devices.h */

/* Closes a service on which no VM is left; on_closed (may be NULL) runs later. */
void uvm_service_close(uvm_service *service, void (*on_closed)(void *arg), void *arg);

/* ---- a VM's life ------------------------------------------------------------------------------ */

/* X(NAME, text); the table of what leads from one to another is docs/STATES.md. */
#define UVM_VM_STATE_MAP(X)                                                                        \
    X(CREATED, "created")                                                                          \
    X(STARTING, "starting")                                                                        \
    X(RUNNING, "running")                                                                          \
    X(PAUSED, "paused")                                                                            \
    X(STOPPING, "stopping")                                                                        \
    X(STOPPED, "stopped")                                                                          \
    X(FAILED, "failed") /* something is left on the host: close is the only verb left */

enum uvm_vm_state {
#define UVM__X(name, text) UVM_VM_##name,
    UVM_VM_STATE_MAP(UVM__X)
#undef UVM__X
        UVM_VM_STATE_MAX
};

/* X(NAME, key, text): why a VM that ran does not run any more. */
#define UVM_EXIT_REASON_MAP(X)                                                                     \
    X(NONE, "none", "has not ended")                                                               \
    X(GUEST_SHUTDOWN, "guest-shutdown", "the guest shut down")                                     \
    X(GUEST_RESET, "guest-reset", "the guest reset itself")                                        \
    X(GUEST_PANIC, "guest-panic", "the guest's kernel panicked")                                   \
    X(AGENT_LOST, "agent-lost", "the guest's agent was lost")                                      \
    X(TERMINATED, "terminated", "terminated by its owner")                                         \
    X(VMM_DIED, "vmm-died", "the virtual machine monitor died")                                    \
    X(VMM_STUCK, "vmm-stuck", "the virtual machine monitor was killed and does not end")

enum uvm_exit_reason {
#define UVM__X(name, key, text) UVM_EXIT_##name,
    UVM_EXIT_REASON_MAP(UVM__X)
#undef UVM__X
        UVM_EXIT_REASON_MAX
};

const char *uvm_vm_state_text(enum uvm_vm_state state);        /* "running"; never NULL */
const char *uvm_exit_reason_key(enum uvm_exit_reason reason);  /* "guest-panic"; never NULL */
const char *uvm_exit_reason_text(enum uvm_exit_reason reason); /* for people; never NULL */

/* Limits of the options (uvm_vm_params). */
#define UVM_VM_NAME_BYTES_MAX 63u
#define UVM_VM_CPUS_MAX 64u
#define UVM_VM_MEMORY_MB_MIN 32u
#define UVM_VM_MEMORY_MB_MAX (1u << 20)
#define UVM_VM_APPEND_BYTES_MAX 1024u /* the kernel's whole command line has 2 KiB */
#define UVM_VM_ANNOTATIONS_MAX 128u
#define UVM_VPMEM_DEVICES_MAX 128u   /* devices of virtual PMem that a VM may be described with */
#define UVM_VPMEM_DEVICES_DEFAULT 2u /* where something is asked to be in one */
#define UVM_VPMEM_DEVICE_MB_DEFAULT 512u   /* of one device */
#define UVM_VPMEM_DEVICE_MB_MAX (1u << 22) /* of one device, at most */
#define UVM_VPMEM_BOOT_MAX 256u            /* images from the start */
#define UVM_SHARES_BOOT_MAX 128u           /* shares of a kind from the start */
#define UVM_NIC_BOOT_MAX 8u                /* network adapters from the start */

enum uvm_rootfs_on {
    UVM_ROOTFS_ON_SCSI, /* controller 0, LUN 0 */
    UVM_ROOTFS_ON_VPMEM /* device 0, whole */
};

/* Zero or NULL means the default, or what `document` says. (The initialisers name no field, so that they
 * are C++ too.) */
struct uvm_vm_params {
    size_t size;        /* sizeof this struct */
    const char *name;   /* letters, digits, `_.-`, first one no punctuation; default: from the id */
    const char *id;     /* GUID; default: a random one */
    const char *owner;  /* printable text; default "uvm" */
    uint32_t cpus;      /* default 1 */
    uint64_t memory_mb; /* even; default 256 */
    const char *kernel; /* path; needed, here or in the document */
    const char *initrd; /* path; needed, here or in the document */
    const char *append; /* further kernel arguments */
    const char *log_level; /* of the agent: error, warning, info, debug, trace; default info */
    const char *const *annotations; /* "KEY=VALUE", NULL-terminated (names: hcsshim's
                                     * pkg/annotations/annotations.go); an option given above wins
                                     * over its annotation */
    const char *document;           /* a ComputeSystem (HCS schema 2) as JSON text; what is given
                                     * above or by annotation replaces its fields, and is logged */
    size_t document_bytes;
    /* What the guest writes on its console, as it comes. May be NULL; the tail is kept anyway. */
    void (*on_console)(uvm_vm *vm, const void *data, size_t bytes, void *arg);
    void *arg;
    const char *cgroup; /* the control group (v2) that the VMM and its helpers join: a path below
                         * /sys/fs/cgroup. Made when it is missing (not its parent), and removed when the
                         * VM is gone if it was. Default: that of this process */
    /* Disks that are there from the start, NULL-terminated (uvm/devices.h): attached before the guest
     * runs, mounted before the boot is done. They can be detached like others. */
    const struct uvm_scsi_params *const *disks;
    uint32_t scsi_controllers; /* 1 … 4; default 1. With a document: what that says */
    /* A disk image (absolute path) whose file system is the guest's root, read-only, with overlays in RAM
     * over /etc and /var; it needs no agent of its own. Default: the initrd is the root. Not with a
     * document, which says so itself. */
    const char *rootfs;
    enum uvm_rootfs_on rootfs_on;
    /* The image (absolute path) of a disk with programs that few guests need, as mkfs; `make all` makes
     * one. Attached and mounted, read-only, before the first mount that may format (ensure_filesystem),
     * and there until the VM's end. NULL: such a mount needs the programs in the guest's root. */
    const char *tools;
    /* Images in virtual PMem from the start, NULL-terminated (uvm/devices.h). */
    const struct uvm_vpmem_params *const *vpmem;
    /* Devices of virtual PMem for them and for later ones, 0 … 128, and the size of each. Default: 2 of
     * 512 MiB where something is asked to be in one, else none. A guest pays for them when it first uses one:
     * by 1/64 of their size. Fewer are there where that would be more than 1/8 of its memory. */
    uint64_t vpmem_device_mb;
    uint32_t vpmem_devices;
    /* PCI functions that are assigned from the start, NULL-terminated (uvm/devices.h). */
    const struct uvm_vpci_params *const *vpci;
    /* Shared folders from the start, NULL-terminated (uvm/devices.h). */
    const struct uvm_vsmb_params *const *vsmb;
    /* Network adapters from the start, NULL-terminated (uvm/devices.h): configured before the boot is done. */
    const struct uvm_nic_params *const *nics;
    /* Folders that are shared by 9P from the start, NULL-terminated (uvm/devices.h). */
    const struct uvm_plan9_params *const *plan9;
};
#define UVM_VM_PARAMS_INIT                                                                         \
    {                                                                                              \
        sizeof(struct uvm_vm_params), NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL,  \
            0, NULL, NULL, NULL, NULL, 0, NULL, UVM_ROOTFS_ON_SCSI, NULL, NULL, 0, 0, NULL, NULL,  \
            NULL, NULL                                                                             \
    }

/* Makes a VM that is described but not there yet (created). Checks every option without touching a
 * file: -UVM_E_INVAL, -UVM_E_UNSUPPORTED, -UVM_E_LIMIT, -UVM_E_PROTOCOL (document), -UVM_E_NOMEM; then
 * *ret_err (may be NULL) is an error that names the option, and the caller's to release. */
int uvm_vm_new(uvm_engine *engine, uvm_service *service, const struct uvm_vm_params *params,
               uvm_vm **ret_vm, uvm_error **ret_err);

/* Cancels all operations, waits for their on_done, ends what still runs (at once, without asking the
 * guest), then calls on_closed (may be NULL), after which the VM is gone. Once only. */
void uvm_vm_close(uvm_vm *vm, void (*on_closed)(void *arg), void *arg);

/* ---- verbs ------------------------------------------------------------------------------------ */

/* created → running: makes the VM, starts it, waits for the guest's agent and negotiates. Legal in
 * `created`, else -UVM_E_STATE. LIMIT: the host, or what the service was allowed, has no room for it
 * (VMs, memory, descriptors); then nothing was started. It counts until it is closed, or its boot has
 * failed. Deadline: 120 s, or the scope's. Commit point: negotiated, and the disks are mounted. After any
 * failure nothing is left and the VM is `created` again; the error says what really happened
 * (EXITED: the VM ended, message says how; TIMEDOUT: message says what did not come), and its detail
 * holds the tail of the guest's console, of the agent's log, and the recent events. */
int uvm_vm_boot(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* Ends when the VM has, or is `failed`: success, and uvm_vm_exit() says how. At once when it has already.
 * -UVM_E_STATE when it was not booted. Cancel: ends the wait only. */
int uvm_vm_wait(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* Asks the guest to shut down; terminates it when it has not after `grace_ms` (0: 10 s) or does not
 * hear. Ends when the VM has. Commit point: at once. Success when it had ended already. UNDO: the VMM was killed
 * 10 s ago and its process is there still, held by the host's kernel; the VM is `failed`. */
int uvm_vm_stop(uvm_vm *vm, uint32_t grace_ms, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                uvm_op **ret_op);

/* The same without asking. */
int uvm_vm_terminate(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* ---- queries ---------------------------------------------------------------------------------- */

struct uvm_vm_exit {
    enum uvm_exit_reason reason;
    const char *detail; /* "killed by SIGKILL", the panic's line; "" when there is nothing to say */
};

/* Milliseconds since uvm_vm_boot(), of the latest boot; 0: not reached. */
struct uvm_vm_times {
    uint64_t create;              /* the VMM is there, stopped */
    uint64_t vmm_start;           /* the guest runs */
    uint64_t first_guest_contact; /* the guest's first dial */
    uint64_t negotiated;
};

const char *uvm_vm_name(const uvm_vm *vm);
const char *uvm_vm_id(const uvm_vm *vm);
enum uvm_vm_state uvm_vm_state(const uvm_vm *vm);
struct uvm_vm_exit uvm_vm_exit(const uvm_vm *vm); /* reason NONE until it has ended */
struct uvm_vm_times uvm_vm_times(const uvm_vm *vm);
const char *uvm_vm_accel(uvm_vm *vm); /* "kvm", "tcg"; "" while there is no VMM */
uvm_scope *uvm_vm_scope(uvm_vm *vm);  /* the parent for scopes of one's own */
/* The document that the service gets, or got. */
const char *uvm_vm_document(const uvm_vm *vm);
/* Everything as one JSON object: id, name, state, exit, accel, cpus, memory_mb, times_ms, `devices`
 * (as uvm_vm_devices()), and `service`:
 * what the service says about the VM (accelerator, pids, command line). NULL: no memory. */
const char *uvm_vm_properties(uvm_vm *vm);

/* Asks what a VM has used. Legal while there is a VMM, else -UVM_E_STATE. Errors: UNSUPPORTED (the service cannot
 * tell), EXITED. Cancel: at once. */
int uvm_vm_statistics(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                      uvm_op **ret_op);
/* The answer as a JSON object, valid as long as the op; NULL when it did not succeed. at_ms (since 1970);
 * uptime_ms; cpus; cpu {total_us, user_us, kernel_us} of the VMM, its guest's included; memory {assigned_bytes,
 * used_bytes (that the guest touched), vpmem_bytes, vmm_bytes (beside those)}; devices [{kind, ids, host_path} and
 * of a disk {read_bytes, write_bytes, reads, writes, flushes}, of an image in virtual PMem {mapped_bytes}]. */
const char *uvm_vm_statistics_result(uvm_op *op);

/* ---- processes in the guest ------------------------------------------------------------------- */

enum uvm_stdio { UVM_STDIN, UVM_STDOUT, UVM_STDERR, UVM_STDIO_MAX };

enum uvm_stdio_kind {
    UVM_STDIO_NONE,    /* /dev/null in the guest */
    UVM_STDIO_FD,      /* relayed from or to a descriptor */
    UVM_STDIO_CALLBACK /* out, err: on_output; in: uvm_process_write() */
};

struct uvm_exec_params {
    size_t size;             /* sizeof this struct */
    const char *const *argv; /* NULL-terminated; argv[0] is searched in the agent's PATH */
    const char *const *env;  /* "KEY=VALUE", NULL-terminated; NULL: none at all */
    const char *cwd;         /* default "/" */
    const char *user;        /* "name|uid[:group|gid]"; default root */
    bool tty;                /* a terminal; its output comes as UVM_STDOUT */
    uint16_t rows, cols;     /* of the terminal; 0: unknown */
    enum uvm_stdio_kind stdio[UVM_STDIO_MAX];
    int fd[UVM_STDIO_MAX]; /* borrowed during the call; their flags stay as they are */
    /* CALLBACK output: returns how many bytes were taken; fewer stop the stream until
     * uvm_process_resume(). The process is in hand by then, or comes with on_done soon. */
    size_t (*on_output)(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg);
    void (*on_writable)(uvm_process *p, void *arg); /* CALLBACK input has room again; may be NULL */
    void *arg;
};
#define UVM_EXEC_PARAMS_INIT                                                                       \
    {                                                                                              \
        sizeof(struct uvm_exec_params), NULL, NULL, NULL, NULL, false, 0, 0,                       \
            {UVM_STDIO_NONE, UVM_STDIO_NONE, UVM_STDIO_NONE}, {-1, -1, -1}, NULL, NULL, NULL       \
    }

/* Starts a process. Legal in `running`, else -UVM_E_STATE. -UVM_E_LIMIT: the words are too many, or there
 * is no file descriptor left for a stream. Commit point: the guest's answer; before it
 * a cancel kills what was started. Errors: PEER (the guest's words; uvm_exec_status()), UNSUPPORTED
 * (the agent lacks it), EXITED (the VM ended meanwhile). */
int uvm_exec_start(uvm_vm *vm, const struct uvm_exec_params *params, uvm_scope *scope,
                   uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Takes the process out of a successful exec; NULL when taken already. Untaken ones are closed with
 * the op. */
uvm_process *uvm_exec_result(uvm_op *op);
/* What a shell would return for an exec that failed: 127 no such program, 126 not runnable, else 125. */
int uvm_exec_status(uvm_op *op);

struct uvm_process_exit {
    uint32_t code; /* of a process that exited */
    int signal;    /* that ended it; 0: none, or the agent did not say */
    bool core;
};

/* Ends when the process has and its output was delivered: success, and uvm_process_exit() says how.
 * EXITED: the VM ended first. Cancel: ends the wait only. */
int uvm_process_wait(uvm_process *p, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op);
/* -UVM_E_STATE: not known (yet). */
int uvm_process_exit(const uvm_process *p, struct uvm_process_exit *ret);
uint32_t uvm_process_pid(const uvm_process *p);
/* Why output was dropped on its way into a descriptor ("stdout: …: No space left on device"); "": none was,
 * or its reader had left. The process does not end for that; it sees a closed stream. */
const char *uvm_process_lost(const uvm_process *p);
/* `group`: its whole process group. A process that has ended is no error. */
int uvm_process_signal(uvm_process *p, int signo, bool group, uvm_scope *scope, uvm_done_fn on_done,
                       void *arg, uvm_op **ret_op);
int uvm_process_resize(uvm_process *p, uint16_t rows, uint16_t cols, uvm_scope *scope,
                       uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* CALLBACK input: bytes accepted, perhaps fewer; -UVM_E_AGAIN (on_writable follows); -UVM_E_NOMEM (nothing
 * follows: try again later); -UVM_E_CLOSED. A process whose stdin is not CALLBACK: -UVM_E_STATE. */
int64_t uvm_process_write(uvm_process *p, const void *data, size_t bytes);
void uvm_process_close_stdin(uvm_process *p);
void uvm_process_resume(uvm_process *p, enum uvm_stdio which);
/* Lets go: streams are closed, the callbacks run no more; a process that runs is not killed. Before
 * the VM's on_closed, or at any time after it. Accepts NULL. */
void uvm_process_close(uvm_process *p);

#ifdef __cplusplus
}
#endif
