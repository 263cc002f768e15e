/* SPDX-License-Identifier: MIT
 * params.h — how params structs of the public headers are read: by the size that their maker knew.
 *
 * An embedder that was built against an older header gives fewer bytes: the fields that it did not know
 * keep their defaults. More bytes than this library knows are refused: they may ask for something that it
 * would silently not do. So that a size always tells the fields, a new field goes to the end and never
 * into padding that was there before.
 */
#pragma once
#include "async/error.h"

/* `ret` holds the defaults, `known` bytes of them; what `params` (which begins with its size_t size)
 * has is copied over them, but for the size. -UVM_E_INVAL: nothing was copied, and `ret_fail` says what
 * is wrong with the struct called `name`. */
int uvm__params_read(const char *name, const void *params, size_t known, void *ret,
                     struct uvm__fail *ret_fail);
/* The same, said to the engine's log. */
int uvm__params_read_logged(uvm_engine *e, const char *name, const void *params, size_t known,
                            void *ret);
