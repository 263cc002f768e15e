/* SPDX-License-Identifier: MIT
 * nic.c — which network adapters a VM has; the rest of their lives is single.c's.
 *
 * The table of a reservation, first row that holds:
 *   its GUID is there and quarantined              refused
 *   its GUID is there, and on its way out          wait, then ask again
 *   its GUID is there, in the same way             shared
 *   its GUID is there in another way, or its MAC   refused
 *   else                                           a new one; whether there is a port for it the service knows
 * What the guest is told depends on what the host found (a namespace's addresses), so that request is made when
 * the host's side is there; the way down needs the GUID only, and is made with the reservation.
 */
#include "devices/nic.h"
#include "devices/nic_int.h"
#include "devices/single_int.h"
#include <stdio.h>
#include <string.h>

/* The guest's network namespace of whoever names none. */
#define NAMESPACE "00000000-0000-0000-0000-000000000000"

struct nic {
    struct uvm__single single; /* first: its base is the device */
    char guid[UVM_GUID_TEXT];
    char mac[18]; /* "": the namespace's, until the host has it */
    uint32_t mtu;
    struct uvm__nic_params params; /* as it was asked for */
};

static struct nic *nic_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF(uvm__single_of(dev), struct nic, single);
}

/* Whether an adapter has a place is not known here: a port is the service's. */
static void over(struct uvm__single *s) {
    (void)s;
}

/* ---- requests ----------------------------------------------------------------------------- */

static int host_request(struct nic *n, bool add, char **ret) {
    static const char *const types[UVM__NIC_TYPE_MAX] = {"User", "Tap", "NetworkNamespace",
                                                         "Stream"};
    const struct uvm__nic_params *p = &n->params;
    struct uvm__modify m = {.verb = add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE,
                            .kind = UVM__MODIFY_NIC,
                            .has_settings = add};
    struct uvm__fail f;
    size_t bytes;
    memcpy(m.guid, n->guid, sizeof m.guid);
    if (add) {
        struct uvm__doc_linux_endpoint *e = &m.settings.nic.linux_endpoint;
        m.settings.nic.mac_address = n->mac[0] == 0 ? NULL : n->mac;
        *e = (struct uvm__doc_linux_endpoint){
            .present = true, .type = types[p->type], .mtu = p->mtu};
        e->name = p->type == UVM__NIC_TAP ? p->target : NULL;
        e->path = p->type == UVM__NIC_NETNS || p->type == UVM__NIC_STREAM ? p->target : NULL;
        e->interface = p->interface[0] == 0 ? NULL : p->interface;
    }
    int rc = uvm__modify_path(&m, n->single.resource, &f);
    UVM_ASSERT(rc == 0);
    return uvm__modify_build(n->single.base.devices->engine, &m, ret, &bytes, &f);
}

static int guest_request(struct nic *n, const struct uvm__hcs_nic_config *config, char **ret) {
    cJSON *root = uvm__guest_request("Network", config != NULL);
    cJSON *s = uvm__nic_guest_settings(&n->params, n->guid, n->mac, config);
    return uvm__guest_request_text(n->single.base.devices->engine, root, s,
                                   root != NULL && s != NULL, ret);
}

/* The host has it, and knows what the guest is to be told. */
static int placed(struct uvm__single *s) {
    struct nic *n = UVM__CONTAINER_OF(s, struct nic, single);
    struct uvm__hcs_nic_config c = {.mtu = 0};
    int rc = uvm__hcs_nic_config(s->base.devices->system, n->guid, &c);
    if (rc == 0 && c.mac[0] != 0) {
        (void)snprintf(n->mac, sizeof n->mac, "%s", c.mac);
    }
    n->mtu = c.mtu;
    uvm__free(s->base.devices->engine, s->mount);
    s->mount = NULL;
    return guest_request(n, &c, &s->mount);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_nic(struct uvm__device *dev) {
    uvm_engine *e = dev->devices->engine;
    uvm__single_deinit(e, uvm__single_of(dev));
    uvm__free(e, nic_of(dev));
}

static void choose(uvm_engine *e, struct nic *n) {
    struct uvm__guid guid;
    uint8_t b[UVM__DOC_MAC_BYTES];
    if (n->params.id[0] != 0) {
        memcpy(n->guid, n->params.id, sizeof n->guid);
    } else {
        uvm__guid_random(e, &guid);
        uvm__guid_text(&guid, n->guid);
    }
    memcpy(n->mac, n->params.mac, sizeof n->mac);
    if (n->mac[0] == 0 && n->params.type != UVM__NIC_NETNS) {
        uvm__random(e, b, sizeof b);
        b[0] = (uint8_t)((b[0] & 0xfcu) | 0x02u); /* locally administered, of one adapter */
        (void)snprintf(n->mac, sizeof n->mac, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2],
                       b[3], b[4], b[5]);
    }
    if (n->params.namespace_id[0] == 0) {
        memcpy(n->params.namespace_id, NAMESPACE, sizeof NAMESPACE);
    }
}

