/* SPDX-License-Identifier: MIT
 * log_line.h — one log record as a line of text.
 */
#pragma once
#include "cmd/gcs/log.h"

#include <time.h>

/* Writes a whole line with its newline, at most `bytes` (at least 128) and not terminated; returns its
 * length. Values that do not fit are cut between characters, fields that do not fit left out: what comes
 * out is always one valid line. Bytes that are no UTF-8 become U+FFFD. */
size_t gcs_log_line(char *buf, size_t bytes, enum gcs_log_format format, const struct timespec *at,
                    enum uvm_log_level level, const char *msg, const struct gcs_field *fields);
