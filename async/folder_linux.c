/* SPDX-License-Identifier: MIT
 * folder_linux.c — claiming, releasing and sweeping folders by flock and rename.
 *
 * claim: mkdir `.new-R` → flock → rename to NAME, if there is none. release and sweep: flock (held by an
 * owner already) → rename to `.old-R` → remove. Both renames are done by whoever holds the lock of the
 * very folder that is renamed, so nobody ever moves or removes what another has claimed meanwhile. R is
 * random. What a crash leaves between the steps is an unlocked folder with a dot, which a sweep removes.
 *
 * A sweeper may lock a `.new-R` before its maker does: then the maker finds it locked or gone, and makes
 * another. A claim that meets a sweeper in the moment between its lock and its rename sees a living owner;
 * that is told as such, and the next claim succeeds.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/clock.h"
#include "async/folder.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define ATTEMPTS 16u
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define DOTTED_BYTES 32u

static int fail_errno(struct uvm__fail *f, int err, const char *what, const char *path) {
    bool host = err == EACCES || err == EPERM || err == EROFS || err == ENOSPC || err == EDQUOT ||
                err == EFBIG;
    enum uvm_error_code code = err == ENOENT   ? UVM_E_NOTFOUND
                               : err == ENOMEM ? UVM_E_NOMEM
                               : host          ? UVM_E_HOST
                                               : UVM_E_IO;
    return uvm__fail(f, code, err, "%s: could not be %s: %s", path, what, strerrordesc_np(err));
}

static void dotted(uvm_engine *e, const char *kind, char ret[DOTTED_BYTES]) {
    uint64_t r;
    uvm__random(e, &r, sizeof r);
    (void)snprintf(ret, DOTTED_BYTES, ".%s-%016llx", kind, (unsigned long long)r);
}

bool uvm__folder_name_ok(const char *name) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t len = strlen(name);
    return len > 0 && len <= UVM__FOLDER_NAME_BYTES_MAX && name[0] != '.' &&
           strspn(name, allowed) == len;
}

/* ---- opening ------------------------------------------------------------------------------ */

static int check_owner(int fd, const char *path, bool root_too, struct uvm__fail *f) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return fail_errno(f, errno, "looked at", path);
    }
    if (st.st_uid != geteuid() && !(root_too && st.st_uid == 0)) {
        return uvm__fail(f, UVM_E_HOST, 0, "%s: belongs to user %u, not to %u", path,
                         (unsigned)st.st_uid, (unsigned)geteuid());
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return uvm__fail(f, UVM_E_HOST, 0, "%s: others may write in it (mode %03o); chmod 0700 it",
                         path, (unsigned)(st.st_mode & 0777));
    }
    return 0;
}

int uvm__folder_open(const char *path, bool make, int *ret_fd, struct uvm__fail *f) {
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST) {
        int err = errno; /* a missing parent is no missing folder */
        return fail_errno(f, err == ENOENT ? ENOTDIR : err, "made", path);
    }
    UVM_CLEANUP_FD int fd = open(path, OPEN_FLAGS);
    if (fd < 0) {
        return fail_errno(f, errno == ELOOP ? ENOTDIR : errno, "opened", path);
    }
    int rc = check_owner(fd, path, !make, f);
    if (rc == 0) {
        *ret_fd = UVM_TAKE_FD(fd);
    }
    return rc;
}

int uvm__folder_enter(int parent, const char *name, int *ret_fd, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = openat(parent, name, OPEN_FLAGS);
    if (fd < 0) {
        return fail_errno(f, errno, "opened", name);
    }
    int rc = check_owner(fd, name, true, f);
    if (rc == 0) {
        *ret_fd = UVM_TAKE_FD(fd);
    }
    return rc;
}

