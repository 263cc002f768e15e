/* SPDX-License-Identifier: MIT
 * main.c — `uvmctl VERB …`: the table of verbs.
 *
 * A verb is a row here and a file of its own. Help names what is there and nothing else.
 */
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/detach.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/trace.h"
#include "cmd/uvmctl/verbs.h"
#include <stdio.h>
#include <string.h>

static const struct verb *const verbs[] = {
    &verb_boot,    &verb_exec,    &verb_attach, &verb_detach, &verb_devices, &verb_ps,
    &verb_inspect, &verb_console, &verb_logs,   &verb_stats,  &verb_events,  &verb_stop,
    &verb_kill,    &verb_wait,    &verb_gc,     &verb_doctor, &verb_plot,    NULL};
#define VERBS (sizeof verbs / sizeof verbs[0] - 1)

static const struct verb *find_verb(const char *name) {
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    const char *names[VERBS + 1];
    for (size_t i = 0; i < VERBS; i++) {
        names[i] = verbs[i]->name;
    }
    names[VERBS] = "help";
    args_unknown("verb", name, args_nearest(name, names, VERBS + 1));
    return NULL;
}

/* --man and --bash are for the build of what is installed. */
static int help(const char *name) {
    if (name == NULL) {
        help_verbs(stdout, verbs);
        return EXIT_DONE;
    }
    if (strcmp(name, "--man") == 0) {
        help_man(stdout, verbs, uvm_version());
        return EXIT_DONE;
    }
    if (strcmp(name, "--bash") == 0) {
        help_bash(stdout, verbs);
        return EXIT_DONE;
    }
    const struct verb *v = find_verb(name);
    if (v == NULL) {
        return EXIT_USAGE;
    }
    help_verb(stdout, v);
    return EXIT_DONE;
}

/* Output that could not be written is a failure, unless there is a worse one. */
static int flushed(int status) {
    return out_lost() && status == EXIT_DONE ? EXIT_FAILED : status;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL;
    if (argc > 0 && strcmp(argv[0], DETACH_OWNER) == 0) {
        detach_become_owner();
    }
    if (word == NULL) {
        out_usage("which verb? \"uvmctl help\" lists them");
        return EXIT_USAGE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("uvmctl %s\n", uvm_version());
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
    if (v == NULL) {
        return EXIT_USAGE;
    }
    int status = v->run(argv + 2);
    trace_close(status);
    return flushed(status);
}
