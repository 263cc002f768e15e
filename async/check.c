/* SPDX-License-Identifier: MIT
 * check.c — where a broken invariant ends: it says what did not hold, and aborts.
 *
 * The only code of the library that may print or end the process. It must not allocate.
 */
#include "async/check.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void uvm__check_failed(const char *file, int line, const char *text) {
    fprintf(stderr, "uvm: %s:%d: assertion failed: %s\n", file, line, text);
    abort();
}

void uvm__check_failed_cmp(const char *file, int line, const char *text, int64_t a, int64_t b) {
    fprintf(stderr, "uvm: %s:%d: assertion failed: %s (%" PRId64 ", %" PRId64 ")\n", file, line,
            text, a, b);
    abort();
}
