/* SPDX-License-Identifier: MIT
 * plot_test.c — traces, ours and others', good and hostile, as rows and as a picture.
 */
#include "cmd/uvmctl/svg.h"
#include "cmd/uvmctl/timeline.h"
#include "tests/unit/cm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char words[4096];

/* "process: depth name ms [result]" of each row. */
static const char *rows_of(const char *text) {
    struct timeline t;
    struct uvm__fail f = {0};
    size_t len = 0;
    if (timeline_read(text, strlen(text), &t, &f) < 0) {
        fail_msg("%s: %s", f.msg, text);
    }
    words[0] = 0;
    for (size_t i = 0; i < t.count; i++) {
        const struct timeline_span *s = t.rows[i];
        len += (size_t)snprintf(words + len, sizeof words - len, "%s: %u %s %.1f %s\n",
                                timeline_process(&t, s), s->depth, s->name,
                                (s->end_us - s->begin_us) / 1000, s->result);
    }
    timeline_free(&t);
    return words;
}

static int refused(const char *text, size_t bytes, const char *why) {
    struct timeline t;
    struct uvm__fail f = {0};
    int rc = timeline_read(text, bytes, &t, &f);
    assert_true(rc < 0);
    if (strstr(f.msg, why) == NULL) {
        fail_msg("\"%s\" has no \"%s\"", f.msg, why);
    }
    return -rc;
}

/* The caller frees. */
static char *picture_of(const char *text) {
    struct timeline t;
    struct uvm__fail f = {0};
    char *data = NULL;
    size_t bytes = 0;
    if (timeline_read(text, strlen(text), &t, &f) < 0) {
        fail_msg("%s: %s", f.msg, text);
    }
    FILE *out = open_memstream(&data, &bytes);
    assert_non_null(out);
    svg_draw(out, &t);
    assert_int_equal(fclose(out), 0);
    timeline_free(&t);
    return data;
}

#define OURS                                                                                       \
    "[{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":2,\"tid\":0,\"args\":{\"name\":\"UVM a\"}}," \
    "{\"name\":\"host\",\"ph\":\"X\",\"pid\":2,\"tid\":5,\"cat\":\"step\",\"ts\":1100,"            \
    "\"dur\":3000,\"args\":{\"op\":5,\"parent\":4,\"result\":\"OK\"}},"                            \
    "{\"name\":\"mount\",\"ph\":\"X\",\"pid\":2,\"tid\":5,\"cat\":\"step\",\"ts\":4200,"           \
    "\"dur\":800,\"args\":{\"op\":5,\"parent\":4,\"result\":\"PEER\"}},"                           \
    "{\"name\":\"attach\",\"ph\":\"X\",\"pid\":2,\"tid\":5,\"cat\":\"op\",\"ts\":1100,"            \
    "\"dur\":4000,\"args\":{\"op\":5,\"parent\":4,\"result\":\"PEER\"}},"                          \
    "{\"name\":\"disks\",\"ph\":\"X\",\"pid\":2,\"tid\":4,\"cat\":\"step\",\"ts\":1050,"           \
    "\"dur\":4500,\"args\":{\"op\":4,\"result\":\"PEER\"}},"                                       \
    "{\"name\":\"boot\",\"ph\":\"X\",\"pid\":2,\"tid\":4,\"cat\":\"op\",\"ts\":1000,"              \
    "\"dur\":5000,\"args\":{\"op\":4,\"result\":\"PEER\"}},"                                       \
    "{\"name\":\"uvmctl boot\",\"ph\":\"X\",\"pid\":1,\"tid\":0,\"cat\":\"verb\",\"ts\":900,"      \
    "\"dur\":6000,\"args\":{\"status\":1}}]"

static void test_ours(void **state) {
    (void)state;
    assert_string_equal(rows_of(OURS), "1: 0 uvmctl boot 6.0 \n"
                                       "UVM a: 0 boot 5.0 PEER\n"
                                       "UVM a: 1 disks 4.5 PEER\n"
                                       "UVM a: 2 attach 4.0 PEER\n"
                                       "UVM a: 3 host 3.0 \n"
                                       "UVM a: 3 mount 0.8 PEER\n");
}

