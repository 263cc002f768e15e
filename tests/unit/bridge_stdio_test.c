/* SPDX-License-Identifier: MIT
 * bridge_stdio_test.c — both ends of the bridge together, on a real loop with real descriptors: 64 MiB in
 * and out of a process, readers that go away, files and devices, and flags that stay as they were.
 *
 * The guest is a server whose processes are played here: "cat" echoes its stdin until the end, "yes"
 * writes until nobody reads, "linger" exits with its stdout open.
 */
#include "bridge/process.h"
#include "bridge/server.h"
#include "tests/unit/loop.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BULK_BYTES (64u << 20)
#define BLOCK_BYTES 65536u

/* ---- the guest ---------------------------------------------------------------------------- */

struct guest_process {
    char program[16];
    struct uvm__server_request *execute, *wait;
    uint32_t ports[2];
    struct uvm__stream *in, *out;
    uint8_t block[BLOCK_BYTES];
    size_t at, len;
    bool over;
    struct uvm__msg_exit exit;
};

struct fixture {
    struct loop_kit kit;
    struct uvm__hvsock *host, *guest;
    struct uvm__bridge *bridge;
    struct uvm__server *server;
    struct guest_process guest_process;
    struct uvm__stream *ends[2]; /* of the bridge: host's, guest's */
    /* what the host saw */
    bool negotiated, exited;
    struct uvm__process *process;
    struct uvm__process_exit exit;
    enum uvm_error_code exit_code, end_code[UVM__STDIO_MAX];
};
static struct fixture f;

static void guest_exit(struct guest_process *g, uint32_t code, int signal) {
    g->over = true;
    g->exit = (struct uvm__msg_exit){code, signal, false};
    if (g->in != NULL) {
        uvm__stream_close(g->in);
        g->in = NULL;
    }
    if (g->out != NULL && strcmp(g->program, "linger") != 0) {
        uvm__stream_close(g->out);
        g->out = NULL;
    }
    if (g->wait != NULL) {
        uvm__server_reply_exit(g->wait, &g->exit);
        g->wait = NULL;
    }
}

static void guest_work(struct guest_process *g) {
    while (!g->over) {
        if (g->len > 0) {
            ssize_t n = uvm__stream_write(g->out, g->block + g->at, g->len);
            if (n == -UVM_E_AGAIN) {
                return;
            }
            if (n < 0) {
                guest_exit(g, UVM__EXIT_SIGNALED, SIGPIPE);
                return;
            }
            g->at += (size_t)n;
            g->len -= (size_t)n;
        } else if (strcmp(g->program, "cat") == 0) {
            ssize_t n = uvm__stream_read(g->in, g->block, sizeof g->block);
            if (n == -UVM_E_AGAIN) {
                return;
            }
            g->at = 0;
            g->len = n > 0 ? (size_t)n : 0;
            if (n <= 0) {
                guest_exit(g, n == 0 ? 0 : 1, 0);
            }
        } else if (strcmp(g->program, "yes") == 0) {
            for (size_t i = 0; i < sizeof g->block; i += 2) {
                g->block[i] = 'y';
                g->block[i + 1] = '\n';
            }
            g->at = 0;
            g->len = sizeof g->block;
        } else {
            guest_exit(g, 0, 0);
        }
    }
}

static void on_guest_stream(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    (void)events;
    guest_work(arg);
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    struct guest_process *g = arg;
    assert_null(err);
    struct uvm__stream *s = uvm__hvsock_connect_result(op);
    if (g->ports[0] != 0) {
        g->ports[0] = 0;
        g->in = s;
    } else {
        g->ports[1] = 0;
        g->out = s;
    }
    if (g->ports[1] != 0) {
        assert_int_equal(uvm__hvsock_connect(f.guest, g->ports[1], NULL, on_dialled, g, NULL), 0);
        return;
    }
    uvm__server_reply_pid(g->execute, 7);
    for (int i = 0; i < 2; i++) {
        struct uvm__stream *stream = i == 0 ? g->in : g->out;
        if (stream != NULL) {
            uvm__stream_set_handler(stream, on_guest_stream, g);
        }
    }
}

static void handle_execute(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest_process *g = arg;
    const struct uvm__msg_execute *m = &uvm__server_request_body(r)->execute;
    struct uvm__msg_process p;
    struct uvm__fail fail;
    (void)s;
    assert_int_equal(uvm__msg_process_read(f.kit.engine, m->parameters, &p, &fail), 0);
    (void)snprintf(g->program, sizeof g->program, "%s", p.args[0]);
    uvm__msg_process_deinit(f.kit.engine, &p);
    g->execute = r;
    g->ports[0] = m->port_in;
    g->ports[1] = m->port_out;
    uint32_t first = m->port_in != 0 ? m->port_in : m->port_out;
    assert_int_equal(uvm__hvsock_connect(f.guest, first, NULL, on_dialled, g, NULL), 0);
}

static void handle_wait(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest_process *g = arg;
    (void)s;
    if (g->over) {
        uvm__server_reply_exit(r, &g->exit);
    } else {
        g->wait = r;
    }
}

