/* SPDX-License-Identifier: MIT
 * bridge_client_test.c — the host's end against a scripted guest: what it sends, and what it makes of every
 * answer, of what is no answer, and of a container's exit.
 */
#include "tests/unit/bridge_client_kit.h"

/* ---- negotiation -------------------------------------------------------------------------- */

static void negotiation(void **state) {
    (void)state;
    struct outcome o = {0};
    open_bridge(0);
    assert_int_equal(uvm__bridge_heartbeat(f.bridge, NULL, on_done, &o, NULL), -UVM_E_STATE);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_done, &o, NULL), 0);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_done, &o, NULL), -UVM_E_STATE);
    receive(0x10100b01, 0);
    assert_string_equal(f.peer.body,
                        "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":4,\"MaximumVersion\":4,"
                        "\"UvmExtensions\":{\"ProcessControl\":1}}\n");
    answer(0x20100b01, 0, negotiate_response.body);
    assert_int_equal(o.done, 1);
    assert_int_equal(o.code, UVM_OK);
    assert_true(uvm__bridge_negotiated(f.bridge));
    assert_int_equal(uvm__bridge_process_control(f.bridge), 0);
    assert_true(uvm__bridge_capabilities(f.bridge)->signal_process);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_done, &o, NULL), -UVM_E_STATE);
    close_bridge();

    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_process_control(f.bridge), 1); /* what we speak */
    close_bridge();
}

static void negotiation_that_fails_ends_the_bridge(void **state) {
    (void)state;
    static const struct {
        const char *body;
        enum uvm_error_code code, cause;
    } rows[] = {
        {"{\"Result\":0,\"Version\":5,\"Capabilities\":{\"RuntimeOsType\":\"Linux\","
         "\"GuestDefinedCapabilities\":{}}}",
         UVM_E_PROTOCOL, UVM_E_PROTOCOL},
        {"{\"Result\":0,\"Version\":4,\"Capabilities\":{\"GuestDefinedCapabilities\":{}}}",
         UVM_E_UNSUPPORTED, UVM_E_UNSUPPORTED},
        {"{\"Result\":-1070137076,\"ErrorMessage\":\"HRESULT: 0xc037010c\"}", UVM_E_PEER,
         UVM_E_PEER},
        {"{\"Result\":0,\"Version\":4,\"Capabilities\":{}}", UVM_E_CLOSED, UVM_E_PROTOCOL},
        {"garbage", UVM_E_CLOSED, UVM_E_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome o = {0};
        open_bridge(0);
        assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_done, &o, NULL), 0);
        receive(0x10100b01, 0);
        answer(0x20100b01, 0, rows[i].body);
        assert_int_equal(o.done, 1);
        assert_int_equal(o.code, rows[i].code);
        assert_lost(rows[i].cause);
        close_bridge();
    }
}

/* ---- answers ------------------------------------------------------------------------------ */

