/* SPDX-License-Identifier: MIT
 *
 * CombinedLayers: a container's root, an overlay of layers that are mounted already and of a scratch folder
 * (hcsshim's internal/guest/runtime/hcsv2, modifyCombinedLayers).
 *
 * Every folder is opened without following a link (place.h), and overlayfs is told of the open ones: nobody
 * replaces one between the look and the mount, and no sign in a name can end an option.
 *
 * Where the scratch is on another disk than the container's bundle (the parent of its root), the bundle becomes a
 * folder of the scratch, so that what a container writes there is the scratch's too. The reference undoes that
 * when it deletes the container's state; here the Remove does, since until then the disk could not be let go of.
 * One layer without a scratch is no overlay: it is shown as it is, read-only.
 */
#include "cmd/gcs/device.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/mountinfo.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"

#include "async/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHO "gcs-device"
#define LAYERS_MAX 128u /* of one root; the kernel reads a page of options */
#define BUNDLE "/bundle"

struct layers {
    const char *root, *scratch;
    const char *paths[LAYERS_MAX];
    size_t count;
    char bundle[PATH_MAX]; /* the root's parent; "": it stays as it is */
};

/* A folder that is open, and what of the way to it was made. */
struct folder {
    struct gcs_place at;
    bool made;
    int fd; /* -1: closed */
};
#define FOLDER_CLOSED                                                                              \
    { .at = {.folder = -1}, .fd = -1 }

/* ---- settings ------------------------------------------------------------------------------- */

