/* SPDX-License-Identifier: MIT
 *
 * uvm-view (view.h). The path is resolved once, in our own namespace, into a detached copy of its mount; what is
 * done afterwards needs no path of the host any more. Then the process enters the server's namespace, which
 * makes the server's root its own, and attaches the copy there.
 *
 * The root of the server is a file system in memory whose mount is read-only. Folders and empty files to mount
 * over are made through a copy of that mount that may be written to, and that nobody else sees.
 */
#include "cmd/uvm-launch/view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILES_MAX 1024

struct view {
    const char *name, *path;
    bool read_only;
    char **files;          /* NULL-terminated; none: the whole folder */
    int copies[FILES_MAX]; /* detached mounts: of the folder, or of each file */
    int count;
};

__attribute__((format(printf, 2, 3))) static int fail(int status, const char *fmt, ...) {
    va_list ap;

    va_start(ap, fmt);
    (void)vdprintf(STDERR_FILENO, fmt, ap);
    va_end(ap);
    return status;
}

/* Not there, or not as it should be: the owner's affair. */
static int no_path(const char *path) {
    return errno == ENOTDIR  ? fail(UVM__VIEW_WRONG, "%s: no folder", path)
           : errno == ENOENT ? fail(UVM__VIEW_NO_PATH, "%s: %s", path, strerror(errno))
                             : fail(UVM__VIEW_FAILED, "%s: %s", path, strerror(errno));
}

/* ---- copies ------------------------------------------------------------------------------- */

static int set_attributes(int mount, uint64_t set, uint64_t clear) {
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
    return (int)syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof attr);
}

