/* SPDX-License-Identifier: MIT
 * agent_tty_test.c — processes of the real agent on a terminal: size, input, output to its last byte, hang-up.
 */
#include "tests/unit/agent_host.h"
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN AGENT_STDIO
#define OUT (AGENT_STDIO + 1)
#define ERR (AGENT_STDIO + 2)
#define FAIL ((int64_t)(int32_t)0x80004005)
#define GONE ((int64_t)(int32_t)0x80070490)
#define TERMINAL                                                                                   \
    "\"EmulateConsole\":true,\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,"                  \
    "\"Environment\":{\"PATH\":\"/usr/bin:/bin\"}"

static struct agent agent;
static int in, out;

static int start(void **state) {
    memset(&agent, 0, sizeof agent);
    in = out = -1;
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-dial"));
    agent_negotiate(&agent, *state == NULL);
    return 0;
}

static int end(void **unused) {
    int status = agent.pid > 0 ? agent_end(&agent) : 0;

    (void)unused;
    close(in);
    close(out);
    agent_clean(&agent);
    return status;
}

/* Starts a shell script on a terminal. */
static uint32_t on_terminal(const char *script, const char *more) {
    int listeners[2] = {agent_listen(&agent, IN), agent_listen(&agent, OUT)};
    char parameters[512];
    uint32_t pid;

    (void)snprintf(parameters, sizeof parameters,
                   "{\"CommandArgs\":[\"sh\",\"-c\",\"%s\"]," TERMINAL "%s}", script, more);
    pid = agent_execute(&agent, parameters, IN, OUT, 0);
    in = agent_accept(listeners[0]);
    out = agent_accept(listeners[1]);
    return pid;
}

/* Reads until the text has come. */
static void expect(const char *text) {
    char have[256] = "";
    size_t n = 0;

    while (strstr(have, text) == NULL) {
        assert_true(n < sizeof have - 1);
        wait_readable(out);
        if (read(out, have + n, 1) != 1) {
            fail_msg("no \"%s\" in \"%s\"", text, have);
        }
        have[++n] = '\0';
    }
}

static int64_t resize(uint32_t pid, unsigned height, unsigned width) {
    struct answer r;
    int64_t result;

    agent_call(&agent, &r, REQ_RESIZE,
               "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u,\"Height\":%u,\"Width\":%u}", pid,
               height, width);
    result = answer_result(&r);
    answer_free(&r);
    return result;
}

static void a_terminal_has_a_size_and_is_resized(void **unused) {
    uint32_t pid = on_terminal("stty size; trap 'stty size; exit 5' WINCH; echo ready; "
                               "while :; do read x; done",
                               ",\"ConsoleSize\":[30,100]");
    (void)unused;
    expect("30 100\r\n");
    expect("ready\r\n");
    assert_int_equal(resize(pid, 41, 121), 0);
    (void)!write(in, "\n", 1); /* should the signal have come just before the shell went to read */
    expect("41 121\r\n");
    assert_int_equal(agent_wait(&agent, pid, NULL), 5);
    assert_int_equal(resize(pid, 1, 1), GONE);
    assert_int_equal(resize(1, 1, 1), GONE);
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"sleep\",\"100\"]}", 0, 0, 0);
    assert_int_equal(resize(pid, 1, 1), FAIL); /* no terminal */
}

