/* SPDX-License-Identifier: MIT
 * nic.c — a network adapter: virtio-net at a PCIe root port, joined to something of the host, and back.
 *
 *     Add      slot      the path, the MAC address and a port are free
 *              join      what it is joined to is opened; of another namespace by a helper in it (nic_join.c)
 *              pass      the descriptor goes to QEMU, which may open nothing itself
 *              netdev    netdev_add
 *              device    device_add: the guest's kernel sees it
 *              offer     the guest has found it, under its GUID. What was done is undone from here backwards
 *     Remove   one step: rescind, device_del, DEVICE_DELETED, netdev_del, what it was joined to; it only goes forward
 *
 * A guest that does not answer the rescind has its adapter taken away all the same. Before the VM's first
 * instruction the offer waits for nobody. Names in QEMU come from the counter that disks use.
 */
#include "hcs/qemu/nic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "async/sock.h"
#include "async/tap_proto.h"
#include "hcs/qemu/command.h"
#include "hcs/qemu/resource.h"

#define HELPER_MS 10000u
#define NO_PORT UINT32_MAX

struct nic {
    struct uvm__resource resource; /* first */
    uint64_t number;
    uint32_t port; /* NO_PORT: none */
    char guid[UVM_GUID_TEXT];
    struct uvm__guid instance;
    uint8_t mac[UVM__DOC_MAC_BYTES]; /* zero: not known yet */
    uint32_t mtu;                    /* that was asked for; 0: none */
    struct uvm__nic_join join;
    struct uvm__doc_linux_endpoint endpoint; /* its texts are in `texts` */
    char texts[];
};

static struct nic *nic_of(struct uvm__resource *r) {
    return UVM__CONTAINER_OF(r, struct nic, resource);
}

/* ---- properties --------------------------------------------------------------------------- */

static const char *joined_to(const struct nic *n) {
    return n->endpoint.name != NULL   ? n->endpoint.name
           : n->endpoint.path != NULL ? n->endpoint.path
                                      : "";
}

static bool describe(const struct uvm__resource *r, cJSON *to) {
    const struct nic *n = nic_of((struct uvm__resource *)(uintptr_t)r);

    return cJSON_AddStringToObject(to, "MacAddress", n->join.config.mac) != NULL &&
           cJSON_AddStringToObject(to, "Type", n->endpoint.type) != NULL &&
           cJSON_AddStringToObject(to, "JoinedTo", joined_to(n)) != NULL &&
           uvm__json_add_u64(to, "Port", n->port) != NULL;
}

static void close_join(struct uvm__resource *r) {
    uvm__nic_join_close(&nic_of(r)->join);
}

static const struct uvm__resource_type nic_type = {
    .name = "NetworkAdapter", .describe = describe, .close = close_join};

int uvm__qemu_nic_config(struct uvm__hcs_system *base, const char *guid,
                         struct uvm__hcs_nic_config *ret) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type == &nic_type && strcmp(nic_of(r)->guid, guid) == 0) {
            *ret = nic_of(r)->join.config;
            return 0;
        }
    }
    return -UVM_E_NOTFOUND;
}

const char *uvm__qemu_nic_refused(const struct uvm__doc_nic *n, const char **ret_why) {
    if (n->endpoint_id != NULL) {
        *ret_why = "HNS endpoints are Windows's; LinuxEndpoint says what the adapter is joined to";
        return "EndpointId";
    }
    if (!n->linux_endpoint.present) {
        *ret_why = "missing; it says what the adapter is joined to";
        return "LinuxEndpoint";
    }
    return NULL;
}

/* ---- add ---------------------------------------------------------------------------------- */

struct add_params {
    struct uvm__qemu_system *system;
    const struct uvm__modify *request;
    const char *path;
};

struct add_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct nic *nic;           /* NULL: is the system's for good, or was released */
    const char *refused, *why; /* the field that QEMU cannot honour; NULL: none */
    struct uvm__command command;
    struct uvm__child *helper;
    struct uvm__deadline too_long;
    int answer; /* our end of the helper's socket; -1: none */
    uvm_error *helper_err;
};

static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

