/* SPDX-License-Identifier: MIT
 * json_in.c — typed members of a body.
 *
 * One table of rules for all messages: what is absent or null is zero, what has another type is an error
 * that names the member, what is not asked for does not matter.
 */
#include "bridge/json_in_int.h"
#include <inttypes.h>
#include <stdio.h>

void uvm__json_in_wrong(struct uvm__json_in *in, const char *what, const char *expected,
                        const cJSON *node) {
    if (in->rc < 0) {
        return;
    }
    const char *literal = uvm__json_number(node);
    in->rc = uvm__fail(in->fail, UVM_E_PROTOCOL, 0, "json: %s is %s%s%.40s where %s is expected",
                       what, uvm__json_kind(node), literal == NULL ? "" : " ",
                       literal == NULL ? "" : literal, expected);
}

static const cJSON *member(const cJSON *object, const char *key) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, object, key);
    return node == NULL || cJSON_IsNull(node) ? NULL : node;
}

const cJSON *uvm__json_in_object(struct uvm__json_in *in, const cJSON *object, const char *key) {
    const cJSON *node = member(object, key);
    if (node != NULL && !cJSON_IsObject(node)) {
        uvm__json_in_wrong(in, key, "an object", node);
        return NULL;
    }
    return node;
}

const cJSON *uvm__json_in_array(struct uvm__json_in *in, const cJSON *object, const char *key) {
    const cJSON *node = member(object, key);
    if (node != NULL && !cJSON_IsArray(node)) {
        uvm__json_in_wrong(in, key, "a list", node);
        return NULL;
    }
    return node;
}

const char *uvm__json_in_string(struct uvm__json_in *in, const cJSON *object, const char *key) {
    const cJSON *node = member(object, key);
    if (node == NULL) {
        return "";
    }
    const char *text = uvm__json_string(node);
    if (text == NULL) {
        uvm__json_in_wrong(in, key, "a string", node);
        return "";
    }
    return text;
}

uint32_t uvm__json_in_uint(struct uvm__json_in *in, const cJSON *object, const char *key,
                           uint32_t max) {
    const cJSON *node = member(object, key);
    uint64_t value = 0;
    if (node != NULL && uvm__json_u64(node, max, &value) < 0) {
        char expected[48];
        (void)snprintf(expected, sizeof expected, "a whole number up to %" PRIu32, max);
        uvm__json_in_wrong(in, key, expected, node);
        return 0;
    }
    return (uint32_t)value;
}

int32_t uvm__json_in_int(struct uvm__json_in *in, const cJSON *object, const char *key) {
    const cJSON *node = member(object, key);
    int64_t value = 0;
    if (node != NULL && uvm__json_i64(node, INT32_MIN, INT32_MAX, &value) < 0) {
        uvm__json_in_wrong(in, key, "a whole number of 32 bits with sign", node);
        return 0;
    }
    return (int32_t)value;
}

bool uvm__json_in_bool(struct uvm__json_in *in, const cJSON *object, const char *key) {
    const cJSON *node = member(object, key);
    bool value = false;
    if (node != NULL && uvm__json_bool(node, &value) < 0) {
        uvm__json_in_wrong(in, key, "true or false", node);
        return false;
    }
    return value;
}

int uvm__json_in_body(const void *body, size_t bytes, cJSON **ret_tree, struct uvm__fail *f) {
    cJSON *tree = NULL;
    int rc = uvm__json_read(UVM__JSON_GO, body, bytes, &tree, f);
    if (rc < 0) {
        return rc;
    }
    if (!cJSON_IsObject(tree) && !cJSON_IsNull(tree)) {
        struct uvm__json_in in = {.fail = f};
        uvm__json_in_wrong(&in, "the body", "an object", tree);
        cJSON_Delete(tree);
        return in.rc;
    }
    *ret_tree = tree;
    return 0;
}
