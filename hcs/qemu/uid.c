/* SPDX-License-Identifier: MIT
 * uid.c — leases uids for VMMs.
 *
 * The kernel is the registry: a bound abstract name is unique in its network namespace and vanishes with the
 * last descriptor, so nothing has to be swept after a crash. Two engines in different network
 * namespaces could lease the same uid; they then share what 65534 would share, no more. The search begins
 * at a place that depends on the process, so that engines started at once do not try the same row.
 */
#include "hcs/qemu/uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "async/cleanup.h"

bool uvm__uid_is_mapped(const char *map, uint32_t id) {
    const char *at = map;

    while (*at != '\0') {
        char *end;
        unsigned long long inside = strtoull(at, &end, 10);
        (void)strtoull(end, &end, 10);
        unsigned long long count = strtoull(end, &end, 10);
        if (end == at) {
            return false;
        }
        if (id >= inside && id - inside < count) {
            return true;
        }
        at = end + strspn(end, " \n");
    }
    return false;
}

static bool is_mapped(const char *file, uint32_t id) {
    char text[4096];
    UVM_CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (n < 0) {
        return true; /* a kernel without user namespaces maps every id */
    }
    text[n] = '\0';
    return uvm__uid_is_mapped(text, id);
}

static bool both_mapped(uint32_t id) {
    return is_mapped("/proc/self/uid_map", id) && is_mapped("/proc/self/gid_map", id);
}

/* A descriptor, or -errno: EADDRINUSE when the uid is leased. */
static int bind_name(uint32_t uid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "uvm-vmm-uid-%u", uid);
    UVM_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) < 0) {
        return -errno;
    }
    return UVM_TAKE_FD(fd);
}

int uvm__uid_lease(enum uvm__uid_drop drop, uint32_t base, struct uvm__uid_lease *ret,
                   struct uvm__fail *f) {
    struct uvm__uid_lease lease = UVM__UID_LEASE_INIT;

    base = base == 0 ? UVM__VMM_UID_BASE : base;
    lease.uid = geteuid();
    lease.gid = getegid();
    if (lease.uid != 0 || drop == UVM__UID_DROP_NEVER) {
        lease.note =
            lease.uid != 0 ? "the owner's own uid" : "root, because the owner asked for it";
        *ret = lease;
        return 0;
    }
    if (base > UINT32_MAX - UVM__VMM_UIDS_MAX || !both_mapped(base) ||
        !both_mapped(base + UVM__VMM_UIDS_MAX - 1)) {
        lease.drop = both_mapped(UVM__VMM_UID_SHARED);
        lease.uid = lease.drop ? UVM__VMM_UID_SHARED : lease.uid;
        lease.gid = lease.drop ? UVM__VMM_UID_SHARED : lease.gid;
        lease.note = lease.drop
                         ? "shared by all VMs: a uid for each is not mapped in this user namespace"
                         : "root of this user namespace: no other uid is mapped in it";
        *ret = lease;
        return 0;
    }
    uint32_t first = (uint32_t)getpid() % UVM__VMM_UIDS_MAX;
    for (uint32_t i = 0; i < UVM__VMM_UIDS_MAX; i++) {
        uint32_t uid = base + (first + i) % UVM__VMM_UIDS_MAX;
        int fd = bind_name(uid);
        if (fd >= 0) {
            *ret = (struct uvm__uid_lease){true, uid, uid, fd, "a uid of its own"};
            return 0;
        }
        if (fd != -EADDRINUSE) {
            return uvm__fail(f, UVM_E_IO, -fd, "uid %u cannot be leased: %s", uid, strerror(-fd));
        }
    }
    return uvm__fail(f, UVM_E_LIMIT, 0, "all %u uids from %u on are leased to other VMs",
                     UVM__VMM_UIDS_MAX, base);
}

void uvm__uid_release(struct uvm__uid_lease *lease) {
    uvm__close_fd(&lease->fd);
}
