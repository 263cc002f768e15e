/* SPDX-License-Identifier: MIT
 * argv.c — QEMU's command line: a table of what every VM has, then what the document asks for.
 *
 * Nothing of the document reaches QEMU's option parser as text that it could misread: files, sockets and
 * memory are /proc/self/fd/N or fd=N, and the one free text, the kernel's line, is an argument of its own. PCI
 * places are fixed, because guests and templates depend on them:
 *     0x03 hvsock   0x04… SCSI controllers   0x10… root ports for hot-added devices   0x1e pvpanic
 */
#include "hcs/qemu/argv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"

#define SLOT_HVSOCK 0x3u
#define VPMEM_ALIGN_BYTES                                                                          \
    (128ull << 20) /* memory that is plugged later must begin at a multiple of it */

/* The same for every VM: no default devices, no files of the user, no window, an end that can be told
 * apart (pvpanic, no reboot unless the document wants one), and a system-call filter. */
static const char *const common[] = {
    "-nodefaults", "-no-user-config",
    "-display",    "none",
    "-sandbox",    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
};

static void add_text(struct uvm__argv *a, char *take_text) {
    if (take_text == NULL) {
        a->rc = a->rc < 0 ? a->rc : -UVM_E_NOMEM;
        return;
    }
    if (a->rc < 0) {
        uvm__free(a->engine, take_text);
        return;
    }
    UVM_ASSERT_CMP(a->count, <, UVM__QEMU_ARGS_MAX);
    a->args[a->count++] = take_text;
}

__attribute__((format(printf, 2, 3))) static void add(struct uvm__argv *a, const char *fmt, ...) {
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    UVM_ASSERT(n >= 0 && (size_t)n < sizeof text);
    add_text(a, uvm__strdup(a->engine, text));
}

static void add_common(struct uvm__argv *a, const char *qemu_path) {
    add_text(a, uvm__strdup(a->engine, qemu_path));
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        add(a, "%s", common[i]);
    }
}

static void add_accel(struct uvm__argv *a, bool kvm) {
    add(a, "-accel");
    add(a, "%s", kvm ? "kvm" : "tcg,thread=multi");
    add(a, "-cpu");
    add(a, "%s", kvm ? "host" : "max");
}

uint64_t uvm__qemu_vpmem_bytes(const struct uvm__doc *doc) {
    uint64_t bytes = doc->vm.devices.vpmem.maximum_size_bytes;
    return (bytes + VPMEM_ALIGN_BYTES - 1) & ~(VPMEM_ALIGN_BYTES - 1);
}

unsigned uvm__qemu_vpmem_count(const struct uvm__doc *doc) {
    uint64_t each = uvm__qemu_vpmem_bytes(doc), count = doc->vm.devices.vpmem.maximum_count;
    if (count == 0) {
        return 0;
    }
    uint64_t fit = (doc->vm.topology.memory.size_in_mb << 20) * UVM__QEMU_VPMEM_PER_RAM / each;
    count = count < UVM__QEMU_VPMEM_DEVICES_MAX ? count : UVM__QEMU_VPMEM_DEVICES_MAX;
    return (unsigned)(count < fit ? count : fit);
}

/* Slot n is device n, by which the guest finds it: the range's index in the firmware's table. */
static void add_vpmem(struct uvm__argv *a, const struct uvm__doc *doc) {
    for (unsigned n = 0; n < uvm__qemu_vpmem_count(doc); n++) {
        add(a, "-object");
        add(a,
            "memory-backend-file,id=pmem%u,mem-path=/proc/self/fd/%u,size=%llu,share=on,"
            "readonly=on,dump=off",
            n, UVM__QEMU_FD_VPMEM + n, (unsigned long long)uvm__qemu_vpmem_bytes(doc));
        add(a, "-device");
        add(a, "nvdimm,id=nvdimm%u,memdev=pmem%u,slot=%u,unarmed=on", n, n, n);
    }
}

static void add_memory(struct uvm__argv *a, const struct uvm__doc *doc) {
    const struct uvm__doc_memory *m = &doc->vm.topology.memory;
    unsigned long long mb = (unsigned long long)m->size_in_mb;
    unsigned vpmem = uvm__qemu_vpmem_count(doc);

    add(a, "-machine");
    add(a, "q35,memory-backend=ram0%s", vpmem > 0 ? ",nvdimm=on" : "");
    add(a, "-m");
    if (vpmem > 0) {
        /* A slot each, and an alignment's worth of address space beside each device. */
        unsigned long long room = vpmem * (uvm__qemu_vpmem_bytes(doc) + VPMEM_ALIGN_BYTES);
        add(a, "size=%lluM,slots=%u,maxmem=%lluM", mb, vpmem, mb + (room >> 20));
    } else {
        add(a, "size=%lluM", mb);
    }
    add(a, "-object");
    add(a, "memory-backend-file,id=ram0,mem-path=/proc/self/fd/%d,size=%lluM,share=on,dump=off%s",
        UVM__QEMU_FD_RAM, mb, m->allow_overcommit ? "" : ",prealloc=on");
    add_vpmem(a, doc);
}

