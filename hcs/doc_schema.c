/* SPDX-License-Identifier: MIT
 * doc_schema.c — the schema of a Linux utility VM's ComputeSystem document, one row a field.
 *
 * Rows stand in the order in which the reference writes the keys (hcsshim's internal/hcs/schema2), since
 * the builder writes them as they stand. A field that the schema has but that makes no sense for a Linux
 * UVM, or that nobody here can honour yet, is a REFUSED row with its reason, so that an error can name it;
 * a key without a row is unknown. The rules over several fields at once are in uvm__doc_check().
 */
#include "hcs/doc_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_ANY UINT64_MAX

#define STRING(s, member, name, ...)                                                               \
    { .key = (name), .kind = UVM__DOC_STRING, .offset = offsetof(s, member), __VA_ARGS__ }
#define FLAG(s, member, name)                                                                      \
    { .key = (name), .kind = UVM__DOC_BOOL, .offset = offsetof(s, member) }
#define NUMBER(s, member, name, lowest, highest, ...)                                              \
    {                                                                                              \
        .key = (name), .kind = UVM__DOC_U64, .offset = offsetof(s, member), .min = (lowest),       \
        .max = (highest), __VA_ARGS__                                                              \
    }
#define OBJECT(s, member, name, row_type, ...)                                                     \
    {                                                                                              \
        .key = (name), .kind = UVM__DOC_OBJECT, .offset = offsetof(s, member),                     \
        .type = &(row_type), __VA_ARGS__                                                           \
    }
