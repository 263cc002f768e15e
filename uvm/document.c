/* SPDX-License-Identifier: MIT
 * document.c — options to a ComputeSystem document, alone or on top of one that was given.
 *
 * The document is the one that a Hyper-V host would get: what cannot hold on another platform is that
 * platform's to rewrite, in its service. On top of a given document only the fields change that an option
 * names; in its command line the words that belong to the option are replaced or added, all else stays.
 */
#include "uvm/document.h"
#include "async/alloc.h"
#include "async/buf.h"
#include "async/limits.h"
#include "async/log.h"
#include "hcs/doc.h"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* Only the system and administrators may bind: hvsock of a VM is the engine's. */
#define BIND_SD "D:P(A;;FA;;;SY)(A;;FA;;;BA)"
#define INIT_MARK " -- "

/* ---- command line ------------------------------------------------------------------------- */

static const char *or_default(const char *text, const char *other) {
    return text == NULL ? other : text;
}

static int puts_all(struct uvm__buf *b, const char *const *parts) {
    for (size_t i = 0; parts[i] != NULL; i++) {
        int rc = uvm__buf_puts(b, parts[i]);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* As hcsshim's internal/uvm/create_lcow.go does for a kernel with no debug console. A root on a disk boots
 * through the initrd, too, which carries out what the kernel's arguments say of it. */
static int put_cmdline(struct uvm__buf *b, const struct uvm__options *o) {
    const char *const before[] = {
        o->rootfs == NULL    ? ""
        : o->rootfs_on_vpmem ? "root=/dev/pmem0 ro rootwait init=/init"
                             : "root=/dev/sda ro rootwait init=/init",
        " initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet",
        o->append == NULL ? "" : " ",
        or_default(o->append, ""),
        o->vpci ? "" : " pci=off",
        NULL};
    int rc = puts_all(b, before);
    rc = rc < 0 ? rc
                : uvm__buf_printf(b, " nr_cpus=%u brd.rd_nr=0 pmtmr=0" INIT_MARK "-e 1",
                                  o->cpus == 0 ? UVM__DEFAULT_CPUS : o->cpus);
    const char *const after[] = {o->rootfs == NULL ? "" : " -w",
                                 " /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel ",
                                 or_default(o->log_level, "info"),
                                 o->agent_args == NULL ? "" : " ",
                                 or_default(o->agent_args, ""),
                                 o->no_time_sync ? " -disable-time-sync" : "",
                                 NULL};
    return rc < 0 ? rc : puts_all(b, after);
}

/* The word that begins with `key` in text[0…len), and its length; NULL: none. */
static const char *find_word(const char *text, size_t len, const char *key, size_t *ret_len) {
    size_t key_len = strlen(key);
    for (size_t at = 0; at < len;) {
        size_t n = strcspn(text + at, " ");
        n = at + n > len ? len - at : n;
        if (n >= key_len && memcmp(text + at, key, key_len) == 0) {
            *ret_len = n;
            return text + at;
        }
        at += n + 1;
    }
    return NULL;
}

/* The kernel's part of a given line: nr_cpus as the option says, and what is to be appended. */
static int put_kernel_words(struct uvm__buf *b, const struct uvm__options *o, const char *text,
                            size_t len) {
    size_t word_len = 0;
    const char *word = o->cpus == 0 ? NULL : find_word(text, len, "nr_cpus=", &word_len);
    size_t head = word == NULL ? len : (size_t)(word - text);
    int rc = uvm__buf_append(b, text, head);
    if (rc == 0 && word != NULL) {
        rc = uvm__buf_printf(b, "nr_cpus=%u", o->cpus);
        rc = rc < 0 ? rc : uvm__buf_append(b, word + word_len, len - head - word_len);
    }
    if (rc == 0 && o->append != NULL) {
        rc = uvm__buf_printf(b, " %s", o->append);
    }
    return rc;
}

/* The init's part, which begins with the mark: the agent's arguments come last. */
static int put_init_words(struct uvm__buf *b, const struct uvm__options *o, const char *text) {
    static const char flag[] = " -loglevel ";
    const char *level = o->log_level == NULL ? NULL : strstr(text, flag);
    int rc;
    if (level == NULL) {
        rc = uvm__buf_puts(b, text);
        if (rc == 0 && o->log_level != NULL) {
            rc = uvm__buf_printf(b, "%s%s", flag, o->log_level);
        }
    } else {
        const char *value = level + strlen(flag);
        rc = uvm__buf_append(b, text, (size_t)(value - text));
        rc = rc < 0 ? rc : uvm__buf_puts(b, o->log_level);
        rc = rc < 0 ? rc : uvm__buf_puts(b, value + strcspn(value, " "));
    }
    if (rc == 0 && o->agent_args != NULL) {
        rc = uvm__buf_printf(b, " %s", o->agent_args);
    }
    if (rc == 0 && o->no_time_sync) {
        rc = uvm__buf_puts(b, " -disable-time-sync");
    }
    return rc;
}

static int put_edited_cmdline(struct uvm__buf *b, const struct uvm__options *o, const char *base) {
    const char *mark = strstr(base, INIT_MARK);
    size_t kernel_len = mark == NULL ? strlen(base) : (size_t)(mark - base);
    int rc = put_kernel_words(b, o, base, kernel_len);
    bool for_init = o->log_level != NULL || o->agent_args != NULL || o->no_time_sync;
    if (rc == 0 && (mark != NULL || for_init)) {
        rc = put_init_words(b, o, mark == NULL ? " --" : mark);
    }
    return rc;
}

static int build_cmdline(const struct uvm__options *o, const char *base, struct uvm__buf *ret,
                         struct uvm__fail *f) {
    uvm__buf_init(ret, o->engine, UVM__CMDLINE_BYTES_MAX);
    int rc = base == NULL ? put_cmdline(ret, o) : put_edited_cmdline(ret, o, base);
    if (rc == -UVM_E_LIMIT) {
        return uvm__fail(f, UVM_E_LIMIT, 0,
                         "append: the kernel's command line would have more "
                         "than %u bytes",
                         UVM__CMDLINE_BYTES_MAX);
    }
    return rc;
}

int uvm__document_cmdline(const struct uvm__options *o, char **ret_text, struct uvm__fail *f) {
    struct uvm__buf b;
    int rc = build_cmdline(o, NULL, &b, f);
    if (rc < 0) {
        uvm__buf_deinit(&b);
        return rc;
    }
    *ret_text = (char *)b.data;
    return 0;
}

/* ---- fields ------------------------------------------------------------------------------- */

struct merge {
    const struct uvm__options *o;
    bool on_top; /* of a given document */
};

static void set_text(const struct merge *m, const char *option, const char *path,
                     const char **field, const char *text) {
    if (text == NULL) {
        return;
    }
    if (m->on_top && (*field == NULL || strcmp(*field, text) != 0)) {
        uvm__log(m->o->engine, UVM_LOG_WARN, m->o->name, "%s \"%s\" wins over %s of the document",
                 option, text, path);
    }
    *field = text;
}

static void set_number(const struct merge *m, const char *option, const char *path, uint64_t *field,
                       uint64_t value) {
    if (value == 0) {
        return;
    }
    if (m->on_top && *field != value) {
        uvm__log(m->o->engine, UVM_LOG_WARN, m->o->name,
                 "%s %" PRIu64 " wins over %s %" PRIu64 " of the document", option, value, path,
                 *field);
    }
    *field = value;
}

#define TOPOLOGY "VirtualMachine.ComputeTopology."
#define DEVICES "VirtualMachine.Devices."
#define CHIPSET "VirtualMachine.Chipset.LinuxKernelDirect."

static void set_topology(const struct merge *m, struct uvm__doc *d) {
    const struct uvm__options *o = m->o;
    struct uvm__doc_memory *mem = &d->vm.topology.memory;
    struct uvm__doc_processor *cpu = &d->vm.topology.processor;
    set_number(m, "memory", TOPOLOGY "Memory.SizeInMB", &mem->size_in_mb, o->memory_mb);
    set_number(m, "cpus", TOPOLOGY "Processor.Count", &cpu->count, o->cpus);
    set_number(m, "limit", TOPOLOGY "Processor.Limit", &cpu->limit, o->cpu_limit);
    set_number(m, "weight", TOPOLOGY "Processor.Weight", &cpu->weight, o->cpu_weight);
    set_number(m, "lowmmiogapinmb", TOPOLOGY "Memory.LowMmioGapInMB", &mem->low_mmio_gap_in_mb,
               o->low_mmio_gap_mb);
    set_number(m, "highmmiobaseinmb", TOPOLOGY "Memory.HighMmioBaseInMB",
               &mem->high_mmio_base_in_mb, o->high_mmio_base_mb);
    set_number(m, "highmmiogapinmb", TOPOLOGY "Memory.HighMmioGapInMB", &mem->high_mmio_gap_in_mb,
               o->high_mmio_gap_mb);
    mem->allow_overcommit = (m->on_top ? mem->allow_overcommit : true) && !o->no_overcommit;
    mem->enable_deferred_commit = mem->enable_deferred_commit || o->deferred_commit;
    mem->enable_cold_discard_hint = mem->enable_cold_discard_hint || o->cold_discard;
    struct uvm__doc_storage_qos *qos = &d->vm.storage_qos;
    set_number(m, "iopsmaximum", "VirtualMachine.StorageQoS.IopsMaximum", &qos->iops_maximum,
               o->iops_max);
    set_number(m, "bandwidthmaximum", "VirtualMachine.StorageQoS.BandwidthMaximum",
               &qos->bandwidth_maximum, o->bandwidth_max);
    qos->present = qos->iops_maximum != 0 || qos->bandwidth_maximum != 0;
}

static void set_files(const struct merge *m, struct uvm__doc *d) {
    struct uvm__doc_linux_kernel_direct *k = &d->vm.chipset.linux_kernel_direct;
    set_text(m, "owner", "Owner", &d->owner, m->o->owner);
    set_text(m, "kernel", CHIPSET "KernelFilePath", &k->kernel_file_path, m->o->kernel);
    set_text(m, "initrd", CHIPSET "InitRdPath", &k->init_rd_path, m->o->initrd);
}

/* Controllers, named as the guest's agent looks for them, without disks but for the root's. */
static void set_controllers(const struct uvm__options *o, struct uvm__doc *d,
                            struct uvm__doc_scsi_controller room[UVM__DOC_SCSI_CONTROLLERS_MAX],
                            struct uvm__doc_scsi_attachment *root) {
    uint32_t count = o->scsi_controllers == 0 ? UVM_SCSI_CONTROLLERS_DEFAULT : o->scsi_controllers;
    for (uint32_t i = 0; i < count; i++) {
        room[i] = (struct uvm__doc_scsi_controller){.guid = uvm__doc_scsi_controller_guids[i]};
    }
    if (o->rootfs != NULL && !o->rootfs_on_vpmem) {
        *root = (struct uvm__doc_scsi_attachment){
            .type = "VirtualDisk", .path = o->rootfs, .read_only = true};
        room[0].attachments = root;
        room[0].attachments_count = 1;
    }
    d->vm.devices.scsi = room;
    d->vm.devices.scsi_count = count;
}

/* The root's device; the others are empty. */
static void set_vpmem_root(const struct uvm__options *o, struct uvm__doc *d,
                           struct uvm__doc_vpmem_device *root) {
    if (o->rootfs_on_vpmem) {
        *root = (struct uvm__doc_vpmem_device){
            .host_path = o->rootfs, .read_only = true, .image_format = "Vhd1"};
        d->vm.devices.vpmem.devices = root;
        d->vm.devices.vpmem.devices_count = 1;
    }
}

static void set_vpmem(const struct merge *m, struct uvm__doc *d) {
    struct uvm__doc_vpmem *v = &d->vm.devices.vpmem;
    set_number(m, "vpmem_devices", DEVICES "VirtualPMem.MaximumCount", &v->maximum_count,
               m->o->vpmem_devices);
    set_number(m, "vpmem_device_mb", DEVICES "VirtualPMem.MaximumSizeBytes", &v->maximum_size_bytes,
               m->o->vpmem_bytes);
    v->present = v->present || v->maximum_count != 0;
}

static void note_controllers(struct uvm__options *o, const struct uvm__doc *d) {
    o->scsi_mask = 0;
    o->attachments = d->vm.devices.vpmem.devices_count > 0 || d->vm.devices.vsmb.shares_count > 0 ||
                     d->vm.devices.plan9.shares_count > 0 || d->vm.devices.vpci_count > 0 ||
                     d->vm.devices.nics_count > 0;
    for (size_t i = 0; i < d->vm.devices.scsi_count; i++) {
        const struct uvm__doc_scsi_controller *c = &d->vm.devices.scsi[i];
        o->attachments = o->attachments || c->attachments_count > 0;
        for (unsigned n = 0; n < UVM__DOC_SCSI_CONTROLLERS_MAX; n++) {
            bool same = strcasecmp(c->guid, uvm__doc_scsi_controller_guids[n]) == 0;
            o->scsi_mask |= (uint8_t)(same ? 1u << n : 0);
        }
    }
}

/* What every Linux UVM has (hcsshim's internal/uvm/create_lcow.go). Disks are attached by the boot. */
static void set_skeleton(struct uvm__doc *d) {
    d->owner = "uvm";
    d->schema_version.present = true;
    d->schema_version.major = 2;
    d->schema_version.minor = 1;
    d->terminate_on_last_handle_closed = true;
    struct uvm__doc_vm *vm = &d->vm;
    vm->present = true;
    vm->stop_on_reset = true;
    vm->chipset.present = true;
    vm->chipset.linux_kernel_direct.present = true;
    vm->topology.present = true;
    vm->topology.memory.present = true;
    vm->topology.memory.size_in_mb = UVM__DEFAULT_MEMORY_MB;
    vm->topology.processor.present = true;
    vm->topology.processor.count = UVM__DEFAULT_CPUS;
    vm->devices.present = true;
    vm->devices.hvsocket.present = true;
    vm->devices.hvsocket.config.present = true;
    vm->devices.hvsocket.config.default_bind_security_descriptor = BIND_SD;
}

static int check_files(const struct uvm__options *o, struct uvm__fail *f) {
    if (o->kernel == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "kernel: no path was given");
    }
    if (o->initrd == NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "initrd: no path was given");
    }
    return 0;
}

