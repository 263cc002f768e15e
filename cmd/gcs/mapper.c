/* SPDX-License-Identifier: MIT
 *
 * Device-mapper (mapper.h): create, load a table, resume, and a device file; or remove.
 */
#include "cmd/gcs/mapper.h"

#include "cmd/gcs/modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WHO "gcs-device"
#define CONTROL GCS_MAPPER "/control"
#define LOADED "/sys/class/misc/device-mapper"
#define PARAMETERS_BYTES 1024
#define DROPS_MAX 16

/* A request with room for one row of a table. */
union request {
    struct dm_ioctl head;
    struct {
        struct dm_ioctl head;
        struct dm_target_spec row;
        char parameters[PARAMETERS_BYTES];
    } table;
};

static void put_head(union request *r, const char *name, uint32_t flags) {
    memset(r, 0, sizeof *r);
    r->head.version[0] =
        DM_VERSION_MAJOR; /* of any minor: what is asked is older than all of them */
    r->head.data_size = sizeof *r;
    r->head.data_start = offsetof(union request, table.row);
    r->head.flags = flags;
    (void)snprintf(r->head.name, sizeof r->head.name, "%s", name);
}

static int open_control(struct gcs_words *w) {
    int fd = open(CONTROL, O_RDWR | O_CLOEXEC);

    return fd >= 0 ? fd : gcs_fail(w, "open %s: %s", CONTROL, strerror(errno));
}

void gcs_mapper_path(const char *name, char ret[GCS_MAPPER_PATH_BYTES]) {
    (void)snprintf(ret, GCS_MAPPER_PATH_BYTES, GCS_MAPPER "/%s", name);
}

static int make_node(const char *name, uint64_t number, char ret[GCS_MAPPER_PATH_BYTES],
                     struct gcs_words *w) {
    gcs_mapper_path(name, ret);
    (void)unlink(ret);
    return mknod(ret, S_IFBLK | 0400,
                 makedev((unsigned)(number >> 8) & 0xfff,
                         (unsigned)((number & 0xff) | ((number >> 12) & 0xfff00)))) == 0
               ? 0
               : gcs_fail(w, "%s: %s", ret, strerror(errno));
}

static int drop(int control, const char *name) {
    char path[GCS_MAPPER_PATH_BYTES];
    union request r;

    put_head(&r, name, 0);
    if (ioctl(control, DM_DEV_REMOVE, &r) < 0 && errno != ENXIO) {
        return -1;
    }
    gcs_mapper_path(name, path);
    (void)unlink(path);
    return 0;
}

static int fill(int control, const struct gcs_mapped *m, struct gcs_words *w) {
    union request r;

    put_head(&r, m->name, DM_READONLY_FLAG);
    r.head.target_count = 1;
    r.table.row.length = m->sectors;
    (void)snprintf(r.table.row.target_type, sizeof r.table.row.target_type, "%s", m->target);
    (void)snprintf(r.table.parameters, sizeof r.table.parameters, "%s", m->parameters);
    if (ioctl(control, DM_TABLE_LOAD, &r) < 0) {
        return gcs_fail(w, "%s: %s of %llu sectors: %s", m->name, m->target,
                        (unsigned long long)m->sectors, strerror(errno));
    }
    put_head(&r, m->name, DM_READONLY_FLAG);
    return ioctl(control, DM_DEV_SUSPEND, &r) == 0 /* without the flag it means resume */
               ? 0
               : gcs_fail(w, "%s: %s", m->name, strerror(errno));
}

int gcs_mapper_make(const struct gcs_mapped *m, char ret[GCS_MAPPER_PATH_BYTES],
                    struct gcs_words *w) {
    union request r;
    int control, rc;

    if (strlen(m->name) >= DM_NAME_LEN || strlen(m->parameters) >= PARAMETERS_BYTES) {
        return gcs_fail(w, "%s: its name or its parameters are too long", m->name);
    }
    (void)uvm__modules_load(WHO, "modules.dm");
    control = open_control(w);
    if (control < 0) {
        return -1;
    }
    put_head(&r, m->name, DM_READONLY_FLAG);
    if (ioctl(control, DM_DEV_CREATE, &r) < 0) {
        rc = gcs_fail(w, "%s: %s", m->name, errno == EBUSY ? "is there already" : strerror(errno));
    } else {
        rc = fill(control, m, w);
        rc = rc < 0 ? rc : make_node(m->name, r.head.dev, ret, w);
        if (rc < 0) {
            (void)drop(control, m->name);
        }
    }
    close(control);
    return rc;
}

int gcs_mapper_drop(const char *name, struct gcs_words *w) {
    int control, rc;

    if (access(LOADED, F_OK) < 0) {
        return 0; /* this kernel has none yet, and need not load it for this */
    }
    control = open_control(w);
    if (control < 0) {
        return -1;
    }
    rc = drop(control, name);
    if (rc < 0) {
        rc = gcs_fail(w, "%s: %s", name,
                      errno == EBUSY ? "busy, something in the guest still uses it"
                                     : strerror(errno));
    }
    close(control);
    return rc;
}

/* The next of these names; false: there is none. */
static bool find_name(const char *prefix, char ret[DM_NAME_LEN]) {
    DIR *d = opendir(GCS_MAPPER);
    struct dirent *e;
    bool found = false;

    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        found = strncmp(e->d_name, prefix, strlen(prefix)) == 0 && strlen(e->d_name) < DM_NAME_LEN;
        if (found) {
            (void)snprintf(ret, DM_NAME_LEN, "%.*s", DM_NAME_LEN - 1, e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

int gcs_mapper_drop_all(const char *prefix, struct gcs_words *w) {
    char name[DM_NAME_LEN];
    int rc = 0;

    /* A drop takes the file away, so each is found once. */
    for (int i = 0; rc == 0 && i < DROPS_MAX && find_name(prefix, name); i++) {
        rc = gcs_mapper_drop(name, w);
    }
    return rc;
}

int gcs_mapper_status(const char *name, char *ret, size_t bytes) {
    struct gcs_words ignored;
    union request r;
    int control = open_control(&ignored);

    if (control < 0) {
        return -1;
    }
    put_head(&r, name, 0);
    int rc = ioctl(control, DM_TABLE_STATUS, &r);
    close(control);
    if (rc < 0 || r.head.target_count != 1 || (r.head.flags & DM_BUFFER_FULL_FLAG) != 0 ||
        r.head.data_start > sizeof r - sizeof r.table.row - bytes) {
        return -1;
    }
    (void)snprintf(ret, bytes, "%s",
                   (const char *)&r + r.head.data_start + sizeof(struct dm_target_spec));
    return 0;
}
