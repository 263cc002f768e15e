/* SPDX-License-Identifier: MIT
 * agent_process_test.c — processes that the real agent starts: streams, environment, failures, signals, waits.
 */
#include "tests/unit/agent_host.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN AGENT_STDIO
#define OUT (AGENT_STDIO + 1)
#define ERR (AGENT_STDIO + 2)
#define NONE ((int64_t)(int32_t)0xc037010e) /* no such container */
#define FAIL ((int64_t)(int32_t)0x80004005)
#define GONE ((int64_t)(int32_t)0x80070490)
#define LATE ((int64_t)(int32_t)0xc0370109)
#define JSON ((int64_t)(int32_t)0xc037010d)
#define KILLED 4294967295

static struct agent agent;

/* Each test has an agent of its own with process control, unless it asks for another. */
static int start(void **unused) {
    (void)unused;
    memset(&agent, 0, sizeof agent);
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-dial"));
    agent_negotiate(&agent, true);
    return 0;
}

static int start_plain(void **unused) {
    (void)unused;
    memset(&agent, 0, sizeof agent);
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-dial"));
    agent_negotiate(&agent, false);
    return 0;
}

static int end(void **unused) {
    int status = agent.pid > 0 ? agent_end(&agent) : 0;

    (void)unused;
    agent_clean(&agent);
    return status;
}

/* Runs a process to its end and returns its exit code; what it wrote to stdout is in `out`. */
static int64_t run(const char *parameters, char *out, size_t bytes) {
    int listener = agent_listen(&agent, OUT);
    uint32_t pid = agent_execute(&agent, parameters, 0, OUT, 0);

    (void)read_all(agent_accept(listener), out, bytes);
    return agent_wait(&agent, pid, NULL);
}

static int64_t result_of(uint32_t type, const char *body) {
    struct answer r;
    int64_t result;

    agent_call(&agent, &r, type, "%s", body);
    result = answer_result(&r);
    answer_free(&r);
    return result;
}

static int64_t signal_result(uint32_t pid, const char *options) {
    char body[256];

    (void)snprintf(body, sizeof body, "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u%s}", pid,
                   options);
    return result_of(REQ_SIGNAL, body);
}

/* ---- how a process is started ------------------------------------------------------------------- */

static void a_process_gets_what_was_asked_for(void **unused) {
    char out[512];
    (void)unused;
    /* argv[0] stays as written; the program is found in the agent's PATH, not in the process's */
    assert_int_equal(run("{\"CommandArgs\":[\"sh\",\"-c\",\"echo $0 $A $PATH; pwd; exit 9\"],"
                         "\"WorkingDirectory\":\"/usr\",\"CreateStdOutPipe\":true,"
                         "\"Environment\":{\"A\":\"x y\",\"PATH\":\"/nowhere\"}}",
                         out, sizeof out),
                     9);
    assert_string_equal(out, "sh x y /nowhere\n/usr\n");
    /* the environment replaces, also when it is absent */
    assert_int_equal(run("{\"CommandArgs\":[\"env\"],\"CreateStdOutPipe\":true}", out, sizeof out),
                     0);
    assert_string_equal(out, "");
    assert_int_equal(
        run("{\"CommandLine\":\" sh -c 'echo \\\"$1\\\"' '' a\\\\ b \",\"CreateStdOutPipe\":true}",
            out, sizeof out),
        0);
    assert_string_equal(out, "a b\n");
    /* it leads a session of its own, and has no descriptors but three */
    assert_int_equal(
        run("{\"CommandArgs\":[\"sh\",\"-c\",\"read -r p n s pp g sid r < /proc/$$/stat; "
            "[ $p = $g ] && [ $p = $sid ] && cd /proc/$$/fd && echo *\"],"
            "\"CreateStdOutPipe\":true}",
            out, sizeof out),
        0);
    assert_string_equal(out, "0 1 2 3\n"); /* 3 is the folder that the shell reads */
    /* what was not asked for is /dev/null */
    assert_int_equal(run("{\"CommandArgs\":[\"readlink\",\"/proc/self/fd/0\",\"/proc/self/fd/2\"],"
                         "\"CreateStdOutPipe\":true}",
                         out, sizeof out),
                     0);
    assert_string_equal(out, "/dev/null\n/dev/null\n");
}

