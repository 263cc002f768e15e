/* SPDX-License-Identifier: MIT
 * annotation.c — annotations to options, by one table (names: hcsshim's pkg/annotations/annotations.go).
 *
 * An annotation fills an option that is still open; it never wins over one that was given. A name that the
 * reference knows and this engine cannot honour is refused by name, like a name that nobody knows: a VM
 * that silently lacks what was asked for is worse than none.
 */
#include "async/decimal.h"
#include "uvm/options.h"
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VM "io.microsoft.virtualmachine."
#define VALUE_BYTES_MAX 4095u

enum kind { CPUS, MEMORY, NUMBER, FLAG, NOT_FLAG, TEXT, BOOT_FILES, INITRD, MUST_BE_TRUE };

struct row {
    const char *name;
    enum kind kind;
    size_t offset; /* of the option */
    uint64_t max;  /* NUMBER: highest value; TEXT: bytes */
};

#define AT(member) offsetof(struct uvm__options, member)

static const struct row rows[] = {
    {VM "computetopology.memory.sizeinmb", MEMORY, 0, 0},
    {VM "computetopology.memory.allowovercommit", NOT_FLAG, AT(no_overcommit), 0},
    {VM "computetopology.memory.enabledeferredcommit", FLAG, AT(deferred_commit), 0},
    {VM "computetopology.memory.enablecolddiscardhint", FLAG, AT(cold_discard), 0},
    {VM "computetopology.memory.lowmmiogapinmb", NUMBER, AT(low_mmio_gap_mb), 4096},
    {VM "computetopology.memory.highmmiobaseinmb", NUMBER, AT(high_mmio_base_mb), 1ull << 32},
    {VM "computetopology.memory.highmmiogapinmb", NUMBER, AT(high_mmio_gap_mb), 1ull << 32},
    {VM "computetopology.processor.count", CPUS, 0, 0},
    {VM "computetopology.processor.limit", NUMBER, AT(cpu_limit), 100000},
    {VM "computetopology.processor.weight", NUMBER, AT(cpu_weight), 10000},
    {VM "devices.virtualpmem.maximumcount", NUMBER, AT(vpmem_devices), UVM_VPMEM_DEVICES_MAX},
    {VM "devices.virtualpmem.maximumsizebytes", NUMBER, AT(vpmem_bytes),
     (uint64_t)UVM_VPMEM_DEVICE_MB_MAX << 20},
    {VM "storageqos.iopsmaximum", NUMBER, AT(iops_max), INT32_MAX},
    {VM "storageqos.bandwidthmaximum", NUMBER, AT(bandwidth_max), INT32_MAX},
    {VM "lcow.kernelbootoptions", TEXT, AT(append), UVM_VM_APPEND_BYTES_MAX},
    {VM "lcow.extra-exec-command-args", TEXT, AT(agent_args), 512},
    {VM "lcow.vpcienabled", FLAG, AT(vpci), 0},
    {VM "lcow.timesync.disable", FLAG, AT(no_time_sync), 0},
    {VM "lcow.kerneldirectboot", MUST_BE_TRUE, 0, 0},
    {VM "lcow.preferredrootfstype", INITRD, 0, 0},
    {VM "bootfilesrootpath", BOOT_FILES, 0, 0},
};

/* What the reference knows besides. A name that ends in a dot stands for all that begin so. */
static const char *const known[] = {
    VM "fullyphysicallybacked",
    VM "cpugroup.id",
    VM "resource-partition-id",
    VM "computetopology.processor.numa.",
    VM "computetopology.numa.",
    VM "lcow.vpmem.nomultimapping",
    VM "lcow.writable-overlay-directories",
    VM "lcow.extra-vsock-ports",
    VM "lcow.network.policybasedrouting",
    VM "lcow.securitypolicy",
    VM "lcow.enforcer",
    VM "lcow.gueststatefile",
    VM "lcow.hcl-enabled",
    VM "lcow.dmverity-mode",
    VM "lcow.dmverity-rootfs-vhd",
    VM "lcow.dmverity-create-args",
    VM "lcow.uvm-reference-info-file",
    VM "uvm-hash-envelope-reference-info-file",
    VM "console.pipe",
    VM "storage.scratch.encrypted",
    VM "no_security_hardware",
    VM "fileshares.disablewritable",
    VM "dump-directory-path",
    VM "kerneldrivers",
    VM "hv-socket.service-table.",
    VM "disablecompartmentnamespace",
    VM "forwardlogs.",
    VM "wcow.",
    "io.microsoft.wcow.",
    "io.microsoft.container.",
    "io.microsoft.network.ncproxy",
    "io.microsoft.network.ncproxy.",
    "io.microsoft.migration.",
    "io.microsoft.disable-unsafe-operations",
    "io.microsoft.cri.",
    "io.microsoft.lcow.",
};