static void calls_and_their_results(void **state) {
    (void)state;
    struct outcome wait = {0}, gone = {0}, sig = {0}, props = {0}, stacks = {0};
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(
        uvm__bridge_wait(f.bridge, "c1", 213, UVM__WAIT_INFINITE, NULL, on_done, &wait, &wait.op),
        0);
    assert_int_equal(uvm__bridge_signal(f.bridge, NULL, 9, 0, true, NULL, on_done, &gone, &gone.op),
                     0);
    assert_int_equal(
        uvm__bridge_signal(f.bridge, "c1", 213, 15, false, NULL, on_done, &sig, &sig.op), 0);
    assert_int_equal(uvm__bridge_get_properties(f.bridge, "c1",
                                                "{\"PropertyTypes\":[\"ProcessList\"]}", NULL,
                                                on_done, &props, &props.op),
                     0);
    assert_int_equal(uvm__bridge_dump_stacks(f.bridge, NULL, on_done, &stacks, &stacks.op), 0);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0); /* nothing happens inside start */
    receive(0x10100601, 1);
    assert_string_equal(f.peer.body, wait_request.body);
    receive(0x10100701, 2);
    assert_string_equal(f.peer.body, "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":9,"
                                     "\"Options\":{\"UvmGroup\":true}}\n");
    receive(0x10100701, 3);
    assert_string_equal(f.peer.body, signal_request.body);
    receive(0x10100901, 4);
    assert_string_equal(f.peer.body, properties_request.body);
    receive(0x10100c01, 5);
    assert_int_equal(uvm__bridge_pending(f.bridge), 5);
    /* In any order, and whatever message number the response has. */
    answer(0x20000000, 5, "{\"Result\":0,\"GuestStacks\":\"a\\nb\"}");
    answer(0x20100901, 4, properties_response.body);
    answer(0x20100701, 3, OK_BODY);
    answer(0x20100701, 2, error_response.body);
    answer(0x20100601, 1, "{\"Result\":0,\"ExitCode\":4294967295,\"UvmExit\":{\"Signal\":9}}");
    assert_string_equal(uvm__bridge_stacks_result(stacks.op), "a\nb");
    assert_string_equal(uvm__bridge_properties_result(props.op),
                        "{\"ProcessList\":[{\"ProcessId\":213}]}");
    assert_true(uvm__bridge_signal_delivered(sig.op));
    assert_int_equal(gone.code, UVM_OK);
    assert_false(uvm__bridge_signal_delivered(gone.op));
    struct uvm__msg_exit e = uvm__bridge_wait_result(wait.op);
    assert_int_equal(e.code, UVM__EXIT_SIGNALED);
    assert_int_equal(e.signal, 9);
    assert_int_equal(uvm__bridge_pending(f.bridge), 0);
    forget(&wait);
    forget(&gone);
    forget(&sig);
    forget(&props);
    forget(&stacks);
    close_bridge();
}

static void refusals_are_errors_with_the_guests_words(void **state) {
    (void)state;
    struct outcome o = {0}, beat = {0};
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{\"a\":1", NULL, on_done, &o, NULL),
                     -UVM_E_INVAL);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "[]", NULL, on_done, &o, NULL),
                     -UVM_E_INVAL);
    assert_int_equal(
        uvm__bridge_modify(f.bridge, NULL, "{\"a\":9223372036854771712}", NULL, on_done, &o, NULL),
        0);
    receive(0x10100a01, 1);
    assert_string_equal(f.peer.body, "{\"ContainerId\":\"" Z "\"," A
                                     ",\"Request\":{\"a\":9223372036854771712}}\n");
    answer(0x20100a01, 1,
           "{\"Result\":-2147467259,\"ErrorMessage\":\"line one\\nline \\u001b[2Jtwo\"}");
    assert_int_equal(o.code, UVM_E_PEER);
    assert_true(o.sys == UVM__HR_FAIL);
    assert_string_equal(o.message, "vm1: the guest refused ModifySettings: line one line  [2Jtwo");
    assert_string_equal(o.detail, "line one\nline \x1b[2Jtwo");
    assert_int_equal(uvm__bridge_heartbeat(f.bridge, NULL, on_done, &beat, NULL), 0);
    receive(0x10100901, 2);
    assert_string_equal(f.peer.body, "{\"ContainerId\":\"" Z "\"," A ",\"Query\":\"\"}\n");
    answer(0x20100901, 2, "{\"Result\":-2147467259}");
    assert_int_equal(beat.done, 1);
    assert_int_equal(beat.code, UVM_OK);
    assert_int_equal(f.lost, 0);
    close_bridge();
}

static void processes_of_the_vm_need_process_control(void **state) {
    (void)state;
    struct outcome sig = {0}, size = {0}, container = {0};
    open_negotiated(0, negotiate_response.body);
    assert_int_equal(uvm__bridge_signal(f.bridge, NULL, 9, 15, false, NULL, on_done, &sig, NULL),
                     0);
    assert_int_equal(uvm__bridge_resize(f.bridge, NULL, 9, 24, 80, NULL, on_done, &size, NULL), 0);
    assert_int_equal(
        uvm__bridge_resize(f.bridge, "c1", 213, 40, 120, NULL, on_done, &container, NULL), 0);
    receive(0x10100801, 1);
    assert_string_equal(f.peer.body, resize_request.body);
    answer(0x20100801, 1, OK_BODY);
    assert_int_equal(container.code, UVM_OK);
    assert_int_equal(sig.code, UVM_E_UNSUPPORTED);
    assert_non_null(strstr(sig.message, "agent lacks process control"));
    assert_int_equal(size.code, UVM_E_UNSUPPORTED);
    close_bridge();
}