static void all_three_streams_and_half_close(void **unused) {
    int in = agent_listen(&agent, IN), out = agent_listen(&agent, OUT),
        err = agent_listen(&agent, ERR);
    char text[64];
    uint32_t pid;
    (void)unused;
    pid = agent_execute(
        &agent,
        "{\"CommandArgs\":[\"sh\",\"-c\",\"cat; echo gone >&2; exit 3\"],"
        "\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true,\"CreateStdErrPipe\":true}",
        IN, OUT, ERR);
    in = agent_accept(in);
    out = agent_accept(out);
    err = agent_accept(err);
    write_all(in, "hello", 5);
    assert_int_equal(shutdown(in, SHUT_WR), 0);
    assert_int_equal(read_all(out, text, sizeof text), 5);
    assert_string_equal(text, "hello");
    (void)read_all(err, text, sizeof text);
    assert_string_equal(text, "gone\n");
    assert_int_equal(agent_wait(&agent, pid, NULL), 3);
    close(in);
}

static uint8_t byte_at(uint64_t position) {
    return (uint8_t)((position * 2654435761u) >> 13);
}

/* 64 MiB in and out at once, in pieces that fit no buffer, compared byte for byte. */
static void much_data_passes_unchanged(void **unused) {
    static uint8_t buffer[65521];
    const uint64_t total = 64u << 20;
    int in = agent_listen(&agent, IN), out = agent_listen(&agent, OUT);
    uint64_t sent = 0, received = 0;
    uint32_t pid;
    (void)unused;
    pid = agent_execute(
        &agent, "{\"CommandArgs\":[\"cat\"],\"CreateStdInPipe\":true,\"CreateStdOutPipe\":true}",
        IN, OUT, 0);
    in = agent_accept(in);
    out = agent_accept(out);
    assert_int_equal(fcntl(in, F_SETFL, O_NONBLOCK), 0);
    while (received < total) {
        struct pollfd p[2] = {{.fd = sent < total ? in : -1, .events = POLLOUT},
                              {.fd = out, .events = POLLIN}};
        assert_true(poll(p, 2, AGENT_MS) > 0);
        if ((p[0].revents & POLLOUT) != 0) {
            size_t want = total - sent < sizeof buffer ? (size_t)(total - sent) : sizeof buffer;
            for (size_t i = 0; i < want; i++) {
                buffer[i] = byte_at(sent + i);
            }
            ssize_t n = write(in, buffer, want);
            assert_true(n > 0);
            sent += (uint64_t)n;
            if (sent == total) {
                close(in);
            }
        }
        if ((p[1].revents & (POLLIN | POLLHUP)) != 0) {
            ssize_t n = read(out, buffer, sizeof buffer);
            assert_true(n > 0);
            for (ssize_t i = 0; i < n; i++) {
                if (buffer[i] != byte_at(received + (uint64_t)i)) {
                    fail_msg("another byte at %llu", (unsigned long long)received + (unsigned)i);
                }
            }
            received += (uint64_t)n;
        }
    }
    assert_int_equal(read(out, buffer, 1), 0);
    close(out);
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

static void thirty_two_at_once(void **unused) {
    uint32_t pids[32];
    uint64_t seen = 0;
    (void)unused;
    for (unsigned i = 0; i < 32; i++) {
        (void)agent_ask(&agent, REQ_EXECUTE,
                        "{\"ContainerId\":\"" NULL_ID "\",\"Settings\":{\"ProcessParameters\":"
                        "\"{\\\"CommandArgs\\\":[\\\"sh\\\",\\\"-c\\\",\\\"exit %u\\\"]}\"}}",
                        i);
    }
    for (unsigned i = 0; i < 32; i++) {
        struct answer r;
        agent_receive(&agent, &r);
        assert_int_equal(answer_result(&r), 0);
        assert_in_range(r.id, 1, 32);
        pids[r.id - 1] = (uint32_t)answer_number(&r, "ProcessId");
        seen |= 1ull << r.id;
        answer_free(&r);
    }
    assert_true(seen == 0x1fffffffeull);
    for (unsigned i = 0; i < 32; i++) {
        assert_int_equal(agent_wait(&agent, pids[i], NULL), i);
    }
}

/* ---- how a process is not started ----------------------------------------------------------------- */

static void check_failure(const char *parameters, const char *step, int64_t error,
                          const char *words) {
    char want[64];
    struct answer r;

    agent_try_execute(&agent, &r, parameters, 0, OUT, 0);
    assert_int_equal(answer_result(&r), FAIL);
    if (step != NULL) {
        (void)snprintf(want, sizeof want, "\"UvmStart\":{\"Step\":\"%s\",\"Errno\":%lld}", step,
                       (long long)error);
        if (strstr(r.body, want) == NULL) {
            fail_msg("no %s in %s", want, r.body);
        }
    } else {
        assert_null(strstr(r.body, "UvmStart"));
    }
    if (strstr(answer_string(&r, "ErrorMessage"), words) == NULL) {
        fail_msg("no \"%s\" in %s", words, r.body);
    }
    answer_free(&r);
}

static void a_start_that_fails_says_where(void **unused) {
    char path[128], parameters[256];
    (void)unused;
    check_failure("{\"CommandArgs\":[\"/no/such\"]}", "exec", 2,
                  "fork/exec /no/such: no such file or directory");
    check_failure("{\"CommandArgs\":[\"no-such-program\"]}", "exec", 2,
                  "exec: \"no-such-program\": executable file not found in $PATH");
    check_failure("{\"CommandArgs\":[\"\"]}", "exec", 2, "not found");
    check_failure("{\"CommandArgs\":[\"/etc/passwd\"]}", "exec", 13, "permission denied");
    check_failure("{\"CommandArgs\":[\"/usr\"]}", "exec", 13, "permission denied");
    check_failure("{\"CommandArgs\":[\"true\"],\"WorkingDirectory\":\"/no/such\"}", "chdir", 2,
                  "chdir /no/such: no such file or directory");
    check_failure("{\"CommandArgs\":[\"true\"],\"User\":\"nobody-knows\"}", "user", 2,
                  "nobody-knows");
    check_failure("{\"CommandArgs\":[\"true\"],\"CreateStdOutPipe\":true}", "stdio", 2,
                  "failed creating stdout Connection");
    (void)snprintf(path, sizeof path, "%s/garbage", agent.dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    write_all(fd, "\x01\x02\x03\x04", 4);
    close(fd);
    (void)snprintf(parameters, sizeof parameters, "{\"CommandArgs\":[\"%s\"]}", path);
    check_failure(parameters, "exec", 8, "exec format error");
    assert_int_equal(unlink(path), 0);
}

static void without_process_control_nothing_of_ours_shows(void **unused) {
    char out[64];
    struct answer r;
    uint32_t pid;
    (void)unused;
    check_failure("{\"CommandArgs\":[\"/no/such\"]}", NULL, 0, "no such file");
    /* a user that does not exist is not even looked at */
    assert_int_equal(run("{\"CommandArgs\":[\"echo\",\"a\"],\"User\":\"nobody-knows\","
                         "\"CreateStdOutPipe\":true}",
                         out, sizeof out),
                     0);
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"sh\",\"-c\",\"kill -9 $$\"]}", 0, 0, 0);
    agent_call(&agent, &r, REQ_WAIT,
               "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":%u,\"TimeoutInMs\":4294967295}",
               pid);
    assert_string_equal(r.body, "{\"Result\":0,\"ExitCode\":4294967295}");
    answer_free(&r);
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"sleep\",\"100\"]}", 0, 0, 0);
    assert_int_equal(signal_result(pid, ""), NONE);
    assert_int_equal(result_of(REQ_RESIZE, "{\"ContainerId\":\"" NULL_ID "\",\"ProcessId\":1}"),
                     NONE);
}

