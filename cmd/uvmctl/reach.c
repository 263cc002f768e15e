/* SPDX-License-Identifier: MIT
 * reach.c — the frame of a verb that talks to an owner.
 *
 * A signal or the deadline ends the verb; what that means for the UVM is decided by the owner, who sees the
 * connection end.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/state.h"
#include <string.h>
#include <unistd.h>

#define UNDO_MS 15000u /* for the owner's answer once the verb's time is over */

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    struct reach *r = arg;
    if (strcmp(row->name, "json") == 0) {
        r->json = true;
        return true;
    }
    if (strcmp(row->name, "timeout") == 0) {
        if (!args_read_duration_ms(value, &r->timeout_ms)) {
            out_usage("%s: --timeout: \"%s\" is not a duration like 500ms, 30s or 2m",
                      r->verb->name, value);
            return false;
        }
        return true;
    }
    return r->on_option != NULL && r->on_option(r, row, value);
}

static bool on_word(const char *word, void *arg) {
    struct reach *r = arg;
    if (r->word != NULL && r->more_wanted[r->more_count] != NULL) {
        r->more[r->more_count++] = word;
        return true;
    }
    if (r->word != NULL || !(r->takes_name || r->needs_name)) {
        out_usage("%s: one word too many: \"%s\"", r->verb->name, word);
        return false;
    }
    r->word = word;
    return true;
}

static bool read_words(struct reach *r, char **argv) {
    struct args a = {r->verb->name, r->verb->options, on_option, on_word, r, NULL, false};
    for (char **w = argv; *w != NULL && strcmp(*w, "--") != 0; w++) {
        if (strcmp(*w, "--json") == 0) {
            out_set_json(true);
        }
    }
    r->status = r->takes_command ? EXIT_ENGINE : EXIT_USAGE;
    if (!args_parse(&a, argv)) {
        return false;
    }
    if (a.help) {
        help_verb(stdout, r->verb);
        r->status = EXIT_DONE;
        return false;
    }
    r->command = a.command;
    if (r->word == NULL && r->needs_name) {
        out_usage("%s: of which UVM? \"uvmctl ps\" lists them", r->verb->name);
        return false;
    }
    if (r->more_wanted[r->more_count] != NULL) {
        out_usage("%s: after %s stands %s", r->verb->name, r->more_count == 0 ? "NAME" : r->more[0],
                  r->more_wanted[r->more_count]);
        return false;
    }
    if (r->takes_command && (r->command == NULL || r->command[0] == NULL)) {
        out_usage("%s: a command stands after --", r->verb->name);
        return false;
    }
    if (!r->takes_command && r->command != NULL) {
        out_usage("%s: it takes no command", r->verb->name);
        return false;
    }
    return true;
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    (void)times;
    reach_end(app->arg, EXIT_SIGNAL + signo);
}

void reach_fail_timeout(struct reach *r) {
    struct uvm__fail f;
    int rc =
        uvm__fail(&f, UVM_E_TIMEDOUT, 0, "%s: not done after %llu ms",
                  r->word == NULL ? r->verb->name : r->word, (unsigned long long)r->timeout_ms);
    reach_fail_words(r, rc, &f);
}

static void on_timeout(uv_timer_t *timer) {
    struct reach *r = timer->data;
    if (r->on_timeout != NULL && r->client != NULL && !r->giving_up) {
        r->giving_up = true;
        (void)uv_timer_start(timer, on_timeout, UNDO_MS, 0);
        r->on_timeout(r);
    } else {
        reach_fail_timeout(r);
    }
}

bool reach_begin(struct reach *r, char **argv) {
    const struct app_params p = {.client = true};
    struct uvm__fail f = {0};
    r->state = -1;
    r->engine_status = r->takes_command ? EXIT_ENGINE : EXIT_FAILED;
    if (!read_words(r, argv)) {
        return false;
    }
    r->status = r->engine_status;
    if (!app_open(&r->app, &p)) {
        return false;
    }
    r->app.arg = r;
    r->app.on_interrupt = on_interrupt;
    (void)uv_timer_init(&r->app.loop, &r->timer);
    r->timer.data = r;
    if (r->timeout_ms > 0) {
        (void)uv_timer_start(&r->timer, on_timeout, r->timeout_ms, 0);
        uv_unref((uv_handle_t *)&r->timer);
    }
    int rc = state_open(&r->state, &f);
    if (rc < 0 && rc != -UVM_E_NOTFOUND) {
        reach_fail_words(r, rc, &f);
        r->status = reach_run(r);
        return false;
    }
    return true;
}

