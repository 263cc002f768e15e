/* SPDX-License-Identifier: MIT
 * json_test.c — the reader in both modes, its words, the accessors.
 *
 * Go's sentences below are those of encoding/json; a part of them was recorded from a running
 * agent.
 */
#include "async/engine.h"
#include "async/json.h"
#include "async/limits.h"
#include "tests/unit/cm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static uvm_engine *engine;

static int setup(void **unused) {
    (void)unused;
    return uvm__engine_new_virtual(NULL, 3, &engine);
}
static int teardown(void **unused) {
    (void)unused;
    uvm__engine_free_virtual(engine);
    return 0;
}

/* Reads from a block of exactly that size, so that the sanitizer sees one byte too many. */
static int read_exact(enum uvm__json_mode mode, const char *text, size_t bytes, cJSON **ret,
                      struct uvm__fail *f) {
    char *copy = malloc(bytes == 0 ? 1 : bytes);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    int rc = uvm__json_read(mode, copy, bytes, ret, f);
    free(copy);
    return rc;
}

static cJSON *read_ok(enum uvm__json_mode mode, const char *text) {
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    int rc = read_exact(mode, text, strlen(text), &tree, &f);
    if (rc != 0) {
        fail_msg("%s: %s", text, f.msg);
    }
    return tree;
}

static void expect_print(enum uvm__json_mode mode, const char *text, const char *want) {
    cJSON *tree = read_ok(mode, text);
    size_t bytes = 0;
    char *printed = uvm__json_print(engine, tree, &bytes);
    assert_string_equal(printed, want);
    assert_int_equal(bytes, strlen(want));
    uvm__free(engine, printed);
    cJSON_Delete(tree);
}

static void expect_fail(enum uvm__json_mode mode, const char *text, size_t bytes, int code,
                        const char *want) {
    cJSON *tree = (cJSON *)&engine; /* to see that it is left alone */
    struct uvm__fail f = {.sys = 1, .msg = ""};
    int rc = read_exact(mode, text, bytes, &tree, &f);
    if (rc != code || strcmp(f.msg, want) != 0) {
        fail_msg("%s: returned %d, says '%s', not '%s'", text, rc, f.msg, want);
    }
    assert_ptr_equal(tree, &engine);
    assert_int_equal(f.sys, 0);
    assert_int_equal(read_exact(mode, text, bytes, &tree, NULL), code);
}

/* ---- what is read ------------------------------------------------------------------------- */

static void values_print_back_as_they_were(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *print;
    } rows[] = {
        {"null", "null"},
        {"true", "true"},
        {" false\r\n\t ", "false"},
        {"{}", "{}"},
        {" [ ] ", "[]"},
        {"[[],{},\"\"]", "[[],{},\"\"]"},
        {"{ \"b\" : 1 , \"a\" : [ true , null ] }", "{\"b\":1,\"a\":[true,null]}"},
        {"9223372036854771712", "9223372036854771712"},
        {"[0,-0,-1,3.0,1e3,1E+3,1.5e-7,123456789012345678901234567890]",
         "[0,-0,-1,3.0,1e3,1E+3,1.5e-7,123456789012345678901234567890]"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\"",
         "\"\\\"\\\\/\\b\\f\\n\\r\\tA\xc3\xa9\xe2\x82\xac\""},
        {"\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80 \xf0\x9f\x98\x80\""},
        {"\"\\uD800\\uDC00\\udbff\\udfff\"", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""},
        {"\"\x7f\"", "\"\x7f\""},
        {"{\"\":1,\"a\\u0062\":2}", "{\"\":1,\"ab\":2}"},
        {"{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
         "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        expect_print(UVM__JSON_STRICT, rows[i].text, rows[i].print);
        expect_print(UVM__JSON_GO, rows[i].text, rows[i].print);
    }
}

