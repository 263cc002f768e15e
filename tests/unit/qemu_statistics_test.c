/* SPDX-License-Identifier: MIT
 * qemu_statistics_test.c — what the kernel and QEMU say of a VMM, read: a process's times behind any name, and the
 * counters of one disk among those of others.
 */
#include "async/json.h"
#include "hcs/qemu/statistics.h"
#include "tests/unit/cm.h"

#include <string.h>

static void times_of_a_process(void **state) {
    static const struct {
        const char *text;
        bool ok;
        uint64_t user, kernel;
    } rows[] = {
        {"7 (qemu) S 1 7 7 0 -1 4194560 100 0 0 0 462 41 0 0 20 0 3 0 99 1 2", true, 462, 41},
        {"7 (a) b (c d) R 1 7 7 0 -1 4194560 100 0 0 0 5 18446744073709551615 0", true, 5,
         UINT64_MAX},
        {"7 (qemu) S 1 7 7 0 -1 4194560 100 0 0 0 462", false, 0, 0},
        {"7 (qemu) S 1 7 7 0 -1 4194560 100 0 0 0 x y", false, 0, 0},
        {"7 (qemu", false, 0, 0},
        {"", false, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t user = 0, kernel = 0;
        assert_int_equal(uvm__qemu_read_times(rows[i].text, &user, &kernel), rows[i].ok);
        assert_int_equal(user, rows[i].user);
        assert_int_equal(kernel, rows[i].kernel);
    }
}

static void counters_of_a_disk(void **state) {
    static const char text[] =
        "[{\"device\":\"\",\"stats\":{\"rd_bytes\":1}},"
        "{\"qdev\":\"disk-11\",\"stats\":{\"rd_bytes\":2}},"
        "{\"qdev\":\"/machine/peripheral/disk-1\",\"stats\":{\"rd_bytes\":3}},"
        "{\"qdev\":7,\"stats\":{\"rd_bytes\":4}},"
        "{\"qdev\":\"disk-2\"}]";
    cJSON *blocks = NULL;
    struct uvm__fail f;
    uint64_t n = 0;
    (void)state;
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, sizeof text - 1, &blocks, &f), 0);
    const cJSON *stats = uvm__qemu_blockstats(blocks, "disk-1");
    assert_non_null(stats);
    assert_int_equal(
        uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, stats, "rd_bytes"), UINT64_MAX, &n), 0);
    assert_int_equal(n, 3);
    assert_null(uvm__qemu_blockstats(blocks, "disk-2")); /* it says nothing */
    assert_null(uvm__qemu_blockstats(blocks, "disk-3"));
    assert_null(uvm__qemu_blockstats(blocks, ""));
    assert_null(uvm__qemu_blockstats(NULL, "disk-1"));
    cJSON_Delete(blocks);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(times_of_a_process),
                                       cmocka_unit_test(counters_of_a_disk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
