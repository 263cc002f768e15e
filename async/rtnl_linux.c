/* SPDX-License-Identifier: MIT
 * rtnl_linux.c — see rtnl.h.
 *
 * A request is built in one buffer on the stack: header, the family's struct, attributes; nested ones get their
 * length when they end. What does not fit sets `full`, so that only the end is checked.
 */
#include "async/rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES 1024u
#define ANSWER_BYTES 32768u

struct message {
    union {
        struct nlmsghdr head;
        char bytes[MESSAGE_BYTES];
    };
    bool full;
};

/* ---- building ----------------------------------------------------------------------------- */

static void put(struct message *m, const void *data, size_t bytes) {
    size_t at = NLMSG_ALIGN(m->head.nlmsg_len);

    if (m->full || at + bytes > sizeof m->bytes) {
        m->full = true;
        return;
    }
    if (bytes > 0) {
        memcpy(m->bytes + at, data, bytes);
    }
    m->head.nlmsg_len = (uint32_t)(at + bytes);
}

static void begin(struct message *m, uint16_t type, uint16_t flags, const void *data,
                  size_t bytes) {
    memset(m, 0, sizeof *m);
    m->head.nlmsg_len = NLMSG_HDRLEN;
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    m->head.nlmsg_seq = 1;
    put(m, data, bytes);
}

static void attribute(struct message *m, uint16_t type, const void *data, size_t bytes) {
    const struct rtattr a = {.rta_len = (uint16_t)(RTA_LENGTH(bytes)), .rta_type = type};

    put(m, &a, sizeof a);
    if (bytes > 0) {
        put(m, data, bytes);
    }
}

/* Where the nested attribute is, for its end. */
static size_t nest(struct message *m, uint16_t type) {
    size_t at = NLMSG_ALIGN(m->head.nlmsg_len);

    attribute(m, type, NULL, 0);
    return at;
}

static void nest_end(struct message *m, size_t at) {
    if (!m->full) {
        uint16_t bytes = (uint16_t)(m->head.nlmsg_len - at);
        memcpy(m->bytes + at + offsetof(struct rtattr, rta_len), &bytes, sizeof bytes);
    }
}

/* ---- asking ------------------------------------------------------------------------------- */

int uvm__rtnl_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? -errno : fd;
}

static int send_message(int fd, const struct message *m) {
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

    if (m->full) {
        return -EMSGSIZE;
    }
    ssize_t n = sendto(fd, m->bytes, m->head.nlmsg_len, MSG_NOSIGNAL,
                       (const struct sockaddr *)&kernel, sizeof kernel);
    return n < 0 ? -errno : 0;
}

/* The next datagram of answers; only the kernel's count. */
static ssize_t receive(int fd, char *buf) {
    for (;;) {
        struct sockaddr_nl from = {.nl_pid = 0};
        socklen_t bytes = sizeof from;
        ssize_t n = recvfrom(fd, buf, ANSWER_BYTES, MSG_TRUNC, (struct sockaddr *)&from, &bytes);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (from.nl_pid == 0) {
            return (size_t)n > ANSWER_BYTES ? -EMSGSIZE : n;
        }
    }
}

typedef void (*each_fn)(const struct nlmsghdr *h, void *arg);

/* Until the kernel says that it was all. */
static int read_answers(int fd, each_fn each, void *arg) {
    static _Thread_local union {
        struct nlmsghdr head;
        char bytes[ANSWER_BYTES];
    } buf;

    for (;;) {
        ssize_t n = receive(fd, buf.bytes);
        if (n < 0) {
            return (int)n;
        }
        size_t left = (size_t)n;
        for (const struct nlmsghdr *h = &buf.head; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_DONE) {
                return 0;
            }
            if (h->nlmsg_type == NLMSG_ERROR) {
                return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
            }
            if (each != NULL) {
                each(h, arg);
            }
        }
    }
}

static int ask(int fd, struct message *m, each_fn each, void *arg) {
    int rc = send_message(fd, m);

    return rc < 0 ? rc : read_answers(fd, each, arg);
}

/* ---- links -------------------------------------------------------------------------------- */

static int link_call(const char *name, unsigned long request, struct ifreq *r) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return -errno;
    }
    (void)snprintf(r->ifr_name, sizeof r->ifr_name, "%s", name);
    int rc = ioctl(fd, request, r) < 0 ? -errno : 0;
    (void)close(fd);
    return rc;
}

