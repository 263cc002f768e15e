/* SPDX-License-Identifier: MIT
 * args.h — options of a verb by one table: parsed, explained, and suggested when misspelt.
 *
 * Long options take their value as `--name VALUE` or `--name=VALUE`, short ones as `-e VALUE` or
 * `-eVALUE`; options stand before or after other words, `--` ends them. Errors go to stderr with the
 * nearest name there is.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option_row {
    const char *name;  /* without dashes; NULL ends the table */
    char letter;       /* 0: none */
    const char *value; /* what the help calls its value; NULL: a flag */
    const char *help;
};

/* What every verb takes besides its own: --trace FILE, which args_parse() opens (trace.h). */
extern const struct option_row args_common[];

struct args {
    const char *verb;
    const struct option_row *options;
    /* `value` NULL for a flag. False: it said why. */
    bool (*on_option)(const struct option_row *row, const char *value, void *arg);
    /* A word that is no option. False: it said why. */
    bool (*on_word)(const char *word, void *arg);
    void *arg;
    char **command; /* out: what follows `--`, NULL-terminated; NULL: there was no `--` */
    bool help;      /* out: --help or -h was there; parsing stopped */
};

/* argv without the verb. False: a message was printed. The words of a command are nobody's but its own. */
bool args_parse(struct args *a, char **argv);

/* Nearest of `count` names to `word`, or NULL when none is near. */
const char *args_nearest(const char *word, const char *const *names, size_t count);
/* "unknown verb \"bot\"; did you mean \"boot\"?" on stderr. */
void args_unknown(const char *what, const char *word, const char *nearest);

/* Values. False: nothing was set. */
bool args_read_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
bool args_read_size_mb(const char *text, uint64_t *ret);     /* 256M, 1G, 64 (M); whole MB */
bool args_read_duration_ms(const char *text, uint64_t *ret); /* 500ms, 30s, 2m, 1h; above 0 */
