/* SPDX-License-Identifier: MIT
 * json_memory_test.c — reading and writing JSON while memory runs out, at each place where it can.
 *
 * cJSON's allocator is process-wide: each test that replaces it puts it back.
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

static struct {
    long fail_at; /* counts down; 0: this one fails */
    bool for_good;
    long alive;
    size_t bytes, bytes_max; /* as an allocator with blocks of 16 and a head of 8 hands them out */
} heap;

#define HEAD 16u /* before each block, with its size: what it takes from the allocator */

static void *heap_malloc(size_t bytes) {
    if (heap.fail_at == 0 || (heap.fail_at < 0 && heap.for_good)) {
        heap.fail_at = -1;
        return NULL;
    }
    heap.fail_at -= heap.fail_at > 0;
    char *block = malloc(HEAD + bytes);
    if (block == NULL) {
        return NULL;
    }
    size_t takes = bytes <= 24 ? 32 : (bytes + 8 + 15) / 16 * 16;
    memcpy(block, &takes, sizeof takes);
    heap.alive++;
    heap.bytes += takes;
    heap.bytes_max = heap.bytes > heap.bytes_max ? heap.bytes : heap.bytes_max;
    return block + HEAD;
}
static void heap_free(void *ptr) {
    size_t takes = 0;
    if (ptr == NULL) {
        return;
    }
    memcpy(&takes, (char *)ptr - HEAD, sizeof takes);
    heap.alive--;
    heap.bytes -= takes;
    free((char *)ptr - HEAD);
}
static void heap_begin(long fail_at, bool for_good) {
    cJSON_Hooks hooks = {heap_malloc, heap_free};
    heap.fail_at = fail_at;
    heap.for_good = for_good;
    heap.alive = 0;
    heap.bytes = heap.bytes_max = 0;
    cJSON_InitHooks(&hooks);
}

static int heap_teardown(void **unused) {
    (void)unused;
    cJSON_InitHooks(NULL);
    return 0;
}

/* More than 32 names, so that the array of names grows while some are in it. */
static char *many_names(void) {
    size_t cap = 2048;
    size_t n = 0;
    char *text = malloc(cap);
    assert_non_null(text);
    n += (size_t)snprintf(text, cap, "{\"s\":\"\\u20ac\",\"a\":[true,false,null,-1.5e3,[{}]]");
    for (int i = 0; i < 40; i++) {
        n += (size_t)snprintf(text + n, cap - n, ",\"k%d\":{\"v\":%d}", i, i);
    }
    (void)snprintf(text + n, cap - n, "}");
    return text;
}

static void every_allocation_of_the_reader_may_fail(void **unused) {
    (void)unused;
    char *text = many_names();
    for (int run = 0; run < 4; run++) {
        enum uvm__json_mode mode = run & 1 ? UVM__JSON_GO : UVM__JSON_STRICT;
        long failures = 0;
        int rc = -UVM_E_NOMEM;
        for (long at = 0; rc != 0; at++) {
            cJSON *tree = NULL;
            struct uvm__fail f = {0};
            heap_begin(at, run >= 2);
            rc = uvm__json_read(mode, text, strlen(text), &tree, &f);
            if (rc != 0) {
                assert_int_equal(rc, -UVM_E_NOMEM);
                assert_non_null(strstr(f.msg, "out of memory after "));
                assert_null(tree);
                failures++;
            }
            cJSON_Delete(tree);
            assert_int_equal(heap.alive, 0);
        }
        assert_true(failures > 200);
    }
    free(text);
}

/* A text of so many values in so few bytes, filled up with blanks to what that many values need:
 * a list of numbers, of lists, an object whose names differ. */
static char *densest(int kind, size_t values, size_t bytes) {
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, ' ', bytes);
    size_t n = 0;
    for (size_t v = 1; v < values; v++) { /* the container is the first value */
        static const char digit[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz-+";
        const char name[] = {'"', digit[v >> 12 & 63], digit[v >> 6 & 63], digit[v & 63], '"', ':'};
        text[n++] = v > 1 ? ',' : kind == 2 ? '{' : '[';
        if (kind == 2) {
            memcpy(text + n, name, sizeof name);
            n += sizeof name;
        }
        text[n++] = kind == 1 ? '[' : '0';
        if (kind == 1) {
            text[n++] = ']';
        }
    }
    text[n++] = kind == 2 ? '}' : ']';
    assert_true(n <= bytes);
    return text;
}

