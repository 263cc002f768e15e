/* SPDX-License-Identifier: MIT
 * doc_test.c — documents: both examples of a Linux UVM out of the builder field for field, key order
 * included, back through the reader, and a table of bad documents with the error that each must give.
 */
#include "async/engine.h"
#include "hcs/doc.h"
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "async/alloc.h"
#include "tests/unit/heap.h"

static const char example_a[] =
    "{\"Owner\":\"engine.exe\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"
    "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{"
    "\"KernelFilePath\":\"C:\\\\LinuxBootFiles\\\\vmlinux\","
    "\"InitRdPath\":\"C:\\\\LinuxBootFiles\\\\initrd.img\","
    "\"KernelCmdLine\":\" initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet "
    "pci=off nr_cpus=2 brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format "
    "json -loglevel info\"}},"
    "\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":1024,\"AllowOvercommit\":true},"
    "\"Processor\":{\"Count\":2}},"
    "\"Devices\":{\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{}},"
    "\"VirtualPMem\":{\"MaximumCount\":64,\"MaximumSizeBytes\":4294967296},"
    "\"HvSocket\":{\"HvSocketConfig\":{"
    "\"DefaultBindSecurityDescriptor\":\"D:P(A;;FA;;;SY)(A;;FA;;;BA)\"}},\"Plan9\":{}}},"
    "\"ShouldTerminateOnLastHandleClosed\":true}";

static const char example_b[] =
    "{\"Owner\":\"engine.exe\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{"
    "\"StopOnReset\":true,\"Chipset\":{\"LinuxKernelDirect\":{"
    "\"KernelFilePath\":\"C:\\\\LinuxBootFiles\\\\vmlinux\","
    "\"KernelCmdLine\":\"root=/dev/pmem0 ro rootwait init=/init "
    "initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=1 8250_core.skip_txen_test=1 "
    "console=ttyS0,115200 nr_cpus=4 brd.rd_nr=0 pmtmr=0 -- -e 1 sh -c \\\"/bin/vsockexec -e 109 "
    "/bin/gcs -v4 -log-format json -loglevel debug & exec sh\\\"\"}},"
    "\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":2048,\"AllowOvercommit\":true,"
    "\"EnableColdDiscardHint\":true},"
    "\"Processor\":{\"Count\":4,\"Limit\":100000,\"Weight\":100,"
    "\"CpuGroup\":{\"Id\":\"2f2a3f0e-5d9c-4c0c-9e35-55d5e0cbd2a1\"}}},"
    "\"Devices\":{\"ComPorts\":{\"0\":{\"NamedPipe\":\"\\\\\\\\.\\\\pipe\\\\uvm-com1\"}},"
    "\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{},"
    "\"0110f83b-de10-5172-a266-78bca56bf50a\":{},\"b5d2d8d4-3a75-51bf-945b-3444dc6b8579\":{},"
    "\"305891a9-b251-5dfe-91a2-c25d9212275b\":{}},"
    "\"VirtualPMem\":{\"Devices\":{\"0\":{\"HostPath\":\"C:\\\\LinuxBootFiles\\\\rootfs.vhd\","
    "\"ReadOnly\":true,\"ImageFormat\":\"Vhd1\"}},"
    "\"MaximumCount\":64,\"MaximumSizeBytes\":4294967296},"
    "\"HvSocket\":{\"HvSocketConfig\":{"
    "\"DefaultBindSecurityDescriptor\":\"D:P(A;;FA;;;SY)(A;;FA;;;BA)\",\"ServiceTable\":{"
    "\"00000808-facb-11e6-bd58-64006a7986d3\":{\"BindSecurityDescriptor\":\"D:P(A;;FA;;;WD)\","
    "\"ConnectSecurityDescriptor\":\"D:P(A;;FA;;;SY)(A;;FA;;;BA)\","
    "\"AllowWildcardBinds\":true}}}},\"Plan9\":{},"
    "\"VirtualPci\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"Functions\":[{"
    "\"DeviceInstancePath\":\"PCIP\\\\VEN_10DE&DEV_1EB8\\\\4&2A&0&0008\","
    "\"VirtualFunction\":1}]}}},"
    "\"StorageQoS\":{\"IopsMaximum\":5000,\"BandwidthMaximum\":104857600}},"
    "\"ShouldTerminateOnLastHandleClosed\":true}";

