/* SPDX-License-Identifier: MIT
 * doc_check.c — the rules of a document that reach over several fields.
 * Source: hcsshim's internal/vm/vmutils/{normalize,numa,constants}.go, internal/oci/uvm.go.
 *
 * Rows of the schema check one value each; what is wrong only in company is checked here, once for the
 * reader and the builder.
 */
#include "hcs/doc_int.h"

#include <stdio.h>
#include <string.h>

static const struct uvm__doc_path vm_path = {.key = "VirtualMachine"};
static const struct uvm__doc_path topology_path = {.parent = &vm_path, .key = "ComputeTopology"};
static const struct uvm__doc_path memory_path = {.parent = &topology_path, .key = "Memory"};
static const struct uvm__doc_path numa_path = {.parent = &topology_path, .key = "Numa"};
static const struct uvm__doc_path devices_path = {.parent = &vm_path, .key = "Devices"};
static const struct uvm__doc_path vpmem_path = {.parent = &devices_path, .key = "VirtualPMem"};

static int check_memory(const struct uvm__doc_memory *m, struct uvm__fail *f) {
    struct uvm__doc_path path = {.parent = &memory_path, .key = "SizeInMB"};

    if (m->size_in_mb % 2 != 0) {
        return uvm__doc_fail(f, &path, UVM_E_INVAL, "%llu is odd; memory comes in steps of 2 MB",
                             (unsigned long long)m->size_in_mb);
    }
    if (m->enable_deferred_commit && !m->allow_overcommit) {
        path.key = "EnableDeferredCommit";
        return uvm__doc_fail(f, &path, UVM_E_INVAL,
                             "needs AllowOvercommit: physical memory is committed at once");
    }
    return 0;
}

static int check_numa(const struct uvm__doc_topology *t, struct uvm__fail *f) {
    const struct uvm__doc_numa *n = &t->numa;
    uint64_t processors = 0, blocks = 0;
    bool any = false, fixed = false;

    if (!n->present) {
        return 0;
    }
    if (t->memory.allow_overcommit) {
        return uvm__doc_fail(f, &numa_path, UVM_E_INVAL, "needs AllowOvercommit to be off");
    }
    for (size_t i = 0; i < n->settings_count; i++) {
        const struct uvm__doc_numa_setting *s = &n->settings[i];
        struct uvm__doc_path list = {.parent = &numa_path, .key = "Settings"};
        struct uvm__doc_path item = {.parent = &list, .index = i};

        if (s->physical_node_number != 255 && s->physical_node_number >= 64) {
            return uvm__doc_fail(f, &item, UVM_E_INVAL,
                                 "physical node %llu is neither below 64 nor 255",
                                 (unsigned long long)s->physical_node_number);
        }
        if (s->count_of_memory_blocks == 0) {
            return uvm__doc_fail(f, &item, UVM_E_INVAL, "a node without memory");
        }
        for (size_t k = 0; k < i; k++) {
            if (n->settings[k].virtual_node_number == s->virtual_node_number) {
                return uvm__doc_fail(f, &item, UVM_E_INVAL, "virtual node %llu is there twice",
                                     (unsigned long long)s->virtual_node_number);
            }
        }
        any = any || s->physical_node_number == 255;
        fixed = fixed || s->physical_node_number != 255;
        processors += s->count_of_processors;
        blocks += s->count_of_memory_blocks;
    }
    if (any && fixed) {
        return uvm__doc_fail(f, &numa_path, UVM_E_INVAL, "node 255 (any) beside numbered nodes");
    }
    if (n->settings_count > 0 &&
        (processors != t->processor.count || blocks != t->memory.size_in_mb)) {
        return uvm__doc_fail(
            f, &numa_path, UVM_E_INVAL,
            "nodes sum up to %llu processors and %llu MB, the VM has %llu and %llu",
            (unsigned long long)processors, (unsigned long long)blocks,
            (unsigned long long)t->processor.count, (unsigned long long)t->memory.size_in_mb);
    }
    return 0;
}

