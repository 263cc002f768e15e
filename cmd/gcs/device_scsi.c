/* SPDX-License-Identifier: MIT
 *
 * SCSI disks in the guest: found by controller and LUN, mounted, linked, unmounted, let go.
 *
 * A controller is its VMBus instance under /sys/bus/vmbus/devices, which the offers made (on Hyper-V
 * the kernel did); the SCSI host's number says nothing. Its driver is loaded after the negotiation,
 * and the disk comes a moment after the host attached it, so adding waits for both; removing does not
 * need them to be there.
 */
#include "cmd/gcs/crypt.h"
#include "cmd/gcs/mountinfo.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"
#include "cmd/gcs/verity.h"

#include "async/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VMBUS "/sys/bus/vmbus/devices"
#define SCSI "/sys/bus/scsi/devices"
#define CONTROLLERS 4u
#define LUNS 64u
#define PARTITION_WAIT_MS 2000u /* from the disk to its partitions: the kernel reads them at once */
#define POLL_MS 2
#define POLL_SLOWER_MS 50
#define ASK_MS 250u /* between two questions to the controller for a disk that was announced */
#define DEVICE_BYTES (NAME_MAX + 32)
#define AGAIN_MAX 20 /* mounts of a disk that vanishes in their midst, or cannot be read just now */

/* Version 5 UUIDs of "0" to "3" in the namespace d422512d-2bf2-4752-809d-7b82b5fcb1b4
 * (docs/PROTOCOL-bridge.md, Resources). */
static const char *const controller_guids[CONTROLLERS] = {
    "df6d0690-79e5-55b6-a5ec-c1e2f77f580a", "0110f83b-de10-5172-a266-78bca56bf50a",
    "b5d2d8d4-3a75-51bf-945b-3444dc6b8579", "305891a9-b251-5dfe-91a2-c25d9212275b"};

_Static_assert(DEVICE_BYTES >= GCS_MAPPER_PATH_BYTES, "a device of device-mapper fits too");

struct place {
    unsigned controller, lun, host;
};

/* ---- the disk ------------------------------------------------------------------------------------- */

static uint64_t now_ms(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* False when the time is over. */
static bool wait_a_moment(uint64_t since, uint64_t wait_ms) {
    uint64_t waited = now_ms() - since;
    /* An eighth of what it took so far: sixteen that look every other millisecond leave a slow CPU no time. */
    uint64_t pause = waited / 8 < POLL_MS ? POLL_MS : waited / 8;

    if (waited > wait_ms) {
        return false;
    }
    (void)poll(NULL, 0, (int)(pause > POLL_SLOWER_MS ? POLL_SLOWER_MS : pause));
    return true;
}

/* The first entry of a folder whose name begins with `prefix`. */
static bool first_entry(const char *folder, const char *prefix, char *ret, size_t bytes) {
    DIR *d = opendir(folder);
    struct dirent *e;
    bool found = false;

    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        found = e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
        if (found) {
            (void)snprintf(ret, bytes, "%s", e->d_name);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return found;
}

static int read_place(const cJSON *settings, struct place *p, struct gcs_words *w) {
    uint64_t controller, lun;

    if (gcs_setting_u64(settings, "Controller", CONTROLLERS - 1, &controller, w) < 0 ||
        gcs_setting_u64(settings, "Lun", LUNS - 1, &lun, w) < 0) {
        return -1;
    }
    p->controller = (unsigned)controller;
    p->lun = (unsigned)lun;
    p->host = 0; /* until it is found */
    return 0;
}

static int find_host(struct place *p, bool patient, struct gcs_words *w) {
    char folder[128], host[NAME_MAX + 1];
    uint64_t since = now_ms();
    char *end = host;
    bool found;

    (void)snprintf(folder, sizeof folder, VMBUS "/%s", controller_guids[p->controller]);
    do {
        found = first_entry(folder, "host", host, sizeof host);
    } while (!found && patient && wait_a_moment(since, GCS_DEVICE_WAIT_MS));
    if (found) {
        p->host = (unsigned)strtoul(host + strlen("host"), &end, 10);
    }
    if (end == host || *end != '\0') {
        return gcs_fail(w, "this guest has no SCSI controller %u (%s)", p->controller,
                        controller_guids[p->controller]);
    }
    return 0;
}

/* The driver handles a disk's going and the coming of the next one at the same place each in work of its own,
 * so that the first can be late and take the wrong disk away; or the news was lost. Asking the controller
 * brings back what is there. */
static void ask_for(const struct place *p) {
    char path[96], place[16];
    int n = snprintf(place, sizeof place, "0 0 %u", p->lun);
    int fd;

    (void)snprintf(path, sizeof path, "/sys/class/scsi_host/host%u/scan", p->host);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, place, (size_t)n);
        close(fd);
    }
}

