/* SPDX-License-Identifier: MIT
 * hand_kit.c — see hand_kit.h.
 */
#include "tests/bench/hand_kit.h"
#include "hcs/qemu/qemu_int.h"
#include "hcs/qemu/qmp.h"
#include "tests/bench/bench_kit.h"
#include "uvm/vm_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uvm_process *hand; /* the shell */
static char said[64];
static size_t said_bytes;

static size_t on_output(uvm_process *p, enum uvm_stdio which, const void *data, size_t bytes,
                        void *arg) {
    (void)p;
    (void)which;
    (void)arg;
    size_t n = bytes < sizeof said - 1 - said_bytes ? bytes : sizeof said - 1 - said_bytes;
    memcpy(said + said_bytes, data, n);
    said_bytes += n;
    said[said_bytes] = 0;
    return bytes;
}

void hand_open(const char *script) {
    static const char *const env[] = {"PATH=/bin:/sbin", NULL};
    struct uvm_exec_params p = UVM_EXEC_PARAMS_INIT;
    uvm_op *op = NULL;
    p.argv = (const char *const[]){"/bin/sh", "-c", script, NULL};
    p.env = env;
    p.on_output = on_output;
    p.stdio[UVM_STDIN] = p.stdio[UVM_STDOUT] = p.stdio[UVM_STDERR] = UVM_STDIO_CALLBACK;
    bench_check(uvm_exec_start(b.vm, &p, NULL, bench_on_done, "shell", &op), "shell");
    bench_run();
    hand = uvm_exec_result(op);
    uvm_op_unref(op);
}

void hand_say(const char *line) {
    if (uvm_process_write(hand, line, strlen(line)) != (int64_t)strlen(line)) {
        bench_fail("the shell's input", NULL);
    }
}

void hand_await(const char *word) {
    while (strstr(said, word) == NULL) {
        if (strchr(said, ':') != NULL) {
            bench_fail(said, NULL); /* of mount, or the shell */
        }
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    said_bytes = 0;
    said[0] = 0;
}

static struct uvm__qemu_system *vmm(void) {
    return uvm__qemu_system_of(b.vm->system);
}

void hand_qmp(const char *command, const char *arguments) {
    const struct uvm__qmp_execute_params p = {vmm()->qmp, command, arguments, true};
    bench_check(uvm__qmp_execute(&p, NULL, bench_on_done, (void *)(uintptr_t)command, NULL),
                command);
    bench_run();
}

static void on_tried(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    *(bool *)arg = err == NULL;
    b.done = true;
}

void hand_qmp_until_done(const char *command, const char *arguments) {
    const struct uvm__qmp_execute_params p = {vmm()->qmp, command, arguments, true};
    uint64_t until = bench_now_us() + 20000000;
    for (bool ok = false; !ok;) {
        bench_check(uvm__qmp_execute(&p, NULL, on_tried, &ok, NULL), command);
        bench_run();
        if (bench_now_us() > until) {
            bench_fail(command, NULL);
        }
    }
}

void hand_close(void) {
    bench_check(uvm_process_signal(hand, 9, true, NULL, bench_on_done, "kill", NULL), "kill");
    bench_run();
    uvm_process_close(hand);
}

static int by_value(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
    return a < c ? -1 : a > c;
}

uint64_t hand_median(uint64_t *us, size_t count) {
    qsort(us, count, sizeof us[0], by_value);
    return us[count / 2];
}

void hand_print(const char *name, uint64_t us, uint64_t reference_us) {
    printf("{\"name\":\"%s\",\"median_us\":%" PRIu64 ",\"reference_us\":%" PRIu64
           ",\"ratio\":%.3f}\n",
           name, us, reference_us, (double)us / (double)reference_us);
    fflush(stdout);
}
