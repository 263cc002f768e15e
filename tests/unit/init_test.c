/* SPDX-License-Identifier: MIT
 *
 * Tests of what of /init can run outside of a guest: its command line (PROTOCOL-bridge.md) and the
 * ports on it. The rest boots in tests/integration.
 */
#include "cmd/gcs/early.h"
#include "cmd/gcs/init.h"

#include "tests/unit/cm.h"

#include <string.h>

enum { ARGS_MAX = 8 };

static void reads_command_lines(void **state) {
    static const struct {
        const char *argv[ARGS_MAX];
        uint32_t port;
        bool overlays;
        const char *shell, *program, *argument;
    } cases[] = {
        {{"/init", "-e", "1", "/bin/vsockexec", "-e", "109"}, 1, 0, NULL, "/bin/vsockexec", "-e"},
        {{"/init", "-w", "-e4294967295", "sh"}, 4294967295, 1, NULL, "sh", NULL},
        {{"/init", "-d", "/bin/ash", "gcs", "-w"}, 0, 0, "/bin/ash", "gcs", "-w"},
        {{"/init", "-d", "/bin/ash"}, 0, 0, "/bin/ash", NULL, NULL},
        {{"/init", "--", "-x"}, 0, 0, NULL, "-x", NULL},
        {{"/init"}, 0, 0, "/bin/sh", "/bin/gcs", "-v4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct uvm__init_options o;
        int argc = 0;

        while (cases[i].argv[argc] != NULL) {
            argc++;
        }
        assert_int_equal(uvm__init_options_read(argc, (char **)cases[i].argv, &o), 0);
        assert_int_equal(o.entropy_port, cases[i].port);
        assert_int_equal(o.overlays, cases[i].overlays);
        assert_int_equal(o.shell == NULL, cases[i].shell == NULL);
        assert_string_equal(o.shell ? o.shell : "", cases[i].shell ? cases[i].shell : "");
        assert_int_equal(o.program[0] == NULL, cases[i].program == NULL);
        if (o.program[0] != NULL) {
            assert_string_equal(o.program[0], cases[i].program);
            assert_string_equal(o.program[1] ? o.program[1] : "",
                                cases[i].argument ? cases[i].argument : "");
        }
    }
}

static void refuses_command_lines(void **state) {
    static const char *const cases[][ARGS_MAX] = {
        {"/init", "-e", "0", "/bin/gcs"},
        {"/init", "-e", "one", "/bin/gcs"},
        {"/init", "-e"},
        {"/init", "-e", "4294967296", "/bin/gcs"},
        {"/init", "-e", "-1", "/bin/gcs"},
        {"/init", "-x", "/bin/gcs"},
        {"/init", "-w"},
        {"/init", "-d"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct uvm__init_options o = {.entropy_port = 77};
        int argc = 0;

        while (cases[i][argc] != NULL) {
            argc++;
        }
        assert_int_equal(uvm__init_options_read(argc, (char **)cases[i], &o), -1);
        assert_int_equal(o.entropy_port, 77);
    }
}

static void parses_ports(void **state) {
    static const char *const bad[] = {"",   "0",  "00",  " 1",
                                      "+1", "1 ", "0x1", "99999999999999999999"};
    uint32_t port = 0;

    (void)state;
    assert_int_equal(uvm__port_parse("1073741824", &port), 0);
    assert_int_equal(port, 0x40000000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(uvm__port_parse(bad[i], &port), -1);
    }
    assert_int_equal(port, 0x40000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_command_lines),
        cmocka_unit_test(refuses_command_lines),
        cmocka_unit_test(parses_ports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
