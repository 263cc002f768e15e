/* SPDX-License-Identifier: MIT
 * ports.h — well-known ports (docs/PROTOCOL-bridge.md, Transport; the offer channel is ours).
 * Header only, since the guest's first program knows them too, which has neither library nor loop.
 */
#pragma once

#define UVM__PORT_ENTROPY 1u
#define UVM__PORT_LOG 109u
#define UVM__PORT_OFFERS 0x3ffffff0u /* which devices are there */
#define UVM__PORT_BRIDGE 0x40000000u
#define UVM__PORT_STDIO_FIRST 0x40000001u
