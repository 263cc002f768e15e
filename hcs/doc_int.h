/* SPDX-License-Identifier: MIT
 * doc_int.h — the schema of documents, as the reader and the builder walk it.
 */
#pragma once
#include "hcs/doc.h"
#include <cjson/cJSON.h>

enum uvm__doc_kind {
    UVM__DOC_STRING,  /* const char * */
    UVM__DOC_BOOL,    /* bool */
    UVM__DOC_U64,     /* uint64_t in min … max */
    UVM__DOC_OBJECT,  /* an embedded struct that begins with `bool present` */
    UVM__DOC_MAP,     /* pointer and count; each item begins with its key */
    UVM__DOC_LIST,    /* pointer and count of structs */
    UVM__DOC_NUMBERS, /* pointer and count of uint64_t */
    UVM__DOC_STRINGS, /* pointer and count of const char *, none empty */
    UVM__DOC_REFUSED  /* a field of the schema that nobody here honours; `text` says why */
};

enum uvm__doc_key { UVM__DOC_KEY_NONE, UVM__DOC_KEY_GUID, UVM__DOC_KEY_INDEX };

struct uvm__doc_field;

struct uvm__doc_type {
    const struct uvm__doc_field *fields; /* ends with key NULL; written in this order */
    size_t bytes;                        /* of one item of a map or list */
    enum uvm__doc_key key;
};

struct uvm__doc_field {
    const char *key;
    enum uvm__doc_kind kind;
    bool required;
    size_t offset;
    size_t count_offset;
    const struct uvm__doc_type *type;
    uint64_t min,
        max; /* of numbers; of map keys that are numbers (max); of the count (UINT64_MAX: own) */
    const char *text; /* REFUSED: why; STRING: the allowed values, "A|B" (NULL: any) */
};

extern const struct uvm__doc_type uvm__doc_root;
extern const struct uvm__doc_type uvm__doc_attachment; /* struct uvm__doc_scsi_attachment */
extern const struct uvm__doc_type uvm__doc_vpmem_device,
    uvm__doc_vpmem_mapping; /* struct uvm__doc_vpmem_device */
extern const struct uvm__doc_type uvm__doc_vsmb_share,
    uvm__doc_vsmb_name; /* struct uvm__doc_vsmb_share; the second only names it */

extern const struct uvm__doc_type uvm__doc_plan9_share,
    uvm__doc_plan9_name; /* struct uvm__doc_plan9_share; the second only names it */
extern const struct uvm__doc_type uvm__doc_vpci; /* struct uvm__doc_vpci */

extern const struct uvm__doc_type uvm__doc_nic; /* struct uvm__doc_nic */

/* The place in the document, as a chain of frames on the stack. */
struct uvm__doc_path {
    const struct uvm__doc_path *parent;
    const char *key; /* NULL: an index of a list */
    size_t index;
};

/* Fills `f` with "Path.To.Field: …" and returns -code. */
__attribute__((format(printf, 4, 5))) int uvm__doc_fail(struct uvm__fail *f,
                                                        const struct uvm__doc_path *path,
                                                        enum uvm_error_code code, const char *fmt,
                                                        ...);

/* Checks one value by its row; the path is the field's. */
int uvm__doc_check_string(const struct uvm__doc_field *row, const char *value,
                          const struct uvm__doc_path *path, struct uvm__fail *f);
int uvm__doc_check_number(const struct uvm__doc_field *row, uint64_t value,
                          const struct uvm__doc_path *path, struct uvm__fail *f);

/* Text to a tree, in a store that owns it and whatever is read out of it. `what` begins the error of a text
 * as a whole ("document"). */
int uvm__doc_store_open(uvm_engine *e, const char *text, size_t bytes, const char *what,
                        struct uvm__doc_store **ret, const cJSON **ret_tree, struct uvm__fail *f);
void uvm__doc_store_free(struct uvm__doc_store *store); /* accepts NULL */
/* One object of the tree by its type, into the zeroed struct at `base`. */
int uvm__doc_read_object(struct uvm__doc_store *store, const struct uvm__doc_type *type,
                         const cJSON *node, void *base, const struct uvm__doc_path *path,
                         struct uvm__fail *f);
/* The struct at `base` into an empty object. */
int uvm__doc_build_object(const struct uvm__doc_type *type, const void *base, cJSON *object,
                          const struct uvm__doc_path *path, struct uvm__fail *f);

/* The rules over several fields of one attachment, of one share. */
int uvm__doc_check_attachment(const struct uvm__doc_scsi_attachment *a,
                              const struct uvm__doc_path *path, struct uvm__fail *f);
int uvm__doc_check_vsmb_share(const struct uvm__doc_vsmb_share *s, const struct uvm__doc_path *path,
                              struct uvm__fail *f);
int uvm__doc_check_plan9_share(const struct uvm__doc_plan9_share *s,
                               const struct uvm__doc_path *path, struct uvm__fail *f);
/* Of a removal: only what names it. */
int uvm__doc_check_plan9_name(const struct uvm__doc_plan9_share *s,
                              const struct uvm__doc_path *path, struct uvm__fail *f);
/* Letters, digits, "_", "-" and ".", which it does not begin with: fit for a path of ours. */
int uvm__doc_check_share_name(const char *name, const struct uvm__doc_path *path,
                              struct uvm__fail *f);
/* One device of VirtualPci: it has one function. */
int uvm__doc_check_vpci(const struct uvm__doc_vpci *v, const struct uvm__doc_path *path,
                        struct uvm__fail *f);
/* The same of one network adapter. */
int uvm__doc_check_nic(const struct uvm__doc_nic *n, const struct uvm__doc_path *path,
                       struct uvm__fail *f);
