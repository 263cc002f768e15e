/* SPDX-License-Identifier: MIT
 * bridge_server_test.c — the guest's end against a scripted host: what it answers by itself, the order and
 * shape of answers, connections that end at the worst moment, a host that does not read, no memory.
 */
#include "bridge/server.h"
#include "bridge_peer.h"
#include "bridge_vectors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXECUTE 0x10100501u
#define WAIT 0x10100601u
#define NEGOTIATE 0x10100b01u
#define STACKS 0x10100c01u
#define PROPERTIES 0x10100901u
#define NEGOTIATE_BODY "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":4,\"MaximumVersion\":4}\n"
#define NEGOTIATE_OURS                                                                             \
    "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":4,\"MaximumVersion\":4,"                       \
    "\"UvmExtensions\":{\"ProcessControl\":3}}\n"
#define PLAIN_BODY "{\"ContainerId\":\"c1\"," A "}\n"

struct fixture {
    struct peer peer;
    struct uvm__server *server;
    struct uvm__server_request *held[2048]; /* requests in work, in order of arrival */
    unsigned held_count;
    unsigned detached, negotiated;
    enum uvm_error_code detached_code;
};
static struct fixture f;

static void on_detached(struct uvm__server *s, const uvm_error *err, void *arg) {
    (void)s;
    (void)arg;
    f.detached++;
    f.detached_code = uvm_error_code(err);
}

static void on_negotiated(struct uvm__server *s, void *arg) {
    (void)arg;
    assert_int_equal(uvm__server_version(s), 4);
    f.negotiated++;
}

static void hold(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    (void)arg;
    assert_true(f.held_count < 2048);
    f.held[f.held_count++] = r;
}

static void echo_query(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    (void)arg;
    uvm__server_reply_properties(r, uvm__server_request_body(r)->properties.query);
}

static struct uvm__server_params params_of(bool v4) {
    struct uvm__server_params params = {
        .v4 = v4, .process_control = 1, .on_detached = on_detached, .on_negotiated = on_negotiated};
    params.handlers[UVM__MSG_EXECUTE_PROCESS] = hold;
    params.handlers[UVM__MSG_WAIT_FOR_PROCESS] = hold;
    params.handlers[UVM__MSG_DUMP_STACKS] = hold;
    params.handlers[UVM__MSG_GET_PROPERTIES] = echo_query;
    return params;
}

static void open_server(bool v4, size_t window) {
    memset(&f, 0, sizeof f);
    peer_open(&f.peer, window);
    struct uvm__server_params params = params_of(v4);
    assert_int_equal(uvm__server_new(f.peer.engine, &params, &f.server), 0);
    uvm__server_attach(f.server, f.peer.ours);
}

static void close_server(void) {
    for (unsigned i = 0; i < f.held_count; i++) {
        if (f.held[i] != NULL) {
            uvm__server_reply(f.held[i]);
        }
    }
    uvm__server_close(f.server);
    peer_close(&f.peer);
}

static void answer_exit(unsigned i, uint32_t code, int signal) {
    uvm__server_reply_exit(f.held[i], &(struct uvm__msg_exit){code, signal, false});
    f.held[i] = NULL;
}

static void reconnect(void) {
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_false(uvm__server_attached(f.server));
    peer_connect(&f.peer);
    uvm__server_attach(f.server, f.peer.ours);
}

static void expect(uint32_t type, uint64_t id, const char *body) {
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_int_equal(h.type, type);
    assert_int_equal(h.id, id);
    assert_string_equal(f.peer.body, body);
}

static void expect_nothing(void) {
    struct uvm__frame_header h;
    assert_false(peer_receive(&f.peer, &h));
}

static void expect_error(uint32_t type, uint64_t id, const char *head) {
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_int_equal(h.type, type);
    assert_int_equal(h.id, id);
    f.peer.body[strlen(head)] = 0;
    assert_string_equal(f.peer.body, head);
}

