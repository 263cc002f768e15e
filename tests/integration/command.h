/* SPDX-License-Identifier: MIT
 * command.h — a program under test: started, read, signalled, waited for.
 *
 * Every wait has an end; reaching it fails the test.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define COMMAND_OUTPUT_MAX (4u << 20) /* kept of each stream */

struct command {
    pid_t pid;
    int in, out, err; /* our ends; -1: closed */
    char *out_text, *err_text;
    size_t out_len, err_len, out_total;
    bool ended;
    int status; /* as a shell would show it */
};

struct command_options {
    const char *path;   /* PATH; NULL: ours */
    const char *folder; /* working folder; NULL: ours */
    int in;             /* -1: /dev/null; -2: a pipe, our end is command.in */
    int out;            /* -1: a pipe that is read */
    int tty;            /* >= 0: this terminal is 0, 1, 2 and the controlling one */
};
#define COMMAND_OPTIONS_INIT                                                                       \
    { NULL, NULL, -1, -1, -1 }

void command_start(struct command *c, const struct command_options *o, const char *const *argv);
/* Reads until stderr has `text` (true), or it ended, or the time is over (false). */
bool command_await(struct command *c, const char *text, int timeout_ms);
/* Until it ended; fails the test after the time. Returns its status. */
int command_end(struct command *c, int timeout_ms);
void command_free(struct command *c);
/* start and end. */
int command_run(struct command *c, const struct command_options *o, const char *const *argv,
                int timeout_ms);

/* Waits until a descendant VMM is there; 0: it did not come. */
pid_t await_vmm(int timeout_ms);
void pause_ms(int ms); /* a moment of the test's own choosing, never a wait for something */