bool uvm__folder_lives(int parent, const char *name) {
    UVM_CLEANUP_FD int fd = openat(parent, name, OPEN_FLAGS);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

int uvm__folder_make(int parent, const char *name, int *ret_fd, struct uvm__fail *f) {
    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST) {
        return fail_errno(f, errno, "made", name);
    }
    return uvm__folder_enter(parent, name, ret_fd, f);
}

int uvm__folder_list(int fd, bool (*fn)(const char *name, void *arg), void *arg,
                     struct uvm__fail *f) {
    int own = openat(fd, ".", OPEN_FLAGS);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (dir == NULL) {
        int rc = fail_errno(f, errno, "listed", "folder");
        uvm__close_fd(&own);
        return rc;
    }
    struct dirent *d;
    while ((d = readdir(dir)) != NULL) {
        bool self = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
        if (!self && !fn(d->d_name, arg)) {
            break;
        }
    }
    closedir(dir);
    return 0;
}

/* ---- removing ----------------------------------------------------------------------------- */

struct removal {
    int fd;
    int err;
};

static bool remove_one(const char *name, void *arg) {
    struct removal *r = arg;
    if (unlinkat(r->fd, name, 0) != 0 && errno != ENOENT) {
        r->err = errno;
    }
    return true;
}

/* The folder is locked by us and called `name`. Returns 0 or -UVM_E_IO, -UVM_E_HOST. */
static int remove_locked(uvm_engine *e, int parent, const char *name, int fd, struct uvm__fail *f) {
    char old[DOTTED_BYTES];
    struct removal r = {.fd = fd};
    dotted(e, "old", old);
    if (renameat(parent, name, parent, old) != 0) {
        return fail_errno(f, errno, "renamed", name);
    }
    int rc = uvm__folder_list(fd, remove_one, &r, f);
    if (rc == 0 && r.err != 0) {
        rc = fail_errno(f, r.err, "emptied", name);
    }
    if (rc == 0 && unlinkat(parent, old, AT_REMOVEDIR) != 0) {
        rc = fail_errno(f, errno, "removed", name);
    }
    return rc;
}

void uvm__folder_release(uvm_engine *e, int parent, const char *name, int take_fd) {
    struct uvm__fail ignored;
    (void)remove_locked(e, parent, name, take_fd, &ignored);
    uvm__close_fd(&take_fd);
}

static bool is_there(int parent, const char *name, int fd) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(parent, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int uvm__folder_sweep(uvm_engine *e, int parent, const char *name, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = openat(parent, name, OPEN_FLAGS);
    if (fd < 0) {
        return fail_errno(f, errno, "opened", name);
    }
    int rc = check_owner(fd, name, false, f);
    if (rc < 0) {
        return rc;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? uvm__fail(f, UVM_E_EXISTS, 0, "%s: its owner lives", name)
                                    : fail_errno(f, errno, "locked", name);
    }
    if (!is_there(parent, name, fd)) {
        return fail_errno(f, ENOENT, "swept", name); /* somebody else has just done it */
    }
    return remove_locked(e, parent, name, fd, f);
}

/* ---- claiming ----------------------------------------------------------------------------- */

/* A new folder, locked, under a name with a dot. AGAIN: a sweeper was faster. */
static int make_locked(uvm_engine *e, int parent, char made[DOTTED_BYTES], int *ret_fd,
                       struct uvm__fail *f) {
    dotted(e, "new", made);
    if (mkdirat(parent, made, 0700) != 0) {
        return errno == EEXIST ? -UVM_E_AGAIN : fail_errno(f, errno, "made", "folder");
    }
    UVM_CLEANUP_FD int fd = openat(parent, made, OPEN_FLAGS);
    if (fd < 0 && errno != ENOENT) {
        int err = errno;
        (void)unlinkat(parent, made, AT_REMOVEDIR);
        return fail_errno(f, err, "opened", "folder");
    }
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || !is_there(parent, made, fd)) {
        return -UVM_E_AGAIN;
    }
    *ret_fd = UVM_TAKE_FD(fd);
    return 0;
}