/* A detached mount of what is at `name` beneath the folder; -1 with errno. */
static int copy_mount(int folder, const char *name, unsigned flags) {
    return (int)syscall(SYS_open_tree, folder, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static int add_copy(struct view *v, int folder, const char *name, unsigned flags,
                    const char *path) {
    int mount = copy_mount(folder, name, flags);
    uint64_t set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (v->read_only ? MOUNT_ATTR_RDONLY : 0);

    if (mount < 0) {
        return no_path(path);
    }
    v->copies[v->count++] = mount;
    return set_attributes(mount, set, 0) == 0
               ? UVM__VIEW_DONE
               : fail(UVM__VIEW_FAILED, "%s: %s", path, strerror(errno));
}

/* A link among the allowed files would show another file than the one that was named. */
static int add_file(struct view *v, int folder, const char *name) {
    char path[PATH_MAX];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/%s", v->path, name);
    if (strchr(name, '/') != NULL || strcmp(name, "..") == 0 || strcmp(name, ".") == 0) {
        return fail(UVM__VIEW_WRONG, "%s: no name of a file", name);
    }
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return no_path(path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(UVM__VIEW_WRONG, "%s: no regular file", path);
    }
    return add_copy(v, folder, name, AT_SYMLINK_NOFOLLOW, path);
}

static int make_copies(struct view *v) {
    int folder = open(v->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = folder < 0 ? no_path(v->path) : UVM__VIEW_DONE;

    if (rc == UVM__VIEW_DONE && v->files[0] == NULL) {
        rc = add_copy(v, folder, "", AT_EMPTY_PATH, v->path);
    }
    for (int i = 0; rc == UVM__VIEW_DONE && v->files[i] != NULL; i++) {
        rc = i == FILES_MAX ? fail(UVM__VIEW_FAILED, "more than %d files", FILES_MAX)
                            : add_file(v, folder, v->files[i]);
    }
    if (folder >= 0) {
        close(folder);
    }
    return rc;
}

/* ---- the server's namespace ------------------------------------------------------------------ */

/* The server is inside once its root is a file system in memory and nothing else. */
static int enter(const char *pid) {
    char path[64];
    struct statfs fs;
    int n = snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
    int ns = n < 0 || (size_t)n >= sizeof path ? -1 : open(path, O_RDONLY | O_CLOEXEC);

    if (ns < 0) {
        return fail(UVM__VIEW_NO_SERVER, "process %s: %s", pid, strerror(errno));
    }
    int rc = setns(ns, CLONE_NEWNS);
    close(ns);
    if (rc < 0) {
        return fail(errno == EPERM ? UVM__VIEW_FAILED : UVM__VIEW_NO_SERVER,
                    "namespace of process %s: %s", pid, strerror(errno));
    }
    if (statfs("/", &fs) < 0 || fs.f_type != TMPFS_MAGIC || access("/proc", F_OK) == 0) {
        return fail(UVM__VIEW_NO_SERVER, "process %s has not shut itself in", pid);
    }
    return UVM__VIEW_DONE;
}

/* The root as it may be written to; -1 with errno. */
static int open_root(void) {
    int root = copy_mount(AT_FDCWD, "/", 0);

    if (root >= 0 && set_attributes(root, 0, MOUNT_ATTR_RDONLY) < 0) {
        int err = errno;
        close(root);
        errno = err;
        return -1;
    }
    return root;
}

static int attach(int mount, const char *name, const char *file) {
    char place[NAME_MAX * 2 + 3];

    (void)snprintf(place, sizeof place, "/%s%s%s", name, file == NULL ? "" : "/",
                   file == NULL ? "" : file);
    return (int)syscall(SYS_move_mount, mount, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH);
}

static int make_file(int folder, const char *name) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);

    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 ? -1 : 0;
}

/* 0, or -1 with errno. */
static int attach_all(const struct view *v, int root) {
    if (v->files[0] == NULL) {
        return attach(v->copies[0], v->name, NULL);
    }
    int folder = openat(root, v->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = folder < 0 ? -1 : 0;

    for (int i = 0; rc == 0 && i < v->count; i++) {
        rc = make_file(folder, v->files[i]);
        rc = rc < 0 ? rc : attach(v->copies[i], v->name, v->files[i]);
    }
    if (folder >= 0) {
        int err = errno;
        close(folder);
        errno = err;
    }
    return rc;
}

/* ---- removal ------------------------------------------------------------------------------ */

/* What is mounted at the place; nothing is no mistake. */
static int detach(const char *place) {
    return umount2(place, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT ? 0 : -1;
}

static int remove_files(int root, const char *name) {
    int folder = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char list[8192];
    int rc = folder < 0 ? -1 : 0;
    long n;

    while (rc == 0 && (n = syscall(SYS_getdents64, folder, list, sizeof list)) > 0) {
        for (long at = 0; rc == 0 && at < n;) {
            const char *entry = list + at; /* u64 ino, u64 off, u16 bytes, u8 type, name */
            const char *file = entry + 19;
            unsigned short bytes;
            char place[NAME_MAX * 2 + 3];

            memcpy(&bytes, entry + 16, sizeof bytes);
            at += bytes;
            if (strcmp(file, ".") == 0 || strcmp(file, "..") == 0) {
                continue;
            }
            (void)snprintf(place, sizeof place, "/%.*s/%.*s", NAME_MAX, name, NAME_MAX, file);
            rc = detach(place) == 0 && unlinkat(folder, file, 0) == 0 ? 0 : -1;
        }
    }
    if (folder >= 0) {
        int err = errno;
        close(folder);
        errno = err;
    }
    return rc;
}

/* Goes on where an earlier try stopped. 0, or -1 with errno. */
static int take_out(int root, const char *name) {
    char place[NAME_MAX + 2];
    struct stat st;

    (void)snprintf(place, sizeof place, "/%s", name);
    if (detach(place) < 0) {
        return -1;
    }
    if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    return remove_files(root, name) < 0 ? -1 : unlinkat(root, name, AT_REMOVEDIR);
}

/* ---- verbs -------------------------------------------------------------------------------- */

static int add(struct view *v, const char *pid) {
    int rc = make_copies(v);

    rc = rc == UVM__VIEW_DONE ? enter(pid) : rc;
    if (rc != UVM__VIEW_DONE) {
        return rc;
    }
    int root = open_root();
    if (root < 0 || mkdirat(root, v->name, 0755) < 0) {
        return fail(UVM__VIEW_FAILED, "%s: %s", v->name, strerror(errno));
    }
    if (attach_all(v, root) < 0) {
        int err = errno;
        (void)take_out(root, v->name);
        return fail(UVM__VIEW_FAILED, "%s: cannot be shown: %s", v->path, strerror(err));
    }
    return UVM__VIEW_DONE;
}

static int remove_view(const char *pid, const char *name) {
    int rc = enter(pid);

    if (rc != UVM__VIEW_DONE) {
        return rc;
    }
    int root = open_root();
    if (root >= 0 && take_out(root, name) == 0) {
        return UVM__VIEW_DONE;
    }
    return fail(errno == EBUSY ? UVM__VIEW_BUSY : UVM__VIEW_FAILED, "%s: %s", name,
                strerror(errno));
}

int uvm__view_main(int argc, char **argv) {
    static struct view v;

    if (argc == 4 && strcmp(argv[1], "remove") == 0) {
        return remove_view(argv[2], argv[3]);
    }
    if (argc < 6 || strcmp(argv[1], "add") != 0) {
        return fail(UVM__VIEW_FAILED, "usage: uvm-view add PID NAME PATH ro|rw [FILE...], or "
                                      "uvm-view remove PID NAME");
    }
    v.name = argv[3];
    v.path = argv[4];
    v.read_only = strcmp(argv[5], "rw") != 0;
    v.files = argv + 6;
    return add(&v, argv[2]);
}
