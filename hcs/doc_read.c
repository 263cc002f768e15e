/* SPDX-License-Identifier: MIT
 * doc_read.c — the strict reader of ComputeSystem documents.
 *
 * It walks the schema of doc_schema.c over the tree that async/json.c made, depth first, with the path as a
 * chain of frames on the stack: depth is bounded by the schema itself. Strings stay in the tree, arrays
 * come from one chain of blocks; both belong to the store that the document carries, so that one deinit
 * releases everything, also after a failure half way.
 *
 * The text is hostile: each key, type, count and number is checked here or in uvm__doc_check().
 */
#include "hcs/doc_int.h"

#include <string.h>
#include <strings.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/guid.h"
#include "async/json.h"
#include "async/limits.h"

struct block {
    struct block *next;
    uint64_t data[]; /* aligned for every item */
};

struct uvm__doc_store {
    uvm_engine *engine;
    cJSON *tree;
    struct block *blocks;
};

struct reader {
    struct uvm__doc_store *store;
    struct uvm__fail *f;
};

static const char *type_name(const cJSON *node) {
    if (cJSON_IsObject(node)) {
        return "an object";
    }
    if (cJSON_IsArray(node)) {
        return "an array";
    }
    if (cJSON_IsString(node)) {
        return "a string";
    }
    if (cJSON_IsBool(node)) {
        return "a boolean";
    }
    return cJSON_IsNull(node) ? "null" : "a number";
}

static int wrong_type(struct reader *r, const struct uvm__doc_path *path, const char *wanted,
                      const cJSON *node) {
    return uvm__doc_fail(r->f, path, UVM_E_INVAL, "must be %s, is %s", wanted, type_name(node));
}

static void *store_alloc(struct reader *r, size_t bytes) {
    struct block *b = uvm__zalloc(r->store->engine, sizeof *b + bytes);

    if (b == NULL) {
        return NULL;
    }
    b->next = r->store->blocks;
    r->store->blocks = b;
    return b->data;
}

/* Puts the array into the struct: a pointer and its count. */
static void set_items(void *base, const struct uvm__doc_field *row, const void *items,
                      size_t count) {
    memcpy((char *)base + row->offset, &items, sizeof items);
    memcpy((char *)base + row->count_offset, &count, sizeof count);
}

static int read_object(struct reader *r, const struct uvm__doc_type *type, const cJSON *node,
                       void *base, const struct uvm__doc_path *path);

/* Checks the number of members and makes room for them; *ret NULL when there are none. */
static int alloc_items(struct reader *r, const cJSON *node, size_t item_bytes,
                       const struct uvm__doc_path *path, char **ret, size_t *ret_count) {
    size_t count = (size_t)cJSON_GetArraySize(node);

    *ret = NULL;
    *ret_count = count;
    if (count > UVM__DOC_ITEMS_MAX) {
        return uvm__doc_fail(r->f, path, UVM_E_LIMIT, "%zu items; at most %u", count,
                             UVM__DOC_ITEMS_MAX);
    }
    if (count > 0) {
        *ret = store_alloc(r, count * item_bytes);
        if (*ret == NULL) {
            return uvm__doc_fail(r->f, path, UVM_E_NOMEM, "out of memory");
        }
    }
    return 0;
}

/* A decimal number without leading zeros, at most `max`. */
static int read_index(const char *text, uint64_t max, uint64_t *ret) {
    uint64_t value = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 6 || (text[0] == '0' && len > 1)) {
        return -UVM_E_INVAL;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -UVM_E_INVAL;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > max) {
        return -UVM_E_INVAL;
    }
    *ret = value;
    return 0;
}

static int read_key(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                    void *item, const struct uvm__doc_path *path) {
    if (row->type->key == UVM__DOC_KEY_INDEX) {
        if (read_index(node->string, row->max, item) < 0) {
            return uvm__doc_fail(r->f, path, UVM_E_INVAL, "the key must be a number from 0 to %llu",
                                 (unsigned long long)row->max);
        }
        return 0;
    }
    struct uvm__guid guid;
    const char *text = node->string;
    if (uvm__guid_read(text, strlen(text), &guid) < 0) {
        return uvm__doc_fail(r->f, path, UVM_E_INVAL, "the key must be a GUID");
    }
    for (const cJSON *before = node->prev; before->next != NULL; before = before->prev) {
        if (strcasecmp(before->string, text) == 0) {
            return uvm__doc_fail(r->f, path, UVM_E_INVAL, "the same GUID twice");
        }
    }
    memcpy(item, &text, sizeof text);
    return 0;
}

