/* SPDX-License-Identifier: MIT
 *
 * Formatting of log records. A line is built front to back in a fixed buffer of which the last bytes are
 * kept back for what must close it, so that cutting needs no second pass: a string stops at the last
 * character that fits together with its closing quote, and a field that would not fit even empty is left
 * out with those behind it.
 */
#include "cmd/gcs/log_line.h"

#include "async/check.h"

#include <stdio.h>
#include <string.h>

#define TAIL 3u           /* closing quote, brace and newline */
#define CHARACTER_BYTES 8 /* as written, with a terminator */

struct line {
    char *buf;
    size_t len, max; /* max without TAIL */
    bool json;
};

static bool room(const struct line *l, size_t bytes) {
    return l->max - l->len >= bytes;
}

static void raw(struct line *l, const char *text, size_t bytes) {
    UVM_ASSERT_CMP(bytes, <=, l->max + TAIL - l->len);
    memcpy(l->buf + l->len, text, bytes);
    l->len += bytes;
}

/* Length of the UTF-8 character at `s` (which ends in a zero byte), 0 when it is none. */
static size_t character(const unsigned char *s) {
    static const unsigned min[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
    unsigned value = n < 2 ? s[0] : s[0] & (0x7fu >> n);

    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (s[i] & 0x3fu);
    }
    if (n > 1 && (value < min[n] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))) {
        return 0;
    }
    return n;
}

static size_t text_of(char *ret_text, const char *fmt, unsigned value) {
    int n = snprintf(ret_text, CHARACTER_BYTES, fmt, value);

    UVM_ASSERT(n > 0 && n < CHARACTER_BYTES);
    return (size_t)n;
}

/* The next character of a string as it is written; returns how many bytes of `s` it stands for. */
static size_t escape(const char *s, char *ret_text, size_t *ret_bytes) {
    unsigned char c = (unsigned char)s[0];
    size_t n = character((const unsigned char *)s);

    if (n == 0) {
        *ret_bytes = text_of(ret_text, "\\ufff%x", 0xd);
        return 1;
    }
    if (c == '"' || c == '\\') {
        *ret_bytes = text_of(ret_text, "\\%c", c);
    } else if (c == '\n' || c == '\t') {
        *ret_bytes = text_of(ret_text, "\\%c", c == '\n' ? 'n' : 't');
    } else if (c < 0x20 || c == 0x7f) {
        *ret_bytes = text_of(ret_text, "\\u%04x", c);
    } else {
        memcpy(ret_text, s, n);
        *ret_bytes = n;
    }
    return n;
}

static void string(struct line *l, const char *s) {
    char text[CHARACTER_BYTES];
    size_t bytes;

    raw(l, "\"", 1);
    while (*s != '\0') {
        size_t used = escape(s, text, &bytes);

        if (!room(l, bytes + 1)) {
            break;
        }
        raw(l, text, bytes);
        s += used;
    }
    raw(l, "\"", 1);
}

/* Key, separator and value; false when there is no room for the least of them. */
static bool member(struct line *l, const char *key, const char *text, int64_t number) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number);
    size_t key_bytes = strlen(key);

    if (!room(l, key_bytes + 4 + (text == NULL ? (size_t)n : 2))) {
        return false;
    }
    if (l->len > (l->json ? 1u : 0u)) {
        raw(l, l->json ? "," : " ", 1);
    }
    if (l->json) {
        raw(l, "\"", 1);
        raw(l, key, key_bytes);
        raw(l, "\":", 2);
    } else {
        raw(l, key, key_bytes);
        raw(l, "=", 1);
    }
    if (text == NULL) {
        raw(l, digits, (size_t)n);
    } else {
        string(l, text);
    }
    return true;
}

size_t gcs_log_line(char *buf, size_t bytes, enum gcs_log_format format, const struct timespec *at,
                    enum uvm_log_level level, const char *msg, const struct gcs_field *fields) {
    static const char *const levels[UVM_LOG_MAX] = {"error", "warning", "info", "debug", "trace"};
    struct line l = {.buf = buf, .len = 0, .max = bytes - TAIL, .json = format == GCS_LOG_JSON};
    char date[32], when[48];
    struct tm tm;

    UVM_ASSERT_CMP(bytes, >=, 128);
    UVM_ASSERT(level < UVM_LOG_MAX);
    if (gmtime_r(&at->tv_sec, &tm) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        (void)snprintf(date, sizeof date, "1970-01-01T00:00:00");
    }
    (void)snprintf(when, sizeof when, "%s.%09ldZ", date, at->tv_nsec);
    if (l.json) {
        raw(&l, "{", 1);
    }
    (void)member(&l, "time", when, 0);
    (void)member(&l, "level", levels[level], 0);
    (void)member(&l, "msg", msg, 0);
    while (fields->key != NULL && member(&l, fields->key, fields->text, fields->number)) {
        fields++;
    }
    raw(&l, l.json ? "}\n" : "\n", l.json ? 2 : 1);
    UVM_ASSERT_CMP(l.len, <=, bytes);
    return l.len;
}
