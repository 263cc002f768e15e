/* SPDX-License-Identifier: MIT
 * early.h — what the blocking programs of the guest share: messages, numbers, descriptors, a dial.
 *
 * For processes without a loop only; the agent has the engine's own doors for all of this.        */
#pragma once

#include <stdint.h>

/* One line on stderr, "who: …". No allocation; a long one is cut. */
void uvm__say(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A decimal vsock port from 1 to UINT32_MAX: 0, or -1 for anything else. */
int uvm__port_parse(const char *text, uint32_t *ret_port);

/* Makes sure that descriptors 0, 1 and 2 are open: on the console if there is one, else on
 * /dev/null. Without that the first file that is opened becomes somebody's stdout.                */
void uvm__stdio_ensure(void);

/* Dials a vsock port of the host (CID 2), once. Returns a close-on-exec descriptor, or -1 with
 * errno: ECONNRESET is how a refusal looks, ENODEV a guest without the device.                    */
int uvm__host_dial(uint32_t port);

/* Milliseconds since the kernel started, with their fraction. */
double uvm__boot_ms(void);
