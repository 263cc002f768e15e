/* SPDX-License-Identifier: MIT
 * lifecycle.c — `uvmctl stop`, `kill` and `wait`: the end of a UVM, asked for, forced, or awaited.
 *
 * The answer comes when the VM has ended. Then the verb waits for the end of the connection, which is when
 * the owner has cleared up and the name is free again.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <unistd.h>

static const struct option_row stop_rows[] = {
    {"force", 'f', NULL, "do not ask the guest"},
    {"grace", 0, "DUR", "how long the guest may take before it is forced (5s)"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};
static const struct option_row plain_rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

struct ending {
    struct reach r;
    bool force, answered, print;
    uint64_t grace_ms;
};

static bool on_option(struct reach *r, const struct option_row *row, const char *value) {
    struct ending *e = (struct ending *)(void *)r; /* its first member */
    if (row->letter == 'f') {
        e->force = true;
        return true;
    }
    if (!args_read_duration_ms(value, &e->grace_ms) || e->grace_ms > UINT32_MAX) {
        out_usage("stop: --grace: \"%s\" is not a duration like 500ms, 30s or 2m", value);
        return false;
    }
    return true;
}

static void print_exit(const struct ending *e, const cJSON *result) {
    const cJSON *exit = uvm__json_get(UVM__JSON_STRICT, result, "exit");
    const char *text = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, exit, "text"));
    const char *detail = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, exit, "detail"));
    if (e->r.json) {
        struct json_out j = {0};
        json_open(&j, NULL, '{');
        json_text(&j, "name", e->r.name);
        reach_json_exit(&j, exit);
        json_close(&j, '}');
        (void)json_finish(&j, STDOUT_FILENO);
    } else if (e->print && text != NULL) {
        printf("%s\n", text);
        if (detail != NULL && detail[0] != 0) { /* a guest's words */
            (void)fflush(stdout);
            out_message("%s: %s", e->r.name, detail);
        }
    }
}

static void on_answer(struct client *c, const cJSON *result, const uvm_error *err, int status,
                      void *arg) {
    struct ending *e = arg;
    (void)c;
    (void)status;
    if (err != NULL) {
        /* It may have ended while we came. */
        bool told = e->print && uvm_error_code(err) == UVM_E_CLOSED && reach_tell_ended(&e->r);
        if (!told) {
            reach_fail(&e->r, err, 0);
        }
        return;
    }
    print_exit(e, result);
    e->answered = true;
}

static void on_end(struct client *c, void *arg) {
    struct ending *e = arg;
    (void)c;
    reach_end(&e->r, e->answered ? EXIT_DONE : EXIT_FAILED);
}

static void on_ended(struct reach *r, const cJSON *record) {
    print_exit((struct ending *)(void *)r, uvm__json_get(UVM__JSON_STRICT, record, "vm"));
    reach_end(r, EXIT_DONE);
}

static int end_verb(const struct verb *verb, const char *method, char **argv) {
    struct ending e = {.r = {.verb = verb, .needs_name = true, .on_option = on_option},
                       .print = verb == &verb_wait};
    if (e.print) {
        e.r.on_ended = on_ended;
    }
    if (!reach_begin(&e.r, argv)) {
        return e.r.status;
    }
    const struct client_events events = {.on_end = on_end, .arg = &e};
    if (reach_connect(&e.r, &events)) {
        cJSON *params = e.grace_ms == 0 || e.force ? NULL : cJSON_CreateObject();
        if (params != NULL) {
            (void)uvm__json_add_u64(params, "grace_ms", e.grace_ms);
        }
        client_call(e.r.client, e.force ? "kill" : method, params, NULL, 0, on_answer, &e);
    }
    return reach_run(&e.r);
}

static int stop(char **argv) {
    return end_verb(&verb_stop, "stop", argv);
}

static int kill_verb(char **argv) {
    return end_verb(&verb_kill, "kill", argv);
}

static int wait_verb(char **argv) {
    return end_verb(&verb_wait, "wait_vm", argv);
}

#define STATUS "0, 1, 3 when there is no such UVM, or 4 when it is in the wrong state."

const struct verb verb_stop = {
    .name = "stop",
    .summary = "shut a UVM down",
    .words = "NAME [--force] [--grace DUR]",
    .about =
        "Asks the guest to shut down, and forces the end when it has not in time. Returns when\n"
        "nothing of the UVM is left.",
    .options = stop_rows,
    .status = STATUS,
    .example = "uvmctl stop web",
    .run = stop,
};
const struct verb verb_kill = {
    .name = "kill",
    .summary = "end a UVM at once, or its boot",
    .words = "NAME",
    .about = "Ends the UVM without asking the guest; while it boots, the boot is undone.",
    .options = plain_rows,
    .status = STATUS,
    .example = "uvmctl kill web",
    .run = kill_verb,
};
const struct verb verb_wait = {
    .name = "wait",
    .summary = "wait for a UVM's end and print its reason",
    .words = "NAME",
    .about = "Waits until the UVM has ended, however that comes about, and prints how. The end is\n"
             "remembered for a day, until \"uvmctl gc\" or another UVM of that name.",
    .options = plain_rows,
    .status = STATUS,
    .example = "uvmctl wait web",
    .run = wait_verb,
};
