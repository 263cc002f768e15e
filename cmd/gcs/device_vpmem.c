/* SPDX-License-Identifier: MIT
 *
 * Images in virtual PMem, in the guest: a whole device, or a slice of one that device-mapper cuts out.
 *
 * A device is /dev/pmem<n>, and <n> is the host's number as long as the kernel found the devices in the
 * host's order. Under QEMU it may find them in another one, but there the range of slot n has the index
 * 2 (n + 1) in the firmware's table, which is looked at first. Drivers are loaded by the first request, and
 * the device comes a moment after them.
 *
 * A slice is a device of its own with a table of one linear row (mapper.h). It is read-only twice: the device
 * and the mount.
 */
#include "cmd/gcs/mapper.h"
#include "cmd/gcs/storage.h"
#include "cmd/gcs/verity.h"

#include "async/json.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHO "gcs-device"
#define REGIONS "/sys/bus/nd/devices"
#define DEVICES 128u
#define BYTES_MAX ((UINT64_C(1) << 42) - 1)
#define POLL_MS 2

struct slice {
    unsigned device;
    const char *target;
    uint64_t offset, bytes; /* 0 bytes: the whole device */
    char name[64];          /* of the slice's device; "": none */
    char verity_name[64];   /* begin of the one that is checked */
    struct gcs_verity_wish verity;
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
    (void)snprintf(s->verity_name, sizeof s->verity_name, "dm-verity-pmem%u", s->device);
    if (gcs_verity_wish(settings, &s->verity, w) < 0) {
        return -1;
    }
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
    if (s->bytes == 0 || s->bytes % GCS_SECTOR_BYTES != 0 || s->offset % GCS_SECTOR_BYTES != 0) {
        return gcs_bad(w, "MappingInfo: %llu bytes at %llu are no whole sectors of %u",
                       (unsigned long long)s->bytes, (unsigned long long)s->offset,
                       GCS_SECTOR_BYTES);
    }
    (void)snprintf(s->name, sizeof s->name, "dm-linear-pmem%u-%llu-%llu", s->device,
                   (unsigned long long)s->offset, (unsigned long long)s->bytes);
    (void)snprintf(s->verity_name, sizeof s->verity_name, "dm-verity-pmem%u-%llu", s->device,
                   (unsigned long long)s->offset);
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

/* `ret` is the slice's device file. */
static int make_slice(const struct slice *s, const char *pmem, char ret[GCS_MAPPER_PATH_BYTES],
                      struct gcs_words *w) {
    char parameters[128];
    const struct gcs_mapped mapped = {.name = s->name,
                                      .target = "linear",
                                      .sectors = s->bytes / GCS_SECTOR_BYTES,
                                      .parameters = parameters};

    (void)snprintf(parameters, sizeof parameters, "%s %llu", pmem,
                   (unsigned long long)(s->offset / GCS_SECTOR_BYTES));
    return gcs_mapper_make(&mapped, ret, w);
}

/* ---- VPMemDevice -------------------------------------------------------------------------- */

static int take_off(const struct slice *s, struct gcs_words *w) {
    int rc = gcs_verity_close(s->verity_name, w);

    return rc < 0 || s->name[0] == '\0' ? rc : gcs_mapper_drop(s->name, w);
}

/* `ret` is what is mounted: the device, its slice, or what checks one of them. */
static int put_over(const struct slice *s, const char *pmem, char ret[GCS_MAPPER_PATH_BYTES],
                    struct gcs_words *w) {
    char below[GCS_MAPPER_PATH_BYTES];

    (void)snprintf(below, sizeof below, "%s", pmem);
    if (s->name[0] != '\0' && make_slice(s, pmem, below, w) < 0) {
        return -1;
    }
    if (s->verity.root[0] != '\0') {
        return gcs_verity_open(below, s->verity_name, &s->verity, ret, w);
    }
    memcpy(ret, below, sizeof below);
    return 0;
}

int gcs_vpmem_mount(const cJSON *settings, struct gcs_words *w) {
    char pmem[32], device[GCS_MAPPER_PATH_BYTES];
    struct gcs_words ignored;
    struct slice s;

    if (read_slice(settings, &s, w) < 0 || find_pmem(s.device, pmem, sizeof pmem, w) < 0) {
        return -1;
    }
    const struct gcs_mount mount = {
        .source = device, .target = s.target, .type = "", .read_only = true};
    int rc = put_over(&s, pmem, device, w);
    if (rc == 0) {
        rc = gcs_mount(&mount, w);
        if (rc < 0 && s.verity.root[0] != '\0') {
            gcs_verity_explain(device, w);
        }
    }
    if (rc < 0) {
        (void)take_off(&s, &ignored);
    }
    return rc;
}

int gcs_vpmem_unmount(const cJSON *settings, struct gcs_words *w) {
    struct slice s;

    if (read_slice(settings, &s, w) < 0 || gcs_unmount(s.target, w) < 0) {
        return -1;
    }
    return take_off(&s, w);
}
