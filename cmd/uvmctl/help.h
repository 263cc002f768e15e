/* SPDX-License-Identifier: MIT
 * help.h — a verb as a row of words, and all that is printed from it: help, manual page, completion.
 *
 * Tables of verbs end with NULL. Text is UTF-8, its lines broken for a terminal of 100 columns; an empty
 * line parts paragraphs.
 */
#pragma once
#include "cmd/uvmctl/args.h"
#include <stdio.h>

struct verb {
    const char *name;
    const char *summary; /* one line, no capital, no full stop */
    const char *words;   /* what follows the name: "[OPTION…] NAME [-- CMD ARG…]" */
    const char *about;   /* what it does, in sentences */
    const struct option_row *options;
    const char *status;  /* its exit statuses; NULL: 0 or 1 */
    const char *example; /* one command a line */
    int (*run)(char **argv);
};

/* `uvmctl help`, and `uvmctl help VERB`. */
void help_verbs(FILE *out, const struct verb *const *verbs);
void help_verb(FILE *out, const struct verb *verb);
/* uvmctl(1), all verbs on one page. */
void help_man(FILE *out, const struct verb *const *verbs, const char *version);
/* Completion for bash. A value "a|b|c" in a table of options completes to its words, "FILE" to files of
 * this host; NAME among a verb's words to what the verb `ps` lists, where there is one. */
void help_bash(FILE *out, const struct verb *const *verbs);
