/* SPDX-License-Identifier: MIT
 * qmp_test.c — QMP's lines and its client against a scripted peer on a real socket: hostile lines, replies
 * that come late, never, or to nobody, and the end of the connection at each moment.
 */
#include "async/json.h"
#include "async/limits.h"
#include "async/sock.h"
#include "hcs/qemu/qmp.h"
#include "hcs/qemu/qmp_frame.h"
#include "tests/unit/loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- lines -------------------------------------------------------------------------------- */

static int engine_set_up(void **state) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    return uvm__engine_new_virtual(&p, 1, (uvm_engine **)state);
}

static int engine_tear_down(void **state) {
    uvm__engine_free_virtual(*state);
    return 0;
}

static void expect_line(struct uvm__qmp_frame *frame, const char *text) {
    const char *line;
    size_t bytes;
    assert_true(uvm__qmp_frame_next(frame, &line, &bytes));
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(line, text, bytes);
}

static void expect_none(struct uvm__qmp_frame *frame) {
    const char *line;
    size_t bytes;
    assert_false(uvm__qmp_frame_next(frame, &line, &bytes));
}

static void feed(struct uvm__qmp_frame *frame, const char *text) {
    assert_int_equal(uvm__qmp_frame_feed(frame, text, strlen(text)), 0);
}

static void lines_come_whole(void **state) {
    struct uvm__qmp_frame frame;
    uvm__qmp_frame_init(&frame, *state);
    expect_none(&frame);
    feed(&frame, "a");
    expect_none(&frame);
    feed(&frame, "b\r");
    expect_none(&frame);
    feed(&frame, "\nc\n\r\n\n\r\r\nd\ne");
    expect_line(&frame, "ab");
    expect_line(&frame, "c");
    expect_line(&frame, "\r");
    expect_line(&frame, "d");
    expect_none(&frame);
    feed(&frame, "\n");
    expect_line(&frame, "e");
    expect_none(&frame);
    uvm__qmp_frame_deinit(&frame);
}

static void every_cut_gives_the_same_lines(void **state) {
    static const char text[] = "{\"a\":1}\r\n{\"b\":2}\n\n{\"c\":3}\r\n";
    for (size_t cut = 0; cut <= sizeof text - 1; cut++) {
        struct uvm__qmp_frame frame;
        const char *line;
        char got[64] = "";
        size_t bytes, len = 0;
        uvm__qmp_frame_init(&frame, *state);
        for (size_t part = 0; part < 2; part++) {
            const char *at = part == 0 ? text : text + cut;
            size_t n = part == 0 ? cut : sizeof text - 1 - cut;
            assert_int_equal(uvm__qmp_frame_feed(&frame, at, n), 0);
            while (uvm__qmp_frame_next(&frame, &line, &bytes)) {
                memcpy(got + len, line, bytes);
                len += bytes;
            }
        }
        assert_string_equal(got, "{\"a\":1}{\"b\":2}{\"c\":3}");
        uvm__qmp_frame_deinit(&frame);
    }
}

static void a_line_has_a_limit(void **state) {
    struct uvm__qmp_frame frame;
    size_t bytes = UVM__QMP_LINE_BYTES_MAX;
    char *text = malloc(bytes + 2);
    assert_non_null(text);
    memset(text, 'x', bytes + 2);
    const char *line;
    size_t got;

    uvm__qmp_frame_init(&frame, *state);
    assert_int_equal(uvm__qmp_frame_feed(&frame, text, bytes), 0);
    expect_none(&frame);
    feed(&frame, "\ny\n");
    assert_true(uvm__qmp_frame_next(&frame, &line, &got));
    assert_int_equal(got, bytes);
    expect_line(&frame, "y");
    assert_int_equal(uvm__qmp_frame_feed(&frame, text, bytes + 1), -UVM_E_LIMIT);
    uvm__qmp_frame_deinit(&frame);

    text[bytes + 1] = '\n'; /* its end comes with it, and it is too long all the same */
    uvm__qmp_frame_init(&frame, *state);
    assert_int_equal(uvm__qmp_frame_feed(&frame, text, bytes + 2), -UVM_E_LIMIT);
    uvm__qmp_frame_deinit(&frame);
    free(text);
}

