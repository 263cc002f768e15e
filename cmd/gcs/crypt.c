/* SPDX-License-Identifier: MIT
 *
 * Disks under a throw-away key (crypt.h), by cryptsetup.
 *
 * The key is random, in locked memory of this process for the second that it takes, and goes to cryptsetup
 * through a pipe: it is in no file, no argument, no environment, no log. cryptsetup hands the volume's key,
 * which it encrypts in the disk's header, to the kernel in a keyring of its own thread. After that only the
 * kernel can read the disk.
 *
 * Wiping the disk, so that each sector has its hash, would take minutes under emulation and is left out; only
 * its beginning is, where everybody looks for what may be there. There is no journal of hashes: what it would
 * save from a crash nobody could read.
 */
#include "cmd/gcs/crypt.h"

#include "cmd/gcs/modules.h"
#include "cmd/gcs/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define WHO "gcs-device"
#define KEY_BYTES 64u
#define WIPED_BYTES (128u * 1024)

/* The key of the header's slot is as good as random bits are, so it need not be stretched. */
static int format(const char *disk, const void *key, struct gcs_words *w) {
    const char *const argv[] = {"cryptsetup",
                                "luksFormat",
                                disk,
                                "--type=luks2",
                                "--key-file=-",
                                "--batch-mode",
                                "--disable-locks",
                                "--cipher=aes-xts-plain64",
                                "--sector-size=4096",
                                "--integrity=hmac-sha256",
                                "--integrity-no-wipe",
                                "--pbkdf=pbkdf2",
                                "--pbkdf-force-iterations=1000",
                                "--luks2-metadata-size=16k",
                                "--luks2-keyslots-size=512k",
                                NULL};

    return gcs_tool_run_fed(argv, key, KEY_BYTES, w);
}

static int open_clear(const char *disk, const char *name, const void *key, struct gcs_words *w) {
    const char *const argv[] = {"cryptsetup",
                                "open",
                                disk,
                                name,
                                "--type=luks2",
                                "--key-file=-",
                                "--disable-locks",
                                "--integrity-no-journal",
                                NULL};

    return gcs_tool_run_fed(argv, key, KEY_BYTES, w);
}

static int make_key(void *key, struct gcs_words *w) {
    ssize_t n;

    do {
        n = getrandom(key, KEY_BYTES, 0); /* waits until the kernel has entropy */
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)KEY_BYTES ? 0 : gcs_fail(w, "no random key: %s", strerror(errno));
}

static int format_and_open(const char *disk, const char *name, struct gcs_words *w) {
    unsigned char key[KEY_BYTES];

    (void)mlock(key, sizeof key);
    int rc = make_key(key, w);
    rc = rc < 0 ? rc : format(disk, key, w);
    rc = rc < 0 ? rc : open_clear(disk, name, key, w);
    explicit_bzero(key, sizeof key);
    (void)munlock(key, sizeof key);
    return rc;
}

/* Whole pages, so that none is read first. */
static int wipe_beginning(const char *device, struct gcs_words *w) {
    static const char zeros[WIPED_BYTES];
    int fd = open(device, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pwrite(fd, zeros, sizeof zeros, 0);
    int err = n < 0 || fsync(fd) < 0 ? errno : 0;

    if (fd >= 0) {
        close(fd);
    }
    if (err != 0) {
        return gcs_fail(w, "write %s: %s", device, strerror(err));
    }
    return n == (ssize_t)sizeof zeros ? 0 : gcs_fail(w, "write %s: the disk is too small", device);
}

int gcs_crypt_open(const char *disk, const char *name, char ret[GCS_MAPPER_PATH_BYTES],
                   struct gcs_words *w) {
    struct gcs_words why;

    if (gcs_crypt_close(name, w) < 0) {
        return -1;
    }
    (void)uvm__modules_load(WHO, "modules.dm");
    (void)uvm__modules_load(WHO, "modules.crypt");
    if (format_and_open(disk, name, &why) < 0) {
        (void)gcs_fail(w, "encrypt %s: %s", disk, why.text);
        (void)gcs_crypt_close(name, &why);
        return -1;
    }
    gcs_mapper_path(name, ret);
    if (wipe_beginning(ret, w) < 0) {
        (void)gcs_crypt_close(name, &why);
        return -1;
    }
    return 0;
}

int gcs_crypt_close(const char *name, struct gcs_words *w) {
    char below[DM_NAME_LEN];
    int n = snprintf(below, sizeof below, "%s_dif", name); /* as cryptsetup calls dm-integrity's */

    if (n < 0 || (size_t)n >= sizeof below) {
        return gcs_fail(w, "%s: its name is too long", name);
    }
    return gcs_mapper_drop(name, w) < 0 ? -1 : gcs_mapper_drop(below, w);
}
