/* SPDX-License-Identifier: MIT
 * sim.h — the compute service over a model of a host: deterministic, with faults and a ledger.
 *
 * The host side only: what a guest does is a hook, called when a system starts, with the guest's end of the
 * VM's hvsock. Every verb has two moments on the engine's clock: the host *acts*, then it *answers*; faults
 * sit before, between and after them. The ledger counts what exists when the host acted, whatever the
 * engine came to know. Works on a virtual engine and on a real one; ten thousand systems fit in a process.
 */
#pragma once
#include "hcs/compute_service.h"
#include "vmbus/vmbus.h"

struct uvm__sim_host;

#define UVM__SIM_POINT_MAP(X)                                                                      \
    X(CREATE, "create")                                                                            \
    X(START, "start")                                                                              \
    X(TERMINATE, "terminate")                                                                      \
    X(PAUSE, "pause") X(RESUME, "resume") X(MODIFY_ADD, "add") X(MODIFY_REMOVE, "remove")
enum uvm__sim_point {
#define UVM__X(name, text) UVM__SIM_##name,
    UVM__SIM_POINT_MAP(UVM__X)
#undef UVM__X
        UVM__SIM_POINT_MAX
};

/* What happens to one call of a verb. */
#define UVM__SIM_FAULT_MAP(X)                                                                      \
    X(NONE, "answers")                                                                             \
    X(REFUSE, "refuses")                                                                           \
    X(MUTE_IDLE, "neither acts nor answers")                                                       \
    X(MUTE_DONE, "acts, never answers")                                                            \
    X(LATE, "acts, answers after every deadline")                                                  \
    X(DIE_IDLE, "the VMM dies before it acts")                                                     \
    X(DIE_DONE, "the VMM dies after it acted, before it answers")
enum uvm__sim_fault {
#define UVM__X(name, text) UVM__SIM_##name,
    UVM__SIM_FAULT_MAP(UVM__X)
#undef UVM__X
        UVM__SIM_FAULT_MAX
};
/* Of one call of a verb. */
enum uvm__sim_moment { UVM__SIM_CALLED, UVM__SIM_ACTED, UVM__SIM_ANSWERED };
const char *uvm__sim_point_name(enum uvm__sim_point point);
const char *uvm__sim_fault_name(enum uvm__sim_fault fault);

struct uvm__sim_params {
    uint32_t act_ms, answer_ms; /* of every verb: called to acted, acted to answered */
    uint32_t window_bytes;      /* of hvsock streams; 0: UVM__STREAM_WINDOW_BYTES */
    /* The guest's first instruction: runs when a system's start acted. `guest` lives until on_stop. */
    void (*on_start)(struct uvm__hcs_system *s, struct uvm__hvsock *guest, void *arg);
    /* The guest is gone; its streams were reset. Once per on_start. */
    void (*on_stop)(struct uvm__hcs_system *s, void *arg);
    /* A disk has gone from under a guest that runs. May be NULL. */
    void (*on_disk_removed)(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                            void *arg);
    /* Each verb at each of its moments. May be NULL. */
    void (*on_moment)(enum uvm__sim_point point, enum uvm__sim_moment moment, void *arg);
    void *arg;
};

int uvm__sim_host_new(uvm_engine *e, const struct uvm__sim_params *params,
                      struct uvm__sim_host **ret);
struct uvm__hcs *uvm__sim_service(struct uvm__sim_host *h);
/* The host is freed by uvm__hcs_service_close() on its service. */
/* What VMs may take and what the empty host has, from now on; both have no end at first. Each system that
 * exists takes its overhead and its descriptors. */
void uvm__sim_set_room(struct uvm__sim_host *h, const struct uvm__hcs_limits *limits,
                       const struct uvm__hcs_capacity *capacity);

/* The next call of the verb, or the one after `skip` more, meets the fault; each works once. */
void uvm__sim_set_fault(struct uvm__sim_host *h, enum uvm__sim_point point, uint32_t skip,
                        enum uvm__sim_fault fault);
/* True when the fault that was set has been met. */
bool uvm__sim_fault_met(const struct uvm__sim_host *h, enum uvm__sim_point point);

/* What exists on the host now, and what was ever done. */
struct uvm__sim_ledger {
    uint32_t systems, systems_peak, running;
    uint64_t created, started, ended;
    uint32_t disks; /* attached now, in all systems */
    uint64_t disks_added;
};
struct uvm__sim_ledger uvm__sim_ledger(const struct uvm__sim_host *h);

/* The system that was created last and is not closed yet; NULL: there is none. */
struct uvm__hcs_system *uvm__sim_newest(struct uvm__sim_host *h);
/* The one of that name that has not ended; NULL: there is none. */
struct uvm__hcs_system *uvm__sim_find(struct uvm__sim_host *h, const char *name);

/* Where the host offers devices to this guest; NULL: the system has ended. */
struct uvm__vmbus *uvm__sim_vmbus(struct uvm__hcs_system *s);
/* An image in virtual PMem is a disk, too: its controller is its device's number behind this one, its slot the
 * offset. */
#define UVM__SIM_VPMEM 16u
/* So is a Plan9 share: in the slot of its port. */
#define UVM__SIM_PLAN9 1024u
/* And so is an assigned PCI function: in a slot that its instance's GUID gives. */
#define UVM__SIM_VPCI 1025u
uint64_t uvm__sim_vpci_slot(const char *guid);
/* And a network adapter: in the slot that its GUID makes, with what it is joined to as its path ("user"). One in the
 * place of a namespace's interface has the address 10.9.8.7/24 and a default route. */
#define UVM__SIM_NIC 1026u
uint64_t uvm__sim_nic_slot(const char *guid);
/* And a vSMB share: in the slot that its name gives; the guest finds it by the tag "vsmb-rw" or "vsmb-ro". */
#define UVM__SIM_VSMB 1027u
uint64_t uvm__sim_vsmb_slot(const char *name);
/* How large every image is from now on; 1 MiB at first. */
void uvm__sim_set_image_bytes(struct uvm__sim_host *h, uint64_t bytes);
/* Whether a disk is in the slot; its path (until it is removed) and access. */
bool uvm__sim_disk_at(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                      const char **ret_path, bool *ret_read_only);
uint32_t uvm__sim_disks(struct uvm__hcs_system *s); /* in all its slots */

/* The guest's side of the story. */
void uvm__sim_console(struct uvm__hcs_system *s, const char *text);
void uvm__sim_end(struct uvm__hcs_system *s, enum uvm__hcs_exit exit, const char *detail);
