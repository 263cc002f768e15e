/* SPDX-License-Identifier: MIT
 * json_string.c — strings of JSON: escapes, surrogate pairs, UTF-8.
 *
 * A string is walked twice by the same code: once to check and measure it, once to write it into a
 * block of its exact size, which the tree then takes over. The result is valid UTF-8 without a NUL
 * inside, in both modes: strict mode refuses what is not, Go mode puts U+FFFD for each byte or
 * surrogate that is not.
 */
#include "async/check.h"
#include "async/json_int.h"
#include <string.h>

/* Where a string's bytes go; `text` NULL: they are only counted. */
struct sink {
    char *text;
    size_t bytes;
};

static void put(struct sink *s, const uint8_t *data, size_t bytes) {
    if (s->text != NULL) {
        memcpy(s->text + s->bytes, data, bytes);
    }
    s->bytes += bytes;
}

static void put_rune(struct sink *s, uint32_t rune) {
    uint8_t b[4];
    size_t n = rune < 0x80 ? 1 : rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; rune >>= 6) {
        b[i] = (uint8_t)(0x80 | (rune & 0x3f));
    }
    b[0] = (uint8_t)(lead[n] | rune);
    put(s, b, n);
}

/* Bytes of the UTF-8 sequence at `p` (shortest form, no surrogate, at most U+10FFFF); 0: it is
 * none. */
static size_t utf8(const uint8_t *p, const uint8_t *end) {
    uint8_t c = *p;
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n > (size_t)(end - p)) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits at r->at; stops at the first that is none. */
static int hex4(struct uvm__json_reader *r, uint32_t *ret) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        int digit = r->at == r->end ? -1 : hex_digit(*r->at);
        if (digit < 0) {
            return uvm__json_syntax(r, UVM__JSON_AT_HEX);
        }
        value = value << 4 | (uint32_t)digit;
    }
    *ret = value;
    return 0;
}

/* After "\u". A pair of surrogates is one character; a lone one is U+FFFD in Go mode. */
static int unicode(struct uvm__json_reader *r, struct sink *s) {
    const uint8_t *escape = r->at - 2;
    uint32_t rune = 0;
    uint32_t low = 0;
    int rc = hex4(r, &rune);
    if (rc < 0) {
        return rc;
    }
    if (rune == 0) {
        r->at = escape;
        return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "byte %zu: \\u0000 in a string",
                         uvm__json_offset(r));
    }
    if (rune < 0xd800 || rune > 0xdfff) {
        put_rune(s, rune);
        return 0;
    }
    if (rune < 0xdc00 && r->end - r->at >= 2 && r->at[0] == '\\' && r->at[1] == 'u') {
        const uint8_t *second = r->at;
        r->at += 2;
        rc = hex4(r, &low);
        if (rc < 0) {
            return rc;
        }
        if (low >= 0xdc00 && low <= 0xdfff) {
            put_rune(s, 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00));
            return 0;
        }
        r->at = second;
    }
    if (r->mode == UVM__JSON_STRICT) {
        r->at = escape;
        return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "byte %zu: half a surrogate pair",
                         uvm__json_offset(r));
    }
    put_rune(s, 0xfffd);
    return 0;
}

static int escape(struct uvm__json_reader *r, struct sink *s) {
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    r->at++;
    if (r->at < r->end && *r->at == 'u') {
        r->at++;
        return unicode(r, s);
    }
    const char *found = r->at == r->end ? NULL : memchr(from, *r->at, sizeof from - 1);
    if (found == NULL) {
        return uvm__json_syntax(r, UVM__JSON_AT_ESCAPE);
    }
    put(s, (const uint8_t *)&to[found - from], 1);
    r->at++;
    return 0;
}

/* From the character after the opening quote to the closing one. */
static int walk_string(struct uvm__json_reader *r, struct sink *s) {
    int rc = 0;
    while (rc == 0) {
        if (r->at == r->end || *r->at < 0x20) {
            return uvm__json_syntax(r, UVM__JSON_AT_TEXT);
        }
        if (*r->at == '"') {
            return 0;
        }
        if (*r->at == '\\') {
            rc = escape(r, s);
            continue;
        }
        size_t n = utf8(r->at, r->end);
        if (n > 0) {
            put(s, r->at, n);
        } else if (r->mode == UVM__JSON_GO) {
            put_rune(s, 0xfffd);
            n = 1;
        } else {
            return uvm__fail(r->fail, UVM_E_PROTOCOL, 0, "byte %zu: 0x%02x is not valid UTF-8",
                             uvm__json_offset(r), *r->at);
        }
        r->at += n;
    }
    return rc;
}

int uvm__json_read_string(struct uvm__json_reader *r, char **ret_text) {
    UVM_ASSERT(*r->at == '"');
    const uint8_t *first = ++r->at;
    struct sink s = {NULL, 0};
    int rc = walk_string(r, &s);
    if (rc < 0) {
        return rc;
    }
    size_t bytes = s.bytes;
    s = (struct sink){cJSON_malloc(bytes + 1), 0};
    if (s.text == NULL) {
        return uvm__json_no_memory(r);
    }
    r->at = first;
    rc = walk_string(r, &s);
    UVM_ASSERT(rc == 0 && s.bytes == bytes);
    s.text[bytes] = 0;
    r->at++;
    *ret_text = s.text;
    return 0;
}
