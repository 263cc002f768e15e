/* SPDX-License-Identifier: MIT
 * qemu_argv_test.c — documents to QEMU's command line: golden lines, and what is refused by name.
 */
#include "async/engine.h"
#include "hcs/qemu/argv.h"
#include "tests/unit/cm.h"

#include <string.h>

static struct uvm__doc_scsi_controller controllers[4];

static struct uvm__doc document(void) {
    struct uvm__doc d = {
        .schema_version = {.present = true, .major = 2, .minor = 1},
        .vm = {.present = true, .stop_on_reset = true},
        .terminate_on_last_handle_closed = true,
    };
    d.vm.chipset.linux_kernel_direct.kernel_file_path = "/k";
    d.vm.chipset.linux_kernel_direct.init_rd_path = "/i";
    d.vm.topology.memory.size_in_mb = 256;
    d.vm.topology.memory.allow_overcommit = true;
    d.vm.topology.processor.count = 1;
    return d;
}

static int set_up(void **state) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    return uvm__engine_new_virtual(&p, 1, (uvm_engine **)state);
}

static int tear_down(void **state) {
    uvm__engine_free_virtual(*state);
    return 0;
}

static void expect(uvm_engine *e, const struct uvm__qemu_argv_params *p, const char *const *args) {
    struct uvm__argv a;
    assert_int_equal(uvm__qemu_argv(e, p, &a), 0);
    for (size_t i = 0; args[i] != NULL; i++) {
        if (i >= a.count || strcmp(a.args[i], args[i]) != 0) {
            fail_msg("argument %zu: %s, expected %s", i, i < a.count ? a.args[i] : "none", args[i]);
        }
        assert_true(args[i + 1] != NULL || a.count == i + 1);
    }
    assert_null(a.args[a.count]);
    uvm__argv_deinit(&a);
}

#define ID "01234567-89ab-cdef-0123-456789abcdef"
#define SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define PORTS                                                                                      \
    "-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1,addr=0x10", "-device",           \
        "pcie-root-port,id=rp1,bus=pcie.0,chassis=2,slot=2,addr=0x11", "-device",                  \
        "pcie-root-port,id=rp2,bus=pcie.0,chassis=3,slot=3,addr=0x12", "-device",                  \
        "pcie-root-port,id=rp3,bus=pcie.0,chassis=4,slot=4,addr=0x13", "-device",                  \
        "pcie-root-port,id=rp4,bus=pcie.0,chassis=5,slot=5,addr=0x14", "-device",                  \
        "pcie-root-port,id=rp5,bus=pcie.0,chassis=6,slot=6,addr=0x15", "-device",                  \
        "pcie-root-port,id=rp6,bus=pcie.0,chassis=7,slot=7,addr=0x16", "-device",                  \
        "pcie-root-port,id=rp7,bus=pcie.0,chassis=8,slot=8,addr=0x17"
#define CHANNELS                                                                                   \
    "-chardev", "socket,id=qmp,fd=7", "-mon", "chardev=qmp,mode=control", "-chardev",              \
        "socket,id=console,fd=8", "-serial", "chardev:console", "-device",                         \
        "pvpanic-pci,bus=pcie.0,addr=0x1e", "-chardev", "socket,id=hvsock,fd=9", "-device",        \
        "vhost-user-vsock-pci,id=hvsock0,chardev=hvsock,bus=pcie.0,addr=0x3"

static void smallest(void **state) {
    static const char *const args[] = {
        "/usr/bin/q",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-sandbox",
        SANDBOX,
        "-uuid",
        ID,
        "-S",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-machine",
        "q35,memory-backend=ram0",
        "-m",
        "size=256M",
        "-object",
        "memory-backend-file,id=ram0,mem-path=/proc/self/fd/4,size=256M,share=on,"
        "dump=off",
        "-smp",
        "1,sockets=1,cores=4,threads=1,maxcpus=4",
        "-kernel",
        "/proc/self/fd/5",
        "-initrd",
        "/proc/self/fd/6",
        "-append",
        "console=ttyS0 a=\"b,c\" -- /init",
        "-no-reboot",
        "-action",
        "panic=exit-failure",
        CHANNELS,
        PORTS,
        NULL};
    struct uvm__doc d = document();
    const struct uvm__qemu_argv_params p = {.qemu_path = "/usr/bin/q",
                                            .id = ID,
                                            .doc = &d,
                                            .kernel_line = "console=ttyS0 a=\"b,c\" -- /init",
                                            .processors_possible = 4};
    expect(*state, &p, args);
}

