/* SPDX-License-Identifier: MIT
 * vsock_test.c — the vsock device under a real VMM with a real guest driver: dials and bytes both ways.
 *
 * vsock_test KERNEL INITRD PEER.IMG: one VM serves all tests but the last ones. The guest runs vsock_peer in
 * the agent's place (vsock_kit.h).
 */
#include "tests/integration/vsock_kit.h"
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ull << 20)
enum { MANY = 10000 };

/* ---- tests -------------------------------------------------------------------------------- */

static void nobody_listens(void **state) {
    (void)state;
    int code = 0;
    uint64_t begin = uvm__now_us(kit.engine);
    assert_null(try_connect(PEER_NOBODY, &code));
    assert_int_equal(code, UVM_E_REFUSED);
    assert_true(uvm__now_us(kit.engine) - begin < 1000000);
    char answer[40];
    char *end;
    command("refused 4711\n", answer, sizeof answer);
    assert_int_equal(strtol(answer, &end, 10), ECONNRESET);
    assert_true(strtol(end, NULL, 10) < 500); /* milliseconds */
}

static void echoes_of_a_mebibyte(void **state) {
    (void)state;
    static uint8_t data[MIB];
    static uint8_t got[MIB];
    for (unsigned round = 0; round < 20; round++) {
        peer_pattern(data, sizeof data, round * 12345ull);
        struct uvm__stream *s = connect_to(PEER_ECHO);
        struct waiter w = {false};
        uvm__stream_set_handler(s, on_event, &w);
        size_t sent = 0;
        size_t back = 0;
        while (back < sizeof got) {
            ssize_t n = sent < sizeof data ? uvm__stream_write(s, data + sent, sizeof data - sent)
                                           : -UVM_E_AGAIN;
            ssize_t m = uvm__stream_read(s, got + back, sizeof got - back);
            assert_true((n > 0 || n == -UVM_E_AGAIN) && (m > 0 || m == -UVM_E_AGAIN));
            sent += n > 0 ? (size_t)n : 0;
            back += m > 0 ? (size_t)m : 0;
            if (n < 0 && m < 0) {
                wait_event(s, &w);
            }
        }
        assert_memory_equal(got, data, sizeof data);
        uvm__stream_shutdown(s); /* the guest's program ends on that */
        assert_int_equal(read_some(s, got, 1), 0);
        uvm__stream_close(s);
    }
}

/* Sends `bytes` to a sink in pieces of `piece` and asks how much arrived. */
static void send_to_sink(uint32_t port, uint64_t bytes, size_t piece) {
    static uint8_t data[65536];
    struct uvm__stream *s = connect_to(port);
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < piece ? (size_t)(bytes - at) : piece;
        peer_pattern(data, n, at);
        write_all(s, data, n);
        at += n;
    }
    uvm__stream_shutdown(s);
    uint64_t arrived = 0;
    read_exactly(s, &arrived, sizeof arrived);
    assert_int_equal(arrived, bytes);
    assert_int_equal(read_some(s, data, 1), 0);
    uvm__stream_close(s);
}

static void whole_and_in_order_to_the_guest(void **state) {
    (void)state;
    send_to_sink(PEER_SINK, 8 * MIB, 65536);
    send_to_sink(PEER_SINK, MIB, 1000);
    send_to_sink(PEER_SINK_BYTEWISE, 2 * MIB, 65536);
    send_to_sink(PEER_SINK, 100000, 1);
}

