/* SPDX-License-Identifier: MIT
 * help_test.c — help, manual page and completion from a table of verbs made for it.
 *
 * The completion is run: by bash, which is asked what it would offer for a command line.
 */
#include "cmd/uvmctl/help.h"
#include "tests/unit/cm.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct option_row run_rows[] = {
    {"accel", 'a', "auto|kvm|tcg", "what runs it (auto)"},
    {"kernel", 0, "FILE", "a \\ file"},
    {"name", 'n', "NAME", "'its' name"},
    {"json", 0, NULL, ".json"},
    {NULL, 0, NULL, NULL},
};
static const struct option_row no_rows[] = {{NULL, 0, NULL, NULL}};

static const struct verb run_verb = {.name = "run",
                                     .summary = "run one",
                                     .words = "[OPTION…] [-- CMD…]",
                                     .about = "First line.\n.dotted line.\n\nSecond paragraph.",
                                     .options = run_rows,
                                     .status = "its own.",
                                     .example = "uvmctl run --json\nuvmctl run -- a"};
static const struct verb stop_verb = {.name = "stop",
                                      .summary = "stop one",
                                      .words = "NAME [-- WHY]",
                                      .about = "Stops.",
                                      .options = no_rows,
                                      .example = "uvmctl stop n"};
static const struct verb ps_verb = {.name = "ps",
                                    .summary = "list",
                                    .words = "[-q]",
                                    .about = "Lists.",
                                    .options = no_rows,
                                    .example = "uvmctl ps"};
static const struct verb *const two[] = {&run_verb, &stop_verb, NULL};
static const struct verb *const three[] = {&run_verb, &stop_verb, &ps_verb, NULL};

struct text {
    FILE *file;
    char *data;
    size_t bytes;
};

/* The stream writes to *t: it must stay where it is. */
static void text_open(struct text *t) {
    *t = (struct text){0};
    t->file = open_memstream(&t->data, &t->bytes);
    assert_non_null(t->file);
}

static void has(const struct text *t, const char *part) {
    assert_int_equal(fflush(t->file), 0);
    if (strstr(t->data, part) == NULL) {
        fail_msg("no \"%s\" in:\n%s", part, t->data);
    }
}

static void text_close(struct text *t) {
    (void)fclose(t->file);
    free(t->data);
}

static void test_terminal(void **state) {
    (void)state;
    struct text t;
    text_open(&t);
    help_verbs(t.file, two);
    has(&t, "\n  run      run one\n  stop     stop one\n  help ");
    text_close(&t);

    text_open(&t);
    help_verb(t.file, &run_verb);
    has(&t, "usage: uvmctl run [OPTION…] [-- CMD…]\n\nFirst line.\n.dotted line.\n\nSecond");
    has(&t, "\n  -a, --accel auto|kvm|tcg     what runs it (auto)\n      --kernel FILE ");
    has(&t, "\n      --trace FILE             what happened when");
    has(&t, "\nExit status: its own.\n\nExample:\n  uvmctl run --json\n  uvmctl run -- a\n");
    text_close(&t);

    text_open(&t);
    help_verb(t.file, &stop_verb);
    assert_int_equal(fflush(t.file), 0);
    assert_null(strstr(t.data, "Exit status"));
    text_close(&t);
}

static void test_man(void **state) {
    (void)state;
    struct text t;
    text_open(&t);
    help_man(t.file, two, "1.2.3");
    has(&t, ".TH UVMCTL 1 \"\" \"uvm 1.2.3\" ");
    has(&t, "\n.SS \"uvmctl run [OPTION\\[u2026]] [\\-\\- CMD\\[u2026]]\"\n");
    has(&t, "\n\\&First line.\n\\&.dotted line.\n.PP\n\\&Second paragraph.\n");
    has(&t,
        "\n.TP\n\\fB\\-a\\fR, \\fB\\-\\-accel\\fR \\fIauto|kvm|tcg\\fR\n\\&what runs it (auto)\n");
    has(&t, "\n\\&a \\e file\n");
    has(&t, "\n\\&\\(aqits\\(aq name\n");
    has(&t, "\n\\&.json\n");
    has(&t, "\n.nf\n\\&uvmctl run \\-\\-json\n\\&uvmctl run \\-\\- a\n.fi\n");
    has(&t, "ends them. Every verb takes\n.TP\n\\fB\\-\\-trace\\fR \\fIFILE\\fR\n\\&what");
    has(&t, "\n.SS \"uvmctl stop NAME [\\-\\- WHY]\"\n");
    for (const char *p = t.data; *p != 0; p++) {
        assert_true((unsigned char)*p < 0x80);
    }
    text_close(&t);
}

/* What bash offers, one a line, for words of which the last is being typed. */
static void offered(const struct verb *const *verbs, const char *words, const char *want) {
    char path[] = "/tmp/uvm-help-XXXXXX", got[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *script = fdopen(fd, "w");
    assert_non_null(script);
    help_bash(script, verbs);
    (void)fprintf(script,
                  "uvmctl() { [ \"$*\" = 'ps -q' ] && echo 'one two'; }\n"
                  "cd /usr && COMP_WORDS=(uvmctl %s) && COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
                  "_uvmctl && for reply in \"${COMPREPLY[@]}\"; do echo \"$reply\"; done; exit 0\n",
                  words);
    assert_int_equal(fclose(script), 0);

    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execlp("bash", "bash", "-u", path, (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    size_t bytes = 0;
    ssize_t n;
    while ((n = read(pipes[0], got + bytes, sizeof got - 1 - bytes)) > 0) {
        bytes += (size_t)n;
    }
    got[bytes] = 0;
    close(pipes[0]);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(status, 0);
    if (strcmp(got, want) != 0) {
        fail_msg("for \"%s\" bash offers \"%s\" instead of \"%s\"", words, got, want);
    }
}

static void test_bash(void **state) {
    static const struct {
        const char *words, *want;
    } rows[] = {
        {"''", "run\nstop\nhelp\n--help\n--version\n"},
        {"st", "stop\n"},
        {"help r", "run\n"},
        {"run --", "--accel\n--kernel\n--name\n--json\n--trace\n--help\n"},
        {"run --js", "--json\n"},
        {"run --accel k", "kvm\n"},
        {"run -a ''", "auto\nkvm\ntcg\n"},
        {"run --accel =", "auto\nkvm\ntcg\n"},
        {"run --accel = t", "tcg\n"},
        {"run --kernel sbi", "sbin\n"},
        {"run --name ''", ""},
        {"run --json -- --", ""},
        {"stop ''", "--trace\n--help\n"},
        {"stop --trace sbi", "sbin\n"},
        {"none ''", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        offered(two, rows[i].words, rows[i].want);
    }
    offered(three, "stop o", "one\n");
    offered(three, "run o", "");
    offered(three, "stop x -- o", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_man),
        cmocka_unit_test(test_bash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