/* ---- client ------------------------------------------------------------------------------- */

#define GREETING                                                                                   \
    "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":22,\"minor\":2,\"major\":7},\"package\":\"d\"},"   \
    "\"capabilities\":[\"oob\"]}}\r\n"

struct world {
    struct loop_kit kit;
    struct uvm__qmp *qmp;
    int peer;
    bool ready, ended, closed;
    int end_code; /* 0: end of the stream */
    char events[256];
    unsigned events_count;
    int done, done_code;
    char done_detail[128];
    bool one_done;
};

static void on_ready(struct uvm__qmp *q, void *arg) {
    ((struct world *)arg)->ready = true;
    assert_true(uvm__qmp_ready(q));
}

static void on_event(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg) {
    struct world *w = arg;
    size_t len = strlen(w->events);
    const char *reason =
        data == NULL ? NULL : uvm__json_string(uvm__json_get(UVM__JSON_STRICT, data, "reason"));
    (void)q;
    w->events_count++;
    (void)snprintf(w->events + len, sizeof w->events - len, "%s(%s) ", name,
                   reason == NULL ? "" : reason);
}

static void on_end(struct uvm__qmp *q, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)q;
    assert_false(w->ended);
    w->ended = true;
    w->end_code = err == NULL ? 0 : (int)uvm_error_code(err);
}

static void on_closed(void *arg) {
    ((struct world *)arg)->closed = true;
}

static void open_world(struct world *w) {
    int pair[2];
    memset(w, 0, sizeof *w);
    loop_open(&w->kit);
    assert_int_equal(uvm__sock_pair(pair), 0);
    w->peer = pair[1];
    const struct uvm__qmp_params p = {
        .take_fd = pair[0], .on_ready = on_ready, .on_event = on_event, .on_end = on_end, .arg = w};
    assert_int_equal(uvm__qmp_open(w->kit.engine, &p, &w->qmp), 0);
}

static void close_world(struct world *w) {
    if (w->qmp != NULL) {
        uvm__qmp_close(w->qmp, on_closed, w);
        loop_until(&w->kit, &w->closed);
    }
    if (w->peer >= 0) {
        close(w->peer);
    }
    loop_close(&w->kit);
}

static void say(struct world *w, const char *text) {
    assert_int_equal(write(w->peer, text, strlen(text)), strlen(text));
    loop_turns(&w->kit);
}

static void expect_said(struct world *w, const char *text) {
    char got[512] = "";
    loop_turns(&w->kit);
    ssize_t n = read(w->peer, got, sizeof got - 1);
    assert_true(n > 0);
    assert_string_equal(got, text);
}

static void get_ready(struct world *w) {
    open_world(w);
    say(w, GREETING);
    assert_string_equal(uvm__qmp_version(w->qmp), "7.2.22");
    assert_false(w->ready);
    expect_said(w, "{\"execute\":\"qmp_capabilities\",\"id\":0}\n");
    say(w, "{\"return\":{},\"id\":0}\r\n");
    assert_true(w->ready);
}

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct world *w = arg;
    (void)op;
    w->done++;
    w->one_done = true;
    w->done_code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(w->done_detail, sizeof w->done_detail, "%s",
                   err == NULL ? "" : uvm_error_detail(err));
}

static uvm_op *execute(struct world *w, const char *command, const char *arguments, bool effect) {
    const struct uvm__qmp_execute_params p = {w->qmp, command, arguments, effect};
    uvm_op *op = NULL;
    assert_int_equal(uvm__qmp_execute(&p, NULL, on_done, w, &op), 0);
    loop_turns(&w->kit);
    return op;
}