static void add_processors(struct uvm__argv *a, uint64_t count, uint32_t possible) {
    UVM_ASSERT_CMP(count, <=, possible);
    add(a, "-smp");
    add(a, "%llu,sockets=1,cores=%u,threads=1,maxcpus=%u", (unsigned long long)count, possible,
        possible);
}

static void add_kernel(struct uvm__argv *a, const struct uvm__qemu_argv_params *params) {
    add(a, "-kernel");
    add(a, "/proc/self/fd/%d", UVM__QEMU_FD_KERNEL);
    add(a, "-initrd");
    add(a, "/proc/self/fd/%d", UVM__QEMU_FD_INITRD);
    add(a, "-append");
    add_text(a, uvm__strdup(a->engine, params->kernel_line));
}

static void add_qmp(struct uvm__argv *a) {
    add(a, "-chardev");
    add(a, "socket,id=qmp,fd=%d", UVM__QEMU_FD_QMP);
    add(a, "-mon");
    add(a, "chardev=qmp,mode=control");
}

static void add_channels(struct uvm__argv *a) {
    add_qmp(a);
    add(a, "-chardev");
    add(a, "socket,id=console,fd=%d", UVM__QEMU_FD_CONSOLE);
    add(a, "-serial");
    add(a, "chardev:console");
}

static void add_devices(struct uvm__argv *a, const struct uvm__doc *doc) {
    add(a, "-device");
    add(a, "pvpanic-pci,bus=pcie.0,addr=0x1e");
    add(a, "-chardev");
    add(a, "socket,id=hvsock,fd=%d", UVM__QEMU_FD_VSOCK);
    add(a, "-device");
    add(a, "vhost-user-vsock-pci,id=hvsock0,chardev=hvsock,bus=pcie.0,addr=0x%x", SLOT_HVSOCK);
    for (size_t i = 0; i < doc->vm.devices.scsi_count; i++) {
        unsigned n = uvm__doc_scsi_number(doc, i);
        add(a, "-device");
        add(a, "virtio-scsi-pci,id=scsi%u,bus=pcie.0,addr=0x%x", n, UVM__QEMU_SLOT_SCSI + n);
    }
    for (unsigned i = 0; i < UVM__QEMU_ROOT_PORTS; i++) {
        add(a, "-device");
        add(a, "pcie-root-port,id=rp%u,bus=pcie.0,chassis=%u,slot=%u,addr=0x%x", i, i + 1, i + 1,
            UVM__QEMU_SLOT_ROOT_PORT + i);
    }
}

static int finish(struct uvm__argv *a, struct uvm__argv *ret) {
    if (a->rc < 0) {
        int rc = a->rc;
        uvm__argv_deinit(a);
        return rc;
    }
    *ret = *a;
    return 0;
}

int uvm__qemu_argv(uvm_engine *e, const struct uvm__qemu_argv_params *params,
                   struct uvm__argv *ret) {
    struct uvm__argv a = {.engine = e};
    const struct uvm__doc *doc = params->doc;

    add_common(&a, params->qemu_path);
    add(&a, "-uuid");
    add(&a, "%.36s", params->id);
    add(&a, "-S");
    add_accel(&a, params->kvm);
    add_memory(&a, doc);
    add_processors(&a, doc->vm.topology.processor.count, params->processors_possible);
    add_kernel(&a, params);
    if (doc->vm.stop_on_reset) {
        add(&a, "-no-reboot");
    }
    add(&a, "-action");
    add(&a, "panic=exit-failure");
    add_channels(&a);
    add_devices(&a, doc);
    return finish(&a, ret);
}

int uvm__qemu_probe_argv(uvm_engine *e, const char *qemu_path, bool kvm, struct uvm__argv *ret) {
    struct uvm__argv a = {.engine = e};

    add_common(&a, qemu_path);
    add_accel(&a, kvm);
    add(&a, "-machine");
    add(&a, "q35");
    add(&a, "-m");
    add(&a, "size=2M");
    add(&a, "-bios");
    add(&a, "/proc/self/fd/%d", UVM__QEMU_FD_KERNEL);
    add(&a, "-chardev");
    add(&a, "socket,id=byte,fd=%d", UVM__QEMU_FD_CONSOLE);
    add(&a, "-device");
    add(&a, "isa-debugcon,iobase=0xe9,chardev=byte");
    return finish(&a, ret);
}

int uvm__qemu_ask_argv(uvm_engine *e, const char *qemu_path, struct uvm__argv *ret) {
    struct uvm__argv a = {.engine = e};

    add_common(&a, qemu_path);
    add(&a, "-machine");
    add(&a, "none");
    add(&a, "-S");
    add_qmp(&a);
    return finish(&a, ret);
}

void uvm__argv_deinit(struct uvm__argv *argv) {
    if (argv->engine == NULL) {
        return;
    }
    for (size_t i = 0; i < argv->count; i++) {
        uvm__free(argv->engine, argv->args[i]);
    }
    memset(argv, 0, sizeof *argv);
}
