/* SPDX-License-Identifier: MIT
 *
 * Images in virtual PMem, in the guest: a whole device, or a slice of one that device-mapper cuts out.
 *
 * A device is /dev/pmem<n>, and <n> is the host's number as long as the kernel found the devices in the
 * host's order. Under QEMU it may find them in another one, but there the range of slot n has the index
 * 2 (n + 1) in the firmware's table, which is looked at first. Drivers are loaded by the first request, and
 * the device comes a moment after them.
 *
 * A slice is a device of its own with a table of one linear row, made by device-mapper's ioctls (a program
 * and a library would be larger than what they do here). It is read-only twice: the device and the mount.
 */
#include "cmd/gcs/storage.h"

#include "async/json.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WHO "gcs-device"
#define REGIONS "/sys/bus/nd/devices"
#define CONTROL "/dev/mapper/control"
#define MAPPER "/dev/mapper"
#define DEVICES 128u
#define SECTOR_BYTES 512u
#define BYTES_MAX ((UINT64_C(1) << 42) - 1)
#define POLL_MS 2

struct slice {
    unsigned device;
    const char *target;
    uint64_t offset, bytes; /* 0 bytes: the whole device */
    char name[DM_NAME_LEN]; /* of the slice's device; "": none */
};

static int read_slice(const cJSON *settings, struct slice *s, struct gcs_words *w) {
    const cJSON *info = uvm__json_get(UVM__JSON_GO, settings, "MappingInfo");
    uint64_t device;

    memset(s, 0, sizeof *s);
    if (gcs_setting_u64(settings, "DeviceNumber", DEVICES - 1, &device, w) < 0 ||
        gcs_setting_text(settings, "MountPath", &s->target, w) < 0 ||
        gcs_path_check("MountPath", s->target, w) < 0) {
        return -1;
    }
    s->device = (unsigned)device;
    if (uvm__json_absent(info)) {
        return 0;
    }
    if (!cJSON_IsObject(info)) {
        return gcs_bad(w, "MappingInfo: no object");
    }
    if (gcs_setting_u64(info, "DeviceOffsetInBytes", BYTES_MAX, &s->offset, w) < 0 ||
        gcs_setting_u64(info, "DeviceSizeInBytes", BYTES_MAX, &s->bytes, w) < 0) {
        return -1;
    }
    if (s->bytes == 0 || s->bytes % SECTOR_BYTES != 0 || s->offset % SECTOR_BYTES != 0) {
        return gcs_bad(w, "MappingInfo: %llu bytes at %llu are no whole sectors of %u",
                       (unsigned long long)s->bytes, (unsigned long long)s->offset, SECTOR_BYTES);
    }
    (void)snprintf(s->name, sizeof s->name, "dm-linear-pmem%u-%llu-%llu", s->device,
                   (unsigned long long)s->offset, (unsigned long long)s->bytes);
    return 0;
}

/* ---- the device --------------------------------------------------------------------------- */

static bool read_number(const char *path, unsigned *ret) {
    FILE *f = fopen(path, "re");
    char text[16], *end = text;
    bool read = f != NULL && fgets(text, sizeof text, f) != NULL;

    if (read) {
        *ret = (unsigned)strtoul(text, &end, 10);
    }

    if (f != NULL) {
        fclose(f);
    }
    return end != text;
}

