/* SPDX-License-Identifier: MIT
 * agent_life_test.c — the real agent's beginning and end, broken hosts, lost bridges, its log, its size.
 */
#include "tests/unit/agent_host.h"
#include "tests/unit/cm.h"

#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN AGENT_STDIO
#define OUT (AGENT_STDIO + 1)
#define LATE ((int64_t)(int32_t)0xc0370109)

static struct agent agent;
static const char *binary;
static bool sanitized;

static int clean(void **unused) {
    (void)unused;
    agent_clean(&agent);
    memset(&agent, 0, sizeof agent);
    return 0;
}

static void start_on_pipes(void) {
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-dial"));
    agent_negotiate(&agent, true);
}

static void start_dialling(void) {
    agent_start(&agent, false, AGENT_FLAGS("-v4"));
    agent_accept_bridge(&agent);
    agent_negotiate(&agent, true);
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void the_end_of_stdin_is_success(void **unused) {
    (void)unused;
    agent_start(&agent, true, AGENT_FLAGS("-v4"));
    assert_int_equal(agent_end(&agent), 0);
}

static void the_end_of_stdin_ends_processes_too(void **unused) {
    int out;
    char text[16];
    (void)unused;
    start_on_pipes();
    out = agent_listen(&agent, OUT);
    (void)agent_execute(
        &agent,
        "{\"CommandArgs\":[\"sh\",\"-c\",\"trap '' TERM HUP; echo x; exec sleep 100\"],"
        "\"CreateStdOutPipe\":true,\"Environment\":{\"PATH\":\"/usr/bin:/bin\"}}",
        0, OUT, 0);
    out = agent_accept(out);
    wait_readable(out);
    assert_int_equal(agent_end(&agent), 0);
    assert_int_equal(read_all(out, text, sizeof text), 2);
}

/* This machine is not ours: the agent must not touch it, whatever the environment says. */
static void a_shutdown_here_ends_only_the_agent(void **unused) {
    static const uint32_t words[] = {REQ_SHUTDOWN, REQ_SHUTDOWN + 0x100};
    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        struct answer r;
        agent.environment = "UVM_INIT=1";
        agent_start(&agent, i == 0, AGENT_FLAGS("-v4"));
        if (i == 1) {
            agent_accept_bridge(&agent);
        }
        agent_negotiate(&agent, false);
        agent_call(&agent, &r, words[i], "{\"ContainerId\":\"" NULL_ID "\"}");
        assert_string_equal(r.body, "{\"Result\":0}");
        answer_free(&r);
        assert_int_equal(agent_wait_end(&agent), 0);
        (void)clean(NULL);
    }
}

static void flags_that_are_none_end_with_2(void **unused) {
    (void)unused;
    agent_start(&agent, true, AGENT_FLAGS("-log-format", "xml"));
    assert_int_equal(WEXITSTATUS(agent_end(&agent)), 2);
}

/* ---- broken hosts --------------------------------------------------------------------------------- */

static void broken_frames_end_the_connection(void **unused) {
    static const struct {
        uint8_t bytes[20];
        size_t count;
    } frames[] = {
        {{1, 9, 0x10, 0x10, 0}, 16},                      /* size 0 */
        {{1, 9, 0x10, 0x10, 15, 0, 0, 0}, 16},            /* below a header's */
        {{1, 9, 0x10, 0x10, 0xff, 0xff, 0xff, 0xff}, 16}, /* 4 GiB */
        {{1, 9, 0x10, 0x10, 1, 0, 0, 1}, 16},             /* one above the limit */
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        /* on pipes that is the end, and no success */
        start_on_pipes();
        agent_send_bytes(&agent, frames[i].bytes, frames[i].count);
        assert_true(agent_bridge_ended(&agent));
        assert_int_equal(agent_wait_end(&agent), 1 << 8);
        (void)clean(NULL);
    }
    start_dialling();
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        /* on a socket another connection follows */
        agent_send_bytes(&agent, frames[i].bytes, frames[i].count);
        assert_true(agent_bridge_ended(&agent));
        agent_drop_bridge(&agent);
        agent_accept_bridge(&agent);
        agent_negotiate(&agent, true);
    }
    agent_shutdown(&agent);
}

