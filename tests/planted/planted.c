/* SPDX-License-Identifier: MIT
 * planted.c — which bug of async/plant.h a program runs with: UVM_PLANT in its environment.
 */
#include "async/plant.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum uvm__plant uvm__planted;

static const char *const names[UVM__PLANT_MAX] = {[UVM__PLANT_none] = "none",
#define PLANTED_X(name, text) [UVM__PLANT_##name] = #name,
                                                  UVM__PLANT_MAP(PLANTED_X)
#undef PLANTED_X
};

/* Before main(), so that the suites need not know. */
__attribute__((constructor)) static void plant(void) {
    const char *name = getenv("UVM_PLANT");
    unsigned i = 0;
    while (i < UVM__PLANT_MAX && (name == NULL || strcmp(name, names[i]) != 0)) {
        i++;
    }
    if (i == UVM__PLANT_MAX) {
        (void)fprintf(stderr, "UVM_PLANT: no such bug: %s\n", name == NULL ? "" : name);
        _Exit(99); /* the caller's mistake: not what a caught bug looks like */
    }
    uvm__planted = (enum uvm__plant)i;
}
