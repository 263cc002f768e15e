/* SPDX-License-Identifier: MIT
 * vsock_kit.c — the VMM is started here by hand: nothing of the engine is used but the device.
 */
#include "tests/integration/vsock_kit.h"

#include "async/sock.h"
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char **args;
struct loop_kit kit;
struct vsock_vm vm;

/* ---- streams, as if they blocked ----------------------------------------------------------- */

void on_event(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    (void)events;
    ((struct waiter *)arg)->event = true;
}

void wait_event(struct uvm__stream *s, struct waiter *w) {
    (void)s;
    loop_until_ms(&kit, &w->event, WAIT_MS);
    w->event = false;
}

ssize_t read_some(struct uvm__stream *s, void *to, size_t bytes) {
    struct waiter w = {false};
    uvm__stream_set_handler(s, on_event, &w);
    ssize_t n;
    while ((n = uvm__stream_read(s, to, bytes)) == -UVM_E_AGAIN) {
        wait_event(s, &w);
    }
    uvm__stream_set_handler(s, NULL, NULL);
    return n;
}

void read_exactly(struct uvm__stream *s, void *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read_some(s, (uint8_t *)to + done, bytes - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

void write_all(struct uvm__stream *s, const void *data, size_t bytes) {
    struct waiter w = {false};
    uvm__stream_set_handler(s, on_event, &w);
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = uvm__stream_write(s, (const uint8_t *)data + done, bytes - done);
        if (n == -UVM_E_AGAIN) {
            wait_event(s, &w);
            continue;
        }
        assert_true(n > 0);
        done += (size_t)n;
    }
    uvm__stream_set_handler(s, NULL, NULL);
}

/* ---- dialling ----------------------------------------------------------------------------- */

struct dial {
    bool done;
    int code;
};

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    struct dial *d = arg;
    (void)op;
    d->done = true;
    d->code = err == NULL ? 0 : (int)uvm_error_code(err);
}

struct uvm__stream *try_connect(uint32_t port, int *ret_code) {
    struct dial d = {false, 0};
    uvm_op *op = NULL;
    assert_int_equal(
        uvm__hvsock_connect(uvm__vsock_device_hvsock(vm.device), port, NULL, on_dialled, &d, &op),
        0);
    loop_until_ms(&kit, &d.done, WAIT_MS);
    *ret_code = d.code;
    struct uvm__stream *s = uvm__hvsock_connect_result(op);
    uvm_op_unref(op);
    return s;
}

struct uvm__stream *connect_to(uint32_t port) {
    int code = 0;
    struct uvm__stream *s = try_connect(port, &code);
    assert_int_equal(code, 0);
    assert_non_null(s);
    return s;
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    struct accept *a = arg;
    (void)l;
    assert_true(a->count - a->taken < ACCEPTS);
    a->streams[a->count++ % ACCEPTS] = s;
    a->any = true;
}

void listen_on(uint32_t port, struct accept *a) {
    struct uvm__listen_params p = {.port = port, .on_accept = on_accept, .arg = a};
    assert_int_equal(uvm__hvsock_listen(uvm__vsock_device_hvsock(vm.device), &p, &a->l), 0);
}

/* ---- the VM ------------------------------------------------------------------------------- */

static void on_configured(struct uvm__vsock_device *d, void *arg) {
    (void)d;
    (void)arg;
    vm.configured = true;
}

static void on_started(struct uvm__vsock_device *d, void *arg) {
    (void)d;
    (void)arg;
    vm.starts++;
}

