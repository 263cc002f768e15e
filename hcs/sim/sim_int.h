/* SPDX-License-Identifier: MIT
 * sim_int.h — the model's inside, for the files of this folder.
 */
#pragma once
#include "async/buf.h"
#include "async/engine.h"
#include "async/list.h"
#include "hcs/modify_doc.h"
#include "hcs/sim/sim.h"

struct uvm__sim_host {
    struct uvm__hcs base;
    struct uvm__sim_params params;
    struct uvm__sim_ledger ledger;
    struct uvm__hcs_capacity capacity; /* memory_mb 0: no end */
    uint64_t image_bytes;
    struct uvm__list systems; /* struct uvm__sim_system.link, oldest first */
    struct {
        enum uvm__sim_fault fault;
        uint32_t skip;
        bool met;
    } faults[UVM__SIM_POINT_MAX];
    void (*on_closed)(void *arg);
    void *closed_arg;
    struct uvm__ready close_ready;
};

enum uvm__sim_state { UVM__SIM_CREATED, UVM__SIM_RUNNING, UVM__SIM_PAUSED, UVM__SIM_ENDED };

struct uvm__sim_disk {
    struct uvm__list link;
    unsigned controller;
    uint64_t lun;
    uint64_t
        bytes; /* of an image in VPMem: the range that it takes; of a PCI function: the virtual one */
    bool read_only, whole; /* the second: of a device of VPMem */
    char name[UVM__DOC_SHARE_NAME_BYTES_MAX +
              1]; /* of a Plan9 share; of a PCI function or a network adapter its GUID */
    char path[];
};

/* A RELEASED that is to be told. */
struct uvm__sim_news {
    struct uvm__list link;
    char resource[UVM__MODIFY_PATH_BYTES];
};

/* Of its document, for good. */
struct uvm__sim_facts {
    char owner[64];
    uint64_t memory_mb, processors;
    uint64_t vpmem_devices, vpmem_bytes;
    struct uvm__guid controllers[UVM__DOC_SCSI_CONTROLLERS_MAX]; /* SCSI, by number */
    bool has_controller[UVM__DOC_SCSI_CONTROLLERS_MAX];
};

/* A document between its reading and the moment the host acts. */
struct uvm__sim_document {
    struct uvm__sim_facts facts;
    struct uvm__list disks; /* struct uvm__sim_disk.link */
};

struct uvm__sim_system {
    struct uvm__hcs_system base;
    struct uvm__sim_host *host;
    struct uvm__list link; /* of the host */
    enum uvm__sim_state state;
    char id[40], name[64];
    struct uvm__hvsock *guest;
    struct uvm__vmbus *vmbus; /* NULL: it has ended */
    bool taken;               /* events may be told */
    bool exit_told;           /* EXITED was */
    bool pause_told;          /* PAUSED was, and no RESUMED since */
    bool unmade;              /* ended before its create answered: nobody will ever own it */
    bool guest_runs;          /* on_start without on_stop */
    enum uvm__hcs_exit exit;
    char detail[128];
    char *properties;        /* the last that were asked for */
    struct uvm__buf console; /* not yet told */
    struct uvm__list verbs;  /* struct verb.link: calls that have not ended */
    struct uvm__sim_facts facts;
    struct uvm__list disks;    /* struct uvm__sim_disk.link */
    struct uvm__list modifies; /* struct modify.link (modify.c) */
    struct uvm__list news;     /* struct uvm__sim_news.link */
    struct uvm__ready tell;    /* events, and the close */
    void (*on_event)(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg);
    void *arg;
    bool closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* host.c: the effects, each counted in the ledger. */
int uvm__sim_system_new(struct uvm__sim_host *h, const char *id, const char *name,
                        struct uvm__sim_system **ret);
void uvm__sim_system_free(struct uvm__sim_system *s);
void uvm__sim_system_run(struct uvm__sim_system *s);
void uvm__sim_system_end(struct uvm__sim_system *s, enum uvm__hcs_exit exit, const char *detail);
enum uvm__sim_fault uvm__sim_next_fault(struct uvm__sim_host *h, enum uvm__sim_point point);
void uvm__sim_tell_moment(struct uvm__sim_host *h, enum uvm__sim_point point,
                          enum uvm__sim_moment moment);

/* modify.c */
int uvm__sim_modify(struct uvm__hcs_system *s, const struct uvm__hcs_modify_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
void uvm__sim_modifies_fail(struct uvm__sim_system *s);
/* NULL: no memory. */
struct uvm__sim_disk *uvm__sim_disk_new(uvm_engine *e, unsigned controller,
                                        const struct uvm__doc_scsi_attachment *a);
/* The same of an image in VPMem, of so many bytes. */
struct uvm__sim_disk *uvm__sim_image_new(uvm_engine *e, const struct uvm__modify *m,
                                         uint64_t bytes);
struct uvm__sim_disk *uvm__sim_nic_new(uvm_engine *e, const char *guid,
                                       const struct uvm__doc_nic *nic);
int uvm__sim_nic_config(struct uvm__hcs_system *s, const char *guid,
                        struct uvm__hcs_nic_config *ret);
/* vsmb.c */
struct uvm__sim_disk *uvm__sim_vsmb_new(uvm_engine *e, const struct uvm__doc_vsmb_share *share);
int uvm__sim_location(struct uvm__hcs_system *base, const char *resource,
                      char ret[UVM__HCS_LOCATION_BYTES]);
struct uvm__sim_disk *uvm__sim_share_new(uvm_engine *e, const struct uvm__doc_plan9_share *share);
void uvm__sim_disk_add(struct uvm__sim_system *s, struct uvm__sim_disk *take_d);
void uvm__sim_disks_free(struct uvm__sim_system *s);
/* Whether one of them has the file in a way that excludes another such use. */
bool uvm__sim_disk_excluded(const struct uvm__list *disks, const char *path, bool read_only);

/* vpci.c: NULL: no memory. */
struct uvm__sim_disk *uvm__sim_function_new(uvm_engine *e, const char *guid,
                                            const struct uvm__doc_vpci *v);
/* Whether it can be beside what is there: UVM_OK, or why not. */
enum uvm_error_code uvm__sim_function_refused(const struct uvm__list *disks,
                                              const struct uvm__sim_disk *x, const char **ret_why);

/* document.c: -UVM_E_NOMEM or what the document gets wrong, with words in `why`; then nothing is kept. */
int uvm__sim_document_read(uvm_engine *e, const char *text, size_t bytes,
                           struct uvm__sim_document *d, struct uvm__fail *why);
void uvm__sim_document_deinit(uvm_engine *e, struct uvm__sim_document *d);
/* Makes it so: controllers are offered, disks are there. -UVM_E_NOMEM: the system is then to be ended. */
int uvm__sim_document_apply(struct uvm__sim_document *d, struct uvm__sim_system *s);

/* properties.c */
const char *uvm__sim_properties(struct uvm__hcs_system *base);

/* service.c */
extern const struct uvm__hcs_ops uvm__sim_ops;
void uvm__sim_verbs_fail(struct uvm__sim_system *s); /* the system ended: no answer will come */
