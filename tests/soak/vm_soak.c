/* SPDX-License-Identifier: MIT
 * vm_soak.c — real VMs that end in every way, one after the other, and after each of them a census.
 *
 * vm_soak KERNEL INITRD UVM-LAUNCH SECONDS|ROUNDSr [SEED]. A round boots a VM, attaches a disk, runs commands, and
 * meets one disturbance at a random millisecond. What was disturbed must end with a code that the disturbance
 * explains, what can be tried again must then work, and the harness must find nothing left: no process,
 * descriptor, memfd, socket, mount, handle or block of memory.
 */
#include "tests/harness/harness_qemu.h"
#include "tests/unit/cm.h"
#include "uvm/devices.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAY_MAP(X)                                                                                 \
    X(STOP, "stopped")                                                                             \
    X(CLOSE, "closed as it is")                                                                    \
    X(KILL_VMM, "QEMU killed")                                                                     \
    X(KILL_AGENT, "agent killed from inside")                                                      \
    X(PANIC, "guest panicked")                                                                     \
    X(CANCEL_BOOT, "boot out of time")                                                             \
    X(CANCEL_ATTACH, "attach canceled")                                                            \
    X(CANCEL_DETACH, "detach canceled")                                                            \
    X(CANCEL_EXEC, "command canceled")                                                             \
    X(KILL_IN_BOOT, "QEMU killed while it booted")
enum way {
#define SOAK_X(name, text) name,
    WAY_MAP(SOAK_X)
#undef SOAK_X
        WAYS
};
static const char *const texts[WAYS] = {
#define SOAK_X(name, text) [name] = (text),
    WAY_MAP(SOAK_X)
#undef SOAK_X
};

static char **args;
static struct uvm_qemu_params qemu = UVM_QEMU_PARAMS_INIT;
static uvm_harness *h;
static uint64_t seed = 21, random_state;
static unsigned rounds[WAYS], codes[WAYS][UVM_E_MAX + 1], round_number;
static unsigned exits[UVM_EXIT_REASON_MAX];
static char image[PATH_MAX + 32];
static const char *what = "";

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "seed %llu, round %u, %s: ", (unsigned long long)seed, round_number,       \
                what);                                                                             \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\n");                                                                     \
        fail();                                                                                    \
    } while (0)