static void go_mode_replaces_what_is_not_utf8(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *print, *strict;
    } rows[] = {
        {"\"a\xff\"", "\"a\xef\xbf\xbd\"", "byte 2: 0xff is not valid UTF-8"},
        {"\"\x80\"", "\"\xef\xbf\xbd\"", "byte 1: 0x80 is not valid UTF-8"},
        {"\"\xc0\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "byte 1: 0xc0 is not valid UTF-8"},
        {"\"\xc1\xbf\"", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "byte 1: 0xc1 is not valid UTF-8"},
        {"\"\xc3\"", "\"\xef\xbf\xbd\"", "byte 1: 0xc3 is not valid UTF-8"},
        {"\"\xe0\x9f\xbf\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "byte 1: 0xe0 is not valid UTF-8"},
        {"\"\xed\xa0\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "byte 1: 0xed is not valid UTF-8"},
        {"\"\xe2\x82x\"", "\"\xef\xbf\xbd\xef\xbf\xbdx\"", "byte 1: 0xe2 is not valid UTF-8"},
        {"\"\xf0\x8f\xbf\xbf\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "byte 1: 0xf0 is not valid UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "byte 1: 0xf4 is not valid UTF-8"},
        {"\"\xf5\"", "\"\xef\xbf\xbd\"", "byte 1: 0xf5 is not valid UTF-8"},
        {"{\"\xfe\":0}", "{\"\xef\xbf\xbd\":0}", "byte 2: 0xfe is not valid UTF-8"},
        {"\"\\ud800\"", "\"\xef\xbf\xbd\"", "byte 1: half a surrogate pair"},
        {"\"\\udc00\\ud800\"", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "byte 1: half a surrogate pair"},
        {"\"x\\ud83dA\"",
         "\"x\xef\xbf\xbd"
         "A\"",
         "byte 2: half a surrogate pair"},
        {"\"\\ud83d\\u0041\"",
         "\"\xef\xbf\xbd"
         "A\"",
         "byte 1: half a surrogate pair"},
        {"\"\\ud83d\\ud83d\\ude00\"", "\"\xef\xbf\xbd\xf0\x9f\x98\x80\"",
         "byte 1: half a surrogate pair"},
        {"\"\\ud83d\\n\"", "\"\xef\xbf\xbd\\n\"", "byte 1: half a surrogate pair"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        expect_print(UVM__JSON_GO, rows[i].text, rows[i].print);
        expect_fail(UVM__JSON_STRICT, rows[i].text, strlen(rows[i].text), -UVM_E_PROTOCOL,
                    rows[i].strict);
    }
}

/* ---- what is refused, and in which words -------------------------------------------------- */

static const struct {
    const char *text, *go, *strict;
} syntax_rows[] = {
    /* recorded from the agent */
    {"{\"ContainerId\":\"\",\"MinimumVersion\":4", "unexpected end of JSON input",
     "byte 36: expected ',' or '}', found the end"},
    {"", "unexpected end of JSON input", "byte 0: expected a value, found the end"},
    {"{x", "invalid character 'x' looking for beginning of object key string",
     "byte 1: expected a name in quotes, found 'x'"},
    {"{\"ContainerId\":\"x\", broken <html>&",
     "invalid character 'b' looking for beginning of object key string",
     "byte 20: expected a name in quotes, found 'b'"},
    /* values */
    {" \n", "unexpected end of JSON input", "byte 2: expected a value, found the end"},
    {"x", "invalid character 'x' looking for beginning of value",
     "byte 0: expected a value, found 'x'"},
    {"'a'", "invalid character '\\'' looking for beginning of value",
     "byte 0: expected a value, found '\\''"},
    {"\\", "invalid character '\\\\' looking for beginning of value",
     "byte 0: expected a value, found '\\\\'"},
    {"\x01", "invalid character '\\x01' looking for beginning of value",
     "byte 0: expected a value, found '\\x01'"},
    {"\x7f", "invalid character '\\x7f' looking for beginning of value",
     "byte 0: expected a value, found '\\x7f'"},
    {"\v", "invalid character '\\v' looking for beginning of value",
     "byte 0: expected a value, found '\\v'"},
    {"\xef\xbb\xbf{}", "invalid character '\xc3\xaf' looking for beginning of value",
     "byte 0: expected a value, found '\xc3\xaf'"},
    {"\x85", "invalid character '\\u0085' looking for beginning of value",
     "byte 0: expected a value, found '\\u0085'"},
    {"\xa0", "invalid character '\\u00a0' looking for beginning of value",
     "byte 0: expected a value, found '\\u00a0'"},
    {"\xad", "invalid character '\\u00ad' looking for beginning of value",
     "byte 0: expected a value, found '\\u00ad'"},
    {"+1", "invalid character '+' looking for beginning of value",
     "byte 0: expected a value, found '+'"},
    {".5", "invalid character '.' looking for beginning of value",
     "byte 0: expected a value, found '.'"},
    {"NaN", "invalid character 'N' looking for beginning of value",
     "byte 0: expected a value, found 'N'"},
    {"// a\n1", "invalid character '/' looking for beginning of value",
     "byte 0: expected a value, found '/'"},
    /* after the value */
    {"{} x", "invalid character 'x' after top-level value", "byte 3: expected the end, found 'x'"},
    {"1 2", "invalid character '2' after top-level value", "byte 2: expected the end, found '2'"},
    {"nullx", "invalid character 'x' after top-level value", "byte 4: expected the end, found 'x'"},
    {"[]]", "invalid character ']' after top-level value", "byte 2: expected the end, found ']'"},
    {"\"\"\"", "invalid character '\"' after top-level value",
     "byte 2: expected the end, found '\"'"},
    /* arrays */
    {"[", "unexpected end of JSON input", "byte 1: expected a value, found the end"},
    {"[1", "unexpected end of JSON input", "byte 2: expected ',' or ']', found the end"},
    {"[1,", "unexpected end of JSON input", "byte 3: expected a value, found the end"},
    {"[1,]", "invalid character ']' looking for beginning of value",
     "byte 3: expected a value, found ']'"},
    {"[,1]", "invalid character ',' looking for beginning of value",
     "byte 1: expected a value, found ','"},
    {"[1 2]", "invalid character '2' after array element",
     "byte 3: expected ',' or ']', found '2'"},
    {"[1}", "invalid character '}' after array element", "byte 2: expected ',' or ']', found '}'"},
    {"[}", "invalid character '}' looking for beginning of value",
     "byte 1: expected a value, found '}'"},
    /* objects */
    {"{", "unexpected end of JSON input", "byte 1: expected a name in quotes, found the end"},
    {"{]", "invalid character ']' looking for beginning of object key string",
     "byte 1: expected a name in quotes, found ']'"},
    {"{\"a\"", "unexpected end of JSON input", "byte 4: expected ':', found the end"},
    {"{\"a\" 1}", "invalid character '1' after object key", "byte 5: expected ':', found '1'"},
    {"{\"a\":", "unexpected end of JSON input", "byte 5: expected a value, found the end"},
    {"{\"a\":}", "invalid character '}' looking for beginning of value",
     "byte 5: expected a value, found '}'"},
    {"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair",
     "byte 7: expected ',' or '}', found '\"'"},
    {"{\"a\":1]", "invalid character ']' after object key:value pair",
     "byte 6: expected ',' or '}', found ']'"},
    {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string",
     "byte 7: expected a name in quotes, found '}'"},
    {"{\"a\":1,", "unexpected end of JSON input",
     "byte 7: expected a name in quotes, found the end"},
    {"{,}", "invalid character ',' looking for beginning of object key string",
     "byte 1: expected a name in quotes, found ','"},
    {"{\"a", "unexpected end of JSON input", "byte 3: expected the closing quote, found the end"},
    /* strings */
    {"\"abc", "unexpected end of JSON input", "byte 4: expected the closing quote, found the end"},
    {"\"a\nb\"", "invalid character '\\n' in string literal",
     "byte 2: expected the closing quote, found '\\n'"},
    {"\"\x1f\"", "invalid character '\\x1f' in string literal",
     "byte 1: expected the closing quote, found '\\x1f'"},
    {"\"\\x\"", "invalid character 'x' in string escape code",
     "byte 2: expected one of \"\\/bfnrtu after a backslash, found 'x'"},
    {"\"\\", "invalid character ' ' in string escape code",
     "byte 2: expected one of \"\\/bfnrtu after a backslash, found the end"},
    {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape",
     "byte 5: expected four hexadecimal digits, found 'g'"},
    {"\"\\u12", "invalid character ' ' in \\u hexadecimal character escape",
     "byte 5: expected four hexadecimal digits, found the end"},
    {"\"\\u\"", "invalid character '\"' in \\u hexadecimal character escape",
     "byte 3: expected four hexadecimal digits, found '\"'"},
    {"\"\\ud83d\\u12x4\"", "invalid character 'x' in \\u hexadecimal character escape",
     "byte 11: expected four hexadecimal digits, found 'x'"},
    {"\"\\ud83d\\", "invalid character ' ' in string escape code", "byte 1: half a surrogate pair"},
    /* numbers */
    {"-", "invalid character ' ' in numeric literal", "byte 1: expected a digit, found the end"},
    {"-x", "invalid character 'x' in numeric literal", "byte 1: expected a digit, found 'x'"},
    {"01", "invalid character '1' after top-level value", "byte 1: expected the end, found '1'"},
    {"[-01]", "invalid character '1' after array element",
     "byte 3: expected ',' or ']', found '1'"},
    {"1.", "invalid character ' ' after decimal point in numeric literal",
     "byte 2: expected a digit after the point, found the end"},
    {"1.e5", "invalid character 'e' after decimal point in numeric literal",
     "byte 2: expected a digit after the point, found 'e'"},
    {"1e", "invalid character ' ' in exponent of numeric literal",
     "byte 2: expected a digit of the exponent, found the end"},
    {"1e+", "invalid character ' ' in exponent of numeric literal",
     "byte 3: expected a digit of the exponent, found the end"},
    {"1e-x", "invalid character 'x' in exponent of numeric literal",
     "byte 3: expected a digit of the exponent, found 'x'"},
    {"1x", "invalid character 'x' after top-level value", "byte 1: expected the end, found 'x'"},
    {"0x10", "invalid character 'x' after top-level value", "byte 1: expected the end, found 'x'"},
    /* words */
    {"tru", "invalid character ' ' in literal true (expecting 'e')",
     "byte 3: expected true, found the end"},
    {"trve", "invalid character 'v' in literal true (expecting 'u')",
     "byte 2: expected true, found 'v'"},
    {"falsE", "invalid character 'E' in literal false (expecting 'e')",
     "byte 4: expected false, found 'E'"},
    {"nul]", "invalid character ']' in literal null (expecting 'l')",
     "byte 3: expected null, found ']'"},
};

static void syntax_errors_in_the_words_of_either_mode(void **unused) {
    (void)unused;
    for (size_t i = 0; i < COUNT(syntax_rows); i++) {
        size_t bytes = strlen(syntax_rows[i].text);
        expect_fail(UVM__JSON_GO, syntax_rows[i].text, bytes, -UVM_E_PROTOCOL, syntax_rows[i].go);
        expect_fail(UVM__JSON_STRICT, syntax_rows[i].text, bytes, -UVM_E_PROTOCOL,
                    syntax_rows[i].strict);
    }
    cJSON *tree = NULL;
    assert_int_equal(uvm__json_read(UVM__JSON_GO, NULL, 0, &tree, NULL), -UVM_E_PROTOCOL);
    assert_null(tree);
}

static void a_nul_is_refused_however_it_comes(void **unused) {
    (void)unused;
    for (int mode = UVM__JSON_STRICT; mode <= UVM__JSON_GO; mode++) {
        enum uvm__json_mode m = (enum uvm__json_mode)mode;
        expect_fail(m, "\"ab\\u0000\"", 10, -UVM_E_PROTOCOL, "byte 3: \\u0000 in a string");
        expect_fail(m, "{\"\\u0000\":1}", 12, -UVM_E_PROTOCOL, "byte 2: \\u0000 in a string");
    }
    expect_fail(UVM__JSON_STRICT, "\"a\0b\"", 5, -UVM_E_PROTOCOL,
                "byte 2: expected the closing quote, found '\\x00'");
    expect_fail(UVM__JSON_GO, "\"a\0b\"", 5, -UVM_E_PROTOCOL,
                "invalid character '\\x00' in string literal");
    expect_fail(UVM__JSON_GO, "1\0", 2, -UVM_E_PROTOCOL,
                "invalid character '\\x00' after top-level value");
    expect_fail(UVM__JSON_GO, "[\0", 2, -UVM_E_PROTOCOL,
                "invalid character '\\x00' looking for beginning of value");
}

static void depth_is_bounded(void **unused) {
    (void)unused;
    char text[8 * UVM__JSON_DEPTH_MAX];
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t depth = UVM__JSON_DEPTH_MAX; depth <= UVM__JSON_DEPTH_MAX + 1; depth++) {
            const char *open = kind == 0 ? "[" : "{\"\":";
            size_t n = 0;
            for (size_t i = 0; i < depth; i++, n += strlen(open)) {
                memcpy(text + n, open, strlen(open));
            }
            if (depth == UVM__JSON_DEPTH_MAX) {
                text[n++] = '1';
                memset(text + n, kind == 0 ? ']' : '}', depth);
                text[n + depth] = 0;
                cJSON_Delete(read_ok(UVM__JSON_STRICT, text));
                cJSON_Delete(read_ok(UVM__JSON_GO, text));
            } else {
                expect_fail(UVM__JSON_GO, text, n, -UVM_E_LIMIT, "exceeded max depth");
                expect_fail(UVM__JSON_STRICT, text, n, -UVM_E_LIMIT,
                            kind == 0 ? "byte 64: nested deeper than 64 levels"
                                      : "byte 256: nested deeper than 64 levels");
            }
        }
    }
}

/* "[0,0,…]": the text of `count` + 1 values (the array is one) in `bytes` bytes; blanks fill it up. */
static char *dense(size_t count, size_t bytes) {
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    assert_true(count * 2 + 1 <= bytes);
    memset(text, ' ', bytes);
    text[0] = '[';
    for (size_t i = 0; i < count; i++) {
        text[1 + i * 2] = '0';
        text[2 + i * 2] = ',';
    }
    text[count * 2] = ']';
    text[bytes] = 0;
    return text;
}

static void values_are_bounded_by_the_text_and_in_all(void **unused) {
    (void)unused;
    static const struct {
        size_t bytes, values;
    } rows[] = {
        {32768, UVM__JSON_NODES_MIN + 32768 / UVM__JSON_BYTES_PER_NODE},
        {65536, UVM__JSON_NODES_MIN + 65536 / UVM__JSON_BYTES_PER_NODE},
        {1u << 20, UVM__JSON_NODES_MAX},
        {16u << 20, UVM__JSON_NODES_MAX},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char want[96];
        char *text = dense(rows[i].values - 1, rows[i].bytes);
        cJSON_Delete(read_ok(UVM__JSON_STRICT, text));
        cJSON_Delete(read_ok(UVM__JSON_GO, text));
        free(text);
        text = dense(rows[i].values, rows[i].bytes);
        (void)snprintf(want, sizeof want, "byte %zu: more than %zu values in %zu bytes",
                       rows[i].values * 2 - 1, rows[i].values, rows[i].bytes);
        expect_fail(UVM__JSON_STRICT, text, rows[i].bytes, -UVM_E_LIMIT, want);
        expect_fail(UVM__JSON_GO, text, rows[i].bytes, -UVM_E_LIMIT,
                    "exceeded max number of values");
        free(text);
    }
}

/* The densest of what people really send: a command with nothing but words of one letter. */
static void a_list_of_short_words_is_read_however_long(void **unused) {
    (void)unused;
    enum { WORDS = 32000 };
    char *text = malloc(WORDS * 4 + 2);
    assert_non_null(text);
    for (size_t i = 0; i < WORDS; i++) {
        (void)snprintf(text + i * 4, 5, "%c\"a\"", i == 0 ? '[' : ',');
    }
    (void)snprintf(text + (size_t)WORDS * 4, 2, "]");
    cJSON *tree = read_ok(UVM__JSON_STRICT, text);
    assert_int_equal(cJSON_GetArraySize(tree), WORDS);
    cJSON_Delete(tree);
    free(text);
}

static void strict_mode_refuses_duplicates(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"{\"a\":1,\"a\":2}", "byte 7: the name \"a\" comes twice"},
        {"{\"a\":1,\"\\u0061\":2}", "byte 7: the name \"a\" comes twice"},
        {"{\"\":1,\"\":2}", "byte 6: the name \"\" comes twice"},
        {"{\"b\":1,\"a\":1,\"c\":3,\"b\":2,\"a\":2}", "byte 19: the name \"b\" comes twice"},
        {"{\"x\":{\"a\":1,\"b\":{},\"a\":2},\"x\":1}", "byte 19: the name \"a\" comes twice"},
        {"{\"a\":1,\"o\":{\"b\":1},\"b\":1,\"a\":1}", "byte 25: the name \"a\" comes twice"},
        {"[{\"a\\n\":1,\"a\\n\":1}]", "byte 10: the name \"a?\" comes twice"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        expect_fail(UVM__JSON_STRICT, rows[i].text, strlen(rows[i].text), -UVM_E_PROTOCOL,
                    rows[i].want);
        cJSON_Delete(read_ok(UVM__JSON_GO, rows[i].text));
    }
    /* Case makes a difference, and so does a prefix. */
    cJSON_Delete(read_ok(UVM__JSON_STRICT, "{\"a\":1,\"A\":2,\"aa\":3,\"\":4}"));
    /* A long name is cut between two characters. */
    char name[91] = "";
    for (size_t i = 0; i < sizeof name - 1; i += 3) {
        memcpy(name + i, "\xe2\x82\xac", 4);
    }
    char text[256];
    (void)snprintf(text, sizeof text, "{\"%s\":1,\"%s\":2}", name, name);
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    assert_int_equal(read_exact(UVM__JSON_STRICT, text, strlen(text), &tree, &f), -UVM_E_PROTOCOL);
    assert_non_null(strstr(f.msg, "\xe2\x82\xac\" comes twice"));
}