#define BIND "D:P(A;;FA;;;SY)(A;;FA;;;BA)"

static struct uvm__doc_scsi_controller controllers[4];
static const struct uvm__doc_com_port com_ports[] = {
    {.number = 0, .named_pipe = "\\\\.\\pipe\\uvm-com1"}};
static const struct uvm__doc_vpmem_device vpmem_devices[] = {
    {.number = 0,
     .host_path = "C:\\LinuxBootFiles\\rootfs.vhd",
     .read_only = true,
     .image_format = "Vhd1"}};
static const struct uvm__doc_hvsocket_service services[] = {
    {.guid = "00000808-facb-11e6-bd58-64006a7986d3",
     .bind_security_descriptor = "D:P(A;;FA;;;WD)",
     .connect_security_descriptor = BIND,
     .allow_wildcard_binds = true}};
static const struct uvm__doc_vpci_function functions[] = {
    {.device_instance_path = "PCIP\\VEN_10DE&DEV_1EB8\\4&2A&0&0008", .virtual_function = 1}};
static const struct uvm__doc_vpci vpci[] = {
    {.guid = "6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1", .functions = functions, .functions_count = 1}};

/* What both examples share. */
static struct uvm__doc skeleton(size_t controllers_count, uint64_t memory_mb, uint64_t processors) {
    for (size_t i = 0; i < controllers_count; i++) {
        controllers[i] =
            (struct uvm__doc_scsi_controller){.guid = uvm__doc_scsi_controller_guids[i]};
    }
    struct uvm__doc d = {
        .owner = "engine.exe",
        .schema_version = {.present = true, .major = 2, .minor = 1},
        .vm = {.present = true, .stop_on_reset = true},
        .terminate_on_last_handle_closed = true,
    };
    d.vm.chipset.present = true;
    d.vm.chipset.linux_kernel_direct.present = true;
    d.vm.chipset.linux_kernel_direct.kernel_file_path = "C:\\LinuxBootFiles\\vmlinux";
    d.vm.topology.present = true;
    d.vm.topology.memory = (struct uvm__doc_memory){
        .present = true, .size_in_mb = memory_mb, .allow_overcommit = true};
    d.vm.topology.processor = (struct uvm__doc_processor){.present = true, .count = processors};
    struct uvm__doc_devices *dev = &d.vm.devices;
    dev->present = true;
    dev->scsi = controllers;
    dev->scsi_count = controllers_count;
    dev->vpmem = (struct uvm__doc_vpmem){
        .present = true, .maximum_count = 64, .maximum_size_bytes = 4294967296u};
    dev->hvsocket.present = true;
    dev->hvsocket.config.present = true;
    dev->hvsocket.config.default_bind_security_descriptor = BIND;
    dev->plan9.present = true;
    return d;
}

static struct uvm__doc document_a(void) {
    struct uvm__doc d = skeleton(1, 1024, 2);
    d.vm.chipset.linux_kernel_direct.init_rd_path = "C:\\LinuxBootFiles\\initrd.img";
    d.vm.chipset.linux_kernel_direct.kernel_cmd_line =
        " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off nr_cpus=2 "
        "brd.rd_nr=0 pmtmr=0 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel "
        "info";
    return d;
}

static struct uvm__doc document_b(void) {
    struct uvm__doc d = skeleton(4, 2048, 4);
    d.vm.chipset.linux_kernel_direct.kernel_cmd_line =
        "root=/dev/pmem0 ro rootwait init=/init initcall_blacklist=virtio_vsock_init "
        "8250_core.nr_uarts=1 8250_core.skip_txen_test=1 console=ttyS0,115200 nr_cpus=4 brd.rd_nr=0 "
        "pmtmr=0 -- -e 1 sh -c \"/bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug "
        "& exec sh\"";
    d.vm.topology.memory.enable_cold_discard_hint = true;
    d.vm.topology.processor.limit = 100000;
    d.vm.topology.processor.weight = 100;
    d.vm.topology.processor.cpu_group.present = true;
    d.vm.topology.processor.cpu_group.id = "2f2a3f0e-5d9c-4c0c-9e35-55d5e0cbd2a1";
    struct uvm__doc_devices *dev = &d.vm.devices;
    dev->com_ports = com_ports;
    dev->com_ports_count = 1;
    dev->vpmem.devices = vpmem_devices;
    dev->vpmem.devices_count = 1;
    dev->hvsocket.config.services = services;
    dev->hvsocket.config.services_count = 1;
    dev->vpci = vpci;
    dev->vpci_count = 1;
    d.vm.storage_qos = (struct uvm__doc_storage_qos){
        .present = true, .iops_maximum = 5000, .bandwidth_maximum = 104857600};
    return d;
}