static unsigned any(unsigned below) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((random_state >> 33) % below);
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void make_image(void) {
    int fd = open(image, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    char *const argv[] = {(char *)(uintptr_t) "mkfs.ext4", (char *)(uintptr_t) "-qF", image, NULL};
    pid_t pid;
    int status = -1;
    assert_true(fd >= 0 && ftruncate(fd, 4 << 20) == 0);
    close(fd);
    assert_int_equal(posix_spawn(&pid, "/sbin/mkfs.ext4", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- operations --------------------------------------------------------------------------- */

struct call {
    bool done, attach;
    int code;
    uvm_op *op;
    char id[32], message[300];
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct call *c = arg;
    (void)op;
    c->done = true;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

static void start_attach(struct call *c) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = image;
    p.mount = true;
    p.guest_path = "/m";
    *c = (struct call){.attach = true};
    int rc = uvm_scsi_attach(uvm_harness_vm(h), &p, NULL, on_done, c, &c->op);
    if (rc != 0) {
        FAIL("attach: %d", rc);
    }
}

static void start_detach(struct call *c, const char *id) {
    *c = (struct call){0};
    int rc = uvm_detach(uvm_harness_vm(h), id, NULL, on_done, c, &c->op);
    if (rc != 0) {
        FAIL("detach: %d", rc);
    }
}

static int end(struct call *c) {
    if (uvm_harness_until(h, &c->done, UVM_HARNESS_CALL_MS) != 0) {
        FAIL("an operation does not end");
    }
    if (c->attach) {
        (void)snprintf(c->id, sizeof c->id, "%s", uvm_attach_result(c->op).id);
    }
    c->op = uvm_op_unref(c->op);
    return c->code;
}

/* Lets it run for `ms`, then cancels. */
static int end_canceled(struct call *c, enum way way, unsigned ms) {
    (void)uvm_harness_until(h, &c->done, ms);
    if (!c->done) {
        uvm_op_cancel(c->op);
    }
    int code = end(c);
    codes[way][code]++;
    if (code != UVM_OK && code != UVM_E_CANCELED) {
        FAIL("%s: %s", uvm_error_code_name(code), c->message);
    }
    return code;
}

static void must(int code, const struct call *c) {
    if (code != UVM_OK) {
        FAIL("%s: %s", uvm_error_code_name(code), c->message);
    }
}

static void sh(const char *line, const char *out) {
    struct uvm_harness_result r;
    int rc = uvm_harness_sh(h, line, &r);
    if (rc != 0 || strcmp(r.out, out) != 0) {
        FAIL("%s: %d, \"%s\": %s", line, rc, r.out, uvm_harness_message(h));
    }
}

/* ---- a round ------------------------------------------------------------------------------ */

static void open_harness(uint32_t call_ms) {
    struct uvm_harness_params params = UVM_HARNESS_PARAMS_INIT;
    params.service = uvm_harness_qemu;
    params.service_arg = &qemu;
    params.call_ms = call_ms;
    assert_int_equal(uvm_harness_new(&params, &h), 0);
}

static int boot(void) {
    struct uvm_vm_params vm = UVM_VM_PARAMS_INIT;
    vm.memory_mb = 128;
    vm.kernel = args[0];
    vm.initrd = args[1];
    return uvm_harness_boot(h, &vm);
}

static void close_harness(void) {
    if (uvm_harness_close(h) != 0) {
        FAIL("%s", uvm_harness_message(h));
    }
    uvm_harness_free(h);
    if (uvm_harness_descendants(NULL, NULL, 0) != 0) {
        FAIL("a process is left");
    }
}

static void kill_vmm(void) {
    pid_t pid = 0;
    if (uvm_harness_descendants("qemu-system-x86_64", &pid, 1) == 1) {
        assert_int_equal(kill(pid, SIGKILL), 0);
    }
}

/* How the VM ended; its commands and attaches have ended before. */
static void expect_exit(bool (*fits)(enum uvm_exit_reason reason)) {
    struct uvm_vm_exit how = {0};
    if (uvm_harness_wait(h, &how) != 0) {
        FAIL("%s", uvm_harness_message(h));
    }
    exits[how.reason]++;
    if (!fits(how.reason)) {
        FAIL("it ended as %s: %s", uvm_exit_reason_key(how.reason), how.detail);
    }
}

static bool vmm_died(enum uvm_exit_reason r) {
    return r == UVM_EXIT_VMM_DIED;
}

static bool panicked(enum uvm_exit_reason r) {
    return r == UVM_EXIT_GUEST_PANIC;
}

/* PID 1 ends with the agent, and the kernel does not go on without; the host may be faster. */
static bool agent_gone(enum uvm_exit_reason r) {
    return r == UVM_EXIT_AGENT_LOST || r == UVM_EXIT_GUEST_PANIC;
}

/* A command and an attach are under way when it happens. */
static void break_it(enum way way) {
    struct call attach, detach;
    struct uvm_harness_result r;
    int rc;
    start_attach(&attach);
    (void)uvm_harness_until(h, &attach.done, any(120));
    if (way == KILL_VMM) {
        kill_vmm();
        rc = uvm_harness_sh(h, "sleep 100", &r);
    } else if (way == PANIC) {
        rc = uvm_harness_sh(h, "echo c > /proc/sysrq-trigger; sleep 100", &r);
    } else {
        rc = uvm_harness_sh(h, "kill -9 $(pidof gcs); sleep 100", &r);
    }
    if (rc != -UVM_E_EXITED && rc != -UVM_E_STATE && rc != -UVM_E_CLOSED) {
        FAIL("a command in it: %d: %s", rc, uvm_harness_message(h));
    }
    int code = end(&attach);
    codes[way][code]++;
    if (code != UVM_OK && code != UVM_E_EXITED && code != UVM_E_CLOSED) {
        FAIL("an attach in it: %s: %s", uvm_error_code_name(code), attach.message);
    }
    detach = (struct call){0};
    rc = uvm_detach(uvm_harness_vm(h), "scsi-1", NULL, on_done, &detach, &detach.op);
    if (rc == 0) {
        (void)end(&detach);
    }
    expect_exit(way == KILL_VMM ? vmm_died : way == PANIC ? panicked : agent_gone);
}

static void cancel_in_it(enum way way) {
    struct call c;
    if (way == CANCEL_EXEC) {
        struct uvm_harness_exec_params exec = UVM_HARNESS_EXEC_PARAMS_INIT;
        struct uvm_harness_result r;
        exec.argv = (const char *const[]){"sleep", "1000", NULL};
        exec.deadline_ms = 1 + any(300);
        int rc = uvm_harness_exec(h, &exec, &r);
        if (rc != -UVM_E_TIMEDOUT) {
            FAIL("a command without end: %d: %s", rc, uvm_harness_message(h));
        }
        codes[way][-rc]++;
        sh("pidof sleep; echo none", "none\n");
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        start_attach(&c);
        if (way == CANCEL_ATTACH && end_canceled(&c, way, any(150)) == UVM_E_CANCELED) {
            start_attach(&c); /* again: it works, and the guest has what it asked for */
        }
        if (!c.done) {
            must(end(&c), &c);
        }
        sh("grep -c ' /m ext4' /proc/mounts", "1\n");
        char id[32];
        (void)snprintf(id, sizeof id, "%s", c.id);
        start_detach(&c, id);
        if (way == CANCEL_DETACH && end_canceled(&c, way, any(60)) == UVM_E_CANCELED) {
            start_detach(&c, id); /* nothing had happened */
        }
        if (!c.done) {
            must(end(&c), &c);
        }
        sh("grep -c ' /m ext4' /proc/mounts", "0\n");
    }
}

/* Whatever child of ours there is by then. */
static _Noreturn void kill_child_after(int ms) {
    char path[64], text[256] = "";
    struct pollfd nothing = {.fd = -1};
    bool killed = false;
    (void)poll(&nothing, 1, ms);
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)getppid(), (int)getppid());
    FILE *f = fopen(path, "re");
    if (f != NULL && fgets(text, sizeof text, f) != NULL) {
        char *at = text;
        for (long pid; (pid = strtol(at, &at, 10)) > 0;) {
            killed = killed || (pid != getpid() && kill((pid_t)pid, SIGKILL) == 0);
        }
    }
    _exit(killed ? 0 : 1);
}

/* A boot blocks us: somebody else does it, at its time. */
static void kill_in_boot(void) {
    int ms = (int)any(2500), status = 0;
    pid_t killer = fork();
    if (killer == 0) {
        kill_child_after(ms);
    }
    assert_true(killer > 0);
    int rc = boot();
    assert_int_equal(waitpid(killer, &status, 0), killer);
    codes[KILL_IN_BOOT][-rc]++;
    if (rc != 0 && rc != -UVM_E_EXITED && rc != -UVM_E_HOST) {
        FAIL("boot: %d: %s", rc, uvm_harness_message(h));
    }
}

static void round_of(enum way way) {
    what = texts[way];
    rounds[way]++;
    if (way == CANCEL_BOOT) {
        open_harness(1 + any(2500));
        int rc = boot();
        codes[way][-rc]++;
        if (rc != 0 && rc != -UVM_E_TIMEDOUT) {
            FAIL("boot: %d: %s", rc, uvm_harness_message(h));
        }
        close_harness();
        return;
    }
    open_harness(0);
    if (way == KILL_IN_BOOT) {
        kill_in_boot();
        close_harness();
        return;
    }
    if (boot() != 0) {
        FAIL("boot: %s", uvm_harness_message(h));
    }
    sh("echo up", "up\n");
    if (way == STOP || way == CLOSE) {
        struct call c;
        start_attach(&c);
        must(end(&c), &c);
        sh("echo it > /m/f; sync; cat /m/f", "it\n");
        if (way == STOP) {
            struct uvm_vm_exit how = {0};
            if (uvm_harness_stop(h, 0, &how) != 0) {
                FAIL("stop: %s", uvm_harness_message(h));
            }
            exits[how.reason]++;
        }
    } else if (way == KILL_VMM || way == KILL_AGENT || way == PANIC) {
        break_it(way);
    } else {
        cancel_in_it(way);
    }
    close_harness();
}

static uint64_t seconds;
static unsigned rounds_max;

static void soak(void **state) {
    (void)state;
    make_image();
    random_state = seed;
    uint64_t begin = now_ms();
    for (round_number = 1;
         rounds_max > 0 ? round_number <= rounds_max : now_ms() - begin < seconds * 1000;
         round_number++) {
        if (round_number % 20 == 0) {
            make_image(); /* one that was killed while it wrote may be worn */
        }
        round_of(round_number <= WAYS ? (enum way)(round_number - 1) : (enum way)any(WAYS));
    }
    print_message("seed %llu: %u rounds in %llu s, nothing left after any\n",
                  (unsigned long long)seed, round_number - 1,
                  (unsigned long long)(now_ms() - begin) / 1000);
    for (unsigned w = 0; w < WAYS; w++) {
        char line[200];
        int n = snprintf(line, sizeof line, "  %3u %s", rounds[w], texts[w]);
        for (unsigned i = 0; i <= UVM_E_MAX && n < (int)sizeof line; i++) {
            if (codes[w][i] > 0) {
                n += snprintf(line + n, sizeof line - (size_t)n, ", %s %u",
                              uvm_error_code_name((int)i), codes[w][i]);
            }
        }
        print_message("%s\n", line);
    }
    assert_int_equal(unlink(image), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(soak)};
    const char *temporary = getenv("TEST_TMPDIR");
    char *unit = NULL;
    if (argc < 5) {
        fprintf(stderr, "usage: %s KERNEL INITRD UVM-LAUNCH SECONDS|ROUNDSr [SEED]\n", argv[0]);
        return 2;
    }
    args = argv + 1;
    seconds = strtoull(args[3], &unit, 10);
    rounds_max = *unit == 'r' ? (unsigned)seconds : 0;
    seed = argc > 5 ? strtoull(args[4], NULL, 10) : seed;
    qemu.launch_path = realpath(args[2], NULL);
    (void)snprintf(image, sizeof image, "%s/soak.img", temporary == NULL ? "/tmp" : temporary);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free((void *)(uintptr_t)qemu.launch_path);
    return failed;
}
