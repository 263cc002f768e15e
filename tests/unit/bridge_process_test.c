/* SPDX-License-Identifier: MIT
 * bridge_process_test.c — a process that runs: streams with back-pressure and half-close, signals, and the
 * end with its drain.
 */
#include "bridge_process_kit.h"
#include <string.h>

/* ---- streams and the end ------------------------------------------------------------------ */

static void output_and_exit(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(true, true, true);
    guest_writes(UVM__STDOUT, "out");
    guest_writes(UVM__STDERR, "error");
    assert_int_equal(f.output_bytes[0], 3);
    assert_int_equal(f.output_bytes[1], 5);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":7}");
    assert_true(uvm__process_exited(f.process));
    assert_int_equal(f.ends[UVM__STDIN], 1);
    assert_int_equal(f.exits, 0);
    guest_writes(UVM__STDOUT, "put"); /* behind the exit */
    uvm__stream_shutdown(f.streams[UVM__STDOUT]);
    uvm__stream_shutdown(f.streams[UVM__STDERR]);
    peer_run(&f.peer);
    assert_int_equal(f.exits, 1);
    assert_int_equal(f.exit_code, UVM_OK);
    assert_int_equal(f.exit.code, 7);
    assert_int_equal(f.exit.signal, 0);
    assert_memory_equal(f.output[0], "output", 6);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(f.ends[i], 1);
        assert_int_equal(f.end_code[i], UVM_OK);
    }
    /* The host has closed its end: an agent may wait for that. */
    char byte;
    assert_int_equal(uvm__stream_read(f.streams[UVM__STDOUT], &byte, 1), 0);
    assert_int_equal(uvm__process_signal(f.process, 15, false, NULL, on_done, NULL, NULL),
                     -UVM_E_NOTFOUND);
    assert_int_equal(uvm__process_resize(f.process, 1, 1, NULL, on_done, NULL, NULL),
                     -UVM_E_NOTFOUND);
    close_bridge();
}

static void exit_by_signal(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(false, false, false);
    answer(0x20100601, 2,
           "{\"Result\":0,\"ExitCode\":4294967295,\"UvmExit\":{\"Signal\":11,\"CoreDump\":true}}");
    assert_int_equal(f.exits, 1);
    assert_int_equal(f.exit.code, UVM__EXIT_SIGNALED);
    assert_int_equal(f.exit.signal, 11);
    assert_true(f.exit.core);
    close_bridge();
}

static void an_exit_before_it_is_taken(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    f.take = false;
    start(false, true, false);
    dial_all(false, true, false);
    guest_writes(UVM__STDOUT, "quick");
    hang_up_streams();
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":3}");
    assert_int_equal(f.done, 1);
    assert_int_equal(f.output_bytes[0], 0);
    f.process = uvm__process_exec_result(f.op);
    assert_int_equal(f.output_bytes[0] + f.exits, 0); /* never inside the call */
    peer_run(&f.peer);
    assert_int_equal(f.output_bytes[0], 5);
    assert_int_equal(f.exits, 1);
    assert_int_equal(f.exit.code, 3);
    close_bridge();
}

static void output_kept_open_is_cut_when_idle(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(false, true, false);
    peer_advance(&f.peer, 60000); /* no clock while it runs */
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
    for (int i = 0; i < 5; i++) { /* each byte starts it anew */
        peer_advance(&f.peer, UVM__STDIO_IDLE_MS - 1);
        guest_writes(UVM__STDOUT, "x");
        assert_int_equal(f.exits, 0);
    }
    peer_advance(&f.peer, UVM__STDIO_IDLE_MS - 1);
    assert_int_equal(f.exits, 0);
    peer_advance(&f.peer, 1);
    assert_int_equal(f.exits, 1);
    assert_int_equal(f.exit_code, UVM_OK);
    assert_int_equal(f.end_code[UVM__STDOUT], UVM_E_TIMEDOUT);
    assert_int_equal(f.output_bytes[0], 5);
    close_bridge();
}

static void a_reader_that_is_not_ready_is_waited_for(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    f.output_room = 4;
    run(false, true, false);
    guest_writes(UVM__STDOUT, "0123456789");
    assert_int_equal(f.output_bytes[0], 4);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
    peer_advance(&f.peer, 100ull * UVM__STDIO_IDLE_MS);
    assert_int_equal(f.exits, 0);
    f.output_room = 3;
    uvm__process_resume(f.process, UVM__STDOUT);
    assert_int_equal(f.output_bytes[0], 4);
    peer_run(&f.peer);
    assert_int_equal(f.output_bytes[0], 7);
    peer_advance(&f.peer, 100ull * UVM__STDIO_IDLE_MS);
    assert_int_equal(f.exits, 0);
    f.output_room = 100;
    uvm__process_resume(f.process, UVM__STDOUT);
    peer_run(&f.peer);
    assert_memory_equal(f.output[0], "0123456789", 10);
    peer_advance(&f.peer, UVM__STDIO_IDLE_MS - 1);
    assert_int_equal(f.exits, 0);
    peer_advance(&f.peer, 1);
    assert_int_equal(f.exits, 1);
    close_bridge();
}

