/* SPDX-License-Identifier: MIT
 * addr.c — a vsock port as the GUID of an hvsock service, and back.
 *
 * The port is the first field of a fixed template (go-winio's hvsock.go), so both directions are exact; a
 * GUID outside the template is no port.
 */
#include "async/guid.h"
#include "hvsock/hvsock.h"
#include <string.h>

static const uint8_t template[12] = {0xfa, 0xcb, 0x11, 0xe6, 0xbd, 0x58,
                                     0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3};

void uvm__hvsock_port_to_guid(uint32_t port, char ret_text[37]) {
    struct uvm__guid g;
    for (unsigned i = 0; i < 4; i++) {
        g.bytes[i] = (uint8_t)(port >> (24 - 8 * i));
    }
    memcpy(g.bytes + 4, template, sizeof template);
    uvm__guid_text(&g, ret_text);
}

int uvm__hvsock_guid_to_port(const char *text, uint32_t *ret_port) {
    struct uvm__guid g;
    if (uvm__guid_read(text, strlen(text), &g) < 0 ||
        memcmp(g.bytes + 4, template, sizeof template) != 0) {
        return -UVM_E_INVAL;
    }
    *ret_port = (uint32_t)g.bytes[0] << 24 | (uint32_t)g.bytes[1] << 16 |
                (uint32_t)g.bytes[2] << 8 | g.bytes[3];
    return 0;
}