/* What the kernel calls the range of slot `device`; the same where no range has such an index. */
static unsigned kernel_number(unsigned device) {
    DIR *d = opendir(REGIONS);
    unsigned found = device, index = 0;
    struct dirent *e;
    char path[sizeof REGIONS + NAME_MAX + 32];

    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, REGIONS "/%s/nfit/range_index", e->d_name);
        if (strncmp(e->d_name, "region", 6) == 0 && read_number(path, &index) &&
            index == 2 * (device + 1)) {
            found = (unsigned)strtoul(e->d_name + 6, NULL, 10);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

/* Waits until it can be opened. */
static int find_pmem(unsigned device, char *ret, size_t bytes, struct gcs_words *w) {
    (void)uvm__modules_load(WHO, "modules.pmem");
    for (unsigned waited = 0;; waited += POLL_MS) {
        (void)snprintf(ret, bytes, "/dev/pmem%u", kernel_number(device));
        int fd = open(ret, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            return 0;
        }
        if (errno != ENOENT && errno != ENXIO) {
            return gcs_fail(w, "open %s: %s", ret, strerror(errno));
        }
        if (waited > GCS_DEVICE_WAIT_MS) {
            return gcs_fail(w, "VPMem device %u (%s) did not come in %u ms", device, ret,
                            GCS_DEVICE_WAIT_MS);
        }
        (void)poll(NULL, 0, POLL_MS);
    }
}

/* ---- slices ------------------------------------------------------------------------------- */

/* A request to device-mapper with room for one row of a table. */
union request {
    struct dm_ioctl head;
    struct {
        struct dm_ioctl head;
        struct dm_target_spec row;
        char parameters[128];
    } table;
};

static void put_head(union request *r, const struct slice *s, uint32_t flags) {
    memset(r, 0, sizeof *r);
    r->head.version[0] =
        DM_VERSION_MAJOR; /* of any minor: what is asked is older than all of them */
    r->head.data_size = sizeof *r;
    r->head.data_start = offsetof(union request, table.row);
    r->head.flags = flags;
    memcpy(r->head.name, s->name, sizeof s->name);
}

static int open_control(struct gcs_words *w) {
    (void)uvm__modules_load(WHO, "modules.dm");
    int fd = open(CONTROL, O_RDWR | O_CLOEXEC);

    return fd >= 0 ? fd : gcs_fail(w, "open %s: %s", CONTROL, strerror(errno));
}

static void node_path(const struct slice *s, char ret[DM_NAME_LEN + sizeof MAPPER]) {
    (void)snprintf(ret, DM_NAME_LEN + sizeof MAPPER, MAPPER "/%s", s->name);
}

/* The device file: there is no udev that would make it. */
static int make_node(const struct slice *s, uint64_t number, char *ret, struct gcs_words *w) {
    node_path(s, ret);
    (void)unlink(ret);
    return mknod(ret, S_IFBLK | 0400,
                 makedev((unsigned)(number >> 8) & 0xfff,
                         (unsigned)((number & 0xff) | ((number >> 12) & 0xfff00)))) == 0
               ? 0
               : gcs_fail(w, "%s: %s", ret, strerror(errno));
}

static int remove_slice(int control, const struct slice *s) {
    char path[DM_NAME_LEN + sizeof MAPPER];
    union request r;

    node_path(s, path);
    (void)unlink(path);
    put_head(&r, s, 0);
    return ioctl(control, DM_DEV_REMOVE, &r) == 0 || errno == ENXIO ? 0 : -1;
}

static int fill_slice(int control, const struct slice *s, const char *pmem, struct gcs_words *w) {
    union request r;

    put_head(&r, s, DM_READONLY_FLAG);
    r.head.target_count = 1;
    r.table.row.length = s->bytes / SECTOR_BYTES;
    (void)snprintf(r.table.row.target_type, sizeof r.table.row.target_type, "linear");
    (void)snprintf(r.table.parameters, sizeof r.table.parameters, "%s %llu", pmem,
                   (unsigned long long)(s->offset / SECTOR_BYTES));
    if (ioctl(control, DM_TABLE_LOAD, &r) < 0) {
        return gcs_fail(w, "%s: %llu bytes at %llu of %s: %s", s->name,
                        (unsigned long long)s->bytes, (unsigned long long)s->offset, pmem,
                        strerror(errno));
    }
    put_head(&r, s, DM_READONLY_FLAG);
    return ioctl(control, DM_DEV_SUSPEND, &r) == 0 /* without the flag it means resume */
               ? 0
               : gcs_fail(w, "%s: %s", s->name, strerror(errno));
}

/* `ret` is the slice's device file. */
static int make_slice(const struct slice *s, const char *pmem, char *ret, struct gcs_words *w) {
    int control = open_control(w);
    union request r;
    int rc;

    if (control < 0) {
        return -1;
    }
    put_head(&r, s, DM_READONLY_FLAG);
    if (ioctl(control, DM_DEV_CREATE, &r) < 0) {
        rc = gcs_fail(w, "%s: %s", s->name, errno == EBUSY ? "is there already" : strerror(errno));
    } else {
        rc = fill_slice(control, s, pmem, w);
        rc = rc < 0 ? rc : make_node(s, r.head.dev, ret, w);
        if (rc < 0) {
            (void)remove_slice(control, s);
        }
    }
    close(control);
    return rc;
}

static int drop_slice(const struct slice *s, struct gcs_words *w) {
    int control = open_control(w);

    if (control < 0) {
        return -1;
    }
    int rc = remove_slice(control, s);
    if (rc < 0) {
        rc = gcs_fail(w, "%s: %s", s->name,
                      errno == EBUSY ? "busy, something in the guest still uses it"
                                     : strerror(errno));
    }
    close(control);
    return rc;
}

/* ---- VPMemDevice -------------------------------------------------------------------------- */

int gcs_vpmem_mount(const cJSON *settings, struct gcs_words *w) {
    char pmem[32], device[DM_NAME_LEN + sizeof MAPPER];
    struct slice s;

    if (read_slice(settings, &s, w) < 0 || find_pmem(s.device, pmem, sizeof pmem, w) < 0) {
        return -1;
    }
    (void)snprintf(device, sizeof device, "%s", pmem);
    if (s.name[0] != '\0' && make_slice(&s, pmem, device, w) < 0) {
        return -1;
    }
    const struct gcs_mount mount = {
        .source = device, .target = s.target, .type = "", .read_only = true};
    int rc = gcs_mount(&mount, w);
    if (rc < 0 && s.name[0] != '\0') {
        struct gcs_words ignored;
        (void)drop_slice(&s, &ignored);
    }
    return rc;
}

int gcs_vpmem_unmount(const cJSON *settings, struct gcs_words *w) {
    struct slice s;

    if (read_slice(settings, &s, w) < 0 || gcs_unmount(s.target, w) < 0) {
        return -1;
    }
    return s.name[0] != '\0' ? drop_slice(&s, w) : 0;
}
