/* SPDX-License-Identifier: MIT
 * modify_doc.h — ModifySettingRequest (hcsshim's internal/hcs/schema2) as a typed struct: read and built.
 *
 * What a request changes is named by its ResourcePath, which holds keys (a controller's GUID, a LUN), or, where
 * the path has none, by the Name in its Settings; the path decides the kind, and the kind the type of the
 * Settings. One table (modify_doc.c) has a row a kind. The
 * reader is as strict as doc.h's: exact keys, unknown fields refused, every error begins with the JSON path
 * ("Settings.Path: missing"). What one service cannot honour although it is well-formed is that service's to
 * refuse. GuestRequest is refused: its part goes over the bridge.
 *
 * Ownership: a request that was read owns its strings; one that a caller fills in borrows what the caller points
 * it at, and is never freed. Threading: none needed, plain data.
 */
#pragma once
#include "async/guid.h"
#include "hcs/doc.h"

#define UVM__MODIFY_PATH_BYTES 128u /* of a ResourcePath, with its end */

enum uvm__modify_verb {
    UVM__MODIFY_ADD,
    UVM__MODIFY_REMOVE,
    UVM__MODIFY_UPDATE,
    UVM__MODIFY_VERB_MAX
};

enum uvm__modify_kind {
    UVM__MODIFY_SCSI,          /* VirtualMachine/Devices/Scsi/<guid>/Attachments/<number> */
    UVM__MODIFY_VPMEM,         /* VirtualMachine/Devices/VirtualPMem/Devices/<number> */
    UVM__MODIFY_VPMEM_MAPPING, /* …/Devices/<number>/Mappings/<offset> */
    UVM__MODIFY_VSMB,  /* VirtualMachine/Devices/VirtualSmb/Shares; Settings.Name says which */
    UVM__MODIFY_PLAN9, /* VirtualMachine/Devices/Plan9/Shares; likewise */
    UVM__MODIFY_VPCI,  /* VirtualMachine/Devices/VirtualPci/<guid> */
    UVM__MODIFY_NIC,   /* VirtualMachine/Devices/NetworkAdapters/<guid> */
    UVM__MODIFY_KIND_MAX
};

struct uvm__modify {
    enum uvm__modify_verb verb;
    enum uvm__modify_kind kind;
    char guid
        [UVM_GUID_TEXT]; /* of the path: SCSI's controller, VirtualPci's or a network adapter's instance; lower-case when it was read */
    uint64_t number;     /* of the path: SCSI's LUN, 0…63; VPMem's device, 0…127 */
    uint64_t offset;     /* of the path: a mapping's, in bytes; a multiple of 4096 */
    bool has_settings;   /* Add and Update need them; a Remove may have them, too */
    union {
        struct uvm__doc_scsi_attachment
            scsi; /* its own `lun` is the path's number when it was read */
        struct uvm__doc_vpmem_device vpmem; /* of both kinds; a mapping has no ReadOnly */
        struct uvm__doc_vsmb_share vsmb;    /* of a Remove, too: only its name */
        struct uvm__doc_plan9_share plan9;  /* of a Remove, too: its names and its port */
        struct uvm__doc_vpci vpci;          /* its own `guid` is not looked at */
        struct uvm__doc_nic nic;            /* its own `guid` is the path's when it was read */
    } settings;
    struct uvm__doc_store *store; /* of a request that was read; NULL otherwise */
};

/* Reads and checks a request. Errors as uvm__doc_read()'s, and -UVM_E_UNSUPPORTED for a path that no kind has;
 * then `f` says where and why and `ret` is untouched. The caller releases with uvm__modify_deinit(). */
int uvm__modify_read(uvm_engine *e, const char *text, size_t bytes, struct uvm__modify *ret,
                     struct uvm__fail *f);
void uvm__modify_deinit(struct uvm__modify *m); /* accepts NULL, a zeroed and a filled-in one */

/* Checks a filled-in request and writes it as compact JSON, which the engine's uvm__free() releases. */
int uvm__modify_build(uvm_engine *e, const struct uvm__modify *m, char **ret_text,
                      size_t *ret_bytes, struct uvm__fail *f);

/* The resource's name in events and properties: the ResourcePath of the request's keys, with the GUID in lower
 * case; where Settings.Name says which one it is, that stands behind it ("…/Shares/s1"). -UVM_E_INVAL when a key is
 * wrong. */
int uvm__modify_path(const struct uvm__modify *m, char ret[UVM__MODIFY_PATH_BYTES],
                     struct uvm__fail *f);
/* The same of a SCSI attachment of a document. */
int uvm__modify_scsi_path(const char *controller_guid, uint64_t lun,
                          char ret[UVM__MODIFY_PATH_BYTES], struct uvm__fail *f);
