/* SPDX-License-Identifier: MIT
 * json.h — the only reader of JSON from outside, into cJSON trees.
 *
 * Numbers are kept as literals (nodes of type cJSON_Raw), so that 64-bit values survive and print
 * back verbatim; integers are read by one range-checked accessor. Strict mode (documents, QMP,
 * control): valid UTF-8, exact keys, duplicates and trailing text refused. Go mode (bridge, as
 * encoding/json fills a struct): keys match whatever their case, the last match wins, null reads as
 * zero, invalid UTF-8 becomes U+FFFD; duplicates stay in the tree, so that a reader of a map sees
 * them in order.
 * Depth is at most UVM__JSON_DEPTH_MAX; an embedded NUL (\u0000 in a string) is refused, since C
 * strings would hide what follows it. How large a text may be is the caller's to check. How many
 * values it has is checked here (UVM__JSON_NODES_*), for "[0,0," makes 56 bytes of tree from each of
 * text: a tree takes at most its text and 200 bytes a value, 13 MiB and its text for the largest.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include <cjson/cJSON.h>

enum uvm__json_mode { UVM__JSON_STRICT, UVM__JSON_GO };

/* On failure returns -UVM_E_PROTOCOL, -UVM_E_NOMEM or -UVM_E_LIMIT (depth, number of values)
 * and fills `f`: in strict mode "byte 17: expected ',' or '}', found 'x'", in Go mode what encoding/json says (it has
 * no limit of values), for replies that quote it. `text` need not be terminated. The caller frees the tree with
 * cJSON_Delete(). */
int uvm__json_read(enum uvm__json_mode mode, const char *text, size_t bytes, cJSON **ret_tree,
                   struct uvm__fail *f);

/* Member by the mode's key rule; NULL when absent or when `object` is none. In Go mode case does
 * not count (`key` is ASCII; the two characters outside ASCII that fold into it, U+017F and U+212A,
 * match too), and the last match wins over earlier ones however it is written; a null changes
 * nothing, as in a plain Go field: it is returned only when no match has a value. (Of two objects
 * under one name Go would merge the members: here the last one counts alone.) */
const cJSON *uvm__json_get(enum uvm__json_mode mode, const cJSON *object, const char *key);

/* Typed accessors of one node. 0, or -UVM_E_PROTOCOL when the node has another type (null and NULL
 * too: a member that may be absent is asked with uvm__json_absent() first) or the number is not a
 * plain integer literal in range ("-0" is an integer, but not an unsigned one). */
int uvm__json_i64(const cJSON *node, int64_t min, int64_t max, int64_t *ret);
int uvm__json_u64(const cJSON *node, uint64_t max, uint64_t *ret);
int uvm__json_bool(const cJSON *node, bool *ret);
const char *uvm__json_string(const cJSON *node); /* NULL when not a string */
const char *uvm__json_number(const cJSON *node); /* the literal; NULL when not a number */
bool uvm__json_is_number(const cJSON *node);
/* "object", "array", "string", "number", "bool", "null", as encoding/json names them; "nothing" for
 * NULL. */
const char *uvm__json_kind(const cJSON *node);
static inline bool uvm__json_absent(const cJSON *node) {
    return node == NULL || cJSON_IsNull(node);
}

/* Writers used with cJSON's own constructors (but not with its numbers, which are doubles). */
cJSON *uvm__json_add_i64(cJSON *object, const char *key, int64_t value); /* NULL: no memory */
cJSON *uvm__json_add_u64(cJSON *object, const char *key, uint64_t value);
/* Unformatted text, allocated by the engine; NULL: no memory. */
char *uvm__json_print(uvm_engine *e, const cJSON *tree, size_t *ret_bytes);
