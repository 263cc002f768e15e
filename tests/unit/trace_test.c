/* SPDX-License-Identifier: MIT
 * trace_test.c — what --trace writes: valid after each event, spans with their times, nothing but files.
 */
#include "async/json.h"
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/trace.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/uvm-trace-XXXXXX", path[64], said[1024];

/* The file's events; they must be valid at any time. */
static cJSON *read_trace(void) {
    static char text[1 << 20];
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    assert_true(n > 0);
    close(fd);
    if (uvm__json_read(UVM__JSON_STRICT, text, (size_t)n, &tree, &f) < 0) {
        fail_msg("%s: %.*s", f.msg, (int)n, text);
    }
    assert_true(cJSON_IsArray(tree));
    return tree;
}

static const cJSON *get(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key);
}

/* The only complete event of this name; NULL: there is none. */
static const cJSON *span_of(const cJSON *tree, const char *name) {
    const cJSON *event, *found = NULL;
    cJSON_ArrayForEach(event, tree) {
        if (strcmp(uvm__json_string(get(event, "name")), name) == 0 &&
            strcmp(uvm__json_string(get(event, "ph")), "X") == 0) {
            assert_null(found);
            found = event;
        }
    }
    return found;
}

static uint64_t number(const cJSON *o, const char *key) {
    uint64_t n;
    assert_int_equal(uvm__json_u64(get(o, key), UINT64_MAX, &n), 0);
    return n;
}

static void expect_span(const char *name, uint64_t ts, uint64_t dur, const char *result) {
    cJSON *tree = read_trace();
    const cJSON *s = span_of(tree, name);
    assert_non_null(s);
    assert_int_equal(number(s, "ts"), ts);
    assert_int_equal(number(s, "dur"), dur);
    assert_string_equal(uvm__json_string(get(get(s, "args"), "result")), result);
    cJSON_Delete(tree);
}

static void record(enum uvm_log_kind kind, const char *step, uint64_t from, uint64_t to, int code) {
    const struct uvm_log_record r = {.kind = kind,
                                     .op_id = 7,
                                     .parent_id = 3,
                                     .vm = "v\"m\n",
                                     .op = "attach scsi",
                                     .step = step,
                                     .begin_us = from,
                                     .at_us = to,
                                     .code = code,
                                     .text = "secret"};
    trace_record(&r, false);
    cJSON_Delete(read_trace());
}

static void test_spans(void **state) {
    (void)state;
    assert_false(trace_wanted());
    assert_true(trace_open("verb", path));
    assert_true(trace_wanted());
    cJSON_Delete(read_trace());
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    uint64_t t0 = trace_now_us();
    record(UVM_LOG_TEXT, "", 0, 0, UVM_OK);
    record(UVM_LOG_OP_BEGIN, "", t0, t0, UVM_OK);
    record(UVM_LOG_STEP_BEGIN, "host", t0 + 10, t0 + 10, UVM_OK);
    record(UVM_LOG_STEP_END, "host", t0 + 10, t0 + 1510, UVM_OK);
    record(UVM_LOG_STEP_BEGIN, "mount in guest", t0 + 1510, t0 + 1510, UVM_OK);
    record(UVM_LOG_STEP_END, "mount in guest", t0 + 1510, t0 + 1600, UVM_E_PEER);
    record(UVM_LOG_UNDO_BEGIN, "host", t0 + 1600, t0 + 1600, UVM_OK);
    record(UVM_LOG_UNDO_END, "host", t0 + 1600, t0 + 1700, UVM_OK);
    record(UVM_LOG_OP_END, "", t0, t0 + 1705, UVM_E_PEER);
    expect_span("host", t0 + 10, 1500, "OK");
    expect_span("mount in guest", t0 + 1510, 90, "PEER");
    expect_span("undo host", t0 + 1600, 100, "OK");
    expect_span("attach scsi", t0, 1705, "PEER");
    trace_call("exec", t0, "OK");
    trace_close(4);
    trace_close(5);
    assert_false(trace_wanted());

    cJSON *tree = read_trace();
    const cJSON *verb = span_of(tree, "uvmctl verb"), *op = span_of(tree, "attach scsi");
    assert_int_equal(number(get(verb, "args"), "status"), 4);
    assert_int_equal(number(get(op, "args"), "op"), 7);
    assert_int_equal(number(get(op, "args"), "parent"), 3);
    assert_int_equal(number(op, "tid"), 7);
    assert_true(number(op, "pid") != number(verb, "pid"));
    char *all = cJSON_PrintUnformatted(tree);
    assert_non_null(strstr(all, "{\"name\":\"UVM v\\\"m\\n\"}"));
    assert_non_null(strstr(all, "{\"name\":\"attach scsi #7\"}"));
    assert_null(strstr(all, "secret"));
    cJSON_free(all);
    cJSON_Delete(tree);
}

