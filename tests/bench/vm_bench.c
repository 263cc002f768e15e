/* SPDX-License-Identifier: MIT
 * vm_bench.c — measures one VM through the public API; bench.py calls it and prints the table.
 *
 *   vm_bench boot   KERNEL INITRD LAUNCH VMM          boots; one JSON object: times and the VMM's CPU at
 *                                                     "negotiated", and its argv
 *   vm_bench inside KERNEL INITRD LAUNCH VMM TCP SOCK boots a guest that has guest_bench, and measures
 *                                                     exec, RPCs and throughput; one JSON object a line
 *
 * TCP is a port on 127.0.0.1 and SOCK the path of a unix socket, both served by bench.py: what the guest's
 * user-mode NIC and virtio-serial port are connected to (by the VMM that VMM names, a wrapper).
 */
#include "async/async.h"
#include "hcs/qemu/qemu_service.h"
#include "uvm/uvm.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { EXECS = 200, ROUNDS = 10, RPCS = 2000, DEPTH = 32, MIB = 1 << 20, STREAM_MIB = 128 };

static struct {
    uv_loop_t loop;
    uvm_engine *engine;
    uvm_service *service;
    uvm_vm *vm;
    bool done; /* the op that wait_op() waits for */
    int code;
} b;

static uint64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static _Noreturn void fail(const char *what, const uvm_error *err) {
    fprintf(stderr, "vm_bench: %s: %s: %s\n%s\n", what, err == NULL ? "" : uvm_error_step(err),
            err == NULL ? "failed" : uvm_error_message(err),
            err == NULL ? "" : uvm_error_detail(err));
    exit(1);
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    if (err != NULL) {
        fail(arg, err);
    }
    b.done = true;
}

static void run_until_done(void) {
    while (!b.done) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    b.done = false;
}

static void check(int rc, const char *what) {
    if (rc < 0) {
        fprintf(stderr, "vm_bench: %s: %s\n", what, uvm_error_code_text(rc));
        exit(1);
    }
}

/* ---- a VM --------------------------------------------------------------------------------- */

static void boot(char **argv) {
    struct uvm_qemu_params sp = UVM_QEMU_PARAMS_INIT;
    sp.launch_path = argv[3];
    sp.qemu_path = argv[4];
    check(uv_loop_init(&b.loop), "loop");
    check(uvm_engine_new(&b.loop, NULL, &b.engine), "engine");
    check(uvm_qemu_service_new(b.engine, &sp, &b.service), "service");
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    vp.name = "bench";
    vp.kernel = argv[1];
    vp.initrd = argv[2];
    uvm_error *err = NULL;
    if (uvm_vm_new(b.engine, b.service, &vp, &b.vm, &err) < 0) {
        fail("vm", err);
    }
    check(uvm_vm_boot(b.vm, NULL, on_done, "boot", NULL), "boot");
    run_until_done();
}

static void on_closed(void *arg) {
    (void)arg;
    b.done = true;
}

static void end(void) {
    uvm_vm_close(b.vm, on_closed, NULL);
    run_until_done();
    uvm_service_close(b.service, on_closed, NULL);
    run_until_done();
    uvm_engine_close(b.engine, on_closed, NULL);
    run_until_done();
    check(uv_loop_close(&b.loop), "loop close");
}

/* ---- processes ---------------------------------------------------------------------------- */

struct sink {
    uint64_t bytes;
    char text[64]; /* the beginning of stderr */
    size_t text_len;
};

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    struct sink *sink = arg;
    (void)p;
    if (which == UVM_STDERR) {
        size_t n = sizeof sink->text - 1 - sink->text_len;
        n = n < bytes ? n : bytes;
        memcpy(sink->text + sink->text_len, data, n);
        sink->text_len += n;
    } else {
        sink->bytes += bytes;
    }
    return bytes;
}

static struct {
    uint64_t left;
    uvm_process *process;
} feed;
static unsigned char block[65536];

static void on_writable(uvm_process *p, void *arg) {
    (void)arg;
    while (feed.left > 0) {
        size_t n = feed.left < sizeof block ? (size_t)feed.left : sizeof block;
        int64_t wrote = uvm_process_write(p, block, n);
        if (wrote < 0) {
            return; /* AGAIN: called again */
        }
        feed.left -= (uint64_t)wrote;
    }
    uvm_process_close_stdin(p);
}