static bool is_known(const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t len = strlen(known[i]);
        bool prefix = known[i][len - 1] == '.';
        if (prefix ? strncmp(name, known[i], len) == 0 : strcmp(name, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int set_number(struct uvm__options *o, const struct row *row, const char *value,
                      struct uvm__fail *f) {
    uint64_t n;
    const char *rest;
    if (!uvm__decimal(value, &n, &rest) || *rest != 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "annotation %s: \"%.32s\" is not a number", row->name,
                         value);
    }
    if (row->kind == CPUS) {
        return o->cpus != 0 ? 0 : uvm__options_cpus(o, row->name, n, f);
    }
    if (row->kind == MEMORY) {
        return o->memory_mb != 0 ? 0 : uvm__options_memory(o, row->name, n, f);
    }
    if (n > row->max) {
        return uvm__fail(f, UVM_E_INVAL, 0, "annotation %s: %" PRIu64 " is above %" PRIu64,
                         row->name, n, row->max);
    }
    *(uint64_t *)(void *)((char *)o + row->offset) = n;
    return 0;
}

static int set_flag(struct uvm__options *o, const struct row *row, const char *value,
                    struct uvm__fail *f) {
    bool on = strcasecmp(value, "true") == 0;
    if (!on && strcasecmp(value, "false") != 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "annotation %s: \"%.32s\" is neither true nor false",
                         row->name, value);
    }
    if (row->kind == MUST_BE_TRUE) {
        return on ? 0
                  : uvm__fail(f, UVM_E_UNSUPPORTED, 0, "annotation %s: only true is supported",
                              row->name);
    }
    *(bool *)((char *)o + row->offset) = row->kind == NOT_FLAG ? !on : on;
    return 0;
}

static int set_text(struct uvm__options *o, const struct row *row, const char *value,
                    struct uvm__fail *f) {
    char **field = (char **)(void *)((char *)o + row->offset);
    return *field != NULL ? 0 : uvm__options_text(o, field, row->name, value, row->max, f);
}

static int set_boot_files(struct uvm__options *o, const struct row *row, const char *folder,
                          struct uvm__fail *f) {
    const struct {
        char **field;
        const char *name;
    } files[] = {{&o->kernel, "vmlinux"}, {&o->initrd, "initrd.img"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[VALUE_BYTES_MAX + 16];
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i].name);
        int rc = *files[i].field != NULL
                     ? 0
                     : uvm__options_text(o, files[i].field, row->name, path, VALUE_BYTES_MAX, f);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int set(struct uvm__options *o, const struct row *row, const char *value,
               struct uvm__fail *f) {
    switch (row->kind) {
    case CPUS:
    case MEMORY:
    case NUMBER:
        return set_number(o, row, value, f);
    case FLAG:
    case NOT_FLAG:
    case MUST_BE_TRUE:
        return set_flag(o, row, value, f);
    case TEXT:
        return set_text(o, row, value, f);
    case BOOT_FILES:
        return set_boot_files(o, row, value, f);
    case INITRD:
        if (strcasecmp(value, "initrd") != 0) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                             "annotation %s: only initrd is supported, not \"%.32s\"", row->name,
                             value);
        }
        return 0;
    }
    return -UVM_E_INVAL;
}

int uvm__annotation_read(struct uvm__options *o, const char *text, struct uvm__fail *f) {
    const char *equals = strchr(text, '=');
    char name[128];
    size_t len = equals == NULL ? 0 : (size_t)(equals - text);
    if (len == 0 || len >= sizeof name) {
        return uvm__fail(f, UVM_E_INVAL, 0, "annotation \"%.64s\": it has the form KEY=VALUE",
                         text);
    }
    memcpy(name, text, len);
    name[len] = 0;
    if (strnlen(equals + 1, VALUE_BYTES_MAX + 1) > VALUE_BYTES_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "annotation %s: its value has more than %u bytes", name,
                         VALUE_BYTES_MAX);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return set(o, &rows[i], equals + 1, f);
        }
    }
    if (is_known(name)) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "annotation %s: this engine does not support it",
                         name);
    }
    return uvm__fail(f, UVM_E_INVAL, 0, "annotation %.100s: nobody knows it", name);
}
