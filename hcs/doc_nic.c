/* SPDX-License-Identifier: MIT
 * doc_nic.c — the rules of one network adapter of a document or a request.
 *
 * What an adapter is joined to on Linux has four types, and each its own fields: one that another type has is
 * refused, not ignored. Names and paths go to a kernel that takes them by length, so they are measured here.
 */
#include "hcs/doc_int.h"

#include <string.h>

enum { NO, MAY, MUST };

static const struct type {
    const char *name;
    int name_field, path_field, interface_field;
} types[] = {
    {"User", NO, NO, NO},
    {"Tap", MUST, NO, NO},
    {"NetworkNamespace", NO, MUST, MAY},
    {"Stream", NO, MUST, NO},
};

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int uvm__doc_read_mac(const char *text, uint8_t ret[UVM__DOC_MAC_BYTES]) {
    bool zero = true;

    if (strlen(text) != 3 * UVM__DOC_MAC_BYTES - 1) {
        return -UVM_E_INVAL;
    }
    for (unsigned i = 0; i < UVM__DOC_MAC_BYTES; i++) {
        const char *at = text + 3 * (size_t)i;
        if (hex(at[0]) < 0 || hex(at[1]) < 0 ||
            (i + 1 < UVM__DOC_MAC_BYTES && at[2] != ':' && at[2] != '-')) {
            return -UVM_E_INVAL;
        }
        ret[i] = (uint8_t)(hex(at[0]) << 4 | hex(at[1]));
        zero = zero && ret[i] == 0;
    }
    return zero || (ret[0] & 1) != 0 ? -UVM_E_INVAL : 0;
}

static int check_mac(const char *text, const struct uvm__doc_path *path, struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "MacAddress"};
    uint8_t mac[UVM__DOC_MAC_BYTES];

    return text == NULL || uvm__doc_read_mac(text, mac) == 0
               ? 0
               : uvm__doc_fail(f, &here, UVM_E_INVAL,
                               "is no address of one adapter (such as 02:00:00:12:34:56)");
}

static int check_field(int wanted, const char *type, const char *value, size_t bytes_max,
                       const struct uvm__doc_path *here, struct uvm__fail *f) {
    if (value == NULL) {
        return wanted == MUST
                   ? uvm__doc_fail(f, here, UVM_E_INVAL, "missing; Type %s needs it", type)
                   : 0;
    }
    if (wanted == NO) {
        return uvm__doc_fail(f, here, UVM_E_INVAL, "Type %s does not have it", type);
    }
    return strlen(value) <= bytes_max
               ? 0
               : uvm__doc_fail(f, here, UVM_E_INVAL, "more than %zu bytes", bytes_max);
}

/* As Linux takes it: no slash, no blank. */
static bool is_interface(const char *name) {
    return name == NULL ||
           (strpbrk(name, "/ \t\n:%") == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
}

static int check_endpoint(const struct uvm__doc_linux_endpoint *e, const struct uvm__doc_path *path,
                          struct uvm__fail *f) {
    const struct uvm__doc_path name = {.parent = path, .key = "Name"};
    const struct uvm__doc_path file = {.parent = path, .key = "Path"};
    const struct uvm__doc_path interface = {.parent = path, .key = "Interface"};
    const struct uvm__doc_path mtu = {.parent = path, .key = "Mtu"};
    const struct type *t = types;

    while (strcmp(t->name, e->type) != 0) { /* the reader took no other */
        t++;
    }
    int rc = check_field(t->name_field, t->name, e->name, UVM__DOC_INTERFACE_BYTES_MAX, &name, f);
    rc = rc < 0 ? rc
                : check_field(t->path_field, t->name, e->path, UVM__DOC_LINUX_PATH_BYTES_MAX, &file,
                              f);
    rc = rc < 0 ? rc
                : check_field(t->interface_field, t->name, e->interface,
                              UVM__DOC_INTERFACE_BYTES_MAX, &interface, f);
    if (rc == 0 && e->path != NULL && e->path[0] != '/') {
        return uvm__doc_fail(f, &file, UVM_E_INVAL, "must be absolute");
    }
    if (rc == 0 && (!is_interface(e->name) || !is_interface(e->interface))) {
        return uvm__doc_fail(f, is_interface(e->name) ? &interface : &name, UVM_E_INVAL,
                             "is no name of an interface");
    }
    if (rc == 0 && e->mtu != 0 && e->mtu < UVM__DOC_MTU_MIN) {
        return uvm__doc_fail(f, &mtu, UVM_E_INVAL, "must be %u at least", UVM__DOC_MTU_MIN);
    }
    return rc;
}

int uvm__doc_check_nic(const struct uvm__doc_nic *n, const struct uvm__doc_path *path,
                       struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "LinuxEndpoint"};
    int rc = check_mac(n->mac_address, path, f);

    if (rc == 0 && n->linux_endpoint.present) {
        rc = check_endpoint(&n->linux_endpoint, &here, f);
    }
    return rc;
}
