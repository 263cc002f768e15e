/* SPDX-License-Identifier: MIT
 * svg.h — a time line as a picture.
 */
#pragma once
#include "cmd/uvmctl/timeline.h"
#include <stdio.h>

/* Text of the trace is escaped, shortened, and rid of what could change the meaning of what is around it.
 * Errors are the stream's. */
void svg_draw(FILE *out, const struct timeline *t);