static void a_tree_takes_no_more_than_is_promised(void **unused) {
    (void)unused;
    for (int kind = 0; kind < 3; kind++) {
        for (size_t values = UVM__JSON_NODES_MIN; values <= UVM__JSON_NODES_MAX; values *= 2) {
            cJSON *tree = NULL;
            size_t bytes = values * 8 + 1; /* what a member takes */
            char *text = densest(kind, values, bytes);
            heap_begin(-1, false);
            assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, bytes, &tree, NULL), 0);
            assert_true(heap.bytes_max <= bytes + 200 * values);
            assert_true(heap.bytes_max >= 64 * values);
            cJSON_Delete(tree);
            assert_int_equal(heap.bytes, 0);
            free(text);
        }
    }
}

static void refused_text_leaves_nothing_behind(void **unused) {
    (void)unused;
    static const char *const texts[] = {
        "{\"a\":[1,{\"b\":\"c\",\"d\":x",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{\"a\" 1",
        "[1,[2,[3]] x",
        "{\"a\":tru",
        "{\"a\":\"\\ud800\"}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        cJSON *tree = NULL;
        heap_begin(-1, false);
        assert_int_equal(uvm__json_read(UVM__JSON_STRICT, texts[i], strlen(texts[i]), &tree, NULL),
                         -UVM_E_PROTOCOL);
        assert_int_equal(heap.alive, 0);
    }
}

static void writing_survives_lack_of_memory(void **unused) {
    (void)unused;
    cJSON *object = NULL;
    int whole = 0;
    for (long at = 0; whole == 0; at++) {
        heap_begin(at, false);
        object = cJSON_CreateObject();
        if (object != NULL) {
            bool i = uvm__json_add_i64(object, "a", -1) != NULL;
            bool u = uvm__json_add_u64(object, "b", 1) != NULL;
            char *text = uvm__json_print(engine, object, NULL);
            if (i && u && text != NULL) {
                assert_string_equal(text, "{\"a\":-1,\"b\":1}");
                whole++;
            }
            uvm__free(engine, text);
        }
        cJSON_Delete(object);
        assert_int_equal(heap.alive, 0);
    }
}

static void *no_malloc(size_t bytes, void *arg) {
    return *(bool *)arg ? NULL : malloc(bytes);
}
static void *no_realloc(void *ptr, size_t bytes, void *arg) {
    return *(bool *)arg ? NULL : realloc(ptr, bytes);
}
static void plain_free(void *ptr, void *arg) {
    (void)arg;
    free(ptr);
}

static void printing_survives_the_engines_lack_of_memory(void **unused) {
    (void)unused;
    bool empty = false;
    struct uvm_allocator allocator = {no_malloc, no_realloc, plain_free, &empty};
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    params.allocator = &allocator;
    uvm_engine *poor = NULL;
    assert_int_equal(uvm__engine_new_virtual(&params, 3, &poor), 0);
    cJSON *tree = NULL;
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, "{\"a\":1}", 7, &tree, NULL), 0);
    size_t bytes = 77;
    empty = true;
    assert_null(uvm__json_print(poor, tree, &bytes));
    assert_int_equal(bytes, 77);
    empty = false;
    cJSON_Delete(tree);
    uvm__engine_free_virtual(poor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_allocation_of_the_reader_may_fail, heap_teardown),
        cmocka_unit_test_teardown(a_tree_takes_no_more_than_is_promised, heap_teardown),
        cmocka_unit_test_teardown(refused_text_leaves_nothing_behind, heap_teardown),
        cmocka_unit_test_teardown(writing_survives_lack_of_memory, heap_teardown),
        cmocka_unit_test(printing_survives_the_engines_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