static void duplicates_are_found_among_many(void **unused) {
    (void)unused;
    enum { MANY = 20000 };
    size_t cap = MANY * 16 + 64;
    char *text = malloc(cap);
    assert_non_null(text);
    size_t n = 0;
    text[n++] = '{';
    for (size_t i = 0; i < MANY; i++) {
        n += (size_t)snprintf(text + n, cap - n, "\"k%zu\":0,", (i * 7919) % MANY);
    }
    size_t at = n;
    n += (size_t)snprintf(text + n, cap - n, "\"last\":0}");
    cJSON *tree = NULL;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, n, &tree, &f), 0);
    cJSON_Delete(tree);
    n = at + (size_t)snprintf(text + at, cap - at, "\"k777\":0}");
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, n, &tree, &f), -UVM_E_PROTOCOL);
    char want[64];
    (void)snprintf(want, sizeof want, "byte %zu: the name \"k777\" comes twice", at);
    assert_string_equal(f.msg, want);
    free(text);
}

static void every_beginning_of_an_object_is_incomplete(void **unused) {
    (void)unused;
    static const char text[] = "{\"a\":[1,-2.5e+3,\"\\ud83d\\ude00\xc3\xa9\",true,false,null],"
                               "\"b\":{\"c\":{}},\"d\":[[]]}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        cJSON *tree = NULL;
        assert_int_equal(read_exact(UVM__JSON_STRICT, text, n, &tree, NULL), -UVM_E_PROTOCOL);
        assert_int_equal(read_exact(UVM__JSON_GO, text, n, &tree, NULL), -UVM_E_PROTOCOL);
    }
    cJSON_Delete(read_ok(UVM__JSON_STRICT, text));
}

