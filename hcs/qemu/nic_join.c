/* SPDX-License-Identifier: MIT
 * nic_join.c — what a network adapter is joined to, opened in the owner's name: QEMU gets descriptors only.
 *
 * Of another namespace there are two: the tap, which goes with its last descriptor, and an rtnetlink socket, by
 * which the redirection of the namespace's interface is taken away. That works whatever has become of the
 * namespace's name or file, for the socket keeps it alive.
 */
#include "hcs/qemu/nic.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "async/check.h"
#include "async/cleanup.h"
#include "async/tap_proto.h"

#define TUN "/dev/net/tun"

void uvm__nic_join_init(struct uvm__nic_join *j) {
    *j = (struct uvm__nic_join){.fd = -1, .netlink = -1};
}

void uvm__nic_join_close(struct uvm__nic_join *j) {
    if (j->netlink >= 0) {
        (void)uvm__rtnl_redirect_end(j->netlink, j->index); /* gone with its interface: as well */
    }
    uvm__close_fd(&j->netlink);
    uvm__close_fd(&j->fd);
}

/* ---- a tap of the owner's namespace ------------------------------------------------------- */

static int tap_failed(const char *name, int err, struct uvm__fail *f) {
    const char *why =
        err == EBUSY    ? "is in use by another VM or program"
        : err == EINVAL ? "is no tap, or was made with other flags (vnet_hdr goes by "
                          "itself; multi_queue is not supported)"
        : err == EPERM || err == EACCES
            ? "may not be opened: it needs CAP_NET_ADMIN, or a tap made for this user "
              "(ip tuntap add mode tap user ...)"
        : err == ENODEV ? "there is no such interface"
                        : strerror(err);
    return uvm__fail(f, err == ENODEV ? UVM_E_NOTFOUND : UVM_E_HOST, err, "tap %s: %s", name, why);
}

static int open_tap(struct uvm__nic_join *j, const char *name, struct uvm__fail *f) {
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    struct uvm__rtnl_link link;
    int rc = uvm__rtnl_link(name, &link); /* first: TUNSETIFF would make what is not there */

    if (rc < 0) {
        return tap_failed(name, -rc, f);
    }
    UVM_CLEANUP_FD int fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        return err == EACCES || err == EPERM
                   ? tap_failed(name, err, f)
                   : uvm__fail(f, UVM_E_HOST, err, "tap %s: " TUN ": %s", name, strerror(err));
    }
    (void)snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        return tap_failed(name, errno, f);
    }
    j->config.mtu = link.mtu;
    j->fd = UVM_TAKE_FD(fd);
    return 0;
}

/* ---- a stream of frames ------------------------------------------------------------------- */

static int open_stream(struct uvm__nic_join *j, const char *path, struct uvm__fail *f) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    UVM_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    UVM_ASSERT_CMP(strlen(path), <, sizeof to.sun_path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        int err = errno;
        return uvm__fail(f, err == ENOENT ? UVM_E_NOTFOUND : UVM_E_HOST, err, "stream %s: %s%s",
                         path, strerror(err), err == ECONNREFUSED ? "; nobody listens" : "");
    }
    j->fd = UVM_TAKE_FD(fd);
    return 0;
}

int uvm__nic_join_open(struct uvm__nic_join *j, const struct uvm__doc_linux_endpoint *e,
                       struct uvm__fail *f) {
    if (strcmp(e->type, "Tap") == 0) {
        return open_tap(j, e->name, f);
    }
    if (strcmp(e->type, "Stream") == 0) {
        return open_stream(j, e->path, f);
    }
    UVM_ASSERT(strcmp(e->type, "User") == 0);
    return 0;
}

/* ---- another namespace -------------------------------------------------------------------- */

static void put_config(struct uvm__hcs_nic_config *c, const struct uvm__tap_reply *r) {
    c->mtu = r->mtu;
    (void)snprintf(c->mac, sizeof c->mac, "%02x:%02x:%02x:%02x:%02x:%02x", r->mac[0], r->mac[1],
                   r->mac[2], r->mac[3], r->mac[4], r->mac[5]);
    for (unsigned i = 0; i < r->addresses_count; i++) {
        uvm__rtnl_text(&r->addresses[i], true, c->addresses[i]);
    }
    c->addresses_count = r->addresses_count;
    for (unsigned i = 0; i < r->routes_count; i++) {
        const struct uvm__rtnl_route *from = &r->routes[i];
        uvm__rtnl_text(&from->destination, true, c->routes[i].destination);
        if (from->gateway.family != 0) {
            uvm__rtnl_text(&from->gateway, false, c->routes[i].next_hop);
        }
        c->routes[i].metric = from->metric;
    }
    c->routes_count = r->routes_count;
}

int uvm__nic_join_receive(struct uvm__nic_join *j, int fd, struct uvm__fail *f) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct uvm__tap_reply reply;
    struct iovec data = {&reply, sizeof reply};
    struct msghdr m = {.msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    int fds[2] = {-1, -1};
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

    if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fds)) {
        memcpy(fds, CMSG_DATA(c), sizeof fds);
    }
    bool good = n == (ssize_t)sizeof reply && fds[0] >= 0 && reply.magic == UVM__TAP_MAGIC &&
                reply.addresses_count <= UVM__TAP_ADDRESSES_MAX &&
                reply.routes_count <= UVM__TAP_ROUTES_MAX;
    if (!good) {
        uvm__close_fd(&fds[0]);
        uvm__close_fd(&fds[1]);
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "the helper of the namespace sent no tap");
    }
    j->fd = fds[0];
    j->netlink = fds[1];
    j->index = reply.index;
    put_config(&j->config, &reply);
    return 0;
}