static void commands_and_events_interleave(void **state) {
    (void)state;
    struct world w;
    get_ready(&w);
    uvm_op *first = execute(&w, "query-status", NULL, false);
    uvm_op *second = execute(&w, "device_del", "{\"id\":\"sd0\"}", true);
    expect_said(&w, "{\"execute\":\"query-status\",\"id\":1}\n"
                    "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"sd0\"},\"id\":2}\n");
    say(&w,
        "{\"event\":\"STOP\",\"timestamp\":{}}\r\n"
        "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"Device 'sd0' not found\"},\"id\":2}"
        "\r\n{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-reset\"}}\r\n");
    assert_int_equal(w.done, 1);
    assert_int_equal(w.done_code, UVM_E_PEER);
    assert_string_equal(w.done_detail, "DeviceNotFound: Device 'sd0' not found");
    assert_null(uvm__qmp_execute_result(second));
    say(&w, "{\"return\":{\"status\":\"running\"},\"id\":1}\r\n");
    assert_int_equal(w.done, 2);
    assert_int_equal(w.done_code, UVM_OK);
    const cJSON *result = uvm__qmp_execute_result(first);
    assert_string_equal(uvm__json_string(uvm__json_get(UVM__JSON_STRICT, result, "status")),
                        "running");
    assert_string_equal(w.events, "STOP() SHUTDOWN(guest-reset) ");
    assert_int_equal(uvm__qmp_pending(w.qmp), 0);
    uvm_op_unref(first);
    uvm_op_unref(second);
    close_world(&w);
}

/* A query that was given up ends at once; its id stays taken until the reply, which nobody hears. */
static void an_abandoned_query_is_an_orphan(void **state) {
    (void)state;
    struct world w;
    get_ready(&w);
    uvm_op *op = execute(&w, "query-status", NULL, false);
    uvm_op_cancel(op);
    loop_turns(&w.kit);
    assert_int_equal(w.done_code, UVM_E_CANCELED);
    uvm_op_unref(op);
    assert_int_equal(uvm__qmp_pending(w.qmp), 1);
    say(&w, "{\"return\":{},\"id\":1}\r\n");
    assert_int_equal(uvm__qmp_pending(w.qmp), 0);
    assert_int_equal(w.done, 1);
    close_world(&w);
}

/* One with an effect waits for its reply, whatever its owner wants. */
static void an_effect_waits_for_its_reply(void **state) {
    (void)state;
    struct world w;
    get_ready(&w);
    uvm_op *op = execute(&w, "device_del", NULL, true);
    uvm_op_cancel(op);
    loop_turns(&w.kit);
    assert_int_equal(w.done, 0);
    say(&w, "{\"return\":{},\"id\":1}\r\n");
    assert_int_equal(w.done, 1);
    assert_int_equal(w.done_code, UVM_OK); /* nothing to take back: it is done */
    uvm_op_unref(op);
    close_world(&w);
}

static void the_end_ends_every_command_first(void **state) {
    (void)state;
    struct world w;
    get_ready(&w);
    uvm_op *a = execute(&w, "device_del", NULL, true);
    uvm_op *b = execute(&w, "query-status", NULL, false);
    uvm_op_cancel(b);
    loop_turns(&w.kit);
    assert_int_equal(write(w.peer, "{\"event\":\"LAST\"}\r\n{\"event\":\"CU", 28), 28);
    close(w.peer); /* unread bytes were in it: a reset, not an end of file */
    w.peer = -1;
    loop_until(&w.kit, &w.ended);
    loop_turns(&w.kit);
    assert_int_equal(w.end_code, 0);
    assert_string_equal(w.events, "LAST() ");
    assert_int_equal(w.done, 2);
    assert_int_equal(w.done_code, UVM_E_CLOSED);
    assert_int_equal(uvm__qmp_pending(w.qmp), 0);
    uvm_op_unref(a);
    uvm_op_unref(b);
    a = execute(&w, "quit", NULL, true); /* after the end: an error, not a crash */
    assert_int_equal(w.done, 3);
    assert_int_equal(w.done_code, UVM_E_CLOSED);
    uvm_op_unref(a);
    close_world(&w);
}