/* Two adapters of one VM with one address would be one to any switch. */
static int check_mac(struct uvm__qemu_system *s, const struct nic *n, struct uvm__fail *f) {
    static const uint8_t none[UVM__DOC_MAC_BYTES];
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->resources) {
        struct uvm__resource *r = UVM__CONTAINER_OF(it, struct uvm__resource, link);
        if (r->type != &nic_type || r == &n->resource) {
            continue;
        }
        const struct nic *o = nic_of(r);
        if (memcmp(o->mac, none, sizeof none) != 0 && memcmp(o->mac, n->mac, sizeof n->mac) == 0) {
            return uvm__fail(f, UVM_E_EXISTS, 0,
                             "network adapter %s: the MAC address %s is %s's already", n->guid,
                             o->join.config.mac, o->guid);
        }
    }
    return 0;
}

static void slot_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct nic *n = a->nic;
    struct uvm__fail f = {0};
    char who[64];
    int rc = a->refused == NULL
                 ? check_mac(a->system, n, &f)
                 : uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "Settings.%s: %s", a->refused, a->why);

    (void)snprintf(who, sizeof who, "network adapter %s", n->guid);
    if (rc == 0) {
        rc = uvm__qemu_port_take(&a->system->ports, who, &n->port, &f);
        n->port = rc < 0 ? NO_PORT : n->port;
    }
    if (rc == 0) {
        rc = uvm__resource_take(a->system, &n->resource, &f);
        if (rc < 0) {
            uvm__qemu_port_give(&a->system->ports, n->port);
        }
    }
    fail_step(op, rc, &f);
}

static void slot_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct nic *n = UVM_TAKE_PTR(a->nic);

    uvm__qemu_port_give(&a->system->ports, n->port);
    uvm__resource_release(a->system, &n->resource, uvm__op_resolved(op));
    uvm__undo_done(op, NULL);
}

/* ---- what it is joined to ----------------------------------------------------------------- */

/* The address that it was given, or its namespace's interface has, or one of our own. */
static int settle(struct add_state *a, struct uvm__fail *f) {
    static const uint8_t none[UVM__DOC_MAC_BYTES];
    struct nic *n = a->nic;
    struct uvm__hcs_nic_config *c = &n->join.config;

    if (memcmp(n->mac, none, sizeof none) == 0 &&
        (c->mac[0] == '\0' || uvm__doc_read_mac(c->mac, n->mac) < 0)) {
        uvm__random(a->system->engine, n->mac, sizeof n->mac);
        n->mac[0] = (uint8_t)((n->mac[0] & 0xfcu) | 0x02u); /* locally administered, of one */
    }
    (void)snprintf(c->mac, sizeof c->mac, "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
                   n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
    c->mtu = n->mtu != 0 ? n->mtu : c->mtu;
    return check_mac(a->system, n, f);
}

static void joined(struct add_state *a, int rc, struct uvm__fail *f) {
    struct nic *n = a->nic;
    char why[sizeof f->msg];

    if (rc < 0) {
        (void)snprintf(why, sizeof why, "%s", f->msg);
        rc = uvm__fail(f, (enum uvm_error_code) - rc, f->sys, "network adapter %s: %.250s", n->guid,
                       why);
    }
    rc = rc < 0 ? rc : settle(a, f);
    if (rc < 0) {
        uvm__nic_join_close(&n->join);
    }
    fail_step(a->op, rc, f);
}

static void on_helper_closed(void *arg) {
    struct add_state *a = arg;
    struct uvm__fail f = {0};

    if (a->helper_err != NULL) {
        uvm__close_fd(&a->answer);
        uvm__step_done(a->op, UVM_TAKE_PTR(a->helper_err));
        return;
    }
    int rc = uvm__nic_join_receive(&a->nic->join, a->answer, &f);
    uvm__close_fd(&a->answer);
    joined(a, rc, &f);
}

static void on_helper_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct add_state *a = arg;
    const struct nic *n = a->nic;

    (void)c;
    if (err == NULL) {
        return;
    }
    int sys = (int)uvm_error_sys(err);
    if (strcmp(uvm_error_step(err), "netns") != 0) {
        a->helper_err = uvm__error(a->system->engine, uvm_error_code(err), sys,
                                   "network adapter %s: the helper cannot be started: %s", n->guid,
                                   uvm_error_message(err));
        return;
    }
    const char *why = sys == ENOENT   ? "it is gone"
                      : sys == EINVAL ? "that is no network namespace"
                      : sys == EPERM  ? "may not be entered; CAP_SYS_ADMIN is needed"
                                      : strerror(sys);
    a->helper_err =
        uvm__error(a->system->engine, sys == ENOENT ? UVM_E_NOTFOUND : UVM_E_HOST, sys,
                   "network adapter %s: network namespace %s: %s", n->guid, n->endpoint.path, why);
}

