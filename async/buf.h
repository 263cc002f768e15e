/* SPDX-License-Identifier: MIT
 * buf.h — a growing byte buffer with a cap, and a fixed ring that keeps the tail of a text stream.
 */
#pragma once
#include "async/async.h"

/* Growth beyond `max` fails with -UVM_E_LIMIT, lack of memory with -UVM_E_NOMEM; then the buffer is
 * unchanged. `data[len]` is always 0 once something was appended. */
struct uvm__buf {
    uvm_engine *engine;
    uint8_t *data;
    size_t len, cap, max;
};
void uvm__buf_init(struct uvm__buf *b, uvm_engine *e, size_t max);
void uvm__buf_deinit(struct uvm__buf *b);
int uvm__buf_append(struct uvm__buf *b, const void *data, size_t bytes);
int uvm__buf_puts(struct uvm__buf *b, const char *text);
__attribute__((format(printf, 2, 3))) int uvm__buf_printf(struct uvm__buf *b, const char *fmt, ...);
int uvm__buf_reserve(struct uvm__buf *b, size_t bytes);  /* room for `bytes` more */
void uvm__buf_consume(struct uvm__buf *b, size_t bytes); /* drops from the front */
void uvm__buf_reset(struct uvm__buf *b);                 /* length 0, memory kept */

/* Keeps the last `cap` bytes written. */
struct uvm__tail {
    uvm_engine *engine;
    char *data;
    size_t cap;
    uint64_t total; /* bytes ever written */
};
int uvm__tail_init(struct uvm__tail *t, uvm_engine *e, size_t cap);
void uvm__tail_deinit(struct uvm__tail *t);
void uvm__tail_write(struct uvm__tail *t, const void *data, size_t bytes);
/* Copies the kept bytes in order, at most bytes - 1 and the newest, NUL-terminated; returns length. */
size_t uvm__tail_read(const struct uvm__tail *t, char *buf, size_t bytes);
