/* SPDX-License-Identifier: MIT
 * modify_doc.c — requests to change a system: the table of resource paths, the reader, the builder.
 * Source: hcsshim's internal/hcs/schema2/modify_setting_request.go, internal/hcs/resourcepaths.
 *
 * A row's pattern is the path with %g for a GUID, %n for a number and %o for an offset. Settings are walked by the schema's
 * type, so that what a document holds at boot and what is added later are read by the same rows. Where the
 * path has no key, the Settings name the resource, in a Remove, too.
 */
#include "hcs/modify_doc.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/json.h"
#include "async/limits.h"
#include "hcs/doc_int.h"

static int scsi_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                      struct uvm__fail *f) {
    return uvm__doc_check_attachment(&m->settings.scsi, path, f);
}

/* What is there is mapped for reading; a mapping cannot even ask for more. */
static int vpmem_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                       struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "ReadOnly"};

    return m->settings.vpmem.read_only
               ? 0
               : uvm__doc_fail(f, &here, UVM_E_UNSUPPORTED, "must be true: VPMem is read-only");
}

static int mapping_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                         struct uvm__fail *f) {
    (void)m;
    (void)path;
    (void)f;
    return 0;
}

static int vsmb_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                      struct uvm__fail *f) {
    const struct uvm__doc_vsmb_share *s = &m->settings.vsmb;

    return m->verb == UVM__MODIFY_REMOVE ? uvm__doc_check_share_name(s->name, path, f)
                                         : uvm__doc_check_vsmb_share(s, path, f);
}

static int plan9_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                       struct uvm__fail *f) {
    const struct uvm__doc_plan9_share *s = &m->settings.plan9;
    return m->verb == UVM__MODIFY_REMOVE ? uvm__doc_check_plan9_name(s, path, f)
                                         : uvm__doc_check_plan9_share(s, path, f);
}

static int vpci_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                      struct uvm__fail *f) {
    return uvm__doc_check_vpci(&m->settings.vpci, path, f);
}

static int nic_check(const struct uvm__modify *m, const struct uvm__doc_path *path,
                     struct uvm__fail *f) {
    return uvm__doc_check_nic(&m->settings.nic, path, f);
}

static const struct kind {
    const char *pattern;
    uint64_t number_max;
    const char *number_name; /* for messages */
    const struct uvm__doc_type *type;
    size_t settings; /* place in struct uvm__modify */
    int (*check)(const struct uvm__modify *m, const struct uvm__doc_path *path,
                 struct uvm__fail *f);
    size_t name; /* place of the Settings' Name, a const char *, which is the key; 0: none is */
    const struct uvm__doc_type *remove_type; /* of a Remove's Settings; NULL: `type` */
} kinds[UVM__MODIFY_KIND_MAX] = {
    [UVM__MODIFY_VPMEM] = {"VirtualMachine/Devices/VirtualPMem/Devices/%n",
                           UVM__DOC_VPMEM_DEVICES_MAX - 1, "device", &uvm__doc_vpmem_device,
                           offsetof(struct uvm__modify, settings.vpmem), vpmem_check, 0, NULL},
    [UVM__MODIFY_VPMEM_MAPPING] = {"VirtualMachine/Devices/VirtualPMem/Devices/%n/Mappings/%o",
                                   UVM__DOC_VPMEM_DEVICES_MAX - 1, "device",
                                   &uvm__doc_vpmem_mapping,
                                   offsetof(struct uvm__modify, settings.vpmem), mapping_check, 0,
                                   NULL},
    [UVM__MODIFY_SCSI] = {"VirtualMachine/Devices/Scsi/%g/Attachments/%n",
                          UVM__DOC_SCSI_LUNS_MAX - 1, "LUN", &uvm__doc_attachment,
                          offsetof(struct uvm__modify, settings.scsi), scsi_check, 0, NULL},
    [UVM__MODIFY_VSMB] = {"VirtualMachine/Devices/VirtualSmb/Shares", 0, "", &uvm__doc_vsmb_share,
                          offsetof(struct uvm__modify, settings.vsmb), vsmb_check,
                          offsetof(struct uvm__modify, settings.vsmb.name), &uvm__doc_vsmb_name},
    [UVM__MODIFY_PLAN9] = {"VirtualMachine/Devices/Plan9/Shares", 0, "", &uvm__doc_plan9_share,
                           offsetof(struct uvm__modify, settings.plan9), plan9_check,
                           offsetof(struct uvm__modify, settings.plan9.name), &uvm__doc_plan9_name},
    [UVM__MODIFY_VPCI] = {"VirtualMachine/Devices/VirtualPci/%g", 0, "", &uvm__doc_vpci,
                          offsetof(struct uvm__modify, settings.vpci), vpci_check, 0, NULL},
    [UVM__MODIFY_NIC] = {"VirtualMachine/Devices/NetworkAdapters/%g", 0, "", &uvm__doc_nic,
                         offsetof(struct uvm__modify, settings.nic), nic_check, 0, NULL},
};