static void shutdown_of_the_vm_ends_with_the_connection(void **state) {
    (void)state;
    struct outcome vm = {0}, container = {0};
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_shutdown(f.bridge, NULL, false, NULL, on_done, &vm, NULL), 0);
    assert_int_equal(uvm__bridge_shutdown(f.bridge, "c1", true, NULL, on_done, &container, NULL),
                     0);
    receive(0x10100301, 1);
    receive(0x10100401, 2);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_int_equal(vm.code, UVM_OK);
    assert_int_equal(vm.done, 1);
    assert_int_equal(container.code, UVM_E_CLOSED);
    close_bridge();
}

/* ---- what is no answer -------------------------------------------------------------------- */

static void send_header(uint32_t type, uint32_t size, uint64_t id) {
    uint8_t header[UVM__FRAME_HEADER_BYTES];
    struct uvm__frame_header h = {type, size, id};
    uvm__frame_header_write(&h, header);
    peer_send_raw(&f.peer, header, sizeof header);
}

static void broken_frames_end_the_bridge(void **state) {
    (void)state;
    static const struct {
        uint32_t type, size;
        uint64_t id;
        const char *body;
    } rows[] = {
        {0x20100901, 0, 1, ""},
        {0x20100901, 15, 1, ""},
        {0x20100901, 65537, 1, ""},
        {0x20100901, UINT32_MAX, 1, ""},
        {0x10100901, 0, 1, OK_BODY},                   /* a request */
        {0x00100901, 0, 1, OK_BODY},                   /* kind 0 */
        {0x40100901, 0, 1, OK_BODY},                   /* kind 4 */
        {0xf0100901, 0, 1, OK_BODY},                   /* kind 15 */
        {0x20100901, 0, 2, OK_BODY},                   /* an id to come */
        {0x20100901, 0, 0, OK_BODY},                   /* an id that was answered */
        {0x20100901, 0, 0x8000000000000001u, OK_BODY}, /* an id that is negative to the reference */
        {0x20100901, 0, 1, ""},                        /* no body */
        {0x20100901, 0, 1, "{"},                       /* half a body */
        {0x20100901, 0, 1, "{} {}"},                   /* two */
        {0x20100901, 0, 1, "{\"Result\":0.0}"},        /* a float */
        {0x20100901, 0, 1, "{\"Result\":2147943568}"}, /* not an int32 */
        {0x20100901, 0, 1, "{\"ActivityId\":\"x\"}"},  /* no GUID */
        {0x20100901, 0, 1, "{\"Properties\":\"\"}"},   /* no JSON */
        {0x20100901, 0, 1, "{\"Properties\":\"{\"}"},  /* broken JSON */
        {0x20100901, 0, 1, "{\"ErrorRecords\":[1]}"},  /* no record */
        {0x30100201, 0, 0, "{\"ContainerId\":\"c1\"}"}, /* an unknown notification */
        {0x30100101, 0, 0, "{\"ContainerId\":\"c1\"}"}, /* a container that nobody watches */
        {0x30100101, 0, 0, "{\"ActivityId\":\"\"}"},    /* no GUID */
        {0x30100101, 0, 0, "{\"ResultInfo\":\"\"}"},    /* no JSON */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome props = {0}, modify = {0};
        open_negotiated(0, GRANT_BODY);
        assert_int_equal(
            uvm__bridge_get_properties(f.bridge, NULL, "", NULL, on_done, &props, NULL), 0);
        receive(0x10100901, 1);
        if (rows[i].body[0] == 0 && rows[i].size != 0) {
            send_header(rows[i].type, rows[i].size, rows[i].id);
        } else if (i == 0) {
            send_header(rows[i].type, 0, rows[i].id);
        } else {
            peer_send(&f.peer, rows[i].type, rows[i].id, rows[i].body);
        }
        peer_run(&f.peer);
        if (f.lost != 1 || f.lost_cause != UVM_E_PROTOCOL) {
            fail_msg("row %zu: lost %u, cause %d", i, f.lost, f.lost_cause);
        }
        assert_true(f.lost_words[0] != 0);
        assert_int_equal(props.code, UVM_E_CLOSED);
        /* Later calls fail in the same way. */
        assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &modify, NULL), 0);
        assert_int_equal(modify.done, 0);
        peer_run(&f.peer);
        assert_int_equal(modify.code, UVM_E_CLOSED);
        assert_int_equal(f.lost, 1);
        close_bridge();
    }
}