static struct nic *new_nic(struct uvm__devices *d, const struct uvm__nic_params *p) {
    struct nic *n = uvm__zalloc(d->engine, sizeof *n);
    if (n == NULL) {
        return NULL;
    }
    n->params = *p;
    n->mtu = p->mtu;
    choose(d->engine, n);
    n->single.base.devices = d;
    uvm__single_init(&n->single, over);
    n->single.placed = placed;
    n->single.guest_fails = "the guest did not configure it";
    n->single.guest_keeps = "the guest did not let go of it";
    int rc = host_request(n, true, &n->single.add);
    rc = rc < 0 ? rc : host_request(n, false, &n->single.remove);
    rc = rc < 0 ? rc : guest_request(n, NULL, &n->single.unmount);
    if (rc < 0) {
        free_nic(&n->single.base);
        return NULL;
    }
    uvm__device_init(&n->single.base, d, &uvm__nic_kind);
    return n;
}

/* ---- reserving ---------------------------------------------------------------------------- */

static struct nic *find(const struct uvm__devices *d, const char *guid, const char *mac) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind != &uvm__nic_kind) {
            continue;
        }
        struct nic *n = nic_of(dev);
        if ((guid[0] != 0 && strcmp(n->guid, guid) == 0) ||
            (mac[0] != 0 && strcmp(n->mac, mac) == 0)) {
            return n;
        }
    }
    return NULL;
}

static bool same_lists(const struct uvm__nic_params *a, const struct uvm__nic_params *b) {
    return a->addresses_count == b->addresses_count && a->gateways_count == b->gateways_count &&
           a->dns_count == b->dns_count && a->search_count == b->search_count &&
           memcmp(a->addresses, b->addresses, sizeof a->addresses) == 0 && /* zeroed before */
           memcmp(a->gateways, b->gateways, sizeof a->gateways) == 0 &&
           memcmp(a->dns, b->dns, sizeof a->dns) == 0 &&
           memcmp(a->search, b->search, sizeof a->search) == 0;
}

/* The caller's words, but for what was chosen for him. */
static bool same(const struct nic *n, const struct uvm__nic_params *p) {
    struct uvm__nic_params asked = *p;
    if (asked.namespace_id[0] == 0) {
        memcpy(asked.namespace_id, NAMESPACE, sizeof NAMESPACE);
    }
    const struct uvm__nic_params *is = &n->params;
    return strcmp(asked.id, is->id) == 0 && asked.type == is->type &&
           strcmp(asked.target, is->target) == 0 && strcmp(asked.interface, is->interface) == 0 &&
           strcmp(asked.mac, is->mac) == 0 && strcmp(asked.namespace_id, is->namespace_id) == 0 &&
           asked.mtu == is->mtu && asked.dhcp == is->dhcp && same_lists(&asked, is);
}

static int join(struct uvm__devices *d, struct nic *n, const struct uvm__nic_params *p,
                struct uvm__device **ret, struct uvm__fail *f) {
    struct uvm__device *dev = &n->single.base;
    int rc = uvm__single_join(&n->single, n->guid, f);
    if (rc < 0) {
        return rc;
    }
    if (!same(n, p)) {
        return uvm__fail(f, UVM_E_EXISTS, 0,
                         "%s: the network adapter %s is attached as %s in another way", d->name,
                         n->guid, dev->id);
    }
    *ret = dev;
    return 0;
}

static int check_mac(struct uvm__devices *d, const struct uvm__nic_params *p, struct uvm__fail *f) {
    const struct nic *there = find(d, "", p->mac);
    if (there == NULL) {
        return 0;
    }
    const struct uvm__device *dev = &there->single.base;
    bool going = (dev->leaving || dev->failed != NULL) && !uvm__device_quarantined(dev);
    return going ? -UVM_E_AGAIN
                 : uvm__fail(f, UVM_E_EXISTS, 0,
                             "%s: the MAC address %s is %s's already; two adapters need two",
                             d->name, p->mac, dev->id);
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__nic_params *p = params;
    struct nic *there = p->id[0] == 0 ? NULL : find(d, p->id, "");
    *ret_shared = there != NULL;
    if (there != NULL) {
        return join(d, there, p, ret, f);
    }
    int rc = check_mac(d, p, f);
    if (rc < 0) {
        return rc;
    }
    struct nic *n = new_nic(d, p);
    if (n == NULL) {
        return -UVM_E_NOMEM;
    }
    *ret = &n->single.base;
    return 0;
}

