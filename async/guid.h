/* SPDX-License-Identifier: MIT
 * guid.h — GUIDs as text: 36 characters, written lower-case, read in either case, no braces.
 */
#pragma once
#include "async/async.h"

#define UVM_GUID_TEXT 37 /* with the terminator */

struct uvm__guid {
    uint8_t bytes[16]; /* in the order of the text */
};
extern const struct uvm__guid uvm__guid_null;

void uvm__guid_random(uvm_engine *e, struct uvm__guid *ret); /* version 4 */
void uvm__guid_text(const struct uvm__guid *g, char ret_text[UVM_GUID_TEXT]);
int uvm__guid_read(const char *text, size_t bytes, struct uvm__guid *ret); /* -UVM_E_INVAL */
bool uvm__guid_equal(const struct uvm__guid *a, const struct uvm__guid *b);
