/* SPDX-License-Identifier: MIT
 * agent_log_test.c — the agent's log over a stream, and the entropy that a guest is fed.
 *
 * Both are servants of one stream each: a guest's end on the loopback transport says whatever it likes.
 */
#include "async/engine.h"
#include "hvsock/hvsock.h"
#include "tests/unit/cm.h"
#include "uvm/agent_log.h"
#include "uvm/entropy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    uvm_engine *e;
    struct uvm__hvsock *host, *guest;
    struct uvm__listener *listener;
    struct uvm__stream *accepted, *peer;
    struct uvm__agent_log log;
    char logged[8192];
    uint32_t levels[UVM_LOG_MAX];
};

static struct world w;

static void on_record(const struct uvm_log_record *r, void *arg) {
    (void)arg;
    if (r->kind == UVM_LOG_TEXT) {
        size_t len = strlen(w.logged);
        (void)snprintf(w.logged + len, sizeof w.logged - len, "%d %s: %s\n", (int)r->level, r->vm,
                       r->text);
        w.levels[r->level]++;
    }
}

static void turn(void) {
    while (uvm__engine_turn(w.e)) {
    }
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    (void)l;
    (void)arg;
    w.accepted = take_stream;
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    (void)arg;
    assert_null(err);
    w.peer = uvm__hvsock_connect_result(op);
}

/* A connected pair: w.accepted is the host's end, w.peer the guest's. */
static int setup(void **state) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    (void)state;
    memset(&w, 0, sizeof w);
    p.log = on_record;
    p.log_level = UVM_LOG_TRACE;
    assert_int_equal(uvm__engine_new_virtual(&p, 1, &w.e), 0);
    assert_int_equal(uvm__loopback_new(w.e, 4096, &w.host, &w.guest), 0);
    const struct uvm__listen_params listen = {.port = 109, .on_accept = on_accept};
    assert_int_equal(uvm__hvsock_listen(w.host, &listen, &w.listener), 0);
    assert_int_equal(uvm__hvsock_connect(w.guest, 109, NULL, on_dialled, NULL, NULL), 0);
    turn();
    assert_non_null(w.accepted);
    assert_non_null(w.peer);
    assert_int_equal(uvm__agent_log_init(&w.log, w.e, "demo"), 0);
    w.logged[0] = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    uvm__agent_log_hang_up(&w.log);
    uvm__agent_log_deinit(&w.log);
    if (w.peer != NULL) {
        uvm__stream_reset(w.peer);
    }
    uvm__listener_close(w.listener);
    turn();
    uvm__loopback_free(w.host, w.guest);
    turn();
    uvm__engine_free_virtual(w.e);
    return 0;
}

static void say(const char *text, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = uvm__stream_write(w.peer, text, bytes);
        assert_true(n > 0 || n == -UVM_E_AGAIN);
        text += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
        turn();
    }
    turn();
}

static void says(const char *text) {
    say(text, strlen(text));
}

static void expect_tail(const char *text) {
    char tail[256];
    (void)uvm__tail_read(&w.log.tail, tail, sizeof tail);
    assert_string_equal(tail, text);
}

/* ---- lines ------------------------------------------------------------------------------------ */

