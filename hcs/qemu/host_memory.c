/* SPDX-License-Identifier: MIT
 * host_memory.c — /proc/meminfo, and the limits of each control group from ours up to the root.
 *
 * A VMM lives in our group, and the pages of its guest are charged to it. What a group has left is its limit
 * without its use, but for file pages that nobody used lately, which it gives back when asked. In a container
 * our group's path may be one of the host that is not there: then the root of the mount is our group.
 * Both versions of control groups are known; a group without a limit, or files that cannot be read, bound
 * nothing.
 */
#include "hcs/qemu/host_memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "async/cleanup.h"

#define PATH_BYTES 1024u
#define TEXT_BYTES 8192u

static const struct version {
    const char *mount, *limit, *used, *stat_key;
} versions[] = {
    {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
    {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file"},
};

/* The beginning of a file as text; false: it cannot be read. */
static bool read_text(int root, const char *path, char buf[TEXT_BYTES]) {
    UVM_CLEANUP_FD int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && got < TEXT_BYTES - 1) {
        n = read(fd, buf + got, TEXT_BYTES - 1 - got);
        got += n > 0 ? (size_t)n : 0;
    }
    buf[got] = '\0';
    return n >= 0;
}

static uint64_t number(const char *text) {
    return strtoull(text, NULL, 10);
}

/* The number behind `key` at the beginning of a line; `otherwise` when there is none. */
static uint64_t value_of(const char *text, const char *key, uint64_t otherwise) {
    size_t bytes = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, key, bytes) == 0 && (line[bytes] == ' ' || line[bytes] == ':')) {
            return number(line + bytes + 1);
        }
    }
    return otherwise;
}

static bool group_file(int root, const char *folder, const char *name, char buf[TEXT_BYTES]) {
    char path[PATH_BYTES + 64];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && read_text(root, path, buf);
}

static void bound(int root, const char *folder, const struct version *v,
                  struct uvm__host_memory *m) {
    char text[TEXT_BYTES];
    uint64_t limit_mb, used = 0, idle = 0;

    if (!group_file(root, folder, v->limit, text) || text[0] < '0' || text[0] > '9') {
        return; /* "max", or a root, which has no such file */
    }
    limit_mb = number(text) >> 20;
    used = group_file(root, folder, v->used, text) ? number(text) : 0;
    idle = group_file(root, folder, "memory.stat", text) ? value_of(text, v->stat_key, 0) : 0;
    uint64_t used_mb = (used > idle ? used - idle : 0) >> 20;
    uint64_t left_mb = limit_mb > used_mb ? limit_mb - used_mb : 0;
    m->total_mb = limit_mb < m->total_mb ? limit_mb : m->total_mb;
    m->available_mb = left_mb < m->available_mb ? left_mb : m->available_mb;
}

/* Our group's path of /proc/self/cgroup: "ID:CONTROLLERS:PATH"; version 2 has no controllers. */
static bool group_path(const char *groups, bool first_version, char ret[PATH_BYTES]) {
    for (const char *line = groups; line != NULL && *line != '\0';) {
        size_t bytes = strcspn(line, "\n");
        const char *names = memchr(line, ':', bytes);
        const char *path =
            names == NULL ? NULL : memchr(names + 1, ':', bytes - (size_t)(names + 1 - line));
        if (path != NULL) {
            bool plain = path == names + 1;
            bool memory = false;
            for (const char *at = names + 1; at < path; at += strcspn(at, ",:") + 1) {
                memory = memory || (strcspn(at, ",:") == 6 && strncmp(at, "memory", 6) == 0);
            }
            if (first_version ? memory : plain) {
                int n = snprintf(ret, PATH_BYTES, "%.*s", (int)(bytes - (size_t)(path + 1 - line)),
                                 path + 1);
                return n >= 0 && (size_t)n < PATH_BYTES;
            }
        }
        line += bytes;
        line += *line == '\n' ? 1 : 0;
    }
    return false;
}

/* From the group up to where its hierarchy is mounted. */
static void bound_by_all(int root, char folder[PATH_BYTES], const struct version *v, size_t mount,
                         struct uvm__host_memory *m) {
    for (;;) {
        bound(root, folder, v, m);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < mount) {
            break;
        }
        *slash = '\0';
    }
}

struct uvm__host_memory uvm__group_memory(int root, const char *folder) {
    struct uvm__host_memory m = {UINT64_MAX, UINT64_MAX};
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s", folder);

    if (n > 0 && (size_t)n < sizeof path) {
        bound_by_all(root, path, &versions[0], strlen(versions[0].mount), &m);
    }
    return m;
}

struct uvm__host_memory uvm__host_memory(int root) {
    struct uvm__host_memory m = {UINT64_MAX, UINT64_MAX};
    char groups[TEXT_BYTES], text[TEXT_BYTES], path[PATH_BYTES], folder[PATH_BYTES];

    if (read_text(root, "proc/meminfo", text)) {
        uint64_t total = value_of(text, "MemTotal", UINT64_MAX);
        uint64_t available = value_of(text, "MemAvailable", UINT64_MAX);
        m.total_mb = total == UINT64_MAX ? total : total >> 10;
        m.available_mb = available == UINT64_MAX ? available : available >> 10;
    }
    if (!read_text(root, "proc/self/cgroup", groups)) {
        return m;
    }
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        const struct version *v = &versions[i];
        size_t mount = strlen(v->mount);
        if (!group_path(groups, i == 1, path)) {
            continue;
        }
        int n = snprintf(folder, sizeof folder, "%s%s", v->mount, path);
        if (n <= 0 || (size_t)n >= sizeof folder || faccessat(root, folder, F_OK, 0) != 0) {
            snprintf(folder, sizeof folder, "%s", v->mount);
        }
        bound_by_all(root, folder, v, mount, &m);
    }
    return m;
}
