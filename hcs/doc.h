/* SPDX-License-Identifier: MIT
 * doc.h — ComputeSystem documents (HCS schema 2) of a Linux utility VM, as typed structs.
 *
 * One schema (doc_schema.c) describes each object once: key, type, place in the struct, range. The
 * reader and the builder both walk it, so what the one writes the other reads, in the schema's key order.
 * As in the schema's own rule, a field that is zero, empty or absent is the same thing and is not
 * written; an object is there when its `present` is set, also when it is empty ({}).
 *
 * The reader is strict: exact keys, unknown fields refused, fields that no service here can honour refused
 * by name, ranges checked, every error begins with the JSON path ("VirtualMachine.ComputeTopology.
 * Memory.SizeInMB: …"). What one service cannot honour although it is well-formed is that service's to
 * refuse. Keys of maps: GUIDs in either case, numbers in decimal without leading zeros.
 *
 * Ownership: a document that was read owns its strings and arrays; one that a caller fills in borrows
 * what the caller points it at, and is never freed. Threading: none needed, plain data.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define UVM__DOC_SCSI_CONTROLLERS_MAX 4u
#define UVM__DOC_SCSI_LUNS_MAX 64u
#define UVM__DOC_VPMEM_DEVICES_MAX 128u
#define UVM__DOC_VPMEM_PAGE_BYTES 4096u  /* devices and mappings are multiples of it */
#define UVM__DOC_MAC_BYTES 6u            /* of a network adapter's address */
#define UVM__DOC_INTERFACE_BYTES_MAX 15u /* an interface's name, as Linux has it */
#define UVM__DOC_LINUX_PATH_BYTES_MAX                                                              \
    107u                        /* a namespace's or a socket's, as a unix socket's may have */
#define UVM__DOC_MTU_MIN 68u    /* the smallest MTU of a network adapter: IPv4's */
#define UVM__DOC_MTU_MAX 65521u /* a tap's */
#define UVM__DOC_MEMORY_MB_MAX (16u << 20)
#define UVM__DOC_PROCESSORS_MAX 1024u
#define UVM__DOC_ITEMS_MAX 1024u          /* members of one map or list */
#define UVM__DOC_SHARE_NAME_BYTES_MAX 63u /* a share's name */

/* Instance GUIDs of the four SCSI controllers, by number (hcsshim's
 * internal/protocol/guestrequest/types.go). */
extern const char *const uvm__doc_scsi_controller_guids[UVM__DOC_SCSI_CONTROLLERS_MAX];
struct uvm__doc;
/* The number of the document's nth controller: the four have theirs, others take what is left. */
unsigned uvm__doc_scsi_number(const struct uvm__doc *doc, size_t index);

struct uvm__doc_linux_kernel_direct {
    bool present;
    const char *kernel_file_path;
    const char *init_rd_path;
    const char *kernel_cmd_line;
};

struct uvm__doc_chipset {
    bool present;
    struct uvm__doc_linux_kernel_direct linux_kernel_direct;
};

struct uvm__doc_memory {
    bool present;
    uint64_t size_in_mb; /* even */
    bool allow_overcommit;
    bool enable_hot_hint;
    bool enable_cold_hint;
    bool enable_cold_discard_hint;
    bool enable_deferred_commit;
    uint64_t low_mmio_gap_in_mb;
    uint64_t high_mmio_base_in_mb;
    uint64_t high_mmio_gap_in_mb;
    const char *slit_type;
};

struct uvm__doc_numa_processors {
    bool present;
    struct {
        bool present;
        uint64_t max;
    } count_per_node;
    uint64_t node_per_socket;
};

struct uvm__doc_cpu_group {
    bool present;
    const char *id;
};

struct uvm__doc_processor {
    bool present;
    uint64_t count;
    uint64_t limit;  /* 1…100000; 100000: all of every processor */
    uint64_t weight; /* 1…10000; the platform's default is 100 */
    uint64_t reservation;
    struct uvm__doc_cpu_group cpu_group;
    struct uvm__doc_numa_processors numa_processors;
};