/* A step that was given up on ends with its operation; what runs at the end ends there. */
static void test_open_spans(void **state) {
    (void)state;
    assert_true(trace_open("verb", path));
    uint64_t t0 = trace_now_us();
    record(UVM_LOG_OP_BEGIN, "", t0, t0, UVM_OK);
    record(UVM_LOG_STEP_BEGIN, "silent", t0 + 5, t0 + 5, UVM_OK);
    record(UVM_LOG_OP_END, "", t0, t0 + 50, UVM_E_UNDO);
    expect_span("silent", t0 + 5, 45, "OPEN");
    expect_span("attach scsi", t0, 50, "UNDO");
    record(UVM_LOG_STEP_BEGIN, "last", t0 + 60, t0 + 60, UVM_OK);
    trace_close(0);
    cJSON *tree = read_trace();
    assert_string_equal(uvm__json_string(get(get(span_of(tree, "last"), "args"), "result")),
                        "OPEN");
    cJSON_Delete(tree);
}

/* An operation that is older than the trace begins with it. */
static void test_clipped(void **state) {
    (void)state;
    uint64_t old = trace_now_us() - 5000000;
    assert_true(trace_open("verb", path));
    record(UVM_LOG_OP_END, "", old, trace_now_us(), UVM_OK);
    trace_close(0);
    cJSON *tree = read_trace();
    const cJSON *op = span_of(tree, "attach scsi"), *verb = span_of(tree, "uvmctl verb");
    assert_int_equal(number(op, "ts"), number(verb, "ts"));
    assert_true(cJSON_IsTrue(get(get(op, "args"), "clipped")));
    cJSON_Delete(tree);
}

/* Many UVMs and operations: tables forget, the file does not. */
static void test_many(void **state) {
    (void)state;
    assert_true(trace_open("verb", path));
    for (unsigned i = 0; i < 1000; i++) {
        char vm[16];
        (void)snprintf(vm, sizeof vm, "vm%u", i);
        struct uvm_log_record r = {
            .kind = UVM_LOG_OP_BEGIN, .op_id = i + 1, .vm = vm, .op = "vm boot", .step = ""};
        r.begin_us = r.at_us = trace_now_us();
        trace_record(&r, i % 2 == 0);
        if (i % 3 != 0) { /* a third never ends */
            r.kind = UVM_LOG_OP_END;
            trace_record(&r, i % 2 == 0);
        }
    }
    trace_close(0);
    cJSON *tree = read_trace(), *event;
    unsigned ended = 0, open = 0;
    cJSON_ArrayForEach(event, tree) {
        const char *result = uvm__json_string(get(get(event, "args"), "result"));
        ended += result != NULL && strcmp(result, "OK") == 0;
        open += result != NULL && strcmp(result, "OPEN") == 0;
    }
    assert_int_equal(ended, 666);
    assert_true(open > 100 && open <= 334);
    cJSON_Delete(tree);
}

/* ---- files -------------------------------------------------------------------------------- */