static void on_helper_exit(struct uvm__child *c, int status, void *arg) {
    struct add_state *a = arg;
    char said[256] = "", text[64];

    uvm__deadline_clear(a->system->engine, &a->too_long);
    if (status != 0 && a->helper_err == NULL) {
        (void)uvm__child_stderr(c, said, sizeof said);
        uvm__child_status_text(status, text, sizeof text);
        a->helper_err = uvm__error(a->system->engine, UVM_E_HOST, 0,
                                   "network adapter %s: network namespace %s: %s", a->nic->guid,
                                   a->nic->endpoint.path, said[0] != '\0' ? said : text);
    }
    uvm__child_close(UVM_TAKE_PTR(a->helper), on_helper_closed, a);
}

static void on_too_long(struct uvm__deadline *d) {
    struct add_state *a = UVM__CONTAINER_OF(d, struct add_state, too_long);
    uvm__child_end(a->helper, true);
}

static int start_helper(struct add_state *a, struct uvm__fail *f) {
    const struct uvm__doc_linux_endpoint *e = &a->nic->endpoint;
    const char *program = a->system->service->launch_path;
    const char *const argv[] = {program, "tap", e->interface != NULL ? e->interface : "eth0", NULL};
    const char *const options[] = {"--netns", e->path, "--deathsig", "9", NULL};
    int ends[2];
    int rc = uvm__sock_pair(ends);

    if (rc < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "a socket: %s", strerror(errno));
    }
    const struct uvm__child_fd fds[] = {{ends[1], UVM__TAP_FD}};
    const struct uvm__child_params p = {.launch_path = program,
                                        .name = "uvm-launch tap",
                                        .argv = argv,
                                        .launch_args = options,
                                        .fds = fds,
                                        .fds_count = 1,
                                        .capture_stderr = true,
                                        .on_started = on_helper_started,
                                        .on_exit = on_helper_exit,
                                        .arg = a};
    rc = uvm__child_spawn(a->system->engine, &p, &a->helper, f);
    uvm__close_fd(&ends[1]);
    a->answer = ends[0];
    if (rc < 0) {
        uvm__close_fd(&a->answer);
        return rc;
    }
    uvm__deadline_set(a->system->engine, &a->too_long, uvm__now_ms(a->system->engine) + HELPER_MS);
    return 0;
}

/* The helper is waited for whatever happens: only its answer tells what is there. */
static void join_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__fail f = {0};
    bool other = strcmp(a->nic->endpoint.type, "NetworkNamespace") == 0;
    int rc = other ? start_helper(a, &f) : uvm__nic_join_open(&a->nic->join, &a->nic->endpoint, &f);

    (void)op;
    if (!other || rc < 0) {
        joined(a, rc, &f);
    }
}

static void join_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    uvm__nic_join_close(&a->nic->join);
    uvm__undo_done(op, NULL);
}

/* ---- QEMU's part -------------------------------------------------------------------------- */

static uvm_error *add_error(const struct add_state *a, uvm_error *take_err) {
    bool qemu = uvm_error_code(take_err) == UVM_E_PEER;
    const char *said = qemu ? strchr(uvm_error_detail(take_err), ' ') : NULL;
    uvm_error *err = uvm__error(
        a->system->engine, uvm_error_code(take_err), 0, "network adapter %s: %s%s%s", a->nic->guid,
        uvm_error_message(take_err), said == NULL ? "" : ":", said == NULL ? "" : said);
    return uvm__error_cause(err, take_err);
}

static void add_on_command(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);

    if (how == UVM__COMMAND_GONE) {
        take_err = uvm__qemu_end_error(a->system, "cannot attach a network adapter");
    }
    uvm__step_done(a->op, take_err == NULL ? NULL : add_error(a, take_err));
}

/* Refused means that there is nothing of it. */
static void undo_on_command(struct uvm__command *c, enum uvm__command_end how,
                            uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);
    (void)how;
    uvm_error_unref(take_err);
    uvm__undo_done(a->op, NULL);
}

static void put_fd_name(struct uvm__command *c, const struct nic *n) {
    (void)snprintf(c->arguments, sizeof c->arguments, "{\"fdname\":\"netfd-%llu\"}",
                   (unsigned long long)n->number);
}

static void pass_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    if (a->nic->join.fd < 0) {
        uvm__step_done(op, NULL);
        return;
    }
    put_fd_name(&a->command, a->nic);
    uvm__command_send(&a->command, "getfd", a->nic->join.fd, add_on_command);
}

