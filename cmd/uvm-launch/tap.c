/* SPDX-License-Identifier: MIT
 *
 * uvm-launch tap INTERFACE: gives a guest the place of an interface (a container's veth) in this network namespace.
 *
 * A tap is made, and each of the two gets an ingress filter that redirects all that comes in to the other: frames
 * for the interface go to the guest, the guest's leave by the interface. The interface keeps its addresses, but
 * the namespace hears nothing any more. The guest shall have its MAC, MTU, addresses and routes, so they are
 * sent back (async/tap_proto.h) with the tap and a socket by which the filter can be taken away again. The tap
 * goes with its last descriptor, and its filter with it.
 *
 * Status 0: sent. Else stderr has the words, and nothing is left.
 */
#include "cmd/uvm-launch/tap.h"

#include "async/tap_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN "/dev/net/tun"

static int fail(const char *what, const char *name, int err) {
    const char *remedy =
        err == EPERM || err == EACCES ? "; CAP_NET_ADMIN in the namespace is needed" : "";
    dprintf(STDERR_FILENO, "%s %s: %s%s", what, name, strerror(err), remedy);
    return -1;
}

static int make_tap(struct ifreq *r) {
    int fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return fail("open", TUN, errno);
    }
    r->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    (void)snprintf(r->ifr_name, sizeof r->ifr_name, "uvm%%d");
    if (ioctl(fd, TUNSETIFF, r) < 0) {
        return fail("make", "a tap", errno);
    }
    return fd;
}

static int look(int netlink, const char *interface, struct uvm__tap_reply *reply,
                struct uvm__rtnl_link *ret) {
    size_t addresses = 0, routes = 0;
    int rc = uvm__rtnl_link(interface, ret);

    if (rc < 0) {
        return fail("interface", interface, -rc);
    }
    if (!ret->ethernet) {
        dprintf(STDERR_FILENO, "interface %s: is no Ethernet", interface);
        return -1;
    }
    rc = uvm__rtnl_addresses(netlink, ret->index, reply->addresses, UVM__TAP_ADDRESSES_MAX,
                             &addresses);
    rc = rc < 0
             ? rc
             : uvm__rtnl_routes(netlink, ret->index, reply->routes, UVM__TAP_ROUTES_MAX, &routes);
    if (rc < 0) {
        return fail("addresses and routes of", interface, -rc);
    }
    if (addresses > UVM__TAP_ADDRESSES_MAX || routes > UVM__TAP_ROUTES_MAX) {
        dprintf(STDERR_FILENO, "interface %s: %zu addresses and %zu routes; at most %u and %u",
                interface, addresses, routes, UVM__TAP_ADDRESSES_MAX, UVM__TAP_ROUTES_MAX);
        return -1;
    }
    reply->magic = UVM__TAP_MAGIC;
    reply->index = ret->index;
    reply->mtu = ret->mtu;
    memcpy(reply->mac, ret->mac, sizeof reply->mac);
    reply->addresses_count = (uint8_t)addresses;
    reply->routes_count = (uint8_t)routes;
    return 0;
}

static int join(int netlink, const struct uvm__rtnl_link *l, const char *interface,
                const char *tap) {
    struct uvm__rtnl_link t;
    int rc = uvm__rtnl_set_mtu(tap, l->mtu);

    rc = rc < 0 ? rc : uvm__rtnl_set_up(tap, true);
    rc = rc < 0 ? rc : uvm__rtnl_link(tap, &t);
    rc = rc < 0 ? rc : uvm__rtnl_redirect(netlink, t.index, l->index);
    if (rc < 0) {
        return fail("tap for", interface, -rc);
    }
    rc = uvm__rtnl_redirect(netlink, l->index, t.index);
    if (rc == -EEXIST) {
        dprintf(
            STDERR_FILENO,
            "interface %s: has an ingress filter already: another VM has its place, or had it and "
            "was killed (tc qdisc del dev %s ingress)",
            interface, interface);
        return -1;
    }
    if (rc < 0) {
        return fail("redirect from", interface, -rc);
    }
    if (!l->up && (rc = uvm__rtnl_set_up(interface, true)) < 0) {
        (void)uvm__rtnl_redirect_end(netlink, l->index);
        return fail("bring up", interface, -rc);
    }
    return 0;
}

static int send_back(const struct uvm__tap_reply *reply, int tap, int netlink) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec data = {(void *)(uintptr_t)reply, sizeof *reply};
    struct msghdr m = {.msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    const int fds[2] = {tap, netlink};

    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(&control.head), fds, sizeof fds);
    return sendmsg(UVM__TAP_FD, &m, MSG_NOSIGNAL) == (ssize_t)sizeof *reply
               ? 0
               : fail("answer", "the owner", errno);
}

int uvm__tap_main(int argc, char **argv) {
    struct uvm__tap_reply reply;
    struct uvm__rtnl_link link;
    struct ifreq tap = {.ifr_flags = 0};

    memset(&reply, 0, sizeof reply);
    if (argc != 3) {
        dprintf(STDERR_FILENO, "usage: uvm-launch tap INTERFACE");
        return 2;
    }
    int netlink = uvm__rtnl_open();
    if (netlink < 0) {
        return fail("open", "rtnetlink", -netlink) < 0;
    }
    if (look(netlink, argv[2], &reply, &link) < 0) {
        return 1;
    }
    int fd = make_tap(&tap);
    if (fd < 0 || join(netlink, &link, argv[2], tap.ifr_name) < 0) {
        return 1;
    }
    if (send_back(&reply, fd, netlink) < 0) {
        (void)uvm__rtnl_redirect_end(netlink, link.index);
        return 1;
    }
    return 0;
}
