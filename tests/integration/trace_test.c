/* SPDX-License-Identifier: MIT
 * trace_test.c — `--trace` and `uvmctl plot` with real VMs: the steps of a boot in their order, times that
 * add up, what an owner does for its clients, and a file that is valid however uvmctl ends.
 */
#include "tests/integration/detach_kit.h"
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET "hunter2-Zq7"

static char trace[128], svg[128];

/* The caller frees; fails the test unless it is there and small. */
static char *read_file(const char *path) {
    static const size_t max = 1u << 20;
    char *text = malloc(max + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(text != NULL && fd >= 0);
    ssize_t n = read(fd, text, max);
    assert_in_range(n, 1, max - 1);
    text[n] = 0;
    close(fd);
    return text;
}

static cJSON *read_trace(void) {
    char *text = read_file(trace);
    cJSON *tree = cJSON_Parse(text);
    if (!cJSON_IsArray(tree)) {
        fail_msg("no trace: %s", text);
    }
    assert_null(strstr(text, SECRET));
    free(text);
    return tree;
}

static const char *text_of(const cJSON *event, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(event, key));
    return text == NULL ? "" : text;
}

static double number_of(const cJSON *event, const char *key) {
    const cJSON *node = cJSON_GetObjectItem(event, key);
    assert_true(cJSON_IsNumber(node));
    return node->valuedouble;
}

static const char *result_of(const cJSON *event) {
    return text_of(cJSON_GetObjectItem(event, "args"), "result");
}

/* The first of this kind and name; NULL: there is none. */
static const cJSON *span_of(const cJSON *tree, const char *cat, const char *name) {
    const cJSON *event;
    cJSON_ArrayForEach(event, tree) {
        if (strcmp(text_of(event, "cat"), cat) == 0 && strcmp(text_of(event, "name"), name) == 0) {
            return event;
        }
    }
    return NULL;
}

static double end_of(const cJSON *event) {
    return number_of(event, "ts") + number_of(event, "dur");
}

static void expect_within(const cJSON *inner, const cJSON *outer) {
    assert_true(number_of(inner, "ts") >= number_of(outer, "ts"));
    assert_true(end_of(inner) <= end_of(outer));
}

/* Its steps, in this order, one after the other, and nothing of its time between them. */
static void expect_steps(const cJSON *tree, const char *op_name, const char *const *steps) {
    const cJSON *op = span_of(tree, "op", op_name), *event;
    double at = 0, sum = 0;
    assert_non_null(op);
    assert_string_equal(result_of(op), "OK");
    cJSON_ArrayForEach(event, tree) {
        if (strcmp(text_of(event, "cat"), "step") == 0 &&
            number_of(event, "tid") == number_of(op, "tid") &&
            number_of(event, "pid") == number_of(op, "pid")) {
            assert_non_null(*steps);
            assert_string_equal(text_of(event, "name"), *steps++);
            assert_true(number_of(event, "ts") >= at);
            expect_within(event, op);
            at = end_of(event);
            sum += number_of(event, "dur");
        }
    }
    assert_null(*steps);
    assert_true(sum <= number_of(op, "dur") && sum >= 0.9 * number_of(op, "dur"));
}

