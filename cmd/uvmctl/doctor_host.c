/* SPDX-License-Identifier: MIT
 * doctor_host.c — looks at the host for doctor: files of /proc and /sys, folders, programs.
 *
 * Nothing is made or changed. What is judged is what a boot would meet: a state folder that is not there
 * yet is fine when it can be made.
 */
#include "cmd/uvmctl/doctor_host.h"
#include "async/cleanup.h"
#include "async/folder.h"
#include "cmd/uvmctl/state.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STATE_FREE_MIN (1u << 20) /* a UVM's folder has a socket and a few hundred bytes */
#define STATE_REMEDY "give $UVM_STATE_DIR a folder of your own with mode 0700"

__attribute__((format(printf, 3, 4))) static void say(struct finding *ret,
                                                      enum finding_status status, const char *fmt,
                                                      ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ret->text, sizeof ret->text, fmt, ap);
    va_end(ap);
    ret->status = status;
    ret->remedy[0] = 0;
}

__attribute__((format(printf, 2, 3))) static void remedy(struct finding *ret, const char *fmt,
                                                         ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ret->remedy, sizeof ret->remedy, fmt, ap);
    va_end(ap);
}

/* The beginning of a small file as text; "" when it cannot be read. */
static void read_text(const char *path, char *buf, size_t bytes) {
    UVM_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    ssize_t n = 1;
    while (fd >= 0 && n > 0 && got < bytes - 1) {
        n = read(fd, buf + got, bytes - 1 - got);
        got += n > 0 ? (size_t)n : 0;
    }
    buf[got] = 0;
}

/* ---- state folder ------------------------------------------------------------------------- */

static void state_room(const char *path, int fd, struct finding *ret) {
    struct stat st;
    struct statvfs vfs;
    if (fstat(fd, &st) != 0 || fstatvfs(fd, &vfs) != 0) {
        say(ret, FINDING_MISSING, "%s: %s", path, strerror(errno));
        remedy(ret, STATE_REMEDY);
        return;
    }
    uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (st.st_uid != geteuid() || faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        say(ret, FINDING_MISSING, "%s: belongs to user %u (mode %03o), we are %u", path,
            (unsigned)st.st_uid, (unsigned)(st.st_mode & 0777), (unsigned)geteuid());
        remedy(ret, STATE_REMEDY);
    } else if (room < STATE_FREE_MIN || (vfs.f_files > 0 && vfs.f_favail == 0)) {
        say(ret, FINDING_MISSING, "%s: its file system is full (%llu KiB, %llu files free)", path,
            (unsigned long long)(room >> 10), (unsigned long long)vfs.f_favail);
        remedy(ret, "make room, or name another folder by $UVM_STATE_DIR");
    } else {
        say(ret, FINDING_OK, "%s, %llu MiB free", path, (unsigned long long)(room >> 20));
    }
}

void doctor_state(struct finding *ret) {
    char path[PATH_BYTES], parent[PATH_BYTES];
    struct uvm__fail f = {0};
    UVM_CLEANUP_FD int fd = -1;
    if (!state_path(path, &f)) {
        say(ret, FINDING_MISSING, "%s", f.msg);
        remedy(ret, STATE_REMEDY);
        return;
    }
    int rc = uvm__folder_open(path, false, &fd, &f);
    if (rc == 0) {
        state_room(path, fd, ret);
        return;
    }
    memcpy(parent, path, sizeof parent);
    char *slash = strrchr(parent, '/');
    *(slash == parent ? slash + 1 : slash) = 0;
    if (rc == -UVM_E_NOTFOUND && faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS) == 0) {
        say(ret, FINDING_OK, "%s, made with the first UVM in it", path);
        return;
    }
    if (rc == -UVM_E_NOTFOUND) {
        say(ret, FINDING_MISSING, "%s: cannot be made in %s: %s", path, parent, strerror(errno));
    } else {
        say(ret, FINDING_MISSING, "%s", f.msg);
    }
    remedy(ret, STATE_REMEDY);
}

