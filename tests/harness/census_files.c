/* SPDX-License-Identifier: MIT
 * census_files.c — descriptors, sockets, memfds, mounts and files.
 *
 * Sockets are looked for among our own descriptors, not in the machine's table: a socket that somebody else holds
 * is somebody else's, and a descendant that holds one of ours is itself in the census. The path that a socket
 * leaves in a folder is a file. Memory by memfd_create() may outlive its descriptor as a mapping, so both are
 * looked at. Nothing here follows a link.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/async.h"
#include "tests/harness/census_int.h"

#define MEMFD_MARK "/memfd:"
#define DELETED " (deleted)"

static void failed(struct uvm_harness_census *c, int rc) {
    c->rc = c->rc < 0 ? c->rc : rc;
}

/* ---- descriptors -------------------------------------------------------------------------- */

/* What /proc/net/unix says of a socket, after its inode's number: " @name", or nothing. */
static void name_of_socket(const char *inode, char *text, size_t room) {
    static const char *const types[] = {"?", "stream", "datagram", "?", "?", "seqpacket"};
    FILE *f = fopen("/proc/net/unix", "re");
    char *line = NULL;
    size_t bytes = 0;
    (void)snprintf(text, room, "socket %.20s", inode);
    /* Num: RefCount Protocol Flags Type St Inode [Path] */
    while (f != NULL && getline(&line, &bytes, f) > 0) {
        char *fields[8] = {NULL}, *rest = line;
        for (size_t i = 0; i < 7 && rest != NULL; i++) {
            rest += strspn(rest, " ");
            fields[i] = strsep(&rest, " \n");
        }
        if (fields[6] != NULL && strcmp(fields[6], inode) == 0) {
            unsigned long type = strtoul(fields[4], NULL, 16);
            unsigned long flags = strtoul(fields[3], NULL, 16);
            const char *name = rest == NULL ? "" : rest;
            (void)snprintf(text, room, "unix %s%s, %s%.*s", type < 6 ? types[type] : "?",
                           (flags & 0x10000) != 0 ? ", listening" : "",
                           *name == '\0' || *name == '\n' ? "without a name" : "",
                           (int)strcspn(name, "\n"), name);
            break;
        }
    }
    free(line);
    if (f != NULL) {
        (void)fclose(f);
    }
}

static void count_descriptor(struct uvm_harness_census *c, const char *number, char *target) {
    size_t n = strlen(target);
    if (n > strlen(DELETED) && strcmp(target + n - strlen(DELETED), DELETED) == 0) {
        target[n - strlen(DELETED)] = '\0'; /* the name may go while the descriptor stays */
    }
    if (strncmp(target, "socket:[", 8) == 0) {
        char text[256];
        target[strcspn(target, "]")] = '\0';
        if (uvm__harness_counts(c, UVM_HARNESS_SOCKET)) {
            uvm__harness_add(c, UVM_HARNESS_SOCKET, "%s %s", number, target + 8);
            name_of_socket(target + 8, text, sizeof text);
            uvm__harness_explain(c, "%s: %s", number, text);
        }
    } else if (strncmp(target, MEMFD_MARK, strlen(MEMFD_MARK)) == 0) {
        struct stat st = {0};
        if (uvm__harness_counts(c, UVM_HARNESS_MEMFD)) {
            (void)fstat((int)strtol(number, NULL, 10), &st);
            uvm__harness_add(c, UVM_HARNESS_MEMFD, "%s %s", number, target + strlen(MEMFD_MARK));
            uvm__harness_explain(c, "%s: %s, %lld bytes", number, target + strlen(MEMFD_MARK),
                                 (long long)st.st_size);
        }
    } else if (uvm__harness_counts(c, UVM_HARNESS_DESCRIPTOR)) {
        uvm__harness_add(c, UVM_HARNESS_DESCRIPTOR, "%s: %s", number, target);
    }
}

/* address perms offset dev inode /memfd:name (deleted); several mappings of one are one. */
static void count_mapped(struct uvm_harness_census *c) {
    FILE *f = fopen("/proc/self/maps", "re");
    char *line = NULL, last[32] = "";
    size_t bytes = 0;
    while (f != NULL && getline(&line, &bytes, f) > 0) {
        char *name = strstr(line, MEMFD_MARK), *rest = line, *field = NULL;
        if (name == NULL) {
            continue;
        }
        for (int i = 0; i < 5 && rest != NULL; i++) {
            rest += strspn(rest, " ");
            field = strsep(&rest, " ");
        }
        if (field == NULL || strcmp(field, last) == 0) {
            continue;
        }
        (void)snprintf(last, sizeof last, "%s", field);
        name += strlen(MEMFD_MARK);
        uvm__harness_add(c, UVM_HARNESS_MEMFD, "mapped: %.*s (inode %s)", (int)strcspn(name, " \n"),
                         name, field);
    }
    free(line);
    if (f != NULL) {
        (void)fclose(f);
    }
}

