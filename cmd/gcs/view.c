/* SPDX-License-Identifier: MIT
 *
 * The view (view.h). sysfs takes no folders from outside, so what it lacks stands in a tmpfs that covers its bus
 * folder; the covered one stays open, because buses come with modules later and must be bound, too.
 *
 * Everything is built aside and put in place by one move or rename: whoever looks at a name sees it complete or
 * not at all. What the host says of a location was checked (vmbus/device.h) before it gets here.
 */
#include "cmd/gcs/view.h"

#include "cmd/gcs/early.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHO "offers"
#define BUS "/sys/bus"
#define ASIDE "/run/sys-bus"

static int real_bus = -1; /* sysfs's own bus folder, once it is covered */

/* False where it does not fit. */
__attribute__((format(printf, 2, 3))) static bool path(char ret[PATH_MAX], const char *fmt, ...) {
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(ret, PATH_MAX, fmt, ap);
    va_end(ap);
    return n > 0 && n < PATH_MAX;
}

/* ---- room ------------------------------------------------------------------------------------------ */

/* Binds each bus of `from` that `to` does not have. */
static int bind_buses(int from, const char *to) {
    int folder = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = folder < 0 ? NULL : fdopendir(folder);
    char source[PATH_MAX], target[PATH_MAX];
    struct dirent *e;
    int rc = d == NULL ? -1 : 0;

    while (d != NULL && rc == 0 && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.' || !path(target, "%s/%s", to, e->d_name) ||
            !path(source, "/proc/self/fd/%d/%s", from, e->d_name)) {
            continue;
        }
        if (mkdir(target, 0755) < 0) {
            rc = errno == EEXIST ? 0 : -1;
        } else {
            rc = mount(source, target, NULL, MS_BIND, NULL);
        }
    }
    if (d != NULL) {
        closedir(d);
    } else if (folder >= 0) {
        close(folder);
    }
    return rc;
}

