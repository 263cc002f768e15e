/* SPDX-License-Identifier: MIT
 * vpci_id_test.c — ids of assigned devices taken apart: paths of both kinds of host, with a function and without.
 */
#include "tests/unit/cm.h"
#include "uvm/vpci_id.h"
#include <string.h>

static const struct {
    const char *id, *device;
    uint32_t function;
} rows[] = {
    {"0000:3b:00.0", "0000:3b:00.0", 0},
    {"0000:3b:00.0/0", "0000:3b:00.0", 0},
    {"0000:3b:00.0/12", "0000:3b:00.0", 12},
    {"0000:3b:00.0//7", "0000:3b:00.0", 7},
    {"emulated:edu/1", "emulated:edu", 1},
    {"PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008", "PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008", 0},
    {"PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008\\3", "PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008", 3},
    {"PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008/3", "PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008", 3},
    {"x/65535", "x", 65535},
    {"x/0065535", "x", 65535},
    {"x/65536", "x/65536", 0},
    {"x/4294967297", "x/4294967297", 0},
    {"x/99999999999999999999999", "x/99999999999999999999999", 0},
    {"x/+1", "x/+1", 0},
    {"x/-1", "x/-1", 0},
    {"x/1a", "x/1a", 0},
    {"x/ 1", "x/ 1", 0},
    {"x/", "x/", 0},
    {"x/2/", "x/2/", 0},
    {"1/2/3", "1/2", 3},
    {"/2", "/2", 0}, /* nothing is left that would be the device */
    {"2", "2", 0},
    {"", "", 0},
};

static void taken_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t function = 77;
        size_t bytes = uvm_vpci_id_split(rows[i].id, &function);
        if (bytes != strlen(rows[i].device) || strncmp(rows[i].id, rows[i].device, bytes) != 0 ||
            function != rows[i].function) {
            fail_msg("%s: %.*s and %u", rows[i].id, (int)bytes, rows[i].id, function);
        }
    }
}

static void by_their_type(void **state) {
    (void)state;
    static const struct {
        const char *type, *id;
        int code;
        size_t device_bytes;
        uint32_t function;
        bool gpu;
        const char *words;
    } types[] = {
        {"gpu", "PCIP\\VEN_10DE/1", 0, 13, 1, true, ""},
        {"vpci", "0000:3b:00.0", 0, 12, 0, false, ""},
        {"vpci-instance-id", "0000:3b:00.0/2", 0, 12, 2, false, ""},
        {"vpci-instance-id", "", UVM_E_INVAL, 0, 0, false, "no id"},
        {"class", "x", UVM_E_UNSUPPORTED, 0, 0, false, "without a utility VM"},
        {"vpci-class-guid", "x", UVM_E_UNSUPPORTED, 0, 0, false, "without a utility VM"},
        {"vpci-location-path", "x", UVM_E_UNSUPPORTED, 0, 0, false, "without a utility VM"},
        {"VPCI", "x", UVM_E_INVAL, 0, 0, false, "neither gpu nor vpci nor vpci-instance-id"},
        {"", "x", UVM_E_INVAL, 0, 0, false, "neither gpu"},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct uvm__vpci_id id = {.device_bytes = 0};
        struct uvm__fail f = {.msg = ""};
        assert_int_equal(uvm__vpci_id_read(types[i].type, types[i].id, &id, &f), -types[i].code);
        assert_int_equal(id.device_bytes, types[i].device_bytes);
        assert_int_equal(id.virtual_function, types[i].function);
        assert_int_equal(id.gpu, types[i].gpu);
        assert_non_null(strstr(f.msg, types[i].words));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(taken_apart),
                                       cmocka_unit_test(by_their_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