/* A netdev has taken the descriptor, and then there is none by that name. */
static void pass_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    if (strcmp(a->nic->endpoint.type, "User") == 0) {
        uvm__undo_done(op, NULL);
        return;
    }
    put_fd_name(&a->command, a->nic);
    uvm__command_must(&a->command, "closefd", undo_on_command);
}

static void netdev_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__command *c = &a->command;
    unsigned long long number = (unsigned long long)a->nic->number;
    const char *type = a->nic->endpoint.type;

    (void)op;
    uvm__close_fd(&a->nic->join.fd); /* QEMU has its own */
    if (strcmp(type, "User") == 0) {
        (void)snprintf(c->arguments, sizeof c->arguments, "{\"type\":\"user\",\"id\":\"net-%llu\"}",
                       number);
    } else if (strcmp(type, "Stream") ==
               0) { /* "stream" would look for the name in another thread */
        (void)snprintf(c->arguments, sizeof c->arguments,
                       "{\"type\":\"socket\",\"id\":\"net-%llu\",\"fd\":\"netfd-%llu\"}", number,
                       number);
    } else {
        (void)snprintf(c->arguments, sizeof c->arguments,
                       "{\"type\":\"tap\",\"id\":\"net-%llu\",\"fd\":\"netfd-%llu\"}", number,
                       number);
    }
    uvm__command_send(c, "netdev_add", -1, add_on_command);
}

static void put_netdev(struct uvm__command *c, const struct nic *n) {
    (void)snprintf(c->arguments, sizeof c->arguments, "{\"id\":\"net-%llu\"}",
                   (unsigned long long)n->number);
}

static void netdev_undo(uvm_op *op, void *state) {
    struct add_state *a = state;

    (void)op;
    put_netdev(&a->command, a->nic);
    uvm__command_must(&a->command, "netdev_del", undo_on_command);
}

static void put_name(const struct nic *n, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, "nic-%llu", (unsigned long long)n->number);
}

static void device_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__command *c = &a->command;
    const struct nic *n = a->nic;
    char mtu[32] = "";

    (void)op;
    if (n->join.config.mtu != 0) { /* the guest's driver takes it by itself */
        (void)snprintf(mtu, sizeof mtu, ",\"host_mtu\":%u", n->join.config.mtu);
    }
    int bytes =
        snprintf(c->arguments, sizeof c->arguments,
                 "{\"driver\":\"virtio-net-pci\",\"id\":\"nic-%llu\",\"netdev\":\"net-%llu\","
                 "\"mac\":\"%s\",\"bus\":\"rp%u\",\"addr\":\"0x0\",\"romfile\":\"\"%s}",
                 (unsigned long long)n->number, (unsigned long long)n->number, n->join.config.mac,
                 n->port, mtu);
    UVM_ASSERT(bytes > 0 && (size_t)bytes < sizeof c->arguments);
    uvm__command_send(c, "device_add", -1, add_on_command);
}

static void undo_on_unplug(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    struct add_state *a = UVM__CONTAINER_OF(c, struct add_state, command);

    uvm_error_unref(take_err);
    if (how == UVM__COMMAND_REFUSED) {
        uvm__command_again(c);
        return;
    }
    uvm__undo_done(a->op, NULL);
}

static void device_undo(uvm_op *op, void *state) {
    struct add_state *a = state;
    char name[32];

    (void)op;
    put_name(a->nic, name, sizeof name);
    uvm__command_unplug(&a->command, name, undo_on_unplug);
}

/* ---- the guest's -------------------------------------------------------------------------- */

static void offer_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct add_state *a = arg;

    (void)child;
    err = uvm__qemu_offer_error(err);
    uvm__step_done(a->op, err == NULL ? NULL : add_error(a, uvm_error_ref(err)));
}

static void offer_run(uvm_op *op, void *state) {
    struct add_state *a = state;
    struct uvm__qemu_system *s = a->system;
    struct uvm__vmbus_device d = {.kind = UVM__VMBUS_NETVSC, .instance = a->nic->instance};
    bool early = s->state == UVM__QEMU_CREATING || s->state == UVM__QEMU_CREATED;
    struct uvm__fail f;

    uvm__qemu_port_location(a->nic->port, d.location);
    int rc = s->vmbus == NULL ? -UVM_E_EXITED
             : early          ? uvm__vmbus_present(s->vmbus, &d)
                     : uvm__vmbus_offer(s->vmbus, &d, uvm__op_scope(op), offer_done, a, NULL);
    if (rc < 0) {
        rc = uvm__fail(&f, (enum uvm_error_code) - rc, 0,
                       "network adapter %s: cannot be offered to the guest%s", a->nic->guid,
                       rc == -UVM_E_EXISTS ? "; it has not let go of an earlier one of that id"
                                           : "");
        fail_step(op, rc, &f);
    } else if (early) {
        uvm__step_done(op, NULL);
    }
}