static void closing_ends_commands_too(void **state) {
    (void)state;
    struct world w;
    get_ready(&w);
    uvm_op *op = execute(&w, "device_del", NULL, true);
    const struct uvm__qmp_execute_params p = {w.qmp, "late", NULL, true};
    assert_int_equal(uvm__qmp_execute(&p, NULL, on_done, &w, NULL), 0); /* not sent yet */
    uvm__qmp_close(w.qmp, on_closed, &w);
    w.qmp = NULL;
    loop_until(&w.kit, &w.closed);
    loop_turns(&w.kit);
    assert_int_equal(w.done, 2);
    assert_int_equal(w.done_code, UVM_E_CLOSED);
    assert_false(w.ended); /* the owner knows: it closed */
    uvm_op_unref(op);
    close_world(&w);
}

/* Others on the loop have their turn although the VMM has more to say. */
static void a_flood_is_taken_in_turns(void **state) {
    (void)state;
    static const char line[] = "{\"event\":\"FLOOD\",\"data\":{\"text\":\"................\"}}\r\n";
    static char flood[1500 * (sizeof line - 1)];
    struct world w;
    unsigned turns = 0;
    for (size_t at = 0; at < sizeof flood; at += sizeof line - 1) {
        memcpy(flood + at, line, sizeof line - 1);
    }
    get_ready(&w);
    assert_int_equal(send(w.peer, flood, sizeof flood, MSG_DONTWAIT), sizeof flood);
    while (w.events_count < 1500) {
        assert_true(++turns < 100);
        uv_run(&w.kit.loop, UV_RUN_NOWAIT);
    }
    assert_true(turns >= 2);
    close_world(&w);
}

static void before_ready_commands_are_refused(void **state) {
    (void)state;
    struct world w;
    open_world(&w);
    uvm_op *op = execute(&w, "cont", NULL, true);
    assert_int_equal(w.done_code, UVM_E_STATE);
    uvm_op_unref(op);
    close_world(&w);
}

/* What a client must survive from a VMM that was taken over: a code (0: goes on), after "ready" or before. */
static const struct hostile {
    bool ready;
    const char *line;
    int code;
} hostiles[] = {
    {false, "\r\n\n", 0},
    {false, "{}\n", UVM_E_PROTOCOL},
    {false, "{\"return\":{},\"id\":0}\n", UVM_E_PROTOCOL},
    {false, "{\"event\":\"STOP\"}\n", UVM_E_PROTOCOL},
    {false, "{\"QMP\":7}\n", UVM_E_PROTOCOL},
    {false, "{\"QMP\":{}}\n", UVM_E_PROTOCOL},
    {false, "{\"QMP\":{\"version\":[]}}\n", UVM_E_PROTOCOL},
    {false, "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":1,\"minor\":2}}}}\n", UVM_E_PROTOCOL},
    {false, "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":1,\"minor\":-2,\"major\":7}}}}\n",
     UVM_E_PROTOCOL},
    {true, "garbage\n", UVM_E_PROTOCOL},
    {true, "[]\n", UVM_E_PROTOCOL},
    {true, "7\n", UVM_E_PROTOCOL},
    {true, "{}\n", UVM_E_PROTOCOL},
    {true, "{\"return\":{}}\n", UVM_E_PROTOCOL},
    {true, "{\"return\":{},\"id\":\"1\"}\n", UVM_E_PROTOCOL},
    {true, "{\"return\":{},\"id\":1.5}\n", UVM_E_PROTOCOL},
    {true, "{\"return\":{},\"return\":{},\"id\":1}\n", UVM_E_PROTOCOL},
    {true, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}\n", UVM_E_PROTOCOL},
    {true, "\xff\xfe\n", UVM_E_PROTOCOL},
    {true, "{\"event\":{}}\n", UVM_E_PROTOCOL},
    {true, "{\"event\":\"\\u0000\"}\n", UVM_E_PROTOCOL},
    {true, "{\"event\":\"X\",\"data\":7}\n", 0},
    {true, "{\"event\":\"X\",\"data\":{\"reason\":7}}\n", 0},
    {true, "{\"return\":{},\"id\":77}\n", 0},
    {true, "{\"return\":{},\"id\":18446744073709551615}\n", 0},
    {true, "{\"return\":{},\"id\":0}\n", 0},
};

