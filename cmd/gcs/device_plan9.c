/* SPDX-License-Identifier: MIT
 *
 * MappedDirectory: a folder of the host's, mounted by 9P over a vsock connection (hcsshim's
 * internal/guest/storage/plan9). The host answers one dial of the port, so a failure behind it is final; the
 * mount holds the connection, and its end is the server's.
 */
#include "cmd/gcs/device.h"
#include "cmd/gcs/early.h"
#include "cmd/gcs/place.h"
#include "cmd/gcs/storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES 65536

struct directory {
    const char *target, *name;
    uint64_t port;
    bool read_only;
};

static int read_directory(const cJSON *settings, struct directory *ret, struct gcs_words *w) {
    if (gcs_setting_text(settings, "MountPath", &ret->target, w) < 0 ||
        gcs_path_check("MountPath", ret->target, w) < 0 ||
        gcs_setting_text(settings, "ShareName", &ret->name, w) < 0 ||
        gcs_setting_u64(settings, "Port", INT32_MAX, &ret->port, w) < 0 ||
        gcs_setting_bool(settings, "ReadOnly", &ret->read_only, w) < 0) {
        return -1;
    }
    return 0;
}

/* It becomes an option of the mount, which a comma would end. */
static int check_name(const char *name, struct gcs_words *w) {
    size_t bytes = strlen(name);

    if (bytes == 0 || bytes > NAME_MAX) {
        return gcs_bad(w, "ShareName: must have 1 to %d bytes", NAME_MAX);
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || *c == ',') {
            return gcs_bad(w, "ShareName: has a character that is not allowed");
        }
    }
    return 0;
}

static int dial(uint32_t port, struct gcs_words *w) {
    const int bytes = MESSAGE_BYTES;
    int fd = uvm__host_dial(port);

    if (fd < 0) {
        return gcs_fail(w, "9P server at port %u of the host: %s", port,
                        errno == ECONNRESET ? "refused; is the share there, and not mounted yet?"
                                            : strerror(errno));
    }
    /* As the reference does; what they change is no more than speed. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return fd;
}

int gcs_plan9_mount(const cJSON *settings, struct gcs_words *w) {
    struct directory d;

    if (read_directory(settings, &d, w) < 0 || check_name(d.name, w) < 0) {
        return -1;
    }
    if (d.port == 0) {
        return gcs_bad(w, "Port: missing");
    }
    int fd = dial((uint32_t)d.port, w);
    if (fd < 0) {
        return -1;
    }
    /* What the server exports are absolute names. */
    struct gcs_mount m = {.source = d.target,
                          .target = d.target,
                          .type = "9p",
                          .no_device = true,
                          .read_only = d.read_only};
    (void)snprintf(m.options.data, sizeof m.options.data,
                   "trans=fd,rfdno=%d,wfdno=%d,msize=%d%s,uname=root,aname=%s%s", fd, fd,
                   MESSAGE_BYTES, d.read_only ? ",noload" : "", d.name[0] == '/' ? "" : "/",
                   d.name);
    int rc = gcs_mount(&m, w);
    close(fd);
    return rc;
}

int gcs_plan9_unmount(const cJSON *settings, struct gcs_words *w) {
    struct directory d;

    return read_directory(settings, &d, w) < 0 ? -1 : gcs_unmount(d.target, w);
}