void uvm__harness_count_descriptors(struct uvm_harness_census *c) {
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        failed(c, errno == ENOMEM ? -UVM_E_NOMEM : -UVM_E_HOST);
        return;
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        char target[4096];
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof target - 1);
        if (n > 0 && strtol(d->d_name, NULL, 10) != dirfd(dir)) {
            target[n] = '\0';
            count_descriptor(c, d->d_name, target);
        }
    }
    (void)closedir(dir);
    if (uvm__harness_counts(c, UVM_HARNESS_MEMFD)) {
        count_mapped(c);
    }
}

/* ---- mounts ------------------------------------------------------------------------------- */

/* id parent major:minor root mountpoint options [tags…] - type source options */
void uvm__harness_count_mounts(struct uvm_harness_census *c) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t bytes = 0;
    if (f == NULL) {
        failed(c, -UVM_E_HOST);
        return;
    }
    while (getline(&line, &bytes, f) > 0) {
        char *type = strstr(line, " - ");
        char *fields[5] = {NULL}, *rest = line;
        for (size_t i = 0; i < 5; i++) {
            fields[i] = rest == NULL ? NULL : strsep(&rest, " ");
        }
        if (fields[4] != NULL && type != NULL) {
            uvm__harness_add(c, UVM_HARNESS_MOUNT, "%s %s", fields[0], fields[4]);
            uvm__harness_explain(c, "%s (%.*s)", fields[4], (int)strcspn(type + 3, " "), type + 3);
        }
    }
    free(line);
    (void)fclose(f);
}

/* ---- files -------------------------------------------------------------------------------- */

static const char *type_of(mode_t mode) {
    return S_ISREG(mode)    ? "file"
           : S_ISDIR(mode)  ? "folder"
           : S_ISSOCK(mode) ? "socket"
           : S_ISLNK(mode)  ? "link"
           : S_ISFIFO(mode) ? "pipe"
                            : "device";
}

/* What is in an open folder, which is closed. `deep`: below it, too, and whoever owns it. */
static void count_folder(struct uvm_harness_census *c, int fd, const char *path, bool deep,
                         unsigned depth) {
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        /* Nothing there; gone meanwhile; or not for us to look into, but counted itself. */
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
            failed(c, errno == ENOMEM ? -UVM_E_NOMEM : -UVM_E_HOST);
        }
        return;
    }
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat st;
        char *below = NULL;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
            fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            (!deep && geteuid() != 0 && st.st_uid != geteuid())) {
            continue;
        }
        if (c->count > UVM_HARNESS_FILES_MAX || depth > UVM_HARNESS_FOLDER_DEPTH_MAX) {
            failed(c, -UVM_E_LIMIT);
            break;
        }
        uvm__harness_add(c, UVM_HARNESS_FILE, "%s/%s", path, d->d_name);
        uvm__harness_explain(c, "%s/%s, a %s of %lld bytes", path, d->d_name, type_of(st.st_mode),
                             (long long)st.st_size);
        if (!deep || !S_ISDIR(st.st_mode)) {
            continue;
        }
        if (asprintf(&below, "%s/%s", path, d->d_name) < 0) {
            failed(c, -UVM_E_NOMEM);
            break;
        }
        int sub = openat(dirfd(dir), d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        count_folder(c, sub, below, true, depth + 1);
        free(below);
    }
    (void)closedir(dir);
}

void uvm__harness_count_files(struct uvm_harness_census *c) {
    static const char *const shared[] = {"/tmp", "/var/tmp", "/dev/shm"};
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    for (size_t i = 0; c->folders[i] != NULL; i++) {
        count_folder(c, open(c->folders[i], flags), c->folders[i], true, 1);
    }
    for (size_t i = 0; c->shared_folders && i < sizeof shared / sizeof shared[0]; i++) {
        count_folder(c, open(shared[i], flags), shared[i], false, 1);
    }
}
