/* SPDX-License-Identifier: MIT
 * modify_fuzz.c — any bytes as a request to change a system: refused with words, or read; and what was read
 * must come out of the builder, with the path that its keys give, and read back as the same text.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "hcs/modify_doc.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char *build(uvm_engine *e, const struct uvm__modify *m, size_t *ret_bytes) {
    struct uvm__fail f = {0};
    char *text = NULL;

    UVM_ASSERT(uvm__modify_build(e, m, &text, ret_bytes, &f) == 0);
    return text;
}

static void round_trip(uvm_engine *e, struct uvm__modify *m) {
    char path[UVM__MODIFY_PATH_BYTES], same[UVM__MODIFY_PATH_BYTES];
    size_t first_bytes = 0, second_bytes = 0;
    struct uvm__fail f = {0};
    struct uvm__modify again;
    char *first = build(e, m, &first_bytes);

    UVM_ASSERT(m->verb == UVM__MODIFY_REMOVE || m->has_settings);
    UVM_ASSERT(uvm__modify_path(m, path, &f) == 0);
    UVM_ASSERT(strstr(first, path) != NULL);
    UVM_ASSERT(uvm__modify_read(e, first, first_bytes, &again, &f) == 0);
    UVM_ASSERT(again.verb == m->verb && again.kind == m->kind && again.number == m->number);
    UVM_ASSERT(uvm__modify_path(&again, same, &f) == 0 && strcmp(path, same) == 0);
    char *second = build(e, &again, &second_bytes);
    UVM_ASSERT(first_bytes == second_bytes && memcmp(first, second, first_bytes) == 0);
    uvm__free(e, first);
    uvm__free(e, second);
    uvm__modify_deinit(&again);
    uvm__modify_deinit(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    struct uvm__fail f = {0};
    struct uvm__modify m;
    uvm_engine *e = NULL;

    UVM_ASSERT(uvm__engine_new_virtual(&params, 1, &e) == 0);
    if (uvm__modify_read(e, (const char *)data, bytes, &m, &f) == 0) {
        round_trip(e, &m);
    } else {
        UVM_ASSERT(f.msg[0] != '\0');
    }
    uvm__engine_free_virtual(e);
    return 0;
}
