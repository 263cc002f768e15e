/* SPDX-License-Identifier: MIT
 * args.c — one parser for all verbs.
 *
 * No getopt: it permutes, abbreviates and prints in its own words. Here an option is exactly what its
 * table says, and a wrong one names the nearest there is (edit distance, at most a third of its length).
 */
#include "cmd/uvmctl/args.h"
#include "async/decimal.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/trace.h"
#include <stdio.h>
#include <string.h>

#define WORD_MAX 64u

/* ---- near names --------------------------------------------------------------------------- */

static size_t min3(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein, with a swap of neighbours as one edit. */
static size_t distance(const char *a, const char *b) {
    size_t la = strlen(a), lb = strlen(b);
    size_t rows[3][WORD_MAX + 1];
    if (la > WORD_MAX || lb > WORD_MAX) {
        return WORD_MAX;
    }
    for (size_t j = 0; j <= lb; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= la; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t same = a[i - 1] == b[j - 1] ? 0 : 1;
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                size_t swapped = rows[(i - 2) % 3][j - 2] + 1;
                row[j] = row[j] < swapped ? row[j] : swapped;
            }
        }
    }
    return rows[la % 3][lb];
}

const char *args_nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t best_distance = 0;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, names[i]);
        size_t len = strlen(names[i]);
        bool near = d <= (len > 5 ? len / 3 : 1) ||
                    (strlen(word) >= 2 && strncmp(word, names[i], strlen(word)) == 0);
        if (near && (best == NULL || d < best_distance)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

void args_unknown(const char *what, const char *word, const char *nearest) {
    if (nearest == NULL) {
        out_usage("unknown %s \"%s\"", what, word);
    } else {
        out_usage("unknown %s \"%s\"; did you mean \"%s\"?", what, word, nearest);
    }
}

/* ---- options ------------------------------------------------------------------------------ */

const struct option_row args_common[] = {
    {"trace", 0, "FILE", "what happened when, for chrome://tracing, Perfetto, \"uvmctl plot\""},
    {NULL, 0, NULL, NULL},
};

static const struct option_row *find_long(const struct option_row *rows, const char *name,
                                          size_t len) {
    for (; rows->name != NULL; rows++) {
        if (strlen(rows->name) == len && strncmp(rows->name, name, len) == 0) {
            return rows;
        }
    }
    return NULL;
}

static const struct option_row *find_short(const struct option_row *rows, char letter) {
    for (; rows->name != NULL; rows++) {
        if (rows->letter == letter) {
            return rows;
        }
    }
    return NULL;
}

static void unknown_long(const struct args *a, const char *word) {
    const char *names[64];
    char dashed[WORD_MAX + 3];
    size_t count = 0;
    for (const struct option_row *r = a->options; r->name != NULL && count < 64; r++) {
        names[count++] = r->name;
    }
    for (const struct option_row *r = args_common; r->name != NULL && count < 64; r++) {
        names[count++] = r->name;
    }
    const char *nearest = args_nearest(word, names, count);
    (void)snprintf(dashed, sizeof dashed, "--%s", word);
    if (nearest == NULL) {
        out_usage("%s: unknown option \"%s\"; \"uvmctl help %s\" lists them", a->verb, dashed,
                  a->verb);
    } else {
        out_usage("%s: unknown option \"%s\"; did you mean \"--%s\"?", a->verb, dashed, nearest);
    }
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* `attached`: the value in the same word, or NULL. *used: how many further words were taken. */
static bool give(const struct args *a, const struct option_row *row, const char *shown,
                 const char *attached, const char *next, size_t *used, const char **ret_trace) {
    *used = 0;
    if (row->value == NULL) {
        if (attached != NULL) {
            out_usage("%s: %s takes no value", a->verb, shown);
            return false;
        }
        return a->on_option(row, NULL, a->arg);
    }
    if (attached == NULL) {
        if (next == NULL || strcmp(next, "--") == 0) {
            out_usage("%s: %s needs a value, %s", a->verb, shown, row->value);
            return false;
        }
        attached = next;
        *used = 1;
    }
    if (row == args_common && ret_trace != NULL) {
        *ret_trace = attached;
        return true;
    }
    return a->on_option(row, attached, a->arg);
}

static bool parse_long(const struct args *a, char **argv, size_t *used, const char **ret_trace) {
    const char *name = argv[0] + 2;
    size_t len = strcspn(name, "=");
    const struct option_row *row = find_long(a->options, name, len);
    row = row == NULL ? find_long(args_common, name, len) : row;
    if (row == NULL) {
        char word[WORD_MAX + 1];
        (void)snprintf(word, sizeof word, "%.*s", (int)(len < WORD_MAX ? len : WORD_MAX), name);
        unknown_long(a, word);
        return false;
    }
    char shown[WORD_MAX + 3];
    (void)snprintf(shown, sizeof shown, "--%s", row->name);
    return give(a, row, shown, name[len] == '=' ? name + len + 1 : NULL, argv[1], used, ret_trace);
}

/* Flags may share a word (-tv); an option with a value ends it. */
static bool parse_short(const struct args *a, char **argv, size_t *used) {
    *used = 0;
    for (const char *p = argv[0] + 1; *p != 0; p++) {
        const struct option_row *row = find_short(a->options, *p);
        char shown[3] = {'-', *p, 0};
        if (row == NULL) {
            out_usage("%s: unknown option \"%s\"; \"uvmctl help %s\" lists them", a->verb, shown,
                      a->verb);
            return false;
        }
        if (row->value != NULL) {
            return give(a, row, shown, p[1] == 0 ? NULL : p + 1, argv[1], used, NULL);
        }
        if (!give(a, row, shown, NULL, NULL, used, NULL)) {
            return false;
        }
    }
    return true;
}

bool args_parse(struct args *a, char **argv) {
    const char *trace = NULL;
    a->command = NULL;
    a->help = false;
    for (; *argv != NULL; argv++) {
        size_t used = 0;
        bool ok;
        if (strcmp(*argv, "--") == 0) {
            a->command = argv + 1;
            break;
        }
        if (is_help(*argv)) {
            a->help = true;
            return true;
        }
        if (strncmp(*argv, "--", 2) == 0) {
            ok = parse_long(a, argv, &used, &trace);
        } else if ((*argv)[0] == '-' && (*argv)[1] != 0) {
            ok = parse_short(a, argv, &used);
        } else {
            ok = a->on_word(*argv, a->arg);
        }
        if (!ok) {
            return false;
        }
        argv += used;
    }
    return trace == NULL || trace_open(a->verb, trace);
}

/* ---- values ------------------------------------------------------------------------------- */

bool args_read_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
    uint64_t n;
    const char *rest;
    if (!uvm__decimal(text, &n, &rest) || *rest != 0 || n < min || n > max) {
        return false;
    }
    *ret = n;
    return true;
}

static bool read_with_unit(const char *text, const char *const *units, const uint64_t *factors,
                           size_t count, uint64_t *ret) {
    uint64_t n;
    const char *rest;
    if (!uvm__decimal(text, &n, &rest)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i]) == 0) {
            if (n > UINT64_MAX / factors[i]) {
                return false;
            }
            *ret = n * factors[i];
            return true;
        }
    }
    return false;
}

bool args_read_size_mb(const char *text, uint64_t *ret) {
    static const char *const units[] = {"", "M", "m", "MB", "MiB", "G", "g", "GB", "GiB"};
    static const uint64_t factors[] = {1, 1, 1, 1, 1, 1024, 1024, 1024, 1024};
    return read_with_unit(text, units, factors, sizeof factors / sizeof factors[0], ret);
}

bool args_read_duration_ms(const char *text, uint64_t *ret) {
    static const char *const units[] = {"ms", "s", "m", "h"};
    static const uint64_t factors[] = {1, 1000, 60000, 3600000};
    uint64_t ms;
    if (!read_with_unit(text, units, factors, sizeof factors / sizeof factors[0], &ms) || ms == 0) {
        return false;
    }
    *ret = ms;
    return true;
}