static bool is_inside(const char *path, const char *folder) {
    size_t n = strlen(folder);

    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static void find_bundle(struct layers *l) {
    size_t n = strlen(l->root);

    while (n > 0 && l->root[n - 1] == '/') {
        n--;
    }
    while (n > 0 && l->root[n - 1] != '/') {
        n--;
    }
    while (n > 0 && l->root[n - 1] == '/') {
        n--;
    }
    (void)snprintf(l->bundle, sizeof l->bundle, "%.*s", (int)n, l->root);
    if (l->scratch[0] != '\0' && is_inside(l->scratch, l->bundle)) {
        l->bundle[0] = '\0';
    }
}

static int read_paths(const cJSON *settings, struct layers *l, struct gcs_words *w) {
    const cJSON *list = uvm__json_get(UVM__JSON_GO, settings, "Layers"), *layer;

    if (!uvm__json_absent(list) && !cJSON_IsArray(list)) {
        return gcs_bad(w, "Layers: no list");
    }
    cJSON_ArrayForEach(layer, list) {
        if (l->count == LAYERS_MAX) {
            return gcs_bad(w, "Layers: more than %u", LAYERS_MAX);
        }
        if (!cJSON_IsObject(layer)) {
            return gcs_bad(w, "Layers: one that is no object");
        }
        if (gcs_setting_text(layer, "Path", &l->paths[l->count], w) < 0 ||
            gcs_path_check("Layers: Path", l->paths[l->count], w) < 0) {
            return -1;
        }
        l->count++;
    }
    return 0;
}

static int read_layers(const cJSON *settings, struct layers *l, struct gcs_words *w) {
    memset(l, 0, sizeof *l);
    if (gcs_setting_text(settings, "ContainerRootPath", &l->root, w) < 0 ||
        gcs_path_check("ContainerRootPath", l->root, w) < 0 ||
        gcs_setting_text(settings, "ScratchPath", &l->scratch, w) < 0 ||
        (l->scratch[0] != '\0' && gcs_path_check("ScratchPath", l->scratch, w) < 0) ||
        read_paths(settings, l, w) < 0) {
        return -1;
    }
    find_bundle(l);
    return 0;
}

/* ---- folders ---------------------------------------------------------------------------------- */

static void close_folder(struct folder *f) {
    if (f->fd >= 0) {
        close(f->fd);
    }
    gcs_place_close(&f->at);
    *f = (struct folder)FOLDER_CLOSED;
}

/* What was made of it goes again, as far as it is empty. */
static void unmake_folder(struct folder *f) {
    if (f->at.folder >= 0) {
        if (f->made) {
            (void)unlinkat(f->at.folder, f->at.name, AT_REMOVEDIR);
        }
        gcs_place_unmake(&f->at);
    }
    close_folder(f);
}

static int open_folder(const char *path, bool make, struct folder *ret, struct gcs_words *w) {
    *ret = (struct folder)FOLDER_CLOSED;
    int rc = gcs_place_open(path, make, &ret->at, w);

    if (rc <= 0) {
        return rc < 0 ? rc : gcs_fail(w, "%s: no such folder", path);
    }
    ret->made = make && mkdirat(ret->at.folder, ret->at.name, 0755) == 0;
    ret->fd = openat(ret->at.folder, ret->at.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (ret->fd < 0) {
        rc = gcs_fail(w, "%s: %s", path,
                      errno == ENOTDIR ? "no folder, or a symbolic link" : strerror(errno));
        unmake_folder(ret);
        return rc;
    }
    return 0;
}

static void fd_path(int fd, char ret[64]) {
    (void)snprintf(ret, 64, "/proc/self/fd/%d", fd);
}

static int open_below(const char *folder, const char *name, struct folder *ret,
                      struct gcs_words *w) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s", folder, name);

    return n < 0 || (size_t)n >= sizeof path ? gcs_bad(w, "ScratchPath: too long")
                                             : open_folder(path, true, ret, w);
}

/* ---- the bundle --------------------------------------------------------------------------------- */

static int bind(int from, int to, const char *what, struct gcs_words *w) {
    char source[64], target[64];

    fd_path(from, source);
    fd_path(to, target);
    return mount(source, target, NULL, MS_BIND, NULL) == 0
               ? 0
               : gcs_fail(w, "bind of %s: %s", what, strerror(errno));
}

struct bundle {
    struct folder there, here; /* of the scratch; where it is shown */
};

static int show_bundle(const struct layers *l, struct bundle *b, struct gcs_words *w) {
    int rc = open_below(l->scratch, BUNDLE, &b->there, w);

    rc = rc < 0 ? rc : open_folder(l->bundle, true, &b->here, w);
    if (rc == 0) {
        rc = gcs_place_mounted(&b->here.at)
                 ? gcs_fail(w, "%s: something is mounted there already", l->bundle)
                 : bind(b->there.fd, b->here.fd, l->bundle, w);
    }
    if (rc < 0) {
        unmake_folder(&b->here);
        unmake_folder(&b->there);
    }
    return rc;
}

static void hide_bundle(const struct layers *l, struct bundle *b) {
    struct gcs_words ignored;

    (void)gcs_unmount(l->bundle, &ignored);
    unmake_folder(&b->here);
    unmake_folder(&b->there);
}

/* Whether the fourth word of a line of mountinfo, the folder of its file system that is shown, is a bundle. */
static bool shows_bundle(const char *line) {
    const size_t tail = strlen(BUNDLE);

    for (int i = 0; i < 3; i++) {
        line += strcspn(line, " ");
        line += *line == ' ';
    }
    size_t n = strcspn(line, " ");
    return n >= tail && strncmp(line + n - tail, BUNDLE, tail) == 0;
}

/* Whether what is mounted there is a bundle of ours: a folder of that name of whatever file system. */
static bool is_bundle(const char *path) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *where;
    unsigned major, minor;
    bool found = false;
    size_t room = 0;

    while (f != NULL && getline(&line, &room, f) > 0) {
        bool bundle = shows_bundle(line); /* before the line is taken apart */

        if (gcs_mountinfo_line(line, &major, &minor, &where) && strcmp(where, path) == 0) {
            found = bundle;
        }
    }
    free(line);
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

/* ---- the root ------------------------------------------------------------------------------------- */

static int show_one(const char *path, const struct folder *root, struct gcs_words *w) {
    struct folder layer;
    char target[PATH_MAX];

    if (open_folder(path, false, &layer, w) < 0) {
        return -1;
    }
    int rc = bind(layer.fd, root->fd, path, w);
    close_folder(&layer);
    if (rc < 0) {
        return rc;
    }
    gcs_place_text(&root->at, target); /* not by its descriptor, which is below the mount */
    if (mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0) {
        int err = errno;

        (void)umount2(target, UMOUNT_NOFOLLOW);
        return gcs_fail(w, "%s read-only: %s", path, strerror(err));
    }
    return 0;
}

/* "lowerdir=…", the first the topmost. Their descriptors stay open to the end of this process. */
static int put_lower(const struct layers *l, char *data, size_t bytes, struct gcs_words *w) {
    size_t at = (size_t)snprintf(data, bytes, "lowerdir=");

    for (size_t i = 0; i < l->count; i++) {
        struct folder layer;
        int n;

        if (open_folder(l->paths[i], false, &layer, w) < 0) {
            return -1;
        }
        n = snprintf(data + at, bytes - at, "%s/proc/self/fd/%d", i == 0 ? "" : ":", layer.fd);
        gcs_place_close(&layer.at);
        if (n < 0 || (size_t)n >= bytes - at) {
            return gcs_fail(w, "Layers: %zu are more than one mount takes", l->count);
        }
        at += (size_t)n;
    }
    return 0;
}

static int mount_overlay(const struct folder *root, char *data, bool read_only,
                         struct gcs_words *w) {
    char target[64];

    (void)uvm__modules_load(WHO, "modules.overlay");
    fd_path(root->fd, target);
    return mount("overlay", target, "overlay", read_only ? MS_RDONLY : 0, data) == 0
               ? 0
               : gcs_fail(w, "overlay on %s: %s", root->at.path, strerror(errno));
}

static int show_written(const struct layers *l, const struct folder *root, char *data, size_t bytes,
                        struct gcs_words *w) {
    struct folder upper = FOLDER_CLOSED, work = FOLDER_CLOSED;
    size_t at = strlen(data);
    int rc = open_below(l->scratch, "/upper", &upper, w);

    rc = rc < 0 ? rc : open_below(l->scratch, "/work", &work, w);
    if (rc == 0) {
        int n = snprintf(data + at, bytes - at,
                         ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", upper.fd, work.fd);
        rc = n < 0 || (size_t)n >= bytes - at
                 ? gcs_fail(w, "Layers: %zu are more than one mount takes", l->count)
                 : mount_overlay(root, data, false, w);
    }
    if (rc < 0) {
        if (work.made) {
            (void)unlinkat(work.fd, "work", AT_REMOVEDIR); /* overlayfs' own */
        }
        unmake_folder(&work);
        unmake_folder(&upper);
    }
    close_folder(&work);
    close_folder(&upper);
    return rc;
}

static int show_root(const struct layers *l, struct gcs_words *w) {
    char data[4096]; /* a page, which is what the kernel reads */
    struct folder root;

    if (open_folder(l->root, true, &root, w) < 0) {
        return -1;
    }
    int rc = gcs_place_mounted(&root.at)
                 ? gcs_fail(w, "%s: something is mounted there already", l->root)
                 : 0;
    if (rc == 0 && l->count == 1 && l->scratch[0] == '\0') {
        rc = show_one(l->paths[0], &root, w);
    } else if (rc == 0) {
        rc = put_lower(l, data, sizeof data, w);
        rc = rc < 0                  ? rc
             : l->scratch[0] != '\0' ? show_written(l, &root, data, sizeof data, w)
                                     : mount_overlay(&root, data, true, w);
    }
    if (rc < 0) {
        unmake_folder(&root);
    }
    close_folder(&root);
    return rc;
}

/* ---- CombinedLayers ------------------------------------------------------------------------------- */

int gcs_layers_mount(const cJSON *settings, struct gcs_words *w) {
    struct bundle b = {.there = FOLDER_CLOSED, .here = FOLDER_CLOSED};
    struct layers l;

    if (read_layers(settings, &l, w) < 0) {
        return -1;
    }
    if (l.count == 0) {
        return gcs_bad(w, "Layers: there is none");
    }
    bool bundle = l.scratch[0] != '\0' && l.bundle[0] != '\0';
    if (bundle && show_bundle(&l, &b, w) < 0) {
        return -1;
    }
    int rc = show_root(&l, w);
    if (rc < 0 && bundle) {
        hide_bundle(&l, &b);
    }
    close_folder(&b.here);
    close_folder(&b.there);
    return rc;
}

int gcs_layers_unmount(const cJSON *settings, struct gcs_words *w) {
    struct layers l;

    if (read_layers(settings, &l, w) < 0 || gcs_unmount(l.root, w) < 0) {
        return -1;
    }
    return l.bundle[0] != '\0' && is_bundle(l.bundle) ? gcs_unmount(l.bundle, w) : 0;
}
