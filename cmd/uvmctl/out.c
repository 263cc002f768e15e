/* SPDX-License-Identifier: MIT
 * out.c — messages, errors and JSON documents.
 *
 * Two facts about the terminal are kept here for the whole program (is JSON wanted, is it raw), since
 * every message depends on them. A message is put together first and leaves in one write, so that two
 * processes on one terminal do not mix within a line.
 *
 * Messages are written from the loop, which must not stand still because nobody reads them: a message that
 * does not leave within STALLED_MS is dropped and counted, and so is every further one at once until there is
 * room again; then the count is said. Results (JSON) wait for their reader: nothing else is left to do then.
 */
#include "cmd/uvmctl/out.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool want_json, terminal_raw;

void out_set_json(bool on) {
    want_json = on;
}

void out_set_raw(bool on) {
    terminal_raw = on;
}

bool out_stderr_is_terminal(void) {
    return isatty(STDERR_FILENO) != 0;
}

#define STALLED_MS 100 /* a reader of stderr may take that long */

static uint64_t dropped; /* messages that nobody read */

/* Room for a write that does not wait. */
static bool has_room(int fd, int ms) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = poll(&p, 1, ms);
    return n > 0 || (n < 0 && errno == EINTR);
}

/* One write never waits: a pipe that has room takes PIPE_BUF bytes. */
static bool try_write(int fd, const char *data, size_t bytes, int ms) {
    while (bytes > 0) {
        if (!has_room(fd, ms)) {
            return false;
        }
        ssize_t n = write(fd, data, bytes < PIPE_BUF ? bytes : PIPE_BUF);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return true; /* there is no reader any more, and never will be */
        }
        data += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void say(const char *data, size_t bytes) {
    if (dropped > 0) {
        char text[80];
        int n = snprintf(text, sizeof text, "uvmctl: … %llu messages that nobody read …\n",
                         (unsigned long long)dropped);
        if (!has_room(STDERR_FILENO, 0) || !try_write(STDERR_FILENO, text, (size_t)n, 0)) {
            dropped++;
            return;
        }
        dropped = 0;
    }
    if (!try_write(STDERR_FILENO, data, bytes, STALLED_MS)) {
        dropped++;
    }
}

static bool json_lost; /* a document did not get out */

static bool write_all(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            (void)poll(&p, 1, 1000);
        } else if (n < 0 && errno != EINTR) {
            return false;
        } else if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        }
    }
    return true;
}

size_t out_utf8_len(const unsigned char *p, size_t bytes) {
    static const struct {
        unsigned char first, last; /* of the first byte */
        size_t bytes;
    } forms[] = {{0x00, 0x7f, 1}, {0xc2, 0xdf, 2}, {0xe0, 0xef, 3}, {0xf0, 0xf4, 4}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        n = p[0] >= forms[i].first && p[0] <= forms[i].last ? forms[i].bytes : n;
    }
    if (n == 0 || n > bytes) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90);
    return bad ? 0 : n;
}

void out_text(const char *text, size_t bytes) {
    char buf[4096];
    size_t len = 0;
    for (size_t i = 0; i < bytes;) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t n = out_utf8_len(p, bytes - i);
        bool control = n == 1 && (*p < 0x20 || *p == 0x7f) && *p != '\n' && *p != '\t';
        bool c1 = n == 2 && p[0] == 0xc2 && p[1] < 0xa0; /* a terminal may obey those as well */
        if (len + 4 > sizeof buf) {
            say(buf, len);
            len = 0;
        }
        if (n == 1 && *p == '\r') {
            i++; /* the guest's console ends its lines with it */
            continue;
        }
        if (n == 0 || control || c1) {
            buf[len++] = '?';
            i += n == 0 ? 1 : n;
            continue;
        }
        if (terminal_raw && *p == '\n') {
            buf[len++] = '\r';
        }
        memcpy(buf + len, p, n);
        len += n;
        i += n;
    }
    say(buf, len);
}

static void message(const char *prefix, const char *fmt, va_list ap) {
    char text[1400];
    char line[1500];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    int n = snprintf(line, sizeof line, "%s%s\n", prefix, text);
    if (n > 0) {
        out_text(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    }
}

void out_message(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    message("uvmctl: ", fmt, ap);
    va_end(ap);
}

void out_usage(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!want_json) {
        message("uvmctl: ", fmt, ap);
    } else {
        char text[1400];
        (void)vsnprintf(text, sizeof text, fmt, ap);
        struct json_out j = {0};
        json_open(&j, NULL, '{');
        json_open(&j, "error", '{');
        json_text(&j, "code", "USAGE");
        json_text(&j, "message", text);
        json_close(&j, '}');
        json_close(&j, '}');
        (void)json_finish(&j, STDERR_FILENO);
    }
    va_end(ap);
}

/* ---- errors ------------------------------------------------------------------------------- */

static void indented(const char *text) {
    while (*text != 0) {
        size_t n = strcspn(text, "\n");
        out_text("  ", 2);
        out_text(text, n);
        out_text("\n", 1);
        text += text[n] == '\n' ? n + 1 : n;
    }
}

static void error_as_text(const uvm_error *err) {
    out_message("%s", uvm_error_message(err));
    if (uvm_error_step(err)[0] != 0) {
        out_message("  at: %s", uvm_error_step(err));
    }
    const char *said = uvm_error_message(err);
    for (const uvm_error *c = uvm_error_cause(err); c != NULL; c = uvm_error_cause(c)) {
        if (strcmp(uvm_error_message(c), said) != 0) {
            out_message("  because: %s", uvm_error_message(c));
        }
        said = uvm_error_message(c);
    }
    indented(uvm_error_detail(err));
}