static void check_source(struct uvm__stream *s, uint64_t bytes, size_t piece) {
    static uint8_t got[65536];
    static uint8_t want[65536];
    uint64_t at = 0;
    ssize_t n;
    while ((n = read_some(s, got, piece)) > 0) {
        peer_pattern(want, (size_t)n, at);
        assert_memory_equal(got, want, (size_t)n);
        at += (uint64_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, bytes);
}

static void whole_and_in_order_from_the_guest(void **state) {
    (void)state;
    static const struct {
        uint64_t bytes;
        size_t piece;
    } rows[] = {{8 * MIB, 65536}, {MIB, 700}, {100000, 1}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uvm__stream *s = connect_to(PEER_SOURCE);
        write_all(s, &rows[i].bytes, sizeof rows[i].bytes);
        check_source(s, rows[i].bytes, rows[i].piece);
        uvm__stream_close(s);
    }
    struct accept a = {0};
    listen_on(2000, &a);
    command_begin("source 2000 5000000\n");
    loop_until(&kit, &a.any);
    check_source(a.streams[0], 5000000, 65536);
    uvm__stream_close(a.streams[0]);
    command_end();
    uvm__listener_close(a.l);
}

/* What this process holds while nothing but the peer's commands is open. */
struct holds {
    uvm_harness_census *fds;
    long blocks;  /* of the engine */
    size_t heap;  /* bytes that malloc has given out */
    long anon_kb; /* in memory and no file's; under the sanitizer it says nothing */
    uint64_t at_us;
};

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* its header is another package's */

static size_t heap_in_use(void) {
    return __sanitizer_get_current_allocated_bytes();
}
static long anon_kb(void) {
    return 0;
}
#else
static size_t heap_in_use(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}
static long anon_kb(void) {
    char line[200];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "re");
    assert_non_null(f);
    while (kb < 0 && fgets(line, sizeof line, f) != NULL) {
        kb = strncmp(line, "RssAnon:", 8) == 0 ? strtol(line + 8, NULL, 10) : -1;
    }
    fclose(f);
    assert_true(kb > 0);
    return kb;
}
#endif

/* The last ones may still wait for the guest's answer to their end. */
static struct holds holds_now(uvm_harness_census *fds) {
    struct uvm__vsock_stats stats;
    uint64_t begin = uvm__now_us(kit.engine);
    uint64_t at = begin;
    do {
        uvm__vsock_device_stats(vm.device, &stats);
        assert_true(uvm__now_us(kit.engine) - begin < WAIT_MS * 1000ull);
    } while (stats.streams > 1 && uv_run(&kit.loop, UV_RUN_ONCE) >= 0);
    return (struct holds){fds, kit.blocks, heap_in_use(), anon_kb(), at};
}

static void nothing_grew(const struct holds *before, const char *way, unsigned count) {
    struct holds after = holds_now(before->fds);
    print_message("%u connections %s: %.0f a second; heap %+ld bytes, memory %+ld KiB\n", count,
                  way, count * 1e6 / (double)(after.at_us - before->at_us),
                  (long)(after.heap - before->heap), after.anon_kb - before->anon_kb);
    loop_expect_fds(after.fds);
    uvm_harness_census_free(after.fds);
    assert_int_equal(after.blocks, before->blocks);
    assert_true(after.heap <=
                before->heap + 4096); /* a byte each would be more, over all of them */
    assert_true(after.anon_kb <= before->anon_kb + 256);
}

static void connections_from_the_host(unsigned count) {
    for (unsigned i = 1; i <= count; i++) {
        char c = 'x';
        struct uvm__stream *s = connect_to(PEER_SHORT);
        write_all(s, &c, 1);
        if (i % 50 == 0) { /* the guest's backlog is 128 */
            read_exactly(s, &c, 1);
        }
        uvm__stream_close(s);
    }
}

static void many_connections_from_the_host(void **state) {
    (void)state;
    connections_from_the_host(100); /* pools are filled, tables have their size */
    struct holds before = holds_now(loop_fds());
    connections_from_the_host(MANY);
    nothing_grew(&before, "from the host", MANY);
    struct uvm__vsock_stats stats;
    uvm__vsock_device_stats(vm.device, &stats);
    assert_true(stats.streams_peak < 500);
}

