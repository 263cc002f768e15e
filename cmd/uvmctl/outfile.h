/* SPDX-License-Identifier: MIT
 * outfile.h — a file that a verb writes because it was asked to.
 */
#pragma once
#include <stddef.h>

/* Opens `path` for writing: a new file (0600), or a regular one, which is emptied. Anything else (a folder, a
 * device, a pipe) is refused, untouched. -1: `why` says it. */
int outfile_open(const char *path, char *why, size_t bytes);