static int write_out(struct uvm__options *o, struct uvm__doc *d, bool on_top, char **ret_text,
                     size_t *ret_bytes, struct uvm__fail *f) {
    const struct merge m = {o, on_top};
    struct uvm__buf cmdline;
    const char **line = &d->vm.chipset.linux_kernel_direct.kernel_cmd_line;
    int rc = build_cmdline(o, on_top ? *line : NULL, &cmdline, f);
    if (rc == 0) {
        set_files(&m, d);
        set_topology(&m, d);
        set_vpmem(&m, d);
        *line = (const char *)cmdline.data;
        rc = uvm__doc_build(o->engine, d, ret_text, ret_bytes, f);
    }
    if (rc == 0) {
        o->cpus = (uint32_t)d->vm.topology.processor.count;
        o->memory_mb = d->vm.topology.memory.size_in_mb;
        note_controllers(o, d);
    }
    uvm__buf_deinit(&cmdline);
    return rc;
}

int uvm__document_build(struct uvm__options *o, const char *base, size_t base_bytes,
                        char **ret_text, size_t *ret_bytes, struct uvm__fail *f) {
    struct uvm__doc d = {0};
    struct uvm__doc_scsi_controller controllers[UVM__DOC_SCSI_CONTROLLERS_MAX];
    struct uvm__doc_scsi_attachment root;
    struct uvm__doc_vpmem_device vpmem_root;
    int rc;
    f->msg[0] = 0;
    if (base == NULL) {
        rc = check_files(o, f);
        set_skeleton(&d);
        set_controllers(o, &d, controllers, &root);
        set_vpmem_root(o, &d, &vpmem_root);
    } else {
        rc = uvm__doc_read(o->engine, base, base_bytes, &d, f);
    }
    if (rc < 0) {
        return rc;
    }
    rc = write_out(o, &d, base != NULL, ret_text, ret_bytes, f);
    uvm__doc_deinit(&d);
    return rc;
}
