/* SPDX-License-Identifier: MIT
 *
 * uvm-launch's --root (root.h). Everything that shall be seen is copied first, as detached mounts, in the
 * namespace where its descriptors and paths mean something. Then a new namespace begins with an empty root, gets
 * them in, and loses what it had before: no path leads out, whatever the program follows.
 */
#include "cmd/uvm-launch/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINES_MAX = 256, ROOM = 64, COPY_BYTES = 1 << 20 };

/* Any folder that each host has; in our namespace the new root is over it for a moment. */
#define BEGIN "/proc"

struct line {
    char *verb, *rest; /* rest: what stands behind the place, "" if nothing */
    char *place;       /* without the first slash */
    int copy;          /* a detached mount; -1: none */
    int data;          /* what a file is made of; -1: none */
    bool folder;       /* of the copy */
};

static int invalid(void) {
    errno = EINVAL;
    return -1;
}

static char *word(char **at) {
    char *begin = *at, *end = begin + strcspn(begin, " ");

    *at = *end == '\0' ? end : end + 1;
    *end = '\0';
    return begin;
}

/* ---- copies ------------------------------------------------------------------------------- */

static int copy(struct line *l, int at, const char *path, bool read_only, unsigned flags) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          (read_only ? MOUNT_ATTR_RDONLY : 0)};
    struct stat st;

    l->copy = (int)syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
    if (l->copy < 0 || fstat(l->copy, &st) < 0) {
        return -1;
    }
    l->folder = S_ISDIR(st.st_mode);
    return (int)syscall(SYS_mount_setattr, l->copy, "", AT_EMPTY_PATH, &attr, sizeof attr);
}

/* -1: no number. */
static int descriptor(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);

    return *text < '0' || *text > '9' || *end != '\0' || number > INT_MAX ? -1 : (int)number;
}

static int read_bind(struct line *l, char *at) {
    int number = descriptor(word(&at));
    const char *mode = word(&at);
    bool read_only = strcmp(mode, "ro") == 0;

    if (number < 0 || (!read_only && strcmp(mode, "rw") != 0)) {
        return invalid();
    }
    l->place = at; /* to the end of the line: names may have blanks */
    if (copy(l, number, "", read_only, AT_EMPTY_PATH) < 0) {
        return -1;
    }
    return close(number); /* from it a path would lead out */
}

static int read_line(struct line *l, char *text) {
    *l = (struct line){.verb = word(&text), .rest = text, .copy = -1, .data = -1};
    if (strcmp(l->verb, "bind") == 0) {
        if (read_bind(l, text) < 0) {
            return -1;
        }
    } else if (strcmp(l->verb, "system") == 0) {
        l->place = text;
        if (copy(l, AT_FDCWD, text, true, 0) < 0 && errno != ENOENT) {
            return -1;
        }
    } else if (strcmp(l->verb, "data") == 0) {
        l->data = descriptor(word(&text));
        l->place = text;
        if (l->data < 0) {
            return invalid();
        }
    } else if (strcmp(l->verb, "folder") == 0) {
        l->place = text;
    } else if (strcmp(l->verb, "text") == 0) {
        l->place = word(&text);
        l->rest = text;
    } else {
        return invalid();
    }
    if (l->place[0] != '/' || l->place[1] == '\0') {
        return invalid();
    }
    l->place++;
    return 0;
}

/* ---- the new root ------------------------------------------------------------------------- */

static int make_folders(char *place, bool last) {
    for (char *c = place; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        int rc = mkdir(place, 0755);
        *c = '/';
        if (rc < 0 && errno != EEXIST) {
            return -1;
        }
    }
    return !last || mkdir(place, 0755) == 0 || errno == EEXIST ? 0 : -1;
}

static int make_file(const char *place, const char *text) {
    int fd = open(place, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    size_t bytes = strlen(text);
    bool ok = fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes;
    int err = errno;

    if (fd >= 0) {
        close(fd);
    }
    errno = err;
    return ok ? 0 : -1;
}

static int make_copy(const char *place, int data) {
    int fd = open(place, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    off_t at = 0;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0) {
        n = sendfile(fd, data, &at, COPY_BYTES);
    }
    int err = errno;
    if (fd >= 0) {
        close(fd);
    }
    close(data);
    errno = err;
    return n < 0 ? -1 : 0;
}

static int put(struct line *l) {
    bool file = strcmp(l->verb, "text") == 0;
    bool folder = strcmp(l->verb, "folder") == 0;

    if (!file && !folder && l->copy < 0 && l->data < 0) {
        return 0; /* a part of the system that this one has not */
    }
    if (make_folders(l->place, folder || l->folder) < 0) {
        return -1;
    }
    if (l->data >= 0) {
        return make_copy(l->place, l->data);
    }
    if (!folder && !l->folder && make_file(l->place, file ? l->rest : "") < 0) {
        return -1;
    }
    if (l->copy < 0) {
        return 0;
    }
    int rc = (int)syscall(SYS_move_mount, l->copy, "", AT_FDCWD, l->place, MOVE_MOUNT_F_EMPTY_PATH);
    return rc < 0 ? -1 : close(l->copy);
}

static int begin(void) {
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -1;
    }
    return mount("uvm", BEGIN, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m") < 0
               ? -1
               : chdir(BEGIN);
}

static int finish(void) {
    if (mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0) {
        return -1;
    }
    return chdir("/");
}

int uvm__launch_root(const char *spec) {
    static struct line lines[LINES_MAX];
    static char text[LINES_MAX * (NAME_MAX + ROOM)];
    size_t count = 0;

    if (strlen(spec) >= sizeof text) {
        errno = E2BIG;
        return -1;
    }
    memcpy(text, spec, strlen(spec) + 1);
    for (char *at = text, *next; at != NULL && *at != '\0'; at = next) {
        next = strchr(at, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        if (count == LINES_MAX) {
            return invalid();
        }
        if (read_line(&lines[count++], at) < 0) {
            return -1;
        }
    }
    if (begin() < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (put(&lines[i]) < 0) {
            return -1;
        }
    }
    return finish();
}
