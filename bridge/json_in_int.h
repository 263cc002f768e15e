/* SPDX-License-Identifier: MIT
 * json_in_int.h — reads typed members of a body by the reference's rules
 * (docs/PROTOCOL-bridge.md, JSON rules).
 *
 * Absent and null read as zero. The first member of a wrong type sticks as the error; reading goes on
 * after it, as the reference's decoder does, so that an answer can still name the activity.
 */
#pragma once
#include "async/json.h"

struct uvm__json_in {
    struct uvm__fail *fail;
    int rc;
};

/* NULL: absent. `object` may be NULL: then everything is absent. */
const cJSON *uvm__json_in_object(struct uvm__json_in *in, const cJSON *object, const char *key);
const cJSON *uvm__json_in_array(struct uvm__json_in *in, const cJSON *object, const char *key);
const char *uvm__json_in_string(struct uvm__json_in *in, const cJSON *object, const char *key);
uint32_t uvm__json_in_uint(struct uvm__json_in *in, const cJSON *object, const char *key,
                           uint32_t max);
int32_t uvm__json_in_int(struct uvm__json_in *in, const cJSON *object, const char *key);
bool uvm__json_in_bool(struct uvm__json_in *in, const cJSON *object, const char *key);
/* Records that `what` has a wrong type. */
void uvm__json_in_wrong(struct uvm__json_in *in, const char *what, const char *expected,
                        const cJSON *node);

/* The text of a whole body: its tree, whose root is an object or null. */
int uvm__json_in_body(const void *body, size_t bytes, cJSON **ret_tree, struct uvm__fail *f);
