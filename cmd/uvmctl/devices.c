/* SPDX-License-Identifier: MIT
 * devices.c — `uvmctl devices`: what is attached to a UVM.
 */
#include "cmd/uvmctl/attach_kinds.h"
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <unistd.h>

static const struct option_row rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

/* "-" where there is nothing. */
static const char *word_at(const cJSON *o, const char *key) {
    const char *text = client_text(o, key);
    return text[0] == 0 ? "-" : text;
}

/* A network adapter's, as it is attached: "netns=/run/netns/a". */
static void print_joined(const cJSON *node, const char *type) {
    const char *target = client_text(node, type);
    printf("%s%s%s", type, target[0] == 0 ? "" : "=", target);
}

/* What the network adapter is joined to, a path, or a PCI function with the number of its virtual one. */
static void print_host(const cJSON *node) {
    const char *device = client_text(node, "device");
    long long function = (long long)client_number(node, "virtual_function");
    if (client_text(node, "type")[0] != 0) {
        print_joined(node, client_text(node, "type"));
    } else if (device[0] == 0) {
        printf("%s", word_at(node, "host_path"));
    } else if (function > 0) {
        printf("%s/%lld", device, function);
    } else {
        printf("%s", device);
    }
}

static void print(const cJSON *list) {
    const cJSON *node;
    bool flag;
    printf("%-8s %-9s %-4s %-6s %4s  %-24s %s\n", "ID", "STATE", "MODE", "PLACE", "REFS", "GUEST",
           "HOST");
    cJSON_ArrayForEach(node, list) {
        char place[64] = "-";
        const struct attach_kind *kind = attach_kind_of(client_text(node, "kind"));
        bool quarantined = uvm__json_bool(client_at(node, "quarantined"), &flag) == 0 && flag;
        bool read_only = uvm__json_bool(client_at(node, "read_only"), &flag) == 0 && flag;
        if (kind != NULL) {
            kind->place(client_at(node, "location"), false, place, sizeof place);
        }
        printf("%-8s %-9s %-4s %-6s %4lld  %-24s ", word_at(node, "id"),
               quarantined ? "stuck" : word_at(node, "state"), read_only ? "ro" : "rw", place,
               (long long)client_number(node, "refs"),
               word_at(node, client_text(node, "mac")[0] != 0 ? "mac" : "guest_path"));
        bool internal = uvm__json_bool(client_at(node, "internal"), &flag) == 0 && flag;
        print_host(node);
        printf("%s\n", internal ? " (uvm's own)" : "");
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
    const cJSON *list = client_at(result, "devices");
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
