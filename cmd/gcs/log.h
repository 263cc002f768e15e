/* SPDX-License-Identifier: MIT
 * log.h — the agent's log: one line a record, never waiting for whoever reads it.
 *
 * JSON lines carry time (RFC 3339, nanoseconds, UTC), level (logrus' names), msg and further fields; text
 * lines the same as key=value. What the reader does not take is queued up to GCS_LOG_QUEUE_BYTES; beyond
 * that whole records are dropped, counted, and the count is told in a record of its own when there is
 * room again. A reader that went away is no error: the rest is dropped.
 * Threading: the loop's thread. No allocation. Source: PROTOCOL-bridge.md, Transport.
 */
#pragma once
#include "async/async.h"
#include "cmd/gcs/flags.h"

#include <uv.h>

#define GCS_LOG_QUEUE_BYTES 65536u
#define GCS_LOG_LINE_BYTES 4096u /* longer values are cut */

struct gcs_field {
    const char *key;  /* NULL ends a list */
    const char *text; /* NULL: the number */
    int64_t number;
};
#define GCS_TEXT(key, text) ((struct gcs_field){(key), (text), 0})
#define GCS_NUMBER(key, num) ((struct gcs_field){(key), NULL, (int64_t)(num)})

/* GCS_LOG(log, UVM_LOG_INFO, "process started", GCS_NUMBER("pid", pid), GCS_TEXT("path", path)) */
#define GCS_LOG(log, level, ...)                                                                   \
    GCS_LOG_(log, level, __VA_ARGS__, (struct gcs_field){NULL, NULL, 0})
#define GCS_LOG_(log, level, msg, ...)                                                             \
    gcs_log_write(log, level, msg, (const struct gcs_field[]){__VA_ARGS__})

struct gcs_log {
    uv_poll_t poll;
    int fd; /* ours; -1: nowhere (any more) */
    bool socket, pollable, polling, muted;
    enum uvm_log_level level;
    enum gcs_log_format format;
    uint64_t dropped, dropped_total; /* not told yet; ever */
    size_t start, end;               /* queued bytes in data */
    char data[GCS_LOG_QUEUE_BYTES];
};

/* Opens the flags' log file, or takes a description of its own of stderr, so that non-blocking writes are
 * nobody else's business. Fails with -UVM_E_IO. Zeroed storage is not needed. */
int gcs_log_open(struct gcs_log *l, uv_loop_t *loop, const struct gcs_flags *flags,
                 struct uvm__fail *f);

void gcs_log_write(struct gcs_log *l, enum uvm_log_level level, const char *msg,
                   const struct gcs_field *fields);
bool gcs_log_wanted(const struct gcs_log *l, enum uvm_log_level level);

/* Nothing is written while muted (policy stance "deny"). */
void gcs_log_mute(struct gcs_log *l, bool muted);

/* The engine's records; `arg` is the log (uvm_log_fn). */
void gcs_log_engine(const struct uvm_log_record *record, void *arg);

/* Gives the reader a last 200 ms to take what is queued, then closes; the loop must still run once. */
void gcs_log_close(struct gcs_log *l);