int uvm__nic_pin(struct uvm__devices *d, const struct uvm__doc_nic *n, struct uvm__fail *f) {
    struct uvm__nic_params p = {.type = UVM__NIC_USER};
    const struct uvm__doc_linux_endpoint *e = &n->linux_endpoint;
    const char *target = e->name != NULL ? e->name : e->path != NULL ? e->path : "";
    p.type = e->type == NULL                            ? UVM__NIC_USER
             : strcmp(e->type, "Tap") == 0              ? UVM__NIC_TAP
             : strcmp(e->type, "NetworkNamespace") == 0 ? UVM__NIC_NETNS
             : strcmp(e->type, "Stream") == 0           ? UVM__NIC_STREAM
                                                        : UVM__NIC_USER;
    (void)snprintf(p.id, sizeof p.id, "%s", n->guid);
    (void)snprintf(p.target, sizeof p.target, "%s", target);
    (void)snprintf(p.interface, sizeof p.interface, "%s", e->interface == NULL ? "" : e->interface);
    (void)snprintf(p.mac, sizeof p.mac, "%s", n->mac_address == NULL ? "" : n->mac_address);
    int rc = uvm__nic_check(&p, f);
    if (rc < 0) {
        return rc;
    }
    struct nic *made = new_nic(d, &p);
    if (made == NULL) {
        return -UVM_E_NOMEM;
    }
    struct uvm__hcs_nic_config c;
    made->mac[0] = 0; /* the service's choice */
    if (uvm__hcs_nic_config(d->system, made->guid, &c) == 0) {
        memcpy(made->mac, c.mac, sizeof made->mac);
        made->mtu = c.mtu;
    }
    made->single.state = UVM__SINGLE_MOUNTED;
    made->single.base.pinned = true;
    made->single.base.refs = 1;
    made->single.base.phase = UVM__DEVICE_READY;
    return 0;
}

/* ---- the kind ----------------------------------------------------------------------------- */

static int copy(uvm_engine *e, const void *params, void **ret) {
    struct uvm__nic_params *p = uvm__zalloc(e, sizeof *p);
    if (p != NULL) {
        *p = *(const struct uvm__nic_params *)params;
    }
    *ret = p;
    return p == NULL ? -UVM_E_NOMEM : 0;
}

static void released(struct uvm__devices *d, const char *resource) {
    uvm__single_released(d, &uvm__nic_kind, resource);
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct nic *n = nic_of(dev);
    ret->instance = n->guid;
    ret->mac = n->mac;
}

static bool json(const struct uvm__device *dev, cJSON *o) {
    const struct nic *n = nic_of(dev);
    const struct uvm__nic_params *p = &n->params;
    const char *target = p->type == UVM__NIC_TAP     ? "tap"
                         : p->type == UVM__NIC_NETNS ? "netns"
                                                     : "stream";
    cJSON *list = NULL;
    bool ok =
        cJSON_AddStringToObject(o, "type", uvm__nic_type_names[p->type]) != NULL &&
        (p->target[0] == 0 || cJSON_AddStringToObject(o, target, p->target) != NULL) &&
        (p->interface[0] == 0 || cJSON_AddStringToObject(o, "interface", p->interface) != NULL) &&
        cJSON_AddStringToObject(o, "mac", n->mac) != NULL &&
        uvm__json_add_u64(o, "mtu", n->mtu) != NULL &&
        (list = cJSON_AddArrayToObject(o, "addresses")) != NULL;
    for (unsigned i = 0; ok && i < p->addresses_count; i++) {
        cJSON *text = cJSON_CreateString(p->addresses[i]);
        ok = text != NULL && cJSON_AddItemToArray(list, text);
        if (!ok) {
            cJSON_Delete(text);
        }
    }
    cJSON *at = ok ? cJSON_AddObjectToObject(o, "location") : NULL;
    return at != NULL && cJSON_AddStringToObject(at, "instance", n->guid) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct uvm__nic_params *p = &nic_of(dev)->params;
    (void)snprintf(buf, bytes, "%s (network adapter, %s%s%.80s)", dev->id,
                   uvm__nic_type_names[p->type], p->target[0] == 0 ? "" : " ", p->target);
}

const struct uvm__device_kind uvm__nic_kind = {.name = "nic",
                                               .reserve = reserve,
                                               .copy = copy,
                                               .turn = uvm__single_turn,
                                               .withdraw = uvm__single_withdraw,
                                               .again = uvm__single_again,
                                               .released = released,
                                               .end = uvm__single_end,
                                               .free = free_nic,
                                               .result = result,
                                               .json = json,
                                               .text = text};
