/* SPDX-License-Identifier: MIT
 * device.c — classes by table, locations by their grammar.
 *
 * A location becomes part of a path in the guest, so what is not exactly hexadecimal digits in their places
 * is none: DDDD:BB:SS.F, then any number of /SS.F.
 */
#include "vmbus/device.h"

#include <string.h>

#include "async/check.h"

static const struct {
    const char *guid, *text;
} classes[UVM__VMBUS_CLASS_MAX] = {
#define UVM__X(name, guid, text) [UVM__VMBUS_##name] = {guid, text},
    UVM__VMBUS_CLASS_MAP(UVM__X)
#undef UVM__X
};

const char *uvm__vmbus_class_guid(enum uvm__vmbus_class kind) {
    UVM_ASSERT_CMP(kind, <, UVM__VMBUS_CLASS_MAX);
    return classes[kind].guid;
}

const char *uvm__vmbus_class_text(enum uvm__vmbus_class kind) {
    return kind < UVM__VMBUS_CLASS_MAX ? classes[kind].text : "device";
}

enum uvm__vmbus_class uvm__vmbus_class_of(const struct uvm__guid *guid) {
    char text[UVM_GUID_TEXT];
    unsigned kind = 0;

    uvm__guid_text(guid, text);
    while (kind < UVM__VMBUS_CLASS_MAX && strcmp(classes[kind].guid, text) != 0) {
        kind++;
    }
    return (enum uvm__vmbus_class)kind;
}

/* Whether `text` begins with `shape`, in which x stands for a hexadecimal digit as the kernel prints it. */
static bool shaped(const char *text, const char *shape) {
    for (; *shape != '\0'; text++, shape++) {
        bool fits = *shape == 'x' ? *text != '\0' && strchr("0123456789abcdef", *text) != NULL
                                  : *text == *shape;
        if (!fits) {
            return false;
        }
    }
    return true;
}

bool uvm__vmbus_location_valid(const char *text) {
    static const char first[] = "xxxx:xx:xx.x", next[] = "/xx.x";

    if (strlen(text) >= UVM__VMBUS_LOCATION_BYTES || !shaped(text, first)) {
        return false;
    }
    text += sizeof first - 1;
    while (shaped(text, next)) {
        text += sizeof next - 1;
    }
    return *text == '\0';
}