static void negotiate(uint64_t id) {
    struct uvm__frame_header h;
    peer_send(&f.peer, NEGOTIATE, id, NEGOTIATE_BODY);
    assert_true(peer_receive(&f.peer, &h));
    assert_int_equal(h.type, 0x20100b01);
    assert_int_equal(h.id, id);
}

/* ---- what it answers by itself ------------------------------------------------------------ */

#define UNSUPPORTED(name)                                                                          \
    "{\"Result\":-2147467263," A ",\"ErrorMessage\":\"HRESULT 0x80004001: bridge: function not "   \
    "supported, header type: " name "\",\"ErrorRecords\":[{\"Result\":-2147467263,\"Message\":"    \
    "\"HRESULT 0x80004001: bridge: function not supported, header type: " name                     \
    "\",\"StackTrace\":\"UnknownMessage\",\"ModuleName\":\"gcs\",\"FileName\":\"bridge.go\","      \
    "\"Line\":35,"                                                                                 \
    "\"FunctionName\":\"UnknownMessage\"}]}"

static void negotiation_follows_the_reference(void **state) {
    (void)state;
    open_server(true, 0);
    peer_send(&f.peer, EXECUTE, 0, PLAIN_BODY);
    expect(0x20100501, 0, UNSUPPORTED("ComputeSystemExecuteProcessV1"));
    peer_send(&f.peer, NEGOTIATE, 0,
              "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":5,\"MaximumVersion\":6}");
    expect(0x20100b01, 0,
           "{\"Result\":-1070137076," A ",\"ErrorMessage\":\"HRESULT: 0xc037010c\","
           "\"ErrorRecords\":[{\"Result\":-1070137076,\"Message\":\"HRESULT: 0xc037010c\","
           "\"ModuleName\":\"gcs\",\"FileName\":\"\",\"Line\":4294967295}]}");
    peer_send(&f.peer, NEGOTIATE, 0, "{\"MinimumVersion\":1,\"MaximumVersion\":3}");
    expect_error(0x20100b01, 0, "{\"Result\":-1070137076,\"ErrorMessage\"");
    peer_send(&f.peer, NEGOTIATE, 0, "{\"ContainerId\":\"\",\"MinimumVersion\":4");
    expect_error(0x20100b01, 0,
                 "{\"Result\":-1070137075,\"ErrorMessage\":\"failed to unmarshal JSON in message "
                 "\\\"{\\\"ContainerId\\\":\\\"\\\",\\\"MinimumVersion\\\":4\\\": "
                 "HRESULT 0xc037010d: ");
    assert_int_equal(uvm__server_version(f.server), 0);
    assert_int_equal(f.negotiated, 0);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_BODY);
    expect(0x20100b01, 0, negotiate_response.body);
    assert_int_equal(uvm__server_version(f.server), 4);
    assert_int_equal(f.negotiated, 1);
    peer_send(&f.peer, NEGOTIATE, 1, NEGOTIATE_BODY);
    expect(0x20100b01, 1, UNSUPPORTED("ComputeSystemNegotiateProtocolV1"));
    close_server();
}

static void process_control_is_granted_when_asked(void **state) {
    (void)state;
    open_server(true, 0);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_OURS);
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_non_null(strstr(f.peer.body, "\"DeleteContainerStateSupported\":true,"
                                        "\"UvmExtensions\":{\"ProcessControl\":1}}}}"));
    assert_int_equal(uvm__server_process_control(f.server), 1);
    close_server();
}