/* Each disk that comes or goes is told to all others of its controller by a command that fails, and the kernel
 * gives up a command that meets many of these in a row; so what could not be read is tried again, its size
 * asked for anew. */
static void look_again(const struct place *p) {
    char path[96];
    int fd;

    (void)snprintf(path, sizeof path, SCSI "/%u:0:0:%u/rescan", p->host, p->lun);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1", 1);
        close(fd);
    }
}

/* It is there and not being taken away. */
static bool is_running(const struct place *p) {
    char path[96], state[8] = "";
    int fd;
    bool running;

    (void)snprintf(path, sizeof path, SCSI "/%u:0:0:%u/state", p->host, p->lun);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    running = fd >= 0 && read(fd, state, sizeof state - 1) > 0 && strncmp(state, "running", 7) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return running;
}

/* "sda" */
static int find_disk(const struct place *p, char *ret, size_t bytes, struct gcs_words *w) {
    uint64_t since = now_ms(), asked = since;
    char folder[128];

    (void)snprintf(folder, sizeof folder, SCSI "/%u:0:0:%u/block", p->host, p->lun);
    while (!first_entry(folder, "", ret, bytes)) {
        if (now_ms() - asked > ASK_MS) {
            ask_for(p);
            asked = now_ms();
        }
        if (!wait_a_moment(since, GCS_DEVICE_WAIT_MS)) {
            return gcs_fail(w, "no disk came at SCSI controller %u, LUN %u, in %u ms",
                            p->controller, p->lun, GCS_DEVICE_WAIT_MS);
        }
    }
    return 0;
}

/* 0: it can be opened; 1: it was not there in time. */
static int await_device(const char *path, uint64_t wait_ms, struct gcs_words *w) {
    uint64_t since = now_ms();
    int fd;

    while ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) {
        if (errno != ENOENT && errno != ENXIO) {
            return gcs_fail(w, "open %s: %s", path, strerror(errno));
        }
        if (!wait_a_moment(since, wait_ms)) {
            return 1;
        }
    }
    close(fd);
    return 0;
}

/* "/dev/sda1", which can be opened. */
static int find_device(const struct place *p, uint64_t partition, char *ret, size_t bytes,
                       struct gcs_words *w) {
    char disk[NAME_MAX + 1];
    int rc;

    if (find_disk(p, disk, sizeof disk, w) < 0) {
        return -1;
    }
    (void)snprintf(ret, bytes, "/dev/%s", disk);
    rc = await_device(ret, GCS_DEVICE_WAIT_MS, w);
    if (rc != 0) {
        return rc < 0 ? rc : gcs_fail(w, "open %s: %s", ret, strerror(ENOENT));
    }
    if (partition != 0) {
        (void)snprintf(ret, bytes, "/dev/%s%llu", disk, (unsigned long long)partition);
        rc = await_device(ret, PARTITION_WAIT_MS, w);
    }
    return rc <= 0
               ? rc
               : gcs_fail(w, "the disk at SCSI controller %u, LUN %u (%s) has no partition %llu",
                          p->controller, p->lun, disk, (unsigned long long)partition);
}

/* ---- MappedVirtualDisk ---------------------------------------------------------------------------- */

struct mapping {
    struct place place;
    const char *target, *type;
    uint64_t partition;
    bool read_only, encrypted, block_dev, ensure;
    struct gcs_verity_wish verity;
    char crypt[64];       /* its device in the clear, if it is encrypted */
    char verity_name[64]; /* begin of the one that is checked */
};