static void on_end(struct uvm__vsock_device *d, const uvm_error *err, void *arg) {
    (void)d;
    (void)arg;
    if (err != NULL) {
        print_error("device: %s\n", uvm_error_message(err));
    }
    assert_null(err);
    vm.ended = true;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void on_qmp(struct uvm__sock *s, void *arg) {
    (void)arg;
    ssize_t n;
    while ((n = uvm__sock_recv(s, vm.qmp_text + vm.qmp_bytes, sizeof vm.qmp_text - 1 - vm.qmp_bytes,
                               NULL, NULL)) > 0) {
        vm.qmp_bytes += (size_t)n;
        vm.qmp_text[vm.qmp_bytes] = 0;
        char *end;
        while ((end = strchr(vm.qmp_text, '\n')) != NULL) {
            *end = 0;
            if (strncmp(vm.qmp_text, "{\"error\"", 8) == 0) {
                print_error("monitor: %s\n", vm.qmp_text);
            }
            if (strncmp(vm.qmp_text, "{\"return\"", 9) == 0) {
                vm.qmp_answers++;
                vm.qmp_said = true;
            }
            vm.qmp_bytes -= (size_t)(end + 1 - vm.qmp_text);
            memmove(vm.qmp_text, end + 1, vm.qmp_bytes + 1);
        }
    }
}

void monitor(const char *command) {
    vm.qmp_said = false;
    assert_int_equal(uvm__sock_send(vm.qmp, command, strlen(command), NULL, 0), 0);
    loop_until_ms(&kit, &vm.qmp_said, WAIT_MS);
}

static void spawn_vmm(int vsock_fd, int qmp_fd) {
    char serial[100];
    char initrd[100];
    char both[1000];
    snprintf(serial, sizeof serial, "file:%s/console", vm.dir);
    snprintf(initrd, sizeof initrd, "%s/initrd", vm.dir);
    snprintf(both, sizeof both, "cat '%s' '%s' > '%s'", args[2], args[3], initrd);
    const char *cat[] = {"/bin/sh", "-c", both, NULL};
    pid_t pid;
    int status = -1;
    assert_int_equal(posix_spawn(&pid, cat[0], NULL, NULL, (char **)cat, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    const char *argv[] = {"qemu-system-x86_64",
                          "-nodefaults",
                          "-no-user-config",
                          "-display",
                          "none",
                          "-accel",
                          "tcg,thread=multi",
                          "-cpu",
                          "max",
                          "-m",
                          "256M,slots=4,maxmem=2G",
                          "-object",
                          "memory-backend-memfd,id=ram0,size=256M,share=on",
                          "-machine",
                          "q35,memory-backend=ram0",
                          "-kernel",
                          args[1],
                          "-initrd",
                          initrd,
                          "-append",
                          "console=ttyS0 quiet panic=-1 -- -e 1 /peer",
                          "-serial",
                          serial,
                          "-chardev",
                          "socket,id=vs,fd=10",
                          "-device",
                          "vhost-user-vsock-pci,chardev=vs",
                          "-chardev",
                          "socket,id=qmp,fd=11",
                          "-mon",
                          "chardev=qmp,mode=control",
                          NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, vsock_fd, 10);
    posix_spawn_file_actions_adddup2(&actions, qmp_fd, 11);
    assert_int_equal(posix_spawnp(&vm.pid, argv[0], &actions, NULL, (char **)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(vsock_fd);
    close(qmp_fd);
}

static void on_entropy(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    uint8_t seed[512];
    (void)l;
    (void)arg;
    memset(seed, 0x5a, sizeof seed);
    assert_int_equal(uvm__stream_write(s, seed, sizeof seed), sizeof seed);
    uvm__stream_close(s);
}

static void on_commands(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    (void)l;
    (void)arg;
    if (vm.commands != NULL) {
        uvm__stream_reset(vm.commands);
    }
    vm.commands = s;
    vm.hello = true;
}

static struct uvm__listener *entropy;

/* The peer in the guest has begun: it dials first. */
void wait_hello(void) {
    char line[6];
    loop_until_ms(&kit, &vm.hello, 120000);
    vm.hello = false;
    read_exactly(vm.commands, line, sizeof line);
    assert_memory_equal(line, "hello\n", 6);
}

int vm_start(void **state) {
    (void)state;
    int vsock[2];
    int qmp[2];
    memset(&vm, 0, sizeof vm);
    loop_open(&kit);
    snprintf(vm.dir, sizeof vm.dir, "/tmp/vsock_test.XXXXXX");
    assert_non_null(mkdtemp(vm.dir));
    assert_int_equal(uvm__sock_pair(vsock), 0);
    assert_int_equal(uvm__sock_pair(qmp), 0);
    struct uvm__vsock_params p = {.take_fd = vsock[0],
                                  .guest_cid = 3,
                                  .on_configured = on_configured,
                                  .on_started = on_started,
                                  .on_end = on_end};
    assert_int_equal(uvm__vsock_device_open(kit.engine, &p, &vm.device), 0);
    struct uvm__hvsock *h = uvm__vsock_device_hvsock(vm.device);
    struct uvm__listen_params lp = {.port = 1, .on_accept = on_entropy};
    assert_int_equal(uvm__hvsock_listen(h, &lp, &entropy), 0);
    lp = (struct uvm__listen_params){.port = PEER_COMMANDS, .on_accept = on_commands};
    assert_int_equal(uvm__hvsock_listen(h, &lp, &vm.commands_port), 0);
    static const struct uvm__sock_events ev = {.on_readable = on_qmp};
    assert_int_equal(uvm__sock_open(kit.engine, qmp[0], &ev, NULL, &vm.qmp), 0);
    uvm__sock_reading(vm.qmp, true);
    spawn_vmm(vsock[1], qmp[1]);
    loop_until_ms(&kit, &vm.configured, WAIT_MS);
    monitor("{\"execute\":\"qmp_capabilities\"}\n");
    wait_hello();
    return 0;
}

int vm_stop(void **state) {
    (void)state;
    kill(vm.pid, SIGKILL);
    loop_until_ms(&kit, &vm.ended, WAIT_MS);
    uvm__stream_reset(vm.commands);
    uvm__listener_close(entropy);
    uvm__listener_close(vm.commands_port);
    uvm__vsock_device_close(vm.device, on_closed, &vm.closed);
    uvm__sock_close(vm.qmp, NULL, NULL);
    loop_until(&kit, &vm.closed);
    int status;
    assert_int_equal(waitpid(vm.pid, &status, 0), vm.pid);
    char path[100];
    snprintf(path, sizeof path, "%s/console", vm.dir);
    FILE *f = fopen(path, "r");
    char line[300];
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        print_message("| %s", line);
    }
    if (f != NULL) {
        fclose(f);
    }
    unlink(path);
    snprintf(path, sizeof path, "%s/initrd", vm.dir);
    unlink(path);
    rmdir(vm.dir);
    loop_close(&kit);
    return 0;
}

/* One line of answer to a command of the guest's program. */
void command(const char *line, char *ret_answer, size_t bytes) {
    write_all(vm.commands, line, strlen(line));
    size_t at = 0;
    do {
        assert_true(at + 1 < bytes);
        read_exactly(vm.commands, ret_answer + at, 1);
    } while (ret_answer[at++] != '\n');
    ret_answer[at] = 0;
}

void command_begin(const char *line) {
    write_all(vm.commands, line, strlen(line));
}

void command_end(void) {
    char answer[8];
    read_exactly(vm.commands, answer, 5);
    assert_memory_equal(answer, "done\n", 5);
}