static void a_slow_reader_stops_the_guest(void **state) {
    (void)state;
    open_bridge(4096, GRANT_BODY);
    run(false, true, false);
    f.output_room = 0;
    size_t sent = 0;
    static const char block[1024];
    for (int refused = 0; refused < 2;) {
        ssize_t n = uvm__stream_write(f.streams[UVM__STDOUT], block, sizeof block);
        peer_run(&f.peer);
        refused = n == -UVM_E_AGAIN ? refused + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(sent <= 4096 + 32768);
    f.output_room = sizeof f.output[0];
    uvm__process_resume(f.process, UVM__STDOUT);
    peer_run(&f.peer);
    assert_int_equal(f.output_bytes[0], sent);
    close_bridge();
}

static void input_goes_with_back_pressure_and_half_close(void **state) {
    (void)state;
    static char block[10000];
    static char got[30000];
    open_bridge(4096, GRANT_BODY);
    run(true, true, false);
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] = (char)(i * 7);
    }
    size_t sent = 0;
    size_t read = 0;
    while (sent < sizeof block) {
        ssize_t n = uvm__process_write(f.process, block + sent, sizeof block - sent);
        if (n == -UVM_E_AGAIN) {
            unsigned before = f.writable;
            ssize_t r = uvm__stream_read(f.streams[UVM__STDIN], got + read, sizeof got - read);
            assert_true(r > 0);
            read += (size_t)r;
            assert_int_equal(f.writable, before);
            peer_run(&f.peer);
            assert_int_equal(f.writable, before + 1);
        } else {
            assert_true(n > 0);
            sent += (size_t)n;
        }
    }
    uvm__process_close_stdin(f.process);
    uvm__process_close_stdin(f.process);
    assert_int_equal(uvm__process_write(f.process, "x", 1), -UVM_E_CLOSED);
    ssize_t r;
    while ((r = uvm__stream_read(f.streams[UVM__STDIN], got + read, sizeof got - read)) > 0) {
        read += (size_t)r;
    }
    assert_int_equal(r, 0); /* end of file behind the last byte */
    assert_int_equal(read, sizeof block);
    assert_memory_equal(got, block, sizeof block);
    guest_writes(UVM__STDOUT, "still here");
    assert_int_equal(f.output_bytes[0], 10);
    close_bridge();
}

static void signals_and_sizes(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(false, false, false);
    f.done = 0;
    assert_int_equal(uvm__process_signal(f.process, 15, true, NULL, on_done, NULL, NULL), 0);
    assert_int_equal(uvm__process_resize(f.process, 24, 80, NULL, on_done, NULL, NULL), 0);
    f.take = false;
    receive(0x10100701, 3);
    assert_string_equal(f.peer.body, "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":112,"
                                     "\"Options\":{\"Signal\":15,\"UvmGroup\":true}}\n");
    receive(0x10100801, 4);
    assert_string_equal(f.peer.body, "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":112,"
                                     "\"Height\":24,\"Width\":80}\n");
    answer(0x20100701, 3, "{\"Result\":0}");
    answer(0x20100801, 4, "{\"Result\":0}");
    assert_int_equal(f.done, 2);
    close_bridge();
}

static void closing_lets_go(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(true, true, false);
    assert_int_equal(uvm__process_write(f.process, "abc", 3), 3);
    guest_writes(UVM__STDOUT, "x");
    close_process();
    char buf[8];
    assert_int_equal(uvm__stream_read(f.streams[UVM__STDIN], buf, sizeof buf), 3);
    assert_int_equal(uvm__stream_read(f.streams[UVM__STDIN], buf, sizeof buf), 0);
    assert_int_equal(uvm__stream_write(f.streams[UVM__STDOUT], "y", 1), -UVM_E_CLOSED);
    receive_nothing();
    assert_int_equal(uvm__bridge_pending(f.bridge), 1);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
    assert_int_equal(f.exits, 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0);
    close_bridge();
}

static void closing_inside_each_event(void **state) {
    (void)state;
    for (int where = 1; where <= 4; where++) {
        open_bridge(4096, GRANT_BODY);
        run(true, true, false);
        f.close_in = where;
        /* The wait is answered first, so that close is the last reference. */
        if (where == 4) {
            static const char block[5000];
            (void)uvm__process_write(f.process, block, sizeof block);
            char buf[4096];
            (void)uvm__stream_read(f.streams[UVM__STDIN], buf, sizeof buf);
            peer_run(&f.peer);
        } else {
            guest_writes(UVM__STDOUT, "x");
            uvm__stream_shutdown(f.streams[UVM__STDOUT]);
        }
        answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
        assert_null(f.process);
        assert_int_equal(f.exits, where == 3 ? 1 : 0);
        close_bridge();
    }
}

static void a_bridge_lost_while_it_runs(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    run(true, true, false);
    guest_writes(UVM__STDOUT, "last words");
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_int_equal(f.exits, 0);
    uvm__loopback_reset(f.peer.host); /* the VM goes */
    peer_run(&f.peer);
    assert_int_equal(f.exits, 1);
    assert_int_equal(f.exit_code, UVM_E_CLOSED);
    assert_int_equal(f.output_bytes[0], 10);
    assert_int_equal(f.end_code[UVM__STDOUT], UVM_E_CLOSED);
    close_bridge();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_exit),
        cmocka_unit_test(exit_by_signal),
        cmocka_unit_test(an_exit_before_it_is_taken),
        cmocka_unit_test(output_kept_open_is_cut_when_idle),
        cmocka_unit_test(a_reader_that_is_not_ready_is_waited_for),
        cmocka_unit_test(a_slow_reader_stops_the_guest),
        cmocka_unit_test(input_goes_with_back_pressure_and_half_close),
        cmocka_unit_test(signals_and_sizes),
        cmocka_unit_test(closing_lets_go),
        cmocka_unit_test(closing_inside_each_event),
        cmocka_unit_test(a_bridge_lost_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
