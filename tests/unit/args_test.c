/* SPDX-License-Identifier: MIT
 * args_test.c — the option parser of uvmctl: forms, ends, suggestions, values.
 */
#include "cmd/uvmctl/args.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option_row rows[] = {
    {"memory", 'm', "SIZE", ""}, {"measure", 0, NULL, ""}, {"tty", 't', NULL, ""},
    {"env", 'e', "K=V", ""},     {NULL, 0, NULL, NULL},
};

static char trace[512], said[2048];

static void note(const char *text) {
    (void)snprintf(trace + strlen(trace), sizeof trace - strlen(trace), "%s ", text);
}

static bool on_option(const struct option_row *row, const char *value, void *arg) {
    char text[64];
    (void)arg;
    (void)snprintf(text, sizeof text, "%s=%s", row->name, value == NULL ? "-" : value);
    note(text);
    return true;
}

static bool on_word(const char *word, void *arg) {
    (void)arg;
    note(word);
    return true;
}

/* Parses and keeps what goes to stderr. */
static bool parse(struct args *a, const char *const *words) {
    static char *argv[16]; /* the parser points into it */
    size_t n = 0;
    for (; words[n] != NULL; n++) {
        argv[n] = (char *)(uintptr_t)words[n];
    }
    argv[n] = NULL;
    *a = (struct args){"verb", rows, on_option, on_word, NULL, NULL, false};
    trace[0] = 0;
    char path[] = "/tmp/args_testXXXXXX";
    int file = mkstemp(path), kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0);
    (void)unlink(path);
    (void)dup2(file, STDERR_FILENO);
    bool ok = args_parse(a, argv);
    (void)dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t got = pread(file, said, sizeof said - 1, 0);
    said[got < 0 ? 0 : got] = 0;
    close(file);
    return ok;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_forms(void **state) {
    static const struct {
        const char *words[8];
        const char *want;
    } good[] = {
        {{"--memory", "1G"}, "memory=1G "},
        {{"--memory=1G", "x"}, "memory=1G x "},
        {{"-m", "1G", "-t"}, "memory=1G tty=- "},
        {{"-m1G"}, "memory=1G "},
        {{"-tm", "1"}, "tty=- memory=1 "},
        {{"-te", "A=B=C"}, "tty=- env=A=B=C "},
        {{"name", "--tty", "other"}, "name tty=- other "},
        {{"--memory=", "x"}, "memory= x "},
        {{"--env", "--tty"}, "env=--tty "},
        {{"-"}, "- "},
        {{NULL}, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct args a;
        assert_true(parse(&a, good[i].words));
        assert_string_equal(trace, good[i].want);
        assert_null(a.command);
        assert_string_equal(said, "");
    }
}

static void test_command(void **state) {
    struct args a;
    (void)state;
    assert_true(parse(&a, WORDS("-t", "--", "ls", "--tty", "--")));
    assert_string_equal(trace, "tty=- ");
    assert_string_equal(a.command[0], "ls");
    assert_string_equal(a.command[2], "--");
    assert_null(a.command[3]);
    assert_true(parse(&a, WORDS("--")));
    assert_non_null(a.command);
    assert_null(a.command[0]);
}

static void test_help(void **state) {
    struct args a;
    (void)state;
    assert_true(parse(&a, WORDS("-t", "--help", "--nonsense")));
    assert_true(a.help);
    assert_true(parse(&a, WORDS("-h")));
    assert_true(a.help);
    assert_true(parse(&a, WORDS("--", "-h")));
    assert_false(a.help);
}

static void test_errors(void **state) {
    static const struct {
        const char *words[4];
        const char *want;
    } bad[] = {
        {{"--memry", "1"}, "unknown option \"--memry\"; did you mean \"--memory\"?"},
        {{"--meas"}, "did you mean \"--measure\"?"},
        {{"--zzzz"}, "unknown option \"--zzzz\"; \"uvmctl help verb\" lists them"},
        {{"-x"}, "unknown option \"-x\""},
        {{"-tx"}, "unknown option \"-x\""},
        {{"--memory"}, "--memory needs a value, SIZE"},
        {{"--memory", "--"}, "--memory needs a value, SIZE"},
        {{"-e"}, "-e needs a value, K=V"},
        {{"--tty=yes"}, "--tty takes no value"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct args a;
        assert_false(parse(&a, bad[i].words));
        if (strstr(said, bad[i].want) == NULL) {
            fail_msg("row %zu: %s", i, said);
        }
        assert_ptr_equal(strstr(said, "uvmctl: verb: "), said);
    }
}

static void test_nearest(void **state) {
    static const char *const names[] = {"boot", "doctor", "help"};
    (void)state;
    assert_string_equal(args_nearest("bot", names, 3), "boot");
    assert_string_equal(args_nearest("obot", names, 3), "boot");
    assert_string_equal(args_nearest("docter", names, 3), "doctor");
    assert_string_equal(args_nearest("doct", names, 3), "doctor");
    assert_null(args_nearest("xyz", names, 3));
    assert_null(args_nearest("", names, 3));
}

static void test_values(void **state) {
    uint64_t n = 7;
    (void)state;
    assert_true(args_read_number("64", 1, 64, &n));
    assert_int_equal(n, 64);
    static const char *const bad_numbers[] = {"",   "65", "0",    "-1",  "+1",
                                              " 1", "1 ", "0x10", "1e3", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad_numbers / sizeof bad_numbers[0]; i++) {
        assert_false(args_read_number(bad_numbers[i], 1, 64, &n));
    }
    assert_int_equal(n, 64);
    assert_true(args_read_size_mb("256", &n) && n == 256);
    assert_true(args_read_size_mb("256M", &n) && n == 256);
    assert_true(args_read_size_mb("2G", &n) && n == 2048);
    assert_false(args_read_size_mb("2T", &n));
    assert_false(args_read_size_mb("M", &n));
    assert_false(args_read_size_mb("18446744073709551615G", &n));
    assert_true(args_read_duration_ms("500ms", &n) && n == 500);
    assert_true(args_read_duration_ms("30s", &n) && n == 30000);
    assert_true(args_read_duration_ms("2m", &n) && n == 120000);
    assert_false(args_read_duration_ms("0s", &n));
    assert_false(args_read_duration_ms("30", &n));
    assert_false(args_read_duration_ms("18446744073709551615h", &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),   cmocka_unit_test(test_command),
        cmocka_unit_test(test_help),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
