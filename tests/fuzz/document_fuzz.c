/* SPDX-License-Identifier: MIT
 * document_fuzz.c — any bytes as a ComputeSystem document: refused with a message, or read; and what was
 * read must come out of the builder and read back as the same text.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "hcs/doc.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char *build(uvm_engine *e, const struct uvm__doc *doc, size_t *ret_bytes) {
    struct uvm__fail f = {0};
    char *text = NULL;
    int rc = uvm__doc_build(e, doc, &text, ret_bytes, &f);

    UVM_ASSERT(rc == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    uvm_engine *e = NULL;
    struct uvm__doc doc, again;
    struct uvm__fail f = {0};
    size_t first_bytes = 0, second_bytes = 0;

    UVM_ASSERT(uvm__engine_new_virtual(&params, 1, &e) == 0);
    if (uvm__doc_read(e, (const char *)data, bytes, &doc, &f) == 0) {
        char *first = build(e, &doc, &first_bytes);
        UVM_ASSERT(uvm__doc_read(e, first, first_bytes, &again, &f) == 0);
        char *second = build(e, &again, &second_bytes);
        UVM_ASSERT(first_bytes == second_bytes && memcmp(first, second, first_bytes) == 0);
        uvm__free(e, first);
        uvm__free(e, second);
        uvm__doc_deinit(&again);
        uvm__doc_deinit(&doc);
    } else {
        UVM_ASSERT(f.msg[0] != '\0');
    }
    uvm__engine_free_virtual(e);
    return 0;
}
