/* SPDX-License-Identifier: MIT
 * qmp_frame.h — QMP's bytes to lines: one JSON object a line, bounded.
 */
#pragma once
#include "async/buf.h"

struct uvm__qmp_frame {
    struct uvm__buf in;
    size_t begin;   /* of the line that is next */
    size_t scanned; /* bytes from `begin` that have no newline */
};

void uvm__qmp_frame_init(struct uvm__qmp_frame *frame, uvm_engine *e);
void uvm__qmp_frame_deinit(struct uvm__qmp_frame *frame);
/* Takes bytes in; -UVM_E_LIMIT when a line grows beyond UVM__QMP_LINE_BYTES_MAX, -UVM_E_NOMEM. Lines must
 * be taken out until there is none before the next call. */
int uvm__qmp_frame_feed(struct uvm__qmp_frame *frame, const void *data, size_t bytes);
/* The next whole line without its end (\n or \r\n), valid until the next feed; false: none. Empty lines
 * are skipped. */
bool uvm__qmp_frame_next(struct uvm__qmp_frame *frame, const char **ret_line, size_t *ret_bytes);