struct uvm__doc_numa_setting {
    uint64_t virtual_node_number;
    uint64_t physical_node_number; /* 255: any */
    uint64_t virtual_socket_number;
    uint64_t count_of_processors;
    uint64_t count_of_memory_blocks;
    const char *memory_backing_type;
};

struct uvm__doc_numa {
    bool present;
    uint64_t virtual_node_count;
    const uint64_t *preferred_physical_nodes;
    size_t preferred_physical_nodes_count;
    const struct uvm__doc_numa_setting *settings;
    size_t settings_count;
    uint64_t max_size_per_node;
};

struct uvm__doc_topology {
    bool present;
    struct uvm__doc_memory memory;
    struct uvm__doc_processor processor;
    struct uvm__doc_numa numa;
};

struct uvm__doc_com_port {
    uint64_t number; /* key */
    const char *named_pipe;
    bool optimize_for_debugger;
};

struct uvm__doc_scsi_attachment {
    uint64_t lun; /* key */
    const char *type;
    const char *path;
    bool ignore_flushes;
    const char *caching_mode;
    bool no_write_hardening;
    bool disable_expansion_optimization;
    bool ignore_relative_locator;
    bool capture_io_attribution_context;
    bool read_only;
    bool support_compressed_volumes;
    bool always_allow_sparse_files;
    const char *extensible_virtual_disk_type;
};

struct uvm__doc_scsi_controller {
    const char *guid; /* key */
    const struct uvm__doc_scsi_attachment *attachments;
    size_t attachments_count;
};

struct uvm__doc_vpmem_device {
    uint64_t number; /* key */
    const char *host_path;
    bool read_only;
    const char *image_format;
};

struct uvm__doc_vpmem {
    bool present;
    const struct uvm__doc_vpmem_device *devices;
    size_t devices_count;
    uint64_t maximum_count;
    uint64_t maximum_size_bytes; /* multiple of 4096 */
    const char *backing;
};

/* Ours, not the schema's: what an adapter is joined to on a Linux host, where no HNS endpoint exists. */
struct uvm__doc_linux_endpoint {
    bool present;
    const char *type;      /* User, Tap, NetworkNamespace or Stream */
    const char *name;      /* Tap: the tap's, in the owner's network namespace */
    const char *path;      /* NetworkNamespace: its file; Stream: a unix socket to connect to */
    const char *interface; /* NetworkNamespace: the one in it whose place the guest takes (eth0) */
    uint64_t mtu;          /* the guest's; 0: the default, or the interface's */
};

struct uvm__doc_nic {
    const char *guid;        /* key */
    const char *endpoint_id; /* of HNS */
    const char *mac_address; /* six pairs of hexadecimal digits, with "-" or ":" between */
    struct uvm__doc_linux_endpoint linux_endpoint;
};

struct uvm__doc_hvsocket_service {
    const char *guid; /* key */
    const char *bind_security_descriptor;
    const char *connect_security_descriptor;
    bool allow_wildcard_binds;
    bool disabled;
};

struct uvm__doc_hvsocket {
    bool present;
    struct {
        bool present;
        const char *default_bind_security_descriptor;
        const char *default_connect_security_descriptor;
        const struct uvm__doc_hvsocket_service *services;
        size_t services_count;
    } config;
};

/* Hints for an SMB server's caches and locks are among them; what a service makes of those is its own affair. */
struct uvm__doc_vsmb_options {
    bool present;
    bool read_only;
    bool share_read;
    bool cache_io;
    bool no_oplocks;
    bool take_backup_privilege;
    bool use_share_root_identity;
    bool no_directmap;
    bool no_locks;
    bool no_dirnotify;
    bool vm_shared_memory;
    bool restrict_file_access; /* to allowed_files, of which there is one at least then */
    bool force_level_ii_oplocks;
    bool reparse_base_layer;
    bool pseudo_oplocks;
    bool non_cache_io;
    bool pseudo_dirnotify;
    bool single_file_mapping;
};

struct uvm__doc_vsmb_share {
    const char *name;
    const char *path;                 /* a folder */
    const char *const *allowed_files; /* whole paths of files in it */
    size_t allowed_files_count;
    struct uvm__doc_vsmb_options options;
};