#define NVDIMM(n, fd)                                                                              \
    "-object",                                                                                     \
        "memory-backend-file,id=pmem" n ",mem-path=/proc/self/fd/" fd                              \
        ",size=4294967296,share=on,readonly=on,dump=off",                                          \
        "-device", "nvdimm,id=nvdimm" n ",memdev=pmem" n ",slot=" n ",unarmed=on"

static void everything(void **state) {
    static const char *const args[] = {
        "/usr/bin/q",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-sandbox",
        SANDBOX,
        "-uuid",
        ID,
        "-S",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-machine",
        "q35,memory-backend=ram0,nvdimm=on",
        "-m",
        "size=2048M,slots=4,maxmem=18944M",
        "-object",
        "memory-backend-file,id=ram0,mem-path=/proc/self/fd/4,size=2048M,share=on,"
        "dump=off,prealloc=on",
        NVDIMM("0", "10"),
        NVDIMM("1", "11"),
        NVDIMM("2", "12"),
        NVDIMM("3", "13"), /* more of 4 GiB do not fit beside 2 GiB of memory */
        "-smp",
        "4,sockets=1,cores=8,threads=1,maxcpus=8",
        "-kernel",
        "/proc/self/fd/5",
        "-initrd",
        "/proc/self/fd/6",
        "-append",
        "x",
        "-action",
        "panic=exit-failure",
        CHANNELS,
        "-device",
        "virtio-scsi-pci,id=scsi1,bus=pcie.0,addr=0x5",
        "-device",
        "virtio-scsi-pci,id=scsi0,bus=pcie.0,addr=0x4",
        "-device",
        "virtio-scsi-pci,id=scsi2,bus=pcie.0,addr=0x6",
        PORTS,
        NULL};
    struct uvm__doc d = document();
    d.vm.stop_on_reset = false;
    d.vm.topology.memory.size_in_mb = 2048;
    d.vm.topology.memory.allow_overcommit = false;
    d.vm.topology.processor.count = 4;
    d.vm.devices.vpmem.maximum_count = 64;
    d.vm.devices.vpmem.maximum_size_bytes = 4294967296u;
    controllers[0].guid = uvm__doc_scsi_controller_guids[1];
    controllers[1].guid = "11111111-2222-3333-4444-555555555555"; /* takes the first free number */
    controllers[2].guid = "B5D2D8D4-3A75-51BF-945B-3444DC6B8579";
    d.vm.devices.scsi = controllers;
    d.vm.devices.scsi_count = 3;
    const struct uvm__qemu_argv_params p = {.qemu_path = "/usr/bin/q",
                                            .id = ID,
                                            .doc = &d,
                                            .kernel_line = "x",
                                            .processors_possible = 8,
                                            .kvm = true};
    expect(*state, &p, args);
}

static void the_largest_fits(void **state) {
    struct uvm__doc d = document();
    d.vm.topology.processor.count = UVM__QEMU_PROCESSORS_MAX;
    d.vm.topology.memory.size_in_mb = UVM__DOC_MEMORY_MB_MAX;
    d.vm.devices.vpmem.maximum_count = 128;
    d.vm.devices.vpmem.maximum_size_bytes = 4294967296u;
    d.vm.devices.scsi = controllers;
    d.vm.devices.scsi_count = 4;
    for (size_t i = 0; i < 4; i++) {
        controllers[i].guid = uvm__doc_scsi_controller_guids[i];
    }
    const struct uvm__qemu_argv_params p = {.qemu_path = "/usr/bin/q",
                                            .id = ID,
                                            .doc = &d,
                                            .kernel_line = "x",
                                            .processors_possible = UVM__QEMU_PROCESSORS_MAX};
    struct uvm__argv a;
    struct uvm__fail f;
    assert_int_equal(uvm__qemu_doc_check(&d, &f), 0);
    assert_int_equal(uvm__qemu_argv(*state, &p, &a), 0);
    uvm__argv_deinit(&a);
}