static int said_fd, stderr_fd;

static void listen_begin(void) {
    char name[] = "/tmp/uvm-said-XXXXXX";
    said_fd = mkstemp(name);
    stderr_fd = dup(STDERR_FILENO);
    assert_true(said_fd >= 0 && stderr_fd >= 0);
    (void)unlink(name);
    (void)dup2(said_fd, STDERR_FILENO);
}

static void listen_end(void) {
    (void)dup2(stderr_fd, STDERR_FILENO);
    close(stderr_fd);
    ssize_t n = pread(said_fd, said, sizeof said - 1, 0);
    said[n < 0 ? 0 : n] = 0;
    close(said_fd);
}

static bool open_quietly(const char *file) {
    listen_begin();
    bool ok = trace_open("verb", file);
    listen_end();
    return ok;
}

static void close_quietly(int status) {
    listen_begin();
    trace_close(status);
    listen_end();
}

static void test_refused(void **state) {
    char fifo[96], none[96];
    (void)state;
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    (void)snprintf(none, sizeof none, "%s/no/file", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const struct {
        const char *path, *why;
    } rows[] = {{folder, "is a directory"},
                {"/dev/null", "is no regular file"},
                {fifo, "is no regular file"},
                {none, "No such file or directory"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_false(open_quietly(rows[i].path));
        assert_false(trace_wanted());
        assert_non_null(strstr(said, rows[i].why));
        assert_non_null(strstr(said, "verb: --trace: "));
    }
    close(reader);
    assert_int_equal(unlink(fifo), 0);
}

/* A longer file that was there before leaves nothing behind. */
static void test_replaced(void **state) {
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(write(fd, "old\n", 4), 4);
    }
    close(fd);
    assert_true(trace_open("verb", path));
    cJSON_Delete(read_trace());
    trace_leave();
    cJSON_Delete(read_trace());
}

/* No more room: the file keeps what fits, as valid JSON. */
static void test_full(void **state) {
    const struct rlimit little = {4096, RLIM_INFINITY}, much = {RLIM_INFINITY, RLIM_INFINITY};
    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_true(trace_open("verb", path));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (unsigned i = 0; i < 200; i++) {
        trace_call("exec", trace_now_us(), "OK");
        cJSON_Delete(read_trace());
    }
    close_quietly(0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &much), 0);
    assert_non_null(strstr(said, "events are missing: it could not be written"));
    cJSON *tree = read_trace();
    assert_true(cJSON_GetArraySize(tree) > 20 && cJSON_GetArraySize(tree) < 60);
    cJSON_Delete(tree);
}

/* ---- the option --------------------------------------------------------------------------- */

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    (void)row;
    (void)value;
    (void)arg;
    return false;
}

static bool on_word(const char *word, void *arg) {
    (void)arg;
    return strcmp(word, "name") == 0;
}

static void test_option(void **state) {
    static const struct option_row none[] = {{NULL, 0, NULL, NULL}};
    char equals[96];
    (void)state;
    (void)snprintf(equals, sizeof equals, "--trace=%s", path);
    char *forms[][5] = {{"--trace", path, "name", NULL},
                        {"name", equals, NULL},
                        {equals, "--", "--trace", "/no/such/file", NULL}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct args a = {"verb", none, on_option, on_word, NULL, NULL, false};
        assert_true(args_parse(&a, forms[i]));
        assert_true(trace_wanted());
        trace_leave();
    }
    char *help[] = {equals, "--help", NULL};
    struct args a = {"verb", none, on_option, on_word, NULL, NULL, false};
    assert_true(args_parse(&a, help));
    assert_false(trace_wanted());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),   cmocka_unit_test(test_open_spans),
        cmocka_unit_test(test_clipped), cmocka_unit_test(test_many),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_full),    cmocka_unit_test(test_option),
    };
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/trace.json", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    (void)rmdir(folder);
    return failed;
}
