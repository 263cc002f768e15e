/* SPDX-License-Identifier: MIT
 * doc_support.c — what of a well-formed document QEMU cannot honour, by one table.
 *
 * A field that is not here is honoured by argv.c, or holds by construction: hvsock security descriptors
 * (the endpoint is inside the owner's process, so nobody else can bind or connect), overcommit and deferred
 * commit (guest memory is a memfd, which the kernel fills on touch), virtual PMem and SCSI room.
 */
#include "hcs/qemu/argv.h"

#include <stdio.h>
#include <string.h>

#include "hcs/qemu/nic.h"
#include "hcs/qemu/plan9.h"
#include "hcs/qemu/scsi.h"
#include "hcs/qemu/vpci.h"
#include "hcs/qemu/vsmb.h"

static bool hot_hint(const struct uvm__doc *d) {
    return d->vm.topology.memory.enable_hot_hint;
}
static bool cold_hint(const struct uvm__doc *d) {
    return d->vm.topology.memory.enable_cold_hint;
}
static bool cold_discard_hint(const struct uvm__doc *d) {
    return d->vm.topology.memory.enable_cold_discard_hint;
}
static bool low_mmio_gap(const struct uvm__doc *d) {
    return d->vm.topology.memory.low_mmio_gap_in_mb != 0;
}
static bool high_mmio_base(const struct uvm__doc *d) {
    return d->vm.topology.memory.high_mmio_base_in_mb != 0;
}
static bool high_mmio_gap(const struct uvm__doc *d) {
    return d->vm.topology.memory.high_mmio_gap_in_mb != 0;
}
static bool slit_type(const struct uvm__doc *d) {
    return d->vm.topology.memory.slit_type != NULL;
}
static bool processor_count(const struct uvm__doc *d) {
    return d->vm.topology.processor.count > UVM__QEMU_PROCESSORS_MAX;
}
static bool processor_limit(const struct uvm__doc *d) {
    uint64_t limit = d->vm.topology.processor.limit;
    return limit != 0 && limit != 100000; /* all of every processor is no limit */
}
static bool processor_weight(const struct uvm__doc *d) {
    uint64_t weight = d->vm.topology.processor.weight;
    return weight != 0 && weight != 100; /* the default */
}
static bool processor_reservation(const struct uvm__doc *d) {
    return d->vm.topology.processor.reservation != 0;
}
static bool cpu_group(const struct uvm__doc *d) {
    return d->vm.topology.processor.cpu_group.present;
}
static bool numa_processors(const struct uvm__doc *d) {
    return d->vm.topology.processor.numa_processors.present;
}
static bool numa(const struct uvm__doc *d) {
    return d->vm.topology.numa.present;
}
static bool second_com_port(const struct uvm__doc *d) {
    for (size_t i = 0; i < d->vm.devices.com_ports_count; i++) {
        if (d->vm.devices.com_ports[i].number != 0) {
            return true;
        }
    }
    return false;
}
static bool debugger_port(const struct uvm__doc *d) {
    for (size_t i = 0; i < d->vm.devices.com_ports_count; i++) {
        if (d->vm.devices.com_ports[i].optimize_for_debugger) {
            return true;
        }
    }
    return false;
}
static bool vpmem_devices(const struct uvm__doc *d) {
    const struct uvm__doc_vpmem *v = &d->vm.devices.vpmem;
    for (size_t i = 0; i < v->devices_count; i++) {
        if (v->devices[i].number >= uvm__qemu_vpmem_count(d)) {
            return true;
        }
    }
    return false;
}
static bool vpmem_writable(const struct uvm__doc *d) {
    const struct uvm__doc_vpmem *v = &d->vm.devices.vpmem;
    for (size_t i = 0; i < v->devices_count; i++) {
        if (!v->devices[i].read_only) {
            return true;
        }
    }
    return false;
}
static bool vpmem_backing(const struct uvm__doc *d) {
    return d->vm.devices.vpmem.backing != NULL;
}
static bool vpmem_space(const struct uvm__doc *d) {
    const struct uvm__doc_vpmem *v = &d->vm.devices.vpmem;
    return v->maximum_count != 0 &&
           v->maximum_size_bytes > ((uint64_t)UVM__QEMU_VPMEM_GIB_MAX << 30) / v->maximum_count;
}
static bool disabled_service(const struct uvm__doc *d) {
    for (size_t i = 0; i < d->vm.devices.hvsocket.config.services_count; i++) {
        if (d->vm.devices.hvsocket.config.services[i].disabled) {
            return true;
        }
    }
    return false;
}
static bool iops(const struct uvm__doc *d) {
    return d->vm.storage_qos.iops_maximum != 0;
}
static bool bandwidth(const struct uvm__doc *d) {
    return d->vm.storage_qos.bandwidth_maximum != 0;
}
static bool resource_partition(const struct uvm__doc *d) {
    return d->vm.resource_partition_id != NULL;
}
static bool no_initrd(const struct uvm__doc *d) {
    return d->vm.chipset.linux_kernel_direct.init_rd_path == NULL;
}
static bool outlives_owner(const struct uvm__doc *d) {
    return !d->terminate_on_last_handle_closed;
}

#define MEMORY "VirtualMachine.ComputeTopology.Memory."
#define PROCESSOR "VirtualMachine.ComputeTopology.Processor."
#define DEVICES "VirtualMachine.Devices."

