/* SPDX-License-Identifier: MIT
 * json.h — the only reader of JSON from outside, into cJSON trees.
 *
 * Numbers are kept as literals (nodes of type cJSON_Raw), so that 64-bit values survive and print back
 * verbatim; integers are read by one range-checked accessor. Strict mode (documents, QMP, control):
 * valid UTF-8, exact keys, duplicates and trailing text refused. Go mode (bridge, as encoding/json):
 * keys match case-insensitively with the exact one preferred, the last duplicate wins, null reads as
 * zero, invalid UTF-8 becomes U+FFFD. Depth is at most UVM__JSON_DEPTH_MAX; an embedded NUL (\u0000 in a
 * string) is refused, since C strings would hide what follows it.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include <cjson/cJSON.h>

enum uvm__json_mode { UVM__JSON_STRICT, UVM__JSON_GO };

/* On failure returns -UVM_E_PROTOCOL, -UVM_E_NOMEM or -UVM_E_LIMIT and fills `f` (offset and cause).
 * The caller frees the tree with cJSON_Delete(). */
int uvm__json_read(enum uvm__json_mode mode, const char *text, size_t bytes, cJSON **ret_tree,
                   struct uvm__fail *f);

/* Member by the mode's key rule; NULL when absent (Go mode: null is returned as a node, callers of the
 * typed accessors see it as absent). */
const cJSON *uvm__json_get(enum uvm__json_mode mode, const cJSON *object, const char *key);

/* Typed accessors of one node. 0, or -UVM_E_PROTOCOL when the node has another type or the number is
 * not a plain integer literal in range. */
int uvm__json_i64(const cJSON *node, int64_t min, int64_t max, int64_t *ret);
int uvm__json_u64(const cJSON *node, uint64_t max, uint64_t *ret);
int uvm__json_bool(const cJSON *node, bool *ret);
const char *uvm__json_string(const cJSON *node); /* NULL when not a string */
const char *uvm__json_number(const cJSON *node); /* the literal; NULL when not a number */
bool uvm__json_is_number(const cJSON *node);

/* Writers used with cJSON's own constructors. */
cJSON *uvm__json_add_i64(cJSON *object, const char *key, int64_t value); /* NULL: no memory */
cJSON *uvm__json_add_u64(cJSON *object, const char *key, uint64_t value);
/* Unformatted text, allocated by the engine; NULL: no memory. */
char *uvm__json_print(uvm_engine *e, const cJSON *tree, size_t *ret_bytes);
