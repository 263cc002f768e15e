/* SPDX-License-Identifier: MIT
 * help.c — help on the terminal, and the completion for bash.
 *
 * All of it comes from the rows of verbs and options, so what is there and what is told cannot drift.
 */
#include "cmd/uvmctl/help.h"
#include <string.h>

/* ---- on the terminal ---------------------------------------------------------------------- */

void help_verbs(FILE *out, const struct verb *const *verbs) {
    (void)fprintf(out, "usage: uvmctl VERB [OPTION…] [-- CMD ARG…]\n\nUtility VMs.\n\n");
    for (size_t i = 0; verbs[i] != NULL; i++) {
        (void)fprintf(out, "  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    (void)fprintf(out, "  %-8s %s\n", "help", "explain a verb: uvmctl help VERB");
    (void)fprintf(out, "\nExample:\n  uvmctl boot -- uname -a\n");
}

static void print_options(FILE *out, const struct option_row *options) {
    for (; options->name != NULL; options++) {
        char left[48];
        char letter[5] = "    ";
        if (options->letter != 0) {
            (void)snprintf(letter, sizeof letter, "-%c, ", options->letter);
        }
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, options->name,
                       options->value == NULL ? "" : " ",
                       options->value == NULL ? "" : options->value);
        (void)fprintf(out, "  %-28s %s\n", left, options->help);
    }
}

/* Each line of `text`, two blanks before it. */
static void print_indented(FILE *out, const char *text) {
    while (*text != 0) {
        size_t len = strcspn(text, "\n");
        (void)fprintf(out, "  %.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

void help_verb(FILE *out, const struct verb *verb) {
    (void)fprintf(out, "usage: uvmctl %s %s\n\n%s\n\n", verb->name, verb->words, verb->about);
    print_options(out, verb->options);
    print_options(out, args_common);
    if (verb->status != NULL) {
        (void)fprintf(out, "\nExit status: %s\n", verb->status);
    }
    (void)fprintf(out, "\nExample:\n");
    print_indented(out, verb->example);
}

/* ---- bash --------------------------------------------------------------------------------- */

static void print_verb_names(FILE *out, const struct verb *const *verbs) {
    for (size_t i = 0; verbs[i] != NULL; i++) {
        (void)fprintf(out, "%s%s", i == 0 ? "" : " ", verbs[i]->name);
    }
}

/* What the value of an option completes to, as one branch of a case. */
static void print_value(FILE *out, const struct verb *verb, const struct option_row *row) {
    if (row->value == NULL) {
        return;
    }
    (void)fprintf(out, "    %s:--%s", verb->name, row->name);
    if (row->letter != 0) {
        (void)fprintf(out, " | %s:-%c", verb->name, row->letter);
    }
    (void)fprintf(out, ")\n");
    if (strcmp(row->value, "FILE") == 0) {
        (void)fprintf(out, "        compopt -o filenames 2> /dev/null\n"
                           "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n");
    } else if (strchr(row->value, '|') != NULL) {
        (void)fprintf(out, "        mapfile -t COMPREPLY < <(compgen -W \"");
        for (const char *p = row->value; *p != 0; p++) {
            (void)fputc(*p == '|' ? ' ' : *p, out);
        }
        (void)fprintf(out, "\" -- \"$cur\")\n");
    }
    (void)fprintf(out, "        return ;;\n");
}

static bool has_verb(const struct verb *const *verbs, const char *name) {
    for (size_t i = 0; verbs[i] != NULL; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool wants_vm(const struct verb *verb) {
    const char *at = strstr(verb->words, "NAME");
    const char *end = strstr(verb->words, "--");
    return at != NULL && (end == NULL || at < end);
}

static void print_words(FILE *out, const struct verb *verb, bool lists_vms) {
    (void)fprintf(out, "    %s) words=\"", verb->name);
    for (const struct option_row *row = verb->options; row->name != NULL; row++) {
        (void)fprintf(out, "--%s ", row->name);
    }
    for (const struct option_row *row = args_common; row->name != NULL; row++) {
        (void)fprintf(out, "--%s ", row->name);
    }
    (void)fprintf(out, "--help");
    if (lists_vms && wants_vm(verb)) {
        (void)fprintf(out, " $(uvmctl ps -q 2> /dev/null)");
    }
    (void)fprintf(out, "\" ;;\n");
}

void help_bash(FILE *out, const struct verb *const *verbs) {
    (void)fprintf(out, "# Completion of uvmctl for bash; made by `uvmctl help --bash`.\n"
                       "_uvmctl() {\n"
                       "    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words i\n"
                       "    local prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                       "    COMPREPLY=()\n"
                       "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                       "        mapfile -t COMPREPLY < <(compgen -W \"");
    print_verb_names(out, verbs);
    (void)fprintf(out,
                  " help --help --version\" -- \"$cur\")\n"
                  "        return\n"
                  "    fi\n"
                  "    # What follows -- is a command of the guest, of which nothing is known.\n"
                  "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
                  "        [ \"${COMP_WORDS[i]}\" != -- ] || return\n"
                  "    done\n"
                  "    # --option=value stands in three words.\n"
                  "    if [ \"$cur\" = = ]; then\n"
                  "        cur=\n"
                  "    elif [ \"$prev\" = = ]; then\n"
                  "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
                  "    fi\n"
                  "    case $verb:$prev in\n");
    for (size_t i = 0; verbs[i] != NULL; i++) {
        for (const struct option_row *row = verbs[i]->options; row->name != NULL; row++) {
            print_value(out, verbs[i], row);
        }
        for (const struct option_row *row = args_common; row->name != NULL; row++) {
            print_value(out, verbs[i], row);
        }
    }
    (void)fprintf(out, "    esac\n    case $verb in\n    help) words=\"");
    print_verb_names(out, verbs);
    (void)fprintf(out, "\" ;;\n");
    for (size_t i = 0; verbs[i] != NULL; i++) {
        print_words(out, verbs[i], has_verb(verbs, "ps"));
    }
    (void)fprintf(out, "    esac\n"
                       "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                       "}\n"
                       "complete -F _uvmctl uvmctl\n");
}