static int read_mapping(const cJSON *settings, struct mapping *m, struct gcs_words *w) {
    memset(m, 0, sizeof *m);
    if (read_place(settings, &m->place, w) < 0 ||
        gcs_setting_text(settings, "MountPath", &m->target, w) < 0 ||
        gcs_setting_text(settings, "Filesystem", &m->type, w) < 0 ||
        gcs_setting_u64(settings, "Partition", 128, &m->partition, w) < 0 ||
        gcs_setting_bool(settings, "ReadOnly", &m->read_only, w) < 0 ||
        gcs_setting_bool(settings, "Encrypted", &m->encrypted, w) < 0 ||
        gcs_setting_bool(settings, "BlockDev", &m->block_dev, w) < 0 ||
        gcs_setting_bool(settings, "EnsureFilesystem", &m->ensure, w) < 0 ||
        gcs_verity_wish(settings, &m->verity, w) < 0) {
        return -1;
    }
    if (m->target[0] != '\0' && gcs_path_check("MountPath", m->target, w) < 0) {
        return -1;
    }
    if (strchr(m->type, '/') != NULL || strlen(m->type) > 16) {
        return gcs_bad(w, "Filesystem \"%s\": no name of a file system", m->type);
    }
    if (m->encrypted && (m->read_only || m->block_dev)) {
        return gcs_bad(w, "Encrypted and %s: what is encrypted is formatted and mounted",
                       m->read_only ? "ReadOnly" : "BlockDev");
    }
    if (m->verity.root[0] != '\0' && (!m->read_only || m->target[0] == '\0')) {
        return gcs_bad(w, "VerityInfo without %s: what is checked is a mount that is only read",
                       m->read_only ? "MountPath" : "ReadOnly");
    }
    (void)snprintf(m->crypt, sizeof m->crypt, "dm-crypt-scsi-contr%u-lun%u-p%llu",
                   m->place.controller, m->place.lun, (unsigned long long)m->partition);
    (void)snprintf(m->verity_name, sizeof m->verity_name, "dm-verity-scsi-contr%u-lun%u-p%llu",
                   m->place.controller, m->place.lun, (unsigned long long)m->partition);
    return m->ensure && m->read_only
               ? gcs_bad(w, "EnsureFilesystem and ReadOnly: a read-only disk is not formatted")
               : 0;
}

static int link_device(const char *device, const char *target, struct gcs_words *w) {
    struct gcs_place at;
    int rc = gcs_place_open(target, true, &at, w);

    if (rc > 0 && symlinkat(device, at.folder, at.name) < 0) {
        rc = gcs_fail(w, "symlink %s: %s", target, strerror(errno));
        gcs_place_unmake(&at);
    }
    gcs_place_close(&at);
    return rc < 0 ? -1 : 0;
}

static int unlink_device(const char *target, struct gcs_words *w) {
    struct gcs_place at;
    struct stat st;
    int rc = gcs_place_open(target, false, &at, w);

    if (rc <= 0) {
        return rc;
    }
    rc = 0;
    if (fstatat(at.folder, at.name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISLNK(st.st_mode)) {
        rc = gcs_fail(w, "remove %s: no link to a device", target);
    } else if (unlinkat(at.folder, at.name, 0) < 0 && errno != ENOENT) {
        rc = gcs_fail(w, "remove %s: %s", target, strerror(errno));
    }
    gcs_place_close(&at);
    return rc;
}

/* The device that is mounted or linked: the disk, or one that device-mapper makes of it. */
static int put_over(const struct mapping *m, const char *device, char ret[DEVICE_BYTES],
                    struct gcs_words *w) {
    if (m->encrypted) {
        return gcs_crypt_open(device, m->crypt, ret, w);
    }
    if (m->verity.root[0] != '\0') {
        return gcs_verity_open(device, m->verity_name, &m->verity, ret, w);
    }
    memcpy(ret, device, strlen(device) + 1);
    return 0;
}

/* Hosts leave out of a Remove that it was encrypted or checked; so it is tried in any case, but then one that
 * is in use is another mount's. */
static int take_off(const struct mapping *m, struct gcs_words *w) {
    bool said = m->encrypted || m->verity.root[0] != '\0';
    int rc = gcs_verity_close(m->verity_name, w);

    rc = rc < 0 ? rc : gcs_crypt_close(m->crypt, w);
    return said ? rc : 0;
}

static int map(const struct mapping *m, const struct gcs_mount_options *options,
               struct gcs_words *w) {
    char device[DEVICE_BYTES], source[DEVICE_BYTES];
    struct gcs_words ignored;

    if (find_device(&m->place, m->partition, device, sizeof device, w) < 0) {
        return -1;
    }
    if (m->target[0] == '\0') {
        return 0; /* only that it is there was asked for */
    }
    if (put_over(m, device, source, w) < 0) {
        return -1;
    }
    const struct gcs_mount mount = {
        .source = source,
        .target = m->target,
        .type = m->type,
        .ensure = m->ensure,
        .scratch = m->encrypted,
        .read_only = m->read_only,
        .options = *options,
    };
    int rc = m->block_dev ? link_device(source, m->target, w) : gcs_mount(&mount, w);
    if (rc < 0) {
        if (m->verity.root[0] != '\0') {
            gcs_verity_explain(source, w);
        }
        (void)take_off(m, &ignored);
    }
    return rc;
}

int gcs_scsi_mount(const cJSON *settings, struct gcs_words *w) {
    struct gcs_mount_options options;
    struct mapping m;

    if (read_mapping(settings, &m, w) < 0 ||
        gcs_mount_options(uvm__json_get(UVM__JSON_GO, settings, "Options"), &options, w) < 0 ||
        find_host(&m.place, true, w) < 0) {
        return -1;
    }
    uint64_t since = now_ms();
    int rc = map(&m, &options, w);
    for (int i = 0; rc < 0 && i < AGAIN_MAX && now_ms() - since < GCS_DEVICE_WAIT_MS; i++) {
        bool there = is_running(&m.place);

        if (there && !w->unreadable) {
            break;
        }
        (void)poll(NULL, 0, POLL_SLOWER_MS);
        if (there) {
            look_again(&m.place);
        } else {
            ask_for(&m.place);
        }
        rc = map(&m, &options, w);
    }
    return rc;
}

int gcs_scsi_unmount(const cJSON *settings, struct gcs_words *w) {
    struct mapping m;

    if (read_mapping(settings, &m, w) < 0) {
        return -1;
    }
    if (m.target[0] == '\0') {
        return 0;
    }
    int rc = m.block_dev ? unlink_device(m.target, w) : gcs_unmount(m.target, w);
    return rc < 0 ? rc : take_off(&m, w);
}

/* ---- SCSIDevice ------------------------------------------------------------------------------------- */

/* What a folder of sysfs says that its device's number is. */
static bool device_number(const char *folder, unsigned *major, unsigned *minor) {
    char path[PATH_MAX], text[32] = "";
    const char *end = NULL;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "%s/dev", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) {
        close(fd);
    }
    end = n > 0 ? gcs_device_number(text, major, minor) : NULL;
    return end != NULL && *end == '\n';
}

