/* SPDX-License-Identifier: MIT
 * nic.c — network adapters as callers describe them, to what their manager wants.
 */
#include "async/check.h"
#include "async/params.h"
#include "uvm/options.h"
#include <string.h>

UVM_STATIC_ASSERT(UVM_NIC_ADDRESSES_MAX == UVM__NIC_ADDRESSES_MAX &&
                      UVM_NIC_GATEWAYS_MAX == UVM__NIC_GATEWAYS_MAX &&
                      UVM_NIC_DNS_MAX == UVM__NIC_DNS_MAX &&
                      UVM_NIC_SEARCH_MAX == UVM__NIC_SEARCH_MAX &&
                      (int)UVM_NIC_STREAM == (int)UVM__NIC_STREAM,
                  "what callers are told is what the manager checks");

static int put(const char *what, const char *text, char *ret, size_t bytes, struct uvm__fail *f) {
    if (text == NULL) {
        return 0;
    }
    if (text[0] == 0 || strlen(text) >= bytes) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: is not of 1 to %zu bytes", what, bytes - 1);
    }
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

struct room {
    const char *what;
    char *items;
    size_t item_bytes;
    uint8_t max;
    uint8_t *count;
};

static int put_list(const struct room *r, const char *const *list, struct uvm__fail *f) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && list != NULL && list[i] != NULL; i++) {
        if (i == r->max) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "%s: more than %u", r->what, r->max);
        }
        rc = put(r->what, list[i], r->items + i * r->item_bytes, r->item_bytes, f);
        *r->count = (uint8_t)(i + 1);
    }
    return rc;
}

static int put_lists(const struct uvm_nic_params *p, struct uvm__nic_params *ret,
                     struct uvm__fail *f) {
    const struct room addresses = {"address", ret->addresses[0], sizeof ret->addresses[0],
                                   UVM_NIC_ADDRESSES_MAX, &ret->addresses_count};
    const struct room gateways = {"gateway", ret->gateways[0], sizeof ret->gateways[0],
                                  UVM_NIC_GATEWAYS_MAX, &ret->gateways_count};
    const struct room dns = {"dns", ret->dns[0], sizeof ret->dns[0], UVM_NIC_DNS_MAX,
                             &ret->dns_count};
    const struct room search = {"search", ret->search[0], sizeof ret->search[0], UVM_NIC_SEARCH_MAX,
                                &ret->search_count};
    int rc = put_list(&addresses, p->addresses, f);
    rc = rc < 0 ? rc : put_list(&gateways, p->gateways, f);
    rc = rc < 0 ? rc : put_list(&dns, p->dns, f);
    return rc < 0 ? rc : put_list(&search, p->search, f);
}

int uvm__nic_read(const struct uvm_nic_params *params, struct uvm__nic_params *ret,
                  struct uvm__fail *f) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    int rc = uvm__params_read("uvm_nic_params", params, sizeof p, &p, f);
    memset(ret, 0, sizeof *ret); /* its padding, too: it is compared as it stands */
    ret->type = (enum uvm__nic_type)p.type;
    ret->mtu = p.mtu;
    ret->dhcp = p.dhcp;
    rc = rc < 0 ? rc : put("target", p.target, ret->target, sizeof ret->target, f);
    rc = rc < 0 ? rc : put("interface", p.interface, ret->interface, sizeof ret->interface, f);
    rc = rc < 0 ? rc : put("id", p.id, ret->id, sizeof ret->id, f);
    rc = rc < 0 ? rc : put("mac", p.mac, ret->mac, sizeof ret->mac, f);
    rc = rc < 0
             ? rc
             : put("namespace_id", p.namespace_id, ret->namespace_id, sizeof ret->namespace_id, f);
    rc = rc < 0 ? rc : put_lists(&p, ret, f);
    return rc < 0 ? rc : uvm__nic_check(ret, f);
}
