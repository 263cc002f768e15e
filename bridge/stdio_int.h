/* SPDX-License-Identifier: MIT
 * stdio_int.h — one stream of a process relayed between the guest and a descriptor or callbacks.
 *
 * A relay belongs to its process. It is set up before the request is sent (descriptor, buffer), gets its
 * stream when the guest connects, and moves nothing before start. Its callbacks come from the ready queue
 * or the loop, one at a time; any of them may stop the relay.
 */
#pragma once
#include "async/engine.h"
#include "async/fdio_linux.h"
#include "bridge/process.h"

struct uvm__relay {
    uvm_engine *engine;
    uvm_op *op; /* whose state it is in; referenced while bytes move */
    enum uvm__stdio which;
    enum uvm__stdio_kind kind;
    struct uvm__stream *stream; /* NULL: not connected, or let go */
    struct uvm__fdio *fd;       /* NULL: none, or done with */
    uint8_t *buf; /* one buffer of bytes on their way: buf[at] … buf[at + len - 1] */
    size_t at, len;
    bool started, ended;
    bool eof;       /* nothing more comes from the source */
    bool held;      /* on_output took less than all */
    bool draining;  /* the process has exited: the idle clock runs */
    uvm_error *err; /* of the end */
    struct uvm__ready ready;
    struct uvm__deadline idle;
    /* Output, kind CALLBACK. */
    size_t (*on_output)(struct uvm__relay *r, const void *data, size_t bytes);
    /* Input, kind CALLBACK: the stream takes bytes again. */
    void (*on_writable)(struct uvm__relay *r);
    /* Once, unless stopped: it is done with. `err` as in on_stream_end. */
    void (*on_end)(struct uvm__relay *r, const uvm_error *err);
};

/* Kind NONE makes a relay that has ended. `fd` is borrowed during the call. */
int uvm__relay_init(struct uvm__relay *r, uvm_op *op, enum uvm__stdio which,
                    enum uvm__stdio_kind kind, int fd);
void uvm__relay_connect(struct uvm__relay *r, struct uvm__stream *take_stream);
void uvm__relay_start(struct uvm__relay *r);
/* The process has exited: output goes on until its end or the idle rule; input ends now. */
void uvm__relay_drain(struct uvm__relay *r);
void uvm__relay_resume(struct uvm__relay *r);
/* Input. */
ssize_t uvm__relay_write(struct uvm__relay *r, const void *data, size_t bytes);
void uvm__relay_close_input(struct uvm__relay *r);
/* Lets go of everything; no callback follows. Output that has not ended is reset. Idempotent, and a no-op
 * on zeros. */
void uvm__relay_stop(struct uvm__relay *r);
