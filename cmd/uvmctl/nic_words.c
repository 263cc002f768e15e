/* SPDX-License-Identifier: MIT
 * nic_words.c — see nic_words.h.
 */
#include "cmd/uvmctl/nic_words.h"
#include "cmd/uvmctl/out.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMESPACES "/run/netns/"

static const char *const types[] = {
    [UVM_NIC_USER] = "user",
    [UVM_NIC_TAP] = "tap",
    [UVM_NIC_NETNS] = "netns",
    [UVM_NIC_STREAM] = "stream",
};
#define TYPES (sizeof types / sizeof types[0])

static unsigned type_of(const char *word, size_t bytes) {
    unsigned t = 0;
    while (t < TYPES && (strlen(types[t]) != bytes || strncmp(types[t], word, bytes) != 0)) {
        t++;
    }
    return t;
}

bool nic_words_read(struct nic_words *ret, const char *who, const char *word) {
    const char *value = strchr(word, '=');
    unsigned type = type_of(word, value == NULL ? strlen(word) : (size_t)(value - word));
    value = value == NULL ? NULL : value + 1;
    if (type == TYPES || (type == UVM_NIC_USER) != (value == NULL) ||
        (value != NULL && value[0] == 0)) {
        out_usage("%s: \"%s\" is none of user, tap=NAME, netns=PATH[,INTERFACE], stream=PATH", who,
                  word);
        return false;
    }
    struct nic_words w = {.type = (enum uvm_nic_type)type, .name = types[type]};
    if (value != NULL) {
        bool bare = type == UVM_NIC_NETNS && strchr(value, '/') == NULL;
        size_t bytes = sizeof NAMESPACES + strlen(value);
        w.text = malloc(bytes);
        if (w.text == NULL) {
            out_usage("%s: out of memory", who);
            return false;
        }
        (void)snprintf(w.text, bytes, "%s%s", bare ? NAMESPACES : "", value);
        w.target = w.text;
        char *comma = type == UVM_NIC_NETNS ? strchr(w.text, ',') : NULL;
        if (comma != NULL) {
            *comma = 0;
            w.interface = comma + 1;
        }
    }
    *ret = w;
    return true;
}
