/* SPDX-License-Identifier: MIT
 * nic.h — network adapters: what each is joined to on the host, and what its guest is told of the network.
 *
 * An adapter is keyed by its GUID. None is shared, but for one that is asked for again by its GUID and in the same
 * way. Of two with one MAC address the second is refused. No interface, namespace or tap is touched here: the service
 * opens them, and says which addresses and routes a namespace's interface has.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__NIC_ADDRESSES_MAX                                                                     \
    16u /* addresses, and routes besides the default ones, of one adapter */
#define UVM__NIC_GATEWAYS_MAX 2u   /* one a family */
#define UVM__NIC_DNS_MAX 3u        /* servers that a resolver asks */
#define UVM__NIC_SEARCH_MAX 6u     /* domains that it tries */
#define UVM__NIC_ADDRESS_BYTES 50u /* with its prefix and end */
#define UVM__NIC_DOMAIN_BYTES 254u
#define UVM__NIC_TARGET_BYTES 108u
#define UVM__NIC_INTERFACE_BYTES 16u

enum uvm__nic_type {
    UVM__NIC_USER,
    UVM__NIC_TAP,
    UVM__NIC_NETNS,
    UVM__NIC_STREAM,
    UVM__NIC_TYPE_MAX
};

/* Plain data, zeroed where nothing is said; see struct uvm_nic_params (uvm/devices.h). */
struct uvm__nic_params {
    char id[37]; /* "": a new one */
    enum uvm__nic_type type;
    char target[UVM__NIC_TARGET_BYTES]; /* of a tap its name, else a path */
    char interface[UVM__NIC_INTERFACE_BYTES];
    char mac[18];          /* "": one of our own, or the namespace's */
    char namespace_id[37]; /* the guest's */
    uint32_t mtu;
    bool dhcp;
    uint8_t addresses_count, gateways_count, dns_count, search_count;
    char addresses[UVM__NIC_ADDRESSES_MAX][UVM__NIC_ADDRESS_BYTES];
    char gateways[UVM__NIC_GATEWAYS_MAX][UVM__NIC_ADDRESS_BYTES];
    char dns[UVM__NIC_DNS_MAX][UVM__NIC_ADDRESS_BYTES];
    char search[UVM__NIC_SEARCH_MAX][UVM__NIC_DOMAIN_BYTES];
};

struct uvm__devices;
struct uvm__doc_nic;

/* Checks, and brings GUIDs, MAC and addresses into the one form that they are compared in. -UVM_E_INVAL. */
int uvm__nic_check(struct uvm__nic_params *p, struct uvm__fail *f);
/* One that the document has: there as long as the VM lives, and not configured by us. -UVM_E_EXISTS. */
int uvm__nic_pin(struct uvm__devices *d, const struct uvm__doc_nic *n, struct uvm__fail *f);
