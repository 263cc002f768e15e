/* SPDX-License-Identifier: MIT
 *
 * The way from the initrd to a disk (root.h): modules, the device, the mount, and the move.
 *
 * Nothing of the initrd is deleted: it is what the agent and its modules are read from afterwards, and
 * it takes no more memory than before.
 */
#include "cmd/gcs/root.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/image_path.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define WHO "init"
#define NEW_ROOT "/mnt"
#define WAIT_MS 10000 /* for the device */
#define POLL_MS 5
#define HOSTS "/sys/class/scsi_host"
#define SCAN "/sys/module/scsi_mod/parameters/scan"

struct root_words {
    char device[64], type[16], init[PATH_MAX];
    bool writable;
};

/* The value of the last `key=` among the kernel's words. */
static void take_word(const char *word, const char *key, char *ret, size_t bytes) {
    size_t n = strlen(key);

    if (strncmp(word, key, n) == 0 && strlen(word + n) < bytes) {
        (void)snprintf(ret, bytes, "%s", word + n);
    }
}

static int read_words(struct root_words *ret) {
    char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    char *rest = NULL;

    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        uvm__say(WHO, "/proc/cmdline: %s", strerror(errno));
        return -1;
    }
    line[n] = '\0';
    memset(ret, 0, sizeof *ret);
    for (char *word = strtok_r(line, " \n", &rest); word != NULL && strcmp(word, "--") != 0;
         word = strtok_r(NULL, " \n", &rest)) {
        take_word(word, "root=", ret->device, sizeof ret->device);
        take_word(word, "rootfstype=", ret->type, sizeof ret->type);
        take_word(word, "init=", ret->init, sizeof ret->init);
        if (strcmp(word, "rw") == 0 || strcmp(word, "ro") == 0) {
            ret->writable = word[1] == 'w';
        }
    }
    return 0;
}

/* The list loads the drivers without a scan, which would ask 256 targets where all disks are on the first
 * (offers.c says more of it). From here on the kernel scans as ever. */
static void scan_disks(void) {
    DIR *d = opendir(HOSTS);
    char path[sizeof HOSTS + NAME_MAX + 8];
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof path, HOSTS "/%s/scan", e->d_name);
        int fd = e->d_name[0] == '.' ? -1 : open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "0 0 -", 5) != 5) {
            uvm__say(WHO, "%s: %s", path, strerror(errno));
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    int fd = open(SCAN, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "async", 5) != 5) {
        uvm__say(WHO, "%s: %s", SCAN, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int wait_for(const char *device) {
    for (int waited = 0;; waited += POLL_MS) {
        int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd >= 0) {
            close(fd);
            return 0;
        }
        if ((errno != ENOENT && errno != ENXIO) || waited >= WAIT_MS) {
            uvm__say(WHO, "root=%s: %s", device,
                     errno == ENOENT ? "no such disk came within 10 s" : strerror(errno));
            return -1;
        }
        (void)poll(NULL, 0, POLL_MS);
    }
}

static int mount_root(const struct root_words *r) {
    struct gcs_words why;
    const char *type = r->type;
    char list[32];

    if (type[0] == '\0' && gcs_filesystem(r->device, &type, &why) < 0) {
        uvm__say(WHO, "root=%s: %s", r->device, why.text);
        return -1;
    }
    if (type[0] == '\0') {
        uvm__say(WHO, "root=%s: no file system that is known is on it", r->device);
        return -1;
    }
    (void)snprintf(list, sizeof list, "modules.%s", type);
    (void)uvm__modules_load(WHO, list);
    if (mount(r->device, NEW_ROOT, type, r->writable ? 0 : MS_RDONLY, NULL) < 0) {
        uvm__say(WHO, "root=%s: mount as %s: %s", r->device, type, strerror(errno));
        return -1;
    }
    return 0;
}

/* The mounts of mounts.c go along, with what is mounted below them. */
static int move_mounts(void) {
    static const char *const folders[] = {"/proc", "/sys", "/dev", "/tmp", "/run"};
    char to[32];

    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        (void)snprintf(to, sizeof to, NEW_ROOT "%s", folders[i]);
        if (mount(folders[i], to, NULL, MS_MOVE, NULL) < 0) {
            uvm__say(WHO, "the root file system has no folder %s: %s", folders[i], strerror(errno));
            return -1;
        }
    }
    return 0;
}

static int enter(void) {
    (void)mkdir("/run/uvm", 0755);
    (void)mkdir(UVM__IMAGE, 0755);
    if (mount("/", UVM__IMAGE, NULL, MS_BIND, NULL) < 0) {
        uvm__say(WHO, "%s: %s", UVM__IMAGE, strerror(errno));
        return -1;
    }
    if (move_mounts() < 0) {
        return -1;
    }
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0) {
        uvm__say(WHO, "entering the root file system: %s", strerror(errno));
        return -1;
    }
    return 0;
}

int uvm__root_enter(char init[PATH_MAX]) {
    struct root_words r;

    init[0] = '\0';
    if (read_words(&r) < 0) {
        return -1;
    }
    if (r.device[0] == '\0') {
        return 0;
    }
    if (strncmp(r.device, "/dev/pmem", 9) == 0) {
        (void)uvm__modules_load(WHO, "modules.pmem");
    } else {
        (void)uvm__modules_load(WHO, "modules.scsi");
        scan_disks();
    }
    if (wait_for(r.device) < 0 || mount_root(&r) < 0 || enter() < 0) {
        return -1;
    }
    if (r.init[0] == '/' && access(r.init, X_OK) == 0) {
        (void)snprintf(init, PATH_MAX, "%s", r.init);
    }
    return 0;
}