/* ---- members and values ------------------------------------------------------------------- */

static void members_by_the_rule_of_the_mode(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *key, *strict, *go; /* literals; NULL: absent */
    } rows[] = {
        {"{\"Id\":1}", "Id", "1", "1"},
        {"{\"id\":1}", "Id", NULL, "1"},
        {"{\"ID\":1,\"Id\":2}", "Id", "2", "2"},
        {"{\"Id\":1,\"iD\":2}", "Id", "1", "2"},
        {"{\"Id\":1,\"id\":null}", "Id", "1", "1"},
        {"{\"id\":1,\"Idx\":2,\"I\":3,\"\":4}", "Id", NULL, "1"},
        {"{\"ta\xc5\xbf\xe2\x84\xaa\":1}", "task", NULL, "1"},
        {"{\"TA\xc5\xbf\xe2\x84\xaa\":1}", "Task", NULL, "1"},
        {"{\"ta\xc5\xbf\":1}", "tas", NULL, "1"},
        {"{\"ta\xc5\":1}", "tas", NULL, NULL},
        {"{\"\xe2\x84\xab\":1}", "k", NULL, NULL},
        {"{\"\xc3\xa9\":1}", "e", NULL, NULL},
        {"{\"a[\":1}", "A{", NULL, NULL},
        {"{}", "Id", NULL, NULL},
        {"[1]", "Id", NULL, NULL},
        {"\"Id\"", "Id", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        cJSON *tree = read_ok(UVM__JSON_GO, rows[i].text);
        for (int mode = UVM__JSON_STRICT; mode <= UVM__JSON_GO; mode++) {
            const char *want = mode == UVM__JSON_STRICT ? rows[i].strict : rows[i].go;
            const cJSON *m = uvm__json_get((enum uvm__json_mode)mode, tree, rows[i].key);
            if (want == NULL) {
                assert_null(m);
            } else {
                assert_string_equal(uvm__json_number(m), want);
            }
        }
        cJSON_Delete(tree);
    }
    assert_null(uvm__json_get(UVM__JSON_GO, NULL, "Id"));
    cJSON *tree = read_ok(UVM__JSON_GO, "{\"a\":null,\"A\":null}");
    const cJSON *m = uvm__json_get(UVM__JSON_GO, tree, "a");
    assert_ptr_equal(m, tree->child);
    assert_true(uvm__json_absent(m));
    assert_true(uvm__json_absent(uvm__json_get(UVM__JSON_GO, tree, "b")));
    assert_false(uvm__json_absent(tree));
    cJSON_Delete(tree);
}

