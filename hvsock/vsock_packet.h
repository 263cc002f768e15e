/* SPDX-License-Identifier: MIT
 * vsock_packet.h — the header of a virtio-vsock packet (virtio 1.2 §5.10.6), to and from its 44 bytes.
 *
 * Little-endian, packed. Decoding takes any bytes; what the fields may hold is the engine's to judge.
 */
#pragma once
#include "async/le.h"

#define UVM__VSOCK_HEADER_BYTES 44u
#define UVM__VSOCK_PAYLOAD_MAX 65536u
#define UVM__VSOCK_CID_HOST 2u
#define UVM__VSOCK_TYPE_STREAM 1u

enum uvm__vsock_op {
    UVM__VSOCK_OP_INVALID,
    UVM__VSOCK_OP_REQUEST,
    UVM__VSOCK_OP_RESPONSE,
    UVM__VSOCK_OP_RST,
    UVM__VSOCK_OP_SHUTDOWN,
    UVM__VSOCK_OP_RW,
    UVM__VSOCK_OP_CREDIT_UPDATE,
    UVM__VSOCK_OP_CREDIT_REQUEST,
    UVM__VSOCK_OP_MAX
};

/* Flags of SHUTDOWN: permanent hints of its sender. */
enum { UVM__VSOCK_SHUT_RCV = 1, UVM__VSOCK_SHUT_SEND = 2, UVM__VSOCK_SHUT_BOTH = 3 };

struct uvm__vsock_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len;
    uint16_t type, op;
    uint32_t flags;
    uint32_t buf_alloc, fwd_cnt;
};

static inline void uvm__vsock_decode(const uint8_t raw[UVM__VSOCK_HEADER_BYTES],
                                     struct uvm__vsock_header *ret) {
    ret->src_cid = uvm__le_get(raw, 8);
    ret->dst_cid = uvm__le_get(raw + 8, 8);
    ret->src_port = (uint32_t)uvm__le_get(raw + 16, 4);
    ret->dst_port = (uint32_t)uvm__le_get(raw + 20, 4);
    ret->len = (uint32_t)uvm__le_get(raw + 24, 4);
    ret->type = (uint16_t)uvm__le_get(raw + 28, 2);
    ret->op = (uint16_t)uvm__le_get(raw + 30, 2);
    ret->flags = (uint32_t)uvm__le_get(raw + 32, 4);
    ret->buf_alloc = (uint32_t)uvm__le_get(raw + 36, 4);
    ret->fwd_cnt = (uint32_t)uvm__le_get(raw + 40, 4);
}

static inline void uvm__vsock_encode(const struct uvm__vsock_header *h,
                                     uint8_t ret_raw[UVM__VSOCK_HEADER_BYTES]) {
    uvm__le_put(ret_raw, h->src_cid, 8);
    uvm__le_put(ret_raw + 8, h->dst_cid, 8);
    uvm__le_put(ret_raw + 16, h->src_port, 4);
    uvm__le_put(ret_raw + 20, h->dst_port, 4);
    uvm__le_put(ret_raw + 24, h->len, 4);
    uvm__le_put(ret_raw + 28, h->type, 2);
    uvm__le_put(ret_raw + 30, h->op, 2);
    uvm__le_put(ret_raw + 32, h->flags, 4);
    uvm__le_put(ret_raw + 36, h->buf_alloc, 4);
    uvm__le_put(ret_raw + 40, h->fwd_cnt, 4);
}
