/* SPDX-License-Identifier: MIT
 * init.h — the command line of /init, apart from its doing, so that it can be tested anywhere.    */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct uvm__init_options {
    uint32_t entropy_port; /* -e PORT; 0: none */
    bool overlays;         /* -w */
    const char *shell;     /* -d SHELL: started too, and then the primary child; NULL: none */
    char **program;        /* the rest; the agent's own line when there are no arguments at all */
};

/* Reads what follows `--` on the kernel's command line (PROTOCOL-bridge.md, Transport). 0, or -1
 * after a line on stderr. The strings stay argv's. */
int uvm__init_options_read(int argc, char **argv, struct uvm__init_options *ret);
