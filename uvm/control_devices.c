/* SPDX-License-Identifier: MIT
 * control_devices.c — what a control client attaches, detaches and watches.
 *
 * What can be attached is a table of kinds: a row reads its settings and starts the kind's operation. An
 * attach runs under the connection's scope, so a client that goes away before it is done has it undone; one
 * that goes in the very moment of success never hears of it, and gives its reference back likewise. What a
 * client has been told of is not taken back when it goes.
 */
#include "uvm/control_int.h"
#include "uvm/devices.h"
#include <stdio.h>
#include <string.h>

static uvm_vm *vm_of(const struct control_call *call) {
    return call->conn->control->vm;
}

static cJSON *if_complete(cJSON *take_tree, bool complete) {
    if (complete) {
        return take_tree;
    }
    cJSON_Delete(take_tree);
    return NULL;
}

/* ---- attach ------------------------------------------------------------------------------- */

struct attach_kind {
    const char *name;
    const char *const *keys; /* of settings */
    /* Starts the operation, with on_attached. */
    int (*start)(struct control_call *call, const cJSON *settings, struct uvm__fail *f);
};

/* Where it is, by kind. */
static bool add_scsi_location(cJSON *at, const struct uvm__attach_result *r) {
    return uvm__json_add_u64(at, "controller", r->controller) != NULL &&
           uvm__json_add_u64(at, "lun", r->lun) != NULL;
}

static bool add_vpmem_location(cJSON *at, const struct uvm__attach_result *r) {
    return uvm__json_add_u64(at, "device", r->device) != NULL &&
           uvm__json_add_u64(at, "offset", r->offset) != NULL &&
           uvm__json_add_u64(at, "bytes", r->bytes) != NULL;
}

static bool add_instance_location(cJSON *at, const struct uvm__attach_result *r) {
    return uvm__control_add_text(at, "instance", r->instance) != NULL;
}

static bool add_share_location(cJSON *at, const struct uvm__attach_result *r) {
    return cJSON_AddStringToObject(at, "share", r->share) != NULL;
}

static bool add_nic_location(cJSON *at, const struct uvm__attach_result *r) {
    return cJSON_AddStringToObject(at, "instance", r->instance) != NULL &&
           cJSON_AddStringToObject(at, "mac", r->mac) != NULL;
}

static bool add_plan9_location(cJSON *at, const struct uvm__attach_result *r) {
    return add_share_location(at, r) && uvm__json_add_u64(at, "port", r->port) != NULL;
}

static const struct {
    const char *kind;
    bool (*add)(cJSON *at, const struct uvm__attach_result *r);
} locations[] = {
    {"scsi", add_scsi_location},  {"vpmem", add_vpmem_location}, {"vpci", add_instance_location},
    {"vsmb", add_share_location}, {"plan9", add_plan9_location}, {"nic", add_nic_location},
};

static bool add_location(cJSON *o, const struct uvm__attach_result *r) {
    cJSON *at = cJSON_AddObjectToObject(o, "location");
    for (size_t i = 0; at != NULL && i < sizeof locations / sizeof locations[0]; i++) {
        if (strcmp(locations[i].kind, r->kind) == 0) {
            return locations[i].add(at, r);
        }
    }
    return at != NULL;
}

static bool add_device(cJSON *o, const struct uvm__attach_result *r) {
    return o != NULL && cJSON_AddStringToObject(o, "id", r->id) != NULL &&
           cJSON_AddStringToObject(o, "kind", r->kind) != NULL &&
           uvm__control_add_text(o, "guest_path", r->guest_path) != NULL && add_location(o, r);
}

static void on_attached(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_call *call = arg;
    if (err != NULL) {
        uvm__control_refuse(call, err);
        return;
    }
    struct uvm_attach_result r = uvm_attach_result(op);
    uvm_vm *vm = vm_of(call);
    char id[UVM__DEVICE_ID_BYTES];
    (void)snprintf(id, sizeof id, "%s", r.id);
    cJSON *o = cJSON_CreateObject();
    bool ok = add_device(o, &(struct uvm__attach_result){.id = r.id,
                                                         .kind = r.kind,
                                                         .guest_path = r.guest_path,
                                                         .controller = r.controller,
                                                         .lun = r.lun,
                                                         .device = r.device,
                                                         .offset = r.offset,
                                                         .bytes = r.bytes,
                                                         .share = r.share,
                                                         .port = r.port,
                                                         .instance = r.instance,
                                                         .mac = r.mac}) &&
              cJSON_AddBoolToObject(o, "shared", r.shared) != NULL &&
              uvm__json_add_u64(o, "refs", r.refs) != NULL;
    if (!uvm__control_reply(call, if_complete(o, ok))) {
        /* Refused only where the VM ends, which releases everything. */
        (void)uvm_detach(vm, id, NULL, NULL, NULL, NULL);
    }
}

