/* SPDX-License-Identifier: MIT
 * intruder.c — what a container, or root, may try from inside a real guest: argv[1] says what.
 *
 *   ports            dials each port of the host that means something, and some that do not; any user may
 *   flood COUNT      one after the other, as fast as it goes
 *   crowd COUNT      all at once, and holds on
 *   rings HOW        takes the vsock device from its driver and gives it rings of its own making; for root, in the
 *                    agent's place. Its words are on the console, since nothing else is left.
 *
 * Only inside a guest of ours: elsewhere it does nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#define BRIDGE_PORT 0x40000000u

/* The agent's command line stands in the kernel's. */
static int in_a_guest(void) {
    char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    line[n > 0 ? n : 0] = 0;
    close(fd);
    return strstr(line, " /bin/vsockexec ") != NULL;
}

static int dial(unsigned port, int flags) {
    struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

/* ---- dials ------------------------------------------------------------------------------------ */

static void ports(void) {
    static const unsigned fixed[] = {0,          1,          2,          22,         108,
                                     109,        110,        564,        1024,       0x3ffffff0,
                                     0x3fffffff, 0x40000000, 0x60000000, 0x60000001, 0x7fffffff,
                                     0x80000000, 0xfffffffe};
    unsigned refused = 0;
    for (unsigned i = 0; i < sizeof fixed / sizeof fixed[0] + 64; i++) {
        unsigned base = sizeof fixed / sizeof fixed[0];
        /* Behind the bridge come the streams of processes: those of this one are taken. */
        unsigned port = i < base ? fixed[i] : BRIDGE_PORT + 1 + i - base;
        int fd = dial(port, 0);
        if (fd >= 0) {
            printf("open %u\n", port);
            close(fd);
        } else if (errno == ECONNRESET) {
            refused++;
        } else {
            printf("port %u: %s\n", port, strerror(errno));
        }
    }
    printf("refused %u\n", refused);
}

static void flood(unsigned count) {
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        int fd = dial(i % 2 == 0 ? BRIDGE_PORT : 4711, 0);
        refused += fd < 0 && errno == ECONNRESET;
        close(fd);
    }
    printf("refused %u\n", refused);
}

static void crowd(unsigned count) {
    struct pollfd *all = calloc(count, sizeof *all);
    struct rlimit files = {count + 64, count + 64};
    unsigned refused = 0;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    for (unsigned i = 0; all != NULL && i < count; i++) {
        all[i].fd = dial(i % 2 == 0 ? BRIDGE_PORT : 4711, SOCK_NONBLOCK);
        all[i].events = POLLOUT;
    }
    for (unsigned i = 0; all != NULL && i < count; i++) {
        int err = 0;
        socklen_t bytes = sizeof err;
        refused += poll(&all[i], 1, 10000) == 1 &&
                   getsockopt(all[i].fd, SOL_SOCKET, SO_ERROR, &err, &bytes) == 0 &&
                   err == ECONNRESET;
    }
    free(all);
    printf("refused %u\n", refused);
}

/* ---- rings ------------------------------------------------------------------------------------ */

static void say(const char *fmt, ...) {
    int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    va_list ap;
    va_start(ap, fmt);
    (void)vdprintf(fd, fmt, ap);
    va_end(ap);
    close(fd);
}

/* Registers of a modern virtio device (virtio 1.2, 4.1.4.3). */
enum {
    COMMON_FEATURE_SELECT = 8,
    COMMON_FEATURE = 12,
    COMMON_STATUS = 20,
    COMMON_QUEUE = 22,
    COMMON_SIZE = 24,
    COMMON_ENABLE = 28,
    COMMON_NOTIFY_OFF = 30,
    COMMON_DESC = 32
};

static volatile uint8_t *common, *notify;
static uint32_t notify_step;

static void set16(unsigned at, uint16_t n) {
    *(volatile uint16_t *)(common + at) = n;
}
static void set32(unsigned at, uint32_t n) {
    *(volatile uint32_t *)(common + at) = n;
}
static void set64(unsigned at, uint64_t n) {
    set32(at, (uint32_t)n);
    set32(at + 4, (uint32_t)(n >> 32));
}