static void integers_are_plain_and_in_range(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        int64_t min, max;
        int rc;
        int64_t value;
    } rows[] = {
        {"0", 0, 10, 0, 0},
        {"-0", 0, 10, 0, 0},
        {"10", 0, 10, 0, 10},
        {"11", 0, 10, -UVM_E_PROTOCOL, 0},
        {"-1", 0, 10, -UVM_E_PROTOCOL, 0},
        {"-2147023728", INT32_MIN, INT32_MAX, 0, -2147023728},
        {"2147943568", INT32_MIN, INT32_MAX, -UVM_E_PROTOCOL, 0},
        {"9223372036854775807", INT64_MIN, INT64_MAX, 0, INT64_MAX},
        {"9223372036854775808", INT64_MIN, INT64_MAX, -UVM_E_PROTOCOL, 0},
        {"-9223372036854775808", INT64_MIN, INT64_MAX, 0, INT64_MIN},
        {"-9223372036854775809", INT64_MIN, INT64_MAX, -UVM_E_PROTOCOL, 0},
        {"99999999999999999999999999", INT64_MIN, INT64_MAX, -UVM_E_PROTOCOL, 0},
        {"3.0", 0, 10, -UVM_E_PROTOCOL, 0},
        {"1e1", 0, 10, -UVM_E_PROTOCOL, 0},
        {"null", 0, 10, -UVM_E_PROTOCOL, 0},
        {"\"1\"", 0, 10, -UVM_E_PROTOCOL, 0},
        {"true", 0, 10, -UVM_E_PROTOCOL, 0},
        {"[1]", 0, 10, -UVM_E_PROTOCOL, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        cJSON *tree = read_ok(UVM__JSON_STRICT, rows[i].text);
        int64_t value = 77;
        assert_int_equal(uvm__json_i64(tree, rows[i].min, rows[i].max, &value), rows[i].rc);
        assert_int_equal(value, rows[i].rc == 0 ? rows[i].value : 77);
        cJSON_Delete(tree);
    }
    static const struct {
        const char *text;
        uint64_t max;
        int rc;
        uint64_t value;
    } unsigned_rows[] = {
        {"18446744073709551615", UINT64_MAX, 0, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, -UVM_E_PROTOCOL, 0},
        {"184467440737095516150", UINT64_MAX, -UVM_E_PROTOCOL, 0},
        {"0", 0, 0, 0},
        {"1", 0, -UVM_E_PROTOCOL, 0},
        {"255", 255, 0, 255},
        {"256", 255, -UVM_E_PROTOCOL, 0},
        {"-1", UINT64_MAX, -UVM_E_PROTOCOL, 0},
        {"-0", UINT64_MAX, -UVM_E_PROTOCOL, 0},
        {"1.5", UINT64_MAX, -UVM_E_PROTOCOL, 0},
    };
    for (size_t i = 0; i < COUNT(unsigned_rows); i++) {
        cJSON *tree = read_ok(UVM__JSON_STRICT, unsigned_rows[i].text);
        uint64_t value = 77;
        assert_int_equal(uvm__json_u64(tree, unsigned_rows[i].max, &value), unsigned_rows[i].rc);
        assert_true(value == (unsigned_rows[i].rc == 0 ? unsigned_rows[i].value : 77));
        cJSON_Delete(tree);
    }
    int64_t i64 = 0;
    uint64_t u64 = 0;
    assert_int_equal(uvm__json_i64(NULL, 0, 1, &i64), -UVM_E_PROTOCOL);
    assert_int_equal(uvm__json_u64(NULL, 1, &u64), -UVM_E_PROTOCOL);
}