static void unknown_types_are_answered(void **state) {
    (void)state;
    static const struct {
        uint32_t type, answer;
        const char *body;
    } rows[] = {
        {0x10101001, 0x20101001, UNSUPPORTED("269488129")},
        {0x10300101, 0x20300101, UNSUPPORTED("271581441")},
        {0x20100501, 0x20100501, UNSUPPORTED("ComputeSystemResponseExecuteProcessV1")},
        {0x30100101, 0x20100101, UNSUPPORTED("ComputeSystemNotificationV1")},
        {0, 0x20000000, UNSUPPORTED("None")},
        {0xffffffff, 0x2fffffff, UNSUPPORTED("4294967295")},
        {0x10100a01, 0x20100a01, UNSUPPORTED("ComputeSystemModifySettingsV1")}, /* no handler */
    };
    open_server(true, 0);
    negotiate(0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        peer_send(&f.peer, rows[i].type, 100 + i, PLAIN_BODY);
        expect(rows[i].answer, 100 + i, rows[i].body);
    }
    peer_send(&f.peer, 0x10101001, UINT64_MAX, "no json");
    expect_error(0x20101001, UINT64_MAX, "{\"Result\":-2147467263,\"ErrorMessage\":");
    close_server();

    open_server(false, 0);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_BODY);
    expect(0x20100b01, 0, UNSUPPORTED("ComputeSystemNegotiateProtocolV1"));
    close_server();
}

static void bad_bodies_are_answered(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    peer_send(&f.peer, PROPERTIES, 1, "");
    expect_error(0x20100901, 1,
                 "{\"Result\":-1070137075,\"ErrorMessage\":\"failed to unmarshal JSON in message "
                 "\\\"\\\": HRESULT 0xc037010d: ");
    peer_send(&f.peer, PROPERTIES, 2, "{" A ",\"Query\":{\"a\":\"<\"}}\n");
    expect_error(0x20100901, 2,
                 "{\"Result\":-1070137075," A ",\"ErrorMessage\":\"failed to unmarshal JSON in "
                 "message \\\"{\\\"ActivityId\\\":\\\"" Z "\\\",\\\"Query\\\":{\\\"a\\\":"
                 "\\\"\\u003c\\\"}}\\n\\\": HRESULT 0xc037010d: ");
    peer_send_raw(&f.peer, "\x01\x09\x10\x10\x13\0\0\0\x03\0\0\0\0\0\0\0{\0}", 19);
    expect_error(0x20100901, 3,
                 "{\"Result\":-1070137075,\"ErrorMessage\":\"failed to unmarshal JSON in message "
                 "\\\"{\\ufffd}\\\": HRESULT 0xc037010d: ");
    /* A bad body of 40 KiB: its error would not fit twice. */
    static char large[40000];
    memset(large, '{', sizeof large - 1);
    peer_send(&f.peer, 0x10100501, 4, large);
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_true(h.size <= UVM__FRAME_BYTES_MAX && h.size > UVM__FRAME_BYTES_MAX - 64);
    /* One of well-formed zeros, more of them than the reader takes: no gigabyte for it. */
    static char zeros[200001];
    for (size_t i = 0; i + 1 < sizeof zeros; i += 2) {
        zeros[i] = i == 0 ? '[' : ',';
        zeros[i + 1] = '0';
    }
    zeros[sizeof zeros - 2] = ']';
    peer_send(&f.peer, 0x10100501, 5, zeros);
    assert_true(peer_receive(&f.peer, &h));
    assert_true(h.size <= UVM__FRAME_BYTES_MAX);
    assert_int_equal(f.held_count, 0);
    close_server();
}

/* ---- requests and answers ----------------------------------------------------------------- */

