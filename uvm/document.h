/* SPDX-License-Identifier: MIT
 * document.h — options to a ComputeSystem document (hcsshim's internal/hcs/schema2, create_lcow.go).
 */
#pragma once
#include "uvm/options.h"

#define UVM__DEFAULT_CPUS 1u
#define UVM__DEFAULT_MEMORY_MB 256u

/* Builds the document of a VM; with `base` (a ComputeSystem as JSON text, may be NULL) on top of it,
 * and what an option replaces there is logged as a warning that names both. On success `ret_text` is the
 * engine's (uvm__free), and *o has the values that the document has (cpus, memory_mb). */
int uvm__document_build(struct uvm__options *o, const char *base, size_t base_bytes,
                        char **ret_text, size_t *ret_bytes, struct uvm__fail *f);

/* The kernel's command line for these options, without a document. */
int uvm__document_cmdline(const struct uvm__options *o, char **ret_text, struct uvm__fail *f);