/* What was put into a tree as raw text is a number only when it is one. */
static void raw_text_and_doubles_are_no_numbers(void **unused) {
    (void)unused;
    static const char *const raws[] = {"", "-", "{}", "--1", "+1", "x1", " 1"};
    for (size_t i = 0; i < COUNT(raws); i++) {
        cJSON *raw = cJSON_CreateRaw(raws[i]);
        int64_t value = 0;
        assert_false(uvm__json_is_number(raw));
        assert_null(uvm__json_number(raw));
        assert_int_equal(uvm__json_i64(raw, 0, 1, &value), -UVM_E_PROTOCOL);
        assert_string_equal(uvm__json_kind(raw), "unknown");
        cJSON_Delete(raw);
    }
    static const char *const crooked[] = {"01", "-01", "1x", "1 ", "-1-"};
    for (size_t i = 0; i < COUNT(crooked); i++) {
        cJSON *raw = cJSON_CreateRaw(crooked[i]);
        int64_t value = 0;
        assert_int_equal(uvm__json_i64(raw, INT64_MIN, INT64_MAX, &value), -UVM_E_PROTOCOL);
        cJSON_Delete(raw);
    }
    cJSON *number = cJSON_CreateNumber(1);
    assert_false(uvm__json_is_number(number));
    cJSON_Delete(number);
}

