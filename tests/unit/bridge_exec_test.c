/* SPDX-License-Identifier: MIT
 * bridge_exec_test.c — the exec saga against a scripted guest: what start refuses, cancel at every moment,
 * late answers, lost connections, no memory.
 */
#include "bridge_process_kit.h"
#include <string.h>

/* ---- start -------------------------------------------------------------------------------- */

static void the_request_is_the_references(void **state) {
    (void)state;
    static const char *const args[] = {"sh", "-c", "ls > /run/x && echo \"ok\"", NULL};
    static const char *const env[] = {"PATH=/usr/bin:/bin", "HOME=/root", NULL};
    open_bridge(0, negotiate_response.body);
    struct uvm__process_params p = params_of(false, true, false);
    p.args = args;
    p.env = env;
    p.height = 24; /* not without a grant */
    p.width = 80;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), 0);
        receive(0x10100501, (uint64_t)i + 1);
    }
    assert_string_equal(f.peer.body, execute_request.body);
    uvm__bridge_close(f.bridge);
    hang_up_streams();
    peer_run(&f.peer);
    peer_advance(&f.peer, UVM__UNDO_MS);
    uvm__scope_fail(uvm__engine_root(f.peer.engine)->undo_root, UVM__VM_EXITED, NULL);
    peer_run(&f.peer);
    peer_close(&f.peer);
}

static void starts_that_are_refused(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    open_bridge(0, negotiate_response.body);
    struct uvm__process_params p = params_of(false, false, false);
    p.args = none;
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), -UVM_E_INVAL);
    p = params_of(false, false, false);
    p.command_line = "both";
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), -UVM_E_INVAL);
    p = params_of(false, false, false);
    p.stdio[UVM__STDIN] = UVM__STDIO_FD; /* no loop, no descriptors */
    p.fd[UVM__STDIN] = 0;
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL),
                     -UVM_E_UNSUPPORTED);
    p = params_of(false, true, false);
    p.user = "nobody";
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), 0);
    peer_run(&f.peer);
    assert_int_equal(f.code, UVM_E_UNSUPPORTED);
    assert_non_null(strstr(f.message, "agent lacks process control"));
    static char large[70000];
    memset(large, 'x', sizeof large - 1);
    p = params_of(false, true, false);
    p.args = NULL;
    p.command_line = large;
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), 0);
    peer_run(&f.peer);
    assert_int_equal(f.code, UVM_E_LIMIT);
    assert_int_equal(f.done, 2);
    receive_nothing();
    assert_int_equal(quarantined(), 0);
    close_bridge();
}

static void a_process_that_does_not_start(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(true, true, true);
    dial_all(true, true, true);
    answer(0x20100501, 1,
           "{\"Result\":-2147467259,\"ErrorMessage\":\"no such file\",\"UvmStart\":{"
           "\"Step\":\"exec\",\"Errno\":2}}");
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_PEER);
    struct uvm__msg_start s = uvm__process_exec_failure(f.op);
    assert_int_equal(s.step, UVM__START_EXEC);
    assert_int_equal(uvm__msg_start_status(&s), 127);
    assert_null(uvm__process_exec_result(f.op));
    receive_nothing();
    char byte;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(uvm__stream_read(f.streams[i], &byte, 1), -UVM_E_CLOSED);
    }
    assert_null(dial(PORT)); /* nobody listens any more */
    assert_int_equal(quarantined(), 0);
    close_bridge();
}

static void streams_that_do_not_come(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(true, true, false);
    f.streams[0] = dial(PORT);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    peer_advance(&f.peer, UVM__ACCEPT_STDIO_MS - 1);
    receive_nothing();
    peer_advance(&f.peer, 1);
    receive(0x10100701, 3);
    assert_string_equal(f.peer.body, KILL_BODY);
    assert_int_equal(f.done, 0);
    answer(0x20100701, 3, "{\"Result\":0}");
    assert_int_equal(f.done, 0);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":4294967295}");
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_TIMEDOUT);
    assert_non_null(strstr(f.message, "stdout"));
    close_bridge();
}

static void a_stream_that_comes_after_the_reply(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, true, false);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    assert_int_equal(f.done, 0);
    f.streams[1] = dial(PORT);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_OK);
    close_bridge();
}