static void a_frame_cut_short_ends_the_connection(void **unused) {
    (void)unused;
    start_dialling();
    agent_send_bytes(&agent, "\x01\x09\x10\x10\x20", 5);
    agent_drop_bridge(&agent);
    agent_accept_bridge(&agent);
    agent_negotiate(&agent, false); /* and what it asked for is forgotten */
    agent_shutdown(&agent);
}

/* ---- reconnects ------------------------------------------------------------------------------------ */

static void processes_and_waits_survive_a_lost_bridge(void **unused) {
    struct answer r;
    uint64_t ids[2];
    uint32_t pid;
    int in;
    (void)unused;
    start_dialling();
    in = agent_listen(&agent, IN);
    pid = agent_execute(&agent, "{\"CommandArgs\":[\"cat\"],\"CreateStdInPipe\":true}", IN, 0, 0);
    in = agent_accept(in);
    ids[0] = agent_ask_wait(&agent, pid, 4294967295u);
    for (int i = 0; i < 3; i++) {
        agent_drop_bridge(&agent);
        agent_accept_bridge(&agent);
        agent_negotiate(&agent, i != 1);
    }
    ids[1] = agent_ask_wait(&agent, pid, 4294967295u);
    agent_call(&agent, &r, REQ_START, "{}"); /* both waits were read */
    answer_free(&r);
    close(in);
    for (size_t i = 0; i < 2; i++) {
        agent_receive(&agent, &r);
        assert_true(r.id == ids[0] || r.id == ids[1]);
        assert_int_equal(answer_number(&r, "ExitCode"), 0);
        answer_free(&r);
    }
    agent_shutdown(&agent);
}

/* The process ends while there is no bridge: the answer follows the next negotiation, in the shape that
 * this one grants. */
static void an_end_without_a_bridge_is_told_later(void **unused) {
    struct answer r;
    uint64_t id;
    uint32_t pid;
    int in, out;
    (void)unused;
    start_dialling();
    in = agent_listen(&agent, IN);
    out = agent_listen(&agent, OUT);
    pid = agent_execute(
        &agent,
        "{\"CommandArgs\":[\"sh\",\"-c\",\"read x; kill -9 $$\"],\"CreateStdInPipe\":true,"
        "\"CreateStdOutPipe\":true}",
        IN, OUT, 0);
    in = agent_accept(in);
    out = agent_accept(out);
    id = agent_ask_wait(&agent, pid, 4294967295u);
    agent_call(&agent, &r, REQ_START, "{}"); /* the wait was read */
    answer_free(&r);
    agent_drop_bridge(&agent);
    close(in);
    assert_int_equal(read(out, &(char){0}, 1), 0); /* it is dead */
    close(out);
    agent_accept_bridge(&agent);
    agent_ask(&agent, REQ_NEGOTIATE, "{\"MinimumVersion\":4,\"MaximumVersion\":4}");
    agent_receive(&agent, &r);
    assert_int_equal(r.type, (REQ_NEGOTIATE & 0x0fffffffu) | 0x20000000u);
    answer_free(&r);
    agent_receive(&agent, &r);
    assert_int_equal(r.id, id);
    assert_string_equal(r.body, "{\"Result\":0,\"ExitCode\":4294967295}");
    answer_free(&r);
    agent_shutdown(&agent);
}

/* ---- the log ------------------------------------------------------------------------------------------ */

