/* SPDX-License-Identifier: MIT
 * terminal.h — the terminal of a command with -t: raw while it runs, as it was on every way out.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* False: standard input is no terminal, or cannot be changed. Idempotent while raw. */
bool terminal_make_raw(void);
/* As it was before. Idempotent; also run at exit and when the program crashes. */
void terminal_restore(void);
/* 0 × 0 when unknown. */
void terminal_size(uint16_t *ret_rows, uint16_t *ret_cols);
