/* SPDX-License-Identifier: MIT
 * doc_build.c — the builder of ComputeSystem documents: a filled-in struct to JSON text.
 *
 * It walks the same schema as the reader, in the schema's order, checks each value by its row and drops
 * what is zero or empty, as the reference does. Objects are written when they are `present`, also empty
 * ones. What does not pass the reader's checks is not written: a caller's mistake is told with the path.
 */
#include "hcs/doc_int.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/guid.h"
#include "async/json.h"
#include "async/limits.h"

struct builder {
    struct uvm__fail *f;
};

static int no_memory(struct builder *b) {
    return uvm__fail(b->f, UVM_E_NOMEM, 0, "document: out of memory");
}

static int build_fields(struct builder *b, const struct uvm__doc_type *type, const void *base,
                        cJSON *object, const struct uvm__doc_path *path);

static const char *string_at(const void *base, size_t offset) {
    const char *text;

    memcpy(&text, (const char *)base + offset, sizeof text);
    return text;
}

static uint64_t number_at(const void *base, size_t offset) {
    uint64_t value;

    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

static bool flag_at(const void *base, size_t offset) {
    bool value;

    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

static int build_string(struct builder *b, const struct uvm__doc_field *row, const void *base,
                        cJSON *object, const struct uvm__doc_path *path) {
    const char *text = string_at(base, row->offset);
    int rc = uvm__doc_check_string(row, text, path, b->f);

    if (rc < 0 || text == NULL || text[0] == '\0') {
        return rc;
    }
    return cJSON_AddStringToObject(object, row->key, text) == NULL ? no_memory(b) : 0;
}

static int build_number(struct builder *b, const struct uvm__doc_field *row, const void *base,
                        cJSON *object, const struct uvm__doc_path *path) {
    uint64_t value = number_at(base, row->offset);
    int rc = uvm__doc_check_number(row, value, path, b->f);

    if (rc < 0 || value == 0) {
        return rc;
    }
    return uvm__json_add_u64(object, row->key, value) == NULL ? no_memory(b) : 0;
}

/* The text of a map item's key, checked. */
static int item_key(struct builder *b, const struct uvm__doc_field *row, const void *item,
                    char number[24], const char **ret, const struct uvm__doc_path *path) {
    if (row->type->key == UVM__DOC_KEY_INDEX) {
        uint64_t value = number_at(item, 0);
        if (value > row->max) {
            return uvm__doc_fail(b->f, path, UVM_E_INVAL, "key %llu is above %llu",
                                 (unsigned long long)value, (unsigned long long)row->max);
        }
        snprintf(number, 24, "%llu", (unsigned long long)value);
        *ret = number;
        return 0;
    }
    struct uvm__guid guid;
    const char *text = string_at(item, 0);
    if (text == NULL || uvm__guid_read(text, strlen(text), &guid) < 0) {
        return uvm__doc_fail(b->f, path, UVM_E_INVAL, "a key that is no GUID");
    }
    *ret = text;
    return 0;
}

static int build_map(struct builder *b, const struct uvm__doc_field *row, const void *items,
                     size_t count, cJSON *map, const struct uvm__doc_path *path) {
    for (size_t i = 0; i < count; i++) {
        const void *item = (const char *)items + i * row->type->bytes;
        char number[24];
        const char *key = NULL;
        int rc = item_key(b, row, item, number, &key, path);

        if (rc < 0) {
            return rc;
        }
        struct uvm__doc_path here = {.parent = path, .key = key};
        if (cJSON_GetObjectItem(map, key) != NULL) { /* without case, as GUIDs compare */
            return uvm__doc_fail(b->f, &here, UVM_E_INVAL, "the same key twice");
        }
        cJSON *child = cJSON_AddObjectToObject(map, key);
        if (child == NULL) {
            return no_memory(b);
        }
        rc = build_fields(b, row->type, item, child, &here);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int build_list(struct builder *b, const struct uvm__doc_field *row, const void *items,
                      size_t count, cJSON *list, const struct uvm__doc_path *path) {
    for (size_t i = 0; i < count; i++) {
        struct uvm__doc_path here = {.parent = path, .index = i};
        cJSON *child = NULL;
        int rc = 0;

        if (row->kind == UVM__DOC_NUMBERS) {
            char text[24];
            uint64_t value = ((const uint64_t *)items)[i];
            rc = uvm__doc_check_number(row, value, &here, b->f);
            snprintf(text, sizeof text, "%llu", (unsigned long long)value);
            child = cJSON_CreateRaw(text);
        } else if (row->kind == UVM__DOC_STRINGS) {
            child = cJSON_CreateString(((const char *const *)items)[i]);
        } else {
            child = cJSON_CreateObject();
        }
        if (child == NULL || !cJSON_AddItemToArray(list, child)) {
            cJSON_Delete(child);
            return no_memory(b);
        }
        if (rc == 0 && row->kind == UVM__DOC_LIST) {
            rc = build_fields(b, row->type, (const char *)items + i * row->type->bytes, child,
                              &here);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int build_items(struct builder *b, const struct uvm__doc_field *row, const void *base,
                       cJSON *object, const struct uvm__doc_path *path) {
    const void *items;
    size_t count;

    memcpy(&items, (const char *)base + row->offset, sizeof items);
    memcpy(&count, (const char *)base + row->count_offset, sizeof count);
    if (count == 0) {
        return 0;
    }
    if (count > UVM__DOC_ITEMS_MAX) {
        return uvm__doc_fail(b->f, path, UVM_E_LIMIT, "%zu items; at most %u", count,
                             UVM__DOC_ITEMS_MAX);
    }
    UVM_ASSERT(items != NULL);
    bool map = row->kind == UVM__DOC_MAP;
    cJSON *child =
        map ? cJSON_AddObjectToObject(object, row->key) : cJSON_AddArrayToObject(object, row->key);
    if (child == NULL) {
        return no_memory(b);
    }
    return map ? build_map(b, row, items, count, child, path)
               : build_list(b, row, items, count, child, path);
}

static int build_object(struct builder *b, const struct uvm__doc_field *row, const void *base,
                        cJSON *object, const struct uvm__doc_path *path) {
    if (!flag_at(base, row->offset)) {
        return row->required ? uvm__doc_fail(b->f, path, UVM_E_INVAL, "missing") : 0;
    }
    cJSON *child = cJSON_AddObjectToObject(object, row->key);
    if (child == NULL) {
        return no_memory(b);
    }
    return build_fields(b, row->type, (const char *)base + row->offset, child, path);
}

static int build_field(struct builder *b, const struct uvm__doc_field *row, const void *base,
                       cJSON *object, const struct uvm__doc_path *path) {
    switch (row->kind) {
    case UVM__DOC_REFUSED:
        return 0;
    case UVM__DOC_STRING:
        return build_string(b, row, base, object, path);
    case UVM__DOC_BOOL:
        if (!flag_at(base, row->offset)) {
            return 0;
        }
        return cJSON_AddTrueToObject(object, row->key) == NULL ? no_memory(b) : 0;
    case UVM__DOC_U64:
        return build_number(b, row, base, object, path);
    case UVM__DOC_OBJECT:
        return build_object(b, row, base, object, path);
    case UVM__DOC_MAP:
    case UVM__DOC_LIST:
    case UVM__DOC_NUMBERS:
    case UVM__DOC_STRINGS:
        return build_items(b, row, base, object, path);
    }
    uvm__check_failed(__FILE__, __LINE__, "a row of an unknown kind");
}

static int build_fields(struct builder *b, const struct uvm__doc_type *type, const void *base,
                        cJSON *object, const struct uvm__doc_path *path) {
    for (const struct uvm__doc_field *row = type->fields; row->key != NULL; row++) {
        struct uvm__doc_path here = {.parent = path, .key = row->key};
        int rc = build_field(b, row, base, object, &here);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int uvm__doc_build_object(const struct uvm__doc_type *type, const void *base, cJSON *object,
                          const struct uvm__doc_path *path, struct uvm__fail *f) {
    struct builder b = {.f = f};
    return build_fields(&b, type, base, object, path);
}

int uvm__doc_build(uvm_engine *e, const struct uvm__doc *doc, char **ret_text, size_t *ret_bytes,
                   struct uvm__fail *f) {
    struct builder b = {.f = f};
    cJSON *tree = cJSON_CreateObject();
    char *text = NULL;
    size_t bytes = 0;
    int rc;

    if (tree == NULL) {
        return no_memory(&b);
    }
    rc = build_fields(&b, &uvm__doc_root, doc, tree, NULL);
    if (rc == 0) {
        rc = uvm__doc_check(doc, f);
    }
    if (rc == 0) {
        text = uvm__json_print(e, tree, &bytes);
        rc = text == NULL ? no_memory(&b) : 0;
    }
    cJSON_Delete(tree);
    if (rc == 0 && bytes > UVM__DOCUMENT_BYTES_MAX) {
        uvm__free(e, text);
        rc = uvm__fail(f, UVM_E_LIMIT, 0, "document: %zu bytes; at most %u", bytes,
                       UVM__DOCUMENT_BYTES_MAX);
    }
    if (rc == 0) {
        *ret_text = text;
        *ret_bytes = bytes;
    }
    return rc;
}
