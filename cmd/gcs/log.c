/* SPDX-License-Identifier: MIT
 *
 * The log's way out: a linear queue over a descriptor that never blocks. A record is formatted on the
 * stack (log_line.c), and either fits into the queue as a whole or is counted as dropped; the queue is
 * written at once as far as the reader takes it, and later when the descriptor is writable.
 *
 * The descriptor: a socket is written with MSG_DONTWAIT; anything else is opened again through
 * /proc/self/fd, because O_NONBLOCK on an inherited description would also hit those who share it (a
 * terminal, a test's pipe). Where that fails the flag is set on the shared one after all: a stalled agent
 * is worse. A regular file cannot be polled and never says EAGAIN.
 */
#include "cmd/gcs/log.h"

#include "async/check.h"
#include "async/open_anew.h"
#include "cmd/gcs/log_line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LAST_MS 200

static void stop(struct gcs_log *l) {
    if (l->polling) {
        (void)uv_poll_stop(&l->poll);
        l->polling = false;
    }
}

static ssize_t put(struct gcs_log *l, const char *data, size_t bytes) {
    ssize_t n;

    do {
        n = l->socket ? send(l->fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
                      : write(l->fd, data, bytes);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Writes what goes; false when the reader is gone. */
static bool flush(struct gcs_log *l) {
    while (l->start < l->end) {
        ssize_t n = put(l, l->data + l->start, l->end - l->start);

        if (n < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
        l->start += (size_t)n;
    }
    l->start = 0;
    l->end = 0;
    return true;
}

static void gone(struct gcs_log *l) {
    stop(l);
    l->start = 0;
    l->end = 0;
    l->dropped++;
}

static void on_writable(uv_poll_t *poll, int status, int events);

static void pump(struct gcs_log *l) {
    if (l->fd < 0) {
        return;
    }
    if (!flush(l)) {
        gone(l);
        close(l->fd);
        l->fd = -1;
    } else if (l->start == l->end) {
        stop(l);
    } else if (l->pollable && !l->polling) {
        l->polling = uv_poll_start(&l->poll, UV_WRITABLE, on_writable) == 0;
    }
}

static bool append(struct gcs_log *l, const char *line, size_t bytes) {
    if (sizeof l->data - (l->end - l->start) < bytes) {
        return false;
    }
    if (sizeof l->data - l->end < bytes) {
        memmove(l->data, l->data + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    memcpy(l->data + l->end, line, bytes);
    l->end += bytes;
    return true;
}

static void tell_dropped(struct gcs_log *l) {
    char line[256];
    const struct gcs_field fields[] = {GCS_NUMBER("dropped", l->dropped), {NULL, NULL, 0}};
    struct timespec now;
    size_t bytes;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    bytes = gcs_log_line(line, sizeof line, l->format, &now, UVM_LOG_WARN,
                         "log records were dropped: the reader is too slow", fields);
    if (append(l, line, bytes)) {
        l->dropped = 0;
    }
}

static void on_writable(uv_poll_t *poll, int status, int events) {
    struct gcs_log *l = poll->data;

    (void)status; /* the write says it too */
    (void)events;
    pump(l);
    if (l->fd >= 0 && l->dropped > 0 && l->start == l->end) {
        tell_dropped(l);
        pump(l);
    }
}

bool gcs_log_wanted(const struct gcs_log *l, enum uvm_log_level level) {
    return l->fd >= 0 && !l->muted && level <= l->level;
}

void gcs_log_write(struct gcs_log *l, enum uvm_log_level level, const char *msg,
                   const struct gcs_field *fields) {
    char line[GCS_LOG_LINE_BYTES];
    struct timespec now;
    size_t bytes;

    if (!gcs_log_wanted(l, level)) {
        return;
    }
    if (l->dropped > 0) {
        tell_dropped(l);
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    bytes = gcs_log_line(line, sizeof line, l->format, &now, level, msg, fields);
    if (l->dropped > 0 || !append(l, line, bytes)) {
        l->dropped++;
        l->dropped_total++;
    }
    pump(l);
}

void gcs_log_engine(const struct uvm_log_record *r, void *arg) {
    struct gcs_field fields[6];
    size_t n = 0;

    if (r->op[0] != '\0') {
        fields[n++] = GCS_TEXT("op", r->op);
        fields[n++] = GCS_NUMBER("op_id", r->op_id);
    }
    if (r->step[0] != '\0') {
        fields[n++] = GCS_TEXT("step", r->step);
    }
    if (r->kind == UVM_LOG_OP_END || r->kind == UVM_LOG_STEP_END) {
        fields[n++] = GCS_NUMBER("elapsed_ms", r->elapsed_ms);
    }
    if (r->code != UVM_OK) {
        fields[n++] = GCS_TEXT("code", uvm_error_code_name(r->code));
    }
    fields[n] = (struct gcs_field){NULL, NULL, 0};
    gcs_log_write(arg, r->level, r->text, fields);
}

void gcs_log_mute(struct gcs_log *l, bool muted) {
    l->muted = muted;
}

/* A descriptor that may be non-blocking, for stderr. */
static int own_stderr(bool *ret_socket) {
    struct stat st;
    int fd;

    *ret_socket = fstat(STDERR_FILENO, &st) == 0 && S_ISSOCK(st.st_mode);
    if (*ret_socket) {
        return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    }
    fd = uvm__open_anew(STDERR_FILENO, O_WRONLY | O_APPEND);
    if (fd < 0) {
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (fd >= 0) {
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        }
    }
    return fd;
}

int gcs_log_open(struct gcs_log *l, uv_loop_t *loop, const struct gcs_flags *flags,
                 struct uvm__fail *f) {
    bool file = flags->log_file[0] != '\0';

    l->socket = false;
    if (file) {
        l->fd = open(flags->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    } else {
        l->fd = own_stderr(&l->socket);
    }
    if (l->fd < 0 && file) {
        return uvm__fail(f, UVM_E_IO, errno, "log file %.160s: %s", flags->log_file,
                         strerror(errno));
    }
    l->level = flags->log_level;
    l->format = flags->log_format;
    l->muted = false;
    l->polling = false;
    l->dropped = 0;
    l->dropped_total = 0;
    l->start = 0;
    l->end = 0;
    l->pollable = l->fd >= 0 && uv_poll_init(loop, &l->poll, l->fd) == 0;
    l->poll.data = l;
    return 0;
}

void gcs_log_close(struct gcs_log *l) {
    struct pollfd p = {.fd = l->fd, .events = POLLOUT};

    stop(l);
    while (l->fd >= 0 && l->start < l->end && poll(&p, 1, LAST_MS) > 0 && flush(l)) {
    }
    if (l->pollable) {
        uv_close((uv_handle_t *)&l->poll, NULL);
        l->pollable = false;
    }
    if (l->fd >= 0) {
        close(l->fd);
        l->fd = -1;
    }
}