static void a_process_without_an_id_is_none(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, false, false);
    answer(0x20100501, 1, "{\"Result\":0}");
    assert_int_equal(f.code, UVM_E_PROTOCOL);
    close_bridge();
}

/* ---- cancel ------------------------------------------------------------------------------- */

static void cancel_before_the_request_leaves(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    struct uvm__process_params p = params_of(false, true, false);
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, &f.op), 0);
    uvm_op_cancel(f.op);
    receive_nothing();
    assert_int_equal(f.code, UVM_E_CANCELED);
    assert_null(dial(PORT));
    close_bridge();
}

static void cancel_after_the_guest_acted(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(true, true, false);
    dial_all(true, true, false);
    uvm_op_cancel(f.op);
    peer_run(&f.peer);
    assert_int_equal(f.done, 0);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    receive(0x10100701, 3);
    assert_string_equal(f.peer.body, KILL_BODY);
    char byte;
    assert_int_equal(uvm__stream_read(f.streams[1], &byte, 1), -UVM_E_CLOSED);
    assert_int_equal(f.done, 0);
    /* Ended by itself in between: the kill finds nothing. The wait decides. */
    answer(0x20100701, 3, "{\"Result\":-2147023728}");
    assert_int_equal(f.done, 0);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_CANCELED);
    assert_int_equal(quarantined(), 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0);
    close_bridge();
}

static void cancel_in_the_tick_of_the_reply(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, false, false);
    peer_send(&f.peer, 0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    uvm_op_cancel(f.op);
    receive(0x10100601, 2);
    receive(0x10100701, 3);
    answer(0x20100601, 2, "{\"Result\":-2147023728}"); /* known to nobody: as good as gone */
    answer(0x20100701, 3, "{\"Result\":0}");
    assert_int_equal(f.code, UVM_E_CANCELED);
    close_bridge();
}

static void cancel_after_the_process_runs_loses(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    f.take = false;
    start(false, false, false);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    uvm_op_cancel(f.op);
    peer_run(&f.peer);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_OK);
    /* Nobody takes it: it is let go with the op, and runs on. */
    f.op = uvm_op_unref(f.op);
    receive_nothing();
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
    assert_int_equal(f.exits, 0);
    close_bridge();
}

static void a_refusal_after_cancel_leaves_nothing(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, true, false);
    uvm_op_cancel(f.op);
    peer_run(&f.peer);
    answer(0x20100501, 1, "{\"Result\":-2147467259}");
    assert_int_equal(f.code, UVM_E_CANCELED);
    receive_nothing();
    assert_int_equal(quarantined(), 0);
    close_bridge();
}

static void without_process_control_it_is_quarantined(void **state) {
    (void)state;
    open_bridge(0, negotiate_response.body);
    start(false, true, false);
    dial_all(false, true, false);
    uvm_op_cancel(f.op);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    receive_nothing();
    assert_int_equal(f.done, 1); /* at once */
    assert_int_equal(f.code, UVM_E_UNDO);
    assert_non_null(strstr(f.message, "process 112: the agent lacks process control"));
    char byte;
    assert_int_equal(uvm__stream_read(f.streams[1], &byte, 1), -UVM_E_CLOSED);
    assert_int_equal(quarantined(), 1);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}"); /* it ends by itself */
    assert_int_equal(quarantined(), 0);
    assert_int_equal(f.done, 1);
    close_bridge();
}

static void a_kill_that_is_refused_is_quarantined(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, false, false);
    uvm_op_cancel(f.op);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    receive(0x10100701, 3);
    answer(0x20100701, 3, "{\"Result\":-2147467259,\"ErrorMessage\":\"no\"}");
    assert_int_equal(f.code, UVM_E_UNDO);
    assert_int_equal(quarantined(), 1);
    uvm__scope_fail(uvm__engine_root(f.peer.engine)->undo_root, UVM__VM_EXITED, NULL);
    peer_run(&f.peer);
    assert_int_equal(quarantined(), 0);
    close_bridge();
}

static void a_reply_that_comes_too_late_is_undone(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, false, false);
    uvm_op_cancel(f.op);
    peer_run(&f.peer);
    peer_advance(&f.peer, UVM__UNDO_MS);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_UNDO);
    assert_non_null(strstr(f.message, "may have started"));
    assert_int_equal(quarantined(), 1);
    peer_advance(&f.peer, 1000);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    receive(0x10100701, 3);
    answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":4294967295}");
    assert_int_equal(quarantined(), 0);
    assert_int_equal(f.done, 1);
    close_bridge();
}

