/* SPDX-License-Identifier: MIT
 *
 * Shared folders, in the guest (docs/PROTOCOL-bridge.md, VSMBShare): virtio-fs, bound to where they are wanted.
 *
 * The host has a file system a mode of access, with a tag; in its root each share is a folder by its name. The
 * first share of a tag mounts it at a place of ours, and each share is a bind mount of its folder, or of a file in
 * it; the last one takes the tag's mount away. Requests about one tag come one after the other, by a lock.
 *
 * After a share has left, the kernel still remembers its names, and the host's server keeps files open for
 * as long: a remount of the tag makes it forget all that nobody uses. Where the server has died, what is still open of
 * a share is of no use to anybody and keeps nothing from leaving.
 */
#include "cmd/gcs/modules.h"
#include "cmd/gcs/mountinfo.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WHO "gcs-device"
#define BASE "/run/uvm/vsmb"
#define NAME_BYTES 64 /* of a tag, of a share */
#define POLL_MS 2
#define OURS 0000 /* the mode of an empty file that we made to mount over */

struct share {
    const char *tag, *name, *target, *file; /* file "": the folder */
    bool read_only;
    char base[sizeof BASE + NAME_BYTES]; /* where the tag is mounted */
    int lock;
};

/* Of what becomes a path here. */
static int check_name(const char *key, const char *name, struct gcs_words *w) {
    size_t bytes = strlen(name);
    bool ok =
        bytes > 0 && bytes < NAME_BYTES && name[0] != '.' &&
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") == bytes;

    return ok ? 0 : gcs_bad(w, "%s: \"%.80s\" is no name of a share", key, name);
}

static int check_file(const char *file, struct gcs_words *w) {
    bool ok = strchr(file, '/') == NULL && strcmp(file, ".") != 0 && strcmp(file, "..") != 0 &&
              strlen(file) <= NAME_MAX;
    return ok ? 0 : gcs_bad(w, "File: no name of a file");
}

static int read_share(const cJSON *settings, struct share *s, struct gcs_words *w) {
    memset(s, 0, sizeof *s);
    s->lock = -1;
    if (gcs_setting_text(settings, "Tag", &s->tag, w) < 0 ||
        gcs_setting_text(settings, "ShareName", &s->name, w) < 0 ||
        gcs_setting_text(settings, "MountPath", &s->target, w) < 0 ||
        gcs_setting_text(settings, "File", &s->file, w) < 0 ||
        gcs_setting_bool(settings, "ReadOnly", &s->read_only, w) < 0 ||
        check_name("Tag", s->tag, w) < 0 || check_name("ShareName", s->name, w) < 0 ||
        check_file(s->file, w) < 0 || gcs_path_check("MountPath", s->target, w) < 0) {
        return -1;
    }
    (void)snprintf(s->base, sizeof s->base, BASE "/%s", s->tag);
    return 0;
}

static int make_folder(const char *path, struct gcs_words *w) {
    return mkdir(path, 0700) == 0 || errno == EEXIST
               ? 0
               : gcs_fail(w, "mkdir %s: %s", path, strerror(errno));
}

/* Held until unlock(), or our end. */
static int lock(struct share *s, struct gcs_words *w) {
    char path[sizeof s->base + 8];

    if (make_folder("/run/uvm", w) < 0 || make_folder(BASE, w) < 0 || make_folder(s->base, w) < 0) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s.lock", s->base);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0 || flock(s->lock, LOCK_EX) < 0) {
        return gcs_fail(w, "%s: %s", path, strerror(errno));
    }
    return 0;
}

static void unlock(struct share *s) {
    if (s->lock >= 0) {
        close(s->lock);
    }
}

/* ---- the tag ------------------------------------------------------------------------------ */

