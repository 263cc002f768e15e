/* SPDX-License-Identifier: MIT
 * json_out_int.h — writes JSON text as the reference's encoder does, straight into a buffer.
 *
 * Key order is the order of the calls. A failure of the buffer sticks in `rc` and the rest does nothing.
 * Without a buffer the writer only counts, which is how texts are cut to fit a frame.
 * `html`: <, > and & become \u003c … (docs/PROTOCOL-bridge.md, JSON rules). Invalid UTF-8 becomes
 * \ufffd.
 */
#pragma once
#include "async/buf.h"

struct uvm__json_out {
    struct uvm__buf *buf; /* NULL: count only */
    size_t bytes;         /* written (or counted) so far */
    bool html;
    bool comma; /* the next member or element needs one before it */
    int rc;
};

void uvm__json_out_init(struct uvm__json_out *o, struct uvm__buf *buf, bool html);
void uvm__json_out_raw(struct uvm__json_out *o, const char *text, size_t bytes);
void uvm__json_out_open(struct uvm__json_out *o, char bracket);  /* '{' or '[' */
void uvm__json_out_close(struct uvm__json_out *o, char bracket); /* '}' or ']' */
void uvm__json_out_key(struct uvm__json_out *o, const char *key);
/* A value, after a key or as an element of an array. */
void uvm__json_out_string(struct uvm__json_out *o, const char *text, size_t bytes);
void uvm__json_out_int(struct uvm__json_out *o, int64_t value);
/* Key and value. */
void uvm__json_out_member(struct uvm__json_out *o, const char *key, const char *text);
void uvm__json_out_member_int(struct uvm__json_out *o, const char *key, int64_t value);
void uvm__json_out_member_true(struct uvm__json_out *o, const char *key, bool value); /* if set */

/* How many bytes of `text` can be written so that they take at most `room` bytes with escapes; ends
 * between two characters. */
size_t uvm__json_out_fitting(const char *text, size_t bytes, bool html, size_t room);