static void answers_leave_in_the_order_of_completion(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    for (uint64_t id = 1; id <= 3; id++) {
        peer_send(&f.peer, WAIT, id, wait_request.body);
    }
    peer_send(&f.peer, PROPERTIES, 4, "{\"Query\":\"[4]\"}");
    expect(0x20100901, 4, "{\"Result\":0,\"Properties\":\"[4]\"}");
    assert_int_equal(f.held_count, 3);
    assert_int_equal(uvm__server_in_work(f.server), 3);
    assert_int_equal(uvm__server_request_body(f.held[0])->wait.pid, 213);
    size_t bytes;
    const void *text = uvm__server_request_text(f.held[0], &bytes);
    assert_int_equal(bytes, strlen(wait_request.body));
    assert_memory_equal(text, wait_request.body, bytes);
    peer_advance(&f.peer, 1200);
    char dump[64];
    (void)uvm__server_dump(f.server, dump, sizeof dump);
    assert_string_equal(dump, "WaitForProcess #1 1200 ms\nWaitForProcess #2 1200 ms\n");
    answer_exit(2, 3, 0);
    answer_exit(0, 1, 0);
    expect(0x20100601, 3, "{\"Result\":0," A ",\"ExitCode\":3}");
    expect(0x20100601, 1, "{\"Result\":0," A ",\"ExitCode\":1}");
    uvm__server_reply_hresult(f.held[1], UVM__HR_TIMEOUT);
    f.held[1] = NULL;
    expect_error(0x20100601, 2,
                 "{\"Result\":-1070137079," A ",\"ErrorMessage\":\"HRESULT: 0xc0370109\"");
    peer_send(&f.peer, EXECUTE, 5, execute_request.body);
    peer_run(&f.peer);
    uvm__server_reply_pid(f.held[3], 112);
    f.held[3] = NULL;
    expect(0x20100501, 5, "{\"Result\":0," A ",\"ProcessId\":112}");
    peer_send(&f.peer, STACKS, 6, PLAIN_BODY);
    peer_run(&f.peer);
    uvm__server_reply_stacks(f.held[4], "a\nb\n");
    f.held[4] = NULL;
    expect(0x20100c01, 6, "{\"Result\":0," A ",\"GuestStacks\":\"a\\nb\\n\"}");
    close_server();
}

static void what_does_not_fit_a_frame_is_said(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    static char large[70000];
    memset(large, 'x', sizeof large - 1);
    peer_send(&f.peer, STACKS, 1, PLAIN_BODY);
    peer_run(&f.peer);
    struct uvm__msg_error err = {.result = UVM__HR_FAIL, .message = large};
    uvm__server_reply_error(f.held[0], &err);
    f.held[0] = NULL;
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_true(h.size <= UVM__FRAME_BYTES_MAX && h.size > UVM__FRAME_BYTES_MAX - 64);
    peer_send(&f.peer, PROPERTIES, 2, "{\"Query\":\"[]\"}");
    expect(0x20100901, 2, "{\"Result\":0,\"Properties\":\"[]\"}");
    large[60000] = 0;
    char *query = malloc(sizeof large + 64);
    assert_non_null(query);
    (void)snprintf(query, sizeof large + 64, "{\"Query\":\"%s<<<<<<<<<<<<<<<<\"}", large);
    memset(query + 100, '<', 10000); /* six bytes each in the answer */
    peer_send(&f.peer, PROPERTIES, 3, query);
    expect_error(0x20100901, 3, "{\"Result\":-2147467259,");
    free(query);
    close_server();
}

static void answers_take_the_shape_of_their_connection(void **state) {
    (void)state;
    open_server(true, 0);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_OURS);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    peer_send(&f.peer, WAIT, 2, wait_request.body);
    peer_send(&f.peer, WAIT, 3, wait_request.body);
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    answer_exit(0, UVM__EXIT_SIGNALED, 9);
    expect(0x20100601, 1,
           "{\"Result\":0," A ",\"ExitCode\":4294967295,"
           "\"UvmExit\":{\"Signal\":9,\"CoreDump\":false}}");
    reconnect();
    answer_exit(1, UVM__EXIT_SIGNALED, 9);
    expect_nothing(); /* an old answer waits for the negotiation */
    peer_send(&f.peer, NEGOTIATE, 10, NEGOTIATE_BODY);
    expect(0x20100b01, 10, negotiate_response.body);
    expect(0x20100601, 2, "{\"Result\":0," A ",\"ExitCode\":4294967295}");
    reconnect();
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_OURS);
    assert_true(peer_receive(&f.peer, &h));
    answer_exit(2, UVM__EXIT_SIGNALED, 9);
    expect(0x20100601, 3,
           "{\"Result\":0," A ",\"ExitCode\":4294967295,"
           "\"UvmExit\":{\"Signal\":9,\"CoreDump\":false}}");
    close_server();
}

