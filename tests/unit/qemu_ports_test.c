/* SPDX-License-Identifier: MIT
 * qemu_ports_test.c — PCIe root ports: each given once, the lowest first, and what is said when none is left.
 */
#include "hcs/qemu/argv.h"
#include "hcs/qemu/ports.h"
#include "tests/unit/cm.h"

static void each_port_once_then_a_limit(void **state) {
    struct uvm__qemu_ports p = {0};
    struct uvm__fail f = {0};
    unsigned port = 0;

    (void)state;
    for (unsigned n = 0; n < UVM__QEMU_ROOT_PORTS; n++) {
        assert_int_equal(uvm__qemu_port_take(&p, "s1", &port, &f), 0);
        assert_int_equal(port, n);
    }
    port = 77;
    assert_int_equal(uvm__qemu_port_take(&p, "vsmb: s1", &port, &f), -UVM_E_LIMIT);
    assert_int_equal(port, 77);
    assert_memory_equal(f.msg, "vsmb: s1: all 8 PCI ports", 25);
}

static void a_port_that_was_given_back_is_the_next(void **state) {
    struct uvm__qemu_ports p = {0};
    struct uvm__fail f = {0};
    unsigned port = 0;

    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        assert_int_equal(uvm__qemu_port_take(&p, "s1", &port, &f), 0);
    }
    uvm__qemu_port_give(&p, 2);
    assert_int_equal(uvm__qemu_port_take(&p, "s1", &port, &f), 0);
    assert_int_equal(port, 2);
    assert_int_equal(uvm__qemu_port_take(&p, "s1", &port, &f), 0);
    assert_int_equal(port, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_port_once_then_a_limit),
        cmocka_unit_test(a_port_that_was_given_back_is_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
