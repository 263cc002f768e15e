/* SPDX-License-Identifier: MIT
 * json.c — what users of a JSON tree need: members by name, checked values, numbers written, text.
 *
 * A number in a tree is its literal (cJSON_Raw), whether it was read or added here; nodes of
 * cJSON's own number type (doubles) are no numbers to this file, so that nobody loses digits
 * unnoticed. The readers take NULL, so that a member that is absent needs no check of its own.
 */
#include "async/json.h"
#include "async/alloc.h"
#include "async/check.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- members ------------------------------------------------------------------------------ */

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* The character at *p with case folded away, and *p moved past it. Two characters outside ASCII
 * fold to ASCII letters: U+017F (long s) and U+212A (Kelvin sign). */
static uint8_t fold(const uint8_t **p) {
    const uint8_t *c = *p;
    if (c[0] == 0xc5 && c[1] == 0xbf) {
        *p += 2;
        return 's';
    }
    if (c[0] == 0xe2 && c[1] == 0x84 && c[2] == 0xaa) {
        *p += 3;
        return 'k';
    }
    *p += 1;
    return lower(c[0]);
}

/* `key` is ours and ASCII, `name` is the peer's. */
static bool same_folded(const char *key, const char *name) {
    const uint8_t *k = (const uint8_t *)key;
    const uint8_t *n = (const uint8_t *)name;
    while (*k != 0 && *n != 0) {
        if (lower(*k) != fold(&n)) {
            return false;
        }
        k++;
    }
    return *k == 0 && *n == 0;
}

const cJSON *uvm__json_get(enum uvm__json_mode mode, const cJSON *object, const char *key) {
    const cJSON *found = NULL;
    if (!cJSON_IsObject(object)) {
        return NULL;
    }
    for (const cJSON *m = object->child; m != NULL; m = m->next) {
        if (mode == UVM__JSON_STRICT) {
            if (strcmp(m->string, key) == 0) {
                return m;
            }
        } else if (same_folded(key, m->string) && (found == NULL || !cJSON_IsNull(m))) {
            found = m;
        }
    }
    return found;
}

/* ---- values ------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool uvm__json_is_number(const cJSON *node) {
    if (!cJSON_IsRaw(node) || node->valuestring == NULL) {
        return false;
    }
    const char *p = node->valuestring;
    return is_digit(p[p[0] == '-']);
}

const char *uvm__json_number(const cJSON *node) {
    return uvm__json_is_number(node) ? node->valuestring : NULL;
}

/* Digits only, without a leading zero, at most `max`. */
static int read_digits(const char *p, uint64_t max, uint64_t *ret) {
    uint64_t value = 0;
    if (!is_digit(p[0]) || (p[0] == '0' && p[1] != 0)) {
        return -UVM_E_PROTOCOL;
    }
    for (; is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (digit > max || value > (max - digit) / 10) {
            return -UVM_E_PROTOCOL;
        }
        value = value * 10 + digit;
    }
    if (*p != 0) {
        return -UVM_E_PROTOCOL; /* a fraction or an exponent, whatever its value */
    }
    *ret = value;
    return 0;
}

int uvm__json_u64(const cJSON *node, uint64_t max, uint64_t *ret) {
    const char *literal = uvm__json_number(node);
    return literal == NULL ? -UVM_E_PROTOCOL : read_digits(literal, max, ret);
}

int uvm__json_i64(const cJSON *node, int64_t min, int64_t max, int64_t *ret) {
    const char *literal = uvm__json_number(node);
    UVM_ASSERT(min <= max);
    if (literal == NULL) {
        return -UVM_E_PROTOCOL;
    }
    bool negative = literal[0] == '-';
    uint64_t magnitude = 0;
    int rc = read_digits(literal + negative, (uint64_t)INT64_MAX + negative, &magnitude);
    if (rc < 0) {
        return rc;
    }
    int64_t value = (int64_t)(negative ? 0 - magnitude : magnitude);
    if (value < min || value > max) {
        return -UVM_E_PROTOCOL;
    }
    *ret = value;
    return 0;
}

int uvm__json_bool(const cJSON *node, bool *ret) {
    if (!cJSON_IsBool(node)) {
        return -UVM_E_PROTOCOL;
    }
    *ret = cJSON_IsTrue(node);
    return 0;
}

const char *uvm__json_string(const cJSON *node) {
    return cJSON_IsString(node) ? node->valuestring : NULL;
}

const char *uvm__json_kind(const cJSON *node) {
    return node == NULL                ? "nothing"
           : cJSON_IsObject(node)      ? "object"
           : cJSON_IsArray(node)       ? "array"
           : cJSON_IsString(node)      ? "string"
           : cJSON_IsBool(node)        ? "bool"
           : cJSON_IsNull(node)        ? "null"
           : uvm__json_is_number(node) ? "number"
                                       : "unknown";
}

/* ---- writing ------------------------------------------------------------------------------ */

cJSON *uvm__json_add_i64(cJSON *object, const char *key, int64_t value) {
    char literal[24];
    (void)snprintf(literal, sizeof literal, "%" PRId64, value);
    return cJSON_AddRawToObject(object, key, literal);
}

cJSON *uvm__json_add_u64(cJSON *object, const char *key, uint64_t value) {
    char literal[24];
    (void)snprintf(literal, sizeof literal, "%" PRIu64, value);
    return cJSON_AddRawToObject(object, key, literal);
}

char *uvm__json_print(uvm_engine *e, const cJSON *tree, size_t *ret_bytes) {
    char *printed = cJSON_PrintUnformatted(tree);
    if (printed == NULL) {
        return NULL;
    }
    size_t bytes = strlen(printed);
    char *text = uvm__memdup0(e, printed, bytes);
    cJSON_free(printed);
    if (text != NULL && ret_bytes != NULL) {
        *ret_bytes = bytes;
    }
    return text;
}