static void test_picture(void **state) {
    (void)state;
    char *svg = picture_of(OURS);
    static const char *const parts[] = {
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"980\" height=\"178\" ",
        ">0 ms</text>",
        ">6</text>",
        ">UVM a</text>",
        ("<text x=\"47\" y=\"148\">host</text><rect class=\"s\" x=\"308.7\" y=\"139\" "
         "width=\"280.0\" height=\"11\"/><text class=\"d\" x=\"592.7\" y=\"148\">3.00 ms</text>"),
        ">mount</text><rect class=\"f\" ",
        ">0.80 ms PEER</text>",
        "</svg>\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(svg, parts[i]) == NULL) {
            fail_msg("no %s in %s", parts[i], svg);
        }
    }
    free(svg);
}

/* What Chrome and others write: an object, begins and ends, ids that are words, fractions. */
static void test_others(void **state) {
    (void)state;
    assert_string_equal(
        rows_of("{\"displayTimeUnit\":\"ms\",\"traceEvents\":["
                "{\"name\":\"a\",\"ph\":\"B\",\"ts\":0.5,\"pid\":\"x\",\"tid\":\"t\"},"
                "{\"name\":\"b\",\"ph\":\"B\",\"ts\":1000.5,\"pid\":\"x\",\"tid\":\"t\"},"
                "{\"name\":\"c\",\"ph\":\"B\",\"ts\":1000,\"pid\":\"x\",\"tid\":\"u\"},"
                "{\"ph\":\"E\",\"ts\":2000.5,\"pid\":\"x\",\"tid\":\"t\"},"
                "{\"ph\":\"E\",\"ts\":9000,\"pid\":\"x\",\"tid\":\"other\"},"
                "{\"ph\":\"i\",\"name\":\"mark\",\"ts\":1},{\"ph\":\"C\"},"
                "{\"name\":\"d\",\"ph\":\"X\",\"ts\":1e3,\"dur\":2E3,\"pid\":\"x\",\"tid\":\"v\"},"
                "{\"ph\":\"E\",\"ts\":4000.5,\"pid\":\"x\",\"tid\":\"t\"}]}"),
        "x: 0 a 4.0 \n"
        "x: 1 b 1.0 \n"
        "x: 0 c 3.0 OPEN\n"
        "x: 0 d 2.0 \n");
    /* Neither names nor ids nor times below zero are needed, or a harm. */
    assert_string_equal(rows_of("[{\"ph\":\"X\",\"ts\":-5000}]"), ": 0 ? 0.0 \n");
}

