/* SPDX-License-Identifier: MIT
 * ports.c — see ports.h.
 */
#include "hcs/qemu/ports.h"

#include "async/check.h"
#include "hcs/qemu/argv.h"

int uvm__qemu_port_take(struct uvm__qemu_ports *p, const char *who, unsigned *ret_port,
                        struct uvm__fail *f) {
    for (unsigned n = 0; n < UVM__QEMU_ROOT_PORTS; n++) {
        if ((p->taken & (1u << n)) == 0) {
            p->taken |= 1u << n;
            *ret_port = n;
            return 0;
        }
    }
    return uvm__fail(f, UVM_E_LIMIT, 0,
                     "%.160s: all %u PCI ports of the VM are taken; detach a network adapter, an "
                     "assigned device or the last share of a mode",
                     who, UVM__QEMU_ROOT_PORTS);
}

void uvm__qemu_port_give(struct uvm__qemu_ports *p, unsigned port) {
    UVM_ASSERT_CMP(port, <, UVM__QEMU_ROOT_PORTS);
    UVM_ASSERT((p->taken & (1u << port)) != 0);
    p->taken &= ~(1u << port);
}