static int cover(void) {
    if (mkdir(ASIDE, 0755) < 0 && errno != EEXIST) {
        return -1;
    }
    if (mount("vmbus", ASIDE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755") < 0) {
        return -1;
    }
    if (bind_buses(real_bus, ASIDE) < 0 || mkdir(ASIDE "/vmbus", 0755) < 0 ||
        mkdir(ASIDE "/vmbus/devices", 0755) < 0 || mount(ASIDE, BUS, NULL, MS_MOVE, NULL) < 0) {
        int err = errno;

        (void)umount2(ASIDE, MNT_DETACH);
        errno = err;
        return -1;
    }
    (void)rmdir(ASIDE);
    return 0;
}

int uvm__view_make(void) {
    if (real_bus >= 0) {
        return 0;
    }
    real_bus = open(BUS, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (real_bus < 0 || cover() < 0) {
        uvm__say(WHO, BUS ": %s", strerror(errno));
        if (real_bus >= 0) {
            close(real_bus);
        }
        real_bus = -1;
        return -1;
    }
    return 0;
}

void uvm__view_buses(void) {
    if (real_bus >= 0 && bind_buses(real_bus, BUS) < 0) {
        uvm__say(WHO, BUS ": a new bus: %s", strerror(errno));
    }
}

/* ---- finding --------------------------------------------------------------------------------------- */

/* The first entry of `folder` that begins with `begin` and ends with `end`. */
static bool entry(const char *folder, const char *begin, const char *end, char ret[NAME_MAX + 1]) {
    DIR *d = opendir(folder);
    bool found = false;
    struct dirent *e;

    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        size_t bytes = strlen(e->d_name);
        found = e->d_name[0] != '.' && bytes >= strlen(end) &&
                strncmp(e->d_name, begin, strlen(begin)) == 0 &&
                strcmp(e->d_name + bytes - strlen(end), end) == 0;
        if (found) {
            memcpy(ret, e->d_name, bytes + 1);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

/* Where below SYS/devices the location is. */
static bool find_function(const char *sys, const char *location, char ret[PATH_MAX]) {
    char at[PATH_MAX], step[UVM__VMBUS_LOCATION_BYTES], name[NAME_MAX + 1];
    const char *rest = location + strcspn(location, "/");

    if (!path(at, "%s/bus/pci/devices/%.*s", sys, (int)(rest - location), location) ||
        realpath(at, ret) == NULL) {
        return false;
    }
    while (*rest == '/') {
        size_t bytes = strcspn(rest + 1, "/");

        /* The bus before it is the guest's to number. */
        (void)snprintf(step, sizeof step, ":%.*s", (int)bytes, rest + 1);
        if (!entry(ret, "", step, name) || !path(at, "%s/%s", ret, name)) {
            return false;
        }
        memcpy(ret, at, strlen(at) + 1);
        rest += 1 + bytes;
    }
    return true;
}

/* ---- showing --------------------------------------------------------------------------------------- */

/* "host3" -> …/virtio1/host3 */
static bool put_storvsc(const char *function, const char *aside) {
    char device[NAME_MAX + 1], host[NAME_MAX + 1], folder[PATH_MAX], to[PATH_MAX], at[PATH_MAX];

    return entry(function, "virtio", "", device) && path(folder, "%s/%s", function, device) &&
           entry(folder, "host", "", host) && path(to, "%s/%s", folder, host) &&
           path(at, "%s/%s", aside, host) && symlink(to, at) == 0;
}

/* "net" -> …/virtio0/net, in which the interface is a folder */
static bool put_netvsc(const char *function, const char *aside) {
    char name[NAME_MAX + 1], to[PATH_MAX], at[PATH_MAX];

    if (!path(to, "%s/net", function) || !entry(to, "", "", name)) {
        if (!entry(function, "virtio", "", name) || !path(to, "%s/%s/net", function, name) ||
            !entry(to, "", "", name)) {
            return false;
        }
    }
    return path(at, "%s/net", aside) && symlink(to, at) == 0;
}

/* "pci0000:02/0000:02:00.0" -> …/0000:02:00.0 */
static bool put_vpci(const char *function, const char *aside) {
    const char *name = strrchr(function, '/') + 1;
    int bus = (int)(sizeof "0000:02" - 1);
    char at[PATH_MAX];

    return path(at, "%s/pci%.*s", aside, bus, name) && mkdir(at, 0755) == 0 &&
           path(at, "%s/pci%.*s/%s", aside, bus, name, name) && symlink(function, at) == 0;
}

static bool (*const put[UVM__VMBUS_CLASS_MAX])(const char *function, const char *aside) = {
    [UVM__VMBUS_STORVSC] = put_storvsc,
    [UVM__VMBUS_NETVSC] = put_netvsc,
    [UVM__VMBUS_VPCI] = put_vpci,
};

/* Removes an entry, which is at most two folders deep. */
static void drop(const char *folder, bool deeper) {
    char name[NAME_MAX + 1], at[PATH_MAX];

    while (entry(folder, "", "", name) && path(at, "%s/%s", folder, name)) {
        if (unlink(at) == 0) {
            continue;
        }
        if (!deeper || (errno != EISDIR && errno != EPERM)) {
            return;
        }
        drop(at, false);
        if (access(at, F_OK) == 0) {
            return;
        }
    }
    (void)rmdir(folder);
}

bool uvm__view_show(const char *sys, const struct uvm__vmbus_device *d) {
    char function[PATH_MAX], aside[PATH_MAX], target[PATH_MAX], guid[UVM_GUID_TEXT];

    uvm__guid_text(&d->instance, guid);
    if (d->kind >= UVM__VMBUS_CLASS_MAX || !path(target, "%s/bus/vmbus/devices/%s", sys, guid) ||
        !path(aside, "%s/bus/vmbus/.%s", sys, guid) || !find_function(sys, d->location, function)) {
        return false;
    }
    if (access(target, F_OK) == 0) {
        return true;
    }
    if (mkdir(aside, 0755) < 0) {
        return false;
    }
    if (!put[d->kind](function, aside) || rename(aside, target) < 0) {
        drop(aside, true);
        return false;
    }
    return true;
}

void uvm__view_hide(const char *sys, const struct uvm__guid *instance) {
    char shown[PATH_MAX], aside[PATH_MAX], guid[UVM_GUID_TEXT];

    uvm__guid_text(instance, guid);
    if (path(shown, "%s/bus/vmbus/devices/%s", sys, guid) &&
        path(aside, "%s/bus/vmbus/.%s", sys, guid) && rename(shown, aside) == 0) {
        drop(aside, true);
    }
}

void uvm__view_release(const char *sys, const struct uvm__guid *instance) {
    char shown[PATH_MAX], at[PATH_MAX], bus[NAME_MAX + 1], name[NAME_MAX + 1], guid[UVM_GUID_TEXT];
    size_t bytes;
    int fd;

    uvm__guid_text(instance, guid);
    if (!path(shown, "%s/bus/vmbus/devices/%s", sys, guid) || !entry(shown, "pci", "", bus) ||
        !path(at, "%s/%s", shown, bus) || !entry(at, "", "", name) ||
        !path(at, "%s/%s/%s/driver/unbind", shown, bus, name)) {
        return;
    }
    fd = open(at, O_WRONLY | O_CLOEXEC);
    bytes = strlen(name);
    if (fd < 0 ? errno != ENOENT : write(fd, name, bytes) != (ssize_t)bytes) {
        uvm__say(WHO, "%s: its driver does not let go of %s: %s", guid, name, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

void uvm__view_scan(const char *sys, const struct uvm__guid *instance) {
    char shown[PATH_MAX], at[PATH_MAX], host[NAME_MAX + 1], guid[UVM_GUID_TEXT];
    int fd = -1;

    uvm__guid_text(instance, guid);
    if (path(shown, "%s/bus/vmbus/devices/%s", sys, guid) && entry(shown, "host", "", host) &&
        path(at, "%s/%s/scsi_host/%s/scan", shown, host, host)) {
        fd = open(at, O_WRONLY | O_CLOEXEC);
    }
    if (fd < 0 || write(fd, "0 0 -", 5) != 5) {
        uvm__say(WHO, "%s: not scanned: %s", guid, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}
