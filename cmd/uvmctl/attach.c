/* SPDX-License-Identifier: MIT
 * attach.c — `uvmctl attach` and `uvmctl detach`: devices of a UVM that runs.
 *
 * The owner does the work. Ctrl-C and the deadline ask it to cancel, and then the verb waits for the answer:
 * it comes when everything is undone, or says that the work was done by then, which counts. A second Ctrl-C
 * does not wait; the owner, who sees the connection end, undoes all the same.
 *
 * An answer that takes more than a second shows on a terminal how far the attachment has come, each time
 * that changes; the owner's list of devices is the source.
 */
#include "cmd/uvmctl/attach_kinds.h"
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUIET_MS 1000u /* before progress is shown */
#define LOOK_MS 250u

struct change {
    struct reach r;
    const char *method;
    uint64_t call;                  /* under way; 0: not sent */
    struct attach_words words;      /* of an attach, as the next two */
    const struct attach_kind *kind; /* NULL: a detach, or no kind */
    char *host;                     /* as the list of devices has it; NULL: it does not */
    bool timed_out;
    uv_timer_t timer; /* progress */
    char shown[64];   /* the state that was shown last */
};

static struct change *change_of(struct reach *r) {
    return (struct change *)(void *)r; /* its first member */
}

/* ---- progress ----------------------------------------------------------------------------- */

/* The newest attachment that this verb is about. */
static const cJSON *find(const struct change *c, const cJSON *list) {
    const cJSON *node, *found = NULL;
    cJSON_ArrayForEach(node, list) {
        const char *key = c->host != NULL ? "host_path" : c->kind != NULL ? "kind" : "id";
        bool its = strcmp(client_text(node, key), c->host != NULL ? c->host : c->r.more[0]) == 0;
        found = its ? node : found;
    }
    return found;
}

static void on_list(struct client *client, const cJSON *result, const uvm_error *err, int status,
                    void *arg) {
    struct change *c = arg;
    (void)client;
    (void)status;
    if (err != NULL || c->r.over) {
        return;
    }
    const cJSON *entry = find(c, uvm__json_get(UVM__JSON_STRICT, result, "devices"));
    const char *state = entry == NULL ? "" : client_text(entry, "state");
    if (state[0] != 0 && strcmp(state, c->shown) != 0) {
        (void)snprintf(c->shown, sizeof c->shown, "%s", state);
        out_message("  %-10s %6llu ms  %s", state,
                    (unsigned long long)(uv_now(&c->r.app.loop) - c->r.app.started_ms),
                    client_text(entry, "id"));
    }
}