static void requests_that_name_no_program(void **unused) {
    (void)unused;
    check_failure("{}", NULL, 0, "neither CommandArgs nor CommandLine");
    check_failure("{\"CommandLine\":\"  \"}", NULL, 0, "neither CommandArgs nor CommandLine");
    check_failure("{\"CommandLine\":\"sh -c 'x\"}", NULL, 0, "unfinished quote");
    assert_int_equal(result_of(REQ_EXECUTE, "{\"ContainerId\":\"" NULL_ID "\"}"), JSON);
    assert_int_equal(result_of(REQ_EXECUTE, "{\"ContainerId\":\"" NULL_ID "\",\"Settings\":"
                                            "{\"ProcessParameters\":\"{\\\"CommandArgs\\\":3}\"}}"),
                     JSON);
}

static void a_process_may_name_a_container_and_live_in_the_uvm(void **unused) {
    struct answer r;
    (void)unused;
    agent_call(&agent, &r, REQ_EXECUTE, "%s",
               "{\"ContainerId\":\"c\",\"Settings\":{\"ProcessParameters\":\"{\\\"CommandArgs\\\":"
               "[\\\"true\\\"],\\\"CreateInUtilityVM\\\":true}\"}}");
    assert_int_equal(answer_result(&r), 0);
    /* its wait must name the UVM */
    uint32_t pid = (uint32_t)answer_number(&r, "ProcessId");
    answer_free(&r);
    agent_call(&agent, &r, REQ_WAIT, "{\"ContainerId\":\"c\",\"ProcessId\":%u,\"TimeoutInMs\":1}",
               pid);
    assert_int_equal(answer_result(&r), NONE);
    answer_free(&r);
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

static void a_user_is_looked_up(void **unused) {
    char out[64];
    (void)unused;
    if (geteuid() != 0) {
        skip(); /* only root may become another */
    }
    assert_int_equal(
        run("{\"CommandArgs\":[\"sh\",\"-c\",\"id -u; id -g; id -G\"],\"User\":\"nobody\","
            "\"Environment\":{\"PATH\":\"/usr/bin:/bin\"},\"CreateStdOutPipe\":true}",
            out, sizeof out),
        0);
    assert_string_equal(out, "65534\n65534\n65534\n");
    assert_int_equal(run("{\"CommandArgs\":[\"sh\",\"-c\",\"id -u; id -g\"],\"User\":\"12:34\","
                         "\"Environment\":{\"PATH\":\"/usr/bin:/bin\"},\"CreateStdOutPipe\":true}",
                         out, sizeof out),
                     0);
    assert_string_equal(out, "12\n34\n");
}

/* ---- signals ------------------------------------------------------------------------------------- */

static void signals_reach_a_process_and_its_end_says_so(void **unused) {
    static const struct {
        const char *options;
        int64_t signal;
    } cases[] = {
        {"", SIGKILL},
        {",\"Options\":null", SIGKILL},
        {",\"Options\":{\"Signal\":0}", SIGKILL},
        {",\"Options\":{\"Signal\":15}", SIGTERM},
        {",\"Options\":{\"Signal\":64}", 64},
    };
    int64_t signal;
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t pid = agent_execute(&agent, "{\"CommandArgs\":[\"sleep\",\"100\"]}", 0, 0, 0);
        assert_int_equal(signal_result(pid, cases[i].options), 0);
        assert_int_equal(agent_wait(&agent, pid, &signal), KILLED);
        assert_int_equal(signal, cases[i].signal);
        assert_int_equal(signal_result(pid, ""), GONE);
    }
    uint32_t pid = agent_execute(&agent, "{\"CommandArgs\":[\"sleep\",\"100\"]}", 0, 0, 0);
    assert_int_equal(signal_result(pid, ",\"Options\":{\"Signal\":65}"), FAIL);
    assert_int_equal(signal_result(pid, ",\"Options\":{\"Signal\":-1}"), FAIL);
    assert_int_equal(signal_result(1, ""), GONE); /* pids that are not ours */
    assert_int_equal(signal_result((uint32_t)getpid(), ",\"Options\":{\"UvmGroup\":true}"), GONE);
    assert_int_equal(signal_result(pid, ",\"Options\":{\"Signal\":18}"), 0); /* it lives on */
    assert_int_equal(signal_result(pid, ""), 0);
    assert_int_equal(agent_wait(&agent, pid, NULL), KILLED);
}