static void kinds_booleans_strings(void **unused) {
    (void)unused;
    cJSON *tree = read_ok(UVM__JSON_STRICT, "[{},[],\"s\",1,true,false,null]");
    static const char *const kinds[] = {"object", "array", "string", "number",
                                        "bool",   "bool",  "null"};
    for (int i = 0; i < (int)COUNT(kinds); i++) {
        const cJSON *node = cJSON_GetArrayItem(tree, i);
        bool value = i != 4;
        assert_string_equal(uvm__json_kind(node), kinds[i]);
        assert_int_equal(uvm__json_bool(node, &value), i == 4 || i == 5 ? 0 : -UVM_E_PROTOCOL);
        assert_int_equal(value, i != 5);
        if (i == 2) {
            assert_string_equal(uvm__json_string(node), "s");
        } else {
            assert_null(uvm__json_string(node));
        }
        assert_int_equal(uvm__json_is_number(node), i == 3);
        assert_int_equal(uvm__json_number(node) != NULL, i == 3);
    }
    bool value = true;
    assert_int_equal(uvm__json_bool(NULL, &value), -UVM_E_PROTOCOL);
    assert_null(uvm__json_string(NULL));
    assert_false(uvm__json_is_number(NULL));
    assert_string_equal(uvm__json_kind(NULL), "nothing");
    cJSON_Delete(tree);
}