struct world {
    uvm_engine *e;
    struct heap heap;
};

static int set_up(void **state) {
    static struct world w;
    memset(&w, 0, sizeof w);
    struct uvm_allocator a = heap_allocator(&w.heap);
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    p.allocator = &a;
    *state = &w;
    return uvm__engine_new_virtual(&p, 1, &w.e);
}

static int tear_down(void **state) {
    struct world *w = *state;
    uvm__engine_free_virtual(w->e);
    return 0;
}

static void expect_text(struct world *w, const struct uvm__doc *d, const char *expected) {
    char *text = NULL;
    size_t bytes = 0;
    struct uvm__fail f = {0};
    int rc = uvm__doc_build(w->e, d, &text, &bytes, &f);
    if (rc < 0) {
        fail_msg("%s", f.msg);
    }
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    uvm__free(w->e, text);
}

static void examples_come_out_of_the_builder(void **state) {
    struct uvm__doc a = document_a(), b = document_b();
    expect_text(*state, &a, example_a);
    expect_text(*state, &b, example_b);
}

static void read_ok(struct world *w, const char *text, struct uvm__doc *ret) {
    struct uvm__fail f = {0};
    int rc = uvm__doc_read(w->e, text, strlen(text), ret, &f);
    if (rc < 0) {
        fail_msg("%s", f.msg);
    }
}

static void examples_survive_the_round_trip(void **state) {
    struct world *w = *state;
    const char *const texts[] = {example_a, example_b};
    for (size_t i = 0; i < 2; i++) {
        struct uvm__doc d;
        read_ok(w, texts[i], &d);
        expect_text(w, &d, texts[i]);
        uvm__doc_deinit(&d);
    }
}

static void fields_are_where_they_belong(void **state) {
    struct world *w = *state;
    struct uvm__doc d;
    read_ok(w, example_b, &d);
    assert_string_equal(d.owner, "engine.exe");
    assert_true(d.vm.stop_on_reset && d.terminate_on_last_handle_closed);
    assert_int_equal(d.vm.topology.memory.size_in_mb, 2048);
    assert_true(d.vm.topology.memory.enable_cold_discard_hint);
    assert_int_equal(d.vm.topology.processor.limit, 100000);
    assert_null(d.vm.chipset.linux_kernel_direct.init_rd_path);
    assert_int_equal(d.vm.devices.scsi_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(d.vm.devices.scsi[i].guid, uvm__doc_scsi_controller_guids[i]);
        assert_int_equal(d.vm.devices.scsi[i].attachments_count, 0);
    }
    assert_int_equal(d.vm.devices.com_ports[0].number, 0);
    assert_string_equal(d.vm.devices.com_ports[0].named_pipe, "\\\\.\\pipe\\uvm-com1");
    assert_int_equal(d.vm.devices.vpmem.maximum_size_bytes, 4294967296u);
    assert_true(d.vm.devices.vpmem.devices[0].read_only);
    assert_true(d.vm.devices.hvsocket.config.services[0].allow_wildcard_binds);
    assert_true(d.vm.devices.plan9.present);
    assert_int_equal(d.vm.devices.vpci[0].functions[0].virtual_function, 1);
    assert_int_equal(d.vm.storage_qos.bandwidth_maximum, 104857600);
    uvm__doc_deinit(&d);
    uvm__doc_deinit(&d); /* a zeroed one, too */
}