/* ---- rights ------------------------------------------------------------------------------- */

static uint64_t capabilities(void) {
    char text[4096];
    read_text("/proc/self/status", text, sizeof text);
    const char *at = strstr(text, "\nCapEff:");
    return at == NULL ? 0 : strtoull(at + sizeof "\nCapEff:" - 1, NULL, 16);
}

void doctor_rights(struct finding *ret) {
    static const struct {
        unsigned bit;
        const char *name, *use;
    } wanted[] = {
        {CAP_SETUID, "setuid", "a user for each VMM"},
        {CAP_SETGID, "setgid", "a user for each VMM"},
        {CAP_SYS_ADMIN, "sys_admin", "mounts for shares"},
        {CAP_NET_ADMIN, "net_admin", "network adapters"},
    };
    char lacks[200] = "", map[256];
    bool needed = false;
    if (geteuid() != 0) {
        say(ret, FINDING_OK, "user %u; VMMs run as the same user", (unsigned)geteuid());
        return;
    }
    read_text("/proc/self/uid_map", map, sizeof map);
    char *at = map;
    unsigned long long inside = strtoull(at, &at, 10), outside = strtoull(at, &at, 10);
    bool initial = map[0] == 0 || (inside == 0 && outside == 0);
    const char *who = initial ? "root" : "root of a user namespace";
    uint64_t have = capabilities();
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        size_t len = strlen(lacks);
        if ((have >> wanted[i].bit & 1) == 0) {
            (void)snprintf(lacks + len, sizeof lacks - len, "%scap_%s (%s)", len == 0 ? "" : ", ",
                           wanted[i].name, wanted[i].use);
            needed = needed || wanted[i].bit == CAP_SETUID || wanted[i].bit == CAP_SETGID;
        }
    }
    if (lacks[0] == 0) {
        say(ret, FINDING_OK, "%s, with every capability that is used", who);
        return;
    }
    say(ret, needed ? FINDING_MISSING : FINDING_ABSENT, "%s without %s", who, lacks);
    remedy(ret, "give this container or service those capabilities, or run uvmctl as a user");
}

void doctor_namespaces(struct finding *ret) {
    char limit[32], clone[8];
    read_text("/proc/sys/user/max_user_namespaces", limit, sizeof limit);
    read_text("/proc/sys/kernel/unprivileged_userns_clone", clone, sizeof clone);
    unsigned long n = strtoul(limit, NULL, 10);
    if (n == 0) {
        say(ret, FINDING_ABSENT, "no user namespace may be made here");
        remedy(ret, "sysctl user.max_user_namespaces=10000; needed for shares");
    } else if (clone[0] == '0' && geteuid() != 0) {
        say(ret, FINDING_ABSENT, "only root may make user namespaces here");
        remedy(ret, "sysctl kernel.unprivileged_userns_clone=1; needed for shares");
    } else {
        say(ret, FINDING_OK, "of users: up to %lu", n);
    }
}

/* ---- cgroup ------------------------------------------------------------------------------- */

#define CGROUP "/sys/fs/cgroup"
#define CGROUP_USE "needed for limits of VMs"

void doctor_cgroup(struct finding *ret) {
    char text[4096], path[PATH_BYTES], file[PATH_BYTES + 32];
    struct statfs fs;
    if (statfs(CGROUP, &fs) != 0 || fs.f_type != CGROUP2_SUPER_MAGIC) {
        say(ret, FINDING_ABSENT, CGROUP ": not version 2");
        remedy(ret, "boot the host with systemd.unified_cgroup_hierarchy=1; " CGROUP_USE);
        return;
    }
    read_text("/proc/self/cgroup", text, sizeof text);
    const char *own = strncmp(text, "0::", 3) == 0 ? text + 3 : "/";
    (void)snprintf(path, sizeof path, CGROUP "%.*s", (int)strcspn(own, "\n"), own);
    (void)snprintf(file, sizeof file, "%s/cgroup.controllers", path);
    read_text(file, text, sizeof text);
    text[strcspn(text, "\n")] = 0;
    struct statvfs vfs;
    bool writable = faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0 &&
                    statvfs(path, &vfs) == 0 && (vfs.f_flag & ST_RDONLY) == 0;
    if (!writable) {
        say(ret, FINDING_ABSENT, "%s: not writable", path);
        remedy(
            ret,
            "delegate a group (systemd-run --user --scope -p Delegate=yes uvmctl …); " CGROUP_USE);
    } else if (strstr(text, "memory") == NULL || strstr(text, "cpu") == NULL) {
        say(ret, FINDING_ABSENT, "%s: has only the controllers \"%s\"", path, text);
        remedy(ret, "delegate the controllers cpu and memory; " CGROUP_USE);
    } else {
        say(ret, FINDING_OK, "version 2, %s, %s", path, text);
    }
}