/* ---- connections that end ----------------------------------------------------------------- */

static void an_answer_between_connections_is_kept(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    peer_run(&f.peer);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_int_equal(f.detached, 1);
    assert_int_equal(f.detached_code, UVM_E_EOF);
    answer_exit(0, 7, 0);
    assert_int_equal(uvm__server_notify_exit(f.server, "c1", "", "ForcedExit"), 0);
    peer_run(&f.peer);
    peer_connect(&f.peer);
    uvm__server_attach(f.server, f.peer.ours);
    /* The notification is first, before anything was negotiated; the answer comes behind that. */
    expect(UVM__NOTIFICATION_WORD, 0, notification.body);
    expect_nothing();
    negotiate(20);
    expect(0x20100601, 1, "{\"Result\":0," A ",\"ExitCode\":7}");
    assert_int_equal(uvm__server_version(f.server), 4);
    close_server();
}

static void an_answer_cut_in_the_middle_leaves_again(void **state) {
    (void)state;
    open_server(true, 64);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_BODY);
    peer_run(&f.peer);
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    peer_run(&f.peer);
    answer_exit(0, 7, 0);
    peer_run(&f.peer); /* 64 bytes of its 93 have left */
    reconnect();
    negotiate(0);
    expect(0x20100601, 1, "{\"Result\":0," A ",\"ExitCode\":7}");
    expect_nothing();
    close_server();
}

static void broken_frames_end_the_connection_only(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 15, UVM__SERVER_FRAME_BYTES_MAX + 1, UINT32_MAX};
    open_server(true, 0);
    negotiate(0);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t header[UVM__FRAME_HEADER_BYTES];
        struct uvm__frame_header h = {EXECUTE, sizes[i], 9};
        uvm__frame_header_write(&h, header);
        peer_send_raw(&f.peer, header, sizeof header);
        peer_run(&f.peer);
        assert_int_equal(f.detached, i + 1);
        assert_int_equal(f.detached_code, UVM_E_PROTOCOL);
        assert_true(peer_at_end(&f.peer));
        reconnect();
        negotiate(0);
    }
    peer_send_raw(&f.peer, "\x01\x05\x10\x10\x20\0\0\0\0", 9);
    peer_hang_up(&f.peer);
    peer_run(&f.peer);
    assert_int_equal(f.detached, 5);
    assert_int_equal(f.detached_code, UVM_E_CLOSED);
    peer_connect(&f.peer);
    uvm__server_attach(f.server, f.peer.ours);
    negotiate(0);
    answer_exit(0, 7, 0); /* the first connection's */
    expect(0x20100601, 1, "{\"Result\":0," A ",\"ExitCode\":7}");
    close_server();
}

static void a_half_close_still_gets_what_is_ready(void **state) {
    (void)state;
    open_server(true, 0);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_BODY);
    peer_send(&f.peer, PROPERTIES, 1, "{\"Query\":\"[1]\"}");
    uvm__stream_shutdown(f.peer.theirs);
    expect(0x20100b01, 0, negotiate_response.body);
    expect(0x20100901, 1, "{\"Result\":0,\"Properties\":\"[1]\"}");
    assert_int_equal(f.detached_code, UVM_E_EOF);
    close_server();
}

static void requests_may_outlive_the_server(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    peer_run(&f.peer);
    uvm__server_close(f.server);
    answer_exit(0, 0, 0);
    assert_int_equal(f.detached, 0);
    peer_close(&f.peer);
}