/* Each refusal: a document that is fine but for one field, and the path that the error must name. */
struct refusal {
    void (*change)(struct uvm__doc *d);
    const char *message;
};

static const struct uvm__doc_com_port com1_debug[] = {
    {.named_pipe = "p", .optimize_for_debugger = true}};
static const struct uvm__doc_com_port com2[] = {{.number = 1, .named_pipe = "p"}};
static const struct uvm__doc_scsi_attachment disk[] = {
    {.type = "VirtualDisk", .path = "/d", .caching_mode = "Uncached"}};
static const struct uvm__doc_scsi_controller with_disk[] = {
    {.guid = "df6d0690-79e5-55b6-a5ec-c1e2f77f580a", .attachments = disk, .attachments_count = 1}};
static const struct uvm__doc_hvsocket_service disabled[] = {
    {.guid = "00000808-facb-11e6-bd58-64006a7986d3", .disabled = true}};

#define CHANGE(name, statement)                                                                    \
    static void name(struct uvm__doc *d) {                                                         \
        statement;                                                                                 \
    }
CHANGE(hot_hint, d->vm.topology.memory.enable_hot_hint = true)
CHANGE(cold_hint, d->vm.topology.memory.enable_cold_hint = true)
CHANGE(discard_hint, d->vm.topology.memory.enable_cold_discard_hint = true)
CHANGE(low_gap, d->vm.topology.memory.low_mmio_gap_in_mb = 1)
CHANGE(high_base, d->vm.topology.memory.high_mmio_base_in_mb = 1)
CHANGE(high_gap, d->vm.topology.memory.high_mmio_gap_in_mb = 1)
CHANGE(slit, d->vm.topology.memory.slit_type = "x")
CHANGE(many_processors, d->vm.topology.processor.count = 241)
CHANGE(limit, d->vm.topology.processor.limit = 99999)
CHANGE(weight, d->vm.topology.processor.weight = 99)
CHANGE(reservation, d->vm.topology.processor.reservation = 1)
CHANGE(group, d->vm.topology.processor.cpu_group.present = true)
CHANGE(numa_processors, d->vm.topology.processor.numa_processors.present = true)
CHANGE(numa, d->vm.topology.numa.present = true)
CHANGE(second_port, (d->vm.devices.com_ports = com2, d->vm.devices.com_ports_count = 1))
CHANGE(debug_port, (d->vm.devices.com_ports = com1_debug, d->vm.devices.com_ports_count = 1))
CHANGE(attachment, (d->vm.devices.scsi = with_disk, d->vm.devices.scsi_count = 1))
static const struct uvm__doc_vpmem_device far[] = {
    {.number = 1, .host_path = "/d", .read_only = true}};
static const struct uvm__doc_vpci_function unknown = {.device_instance_path = "emulated:gpu"};
static const struct uvm__doc_vpci assigned[] = {
    {.guid = "df6d0690-79e5-55b6-a5ec-c1e2f77f580a", .functions = &unknown, .functions_count = 1}};
static const struct uvm__doc_vpmem_device writable[] = {{.host_path = "/d"}};
CHANGE(vpmem_device, (d->vm.devices.vpmem.devices = far, d->vm.devices.vpmem.devices_count = 1,
                      d->vm.devices.vpmem.maximum_count = 2,
                      d->vm.devices.vpmem.maximum_size_bytes = 2147483648u))
CHANGE(vpmem_writable,
       (d->vm.devices.vpmem.devices = writable, d->vm.devices.vpmem.devices_count = 1,
        d->vm.devices.vpmem.maximum_count = 1, d->vm.devices.vpmem.maximum_size_bytes = 4096))
CHANGE(vpmem_backing, d->vm.devices.vpmem.backing = "Physical")
CHANGE(vpmem_space, (d->vm.devices.vpmem.maximum_count = 128,
                     d->vm.devices.vpmem.maximum_size_bytes = 4294967296u + 4096))
CHANGE(disabled_service, (d->vm.devices.hvsocket.config.services = disabled,
                          d->vm.devices.hvsocket.config.services_count = 1))