static void lists_and_numa_survive(void **state) {
    struct world *w = *state;
    static const uint64_t nodes[] = {0, 3};
    static const struct uvm__doc_numa_setting settings[] = {
        {.virtual_node_number = 0,
         .physical_node_number = 1,
         .count_of_processors = 1,
         .count_of_memory_blocks = 512,
         .memory_backing_type = "Physical"},
        {.virtual_node_number = 1,
         .physical_node_number = 2,
         .virtual_socket_number = 1,
         .count_of_processors = 1,
         .count_of_memory_blocks = 512},
    };
    struct uvm__doc d = document_a();
    d.vm.topology.memory.allow_overcommit = false;
    d.vm.topology.memory.slit_type = "FirmwareFallbackMeasured";
    d.vm.topology.processor.numa_processors.present = true;
    d.vm.topology.processor.numa_processors.count_per_node.present = true;
    d.vm.topology.processor.numa_processors.count_per_node.max = 1;
    d.vm.topology.numa = (struct uvm__doc_numa){.present = true,
                                                .virtual_node_count = 2,
                                                .preferred_physical_nodes = nodes,
                                                .preferred_physical_nodes_count = 2,
                                                .settings = settings,
                                                .settings_count = 2};
    char *text = NULL;
    size_t bytes = 0;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__doc_build(w->e, &d, &text, &bytes, &f), 0);
    assert_non_null(strstr(text, "\"NumaProcessorsSettings\":{\"count_per_node\":{\"max\":1}}"));
    assert_non_null(strstr(text, "\"PreferredPhysicalNodes\":[0,3],\"Settings\":[{"));
    struct uvm__doc back;
    read_ok(w, text, &back);
    assert_int_equal(back.vm.topology.numa.preferred_physical_nodes[1], 3);
    assert_int_equal(back.vm.topology.numa.settings[1].physical_node_number, 2);
    expect_text(w, &back, text);
    uvm__doc_deinit(&back);
    uvm__free(w->e, text);
}

/* A bad document is example A (or B) with one piece of text replaced. */
#define SHARE(name, access, path)                                                                  \
    "{\"Name\":\"" name "\",\"AccessName\":\"" access "\",\"Path\":\"" path "\",\"Port\":564}"