/* Well-formed, but deeper or denser than the reader takes; as the body, and as the text inside it. */
static void bodies_beyond_the_limits_of_json_end_the_bridge(void **state) {
    (void)state;
    enum { DENSE = 30000, DEEP = 100 };
    for (unsigned i = 0; i < 4; i++) {
        static char body[UVM__FRAME_BYTES_MAX];
        struct outcome props = {0};
        bool inside = i % 2 == 1;
        size_t n = (size_t)snprintf(body, sizeof body, inside ? "{\"Properties\":\"" : "{\"a\":");
        size_t count = i < 2 ? DENSE : DEEP;
        for (size_t k = 0; k < count; k++) {
            body[n++] = i < 2 && k > 0 ? ',' : '[';
            if (i < 2) {
                body[n++] = '0';
            }
        }
        for (size_t k = 0; k < (i < 2 ? 1 : count); k++) {
            body[n++] = ']';
        }
        (void)snprintf(body + n, sizeof body - n, inside ? "\"}" : "}");
        open_negotiated(0, GRANT_BODY);
        assert_int_equal(
            uvm__bridge_get_properties(f.bridge, NULL, "", NULL, on_done, &props, NULL), 0);
        receive(0x10100901, 1);
        answer(0x20100901, 1, body);
        assert_int_equal(f.lost, 1);
        assert_non_null(strstr(f.lost_words, "exceeded max "));
        assert_int_equal(props.code, UVM_E_CLOSED);
        close_bridge();
    }
}

static void a_second_answer_ends_the_bridge(void **state) {
    (void)state;
    struct outcome o = {0};
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &o, NULL), 0);
    receive(0x10100a01, 1);
    answer(0x20100a01, 1, OK_BODY);
    answer(0x20100a01, 1, OK_BODY);
    assert_int_equal(o.done, 1);
    assert_int_equal(o.code, UVM_OK);
    assert_lost(UVM_E_PROTOCOL);
    close_bridge();
}

static void the_largest_frame_is_read(void **state) {
    (void)state;
    struct outcome o = {0};
    static char body[UVM__FRAME_BYTES_MAX - UVM__FRAME_HEADER_BYTES + 1];
    memset(body, ' ', sizeof body - 1);
    memcpy(body, OK_BODY, sizeof OK_BODY - 1);
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &o, NULL), 0);
    receive(0x10100a01, 1);
    answer(0x20100a01, 1, body);
    assert_int_equal(o.done, 1);
    assert_int_equal(o.code, UVM_OK);
    close_bridge();
}

static void a_lost_connection_fails_every_call_once(void **state) {
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct outcome o[5] = {0};
        open_negotiated(4096, GRANT_BODY);
        (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &o[0], NULL);
        (void)uvm__bridge_wait(f.bridge, NULL, 3, 1, NULL, on_done, &o[1], NULL);
        (void)uvm__bridge_heartbeat(f.bridge, NULL, on_done, &o[2], NULL);
        receive(0x10100a01, 1);
        receive(0x10100601, 2);
        receive(0x10100901, 3);
        /* This one is larger than the window: it has half left. */
        static char large[8000];
        (void)snprintf(large, sizeof large, "{\"a\":\"%7900d\"}", 1);
        (void)uvm__bridge_modify(f.bridge, NULL, large, NULL, on_done, &o[3], NULL);
        peer_run(&f.peer);
        (void)uvm__bridge_heartbeat(f.bridge, NULL, on_done, &o[4], NULL);
        if (how == 0) {
            peer_hang_up(&f.peer);
        } else if (how == 1) {
            peer_send_raw(&f.peer, "\x01\x09\x10\x20\x20", 5); /* inside a header */
            peer_hang_up(&f.peer);
        } else if (how == 2) {
            uvm__stream_reset(f.peer.theirs);
            f.peer.theirs = NULL;
        } else {
            uvm__bridge_close(f.bridge);
            assert_int_equal(o[0].done, 0); /* not inside close */
        }
        peer_run(&f.peer);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(o[i].done, 1);
            assert_int_equal(o[i].code, UVM_E_CLOSED);
        }
        assert_int_equal(f.lost, how == 3 ? 0 : 1);
        if (how == 3) {
            peer_close(&f.peer);
        } else {
            close_bridge();
        }
    }
}