static int read_map(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                    void *base, const struct uvm__doc_path *path) {
    char *items;
    size_t count, i = 0;
    int rc;

    if (!cJSON_IsObject(node)) {
        return wrong_type(r, path, "an object", node);
    }
    rc = alloc_items(r, node, row->type->bytes, path, &items, &count);
    if (rc < 0) {
        return rc;
    }
    for (const cJSON *child = node->child; child != NULL; child = child->next, i++) {
        UVM_ASSERT_CMP(i, <, count);
        struct uvm__doc_path here = {.parent = path, .key = child->string};
        void *item = items + i * row->type->bytes;

        rc = read_key(r, row, child, item, &here);
        if (rc == 0) {
            rc = read_object(r, row->type, child, item, &here);
        }
        if (rc < 0) {
            return rc;
        }
    }
    set_items(base, row, items, count);
    return 0;
}

static int read_item(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                     void *item, const struct uvm__doc_path *path) {
    if (row->kind == UVM__DOC_LIST) {
        return read_object(r, row->type, node, item, path);
    }
    if (row->kind == UVM__DOC_NUMBERS) {
        return uvm__json_u64(node, row->max, item) == 0
                   ? 0
                   : uvm__doc_fail(r->f, path, UVM_E_INVAL, "must be an integer from 0 to %llu",
                                   (unsigned long long)row->max);
    }
    const char *text = uvm__json_string(node);
    if (text == NULL || text[0] == '\0') {
        return uvm__doc_fail(r->f, path, UVM_E_INVAL, "must be a string that is not empty");
    }
    UVM_ASSERT(item != NULL); /* a list that is read has room for its items */
    *(const char **)item = text;
    return 0;
}

static int read_list(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                     void *base, const struct uvm__doc_path *path) {
    size_t item_bytes = row->kind == UVM__DOC_LIST      ? row->type->bytes
                        : row->kind == UVM__DOC_NUMBERS ? sizeof(uint64_t)
                                                        : sizeof(const char *);
    char *items;
    size_t count, i = 0;
    int rc;

    if (!cJSON_IsArray(node)) {
        return wrong_type(r, path, "an array", node);
    }
    rc = alloc_items(r, node, item_bytes, path, &items, &count);
    if (rc < 0) {
        return rc;
    }
    for (const cJSON *child = node->child; child != NULL; child = child->next, i++) {
        UVM_ASSERT_CMP(i, <, count);
        struct uvm__doc_path here = {.parent = path, .index = i};

        rc = read_item(r, row, child, items + i * item_bytes, &here);
        if (rc < 0) {
            return rc;
        }
    }
    set_items(base, row, items, count);
    return 0;
}

static int read_string(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                       void *base, const struct uvm__doc_path *path) {
    const char *text = uvm__json_string(node);

    if (text == NULL) {
        return wrong_type(r, path, "a string", node);
    }
    int rc = uvm__doc_check_string(row, text, path, r->f);
    if (rc == 0 && text[0] != '\0') {
        memcpy((char *)base + row->offset, &text, sizeof text);
    }
    return rc;
}

static int read_number(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                       void *base, const struct uvm__doc_path *path) {
    uint64_t value;

    if (!uvm__json_is_number(node)) {
        return wrong_type(r, path, "a number", node);
    }
    if (uvm__json_u64(node, UINT64_MAX, &value) < 0) {
        return uvm__doc_fail(r->f, path, UVM_E_INVAL, "must be an integer from %llu to %llu",
                             (unsigned long long)row->min, (unsigned long long)row->max);
    }
    int rc = uvm__doc_check_number(row, value, path, r->f);
    if (rc == 0) {
        memcpy((char *)base + row->offset, &value, sizeof value);
    }
    return rc;
}

static int read_field(struct reader *r, const struct uvm__doc_field *row, const cJSON *node,
                      void *base, const struct uvm__doc_path *path) {
    bool flag;

    switch (row->kind) {
    case UVM__DOC_REFUSED:
        return uvm__doc_fail(r->f, path, UVM_E_UNSUPPORTED, "%s", row->text);
    case UVM__DOC_STRING:
        return read_string(r, row, node, base, path);
    case UVM__DOC_BOOL:
        if (uvm__json_bool(node, &flag) < 0) {
            return wrong_type(r, path, "a boolean", node);
        }
        memcpy((char *)base + row->offset, &flag, sizeof flag);
        return 0;
    case UVM__DOC_U64:
        return read_number(r, row, node, base, path);
    case UVM__DOC_OBJECT:
        flag = true;
        memcpy((char *)base + row->offset, &flag, sizeof flag);
        return read_object(r, row->type, node, (char *)base + row->offset, path);
    case UVM__DOC_MAP:
        return read_map(r, row, node, base, path);
    case UVM__DOC_LIST:
    case UVM__DOC_NUMBERS:
    case UVM__DOC_STRINGS:
        return read_list(r, row, node, base, path);
    }
    uvm__check_failed(__FILE__, __LINE__, "a row of an unknown kind");
}