static uvm_process *start(const char *const *argv, struct sink *sink, bool with_stdin) {
    static const char *const env[] = {"PATH=/bin:/sbin", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    p.argv = argv;
    p.env = env;
    p.on_output = on_output;
    p.on_writable = on_writable;
    p.arg = sink;
    if (sink != NULL) {
        p.stdio[UVM_STDIN] = with_stdin ? UVM_STDIO_CALLBACK : UVM_STDIO_NONE;
        p.stdio[UVM_STDOUT] = UVM_STDIO_CALLBACK;
        p.stdio[UVM_STDERR] = UVM_STDIO_CALLBACK;
    }
    uvm_op *op = NULL;
    check(uvm_exec_start(b.vm, &p, NULL, on_done, (void *)(uintptr_t)argv[0], &op), argv[0]);
    run_until_done();
    uvm_process *process = uvm_exec_result(op);
    uvm_op_unref(op);
    return process;
}

static void finish(uvm_process *p, const char *what) {
    check(uvm_process_wait(p, NULL, on_done, (void *)(uintptr_t)what, NULL), what);
    run_until_done();
    struct uvm_process_exit exit_status;
    check(uvm_process_exit(p, &exit_status), what);
    if (exit_status.code != 0) {
        fail(what, NULL);
    }
    uvm_process_close(p);
}

/* The number that a guest_bench command prints on stdout or stderr. */
static double ask(const char *const *argv, uint64_t feed_bytes) {
    struct sink sink = {0};
    feed.left = feed_bytes;
    uvm_process *p = start(argv, &sink, feed_bytes > 0);
    if (feed_bytes > 0) {
        on_writable(p, NULL);
    }
    finish(p, argv[0]);
    return strtod(sink.text, NULL);
}

/* ---- measures ----------------------------------------------------------------------------- */

static int by_value(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x;
    uint64_t c = *(const uint64_t *)y;
    return a < c ? -1 : a > c;
}

static void print_us(const char *name, uint64_t *us, size_t count) {
    qsort(us, count, sizeof us[0], by_value);
    printf("{\"name\":\"%s\",\"median_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 "}\n", name,
           us[count / 2], us[count * 99 / 100]);
    fflush(stdout);
}

/* In turn, so that both see the same minutes. */
static void measure_exec(void) {
    static uint64_t us[EXECS];
    static const char *const argv[] = {"/bin/true", NULL};
    char count[16];
    (void)snprintf(count, sizeof count, "%d", EXECS / ROUNDS);
    const char *const loop[] = {"/bin/sh", "-c", "guest_bench forkexec $0 /bin/true >&2", count,
                                NULL};
    for (size_t i = 0; i < EXECS; i++) {
        if (i % (EXECS / ROUNDS) == 0) {
            printf("{\"name\":\"forkexec_true\",\"median_us\":%.0f}\n", ask(loop, 0));
        }
        uint64_t t = now_us();
        finish(start(argv, NULL, false), "true");
        us[i] = now_us() - t;
    }
    print_us("exec_true", us, EXECS);
}

static size_t answered;
static void on_signal_done(uvm_op *op, const uvm_error *err, void *arg) {
    on_done(op, err, arg);
    answered++;
}

