/* SPDX-License-Identifier: MIT
 * follow.c — `uvmctl console` and `logs`: what a UVM says, as it comes.
 *
 * console hands our standard output to the owner: bytes of a serial line, as they are. logs and everything
 * with --json come through a pipe of ours, line by line, since a guest's text is not for a terminal as it
 * is. The pipe ends with the connection; the verb ends when both have.
 */
#include "async/buf.h"
#include "async/sock.h"
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 65536u

static const struct option_row console_rows[] = {
    {"no-follow", 0, NULL, "what is remembered, and no more"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};
static const struct option_row logs_rows[] = {
    {"follow", 'f', NULL, "stay, and show what comes"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

struct follow {
    struct reach r;
    bool follow, is_console, answered;
    struct uvm__sock *pipe; /* NULL: none, or at its end */
    struct uvm__buf line;
};

static struct follow *follow_of(struct reach *r) {
    return (struct follow *)(void *)r; /* its first member */
}

static bool on_option(struct reach *r, const struct option_row *row, const char *value) {
    (void)value;
    follow_of(r)->follow = row->letter == 'f';
    return true;
}

/* ---- lines -------------------------------------------------------------------------------- */

static void print_line(const struct follow *w, const char *text, size_t bytes) {
    if (w->r.json) {
        struct json_out j = {0};
        json_open(&j, NULL, '{');
        json_string(&j, "line", text, bytes);
        json_close(&j, '}');
        (void)json_finish(&j, STDOUT_FILENO);
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < bytes && (unsigned char)text[i + 1] < 0xa0;
        if (c1) {
            i++; /* a terminal may obey those as well */
        }
        (void)putchar(c1 || (c < 0x20 && c != '\t') || c == 0x7f ? '?' : c);
    }
    (void)putchar('\n');
    (void)fflush(stdout);
}

static void take(struct follow *w, const char *data, size_t bytes) {
    while (bytes > 0) {
        const char *stop = memchr(data, '\n', bytes);
        size_t n = stop == NULL ? bytes : (size_t)(stop - data);
        size_t room = w->line.max - w->line.len;
        (void)uvm__buf_append(&w->line, data, n < room ? n : room);
        if (stop != NULL) {
            size_t len = w->line.len;
            len -= len > 0 && w->line.data[len - 1] == '\r';
            print_line(w, (const char *)w->line.data, len);
            uvm__buf_reset(&w->line);
            n++;
        }
        data += n;
        bytes -= n;
    }
}

static void check_end(struct follow *w) {
    if (w->answered && w->pipe == NULL && !w->r.over) {
        if (w->line.len > 0) {
            print_line(w, (const char *)w->line.data, w->line.len);
        }
        reach_end(&w->r, ferror(stdout) != 0 ? EXIT_FAILED : EXIT_DONE);
    }
}

static void on_pipe(struct uvm__sock *s, void *arg) {
    struct follow *w = arg;
    char buf[65536];
    ssize_t n = uvm__sock_recv(s, buf, sizeof buf, NULL, NULL);
    if (n > 0) {
        take(w, buf, (size_t)n);
        if (ferror(stdout) != 0) {
            reach_end(&w->r, EXIT_FAILED);
        }
    } else if (n != -UVM_E_AGAIN) {
        uvm__sock_close(s, NULL, NULL);
        w->pipe = NULL;
        check_end(w);
    }
}

static void before_end(struct reach *r) {
    struct follow *w = follow_of(r);
    if (w->pipe != NULL) {
        uvm__sock_close(w->pipe, NULL, NULL);
        w->pipe = NULL;
    }
    uvm__buf_deinit(&w->line); /* before its engine goes */
}

static void on_answer(struct client *c, const cJSON *result, const uvm_error *err, int status,
                      void *arg) {
    struct follow *w = arg;
    uint64_t dropped = 0;
    (void)c;
    (void)status;
    if (err != NULL) {
        reach_fail(&w->r, err, 0);
        return;
    }
    (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, result, "dropped"), UINT64_MAX, &dropped);
    if (dropped > 0) {
        out_message("%s: %llu bytes were lost: they came faster than they were read", w->r.name,
                    (unsigned long long)dropped);
    }
    bool closed = false;
    (void)uvm__json_bool(uvm__json_get(UVM__JSON_STRICT, result, "closed"), &closed);
    if (closed && w->pipe == NULL && w->is_console && !w->r.json && out_has_reader()) {
        out_message("%s: standard output could not be written to: some of it is lost", w->r.name);
        reach_end(&w->r, EXIT_FAILED);
        return;
    }
    w->answered = true;
    check_end(w);
}

static bool open_pipe(struct follow *w, int *ret_fd) {
    static const struct uvm__sock_events events = {on_pipe, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    *ret_fd = ends[1];
    if (uvm__sock_open(w->r.app.engine, ends[0], &events, w, &w->pipe) < 0) {
        close(ends[1]);
        return false;
    }
    uvm__sock_reading(w->pipe, true);
    return true;
}

static int stream(const struct verb *verb, const char *method, bool console, char **argv) {
    struct follow w = {
        .r = {.verb = verb, .needs_name = true, .on_option = on_option, .before_end = before_end},
        .is_console = console,
        .follow = console};
    if (!reach_begin(&w.r, argv)) {
        return w.r.status;
    }
    uvm__buf_init(&w.line, w.r.app.engine, LINE_BYTES_MAX);
    if (reach_connect(&w.r, &(struct client_events){.arg = &w})) {
        int fd = STDOUT_FILENO;
        bool piped = !console || w.r.json;
        cJSON *params = cJSON_CreateObject();
        if (params == NULL || cJSON_AddBoolToObject(params, "follow", w.follow) == NULL ||
            (piped && !open_pipe(&w, &fd))) {
            cJSON_Delete(params);
            out_message("%s: out of memory or descriptors", verb->name);
            reach_end(&w.r, EXIT_FAILED);
        } else {
            client_call(w.r.client, method, params, &fd, 1, on_answer, &w);
            if (piped) {
                close(fd);
            }
        }
    }
    return reach_run(&w.r);
}

static int console(char **argv) {
    return stream(&verb_console, "console", true, argv);
}

static int logs(char **argv) {
    return stream(&verb_logs, "log", false, argv);
}

/* ---- rows --------------------------------------------------------------------------------- */

#define STATUS "0, 1, or 3 when there is no such UVM."

const struct verb verb_console = {
    .name = "console",
    .summary = "a UVM's serial console",
    .words = "NAME [--no-follow]",
    .about =
        "Shows what the guest has written on its console, and what it writes, until the UVM's end\n"
        "or Ctrl-C.",
    .options = console_rows,
    .status = STATUS,
    .example = "uvmctl console web",
    .run = console,
};
const struct verb verb_logs = {
    .name = "logs",
    .summary = "the log of a UVM's agent",
    .words = "NAME [-f]",
    .about =
        "Shows the last lines of the agent's log; with -f also what comes, until the UVM's end.",
    .options = logs_rows,
    .status = STATUS,
    .example = "uvmctl logs web -f",
    .run = logs,
};
