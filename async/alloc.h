/* SPDX-License-Identifier: MIT
 * alloc.h — memory of an engine: the one door, injectable (struct uvm_allocator).
 *
 * Failure is NULL and an ordinary error. uvm__free accepts NULL. Blocks carry no header.
 */
#pragma once
#include "async/async.h"

void *uvm__alloc(uvm_engine *e, size_t bytes);
void *uvm__zalloc(uvm_engine *e, size_t bytes);
void *uvm__realloc(uvm_engine *e, void *ptr, size_t bytes);
void uvm__free(uvm_engine *e, void *ptr);
char *uvm__strdup(uvm_engine *e, const char *text);
char *uvm__memdup0(uvm_engine *e, const void *data, size_t bytes); /* NUL-terminated copy */