static void test_lines(void **state) {
    static const struct {
        const char *line, *want;
    } rows[] = {
        {"{\"level\":\"info\",\"msg\":\"hi\",\"time\":\"2026-01-01T00:00:00Z\"}",
         "2 demo: agent: hi\n"},
        {"{\"msg\":\"no level\"}", "2 demo: agent: no level\n"},
        {"{\"level\":\"odd\",\"msg\":\"x\"}", "2 demo: agent: x\n"},
        {"{\"level\":\"debug\",\"msg\":\"x\",\"n\":18446744073709551615,\"ok\":true,\"s\":\"a b\"}",
         "3 demo: agent: x n=18446744073709551615 ok=true s=a b\n"},
        {"{\"level\":\"warning\",\"msg\":\"x\"}", "2 demo: agent: warning: x\n"},
        {"{\"level\":\"error\",\"msg\":\"x\"}", "1 demo: agent: error: x\n"},
        {"{\"level\":\"fatal\",\"msg\":\"x\"}", "1 demo: agent: fatal: x\n"},
        {"{\"level\":\"trace\",\"msg\":\"x\",\"deep\":{\"a\":1}}", "4 demo: agent: x deep=…\n"},
        {"{\"level\":3,\"msg\":4}", "2 demo: agent: (no message)\n"},
        {"panic: no JSON\033[2J", "1 demo: agent: panic: no JSON [2J\n"},
        {"{\"level\":\"info\",\"msg\":\"cut", "1 demo: agent: {\"level\":\"info\",\"msg\":\"cut\n"},
        {"[1]", "1 demo: agent: [1]\n"},
        {"{\"msg\":\"a\\nb\\u001b[1m\"}", "2 demo: agent: a b [1m\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        w.logged[0] = 0;
        uvm__agent_log_line(&w.log, rows[i].line, strlen(rows[i].line));
        assert_string_equal(w.logged, rows[i].want);
    }
    uvm__stream_reset(w.accepted);
}

static void test_lines_are_cut_from_the_stream(void **state) {
    (void)state;
    uvm__agent_log_connect(&w.log, w.accepted);
    says("{\"msg\":\"o");
    assert_string_equal(w.logged, "");
    says("ne\"}\n\n{\"msg\":\"two\"}\n{\"msg\":");
    assert_string_equal(w.logged, "2 demo: agent: one\n2 demo: agent: two\n");
    says("\"three\"}");
    uvm__stream_close(w.peer);
    w.peer = NULL;
    turn();
    assert_null(w.log.stream);
    assert_non_null(strstr(w.logged, "2 demo: agent: three\n"));
    assert_int_equal(w.log.lines, 3);
    expect_tail("{\"msg\":\"one\"}\n\n{\"msg\":\"two\"}\n{\"msg\":\"three\"}");
}

static void test_a_line_without_end(void **state) {
    static char line[3 * UVM__LOG_LINE_BYTES];
    (void)state;
    memset(line, 'x', sizeof line);
    uvm__agent_log_connect(&w.log, w.accepted);
    say(line, sizeof line);
    assert_int_equal(w.levels[UVM_LOG_WARN], 1);
    says("\n{\"msg\":\"next\"}\n");
    assert_int_equal(w.levels[UVM_LOG_WARN], 1);
    assert_non_null(strstr(w.logged, "2 demo: agent: next\n"));
}

static void test_a_line_of_just_the_limit(void **state) {
    static char line[UVM__LOG_LINE_BYTES + 1];
    (void)state;
    memset(line, 'x', sizeof line);
    line[UVM__LOG_LINE_BYTES] = '\n';
    uvm__agent_log_connect(&w.log, w.accepted);
    say(line, sizeof line);
    says("y\n");
    assert_int_equal(w.levels[UVM_LOG_WARN], 2);
    assert_int_equal(w.log.lines, 2);
}

static void test_hang_up_reads_the_rest(void **state) {
    (void)state;
    uvm__agent_log_connect(&w.log, w.accepted);
    turn();
    assert_true(uvm__stream_write(w.peer, "last words", 10) == 10);
    turn();
    uvm__agent_log_hang_up(&w.log);
    uvm__agent_log_hang_up(&w.log);
    assert_non_null(strstr(w.logged, "agent: last words\n"));
    expect_tail("last words");
}

/* ---- entropy ---------------------------------------------------------------------------------- */

static size_t read_all(uint8_t *buf, size_t bytes) {
    size_t got = 0;
    for (int tries = 0; tries < 100; tries++) {
        ssize_t n = uvm__stream_read(w.peer, buf + got, bytes - got);
        if (n == 0) {
            return got;
        }
        got += n > 0 ? (size_t)n : 0;
        turn();
    }
    fail_msg("no end of file after %zu bytes", got);
    return got;
}

static void test_entropy(void **state) {
    struct uvm__entropy n = {0};
    uint8_t first[1024] = {0}, zeros[UVM__ENTROPY_BYTES] = {0};
    (void)state;
    uvm__entropy_feed(&n, w.e, w.accepted);
    turn();
    assert_int_equal(read_all(first, sizeof first), UVM__ENTROPY_BYTES);
    assert_memory_not_equal(first, zeros, UVM__ENTROPY_BYTES);
    assert_null(n.stream);
    assert_memory_equal(n.bytes, zeros, UVM__ENTROPY_BYTES); /* not kept */
    uvm__entropy_stop(&n);
}

static void test_entropy_stopped(void **state) {
    struct uvm__entropy n = {0};
    uint8_t zeros[UVM__ENTROPY_BYTES] = {0};
    (void)state;
    uvm__stream_reset(w.peer); /* a guest that goes away before it read */
    w.peer = NULL;
    turn();
    uvm__entropy_feed(&n, w.e, w.accepted);
    turn();
    assert_null(n.stream);
    assert_memory_equal(n.bytes, zeros, UVM__ENTROPY_BYTES);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_lines),
        CASE(test_lines_are_cut_from_the_stream),
        CASE(test_a_line_without_end),
        CASE(test_a_line_of_just_the_limit),
        CASE(test_hang_up_reads_the_rest),
        CASE(test_entropy),
        CASE(test_entropy_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