static int read_scsi(const cJSON *s, struct uvm_scsi_params *p, struct uvm__fail *f) {
    int rc = uvm__control_get_text(s, "host_path", &p->host_path, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "read_only", &p->read_only, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "physical", &p->physical, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "mount", &p->mount, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "guest_path", &p->guest_path, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(s, "partition", 0, UINT32_MAX, &p->partition, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "filesystem", &p->filesystem, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "ensure_filesystem", &p->ensure_filesystem, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "block_dev", &p->block_dev, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "encrypted", &p->encrypted, f);
    return rc < 0 ? rc : uvm__control_get_text(s, "verity", &p->verity, f);
}

static int start_scsi(struct control_call *call, const cJSON *settings, struct uvm__fail *f) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    uvm_engine *e = call->conn->engine;
    const char **options = NULL;
    int rc = read_scsi(settings, &p, f);
    rc = rc < 0 ? rc
                : uvm__control_get_list(e, settings, "options", UVM_DISK_OPTIONS_MAX, &options, f);
    if (rc == 0) {
        p.options = options;
        rc = uvm_scsi_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    uvm__free(e, (void *)options);
    return rc;
}

static int start_vpmem(struct control_call *call, const cJSON *s, struct uvm__fail *f) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    int rc = uvm__control_get_text(s, "host_path", &p.host_path, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "guest_path", &p.guest_path, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "whole_device", &p.whole_device, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "or_scsi", &p.or_scsi, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "verity", &p.verity, f);
    if (rc == 0) {
        rc = uvm_vpmem_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    return rc;
}

static int start_vpci(struct control_call *call, const cJSON *s, struct uvm__fail *f) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    uint64_t function = 0;
    int rc = uvm__control_get_text(s, "device", &p.device, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(s, "virtual_function", 0, UINT16_MAX, &function, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "guid", &p.guid, f);
    if (rc == 0) {
        p.virtual_function = (uint32_t)function;
        rc = uvm_vpci_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    return rc;
}

static int start_vsmb(struct control_call *call, const cJSON *s, struct uvm__fail *f) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    uvm_engine *e = call->conn->engine;
    const char **files = NULL;
    int rc = uvm__control_get_text(s, "host_path", &p.host_path, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "guest_path", &p.guest_path, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "read_only", &p.read_only, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "file", &p.file, f);
    rc = rc < 0 ? rc : uvm__control_get_list(e, s, "files", UVM_SHARE_FILES_MAX, &files, f);
    if (rc == 0) {
        p.files = files;
        rc = uvm_vsmb_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    uvm__free(e, (void *)files);
    return rc;
}

/* What one of the words of a network adapter's type means. */
static int get_nic_type(const cJSON *s, enum uvm_nic_type *ret, struct uvm__fail *f) {
    static const char *const names[] = {
        [UVM_NIC_USER] = "user",
        [UVM_NIC_TAP] = "tap",
        [UVM_NIC_NETNS] = "netns",
        [UVM_NIC_STREAM] = "stream",
    };
    const char *name = "";
    int rc = uvm__control_get_text(s, "type", &name, f);
    for (unsigned i = 0; rc == 0 && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum uvm_nic_type)i;
            return 0;
        }
    }
    return rc < 0 ? rc
                  : uvm__fail(f, UVM_E_INVAL, 0,
                              "settings: \"type\": \"%.40s\" is none of user, tap, netns, stream",
                              name);
}

static int read_nic(const cJSON *s, struct uvm_nic_params *p, struct uvm__fail *f) {
    uint64_t mtu = 0;
    int rc = get_nic_type(s, &p->type, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "target", &p->target, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "interface", &p->interface, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "id", &p->id, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "mac", &p->mac, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(s, "mtu", 0, UINT16_MAX, &mtu, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "dhcp", &p->dhcp, f);
    p->mtu = (uint32_t)mtu;
    return rc < 0 ? rc : uvm__control_get_text(s, "namespace_id", &p->namespace_id, f);
}

static int start_nic(struct control_call *call, const cJSON *s, struct uvm__fail *f) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    uvm_engine *e = call->conn->engine;
    const struct {
        const char *key;
        unsigned max;
        const char *const **to;
    } rows[] = {{"addresses", UVM_NIC_ADDRESSES_MAX, &p.addresses},
                {"gateways", UVM_NIC_GATEWAYS_MAX, &p.gateways},
                {"dns", UVM_NIC_DNS_MAX, &p.dns},
                {"search", UVM_NIC_SEARCH_MAX, &p.search}};
    const char **lists[sizeof rows / sizeof rows[0]] = {NULL};
    int rc = read_nic(s, &p, f);
    for (size_t i = 0; rc == 0 && i < sizeof rows / sizeof rows[0]; i++) {
        rc = uvm__control_get_list(e, s, rows[i].key, rows[i].max, &lists[i], f);
        *rows[i].to = lists[i];
    }
    if (rc == 0) {
        rc = uvm_nic_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uvm__free(e, (void *)lists[i]);
    }
    return rc;
}