static void present_run(uvm_op *op, void *state) {
    struct add_state *a = state;

    a->nic->resource.state = UVM__RESOURCE_PRESENT;
    a->nic = NULL;
    uvm__step_done(op, NULL);
}

/* ---- the saga ----------------------------------------------------------------------------- */

static const char *keep(char **at, const char *text) {
    if (text == NULL) {
        return NULL;
    }
    char *copy = *at;
    size_t bytes = strlen(text) + 1;
    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

static size_t bytes_of(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

static void fill(struct nic *n, const struct uvm__modify *m) {
    const struct uvm__doc_linux_endpoint *e = &m->settings.nic.linux_endpoint;
    char *at = n->texts;

    uvm__list_init(&n->resource.link);
    n->resource.type = &nic_type;
    n->port = NO_PORT;
    uvm__nic_join_init(&n->join);
    int rc = uvm__guid_read(m->guid, strlen(m->guid), &n->instance);
    UVM_ASSERT(rc == 0); /* by the path's reader */
    uvm__guid_text(&n->instance, n->guid);
    if (m->settings.nic.mac_address != NULL) {
        rc = uvm__doc_read_mac(m->settings.nic.mac_address, n->mac);
        UVM_ASSERT(rc == 0);
    }
    n->mtu = (uint32_t)e->mtu;
    n->endpoint = *e;
    n->endpoint.type = keep(&at, e->type);
    n->endpoint.name = keep(&at, e->name);
    n->endpoint.path = keep(&at, e->path);
    n->endpoint.interface = keep(&at, e->interface);
}

static int add_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    const struct uvm__doc_linux_endpoint *e = &p->request->settings.nic.linux_endpoint;
    struct add_state *a = state;
    size_t bytes =
        bytes_of(e->type) + bytes_of(e->name) + bytes_of(e->path) + bytes_of(e->interface);
    struct nic *n = uvm__zalloc(p->system->engine, sizeof *n + bytes);

    if (n == NULL) {
        return -UVM_E_NOMEM;
    }
    fill(n, p->request);
    memcpy(n->resource.path, p->path, strlen(p->path) + 1);
    n->number = ++p->system->resource_number;
    a->refused = uvm__qemu_nic_refused(&p->request->settings.nic, &a->why);
    a->nic = n;
    a->op = op;
    a->answer = -1;
    a->system = uvm__qemu_ref(p->system);
    uvm__deadline_init(&a->too_long, on_too_long);
    uvm__command_init(&a->command, a->system, op);
    return 0;
}

static void add_deinit(void *state) {
    struct add_state *a = state;

    UVM_ASSERT(uvm__command_idle(&a->command) && a->helper == NULL && a->answer < 0);
    if (a->nic != NULL) {
        UVM_ASSERT(a->nic->join.fd < 0 && !uvm__list_linked(&a->nic->resource.link));
        uvm__free(a->system->engine, a->nic);
    }
    uvm_error_unref(a->helper_err);
    uvm__qemu_unref(a->system);
}

static void add_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct add_state *a = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", a->nic == NULL ? "" : a->nic->resource.path);
}

static const struct uvm__step add_steps[] = {
    {.name = "slot", .run = slot_run, .undo = slot_undo},
    {.name = "join", .run = join_run, .undo = join_undo},
    {.name = "pass", .run = pass_run, .undo = pass_undo},
    {.name = "netdev", .run = netdev_run, .undo = netdev_undo},
    {.name = "device", .run = device_run, .undo = device_undo},
    {.name = "offer", .run = offer_run, .child = true},
    {.name = "present", .run = present_run},
};
static const struct uvm__saga add_saga = {
    .name = "nic add",
    .steps = add_steps,
    .steps_count = sizeof add_steps / sizeof add_steps[0],
    .commit_step = 5, /* offer */
    .state_bytes = sizeof(struct add_state),
    .init = add_init,
    .deinit = add_deinit,
    .describe = add_describe,
};

static int add(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
               uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct add_params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, &add_saga, &p, on_done, arg, ret_op);
}

