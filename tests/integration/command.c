/* SPDX-License-Identifier: MIT
 * command.c — programs under test, by fork, exec and poll.
 *
 * Output is read while the program runs, so that it never blocks on us.
 */
#include "tests/integration/command.h"
#include "tests/harness/harness_census.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VMM_NAME "qemu-system-x86_64"

static long now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void pause_ms(int ms) {
    struct pollfd nothing = {.fd = -1};
    (void)poll(&nothing, 1, ms);
}

/* ---- starting ----------------------------------------------------------------------------- */

static _Noreturn void become(const struct command_options *o, const char *const *argv, int in,
                             int out, int err) {
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid();
    if (o->tty >= 0) {
        (void)ioctl(o->tty, TIOCSCTTY, 0);
    }
    (void)dup2(in, 0);
    (void)dup2(out, 1);
    (void)dup2(err, 2);
    if (o->folder != NULL && chdir(o->folder) != 0) {
        _exit(99);
    }
    if (o->path != NULL) {
        (void)setenv("PATH", o->path, 1);
    }
    (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(99);
}

void command_start(struct command *c, const struct command_options *o, const char *const *argv) {
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2];
    *c = (struct command){.pid = -1, .in = -1, .out = -1, .err = -1};
    c->out_text = calloc(1, COMMAND_OUTPUT_MAX + 1);
    c->err_text = calloc(1, COMMAND_OUTPUT_MAX + 1);
    assert_non_null(c->out_text);
    assert_non_null(c->err_text);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (o->in == -2) {
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    }
    if (o->out == -1) {
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    }
    int child_in = o->tty >= 0 ? o->tty : o->in == -2 ? in[0] : o->in == -1 ? null : o->in;
    int child_out = o->tty >= 0 ? o->tty : o->out == -1 ? out[1] : o->out;
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        become(o, argv, child_in, child_out, err[1]);
    }
    c->in = in[1];
    c->out = out[0];
    c->err = err[0];
    const int ours[] = {in[0], out[1], err[1], null};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (ours[i] >= 0) {
            close(ours[i]);
        }
    }
}

/* ---- reading ------------------------------------------------------------------------------ */

static void take(int *fd, char *text, size_t *len, size_t *total) {
    char rest[65536];
    bool room = *len < COMMAND_OUTPUT_MAX;
    ssize_t n =
        room ? read(*fd, text + *len, COMMAND_OUTPUT_MAX - *len) : read(*fd, rest, sizeof rest);
    if (n <= 0) {
        close(*fd);
        *fd = -1;
        return;
    }
    *len += room ? (size_t)n : 0;
    *total += (size_t)n;
}

/* One look, at most `ms` long. True while there is something to wait for. */
static bool pump(struct command *c, int ms) {
    struct pollfd p[2] = {{.fd = c->out, .events = POLLIN}, {.fd = c->err, .events = POLLIN}};
    size_t ignored = 0;
    if (poll(p, 2, ms) > 0) {
        if (p[0].revents != 0) {
            take(&c->out, c->out_text, &c->out_len, &c->out_total);
        }
        if (p[1].revents != 0) {
            take(&c->err, c->err_text, &c->err_len, &ignored);
        }
    }
    int status;
    if (!c->ended && c->err < 0 && waitpid(c->pid, &status, ms > 10 ? 0 : WNOHANG) == c->pid) {
        c->ended = true;
        c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return !c->ended;
}

bool command_await(struct command *c, const char *text, int timeout_ms) {
    long end = now_ms() + timeout_ms;
    while (strstr(c->err_text, text) == NULL) {
        if (!pump(c, 10) || now_ms() > end) {
            return strstr(c->err_text, text) != NULL;
        }
    }
    return true;
}

int command_end(struct command *c, int timeout_ms) {
    long end = now_ms() + timeout_ms;
    while (pump(c, 10)) {
        if (now_ms() > end) {
            (void)kill(c->pid, SIGKILL);
            fail_msg("not over after %d ms; stderr: %s", timeout_ms, c->err_text);
        }
    }
    while (c->out >= 0) {
        size_t before = c->out_total;
        (void)pump(c, 10);
        if (c->out_total == before && c->out >= 0 && now_ms() > end) {
            fail_msg("somebody still holds its output");
        }
    }
    return c->status;
}

void command_free(struct command *c) {
    const int fds[] = {c->in, c->out, c->err};
    for (size_t i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(c->out_text);
    free(c->err_text);
    *c = (struct command){.pid = -1, .in = -1, .out = -1, .err = -1};
}

int command_run(struct command *c, const struct command_options *o, const char *const *argv,
                int timeout_ms) {
    command_start(c, o, argv);
    return command_end(c, timeout_ms);
}

/* ---- descendants -------------------------------------------------------------------------- */

pid_t await_vmm(int timeout_ms) {
    long end = now_ms() + timeout_ms;
    pid_t pid;
    while (uvm_harness_descendants(VMM_NAME, &pid, 1) == 0) {
        if (now_ms() > end) {
            return 0;
        }
        pause_ms(2);
    }
    return pid;
}