/* Nobody reads the log: the agent answers on, drops records, and says how many when there is room. */
static void a_log_that_nobody_reads_stalls_nothing(void **unused) {
    static char text[1 << 20];
    struct answer r;
    uint32_t pid = 0;
    (void)unused;
    agent.log_pipe = true;
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-loglevel", "trace"));
    agent_negotiate(&agent, false);
    for (int i = 0; i < 400; i++) {
        pid = agent_execute(&agent, "{\"CommandArgs\":[\"true\"]}", 0, 0, 0);
        assert_int_equal(agent_wait(&agent, pid, NULL), 0);
    }
    agent_call(&agent, &r, REQ_STACKS, "{\"ContainerId\":\"" NULL_ID "\"}");
    assert_null(strstr(answer_string(&r, "GuestStacks"), "log dropped 0\n"));
    answer_free(&r);
    /* now somebody does: what was kept comes, then the count */
    size_t n = 0;
    while (strstr(text, "\"dropped\":") == NULL) {
        wait_readable(agent.log);
        ssize_t got = read(agent.log, text + n, sizeof text - 1 - n);
        assert_true(got > 0);
        n += (size_t)got;
        text[n] = '\0';
    }
    assert_non_null(strstr(text, "\"msg\":\"process started\""));
    assert_int_equal(agent_end(&agent), 0);
}

static void a_log_whose_reader_went_away_is_no_reason_to_end(void **unused) {
    (void)unused;
    agent.log_pipe = true;
    agent_start(&agent, true, AGENT_FLAGS("-v4", "-loglevel", "trace"));
    close(agent.log);
    agent.log = -1;
    agent_negotiate(&agent, false);
    for (int i = 0; i < 3; i++) {
        uint32_t pid = agent_execute(&agent, "{\"CommandArgs\":[\"true\"]}", 0, 0, 0);
        assert_int_equal(agent_wait(&agent, pid, NULL), 0);
    }
    assert_int_equal(agent_end(&agent), 0);
}

/* ---- how small -------------------------------------------------------------------------------------- */

static unsigned long status_kib(pid_t pid, const char *key) {
    char path[32], text[4096];
    const char *at;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    text[n] = '\0';
    at = strstr(text, key);
    assert_non_null(at);
    return strtoul(at + strlen(key), NULL, 10);
}

static void an_idle_agent_is_small(void **unused) {
    (void)unused;
    if (sanitized) {
        skip();
    }
    start_on_pipes();
    for (int i = 0; i < 50; i++) {
        uint32_t pid = agent_execute(&agent, "{\"CommandArgs\":[\"true\"]}", 0, 0, 0);
        assert_int_equal(agent_wait(&agent, pid, NULL), 0);
    }
    unsigned long kib = status_kib(agent.pid, "RssAnon:");
    print_message("  RssAnon %lu KiB after 50 processes\n", kib);
    assert_in_range(kib, 1, 1024);
    assert_int_equal(agent_end(&agent), 0);
}

/* What is loaded of the file, which is what remains of it when it is stripped. */
static void the_binary_is_small(void **unused) {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    uint64_t bytes = 0;
    int fd = open(binary, O_RDONLY | O_CLOEXEC);
    (void)unused;
    assert_true(fd >= 0);
    if (sanitized) {
        close(fd);
        skip();
    }
    assert_int_equal(read(fd, &header, sizeof header), sizeof header);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        assert_int_equal(pread(fd, &segment, sizeof segment,
                               (off_t)(header.e_phoff + (uint64_t)i * header.e_phentsize)),
                         sizeof segment);
        bytes += segment.p_type == PT_LOAD ? segment.p_filesz : 0;
    }
    close(fd);
    print_message("  %llu bytes\n", (unsigned long long)bytes);
    assert_in_range(bytes, 1, 2000000);
}

#define CLEAN(test) cmocka_unit_test_teardown(test, clean)

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CLEAN(the_end_of_stdin_is_success),
        CLEAN(the_end_of_stdin_ends_processes_too),
        CLEAN(a_shutdown_here_ends_only_the_agent),
        CLEAN(flags_that_are_none_end_with_2),
        CLEAN(broken_frames_end_the_connection),
        CLEAN(a_frame_cut_short_ends_the_connection),
        CLEAN(processes_and_waits_survive_a_lost_bridge),
        CLEAN(an_end_without_a_bridge_is_told_later),
        CLEAN(a_log_that_nobody_reads_stalls_nothing),
        CLEAN(a_log_whose_reader_went_away_is_no_reason_to_end),
        CLEAN(an_idle_agent_is_small),
        cmocka_unit_test(the_binary_is_small),
    };

    agent_program(argc, argv);
    binary = argv[1];
    sanitized = argc == 3;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
