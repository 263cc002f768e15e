/* SPDX-License-Identifier: MIT
 *
 * File systems of block devices (storage.h).
 *
 * Unlike the reference, a failed mount takes away only the folders that it made: a folder that was
 * there before may hold somebody's files.
 */
#include "cmd/gcs/storage.h"

#include "async/json.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/mountinfo.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHO "gcs-device"
#define STACKED_MAX 16 /* mounts over each other at one path */
#define DETECT_AGAIN_MS 500

/* ---- what is mounted ------------------------------------------------------------------------------ */

bool gcs_mounted_device(unsigned major, unsigned minor, char *ret_where, size_t bytes) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    unsigned its_major, its_minor;
    char *line = NULL, *where;
    size_t room = 0;
    bool found = false;

    while (f != NULL && !found && getline(&line, &room, f) > 0) {
        found = gcs_mountinfo_line(line, &its_major, &its_minor, &where) && major == its_major &&
                minor == its_minor;
        if (found) {
            (void)snprintf(ret_where, bytes, "%s", where);
        }
    }
    free(line);
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

/* ---- what is on it ------------------------------------------------------------------------------- */

static const struct magic {
    const char *type;
    off_t at;
    const char *bytes;
    size_t count;
} magics[] = {
    {"ext4", 1080, "\x53\xef", 2},   {"xfs", 0, "XFSB", 4},
    {"squashfs", 0, "hsqs", 4},      {"erofs", 1024, "\xe2\xe1\xf5\xe0", 4},
    {"btrfs", 65600, "_BHRfS_M", 8}, {"iso9660", 32769, "CD001", 5},
    {"vfat", 82, "FAT32   ", 8},     {"vfat", 54, "FAT16   ", 8},
    {"vfat", 54, "FAT12   ", 8},
};

static int unreadable(struct gcs_words *w, const char *device, const char *what) {
    (void)gcs_fail(w, "read %s: %s", device, what);
    w->unreadable = true;
    return -1;
}

int gcs_filesystem(const char *device, const char **ret, struct gcs_words *w) {
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    char there[8];
    int err = 0;

    *ret = "";
    if (fd < 0) {
        return unreadable(w, device, strerror(errno));
    }
    bool empty = lseek(fd, 0, SEEK_END) == 0; /* the driver could not ask for its size */
    for (size_t i = 0; i < sizeof magics / sizeof magics[0] && **ret == '\0' && err == 0; i++) {
        const struct magic *m = &magics[i];
        ssize_t n = pread(fd, there, m->count, m->at);

        err = n < 0 ? errno : 0;
        if (n == (ssize_t)m->count && memcmp(there, m->bytes, m->count) == 0) {
            *ret = m->type;
        }
    }
    close(fd);
    if (err != 0 || empty) {
        *ret = "";
        return unreadable(w, device, err != 0 ? strerror(err) : "it has no size");
    }
    return 0;
}

/* What is thrown away needs no journal, and no copies of its superblock, which are parts of blocks and would have
 * the rest of them read. The tables of inodes that ext4 leaves for later it does not read before it has written
 * them; xfs writes all that it reads. */
static int format(const char *device, const char *type, bool scratch, struct gcs_words *w) {
    const char *const ext4[] = {"mkfs.ext4", "-q", "-F", device, NULL};
    const char *const ext4_scratch[] = {"mkfs.ext4",
                                        "-q",
                                        "-F",
                                        "-O",
                                        "^has_journal,^resize_inode,sparse_super2",
                                        "-E",
                                        "num_backup_sb=0,lazy_itable_init=1,nodiscard",
                                        device,
                                        NULL};
    const char *const xfs[] = {"mkfs.xfs", "-q", "-f", device, NULL};
    const char *const xfs_scratch[] = {"mkfs.xfs", "-q", "-f", "-K", device, NULL};
    const char *const *argv = strcmp(type, "ext4") == 0  ? scratch ? ext4_scratch : ext4
                              : strcmp(type, "xfs") == 0 ? scratch ? xfs_scratch : xfs
                                                         : NULL;
    struct gcs_words why;

    if (argv == NULL) {
        return gcs_fail(w, "%s: cannot be formatted as \"%s\", only as ext4 or xfs", device, type);
    }
    if (gcs_tool_run(argv, &why) < 0) {
        (void)gcs_fail(w, "%s format: %s failed to format %s: %s", type, argv[0], device, why.text);
        struct gcs_words now;
        const char *found;
        w->unreadable = why.unreadable || gcs_filesystem(device, &found, &now) < 0;
        return -1;
    }
    return 0;
}