static const char *const verbs[UVM__MODIFY_VERB_MAX] = {
    [UVM__MODIFY_ADD] = "Add",
    [UVM__MODIFY_REMOVE] = "Remove",
    [UVM__MODIFY_UPDATE] = "Update",
};

static const struct uvm__doc_path resource_path = {.key = "ResourcePath"};
static const struct uvm__doc_path request_type = {.key = "RequestType"};
static const struct uvm__doc_path settings_path = {.key = "Settings"};

static int no_memory(struct uvm__fail *f) {
    return uvm__fail(f, UVM_E_NOMEM, 0, "request: out of memory");
}

/* ---- paths -------------------------------------------------------------------------------- */

/* Decimal digits without leading zeros; the end of them, NULL when there is no such number. */
static const char *take_number(const char *at, uint64_t *ret) {
    uint64_t value = 0;
    const char *begin = at;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (at - begin == 18 || (at - begin == 1 && *begin == '0')) {
            return NULL;
        }
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *ret = value;
    return at == begin ? NULL : at;
}

static const char *take_guid(const char *at, char ret[UVM_GUID_TEXT]) {
    struct uvm__guid guid;

    if (strnlen(at, UVM_GUID_TEXT - 1) < UVM_GUID_TEXT - 1 ||
        uvm__guid_read(at, UVM_GUID_TEXT - 1, &guid) < 0) {
        return NULL;
    }
    uvm__guid_text(&guid, ret);
    return at + UVM_GUID_TEXT - 1;
}

static bool match(const char *pattern, const char *at, struct uvm__modify *m) {
    for (; at != NULL && *pattern != '\0'; pattern++) {
        if (*pattern != '%') {
            at = *at == *pattern ? at + 1 : NULL;
            continue;
        }
        pattern++;
        at = *pattern == 'g'   ? take_guid(at, m->guid)
             : *pattern == 'n' ? take_number(at, &m->number)
                               : take_number(at, &m->offset);
    }
    return at != NULL && *at == '\0';
}

static int check_number(const struct uvm__modify *m, struct uvm__fail *f) {
    const struct kind *k = &kinds[m->kind];

    if (m->offset % UVM__DOC_VPMEM_PAGE_BYTES != 0) {
        return uvm__doc_fail(f, &resource_path, UVM_E_INVAL, "offset %llu is no multiple of %u",
                             (unsigned long long)m->offset, UVM__DOC_VPMEM_PAGE_BYTES);
    }
    return m->number <= k->number_max
               ? 0
               : uvm__doc_fail(f, &resource_path, UVM_E_INVAL,
                               "%s %llu is out of range (0 to %llu)", k->number_name,
                               (unsigned long long)m->number, (unsigned long long)k->number_max);
}

static int read_path(const char *text, struct uvm__modify *m, struct uvm__fail *f) {
    for (unsigned k = 0; k < UVM__MODIFY_KIND_MAX; k++) {
        if (match(kinds[k].pattern, text, m)) {
            m->kind = (enum uvm__modify_kind)k;
            return check_number(m, f);
        }
    }
    return uvm__doc_fail(f, &resource_path, UVM_E_UNSUPPORTED, "nothing that can be changed here");
}

