/* SPDX-License-Identifier: MIT
 * qemu_exit_test.c — every end of a VM, as QEMU tells it, to the one reason that its owner hears.
 */
#include "hcs/qemu/exit.h"
#include "tests/unit/cm.h"

#include <string.h>

#define EXITED(n) ((n) << 8)
#define KILLED(n) (n)
#define UNKNOWN (-1)

/* What happens, in order: P panicked, S shutdown, R reset, p shutdown for a panic, q for quit, s for a
 * signal, T we terminate. */
static const struct row {
    const char *happens;
    int status;
    enum uvm__hcs_exit reason;
    const char *text;
} rows[] = {
    {"S", EXITED(0), UVM__HCS_EXIT_GUEST_SHUTDOWN, "guest-shutdown; qemu: exit status 0"},
    {"R", EXITED(0), UVM__HCS_EXIT_GUEST_RESET, "guest-reset; qemu: exit status 0"},
    {"Pp", EXITED(1), UVM__HCS_EXIT_GUEST_PANIC, "guest-panic; qemu: exit status 1"},
    {"P", KILLED(9), UVM__HCS_EXIT_GUEST_PANIC, "qemu: killed by SIGKILL"},
    {"PR", EXITED(0), UVM__HCS_EXIT_GUEST_PANIC, "guest-reset; qemu: exit status 0"},
    {"Tq", EXITED(0), UVM__HCS_EXIT_TERMINATED, "host-qmp-quit; qemu: exit status 0"},
    {"T", KILLED(9), UVM__HCS_EXIT_TERMINATED, "qemu: killed by SIGKILL"},
    {"T", UNKNOWN, UVM__HCS_EXIT_TERMINATED, "qemu: status unknown"},
    {"s", EXITED(0), UVM__HCS_EXIT_VMM_DIED, "host-signal; qemu: exit status 0"},
    {"q", EXITED(0), UVM__HCS_EXIT_VMM_DIED, "host-qmp-quit; qemu: exit status 0"},
    {"", KILLED(9), UVM__HCS_EXIT_VMM_DIED, "qemu: killed by SIGKILL"},
    {"", KILLED(11), UVM__HCS_EXIT_VMM_DIED, "qemu: killed by SIGSEGV"},
    {"", KILLED(31), UVM__HCS_EXIT_VMM_DIED, "qemu: killed by SIGSYS"},
    {"", EXITED(0), UVM__HCS_EXIT_VMM_DIED, "qemu: exit status 0"},
    {"", EXITED(1), UVM__HCS_EXIT_VMM_DIED, "qemu: exit status 1"},
    {"", UNKNOWN, UVM__HCS_EXIT_VMM_DIED, "qemu: status unknown"},
    /* What the guest said holds, whatever the host did after it. */
    {"ST", KILLED(9), UVM__HCS_EXIT_GUEST_SHUTDOWN, "guest-shutdown; qemu: killed by SIGKILL"},
    {"RT", KILLED(9), UVM__HCS_EXIT_GUEST_RESET, "guest-reset; qemu: killed by SIGKILL"},
    {"PT", KILLED(9), UVM__HCS_EXIT_GUEST_PANIC, "qemu: killed by SIGKILL"},
    {"S", UNKNOWN, UVM__HCS_EXIT_GUEST_SHUTDOWN, "guest-shutdown; qemu: status unknown"},
    /* Ours holds over what the guest says while we end it. */
    {"TS", EXITED(0), UVM__HCS_EXIT_TERMINATED, "guest-shutdown; qemu: exit status 0"},
    /* Somebody else's signal came before our wish. */
    {"sT", EXITED(0), UVM__HCS_EXIT_VMM_DIED, "host-signal; qemu: exit status 0"},
};

static void happen(struct uvm__exit_facts *facts, char what) {
    switch (what) {
    case 'P':
        uvm__exit_on_panic(facts);
        break;
    case 'S':
        uvm__exit_on_shutdown(facts, "guest-shutdown");
        break;
    case 'R':
        uvm__exit_on_shutdown(facts, "guest-reset");
        break;
    case 'p':
        uvm__exit_on_shutdown(facts, "guest-panic");
        break;
    case 'q':
        uvm__exit_on_shutdown(facts, "host-qmp-quit");
        break;
    case 's':
        uvm__exit_on_shutdown(facts, "host-signal");
        break;
    default:
        uvm__exit_on_terminate(facts);
    }
}

static void each_end(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uvm__exit_facts facts = {.status = -1};
        char text[128];
        for (const char *p = rows[i].happens; *p != '\0'; p++) {
            happen(&facts, *p);
        }
        facts.exited = true;
        facts.status = rows[i].status;
        int shown = rows[i].status == UNKNOWN ? -1
                    : rows[i].status >= 256   ? rows[i].status >> 8
                    : rows[i].status == 0     ? 0
                                              : 128 + rows[i].status;
        assert_int_equal(uvm__exit_status(&facts), shown);
        uvm__exit_text(&facts, text, sizeof text);
        if (uvm__exit_reason(&facts) != rows[i].reason || strcmp(text, rows[i].text) != 0) {
            fail_msg("row %zu (%s): %s, \"%s\"", i, rows[i].happens,
                     uvm__hcs_exit_text(uvm__exit_reason(&facts)), text);
        }
    }
}

static void no_word_and_no_end(void **state) {
    (void)state;
    struct uvm__exit_facts facts = {.status = -1, .hvsock_broken = true};
    char text[128];
    assert_int_equal(uvm__exit_reason(&facts), UVM__HCS_EXIT_VMM_DIED);
    assert_int_equal(uvm__exit_status(&facts), -1);
    uvm__exit_text(&facts, text, sizeof text);
    assert_string_equal(text, "its hvsock device was stopped; qemu: still there, and was killed");
}

/* Killed, and there still: that comes before anything that was said. */
static void held_by_the_kernel(void **state) {
    (void)state;
    struct uvm__exit_facts facts = {.status = -1};
    char text[128];
    uvm__exit_on_shutdown(&facts, "guest-shutdown");
    uvm__exit_on_terminate(&facts);
    facts.stuck = 4711;
    assert_int_equal(uvm__exit_reason(&facts), UVM__HCS_EXIT_STUCK);
    assert_int_equal(uvm__exit_status(&facts), -1);
    uvm__exit_text(&facts, text, sizeof text);
    assert_string_equal(text, "guest-shutdown; qemu: process 4711, which the kernel holds "
                              "(/proc/4711/wchan says where)");
}

/* QEMU's text is not ours: long ones are cut, unknown ones are somebody on the host. */
static void strange_reasons(void **state) {
    (void)state;
    struct uvm__exit_facts facts = {.status = -1};
    char text[128], reason[200];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    uvm__exit_on_shutdown(&facts, reason);
    assert_int_equal(uvm__exit_reason(&facts), UVM__HCS_EXIT_VMM_DIED);
    uvm__exit_text(&facts, text, sizeof text);
    assert_true(strlen(text) < 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end),
        cmocka_unit_test(no_word_and_no_end),
        cmocka_unit_test(held_by_the_kernel),
        cmocka_unit_test(strange_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
