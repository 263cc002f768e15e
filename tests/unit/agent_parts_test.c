/* SPDX-License-Identifier: MIT
 * agent_parts_test.c — what the guest's agent is made of, without an agent: shell words, users, program
 * look-up, flags, log lines, kernel messages, sessions.
 */
#include "async/engine.h"
#include "async/json.h"
#include "cmd/gcs/flags.h"
#include "cmd/gcs/kmsg.h"
#include "cmd/gcs/log_line.h"
#include "cmd/gcs/lookpath.h"
#include "cmd/gcs/session.h"
#include "cmd/gcs/user.h"
#include "cmd/gcs/words.h"
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uvm_engine *engine;
static char folder[64];

static int setup(void **unused) {
    (void)unused;
    (void)snprintf(folder, sizeof folder, "%s", "/tmp/agent_parts_XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : uvm__engine_new_virtual(NULL, 3, &engine);
}

static int teardown(void **unused) {
    (void)unused;
    uvm__engine_free_virtual(engine);
    return rmdir(folder);
}

static const char *path_of(const char *name) {
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* ---- words ---------------------------------------------------------------------------------- */

static void words_are_split_as_a_shell_quotes(void **unused) {
    static const struct {
        const char *line;
        const char *words[6]; /* NULL-terminated */
    } cases[] = {
        {"", {NULL}},
        {" \t\n ", {NULL}},
        {"a", {"a", NULL}},
        {"  a  b\tc\nd ", {"a", "b", "c", "d", NULL}},
        {"sh -c 'kill -9 $$'", {"sh", "-c", "kill -9 $$", NULL}},
        {"''", {"", NULL}},
        {"a '' \"\" b", {"a", "", "", "b", NULL}},
        {"a\\ b c", {"a b", "c", NULL}},
        {"\"a b\"'c d'e", {"a bc de", NULL}},
        {"'a\\b\"c'", {"a\\b\"c", NULL}},
        {"\"\\$ \\` \\\" \\\\ \\n\"", {"$ ` \" \\ \\n", NULL}},
        {"a\\\nb \"c\\\nd\"", {"ab", "cd", NULL}},
        {"\\\n", {NULL}},
        {"\\'a\\\"", {"'a\"", NULL}},
        {"a;b|c >d $x *", {"a;b|c", ">d", "$x", "*", NULL}},
        {"\xc3\xa4 \xff", {"\xc3\xa4", "\xff", NULL}},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char **argv = NULL;
        size_t count = 99, n = 0;
        assert_int_equal(gcs_words_split(engine, cases[i].line, &argv, &count), 0);
        for (; cases[i].words[n] != NULL; n++) {
            assert_true(n < count);
            assert_string_equal(argv[n], cases[i].words[n]);
        }
        assert_int_equal(count, n);
        assert_null(argv[n]);
        uvm__free(engine, argv);
    }
}

static void unfinished_words_are_refused(void **unused) {
    static const char *const bad[] = {"'", "a 'b", "\"", "a \"b\\\"", "a\\", "\"a\\", "'a\\' '"};
    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char **argv = NULL;
        size_t count = 99;
        assert_int_equal(gcs_words_split(engine, bad[i], &argv, &count), -UVM_E_INVAL);
        assert_null(argv);
        assert_int_equal(count, 99);
    }
}

/* ---- users ------------------------------------------------------------------------------------ */

static void users_come_from_the_two_files(void **unused) {
    static const struct {
        const char *spec;
        int rc;
        uint32_t uid, gid;
    } cases[] = {
        {"root", 0, 0, 0},
        {"web", 0, 1001, 100},
        {"web:adm", 0, 1001, 4},
        {"web:77", 0, 1001, 77},
        {"1001", 0, 1001, 100}, /* a number with a line: its group */
        {"4242", 0, 4242, 0},   /* without one: group 0 */
        {"4242:4243", 0, 4242, 4243},
        {"5", 0, 1005, 105}, /* a name that looks like a number wins */
        {"nobody", 0, 65534, 65534},
        {"last", 0, 9, 9}, /* no newline at the end of the file */
        {"0:0", 0, 0, 0},
        {"4294967294", 0, 4294967294u, 0},
        {"who", -UVM_E_NOTFOUND, 0, 0},
        {"web:who", -UVM_E_NOTFOUND, 0, 0},
        {"broken", -UVM_E_NOTFOUND, 0, 0}, /* its uid is no number */
        {"hidden", -UVM_E_NOTFOUND, 0, 0}, /* only inside an over-long line */
        {"4294967295", -UVM_E_NOTFOUND, 0, 0},
        {"-1", -UVM_E_NOTFOUND, 0, 0},
        {"", -UVM_E_INVAL, 0, 0},
        {":0", -UVM_E_INVAL, 0, 0},
        {"root:", -UVM_E_INVAL, 0, 0},
        {"a:b:c", -UVM_E_INVAL, 0, 0},
    };
    char passwd[4096], path[2][128];
    size_t n;
    struct uvm__fail f;
    (void)unused;
    n = (size_t)snprintf(passwd, sizeof passwd,
                         "root:x:0:0:root:/root:/bin/sh\nbroken:x:x1:0::/:\nlong:");
    memset(passwd + n, 'y', (size_t)2 * GCS_USER_LINE_MAX);
    n += (size_t)2 * GCS_USER_LINE_MAX;
    (void)snprintf(passwd + n, sizeof passwd - n,
                   "hidden:x:3:3\n\nweb:x:1001:100::/:/bin/sh\n5:x:1005:105::/:\n"
                   "nobody:x:65534:65534:nobody:/:/bin/false\nlast:x:9:9");
    write_file("passwd", passwd, 0600);
    write_file("group", "root:x:0:\nadm:x:4:web,root\n", 0600);
    (void)snprintf(path[0], sizeof path[0], "%s", path_of("passwd"));
    (void)snprintf(path[1], sizeof path[1], "%s", path_of("group"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gcs_user user = {1, 1};
        assert_int_equal(gcs_user_find(cases[i].spec, path[0], path[1], &user, &f), cases[i].rc);
        if (cases[i].rc == 0) {
            assert_int_equal(user.uid, cases[i].uid);
            assert_int_equal(user.gid, cases[i].gid);
        }
    }
    struct gcs_user user;
    assert_int_equal(gcs_user_find("7:8", "/no/such", "/no/such", &user, &f), 0);
    assert_int_equal(user.gid, 8);
    assert_int_equal(gcs_user_find("root", "/no/such", "/no/such", &user, &f), -UVM_E_NOTFOUND);
    assert_non_null(strstr(f.msg, "root"));
    unlink(path[0]);
    unlink(path[1]);
}

/* ---- program look-up -------------------------------------------------------------------------- */

static void programs_are_found_as_go_finds_them(void **unused) {
    char path[512], ret[64] = "untouched";
    (void)unused;
    write_file("prog", "#!/bin/sh\n", 0755);
    write_file("plain", "text", 0644);
    assert_int_equal(mkdir(path_of("dir"), 0755), 0);
    (void)snprintf(path, sizeof path, "/no/such::.:relative:%s", folder);
    assert_int_equal(gcs_lookpath("prog", path, ret, sizeof ret), 0);
    assert_string_equal(ret, folder);
    assert_int_equal(gcs_lookpath("plain", path, ret, sizeof ret), -UVM_E_PEER);
    assert_int_equal(gcs_lookpath("dir", path, ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("none", path, ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("", path, ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("prog", "", ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("prog", NULL, ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("prog", path, ret, 4), -UVM_E_NOTFOUND);
    assert_int_equal(gcs_lookpath("plain", "/bin:/no", ret, sizeof ret), -UVM_E_NOTFOUND);
    assert_string_equal(ret, folder); /* untouched by failures */
    unlink(path_of("prog"));
    unlink(path_of("plain"));
    rmdir(path_of("dir"));
}

/* ---- flags -------------------------------------------------------------------------------------- */

static int parse(struct gcs_flags *ret, struct uvm__fail *f, const char *const *args) {
    char *argv[16];
    int argc = 0;
    argv[argc++] = (char *)(uintptr_t) "gcs";
    while (*args != NULL) {
        argv[argc++] = (char *)(uintptr_t)*args++;
    }
    argv[argc] = NULL;
    return gcs_flags_parse(argc, argv, ret, f);
}
#define PARSE(flags, fail, ...) parse(flags, fail, (const char *const[]){__VA_ARGS__, NULL})

static void flags_have_the_reference_s_defaults(void **unused) {
    struct gcs_flags flags;
    struct uvm__fail f;
    (void)unused;
    assert_int_equal(PARSE(&flags, &f, "rest", "-v4"), GCS_FLAGS_RUN); /* no flag: the end */
    assert_false(flags.v4);
    assert_int_equal(flags.log_level, UVM_LOG_DEBUG);
    assert_int_equal(flags.log_format, GCS_LOG_TEXT);
    assert_string_equal(flags.log_file, "");
    assert_int_equal(flags.kmsg_level, 4);
    assert_false(flags.use_inouterr || flags.disable_time_sync || flags.policy_deny);
    assert_true(flags.scrub_logs);
    assert_int_equal(flags.root_mem_reserve_bytes, 78643200);
    assert_int_equal(flags.gcs_mem_limit_bytes, 52428800);
    assert_null(flags.dial_unix_dir);
}

static void flags_are_read_as_go_reads_them(void **unused) {
    struct gcs_flags flags;
    struct uvm__fail f;
    (void)unused;
    /* what a host's kernel command line says */
    assert_int_equal(PARSE(&flags, &f, "-v4", "-log-format", "json", "-loglevel", "Info",
                           "-disable-time-sync", "-scrub-logs=false", "-core-dump-location",
                           "/c/%p"),
                     GCS_FLAGS_RUN);
    assert_true(flags.v4 && flags.disable_time_sync && !flags.scrub_logs);
    assert_int_equal(flags.log_format, GCS_LOG_JSON);
    assert_int_equal(flags.log_level, UVM_LOG_INFO);
    assert_string_equal(flags.core_dump_location, "/c/%p");
    assert_int_equal(PARSE(&flags, &f, "--v4=T", "--root-mem-reserve-bytes=0x10", "-kmsgLogLevel",
                           "7", "--use-inouterr", "--dial=unix:/d", "-initial-policy-stance=deny",
                           "-logfile", "-x", "--", "-bad"),
                     GCS_FLAGS_RUN);
    assert_true(flags.v4 && flags.use_inouterr && flags.policy_deny);
    assert_int_equal(flags.root_mem_reserve_bytes, 16);
    assert_int_equal(flags.kmsg_level, 7);
    assert_string_equal(flags.dial_unix_dir, "/d");
    assert_string_equal(flags.log_file, "-x"); /* a value may begin with a dash */
    /* a boolean takes no value from the next argument, which then ends the flags */
    assert_int_equal(PARSE(&flags, &f, "-v4", "false", "-use-inouterr"), GCS_FLAGS_RUN);
    assert_true(flags.v4 && !flags.use_inouterr);
    assert_int_equal(PARSE(&flags, &f, "-v4", "-v4=false"), GCS_FLAGS_RUN);
    assert_false(flags.v4);
    assert_int_equal(PARSE(&flags, &f, "-h"), GCS_FLAGS_HELP);
    assert_int_equal(PARSE(&flags, &f, "--help"), GCS_FLAGS_HELP);
}

static void bad_flags_are_named(void **unused) {
    static const struct {
        const char *args[3];
        const char *word;
    } cases[] = {
        {{"-nope", NULL}, "-nope"},
        {{"--nope=1", NULL}, "nope"},
        {{"---v4", NULL}, "---v4"},
        {{"-=x", NULL}, "-=x"},
        {{"-v4=yes", NULL}, "yes"},
        {{"-log-format", "xml", NULL}, "xml"},
        {{"-loglevel", "loud", NULL}, "loud"},
        {{"-loglevel", NULL}, "-loglevel"},
        {{"-kmsgLogLevel=-1", NULL}, "-1"},
        {{"-kmsgLogLevel=4294967296", NULL}, "4294967296"},
        {{"-root-mem-reserve-bytes=1k", NULL}, "1k"},
        {{"-initial-policy-stance", "maybe", NULL}, "maybe"},
        {{"-dial", "tcp:1", NULL}, "tcp:1"},
        {{"-dial", "unix:", NULL}, "unix:"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gcs_flags flags;
        struct uvm__fail f;
        assert_int_equal(parse(&flags, &f, cases[i].args), -UVM_E_INVAL);
        assert_non_null(strstr(f.msg, cases[i].word));
    }
}

/* ---- log lines ------------------------------------------------------------------------------- */

static const struct timespec when = {.tv_sec = 1764025200, .tv_nsec = 7};

static void log_lines_are_json_or_text(void **unused) {
    char line[512];
    const struct gcs_field fields[] = {
        GCS_NUMBER("pid", -12), GCS_TEXT("name", "a\"b\\c\n\x01\xff\xc3\xa4"), {NULL, NULL, 0}};
    (void)unused;
    size_t n = gcs_log_line(line, sizeof line, GCS_LOG_JSON, &when, UVM_LOG_WARN, "hello", fields);
    line[n] = '\0';
    assert_string_equal(line, "{\"time\":\"2025-11-24T23:00:00.000000007Z\",\"level\":\"warning\","
                              "\"msg\":\"hello\",\"pid\":-12,"
                              "\"name\":\"a\\\"b\\\\c\\n\\u0001\\ufffd\xc3\xa4\"}\n");
    n = gcs_log_line(line, sizeof line, GCS_LOG_TEXT, &when, UVM_LOG_ERROR, "hello", fields);
    line[n] = '\0';
    assert_string_equal(line,
                        "time=\"2025-11-24T23:00:00.000000007Z\" level=\"error\" msg=\"hello\" "
                        "pid=-12 name=\"a\\\"b\\\\c\\n\\u0001\\ufffd\xc3\xa4\"\n");
}

/* Whatever does not fit is cut so that the line stays one valid object. */
static void cut_log_lines_stay_valid(void **unused) {
    char msg[400], name[400], line[600];
    (void)unused;
    for (size_t i = 0; i + 2 < sizeof msg; i += 2) {
        memcpy(msg + i, "\xc3\xa4", 3);
        memcpy(name + i, "\"\n", 3);
    }
    const struct gcs_field fields[] = {
        GCS_TEXT("name", name), GCS_NUMBER("n", INT64_MIN), GCS_TEXT("last", "x"), {NULL, NULL, 0}};
    for (size_t bytes = 128; bytes <= sizeof line; bytes++) {
        size_t n = gcs_log_line(line, bytes, GCS_LOG_JSON, &when, UVM_LOG_TRACE, msg, fields);
        cJSON *tree = NULL;
        struct uvm__fail f;
        assert_true(n <= bytes && line[n - 1] == '\n');
        assert_int_equal(uvm__json_read(UVM__JSON_STRICT, line, n, &tree, &f), 0);
        cJSON_Delete(tree);
    }
}

/* ---- kernel messages, sessions ------------------------------------------------------------------ */

static void kernel_records_are_taken_apart(void **unused) {
    unsigned level = 99;
    const char *text = NULL;
    char good[] = "30,339,5140900,-;NET: Registered; PF_INET6\n SUBSYSTEM=net\n";
    char nothing[] = "6,1,0,-;";
    (void)unused;
    assert_int_equal(gcs_kmsg_parse(good, &level, &text), 0);
    assert_int_equal(level, 6); /* the facility is cut off */
    assert_string_equal(text, "NET: Registered; PF_INET6");
    assert_int_equal(gcs_kmsg_parse(nothing, &level, &text), 0);
    assert_string_equal(text, "");
    static const char *const bad[] = {"", "6,1,0,-", "x,1;t", ";t", "6;t", "-6,1;t"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char record[32];
        (void)snprintf(record, sizeof record, "%s", bad[i]);
        assert_int_equal(gcs_kmsg_parse(record, &level, &text), -UVM_E_PROTOCOL);
    }
}

static void process_lines_are_taken_apart(void **unused) {
    static const char *const bad[] = {"",        "1 (x",        "1 (x)",
                                      "1 (x) S", "1 (x) S 1 2", "1 (x) S a b c"};
    char state;
    pid_t pgrp, session;
    (void)unused;
    assert_int_equal(gcs_session_parse("7 (a) ) S) R 1 22 333 0 -1", &state, &pgrp, &session), 0);
    assert_int_equal(state, 'R');
    assert_int_equal(pgrp, 22);
    assert_int_equal(session, 333);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(gcs_session_parse(bad[i], &state, &pgrp, &session), -UVM_E_PROTOCOL);
    }
}

/* A session of two groups: only what is outside of the excepted group is hit. */
static void a_session_s_other_groups_are_signalled(void **unused) {
    int ready[2], status;
    char byte;
    pid_t leader, other = 0;
    (void)unused;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    leader = fork();
    assert_true(leader >= 0);
    if (leader == 0) {
        setsid();
        other = fork();
        if (other == 0) {
            setpgid(0, 0);
            if (write(ready[1], &other, 1) != 1) {
                _exit(3);
            }
            for (;;) {
                pause();
            }
        }
        _exit(waitpid(other, &status, 0) == other && WIFSIGNALED(status) ? WTERMSIG(status) : 99);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(gcs_session_signal(leader, leader, SIGTERM), 1);
    assert_int_equal(waitpid(leader, &status, 0), leader);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SIGTERM);
    close(ready[0]);
    close(ready[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split_as_a_shell_quotes),
        cmocka_unit_test(unfinished_words_are_refused),
        cmocka_unit_test(users_come_from_the_two_files),
        cmocka_unit_test(programs_are_found_as_go_finds_them),
        cmocka_unit_test(flags_have_the_reference_s_defaults),
        cmocka_unit_test(flags_are_read_as_go_reads_them),
        cmocka_unit_test(bad_flags_are_named),
        cmocka_unit_test(log_lines_are_json_or_text),
        cmocka_unit_test(cut_log_lines_stay_valid),
        cmocka_unit_test(kernel_records_are_taken_apart),
        cmocka_unit_test(process_lines_are_taken_apart),
        cmocka_unit_test(a_session_s_other_groups_are_signalled),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