static void test_refused(void **state) {
    static const struct {
        const char *text;
        int code;
        const char *why;
    } rows[] = {
        {"", UVM_E_NOTFOUND, "it is empty"},
        {"[]", UVM_E_NOTFOUND, "no span"},
        {"{\"traceEvents\":[]}", UVM_E_NOTFOUND, "no span"},
        {"[{\"ph\":\"M\"}]", UVM_E_NOTFOUND, "no span"},
        {"hello", UVM_E_PROTOCOL, "no trace that can be drawn: byte 0"},
        {"[{\"ph\":\"X\",\"ts\":1}", UVM_E_PROTOCOL, "byte 18"},
        {"{}", UVM_E_PROTOCOL, "neither a list"},
        {"7", UVM_E_PROTOCOL, "neither a list"},
        {"{\"traceEvents\":{}}", UVM_E_PROTOCOL, "neither a list"},
        {"[1]", UVM_E_PROTOCOL, "event 1: it is none"},
        {"[{\"ph\":1}]", UVM_E_PROTOCOL, "event 1: it is none"},
        {"[{\"ph\":\"M\"},{\"ph\":\"X\"}]", UVM_E_PROTOCOL, "event 2: its \"ts\""},
        {"[{\"ph\":\"X\",\"ts\":\"1\"}]", UVM_E_PROTOCOL, "event 1: its \"ts\""},
        {"[{\"ph\":\"X\",\"ts\":1e300}]", UVM_E_PROTOCOL, "event 1: its \"ts\""},
        {"[{\"ph\":\"X\",\"ts\":1e999}]", UVM_E_PROTOCOL, "event 1: its \"ts\""},
        {"[{\"ph\":\"X\",\"ts\":1,\"dur\":-1}]", UVM_E_PROTOCOL, "event 1: its \"dur\""},
        {"[{\"ph\":\"X\",\"ts\":1,\"dur\":[]}]", UVM_E_PROTOCOL, "event 1: its \"dur\""},
        {"[{\"ph\":\"B\",\"ts\":5},{\"ph\":\"E\",\"ts\":4}]", UVM_E_PROTOCOL, "before its begin"},
        {"[{\"ph\":\"E\"}]", UVM_E_PROTOCOL, "event 1: its \"ts\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(refused(rows[i].text, strlen(rows[i].text), rows[i].why), rows[i].code);
    }
}

/* `count` spans in one list. The caller frees. */
static char *many(unsigned count, const char *format) {
    size_t cap = (size_t)count * 128 + 16, len = 1;
    char *text = malloc(cap);
    assert_non_null(text);
    text[0] = '[';
    for (unsigned i = 0; i < count; i++) {
        len += (size_t)snprintf(text + len, cap - len, format, i == 0 ? "" : ",", i, i, i);
    }
    (void)snprintf(text + len, cap - len, "]");
    return text;
}

static void test_bounds(void **state) {
    (void)state;
    char *text = many(TIMELINE_SPANS_MAX + 1, "%s{\"ph\":\"X\",\"ts\":%u,\"dur\":%u,\"tid\":%u}");
    assert_int_equal(refused(text, strlen(text), "more than 2000 spans"), UVM_E_LIMIT);
    free(text);
    text = many(100000, "%s%u");
    assert_int_equal(refused(text, strlen(text), "no trace that can be drawn"), UVM_E_LIMIT);
    free(text);
    assert_int_equal(refused("", TIMELINE_BYTES_MAX + 1u, "make no picture"), UVM_E_LIMIT);

    /* As deep as there are spans, each in the one before: the picture stays one. */
    text = many(TIMELINE_SPANS_MAX, "%s{\"ph\":\"B\",\"ts\":%u,\"name\":\"%u%u\"}");
    char *svg = picture_of(text);
    assert_non_null(strstr(svg, "height=\"34059\""));
    free(svg);
    free(text);
    /* Each the child of the one before, by their ids, and of itself. */
    text = many(TIMELINE_SPANS_MAX, "%s{\"ph\":\"X\",\"ts\":1,\"dur\":9,\"tid\":%u,"
                                    "\"args\":{\"op\":1,\"parent\":1}}");
    svg = picture_of(text);
    assert_non_null(strstr(svg, "</svg>"));
    free(svg);
    free(text);
}

/* Text that would end its element, or turn what is around it; and text without an end. */
static void test_hostile_text(void **state) {
    (void)state;
    char *svg = picture_of(
        "[{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":\"p\",\"args\":{\"name\":\"</svg>\"}},"
        "{\"name\":\"</text><script>alert(1)</script>\",\"ph\":\"X\",\"ts\":0,\"dur\":1,"
        "\"pid\":\"p\",\"cat\":\"\\\"><image href='x'/>\","
        "\"args\":{\"result\":\"<a&b\\\">\"}},"
        "{\"name\":\"\\u001b[2J\\u202e\\ufffe\\u0085x\",\"ph\":\"X\",\"ts\":0,\"dur\":1,\"pid\":\"p\"},"
        "{\"name\":\"äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü\",\"ph\":\"X\",\"ts\":0,\"pid\":\"p\"}]");
    assert_null(strstr(svg, "<script"));
    assert_null(strstr(svg, "<image"));
    assert_non_null(strstr(svg, ">&lt;/svg&gt;</text>"));
    assert_non_null(strstr(svg, ">&lt;/text&gt;&lt;script&gt;alert(1)&lt;/script&gt;</text>"));
    assert_non_null(strstr(svg, " ms &lt;a&amp;b&quot;&gt;</text>"));
    assert_non_null(strstr(svg, ">?[2J???x</text>"));
    assert_non_null(strstr(svg, ">äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüä…</text>"));
    for (const char *p = svg; *p != 0; p++) {
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    }
    assert_ptr_equal(strstr(svg, "</svg>") + 7, svg + strlen(svg)); /* once, at the end */
    free(svg);
}

/* The longest and the shortest time that there are. */
static void test_scales(void **state) {
    static const char *const ranges[] = {"0",    "0.001", "1",       "999",
                                         "2500", "1e6",   "86400e6", "1e15"};
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "[{\"ph\":\"X\",\"ts\":0,\"dur\":%s}]", ranges[i]);
        char *svg = picture_of(text);
        size_t ticks = 0;
        for (const char *p = svg; (p = strstr(p, "class=\"g\"")) != NULL; p++) {
            ticks++;
        }
        assert_in_range(ticks, 1, 11);
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "inf"));
        free(svg);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),   cmocka_unit_test(test_picture),
        cmocka_unit_test(test_others), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_hostile_text),
        cmocka_unit_test(test_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