static int check_vpmem(const struct uvm__doc_vpmem *v, struct uvm__fail *f) {
    struct uvm__doc_path path = {.parent = &vpmem_path, .key = "MaximumSizeBytes"};

    if (v->maximum_count > 0 && (v->maximum_size_bytes == 0 || v->maximum_size_bytes % 4096 != 0)) {
        return uvm__doc_fail(f, &path, UVM_E_INVAL, "%llu is not a positive multiple of 4096",
                             (unsigned long long)v->maximum_size_bytes);
    }
    path.key = "Devices";
    for (size_t i = 0; i < v->devices_count; i++) {
        if (v->devices[i].number >= v->maximum_count) {
            return uvm__doc_fail(f, &path, UVM_E_INVAL, "device %llu, but MaximumCount is %llu",
                                 (unsigned long long)v->devices[i].number,
                                 (unsigned long long)v->maximum_count);
        }
    }
    return 0;
}

int uvm__doc_check_attachment(const struct uvm__doc_scsi_attachment *a,
                              const struct uvm__doc_path *path, struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "ExtensibleVirtualDiskType"};
    bool has =
        a->extensible_virtual_disk_type != NULL && a->extensible_virtual_disk_type[0] != '\0';

    if (has != (strcmp(a->type, "ExtensibleVirtualDisk") == 0)) {
        return uvm__doc_fail(f, &here, UVM_E_INVAL,
                             "goes with Type ExtensibleVirtualDisk and only with it");
    }
    return 0;
}

static int check_word(const char *key, const char *name, const struct uvm__doc_path *path,
                      struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = key};
    size_t bytes = strlen(name);
    bool ok =
        bytes <= UVM__DOC_SHARE_NAME_BYTES_MAX && name[0] != '.' &&
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") == bytes;

    return ok ? 0
              : uvm__doc_fail(f, &here, UVM_E_INVAL,
                              "must be 1 to %u letters, digits, \"_\", \"-\" or \".\", which does "
                              "not come first",
                              UVM__DOC_SHARE_NAME_BYTES_MAX);
}

int uvm__doc_check_share_name(const char *name, const struct uvm__doc_path *path,
                              struct uvm__fail *f) {
    return check_word("Name", name, path, f);
}

int uvm__doc_check_plan9_name(const struct uvm__doc_plan9_share *s,
                              const struct uvm__doc_path *path, struct uvm__fail *f) {
    int rc = check_word("Name", s->name, path, f);
    return rc < 0 ? rc : check_word("AccessName", s->access_name, path, f);
}

/* Control characters are in no name that anybody means. */
static bool is_bare_name(const char *name) {
    size_t bytes = strlen(name);

    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '/' || (*c > 0 && *c < ' ')) {
            return false;
        }
    }
    return bytes > 0 && bytes <= 255 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int check_allowed(const struct uvm__doc_plan9_share *s, const struct uvm__doc_path *path,
                         struct uvm__fail *f) {
    const struct uvm__doc_path list = {.parent = path, .key = "AllowedFiles"};

    if ((s->allowed_files_count > 0) != ((s->flags & UVM__DOC_PLAN9_RESTRICT_FILES) != 0)) {
        return uvm__doc_fail(f, &list, UVM_E_INVAL, "goes with Flags 0x%x and only with it",
                             UVM__DOC_PLAN9_RESTRICT_FILES);
    }
    for (size_t i = 0; i < s->allowed_files_count; i++) {
        const char *name = s->allowed_files[i];
        const struct uvm__doc_path item = {.parent = &list, .index = i};

        if (!is_bare_name(name)) {
            return uvm__doc_fail(f, &item, UVM_E_INVAL, "must be the bare name of a file");
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(s->allowed_files[k], name) == 0) {
                return uvm__doc_fail(f, &item, UVM_E_INVAL, "the same name twice");
            }
        }
    }
    return 0;
}

