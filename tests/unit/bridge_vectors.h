/* SPDX-License-Identifier: MIT
 * bridge_vectors.h — frames that the reference (hcsshim) wrote: header and body.
 */
#pragma once
#include "bridge/message.h"

#define A "\"ActivityId\":\"00000000-0000-0000-0000-000000000000\""
#define Z UVM__NULL_ID

struct vector {
    const char *name;
    uint8_t header[UVM__FRAME_HEADER_BYTES];
    const char *body;
};

static const struct vector negotiate_request = {
    "11.1",
    {0x01, 0x0b, 0x10, 0x10, 0x7d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"\"," A ",\"MinimumVersion\":4,\"MaximumVersion\":4}\n",
};
static const struct vector negotiate_response = {
    "11.2",
    {0x01, 0x0b, 0x10, 0x20, 0x56, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A ",\"Version\":4,\"Capabilities\":{\"SupportedSchemaVersions\":[{\"Major\":2,"
    "\"Minor\":1}],\"RuntimeOsType\":\"Linux\",\"GuestDefinedCapabilities\":{"
    "\"NamespaceAddRequestSupported\":true,\"SignalProcessSupported\":true,"
    "\"DumpStacksSupported\":true,\"DeleteContainerStateSupported\":true}}}",
};
static const struct vector modify_request = {
    "11.3",
    {0x01, 0x0a, 0x10, 0x10, 0x16, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"" Z "\"," A ",\"Request\":{\"RequestType\":\"Add\",\"ResourceType\":"
    "\"MappedVirtualDisk\",\"Settings\":{\"MountPath\":\"/run/mounts/scsi/m0\",\"Lun\":1,"
    "\"ReadOnly\":true,\"Options\":[\"ro\"]}}}\n",
};
static const struct vector plain_response = {
    "11.4",
    {0x01, 0x0a, 0x10, 0x20, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A "}",
};
#define CONFIG_INNER                                                                               \
    "{\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"OciBundlePath\":\"/run/gcs/c/c1\","            \
    "\"OciSpecification\":{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"  \
    "\"args\":[\"sleep\",\"60\"],\"env\":[\"A=\\u003cb\\u003e\"],\"cwd\":\"/\"},\"root\":{"        \
    "\"path\":\"/run/gcs/c/c1/rootfs\"},\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]}},"         \
    "\"ScratchDirPath\":\"/run/gcs/c/c1/scratch/c1\"}"
static const struct vector create_request = {
    "11.5",
    {0x01, 0x01, 0x10, 0x10, 0xf3, 0x01, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"ContainerConfig\":\"{\\\"SchemaVersion\\\":{\\\"Major\\\":2,"
    "\\\"Minor\\\":1},\\\"OciBundlePath\\\":\\\"/run/gcs/c/c1\\\",\\\"OciSpecification\\\":{"
    "\\\"ociVersion\\\":\\\"1.0.2\\\",\\\"process\\\":{\\\"user\\\":{\\\"uid\\\":0,\\\"gid\\\":0},"
    "\\\"args\\\":[\\\"sleep\\\",\\\"60\\\"],\\\"env\\\":[\\\"A=\\\\u003cb\\\\u003e\\\"],"
    "\\\"cwd\\\":\\\"/\\\"},\\\"root\\\":{\\\"path\\\":\\\"/run/gcs/c/c1/rootfs\\\"},\\\"linux\\\":{"
    "\\\"namespaces\\\":[{\\\"type\\\":\\\"pid\\\"}]}},\\\"ScratchDirPath\\\":"
    "\\\"/run/gcs/c/c1/scratch/c1\\\"}\"}\n",
};
static const struct vector create_response = {
    "11.6",
    {0x01, 0x01, 0x10, 0x20, 0x6c, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A ",\"SelectedProtocolVersion\":0}",
};
static const struct vector init_request = {
    "11.7",
    {0x01, 0x05, 0x10, 0x10, 0xf6, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"Settings\":{\"ProcessParameters\":\"{"
    "\\\"CreateStdOutPipe\\\":true,\\\"CreateStdErrPipe\\\":true}\",\"VsockStdioRelaySettings\":{"
    "\"StdOut\":1073741825,\"StdErr\":1073741826}}}\n",
};
static const struct vector execute_response = {
    "11.8",
    {0x01, 0x05, 0x10, 0x20, 0x60, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A ",\"ProcessId\":213}",
};
static const struct vector wait_request = {
    "11.9",
    {0x01, 0x06, 0x10, 0x10, 0x82, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"ProcessId\":213,\"TimeoutInMs\":4294967295}\n",
};
static const struct vector wait_response = {
    "11.10",
    {0x01, 0x06, 0x10, 0x20, 0x5f, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A ",\"ExitCode\":137}",
};
static const struct vector signal_request = {
    "11.11",
    {0x01, 0x07, 0x10, 0x10, 0x81, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"ProcessId\":213,\"Options\":{\"Signal\":15}}\n",
};
static const struct vector error_response = {
    "11.12",
    {0x01, 0x07, 0x10, 0x20, 0xfa, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":-2147023728," A ",\"ErrorMessage\":\"HRESULT: 0x80070490\",\"ErrorRecords\":[{"
    "\"Result\":-2147023728,\"Message\":\"HRESULT: 0x80070490\",\"ModuleName\":\"gcs\","
    "\"FileName\":\"\",\"Line\":4294967295}]}",
};
static const struct vector notification = {
    "11.13",
    {0x01, 0x01, 0x10, 0x30, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"Type\":\"ForcedExit\",\"Operation\":\"None\",\"Result\":0}",
};
static const struct vector start_request = {
    "11.14 Start",
    {0x01, 0x02, 0x10, 0x10, 0x59, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A "}\n",
};
static const struct vector kill_request = {
    "11.14 Kill",
    {0x01, 0x07, 0x10, 0x10, 0x69, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"ProcessId\":213}\n",
};
static const struct vector resize_request = {
    "11.14 Resize",
    {0x01, 0x08, 0x10, 0x10, 0x81, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"ProcessId\":213,\"Height\":40,\"Width\":120}\n",
};
static const struct vector execute_request = {
    "11.14 ExecuteProcess in the UVM",
    {0x01, 0x05, 0x10, 0x10, 0x9a, 0x01, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"" Z "\"," A ",\"Settings\":{\"ProcessParameters\":\"{\\\"CommandArgs\\\":["
    "\\\"sh\\\",\\\"-c\\\",\\\"ls \\\\u003e /run/x \\\\u0026\\\\u0026 echo \\\\\\\"ok\\\\\\\"\\\"],"
    "\\\"WorkingDirectory\\\":\\\"/\\\",\\\"Environment\\\":{\\\"HOME\\\":\\\"/root\\\","
    "\\\"PATH\\\":\\\"/usr/bin:/bin\\\"},\\\"CreateStdOutPipe\\\":true}\","
    "\"VsockStdioRelaySettings\":{\"StdOut\":1073741827}}}\n",
};
static const struct vector properties_request = {
    "11.14 Get properties",
    {0x01, 0x09, 0x10, 0x10, 0x89, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0},
    "{\"ContainerId\":\"c1\"," A ",\"Query\":\"{\\\"PropertyTypes\\\":[\\\"ProcessList\\\"]}\"}\n",
};
static const struct vector properties_response = {
    "11.14 Get properties response",
    {0x01, 0x09, 0x10, 0x20, 0x87, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0},
    "{\"Result\":0," A ",\"Properties\":\"{\\\"ProcessList\\\":[{\\\"ProcessId\\\":213}]}\"}",
};
