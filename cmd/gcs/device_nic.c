/* SPDX-License-Identifier: MIT
 *
 * Network adapters, in the guest: the interface is found below its VMBus device, brought up and configured; and
 * taken back.
 *
 * Addresses and routes are those of the request; without addresses DHCP is asked. The rules of routes are the
 * reference's: a default destination without a gateway means none, and a gateway that is on no network of the
 * interface is reached on the link. A namespace id is the group of adapters that a container will own; until one
 * does, they are configured here, in the agent's own network namespace.
 *
 * Unlike the reference's, removing undoes all of it before the host takes the adapter: the DHCP client ends,
 * addresses and the resolver's entries go, the link is down.
 */
#include "async/json.h"
#include "cmd/gcs/nic.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEVICES "/sys/bus/vmbus/devices"
#define POLL_MS 2 /* it is there in tens of them */
#define MTU_MIN 68u
#define NO_PREFIX 255u

/* ---- settings ----------------------------------------------------------------------------- */

static int read_id(const cJSON *settings, struct gcs_nic *n, struct gcs_words *w) {
    const char *id;

    memset(n, 0, sizeof *n);
    if (gcs_setting_text(settings, "ID", &id, w) < 0) {
        return -1;
    }
    if (strlen(id) != sizeof n->id - 1 || strspn(id, "0123456789abcdefABCDEF-") != strlen(id)) {
        return gcs_bad(w, "ID: \"%.60s\" is no GUID", id);
    }
    for (size_t i = 0; id[i] != '\0'; i++) {
        n->id[i] = (char)tolower((unsigned char)id[i]);
    }
    return 0;
}

/* Goes into a file of lines. */
static int read_list(const cJSON *settings, const char *key, char ret[GCS_NIC_LIST_BYTES],
                     struct gcs_words *w) {
    const char *text;

    if (gcs_setting_text(settings, key, &text, w) < 0) {
        return -1;
    }
    if (strlen(text) >= GCS_NIC_LIST_BYTES) {
        return gcs_bad(w, "%s: %zu bytes; at most %u", key, strlen(text), GCS_NIC_LIST_BYTES - 1);
    }
    for (size_t i = 0; i <= strlen(text); i++) {
        if (text[i] != '\0' && !isalnum((unsigned char)text[i]) &&
            strchr(",.-_: %", text[i]) == NULL) {
            return gcs_bad(w, "%s: a character that no name or address has", key);
        }
        ret[i] = (char)tolower((unsigned char)text[i]);
    }
    return 0;
}

/* `prefix` NO_PREFIX: it is in the text, or is a host's. */
static int read_address(const char *key, const char *text, unsigned prefix,
                        struct uvm__rtnl_address *ret, struct gcs_words *w) {
    struct uvm__rtnl_address a;

    if (!uvm__rtnl_read(text, &a)) {
        return gcs_bad(w, "%s: \"%.60s\" is no address", key, text);
    }
    if (prefix != NO_PREFIX) {
        if (prefix > a.prefix) {
            return gcs_bad(w, "%s: %.60s/%u: the prefix is too long", key, text, prefix);
        }
        a.prefix = (uint8_t)prefix;
    }
    *ret = a;
    return 0;
}

static int read_addresses(const cJSON *settings, struct gcs_nic *n, struct gcs_words *w) {
    const cJSON *list = uvm__json_get(UVM__JSON_GO, settings, "IPConfigs"), *item;
    const char *text;
    uint64_t prefix;

    if (!uvm__json_absent(list) && !cJSON_IsArray(list)) {
        return gcs_bad(w, "IPConfigs: no list");
    }
    cJSON_ArrayForEach(item, list) {
        if (n->addresses_count == GCS_NIC_ADDRESSES_MAX) {
            return gcs_bad(w, "IPConfigs: more than %u", GCS_NIC_ADDRESSES_MAX);
        }
        if (!cJSON_IsObject(item) || gcs_setting_text(item, "IPAddress", &text, w) < 0 ||
            gcs_setting_u64(item, "PrefixLength", 128, &prefix, w) < 0 ||
            read_address("IPConfigs", text, (unsigned)prefix, &n->addresses[n->addresses_count],
                         w) < 0) {
            return cJSON_IsObject(item) ? -1 : gcs_bad(w, "IPConfigs: no object in it");
        }
        n->addresses_count++;
    }
    return 0;
}

static bool unspecified(const struct uvm__rtnl_address *a) {
    static const uint8_t none[sizeof a->bytes];
    return memcmp(a->bytes, none, sizeof none) == 0;
}

