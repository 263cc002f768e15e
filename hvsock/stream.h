/* SPDX-License-Identifier: MIT
 * stream.h — one byte stream with back-pressure and half-close, whatever carries it.
 *
 * Pull model: the consumer reads and writes when it can; events are edges and come later (from the loop or
 * the ready queue), never inside a call of this header. After a read that said AGAIN there will be one
 * UVM__STREAM_READABLE when data, end of file or an error is there; after a short or refused write there
 * will be one UVM__STREAM_WRITABLE. Setting a handler makes the event come for what is there already.
 * What is read is what the peer gets credit for: a slow reader stops the peer, nothing buffers without bound.
 * Ownership: a stream belongs to whom it was handed to, until close or reset; the object is then the
 * transport's to free, and no event follows.
 */
#pragma once
#include "async/async.h"
#include <sys/types.h>

struct uvm__stream;

enum { UVM__STREAM_READABLE = 1, UVM__STREAM_WRITABLE = 2 };
typedef void (*uvm__stream_fn)(struct uvm__stream *s, unsigned events, void *arg);

struct uvm__stream_ops {
    ssize_t (*read)(struct uvm__stream *s, void *buf, size_t bytes);
    ssize_t (*write)(struct uvm__stream *s, const void *buf, size_t bytes);
    void (*shutdown)(struct uvm__stream *s);
    void (*close)(struct uvm__stream *s);
    void (*reset)(struct uvm__stream *s);
    void (*handler)(struct uvm__stream *s); /* a new handler was set: emit what holds */
};

/* Base of every transport's stream. */
struct uvm__stream {
    const struct uvm__stream_ops *ops;
    uvm_engine *engine;
    uvm__stream_fn on_event;
    void *arg;
};

void uvm__stream_set_handler(struct uvm__stream *s, uvm__stream_fn on_event, void *arg);
/* > 0 bytes; 0: end of file; -UVM_E_AGAIN; -UVM_E_CLOSED: reset or transport lost. */
ssize_t uvm__stream_read(struct uvm__stream *s, void *buf, size_t bytes);
/* > 0 bytes accepted, perhaps fewer than asked; -UVM_E_AGAIN; -UVM_E_CLOSED: peer reads no more. */
ssize_t uvm__stream_write(struct uvm__stream *s, const void *buf, size_t bytes);
/* Ends our direction after what was accepted; reading goes on. Idempotent. */
void uvm__stream_shutdown(struct uvm__stream *s);
/* Delivers what was accepted, then ends both directions; unread data is dropped. The handle is gone. */
void uvm__stream_close(struct uvm__stream *s);
/* Drops everything; the peer sees a reset. The handle is gone. */
void uvm__stream_reset(struct uvm__stream *s);

/* A stream over descriptors (socket, pipe, terminal; a regular file reads without events' delay).
 * Both are taken, also on failure; the same number may be given twice. */
int uvm__stream_from_fds(uvm_engine *e, int take_read_fd, int take_write_fd,
                         struct uvm__stream **ret);