static int put_path(const struct uvm__modify *m, char ret[UVM__MODIFY_PATH_BYTES],
                    struct uvm__fail *f) {
    size_t used = 0;

    UVM_ASSERT_CMP(m->kind, <, UVM__MODIFY_KIND_MAX);
    for (const char *p = kinds[m->kind].pattern; *p != '\0'; p++) {
        if (*p != '%') {
            ret[used++] = *p;
        } else if (*++p != 'g') {
            used += (size_t)snprintf(ret + used, UVM__MODIFY_PATH_BYTES - used, "%llu",
                                     (unsigned long long)(*p == 'n' ? m->number : m->offset));
        } else if (take_guid(m->guid, ret + used) != NULL) {
            used += UVM_GUID_TEXT - 1;
        } else {
            return uvm__doc_fail(f, &resource_path, UVM_E_INVAL, "a key that is no GUID");
        }
        UVM_ASSERT_CMP(used, <, UVM__MODIFY_PATH_BYTES);
    }
    ret[used] = '\0';
    return 0;
}

/* Of a kind whose Settings name the resource; NULL: another kind, or they do not. */
static const char *name_of(const struct uvm__modify *m) {
    const char *name = NULL;

    if (kinds[m->kind].name != 0) {
        memcpy(&name, (const char *)m + kinds[m->kind].name, sizeof name);
    }
    return name;
}

int uvm__modify_path(const struct uvm__modify *m, char ret[UVM__MODIFY_PATH_BYTES],
                     struct uvm__fail *f) {
    int rc = check_number(m, f);
    rc = rc < 0 ? rc : put_path(m, ret, f);

    if (rc == 0 && kinds[m->kind].name != 0) {
        const char *name = name_of(m);
        rc = uvm__doc_check_share_name(name == NULL ? "" : name, &settings_path, f);
        if (rc == 0) {
            size_t used = strlen(ret);
            int n = snprintf(ret + used, UVM__MODIFY_PATH_BYTES - used, "/%s", name);
            UVM_ASSERT_CMP((size_t)n, <, UVM__MODIFY_PATH_BYTES - used);
        }
    }
    return rc;
}

int uvm__modify_scsi_path(const char *controller_guid, uint64_t lun,
                          char ret[UVM__MODIFY_PATH_BYTES], struct uvm__fail *f) {
    struct uvm__modify m = {.kind = UVM__MODIFY_SCSI, .number = lun};

    snprintf(m.guid, sizeof m.guid, "%s", controller_guid);
    return uvm__modify_path(&m, ret, f);
}

/* ---- read --------------------------------------------------------------------------------- */

static int read_verb(const char *text, enum uvm__modify_verb *ret, struct uvm__fail *f) {
    for (unsigned v = 0; v < UVM__MODIFY_VERB_MAX; v++) {
        if (strcmp(text, verbs[v]) == 0) {
            *ret = (enum uvm__modify_verb)v;
            return 0;
        }
    }
    return uvm__doc_fail(f, &request_type, UVM_E_INVAL, "must be one of Add|Remove|Update");
}

/* A string member that must be there. */
static int read_text(const cJSON *tree, const struct uvm__doc_path *path, const char **ret,
                     struct uvm__fail *f) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, tree, path->key);
    const char *text = uvm__json_string(node);

    if (text == NULL || text[0] == '\0') {
        return uvm__doc_fail(f, path, UVM_E_INVAL,
                             node == NULL || text != NULL ? "missing or empty"
                                                          : "must be a string");
    }
    *ret = text;
    return 0;
}

static int check_keys(const cJSON *tree, struct uvm__fail *f) {
    if (!cJSON_IsObject(tree)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "request: must be an object");
    }
    for (const cJSON *child = tree->child; child != NULL; child = child->next) {
        const struct uvm__doc_path here = {.key = child->string};
        if (strcmp(child->string, "GuestRequest") == 0) {
            return uvm__doc_fail(f, &here, UVM_E_UNSUPPORTED,
                                 "the guest's part goes over the bridge");
        }
        if (strcmp(child->string, resource_path.key) != 0 &&
            strcmp(child->string, request_type.key) != 0 &&
            strcmp(child->string, settings_path.key) != 0) {
            return uvm__doc_fail(f, &here, UVM_E_INVAL, "unknown field");
        }
    }
    return 0;
}

static const struct uvm__doc_type *settings_type(const struct uvm__modify *m) {
    const struct kind *k = &kinds[m->kind];
    return m->verb == UVM__MODIFY_REMOVE && k->remove_type != NULL ? k->remove_type : k->type;
}

