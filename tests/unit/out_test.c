/* SPDX-License-Identifier: MIT
 * out_test.c — what uvmctl writes: text that is safe for a terminal, errors, JSON documents.
 */
#include "async/engine.h"
#include "async/error.h"
#include "cmd/uvmctl/out.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char said[8192];

static int kept;
static FILE *file;

/* What goes to stderr between the two is in `said`. */
static void listen_begin(void) {
    file = tmpfile();
    kept = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
}

static void listen_end(void) {
    (void)dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t n = pread(fileno(file), said, sizeof said - 1, 0);
    said[n < 0 ? 0 : n] = 0;
    (void)fclose(file);
}

static void test_text(void **state) {
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"plain\n", "plain\n"},
        {"a\tb\r\n", "a\tb\n"},
        {"\033[2J\007", "?[2J?"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xc2\x9b"
         "31m",
         "?31m"}, /* a terminal's other way to begin a sequence */
        {"\xff\xc3", "??"},
        {"\xed\xa0\x80", "???"}, /* half of a surrogate pair */
        {"\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7"},
        {"\xf5\x80\x80\x80", "????"},
        {"\xe0\x80\x80", "???"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        listen_begin();
        out_text(rows[i].text, strlen(rows[i].text));
        listen_end();
        assert_string_equal(said, rows[i].want);
    }
}

static void test_long_text(void **state) {
    static char text[6000];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    listen_begin();
    out_text(text, strlen(text));
    listen_end();
    assert_string_equal(said, text);
}

static void test_raw_terminal(void **state) {
    (void)state;
    out_set_raw(true);
    listen_begin();
    out_message("one");
    listen_end();
    out_set_raw(false);
    assert_string_equal(said, "uvmctl: one\r\n");
}

static uvm_error *make_error(uvm_engine *e) {
    uvm_error *err = uvm__error(e, UVM_E_EXITED, 7, "demo: it \"ended\"");
    err = uvm__error_cause(err, uvm__error(e, UVM_E_IO, 0, "below"));
    err = uvm__error_detail(err, "console:\n\033[1mline\n", 18);
    return uvm__error_step(err, "vm boot");
}

static void test_error(void **state) {
    uvm_engine *e;
    (void)state;
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &e), 0);
    uvm_error *err = make_error(e);
    listen_begin();
    out_error(err);
    listen_end();
    assert_string_equal(said, "uvmctl: demo: it \"ended\"\nuvmctl:   at: vm boot\n"
                              "uvmctl:   because: below\n  console:\n  ?[1mline\n");
    out_set_json(true);
    listen_begin();
    out_error(err);
    out_usage("wrong %s", "word");
    listen_end();
    out_set_json(false);
    assert_string_equal(
        said,
        "{\"error\":{\"code\":\"EXITED\",\"message\":\"demo: it \\\"ended\\\"\",\"step\":"
        "\"vm boot\",\"detail\":\"console:\\n\\u001b[1mline\\n\",\"sys\":7,\"cause\":{\"code\":"
        "\"IO\",\"message\":\"below\",\"step\":\"\",\"detail\":\"\",\"cause\":null}}}\n"
        "{\"error\":{\"code\":\"USAGE\",\"message\":\"wrong word\"}}\n");
    uvm_error_unref(err);
    uvm__engine_free_virtual(e);
}

static void test_json(void **state) {
    struct json_out j = {0};
    (void)state;
    json_open(&j, NULL, '{');
    json_text(&j, "a", "x\\\t\x7f");
    json_string(&j, "b", "nul\0in \xff", 8);
    json_text(&j, "c", NULL);
    json_open(&j, "list", '[');
    json_number(&j, NULL, 1.5);
    json_number(&j, NULL, 2.0);
    json_number(&j, NULL, 0.1239);
    json_number(&j, NULL, 1.0 / 0.0);
    json_int(&j, NULL, INT64_MIN);
    json_bool(&j, NULL, true);
    json_open(&j, NULL, '{');
    json_close(&j, '}');
    json_close(&j, ']');
    json_open(&j, "empty", '[');
    json_close(&j, ']');
    json_bool(&j, "d", false);
    json_close(&j, '}');
    listen_begin();
    assert_true(json_finish(&j, STDERR_FILENO));
    listen_end();
    assert_string_equal(said, "{\"a\":\"x\\\\\\u0009\\u007f\",\"b\":\"nul\\u0000in \xef\xbf\xbd\","
                              "\"c\":null,\"list\":[1.5,2,0.124,0,-9223372036854775808,true,{}],"
                              "\"empty\":[],\"d\":false}\n");
    assert_null(j.data);
}

static void test_json_to_nobody(void **state) {
    struct json_out j = {0};
    (void)state;
    json_open(&j, NULL, '[');
    json_close(&j, ']');
    assert_false(json_finish(&j, -1));
}

static ssize_t drain(int fd) {
    char rest[4096];
    ssize_t n, total = 0;
    said[0] = 0;
    while ((n = read(fd, rest, sizeof rest)) > 0) {
        bool zeros = rest[0] == 0;
        total += n;
        if (!zeros) {
            memcpy(said, rest, (size_t)n);
            said[n] = 0;
        }
    }
    return total;
}

/* A reader that stopped does not stop us (or this test would not end); what it missed is counted. */
static void test_reader_stops(void **state) {
    static const char zeros[4096];
    int fds[2], before = dup(STDERR_FILENO);
    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    while (write(fds[1], zeros, sizeof zeros) > 0) {
    }
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0); /* now a write would wait */
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    out_message("lost one");
    out_message("lost two");
    assert_true(drain(fds[0]) > 0);
    assert_string_equal(said, "");
    out_message("here");
    (void)drain(fds[0]);
    bool counted = strstr(said, "2 messages that nobody read") != NULL;
    bool complete = strstr(said, "uvmctl: here\n") != NULL;
    out_message("there");
    (void)drain(fds[0]);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    assert_true(counted && complete);
    assert_string_equal(said, "uvmctl: there\n"); /* once */
    close(before);
    close(fds[0]);
    close(fds[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),         cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_raw_terminal), cmocka_unit_test(test_error),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_json_to_nobody),
        cmocka_unit_test(test_reader_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
