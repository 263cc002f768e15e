/* SPDX-License-Identifier: MIT
 * bench_kit.c — see bench_kit.h.
 */
#include "tests/bench/bench_kit.h"
#include "hcs/qemu/qemu_service.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct bench b;

uint64_t bench_now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

_Noreturn void bench_fail(const char *what, const uvm_error *err) {
    fprintf(stderr, "bench: %s: %s: %s\n%s\n", what, err == NULL ? "" : uvm_error_step(err),
            err == NULL ? "failed" : uvm_error_message(err),
            err == NULL ? "" : uvm_error_detail(err));
    exit(1);
}

void bench_on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    if (err != NULL) {
        bench_fail(arg, err);
    }
    b.done = true;
}

void bench_run(void) {
    while (!b.done) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    b.done = false;
}

void bench_check(int rc, const char *what) {
    if (rc < 0) {
        fprintf(stderr, "bench: %s: %s\n", what, uvm_error_code_text(rc));
        exit(1);
    }
}

/* ---- a VM --------------------------------------------------------------------------------- */

void bench_boot_with(char **argv, struct uvm_vm_params *vp) {
    struct uvm_qemu_params sp = UVM_QEMU_PARAMS_INIT;
    sp.launch_path = argv[3];
    sp.qemu_path = argv[4];
    bench_check(uv_loop_init(&b.loop), "loop");
    bench_check(uvm_engine_new(&b.loop, NULL, &b.engine), "engine");
    bench_check(uvm_qemu_service_new(b.engine, &sp, &b.service), "service");
    vp->name = "bench";
    vp->kernel = argv[1];
    vp->initrd = argv[2];

    uvm_error *err = NULL;
    if (uvm_vm_new(b.engine, b.service, vp, &b.vm, &err) < 0) {
        bench_fail("vm", err);
    }
    bench_check(uvm_vm_boot(b.vm, NULL, bench_on_done, "boot", NULL), "boot");
    bench_run();
}

void bench_boot(char **argv) {
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    bench_boot_with(argv, &vp);
}

static void on_closed(void *arg) {
    (void)arg;
    b.done = true;
}

void bench_end(void) {
    uvm_vm_close(b.vm, on_closed, NULL);
    bench_run();
    uvm_service_close(b.service, on_closed, NULL);
    bench_run();
    uvm_engine_close(b.engine, on_closed, NULL);
    bench_run();
    bench_check(uv_loop_close(&b.loop), "loop close");
}

/* This program's only child. */
pid_t bench_vmm(void) {
    char path[64], line[64] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    if (f == NULL || fgets(line, sizeof line, f) == NULL) {
        bench_fail("the VMM's process", NULL);
    }
    fclose(f);
    return (pid_t)strtol(line, NULL, 10);
}

/* ---- processes ---------------------------------------------------------------------------- */

struct sink {
    char text[64]; /* the beginning of stdout */
    size_t len;
};

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    struct sink *sink = arg;
    size_t n = sizeof sink->text - 1 - sink->len;
    (void)p;
    (void)which;
    n = n < bytes ? n : bytes;
    memcpy(sink->text + sink->len, data, n);
    sink->len += n;
    return bytes;
}

static uvm_process *start_with(const char *const *argv, struct sink *sink) {
    static const char *const env[] = {"PATH=/bin:/sbin", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    p.argv = argv;
    p.env = env;
    if (sink != NULL) {
        p.on_output = on_output;
        p.arg = sink;
        p.stdio[UVM_STDOUT] = UVM_STDIO_CALLBACK;
        p.stdio[UVM_STDERR] = UVM_STDIO_CALLBACK;
    }
    uvm_op *op = NULL;
    bench_check(uvm_exec_start(b.vm, &p, NULL, bench_on_done, (void *)(uintptr_t)argv[0], &op),
                argv[0]);
    bench_run();
    uvm_process *process = uvm_exec_result(op);
    uvm_op_unref(op);
    return process;
}

uvm_process *bench_start(const char *const *argv) {
    return start_with(argv, NULL);
}

void bench_finish(uvm_process *p, const char *what) {
    bench_check(uvm_process_wait(p, NULL, bench_on_done, (void *)(uintptr_t)what, NULL), what);
    bench_run();
    struct uvm_process_exit exit_status;
    bench_check(uvm_process_exit(p, &exit_status), what);
    if (exit_status.code != 0) {
        bench_fail(what, NULL);
    }
    uvm_process_close(p);
}

double bench_ask(const char *const *argv) {
    struct sink sink = {0};
    bench_finish(start_with(argv, &sink), sink.len == 0 ? argv[0] : sink.text);
    return strtod(sink.text, NULL);
}