static bool needs_settings(const struct uvm__modify *m) {
    return m->verb != UVM__MODIFY_REMOVE || kinds[m->kind].name != 0;
}

static int read_settings(const cJSON *tree, struct uvm__modify *m, struct uvm__fail *f) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, tree, settings_path.key);
    const struct kind *k = &kinds[m->kind];

    if (node == NULL) {
        return needs_settings(m) ? uvm__doc_fail(f, &settings_path, UVM_E_INVAL, "missing") : 0;
    }
    int rc = uvm__doc_read_object(m->store, settings_type(m), node, (char *)m + k->settings,
                                  &settings_path, f);
    m->has_settings = true;
    return rc < 0 ? rc : k->check(m, &settings_path, f);
}

static int read_tree(const cJSON *tree, struct uvm__modify *m, struct uvm__fail *f) {
    const char *path = "", *verb = "";
    int rc = check_keys(tree, f);

    rc = rc < 0 ? rc : read_text(tree, &resource_path, &path, f);
    rc = rc < 0 ? rc : read_path(path, m, f);
    rc = rc < 0 ? rc : read_text(tree, &request_type, &verb, f);
    rc = rc < 0 ? rc : read_verb(verb, &m->verb, f);
    rc = rc < 0 ? rc : read_settings(tree, m, f);
    if (rc == 0 && m->kind == UVM__MODIFY_SCSI) {
        m->settings.scsi.lun = m->number;
    }
    return rc;
}

int uvm__modify_read(uvm_engine *e, const char *text, size_t bytes, struct uvm__modify *ret,
                     struct uvm__fail *f) {
    struct uvm__modify m = {.has_settings = false};
    const cJSON *tree = NULL;
    int rc = uvm__doc_store_open(e, text, bytes, "request", &m.store, &tree, f);

    if (tree == NULL) { /* rc says why */
        return rc;
    }
    rc = read_tree(tree, &m, f);
    if (rc < 0) {
        uvm__doc_store_free(m.store);
        return rc;
    }
    *ret = m;
    return 0;
}

void uvm__modify_deinit(struct uvm__modify *m) {
    if (m == NULL) {
        return;
    }
    if (m->store != NULL) {
        uvm__doc_store_free(m->store);
    }
    memset(m, 0, sizeof *m);
}

/* ---- build -------------------------------------------------------------------------------- */

static int build_settings(const struct uvm__modify *m, cJSON *tree, struct uvm__fail *f) {
    const struct kind *k = &kinds[m->kind];

    if (!m->has_settings) {
        return needs_settings(m) ? uvm__doc_fail(f, &settings_path, UVM_E_INVAL, "missing") : 0;
    }
    cJSON *settings = cJSON_AddObjectToObject(tree, settings_path.key);
    if (settings == NULL) {
        return no_memory(f);
    }
    int rc = uvm__doc_build_object(settings_type(m), (const char *)m + k->settings, settings,
                                   &settings_path, f);
    return rc < 0 ? rc : k->check(m, &settings_path, f);
}

int uvm__modify_build(uvm_engine *e, const struct uvm__modify *m, char **ret_text,
                      size_t *ret_bytes, struct uvm__fail *f) {
    char path[UVM__MODIFY_PATH_BYTES];
    char *text = NULL;

    UVM_ASSERT_CMP(m->verb, <, UVM__MODIFY_VERB_MAX);
    int rc = check_number(m, f);
    rc = rc < 0 ? rc : put_path(m, path, f);
    if (rc < 0) {
        return rc;
    }
    cJSON *tree = cJSON_CreateObject();
    if (tree == NULL || cJSON_AddStringToObject(tree, resource_path.key, path) == NULL ||
        cJSON_AddStringToObject(tree, request_type.key, verbs[m->verb]) == NULL) {
        cJSON_Delete(tree);
        return no_memory(f);
    }
    rc = build_settings(m, tree, f);
    if (rc == 0) {
        text = uvm__json_print(e, tree, ret_bytes);
        rc = text == NULL ? no_memory(f) : 0;
    }
    cJSON_Delete(tree);
    if (rc == 0) {
        *ret_text = text;
    }
    return rc;
}
