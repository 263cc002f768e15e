/* SPDX-License-Identifier: MIT
 * nic_check.c — params of a network adapter: what can be said about them without a VM.
 */
#include "async/guid.h"
#include "async/rtnl.h"
#include "devices/nic_int.h"
#include "hcs/doc.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *const uvm__nic_type_names[UVM__NIC_TYPE_MAX] = {"user", "tap", "netns", "stream"};

static int check_guid(const char *what, char text[UVM_GUID_TEXT], struct uvm__fail *f) {
    struct uvm__guid guid;
    if (text[0] == 0) {
        return 0;
    }
    if (uvm__guid_read(text, strlen(text), &guid) < 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: \"%.40s\" is no GUID", what, text);
    }
    uvm__guid_text(&guid, text);
    return 0;
}

static int check_target(const struct uvm__nic_params *p, struct uvm__fail *f) {
    const char *type = uvm__nic_type_names[p->type];
    if (p->type == UVM__NIC_USER) {
        return p->target[0] == 0 ? 0 : uvm__fail(f, UVM_E_INVAL, 0, "user: is joined to nothing");
    }
    if (p->target[0] == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: which one?", type);
    }
    if (p->type == UVM__NIC_TAP) {
        bool name = strlen(p->target) < UVM__NIC_INTERFACE_BYTES &&
                    strpbrk(p->target, "/ \t\n:%") == NULL && p->target[0] != '.';
        return name ? 0
                    : uvm__fail(f, UVM_E_INVAL, 0, "tap: \"%.60s\" is no name of an interface",
                                p->target);
    }
    return p->target[0] == '/'
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0, "%s: \"%.60s\" is no absolute path", type, p->target);
}

static int check_mac(char mac[18], struct uvm__fail *f) {
    uint8_t b[UVM__DOC_MAC_BYTES];
    if (mac[0] == 0) {
        return 0;
    }
    if (uvm__doc_read_mac(mac, b) < 0) {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "mac: \"%s\" is no address of one adapter (such as 02:00:00:12:34:56)",
                         mac);
    }
    (void)snprintf(mac, 18, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    return 0;
}

/* In place; without a prefix where it is a host's. */
static int check_addresses(const char *what, bool prefix, char (*list)[UVM__NIC_ADDRESS_BYTES],
                           uint8_t count, struct uvm__fail *f) {
    for (uint8_t i = 0; i < count; i++) {
        struct uvm__rtnl_address a;
        bool has = strchr(list[i], '/') != NULL;
        if (!uvm__rtnl_read(list[i], &a) || has != prefix || a.prefix == 0) {
            return uvm__fail(f, UVM_E_INVAL, 0, "%s: \"%.60s\" is no address%s", what, list[i],
                             prefix ? " with its prefix (such as 10.1.2.3/24)" : "");
        }
        uvm__rtnl_text(&a, prefix, list[i]);
        for (uint8_t k = 0; k < i; k++) {
            if (strcmp(list[k], list[i]) == 0) {
                return uvm__fail(f, UVM_E_INVAL, 0, "%s: %s is there twice", what, list[i]);
            }
        }
    }
    return 0;
}

static int check_search(struct uvm__nic_params *p, struct uvm__fail *f) {
    for (uint8_t i = 0; i < p->search_count; i++) {
        bool good = p->search[i][0] != 0;
        for (char *c = p->search[i]; *c != 0; c++) {
            good = good && (isalnum((unsigned char)*c) || strchr("-_.", *c) != NULL);
            *c = (char)tolower((unsigned char)*c);
        }
        if (!good) {
            return uvm__fail(f, UVM_E_INVAL, 0, "search: \"%.60s\" is no domain", p->search[i]);
        }
    }
    return 0;
}

static int check_together(const struct uvm__nic_params *p, struct uvm__fail *f) {
    if (p->interface[0] != 0 && p->type != UVM__NIC_NETNS) {
        return uvm__fail(f, UVM_E_INVAL, 0, "interface: only of a network namespace");
    }
    if (p->mtu != 0 && (p->mtu < UVM__DOC_MTU_MIN || p->mtu > UVM__DOC_MTU_MAX)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "mtu: %u is not in %u to %u", p->mtu, UVM__DOC_MTU_MIN,
                         UVM__DOC_MTU_MAX);
    }
    if (p->dhcp && p->addresses_count > 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "dhcp: excludes addresses");
    }
    if (p->gateways_count > 0 && p->addresses_count == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "gateway: goes with addresses");
    }
    if (p->gateways_count == 2 &&
        (strchr(p->gateways[0], ':') == NULL) == (strchr(p->gateways[1], ':') == NULL)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "gateway: one for IPv4 and one for IPv6");
    }
    return 0;
}

int uvm__nic_check(struct uvm__nic_params *p, struct uvm__fail *f) {
    int rc = (unsigned)p->type < UVM__NIC_TYPE_MAX
                 ? check_target(p, f)
                 : uvm__fail(f, UVM_E_INVAL, 0, "type: is none of a network adapter");
    rc = rc < 0 ? rc : check_guid("id", p->id, f);
    rc = rc < 0 ? rc : check_guid("namespace_id", p->namespace_id, f);
    rc = rc < 0 ? rc : check_mac(p->mac, f);
    rc = rc < 0 ? rc : check_addresses("address", true, p->addresses, p->addresses_count, f);
    rc = rc < 0 ? rc : check_addresses("gateway", false, p->gateways, p->gateways_count, f);
    rc = rc < 0 ? rc : check_addresses("dns", false, p->dns, p->dns_count, f);
    rc = rc < 0 ? rc : check_search(p, f);
    return rc < 0 ? rc : check_together(p, f);
}
