/* SPDX-License-Identifier: MIT
 * qemu_int.h — the service and its systems, as the files of this folder share them.
 *
 *   service.c     the service: params, accelerator, closing         properties.c  what is told of a system
 *   facts.c       what VMs would get here                           capabilities.c  what this QEMU can do
 *   create.c      the saga from document to a paused VM             system.c      a system's parts and memory
 *   verbs.c       start, pause, resume, terminate                   end.c         signs of the end, the decision
 *   modify.c      changes, by kind: scsi.c, vpmem.c, vpci.c, vsmb.c, plan9.c resource.c    what was added, by its path
 *   command.c     a command of a saga                               offers.c      what the guest is offered
 *   pace.c        not too many plugged at once                      statistics.c  what a system has used
 *   qmp_events.c  QEMU's events, by table                           ports.c       PCIe root ports that are taken
 */
#pragma once
#include "async/child.h"
#include "async/clock.h"
#include "async/limits.h"
#include "async/ready.h"
#include "hcs/compute_service.h"
#include "hcs/doc.h"
#include "hcs/qemu/accel.h"
#include "hcs/qemu/argv.h"
#include "hcs/qemu/boot_file.h"
#include "hcs/qemu/cgroup.h"
#include "hcs/qemu/console.h"
#include "hcs/qemu/exit.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/pace.h"
#include "hcs/qemu/ports.h"
#include "hcs/qemu/qmp.h"
#include "hcs/qemu/uid.h"
#include "hvsock/vsock_device.h"
#include "vmbus/vmbus.h"

#define UVM__QEMU_GUEST_CID 3u /* private to each VM's device, so every VM has the same */
#define UVM__QEMU_PROCESSORS_ROOM 8u
#define UVM__QEMU_FDS_MAX 16u /* beside a document */
#define UVM__QEMU_NAME_BYTES 64u
#define UVM__VMM_OVERHEAD_MB                                                                       \
    96u /* of a VMM beside its guest's memory, its translated code included */

struct uvm__qemu {
    struct uvm__hcs base;
    char *qemu_path, *search_path, *launch_path,
        *cache_dir; /* the first and the last may be NULL */
    enum uvm_qemu_drop drop;
    uint32_t uid_base, processors_possible;
    struct uvm__accel accel;
    uint32_t users;           /* systems that have memory, probes */
    struct uvm__list systems; /* struct uvm__qemu_system.link */
    bool closing;
    struct uvm__ready closed;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

enum uvm__qemu_state {
    UVM__QEMU_CREATING,
    UVM__QEMU_CREATED, /* stopped before its first instruction */
    UVM__QEMU_RUNNING,
    UVM__QEMU_PAUSED,
    UVM__QEMU_ENDED,
    UVM__QEMU_STATE_MAX
};

/* Somebody who waits for the decision about the end; `fn` runs once, from the loop or the ready queue. */
struct uvm__end_wait {
    struct uvm__list link;
    void (*fn)(struct uvm__end_wait *w);
};

struct uvm__named_fd {
    char name[UVM__QEMU_NAME_BYTES];
    int fd;
};

struct uvm__qemu_times {
    uint64_t spawn_us, qmp_us, hvsock_us, created_us, started_us,
        ended_us; /* engine clock; 0: not yet */
};

struct uvm__qemu_system {
    struct uvm__hcs_system base;
    struct uvm__list link; /* of the service */
    struct uvm__qemu *service;
    uvm_engine *engine;
    uint32_t refs; /* the owner (create's op until it is taken), ops, parts that are closing */
    enum uvm__qemu_state state;
    uint32_t verbs_sent;           /* start, pause, resume that QEMU has not answered … */
    enum uvm__qemu_state verbs_to; /* … and where the latest of them leads */
    bool taken, closing;
    char id[37], name[UVM__QEMU_NAME_BYTES];
    void (*on_event)(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg);
    void *event_arg;

    /* what create prepares, released by uvm__qemu_release() */
    struct uvm__doc doc;
    struct uvm__named_fd fds[UVM__QEMU_FDS_MAX];
    size_t fds_count;
    char qemu_path[UVM__QEMU_PATH_BYTES];
    struct uvm__accel_answer accel;
    struct uvm__uid_lease lease;
    char *cgroup_path; /* that was asked for; NULL: none */
    struct uvm__cgroup cgroup;
    struct uvm__boot_file kernel, initrd;
    int ram_fd;
    int vpmem[UVM__QEMU_VPMEM_DEVICES_MAX]; /* memfds, empty but for what is mapped (vpmem.c) */
    unsigned vpmem_count;
    uint64_t vpmem_mb; /* of images in them, that the service's ledger has */
    char *kernel_line;
    struct uvm__argv argv;

    /* what runs, closed by uvm__qemu_parts_close() */
    struct uvm__child *child;
    struct uvm__qmp *qmp;
    struct uvm__console *console;
    struct uvm__vsock_device *vsock;
    struct uvm__vmbus *vmbus; /* of it */
    unsigned parts_closing;
    void (*on_parts_closed)(struct uvm__qemu_system *s);
    pid_t pid;
    bool hvsock_configured;
    void (*on_progress)(struct uvm__qemu_system *s,
                        uvm_error *take_err); /* create's step that waits */
    uvm_op *create_op;                        /* for it; borrowed */

    /* the end */
    struct uvm__exit_facts facts;
    bool end_begun, qmp_ended, kill_sent;
    enum uvm__hcs_exit exit;
    uvm_error *end_why; /* what a part said when it broke; may be NULL */
    struct uvm__deadline decide_at, kill_at, stuck_at;
    struct uvm__list end_waiters;