static void close_in_handler(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)arg;
    uvm__server_close(s);
    uvm__server_reply(r);
}

static void a_handler_may_close(void **state) {
    (void)state;
    memset(&f, 0, sizeof f);
    peer_open(&f.peer, 0);
    struct uvm__server_params params = params_of(true);
    params.handlers[UVM__MSG_SHUTDOWN_FORCED] = close_in_handler;
    assert_int_equal(uvm__server_new(f.peer.engine, &params, &f.server), 0);
    uvm__server_attach(f.server, f.peer.ours);
    peer_send(&f.peer, NEGOTIATE, 0, NEGOTIATE_BODY);
    peer_send(&f.peer, 0x10100401, 1, PLAIN_BODY);
    peer_send(&f.peer, 0x10100401, 2, PLAIN_BODY);
    peer_run(&f.peer);
    peer_close(&f.peer);
}

/* ---- limits ------------------------------------------------------------------------------- */

static void a_host_that_does_not_read_is_not_heard(void **state) {
    (void)state;
    enum { REQUESTS = 2000, REQUEST_BYTES = UVM__FRAME_HEADER_BYTES + 14 };
    static const char body[] = "{\"Query\":\"[]\"}";
    static uint8_t wire[REQUESTS * REQUEST_BYTES];
    for (size_t i = 0; i < REQUESTS; i++) {
        struct uvm__frame_header h = {PROPERTIES, REQUEST_BYTES, i + 1};
        uvm__frame_header_write(&h, wire + i * REQUEST_BYTES);
        memcpy(wire + i * REQUEST_BYTES + UVM__FRAME_HEADER_BYTES, body, sizeof body - 1);
    }
    open_server(true, 4096);
    negotiate(0);
    size_t sent = 0;
    for (unsigned refused = 0; refused < 2;) {
        ssize_t n = uvm__stream_write(f.peer.theirs, wire + sent, sizeof wire - sent);
        peer_run(&f.peer);
        refused = n == -UVM_E_AGAIN ? refused + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
    }
    /* Two windows, the answers that wait and one turn more. */
    assert_true(sent < 2 * 4096 + (UVM__SERVER_REPLIES_MAX + 100) * REQUEST_BYTES);
    for (unsigned id = 1; id <= REQUESTS; id++) {
        expect(0x20100901, id, "{\"Result\":0,\"Properties\":\"[]\"}");
        ssize_t n = sent == sizeof wire
                        ? 0
                        : uvm__stream_write(f.peer.theirs, wire + sent, sizeof wire - sent);
        sent += n > 0 ? (size_t)n : 0;
    }
    expect_nothing();
    close_server();
}

static void count_held(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    struct uvm__server_request **last = arg;
    uvm__server_request_set_data(r, *last);
    *last = r;
}

static void too_much_work_is_refused(void **state) {
    (void)state;
    memset(&f, 0, sizeof f);
    peer_open(&f.peer, 0);
    struct uvm__server_request *last = NULL;
    struct uvm__server_params params = {.v4 = true, .arg = &last};
    params.handlers[UVM__MSG_WAIT_FOR_PROCESS] = count_held;
    assert_int_equal(uvm__server_new(f.peer.engine, &params, &f.server), 0);
    uvm__server_attach(f.server, f.peer.ours);
    negotiate(0);
    for (uint64_t id = 1; id <= UVM__SERVER_IN_WORK_MAX + 1; id++) {
        peer_send(&f.peer, WAIT, id, "{}");
    }
    expect_error(0x20100601, UVM__SERVER_IN_WORK_MAX + 1, "{\"Result\":-2147467259,");
    assert_int_equal(uvm__server_in_work(f.server), UVM__SERVER_IN_WORK_MAX);
    while (last != NULL) {
        struct uvm__server_request *next = uvm__server_request_data(last);
        uvm__server_reply(last);
        last = next;
    }
    close_server();
}