/* ---- both ends ---------------------------------------------------------------------------- */

static void on_accept(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    (void)arg;
    f.ends[0] = take_stream;
    uvm__listener_close(l);
}

static void on_bridge_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    (void)arg;
    assert_null(err);
    f.ends[1] = uvm__hvsock_connect_result(op);
}

static void on_negotiated(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)arg;
    assert_null(err);
    f.negotiated = true;
}

static void open_both(void) {
    memset(&f, 0, sizeof f);
    loop_open(&f.kit);
    assert_int_equal(uvm__loopback_new(f.kit.engine, 0, &f.host, &f.guest), 0);
    struct uvm__listener *l;
    struct uvm__listen_params listen = {
        .port = UVM__PORT_BRIDGE, .once = true, .on_accept = on_accept};
    assert_int_equal(uvm__hvsock_listen(f.host, &listen, &l), 0);
    assert_int_equal(
        uvm__hvsock_connect(f.guest, UVM__PORT_BRIDGE, NULL, on_bridge_dialled, NULL, NULL), 0);
    loop_turns(&f.kit);
    struct uvm__server_params sp = {.v4 = true, .process_control = 1, .arg = &f.guest_process};
    sp.handlers[UVM__MSG_EXECUTE_PROCESS] = handle_execute;
    sp.handlers[UVM__MSG_WAIT_FOR_PROCESS] = handle_wait;
    assert_int_equal(uvm__server_new(f.kit.engine, &sp, &f.server), 0);
    uvm__server_attach(f.server, f.ends[1]);
    struct uvm__bridge_params bp = {.name = "vm1", .hvsock = f.host, .take_stream = f.ends[0]};
    assert_int_equal(uvm__bridge_open(f.kit.engine, &bp, &f.bridge), 0);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_negotiated, NULL, NULL), 0);
    loop_until(&f.kit, &f.negotiated);
}

static void close_both(void) {
    uvm__process_close(f.process);
    if (f.guest_process.out != NULL) {
        uvm__stream_close(f.guest_process.out);
    }
    uvm__bridge_close(f.bridge);
    loop_turns(&f.kit);
    uvm__server_close(f.server);
    loop_turns(&f.kit);
    uvm__loopback_free(f.host, f.guest);
    loop_close(&f.kit);
}

static void on_exit_told(struct uvm__process *p, const struct uvm__process_exit *exit,
                         const uvm_error *err, void *arg) {
    (void)p;
    (void)arg;
    f.exited = true;
    f.exit_code = err == NULL ? UVM_OK : uvm_error_code(err);
    f.exit = exit == NULL ? (struct uvm__process_exit){0} : *exit;
}

static void on_stream_end(struct uvm__process *p, enum uvm__stdio which, const uvm_error *err,
                          void *arg) {
    (void)p;
    (void)arg;
    f.end_code[which] = err == NULL ? UVM_OK : uvm_error_code(err);
}

static void on_exec(uvm_op *op, const uvm_error *err, void *arg) {
    (void)arg;
    if (err != NULL) {
        fail_msg("exec: %s", uvm_error_message(err));
    }
    f.process = uvm__process_exec_result(op);
}

/* -1: the stream is not wanted. */
static void run(const char *program, int in, int out) {
    const char *const args[] = {program, NULL};
    struct uvm__process_params p = {
        .args = args,
        .stdio = {in < 0 ? UVM__STDIO_NONE : UVM__STDIO_FD,
                  out < 0 ? UVM__STDIO_NONE : UVM__STDIO_FD, UVM__STDIO_NONE},
        .fd = {in, out, -1},
        .events = {.on_exit = on_exit_told, .on_stream_end = on_stream_end},
    };
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_exec, NULL, NULL), 0);
}

/* ---- children that feed and check --------------------------------------------------------- */

static uint32_t next_word(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void make_block(uint64_t *state, uint32_t *words) {
    for (size_t i = 0; i < BLOCK_BYTES / 4; i++) {
        words[i] = next_word(state);
    }
}

static int feed(int fd) {
    static uint32_t words[BLOCK_BYTES / 4];
    uint64_t state = 1;
    for (size_t sent = 0; sent < BULK_BYTES; sent += BLOCK_BYTES) {
        make_block(&state, words);
        for (size_t at = 0; at < BLOCK_BYTES;) {
            ssize_t n = write(fd, (char *)words + at, BLOCK_BYTES - at);
            if (n <= 0) {
                return 1;
            }
            at += (size_t)n;
        }
    }
    return 0;
}

static int check(int fd) {
    static uint32_t words[BLOCK_BYTES / 4];
    static char got[4096];
    uint64_t state = 1;
    size_t at = BLOCK_BYTES;
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, got, sizeof got); /* small pieces: slower than the writer */
        if (n <= 0) {
            return n == 0 && total == BULK_BYTES ? 0 : 1;
        }
        for (ssize_t i = 0; i < n;) {
            if (at == BLOCK_BYTES) {
                make_block(&state, words);
                at = 0;
            }
            size_t m = (size_t)(n - i) < BLOCK_BYTES - at ? (size_t)(n - i) : BLOCK_BYTES - at;
            if (memcmp(got + i, (char *)words + at, m) != 0) {
                return 2;
            }
            at += m;
            i += (ssize_t)m;
        }
        total += (size_t)n;
    }
}

