/* SPDX-License-Identifier: MIT
 * qemu_capabilities_test.c — what is read out of QEMU's list of types.
 */
#include "async/json.h"
#include "hcs/qemu/capabilities.h"
#include "tests/unit/cm.h"
#include <string.h>

static size_t read_text(const char *text, struct uvm_qemu_capability *rows) {
    struct uvm__fail f;
    cJSON *tree = NULL;
    if (text != NULL) {
        assert_int_equal(uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f), 0);
    }
    size_t count = uvm__qemu_capabilities_read(tree, rows);
    cJSON_Delete(tree);
    return count;
}

static bool has(const struct uvm_qemu_capability *rows, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].present;
        }
    }
    fail_msg("no row %s", name);
    return false;
}

static void test_some(void **state) {
    struct uvm_qemu_capability rows[UVM__QEMU_CAPABILITIES_MAX];
    (void)state;
    size_t n = read_text("[{\"name\":\"nvdimm\",\"parent\":\"pc-dimm\"},"
                         "{\"name\":\"pc-q35-7.2-machine\"},{\"name\":\"virtio-scsi-pci-base\"},"
                         "{\"name\":\"vhost-user-vsock-pci\"}]",
                         rows);
    assert_true(has(rows, n, "nvdimm"));
    assert_true(has(rows, n, "machine q35"));
    assert_true(has(rows, n, "vhost-user-vsock"));
    assert_false(has(rows, n, "virtio-scsi")); /* a name that only begins like it */
    assert_false(has(rows, n, "PCI hot-plug"));
    for (size_t i = 0; i < n; i++) {
        assert_true(strlen(rows[i].name) > 0 && strlen(rows[i].use) > 0);
    }
}

static void test_other_shapes(void **state) {
    static const char *const texts[] = {
        NULL, "{}", "[]", "7", "[7,null,\"nvdimm\",[\"nvdimm\"],{\"nvdimm\":1},{\"name\":7}]"};
    struct uvm_qemu_capability rows[UVM__QEMU_CAPABILITIES_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t n = read_text(texts[i], rows);
        assert_true(n > 0 && n <= UVM__QEMU_CAPABILITIES_MAX);
        for (size_t k = 0; k < n; k++) {
            assert_false(rows[k].present);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_other_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
