/* SPDX-License-Identifier: MIT
 * devices.c — `uvmctl devices`: what is attached to a UVM.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <unistd.h>

static const struct option_row rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static const cJSON *at(const cJSON *o, const char *key) {
    return o == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, o, key);
}

static const char *text_at(const cJSON *o, const char *key) {
    const char *text = uvm__json_string(at(o, key));
    return text == NULL || text[0] == 0 ? "-" : text;
}

static long long number_at(const cJSON *o, const char *key) {
    int64_t n = 0;
    (void)uvm__json_i64(at(o, key), 0, INT64_MAX, &n);
    return n;
}

static void print(const cJSON *list) {
    const cJSON *node;
    bool flag;
    printf("%-8s %-9s %-4s %-6s %4s  %-24s %s\n", "ID", "STATE", "MODE", "PLACE", "REFS", "GUEST",
           "HOST");
    cJSON_ArrayForEach(node, list) {
        char place[32];
        const cJSON *where = at(node, "location");
        bool quarantined = uvm__json_bool(at(node, "quarantined"), &flag) == 0 && flag;
        bool read_only = uvm__json_bool(at(node, "read_only"), &flag) == 0 && flag;
        (void)snprintf(place, sizeof place, "%lld:%lld", number_at(where, "controller"),
                       number_at(where, "lun"));
        printf("%-8s %-9s %-4s %-6s %4lld  %-24s ", text_at(node, "id"),
               quarantined ? "stuck" : text_at(node, "state"), read_only ? "ro" : "rw", place,
               number_at(node, "refs"), text_at(node, "guest_path"));
        bool internal = uvm__json_bool(at(node, "internal"), &flag) == 0 && flag;
        printf("%s%s\n", text_at(node, "host_path"), internal ? " (uvm's own)" : "");
    }
}

static void on_answer(struct client *c, const cJSON *result, const uvm_error *err, int status,
                      void *arg) {
    struct reach *r = arg;
    (void)c;
    (void)status;
    if (err != NULL) {
        reach_fail(r, err, 0);
        return;
    }
    const cJSON *list = at(result, "devices");
    if (r->json) {
        char *text = list == NULL ? NULL : cJSON_PrintUnformatted(list);
        printf("%s\n", text == NULL ? "[]" : text);
        cJSON_free(text);
    } else {
        print(list);
    }
    reach_end(r, EXIT_DONE);
}

static int devices(char **argv) {
    struct reach r = {.verb = &verb_devices, .needs_name = true};
    if (!reach_begin(&r, argv)) {
        return r.status;
    }
    if (reach_connect(&r, &(struct client_events){.arg = &r})) {
        (void)client_call(r.client, "devices", NULL, NULL, 0, on_answer, &r);
    }
    return reach_run(&r);
}

const struct verb verb_devices = {
    .name = "devices",
    .summary = "list what is attached to a UVM",
    .words = "NAME [--json]",
    .about =
        "Lists the attachments of a UVM in order of their ids: state (\"stuck\" is one that is\n"
        "quarantined), mode, place, how many attaches share it, and where guest and host have it.",
    .options = rows,
    .status = "0, 1, or 3 when there is no such UVM.",
    .example = "uvmctl devices web",
    .run = devices,
};