static void no_answer_ends_the_bridge_after_the_rpc_time(void **state) {
    (void)state;
    struct outcome wait = {0}, modify = {0};
    open_negotiated(0, GRANT_BODY);
    (void)uvm__bridge_wait(f.bridge, NULL, 3, UVM__WAIT_INFINITE, NULL, on_done, &wait, NULL);
    peer_advance(&f.peer, 10ull * UVM__RPC_MS); /* that one may take as long as it likes */
    assert_int_equal(f.lost, 0);
    (void)uvm__bridge_modify(f.bridge, NULL, "{}", NULL, on_done, &modify, NULL);
    peer_run(&f.peer);
    peer_advance(&f.peer, UVM__RPC_MS - 1);
    assert_int_equal(f.lost, 0);
    peer_advance(&f.peer, 1);
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.lost_cause, UVM_E_TIMEDOUT);
    assert_int_equal(wait.code, UVM_E_CLOSED);
    assert_int_equal(modify.code, UVM_E_CLOSED);
    close_bridge();
}

/* ---- exit notifications ------------------------------------------------------------------- */

struct watching {
    struct uvm__exit_watch watch;
    unsigned exits;
    enum uvm_error_code code;
    char type[24];
};

static void on_exit_seen(struct uvm__exit_watch *w, const char *type, const uvm_error *err) {
    struct watching *me = UVM__CONTAINER_OF(w, struct watching, watch);
    me->exits++;
    me->code = err == NULL ? UVM_OK : uvm_error_code(err);
    (void)snprintf(me->type, sizeof me->type, "%s", type);
}

static void exits_are_notified_once(void **state) {
    (void)state;
    struct watching c1 = {.watch = {.container_id = "c1", .on_exit = on_exit_seen}};
    struct watching again = c1;
    struct watching c2 = {.watch = {.container_id = "c2", .on_exit = on_exit_seen}};
    struct watching c3 = {.watch = {.container_id = "c3", .on_exit = on_exit_seen}};
    open_negotiated(0, GRANT_BODY);
    assert_int_equal(uvm__bridge_watch_exit(f.bridge, &c1.watch), 0);
    assert_int_equal(uvm__bridge_watch_exit(f.bridge, &again.watch), -UVM_E_EXISTS);
    assert_int_equal(uvm__bridge_watch_exit(f.bridge, &c2.watch), 0);
    assert_int_equal(uvm__bridge_watch_exit(f.bridge, &c3.watch), 0);
    uvm__bridge_unwatch_exit(&c3.watch);
    uvm__bridge_unwatch_exit(&c3.watch);
    peer_send(&f.peer, UVM__NOTIFICATION_WORD, 0, notification.body);
    assert_int_equal(c1.exits, 0);
    peer_run(&f.peer);
    assert_int_equal(c1.exits, 1);
    assert_string_equal(c1.type, "ForcedExit");
    assert_int_equal(c1.code, UVM_OK);
    assert_int_equal(f.lost, 0);
    peer_send(&f.peer, UVM__NOTIFICATION_WORD, 0, notification.body);
    assert_lost(UVM_E_PROTOCOL);
    assert_int_equal(c1.exits, 1);
    assert_int_equal(c2.exits, 1);
    assert_int_equal(c2.code, UVM_E_CLOSED);
    assert_int_equal(c3.exits, 0);
    close_bridge();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negotiation),
        cmocka_unit_test(negotiation_that_fails_ends_the_bridge),
        cmocka_unit_test(calls_and_their_results),
        cmocka_unit_test(refusals_are_errors_with_the_guests_words),
        cmocka_unit_test(processes_of_the_vm_need_process_control),
        cmocka_unit_test(shutdown_of_the_vm_ends_with_the_connection),
        cmocka_unit_test(broken_frames_end_the_bridge),
        cmocka_unit_test(bodies_beyond_the_limits_of_json_end_the_bridge),
        cmocka_unit_test(a_second_answer_ends_the_bridge),
        cmocka_unit_test(the_largest_frame_is_read),
        cmocka_unit_test(a_lost_connection_fails_every_call_once),
        cmocka_unit_test(no_answer_ends_the_bridge_after_the_rpc_time),
        cmocka_unit_test(exits_are_notified_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