static void measure_rpc(void) {
    static uint64_t us[RPCS];
    static const char *const argv[] = {"/bin/sleep", "1000", NULL};
    uvm_process *p = start(argv, NULL, false);
    for (size_t i = 0; i < RPCS; i++) {
        uint64_t t = now_us();
        check(uvm_process_signal(p, 18, false, NULL, on_done, "signal", NULL), "signal");
        run_until_done();
        us[i] = now_us() - t;
    }
    print_us("rpc_1_deep", us, RPCS);
    uint64_t t = now_us();
    size_t sent = 0;
    while (answered < RPCS) {
        while (sent < RPCS && sent - answered < DEPTH) {
            check(uvm_process_signal(p, 18, false, NULL, on_signal_done, "signal", NULL), "signal");
            sent++;
        }
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    b.done = false;
    printf("{\"name\":\"rpc_32_deep\",\"per_second\":%.0f}\n", RPCS * 1e6 / (double)(now_us() - t));
    check(uvm_process_signal(p, 9, false, NULL, on_done, "kill", NULL), "kill");
    run_until_done();
    check(uvm_process_wait(p, NULL, on_done, "wait", NULL), "wait");
    run_until_done();
    uvm_process_close(p);
}

static void print_rate(const char *name, double ms) {
    printf("{\"name\":\"%s\",\"mib_per_second\":%.1f}\n", name,
           ms > 0 ? STREAM_MIB * 1000.0 / ms : 0);
    fflush(stdout);
}

static void measure_streams(const char *tcp_port) {
    char bytes[24];
    char tcp[32];
    (void)snprintf(bytes, sizeof bytes, "%lld", (long long)STREAM_MIB * MIB);
    (void)snprintf(tcp, sizeof tcp, "tcp:%s", tcp_port);
    static const char serial[] = "file:/dev/bench";
    const char *const setup[] = {"/bin/sh", "-c",
                                 "ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && "
                                 "ln -s /dev/vport?p1 /dev/bench",
                                 NULL};
    struct sink sink = {0};
    uvm_process *p = start(setup, &sink, false);
    finish(p, sink.text[0] == 0 ? "setup of the guest's NIC and port" : sink.text);
    const char *const send_fd[] = {"/bin/guest_bench", "send", "fd:1", bytes, NULL};
    const char *const recv_fd[] = {"/bin/guest_bench", "recv", "fd:0", bytes, NULL};
    const char *const send_tcp[] = {"/bin/guest_bench", "send", tcp, bytes, NULL};
    const char *const recv_tcp[] = {"/bin/guest_bench", "recv", tcp, bytes, NULL};
    const char *const send_serial[] = {"/bin/guest_bench", "send", serial, bytes, NULL};
    const char *const recv_serial[] = {"/bin/guest_bench", "recv", serial, bytes, NULL};
    for (int round = 0; round < 3; round++) {
        print_rate("vsock_guest_to_host", ask(send_fd, 0));
        print_rate("serial_guest_to_host", ask(send_serial, 0));
        print_rate("tcp_guest_to_host", ask(send_tcp, 0));
        print_rate("vsock_host_to_guest", ask(recv_fd, (uint64_t)STREAM_MIB * MIB));
        print_rate("serial_host_to_guest", ask(recv_serial, 0));
        print_rate("tcp_host_to_guest", ask(recv_tcp, 0));
    }
}

static void measure_agent(void) {
    const char *const argv[] = {"/bin/sh", "-c", "guest_bench rss-of /bin/gcs >&2", NULL};
    printf("{\"name\":\"agent_rss_anon\",\"kib\":%.0f}\n", ask(argv, 0));
    fflush(stdout);
}

/* The VMM's process: this program's only child. */
static void print_boot(void) {
    char path[64];
    char line[4096];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    long pid = f != NULL && fgets(line, sizeof line, f) != NULL ? strtol(line, NULL, 10) : 0;
    if (f != NULL) {
        fclose(f);
    }
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    f = fopen(path, "re");
    if (pid == 0 || f == NULL || fgets(line, sizeof line, f) == NULL) {
        fail("the VMM's /proc entry", NULL);
    }
    fclose(f);
    const char *field = strrchr(line, ')'); /* fields 14 and 15, proc(5) */
    for (int i = 2; field != NULL && i < 14; i++) {
        field = strchr(field + 1, ' ');
    }
    if (field == NULL) {
        fail(path, NULL);
    }
    char *rest = NULL;
    unsigned long ticks = strtoul(field, &rest, 10);
    ticks += strtoul(rest, NULL, 10);
    struct uvm_vm_times t = uvm_vm_times(b.vm);
    printf("{\"cpu_ms\":%ld,\"create_ms\":%" PRIu64 ",\"contact_ms\":%" PRIu64
           ",\"negotiated_ms\":%" PRIu64 ",\"argv\":[",
           (long)ticks * 1000 / sysconf(_SC_CLK_TCK), t.create, t.first_guest_contact,
           t.negotiated);
    (void)snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
    f = fopen(path, "re");
    int c = f == NULL ? EOF : fgetc(f);
    bool open = false;
    for (bool first = true; c != EOF; c = fgetc(f)) {
        if (!open) {
            printf("%s\"", first ? "" : ",");
            first = false;
            open = true;
        }
        if (c == 0) {
            printf("\"");
            open = false;
        } else {
            printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
        }
    }
    printf("]}\n");
    if (f != NULL) {
        fclose(f);
    }
}

int main(int argc, char **argv) {
    if (argc >= 6 && strcmp(argv[1], "boot") == 0) {
        boot(argv + 1);
        print_boot();
    } else if (argc == 8 && strcmp(argv[1], "inside") == 0) {
        boot(argv + 1);
        measure_agent();
        measure_exec();
        measure_rpc();
        measure_streams(argv[6]);
    } else {
        fprintf(stderr, "usage: vm_bench boot|inside KERNEL INITRD LAUNCH VMM [TCP SOCK]\n");
        return 2;
    }
    end();
    return 0;
}
