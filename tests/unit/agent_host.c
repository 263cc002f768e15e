/* SPDX-License-Identifier: MIT
 *
 * The blocking host of agent_host.h. It knows frames and JSON from the protocol's description and takes
 * nothing from the bridge's own codecs, so that a mistake there cannot hide itself; only JSON is read with
 * the engine's reader, which keeps numbers as they were written.
 */
#include "tests/unit/agent_host.h"

#include "async/json.h"
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BODY_MAX 65536u

static const char *program;

void agent_program(int argc, char **argv) {
    if (argc != 2 && (argc != 3 || strcmp(argv[2], "sanitized") != 0)) {
        (void)fprintf(stderr, "usage: %s AGENT [sanitized]\n", argv[0]);
        exit(2);
    }
    program = argv[1];
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static bool wait_for(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do {
        n = poll(&p, 1, AGENT_MS);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

void wait_readable(int fd) {
    assert_true(wait_for(fd, POLLIN));
}

void write_all(int fd, const void *data, size_t bytes) {
    const char *at = data;

    while (bytes > 0) {
        ssize_t n;

        assert_true(wait_for(fd, POLLOUT));
        n = write(fd, at, bytes);
        assert_true(n > 0);
        at += n;
        bytes -= (size_t)n;
    }
}

/* Exactly that many; false at the end of file before the first. */
static bool read_exactly(int fd, void *data, size_t bytes) {
    char *at = data;
    size_t done = 0;

    while (done < bytes) {
        ssize_t n;

        wait_readable(fd);
        n = read(fd, at + done, bytes - done);
        if (n <= 0 && done == 0) {
            return false;
        }
        assert_true(n > 0);
        done += (size_t)n;
    }
    return true;
}

size_t read_all(int take_fd, char *buf, size_t bytes) {
    size_t done = 0;
    ssize_t n;

    do {
        wait_readable(take_fd);
        n = read(take_fd, buf + done, bytes - 1 - done);
        done += n > 0 ? (size_t)n : 0;
    } while (n > 0 && done < bytes - 1);
    close(take_fd);
    buf[done] = '\0';
    return done;
}

static void address_of(const struct agent *a, uint32_t port, struct sockaddr_un *ret) {
    memset(ret, 0, sizeof *ret);
    ret->sun_family = AF_UNIX;
    (void)snprintf(ret->sun_path, sizeof ret->sun_path, "%s/%u", a->dir, port);
}

int agent_listen(const struct agent *a, uint32_t port) {
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address_of(a, port, &address);
    assert_true(fd >= 0);
    (void)unlink(address.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

int agent_accept(int take_listener) {
    struct sockaddr_un address;
    socklen_t bytes = sizeof address;
    int fd;

    assert_int_equal(getsockname(take_listener, (struct sockaddr *)&address, &bytes), 0);
    wait_readable(take_listener);
    fd = accept4(take_listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    close(take_listener);
    assert_int_equal(unlink(address.sun_path), 0);
    return fd;
}

/* ---- the agent's life ----------------------------------------------------------------------- */

static void spawn(struct agent *a, const char *const *argv, int in, int out, int err) {
    posix_spawn_file_actions_t actions;
    char *const environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin",
                                 (char *)(uintptr_t) "ASAN_OPTIONS=detect_leaks=1:abort_on_error=1",
                                 (char *)(uintptr_t) "UBSAN_OPTIONS=print_stacktrace=1",
                                 (char *)(uintptr_t)a->environment, NULL};

    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, in, 0), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, out, 1), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, err, 2), 0);
    assert_int_equal(
        posix_spawn(&a->pid, program, &actions, NULL, (char *const *)(uintptr_t)argv, environment),
        0);
    (void)posix_spawn_file_actions_destroy(&actions);
    a->pidfd = (int)syscall(SYS_pidfd_open, a->pid, 0);
    assert_true(a->pidfd >= 0);
}

void agent_start(struct agent *a, bool inouterr, const char *const *flags) {
    const char *argv[24] = {"gcs", "-log-format", "json"};
    char dial[80];
    int in[2], out[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log[2];
    size_t n = 3;

    a->to = a->from = -1;
    a->next_id = 0;
    (void)snprintf(a->dir, sizeof a->dir, "/tmp/agent_test_XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    (void)snprintf(dial, sizeof dial, "-dial=unix:%s", a->dir);
    argv[n++] = inouterr ? "-use-inouterr" : dial;
    for (; *flags != NULL; flags++) {
        argv[n++] = strcmp(*flags, "-dial") == 0 ? dial : *flags;
        assert_true(n < 23);
    }
    if (a->log_pipe) {
        assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    } else {
        log[0] = log[1] = memfd_create("agent log", MFD_CLOEXEC);
    }
    assert_true(null >= 0 && log[0] >= 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    spawn(a, argv, inouterr ? in[0] : null, inouterr ? out[1] : null, log[1]);
    close(in[0]);
    close(out[1]);
    close(null);
    a->log = log[0];
    if (a->log_pipe) {
        close(log[1]);
    }
    if (inouterr) {
        a->to = in[1];
        a->from = out[0];
    } else {
        close(in[1]);
        close(out[0]);
    }
}

void agent_accept_bridge(struct agent *a) {
    assert_int_equal(a->to, -1);
    a->to = a->from = agent_accept(agent_listen(a, AGENT_BRIDGE));
}

void agent_drop_bridge(struct agent *a) {
    if (a->to >= 0) {
        close(a->to);
    }
    if (a->from >= 0 && a->from != a->to) {
        close(a->from);
    }
    a->to = a->from = -1;
}

static void show_log(const struct agent *a) {
    char text[4096];
    ssize_t n = a->log_pipe ? 0 : pread(a->log, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    print_message("the agent said:\n%s\n", text);
}

int agent_wait_end(struct agent *a) {
    int status;

    if (!wait_for(a->pidfd, POLLIN)) {
        show_log(a);
        fail_msg("the agent does not end");
    }
    assert_int_equal(waitpid(a->pid, &status, 0), a->pid);
    a->pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        show_log(a);
    }
    return status;
}

int agent_end(struct agent *a) {
    agent_drop_bridge(a);
    return agent_wait_end(a);
}

void agent_shutdown(struct agent *a) {
    struct answer r;

    agent_call(a, &r, REQ_SHUTDOWN, "{\"ContainerId\":\"" NULL_ID "\"}");
    assert_int_equal(answer_result(&r), 0);
    answer_free(&r);
    assert_int_equal(agent_wait_end(a), 0);
    agent_drop_bridge(a);
}

void agent_clean(struct agent *a) {
    agent_drop_bridge(a);
    if (a->pid > 0) {
        show_log(a);
        (void)syscall(SYS_pidfd_send_signal, a->pidfd, SIGKILL, NULL, 0);
        (void)waitpid(a->pid, NULL, 0);
        a->pid = 0;
    }
    if (a->dir[0] != '\0') {
        close(a->pidfd);
        close(a->log);
        assert_int_equal(rmdir(a->dir), 0);
        a->dir[0] = '\0';
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t get(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

void agent_send_bytes(struct agent *a, const void *data, size_t bytes) {
    write_all(a->to, data, bytes);
}

void agent_send(struct agent *a, uint32_t type, uint64_t id, const char *body, size_t bytes) {
    uint8_t header[16];

    put(header, type, 4);
    put(header + 4, 16 + bytes, 4);
    put(header + 8, id, 8);
    write_all(a->to, header, sizeof header);
    write_all(a->to, body, bytes);
}

void agent_receive(struct agent *a, struct answer *ret) {
    uint8_t header[16];
    struct uvm__fail f;
    uint64_t size;

    if (!wait_for(a->from, POLLIN)) {
        show_log(a);
    }
    assert_true(read_exactly(a->from, header, sizeof header));
    ret->type = (uint32_t)get(header, 4);
    size = get(header + 4, 4);
    ret->id = get(header + 8, 8);
    assert_in_range(size, 16, BODY_MAX);
    ret->bytes = size - 16;
    ret->body = malloc(ret->bytes + 1);
    assert_non_null(ret->body);
    assert_true(ret->bytes == 0 || read_exactly(a->from, ret->body, ret->bytes));
    ret->body[ret->bytes] = '\0';
    ret->tree = NULL;
    if (uvm__json_read(UVM__JSON_STRICT, ret->body, ret->bytes, &ret->tree, &f) < 0) {
        fail_msg("answer is no JSON: %s: %s", f.msg, ret->body);
    }
}

bool agent_bridge_ended(struct agent *a) {
    char byte;

    return wait_for(a->from, POLLIN) && read(a->from, &byte, 1) <= 0;
}

void answer_free(struct answer *r) {
    cJSON_Delete(r->tree);
    free(r->body);
    r->tree = NULL;
    r->body = NULL;
}

static uint64_t ask(struct agent *a, uint32_t type, const char *fmt, va_list ap) {
    char body[BODY_MAX];
    int n = vsnprintf(body, sizeof body, fmt, ap);

    assert_in_range(n, 0, sizeof body - 1);
    agent_send(a, type, a->next_id, body, (size_t)n);
    return a->next_id++;
}

uint64_t agent_ask(struct agent *a, uint32_t type, const char *fmt, ...) {
    va_list ap;
    uint64_t id;

    va_start(ap, fmt);
    id = ask(a, type, fmt, ap);
    va_end(ap);
    return id;
}

void agent_call(struct agent *a, struct answer *ret, uint32_t type, const char *fmt, ...) {
    va_list ap;
    uint64_t id;

    va_start(ap, fmt);
    id = ask(a, type, fmt, ap);
    va_end(ap);
    agent_receive(a, ret);
    assert_int_equal(ret->id, id);
    assert_int_equal(ret->type, (type & 0x0fffffffu) | 0x20000000u);
}

void agent_negotiate(struct agent *a, bool control) {
    struct answer r;

    agent_call(a, &r, REQ_NEGOTIATE,
               "{\"ContainerId\":\"\",\"MinimumVersion\":4,\"MaximumVersion\":4%s}",
               control ? ",\"UvmExtensions\":{\"ProcessControl\":1}" : "");
    assert_int_equal(answer_result(&r), 0);
    assert_int_equal(strstr(r.body, "\"UvmExtensions\":{\"ProcessControl\":1}") != NULL, control);
    answer_free(&r);
}

/* ---- what answers say ------------------------------------------------------------------------ */

int64_t answer_number(const struct answer *r, const char *key) {
    int64_t value;

    if (uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, r->tree, key), INT64_MIN, INT64_MAX, &value) <
        0) {
        fail_msg("no number \"%s\" in %s", key, r->body);
    }
    return value;
}

const char *answer_string(const struct answer *r, const char *key) {
    const char *text = uvm__json_string(uvm__json_get(UVM__JSON_STRICT, r->tree, key));

    if (text == NULL) {
        fail_msg("no string \"%s\" in %s", key, r->body);
    }
    return text;
}

void agent_try_execute(struct agent *a, struct answer *ret, const char *parameters, uint32_t in,
                       uint32_t out, uint32_t err) {
    const struct {
        const char *name;
        uint32_t port;
    } ports[] = {{"StdIn", in}, {"StdOut", out}, {"StdErr", err}};
    cJSON *request = cJSON_CreateObject();
    cJSON *settings = cJSON_AddObjectToObject(request, "Settings");
    cJSON *relay;
    char *text;

    (void)cJSON_AddStringToObject(request, "ContainerId", NULL_ID);
    (void)cJSON_AddStringToObject(settings, "ProcessParameters", parameters);
    relay = cJSON_AddObjectToObject(settings, "VsockStdioRelaySettings");
    for (size_t i = 0; i < 3; i++) {
        if (ports[i].port != 0) {
            (void)cJSON_AddNumberToObject(relay, ports[i].name, ports[i].port);
        }
    }
    text = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    assert_non_null(text);
    agent_call(a, ret, REQ_EXECUTE, "%s", text);
    free(text);
}

uint32_t agent_execute(struct agent *a, const char *parameters, uint32_t in, uint32_t out,
                       uint32_t err) {
    struct answer r;
    uint32_t pid;

    agent_try_execute(a, &r, parameters, in, out, err);
    if (answer_result(&r) != 0) {
        fail_msg("not started: %s", r.body);
    }
    pid = (uint32_t)answer_number(&r, "ProcessId");
    answer_free(&r);
    assert_true(pid > 1);
    return pid;
}

uint64_t agent_ask_wait(struct agent *a, uint32_t pid, uint32_t timeout_ms) {
    return agent_ask(a, REQ_WAIT,
                     "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u,\"TimeoutInMs\":%u}", pid,
                     timeout_ms);
}

int64_t agent_wait(struct agent *a, uint32_t pid, int64_t *ret_signal) {
    const cJSON *exit;
    struct answer r;
    int64_t code;

    agent_call(a, &r, REQ_WAIT,
               "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u,\"TimeoutInMs\":4294967295}",
               pid);
    if (answer_result(&r) != 0) {
        fail_msg("wait: %s", r.body);
    }
    code = answer_number(&r, "ExitCode");
    exit = uvm__json_get(UVM__JSON_STRICT, r.tree, "UvmExit");
    if (ret_signal != NULL) {
        *ret_signal = 0;
        if (exit != NULL) {
            assert_int_equal(
                uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, exit, "Signal"), 1, 64, ret_signal),
                0);
        }
    }
    answer_free(&r);
    return code;
}
