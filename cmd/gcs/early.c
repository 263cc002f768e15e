/* SPDX-License-Identifier: MIT
 *
 * The common ground of init, vsockexec and gcs-modules (early.h). Nothing here allocates or keeps
 * state; a dial is bounded by the kernel's own vsock connect timeout of two seconds.
 */
#include "cmd/gcs/early.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { LINE_BYTES = 512 };

void uvm__say(const char *who, const char *format, ...) {
    char line[LINE_BYTES];
    va_list args;
    int n;

    n = snprintf(line, sizeof line, "%s: ", who);
    va_start(args, format);
    if (n >= 0 && n < LINE_BYTES) {
        vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    }
    va_end(args);
    /* One write, so that lines of several processes do not mix on the console. */
    dprintf(STDERR_FILENO, "%s\n", line);
}

int uvm__port_parse(const char *text, uint32_t *ret_port) {
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value == 0 ||
        value > UINT32_MAX) {
        return -1;
    }
    *ret_port = (uint32_t)value;
    return 0;
}

void uvm__stdio_ensure(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/console", O_RDWR | O_NOCTTY) < 0) {
            (void)!open("/dev/null", O_RDWR);
        }
    }
}

int uvm__host_dial(uint32_t port) {
    struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) {
        return fd;
    }
    err = errno;
    close(fd);
    errno = err;
    return -1;
}

double uvm__boot_ms(void) {
    struct timespec now = {.tv_sec = 0};

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}
