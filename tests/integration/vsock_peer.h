/* SPDX-License-Identifier: MIT
 * vsock_peer.h — what vsock_test and its program in the guest agree on.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { PEER_COMMANDS = 109 }; /* a port of the host */

/* Ports of the guest. */
enum {
    PEER_ECHO = 5000,
    PEER_SINK,
    PEER_SINK_BYTEWISE,
    PEER_DRAIN,
    PEER_SOURCE,
    PEER_FLOOD,
    PEER_SHORT,
    PEER_NOBODY
};

/* Bytes at..at+bytes of the stream that both sides know. */
static inline void peer_pattern(uint8_t *to, size_t bytes, uint64_t at) {
    for (size_t i = 0; i < bytes; i++, at++) {
        to[i] = (uint8_t)(at ^ (at >> 8) * 7 ^ (at >> 16) * 13);
    }
}
