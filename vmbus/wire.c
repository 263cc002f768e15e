/* SPDX-License-Identifier: MIT
 * wire.c — the lines of the offer channel.
 *
 * Strict on both ends: they come from one tree, so that what differs is a fault and not a newer habit. What is
 * added later comes under another version. All lines fit UVM__VMBUS_LINE_BYTES_MAX by the lengths of GUIDs and
 * locations; a reader refuses longer ones before it gets here.
 */
#include "vmbus/wire.h"

#include <stdio.h>
#include <string.h>

#include "async/check.h"
#include "async/json.h"

static const char *const members[UVM__VMBUS_LINE_MAX] = {
#define UVM__X(name, member) [UVM__VMBUS_LINE_##name] = (member),
    UVM__VMBUS_LINE_MAP(UVM__X)
#undef UVM__X
};

size_t uvm__vmbus_line_write(const struct uvm__vmbus_line *line,
                             char buf[UVM__VMBUS_LINE_BYTES_MAX]) {
    const char *member = members[line->kind];
    char instance[UVM_GUID_TEXT];
    int n;

    uvm__guid_text(&line->device.instance, instance);
    switch (line->kind) {
    case UVM__VMBUS_LINE_VERSION:
        n = snprintf(buf, UVM__VMBUS_LINE_BYTES_MAX, "{\"%s\":%u}\n", member, line->version);
        break;
    case UVM__VMBUS_LINE_SYNC:
        n = snprintf(buf, UVM__VMBUS_LINE_BYTES_MAX, "{\"%s\":true}\n", member);
        break;
    case UVM__VMBUS_LINE_OFFER:
        UVM_ASSERT(uvm__vmbus_location_valid(line->device.location));
        n = snprintf(buf, UVM__VMBUS_LINE_BYTES_MAX,
                     "{\"%s\":{\"class\":\"%s\",\"instance\":\"%s\",\"location\":\"%s\"}}\n",
                     member, uvm__vmbus_class_guid(line->device.kind), instance,
                     line->device.location);
        break;
    default:
        n = snprintf(buf, UVM__VMBUS_LINE_BYTES_MAX, "{\"%s\":\"%s\"}\n", member, instance);
    }
    UVM_ASSERT(n > 0 && (size_t)n < UVM__VMBUS_LINE_BYTES_MAX);
    return (size_t)n;
}

static int refuse(struct uvm__fail *f, const char *what, const char *why) {
    return uvm__fail(f, UVM_E_PROTOCOL, 0, "\"%s\": %s", what, why);
}

static int read_guid(const cJSON *node, const char *what, struct uvm__guid *ret,
                     struct uvm__fail *f) {
    const char *text = uvm__json_string(node);

    return text != NULL && uvm__guid_read(text, strlen(text), ret) == 0
               ? 0
               : refuse(f, what, "not a GUID");
}

static int read_offer(const cJSON *node, struct uvm__vmbus_device *ret, struct uvm__fail *f) {
    const char *location = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, node, "location"));
    struct uvm__guid kind;
    int rc = read_guid(uvm__json_get(UVM__JSON_STRICT, node, "class"), "class", &kind, f);

    if (rc == 0) {
        rc = read_guid(uvm__json_get(UVM__JSON_STRICT, node, "instance"), "instance",
                       &ret->instance, f);
    }
    if (rc < 0) {
        return rc;
    }
    if (location == NULL || !uvm__vmbus_location_valid(location)) {
        return refuse(f, "location", "not a place on a PCI bus");
    }
    if (cJSON_GetArraySize(node) != 3) {
        return refuse(f, "offer", "more than class, instance and location");
    }
    ret->kind = uvm__vmbus_class_of(&kind);
    memcpy(ret->location, location, strlen(location) + 1);
    return 0;
}

static int read_member(const cJSON *node, struct uvm__vmbus_line *ret, struct uvm__fail *f) {
    uint64_t version = 0;
    bool yes = false;

    switch (ret->kind) {
    case UVM__VMBUS_LINE_VERSION:
        if (uvm__json_u64(node, UINT32_MAX, &version) < 0) {
            return refuse(f, node->string, "not a number");
        }
        ret->version = (uint32_t)version;
        return 0;
    case UVM__VMBUS_LINE_SYNC:
        return uvm__json_bool(node, &yes) == 0 && yes ? 0 : refuse(f, node->string, "not true");
    case UVM__VMBUS_LINE_OFFER:
        return read_offer(node, &ret->device, f);
    default:
        return read_guid(node, node->string, &ret->device.instance, f);
    }
}

static int read_tree(const cJSON *tree, struct uvm__vmbus_line *ret, struct uvm__fail *f) {
    const cJSON *node = cJSON_IsObject(tree) ? tree->child : NULL;
    unsigned kind = 0;

    if (node == NULL || node->next != NULL) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "not an object of one member");
    }
    while (kind < UVM__VMBUS_LINE_MAX && strcmp(members[kind], node->string) != 0) {
        kind++;
    }
    if (kind == UVM__VMBUS_LINE_MAX) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "\"%.32s\" is no line of this channel",
                         node->string);
    }
    ret->kind = (enum uvm__vmbus_line_kind)kind;
    return read_member(node, ret, f);
}

int uvm__vmbus_line_read(const char *text, size_t bytes, struct uvm__vmbus_line *ret,
                         struct uvm__fail *f) {
    cJSON *tree = NULL;
    int rc = uvm__json_read(UVM__JSON_STRICT, text, bytes, &tree, f);

    memset(ret, 0, sizeof *ret);
    if (rc == 0) {
        rc = read_tree(tree, ret, f);
    }
    cJSON_Delete(tree);
    return rc == -UVM_E_LIMIT ? -UVM_E_PROTOCOL : rc;
}
