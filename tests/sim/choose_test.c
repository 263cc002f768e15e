/* SPDX-License-Identifier: MIT
 * choose_test.c — every combination once, also where a choice depends on an earlier one.
 */
#include "tests/sim/choose.h"
#include "tests/unit/cm.h"
#include <stdio.h>
#include <string.h>

static void a_rectangle(void **unused) {
    (void)unused;
    bool seen[3][4] = {{false}};
    struct choose c;
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t a = choose(&c, 3), b = choose(&c, 4);
        assert_false(seen[a][b]);
        seen[a][b] = true;
    }
    assert_int_equal(c.runs, 12);
    for (unsigned i = 0; i < 12; i++) {
        assert_true(seen[i / 4][i % 4]);
    }
}

/* The paths of a tree whose branches have different lengths. */
static void a_tree(void **unused) {
    (void)unused;
    char all[80] = "";
    char text[32];
    struct choose c;
    for (choose_begin(&c); choose_next(&c);) {
        uint32_t a = choose(&c, 3);
        for (uint32_t i = 0; i < a; i++) {
            if (choose(&c, 2) == 1) {
                break;
            }
        }
        size_t len = strlen(all);
        (void)snprintf(all + len, sizeof all - len, "%s;", choose_text(&c, text, sizeof text));
    }
    assert_string_equal(all, "0/3;1/3 0/2;1/3 1/2;2/3 0/2 0/2;2/3 0/2 1/2;2/3 1/2;");
    assert_int_equal(c.runs, 6);
}

static void no_choice_is_one_run(void **unused) {
    (void)unused;
    struct choose c;
    choose_begin(&c);
    assert_true(choose_next(&c));
    assert_false(choose_next(&c));
    assert_int_equal(c.runs, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rectangle),
        cmocka_unit_test(a_tree),
        cmocka_unit_test(no_choice_is_one_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
