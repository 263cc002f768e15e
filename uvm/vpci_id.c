/* SPDX-License-Identifier: MIT
 * vpci_id.c — a device by its id in a container's document, taken apart.
 * Source: hcsshim's internal/hcsoci/devices.go, internal/devices/assigned_devices.go.
 */
#include "uvm/vpci_id.h"
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

static const struct {
    const char *name;
    bool assigned, gpu;
} types[] = {
    {"gpu", true, true},
    {"vpci", true, false},
    {"vpci-instance-id", true, false},
    {"class", false, false},
    {"vpci-class-guid", false, false},
    {"vpci-location-path", false, false},
};

int uvm__vpci_id_read(const char *type, const char *id, struct uvm__vpci_id *ret,
                      struct uvm__fail *f) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, type) != 0) {
            continue;
        }
        if (!types[i].assigned) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                             "device type \"%s\": only for containers without a utility VM", type);
        }
        if (id[0] == 0) {
            return uvm__fail(f, UVM_E_INVAL, 0, "device type \"%s\": no id", type);
        }
        ret->gpu = types[i].gpu;
        ret->device_bytes = uvm_vpci_id_split(id, &ret->virtual_function);
        return 0;
    }
    return uvm__fail(f, UVM_E_INVAL, 0,
                     "device type \"%.60s\": neither gpu nor vpci nor vpci-instance-id", type);
}
