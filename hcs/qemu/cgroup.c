/* SPDX-License-Identifier: MIT
 * cgroup.c — checks and makes a control group.
 *
 * Where the hierarchies are mounted is the host's choice: v2 alone at the root, or beside v1's below it. So
 * it is the file system of the parent that decides, before anything is made: a folder made in a tmpfs, or in
 * a v1 hierarchy, would be taken for a group that limits nothing. The path is taken as it is written, so
 * that what it says is where it leads.
 */
#include "hcs/qemu/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "hcs/qemu/host_memory.h"

/* Each name between two slashes is one: no "", ".", "..". */
static bool names_are_plain(const char *path) {
    while (*path == '/') {
        size_t n = strcspn(++path, "/");
        if (n == 0 || (n <= 2 && strspn(path, ".") == n)) {
            return false;
        }
        path += n;
    }
    return true;
}

static int check_path(const char *path, struct uvm__fail *f) {
    const size_t root = sizeof UVM__CGROUP_ROOT - 1;

    if (strncmp(path, UVM__CGROUP_ROOT "/", root + 1) != 0 || !names_are_plain(path)) {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "cgroup: \"%.200s\" is no group below " UVM__CGROUP_ROOT
                         ", written without . and ..",
                         path);
    }
    return strlen(path) < PATH_MAX ? 0
                                   : uvm__fail(f, UVM_E_INVAL, 0, "cgroup: the path is too long");
}

/* The folder that holds the group; a descriptor, or -1. */
static int open_parent(const char *path, const char *name, struct uvm__fail *f) {
    char parent[PATH_MAX];
    struct statfs fs;
    UVM_CLEANUP_FD int fd = -1;

    (void)snprintf(parent, sizeof parent, "%.*s", (int)(name - path - 1), path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        (void)uvm__fail(f, UVM_E_HOST, errno, "cgroup: %.200s: %s", parent, strerror(errno));
        return -1;
    }
    if (fstatfs(fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC) {
        (void)uvm__fail(f, UVM_E_HOST, 0, "cgroup: %.200s is not in a cgroup v2 hierarchy", path);
        return -1;
    }
    return UVM_TAKE_FD(fd);
}

/* That it can be joined by a process of ours, as far as a look tells. */
static int check_group(int parent_fd, const char *path, const char *name, struct uvm__fail *f) {
    UVM_CLEANUP_FD int group =
        openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    UVM_CLEANUP_FD int procs = group < 0 ? -1 : openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC);

    return procs >= 0 ? 0
                      : uvm__fail(f, UVM_E_HOST, errno, "cgroup: %.200s cannot be joined: %s", path,
                                  strerror(errno));
}

int uvm__cgroup_open(uvm_engine *e, const char *path, struct uvm__cgroup *ret,
                     struct uvm__fail *f) {
    int rc = check_path(path, f);
    if (rc < 0) {
        return rc;
    }
    const char *name = strrchr(path, '/') + 1;
    UVM_CLEANUP_FD int parent = open_parent(path, name, f);
    if (parent < 0) {
        return -UVM_E_HOST;
    }
    char *copy = uvm__strdup(e, path);
    if (copy == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "cgroup: out of memory");
    }
    struct uvm__cgroup g = {.path = copy, .made = mkdirat(parent, name, 0755) == 0};
    if (!g.made && errno != EEXIST) {
        rc = uvm__fail(f, UVM_E_HOST, errno, "cgroup: %.200s cannot be made: %s", path,
                       strerror(errno));
    } else {
        rc = check_group(parent, path, name, f);
    }
    if (rc < 0) {
        uvm__cgroup_close(e, &g);
        return rc;
    }
    *ret = g;
    return 0;
}

int uvm__cgroup_admit(int root, const char *path, uint64_t need_mb, uint64_t vmm_mb,
                      struct uvm__fail *f) {
    struct uvm__host_memory m = uvm__group_memory(root, path + 1);

    return need_mb <= m.available_mb
               ? 0
               : uvm__fail(f, UVM_E_LIMIT, 0,
                           "cgroup: the VM needs %llu MiB (%llu MiB for its VMM); %.160s, with "
                           "those around it, has %llu of %llu MiB left; give the VM less memory, "
                           "or the group more (memory.max)",
                           (unsigned long long)need_mb, (unsigned long long)vmm_mb, path,
                           (unsigned long long)m.available_mb, (unsigned long long)m.total_mb);
}

void uvm__cgroup_close(uvm_engine *e, struct uvm__cgroup *g) {
    if (g->made) {
        (void)rmdir(g->path); /* somebody else has moved in: then it is theirs */
    }
    uvm__free(e, g->path);
    *g = (struct uvm__cgroup){0};
}

const char *uvm__cgroup_hint(int sys) {
    return sys == EBUSY ? "; a group that hands controllers to groups below it holds no processes"
           : sys == EOPNOTSUPP ? "; it is a threaded group, or below one"
           : sys == EACCES     ? "; the group that holds both must be this user's, too"
                               : "";
}