static void test_boot(void **state) {
    (void)state;
    struct command c;
    assert_int_equal(boot_run(&c, LIST("--trace", trace, "-e", "TOKEN=" SECRET, "--name", "demo",
                                       "--", "sh", "-c", "exit 3", SECRET)),
                     3);
    command_free(&c);
    struct stat st;
    assert_int_equal(stat(trace, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    cJSON *tree = read_trace();
    expect_steps(
        tree, "vm boot",
        LIST("create", "disks", "listen", "start", "guest", "agent", "negotiate", "mounts"));
    const cJSON *verb = span_of(tree, "verb", "uvmctl boot"),
                *boot = span_of(tree, "op", "vm boot");
    assert_int_equal(number_of(cJSON_GetObjectItem(verb, "args"), "status"), 3);
    expect_within(boot, verb);
    expect_within(span_of(tree, "op", "vm create"), span_of(tree, "step", "create"));
    expect_within(span_of(tree, "op", "vm start"), span_of(tree, "step", "start"));
    assert_true(number_of(span_of(tree, "op", "vm exec"), "ts") >= end_of(boot));
    /* A kernel under emulation takes its time, and not all of it. */
    assert_true(number_of(span_of(tree, "step", "guest"), "dur") > 50e3);
    assert_true(number_of(boot, "dur") < BOOT_MS * 1e3);
    cJSON_Delete(tree);

    expect(0, "", NULL, LIST("plot", trace, "-o", svg));
    char *picture = read_file(svg);
    assert_int_equal(strncmp(picture, "<svg xmlns=", 11), 0);
    assert_non_null(strstr(picture, ">UVM demo</text>"));
    assert_non_null(strstr(picture, ">vm boot</text>"));
    assert_non_null(strstr(picture, ">handshake</text>"));
    assert_string_equal(picture + strlen(picture) - 7, "</svg>\n");
    free(picture);
    expect(0, "<svg xmlns=", NULL, LIST("plot", trace));
    expect(1, "", "that is the trace itself", LIST("plot", trace, "-o", trace));
    expect(1, "", "is a directory", LIST("plot", kit.folder));
    expect(1, "", "No such file", LIST("plot", "/no/such/trace"));
    expect(1, "", "no trace that can be drawn", LIST("plot", svg));
    kit_forget(svg);
    kit_forget(trace);
}

/* A boot that cannot end well: which step it was in, and that it was undone. */
static void test_failure(void **state) {
    char document[128];
    (void)state;
    kit_document(kit.initrd, "/no/such/agent", document);
    expect(125, "", NULL,
           LIST("boot", "--trace", trace, "--document", document, "--name", "demo", "--", "true"));
    cJSON *tree = read_trace();
    const cJSON *op = span_of(tree, "op", "vm boot"), *undo = span_of(tree, "undo", "undo create");
    assert_non_null(op);
    assert_true(strcmp(result_of(op), "OK") != 0);
    assert_non_null(undo);
    expect_within(undo, op);
    assert_null(span_of(tree, "step", "mounts"));
    cJSON_Delete(tree);
    expect(0, "\"f\"", NULL, LIST("plot", trace));
    kit_forget(trace);
    kit_forget(document);
}

/* Killed in the middle: what was written until then is valid. */
static void test_killed(void **state) {
    struct command c;
    (void)state;
    boot_start(&c, NULL, LIST("boot", "--trace", trace, "--", "sleep", "100"));
    assert_true(await_vmm(BOOT_MS) > 0);
    assert_int_equal(kill(c.pid, SIGKILL), 0);
    assert_int_equal(command_end(&c, 5000), 128 + SIGKILL);
    command_free(&c);
    cJSON *tree = read_trace();
    assert_non_null(span_of(tree, "step", "host")); /* before there is a VMM */
    assert_null(span_of(tree, "verb", "uvmctl boot"));
    cJSON_Delete(tree);
    kit_forget(trace);
    expect_nobody_left(10000);
}

/* The owner traces its boot, to that boot's end; its clients what they ask for, and what it does then. */
static void test_owner(void **state) {
    (void)state;
    expect(0, "demo\n", NULL,
           LIST("boot", "--detach", "--name", "demo", "--memory", "128M", "--trace", trace));
    cJSON *tree = read_trace();
    expect_steps(
        tree, "vm boot",
        LIST("create", "disks", "listen", "start", "guest", "agent", "negotiate", "mounts"));
    expect_within(span_of(tree, "op", "vm boot"), span_of(tree, "verb", "uvmctl boot"));
    cJSON_Delete(tree);

    expect(0, "", NULL,
           LIST("exec", "--trace", trace, "-e", "TOKEN=" SECRET, "demo", "--", "true", SECRET));
    tree = read_trace();
    const cJSON *verb = span_of(tree, "verb", "uvmctl exec"), *call = span_of(tree, "call", "exec"),
                *op = span_of(tree, "op", "vm exec");
    assert_true(verb != NULL && call != NULL && op != NULL);
    expect_within(call, verb);
    expect_within(op, call); /* the clock is one */
    assert_true(number_of(op, "pid") != number_of(call, "pid"));
    assert_non_null(span_of(tree, "op", "process wait"));
    assert_null(span_of(tree, "op", "vm boot"));
    cJSON_Delete(tree);

    expect(127, "", NULL, LIST("exec", "--trace", trace, "demo", "--", "no-such-program"));
    tree = read_trace();
    assert_string_equal(result_of(span_of(tree, "op", "vm exec")), "PEER");
    assert_string_equal(result_of(span_of(tree, "call", "exec")), "PEER");
    cJSON_Delete(tree);

    static const char disk[1u << 20];
    char image[128];
    kit_write("disk.img", disk, sizeof disk, image);
    expect(0, "scsi-1", NULL, LIST("attach", "--trace", trace, "demo", "scsi", image));
    tree = read_trace();
    op = span_of(tree, "op", "device attach");
    assert_non_null(op);
    expect_within(span_of(tree, "op", "vm attach"), span_of(tree, "call", "attach"));
    expect_within(op, span_of(tree, "op", "vm attach"));
    expect_steps(tree, "device attach", LIST("reserve", "attach", "mount"));
    cJSON_Delete(tree);
    expect(0, "device attach", NULL, LIST("plot", trace));
    expect(0, NULL, NULL, LIST("detach", "--trace", trace, "demo", "scsi-1"));
    tree = read_trace();
    assert_non_null(span_of(tree, "op", "device detach"));
    cJSON_Delete(tree);
    kit_forget(image);

    expect(0, NULL, NULL, LIST("stop", "demo", "--trace", trace));
    tree = read_trace();
    assert_non_null(span_of(tree, "op", "vm stop"));
    cJSON_Delete(tree);
    kit_forget(trace);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_boot, kit_check),
        cmocka_unit_test_teardown(test_failure, kit_check),
        cmocka_unit_test_teardown(test_killed, kit_check),
        cmocka_unit_test_teardown(test_owner, nothing_left),
    };
    assert_true(argc > 5);
    kit_open(argv + 1);
    (void)setenv("UVM_STATE_DIR", kit.state, 1);
    (void)snprintf(trace, sizeof trace, "%s/trace.json", kit.folder);
    (void)snprintf(svg, sizeof svg, "%s/trace.svg", kit.folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_close();
    return failed;
}