/* Forks a child that does `work` on one end of a pipe; gives the other. */
static pid_t spawn(int (*work)(int fd), bool child_reads, int *ret_fd) {
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[child_reads ? 1 : 0]);
        _exit(work(fds[child_reads ? 0 : 1]));
    }
    close(fds[child_reads ? 0 : 1]);
    *ret_fd = fds[child_reads ? 1 : 0];
    return pid;
}

static void assert_child(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- tests -------------------------------------------------------------------------------- */

static void bulk_in_and_out(void **state) {
    (void)state;
    int in;
    int out;
    pid_t writer = spawn(feed, false, &in);
    pid_t reader = spawn(check, true, &out);
    int flags_in = fcntl(in, F_GETFL);
    int flags_out = fcntl(out, F_GETFL);
    open_both();
    run("cat", in, out);
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.exit_code, UVM_OK);
    assert_int_equal(f.exit.code, 0);
    assert_int_equal(f.end_code[UVM__STDOUT], UVM_OK);
    assert_int_equal(fcntl(in, F_GETFL), flags_in);
    assert_int_equal(fcntl(out, F_GETFL), flags_out);
    close_both();
    close(in);
    close(out);
    assert_child(writer);
    assert_child(reader);
}

static int first_line(int fd) {
    char line[2];
    return read(fd, line, 2) == 2 && memcmp(line, "y\n", 2) == 0 ? 0 : 1;
}

/* As `uvmctl boot -- yes | head -1`: with the signal's default action, which would end us. */
static void a_reader_that_goes_away(void **state) {
    (void)state;
    int out;
    (void)signal(SIGPIPE, SIG_DFL);
    pid_t reader = spawn(first_line, true, &out);
    open_both();
    run("yes", -1, out);
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.end_code[UVM__STDOUT], UVM_E_CLOSED);
    assert_int_equal(f.exit.code, UVM__EXIT_SIGNALED);
    assert_int_equal(f.exit.signal, SIGPIPE);
    close_both();
    close(out);
    assert_child(reader);
}

static void files_and_devices(void **state) {
    (void)state;
    FILE *from = tmpfile();
    FILE *to = tmpfile();
    char got[64];
    assert_true(from != NULL && to != NULL);
    assert_int_equal(write(fileno(from), "skipped, copied", 15), 15);
    assert_int_equal(lseek(fileno(from), 9, SEEK_SET), 9);
    open_both();
    run("cat", fileno(from), fileno(to));
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.exit.code, 0);
    assert_int_equal(pread(fileno(to), got, sizeof got, 0), 6);
    assert_memory_equal(got, "copied", 6);
    close_both();
    (void)fclose(from);
    (void)fclose(to);

    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    open_both();
    run("cat", null, null);
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.exit.code, 0);
    close_both();
    close(null);
}

static void a_full_device_is_an_error_of_the_stream(void **state) {
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    open_both();
    run("yes", -1, full);
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.end_code[UVM__STDOUT], UVM_E_IO);
    assert_int_equal(f.exit.signal, SIGPIPE);
    close_both();
    close(full);
}

static void input_that_nobody_ends(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    FILE *to = tmpfile();
    open_both();
    run("cat", fds[0], fileno(to)); /* stays open, as a terminal does */
    assert_int_equal(write(fds[1], "typed", 5), 5);
    while (f.process == NULL || lseek(fileno(to), 0, SEEK_END) < 5) {
        (void)uv_run(&f.kit.loop, UV_RUN_ONCE);
    }
    assert_int_equal(uvm__process_write(f.process, "x", 1), -UVM_E_STATE); /* a descriptor's */
    uvm__process_close_stdin(f.process);
    loop_until(&f.kit, &f.exited);
    assert_int_equal(f.exit.code, 0);
    close_both();
    close(fds[0]);
    close(fds[1]);
    (void)fclose(to);
}

static void a_descriptor_that_is_none(void **state) {
    (void)state;
    open_both();
    const char *const args[] = {"cat", NULL};
    struct uvm__process_params p = {
        .args = args,
        .stdio = {UVM__STDIO_FD, UVM__STDIO_FD, UVM__STDIO_NONE},
        .fd = {0, 999999, -1},
    };
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_exec, NULL, NULL), -UVM_E_INVAL);
    close_both();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bulk_in_and_out),
        cmocka_unit_test(a_reader_that_goes_away),
        cmocka_unit_test(files_and_devices),
        cmocka_unit_test(a_full_device_is_an_error_of_the_stream),
        cmocka_unit_test(input_that_nobody_ends),
        cmocka_unit_test(a_descriptor_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
