/* SPDX-License-Identifier: MIT
 * json_out.c — the JSON writer of the bridge.
 *
 * cJSON's printer escapes otherwise than the reference and cannot keep literals in strings apart, and a
 * tree is not needed to write a body whose shape is known. Numbers are integers only.
 */
#include "async/check.h"
#include "bridge/json_out_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE_BYTES_MAX 6u

void uvm__json_out_init(struct uvm__json_out *o, struct uvm__buf *buf, bool html) {
    *o = (struct uvm__json_out){.buf = buf, .html = html};
}

void uvm__json_out_raw(struct uvm__json_out *o, const char *text, size_t bytes) {
    if (o->rc == 0 && o->buf != NULL) {
        o->rc = uvm__buf_append(o->buf, text, bytes);
    }
    o->bytes += bytes;
}

static void raw_text(struct uvm__json_out *o, const char *text) {
    uvm__json_out_raw(o, text, strlen(text));
}

static void separate(struct uvm__json_out *o) {
    if (o->comma) {
        raw_text(o, ",");
    }
    o->comma = true;
}

void uvm__json_out_open(struct uvm__json_out *o, char bracket) {
    UVM_ASSERT(bracket == '{' || bracket == '[');
    separate(o);
    uvm__json_out_raw(o, &bracket, 1);
    o->comma = false;
}

void uvm__json_out_close(struct uvm__json_out *o, char bracket) {
    UVM_ASSERT(bracket == '}' || bracket == ']');
    uvm__json_out_raw(o, &bracket, 1);
    o->comma = true;
}

void uvm__json_out_key(struct uvm__json_out *o, const char *key) {
    separate(o);
    raw_text(o, "\"");
    raw_text(o, key);
    raw_text(o, "\":");
    o->comma = false;
}

/* ---- strings ------------------------------------------------------------------------------ */

static bool continuation(const uint8_t *s, size_t bytes, size_t at) {
    return at < bytes && (s[at] & 0xc0) == 0x80;
}

/* Length of the valid character that begins at `s`, 0 if there is none. */
static size_t character_bytes(const uint8_t *s, size_t bytes) {
    uint8_t c = s[0];
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xc2 && c <= 0xdf) {
        return continuation(s, bytes, 1) ? 2 : 0;
    }
    if (c >= 0xe0 && c <= 0xef) {
        if (!continuation(s, bytes, 1) || !continuation(s, bytes, 2)) {
            return 0;
        }
        bool overlong = c == 0xe0 && s[1] < 0xa0;
        bool surrogate = c == 0xed && s[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (!continuation(s, bytes, 1) || !continuation(s, bytes, 2) ||
            !continuation(s, bytes, 3)) {
            return 0;
        }
        bool overlong = c == 0xf0 && s[1] < 0x90;
        bool beyond = c == 0xf4 && s[1] >= 0x90;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

static size_t escape_ascii(uint8_t c, bool html, char ret[ESCAPE_BYTES_MAX + 1]) {
    static const char short_form[] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
    };
    if (c < sizeof short_form && short_form[c] != 0) {
        ret[0] = '\\';
        ret[1] = short_form[c];
        return 2;
    }
    if (c < 0x20 || (html && (c == '<' || c == '>' || c == '&'))) {
        return (size_t)snprintf(ret, ESCAPE_BYTES_MAX + 1, "\\u%04x", c);
    }
    return 0;
}

/* The escape of the character at `s`, of which *ret_taken bytes are its source; 0: written as it is. */
static size_t escape(const uint8_t *s, size_t bytes, bool html, char ret[ESCAPE_BYTES_MAX + 1],
                     size_t *ret_taken) {
    size_t n = character_bytes(s, bytes);
    *ret_taken = n == 0 ? 1 : n;
    if (n == 0) {
        memcpy(ret, "\\ufffd", ESCAPE_BYTES_MAX + 1);
        return ESCAPE_BYTES_MAX;
    }
    if (n == 1) {
        return escape_ascii(s[0], html, ret);
    }
    if (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0xa8 || s[2] == 0xa9)) {
        memcpy(ret, s[2] == 0xa8 ? "\\u2028" : "\\u2029", ESCAPE_BYTES_MAX + 1);
        return ESCAPE_BYTES_MAX;
    }
    return 0;
}

void uvm__json_out_string(struct uvm__json_out *o, const char *text, size_t bytes) {
    const uint8_t *s = (const uint8_t *)text;
    separate(o);
    raw_text(o, "\"");
    size_t plain = 0; /* start of the run that is written as it is */
    size_t at = 0;
    while (at < bytes) {
        char esc[ESCAPE_BYTES_MAX + 1];
        size_t taken;
        size_t n = escape(s + at, bytes - at, o->html, esc, &taken);
        if (n > 0) {
            uvm__json_out_raw(o, text + plain, at - plain);
            uvm__json_out_raw(o, esc, n);
            plain = at + taken;
        }
        at += taken;
    }
    uvm__json_out_raw(o, text + plain, at - plain);
    raw_text(o, "\"");
}

size_t uvm__json_out_fitting(const char *text, size_t bytes, bool html, size_t room) {
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;
    size_t used = 0;
    while (at < bytes) {
        char esc[ESCAPE_BYTES_MAX + 1];
        size_t taken;
        size_t n = escape(s + at, bytes - at, html, esc, &taken);
        used += n > 0 ? n : taken;
        if (used > room) {
            break;
        }
        at += taken;
    }
    return at;
}

/* ---- values ------------------------------------------------------------------------------- */

void uvm__json_out_int(struct uvm__json_out *o, int64_t value) {
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64, value);
    separate(o);
    uvm__json_out_raw(o, text, (size_t)n);
}

void uvm__json_out_member(struct uvm__json_out *o, const char *key, const char *text) {
    uvm__json_out_key(o, key);
    uvm__json_out_string(o, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

void uvm__json_out_member_int(struct uvm__json_out *o, const char *key, int64_t value) {
    uvm__json_out_key(o, key);
    uvm__json_out_int(o, value);
}

void uvm__json_out_member_true(struct uvm__json_out *o, const char *key, bool value) {
    if (value) {
        uvm__json_out_key(o, key);
        separate(o);
        raw_text(o, "true");
    }
}