static const struct bad {
    const char *from, *to;
    int code;
    const char *message;
} bads[] = {
    {"\"Count\":2", "\"Count\":0", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: missing or zero"},
    {"\"Count\":2", "\"Count\":1025", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: 1025 is out of range (1 to 1024)"},
    {"\"Count\":2", "\"Count\":-1", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: must be an integer from 1 to 1024"},
    {"\"Count\":2", "\"Count\":2.0", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: must be an integer from 1 to 1024"},
    {"\"Count\":2", "\"Count\":18446744073709551616", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: must be an integer from 1 to 1024"},
    {"\"Count\":2", "\"Count\":\"2\"", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: must be a number, is a string"},
    {"\"Count\":2", "\"count\":2", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.count: unknown field; did you mean Count?"},
    {"\"Count\":2", "\"Count\":2,\"Limit\":100001", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Limit: 100001 is out of range (0 to 100000)"},
    {"\"Processor\":{\"Count\":2}", "\"Processor\":{}", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor.Count: missing"},
    {",\"Processor\":{\"Count\":2}", "", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor: missing"},
    {"\"Processor\":{\"Count\":2}", "\"Processor\":null", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Processor: must be an object, is null"},
    {"\"SizeInMB\":1024", "\"SizeInMB\":1023", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Memory.SizeInMB: 1023 is odd; memory comes in steps of 2 MB"},
    {"\"SizeInMB\":1024", "\"SizeInMB\":16777218", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Memory.SizeInMB: 16777218 is out of range (2 to 16777216)"},
    {"\"AllowOvercommit\":true", "\"AllowOvercommit\":1", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Memory.AllowOvercommit: must be a boolean, is a number"},
    {"\"AllowOvercommit\":true", "\"EnableDeferredCommit\":true", UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Memory.EnableDeferredCommit: needs AllowOvercommit: physical "
     "memory is committed at once"},
    {"\"AllowOvercommit\":true", "\"Backing\":\"Virtual\"", UVM_E_UNSUPPORTED,
     "VirtualMachine.ComputeTopology.Memory.Backing: AllowOvercommit says how memory is backed"},
    {"\"Major\":2", "\"Major\":1", UVM_E_INVAL, "SchemaVersion.Major: 1 is out of range (2 to 2)"},
    {"\"SchemaVersion\":{\"Major\":2,\"Minor\":1},", "", UVM_E_INVAL, "SchemaVersion: missing"},
    {"\"Owner\":\"engine.exe\"", "\"Owner\":7", UVM_E_INVAL,
     "Owner: must be a string, is a number"},
    {"\"Owner\":\"engine.exe\"", "\"Owner\":\"a\",\"Owner\":\"b\"", UVM_E_PROTOCOL, "document: "},
    {"\"Owner\":\"engine.exe\"", "\"Container\":{}", UVM_E_UNSUPPORTED,
     "Container: containers are the guest's to make"},
    {"\"Owner\":\"engine.exe\"", "\"Ow\\u001b[2J\\u00e9\":1", UVM_E_INVAL,
     "Ow?[2J??: unknown field"},
    {"\"StopOnReset\":true", "\"RegistryChanges\":{}", UVM_E_UNSUPPORTED,
     "VirtualMachine.RegistryChanges: only a Windows utility VM has it"},
    {"\"StopOnReset\":true", "\"GuestState\":{}", UVM_E_UNSUPPORTED,
     "VirtualMachine.GuestState: confidential VMs are not supported here"},
    {"\"LinuxKernelDirect\":{", "\"Uefi\":{},\"LinuxKernelDirect\":{", UVM_E_UNSUPPORTED,
     "VirtualMachine.Chipset.Uefi: a Linux utility VM boots by LinuxKernelDirect here"},
    {"\"KernelFilePath\":\"C:\\\\LinuxBootFiles\\\\vmlinux\"", "\"KernelFilePath\":\"\"",
     UVM_E_INVAL, "VirtualMachine.Chipset.LinuxKernelDirect.KernelFilePath: missing or empty"},
    {"\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{}}", "\"Scsi\":{\"zero\":{}}",
     UVM_E_INVAL, "VirtualMachine.Devices.Scsi.zero: the key must be a GUID"},
    {"\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{}}",
     "\"Scsi\":{\"df6d0690-79e5-55b6-a5ec-c1e2f77f580a\":{},"
     "\"DF6D0690-79e5-55b6-a5ec-c1e2f77f580a\":{}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.Scsi.DF6D0690-79e5-55b6-a5ec-c1e2f77f580a: the same GUID twice"},
    {"c1e2f77f580a\":{}", "c1e2f77f580a\":{\"Attachments\":{\"64\":{}}}", UVM_E_INVAL,
     "VirtualMachine.Devices.Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Attachments.64: the key must "
     "be a number from 0 to 63"},
    {"c1e2f77f580a\":{}", "c1e2f77f580a\":{\"Attachments\":{\"01\":{}}}", UVM_E_INVAL,
     "VirtualMachine.Devices.Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Attachments.01: the key must "
     "be a number from 0 to 63"},
    {"c1e2f77f580a\":{}",
     "c1e2f77f580a\":{\"Attachments\":{\"0\":{\"Type\":\"Floppy\",\"Path\":\"/a\"}}}", UVM_E_INVAL,
     "VirtualMachine.Devices.Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Attachments.0.Type: must be "
     "one of VirtualDisk|PassThru|ExtensibleVirtualDisk"},
    {"c1e2f77f580a\":{}",
     "c1e2f77f580a\":{\"Attachments\":{\"0\":{\"Type\":\"ExtensibleVirtualDisk\",\"Path\":\"/a\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a.Attachments.0."},
    {"\"MaximumSizeBytes\":4294967296", "\"MaximumSizeBytes\":4294967297", UVM_E_INVAL,
     "VirtualMachine.Devices.VirtualPMem.MaximumSizeBytes: 4294967297 is not a positive multiple of "
     "4096"},
    {"\"MaximumCount\":64", "\"MaximumCount\":129", UVM_E_INVAL,
     "VirtualMachine.Devices.VirtualPMem.MaximumCount: 129 is out of range (0 to 128)"},
    {"\"MaximumCount\":64", "\"MaximumCount\":1,\"Devices\":{\"1\":{\"HostPath\":\"/a\"}}",
     UVM_E_INVAL, "VirtualMachine.Devices.VirtualPMem.Devices: device 1, but MaximumCount is 1"},
    {"\"Plan9\":{}", "\"Plan9\":{\"Shares\":[{\"Name\":\"0\"}]}", UVM_E_INVAL,
     "VirtualMachine.Devices.Plan9.Shares[0].AccessName: missing"},
    {"\"Plan9\":{}", "\"Plan9\":{\"Shares\":[" SHARE("a", "0", "/x") "," SHARE("a", "1", "/y") "]}",
     UVM_E_INVAL, "VirtualMachine.Devices.Plan9.Shares[1]: Name \"a\" is there twice"},
    {"\"Plan9\":{}", "\"Plan9\":{\"Shares\":[" SHARE("0", "0", "x") "]}", UVM_E_INVAL,
     "VirtualMachine.Devices.Plan9.Shares[0].Path: must be absolute"},
    {"\"Plan9\":{}", "\"Plan9\":{\"Shares\":[" SHARE("0", "a,b", "/x") "]}", UVM_E_INVAL,
     "VirtualMachine.Devices.Plan9.Shares[0].AccessName: must be 1 to 63 letters"},
    {"\"Plan9\":{}", "\"Plan9\":[]", UVM_E_INVAL,
     "VirtualMachine.Devices.Plan9: must be an object, is an array"},
    {"\"Plan9\":{}",
     "\"VirtualPci\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"Functions\":[{}]}}", UVM_E_INVAL,
     "VirtualMachine.Devices.VirtualPci.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.Functions[0]."
     "DeviceInstancePath: missing"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"MacAddress\":\"01:00:00:00:00:01\"}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.MacAddress: is no address of one adapter (such as 02:00:00:12:34:56)"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Type: missing"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"Bridge\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Type: must be one of User|Tap|NetworkNamespace|Stream"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"Tap\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Name: missing; Type Tap needs it"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"User\",\"Name\":\"t\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Name: Type User does not have it"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"Tap\",\"Name\":\"a/b\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Name: is no name of an interface"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"Stream\",\"Path\":\"s\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Path: must be absolute"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"User\",\"Mtu\":67}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Mtu: must be 68 at least"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"LinuxEndpoint\":{\"Type\":\"User\",\"Bridge\":\"b\"}}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.LinuxEndpoint.Bridge: unknown field"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"IovSettings\":{}}}",
     UVM_E_UNSUPPORTED,
     "VirtualMachine.Devices.NetworkAdapters.6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1.IovSettings: not supported here yet"},
    {"\"Plan9\":{}",
     "\"NetworkAdapters\":{\"6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"MacAddress\":\"02-00-00-00-00-0A\"},"
     "\"7d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1\":{\"MacAddress\":\"02:00:00:00:00:0a\"}}",
     UVM_E_INVAL,
     "VirtualMachine.Devices.NetworkAdapters.7d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1: has the MacAddress of "
     "6d0c7f4e-8c15-4a0b-9a8e-2f4ce9f0b7d1"},
    {"\"Plan9\":{}", "\"ComPorts\":{\"2\":{\"NamedPipe\":\"p\"}}", UVM_E_INVAL,
     "VirtualMachine.Devices.ComPorts.2: the key must be a number from 0 to 1"},
    {"\"Processor\":{\"Count\":2}", "\"Processor\":{\"Count\":2},\"Numa\":{\"VirtualNodeCount\":1}",
     UVM_E_INVAL, "VirtualMachine.ComputeTopology.Numa: needs AllowOvercommit to be off"},
    {"\"AllowOvercommit\":true},\"Processor\":{\"Count\":2}",
     "\"AllowOvercommit\":false},\"Processor\":{\"Count\":2},\"Numa\":{\"Settings\":[{"
     "\"CountOfProcessors\":2,\"CountOfMemoryBlocks\":512}]}",
     UVM_E_INVAL,
     "VirtualMachine.ComputeTopology.Numa: nodes sum up to 2 processors and 512 MB, the VM has 2 and "
     "1024"},
    {"{\"Owner\"", "[{\"Owner\"", UVM_E_PROTOCOL, "document: "},
    {"\"ShouldTerminateOnLastHandleClosed\":true}", "", UVM_E_PROTOCOL, "document: "},
};

static char *replaced(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    assert_non_null(at);
    size_t bytes = strlen(text) - strlen(from) + strlen(to) + 1;
    char *ret = malloc(bytes);
    assert_non_null(ret);
    int n = snprintf(ret, bytes, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(n, bytes - 1);
    return ret;
}

static void bad_documents_are_refused_by_name(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        char *text = replaced(example_a, bads[i].from, bads[i].to);
        struct uvm__doc d = {.owner = "untouched"};
        struct uvm__fail f = {0};
        int rc = uvm__doc_read(w->e, text, strlen(text), &d, &f);
        if (rc != -bads[i].code || strncmp(f.msg, bads[i].message, strlen(bads[i].message)) != 0) {
            fail_msg("row %zu (%s): %d \"%s\", expected \"%s\"", i, bads[i].to, rc, f.msg,
                     bads[i].message);
        }
        assert_string_equal(d.owner, "untouched");
        free(text);
    }
}

static void builder_refuses_what_the_reader_refuses(void **state) {
    struct world *w = *state;
    struct uvm__doc d = document_a();
    struct uvm__fail f = {0};
    char *text = NULL;
    size_t bytes = 0;
    d.vm.topology.processor.count = 0;
    assert_int_equal(uvm__doc_build(w->e, &d, &text, &bytes, &f), -UVM_E_INVAL);
    assert_string_equal(f.msg, "VirtualMachine.ComputeTopology.Processor.Count: missing or zero");
    d = document_a();
    d.vm.chipset.present = false;
    assert_int_equal(uvm__doc_build(w->e, &d, &text, &bytes, &f), -UVM_E_INVAL);
    assert_string_equal(f.msg, "VirtualMachine.Chipset: missing");
    d = document_a();
    struct uvm__doc_scsi_controller twice[] = {{.guid = uvm__doc_scsi_controller_guids[0]},
                                               {.guid = uvm__doc_scsi_controller_guids[0]}};
    d.vm.devices.scsi = twice;
    d.vm.devices.scsi_count = 2;
    assert_int_equal(uvm__doc_build(w->e, &d, &text, &bytes, &f), -UVM_E_INVAL);
    assert_string_equal(f.msg, "VirtualMachine.Devices.Scsi.df6d0690-79e5-55b6-a5ec-c1e2f77f580a: "
                               "the same key twice");
    d = document_a();
    d.vm.topology.memory.size_in_mb = 3;
    assert_int_equal(uvm__doc_build(w->e, &d, &text, &bytes, &f), -UVM_E_INVAL);
    assert_null(text);
}

static void too_long_a_document_is_refused(void **state) {
    struct world *w = *state;
    size_t bytes = (1u << 20) + 1;
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, ' ', bytes);
    struct uvm__doc d;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__doc_read(w->e, text, bytes, &d, &f), -UVM_E_LIMIT);
    assert_string_equal(f.msg, "document: 1048577 bytes; at most 1048576");
    free(text);
}

static void nth_allocation_fails(void **state) {
    struct world *w = *state;
    bool ok = false;
    for (uint32_t n = 1; n < 100 && !ok; n++) {
        struct uvm__doc d = {0};
        struct uvm__fail f = {0};
        w->heap.allocs = 0;
        w->heap.fail_at = n;
        int rc = uvm__doc_read(w->e, example_b, strlen(example_b), &d, &f);
        char *text = NULL;
        size_t bytes;
        if (rc == 0) {
            rc = uvm__doc_build(w->e, &d, &text, &bytes, &f);
        }
        ok = rc == 0;
        assert_true(ok || rc == -UVM_E_NOMEM);
        uvm__free(w->e, text);
        uvm__doc_deinit(&d);
    }
    assert_true(ok);
    w->heap.fail_at = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_come_out_of_the_builder),
        cmocka_unit_test(examples_survive_the_round_trip),
        cmocka_unit_test(fields_are_where_they_belong),
        cmocka_unit_test(lists_and_numa_survive),
        cmocka_unit_test(bad_documents_are_refused_by_name),
        cmocka_unit_test(builder_refuses_what_the_reader_refuses),
        cmocka_unit_test(too_long_a_document_is_refused),
        cmocka_unit_test(nth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