/* The end of the output says that nobody of the family is left. */
static void check_family(const char *script, const char *options) {
    int out = agent_listen(&agent, OUT);
    char parameters[256], text[64];
    uint32_t pid;

    (void)snprintf(parameters, sizeof parameters,
                   "{\"CommandArgs\":[\"sh\",\"-c\",\"%s\"],\"CreateStdOutPipe\":true,"
                   "\"Environment\":{\"PATH\":\"/usr/bin:/bin\"}}",
                   script);
    pid = agent_execute(&agent, parameters, 0, OUT, 0);
    out = agent_accept(out);
    wait_readable(out); /* all of them are there */
    assert_int_equal(signal_result(pid, options), 0);
    assert_int_equal(agent_wait(&agent, pid, NULL), KILLED);
    (void)read_all(out, text, sizeof text);
    assert_string_equal(text, "x\n");
}

static void a_group_signal_takes_the_whole_family(void **unused) {
    (void)unused;
    check_family("sleep 100 & sleep 101 & echo x; wait",
                 ",\"Options\":{\"Signal\":15,\"UvmGroup\":true}");
    check_family("sleep 100 & sleep 101 & echo x; wait", ",\"Options\":{\"UvmGroup\":true}");
    /* job control: each job is a group of its own in the session */
    check_family("set -m; sleep 100 & sleep 101 & echo x; wait",
                 ",\"Options\":{\"UvmGroup\":true}");
    check_family("set -m; sleep 100 & echo x; wait",
                 ",\"Options\":{\"Signal\":1,\"UvmGroup\":true}");
}