static void hostile_lines(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof hostiles / sizeof hostiles[0]; i++) {
        struct world w;
        if (hostiles[i].ready) {
            get_ready(&w);
        } else {
            open_world(&w);
        }
        say(&w, hostiles[i].line);
        if (w.ended != (hostiles[i].code != 0) || w.end_code != hostiles[i].code) {
            fail_msg("row %zu (%s): ended %d, code %d", i, hostiles[i].line, w.ended, w.end_code);
        }
        close_world(&w);
    }
}

static void hostile_replies_to_a_command(void **state) {
    (void)state;
    static const struct {
        const char *reply;
        int code;
        const char *detail;
    } rows[] = {
        {"{\"error\":7,\"id\":1}\n", UVM_E_PEER, "?: ?"},
        {"{\"error\":{\"desc\":\"x\"},\"id\":1}\n", UVM_E_PEER, "?: x"},
        {"{\"error\":{},\"return\":{},\"id\":1}\n", UVM_E_PEER, "?: ?"},
        {"{\"return\":null,\"id\":1}\n", UVM_OK, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world w;
        get_ready(&w);
        uvm_op *op = execute(&w, "x", NULL, true);
        say(&w, rows[i].reply);
        assert_int_equal(w.done_code, rows[i].code);
        assert_string_equal(w.done_detail, rows[i].detail);
        uvm_op_unref(op);
        close_world(&w);
    }
}

static void nth_allocation_fails(void **state) {
    (void)state;
    for (long n = 0; n < 24; n++) {
        struct world w;
        get_ready(&w);
        w.kit.fail_at = n;
        const struct uvm__qmp_execute_params p = {w.qmp, "query-status", NULL, false};
        int rc = uvm__qmp_execute(&p, NULL, on_done, &w, NULL);
        assert_true(rc == 0 || rc == -UVM_E_NOMEM);
        loop_turns(&w.kit);
        if (rc == 0 && !w.one_done) {
            ssize_t sent = write(w.peer, "{\"return\":{},\"id\":1}\r\n", 22);
            assert_int_equal(sent, 22);
            loop_turns(&w.kit);
        }
        assert_int_equal(w.done, rc == 0 ? 1 : 0);
        close_world(&w);
    }
}

int main(void) {
    const struct CMUnitTest lines[] = {
        cmocka_unit_test(lines_come_whole),
        cmocka_unit_test(every_cut_gives_the_same_lines),
        cmocka_unit_test(a_line_has_a_limit),
    };
    const struct CMUnitTest client[] = {
        cmocka_unit_test(commands_and_events_interleave),
        cmocka_unit_test(an_abandoned_query_is_an_orphan),
        cmocka_unit_test(an_effect_waits_for_its_reply),
        cmocka_unit_test(the_end_ends_every_command_first),
        cmocka_unit_test(closing_ends_commands_too),
        cmocka_unit_test(a_flood_is_taken_in_turns),
        cmocka_unit_test(before_ready_commands_are_refused),
        cmocka_unit_test(hostile_lines),
        cmocka_unit_test(hostile_replies_to_a_command),
        cmocka_unit_test(nth_allocation_fails),
    };
    int failed = cmocka_run_group_tests(lines, engine_set_up, engine_tear_down);
    return failed + cmocka_run_group_tests(client, NULL, NULL);
}
