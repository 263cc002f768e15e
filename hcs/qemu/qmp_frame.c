/* SPDX-License-Identifier: MIT
 * qmp_frame.c — cuts a byte stream into lines without copying a line, and without scanning a byte twice.
 *
 * What was taken out stays in the buffer until the next feed, which moves the rest to the front; so a
 * line that the caller holds is stable while it works on it. The peer is hostile: a line without end is
 * refused at the limit, whatever comes with it.
 */
#include "hcs/qemu/qmp_frame.h"

#include <string.h>

#include "async/check.h"
#include "async/limits.h"

void uvm__qmp_frame_init(struct uvm__qmp_frame *frame, uvm_engine *e) {
    *frame = (struct uvm__qmp_frame){.begin = 0};
    /* Room for one line at the limit and one feed behind it. */
    uvm__buf_init(&frame->in, e, (size_t)2 * UVM__QMP_LINE_BYTES_MAX);
}

void uvm__qmp_frame_deinit(struct uvm__qmp_frame *frame) {
    uvm__buf_deinit(&frame->in);
    frame->begin = 0;
    frame->scanned = 0;
}

int uvm__qmp_frame_feed(struct uvm__qmp_frame *frame, const void *data, size_t bytes) {
    if (frame->begin > 0) {
        uvm__buf_consume(&frame->in, frame->begin);
        frame->begin = 0;
    }
    int rc = uvm__buf_append(&frame->in, data, bytes);
    if (rc < 0) {
        return rc;
    }
    const uint8_t *end =
        memchr(frame->in.data + frame->scanned, '\n', frame->in.len - frame->scanned);
    size_t line_bytes = end == NULL ? frame->in.len : (size_t)(end - frame->in.data);
    return line_bytes > UVM__QMP_LINE_BYTES_MAX ? -UVM_E_LIMIT : 0;
}

bool uvm__qmp_frame_next(struct uvm__qmp_frame *frame, const char **ret_line, size_t *ret_bytes) {
    for (;;) {
        size_t from = frame->begin + frame->scanned;
        UVM_ASSERT_CMP(from, <=, frame->in.len);
        if (from == frame->in.len) {
            return false;
        }
        const uint8_t *end = memchr(frame->in.data + from, '\n', frame->in.len - from);
        if (end == NULL) {
            frame->scanned = frame->in.len - frame->begin;
            return false;
        }
        const char *line = (const char *)frame->in.data + frame->begin;
        size_t bytes = (size_t)((const char *)end - line);
        frame->begin += bytes + 1;
        frame->scanned = 0;
        if (bytes > 0 && line[bytes - 1] == '\r') {
            bytes--;
        }
        if (bytes > 0) {
            *ret_line = line;
            *ret_bytes = bytes;
            return true;
        }
    }
}
