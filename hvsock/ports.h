/* SPDX-License-Identifier: MIT
 * ports.h — well-known ports (docs/PROTOCOL-bridge.md, Transport; the offer channel is ours).
 * Header only, since the guest's first program knows them too, which has neither library nor loop.
 */
#pragma once

#define UVM__PORT_ENTROPY 1u
#define UVM__PORT_LOG 109u
#define UVM__PORT_PLAN9 564u              /* the reference's: whatever share is on it */
#define UVM__PORT_PLAN9_FIRST 0x30000000u /* ours: a port a share */
#define UVM__PORT_PLAN9_LAST 0x3000ffffu
#define UVM__PORT_OFFERS 0x3ffffff0u /* which devices are there */
#define UVM__PORT_BRIDGE 0x40000000u
#define UVM__PORT_STDIO_FIRST 0x40000001u