/* ---- a connection that is lost ------------------------------------------------------------- */

static void a_bridge_lost_during_exec(void **state) {
    (void)state;
    open_bridge(0, GRANT_BODY);
    start(false, true, false);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_true(uvm__bridge_lost(f.bridge));
    assert_int_equal(f.done, 0); /* nobody can say whether it runs; the VM's end can */
    uvm__scope_fail(uvm__engine_root(f.peer.engine)->undo_root, UVM__VM_EXITED, NULL);
    peer_run(&f.peer);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_CLOSED);
    close_bridge();

    open_bridge(0, GRANT_BODY);
    start(false, true, false);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    peer_advance(&f.peer, UVM__UNDO_MS);
    assert_int_equal(f.code, UVM_E_UNDO);
    uvm__scope_fail(uvm__engine_root(f.peer.engine)->undo_root, UVM__VM_EXITED, NULL);
    peer_run(&f.peer);
    close_bridge();
}

static void never_accepted(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    (void)l;
    (void)take_stream;
    (void)arg;
    fail();
}

/* Nothing is done with the endpoint of a VM that has gone. */
static void a_bridge_lost_before_exec(void **state) {
    (void)state;
    struct uvm__listener *l;
    const struct uvm__listen_params taken = {.port = UVM__PORT_STDIO_FIRST,
                                             .on_accept = never_accepted};
    open_bridge(0, GRANT_BODY);
    assert_int_equal(uvm__hvsock_listen(f.peer.host, &taken, &l), 0);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_true(uvm__bridge_lost(f.bridge));
    struct uvm__process_params p = params_of(false, true, false);
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, NULL), 0);
    peer_run(&f.peer);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_E_CLOSED);
    uvm__listener_close(l);
    close_bridge();
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Each allocation of a start fails in turn: nothing happens, nothing leaks, or it works. */
static void one_failed_allocation_costs_no_process(void **state) {
    (void)state;
    unsigned total = 1;
    unsigned refused = 0;
    for (unsigned at = 1; at <= total; at++) {
        open_bridge(0, GRANT_BODY);
        struct uvm__process_params p = params_of(true, true, true);
        static const char *const env[] = {"A=1", NULL};
        p.env = env;
        (void)peer_fail_at(at, false);
        int rc = uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, &f.op);
        peer_run(&f.peer);
        peer_advance(&f.peer, 100);
        unsigned used = peer_fail_at(0, false);
        total = at == 1 ? used + 20 : total;
        if (rc < 0) {
            assert_int_equal(rc, -UVM_E_NOMEM);
            assert_int_equal(f.done, 0);
            receive_nothing();
            refused++;
        } else if (f.done == 1) { /* a listener */
            assert_int_equal(f.code, UVM_E_NOMEM);
            receive_nothing();
            refused++;
        } else {
            receive(0x10100501, 1);
            dial_all(true, true, true);
            answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
            answer(0x20100601, 2, "{\"Result\":0,\"ExitCode\":0}");
            hang_up_streams();
            peer_run(&f.peer);
            assert_int_equal(f.exits, 1);
        }
        close_bridge();
    }
    assert_true(refused > 8 && refused < total);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_the_references),
        cmocka_unit_test(starts_that_are_refused),
        cmocka_unit_test(a_process_that_does_not_start),
        cmocka_unit_test(streams_that_do_not_come),
        cmocka_unit_test(a_stream_that_comes_after_the_reply),
        cmocka_unit_test(a_process_without_an_id_is_none),
        cmocka_unit_test(cancel_before_the_request_leaves),
        cmocka_unit_test(cancel_after_the_guest_acted),
        cmocka_unit_test(cancel_in_the_tick_of_the_reply),
        cmocka_unit_test(cancel_after_the_process_runs_loses),
        cmocka_unit_test(a_refusal_after_cancel_leaves_nothing),
        cmocka_unit_test(without_process_control_it_is_quarantined),
        cmocka_unit_test(a_kill_that_is_refused_is_quarantined),
        cmocka_unit_test(a_reply_that_comes_too_late_is_undone),
        cmocka_unit_test(a_bridge_lost_during_exec),
        cmocka_unit_test(a_bridge_lost_before_exec),
        cmocka_unit_test(one_failed_allocation_costs_no_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