static int start_plan9(struct control_call *call, const cJSON *s, struct uvm__fail *f) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    uvm_engine *e = call->conn->engine;
    const char **files = NULL;
    int rc = uvm__control_get_text(s, "host_path", &p.host_path, f);
    rc = rc < 0 ? rc : uvm__control_get_text(s, "guest_path", &p.guest_path, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "read_only", &p.read_only, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(s, "file", &p.file, f);
    rc = rc < 0 ? rc : uvm__control_get_list(e, s, "files", UVM_SHARE_FILES_MAX, &files, f);
    if (rc == 0) {
        p.files = files;
        rc = uvm_plan9_attach(vm_of(call), &p, call->conn->scope, on_attached, call, &call->op);
        rc = rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
    }
    uvm__free(e, (void *)files);
    return rc;
}

static const struct attach_kind kinds[] = {
    {"scsi",
     (const char *const[]){"host_path", "read_only", "physical", "mount", "guest_path", "partition",
                           "options", "filesystem", "ensure_filesystem", "block_dev", "encrypted",
                           "verity", NULL},
     start_scsi},
    {"vpmem",
     (const char *const[]){"host_path", "guest_path", "whole_device", "or_scsi", "verity", NULL},
     start_vpmem},
    {"vpci", (const char *const[]){"device", "virtual_function", "guid", NULL}, start_vpci},
    {"vsmb", (const char *const[]){"host_path", "guest_path", "read_only", "file", "files", NULL},
     start_vsmb},
    {"plan9", (const char *const[]){"host_path", "guest_path", "read_only", "file", "files", NULL},
     start_plan9},
    {"nic",
     (const char *const[]){"type", "target", "interface", "id", "mac", "mtu", "dhcp",
                           "namespace_id", "addresses", "gateways", "dns", "search", NULL},
     start_nic},
};

int uvm__control_attach(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    const char *name = "";
    int rc = uvm__control_get_text(params, "kind", &name, f);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            const cJSON *settings = uvm__json_get(UVM__JSON_STRICT, params, "settings");
            rc = uvm__control_check_keys(settings, kinds[i].keys, f);
            return rc < 0 ? rc : kinds[i].start(call, settings, f);
        }
    }
    return uvm__fail(f, UVM_E_INVAL, 0,
                     "params: \"kind\": \"%.60s\" is nothing that can be attached", name);
}

/* ---- detach, devices ---------------------------------------------------------------------- */

static void on_detached(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    if (err != NULL) {
        uvm__control_refuse(arg, err);
    } else {
        uvm__control_reply(arg, cJSON_CreateObject());
    }
}

int uvm__control_detach(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    const char *id = "";
    int rc = uvm__control_get_text(params, "device", &id, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm_detach(vm_of(call), id, call->conn->scope, on_detached, call, &call->op);
    return rc == -UVM_E_INVAL ? uvm__fail(f, UVM_E_INVAL, 0, "params: which \"device\"?")
           : rc < 0           ? uvm__control_refused(vm_of(call), rc, f)
                              : 0;
}

int uvm__control_devices(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    uvm_vm *vm = vm_of(call);
    const char *text = uvm_vm_devices(vm);
    cJSON *o = cJSON_CreateObject();
    (void)params;
    (void)f;
    cJSON *node = uvm__control_raw(vm->engine, text);
    bool ok = o != NULL && node != NULL && cJSON_AddItemToObject(o, "devices", node);
    if (!ok) {
        cJSON_Delete(node);
    }
    uvm__control_reply(call, if_complete(o, ok));
    return 0;
}

/* ---- events ------------------------------------------------------------------------------- */

static cJSON *device_event(const uvm_control *c, enum uvm__device_news news,
                           const struct uvm__attach_result *about) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && cJSON_AddStringToObject(o, "event", "device") != NULL &&
              uvm__control_add_text(o, "id", c->vm->options.id) != NULL &&
              uvm__control_add_text(o, "name", c->vm->options.name) != NULL &&
              cJSON_AddStringToObject(o, "change", uvm__device_news_text(news)) != NULL &&
              uvm__json_add_u64(o, "at_ms", uvm__wall_ns(c->engine) / 1000000u) != NULL;
    cJSON *device = ok ? cJSON_AddObjectToObject(o, "device") : NULL;
    return if_complete(o, device != NULL && add_device(device, about));
}

void uvm__control_calls_on_device(struct control_conn *conn, enum uvm__device_news news,
                                  const struct uvm__attach_result *about) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &conn->calls) {
        if (UVM__CONTAINER_OF(it, struct control_call, link)->wait == CONTROL_WAIT_EVENTS) {
            uvm__control_notify(conn, device_event(conn->control, news, about));
        }
    }
}
