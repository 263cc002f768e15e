/* SPDX-License-Identifier: MIT
 * nic_guest.c — what a guest is told of an adapter's network: hcsshim's LCOWNetworkAdapter.
 *
 * Addresses come from whoever attached it; else from the namespace's interface whose place the guest takes, with
 * its routes; else the guest asks by DHCP, which is what no IPConfigs means. The MTU is not told: the adapter itself
 * has it.
 */
#include "async/json.h"
#include "devices/nic_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRIC_MAX 65535u /* of the protocol */

static bool add_text(cJSON *o, const char *key, const char *text) {
    return text[0] == 0 || cJSON_AddStringToObject(o, key, text) != NULL;
}

static bool add_list(cJSON *o, const char *key, const char *items, size_t bytes, unsigned count) {
    char text[UVM__NIC_SEARCH_MAX * (UVM__NIC_DOMAIN_BYTES + 1)] = "";
    size_t used = 0;
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? "" : ",",
                                 items + i * bytes);
    }
    return add_text(o, key, text);
}

static cJSON *new_item(cJSON *list) {
    cJSON *o = cJSON_CreateObject();
    if (o != NULL && !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        o = NULL;
    }
    return o;
}

static bool add_address(cJSON *list, const char *text) {
    const char *slash = strchr(text, '/');
    cJSON *o = new_item(list);
    char address[UVM__NIC_ADDRESS_BYTES];
    (void)snprintf(address, sizeof address, "%.*s", (int)(slash - text), text);
    return o != NULL && cJSON_AddStringToObject(o, "IPAddress", address) != NULL &&
           uvm__json_add_u64(o, "PrefixLength", strtoul(slash + 1, NULL, 10)) != NULL;
}

static bool add_route(cJSON *list, const char *destination, const char *next_hop, uint32_t metric) {
    cJSON *o = new_item(list);
    return o != NULL && add_text(o, "NextHop", next_hop) &&
           cJSON_AddStringToObject(o, "DestinationPrefix", destination) != NULL &&
           (metric == 0 ||
            uvm__json_add_u64(o, "Metric", metric < METRIC_MAX ? metric : METRIC_MAX) != NULL);
}

static bool add_given(cJSON *addresses, cJSON *routes, const struct uvm__nic_params *p) {
    bool ok = true;
    for (unsigned i = 0; ok && i < p->addresses_count; i++) {
        ok = add_address(addresses, p->addresses[i]);
    }
    for (unsigned i = 0; ok && i < p->gateways_count; i++) {
        bool six = strchr(p->gateways[i], ':') != NULL;
        ok = add_route(routes, six ? "::/0" : "0.0.0.0/0", p->gateways[i], 0);
    }
    return ok;
}

static bool add_found(cJSON *addresses, cJSON *routes, const struct uvm__hcs_nic_config *c) {
    bool ok = true;
    for (unsigned i = 0; ok && i < c->addresses_count; i++) {
        ok = add_address(addresses, c->addresses[i]);
    }
    for (unsigned i = 0; ok && i < c->routes_count; i++) {
        ok =
            add_route(routes, c->routes[i].destination, c->routes[i].next_hop, c->routes[i].metric);
    }
    return ok;
}

static bool add_network(cJSON *s, const struct uvm__nic_params *p, const char *mac,
                        const struct uvm__hcs_nic_config *c) {
    bool ok = add_text(s, "MacAddress", mac) &&
              add_list(s, "DNSSuffix", p->search[0], sizeof p->search[0], p->search_count) &&
              add_list(s, "DNSServerList", p->dns[0], sizeof p->dns[0], p->dns_count);
    if (!ok || p->dhcp || (p->addresses_count == 0 && c->addresses_count == 0)) {
        return ok;
    }
    cJSON *addresses = cJSON_AddArrayToObject(s, "IPConfigs");
    cJSON *routes = cJSON_AddArrayToObject(s, "Routes");
    return addresses != NULL && routes != NULL &&
           (p->addresses_count > 0 ? add_given(addresses, routes, p)
                                   : add_found(addresses, routes, c));
}

cJSON *uvm__nic_guest_settings(const struct uvm__nic_params *p, const char *guid, const char *mac,
                               const struct uvm__hcs_nic_config *config) {
    cJSON *s = cJSON_CreateObject();
    bool ok = s != NULL && add_text(s, "NamespaceID", p->namespace_id) && add_text(s, "ID", guid) &&
              (config == NULL || add_network(s, p, mac, config));
    if (!ok) {
        cJSON_Delete(s);
        return NULL;
    }
    return s;
}