#define ITEMS(s, member, name, how, row_type, highest)                                             \
    {                                                                                              \
        .key = (name), .kind = (how), .offset = offsetof(s, member),                               \
        .count_offset = offsetof(s, member##_count), .type = (row_type), .max = (highest)          \
    }
#define REFUSED(name, why)                                                                         \
    { .key = (name), .kind = UVM__DOC_REFUSED, .text = (why) }
#define REQUIRED .required = true
#define ONE_OF(words) .text = (words)
#define END                                                                                        \
    { .key = NULL }

#define WINDOWS_ONLY "only a Windows utility VM has it"
#define NOT_YET "not supported here yet"
#define HOT_ADD "not supported at boot; add the device to the running VM"

const char *const uvm__doc_scsi_controller_guids[UVM__DOC_SCSI_CONTROLLERS_MAX] = {
    "df6d0690-79e5-55b6-a5ec-c1e2f77f580a",
    "0110f83b-de10-5172-a266-78bca56bf50a",
    "b5d2d8d4-3a75-51bf-945b-3444dc6b8579",
    "305891a9-b251-5dfe-91a2-c25d9212275b",
};

static const struct uvm__doc_field kernel_fields[] = {
    STRING(struct uvm__doc_linux_kernel_direct, kernel_file_path, "KernelFilePath", REQUIRED),
    STRING(struct uvm__doc_linux_kernel_direct, init_rd_path, "InitRdPath"),
    STRING(struct uvm__doc_linux_kernel_direct, kernel_cmd_line, "KernelCmdLine"),
    END,
};
static const struct uvm__doc_type kernel_type = {.fields = kernel_fields};

static const struct uvm__doc_field chipset_fields[] = {
    REFUSED("Uefi", "a Linux utility VM boots by LinuxKernelDirect here"),
    REFUSED("IsNumLockDisabled", NOT_YET),
    REFUSED("BaseBoardSerialNumber", NOT_YET),
    REFUSED("ChassisSerialNumber", NOT_YET),
    REFUSED("ChassisAssetTag", NOT_YET),
    REFUSED("UseUtc", NOT_YET),
    OBJECT(struct uvm__doc_chipset, linux_kernel_direct, "LinuxKernelDirect", kernel_type,
           REQUIRED),
    REFUSED("FirmwareFile", "a Linux utility VM boots by LinuxKernelDirect here"),
    END,
};
static const struct uvm__doc_type chipset_type = {.fields = chipset_fields};

static const struct uvm__doc_field memory_fields[] = {
    NUMBER(struct uvm__doc_memory, size_in_mb, "SizeInMB", 2, UVM__DOC_MEMORY_MB_MAX, REQUIRED),
    REFUSED("Backing", "AllowOvercommit says how memory is backed"),
    FLAG(struct uvm__doc_memory, allow_overcommit, "AllowOvercommit"),
    FLAG(struct uvm__doc_memory, enable_hot_hint, "EnableHotHint"),
    FLAG(struct uvm__doc_memory, enable_cold_hint, "EnableColdHint"),
    FLAG(struct uvm__doc_memory, enable_cold_discard_hint, "EnableColdDiscardHint"),
    FLAG(struct uvm__doc_memory, enable_deferred_commit, "EnableDeferredCommit"),
    NUMBER(struct uvm__doc_memory, low_mmio_gap_in_mb, "LowMmioGapInMB", 0, 4096),
    NUMBER(struct uvm__doc_memory, high_mmio_base_in_mb, "HighMmioBaseInMB", 0, 1ull << 32),
    NUMBER(struct uvm__doc_memory, high_mmio_gap_in_mb, "HighMmioGapInMB", 0, 1ull << 32),
    STRING(struct uvm__doc_memory, slit_type, "SlitType"),
    END,
};
static const struct uvm__doc_type memory_type = {.fields = memory_fields};

static const struct uvm__doc_field per_node_fields[] = {
    {.key = "max",
     .kind = UVM__DOC_U64,
     .offset = offsetof(struct uvm__doc_numa_processors, count_per_node.max) -
               offsetof(struct uvm__doc_numa_processors, count_per_node),
     .min = 0,
     .max = UVM__DOC_PROCESSORS_MAX},
    END,
};
static const struct uvm__doc_type per_node_type = {.fields = per_node_fields};

static const struct uvm__doc_field numa_processors_fields[] = {
    OBJECT(struct uvm__doc_numa_processors, count_per_node, "count_per_node", per_node_type),
    NUMBER(struct uvm__doc_numa_processors, node_per_socket, "node_per_socket", 0, 64),
    END,
};
static const struct uvm__doc_type numa_processors_type = {.fields = numa_processors_fields};

static const struct uvm__doc_field cpu_group_fields[] = {
    STRING(struct uvm__doc_cpu_group, id, "Id", REQUIRED),
    END,
};
static const struct uvm__doc_type cpu_group_type = {.fields = cpu_group_fields};

static const struct uvm__doc_field processor_fields[] = {
    NUMBER(struct uvm__doc_processor, count, "Count", 1, UVM__DOC_PROCESSORS_MAX, REQUIRED),
    NUMBER(struct uvm__doc_processor, limit, "Limit", 0, 100000),
    NUMBER(struct uvm__doc_processor, weight, "Weight", 0, 10000),
    NUMBER(struct uvm__doc_processor, reservation, "Reservation", 0, 100000),
    OBJECT(struct uvm__doc_processor, cpu_group, "CpuGroup", cpu_group_type),
    OBJECT(struct uvm__doc_processor, numa_processors, "NumaProcessorsSettings",
           numa_processors_type),
    END,
};
static const struct uvm__doc_type processor_type = {.fields = processor_fields};

static const struct uvm__doc_field numa_setting_fields[] = {
    NUMBER(struct uvm__doc_numa_setting, virtual_node_number, "VirtualNodeNumber", 0, 64),
    NUMBER(struct uvm__doc_numa_setting, physical_node_number, "PhysicalNodeNumber", 0, 255),
    NUMBER(struct uvm__doc_numa_setting, virtual_socket_number, "VirtualSocketNumber", 0, 64),
    NUMBER(struct uvm__doc_numa_setting, count_of_processors, "CountOfProcessors", 0,
           UVM__DOC_PROCESSORS_MAX),
    NUMBER(struct uvm__doc_numa_setting, count_of_memory_blocks, "CountOfMemoryBlocks", 0,
           UVM__DOC_MEMORY_MB_MAX),
    STRING(struct uvm__doc_numa_setting, memory_backing_type, "MemoryBackingType",
           ONE_OF("Physical|Virtual|Hybrid")),
    END,
};
static const struct uvm__doc_type numa_setting_type = {
    .fields = numa_setting_fields, .bytes = sizeof(struct uvm__doc_numa_setting)};

static const struct uvm__doc_field numa_fields[] = {
    NUMBER(struct uvm__doc_numa, virtual_node_count, "VirtualNodeCount", 0, 64),
    ITEMS(struct uvm__doc_numa, preferred_physical_nodes, "PreferredPhysicalNodes",
          UVM__DOC_NUMBERS, NULL, 63),
    ITEMS(struct uvm__doc_numa, settings, "Settings", UVM__DOC_LIST, &numa_setting_type,
          NUMBER_ANY),
    NUMBER(struct uvm__doc_numa, max_size_per_node, "MaxSizePerNode", 0, UVM__DOC_MEMORY_MB_MAX),
    END,
};
static const struct uvm__doc_type numa_type = {.fields = numa_fields};

static const struct uvm__doc_field topology_fields[] = {
    OBJECT(struct uvm__doc_topology, memory, "Memory", memory_type, REQUIRED),
    OBJECT(struct uvm__doc_topology, processor, "Processor", processor_type, REQUIRED),
    OBJECT(struct uvm__doc_topology, numa, "Numa", numa_type),
    REFUSED("Gpu", NOT_YET),
    END,
};
static const struct uvm__doc_type topology_type = {.fields = topology_fields};

static const struct uvm__doc_field com_port_fields[] = {
    STRING(struct uvm__doc_com_port, named_pipe, "NamedPipe", REQUIRED),
    FLAG(struct uvm__doc_com_port, optimize_for_debugger, "OptimizeForDebugger"),
    END,
};
static const struct uvm__doc_type com_port_type = {.fields = com_port_fields,
                                                   .bytes = sizeof(struct uvm__doc_com_port),
                                                   .key = UVM__DOC_KEY_INDEX};

static const struct uvm__doc_field attachment_fields[] = {
    STRING(struct uvm__doc_scsi_attachment, type, "Type", REQUIRED,
           ONE_OF("VirtualDisk|PassThru|ExtensibleVirtualDisk")),
    STRING(struct uvm__doc_scsi_attachment, path, "Path", REQUIRED),
    FLAG(struct uvm__doc_scsi_attachment, ignore_flushes, "IgnoreFlushes"),
    STRING(struct uvm__doc_scsi_attachment, caching_mode, "CachingMode"),
    FLAG(struct uvm__doc_scsi_attachment, no_write_hardening, "NoWriteHardening"),
    FLAG(struct uvm__doc_scsi_attachment, disable_expansion_optimization,
         "DisableExpansionOptimization"),
    FLAG(struct uvm__doc_scsi_attachment, ignore_relative_locator, "IgnoreRelativeLocator"),
    FLAG(struct uvm__doc_scsi_attachment, capture_io_attribution_context,
         "CaptureIoAttributionContext"),
    FLAG(struct uvm__doc_scsi_attachment, read_only, "ReadOnly"),
    FLAG(struct uvm__doc_scsi_attachment, support_compressed_volumes, "SupportCompressedVolumes"),
    FLAG(struct uvm__doc_scsi_attachment, always_allow_sparse_files, "AlwaysAllowSparseFiles"),
    STRING(struct uvm__doc_scsi_attachment, extensible_virtual_disk_type,
           "ExtensibleVirtualDiskType"),
    END,
};
const struct uvm__doc_type uvm__doc_attachment = {.fields = attachment_fields,
                                                  .bytes = sizeof(struct uvm__doc_scsi_attachment),
                                                  .key = UVM__DOC_KEY_INDEX};

static const struct uvm__doc_field controller_fields[] = {
    ITEMS(struct uvm__doc_scsi_controller, attachments, "Attachments", UVM__DOC_MAP,
          &uvm__doc_attachment, UVM__DOC_SCSI_LUNS_MAX - 1),
    END,
};
static const struct uvm__doc_type controller_type = {.fields = controller_fields,
                                                     .bytes =
                                                         sizeof(struct uvm__doc_scsi_controller),
                                                     .key = UVM__DOC_KEY_GUID};

static const struct uvm__doc_field vpmem_device_fields[] = {
    STRING(struct uvm__doc_vpmem_device, host_path, "HostPath", REQUIRED),
    FLAG(struct uvm__doc_vpmem_device, read_only, "ReadOnly"),
    STRING(struct uvm__doc_vpmem_device, image_format, "ImageFormat", ONE_OF("Vhd1|Vhdx")),
    REFUSED("Mappings", HOT_ADD),
    END,
};
const struct uvm__doc_type uvm__doc_vpmem_device = {.fields = vpmem_device_fields,
                                                    .bytes = sizeof(struct uvm__doc_vpmem_device),
                                                    .key = UVM__DOC_KEY_INDEX};

static const struct uvm__doc_field vpmem_mapping_fields[] = {
    STRING(struct uvm__doc_vpmem_device, host_path, "HostPath", REQUIRED),
    STRING(struct uvm__doc_vpmem_device, image_format, "ImageFormat", ONE_OF("Vhd1|Vhdx")),
    END,
};
const struct uvm__doc_type uvm__doc_vpmem_mapping = {.fields = vpmem_mapping_fields};

static const struct uvm__doc_field vpmem_fields[] = {
    ITEMS(struct uvm__doc_vpmem, devices, "Devices", UVM__DOC_MAP, &uvm__doc_vpmem_device,
          UVM__DOC_VPMEM_DEVICES_MAX - 1),
    NUMBER(struct uvm__doc_vpmem, maximum_count, "MaximumCount", 0, UVM__DOC_VPMEM_DEVICES_MAX),
    NUMBER(struct uvm__doc_vpmem, maximum_size_bytes, "MaximumSizeBytes", 0, 1ull << 42),
    STRING(struct uvm__doc_vpmem, backing, "Backing", ONE_OF("Physical|Virtual")),
    END,
};
static const struct uvm__doc_type vpmem_type = {.fields = vpmem_fields};

/* EndpointId and MacAddress are the schema's; LinuxEndpoint is ours. */
static const struct uvm__doc_field linux_endpoint_fields[] = {
    STRING(struct uvm__doc_linux_endpoint, type, "Type", REQUIRED,
           ONE_OF("User|Tap|NetworkNamespace|Stream")),
    STRING(struct uvm__doc_linux_endpoint, name, "Name"),
    STRING(struct uvm__doc_linux_endpoint, path, "Path"),
    STRING(struct uvm__doc_linux_endpoint, interface, "Interface"),
    NUMBER(struct uvm__doc_linux_endpoint, mtu, "Mtu", 0, UVM__DOC_MTU_MAX),
    END,
};
static const struct uvm__doc_type linux_endpoint_type = {.fields = linux_endpoint_fields};

static const struct uvm__doc_field nic_fields[] = {
    STRING(struct uvm__doc_nic, endpoint_id, "EndpointId"),
    STRING(struct uvm__doc_nic, mac_address, "MacAddress"),
    REFUSED("InstanceId", "the key is the adapter's id"),
    REFUSED("IovSettings", NOT_YET),
    REFUSED("NetworkId", NOT_YET),
    OBJECT(struct uvm__doc_nic, linux_endpoint, "LinuxEndpoint", linux_endpoint_type),
    END,
};
const struct uvm__doc_type uvm__doc_nic = {
    .fields = nic_fields, .bytes = sizeof(struct uvm__doc_nic), .key = UVM__DOC_KEY_GUID};

static const struct uvm__doc_field service_fields[] = {
    STRING(struct uvm__doc_hvsocket_service, bind_security_descriptor, "BindSecurityDescriptor"),
    STRING(struct uvm__doc_hvsocket_service, connect_security_descriptor,
           "ConnectSecurityDescriptor"),
    FLAG(struct uvm__doc_hvsocket_service, allow_wildcard_binds, "AllowWildcardBinds"),
    FLAG(struct uvm__doc_hvsocket_service, disabled, "Disabled"),
    END,
};
static const struct uvm__doc_type service_type = {.fields = service_fields,
                                                  .bytes = sizeof(struct uvm__doc_hvsocket_service),
                                                  .key = UVM__DOC_KEY_GUID};

#define HVSOCKET_CONFIG(member)                                                                    \
    (offsetof(struct uvm__doc_hvsocket, config.member) - offsetof(struct uvm__doc_hvsocket, config))
static const struct uvm__doc_field hvsocket_config_fields[] = {
    {.key = "DefaultBindSecurityDescriptor",
     .kind = UVM__DOC_STRING,
     .offset = HVSOCKET_CONFIG(default_bind_security_descriptor)},
    {.key = "DefaultConnectSecurityDescriptor",
     .kind = UVM__DOC_STRING,
     .offset = HVSOCKET_CONFIG(default_connect_security_descriptor)},
    {.key = "ServiceTable",
     .kind = UVM__DOC_MAP,
     .offset = HVSOCKET_CONFIG(services),
     .count_offset = HVSOCKET_CONFIG(services_count),
     .type = &service_type,
     .max = NUMBER_ANY},
    END,
};
static const struct uvm__doc_type hvsocket_config_type = {.fields = hvsocket_config_fields};

static const struct uvm__doc_field hvsocket_fields[] = {
    OBJECT(struct uvm__doc_hvsocket, config, "HvSocketConfig", hvsocket_config_type),
    END,
};
static const struct uvm__doc_type hvsocket_type = {.fields = hvsocket_fields};

static const struct uvm__doc_field vsmb_options_fields[] = {
    FLAG(struct uvm__doc_vsmb_options, read_only, "ReadOnly"),
    FLAG(struct uvm__doc_vsmb_options, share_read, "ShareRead"),
    FLAG(struct uvm__doc_vsmb_options, cache_io, "CacheIo"),
    FLAG(struct uvm__doc_vsmb_options, no_oplocks, "NoOplocks"),
    FLAG(struct uvm__doc_vsmb_options, take_backup_privilege, "TakeBackupPrivilege"),
    FLAG(struct uvm__doc_vsmb_options, use_share_root_identity, "UseShareRootIdentity"),
    FLAG(struct uvm__doc_vsmb_options, no_directmap, "NoDirectmap"),
    FLAG(struct uvm__doc_vsmb_options, no_locks, "NoLocks"),
    FLAG(struct uvm__doc_vsmb_options, no_dirnotify, "NoDirnotify"),
    FLAG(struct uvm__doc_vsmb_options, vm_shared_memory, "VmSharedMemory"),
    FLAG(struct uvm__doc_vsmb_options, restrict_file_access, "RestrictFileAccess"),
    FLAG(struct uvm__doc_vsmb_options, force_level_ii_oplocks, "ForceLevelIIOplocks"),
    FLAG(struct uvm__doc_vsmb_options, reparse_base_layer, "ReparseBaseLayer"),
    FLAG(struct uvm__doc_vsmb_options, pseudo_oplocks, "PseudoOplocks"),
    FLAG(struct uvm__doc_vsmb_options, non_cache_io, "NonCacheIo"),
    FLAG(struct uvm__doc_vsmb_options, pseudo_dirnotify, "PseudoDirnotify"),
    FLAG(struct uvm__doc_vsmb_options, single_file_mapping, "SingleFileMapping"),
    END,
};
static const struct uvm__doc_type vsmb_options_type = {.fields = vsmb_options_fields};

static const struct uvm__doc_field vsmb_share_fields[] = {
    STRING(struct uvm__doc_vsmb_share, name, "Name", REQUIRED),
    STRING(struct uvm__doc_vsmb_share, path, "Path", REQUIRED),
    ITEMS(struct uvm__doc_vsmb_share, allowed_files, "AllowedFiles", UVM__DOC_STRINGS, NULL, 0),
    OBJECT(struct uvm__doc_vsmb_share, options, "Options", vsmb_options_type),
    END,
};
const struct uvm__doc_type uvm__doc_vsmb_share = {.fields = vsmb_share_fields,
                                                  .bytes = sizeof(struct uvm__doc_vsmb_share)};

static const struct uvm__doc_field vsmb_name_fields[] = {
    STRING(struct uvm__doc_vsmb_share, name, "Name", REQUIRED),
    END,
};
const struct uvm__doc_type uvm__doc_vsmb_name = {.fields = vsmb_name_fields};

static const struct uvm__doc_field vsmb_fields[] = {
    ITEMS(struct uvm__doc_vsmb, shares, "Shares", UVM__DOC_LIST, &uvm__doc_vsmb_share, NUMBER_ANY),
    REFUSED("DirectFileMappingInMB", WINDOWS_ONLY),
    END,
};
static const struct uvm__doc_type vsmb_type = {.fields = vsmb_fields};

#define IN_FLAGS "Flags says so"
static const struct uvm__doc_field plan9_share_fields[] = {
    STRING(struct uvm__doc_plan9_share, name, "Name", REQUIRED),
    STRING(struct uvm__doc_plan9_share, access_name, "AccessName", REQUIRED),
    STRING(struct uvm__doc_plan9_share, path, "Path", REQUIRED),
    NUMBER(struct uvm__doc_plan9_share, port, "Port", 1, INT32_MAX, REQUIRED),
    NUMBER(struct uvm__doc_plan9_share, flags, "Flags", 0, INT32_MAX),
    REFUSED("ReadOnly", IN_FLAGS),
    REFUSED("UseShareRootIdentity", IN_FLAGS),
    ITEMS(struct uvm__doc_plan9_share, allowed_files, "AllowedFiles", UVM__DOC_STRINGS, NULL, 0),
    END,
};
const struct uvm__doc_type uvm__doc_plan9_share = {.fields = plan9_share_fields,
                                                   .bytes = sizeof(struct uvm__doc_plan9_share)};

static const struct uvm__doc_field plan9_name_fields[] = {
    STRING(struct uvm__doc_plan9_share, name, "Name", REQUIRED),
    STRING(struct uvm__doc_plan9_share, access_name, "AccessName", REQUIRED),
    NUMBER(struct uvm__doc_plan9_share, port, "Port", 1, INT32_MAX, REQUIRED),
    END,
};
const struct uvm__doc_type uvm__doc_plan9_name = {.fields = plan9_name_fields};

static const struct uvm__doc_field plan9_fields[] = {
    ITEMS(struct uvm__doc_plan9, shares, "Shares", UVM__DOC_LIST, &uvm__doc_plan9_share, 0),
    END,
};
static const struct uvm__doc_type plan9_type = {.fields = plan9_fields};

static const struct uvm__doc_field function_fields[] = {
    STRING(struct uvm__doc_vpci_function, device_instance_path, "DeviceInstancePath", REQUIRED),
    NUMBER(struct uvm__doc_vpci_function, virtual_function, "VirtualFunction", 0, 65535),
    END,
};
static const struct uvm__doc_type function_type = {.fields = function_fields,
                                                   .bytes = sizeof(struct uvm__doc_vpci_function)};

static const struct uvm__doc_field vpci_fields[] = {
    ITEMS(struct uvm__doc_vpci, functions, "Functions", UVM__DOC_LIST, &function_type, NUMBER_ANY),
    FLAG(struct uvm__doc_vpci, propagate_numa_affinity, "PropagateNumaAffinity"),
    END,
};
const struct uvm__doc_type uvm__doc_vpci = {
    .fields = vpci_fields, .bytes = sizeof(struct uvm__doc_vpci), .key = UVM__DOC_KEY_GUID};

static const struct uvm__doc_field devices_fields[] = {
    ITEMS(struct uvm__doc_devices, com_ports, "ComPorts", UVM__DOC_MAP, &com_port_type, 1),
    ITEMS(struct uvm__doc_devices, scsi, "Scsi", UVM__DOC_MAP, &controller_type, NUMBER_ANY),
    OBJECT(struct uvm__doc_devices, vpmem, "VirtualPMem", vpmem_type),
    ITEMS(struct uvm__doc_devices, nics, "NetworkAdapters", UVM__DOC_MAP, &uvm__doc_nic,
          NUMBER_ANY),
    REFUSED("VideoMonitor", "no graphics console here"),
    REFUSED("Keyboard", "no graphics console here"),
    REFUSED("Mouse", "no graphics console here"),
    OBJECT(struct uvm__doc_devices, hvsocket, "HvSocket", hvsocket_type),
    REFUSED("EnhancedModeVideo", "no graphics console here"),
    REFUSED("GuestCrashReporting", WINDOWS_ONLY),
    OBJECT(struct uvm__doc_devices, vsmb, "VirtualSmb", vsmb_type),
    OBJECT(struct uvm__doc_devices, plan9, "Plan9", plan9_type),
    REFUSED("Battery", NOT_YET),
    REFUSED("FlexibleIov", NOT_YET),
    REFUSED("SharedMemory", NOT_YET),
    REFUSED("MappedPipes", WINDOWS_ONLY),
    REFUSED("Licensing", WINDOWS_ONLY),
    ITEMS(struct uvm__doc_devices, vpci, "VirtualPci", UVM__DOC_MAP, &uvm__doc_vpci, NUMBER_ANY),
    END,
};
static const struct uvm__doc_type devices_type = {.fields = devices_fields};

static const struct uvm__doc_field storage_qos_fields[] = {
    NUMBER(struct uvm__doc_storage_qos, iops_maximum, "IopsMaximum", 0, INT32_MAX),
    NUMBER(struct uvm__doc_storage_qos, bandwidth_maximum, "BandwidthMaximum", 0, INT32_MAX),
    END,
};
static const struct uvm__doc_type storage_qos_type = {.fields = storage_qos_fields};

static const struct uvm__doc_field vm_fields[] = {
    REFUSED("Version", "only a confidential Windows utility VM has it"),
    FLAG(struct uvm__doc_vm, stop_on_reset, "StopOnReset"),
    OBJECT(struct uvm__doc_vm, chipset, "Chipset", chipset_type, REQUIRED),
    OBJECT(struct uvm__doc_vm, topology, "ComputeTopology", topology_type, REQUIRED),
    OBJECT(struct uvm__doc_vm, devices, "Devices", devices_type),
    REFUSED("GuestState", "confidential VMs are not supported here"),
    REFUSED("RestoreState", NOT_YET),
    REFUSED("RegistryChanges", WINDOWS_ONLY),
    OBJECT(struct uvm__doc_vm, storage_qos, "StorageQoS", storage_qos_type),
    REFUSED("DebugOptions", NOT_YET),
    REFUSED("GuestConnection", "the engine itself holds the guest's connection"),
    REFUSED("SecuritySettings", "confidential VMs are not supported here"),
    STRING(struct uvm__doc_vm, resource_partition_id, "ResourcePartitionId"),
    REFUSED("MigrationOptions", NOT_YET),
    END,
};
static const struct uvm__doc_type vm_type = {.fields = vm_fields};

/* Members of a struct without a name: their place relative to its begin. */
#define VERSION(member)                                                                            \
    (offsetof(struct uvm__doc, schema_version.member) - offsetof(struct uvm__doc, schema_version))
static const struct uvm__doc_field version_fields[] = {
    {.key = "Major",
     .kind = UVM__DOC_U64,
     .required = true,
     .offset = VERSION(major),
     .min = 2,
     .max = 2},
    {.key = "Minor", .kind = UVM__DOC_U64, .offset = VERSION(minor), .min = 0, .max = 99},
    END,
};
static const struct uvm__doc_type version_type = {.fields = version_fields};

static const struct uvm__doc_field root_fields[] = {
    STRING(struct uvm__doc, owner, "Owner"),
    OBJECT(struct uvm__doc, schema_version, "SchemaVersion", version_type, REQUIRED),
    REFUSED("HostingSystemId", "a utility VM is not hosted by another system"),
    REFUSED("HostedSystem", "a utility VM is not hosted by another system"),
    REFUSED("Container", "containers are the guest's to make"),
    OBJECT(struct uvm__doc, vm, "VirtualMachine", vm_type, REQUIRED),
    FLAG(struct uvm__doc, terminate_on_last_handle_closed, "ShouldTerminateOnLastHandleClosed"),
    END,
};
const struct uvm__doc_type uvm__doc_root = {.fields = root_fields};

/* Appends printable text; anything else becomes '?', since a path goes to a terminal. */
static void put_text(char *buf, size_t bytes, size_t *used, const char *text, size_t max) {
    for (size_t i = 0; text[i] != '\0' && i < max && *used + 1 < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        buf[(*used)++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    buf[*used] = '\0';
}

static void put_path(char *buf, size_t bytes, size_t *used, const struct uvm__doc_path *path) {
    if (path == NULL) {
        return;
    }
    put_path(buf, bytes, used, path->parent);
    if (path->key != NULL) {
        put_text(buf, bytes, used, *used > 0 ? "." : "", 1);
        put_text(buf, bytes, used, path->key, 48);
    } else {
        char number[32];
        snprintf(number, sizeof number, "[%zu]", path->index);
        put_text(buf, bytes, used, number, sizeof number);
    }
}

int uvm__doc_fail(struct uvm__fail *f, const struct uvm__doc_path *path, enum uvm_error_code code,
                  const char *fmt, ...) {
    char where[160] = "";
    char why[160];
    size_t used = 0;
    va_list ap;

    put_path(where, sizeof where, &used, path);
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return uvm__fail(f, code, 0, "%s: %s", used > 0 ? where : "document", why);
}

/* Whether `value` is one of the words of "A|B|C". */
static bool is_one_of(const char *words, const char *value) {
    size_t bytes = strlen(value);

    for (const char *at = words; at != NULL; at = strchr(at, '|')) {
        at += *at == '|' ? 1 : 0;
        if (strncmp(at, value, bytes) == 0 && (at[bytes] == '|' || at[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

int uvm__doc_check_string(const struct uvm__doc_field *row, const char *value,
                          const struct uvm__doc_path *path, struct uvm__fail *f) {
    if (value == NULL || value[0] == '\0') {
        return row->required ? uvm__doc_fail(f, path, UVM_E_INVAL, "missing or empty") : 0;
    }
    if (row->text != NULL && !is_one_of(row->text, value)) {
        return uvm__doc_fail(f, path, UVM_E_INVAL, "must be one of %s", row->text);
    }
    return 0;
}

int uvm__doc_check_number(const struct uvm__doc_field *row, uint64_t value,
                          const struct uvm__doc_path *path, struct uvm__fail *f) {
    if (value == 0 && row->required) {
        return uvm__doc_fail(f, path, UVM_E_INVAL, "missing or zero");
    }
    if (value < row->min || value > row->max) {
        return uvm__doc_fail(f, path, UVM_E_INVAL, "%llu is out of range (%llu to %llu)",
                             (unsigned long long)value, (unsigned long long)row->min,
                             (unsigned long long)row->max);
    }
    return 0;
}