static void connections_from_the_guest(struct accept *a, unsigned count) {
    char line[40];
    (void)snprintf(line, sizeof line, "connects 2001 %u\n", count);
    command_begin(line);
    for (unsigned i = 0; i < count; i++) {
        char c = 0;
        while (a->taken == a->count) {
            a->any = false;
            loop_until_ms(&kit, &a->any, WAIT_MS);
        }
        struct uvm__stream *s = a->streams[a->taken++ % ACCEPTS];
        assert_int_equal(read_some(s, &c, 1), 1);
        assert_int_equal(read_some(s, &c, 1), 0);
        uvm__stream_close(s);
    }
    command_end();
}

static void many_connections_from_the_guest(void **state) {
    (void)state;
    struct accept a = {0};
    listen_on(2001, &a);
    connections_from_the_guest(&a, 100);
    struct holds before = holds_now(loop_fds());
    connections_from_the_guest(&a, MANY);
    nothing_grew(&before, "from the guest", MANY);
    uvm__listener_close(a.l);
}

/* Half-closed from the first, they never read and never close: what they hold is bounded, and time frees it. */
static void stubborn_peers(void **state) {
    (void)state;
    enum { PEERS = 32 };
    static uint8_t data[65536];
    struct accept a = {0};
    listen_on(2002, &a);
    struct holds before = holds_now(NULL);
    char line[40];
    (void)snprintf(line, sizeof line, "stubborn 2002 %d\n", PEERS);
    command_begin(line);
    command_end();
    while (a.count < PEERS) {
        a.any = false;
        loop_until_ms(&kit, &a.any, WAIT_MS);
    }
    size_t taken = 0;
    for (unsigned i = 0; i < PEERS; i++) {
        char c;
        assert_int_equal(read_some(a.streams[i], &c, 1), 0); /* nothing more comes */
    }
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < PEERS; i++) {
            ssize_t n = uvm__stream_write(a.streams[i], data, sizeof data);
            assert_true(n > 0 || n == -UVM_E_AGAIN);
            taken += n > 0 ? (size_t)n : 0;
        }
        (void)uv_run(&kit.loop, UV_RUN_NOWAIT);
    }
    /* What the guest's kernel holds for each, and one packet's worth here. */
    size_t heap = heap_in_use() - before.heap;
    print_message("%d peers that never read: %zu KiB written, %zu KiB of them here\n", PEERS,
                  taken >> 10, heap >> 10);
    assert_true(taken < PEERS * (512ul << 10));
    assert_true(heap < PEERS * (96ul << 10));
    for (unsigned i = 0; i < PEERS; i++) {
        uvm__stream_close(a.streams[i]);
    }
    uvm__listener_close(a.l);
    uint64_t begin = uvm__now_us(kit.engine);
    struct holds after = holds_now(NULL); /* although they still do not answer */
    assert_true(uvm__now_us(kit.engine) - begin < 20000000);
    assert_true(after.blocks <=
                before.blocks + 64); /* buffers that the device keeps for the next */
    assert_true(after.heap < before.heap + heap);
}

/* The device is stopped and started under a transfer, and gets more memory. */
static void pauses_and_new_memory_in_mid_transfer(void **state) {
    (void)state;
    static uint8_t got[65536];
    static uint8_t want[65536];
    uint64_t bytes = 16 * MIB;
    struct uvm__stream *s = connect_to(PEER_SOURCE);
    write_all(s, &bytes, sizeof bytes);
    unsigned starts = vm.starts;
    uint64_t at = 0;
    for (unsigned round = 0; at < bytes; round++) {
        for (unsigned i = 0; i < 4 && at < bytes; i++) {
            ssize_t n = read_some(s, got, sizeof got);
            assert_true(n > 0);
            peer_pattern(want, (size_t)n, at);
            assert_memory_equal(got, want, (size_t)n);
            at += (uint64_t)n;
        }
        if (round < 20) {
            monitor("{\"execute\":\"stop\"}\n");
            uvm__vsock_device_paused(vm.device, true);
            monitor("{\"execute\":\"cont\"}\n");
            uvm__vsock_device_paused(vm.device, false);
        }
        if (round == 10) {
            monitor("{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":"
                    "\"memory-backend-memfd\",\"id\":\"m1\",\"size\":134217728,\"share\":true}}\n");
            monitor("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
                    "\"id\":\"d1\",\"memdev\":\"m1\"}}\n");
        }
    }
    assert_true(vm.starts >= starts + 20);
    assert_int_equal(read_some(s, got, 1), 0);
    uvm__stream_close(s);
}