static bool is_mounted(const char *path) {
    struct statx st;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, 0, &st) == 0 &&
           (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* The device comes a moment after the host has plugged it in. */
static int mount_tag(const struct share *s, struct gcs_words *w) {
    if (is_mounted(s->base)) {
        return 0;
    }
    (void)uvm__modules_load(WHO, "modules.virtiofs");
    for (unsigned waited = 0;; waited += POLL_MS) {
        if (mount(s->tag, s->base, "virtiofs", MS_NOSUID | MS_NODEV, NULL) == 0) {
            return 0;
        }
        if (errno == ENODEV) {
            return gcs_fail(w, "the guest's kernel has no virtiofs");
        }
        if (errno != EINVAL || waited > GCS_DEVICE_WAIT_MS) { /* EINVAL: no such tag yet */
            return gcs_fail(w, "mount share %s: %s", s->tag,
                            errno == EINVAL ? "its device did not come" : strerror(errno));
        }
        (void)poll(NULL, 0, POLL_MS);
    }
}

/* Mounts of the tag's file system, ours among them; -1: unknown. */
static int count_mounts(const struct share *s) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    unsigned major, minor;
    char *line = NULL, *where;
    struct statx st;
    size_t room = 0;
    int count = 0;

    if (f == NULL ||
        statx(AT_FDCWD, s->base, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, 0, &st) < 0) {
        count = -1;
    }
    while (count >= 0 && getline(&line, &room, f) > 0) {
        count += gcs_mountinfo_line(line, &major, &minor, &where) && major == st.stx_dev_major &&
                 minor == st.stx_dev_minor;
    }
    free(line);
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

/* The server holds open what the kernel remembers. */
static void forget(const struct share *s) {
    if (!is_mounted(s->base)) {
        return;
    }
    if (count_mounts(s) == 1 && umount2(s->base, UMOUNT_NOFOLLOW) == 0) {
        char path[sizeof s->base + 8];

        (void)snprintf(path, sizeof path, "%s.lock", s->base);
        (void)rmdir(s->base);
        (void)unlink(path);
        return;
    }
    (void)mount(NULL, s->base, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL);
}

/* Where the server has died, the host answers each request with this. */
static bool is_lost(const struct share *s) {
    struct statx st;
    return is_mounted(s->base) &&
           statx(AT_FDCWD, s->base, AT_STATX_FORCE_SYNC, STATX_MODE, &st) < 0 && errno == ENOTCONN;
}

/* ---- the share ---------------------------------------------------------------------------- */

/* The folder or the file of the share, as a mount of its own that is nowhere yet; -1 with the words. */
static int copy_share(const struct share *s, struct gcs_words *w) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          (s->read_only ? MOUNT_ATTR_RDONLY : 0)};
    char path[sizeof s->base + NAME_BYTES + 1];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/%s", s->base, s->name);
    int from = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from >= 0 && s->file[0] != '\0') {
        int file = openat(from, s->file, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        int err = errno;
        close(from);
        from = file;
        errno = err;
    }
    if (from < 0) {
        return gcs_fail(w, "share %s: %s", s->name, strerror(errno));
    }
    if (s->file[0] != '\0' && (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(from);
        return gcs_fail(w, "share %s: %s is no regular file", s->name, s->file);
    }
    int copy =
        (int)syscall(SYS_open_tree, from, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    close(from);
    if (copy >= 0 && syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
        int err = errno;
        close(copy);
        copy = -1;
        errno = err;
    }
    return copy >= 0 ? copy : gcs_fail(w, "share %s: %s", s->name, strerror(errno));
}

static int make_target(const struct share *s, const struct gcs_place *at, bool *ret_made) {
    if (s->file[0] == '\0') {
        *ret_made = mkdirat(at->folder, at->name, 0700) == 0;
    } else {
        int fd = openat(at->folder, at->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        OURS);
        *ret_made = fd >= 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    return *ret_made || errno == EEXIST ? 0 : -1;
}

static void unmake_target(const struct share *s, const struct gcs_place *at) {
    struct stat st;

    if (s->file[0] == '\0') {
        (void)unlinkat(at->folder, at->name, AT_REMOVEDIR);
    } else if (fstatat(at->folder, at->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISREG(st.st_mode) && st.st_size == 0 && (st.st_mode & 0777) == OURS) {
        (void)unlinkat(at->folder, at->name, 0);
    }
}

static int bind_over(const struct share *s, const struct gcs_place *at, int copy,
                     struct gcs_words *w) {
    bool folder = s->file[0] == '\0';
    int to =
        openat(at->folder, at->name, O_PATH | O_NOFOLLOW | O_CLOEXEC | (folder ? O_DIRECTORY : 0));
    struct stat st;

    if (to < 0) {
        return gcs_fail(w, "mount %s: %s", s->target,
                        errno == ENOTDIR ? "no folder, or a symbolic link" : strerror(errno));
    }
    if (!folder && (fstat(to, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(to);
        return gcs_fail(w, "mount %s: no regular file", s->target);
    }
    int rc = (int)syscall(SYS_move_mount, copy, "", to, "",
                          MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    int err = errno;
    close(to);
    return rc == 0 ? 0 : gcs_fail(w, "mount share %s on %s: %s", s->name, s->target, strerror(err));
}

static int bind_share(const struct share *s, struct gcs_words *w) {
    struct gcs_place at;
    bool made = false;
    int copy = copy_share(s, w);

    if (copy < 0) {
        return -1;
    }
    int rc = gcs_place_open(s->target, true, &at, w);
    if (rc < 0) {
        close(copy);
        return -1;
    }
    if (gcs_place_mounted(&at)) {
        rc = gcs_fail(w, "mount %s: something is mounted there already", s->target);
    } else if (make_target(s, &at, &made) < 0) {
        rc = gcs_fail(w, "%s: %s", s->target, strerror(errno));
    } else {
        rc = bind_over(s, &at, copy, w);
    }
    if (rc < 0) {
        if (made) {
            unmake_target(s, &at);
        }
        gcs_place_unmake(&at);
    }
    gcs_place_close(&at);
    close(copy);
    return rc < 0 ? -1 : 0;
}

static int unbind_share(const struct share *s, bool lost, struct gcs_words *w) {
    struct gcs_place at;
    char place[PATH_MAX];
    int rc = gcs_place_open(s->target, false, &at, w);

    if (rc <= 0) {
        return rc;
    }
    gcs_place_text(&at, place);
    rc = 0;
    if (gcs_place_mounted(&at) && umount2(place, UMOUNT_NOFOLLOW | (lost ? MNT_DETACH : 0)) < 0) {
        rc = errno == EBUSY
                 ? gcs_fail(w, "unmount %s: busy, a process in the guest still uses it", s->target)
                 : gcs_fail(w, "unmount %s: %s", s->target, strerror(errno));
    } else {
        unmake_target(s, &at);
    }
    gcs_place_close(&at);
    return rc;
}

/* ---- VSMBShare ---------------------------------------------------------------------------- */

int gcs_vsmb_mount(const cJSON *settings, struct gcs_words *w) {
    struct share s;

    if (read_share(settings, &s, w) < 0) {
        return -1;
    }
    int rc = lock(&s, w);
    rc = rc < 0 ? rc : mount_tag(&s, w);
    if (rc == 0) {
        rc = bind_share(&s, w);
        if (rc < 0) {
            forget(&s);
        }
    }
    unlock(&s);
    return rc;
}

int gcs_vsmb_unmount(const cJSON *settings, struct gcs_words *w) {
    struct share s;

    if (read_share(settings, &s, w) < 0) {
        return -1;
    }
    int rc = lock(&s, w);
    rc = rc < 0 ? rc : unbind_share(&s, is_lost(&s), w);
    if (rc == 0) {
        forget(&s);
    }
    unlock(&s);
    return rc;
}