static const struct {
    bool (*found)(const struct uvm__doc *doc);
    const char *path, *why;
} refusals[] = {
    {hot_hint, MEMORY "EnableHotHint", "QEMU takes no memory hints"},
    {cold_hint, MEMORY "EnableColdHint", "QEMU takes no memory hints"},
    {cold_discard_hint, MEMORY "EnableColdDiscardHint", "QEMU takes no memory hints"},
    {low_mmio_gap, MEMORY "LowMmioGapInMB", "QEMU lays out its memory map itself"},
    {high_mmio_base, MEMORY "HighMmioBaseInMB", "QEMU lays out its memory map itself"},
    {high_mmio_gap, MEMORY "HighMmioGapInMB", "QEMU lays out its memory map itself"},
    {slit_type, MEMORY "SlitType", "virtual NUMA is not supported on QEMU yet"},
    {processor_count, PROCESSOR "Count", "QEMU's machine takes at most 240"},
    {processor_limit, PROCESSOR "Limit", "not supported on QEMU yet (only 100000: no limit)"},
    {processor_weight, PROCESSOR "Weight", "not supported on QEMU yet (only 100: the default)"},
    {processor_reservation, PROCESSOR "Reservation", "not supported on QEMU yet"},
    {cpu_group, PROCESSOR "CpuGroup", "CPU groups are Hyper-V's"},
    {numa_processors, PROCESSOR "NumaProcessorsSettings",
     "virtual NUMA is not supported on QEMU yet"},
    {numa, "VirtualMachine.ComputeTopology.Numa", "virtual NUMA is not supported on QEMU yet"},
    {second_com_port, DEVICES "ComPorts.1", "only COM1 (\"0\") is supported on QEMU"},
    {debugger_port, DEVICES "ComPorts.0.OptimizeForDebugger", "not supported on QEMU"},
    {vpmem_devices, DEVICES "VirtualPMem.Devices",
     "more than fit beside the guest's memory (an eighth of which their bookkeeping may take)"},
    {vpmem_writable, DEVICES "VirtualPMem.Devices", "ReadOnly must be true on QEMU"},
    {vpmem_backing, DEVICES "VirtualPMem.Backing", "not supported on QEMU"},
    {vpmem_space, DEVICES "VirtualPMem.MaximumSizeBytes",
     "times MaximumCount is above the 512 GiB that QEMU is given here"},
    {disabled_service, DEVICES "HvSocket.HvSocketConfig.ServiceTable",
     "a service that is Disabled is not supported on QEMU yet"},
    {iops, "VirtualMachine.StorageQoS.IopsMaximum", "not supported on QEMU yet"},
    {bandwidth, "VirtualMachine.StorageQoS.BandwidthMaximum", "not supported on QEMU yet"},
    {resource_partition, "VirtualMachine.ResourcePartitionId", "resource partitions are Hyper-V's"},
    {no_initrd, "VirtualMachine.Chipset.LinuxKernelDirect.InitRdPath",
     "missing; every boot goes through an initrd here"},
    {outlives_owner, "ShouldTerminateOnLastHandleClosed",
     "must be true: a VM on QEMU ends with its owner"},
};

static int check_scsi(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    for (size_t i = 0; i < d->scsi_count; i++) {
        for (size_t k = 0; k < d->scsi[i].attachments_count; k++) {
            const char *why = NULL;
            const char *field = uvm__qemu_scsi_refused(&d->scsi[i].attachments[k], &why);
            if (field != NULL) {
                return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                                 DEVICES "Scsi.%.36s.Attachments.%llu.%s: %s", d->scsi[i].guid,
                                 (unsigned long long)d->scsi[i].attachments[k].lun, field, why);
            }
        }
    }
    return 0;
}

static int check_vpci(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    for (size_t i = 0; i < d->vpci_count; i++) {
        char why[sizeof f->msg];
        int rc = uvm__qemu_vpci_check(&d->vpci[i], f);
        if (rc < 0) {
            (void)snprintf(why, sizeof why, "%s", f->msg);
            return uvm__fail(f, (enum uvm_error_code)(-rc), 0,
                             DEVICES "VirtualPci.%.36s.Functions.%.160s", d->vpci[i].guid, why);
        }
    }
    return 0;
}

static int check_shares(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    for (size_t i = 0; i < d->vsmb.shares_count; i++) {
        const char *why = NULL;
        const char *option = uvm__qemu_vsmb_refused(&d->vsmb.shares[i].options, &why);
        if (option != NULL) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0, DEVICES "VirtualSmb.Shares[%zu].%s: %s", i,
                             option, why);
        }
    }
    return 0;
}

static int check_nics(const struct uvm__doc_devices *d, struct uvm__fail *f) {
    for (size_t i = 0; i < d->nics_count; i++) {
        const char *why = NULL;
        const char *field = uvm__qemu_nic_refused(&d->nics[i], &why);
        if (field != NULL) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0, DEVICES "NetworkAdapters.%.36s.%s: %s",
                             d->nics[i].guid, field, why);
        }
    }
    return 0;
}

static int check_plan9(const struct uvm__doc_plan9 *p, struct uvm__fail *f) {
    for (size_t i = 0; i < p->shares_count; i++) {
        const char *why = NULL;
        const char *field = uvm__qemu_plan9_refused(&p->shares[i], &why);
        if (field != NULL) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0, DEVICES "Plan9.Shares[%zu].%s: %s", i, field,
                             why);
        }
    }
    return 0;
}

int uvm__qemu_doc_check(const struct uvm__doc *doc, struct uvm__fail *f) {
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (refusals[i].found(doc)) {
            return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "%s: %s", refusals[i].path, refusals[i].why);
        }
    }
    int rc = check_scsi(&doc->vm.devices, f);
    rc = rc < 0 ? rc : check_nics(&doc->vm.devices, f);
    rc = rc < 0 ? rc : check_vpci(&doc->vm.devices, f);
    rc = rc < 0 ? rc : check_shares(&doc->vm.devices, f);
    return rc < 0 ? rc : check_plan9(&doc->vm.devices.plan9, f);
}
