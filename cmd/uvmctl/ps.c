/* SPDX-License-Identifier: MIT
 * ps.c — `uvmctl ps` and `uvmctl inspect`: what UVMs tell of themselves.
 *
 * All owners are asked at once. One that does not answer in time is shown with the state `unknown`; one
 * that is dead is not shown, since there is no UVM: gc sweeps what it left.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/state.h"
#include "cmd/uvmctl/verbs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 2000u

static const struct option_row ps_rows[] = {
    {"quiet", 'q', NULL, "names only"},
    {"all", 'a', NULL, "those that have ended, too"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};
static const struct option_row inspect_rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

/* ---- words -------------------------------------------------------------------------------- */

static void wall_text(int64_t ms, char ret[32]) {
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    ret[0] = 0;
    if (ms > 0 && gmtime_r(&t, &tm) != NULL) {
        (void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
}

static void add_row(struct json_out *j, const char *name, const cJSON *answer) {
    const cJSON *vm = client_at(answer, "vm");
    char started[32];
    wall_text(client_number(answer, "started_ms"), started);
    json_open(j, NULL, '{');
    json_text(j, "id", client_text(vm, "id"));
    json_text(j, "name", name);
    json_text(j, "state", vm == NULL ? "unknown" : client_text(vm, "state"));
    reach_json_exit(j, client_at(vm, "exit"));
    json_text(j, "accel", client_text(vm, "accel"));
    json_int(j, "cpus", client_number(vm, "cpus"));
    json_int(j, "memory_mb", client_number(vm, "memory_mb"));
    json_text(j, "started", started);
    json_int(j, "owner_pid", client_number(answer, "owner_pid"));
    json_int(j, "vmm_pid", client_number(client_at(client_at(vm, "service"), "Vmm"), "ProcessId"));
    json_close(j, '}');
}

/* ---- ps ----------------------------------------------------------------------------------- */

struct row {
    struct ps *ps;
    const char *name;
    struct client *client;
    cJSON *answer;
    bool shown;
};

struct ps {
    struct reach r;
    bool quiet, all;
    struct state_names names; /* those that are there, then those that are no more */
    size_t alive;
    struct row *rows;
    size_t waiting;
    uv_timer_t timer;
};

static void ps_print(const struct ps *p) {
    struct json_out j = {0};
    if (p->r.json) {
        json_open(&j, NULL, '[');
    } else if (!p->quiet) {
        printf("%-20s %-9s %-5s %4s %9s  %-20s %s\n", "NAME", "STATE", "ACCEL", "CPUS", "MEMORY",
               "STARTED", "ID");
    }
    for (size_t i = 0; p->rows != NULL && i < p->names.count; i++) {
        const struct row *row = &p->rows[i];
        const cJSON *vm = client_at(row->answer, "vm");
        char started[32];
        if (!row->shown) {
            continue;
        }
        wall_text(client_number(row->answer, "started_ms"), started);
        if (p->r.json) {
            add_row(&j, row->name, row->answer);
        } else if (p->quiet) {
            printf("%s\n", row->name);
        } else {
            const char *how = client_text(client_at(vm, "exit"), "reason");
            printf("%-20s %-9s %-5s %4lld %8lldM  %-20s %.8s%s%s\n", row->name,
                   vm == NULL ? "unknown" : client_text(vm, "state"), client_text(vm, "accel"),
                   (long long)client_number(vm, "cpus"), (long long)client_number(vm, "memory_mb"),
                   started, client_text(vm, "id"), how[0] == 0 ? "" : "  ", how);
        }
    }
    if (p->r.json) {
        json_close(&j, ']');
        (void)json_finish(&j, STDOUT_FILENO);
    }
}

static void ps_end(struct reach *r) {
    struct ps *p = (struct ps *)(void *)r; /* its first member */
    for (size_t i = 0; i < p->names.count && p->rows != NULL; i++) {
        client_close(p->rows[i].client);
        p->rows[i].client = NULL;
    }
    uv_close((uv_handle_t *)&p->timer, NULL);
}

static void ps_check(struct ps *p) {
    if (p->waiting == 0 && !p->r.over) {
        ps_print(p);
        reach_end(&p->r, EXIT_DONE);
    }
}

static void on_properties(struct client *c, const cJSON *result, const uvm_error *err, int status,
                          void *arg) {
    struct row *row = arg;
    (void)c;
    (void)status;
    row->answer = result == NULL ? NULL : cJSON_Duplicate(result, true);
    /* One that died meanwhile is none; one that refuses is there all the same. */
    row->shown = err == NULL || uvm_error_code(err) != UVM_E_CLOSED;
    row->ps->waiting--;
    ps_check(row->ps);
}

static void on_answer_time(uv_timer_t *timer) {
    struct ps *p = timer->data;
    p->waiting = 0;
    ps_check(p);
}

static int add_ended(struct ps *p, struct uvm__fail *f) {
    struct state_names ended;
    int rc = state_ended_list(p->r.state, &ended, f);
    size_t count = p->names.count + ended.count;
    if (rc < 0 || ended.count == 0) {
        return rc;
    }
    void *more = realloc(p->names.names, count * sizeof *p->names.names);
    if (more == NULL) {
        free(ended.names);
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    p->names.names = more;
    memcpy(p->names.names + p->names.count, ended.names, ended.count * sizeof *ended.names);
    p->names.count = count;
    free(ended.names);
    return 0;
}

static void ps_ask(struct ps *p) {
    struct uvm__fail f = {0};
    int rc = p->r.state < 0 ? 0 : state_list(p->r.state, false, &p->names, &f);
    p->alive = p->names.count;
    rc = rc < 0 || p->r.state < 0 || !p->all ? rc : add_ended(p, &f);
    if (rc < 0) {
        reach_fail_words(&p->r, rc, &f);
        return;
    }
    p->rows = calloc(p->names.count + 1, sizeof *p->rows);
    if (p->rows == NULL) {
        out_message("ps: out of memory");
        reach_end(&p->r, EXIT_FAILED);
        return;
    }
    for (size_t i = 0; i < p->names.count; i++) {
        struct row *row = &p->rows[i];
        *row = (struct row){.ps = p, .name = p->names.names[i]};
        if (i >= p->alive) {
            row->answer = state_ended_read(p->r.state, row->name);
            row->shown = row->answer != NULL;
            continue;
        }
        rc = client_open(&p->r.app, p->r.state, row->name, &(struct client_events){.arg = row},
                         &row->client, &f);
        row->shown = rc == 0 || rc == -UVM_E_AGAIN;
        if (rc == 0) {
            p->waiting++;
            client_call(row->client, "properties", NULL, NULL, 0, on_properties, row);
        }
    }
    ps_check(p);
}

static bool ps_option(struct reach *r, const struct option_row *row, const char *value) {
    struct ps *p = (struct ps *)(void *)r; /* its first member */
    (void)value;
    p->quiet = p->quiet || row->letter == 'q';
    p->all = p->all || row->letter == 'a';
    return true;
}

static int ps(char **argv) {
    struct ps p = {.r = {.verb = &verb_ps, .on_option = ps_option, .before_end = NULL}};
    if (!reach_begin(&p.r, argv)) {
        return p.r.status;
    }
    p.r.before_end = ps_end;
    (void)uv_timer_init(&p.r.app.loop, &p.timer);
    p.timer.data = &p;
    (void)uv_timer_start(&p.timer, on_answer_time, ANSWER_MS, 0);
    ps_ask(&p);
    int status = reach_run(&p.r);
    for (size_t i = 0; i < p.names.count && p.rows != NULL; i++) {
        cJSON_Delete(p.rows[i].answer);
    }
    free(p.rows);
    free(p.names.names);
    return status;
}

const struct verb verb_ps = {
    .name = "ps",
    .summary = "list the UVMs that live in the background",
    .words = "[-q] [-a] [--json]",
    .about =
        "Lists the UVMs of the state folder whose owners live; with -a also those whose end is\n"
        "remembered, and how they ended.",
    .options = ps_rows,
    .status = NULL,
    .example = "uvmctl ps",
    .run = ps,
};

/* ---- inspect ------------------------------------------------------------------------------ */

static void inspect_print(struct reach *r, const cJSON *result) {
    char *text = r->json ? cJSON_PrintUnformatted(result) : cJSON_Print(result);
    if (text != NULL) {
        printf("%s\n", text);
    }
    cJSON_free(text);
    reach_end(r, text == NULL ? EXIT_FAILED : EXIT_DONE);
}

static void on_inspected(struct client *c, const cJSON *result, const uvm_error *err, int status,
                         void *arg) {
    struct reach *r = arg;
    (void)c;
    (void)status;
    if (err != NULL) {
        reach_fail(r, err, 0);
        return;
    }
    inspect_print(r, result);
}

static int inspect(char **argv) {
    struct reach r = {.verb = &verb_inspect, .needs_name = true, .on_ended = inspect_print};
    if (!reach_begin(&r, argv)) {
        return r.status;
    }
    if (reach_connect(&r, &(struct client_events){.arg = &r})) {
        client_call(r.client, "inspect", NULL, NULL, 0, on_inspected, &r);
    }
    return reach_run(&r);
}

const struct verb verb_inspect = {
    .name = "inspect",
    .summary = "everything about a UVM, as JSON",
    .words = "NAME [--json]",
    .about =
        "Prints what the owner and the service know: state, document, accelerator, pids, times;\n"
        "in many lines, or with --json in one. Of a UVM that has ended: what is remembered.",
    .options = inspect_rows,
    .status = "0, 1, or 3 when there is no such UVM.",
    .example = "uvmctl inspect web",
    .run = inspect,
};
