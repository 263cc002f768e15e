/* SPDX-License-Identifier: MIT
 * entropy.h — the kernel's random pool, fed from a port of the host (PROTOCOL-bridge.md, Transport). */
#pragma once

#include <stdint.h>

/* Reads the port to its end and credits every byte in full. Bounded in bytes and time, for a host
 * that never closes must not stop the boot. 0, or -1 after a warning on stderr.                   */
int uvm__entropy_feed(uint32_t port);
