/* SPDX-License-Identifier: MIT
 * words.h — a command line split into words as a POSIX shell quotes them, with nothing expanded.
 *
 * Blanks (space, tab, newline) separate; '…' is literal; in "…" a backslash escapes only $ ` " \ and
 * newline; elsewhere it escapes any character, and a newline so escaped vanishes. Everything else,
 * operators and $ included, is an ordinary character (PROTOCOL-bridge.md: CommandLine).
 */
#pragma once
#include "async/async.h"

/* One block holds the vector and its words: uvm__free(e, *ret_argv) frees it all; the vector ends in NULL
 * and may be empty. -UVM_E_INVAL: an unfinished quote or escape; -UVM_E_NOMEM. */
int gcs_words_split(uvm_engine *e, const char *text, char ***ret_argv, size_t *ret_count);
