/* SPDX-License-Identifier: MIT
 * frame.h — the bridge's frames: a 16-byte little-endian header {type, size, id} and a JSON
 * text.
 *
 * The reader takes bytes in any segmentation, checks a header as soon as it is whole, and
 * allocates only for what has arrived: a header that promises 16 MiB costs nothing. One buffer,
 * freed when it is idle and larger than a page.
 * Limits: the receiver's, header included (host UVM__FRAME_BYTES_MAX, agent
 * UVM__SERVER_FRAME_BYTES_MAX).
 * Source: docs/PROTOCOL-bridge.md, Frames. */
#pragma once
#include "async/buf.h"
#include "async/error.h"
#include "async/limits.h"
#include "hvsock/stream.h"

#define UVM__FRAME_HEADER_BYTES 16u

struct uvm__frame_header {
    uint32_t type;
    uint32_t size; /* of the whole frame, these 16 bytes included */
    uint64_t id;
};

void uvm__frame_header_write(const struct uvm__frame_header *h,
                             uint8_t ret_bytes[UVM__FRAME_HEADER_BYTES]);
void uvm__frame_header_read(const uint8_t bytes[UVM__FRAME_HEADER_BYTES],
                            struct uvm__frame_header *ret);

/* A frame as the reader shows it: `body` points into the reader, until the next call on it. */
struct uvm__frame {
    struct uvm__frame_header header;
    const uint8_t *body;
    size_t body_bytes;
};

struct uvm__frame_reader {
    uvm_engine *engine;
    uint8_t *data;
    size_t cap, head, len; /* unread bytes: data[head] … data[head + len - 1] */
    size_t shown;          /* bytes of the frame that was given out and not yet dropped */
    size_t bytes_max;
};

void uvm__frame_reader_init(struct uvm__frame_reader *r, uvm_engine *e, size_t bytes_max);
void uvm__frame_reader_deinit(struct uvm__frame_reader *r);
/* Another connection: forgets what is here. */
void uvm__frame_reader_reset(struct uvm__frame_reader *r);

/* Appends bytes, as many as are wanted now (the frame in progress, or up to a page more):
 * returns the number taken, or -UVM_E_NOMEM with nothing taken. */
ssize_t uvm__frame_reader_feed(struct uvm__frame_reader *r, const void *data, size_t bytes);
/* Reads from the stream what it has, up to the same bound: > 0 bytes, 0 end of file, -UVM_E_AGAIN,
 * -UVM_E_CLOSED, -UVM_E_NOMEM. */
ssize_t uvm__frame_reader_fill(struct uvm__frame_reader *r, struct uvm__stream *s);

/* 1: the next frame, which stays until uvm__frame_reader_drop() (asking again gives the same one);
 * 0: more bytes are needed; -UVM_E_PROTOCOL: a header with a size below 16 or above the limit. */
int uvm__frame_reader_next(struct uvm__frame_reader *r, struct uvm__frame *ret,
                           struct uvm__fail *f);
void uvm__frame_reader_drop(struct uvm__frame_reader *r);
/* Bytes of an unfinished frame: an end of file here is one inside a frame. */
bool uvm__frame_reader_partial(const struct uvm__frame_reader *r);

/* Building one: begin leaves room for the header, the caller appends the body, end writes the
 * header. end: -UVM_E_LIMIT when the frame is larger than `bytes_max`. The id may be set again
 * later. */
int uvm__frame_begin(struct uvm__buf *b);
int uvm__frame_end(struct uvm__buf *b, uint32_t type, uint64_t id, size_t bytes_max);
void uvm__frame_set_id(struct uvm__buf *b, uint64_t id);