/* The disk or one of its partitions is mounted: letting go of it now would lose what is written. */
static bool in_use(const char *block, const char *disk, char *where, size_t bytes) {
    char folder[PATH_MAX], entry[PATH_MAX];
    unsigned major, minor;
    struct dirent *e;
    bool used;

    (void)snprintf(folder, sizeof folder, "%s/%s", block, disk);
    used = device_number(folder, &major, &minor) && gcs_mounted_device(major, minor, where, bytes);
    DIR *d = opendir(folder);
    while (d != NULL && !used && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, disk, strlen(disk)) == 0 &&
            snprintf(entry, sizeof entry, "%s/%s", folder, e->d_name) < (int)sizeof entry) {
            used = device_number(entry, &major, &minor) &&
                   gcs_mounted_device(major, minor, where, bytes);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    return used;
}

/* Whether the kernel has given it, or a partition of it, to somebody: our list of mounts has those of our namespace
 * only. */
static bool is_claimed(const char *disk) {
    char path[NAME_MAX + 16];
    int fd, err;

    (void)snprintf(path, sizeof path, "/dev/%s", disk);
    fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
    err = errno;
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 && err == EBUSY;
}

int gcs_scsi_unplug(const cJSON *settings, struct gcs_words *w) {
    char path[128], disk[NAME_MAX + 1] = "", where[512];
    struct place p;
    int fd, err;

    if (read_place(settings, &p, w) < 0 || find_host(&p, false, w) < 0) {
        return -1;
    }
    (void)snprintf(path, sizeof path, SCSI "/%u:0:0:%u/block", p.host, p.lun);
    if (first_entry(path, "", disk, sizeof disk) && in_use(path, disk, where, sizeof where)) {
        return gcs_fail(w, "SCSI controller %u, LUN %u (%s) is still mounted on %s", p.controller,
                        p.lun, disk, where);
    }
    if (disk[0] != '\0' && is_claimed(disk)) {
        return gcs_fail(w,
                        "SCSI controller %u, LUN %u (%s) is still in use: mounted in a container, "
                        "or swap, or below another device",
                        p.controller, p.lun, disk);
    }
    (void)snprintf(path, sizeof path, SCSI "/%u:0:0:%u/delete", p.host, p.lun);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : gcs_fail(w, "open %s: %s", path, strerror(errno));
    }
    err = write(fd, "1", 1) == 1 ? 0 : errno;
    close(fd);
    return err == 0 || err == ENODEV ? 0 : gcs_fail(w, "write %s: %s", path, strerror(err));
}