/* A transfer that its stream's events drive, as programs do it. */
struct flow {
    uint64_t left;
    bool writes, done;
};

static void on_flow(struct uvm__stream *s, unsigned events, void *arg) {
    static uint8_t data[262144];
    struct flow *f = arg;
    (void)events;
    ssize_t n = 0;
    while (f->left > 0) {
        size_t want = f->left < sizeof data ? (size_t)f->left : sizeof data;
        n = f->writes ? uvm__stream_write(s, data, want) : uvm__stream_read(s, data, want);
        if (n <= 0) {
            break;
        }
        f->left -= (uint64_t)n;
    }
    f->done = f->left == 0;
    assert_true(f->done || n == -UVM_E_AGAIN);
}

static void flow(struct uvm__stream *s, uint64_t bytes, bool writes) {
    struct flow f = {.left = bytes, .writes = writes};
    uvm__stream_set_handler(s, on_flow, &f);
    loop_until_ms(&kit, &f.done, WAIT_MS);
    uvm__stream_set_handler(s, NULL, NULL);
}

static uint64_t cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void throughput(void **state) {
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        uint64_t bytes = 256 * MIB;
        uint64_t got = bytes;
        struct uvm__vsock_stats before;
        struct uvm__vsock_stats after;
        struct uvm__stream *s = connect_to(way == 0 ? PEER_FLOOD : PEER_DRAIN);
        uvm__vsock_device_stats(vm.device, &before);
        uint64_t begin = uvm__now_us(kit.engine);
        uint64_t cpu = cpu_ms();
        if (way == 0) {
            write_all(s, &bytes, sizeof bytes);
            flow(s, bytes, false);
        } else {
            flow(s, bytes, true);
            uvm__stream_shutdown(s);
            read_exactly(s, &got, sizeof got);
        }
        assert_int_equal(got, bytes);
        uint64_t us = uvm__now_us(kit.engine) - begin;
        uvm__vsock_device_stats(vm.device, &after);
        print_message("%s: %.0f MB/s, %u packets one way, %u the other, %u ms of our CPU\n",
                      way == 0 ? "guest to host" : "host to guest", (double)bytes / (double)us,
                      (unsigned)(after.packets_rx - before.packets_rx),
                      (unsigned)(after.packets_tx - before.packets_tx), (unsigned)(cpu_ms() - cpu));
        uvm__stream_close(s);
    }
}

static void a_reset_machine_starts_clean(void **state) {
    (void)state;
    char c;
    struct uvm__stream *s = connect_to(PEER_ECHO);
    write_all(s, "x", 1);
    read_exactly(s, &c, 1);
    monitor("{\"execute\":\"system_reset\"}\n");
    wait_hello();
    assert_int_equal(read_some(s, &c, 1), -UVM_E_CLOSED);
    uvm__stream_close(s);
    s = connect_to(PEER_ECHO);
    write_all(s, "y", 1);
    read_exactly(s, &c, 1);
    assert_int_equal(c, 'y');
    uvm__stream_close(s);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(echoes_of_a_mebibyte),
        cmocka_unit_test(whole_and_in_order_to_the_guest),
        cmocka_unit_test(whole_and_in_order_from_the_guest),
        cmocka_unit_test(many_connections_from_the_host),
        cmocka_unit_test(many_connections_from_the_guest),
        cmocka_unit_test(stubborn_peers),
        cmocka_unit_test(pauses_and_new_memory_in_mid_transfer),
        cmocka_unit_test(throughput),
        cmocka_unit_test(a_reset_machine_starts_clean),
    };
    assert_int_equal(argc, 4);
    args = argv;
    return cmocka_run_group_tests(tests, vm_start, vm_stop);
}
