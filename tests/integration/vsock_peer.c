/* SPDX-License-Identifier: MIT
 * vsock_peer.c — the guest's side of vsock_test: runs in the VM in the agent's place, static, blocking.
 *
 * Serves guest ports that the host dials, a process each connection, and takes commands from the host over a
 * connection that it dials itself: so both directions of dialling are used from the first moment.
 * Data that is checked is a pattern of its position in the stream. Ends when the host closes the commands.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "tests/integration/vsock_peer.h"

static uint8_t buf[1 << 16];

static void die(const char *what) {
    printf("peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int dial(unsigned port) {
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

static void write_all(int fd, const void *data, size_t bytes) {
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0) {
            die("write");
        }
        at += n;
        bytes -= (size_t)n;
    }
}

static void echo(int fd) {
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        write_all(fd, buf, (size_t)n);
    }
}

static void source(int fd, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof buf ? (size_t)(bytes - at) : sizeof buf;
        peer_pattern(buf, n, at);
        write_all(fd, buf, n);
        at += n;
    }
}

/* Reads to the end, `piece` bytes at a time; says how many came, or the position of the first bad one. */
static uint64_t sink(int fd, size_t piece) {
    uint8_t want[sizeof buf];
    uint64_t at = 0;
    ssize_t n;
    while ((n = read(fd, buf, piece)) > 0) {
        peer_pattern(want, (size_t)n, at);
        if (memcmp(buf, want, (size_t)n) != 0) {
            printf("peer: sink: wrong bytes near %llu\n", (unsigned long long)at);
            return UINT64_MAX;
        }
        at += (uint64_t)n;
    }
    return at;
}

/* As fast as it goes, unchecked. */
static void flood(int fd, uint64_t bytes) {
    while (bytes > 0) {
        size_t n = bytes < sizeof buf ? (size_t)bytes : sizeof buf;
        write_all(fd, buf, n);
        bytes -= n;
    }
}

static uint64_t drain(int fd) {
    uint64_t at = 0;
    ssize_t n;
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        at += (uint64_t)n;
    }
    return at;
}

static void serve(int fd, unsigned port) {
    uint64_t number;
    switch (port) {
    case PEER_ECHO:
        echo(fd);
        break;
    case PEER_SINK: /* after the end: how much came */
        number = sink(fd, sizeof buf);
        write_all(fd, &number, sizeof number);
        break;
    case PEER_SINK_BYTEWISE:
        number = sink(fd, 1);
        write_all(fd, &number, sizeof number);
        break;
    case PEER_DRAIN:
        number = drain(fd);
        write_all(fd, &number, sizeof number);
        break;
    case PEER_SOURCE: /* a number, then so much */
        if (read(fd, &number, sizeof number) == sizeof number) {
            source(fd, number);
        }
        break;
    default: /* PEER_FLOOD */
        if (read(fd, &number, sizeof number) == sizeof number) {
            flood(fd, number);
        }
        break;
    }
}

/* One after the other: a byte comes, goes back if somebody waits for it, and that was all. */
static void serve_shortly(int listener) {
    for (;;) {
        char c;
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0 && read(fd, &c, 1) == 1) {
            ssize_t n = write(fd, &c, 1);
            (void)n;
        }
        close(fd);
    }
}

static void listen_on(unsigned port) {
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 128) < 0) {
        die("listen");
    }
    if (fork() == 0) {
        if (port == PEER_SHORT) {
            serve_shortly(fd);
        }
        for (;;) {
            int c = accept(fd, NULL, NULL);
            if (c < 0) {
                continue;
            }
            if (fork() == 0) {
                close(fd);
                serve(c, port);
                exit(0);
            }
            close(c);
        }
    }
    close(fd);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void refused(FILE *host, unsigned port) {
    double begin = now();
    int fd = dial(port);
    fprintf(host, "%d %d\n", fd < 0 ? errno : 0, (int)((now() - begin) * 1000));
    close(fd);
}

static void source_to(FILE *host, unsigned port, uint64_t bytes) {
    int fd = dial(port);
    if (fd < 0) {
        die("dial");
    }
    source(fd, bytes);
    close(fd);
    fprintf(host, "done\n");
}

static void connects(FILE *host, unsigned port, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        int fd = dial(port);
        if (fd < 0) {
            die("dial");
        }
        write_all(fd, "x", 1);
        close(fd);
    }
    fprintf(host, "done\n");
}

/* Dials, says that nothing more comes, and then neither reads nor closes, as long as this VM lives. */
static void stubborn(FILE *host, unsigned port, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        int fd = dial(port);
        if (fd < 0 || shutdown(fd, SHUT_WR) < 0) {
            die("dial");
        }
    }
    fprintf(host, "done\n");
}

/* One command, VERB PORT [NUMBER], and one line of answer. */
static void command(FILE *host, const char *line) {
    size_t verb = strcspn(line, " ");
    char *end;
    unsigned port = (unsigned)strtoul(line + verb, &end, 10);
    uint64_t number = strtoull(end, NULL, 10);
    if (strncmp(line, "refused", verb) == 0) {
        refused(host, port);
    } else if (strncmp(line, "source", verb) == 0) {
        source_to(host, port, number);
    } else if (strncmp(line, "connects", verb) == 0) {
        connects(host, port, number);
    } else if (strncmp(line, "stubborn", verb) == 0) {
        stubborn(host, port, number);
    } else {
        fprintf(host, "what?\n");
    }
    fflush(host);
}

int main(void) {
    char line[200];
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    static const unsigned ports[] = {PEER_ECHO,   PEER_SINK,  PEER_SINK_BYTEWISE, PEER_DRAIN,
                                     PEER_SOURCE, PEER_FLOOD, PEER_SHORT};
    for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        listen_on(ports[i]);
    }
    int fd = dial(PEER_COMMANDS);
    if (fd < 0) {
        die("dialling the host");
    }
    FILE *in = fdopen(fd, "r");
    FILE *out = fdopen(dup(fd), "w");
    fprintf(out, "hello\n");
    fflush(out);
    while (fgets(line, sizeof line, in) != NULL) {
        command(out, line);
    }
    printf("peer: over\n");
    return 0;
}
