/* SPDX-License-Identifier: MIT
 * console.h — the guest's serial console: always drained, its tail kept, passed on as it comes.
 *
 * A console that nobody reads would stall the guest's printk within some hundred characters, so what cannot
 * be passed on is dropped there, and counted; the tail has it all the same.
 */
#pragma once
#include "async/async.h"

struct uvm__console;

struct uvm__console_params {
    int take_fd;      /* our end of the VMM's socket; taken, also on failure */
    int take_peer_fd; /* where the document's ComPort leads: both directions; -1: nowhere; taken */
    void (*on_output)(struct uvm__console *c, const void *data, size_t bytes, void *arg);
    void *arg;
};

int uvm__console_open(uvm_engine *e, const struct uvm__console_params *params,
                      struct uvm__console **ret);
/* Copies the newest kept bytes; NUL-terminated; returns the length. */
size_t uvm__console_tail(const struct uvm__console *c, char *buf, size_t bytes);
uint64_t uvm__console_bytes(const struct uvm__console *c);   /* ever written by the guest */
uint64_t uvm__console_dropped(const struct uvm__console *c); /* not taken by the peer */
/* No callback but on_closed after the call. The tail is gone with it. */
void uvm__console_close(struct uvm__console *c, void (*on_closed)(void *arg), void *arg);
