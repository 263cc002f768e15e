/* SPDX-License-Identifier: MIT
 * out.h — what a person reads and what a program reads: messages, errors, JSON.
 *
 * Messages and errors go to stderr, results to stdout. Text of a guest is never trusted: control
 * characters are shown as `?`, bytes that are no UTF-8 as U+FFFD. While a terminal is raw, line ends get
 * their carriage return.
 */
#pragma once
#include "async/async.h"
#include <stdarg.h>

/* Exit statuses. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_SUCH = 3,
    EXIT_WRONG_STATE = 4,
    EXIT_HOST = 5,
    EXIT_TIMEOUT = 124,
    EXIT_ENGINE = 125,
    EXIT_NOT_RUNNABLE = 126,
    EXIT_NOT_FOUND = 127,
    EXIT_SIGNAL = 128
};

void out_set_json(bool on); /* errors as JSON */
void out_set_raw(bool on);  /* the terminal is raw */
bool out_stderr_is_terminal(void);

/* One line on stderr, "uvmctl: " before it. */
__attribute__((format(printf, 1, 2))) void out_message(const char *fmt, ...);
/* The same for a wrong command line: as an error where JSON is wanted. */
__attribute__((format(printf, 1, 2))) void out_usage(const char *fmt, ...);
/* An error with step, causes and detail. */
void out_error(const uvm_error *err);
/* One record of the engine's log. */
void out_log(const struct uvm_log_record *record);
/* Text as it is, but for what is dangerous to a terminal. */
void out_text(const char *text, size_t bytes);

/* Length of the UTF-8 sequence at `p`; 0: it is none. */
size_t out_utf8_len(const unsigned char *p, size_t bytes);

/* ---- JSON writing: to a growing buffer, then to stdout at once ------------------------------ */

struct json_out {
    char *data;
    size_t len, cap;
    bool comma, failed;
};
void json_open(struct json_out *j, const char *key,
               char bracket); /* key NULL: in a list, or root */
void json_close(struct json_out *j, char bracket);
void json_string(struct json_out *j, const char *key, const char *text, size_t bytes);
void json_text(struct json_out *j, const char *key, const char *text); /* NULL: null */
void json_number(struct json_out *j, const char *key, double value);
void json_int(struct json_out *j, const char *key, int64_t value);
void json_bool(struct json_out *j, const char *key, bool value);
/* True: something meant for standard output was not written. Said in words unless its reader has left. */
bool out_lost(void);
/* Its reader has not left: a write that failed has another reason. */
bool out_has_reader(void);
/* A line feed, then all of it to `fd`; false: it could not be written. Frees. */
bool json_finish(struct json_out *j, int fd);