/* A key that differs only in case is the most frequent mistake: name the right one. */
static int unknown_key(struct reader *r, const struct uvm__doc_type *type,
                       const struct uvm__doc_path *path) {
    for (const struct uvm__doc_field *row = type->fields; row->key != NULL; row++) {
        if (strcasecmp(row->key, path->key) == 0) {
            return uvm__doc_fail(r->f, path, UVM_E_INVAL, "unknown field; did you mean %s?",
                                 row->key);
        }
    }
    return uvm__doc_fail(r->f, path, UVM_E_INVAL, "unknown field");
}

static int read_object(struct reader *r, const struct uvm__doc_type *type, const cJSON *node,
                       void *base, const struct uvm__doc_path *path) {
    if (!cJSON_IsObject(node)) {
        return wrong_type(r, path, "an object", node);
    }
    for (const cJSON *child = node->child; child != NULL; child = child->next) {
        struct uvm__doc_path here = {.parent = path, .key = child->string};
        const struct uvm__doc_field *row = type->fields;

        while (row->key != NULL && strcmp(row->key, child->string) != 0) {
            row++;
        }
        int rc =
            row->key == NULL ? unknown_key(r, type, &here) : read_field(r, row, child, base, &here);
        if (rc < 0) {
            return rc;
        }
    }
    for (const struct uvm__doc_field *row = type->fields; row->key != NULL; row++) {
        if (row->required && uvm__json_get(UVM__JSON_STRICT, node, row->key) == NULL) {
            struct uvm__doc_path here = {.parent = path, .key = row->key};
            return uvm__doc_fail(r->f, &here, UVM_E_INVAL, "missing");
        }
    }
    return 0;
}

void uvm__doc_store_free(struct uvm__doc_store *store) {
    if (store == NULL) {
        return;
    }
    while (store->blocks != NULL) {
        struct block *next = store->blocks->next;
        uvm__free(store->engine, store->blocks);
        store->blocks = next;
    }
    cJSON_Delete(store->tree);
    uvm__free(store->engine, store);
}

int uvm__doc_store_open(uvm_engine *e, const char *text, size_t bytes, const char *what,
                        struct uvm__doc_store **ret, const cJSON **ret_tree, struct uvm__fail *f) {
    if (bytes > UVM__DOCUMENT_BYTES_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: %zu bytes; at most %u", what, bytes,
                         UVM__DOCUMENT_BYTES_MAX);
    }
    struct uvm__doc_store *store = uvm__zalloc(e, sizeof *store);
    if (store == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "%s: out of memory", what);
    }
    store->engine = e;
    struct uvm__fail why = {0};
    int rc = uvm__json_read(UVM__JSON_STRICT, text, bytes, &store->tree, &why);
    if (rc < 0) {
        uvm__doc_store_free(store);
        return uvm__fail(f, (enum uvm_error_code) - rc, why.sys, "%s: %.200s", what, why.msg);
    }
    *ret = store;
    *ret_tree = store->tree;
    return 0;
}

int uvm__doc_read_object(struct uvm__doc_store *store, const struct uvm__doc_type *type,
                         const cJSON *node, void *base, const struct uvm__doc_path *path,
                         struct uvm__fail *f) {
    struct reader r = {.store = store, .f = f};
    return read_object(&r, type, node, base, path);
}

int uvm__doc_read(uvm_engine *e, const char *text, size_t bytes, struct uvm__doc *ret,
                  struct uvm__fail *f) {
    struct uvm__doc doc = {0};
    struct uvm__doc_store *store = NULL;
    const cJSON *tree = NULL;
    int rc = uvm__doc_store_open(e, text, bytes, "document", &store, &tree, f);

    if (tree == NULL) { /* rc says why */
        return rc;
    }
    rc = uvm__doc_read_object(store, &uvm__doc_root, tree, &doc, NULL, f);
    if (rc == 0) {
        rc = uvm__doc_check(&doc, f);
    }
    if (rc < 0) {
        uvm__doc_store_free(store);
        return rc;
    }
    doc.store = store;
    *ret = doc;
    return 0;
}

void uvm__doc_deinit(struct uvm__doc *doc) {
    if (doc == NULL) {
        return;
    }
    if (doc->store != NULL) {
        uvm__doc_store_free(doc->store);
    }
    memset(doc, 0, sizeof *doc);
}