/* False: it asks for nothing. */
static int read_route(const cJSON *item, struct uvm__rtnl_route *r, bool *ret_wanted,
                      struct gcs_words *w) {
    const char *hop, *to;
    uint64_t metric;

    memset(r, 0, sizeof *r);
    if (gcs_setting_text(item, "NextHop", &hop, w) < 0 ||
        gcs_setting_text(item, "DestinationPrefix", &to, w) < 0 ||
        gcs_setting_u64(item, "Metric", UINT16_MAX, &metric, w) < 0 ||
        read_address("Routes", to, NO_PREFIX, &r->destination, w) < 0 ||
        (hop[0] != '\0' && read_address("Routes", hop, NO_PREFIX, &r->gateway, w) < 0)) {
        return -1;
    }
    r->metric = (uint32_t)metric;
    if (r->gateway.family != 0 && unspecified(&r->gateway)) {
        r->gateway.family = 0;
    }
    if (r->gateway.family != 0 && r->gateway.family != r->destination.family) {
        return gcs_bad(w, "Routes: %.60s by %.60s: two families", to, hop);
    }
    *ret_wanted = r->destination.prefix > 0 || r->gateway.family != 0;
    return 0;
}

static int read_routes(const cJSON *settings, struct gcs_nic *n, struct gcs_words *w) {
    const cJSON *list = uvm__json_get(UVM__JSON_GO, settings, "Routes"), *item;
    bool wanted = false;

    if (!uvm__json_absent(list) && !cJSON_IsArray(list)) {
        return gcs_bad(w, "Routes: no list");
    }
    cJSON_ArrayForEach(item, list) {
        if (n->routes_count == GCS_NIC_ROUTES_MAX) {
            return gcs_bad(w, "Routes: more than %u", GCS_NIC_ROUTES_MAX);
        }
        if (!cJSON_IsObject(item)) {
            return gcs_bad(w, "Routes: no object in it");
        }
        if (read_route(item, &n->routes[n->routes_count], &wanted, w) < 0) {
            return -1;
        }
        n->routes_count += wanted ? 1 : 0;
    }
    return 0;
}

static int read_settings(const cJSON *settings, struct gcs_nic *n, struct gcs_words *w) {
    bool assigned, policy;
    uint64_t overhead;

    if (read_id(settings, n, w) < 0 ||
        gcs_setting_bool(settings, "VPCIAssigned", &assigned, w) < 0 ||
        gcs_setting_bool(settings, "PolicyBasedRouting", &policy, w) < 0 ||
        gcs_setting_u64(settings, "EncapOverhead", UINT16_MAX, &overhead, w) < 0 ||
        read_list(settings, "DNSServerList", n->servers, w) < 0 ||
        read_list(settings, "DNSSuffix", n->search, w) < 0 || read_addresses(settings, n, w) < 0 ||
        read_routes(settings, n, w) < 0) {
        return -1;
    }
    n->overhead = (unsigned)overhead;
    if (assigned || policy) {
        return gcs_fail(w, "%s is not supported by this agent yet",
                        assigned ? "VPCIAssigned" : "PolicyBasedRouting");
    }
    return 0;
}

/* ---- the interface ------------------------------------------------------------------------ */

