/* SPDX-License-Identifier: MIT
 * control_json.c — members of a control request, and errors as JSON.
 *
 * What a request may contain is a closed list: an unknown member is refused by name, so that a newer
 * client learns that an older owner would ignore what it wants. Text that goes out may hold bytes of a
 * guest (console, panic line); what is no UTF-8 becomes `?`, since a strict reader sits at the other end.
 */
#include "uvm/control_int.h"
#include <string.h>

/* Bytes of the UTF-8 sequence at `p`; 0: it is none. */
static size_t utf8(const unsigned char *p) {
    static const struct {
        unsigned char from, to, second_from, second_to;
        size_t bytes;
    } rows[] = {
        {0x01, 0x7f, 0, 0xff, 1},    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (p[0] < rows[i].from || p[0] > rows[i].to) {
            continue;
        }
        if (rows[i].bytes > 1 && (p[1] < rows[i].second_from || p[1] > rows[i].second_to)) {
            return 0;
        }
        for (size_t k = 2; k < rows[i].bytes; k++) {
            if ((p[k] & 0xc0) != 0x80) { /* the terminator is none either */
                return 0;
            }
        }
        return rows[i].bytes;
    }
    return 0;
}

static void make_valid(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p != 0;) {
        size_t n = utf8(p);
        if (n == 0) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

cJSON *uvm__control_add_text(cJSON *to, const char *key, const char *text) {
    cJSON *node = cJSON_AddStringToObject(to, key, text);
    if (node != NULL) {
        make_valid(node->valuestring);
    }
    return node;
}

cJSON *uvm__control_raw(uvm_engine *e, const char *text) {
    (void)e;
    cJSON *node = text == NULL ? NULL : cJSON_CreateRaw(text);
    if (node != NULL) {
        make_valid(node->valuestring);
    }
    return node;
}

static bool add_error(cJSON *o, const uvm_error *err) {
    bool ok = uvm__control_add_text(o, "code", uvm_error_code_name((int)uvm_error_code(err))) &&
              uvm__control_add_text(o, "message", uvm_error_message(err)) &&
              uvm__control_add_text(o, "step", uvm_error_step(err)) &&
              uvm__control_add_text(o, "detail", uvm_error_detail(err)) &&
              uvm__json_add_i64(o, "sys", uvm_error_sys(err)) != NULL;
    const uvm_error *cause = uvm_error_cause(err);
    if (!ok || cause == NULL) {
        return ok && cJSON_AddNullToObject(o, "cause") != NULL;
    }
    cJSON *below = cJSON_AddObjectToObject(o, "cause");
    return below != NULL && add_error(below, cause);
}

cJSON *uvm__control_error(uvm_engine *e, const uvm_error *err) {
    (void)e;
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && !add_error(o, err)) {
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

int uvm__control_check_keys(const cJSON *params, const char *const *keys, struct uvm__fail *f) {
    const cJSON *node;
    if (params == NULL) {
        return 0;
    }
    if (!cJSON_IsObject(params)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: an object is wanted, not %s",
                         uvm__json_kind(params));
    }
    cJSON_ArrayForEach(node, params) {
        size_t i = 0;
        while (keys != NULL && keys[i] != NULL && strcmp(keys[i], node->string) != 0) {
            i++;
        }
        if (keys == NULL || keys[i] == NULL) {
            return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%.60s\" is not known here",
                             node->string);
        }
    }
    return 0;
}

static const cJSON *get(const cJSON *params, const char *key) {
    return params == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, params, key);
}

int uvm__control_get_u64(const cJSON *params, const char *key, uint64_t min, uint64_t max,
                         uint64_t *ret, struct uvm__fail *f) {
    const cJSON *node = get(params, key);
    uint64_t value = 0;
    if (node == NULL) {
        return 0;
    }
    if (uvm__json_u64(node, max, &value) < 0 || value < min) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%s\" is no number from %llu to %llu", key,
                         (unsigned long long)min, (unsigned long long)max);
    }
    *ret = value;
    return 0;
}

int uvm__control_get_bool(const cJSON *params, const char *key, bool *ret, struct uvm__fail *f) {
    const cJSON *node = get(params, key);
    if (node == NULL || uvm__json_bool(node, ret) == 0) {
        return 0;
    }
    return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%s\" is neither true nor false", key);
}

int uvm__control_get_text(const cJSON *params, const char *key, const char **ret,
                          struct uvm__fail *f) {
    const cJSON *node = get(params, key);
    const char *text = uvm__json_string(node);
    if (node == NULL) {
        return 0;
    }
    if (text == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%s\" is no string", key);
    }
    *ret = text;
    return 0;
}

int uvm__control_get_list(uvm_engine *e, const cJSON *params, const char *key, unsigned max,
                          const char ***ret, struct uvm__fail *f) {
    const cJSON *list = get(params, key);
    const cJSON *node;
    size_t n = 0;
    if (list == NULL) {
        return 0;
    }
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : -1;
    if (count < 0 || (unsigned)count > max) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%s\" is no list of at most %u strings", key,
                         max);
    }
    const char **words = uvm__zalloc(e, ((size_t)count + 1) * sizeof *words);
    if (words == NULL) {
        return -UVM_E_NOMEM;
    }
    *ret = words;
    cJSON_ArrayForEach(node, list) {
        words[n] = uvm__json_string(node);
        if (words[n++] == NULL) {
            return uvm__fail(f, UVM_E_INVAL, 0, "params: \"%s\" has a %s in it", key,
                             uvm__json_kind(node));
        }
    }
    return 0;
}