static void error_as_json(struct json_out *j, const char *key, const uvm_error *err) {
    json_open(j, key, '{');
    json_text(j, "code", uvm_error_code_name((int)uvm_error_code(err)));
    json_text(j, "message", uvm_error_message(err));
    json_text(j, "step", uvm_error_step(err));
    json_text(j, "detail", uvm_error_detail(err));
    if (uvm_error_sys(err) != 0) {
        json_int(j, "sys", uvm_error_sys(err));
    }
    if (uvm_error_cause(err) == NULL) {
        json_text(j, "cause", NULL);
    } else {
        error_as_json(j, "cause", uvm_error_cause(err));
    }
    json_close(j, '}');
}

void out_error(const uvm_error *err) {
    if (!want_json) {
        error_as_text(err);
        return;
    }
    struct json_out j = {0};
    json_open(&j, NULL, '{');
    error_as_json(&j, "error", err);
    json_close(&j, '}');
    (void)json_finish(&j, STDERR_FILENO);
}

void out_log(const struct uvm_log_record *r) {
    static const char *const names[UVM_LOG_MAX] = {"error", "warning", "info", "debug", "trace"};
    if (want_json) {
        return; /* nothing else beside the document */
    }
    if (r->kind == UVM_LOG_TEXT) {
        out_message("%s: %s%s%s", names[r->level], r->vm, r->vm[0] == 0 ? "" : ": ", r->text);
    } else if (r->kind == UVM_LOG_OP_END || r->kind == UVM_LOG_STEP_END) {
        out_message("%s: %s%s%s: %s after %llu ms", names[r->level], r->op,
                    r->step[0] == 0 ? "" : " › ", r->step,
                    r->code == UVM_OK ? "done" : uvm_error_code_text(r->code),
                    (unsigned long long)r->elapsed_ms);
    }
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void put(struct json_out *j, const char *data, size_t bytes) {
    if (j->failed) {
        return;
    }
    if (bytes > j->cap - j->len) {
        size_t cap = (j->cap == 0 ? 1024 : j->cap * 2) + bytes;
        char *more = realloc(j->data, cap);
        if (more == NULL) {
            j->failed = true;
            return;
        }
        j->data = more;
        j->cap = cap;
    }
    memcpy(j->data + j->len, data, bytes);
    j->len += bytes;
}

static void put_quoted(struct json_out *j, const char *text, size_t bytes) {
    put(j, "\"", 1);
    for (size_t i = 0; i < bytes;) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t n = out_utf8_len(p, bytes - i);
        char escaped[8];
        if (n == 0) {
            put(j, "\xef\xbf\xbd", 3);
            i++;
            continue;
        }
        if (*p == '"' || *p == '\\') {
            put(j, "\\", 1);
            put(j, (const char *)p, 1);
        } else if (*p == '\n') {
            put(j, "\\n", 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", *p);
            put(j, escaped, 6);
        } else {
            put(j, (const char *)p, n);
        }
        i += n;
    }
    put(j, "\"", 1);
}

static void begin(struct json_out *j, const char *key) {
    if (j->comma) {
        put(j, ",", 1);
    }
    j->comma = true;
    if (key != NULL) {
        put_quoted(j, key, strlen(key));
        put(j, ":", 1);
    }
}

void json_open(struct json_out *j, const char *key, char bracket) {
    begin(j, key);
    put(j, &bracket, 1);
    j->comma = false;
}

void json_close(struct json_out *j, char bracket) {
    put(j, &bracket, 1);
    j->comma = true;
}

void json_string(struct json_out *j, const char *key, const char *text, size_t bytes) {
    begin(j, key);
    put_quoted(j, text, bytes);
}

void json_text(struct json_out *j, const char *key, const char *text) {
    if (text != NULL) {
        json_string(j, key, text, strlen(text));
    } else {
        begin(j, key);
        put(j, "null", 4);
    }
}

void json_number(struct json_out *j, const char *key, double value) {
    char text[40];
    int n = snprintf(text, sizeof text, "%.3f", isfinite(value) ? value : 0.0);
    while (n > 1 && text[n - 1] == '0') {
        n--;
    }
    n -= text[n - 1] == '.' ? 1 : 0;
    begin(j, key);
    put(j, text, (size_t)n);
}

void json_int(struct json_out *j, const char *key, int64_t value) {
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)value);
    begin(j, key);
    put(j, text, (size_t)n);
}

void json_bool(struct json_out *j, const char *key, bool value) {
    begin(j, key);
    put(j, value ? "true" : "false", value ? 4 : 5);
}

bool out_has_reader(void) {
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&p, 1, 0) < 0 || (p.revents & (POLLERR | POLLHUP)) == 0;
}

bool out_lost(void) {
    bool lost = fflush(stdout) != 0 || ferror(stdout) != 0 || json_lost;
    if (lost && out_has_reader()) {
        out_message("standard output could not be written to: some of it is lost");
    }
    return lost;
}

bool json_finish(struct json_out *j, int fd) {
    put(j, "\n", 1);
    bool ok = !j->failed && write_all(fd, j->data, j->len);
    json_lost = json_lost || (!ok && fd == STDOUT_FILENO);
    free(j->data);
    *j = (struct json_out){0};
    return ok;
}