CHANGE(vpci, (d->vm.devices.vpci = assigned, d->vm.devices.vpci_count = 1))
CHANGE(iops, d->vm.storage_qos.iops_maximum = 1)
CHANGE(bandwidth, d->vm.storage_qos.bandwidth_maximum = 1)
CHANGE(partition, d->vm.resource_partition_id = "x")
CHANGE(no_initrd, d->vm.chipset.linux_kernel_direct.init_rd_path = NULL)
CHANGE(outlives, d->terminate_on_last_handle_closed = false)

#define MEMORY "VirtualMachine.ComputeTopology.Memory."
#define PROCESSOR "VirtualMachine.ComputeTopology.Processor."
#define DEVICES "VirtualMachine.Devices."
static const struct refusal refusals[] = {
    {hot_hint, MEMORY "EnableHotHint: "},
    {cold_hint, MEMORY "EnableColdHint: "},
    {discard_hint, MEMORY "EnableColdDiscardHint: "},
    {low_gap, MEMORY "LowMmioGapInMB: "},
    {high_base, MEMORY "HighMmioBaseInMB: "},
    {high_gap, MEMORY "HighMmioGapInMB: "},
    {slit, MEMORY "SlitType: "},
    {many_processors, PROCESSOR "Count: "},
    {limit, PROCESSOR "Limit: "},
    {weight, PROCESSOR "Weight: "},
    {reservation, PROCESSOR "Reservation: "},
    {group, PROCESSOR "CpuGroup: "},
    {numa_processors, PROCESSOR "NumaProcessorsSettings: "},
    {numa, "VirtualMachine.ComputeTopology.Numa: "},
    {second_port, DEVICES "ComPorts.1: "},
    {debug_port, DEVICES "ComPorts.0.OptimizeForDebugger: "},
    {attachment, DEVICES "Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Attachments.0.CachingMode: "},
    {vpmem_device, DEVICES "VirtualPMem.Devices: "},
    {vpmem_writable, DEVICES "VirtualPMem.Devices: "},
    {vpmem_backing, DEVICES "VirtualPMem.Backing: "},
    {vpmem_space, DEVICES "VirtualPMem.MaximumSizeBytes: "},
    {disabled_service, DEVICES "HvSocket.HvSocketConfig.ServiceTable: "},
    {vpci, DEVICES
     "VirtualPci.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Functions.DeviceInstancePath: no model "},
    {iops, "VirtualMachine.StorageQoS.IopsMaximum: "},
    {bandwidth, "VirtualMachine.StorageQoS.BandwidthMaximum: "},
    {partition, "VirtualMachine.ResourcePartitionId: "},
    {no_initrd, "VirtualMachine.Chipset.LinuxKernelDirect.InitRdPath: "},
    {outlives, "ShouldTerminateOnLastHandleClosed: "},
};

static void refused_by_name(void **state) {
    (void)state;
    struct uvm__doc d = document();
    struct uvm__fail f = {0};
    d.vm.topology.processor.limit = 100000;
    d.vm.topology.processor.weight = 100;
    d.vm.topology.memory.enable_deferred_commit = true;
    assert_int_equal(uvm__qemu_doc_check(&d, &f), 0);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        d = document();
        refusals[i].change(&d);
        int rc = uvm__qemu_doc_check(&d, &f);
        if (rc != -UVM_E_UNSUPPORTED ||
            strncmp(f.msg, refusals[i].message, strlen(refusals[i].message)) != 0) {
            fail_msg("row %zu: %d \"%s\", expected \"%s…\"", i, rc, f.msg, refusals[i].message);
        }
    }
}

static void the_probe_has_no_kernel(void **state) {
    struct uvm__argv a;
    assert_int_equal(uvm__qemu_probe_argv(*state, "/usr/bin/q", true, &a), 0);
    bool bios = false;
    for (size_t i = 0; i < a.count; i++) {
        assert_string_not_equal(a.args[i], "-kernel");
        bios = bios || strcmp(a.args[i], "-bios") == 0;
    }
    assert_true(bios);
    uvm__argv_deinit(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smallest),
        cmocka_unit_test(everything),
        cmocka_unit_test(the_largest_fits),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(the_probe_has_no_kernel),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
