/* SPDX-License-Identifier: MIT
 * frame.c — frames in and out of byte buffers.
 *
 * The reader is one window [head, head + len) in one block. It grows only when the block is full of
 * bytes that really arrived, by doubling, and never beyond the frame that its header promises, so what a
 * peer can make us hold is at most twice what it has sent. A header is judged before any byte behind it
 * matters: a bad size never decides an allocation.
 */
#include "bridge/frame.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/le.h"
#include <inttypes.h>
#include <string.h>

#define PAGE_BYTES 4096u

void uvm__frame_header_write(const struct uvm__frame_header *h,
                             uint8_t ret_bytes[UVM__FRAME_HEADER_BYTES]) {
    uvm__le_put(ret_bytes, h->type, 4);
    uvm__le_put(ret_bytes + 4, h->size, 4);
    uvm__le_put(ret_bytes + 8, h->id, 8);
}

void uvm__frame_header_read(const uint8_t bytes[UVM__FRAME_HEADER_BYTES],
                            struct uvm__frame_header *ret) {
    ret->type = (uint32_t)uvm__le_get(bytes, 4);
    ret->size = (uint32_t)uvm__le_get(bytes + 4, 4);
    ret->id = uvm__le_get(bytes + 8, 8);
}

/* ---- reader ------------------------------------------------------------------------------- */

void uvm__frame_reader_init(struct uvm__frame_reader *r, uvm_engine *e, size_t bytes_max) {
    UVM_ASSERT_CMP(bytes_max, >=, UVM__FRAME_HEADER_BYTES);
    *r = (struct uvm__frame_reader){.engine = e, .bytes_max = bytes_max};
}

void uvm__frame_reader_deinit(struct uvm__frame_reader *r) {
    uvm__frame_reader_reset(r);
}

void uvm__frame_reader_reset(struct uvm__frame_reader *r) {
    if (r->engine != NULL) {
        uvm__free(r->engine, r->data);
    }
    *r = (struct uvm__frame_reader){.engine = r->engine, .bytes_max = r->bytes_max};
}

static bool size_allowed(const struct uvm__frame_reader *r, uint32_t size) {
    return size >= UVM__FRAME_HEADER_BYTES && size <= r->bytes_max;
}

/* Bytes that the frame in progress needs as a whole, as far as one can tell. */
static size_t wanted(const struct uvm__frame_reader *r) {
    if (r->len < UVM__FRAME_HEADER_BYTES) {
        return UVM__FRAME_HEADER_BYTES;
    }
    struct uvm__frame_header h;
    uvm__frame_header_read(r->data + r->head, &h);
    return size_allowed(r, h.size) ? h.size : UVM__FRAME_HEADER_BYTES;
}

/* Makes room behind the window; *ret_room 0: there is a whole frame (or a bad header) to take first. */
static int make_room(struct uvm__frame_reader *r, size_t *ret_room) {
    size_t need = wanted(r);
    if (r->len >= need) {
        *ret_room = 0;
        return 0;
    }
    if (r->head > 0 && (r->head + r->len == r->cap || r->head + need > r->cap)) {
        memmove(r->data, r->data + r->head, r->len);
        r->head = 0;
    }
    if (r->head + r->len == r->cap) {
        size_t cap = r->cap * 2 < PAGE_BYTES ? PAGE_BYTES : r->cap * 2;
        if (cap > need && cap > PAGE_BYTES) {
            cap = need > PAGE_BYTES ? need : PAGE_BYTES;
        }
        UVM_ASSERT_CMP(cap, >, r->len);
        uint8_t *data = uvm__realloc(r->engine, r->data, cap);
        if (data == NULL) {
            return -UVM_E_NOMEM;
        }
        r->data = data;
        r->cap = cap;
    }
    *ret_room = r->cap - r->head - r->len;
    return 0;
}

ssize_t uvm__frame_reader_feed(struct uvm__frame_reader *r, const void *data, size_t bytes) {
    UVM_ASSERT(r->shown == 0);
    size_t room;
    int rc = make_room(r, &room);
    if (rc < 0) {
        return rc;
    }
    size_t n = bytes < room ? bytes : room;
    if (n > 0) {
        memcpy(r->data + r->head + r->len, data, n);
    }
    r->len += n;
    return (ssize_t)n;
}

ssize_t uvm__frame_reader_fill(struct uvm__frame_reader *r, struct uvm__stream *s) {
    UVM_ASSERT(r->shown == 0);
    size_t room;
    int rc = make_room(r, &room);
    if (rc < 0) {
        return rc;
    }
    UVM_ASSERT_CMP(room, >, 0); /* frames are taken before more is read */
    ssize_t n = uvm__stream_read(s, r->data + r->head + r->len, room);
    if (n > 0) {
        UVM_ASSERT_CMP((size_t)n, <=, room);
        r->len += (size_t)n;
    }
    return n;
}

int uvm__frame_reader_next(struct uvm__frame_reader *r, struct uvm__frame *ret,
                           struct uvm__fail *f) {
    if (r->len < UVM__FRAME_HEADER_BYTES) {
        return 0;
    }
    struct uvm__frame_header h;
    uvm__frame_header_read(r->data + r->head, &h);
    if (!size_allowed(r, h.size)) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0,
                         "frame of type 0x%08" PRIx32 " and id %" PRIu64 " says it has %" PRIu32
                         " bytes (%u to %zu allowed)",
                         h.type, h.id, h.size, UVM__FRAME_HEADER_BYTES, r->bytes_max);
    }
    if (r->len < h.size) {
        return 0;
    }
    r->shown = h.size;
    *ret = (struct uvm__frame){
        .header = h,
        .body = r->data + r->head + UVM__FRAME_HEADER_BYTES,
        .body_bytes = h.size - UVM__FRAME_HEADER_BYTES,
    };
    return 1;
}

void uvm__frame_reader_drop(struct uvm__frame_reader *r) {
    UVM_ASSERT(r->shown > 0 && r->shown <= r->len);
    r->head += r->shown;
    r->len -= r->shown;
    r->shown = 0;
    if (r->len == 0) {
        r->head = 0;
        if (r->cap > PAGE_BYTES) {
            uvm__frame_reader_reset(r);
        }
    }
}

bool uvm__frame_reader_partial(const struct uvm__frame_reader *r) {
    return r->len > 0;
}

/* ---- building ----------------------------------------------------------------------------- */

int uvm__frame_begin(struct uvm__buf *b) {
    UVM_ASSERT_CMP(b->len, ==, 0);
    static const uint8_t room[UVM__FRAME_HEADER_BYTES];
    return uvm__buf_append(b, room, sizeof room);
}

int uvm__frame_end(struct uvm__buf *b, uint32_t type, uint64_t id, size_t bytes_max) {
    UVM_ASSERT_CMP(b->len, >=, UVM__FRAME_HEADER_BYTES);
    if (b->len > bytes_max || b->len > UINT32_MAX) {
        return -UVM_E_LIMIT;
    }
    struct uvm__frame_header h = {.type = type, .size = (uint32_t)b->len, .id = id};
    uvm__frame_header_write(&h, b->data);
    return 0;
}

void uvm__frame_set_id(struct uvm__buf *b, uint64_t id) {
    UVM_ASSERT_CMP(b->len, >=, UVM__FRAME_HEADER_BYTES);
    uvm__le_put(b->data + 8, id, 8);
}
