/* SPDX-License-Identifier: MIT
 * stream_bench.c — how fast bytes and connections go between host and guest; bench.py calls it.
 *
 *   stream_bench KERNEL INITRD LAUNCH VMM TCP ROUNDS [NAME…]
 *
 * Boots a guest that has guest_bench and runs, in turn and ROUNDS times, each way over each carrier with one
 * stream and with four; one JSON object a line. NAMEs pick some of the measures. The host's end of vsock is
 * this program's loop; the other carriers' are served by bench.py, by the same rule: who gets one byte
 * sends STREAM bytes, who gets more confirms all of them by a byte. STREAM is what one stream carries.
 * `value` is MiB or connections a second of the guest's clock, `by_cpu` the same of CPU time.
 * TCP is the port on 127.0.0.1.
 */
#include "hvsock/hvsock.h"
#include "tests/bench/bench_kit.h"
#include "uvm/vm_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 7000, STREAM = 32 << 20, CONNECTS = 1000 };

/* ---- the host's end ----------------------------------------------------------------------- */

struct peer {
    struct uvm__stream *stream;
    uint64_t got, left;
};

static unsigned char block[1 << 18];

static void peer_end(struct peer *p) {
    uvm__stream_close(p->stream);
    free(p);
}

static void peer_send(struct peer *p) {
    while (p->left > 0) {
        size_t n = p->left < sizeof block ? (size_t)p->left : sizeof block;
        ssize_t wrote = uvm__stream_write(p->stream, block, n);
        if (wrote < 0) {
            return; /* called again, or its end is read */
        }
        p->left -= (uint64_t)wrote;
    }
}

static void on_peer(struct uvm__stream *s, unsigned events, void *arg) {
    struct peer *p = arg;
    ssize_t n = 0;
    while ((events & UVM__STREAM_READABLE) != 0 &&
           (n = uvm__stream_read(s, block, sizeof block)) > 0) {
        if (p->got == 0 && n == 1) {
            p->left = STREAM;
            break;
        }
        p->got += (uint64_t)n;
        if (p->got == STREAM) {
            (void)uvm__stream_write(s, block, 1);
        }
    }
    peer_send(p);
    if ((events & UVM__STREAM_READABLE) != 0 && (n == 0 || n == -UVM_E_CLOSED)) {
        peer_end(p);
    }
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    struct peer *p = calloc(1, sizeof *p);
    (void)l;
    (void)arg;
    if (p == NULL) {
        bench_fail("memory", NULL);
    }
    p->stream = take_stream;
    uvm__stream_set_handler(take_stream, on_peer, p);
}

/* ---- measures ----------------------------------------------------------------------------- */

static const struct {
    const char *name, *verb, *channel;
    unsigned streams; /* 0: connections */
} measures[] = {
    {"vsock_guest_to_host_1", "send", "vsock:7000", 1},
    {"serial_guest_to_host_1", "send", "file:/dev/bench", 1},
    {"tcp_guest_to_host_1", "send", "tcp", 1},
    {"vsock_host_to_guest_1", "recv", "vsock:7000", 1},
    {"serial_host_to_guest_1", "recv", "file:/dev/bench", 1},
    {"tcp_host_to_guest_1", "recv", "tcp", 1},
    {"vsock_guest_to_host_4", "send", "vsock:7000", 4},
    {"serial_guest_to_host_4", "send", "file:/dev/bench", 4},
    {"tcp_guest_to_host_4", "send", "tcp", 4},
    {"vsock_host_to_guest_4", "recv", "vsock:7000", 4},
    {"serial_host_to_guest_4", "recv", "file:/dev/bench", 4},
    {"tcp_host_to_guest_4", "recv", "tcp", 4},
    {"vsock_connects", "connect", "vsock:7000", 0},
    {"tcp_connects", "connect", "tcp", 0},
};

static double cpu_ms(pid_t pid) {
    clockid_t id;
    struct timespec ts = {0};
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &ts) != 0) {
        bench_fail("the CPU time of a process", NULL);
    }
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

/* Of all that have a part in it: the VMM, this program, bench.py. A busy machine disturbs it less. */
static double cpu_all_ms(void) {
    return cpu_ms(bench_vmm()) + cpu_ms(getpid()) + cpu_ms(getppid());
}

static void measure(size_t i, const char *tcp) {
    char amount[24], streams[16];
    unsigned count = measures[i].streams;
    bool is_tcp = strcmp(measures[i].channel, "tcp") == 0;
    (void)snprintf(amount, sizeof amount, "%d", count == 0 ? CONNECTS : STREAM);
    (void)snprintf(streams, sizeof streams, "%u", count);
    double cpu = cpu_all_ms();
    double ms = bench_ask((const char *const[]){"/bin/guest_bench", measures[i].verb,
                                                is_tcp ? tcp : measures[i].channel, amount,
                                                count == 0 ? NULL : streams, NULL});
    if (ms <= 0) {
        bench_fail(measures[i].name, NULL);
    }
    cpu = cpu_all_ms() - cpu;
    double units = count == 0 ? CONNECTS : (double)count * STREAM / (1 << 20);
    printf("{\"name\":\"%s\",\"value\":%.1f,\"by_cpu\":%.1f}\n", measures[i].name,
           units * 1000.0 / ms, units * 1000.0 / cpu);
    (void)fflush(stdout);
}

static bool picked(const char *name, char **names) {
    for (char **n = names; *n != NULL; n++) {
        if (strcmp(*n, name) == 0) {
            return true;
        }
    }
    return *names == NULL;
}

int main(int argc, char **argv) {
    static const char *const setup[] = {
        "/bin/sh", "-c",
        "ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && "
        "for i in 1 2 3 4; do ln -s /dev/vport?p$i /dev/bench$i || exit 1; done",
        NULL};
    char tcp[32];
    if (argc < 7) {
        (void)fprintf(stderr, "usage: stream_bench KERNEL INITRD LAUNCH VMM TCP ROUNDS [NAME…]\n");
        return 2;
    }
    bench_boot(argv);
    const struct uvm__listen_params lp = {.port = PORT, .on_accept = on_accept};
    struct uvm__listener *listener = NULL;
    bench_check(uvm__hvsock_listen(b.vm->system->hvsock, &lp, &listener), "listen");
    bench_finish(bench_start(setup), "setup of the guest's NIC and ports");
    (void)snprintf(tcp, sizeof tcp, "tcp:%s", argv[5]);
    for (long round = strtol(argv[6], NULL, 10); round > 0; round--) {
        for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++) {
            if (picked(measures[i].name, argv + 7)) {
                measure(i, tcp);
            }
        }
    }
    uvm__listener_close(listener);
    bench_end();
    return 0;
}
