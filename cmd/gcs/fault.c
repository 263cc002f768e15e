/* SPDX-License-Identifier: MIT
 *
 * Error answers are formatted into memory of their own size, since they may quote a whole request; where
 * that is lacking, the code goes out without words.
 */
#include "cmd/gcs/fault.h"

#include "async/limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX UVM__FRAME_BYTES_MAX /* more than fits an answer would only be cut there */

void gcs_fault_reply(struct uvm__server_request *take_r, int32_t result, struct gcs_fault place,
                     const struct uvm__msg_start *start, const char *fmt, ...) {
    struct uvm__msg_error err = {
        .result = result,
        .stack = place.stack,
        .file = place.file,
        .function = place.function,
        .line = place.line,
    };
    char *words = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n > WORDS_MAX) {
        n = WORDS_MAX;
    }
    words = n < 0 ? NULL : malloc((size_t)n + 1);
    if (words == NULL) {
        uvm__server_reply_hresult(take_r, result);
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(words, (size_t)n + 1, fmt, ap);
    va_end(ap);
    err.message = words;
    if (start != NULL) {
        err.start = *start;
    }
    uvm__server_reply_error(take_r, &err);
    free(words);
}