    /* what was added (resource.h) */
    struct uvm__list resources, released; /* struct uvm__resource; the second: to be told */
    struct uvm__list unplugs;             /* struct uvm__command: removals under way */
    uint64_t resource_number;             /* the last one used */
    struct uvm__pace plugs[UVM__DOC_SCSI_CONTROLLERS_MAX]; /* disks that come and go */
    struct uvm__qemu_ports ports;
    struct uvm__list share_servers; /* struct uvm__share_server (share_server.h) */
    unsigned share_servers_made;

    struct uvm__ready tell; /* events that are due */
    bool tell_paused, tell_resumed, tell_exited;
    struct uvm__ready closed;
    void (*on_closed)(void *arg);
    void *closed_arg;
    struct uvm__qemu_times times;
    char *properties;
};

static inline struct uvm__qemu_system *uvm__qemu_system_of(struct uvm__hcs_system *s) {
    return UVM__CONTAINER_OF(s, struct uvm__qemu_system, base);
}
static inline struct uvm__qemu *uvm__qemu_of(struct uvm__hcs *h) {
    return UVM__CONTAINER_OF(h, struct uvm__qemu, base);
}

/* service.c */
void uvm__qemu_unuse(struct uvm__qemu *q);

/* system.c */
int uvm__qemu_system_new(struct uvm__qemu *q, const struct uvm__hcs_create_params *params,
                         struct uvm__qemu_system **ret);
struct uvm__qemu_system *uvm__qemu_ref(struct uvm__qemu_system *s);
void uvm__qemu_unref(struct uvm__qemu_system *s);
/* Gives back what create prepared: descriptors, lease, document. Idempotent. */
void uvm__qemu_release(struct uvm__qemu_system *s);
/* Kills the VMM, closes every part, then on_closed, later. */
void uvm__qemu_parts_close(struct uvm__qemu_system *s,
                           void (*on_closed)(struct uvm__qemu_system *s));
void uvm__qemu_take(struct uvm__qemu_system *s);
void uvm__qemu_close(struct uvm__hcs_system *base, void (*on_closed)(void *arg), void *arg);
/* Tells the owner, as soon as there is one. */
void uvm__qemu_tell_paused(struct uvm__qemu_system *s, bool paused);
void uvm__qemu_tell_exited(struct uvm__qemu_system *s);
void uvm__qemu_on_console(struct uvm__console *c, const void *data, size_t bytes, void *arg);

/* create.c */
int uvm__qemu_create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params,
                     uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
struct uvm__hcs_system *uvm__qemu_create_result(uvm_op *op);

/* offers.c */
/* Opens the channel and offers what the document has. On failure the parts' close takes back what was done. */
int uvm__qemu_offers_open(struct uvm__qemu_system *s);
/* Whether a disk has to wait for its controller: the guest runs and hears of offers, but has not found it yet. */
bool uvm__qemu_offer_pending(const struct uvm__qemu_system *s, const struct uvm__guid *instance);
/* What an offer (uvm__vmbus_offer()) that failed is to be told as by an op whose own undo goes on with it: that it could
 * not be taken back is not that op's last word. The error lives as long as `err`; NULL stays NULL. */
const uvm_error *uvm__qemu_offer_error(const uvm_error *err);
/* Where the guest finds a controller by its number, and what is plugged at a root port. */
void uvm__qemu_scsi_location(unsigned controller, char ret[UVM__VMBUS_LOCATION_BYTES]);
void uvm__qemu_port_location(unsigned port, char ret[UVM__VMBUS_LOCATION_BYTES]);

/* verbs.c */
int uvm__qemu_start(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op);
int uvm__qemu_pause(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op);
int uvm__qemu_resume(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op);
int uvm__qemu_terminate(struct uvm__hcs_system *base, uvm_scope *scope, uvm_done_fn on_done,
                        void *arg, uvm_op **ret_op);

/* end.c */
void uvm__qemu_end_init(struct uvm__qemu_system *s);
void uvm__qemu_on_exit(struct uvm__child *c, int status, void *arg);
void uvm__qemu_on_qmp_end(struct uvm__qmp *q, const uvm_error *err, void *arg);
void uvm__qemu_on_vsock_end(struct uvm__vsock_device *d, const uvm_error *err, void *arg);
/* The owner wants the end: asks QEMU by the op's call, and kills it when it has not ended soon. Idempotent. */
void uvm__qemu_end(struct uvm__qemu_system *s, struct uvm__call *call, uvm_op *op);
/* Decides now, from what is known; idempotent. */
void uvm__qemu_decide(struct uvm__qemu_system *s);
void uvm__qemu_end_wait(struct uvm__qemu_system *s, struct uvm__end_wait *w);
void uvm__qemu_end_forget(struct uvm__end_wait *w); /* idempotent */
/* "vm NAME: WHAT: guest panicked", with QEMU's last words and the console's tail as detail. */
uvm_error *uvm__qemu_end_error(struct uvm__qemu_system *s, const char *what);
/* One line and what QEMU said last. */
void uvm__qemu_end_text(struct uvm__qemu_system *s, char *buf, size_t bytes);

/* qmp_events.c */
void uvm__qemu_on_qmp_event(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg);

/* capacity.c */
void uvm__qemu_capacity(struct uvm__hcs *h, struct uvm__hcs_capacity *ret);

/* properties.c */
const char *uvm__qemu_properties(struct uvm__hcs_system *base);
