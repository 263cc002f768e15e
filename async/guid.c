/* SPDX-License-Identifier: MIT
 * guid.c — GUID text to bytes and back.
 */
#include "async/guid.h"
#include "async/clock.h"
#include <string.h>

const struct uvm__guid uvm__guid_null = {{0}};

static bool dash_at(size_t i) {
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

void uvm__guid_random(uvm_engine *e, struct uvm__guid *ret) {
    uvm__random(e, ret->bytes, sizeof ret->bytes);
    ret->bytes[6] = (uint8_t)((ret->bytes[6] & 0x0f) | 0x40); /* RFC 4122 version 4, variant 1 */
    ret->bytes[8] = (uint8_t)((ret->bytes[8] & 0x3f) | 0x80);
}

void uvm__guid_text(const struct uvm__guid *g, char ret_text[UVM_GUID_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    size_t b = 0;
    for (size_t i = 0; i < UVM_GUID_TEXT - 1;) {
        if (dash_at(i)) {
            ret_text[i++] = '-';
            continue;
        }
        ret_text[i++] = digits[g->bytes[b] >> 4];
        ret_text[i++] = digits[g->bytes[b++] & 15];
    }
    ret_text[UVM_GUID_TEXT - 1] = 0;
}

int uvm__guid_read(const char *text, size_t bytes, struct uvm__guid *ret) {
    if (bytes != UVM_GUID_TEXT - 1) {
        return -UVM_E_INVAL;
    }
    struct uvm__guid g = {{0}};
    size_t b = 0;
    for (size_t i = 0; i < bytes;) {
        if (dash_at(i)) {
            if (text[i++] != '-') {
                return -UVM_E_INVAL;
            }
            continue;
        }
        int hi = hex_value(text[i]);
        int lo = hex_value(text[i + 1]);
        if (hi < 0 || lo < 0) {
            return -UVM_E_INVAL;
        }
        g.bytes[b++] = (uint8_t)(hi << 4 | lo);
        i += 2;
    }
    *ret = g;
    return 0;
}

bool uvm__guid_equal(const struct uvm__guid *a, const struct uvm__guid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
