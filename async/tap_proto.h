/* SPDX-License-Identifier: MIT
 * tap_proto.h — what the helper that makes a tap in another network namespace sends back.
 *
 * One message over the socket at UVM__TAP_FD, with two descriptors: the tap, and an rtnetlink socket of the
 * namespace. Both ends are built together and run on one machine, so it is a struct. A helper that fails says
 * why on stderr and sends nothing.
 */
#pragma once
#include "async/rtnl.h"

#define UVM__TAP_FD 4
#define UVM__TAP_ADDRESSES_MAX 16u /* addresses of an interface whose place a guest takes */
#define UVM__TAP_ROUTES_MAX 32u    /* routes by it */
#define UVM__TAP_MAGIC 0x74617031u

struct uvm__tap_reply {
    uint32_t magic;
    int32_t index; /* of the interface whose place the guest takes */
    uint32_t mtu;
    uint8_t mac[6];
    uint8_t addresses_count, routes_count;
    struct uvm__rtnl_address addresses[UVM__TAP_ADDRESSES_MAX];
    struct uvm__rtnl_route routes[UVM__TAP_ROUTES_MAX];
};