int uvm__doc_check_plan9_share(const struct uvm__doc_plan9_share *s,
                               const struct uvm__doc_path *path, struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "Path"};
    int rc = uvm__doc_check_plan9_name(s, path, f);

    if (rc == 0 && s->path[0] != '/') {
        rc = uvm__doc_fail(f, &here, UVM_E_INVAL, "must be absolute");
    }
    return rc < 0 ? rc : check_allowed(s, path, f);
}

static int check_plan9(const struct uvm__doc_plan9 *p, struct uvm__fail *f) {
    const struct uvm__doc_path plan9 = {.parent = &devices_path, .key = "Plan9"};
    const struct uvm__doc_path list = {.parent = &plan9, .key = "Shares"};

    for (size_t i = 0; i < p->shares_count; i++) {
        const struct uvm__doc_path item = {.parent = &list, .index = i};
        int rc = uvm__doc_check_plan9_share(&p->shares[i], &item, f);
        for (size_t k = 0; rc == 0 && k < i; k++) {
            if (strcmp(p->shares[k].name, p->shares[i].name) == 0) {
                rc = uvm__doc_fail(f, &item, UVM_E_INVAL, "Name \"%s\" is there twice",
                                   p->shares[i].name);
            }
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Whether it is a file's path directly in the folder. */
static bool is_in(const char *folder, const char *file) {
    size_t bytes = strlen(folder);

    bytes -= bytes > 1 && folder[bytes - 1] == '/' ? 1 : 0;
    const char *name = bytes == 1 ? file + 1 : file + bytes + 1;
    return strncmp(folder, file, bytes) == 0 && (bytes == 1 || file[bytes] == '/') &&
           name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

int uvm__doc_check_vsmb_share(const struct uvm__doc_vsmb_share *s, const struct uvm__doc_path *path,
                              struct uvm__fail *f) {
    struct uvm__doc_path here = {.parent = path, .key = "Path"};
    int rc = uvm__doc_check_share_name(s->name, path, f);

    if (rc == 0 && s->path[0] != '/') {
        rc = uvm__doc_fail(f, &here, UVM_E_INVAL, "must be absolute");
    }
    here.key = "AllowedFiles";
    if (rc == 0 && s->options.restrict_file_access != (s->allowed_files_count > 0)) {
        rc = uvm__doc_fail(f, &here, UVM_E_INVAL,
                           "goes with Options.RestrictFileAccess and only with it");
    }
    for (size_t i = 0; rc == 0 && i < s->allowed_files_count; i++) {
        const struct uvm__doc_path item = {.parent = &here, .index = i};
        if (!is_in(s->path, s->allowed_files[i])) {
            rc = uvm__doc_fail(f, &item, UVM_E_INVAL, "no path of a file in the share's Path");
        }
        for (size_t k = 0; rc == 0 && k < i; k++) {
            if (strcmp(s->allowed_files[k], s->allowed_files[i]) == 0) {
                rc = uvm__doc_fail(f, &item, UVM_E_INVAL, "the same file twice");
            }
        }
    }
    return rc;
}

static int check_vsmb(const struct uvm__doc_vsmb *v, struct uvm__fail *f) {
    const struct uvm__doc_path vsmb = {.parent = &devices_path, .key = "VirtualSmb"};
    const struct uvm__doc_path list = {.parent = &vsmb, .key = "Shares"};

    for (size_t i = 0; i < v->shares_count; i++) {
        const struct uvm__doc_path item = {.parent = &list, .index = i};
        int rc = uvm__doc_check_vsmb_share(&v->shares[i], &item, f);
        for (size_t k = 0; rc == 0 && k < i; k++) {
            if (strcmp(v->shares[k].name, v->shares[i].name) == 0) {
                rc = uvm__doc_fail(f, &item, UVM_E_INVAL, "Name \"%s\" is there twice",
                                   v->shares[i].name);
            }
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int check_scsi(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    const struct uvm__doc_path path = {.parent = &devices_path, .key = "Scsi"};

    if (d->scsi_count > UVM__DOC_SCSI_CONTROLLERS_MAX) {
        return uvm__doc_fail(f, &path, UVM_E_LIMIT, "%zu controllers; at most %u", d->scsi_count,
                             UVM__DOC_SCSI_CONTROLLERS_MAX);
    }
    for (size_t i = 0; i < d->scsi_count; i++) {
        const struct uvm__doc_scsi_controller *c = &d->scsi[i];
        const struct uvm__doc_path controller = {.parent = &path, .key = c->guid};
        const struct uvm__doc_path list = {.parent = &controller, .key = "Attachments"};

        for (size_t k = 0; k < c->attachments_count; k++) {
            char number[24];
            snprintf(number, sizeof number, "%llu", (unsigned long long)c->attachments[k].lun);
            const struct uvm__doc_path item = {.parent = &list, .key = number};
            int rc = uvm__doc_check_attachment(&c->attachments[k], &item, f);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

int uvm__doc_check_vpci(const struct uvm__doc_vpci *v, const struct uvm__doc_path *path,
                        struct uvm__fail *f) {
    const struct uvm__doc_path here = {.parent = path, .key = "Functions"};

    return v->functions_count == 1
               ? 0
               : uvm__doc_fail(f, &here, UVM_E_INVAL,
                               "%zu functions; a device has exactly one here", v->functions_count);
}

static int check_vpcis(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    const struct uvm__doc_path path = {.parent = &devices_path, .key = "VirtualPci"};

    for (size_t i = 0; i < d->vpci_count; i++) {
        const struct uvm__doc_path device = {.parent = &path, .key = d->vpci[i].guid};
        int rc = uvm__doc_check_vpci(&d->vpci[i], &device, f);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Two with one address would be one to a switch. */
static int check_nics(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    const struct uvm__doc_path map = {.parent = &devices_path, .key = "NetworkAdapters"};
    uint8_t mac[UVM__DOC_MAC_BYTES] = {0}, other[UVM__DOC_MAC_BYTES] = {0};

    for (size_t i = 0; i < d->nics_count; i++) {
        const struct uvm__doc_path item = {.parent = &map, .key = d->nics[i].guid};
        int rc = uvm__doc_check_nic(&d->nics[i], &item, f);
        if (rc < 0) {
            return rc;
        }
        for (size_t k = 0; k < i && d->nics[i].mac_address != NULL; k++) {
            if (d->nics[k].mac_address != NULL &&
                uvm__doc_read_mac(d->nics[i].mac_address, mac) == 0 &&
                uvm__doc_read_mac(d->nics[k].mac_address, other) == 0 &&
                memcmp(mac, other, sizeof mac) == 0) {
                return uvm__doc_fail(f, &item, UVM_E_INVAL, "has the MacAddress of %.36s",
                                     d->nics[k].guid);
            }
        }
    }
    return 0;
}

int uvm__doc_check(const struct uvm__doc *doc, struct uvm__fail *f) {
    const struct uvm__doc_vm *vm = &doc->vm;
    int r = check_memory(&vm->topology.memory, f);

    if (r == 0) {
        r = check_numa(&vm->topology, f);
    }
    if (r == 0) {
        r = check_vpmem(&vm->devices.vpmem, f);
    }
    if (r == 0) {
        r = check_scsi(&vm->devices, f);
    }
    if (r == 0) {
        r = check_vsmb(&vm->devices.vsmb, f);
    }
    if (r == 0) {
        r = check_plan9(&vm->devices.plan9, f);
    }
    if (r == 0) {
        r = check_vpcis(&vm->devices, f);
    }
    if (r == 0) {
        r = check_nics(&vm->devices, f);
    }
    if (r == 0 && vm->resource_partition_id != NULL && vm->topology.processor.cpu_group.present) {
        struct uvm__doc_path path = {.parent = &vm_path, .key = "ResourcePartitionId"};
        r = uvm__doc_fail(f, &path, UVM_E_INVAL, "excludes ComputeTopology.Processor.CpuGroup");
    }
    return r;
}
