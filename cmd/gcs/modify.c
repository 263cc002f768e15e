/* SPDX-License-Identifier: MIT
 *
 * ModifySettings: the checks that come before any device, in the reference's order (PROTOCOL-bridge.md): is
 * the resource known, are there settings, whose is it, may it be added, removed or updated. What passes
 * them all is done by a worker (worker.h) where this agent serves the resource, and refused in words where it
 * does not. One row a resource.
 */
#include "async/alloc.h"
#include "async/json.h"
#include "async/limits.h"
#include "cmd/gcs/fault.h"
#include "cmd/gcs/worker.h"

#include <string.h>

enum { ADD = 1, REMOVE = 2, UPDATE = 4, ANY = 8 }; /* ANY: the request type is not looked at */

static const struct resource {
    const char *name;
    const char *settings; /* what the reference calls them in its error; NULL: there need be none */
    unsigned requests;
    bool of_container; /* for a container id only; all others for the UVM only */
    bool served;       /* by gcs-device (device.c) */
} resources[] = {
    {"MappedVirtualDisk", "MappedVirtualDiskV2", ADD | REMOVE, false, true},
    {"SCSIDevice", "SCSIDevice", REMOVE, false, true},
    {"VPMemDevice", "VPMemDevice", ADD | REMOVE, false, true},
    {"VSMBShare", "VSMBShare", ADD | REMOVE, false, true},
    {"CombinedLayers", "CombinedLayers", ADD | REMOVE, false, true},
    {"MappedDirectory", "MappedDirectory", ADD | REMOVE, false, true},
    {"Network", "Network", ADD | REMOVE, false, true},
    {"VPCIDevice", "VPCIDevice", ADD, false, true},
    {"ContainerConstraints", "ContainerConstraints", ANY, true, false},
    {"SecurityPolicy", "SecurityPolicy", ANY, false, false},
    {"SecurityPolicyFragment", "SecurityPolicyFragment", ANY, false, false},
    {"PodCgroupMemoryLimit", NULL, UPDATE, false, false},
};

static const struct resource *find(const char *name) {
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        if (strcmp(resources[i].name, name) == 0) {
            return &resources[i];
        }
    }
    return NULL;
}

static unsigned request_bit(const char *type) {
    return strcmp(type, "Add") == 0      ? ADD
           : strcmp(type, "Remove") == 0 ? REMOVE
           : strcmp(type, "Update") == 0 ? UPDATE
                                         : 0;
}

/* A member that is absent or null reads as `absent`; NULL: it is no string. */
static const char *text(const cJSON *object, const char *key, const char *absent) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, object, key);

    return node == NULL || cJSON_IsNull(node) ? absent : uvm__json_string(node);
}

/* The settings as text of their own: the worker gets nothing else of the request. */
static void serve(struct gcs_agent *a, struct uvm__server_request *r, const struct resource *row,
                  const char *type, const cJSON *settings) {
    size_t bytes;
    char *text = uvm__json_print(a->engine, settings, &bytes);

    if (text == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_OUT_OF_MEMORY);
        return;
    }
    gcs_worker_serve(a, r, row->name, request_bit(type) == ADD ? "Add" : "Remove", text);
    uvm__free(a->engine, text);
}

/* Refuses what may not be asked, or what is not served. True: the request is answered. */
static bool refuse(struct uvm__server_request *r, const struct resource *row, const char *type) {
    const char *id = uvm__server_request_body(r)->base.container_id;

    if (strcmp(id, UVM__NULL_ID) != 0 || row->of_container) {
        uvm__server_reply_hresult(r, UVM__HR_NO_SYSTEM); /* there are no containers */
    } else if (row->requests != ANY && (row->requests & request_bit(type)) == 0) {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_FAULT("uvm.go", "newInvalidRequestTypeError"), NULL,
                        "the RequestType \"%s\" is not supported", type);
    } else if (row->served) {
        return false;
    } else {
        gcs_fault_reply(r, UVM__HR_FAIL, GCS_NO_PLACE, NULL,
                        "%s %s is not supported by this agent yet", type, row->name);
    }
    return true;
}

void gcs_handle_modify(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    const cJSON *request = uvm__server_request_body(r)->modify.request;
    const char *name = text(request, "ResourceType", "");
    const char *type = text(request, "RequestType", "Add");
    const cJSON *settings = uvm__json_get(UVM__JSON_GO, request, "Settings");
    const struct resource *row;
    size_t bytes;
    const char *body = uvm__server_request_text(r, &bytes);
    int length = bytes > UVM__FRAME_BYTES_MAX ? (int)UVM__FRAME_BYTES_MAX : (int)bytes;

    (void)s;
    if (name == NULL || type == NULL) {
        uvm__server_reply_bad_json(r,
                                   "json: cannot unmarshal a value that is no string into a type");
        return;
    }
    row = find(name);
    if (row == NULL) {
        gcs_fault_reply(r, UVM__HR_FAIL,
                        GCS_FAULT("protocol.go", "UnmarshalContainerModifySettings"), NULL,
                        "failed to unmarshal JSON in message \"%.*s\": invalid ResourceType '%s'",
                        length, body, name);
        return;
    }
    if (row->settings != NULL && !cJSON_IsObject(settings)) {
        gcs_fault_reply(
            r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
            "failed to unmarshal JSON in message \"%.*s\": failed to unmarshal settings as "
            "%s: HRESULT 0xc037010d: %s",
            length, body, row->settings,
            settings == NULL ? "unexpected end of JSON input" : "no JSON object");
        return;
    }
    if (type[0] == '\0') {
        type = "Add";
    }
    if (!refuse(r, row, type)) {
        serve(arg, r, row, type, settings);
    }
}
