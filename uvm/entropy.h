/* SPDX-License-Identifier: MIT
 * entropy.h — the guest's first random bytes: 512 of them to whoever dials the entropy port, once.
 *
 * Bound in time by the VM's end, in count by one stream, in bytes by UVM__ENTROPY_BYTES. What the guest
 * does with them is its own affair: nothing here can fail a boot (PROTOCOL-bridge.md, Transport).
 */
#pragma once
#include "hvsock/hvsock.h"

#define UVM__ENTROPY_BYTES 512u

struct uvm__entropy {
    struct uvm__stream *stream; /* NULL: nobody is being fed */
    uint16_t sent;
    uint8_t bytes[UVM__ENTROPY_BYTES];
};

void uvm__entropy_feed(struct uvm__entropy *n, uvm_engine *e, struct uvm__stream *take_stream);
void uvm__entropy_stop(struct uvm__entropy *n); /* idempotent */