int uvm__rtnl_link(const char *name, struct uvm__rtnl_link *ret) {
    struct uvm__rtnl_link l = {.index = 0};
    struct ifreq r = {.ifr_flags = 0};
    int rc = strlen(name) < IFNAMSIZ ? link_call(name, SIOCGIFINDEX, &r) : -ENODEV;

    l.index = r.ifr_ifindex;
    rc = rc < 0 ? rc : link_call(name, SIOCGIFMTU, &r);
    l.mtu = (unsigned)r.ifr_mtu;
    rc = rc < 0 ? rc : link_call(name, SIOCGIFFLAGS, &r);
    l.up = (r.ifr_flags & IFF_UP) != 0;
    rc = rc < 0 ? rc : link_call(name, SIOCGIFHWADDR, &r);
    l.ethernet = r.ifr_hwaddr.sa_family == ARPHRD_ETHER;
    memcpy(l.mac, r.ifr_hwaddr.sa_data, sizeof l.mac);
    if (rc == 0) {
        *ret = l;
    }
    return rc;
}

int uvm__rtnl_set_mtu(const char *name, unsigned mtu) {
    struct ifreq r = {.ifr_mtu = (int)mtu};
    return link_call(name, SIOCSIFMTU, &r);
}

int uvm__rtnl_set_up(const char *name, bool up) {
    struct ifreq r = {.ifr_flags = 0};
    int rc = link_call(name, SIOCGIFFLAGS, &r);

    r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
    return rc < 0 ? rc : link_call(name, SIOCSIFFLAGS, &r);
}

/* ---- addresses, routes -------------------------------------------------------------------- */

static size_t bytes_of(uint8_t family) {
    return family == AF_INET ? 4 : 16;
}

int uvm__rtnl_address(int fd, int index, const struct uvm__rtnl_address *a, bool add) {
    const struct ifaddrmsg head = {.ifa_family = a->family,
                                   .ifa_prefixlen = a->prefix,
                                   .ifa_flags = IFA_F_PERMANENT,
                                   .ifa_index = (unsigned)index};
    const uint32_t flags = IFA_F_PERMANENT | IFA_F_NODAD; /* usable at once */
    uint16_t how = add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK;
    struct message m;

    begin(&m, add ? RTM_NEWADDR : RTM_DELADDR, how, &head, sizeof head);
    attribute(&m, IFA_LOCAL, a->bytes, bytes_of(a->family));
    attribute(&m, IFA_ADDRESS, a->bytes, bytes_of(a->family));
    if (add && a->family == AF_INET6) {
        attribute(&m, IFA_FLAGS, &flags, sizeof flags);
    }
    if (add && a->family == AF_INET && a->prefix < 31) {
        uint32_t address, host = htonl(UINT32_MAX >> a->prefix);
        memcpy(&address, a->bytes, sizeof address);
        address |= host;
        attribute(&m, IFA_BROADCAST, &address, sizeof address);
    }
    return ask(fd, &m, NULL, NULL);
}

int uvm__rtnl_route(int fd, int index, const struct uvm__rtnl_route *r, bool add) {
    bool direct = r->gateway.family == 0;
    const struct rtmsg head = {.rtm_family = r->destination.family,
                               .rtm_dst_len = r->destination.prefix,
                               .rtm_table = RT_TABLE_MAIN,
                               .rtm_protocol = RTPROT_STATIC,
                               .rtm_scope = add ? direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
                                                : RT_SCOPE_NOWHERE,
                               .rtm_type = RTN_UNICAST};
    uint16_t how = add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK;
    struct message m;

    begin(&m, add ? RTM_NEWROUTE : RTM_DELROUTE, how, &head, sizeof head);
    if (r->destination.prefix > 0) {
        attribute(&m, RTA_DST, r->destination.bytes, bytes_of(r->destination.family));
    }
    if (!direct) {
        attribute(&m, RTA_GATEWAY, r->gateway.bytes, bytes_of(r->gateway.family));
    }
    attribute(&m, RTA_OIF, &index, sizeof index);
    if (r->metric > 0) {
        attribute(&m, RTA_PRIORITY, &r->metric, sizeof r->metric);
    }
    return ask(fd, &m, NULL, NULL);
}

struct list {
    int index;
    void *items;
    size_t max, count;
};

