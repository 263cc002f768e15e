/* SPDX-License-Identifier: MIT
 * rtnl.h — rtnetlink: addresses, routes and redirections of one network namespace, request by request.
 *
 * A socket belongs to the namespace in which it was opened, whoever has it later, and keeps it alive. Calls block
 * only for as long as the kernel works on the one request, which answers at once. Nothing is allocated.
 * Results: 0, or a negative errno. Needs nothing of an engine, since small programs and the guest use it too.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UVM__RTNL_TEXT_BYTES 50u /* "address/prefix" of either family, with its end */

struct uvm__rtnl_address {
    uint8_t family; /* AF_INET, AF_INET6; 0: none */
    uint8_t prefix; /* its length */
    uint8_t bytes[16];
};

struct uvm__rtnl_route {
    struct uvm__rtnl_address destination; /* of prefix 0: the default */
    struct uvm__rtnl_address gateway;     /* family 0: on the link */
    uint32_t metric;                      /* 0: the kernel's */
};

struct uvm__rtnl_link {
    int index;
    unsigned mtu;
    uint8_t mac[6];
    bool ethernet, up;
};

int uvm__rtnl_open(void); /* a descriptor, CLOEXEC */

/* ENODEV: no such interface. Of the caller's own namespace, as the next three. */
int uvm__rtnl_link(const char *name, struct uvm__rtnl_link *ret);
int uvm__rtnl_set_mtu(const char *name, unsigned mtu);
int uvm__rtnl_set_up(const char *name, bool up);

int uvm__rtnl_address(int fd, int index, const struct uvm__rtnl_address *a, bool add);
/* EEXIST, ESRCH (none to remove), ENETUNREACH (no way to the gateway). */
int uvm__rtnl_route(int fd, int index, const struct uvm__rtnl_route *r, bool add);
/* Of global scope and not temporary: what somebody configured. ret_count: how many there are, which may be more
 * than `max`. */
int uvm__rtnl_addresses(int fd, int index, struct uvm__rtnl_address *ret, size_t max,
                        size_t *ret_count);
/* Of the main table, that the kernel did not make itself. On-link ones first. */
int uvm__rtnl_routes(int fd, int index, struct uvm__rtnl_route *ret, size_t max, size_t *ret_count);

/* Everything that comes in at `from` leaves at `to`: an ingress qdisc with one filter (u32, mirred). EEXIST:
 * `from` has an ingress qdisc already. */
int uvm__rtnl_redirect(int fd, int from, int to);
/* Takes away an ingress qdisc with its filters; ENOENT or EINVAL: there is none, ENODEV: no such interface. */
int uvm__rtnl_redirect_end(int fd, int from);

/* "10.1.2.3" or "10.1.2.3/24" (without: 32 or 128). False: neither family's. */
bool uvm__rtnl_read(const char *text, struct uvm__rtnl_address *ret);
void uvm__rtnl_text(const struct uvm__rtnl_address *a, bool prefix, char ret[UVM__RTNL_TEXT_BYTES]);
bool uvm__rtnl_same(const struct uvm__rtnl_address *a, const struct uvm__rtnl_address *b);
