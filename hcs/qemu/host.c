/* SPDX-License-Identifier: MIT
 * host.c — looks at the host, once per question, with no state of its own.
 *
 * KVM's device being there, opening and creating a VM does not mean that guest code runs (nested hosts
 * without virtualisation do all of that): so a processor without vmx and svm ends the
 * question here, and where it has one the probe VM has the last word.
 */
#include "hcs/qemu/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/cleanup.h"

#define KVM_DEVICE "/dev/kvm"

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* The first executable file of that name in the colon-separated folders. */
static bool find_program(const char *name, const char *search, char ret[UVM__QEMU_PATH_BYTES]) {
    for (const char *at = search; at != NULL && *at != '\0';) {
        size_t bytes = strcspn(at, ":");
        int n = snprintf(ret, UVM__QEMU_PATH_BYTES, "%.*s/%s", (int)bytes, at, name);
        if (bytes > 0 && n > 0 && (size_t)n < UVM__QEMU_PATH_BYTES && is_program(ret)) {
            return true;
        }
        at += bytes;
        at += *at == ':' ? 1 : 0;
    }
    return false;
}

int uvm__host_find_diod(const char *search, char ret[UVM__QEMU_PATH_BYTES], struct uvm__fail *f) {
    return find_program(UVM__DIOD_PROGRAM, search, ret) ||
                   find_program(UVM__DIOD_PROGRAM, "/usr/sbin:/sbin", ret)
               ? 0
               : uvm__fail(f, UVM_E_HOST, ENOENT,
                           "the 9P server " UVM__DIOD_PROGRAM " is not installed; install diod");
}

int uvm__host_find_qemu(const char *path, const char *search, char ret[UVM__QEMU_PATH_BYTES],
                        struct uvm__fail *f) {
    if (path != NULL) {
        int n = snprintf(ret, UVM__QEMU_PATH_BYTES, "%s", path);
        if (n > 0 && (size_t)n < UVM__QEMU_PATH_BYTES && is_program(ret)) {
            return 0;
        }
        return uvm__fail(f, UVM_E_HOST, errno,
                         "qemu %.120s: no executable file; install "
                         "qemu-system-x86 or name another",
                         path);
    }
    if (find_program(UVM__QEMU_PROGRAM, search, ret)) {
        return 0;
    }
    return uvm__fail(f, UVM_E_HOST, ENOENT,
                     UVM__QEMU_PROGRAM " not found in %.120s; install qemu-system-x86",
                     search == NULL || search[0] == '\0' ? "an empty search path" : search);
}

const char *uvm__host_virtiofsd(void) {
    static const char *const places[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], X_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}

uint32_t uvm__host_processors(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 4096 ? 4096 : (uint32_t)n;
}

/* The beginning of a small file as text; "" when it cannot be read. */
static void read_text(const char *path, char *buf, size_t bytes) {
    UVM_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;

    while (fd >= 0 && got < bytes - 1) {
        ssize_t n = read(fd, buf + got, bytes - 1 - got);
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
    }
    buf[got] = '\0';
}

bool uvm__host_cpu_virtualizes(const char *cpuinfo) {
    const char *flags = strstr(cpuinfo, "flags");
    const char *end = flags == NULL ? NULL : strchr(flags, '\n');

    if (flags == NULL) {
        return false;
    }
    end = end == NULL ? flags + strlen(flags) : end;
    for (const char *p = flags; p < end;) {
        size_t bytes = strcspn(p, " \t\n");
        if (bytes == 3 && (memcmp(p, "vmx", 3) == 0 || memcmp(p, "svm", 3) == 0)) {
            return true;
        }
        p += bytes;
        p += strspn(p, " \t");
        if (*p == '\n') {
            break;
        }
    }
    return false;
}

/* What a lack of descriptors or memory, or a signal, did to a call, the next call may do better. */
static bool is_lasting(int err) {
    return err == ENOENT || err == EACCES || err == EPERM || err == ENODEV || err == ENXIO ||
           err == EROFS;
}

bool uvm__host_kvm(bool dropped, uint32_t *ret_gid, bool *ret_lasting, char *reason, size_t bytes) {
    char cpuinfo[16384];
    struct stat st;

    *ret_lasting = true;
    read_text("/proc/cpuinfo", cpuinfo, sizeof cpuinfo);
    if (cpuinfo[0] == '\0') {
        *ret_lasting = is_lasting(errno);
        snprintf(reason, bytes, "/proc/cpuinfo cannot be read");
        return false;
    }
    if (!uvm__host_cpu_virtualizes(cpuinfo)) {
        snprintf(reason, bytes, "the processor has neither vmx nor svm");
        return false;
    }
    UVM_CLEANUP_FD int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        *ret_lasting = is_lasting(errno);
        snprintf(reason, bytes, KVM_DEVICE " cannot be opened: %s", strerror(errno));
        return false;
    }
    bool group = (st.st_mode & (S_IRGRP | S_IWGRP)) == (S_IRGRP | S_IWGRP) && st.st_gid != 0;
    bool others = (st.st_mode & (S_IROTH | S_IWOTH)) == (S_IROTH | S_IWOTH);
    if (dropped && !others && !group) {
        snprintf(reason, bytes,
                 KVM_DEVICE " (mode %04o, group %u) is closed to the unprivileged VMM; give it to "
                            "group kvm with mode 0660",
                 (unsigned)(st.st_mode & 07777), (unsigned)st.st_gid);
        return false;
    }
    if (dropped && !others) {
        *ret_gid = st.st_gid;
    }
    return true;
}

void uvm__host_boot_id(char ret[40]) {
    read_text("/proc/sys/kernel/random/boot_id", ret, 40);
    ret[strcspn(ret, "\n")] = '\0';
}

static int seal(int fd, int seals) {
    return fcntl(fd, F_ADD_SEALS, seals | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

static int memory_failed(struct uvm__fail *f, const char *what, uint64_t bytes) {
    int err = errno;
    return uvm__fail(f, err == ENOMEM ? UVM_E_NOMEM : UVM_E_IO, err, "%s of %llu bytes: %s", what,
                     (unsigned long long)bytes, strerror(err));
}

int uvm__host_ram(uint64_t bytes, int *ret_fd, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = memfd_create("uvm-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || seal(fd, 0) < 0) {
        return memory_failed(f, "guest memory", bytes);
    }
    *ret_fd = UVM_TAKE_FD(fd);
    return 0;
}

int uvm__host_blob(const void *data, size_t bytes, int *ret_fd, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = memfd_create("uvm-blob", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes || seal(fd, F_SEAL_WRITE) < 0) {
        return memory_failed(f, "memory file", bytes);
    }
    *ret_fd = UVM_TAKE_FD(fd);
    return 0;
}
