/* SPDX-License-Identifier: MIT
 * vm_bench.c — measures one VM through the public API; bench.py calls it and prints the table.
 *
 *   vm_bench boot   KERNEL INITRD LAUNCH VMM   boots; one JSON object: times and the VMM's CPU at
 *                                              "negotiated", and its argv
 *   vm_bench inside KERNEL INITRD LAUNCH VMM   boots a guest that has guest_bench, and measures exec and
 *                                              RPCs; one JSON object a line
 *   vm_bench control KERNEL INITRD LAUNCH VMM UVMCTL FOLDER
 *                                              boots, publishes the VM in FOLDER, and measures exec through
 *                                              uvmctl, in turn with exec through the API
 */
#include "tests/bench/bench_kit.h"
#include "uvm/control.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXECS = 200, ROUNDS = 10, RPCS = 2000, DEPTH = 32 };

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
    const char *const loop[] = {"/bin/sh", "-c", "guest_bench forkexec $0 /bin/true", count, NULL};
    for (size_t i = 0; i < EXECS; i++) {
        if (i % (EXECS / ROUNDS) == 0) {
            printf("{\"name\":\"forkexec_true\",\"median_us\":%.0f}\n", bench_ask(loop));
        }
        uint64_t t = bench_now_us();
        bench_finish(bench_start(argv), "true");
        us[i] = bench_now_us() - t;
    }
    print_us("exec_true", us, EXECS);
}

static size_t answered;
static void on_signal_done(uvm_op *op, const uvm_error *err, void *arg) {
    bench_on_done(op, err, arg);
    answered++;
}

static void measure_rpc(void) {
    static uint64_t us[RPCS];
    static const char *const argv[] = {"/bin/sleep", "1000", NULL};
    uvm_process *p = bench_start(argv);
    for (size_t i = 0; i < RPCS; i++) {
        uint64_t t = bench_now_us();
        bench_check(uvm_process_signal(p, 18, false, NULL, bench_on_done, "signal", NULL),
                    "signal");
        bench_run();
        us[i] = bench_now_us() - t;
    }
    print_us("rpc_1_deep", us, RPCS);
    uint64_t t = bench_now_us();
    size_t sent = 0;
    while (answered < RPCS) {
        while (sent < RPCS && sent - answered < DEPTH) {
            bench_check(uvm_process_signal(p, 18, false, NULL, on_signal_done, "signal", NULL),
                        "signal");
            sent++;
        }
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    b.done = false;
    printf("{\"name\":\"rpc_32_deep\",\"per_second\":%.0f}\n",
           RPCS * 1e6 / (double)(bench_now_us() - t));
    bench_check(uvm_process_signal(p, 9, false, NULL, bench_on_done, "kill", NULL), "kill");
    bench_run();
    bench_check(uvm_process_wait(p, NULL, bench_on_done, "wait", NULL), "wait");
    bench_run();
    uvm_process_close(p);
}

static void measure_agent(void) {
    const char *const argv[] = {"/bin/sh", "-c", "guest_bench rss-of /bin/gcs", NULL};
    printf("{\"name\":\"agent_rss_anon\",\"kib\":%.0f}\n", bench_ask(argv));
    fflush(stdout);
}

static void print_boot(void) {
    char path[64];
    char line[4096];
    long pid = bench_vmm();
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL || fgets(line, sizeof line, f) == NULL) {
        bench_fail("the VMM's /proc entry", NULL);
    }
    fclose(f);
    const char *field = strrchr(line, ')'); /* fields 14 and 15, proc(5) */
    for (int i = 2; field != NULL && i < 14; i++) {
        field = strchr(field + 1, ' ');
    }
    if (field == NULL) {
        bench_fail(path, NULL);
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

/* ---- uvmctl exec -------------------------------------------------------------------------- */

static void on_client_exit(uv_process_t *p, int64_t status, int signo) {
    if (status != 0 || signo != 0) {
        bench_fail("uvmctl exec", NULL);
    }
    b.done = true;
    uv_close((uv_handle_t *)p, NULL);
}

static void measure_control(char *uvmctl, char *folder) {
    static uint64_t ours[EXECS], theirs[EXECS];
    static const char *const argv[] = {"/bin/true", NULL};
    static char verb[] = "exec", name[] = "bench", dashes[] = "--", word[] = "/bin/true";
    char *words[] = {uvmctl, verb, name, dashes, word, NULL};
    char state[256];
    char *env[] = {state, NULL};
    uv_process_options_t o = {.file = uvmctl, .args = words, .env = env, .exit_cb = on_client_exit};
    struct uvm_control_params p = UVM_CONTROL_PARAMS_INIT;
    uvm_error *err = NULL;
    p.folder = folder;
    (void)snprintf(state, sizeof state, "UVM_STATE_DIR=%s", folder);
    if (uvm_control_listen(b.vm, &p, NULL, &err) < 0) {
        bench_fail("control socket", err);
    }
    for (size_t i = 0; i < EXECS; i++) {
        uv_process_t client;
        uint64_t t = bench_now_us();
        bench_finish(bench_start(argv), "true");
        ours[i] = bench_now_us() - t;
        t = bench_now_us();
        bench_check(uv_spawn(&b.loop, &client, &o), "uvmctl");
        bench_run();
        theirs[i] = bench_now_us() - t;
        (void)uv_run(&b.loop, UV_RUN_NOWAIT); /* its handle is closed */
    }
    print_us("exec_api", ours, EXECS);
    print_us("exec_uvmctl", theirs, EXECS);
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "boot") == 0) {
        bench_boot(argv + 1);
        print_boot();
    } else if (argc == 6 && strcmp(argv[1], "inside") == 0) {
        bench_boot(argv + 1);
        measure_agent();
        measure_exec();
        measure_rpc();
    } else if (argc == 8 && strcmp(argv[1], "control") == 0) {
        bench_boot(argv + 1);
        measure_control(argv[6], argv[7]);
    } else {
        (void)fprintf(stderr, "usage: vm_bench boot|inside|control KERNEL INITRD LAUNCH VMM "
                              "[UVMCTL FOLDER]\n");
        return 2;
    }
    bench_end();
    return 0;
}
