/* SPDX-License-Identifier: MIT
 * json_fuzz.c — any bytes as JSON, in both modes.
 *
 * What must hold: what strict mode reads, Go mode reads as the same tree; what was read prints, and
 * the print reads back as the same text; a refusal says why in one line. The first byte of the
 * input is part of the text like any other.
 */
#include "async/check.h"
#include "async/json.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static cJSON *read_text(enum uvm__json_mode mode, const char *text, size_t bytes) {
    cJSON *tree = NULL;
    struct uvm__fail f = {.sys = 0, .msg = ""};
    int rc = uvm__json_read(mode, text, bytes, &tree, &f);
    UVM_ASSERT((rc == 0) == (tree != NULL));
    if (rc != 0) {
        UVM_ASSERT(rc == -UVM_E_PROTOCOL || rc == -UVM_E_LIMIT);
        UVM_ASSERT(f.msg[0] != 0 && strchr(f.msg, '\n') == NULL);
    }
    return tree;
}

static char *print(const cJSON *tree) {
    char *text = cJSON_PrintUnformatted(tree);
    UVM_ASSERT(text != NULL);
    return text;
}

static void look_into(const cJSON *tree) {
    int64_t i64 = 0;
    uint64_t u64 = 0;
    bool is = uvm__json_is_number(tree);
    UVM_ASSERT(is == (uvm__json_number(tree) != NULL));
    if (uvm__json_i64(tree, -9, INT64_MAX, &i64) == 0 && i64 >= 0 &&
        uvm__json_u64(tree, UINT64_MAX, &u64) == 0) {
        UVM_ASSERT(u64 == (uint64_t)i64);
    }
    UVM_ASSERT(strcmp(uvm__json_kind(tree), "unknown") != 0);
    for (const cJSON *m = tree->child; m != NULL; m = m->next) {
        if (m->string != NULL) {
            const cJSON *exact = uvm__json_get(UVM__JSON_STRICT, tree, m->string);
            UVM_ASSERT(exact != NULL && strcmp(exact->string, m->string) == 0);
        }
        look_into(m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    cJSON *strict = read_text(UVM__JSON_STRICT, (const char *)data, bytes);
    cJSON *go = read_text(UVM__JSON_GO, (const char *)data, bytes);
    if (strict != NULL) {
        char *text = print(strict);
        char *same = print(go);
        UVM_ASSERT(strcmp(text, same) == 0);
        cJSON *again = read_text(UVM__JSON_STRICT, text, strlen(text));
        UVM_ASSERT(again != NULL);
        cJSON_free(same);
        same = print(again);
        UVM_ASSERT(strcmp(text, same) == 0);
        cJSON_Delete(again);
        cJSON_free(same);
        cJSON_free(text);
    }
    if (go != NULL) {
        char *text = print(go);
        cJSON *again = read_text(UVM__JSON_GO, text, strlen(text));
        UVM_ASSERT(again != NULL);
        look_into(again);
        cJSON_Delete(again);
        cJSON_free(text);
    }
    cJSON_Delete(strict);
    cJSON_Delete(go);
    return 0;
}