static void numbers_are_written_with_all_their_digits(void **unused) {
    (void)unused;
    cJSON *object = cJSON_CreateObject();
    assert_non_null(uvm__json_add_i64(object, "min", INT64_MIN));
    assert_non_null(uvm__json_add_u64(object, "max", UINT64_MAX));
    int64_t value = 0;
    assert_int_equal(
        uvm__json_i64(uvm__json_get(UVM__JSON_STRICT, object, "min"), INT64_MIN, 0, &value), 0);
    assert_true(value == INT64_MIN);
    char *text = uvm__json_print(engine, object, NULL);
    assert_string_equal(text, "{\"min\":-9223372036854775808,\"max\":18446744073709551615}");
    uvm__free(engine, text);
    cJSON_Delete(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_print_back_as_they_were),
        cmocka_unit_test(go_mode_replaces_what_is_not_utf8),
        cmocka_unit_test(syntax_errors_in_the_words_of_either_mode),
        cmocka_unit_test(a_nul_is_refused_however_it_comes),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(values_are_bounded_by_the_text_and_in_all),
        cmocka_unit_test(a_list_of_short_words_is_read_however_long),
        cmocka_unit_test(strict_mode_refuses_duplicates),
        cmocka_unit_test(duplicates_are_found_among_many),
        cmocka_unit_test(every_beginning_of_an_object_is_incomplete),
        cmocka_unit_test(members_by_the_rule_of_the_mode),
        cmocka_unit_test(integers_are_plain_and_in_range),
        cmocka_unit_test(raw_text_and_doubles_are_no_numbers),
        cmocka_unit_test(kinds_booleans_strings),
        cmocka_unit_test(numbers_are_written_with_all_their_digits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
