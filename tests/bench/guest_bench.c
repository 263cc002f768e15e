/* SPDX-License-Identifier: MIT
 * guest_bench.c — what the benches run inside the guest: the floor that the engine is measured against.
 *
 *   forkexec COUNT PROG        COUNT times fork, exec PROG, wait; prints the median in microseconds
 *   send CHANNEL BYTES [N]     writes BYTES in 64 KiB blocks and waits for a byte that confirms them, on
 *                              N channels at once (1); prints the milliseconds until all have ended
 *   recv CHANNEL BYTES [N]     asks for BYTES by one byte, and reads them; likewise
 *   connect CHANNEL COUNT      opens and closes the channel; prints the milliseconds
 *   rss PID                    prints RssAnon of the process in KiB
 *   rss-of NAME                the same for the first process whose argv[0] ends with NAME
 * CHANNEL: vsock:PORT (to the host), tcp:PORT (to 10.0.2.2), file:PATH (virtio-serial ports, PATH1 to
 * PATHN).
 * Plain blocking C; prints one line; exits 1 with a message when anything fails.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { BLOCK = 65536 };
static unsigned char block[BLOCK];

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "guest_bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_median(uint64_t *us, size_t count) {
    qsort(us, count, sizeof us[0], by_value);
    printf("%llu\n", (unsigned long long)us[count / 2]);
}

/* `nth`: of several at once, from 1. */
static int open_channel(const char *channel, unsigned nth) {
    const char *arg = strchr(channel, ':');
    if (arg == NULL) {
        errno = EINVAL;
        fail(channel);
    }
    arg++;
    int fd = -1;
    int rc = -1;
    if (strncmp(channel, "vsock:", 6) == 0) {
        struct sockaddr_vm to = {.svm_family = AF_VSOCK,
                                 .svm_cid = VMADDR_CID_HOST,
                                 .svm_port = (unsigned)strtoul(arg, NULL, 0)};
        fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
    } else if (strncmp(channel, "tcp:", 4) == 0) {
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(arg, NULL, 0))};
        inet_pton(AF_INET, "10.0.2.2", &to.sin_addr);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
    } else if (strncmp(channel, "file:", 5) == 0) {
        char path[64];
        snprintf(path, sizeof path, "%s%u", arg, nth);
        fd = open(path, O_RDWR | O_CLOEXEC);
        rc = fd < 0 ? -1 : 0;
    }
    if (rc < 0) {
        fail(channel);
    }
    return fd;
}

static void write_all(int fd, const unsigned char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n <= 0) {
            fail("write");
        }
        data += n;
        bytes -= (size_t)n;
    }
}

static size_t read_some(int fd, size_t bytes) {
    ssize_t n = read(fd, block, bytes < BLOCK ? bytes : BLOCK);
    if (n <= 0) {
        fail("read");
    }
    return (size_t)n;
}

static void print_ms(uint64_t start_us) {
    printf("%llu\n", (unsigned long long)(now_us() - start_us) / 1000);
}

static void send_all(int fd, uint64_t bytes) {
    while (bytes > 0) {
        size_t n = bytes < BLOCK ? (size_t)bytes : BLOCK;
        write_all(fd, block, n);
        bytes -= n;
    }
    read_some(fd, 1); /* all has arrived */
}

static void recv_all(int fd, uint64_t bytes) {
    write_all(fd, block, 1); /* begin */
    while (bytes > 0) {
        bytes -= read_some(fd, bytes < BLOCK ? (size_t)bytes : BLOCK);
    }
}

static void run_streams(void (*run)(int fd, uint64_t bytes), const char *channel, uint64_t bytes,
                        unsigned streams) {
    uint64_t start = now_us();
    for (unsigned i = 1; i <= streams; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            run(open_channel(channel, i), bytes);
            _exit(0);
        }
        if (pid < 0) {
            fail("fork");
        }
    }
    for (unsigned i = 0; i < streams; i++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0) {
            fail(channel);
        }
    }
    print_ms(start);
}

static void run_connect(const char *channel, size_t count) {
    uint64_t start = now_us();
    for (size_t i = 0; i < count; i++) {
        close(open_channel(channel, 1));
    }
    print_ms(start);
}

static void run_forkexec(size_t count, const char *prog) {
    uint64_t *us = calloc(count, sizeof us[0]);
    if (us == NULL) {
        fail("memory");
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t start = now_us();
        pid_t pid = fork();
        if (pid == 0) {
            execl(prog, prog, (char *)NULL);
            _exit(127);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            fail(prog);
        }
        us[i] = now_us() - start;
    }
    print_median(us, count);
}

static long rss_anon_kib(const char *pid) {
    char path[64];
    char line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return -1;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = strtol(line + 8, NULL, 10);
            break;
        }
    }
    fclose(f);
    return kib;
}

static void run_rss_of(const char *name) {
    DIR *d = opendir("/proc");
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        char path[300];
        char arg[128] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (f == NULL) {
            continue;
        }
        size_t n = fread(arg, 1, sizeof arg - 1, f);
        fclose(f);
        arg[n] = 0;
        size_t len = strlen(arg);
        if (len >= strlen(name) && strcmp(arg + len - strlen(name), name) == 0) {
            printf("%ld\n", rss_anon_kib(e->d_name));
            closedir(d);
            return;
        }
    }
    errno = ESRCH;
    fail(name);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    unsigned streams = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 1;
    if (strcmp(verb, "rss") == 0 && argc == 3) {
        printf("%ld\n", rss_anon_kib(argv[2]));
    } else if (strcmp(verb, "rss-of") == 0 && argc == 3) {
        run_rss_of(argv[2]);
    } else if (strcmp(verb, "forkexec") == 0 && argc == 4) {
        run_forkexec(strtoul(argv[2], NULL, 0), argv[3]);
    } else if (strcmp(verb, "send") == 0 && argc >= 4) {
        run_streams(send_all, argv[2], strtoull(argv[3], NULL, 0), streams);
    } else if (strcmp(verb, "recv") == 0 && argc >= 4) {
        run_streams(recv_all, argv[2], strtoull(argv[3], NULL, 0), streams);
    } else if (strcmp(verb, "connect") == 0 && argc == 4) {
        run_connect(argv[2], strtoul(argv[3], NULL, 0));
    } else {
        fprintf(stderr, "usage: guest_bench forkexec|send|recv|connect|rss|rss-of … (see the "
                        "source)\n");
        return 2;
    }
    return 0;
}
