/* SPDX-License-Identifier: MIT
 * accel_cache.c — the probe's answer in a file, so that the next engine does not probe again.
 *
 * Two lines: what the answer is about (boot of the host, user, size and time of change of the binary, its
 * path), and the answer. It is believed only when the first line is the very one that we would write;
 * anything else in the file is as good as none. A new answer is renamed into place.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/cleanup.h"
#include "hcs/qemu/accel.h"

#define NAME "kvm-probe"
#define KEY_BYTES 1024u

static bool make_key(const char *qemu_path, char *buf, size_t bytes) {
    struct stat st;
    char boot[40];

    uvm__host_boot_id(boot);
    if (boot[0] == '\0' || stat(qemu_path, &st) < 0) {
        return false;
    }
    int n = snprintf(buf, bytes, "%s %u %lld %lld.%09ld %s\n", boot, (unsigned)geteuid(),
                     (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                     qemu_path);
    return n > 0 && (size_t)n < bytes;
}

static bool make_path(const char *dir, const char *suffix, char buf[UVM__QEMU_PATH_BYTES]) {
    int n = snprintf(buf, UVM__QEMU_PATH_BYTES, "%s/" NAME "%s", dir, suffix);
    return n > 0 && (size_t)n < UVM__QEMU_PATH_BYTES;
}

bool uvm__accel_cache_read(const char *dir, const char *qemu_path, struct uvm__accel_answer *ret) {
    char path[UVM__QEMU_PATH_BYTES], key[KEY_BYTES];
    char text[KEY_BYTES + UVM__ACCEL_REASON_BYTES + 8];

    if (!make_key(qemu_path, key, sizeof key) || !make_path(dir, "", path)) {
        return false;
    }
    UVM_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    size_t bytes = strlen(key);
    if (n < 0 || (size_t)n < bytes + 3 || memcmp(text, key, bytes) != 0 || text[n - 1] != '\n') {
        return false;
    }
    text[n - 1] = '\0';
    const char *answer = text + bytes;
    if ((answer[0] != '+' && answer[0] != '-') || answer[1] != ' ') {
        return false;
    }
    ret->kvm = answer[0] == '+';
    snprintf(ret->reason, sizeof ret->reason, "%s", answer + 2);
    return true;
}

void uvm__accel_cache_write(const char *dir, const char *qemu_path,
                            const struct uvm__accel_answer *answer) {
    char path[UVM__QEMU_PATH_BYTES], fresh[UVM__QEMU_PATH_BYTES], key[KEY_BYTES], suffix[32];
    char text[KEY_BYTES + UVM__ACCEL_REASON_BYTES + 8];

    snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
    if (!make_key(qemu_path, key, sizeof key) || !make_path(dir, "", path) ||
        !make_path(dir, suffix, fresh)) {
        return;
    }
    int n = snprintf(text, sizeof text, "%s%c %s\n", key, answer->kvm ? '+' : '-', answer->reason);
    UVM_CLEANUP_FD int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return;
    }
    if (write(fd, text, (size_t)n) != n || rename(fresh, path) < 0) {
        (void)unlink(fresh);
    }
}