/* The attribute of a message behind `head_bytes`, of `bytes` at least; NULL: it has none. */
static const void *find(const struct nlmsghdr *h, size_t head_bytes, uint16_t type, size_t bytes) {
    size_t at = NLMSG_ALIGN(NLMSG_HDRLEN + head_bytes);
    const char *base = (const char *)h;

    while (at + sizeof(struct rtattr) <= h->nlmsg_len) {
        struct rtattr a;
        memcpy(&a, base + at, sizeof a);
        if (a.rta_len < sizeof a || at + a.rta_len > h->nlmsg_len) {
            return NULL;
        }
        if ((a.rta_type & NLA_TYPE_MASK) == type && a.rta_len >= RTA_LENGTH(bytes)) {
            return base + at + RTA_LENGTH(0);
        }
        at += RTA_ALIGN(a.rta_len);
    }
    return NULL;
}

static void set(struct uvm__rtnl_address *a, uint8_t family, uint8_t prefix, const void *bytes) {
    memset(a, 0, sizeof *a);
    a->family = family;
    a->prefix = prefix;
    if (bytes != NULL) {
        memcpy(a->bytes, bytes, bytes_of(family));
    }
}

static void on_address(const struct nlmsghdr *h, void *arg) {
    const struct ifaddrmsg *a = NLMSG_DATA(h);
    struct list *l = arg;

    if (h->nlmsg_type != RTM_NEWADDR || (int)a->ifa_index != l->index ||
        a->ifa_scope != RT_SCOPE_UNIVERSE || (a->ifa_flags & IFA_F_TEMPORARY) != 0 ||
        (a->ifa_family != AF_INET && a->ifa_family != AF_INET6)) {
        return;
    }
    const void *bytes = find(h, sizeof *a, IFA_LOCAL, bytes_of(a->ifa_family));
    bytes = bytes != NULL ? bytes : find(h, sizeof *a, IFA_ADDRESS, bytes_of(a->ifa_family));
    if (bytes != NULL && l->count++ < l->max) {
        set((struct uvm__rtnl_address *)l->items + (l->count - 1), a->ifa_family, a->ifa_prefixlen,
            bytes);
    }
}

int uvm__rtnl_addresses(int fd, int index, struct uvm__rtnl_address *ret, size_t max,
                        size_t *ret_count) {
    const struct ifaddrmsg head = {.ifa_family = AF_UNSPEC};
    struct list l = {index, ret, max, 0};
    struct message m;

    begin(&m, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
    int rc = ask(fd, &m, on_address, &l);
    *ret_count = l.count;
    return rc;
}

static void on_route(const struct nlmsghdr *h, void *arg) {
    const struct rtmsg *r = NLMSG_DATA(h);
    struct list *l = arg;

    if (h->nlmsg_type != RTM_NEWROUTE || r->rtm_table != RT_TABLE_MAIN ||
        r->rtm_type != RTN_UNICAST || r->rtm_protocol == RTPROT_KERNEL ||
        (r->rtm_flags & RTM_F_CLONED) != 0 ||
        (r->rtm_family != AF_INET && r->rtm_family != AF_INET6)) {
        return;
    }
    const void *oif = find(h, sizeof *r, RTA_OIF, sizeof(int));
    if (oif == NULL || memcmp(oif, &l->index, sizeof l->index) != 0 || l->count++ >= l->max) {
        return;
    }
    struct uvm__rtnl_route *to = (struct uvm__rtnl_route *)l->items + (l->count - 1);
    const void *metric = find(h, sizeof *r, RTA_PRIORITY, sizeof to->metric);
    const void *gateway = find(h, sizeof *r, RTA_GATEWAY, bytes_of(r->rtm_family));
    memset(to, 0, sizeof *to);
    set(&to->destination, r->rtm_family, r->rtm_dst_len,
        find(h, sizeof *r, RTA_DST, bytes_of(r->rtm_family)));
    if (gateway != NULL) {
        set(&to->gateway, r->rtm_family, (uint8_t)(8 * bytes_of(r->rtm_family)), gateway);
    }
    if (metric != NULL) {
        memcpy(&to->metric, metric, sizeof to->metric);
    }
}

static int on_link_first(const void *a, const void *b) {
    const struct uvm__rtnl_route *x = a, *y = b;
    return (x->gateway.family != 0) - (y->gateway.family != 0);
}

int uvm__rtnl_routes(int fd, int index, struct uvm__rtnl_route *ret, size_t max,
                     size_t *ret_count) {
    const struct rtmsg head = {.rtm_family = AF_UNSPEC};
    struct list l = {index, ret, max, 0};
    struct message m;

    begin(&m, RTM_GETROUTE, NLM_F_DUMP, &head, sizeof head);
    int rc = ask(fd, &m, on_route, &l);
    *ret_count = l.count;
    qsort(ret, l.count < max ? l.count : max, sizeof *ret, on_link_first);
    return rc;
}

/* ---- redirection -------------------------------------------------------------------------- */

static struct tcmsg ingress(int index) {
    return (struct tcmsg){.tcm_family = AF_UNSPEC,
                          .tcm_ifindex = index,
                          .tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0),
                          .tcm_parent = TC_H_INGRESS};
}

