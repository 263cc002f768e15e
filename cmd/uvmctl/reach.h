/* SPDX-License-Identifier: MIT
 * reach.h — what all verbs about one UVM of another process have in common: NAME, --json, --timeout, the
 * connection, signals, and the exit status.
 */
#pragma once
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/client.h"
#include "cmd/uvmctl/help.h"
#include "cmd/uvmctl/out.h"

#define REACH_WORDS_MAX 2u /* words of a verb after NAME */

struct reach {
    struct app app;
    const struct verb *verb;
    const char *word; /* NAME as given; NULL: none */
    bool needs_name;
    bool takes_name; /* it may be missing */
    /* Words after NAME, all of them needed: what each one is, "a device's id"; NULL ends them. */
    const char *more_wanted[REACH_WORDS_MAX + 1];
    const char *more[REACH_WORDS_MAX];
    unsigned more_count;
    bool json;
    int engine_status; /* for what is no status of its own: EXIT_FAILED, or exec's EXIT_ENGINE */
    uint64_t timeout_ms;
    int state; /* folder; -1: there is none */
    char name[64];
    struct client *client;
    int status;
    bool over;
    uv_timer_t timer;
    char **command; /* after -- */
    bool takes_command;
    void (*before_end)(struct reach *r); /* NULL: nothing */
    /* The verb's time is over, and the owner is to say how far it has come. NULL: it fails at once. */
    void (*on_timeout)(struct reach *r);
    bool giving_up;
    /* An option that is not --json or --timeout. False: it said why. */
    bool (*on_option)(struct reach *r, const struct option_row *row, const char *value);
    /* NAME is no more: what is remembered of it. It ends the verb. NULL: the verb fails. */
    void (*on_ended)(struct reach *r, const cJSON *record);
    void *arg;
};

#define REACH_OPTIONS                                                                              \
    {"json", 0, NULL, "the result as JSON"}, {                                                     \
        "timeout", 0, "DUR", "give up after 500ms, 30s, 2m"                                        \
    }

/* Reads the words, opens the app and the state folder. False: the verb is over, with r->status. */
bool reach_begin(struct reach *r, char **argv);
/* Connects to NAME. False: it said why, and the verb ends. */
bool reach_connect(struct reach *r, const struct client_events *events);
/* True: NAME is no more, and the verb is over: with on_ended, or an error that says it. */
bool reach_tell_ended(struct reach *r);
/* `exit` of an answer, as every verb prints it; NULL or no object: null. */
void reach_json_exit(struct json_out *j, const cJSON *exit);
/* Says the error and ends with its status; `status` 0: by its code. */
void reach_fail(struct reach *r, const uvm_error *err, int status);
/* "not done after 500 ms", as the verb's end. */
void reach_fail_timeout(struct reach *r);
void reach_fail_words(struct reach *r, int negative, const struct uvm__fail *f);
/* Ends the verb: closes what is open. Idempotent; the first status counts. */
void reach_end(struct reach *r, int status);
/* Runs the loop to its end; the verb's exit status. */
int reach_run(struct reach *r);
