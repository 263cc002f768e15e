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
    if (r == 0 && vm->resource_partition_id != NULL && vm->topology.processor.cpu_group.present) {
        struct uvm__doc_path path = {.parent = &vm_path, .key = "ResourcePartitionId"};
        r = uvm__doc_fail(f, &path, UVM_E_INVAL, "excludes ComputeTopology.Processor.CpuGroup");
    }
    return r;
}