/* ---- memory ------------------------------------------------------------------------------- */

/* One allocation fails, at every place in turn: each request still gets one answer. */
static void one_failed_allocation_costs_no_answer(void **state) {
    (void)state;
    unsigned total = 1;
    for (unsigned at = 1; at <= total; at++) {
        open_server(true, 0);
        negotiate(0);
        peer_send(&f.peer, WAIT, 1, wait_request.body);
        peer_send(&f.peer, STACKS, 2, PLAIN_BODY);
        peer_send(&f.peer, 0x10101001, 3, PLAIN_BODY);
        peer_send(&f.peer, PROPERTIES, 4, "{");
        (void)peer_fail_at(at, false);
        peer_run(&f.peer);
        for (int i = 0; i < 3; i++) {
            peer_advance(&f.peer, 100);
        }
        assert_int_equal(f.held_count, 2);
        answer_exit(0, 1, 0);
        uvm__server_reply_stacks(f.held[1], "stacks");
        f.held[1] = NULL;
        peer_run(&f.peer);
        peer_advance(&f.peer, 100);
        unsigned used = peer_fail_at(0, false);
        total = at == 1 ? used : total;
        unsigned seen = 0;
        struct uvm__frame_header h;
        while (peer_receive(&f.peer, &h)) {
            assert_true(h.id >= 1 && h.id <= 4 && (seen & (1u << h.id)) == 0);
            seen |= 1u << h.id;
        }
        assert_int_equal(seen, 0x1e);
        assert_int_equal(f.detached, 0);
        close_server();
    }
    assert_true(total > 10);
}

static void no_memory_for_long_ends_the_connection(void **state) {
    (void)state;
    open_server(true, 0);
    negotiate(0);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    (void)peer_fail_at(1, true);
    peer_run(&f.peer);
    for (unsigned ms = 0; ms < UVM__BRIDGE_MEMORY_MS - 100; ms += 100) {
        peer_advance(&f.peer, 100);
    }
    assert_int_equal(f.detached, 0);
    peer_advance(&f.peer, 100);
    peer_advance(&f.peer, 100);
    assert_int_equal(f.detached, 1);
    assert_int_equal(f.held_count, 0);
    (void)peer_fail_at(0, false);
    reconnect();
    negotiate(0);
    peer_send(&f.peer, WAIT, 1, wait_request.body);
    peer_run(&f.peer);
    assert_int_equal(f.held_count, 1);
    (void)peer_fail_at(1, true); /* the answer waits for the stream's memory */
    answer_exit(0, 5, 0);
    peer_run(&f.peer);
    (void)peer_fail_at(0, false);
    peer_advance(&f.peer, 100);
    expect(0x20100601, 1, "{\"Result\":0," A ",\"ExitCode\":5}");
    close_server();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negotiation_follows_the_reference),
        cmocka_unit_test(process_control_is_granted_when_asked),
        cmocka_unit_test(unknown_types_are_answered),
        cmocka_unit_test(bad_bodies_are_answered),
        cmocka_unit_test(answers_leave_in_the_order_of_completion),
        cmocka_unit_test(what_does_not_fit_a_frame_is_said),
        cmocka_unit_test(answers_take_the_shape_of_their_connection),
        cmocka_unit_test(an_answer_between_connections_is_kept),
        cmocka_unit_test(an_answer_cut_in_the_middle_leaves_again),
        cmocka_unit_test(broken_frames_end_the_connection_only),
        cmocka_unit_test(a_half_close_still_gets_what_is_ready),
        cmocka_unit_test(requests_may_outlive_the_server),
        cmocka_unit_test(a_handler_may_close),
        cmocka_unit_test(a_host_that_does_not_read_is_not_heard),
        cmocka_unit_test(too_much_work_is_refused),
        cmocka_unit_test(one_failed_allocation_costs_no_answer),
        cmocka_unit_test(no_memory_for_long_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
