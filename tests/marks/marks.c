/* SPDX-License-Identifier: MIT
 * marks.c — which marks of async/mark.h a program has passed: appended to the file UVM_MARKS at its end.
 */
#include "async/mark.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t uvm__marks[UVM__MARK_MAX];

static const char *const names[UVM__MARK_MAX] = {
#define MARKS_X(name, text) [UVM__MARK_##name] = #name,
    UVM__MARK_MAP(MARKS_X)
#undef MARKS_X
};

/* After main(), so that the suites need not know. */
__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("UVM_MARKS");
    FILE *f = path == NULL ? NULL : fopen(path, "ae");
    if (f == NULL) {
        return;
    }
    for (unsigned i = 0; i < UVM__MARK_MAX; i++) {
        if (uvm__marks[i] > 0) {
            (void)fprintf(f, "%s %" PRIu32 "\n", names[i], uvm__marks[i]);
        }
    }
    (void)fclose(f);
}