static void without_process_control_the_size_is_not_looked_at(void **unused) {
    uint32_t pid = on_terminal("stty size", ",\"ConsoleSize\":[30,100]");
    (void)unused;
    expect("0 0\r\n");
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

static void a_terminal_is_the_session_s_own(void **unused) {
    uint32_t pid =
        on_terminal("tty >/dev/null && echo yes >/dev/tty; read x; echo got $x; exit 7", "");
    (void)unused;
    expect("yes\r\n");
    write_all(in, "word\n", 5);
    expect("got word\r\n");
    assert_int_equal(agent_wait(&agent, pid, NULL), 7);
    assert_int_equal(read(out, &(char){0}, 1), 0); /* and that was all */
}

/* The interrupt key reaches the foreground group as a signal. */
static void keys_become_signals(void **unused) {
    int64_t signal;
    uint32_t pid = on_terminal("echo ready; exec cat", "");
    (void)unused;
    expect("ready\r\n");
    write_all(in, "\003", 1);
    assert_int_equal(agent_wait(&agent, pid, &signal), 4294967295);
    assert_int_equal(signal, SIGINT);
}

/* A terminal has no end of file of its own: the end of the input stream changes nothing. */
static void the_end_of_input_is_not_delivered(void **unused) {
    int64_t signal;
    uint32_t pid = on_terminal("echo ready; exec cat", "");
    struct answer r;
    (void)unused;
    expect("ready\r\n");
    write_all(in, "word\n", 5);
    assert_int_equal(shutdown(in, SHUT_WR), 0);
    expect("word\r\nword\r\n"); /* the echo, and the program's */
    agent_ask_wait(&agent, pid, 50);
    agent_receive(&agent, &r);
    assert_int_not_equal(answer_result(&r), 0); /* it has not ended */
    answer_free(&r);
    agent_call(&agent, &r, REQ_SIGNAL,
               "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u,\"Options\":{\"Signal\":15}}",
               pid);
    assert_int_equal(answer_result(&r), 0);
    answer_free(&r);
    assert_int_equal(agent_wait(&agent, pid, &signal), 4294967295);
    assert_int_equal(signal, SIGTERM);
}

/* A reader that comes late gets every byte; the exit code comes after them. */
static void output_is_complete(void **unused) {
    static char text[1 << 20];
    char line[32];
    size_t at = 0, bytes;
    uint32_t pid = on_terminal("seq 1 20000", "");
    uint64_t id = agent_ask_wait(&agent, pid, 4294967295u);
    struct answer r;
    (void)unused;
    /* nothing was read yet, so the process cannot have ended */
    agent_call(&agent, &r, REQ_START, "{}");
    answer_free(&r);
    bytes = read_all(out, text, sizeof text);
    out = -1;
    for (unsigned i = 1; i <= 20000; i++) {
        int n = snprintf(line, sizeof line, "%u\r\n", i);
        assert_true(at + (size_t)n <= bytes);
        assert_memory_equal(text + at, line, (size_t)n);
        at += (size_t)n;
    }
    assert_int_equal(at, bytes);
    agent_receive(&agent, &r);
    assert_int_equal(r.id, id);
    assert_int_equal(answer_number(&r, "ExitCode"), 0);
    answer_free(&r);
}

static void a_host_that_stops_reading_hangs_up(void **unused) {
    int64_t signal;
    uint32_t pid = on_terminal("while :; do echo yes; done", "");
    (void)unused;
    expect("yes\r\n");
    close(out);
    out = -1;
    assert_int_equal(agent_wait(&agent, pid, &signal), 4294967295);
    assert_int_equal(signal, SIGHUP);
}

static void a_stream_for_errors_is_connected_and_silent(void **unused) {
    int listeners[2] = {agent_listen(&agent, OUT), agent_listen(&agent, ERR)}, err;
    char text[64];
    uint32_t pid;
    (void)unused;
    pid =
        agent_execute(&agent,
                      "{\"CommandArgs\":[\"sh\",\"-c\",\"echo oops >&2\"],\"EmulateConsole\":true,"
                      "\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true}",
                      0, OUT, ERR);
    out = agent_accept(listeners[0]);
    err = agent_accept(listeners[1]);
    (void)read_all(out, text, sizeof text);
    out = -1;
    assert_string_equal(text, "oops\r\n");
    assert_int_equal(read_all(err, text, sizeof text), 0);
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

/* Nobody asked for output: the process must not stop for want of a reader. */
static void without_a_stream_output_is_dropped(void **unused) {
    uint32_t pid =
        agent_execute(&agent,
                      "{\"CommandArgs\":[\"sh\",\"-c\",\"seq 1 20000\"],\"EmulateConsole\":true,"
                      "\"Environment\":{\"PATH\":\"/usr/bin:/bin\"}}",
                      0, 0, 0);
    (void)unused;
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

static void a_dump_names_processes_and_terminals(void **unused) {
    char want[64];
    struct answer r;
    uint32_t pid = on_terminal("echo ready; read x", "");
    (void)unused;
    expect("ready\r\n");
    agent_ask_wait(&agent, pid, 4294967295u);
    agent_call(&agent, &r, REQ_STACKS, "{\"ContainerId\":\"" NULL_ID "\"}");
    (void)snprintf(want, sizeof want, "process %u sh: running, ", pid);
    assert_non_null(strstr(answer_string(&r, "GuestStacks"), want));
    assert_non_null(strstr(answer_string(&r, "GuestStacks"), "1 waits, terminal in open 0 bytes"));
    assert_non_null(strstr(answer_string(&r, "GuestStacks"), "WaitForProcess"));
    answer_free(&r);
}

/* What runs when the agent ends is ended with it. */
static void quitting_ends_what_runs(void **unused) {
    (void)on_terminal("echo ready; sleep 100", "");
    (void)unused;
    expect("ready\r\n");
    assert_int_equal(agent_end(&agent), 0);
    wait_readable(out);
    assert_int_equal(read(out, &(char){0}, 1), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, start, end)

int main(int argc, char **argv) {
    static char plain;
    const struct CMUnitTest tests[] = {
        WITH(a_terminal_has_a_size_and_is_resized),
        cmocka_unit_test_prestate_setup_teardown(without_process_control_the_size_is_not_looked_at,
                                                 start, end, &plain),
        WITH(a_terminal_is_the_session_s_own),
        WITH(keys_become_signals),
        WITH(the_end_of_input_is_not_delivered),
        WITH(output_is_complete),
        WITH(a_host_that_stops_reading_hangs_up),
        WITH(a_stream_for_errors_is_connected_and_silent),
        WITH(without_a_stream_output_is_dropped),
        WITH(a_dump_names_processes_and_terminals),
        WITH(quitting_ends_what_runs),
    };

    agent_program(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