static void on_look(uv_timer_t *timer) {
    struct change *c = timer->data;
    (void)client_call(c->r.client, "devices", NULL, NULL, 0, on_list, c);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void give_up(struct change *c) {
    cJSON *params = c->call == 0 ? NULL : cJSON_CreateObject();
    if (params == NULL || uvm__json_add_u64(params, "id", c->call) == NULL) {
        cJSON_Delete(params);
        reach_end(&c->r, EXIT_FAILED);
        return;
    }
    (void)client_call(c->r.client, "cancel", params, NULL, 0, NULL, NULL);
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct change *c = app->arg;
    if (times == 1 && c->call != 0) {
        give_up(c);
    } else {
        reach_end(&c->r, EXIT_SIGNAL + signo);
    }
}

static void on_timeout(struct reach *r) {
    struct change *c = change_of(r);
    c->timed_out = true;
    give_up(c);
}

static void before_end(struct reach *r) {
    uv_close((uv_handle_t *)&change_of(r)->timer, NULL);
}

static void print_attached(const struct change *c, const cJSON *result) {
    if (c->r.json) {
        char *text = cJSON_PrintUnformatted(result);
        printf("%s\n", text == NULL ? "{}" : text);
        cJSON_free(text);
        return;
    }
    const char *path = client_text(result, "guest_path");
    char place[64] = "";
    const struct attach_kind *kind = attach_kind_of(client_text(result, "kind"));
    if (kind != NULL) { /* --or-scsi made a disk of it */
        kind->place(client_at(result, "location"), true, place, sizeof place);
    }
    printf("%s %s\n", client_text(result, "id"), path[0] == 0 ? place : path);
}

static void print_detached(const struct change *c) {
    if (c->r.json) {
        struct json_out j = {0};
        json_open(&j, NULL, '{');
        json_text(&j, "id", c->r.more[0]);
        json_close(&j, '}');
        (void)json_finish(&j, STDOUT_FILENO);
    }
}

static void on_answer(struct client *client, const cJSON *result, const uvm_error *err, int status,
                      void *arg) {
    struct change *c = arg;
    (void)client;
    (void)status;
    c->call = 0;
    if (err == NULL) {
        if (c->kind != NULL) {
            print_attached(c, result);
        } else {
            print_detached(c);
        }
        reach_end(&c->r, EXIT_DONE);
        return;
    }
    enum uvm_error_code code = uvm_error_code(err);
    if (c->timed_out && code == UVM_E_CANCELED) {
        reach_fail_timeout(&c->r);
        return;
    }
    /* Of an attach it is the image that is not there, or of no use; of either, no place in the UVM is no
     * lack of the host's. */
    bool plain = code == UVM_E_LIMIT || (code == UVM_E_NOTFOUND && c->kind != NULL) ||
                 (code == UVM_E_INVAL && uvm_error_cause(err) != NULL);
    int interrupted = c->r.app.interrupted;
    reach_fail(&c->r, err,
               interrupted != 0 ? EXIT_SIGNAL + interrupted
               : c->timed_out   ? EXIT_TIMEOUT
               : plain          ? EXIT_FAILED
                                : 0);
}

/* ---- begin -------------------------------------------------------------------------------- */

/* `make` takes part after the words are known. */
static int run(struct change *c, char **argv, cJSON *(*make)(struct change *c)) {
    c->r.needs_name = true;
    c->r.on_timeout = on_timeout;
    if (!reach_begin(&c->r, argv)) {
        return c->r.status;
    }
    c->r.before_end = before_end;
    c->r.app.on_interrupt = on_interrupt;
    (void)uv_timer_init(&c->r.app.loop, &c->timer);
    c->timer.data = c;
    uv_unref((uv_handle_t *)&c->timer);
    cJSON *params = make(c);
    if (params == NULL) {
        reach_end(&c->r, EXIT_USAGE); /* it said why */
    } else if (reach_connect(&c->r, &(struct client_events){.arg = c})) {
        c->call = client_call(c->r.client, c->method, params, NULL, 0, on_answer, c);
        if (out_stderr_is_terminal()) {
            (void)uv_timer_start(&c->timer, on_look, QUIET_MS, LOOK_MS);
        }
        if (c->call == 0) {
            out_message("%s: out of memory", c->r.verb->name);
            reach_end(&c->r, EXIT_FAILED);
        }
    } else {
        cJSON_Delete(params);
    }
    int status = reach_run(&c->r);
    free(c->host);
    return status;
}

/* ---- attach ------------------------------------------------------------------------------- */

static const struct option_row attach_rows[] = {
    [ATTACH_MOUNT] = {"mount", 'm', "GUESTPATH", "mount it there; \"auto\": where the UVM chooses"},
    [ATTACH_RO] = {"ro", 0, NULL, "read-only"},
    [ATTACH_PARTITION] = {"partition", 'p', "N", "mount that partition, not the whole disk"},
    [ATTACH_FILESYSTEM] = {"filesystem", 0, "T", "the file system: ext4, xfs, … (what is found)"},
    [ATTACH_ENSURE] = {"ensure-filesystem", 0, NULL,
                       "format what has another file system, or none"},
    [ATTACH_BLOCK_DEV] = {"block-dev", 0, NULL,
                          "make GUESTPATH a link to the device instead of a mount"},
    [ATTACH_OPTION] = {"option", 'o', "WORD", "an option of the mount; may be repeated"},
    [ATTACH_ENCRYPTED] =
        {"encrypted", 0, NULL,
         "format it under a key that is forgotten at detach; what is there is lost"},
    [ATTACH_VERITY] = {"verity", 0, "ROOTHASH",
                       "the image has a dm-verity tree: check all that is read against this"},
    [ATTACH_ALLOW] = {"allow", 0, "NAME",
                      "of a share: show this file of the folder, and no other; may be repeated"},
    [ATTACH_WHOLE_DEVICE] = {"whole-device", 0, NULL,
                             "of virtual PMem: a device that holds nothing else"},
    [ATTACH_OR_SCSI] = {"or-scsi", 0, NULL,
                        "of virtual PMem: where there is no room, as a read-only disk"},
    [ATTACH_ID] = {"id", 0, "GUID",
                   "of a PCI function or a NIC: its VMBus instance in the guest (random)"},
    [ATTACH_MAC] = {"mac", 0, "M",
                    "of a NIC: its address (the namespace's interface's, or random)"},
    [ATTACH_ADDRESS] = {"address", 0, "A/P", "of a NIC: an address for the guest; may be repeated"},
    [ATTACH_GATEWAY] = {"gateway", 0, "G", "of a NIC: the default route's; one a family"},
    [ATTACH_DNS] = {"dns", 0, "D", "of a NIC: a DNS server; may be repeated"},
    [ATTACH_SEARCH] = {"search", 0, "DOMAIN", "of a NIC: a search domain; may be repeated"},
    [ATTACH_MTU] = {"mtu", 0, "N", "of a NIC: its MTU"},
    [ATTACH_DHCP] = {"dhcp", 0, NULL, "of a NIC: ask, whatever the namespace's interface has"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static bool attach_option(struct reach *r, const struct option_row *row, const char *value) {
    return attach_words_add(&change_of(r)->words, (enum attach_option)(row - attach_rows), value);
}

static cJSON *attach_params(struct change *c) {
    c->kind = attach_kind_find(c->r.more[0]);
    if (c->kind == NULL || !attach_words_fit(&c->words, c->kind, attach_rows)) {
        return NULL;
    }
    cJSON *params = cJSON_CreateObject();
    cJSON *s = params == NULL ? NULL : cJSON_AddObjectToObject(params, "settings");
    if (s == NULL || cJSON_AddStringToObject(params, "kind", c->kind->name) == NULL) {
        out_message("attach: out of memory");
    } else if (c->kind->put(s, &c->words, c->r.more[1], &c->host)) {
        return params;
    }
    cJSON_Delete(params);
    return NULL;
}

static int attach(char **argv) {
    struct change c = {
        .r =
            {.verb = &verb_attach,
             .more_wanted =
                 {"what to attach: scsi, vpmem, vsmb, plan9, vpci, nic",
                  "FILE, the disk's image, or what is shared; a PCI function; what a NIC is joined to"},
             .on_option = attach_option},
        .method = "attach"};
    return run(&c, argv, attach_params);
}

const struct verb verb_attach = {
    .name = "attach",
    .summary = "attach a disk, a folder, a PCI function or a NIC to a UVM that runs",
    .words = "NAME scsi|vpmem|vsmb|plan9|vpci|nic WHAT [--mount GUESTPATH] [--ro] [OPTION…]",
    .about =
        "Attaches the disk image (or block device) WHAT, and mounts it where --mount says; prints\n"
        "the attachment's id and where the guest sees it. What is attached already in the same way\n"
        "is shared: it is there until each attach has had its detach. Ctrl-C undoes all of it.\n"
        "With vpmem the image is copied into memory that the guest reads, read-only and always\n"
        "mounted; the UVM must have been booted with VPMem devices (boot --vpmem, or the annotation\n"
        "io.microsoft.virtualmachine.devices.virtualpmem.maximumcount). With vsmb WHAT is a folder, of\n"
        "which --allow shows only some files, or a file; always mounted. With plan9 it\n"
        "is a folder, too, which goes over a port of the UVM. With vpci it is a PCI function\n"
        "of the host that is bound to vfio-pci, by its address (0000:3b:00.0; /N behind it: its N-th\n"
        "virtual function), or emulated:MODEL; the folder that is printed has it by its address.\n"
        "With nic it is what the adapter is joined to: user (outwards only; the host is 10.0.2.2),\n"
        "tap=NAME, netns=PATH[,INTERFACE] (the guest takes the place of that interface, eth0), or\n"
        "stream=PATH. Without --address the guest has what that interface has, or asks by DHCP.",
    .options = attach_rows,
    .status = "0, 1, 2, 3 when there is no such UVM, 4 when it is in the wrong state, or disk or\n"
              "GUESTPATH are in use in another way, 124 the timeout passed, 130 interrupted.",
    .example = "uvmctl attach web scsi data.vhdx --mount /data\n"
               "uvmctl attach web scsi new.img --mount auto --filesystem ext4 --ensure-filesystem\n"
               "uvmctl attach web scsi scratch.img --mount /scratch --encrypted\n"
               "uvmctl attach web vsmb ~/site --mount /srv --ro\n"
               "uvmctl attach web vpci 0000:3b:00.0/2\n"
               "uvmctl attach web nic netns=/run/netns/web --dns 10.0.0.53",
    .run = attach,
};

/* ---- detach ------------------------------------------------------------------------------- */

static const struct option_row detach_rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static cJSON *detach_params(struct change *c) {
    cJSON *params = cJSON_CreateObject();
    if (params == NULL || cJSON_AddStringToObject(params, "device", c->r.more[0]) == NULL) {
        out_message("detach: out of memory");
        cJSON_Delete(params);
        return NULL;
    }
    return params;
}

static int detach(char **argv) {
    struct change c = {.r = {.verb = &verb_detach, .more_wanted = {"ID, as attach printed it"}},
                       .method = "detach"};
    return run(&c, argv, detach_params);
}

const struct verb verb_detach = {
    .name = "detach",
    .summary = "take an attached device away",
    .words = "NAME ID",
    .about =
        "Gives back one attach of ID (\"uvmctl devices\" lists them). The last one takes the device\n"
        "away: done is when the guest and the host have let go. One that the guest still uses\n"
        "stays as it is; one that got stuck later is quarantined, and detach goes on with it.",
    .options = detach_rows,
    .status = "0, 1, 3 when there is no such UVM or device, 4 when it cannot be detached now,\n"
              "124 the timeout passed, 130 interrupted.",
    .example = "uvmctl detach web scsi-1",
    .run = detach,
};