/* The type to mount it as. */
static int choose_type(const struct gcs_mount *m, const char **ret, struct gcs_words *w) {
    const char *found;

    if (m->no_device) {
        *ret = m->type;
        return 0;
    }
    if (m->scratch) {
        *ret = m->type[0] != '\0' ? m->type : "ext4";
        return format(m->source, *ret, true, w);
    }
    if (gcs_filesystem(m->source, &found, w) < 0) {
        return -1;
    }
    if (*found == '\0' && !m->ensure) {
        (void)poll(NULL, 0, DETECT_AGAIN_MS); /* a disk whose first blocks are still on their way */
        if (gcs_filesystem(m->source, &found, w) < 0) {
            return -1;
        }
    }
    if (m->ensure && strcmp(found, m->type) != 0) {
        *ret = m->type;
        return format(m->source, m->type, false, w);
    }
    *ret = m->type[0] != '\0' ? m->type : found;
    return **ret != '\0' ? 0 : gcs_fail(w, "%s: no file system that is known is on it", m->source);
}

/* ---- mounting -------------------------------------------------------------------------------------- */

/* Without it a read-only mount of a journal that is not clean would write. */
static const char *no_recovery(const char *type) {
    return strcmp(type, "ext4") == 0 ? "noload" : strcmp(type, "xfs") == 0 ? "norecovery" : "";
}