/* The one below its device. */
static bool find(struct gcs_nic *n) {
    char path[sizeof DEVICES + sizeof n->id + sizeof "/net"];
    struct dirent *e;
    bool found = false;

    (void)snprintf(path, sizeof path, DEVICES "/%s/net", n->id);
    DIR *d = opendir(path);
    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        found = e->d_name[0] != '.' && strlen(e->d_name) < sizeof n->interface;
        if (found) {
            memcpy(n->interface, e->d_name, strlen(e->d_name) + 1);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

static int wait_for(struct gcs_nic *n, struct gcs_words *w) {
    for (unsigned waited = 0; !find(n); waited += POLL_MS) {
        if (waited >= GCS_NIC_WAIT_MS) {
            return gcs_fail(w, "network adapter %s: no interface came in %u ms", n->id,
                            GCS_NIC_WAIT_MS);
        }
        (void)poll(NULL, 0, POLL_MS);
    }
    return 0;
}

static int failed(const struct gcs_nic *n, struct gcs_words *w, const char *what, int rc) {
    return gcs_fail(w, "%s: %s: %s", n->interface, what, strerror(-rc));
}

static int bring_up(const struct gcs_nic *n, struct gcs_words *w) {
    struct uvm__rtnl_link link;
    int rc = uvm__rtnl_link(n->interface, &link);

    if (rc == 0 && n->overhead > 0) {
        if (link.mtu < n->overhead + MTU_MIN) {
            return gcs_bad(w, "EncapOverhead: %u leaves nothing of %s's MTU of %u", n->overhead,
                           n->interface, link.mtu);
        }
        rc = uvm__rtnl_set_mtu(n->interface, link.mtu - n->overhead);
        if (rc < 0) {
            return failed(n, w, "MTU", rc);
        }
    }
    rc = rc < 0 ? rc : uvm__rtnl_set_up(n->interface, true);
    return rc < 0 ? failed(n, w, "up", rc) : 0;
}

/* ---- addresses, routes -------------------------------------------------------------------- */

static int add_route(int fd, int index, const struct uvm__rtnl_route *r) {
    int rc = uvm__rtnl_route(fd, index, r, true);

    if (rc == -ENETUNREACH || rc == -EHOSTUNREACH) {
        const struct uvm__rtnl_route near = {.destination = r->gateway};
        rc = uvm__rtnl_route(fd, index, &near, true);
        rc = rc < 0 && rc != -EEXIST ? rc : uvm__rtnl_route(fd, index, r, true);
    }
    return rc == -EEXIST ? 0 : rc;
}

static int add_all(const struct gcs_nic *n, int fd, int index, struct gcs_words *w) {
    char text[UVM__RTNL_TEXT_BYTES], words[UVM__RTNL_TEXT_BYTES + 16];

    for (size_t i = 0; i < n->addresses_count; i++) {
        int rc = uvm__rtnl_address(fd, index, &n->addresses[i], true);
        if (rc < 0 && rc != -EEXIST) {
            uvm__rtnl_text(&n->addresses[i], true, text);
            (void)snprintf(words, sizeof words, "address %s", text);
            return failed(n, w, words, rc);
        }
    }
    for (size_t i = 0; i < n->routes_count; i++) {
        int rc = add_route(fd, index, &n->routes[i]);
        if (rc < 0) {
            uvm__rtnl_text(&n->routes[i].destination, true, text);
            (void)snprintf(words, sizeof words, "route to %s", text);
            return failed(n, w, words, rc);
        }
    }
    return 0;
}

static int configure(const struct gcs_nic *n, struct gcs_words *w) {
    struct uvm__rtnl_link link;
    int fd = uvm__rtnl_open();
    int rc = fd < 0 ? fd : uvm__rtnl_link(n->interface, &link);

    rc = rc < 0 ? failed(n, w, "rtnetlink", rc) : add_all(n, fd, link.index, w);
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

/* All that is on the interface, whoever put it there; routes go with the link. */
static int clear(const struct gcs_nic *n, struct gcs_words *w) {
    struct uvm__rtnl_address there[GCS_NIC_ADDRESSES_MAX];
    struct uvm__rtnl_link link;
    size_t count = 0;
    int rc = uvm__rtnl_link(n->interface, &link);

    if (rc == -ENODEV) {
        return 0;
    }
    int fd = uvm__rtnl_open();
    rc = fd < 0 ? fd : uvm__rtnl_set_up(n->interface, false);
    do {
        rc =
            rc < 0 ? rc : uvm__rtnl_addresses(fd, link.index, there, GCS_NIC_ADDRESSES_MAX, &count);
        for (size_t i = 0; rc == 0 && i < count && i < GCS_NIC_ADDRESSES_MAX; i++) {
            rc = uvm__rtnl_address(fd, link.index, &there[i], false);
            rc =
                rc == -EADDRNOTAVAIL ? 0 : rc; /* a second one goes with the first of its network */
        }
    } while (rc == 0 && count > GCS_NIC_ADDRESSES_MAX);
    if (fd >= 0) {
        close(fd);
    }
    return rc < 0 ? failed(n, w, "cannot be cleared", rc) : 0;
}

/* ---- Network ------------------------------------------------------------------------------ */

static void take_back(struct gcs_nic *n) {
    struct gcs_words ignored;

    gcs_dhcp_end(n);
    (void)clear(n, &ignored);
    gcs_nic_forget(n);
}

int gcs_nic_add(const cJSON *settings, struct gcs_words *w) {
    static struct gcs_nic n;

    if (read_settings(settings, &n, w) < 0 || wait_for(&n, w) < 0 || gcs_nic_claim(&n, w) < 0) {
        return -1;
    }
    int rc = bring_up(&n, w);
    if (rc == 0 && n.addresses_count == 0) {
        rc = gcs_dhcp(&n, w);
    }
    rc = rc < 0 ? rc : configure(&n, w);
    rc = rc < 0 ? rc : gcs_nic_remember(&n, w);
    if (rc < 0) {
        take_back(&n);
    }
    return rc;
}

int gcs_nic_remove(const cJSON *settings, struct gcs_words *w) {
    static struct gcs_nic n;

    if (read_id(settings, &n, w) < 0) {
        return -1;
    }
    if (!gcs_nic_recall(&n)) {
        return 0; /* as in the reference */
    }
    (void)find(&n); /* what it is called now */
    gcs_dhcp_end(&n);
    if (clear(&n, w) < 0) {
        return -1;
    }
    gcs_nic_forget(&n);
    return 0;
}