/* ---- remove ------------------------------------------------------------------------------- */

struct remove_state {
    struct uvm__qemu_system *system;
    uvm_op *op;
    struct nic *nic; /* NULL: not begun, or over */
    struct uvm__command command;
    char path[UVM__MODIFY_PATH_BYTES];
};

/* The last of it. With the VM everything in it has gone. */
static void remove_on_netdev(struct uvm__command *c, enum uvm__command_end how,
                             uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(c, struct remove_state, command);
    struct nic *n = UVM_TAKE_PTR(r->nic);

    uvm_error_unref(take_err); /* refused: it is not there */
    uvm__qemu_port_give(&r->system->ports, n->port);
    uvm__resource_release(r->system, &n->resource, uvm__op_resolved(r->op));
    uvm__step_done(r->op, how == UVM__COMMAND_GONE
                              ? uvm__qemu_end_error(r->system, "cannot remove a network adapter")
                              : NULL);
}

static void remove_on_unplug(struct uvm__command *c, enum uvm__command_end how,
                             uvm_error *take_err) {
    struct remove_state *r = UVM__CONTAINER_OF(c, struct remove_state, command);

    if (how == UVM__COMMAND_GONE) {
        remove_on_netdev(c, how, take_err);
    } else if (how == UVM__COMMAND_REFUSED) {
        r->nic->resource.state = UVM__RESOURCE_PRESENT;
        r->nic = NULL;
        uvm__step_done(r->op, take_err);
    } else {
        put_netdev(c, r->nic);
        uvm__command_must(c, "netdev_del", remove_on_netdev);
    }
}

static void unplug(struct remove_state *r) {
    char name[32];

    put_name(r->nic, name, sizeof name);
    uvm__command_unplug(&r->command, name, remove_on_unplug);
}

static void on_rescinded(uvm_op *child, const uvm_error *err, void *arg) {
    (void)child;
    (void)err; /* a guest that does not let go loses it all the same */
    unplug(arg);
}

static void remove_run(uvm_op *op, void *state) {
    struct remove_state *r = state;
    struct uvm__resource *found;
    struct uvm__fail f = {0};
    int rc = uvm__resource_removing(r->system, r->path, &found, &f);

    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    r->nic = nic_of(found);
    rc = r->system->vmbus == NULL ? -UVM_E_EXITED
                                  : uvm__vmbus_rescind(r->system->vmbus, &r->nic->instance,
                                                       uvm__op_scope(op), on_rescinded, r, NULL);
    if (rc < 0) {
        unplug(r);
    }
}

static int remove_init(uvm_op *op, void *state, const void *params) {
    const struct add_params *p = params;
    struct remove_state *r = state;

    r->op = op;
    memcpy(r->path, p->path, strlen(p->path) + 1);
    r->system = uvm__qemu_ref(p->system);
    uvm__command_init(&r->command, r->system, op);
    return 0;
}

static void remove_deinit(void *state) {
    struct remove_state *r = state;
    UVM_ASSERT(uvm__command_idle(&r->command) && r->nic == NULL);
    uvm__qemu_unref(r->system);
}

static void remove_describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct remove_state *r = state;
    (void)op;
    (void)step;
    (void)snprintf(buf, bytes, "%s", r->path);
}

static const struct uvm__step remove_steps[] = {{.name = "unplug", .run = remove_run}};
static const struct uvm__saga remove_saga = {
    .name = "nic remove",
    .steps = remove_steps,
    .steps_count = 1,
    .commit_step = 0,
    .deadline_ms = UVM__VMBUS_CLOSE_MS + UVM__UNPLUG_MS,
    .state_bytes = sizeof(struct remove_state),
    .init = remove_init,
    .deinit = remove_deinit,
    .describe = remove_describe,
};

static int remove_nic(struct uvm__qemu_system *s, const struct uvm__modify *m, uvm_scope *scope,
                      uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    const struct add_params p = {s, m, path};
    int rc = uvm__modify_path(m, path, &f);

    return rc < 0 ? rc : uvm__op_start(s->engine, scope, &remove_saga, &p, on_done, arg, ret_op);
}

const struct uvm__qemu_kind uvm__qemu_nic = {
    .verbs = {[UVM__MODIFY_ADD] = add, [UVM__MODIFY_REMOVE] = remove_nic},
    .refused = {[UVM__MODIFY_UPDATE] =
                    "a network adapter cannot be changed on QEMU; remove it and add another"},
};