static int add_filter(int fd, int from, int to) {
    struct tcmsg head = {.tcm_family = AF_UNSPEC,
                         .tcm_ifindex = from,
                         .tcm_parent = TC_H_MAKE(TC_H_INGRESS, 0),
                         .tcm_info = TC_H_MAKE(1u << 16, htons(0x0003 /* every protocol */))};
    const struct tc_mirred redirect = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)to};
    union { /* the key stands behind the selector, in its last member */
        struct tc_u32_sel sel;
        uint8_t bytes[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)];
    } all; /* one key that every packet has */
    struct message m;

    memset(&all, 0, sizeof all);
    all.sel.flags = TC_U32_TERMINAL;
    all.sel.nkeys = 1;
    begin(&m, RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    attribute(&m, TCA_KIND, "u32", sizeof "u32");
    size_t options = nest(&m, TCA_OPTIONS);
    attribute(&m, TCA_U32_SEL, &all, sizeof all);
    size_t actions = nest(&m, TCA_U32_ACT), first = nest(&m, 1);
    attribute(&m, TCA_ACT_KIND, "mirred", sizeof "mirred");
    size_t inside = nest(&m, TCA_ACT_OPTIONS);
    attribute(&m, TCA_MIRRED_PARMS, &redirect, sizeof redirect);
    nest_end(&m, inside);
    nest_end(&m, first);
    nest_end(&m, actions);
    nest_end(&m, options);
    return ask(fd, &m, NULL, NULL);
}

int uvm__rtnl_redirect(int fd, int from, int to) {
    const struct tcmsg head = ingress(from);
    struct message m;

    begin(&m, RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    attribute(&m, TCA_KIND, "ingress", sizeof "ingress");
    int rc = ask(fd, &m, NULL, NULL);
    if (rc == 0) {
        rc = add_filter(fd, from, to);
        if (rc < 0) {
            (void)uvm__rtnl_redirect_end(fd, from);
        }
    }
    return rc;
}

int uvm__rtnl_redirect_end(int fd, int from) {
    const struct tcmsg head = ingress(from);
    struct message m;

    begin(&m, RTM_DELQDISC, NLM_F_ACK, &head, sizeof head);
    return ask(fd, &m, NULL, NULL);
}

/* ---- text --------------------------------------------------------------------------------- */

bool uvm__rtnl_read(const char *text, struct uvm__rtnl_address *ret) {
    char address[INET6_ADDRSTRLEN];
    struct uvm__rtnl_address a = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    size_t bytes = strcspn(text, "/"), max = 8 * bytes_of(a.family);
    const char *prefix = text + bytes;
    unsigned long n = max;

    if (bytes >= sizeof address) {
        return false;
    }
    memcpy(address, text, bytes);
    address[bytes] = '\0';
    if (*prefix == '/') {
        char *end;
        n = strtoul(prefix + 1, &end, 10);
        if (prefix[1] < '0' || prefix[1] > '9' || *end != '\0' || n > max) {
            return false;
        }
    }
    a.prefix = (uint8_t)n;
    if (inet_pton(a.family, address, a.bytes) != 1) {
        return false;
    }
    *ret = a;
    return true;
}

void uvm__rtnl_text(const struct uvm__rtnl_address *a, bool prefix,
                    char ret[UVM__RTNL_TEXT_BYTES]) {
    char address[INET6_ADDRSTRLEN] = "";

    (void)inet_ntop(a->family, a->bytes, address, sizeof address);
    if (prefix) {
        (void)snprintf(ret, UVM__RTNL_TEXT_BYTES, "%s/%u", address, a->prefix);
    } else {
        (void)snprintf(ret, UVM__RTNL_TEXT_BYTES, "%s", address);
    }
}

bool uvm__rtnl_same(const struct uvm__rtnl_address *a, const struct uvm__rtnl_address *b) {
    return a->family == b->family && a->prefix == b->prefix &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