/* The folder is opened, so that what is mounted over is what was looked at. */
static int mount_over(const struct gcs_mount *m, const struct gcs_place *at, const char *type,
                      struct gcs_words *w) {
    int folder = openat(at->folder, at->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char path[64], data[sizeof m->options.data + 32];

    if (folder < 0) {
        return gcs_fail(w, "mount %s: %s", m->target,
                        errno == ENOTDIR ? "no folder, or a symbolic link" : strerror(errno));
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", folder);
    const char *own = m->read_only ? no_recovery(type) : "";
    (void)snprintf(data, sizeof data, "%s%s%s", own, *own != '\0' && *m->options.data ? "," : "",
                   m->options.data);
    int rc = mount(m->source, path, type, m->options.flags | (m->read_only ? MS_RDONLY : 0), data);
    int err = errno;
    close(folder);
    if (rc < 0) {
        bool refused = err == EINVAL && *m->options.data != '\0';

        if (err == ENODEV) {
            return gcs_fail(w, "mount %s: the guest's kernel has no file system \"%s\"", m->target,
                            type);
        }
        (void)gcs_fail(w, "mount %s on %s as %s: %s%s%s", m->source, m->target, type, strerror(err),
                       refused ? "; perhaps for its options: " : "",
                       refused ? m->options.data : "");
        w->unreadable = err == EIO || err == ENXIO;
        return -1;
    }
    return 0;
}

static int mount_device(const struct gcs_mount *m, const struct gcs_place *at, const char *type,
                        struct gcs_words *w) {
    char list[64], place[PATH_MAX];

    (void)snprintf(list, sizeof list, "modules.%s", type);
    (void)uvm__modules_load(WHO, list);
    if (mount_over(m, at, type, w) < 0) {
        return -1;
    }
    gcs_place_text(at, place);
    for (size_t i = 0; m->options.propagation[i] != 0; i++) {
        if (mount(NULL, place, NULL, m->options.propagation[i], NULL) < 0) {
            int err = errno;

            (void)umount2(place, UMOUNT_NOFOLLOW);
            return gcs_fail(w, "propagation of %s: %s", m->target, strerror(err));
        }
    }
    return 0;
}

/* Behind the open folder; `*ret_made`: the last one is ours to remove. */
static int mount_at(const struct gcs_mount *m, const struct gcs_place *at, bool *ret_made,
                    struct gcs_words *w) {
    const char *type;

    if (gcs_place_mounted(at)) {
        return gcs_fail(w, "mount %s: something is mounted there already", m->target);
    }
    *ret_made = mkdirat(at->folder, at->name, 0700) == 0;
    if (!*ret_made && errno != EEXIST) {
        return gcs_fail(w, "mkdir %s: %s", m->target, strerror(errno));
    }
    return choose_type(m, &type, w) < 0 ? -1 : mount_device(m, at, type, w);
}

int gcs_mount(const struct gcs_mount *m, struct gcs_words *w) {
    struct gcs_place at;
    bool made = false;

    if (gcs_place_open(m->target, true, &at, w) < 0) {
        return -1;
    }
    int rc = mount_at(m, &at, &made, w);
    if (rc < 0) {
        if (made) {
            (void)unlinkat(at.folder, at.name, AT_REMOVEDIR);
        }
        gcs_place_unmake(&at);
    }
    gcs_place_close(&at);
    return rc;
}

static int unmount_at(const struct gcs_place *at, const char *target, struct gcs_words *w) {
    char place[PATH_MAX];

    gcs_place_text(at, place);
    for (int i = 0; i < STACKED_MAX && gcs_place_mounted(at); i++) {
        if (umount2(place, UMOUNT_NOFOLLOW) < 0) {
            return errno == EBUSY
                       ? gcs_fail(w, "unmount %s: busy, a process in the guest still uses it",
                                  target)
                       : gcs_fail(w, "unmount %s: %s", target, strerror(errno));
        }
    }
    /* Somebody may have put files into the folder before it was mounted over: they stay. */
    (void)unlinkat(at->folder, at->name, AT_REMOVEDIR);
    return 0;
}

int gcs_unmount(const char *target, struct gcs_words *w) {
    struct gcs_place at;
    int rc = gcs_place_open(target, false, &at, w);

    if (rc > 0) {
        rc = unmount_at(&at, target, w);
        gcs_place_close(&at);
    }
    return rc;
}

static const struct option_word {
    const char *word;
    unsigned long flag; /* 0: it says nothing here */
    bool propagation;
} option_words[] = {
    {"defaults", 0, false},
    {"ro", 0, false},
    {"rw", 0, false},
    {"nosuid", MS_NOSUID, false},
    {"nodev", MS_NODEV, false},
    {"noexec", MS_NOEXEC, false},
    {"noatime", MS_NOATIME, false},
    {"nodiratime", MS_NODIRATIME, false},
    {"relatime", MS_RELATIME, false},
    {"strictatime", MS_STRICTATIME, false},
    {"sync", MS_SYNCHRONOUS, false},
    {"dirsync", MS_DIRSYNC, false},
    {"private", MS_PRIVATE, true},
    {"rprivate", MS_PRIVATE | MS_REC, true},
    {"shared", MS_SHARED, true},
    {"rshared", MS_SHARED | MS_REC, true},
    {"slave", MS_SLAVE, true},
    {"rslave", MS_SLAVE | MS_REC, true},
    {"unbindable", MS_UNBINDABLE, true},
    {"runbindable", MS_UNBINDABLE | MS_REC, true},
};

static const struct option_word *find_word(const char *text) {
    for (size_t i = 0; i < sizeof option_words / sizeof option_words[0]; i++) {
        if (strcmp(option_words[i].word, text) == 0) {
            return &option_words[i];
        }
    }
    return NULL;
}

int gcs_mount_options(const cJSON *words, struct gcs_mount_options *ret, struct gcs_words *w) {
    const size_t room = sizeof ret->propagation / sizeof ret->propagation[0] - 1;
    size_t bytes = 0, count = 0;
    const cJSON *item;

    memset(ret, 0, sizeof *ret);
    if (!uvm__json_absent(words) && !cJSON_IsArray(words)) {
        return gcs_bad(w, "Options: no list of words");
    }
    cJSON_ArrayForEach(item, words) {
        const char *text = uvm__json_string(item);
        const struct option_word *known = text == NULL ? NULL : find_word(text);

        if (text == NULL || (known != NULL && known->propagation && count == room)) {
            return gcs_bad(w, "Options: %s", text == NULL ? "no list of words" : "too many");
        }
        if (known != NULL && known->propagation) {
            ret->propagation[count++] = known->flag;
        } else if (known != NULL) {
            ret->flags |= known->flag;
        } else {
            int n = snprintf(ret->data + bytes, sizeof ret->data - bytes, "%s%s",
                             bytes == 0 ? "" : ",", text);
            if (n < 0 || (size_t)n >= sizeof ret->data - bytes) {
                return gcs_bad(w, "Options: longer than %zu bytes", sizeof ret->data - 1);
            }
            bytes += (size_t)n;
        }
    }
    return 0;
}