/* ---- assigned devices --------------------------------------------------------------------- */

#define VFIO_USE "needed for PCI functions of the host in guests"

/* The entries of a folder, without those that begin with a dot; 0 where it is not there. */
static unsigned count_entries(const char *path) {
    DIR *d = opendir(path);
    unsigned count = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        count += e->d_name[0] != '.';
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return count;
}

void doctor_iommu(struct finding *ret) {
    unsigned groups = count_entries("/sys/kernel/iommu_groups");
    if (groups == 0) {
        say(ret, FINDING_ABSENT, "none is on");
        remedy(ret, "switch VT-d or AMD-Vi on in the firmware, and boot the host with "
                    "intel_iommu=on (AMD: amd_iommu=on); " VFIO_USE);
    } else {
        say(ret, FINDING_OK, "%u groups", groups);
    }
}

void doctor_vfio(struct finding *ret) {
    bool driver = access("/sys/bus/pci/drivers/vfio-pci", F_OK) == 0;
    if (!driver || access("/dev/vfio/vfio", F_OK) != 0) {
        say(ret, FINDING_ABSENT, "%s", driver ? "no /dev/vfio/vfio" : "vfio-pci is not loaded");
        remedy(ret, "modprobe vfio-pci; " VFIO_USE);
    } else {
        say(ret, FINDING_OK, "vfio-pci, %u groups for guests", count_entries("/dev/vfio") - 1);
    }
}

/* ---- programs ----------------------------------------------------------------------------- */

#define APT "apt-get install --no-install-recommends "

/* None of them is needed by a boot. Debian 12 has virtiofsd outside of every search path. */
const struct doctor_program doctor_programs[] = {
    {"virtiofsd", "virtiofsd", "/usr/lib/qemu:/usr/libexec",
     APT "qemu-system-common; needed for shares"},
    {"9P server", "diod", "/usr/sbin", APT "diod; needed for shares"},
    {"containerd", "containerd", "/usr/sbin", APT "containerd; needed for pods"},
    {NULL, NULL, NULL, NULL},
};

/* The first executable file of that name in colon-separated folders. */
static bool find_program(const char *folders, const char *name, char ret[PATH_BYTES]) {
    for (const char *at = folders; at != NULL && *at != 0;) {
        size_t bytes = strcspn(at, ":");
        struct stat st;
        int n = snprintf(ret, PATH_BYTES, "%.*s/%s", (int)bytes, at, name);
        if (bytes > 0 && n > 0 && (unsigned)n < PATH_BYTES && stat(ret, &st) == 0 &&
            S_ISREG(st.st_mode) && access(ret, X_OK) == 0) {
            return true;
        }
        at += bytes;
        at += *at == ':' ? 1 : 0;
    }
    return false;
}

void doctor_program(const struct doctor_program *p, struct finding *ret) {
    char path[PATH_BYTES];
    if (find_program(p->places, p->name, path) || find_program(getenv("PATH"), p->name, path)) {
        say(ret, FINDING_OK, "%s", path);
        return;
    }
    say(ret, FINDING_ABSENT, "no %s in %s or $PATH", p->name, p->places);
    remedy(ret, "%s", p->remedy);
}