/* Finds the device's registers, after its driver has let it go. */
static int take_device(void) {
    char path[128];
    uint8_t config[256];
    static const char device[] = "0000:00:03.0"; /* where ours puts it */
    int fd = open("/sys/bus/pci/drivers/virtio-pci/unbind", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, device, sizeof device - 1) < 0) {
        return -1;
    }
    close(fd);
    (void)snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/config", device);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || read(fd, config, sizeof config) != sizeof config) {
        return -1;
    }
    config[4] |= 6; /* memory and bus mastering, which the driver switched off */
    (void)!pwrite(fd, config + 4, 2, 4);
    close(fd);
    (void)snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/resource4", device);
    fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t *bar =
        fd < 0 ? MAP_FAILED : mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    for (unsigned cap = config[0x34]; bar != MAP_FAILED && cap >= 0x40 && cap < 0xec;
         cap = config[cap + 1]) {
        uint32_t offset;
        memcpy(&offset, config + cap + 8, sizeof offset);
        if (config[cap] == 9 && config[cap + 3] == 1) {
            common = bar + offset;
        } else if (config[cap] == 9 && config[cap + 3] == 2) {
            notify = bar + offset;
            memcpy(&notify_step, config + cap + 16, sizeof notify_step);
        }
    }
    return common != NULL && notify != NULL ? 0 : -1;
}

static void status(uint8_t bits) {
    common[COMMON_STATUS] = bits;
}

static void driver_begins(void) {
    status(0);
    status(1);
    status(3);
    set32(COMMON_FEATURE_SELECT, 0);
    set32(COMMON_FEATURE, 0x30000000); /* event index, indirect */
    set32(COMMON_FEATURE_SELECT, 1);
    set32(COMMON_FEATURE, 1); /* version 1 */
    status(3 | 8);
}

static void queue(uint16_t number, uint64_t desc, uint64_t avail, uint64_t used) {
    set16(COMMON_QUEUE, number);
    set16(COMMON_SIZE, 128);
    set64(COMMON_DESC, desc);
    set64(COMMON_DESC + 8, avail);
    set64(COMMON_DESC + 16, used);
    set16(COMMON_ENABLE, 1);
}

static void kick(void) {
    for (unsigned i = 0; i < 1000; i++) {
        *(volatile uint16_t *)(notify + (size_t)(i % 2) * notify_step) = (uint16_t)(i % 2);
    }
}

static void rings(const char *how) {
    static const struct {
        const char *how;
        uint64_t desc, avail, used;
    } rows[] = {
        {"nowhere", 1ull << 40, (1ull << 40) + 4096, (1ull << 40) + 8192},
        {"edge", (256ull << 20) - 16, (256ull << 20) - 2, (256ull << 20) - 4},
        {"odd", 0x8000001, 0x8001001, 0x8002002},
        {"wrap", UINT64_MAX - 15, UINT64_MAX - 1, UINT64_MAX - 3},
        {"text", 0x1000000, 0x1004000, 0x1008000}, /* the kernel's own: what is there is no ring */
        {"same", 0x8000000, 0x8000000, 0x8000000},
    };
    if (take_device() < 0) {
        say("intruder: no device: %s\n", strerror(errno));
        return;
    }
    say("intruder: has the device\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(how, rows[i].how) == 0 || strcmp(how, "all") == 0) {
            driver_begins();
            for (uint16_t q = 0; q < 3; q++) {
                queue(q, rows[i].desc, rows[i].avail, rows[i].used);
            }
            status(3 | 8 | 4);
            kick();
        }
    }
    for (unsigned i = 0; strcmp(how, "resets") == 0 && i < 300; i++) {
        driver_begins();
        for (uint16_t q = 0; q < 3; q++) {
            queue(q, 0x8000000ull + q * 0x10000ull, 0x8004000ull + q * 0x10000ull,
                  0x8008000ull + q * 0x10000ull);
        }
        status(3 | 8 | 4);
        kick();
        if (i % 3 == 0) {
            set16(COMMON_QUEUE, 1);
            set64(COMMON_DESC, 1ull << 50); /* under a device that runs */
        }
    }
    say("intruder: rings %s: done\n", how);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    const char *how = argc > 2 ? argv[2] : "";
    if (!in_a_guest()) {
        fprintf(stderr, "intruder: not in a guest of ours\n");
        return 1;
    }
    if (strcmp(what, "ports") == 0) {
        ports();
    } else if (strcmp(what, "flood") == 0) {
        flood((unsigned)strtoul(how, NULL, 10));
    } else if (strcmp(what, "crowd") == 0) {
        crowd((unsigned)strtoul(how, NULL, 10));
    } else if (strcmp(what, "rings") == 0) {
        rings(how);
        (void)pause();
    } else {
        return 2;
    }
    return 0;
}