struct uvm__doc_vsmb {
    bool present;
    const struct uvm__doc_vsmb_share *shares;
    size_t shares_count;
};

/* Flags of a Plan9 share (hcsshim's internal/uvm/plan9.go). */
#define UVM__DOC_PLAN9_READ_ONLY 0x1u
#define UVM__DOC_PLAN9_LINUX_METADATA 0x4u
#define UVM__DOC_PLAN9_CASE_SENSITIVE 0x8u
#define UVM__DOC_PLAN9_ROOT_IDENTITY 0x10u
#define UVM__DOC_PLAN9_RESTRICT_FILES 0x80u
#define UVM__DOC_PLAN9_UNLIMITED_CONNECTIONS 0x100u

struct uvm__doc_plan9_share {
    const char *name;
    const char *access_name; /* what the guest attaches to (aname) */
    const char *path;        /* a folder */
    uint64_t port;           /* of hvsock */
    uint64_t flags;
    const char *const *allowed_files; /* bare names; go with RESTRICT_FILES */
    size_t allowed_files_count;
};

struct uvm__doc_plan9 {
    bool present;
    const struct uvm__doc_plan9_share *shares;
    size_t shares_count;
};

struct uvm__doc_vpci_function {
    const char *device_instance_path;
    uint64_t virtual_function;
};

struct uvm__doc_vpci {
    const char *guid; /* key */
    const struct uvm__doc_vpci_function *functions;
    size_t functions_count;
    bool propagate_numa_affinity;
};

struct uvm__doc_devices {
    bool present;
    const struct uvm__doc_com_port *com_ports;
    size_t com_ports_count;
    const struct uvm__doc_scsi_controller *scsi;
    size_t scsi_count;
    struct uvm__doc_vpmem vpmem;
    const struct uvm__doc_nic *nics;
    size_t nics_count;
    struct uvm__doc_hvsocket hvsocket;
    struct uvm__doc_vsmb vsmb;
    struct uvm__doc_plan9 plan9;
    const struct uvm__doc_vpci *vpci;
    size_t vpci_count;
};

struct uvm__doc_storage_qos {
    bool present;
    uint64_t iops_maximum;
    uint64_t bandwidth_maximum;
};

struct uvm__doc_vm {
    bool present;
    bool stop_on_reset;
    struct uvm__doc_chipset chipset;
    struct uvm__doc_topology topology;
    struct uvm__doc_devices devices;
    struct uvm__doc_storage_qos storage_qos;
    const char *resource_partition_id;
};

struct uvm__doc {
    const char *owner;
    struct {
        bool present;
        uint64_t major, minor;
    } schema_version;
    struct uvm__doc_vm vm;
    bool terminate_on_last_handle_closed;
    struct uvm__doc_store *store; /* of a document that was read; NULL otherwise */
};

/* The bytes of a MAC address in text, of one machine and not zero; -UVM_E_INVAL. */
int uvm__doc_read_mac(const char *text, uint8_t ret[UVM__DOC_MAC_BYTES]);

/* Reads and checks a document. -UVM_E_INVAL (a field is wrong), -UVM_E_UNSUPPORTED (a field that nobody
 * here honours), -UVM_E_PROTOCOL (not JSON), -UVM_E_LIMIT, -UVM_E_NOMEM; then `f` says where and why
 * and `ret` is untouched. The caller releases with uvm__doc_deinit(). */
int uvm__doc_read(uvm_engine *e, const char *text, size_t bytes, struct uvm__doc *ret,
                  struct uvm__fail *f);
void uvm__doc_deinit(struct uvm__doc *doc); /* accepts NULL, a zeroed and a filled-in one */

/* The rules that reach over several fields; read and build both call it. */
int uvm__doc_check(const struct uvm__doc *doc, struct uvm__fail *f);

/* Checks a filled-in document and writes it as compact JSON, which the engine's uvm__free() releases. */
int uvm__doc_build(uvm_engine *e, const struct uvm__doc *doc, char **ret_text, size_t *ret_bytes,
                   struct uvm__fail *f);
