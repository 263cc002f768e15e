/* SPDX-License-Identifier: MIT
 * buf.c — a capped growing buffer, and a ring that keeps the newest bytes.
 */
#include "async/buf.h"
#include "async/alloc.h"
#include "async/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void uvm__buf_init(struct uvm__buf *b, uvm_engine *e, size_t max) {
    *b = (struct uvm__buf){.engine = e, .max = max};
}

void uvm__buf_deinit(struct uvm__buf *b) {
    if (b->engine != NULL) {
        uvm__free(b->engine, b->data);
    }
    *b = (struct uvm__buf){.engine = b->engine, .max = b->max};
}

int uvm__buf_reserve(struct uvm__buf *b, size_t bytes) {
    UVM_ASSERT_CMP(b->len, <=, b->max);
    if (bytes > b->max - b->len) {
        return -UVM_E_LIMIT;
    }
    size_t need = b->len + bytes + 1;
    if (need <= b->cap) {
        return 0;
    }
    size_t cap = b->cap < 256 ? 256 : b->cap * 2;
    if (cap < need) {
        cap = need;
    }
    if (cap > b->max + 1) {
        cap = b->max + 1;
    }
    uint8_t *data = uvm__realloc(b->engine, b->data, cap);
    if (data == NULL) {
        return -UVM_E_NOMEM;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

int uvm__buf_append(struct uvm__buf *b, const void *data, size_t bytes) {
    int rc = uvm__buf_reserve(b, bytes);
    if (rc < 0) {
        return rc;
    }
    if (bytes > 0) {
        memcpy(b->data + b->len, data, bytes);
    }
    b->len += bytes;
    b->data[b->len] = 0;
    return 0;
}

int uvm__buf_puts(struct uvm__buf *b, const char *text) {
    return uvm__buf_append(b, text, strlen(text));
}

int uvm__buf_printf(struct uvm__buf *b, const char *fmt, ...) {
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    UVM_ASSERT(n >= 0);
    int rc = uvm__buf_reserve(b, (size_t)n);
    if (rc == 0) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

void uvm__buf_consume(struct uvm__buf *b, size_t bytes) {
    UVM_ASSERT_CMP(bytes, <=, b->len);
    if (bytes == 0) {
        return;
    }
    memmove(b->data, b->data + bytes, b->len - bytes);
    b->len -= bytes;
    b->data[b->len] = 0;
}

void uvm__buf_reset(struct uvm__buf *b) {
    b->len = 0;
    if (b->data != NULL) {
        b->data[0] = 0;
    }
}

int uvm__tail_init(struct uvm__tail *t, uvm_engine *e, size_t cap) {
    UVM_ASSERT(cap > 0);
    char *data = uvm__alloc(e, cap);
    if (data == NULL) {
        return -UVM_E_NOMEM;
    }
    *t = (struct uvm__tail){.engine = e, .data = data, .cap = cap};
    return 0;
}

void uvm__tail_deinit(struct uvm__tail *t) {
    if (t->engine != NULL) {
        uvm__free(t->engine, t->data);
    }
    *t = (struct uvm__tail){0};
}

void uvm__tail_write(struct uvm__tail *t, const void *data, size_t bytes) {
    const char *src = data;
    if (bytes > t->cap) {
        t->total += bytes - t->cap;
        src += bytes - t->cap;
        bytes = t->cap;
    }
    while (bytes > 0) {
        size_t at = (size_t)(t->total % t->cap);
        size_t n = t->cap - at < bytes ? t->cap - at : bytes;
        memcpy(t->data + at, src, n);
        t->total += n;
        src += n;
        bytes -= n;
    }
}

size_t uvm__tail_read(const struct uvm__tail *t, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    size_t kept = t->total < t->cap ? (size_t)t->total : t->cap;
    size_t n = kept < bytes - 1 ? kept : bytes - 1;
    for (size_t i = 0; i < n; i++) {
        buf[i] = t->data[(size_t)((t->total - n + i) % t->cap)];
    }
    buf[n] = 0;
    return n;
}
