/* SPDX-License-Identifier: MIT
 *
 * The guest's mounts (mounts.h): one table, in order, for a mount may stand on another's folder.
 * A root file system on a read-only disk has these folders or the mount fails by name; in the
 * initrd they are made. Only what nothing works without is fatal.
 */
#include "cmd/gcs/mounts.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/modules.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHO "init"

static const struct mount_row {
    const char *target, *type, *data;
    unsigned long flags;
    bool needed;
} base[] = {
    {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"/dev", "devtmpfs", "mode=0755", MS_NOSUID, true},
    {"/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, true},
    {"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, true},
    {"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, true},
    {"/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, true},
    {"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
};

static const struct link_row {
    const char *path, *target;
} links[] = {
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
};

static int mount_one(const struct mount_row *m) {
    (void)mkdir(m->target, 0755);
    if (mount(m->type, m->target, m->type, m->flags, m->data) == 0 || errno == EBUSY) {
        return 0;
    }
    uvm__say(WHO, "mount %s on %s: %s", m->type, m->target, strerror(errno));
    return m->needed ? -1 : 0;
}

int uvm__mounts_base(void) {
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++) {
        if (mount_one(&base[i]) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        if (symlink(links[i].target, links[i].path) < 0 && errno != EEXIST) {
            uvm__say(WHO, "%s: %s", links[i].path, strerror(errno));
        }
    }
    return 0;
}

static int overlay(const char *name) {
    char upper[64], work[64], target[64], data[256];

    snprintf(target, sizeof target, "/%s", name);
    snprintf(upper, sizeof upper, "/run/overlay/%s", name);
    if (mkdir(upper, 0755) < 0) {
        return -1;
    }
    snprintf(upper, sizeof upper, "/run/overlay/%s/upper", name);
    snprintf(work, sizeof work, "/run/overlay/%s/work", name);
    if (mkdir(upper, 0755) < 0 || mkdir(work, 0755) < 0) {
        return -1;
    }
    snprintf(data, sizeof data, "lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work);
    return mount("overlay", target, "overlay", 0, data);
}

int uvm__mounts_overlays(void) {
    static const char *const names[] = {"etc", "var"};

    (void)uvm__modules_load(WHO, "modules.overlay");
    (void)mkdir("/run/overlay", 0700);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (overlay(names[i]) < 0) {
            uvm__say(WHO, "overlay on /%s: %s%s", names[i], strerror(errno),
                     errno == ENOENT ? "; a root file system needs that folder" : "");
            return -1;
        }
    }
    return 0;
}