/* Gives the made folder its name. AGAIN: begin anew. */
static int give_name(uvm_engine *e, int parent, const char *made, const char *name,
                     struct uvm__fail *f) {
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        if (renameat2(parent, made, parent, name, RENAME_NOREPLACE) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return fail_errno(f, errno, "made", name);
        }
        int rc = uvm__folder_sweep(e, parent, name, f);
        if (rc < 0 && rc != -UVM_E_NOTFOUND) {
            return rc;
        }
    }
    return uvm__fail(f, UVM_E_EXISTS, 0, "%s: others take it over and over", name);
}

int uvm__folder_claim(uvm_engine *e, int parent, const char *name, int *ret_fd,
                      struct uvm__fail *f) {
    char made[DOTTED_BYTES];
    if (!uvm__folder_name_ok(name)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "\"%.80s\" is no name for a folder", name);
    }
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        UVM_CLEANUP_FD int fd = -1;
        int rc = make_locked(e, parent, made, &fd, f);
        if (rc == -UVM_E_AGAIN) {
            continue;
        }
        rc = rc < 0 ? rc : give_name(e, parent, made, name, f);
        if (rc == 0) {
            *ret_fd = UVM_TAKE_FD(fd);
            return 0;
        }
        if (fd >= 0) {
            (void)unlinkat(parent, made, AT_REMOVEDIR);
        }
        return rc;
    }
    return uvm__fail(f, UVM_E_IO, 0, "%s: others remove it over and over", name);
}

/* ---- files -------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        data += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

int uvm__folder_write(int fd, const char *name, const void *data, size_t bytes,
                      struct uvm__fail *f) {
    char part[80];
    int n = snprintf(part, sizeof part, ".%s.part", name);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof part);
    UVM_CLEANUP_FD int file =
        openat(fd, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0 || !write_all(file, data, bytes) || renameat(fd, part, fd, name) != 0) {
        int err = errno;
        (void)unlinkat(fd, part, 0);
        return fail_errno(f, err, "written", name);
    }
    return 0;
}

int64_t uvm__folder_read(int fd, const char *name, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 1);
    UVM_CLEANUP_FD int file = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    size_t len = 0;
    if (file < 0) {
        return errno == ENOENT ? -UVM_E_NOTFOUND : -UVM_E_IO;
    }
    for (;;) {
        ssize_t n = read(file, buf + len, bytes - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            buf[len] = 0;
            return n < 0 ? -UVM_E_IO : (int64_t)len;
        }
        len += (size_t)n;
        if (len == bytes) {
            return -UVM_E_LIMIT;
        }
    }
}

bool uvm__folder_unlink(int fd, const char *name) {
    return unlinkat(fd, name, 0) == 0 || errno == ENOENT;
}

/* The oldest of all files, and their count. */
struct oldest {
    int fd;
    uint32_t count;
    time_t at;
    char name[256];
};

static bool look(const char *name, void *arg) {
    struct oldest *o = arg;
    struct stat st;
    if (fstatat(o->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (o->count == 0 || st.st_mtime < o->at) {
            o->at = st.st_mtime;
            (void)snprintf(o->name, sizeof o->name, "%s", name);
        }
        o->count++;
    }
    return true;
}

void uvm__folder_prune(uvm_engine *e, int fd, uint32_t keep, uint64_t age_s) {
    uint64_t now_s = uvm__wall_ns(e) / 1000000000u;
    for (;;) { /* ends: each round removes one */
        struct oldest o = {.fd = fd};
        struct uvm__fail ignored;
        if (uvm__folder_list(fd, look, &o, &ignored) < 0 || o.count == 0) {
            return;
        }
        bool old = o.at >= 0 && (uint64_t)o.at + age_s < now_s;
        if ((o.count <= keep && !old) || unlinkat(fd, o.name, 0) != 0) {
            return;
        }
    }
}
