/* SPDX-License-Identifier: MIT
 * stream.h — one byte stream with back-pressure and half-close, whatever carries it.
 *
 * Pull model: the consumer reads and writes when it can; events are edges and come later (from the loop or
 * the ready queue), never inside a call of this header. After a read that said AGAIN there will be one
 * UVM__STREAM_READABLE when data, end of file or an error is there; after a short or refused write there
 * will be one UVM__STREAM_WRITABLE when there is room again or never will be. Setting a handler makes the
 * event come for what is there already. An event may find nothing left: read until AGAIN.
 * What is read is what the peer gets credit for: a slow reader stops the peer, nothing buffers without bound.
 * A peer that resets drops what it had not sent; what has arrived is read first, then -UVM_E_CLOSED.
 * Ownership: a stream belongs to whom it was handed to, until close or reset; the object is then the
 * transport's to free, and no event follows. It may outlive its endpoint (it then reads as reset).
 */
#pragma once
#include "async/async.h"
#include "async/list.h"
#include "async/ready.h"
#include <sys/types.h>

struct uvm__stream;
struct uvm__listener;

enum { UVM__STREAM_READABLE = 1, UVM__STREAM_WRITABLE = 2 };
typedef void (*uvm__stream_fn)(struct uvm__stream *s, unsigned events, void *arg);

/* NULL stops events. A handler may be set again, also from inside an event. */
void uvm__stream_set_handler(struct uvm__stream *s, uvm__stream_fn on_event, void *arg);
/* > 0 bytes; 0: end of file; -UVM_E_AGAIN; -UVM_E_CLOSED: reset or transport lost. */
ssize_t uvm__stream_read(struct uvm__stream *s, void *buf, size_t bytes);
/* > 0 bytes accepted, perhaps fewer than asked; -UVM_E_AGAIN; -UVM_E_CLOSED: peer reads no more, or we
 * shut down; -UVM_E_NOMEM: nothing accepted and no event will follow. */
ssize_t uvm__stream_write(struct uvm__stream *s, const void *buf, size_t bytes);
/* Ends our direction after what was accepted; reading goes on. Idempotent. */
void uvm__stream_shutdown(struct uvm__stream *s);
/* Delivers what was accepted, then ends both directions; unread data is dropped. The handle is gone. */
void uvm__stream_close(struct uvm__stream *s);
/* Drops everything; the peer sees a reset. The handle is gone. */
void uvm__stream_reset(struct uvm__stream *s);

/* A stream over descriptors (socket, pipe, terminal, regular file, /dev/null). Both are taken, also on
 * failure; the same number may be given twice, and either may be -1: reading then is at its end, writing
 * refused. Descriptors become non-blocking while the stream lives; a terminal or pipe, which other
 * processes share, is opened anew where that is possible and else gets its flags back at the end.
 * A pipe without a reader raises SIGPIPE: programs ignore that signal. -UVM_E_NOMEM, -UVM_E_IO. */
int uvm__stream_from_fds(uvm_engine *e, int take_read_fd, int take_write_fd,
                         struct uvm__stream **ret);

/* ---- for transports ----------------------------------------------------------------------- */

struct uvm__stream_ops {
    ssize_t (*read)(struct uvm__stream *s, void *buf, size_t bytes);
    ssize_t (*write)(struct uvm__stream *s, const void *buf, size_t bytes);
    void (*shutdown)(struct uvm__stream *s);
    void (*close)(struct uvm__stream *s); /* owns the object from here */
    void (*reset)(struct uvm__stream *s); /* likewise */
    void (*wanted)(
        struct uvm__stream *s); /* events were armed: raise those that hold, now or later */
};

/* Base of every transport's stream. */
struct uvm__stream {
    const struct uvm__stream_ops *ops;
    uvm_engine *engine;
    uvm__stream_fn on_event;
    void *arg;
    struct uvm__ready ready;
    uint8_t armed;                  /* events that the consumer waits for */
    uint8_t pending;                /* raised, not yet told */
    struct uvm__listener *listener; /* that accepted it and counts it; NULL: none */
    struct uvm__list listener_link;
};

void uvm__stream_init(struct uvm__stream *s, uvm_engine *e, const struct uvm__stream_ops *ops);
/* Tells the consumer, later, those of `events` that it waits for. */
void uvm__stream_raise(struct uvm__stream *s, unsigned events);