/* ---- waits ----------------------------------------------------------------------------------------- */

static void everybody_who_waits_is_answered(void **unused) {
    int in = agent_listen(&agent, IN);
    uint64_t ids[3];
    uint32_t pid;
    (void)unused;
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"cat\"],\"CreateStdInPipe\":true}", IN, 0, 0);
    in = agent_accept(in);
    for (size_t i = 0; i < 3; i++) {
        ids[i] = agent_ask_wait(&agent, pid, i == 1 ? 100000 : 4294967295u);
    }
    assert_int_equal(result_of(REQ_START, "{}"), 0); /* none of them was answered before */
    close(in);
    for (size_t i = 0; i < 3; i++) {
        struct answer r;
        agent_receive(&agent, &r);
        assert_int_equal(r.id, ids[i]);
        assert_int_equal(answer_result(&r), 0);
        assert_int_equal(answer_number(&r, "ExitCode"), 0);
        assert_null(strstr(r.body, "UvmExit"));
        answer_free(&r);
    }
    agent_ask_wait(&agent, pid, 4294967295u);
    struct answer r;
    agent_receive(&agent, &r);
    assert_int_equal(answer_result(&r), GONE);
    answer_free(&r);
}

static void a_wait_may_time_out_and_be_asked_again(void **unused) {
    int in = agent_listen(&agent, IN);
    struct answer r;
    uint32_t pid;
    (void)unused;
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"cat\"],\"CreateStdInPipe\":true}", IN, 0, 0);
    in = agent_accept(in);
    for (uint32_t ms = 0; ms <= 60; ms += 30) {
        agent_ask_wait(&agent, pid, ms);
        agent_receive(&agent, &r);
        assert_int_equal(answer_result(&r), LATE);
        answer_free(&r);
    }
    close(in);
    /* nobody waits while it ends, perhaps: its status is kept all the same */
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

static void streams_need_somewhere_to_go(void **unused) {
    struct answer r;
    (void)unused;
    memset(&agent, 0, sizeof agent);
    agent_start(&agent, true, AGENT_FLAGS("-v4"));
    agent_negotiate(&agent, true);
    agent_try_execute(&agent, &r, "{\"CommandArgs\":[\"true\"],\"CreateStdErrPipe\":true}", 0, 0,
                      ERR);
    assert_int_equal(answer_result(&r), FAIL);
    assert_non_null(strstr(r.body, "failed creating stderr Connection"));
    assert_non_null(strstr(r.body, "-dial unix:DIR"));
    assert_non_null(strstr(r.body, "\"UvmStart\":{\"Step\":\"stdio\",\"Errno\":19}"));
    answer_free(&r);
    uint32_t pid = agent_execute(&agent, "{\"CommandArgs\":[\"true\"]}", 0, 0, 0);
    assert_int_equal(agent_wait(&agent, pid, NULL), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, start, end)
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, start_plain, end)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        WITH(a_process_gets_what_was_asked_for),
        WITH(all_three_streams_and_half_close),
        WITH(much_data_passes_unchanged),
        WITH(thirty_two_at_once),
        WITH(a_start_that_fails_says_where),
        PLAIN(without_process_control_nothing_of_ours_shows),
        WITH(requests_that_name_no_program),
        WITH(a_process_may_name_a_container_and_live_in_the_uvm),
        WITH(a_user_is_looked_up),
        WITH(signals_reach_a_process_and_its_end_says_so),
        WITH(a_group_signal_takes_the_whole_family),
        WITH(everybody_who_waits_is_answered),
        WITH(a_wait_may_time_out_and_be_asked_again),
        cmocka_unit_test_teardown(streams_need_somewhere_to_go, end),
    };

    agent_program(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