bool reach_tell_ended(struct reach *r) {
    struct uvm__fail f = {0};
    if (r->state < 0 || state_ended_resolve(r->state, r->word, r->name, &f) < 0) {
        return false;
    }
    cJSON *record = state_ended_read(r->state, r->name);
    const cJSON *vm = record == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, record, "vm");
    const cJSON *exit = vm == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, vm, "exit");
    if (cJSON_IsObject(exit) && r->on_ended != NULL) {
        r->on_ended(r, record);
    } else if (cJSON_IsObject(exit)) {
        const char *text = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, exit, "text"));
        int rc = uvm__fail(&f, UVM_E_NOTFOUND, 0, "%s: it has ended: %.200s", r->name,
                           text == NULL ? "?" : text);
        reach_fail_words(r, rc, &f);
    }
    bool told = cJSON_IsObject(exit);
    cJSON_Delete(record);
    return told;
}

void reach_json_exit(struct json_out *j, const cJSON *exit) {
    int64_t code = 0;
    if (!cJSON_IsObject(exit)) {
        json_text(j, "exit", NULL);
        return;
    }
    json_open(j, "exit", '{');
    json_text(j, "reason", uvm__json_string(uvm__json_get(UVM__JSON_STRICT, exit, "reason")));
    if (uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, exit, "code"), 0, 255, &code) == 0) {
        json_int(j, "code", code);
    } else {
        json_text(j, "code", NULL);
    }
    json_text(j, "detail", uvm__json_string(uvm__json_get(UVM__JSON_STRICT, exit, "detail")));
    json_close(j, '}');
}

bool reach_connect(struct reach *r, const struct client_events *events) {
    struct uvm__fail f = {0};
    int rc = r->state < 0
                 ? uvm__fail(&f, UVM_E_NOTFOUND, 0,
                             "%.80s: there is no such UVM; \"uvmctl ps\" lists them", r->word)
                 : state_resolve(r->state, r->word, r->name, &f);
    rc = rc < 0 ? rc : client_open(&r->app, r->state, r->name, events, &r->client, &f);
    if (rc == -UVM_E_NOTFOUND && reach_tell_ended(r)) {
        return false;
    }
    if (rc < 0) {
        reach_fail_words(r, rc, &f);
        return false;
    }
    return true;
}

static int status_of(const struct reach *r, const uvm_error *err) {
    if (r->engine_status == EXIT_ENGINE) {
        return uvm_error_code(err) == UVM_E_TIMEDOUT ? EXIT_TIMEOUT : EXIT_ENGINE;
    }
    switch (uvm_error_code(err)) {
    case UVM_E_NOTFOUND:
        return EXIT_NO_SUCH;
    case UVM_E_STATE:
    case UVM_E_EXISTS:
        return EXIT_WRONG_STATE;
    case UVM_E_INVAL:
        return EXIT_USAGE;
    default:
        return app_status(&r->app, err, r->engine_status);
    }
}

void reach_fail(struct reach *r, const uvm_error *err, int status) {
    if (!r->over) {
        out_error(err);
        reach_end(r, status == 0 ? status_of(r, err) : status);
    }
}

void reach_fail_words(struct reach *r, int negative, const struct uvm__fail *f) {
    uvm_error *err = uvm__fail_error(r->app.engine, negative, f);
    reach_fail(r, err, 0);
    uvm_error_unref(err);
}

void reach_end(struct reach *r, int status) {
    if (r->over) {
        return;
    }
    r->over = true;
    r->status = status;
    if (r->before_end != NULL) {
        r->before_end(r);
    }
    client_close(r->client);
    r->client = NULL;
    uv_close((uv_handle_t *)&r->timer, NULL);
    app_close(&r->app);
}

int reach_run(struct reach *r) {
    app_run(&r->app);
    app_deinit(&r->app);
    if (r->state >= 0) {
        close(r->state);
        r->state = -1;
    }
    return r->status;
}
