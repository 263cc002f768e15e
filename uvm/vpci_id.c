/* SPDX-License-Identifier: MIT
 * vpci_id.c — a device by its id in a container's document, taken apart.
 * Source: hcsshim's internal/hcsoci/devices.go, internal/devices/assigned_devices.go.
 */
#include "uvm/devices.h"
#include <string.h>

#define FUNCTION_MAX 65535u

/* Decimal digits and nothing else; false: no such number. */
static bool read_function(const char *at, uint32_t *ret) {
    uint32_t value = 0;
    const char *begin = at;
    for (; *at >= '0' && *at <= '9' && value <= FUNCTION_MAX; at++) {
        value = value * 10 + (uint32_t)(*at - '0');
    }
    *ret = value;
    return at > begin && *at == 0 && value <= FUNCTION_MAX;
}

size_t uvm_vpci_id_split(const char *id, uint32_t *ret_virtual_function) {
    size_t bytes = strlen(id), at = bytes;
    while (at > 0 && id[at - 1] != '/' && id[at - 1] != '\\') {
        at--;
    }
    /* What is left of the separators before it is the device; something must be. */
    size_t device = at;
    while (device > 0 && (id[device - 1] == '/' || id[device - 1] == '\\')) {
        device--;
    }
    uint32_t function;
    bool split = device > 0 && read_function(id + at, &function);
    *ret_virtual_function = split ? function : 0;
    return split ? device : bytes;
}
