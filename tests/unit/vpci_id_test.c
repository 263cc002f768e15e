/* SPDX-License-Identifier: MIT
 * vpci_id_test.c — ids of assigned devices taken apart: paths of both kinds of host, with a function and without.
 */
#include "tests/unit/cm.h"
#include "uvm/devices.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(taken_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
