/* SPDX-License-Identifier: MIT
 *
 * Places in the guest (place.h): a walk, one folder at a time.
 */
#include "cmd/gcs/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int gcs_path_check(const char *key, const char *path, struct gcs_words *w) {
    size_t bytes = strlen(path);

    if (path[0] != '/') {
        return gcs_bad(w, "%s \"%s\": not absolute", key, path);
    }
    if (bytes >= PATH_MAX) {
        return gcs_bad(w, "%s: longer than %d bytes", key, PATH_MAX - 1);
    }
    for (const char *part = path; part != NULL; part = strchr(part, '/')) {
        part += strspn(part, "/");
        size_t n = strcspn(part, "/");
        if (n > NAME_MAX) {
            return gcs_bad(w, "%s: a name of more than %d bytes", key, NAME_MAX);
        }
        if (n <= 2 && n > 0 && strspn(part, ".") >= n) {
            return gcs_bad(w, "%s \"%s\": has a \"%.*s\"", key, path, (int)n, part);
        }
    }
    return strspn(path, "/") == bytes ? gcs_bad(w, "%s: the root itself", key) : 0;
}

/* The folder `name` in `at`: a descriptor, or -1 and errno; ELOOP for a link. */
static int step(int at, const char *name) {
    int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0 && errno == ENOTDIR) {
        bool link = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = link ? ELOOP : ENOTDIR;
    }
    return fd;
}

static int make_step(struct gcs_place *p, const char *name) {
    int fd = step(p->folder, name);

    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    if (mkdirat(p->folder, name, 0700) == 0) {
        p->made++;
    } else if (errno != EEXIST) {
        return -1;
    }
    return step(p->folder, name);
}

/* What did not open, by its whole path. */
static int refuse(struct gcs_place *p, size_t bytes, struct gcs_words *w) {
    int err = errno;

    gcs_place_unmake(p);
    gcs_place_close(p);
    if (err == ELOOP) {
        return gcs_fail(w, "%s: %.*s is a symbolic link; name the folder that it leads to", p->path,
                        (int)bytes, p->path);
    }
    return gcs_fail(w, "%s: folder %.*s: %s", p->path, (int)bytes, p->path, strerror(err));
}

int gcs_place_open(const char *path, bool make, struct gcs_place *ret, struct gcs_words *w) {
    const char *at = path + strspn(path, "/");

    memset(ret, 0, sizeof *ret);
    (void)snprintf(ret->path, sizeof ret->path, "%s", path);
    ret->folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (ret->folder < 0) {
        return gcs_fail(w, "open /: %s", strerror(errno));
    }
    for (;;) {
        size_t n = strcspn(at, "/");
        const char *next = at + n + strspn(at + n, "/");

        (void)snprintf(ret->name, sizeof ret->name, "%.*s", (int)n, at);
        if (*next == '\0') {
            return 1;
        }
        int fd = make ? make_step(ret, ret->name) : step(ret->folder, ret->name);
        if (fd < 0 && errno == ENOENT && !make) {
            gcs_place_close(ret);
            return 0;
        }
        if (fd < 0) {
            return refuse(ret, (size_t)(at + n - path), w);
        }
        close(ret->folder);
        ret->folder = fd;
        at = next;
    }
}

/* Upwards from the folder that is open: its name is what /proc says, its folder is its "..". */
static bool unmake_one(struct gcs_place *p) {
    char link[64], real[PATH_MAX];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", p->folder);
    ssize_t n = readlink(link, real, sizeof real - 1);
    int up = n <= 0 ? -1 : openat(p->folder, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (up < 0) {
        return false;
    }
    real[n] = '\0';
    bool gone = unlinkat(up, strrchr(real, '/') + 1, AT_REMOVEDIR) == 0;
    close(p->folder);
    p->folder = up;
    return gone;
}

void gcs_place_unmake(struct gcs_place *p) {
    while (p->made > 0 && unmake_one(p)) {
        p->made--;
    }
    p->made = 0;
}

void gcs_place_close(struct gcs_place *p) {
    if (p->folder >= 0) {
        close(p->folder);
    }
    p->folder = -1;
}

void gcs_place_text(const struct gcs_place *p, char ret[PATH_MAX]) {
    (void)snprintf(ret, PATH_MAX, "/proc/self/fd/%d/%s", p->folder, p->name);
}

bool gcs_place_mounted(const struct gcs_place *p) {
    struct statx st;

    return statx(p->folder, p->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0,
                 &st) == 0 &&
           (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}
