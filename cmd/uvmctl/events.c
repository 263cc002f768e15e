/* SPDX-License-Identifier: MIT
 * events.c — `uvmctl events`: state changes and attachments as they happen.
 *
 * Of one UVM until its end; without NAME of all, those that come later included, until Ctrl-C. Who is new is
 * seen by looking into the state folder again and again: a boot takes longer than the pause in between, and
 * the folder itself may not be there yet.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/state.h"
#include "cmd/uvmctl/verbs.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 250u

static const struct option_row events_rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

struct watcher {
    struct reach r;
    struct watched *all; /* newest first */
    uv_timer_t timer;
};

struct watched {
    struct watched *next;
    struct watcher *w;
    struct client *client;
    char name[64];
};

static struct watcher *watcher_of(struct reach *r) {
    return (struct watcher *)(void *)r; /* its first member */
}

static void forget(struct watched *o) {
    struct watched **at = &o->w->all;
    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    client_close(o->client);
    free(o);
}

/* "running", "stopped guest-shutdown", "attached scsi-1 /data". */
static void print_event(const cJSON *params) {
    const cJSON *about = uvm__json_get(UVM__JSON_STRICT, params, "device");
    bool device = strcmp(client_text(params, "event"), "device") == 0;
    if (!device) {
        about = uvm__json_get(UVM__JSON_STRICT, params, "exit");
    }
    const char *const words[] = {client_text(params, device ? "change" : "state"),
                                 client_text(about, device ? "id" : "reason"),
                                 device ? client_text(about, "guest_path") : ""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        printf("%s%s", i == 0 || words[i][0] == 0 ? "" : " ", words[i]);
    }
    printf("\n");
}

static void on_event(struct client *c, const cJSON *params, void *arg) {
    struct watched *o = arg;
    struct reach *r = &o->w->r;
    if (r->json) {
        char *text = cJSON_PrintUnformatted(params);
        printf("%s\n", text == NULL ? "{}" : text);
        cJSON_free(text);
    } else {
        uint64_t ms = 0;
        char at[32] = "";
        struct tm tm;
        (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, params, "at_ms"), INT64_MAX, &ms);
        time_t t = (time_t)(ms / 1000);
        if (gmtime_r(&t, &tm) != NULL) {
            (void)strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &tm);
        }
        printf("%s.%03uZ %s ", at, (unsigned)(ms % 1000), client_name(c));
        print_event(params);
    }
    if (fflush(stdout) != 0) {
        reach_end(r, EXIT_FAILED);
    }
}

static void on_subscribed(struct client *c, const cJSON *result, const uvm_error *err, int status,
                          void *arg) {
    struct watched *o = arg;
    (void)c;
    (void)result;
    (void)status;
    if (err != NULL && o->w->r.word != NULL) {
        reach_fail(&o->w->r, err, 0);
    }
}

static void on_end(struct client *c, void *arg) {
    struct watched *o = arg;
    struct watcher *w = o->w;
    (void)c;
    forget(o);
    if (w->r.word != NULL) {
        reach_end(&w->r, EXIT_DONE);
    }
}

static int watch(struct watcher *w, const char *name, struct uvm__fail *f) {
    struct watched *o = calloc(1, sizeof *o);
    if (o == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    *o = (struct watched){.next = w->all, .w = w};
    (void)snprintf(o->name, sizeof o->name, "%s", name);
    const struct client_events ev = {on_event, on_end, o};
    int rc = client_open(&w->r.app, w->r.state, name, &ev, &o->client, f);
    if (rc < 0) {
        free(o);
        return rc;
    }
    w->all = o;
    client_call(o->client, "events", NULL, NULL, 0, on_subscribed, o);
    return 0;
}

static bool is_watched(const struct watcher *w, const char *name) {
    const struct watched *o = w->all;
    while (o != NULL && strcmp(o->name, name) != 0) {
        o = o->next;
    }
    return o != NULL;
}

/* Whoever cannot be reached is dead, or not ready: the next look shows it. */
static void look(uv_timer_t *timer) {
    struct watcher *w = timer->data;
    struct state_names names = {0};
    struct uvm__fail f = {0};
    if (w->r.state < 0) {
        (void)state_open(&w->r.state, &f);
    }
    int rc = w->r.state < 0 ? 0 : state_list(w->r.state, false, &names, &f);
    for (size_t i = 0; i < names.count; i++) {
        if (!is_watched(w, names.names[i])) {
            (void)watch(w, names.names[i], &f);
        }
    }
    free(names.names);
    if (rc < 0) {
        reach_fail_words(&w->r, rc, &f);
    }
}

static void watch_one(struct watcher *w) {
    struct uvm__fail f = {0};
    int rc = w->r.state < 0
                 ? uvm__fail(&f, UVM_E_NOTFOUND, 0, "%.80s: there is no such UVM", w->r.word)
                 : state_resolve(w->r.state, w->r.word, w->r.name, &f);
    rc = rc < 0 ? rc : watch(w, w->r.name, &f);
    if (rc < 0 && !(rc == -UVM_E_NOTFOUND && reach_tell_ended(&w->r))) {
        reach_fail_words(&w->r, rc, &f);
    }
}

static void before_end(struct reach *r) {
    struct watcher *w = watcher_of(r);
    struct watched *o = w->all;
    w->all = NULL;
    while (o != NULL) {
        struct watched *next = o->next;
        client_close(o->client);
        free(o);
        o = next;
    }
    uv_close((uv_handle_t *)&w->timer, NULL);
}

static int events(char **argv) {
    struct watcher w = {.r = {.verb = &verb_events, .takes_name = true}};
    if (!reach_begin(&w.r, argv)) {
        return w.r.status;
    }
    w.r.before_end = before_end;
    (void)uv_timer_init(&w.r.app.loop, &w.timer);
    w.timer.data = &w;
    if (w.r.word != NULL) {
        watch_one(&w);
    } else {
        (void)uv_timer_start(&w.timer, look, 0, LOOK_MS);
    }
    return reach_run(&w.r);
}

const struct verb verb_events = {
    .name = "events",
    .summary = "state changes and attachments as they happen",
    .words = "[NAME]",
    .about =
        "Shows the state of a UVM, each change until its end, and devices that come and go; without\n"
        "NAME of all UVMs, those that come later too, until Ctrl-C.",
    .options = events_rows,
    .status = "0, 1, or 3 when there is no such UVM.",
    .example = "uvmctl events web",
    .run = events,
};
