/* SPDX-License-Identifier: MIT
 * help_man.c — uvmctl(1) from the rows of verbs and options.
 *
 * The page is of the macros that every Unix has (man(7)). Text that comes from a row is escaped, so that
 * a dot, a quote or a backslash in it is itself, and what is no ASCII is written by its number: readers of
 * pages disagree about encodings.
 */
#include "cmd/uvmctl/help.h"
#include <stdint.h>
#include <string.h>

/* The code point at *p, which is moved past it; a byte that begins none is itself. */
static uint32_t next_point(const char **p) {
    const unsigned char *s = (const unsigned char *)*p;
    unsigned more = s[0] >= 0xf0 ? 3 : s[0] >= 0xe0 ? 2 : s[0] >= 0xc0 ? 1 : 0;
    uint32_t point = more == 0 ? s[0] : s[0] & (0x3fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            more = 0;
            point = s[0];
            break;
        }
        point = point << 6 | (s[i] & 0x3fu);
    }
    *p += more + 1;
    return point;
}

/* `bytes` of text on one line of the page, not at its begin. */
static void print_text(FILE *out, const char *text, size_t bytes) {
    const char *end = text + bytes;
    while (text < end) {
        uint32_t c = next_point(&text);
        if (c == '\\') {
            (void)fputs("\\e", out);
        } else if (c == '-') {
            (void)fputs("\\-", out);
        } else if (c == '\'') {
            (void)fputs("\\(aq", out);
        } else if (c == '`') {
            (void)fputs("\\(ga", out);
        } else if (c == '^') {
            (void)fputs("\\(ha", out);
        } else if (c == '~') {
            (void)fputs("\\(ti", out);
        } else if (c < 0x80) {
            (void)fputc((int)c, out);
        } else {
            (void)fprintf(out, "\\[u%04X]", c);
        }
    }
}

/* Each line of the text on a line of its own, an empty one as a new paragraph. */
static void print_lines(FILE *out, const char *text) {
    while (*text != 0) {
        size_t len = strcspn(text, "\n");
        (void)fputs(len == 0 ? ".PP" : "\\&", out);
        print_text(out, text, len);
        (void)fputc('\n', out);
        text += len + (text[len] == '\n');
    }
}

static void print_bold(FILE *out, const char *before, const char *text) {
    (void)fprintf(out, "\\fB");
    print_text(out, before, strlen(before));
    print_text(out, text, strlen(text));
    (void)fprintf(out, "\\fR");
}

static void print_option(FILE *out, const struct option_row *row) {
    const char letter[] = {row->letter, 0};
    (void)fprintf(out, ".TP\n");
    if (row->letter != 0) {
        print_bold(out, "-", letter);
        (void)fprintf(out, ", ");
    }
    print_bold(out, "--", row->name);
    if (row->value != NULL) {
        (void)fprintf(out, " \\fI");
        print_text(out, row->value, strlen(row->value));
        (void)fprintf(out, "\\fR");
    }
    (void)fputc('\n', out);
    print_lines(out, row->help);
}

static void print_example(FILE *out, const char *example) {
    (void)fprintf(out, ".PP\nExample:\n.PP\n.RS\n.nf\n");
    print_lines(out, example);
    (void)fprintf(out, ".fi\n.RE\n");
}

static void print_verb(FILE *out, const struct verb *verb) {
    (void)fprintf(out, ".SS \"uvmctl %s ", verb->name);
    print_text(out, verb->words, strlen(verb->words));
    (void)fprintf(out, "\"\n");
    print_lines(out, verb->about);
    for (const struct option_row *row = verb->options; row->name != NULL; row++) {
        print_option(out, row);
    }
    if (verb->status != NULL) {
        (void)fprintf(out, ".PP\nExit status:\n");
        print_lines(out, verb->status);
    }
    print_example(out, verb->example);
}

/* Rows of two: what, and what it means. */
static void print_table(FILE *out, const char *title, const char *const (*rows)[2], size_t count) {
    (void)fprintf(out, ".SH %s\n", title);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, ".TP\n");
        print_bold(out, "", rows[i][0]);
        (void)fputc('\n', out);
        print_lines(out, rows[i][1]);
    }
}

static const char *const statuses[][2] = {
    {"0", "Done. Of a verb that runs a command it is the command's own, whatever that is."},
    {"1", "Failed."},
    {"2", "The command line is wrong."},
    {"3", "There is no such UVM or device."},
    {"4", "It is in the wrong state, or already there."},
    {"5", "The host lacks something; uvmctl doctor says what."},
    {"124", "The time given by --timeout has passed."},
    {"125", "No command could be run, for whatever reason."},
    {"126, 127", "The command is not runnable; there is no such command."},
    {"128 + n", "Signal n ended the command, or uvmctl: 130 after an interrupt."},
};

static const char *const variables[][2] = {
    {"UVM_BOOT_FILES",
     "The folder in which vmlinux, initrd.img and tools.img are looked for, and nowhere else."},
    {"PATH", "Where the virtual machine monitor is searched."},
};

static const char *const files[][2] = {
    {"../lib/uvm/vmlinux, ../lib/uvm/initrd.img",
     "The guest's kernel and initial file system, seen from the program's folder; in a checkout ../."},
    {"../lib/uvm/tools.img",
     "A disk with programs that few guests need (mkfs), which the first one that does is given."},
    {"../libexec/uvm/uvm-launch", "The helper that starts processes."},
};

void help_man(FILE *out, const struct verb *const *verbs, const char *version) {
    (void)fprintf(
        out,
        ".\\\" Made by `uvmctl help --man`.\n"
        ".TH UVMCTL 1 \"\" \"uvm %s\" \"User Commands\"\n"
        ".nh\n.ad l\n"
        ".SH NAME\nuvmctl \\- boot and use utility VMs\n"
        ".SH SYNOPSIS\n\\fBuvmctl\\fR \\fIVERB\\fR [\\fIOPTION\\fR...] "
        "[\\fB\\-\\-\\fR \\fICMD\\fR \\fIARG\\fR...]\n.br\n"
        "\\fBuvmctl help\\fR [\\fIVERB\\fR]\n.br\n\\fBuvmctl \\-\\-version\\fR\n"
        ".SH DESCRIPTION\n"
        "A utility VM (UVM) is a small virtual machine that boots in a moment, runs what it\n"
        "is told to through an agent in it, and leaves nothing behind.\n",
        version);
    for (size_t i = 0; verbs[i] != NULL; i++) {
        (void)fprintf(out, ".TP\n");
        print_bold(out, "", verbs[i]->name);
        (void)fputc('\n', out);
        print_lines(out, verbs[i]->summary);
    }
    (void)fprintf(
        out,
        ".PP\nOptions stand before or after other words; \\-\\- ends them. Every verb takes\n");
    for (const struct option_row *row = args_common; row->name != NULL; row++) {
        print_option(out, row);
    }
    (void)fprintf(out, ".SH VERBS\n");
    for (size_t i = 0; verbs[i] != NULL; i++) {
        print_verb(out, verbs[i]);
    }
    print_table(out, "\"EXIT STATUS\"", statuses, sizeof statuses / sizeof statuses[0]);
    print_table(out, "ENVIRONMENT", variables, sizeof variables / sizeof variables[0]);
    print_table(out, "FILES", files, sizeof files / sizeof files[0]);
}
