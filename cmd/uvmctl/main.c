/* SPDX-License-Identifier: MIT
 * main.c — `uvmctl VERB …`: the table of verbs.
 *
 * A verb is a row here and a file of its own. Help names what is there and nothing else.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/verbs.h"
#include <stdio.h>
#include <string.h>

#define VERSION "0.1.0"

static const struct verb {
    const char *name, *summary;
    int (*run)(char **argv);
    void (*help)(void);
} verbs[] = {
    {"boot", "boot a UVM, run a command in it, leave nothing", verb_boot, help_boot},
    {"doctor", "check what this host has for booting UVMs", verb_doctor, help_doctor},
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    const char *names[VERBS + 1];
    for (size_t i = 0; i < VERBS; i++) {
        names[i] = verbs[i].name;
    }
    names[VERBS] = "help";
    args_unknown("verb", name, args_nearest(name, names, VERBS + 1));
    return NULL;
}

static void print_help(void) {
    printf("usage: uvmctl VERB [OPTION…] [-- CMD ARG…]\n\nUtility VMs.\n\n");
    for (size_t i = 0; i < VERBS; i++) {
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("  %-8s %s\n", "help", "explain a verb: uvmctl help VERB");
    printf("\nExample:\n  uvmctl boot -- uname -a\n");
}

static int help(const char *name) {
    if (name == NULL) {
        print_help();
        return EXIT_DONE;
    }
    const struct verb *v = find_verb(name);
    if (v == NULL) {
        return EXIT_USAGE;
    }
    v->help();
    return EXIT_DONE;
}

/* Output that could not be written is a failure, unless there is a worse one. */
static int flushed(int status) {
    bool lost = fflush(stdout) != 0 || ferror(stdout) != 0;
    return lost && status == EXIT_DONE ? EXIT_FAILED : status;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        out_usage("which verb? \"uvmctl help\" lists them");
        return EXIT_USAGE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("uvmctl %s\n", VERSION);
        return flushed(EXIT_DONE);
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return flushed(help(argv[2]));
    }
    if (word[0] == '-') {
        out_usage("unknown option \"%s\"; options follow the verb, \"uvmctl help\" lists those",
                  word);
        return EXIT_USAGE;
    }
    const struct verb *v = find_verb(word);
    return v == NULL ? EXIT_USAGE : flushed(v->run(argv + 2));
}
