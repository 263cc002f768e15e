/* SPDX-License-Identifier: MIT
 * lookpath.h — in which folder of a search path a program is, before anything is started.
 */
#pragma once
#include "async/async.h"

/* `name` has no slash. The first element of `path` (NULL: none) that holds a file, no folder, which this
 * process may execute goes to `ret_dir`. Empty and relative elements are passed over (Go's exec.LookPath
 * refuses what it finds there), and over-long ones. -UVM_E_NOTFOUND: nowhere; -UVM_E_PEER: it is
 * somewhere, but may not be executed. */
int gcs_lookpath(const char *name, const char *path, char *ret_dir, size_t bytes);
