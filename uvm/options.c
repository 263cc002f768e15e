/* SPDX-License-Identifier: MIT
 * options.c — public params to checked options.
 *
 * One function an option; each error is "option: what is wrong, what would be right". Nothing is clamped
 * or rounded in silence. Annotations come after the params, so that they only fill what was left open.
 */
#include "uvm/options.h"
#include "async/alloc.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES_MAX 4095u
#define OWNER_BYTES_MAX 128u

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int read_id(struct uvm__options *o, const char *text, struct uvm__fail *f) {
    struct uvm__guid guid;
    if (text == NULL) {
        uvm__guid_random(o->engine, &guid);
    } else if (uvm__guid_read(text, strnlen(text, UVM_GUID_TEXT), &guid) < 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "id: \"%.64s\" is not a GUID", text);
    }
    uvm__guid_text(&guid, o->id);
    return 0;
}

static int read_name(struct uvm__options *o, const char *text, struct uvm__fail *f) {
    if (text == NULL) {
        (void)snprintf(o->name, sizeof o->name, "uvm-%.8s", o->id);
        return 0;
    }
    size_t len = strnlen(text, sizeof o->name);
    if (len == 0 || len == sizeof o->name) {
        return uvm__fail(f, UVM_E_INVAL, 0, "name: it has 1 to %u characters",
                         UVM_VM_NAME_BYTES_MAX);
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(text[i]) && (i == 0 || strchr("_.-", text[i]) == NULL)) {
            return uvm__fail(
                f, UVM_E_INVAL, 0,
                "name: \"%s\" has something else than letters, digits and _ . - in it, "
                "or begins with punctuation",
                text);
        }
    }
    memcpy(o->name, text, len + 1);
    return 0;
}

int uvm__options_text(struct uvm__options *o, char **field, const char *option, const char *text,
                      size_t bytes_max, struct uvm__fail *f) {
    size_t len = strnlen(text, bytes_max + 1);
    if (len == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: it is empty", option);
    }
    if (len > bytes_max) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "%s: it has more than %zu bytes", option, bytes_max);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) {
            return uvm__fail(f, UVM_E_INVAL, 0, "%s: it has a control character at byte %zu",
                             option, i);
        }
    }
    char *copy = uvm__memdup0(o->engine, text, len);
    if (copy == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__free(o->engine, *field);
    *field = copy;
    return 0;
}

int uvm__options_cpus(struct uvm__options *o, const char *option, uint64_t cpus,
                      struct uvm__fail *f) {
    if (cpus == 0 || cpus > UVM_VM_CPUS_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: %" PRIu64 " is not in 1 to %u", option, cpus,
                         UVM_VM_CPUS_MAX);
    }
    o->cpus = (uint32_t)cpus;
    return 0;
}

int uvm__options_memory(struct uvm__options *o, const char *option, uint64_t mb,
                        struct uvm__fail *f) {
    if (mb < UVM_VM_MEMORY_MB_MIN || mb > UVM_VM_MEMORY_MB_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s: %" PRIu64 " MB is not in %u to %u", option, mb,
                         UVM_VM_MEMORY_MB_MIN, UVM_VM_MEMORY_MB_MAX);
    }
    if (mb % 2 != 0) {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "%s: %" PRIu64 " MB is odd: memory comes in 2 MB pieces", option, mb);
    }
    o->memory_mb = mb;
    return 0;
}

static int read_log_level(struct uvm__options *o, const char *text, struct uvm__fail *f) {
    static const char *const levels[] = {"error", "warning", "info", "debug", "trace"};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(text, levels[i]) == 0) {
            o->log_level = levels[i];
            return 0;
        }
    }
    return uvm__fail(f, UVM_E_INVAL, 0,
                     "log_level: \"%.32s\" is none of error, warning, info, debug, trace", text);
}

/* What follows a lone "--" would be the init's arguments, which are ours. */
static int check_append(const char *text, struct uvm__fail *f) {
    for (const char *p = text; (p = strstr(p, "--")) != NULL; p += 2) {
        bool begins = p == text || p[-1] == ' ';
        if (begins && (p[2] == 0 || p[2] == ' ')) {
            return uvm__fail(
                f, UVM_E_INVAL, 0,
                "append: the word -- is not allowed, it would end the kernel's arguments");
        }
    }
    return 0;
}

static int read_texts(struct uvm__options *o, const struct uvm_vm_params *p, struct uvm__fail *f) {
    const struct {
        const char *option, *text;
        char **field;
        size_t bytes_max;
    } texts[] = {
        {"owner", p->owner, &o->owner, OWNER_BYTES_MAX},
        {"kernel", p->kernel, &o->kernel, PATH_BYTES_MAX},
        {"initrd", p->initrd, &o->initrd, PATH_BYTES_MAX},
        {"append", p->append, &o->append, UVM_VM_APPEND_BYTES_MAX},
        {"cgroup", p->cgroup, &o->cgroup, PATH_BYTES_MAX},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].text != NULL) {
            int rc = uvm__options_text(o, texts[i].field, texts[i].option, texts[i].text,
                                       texts[i].bytes_max, f);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int read_annotations(struct uvm__options *o, const char *const *list, struct uvm__fail *f) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (i == UVM_VM_ANNOTATIONS_MAX) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "annotations: more than %u",
                             UVM_VM_ANNOTATIONS_MAX);
        }
        int rc = uvm__annotation_read(o, list[i], f);
        if (rc < 0) {
            return rc;
        }
    }
    return o->append == NULL ? 0 : check_append(o->append, f);
}

static int read_controllers(struct uvm__options *o, const struct uvm_vm_params *p,
                            struct uvm__fail *f) {
    if (p->scsi_controllers > UVM_SCSI_CONTROLLERS_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "scsi_controllers: %" PRIu32 " is not in 1 to %u",
                         p->scsi_controllers, UVM_SCSI_CONTROLLERS_MAX);
    }
    if (p->document != NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "scsi_controllers: the document says which ones there are");
    }
    o->scsi_controllers = p->scsi_controllers;
    return 0;
}

static int read_vpmem(struct uvm__options *o, const struct uvm_vm_params *p, struct uvm__fail *f) {
    if (p->vpmem_devices > UVM_VPMEM_DEVICES_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "vpmem_devices: %" PRIu32 " is not in 0 to %u",
                         p->vpmem_devices, UVM_VPMEM_DEVICES_MAX);
    }
    if (p->vpmem_device_mb > UVM_VPMEM_DEVICE_MB_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "vpmem_device_mb: %" PRIu64 " is not in 1 to %u",
                         p->vpmem_device_mb, UVM_VPMEM_DEVICE_MB_MAX);
    }
    o->vpmem_devices = p->vpmem_devices;
    o->vpmem_bytes = p->vpmem_device_mb << 20;
    return 0;
}

/* What stands in a device needs devices; those who say nothing get a few. */
static void complete_vpmem(struct uvm__options *o, bool document) {
    bool needed = o->rootfs_on_vpmem || (o->boot_vpmem && !document);
    if (o->vpmem_devices == 0 && needed) {
        o->vpmem_devices = UVM_VPMEM_DEVICES_DEFAULT;
    }
    if (o->vpmem_devices != 0 && o->vpmem_bytes == 0 && !document) {
        o->vpmem_bytes = (uint64_t)UVM_VPMEM_DEVICE_MB_DEFAULT << 20;
    }
}

static int read_rootfs(struct uvm__options *o, const struct uvm_vm_params *p, struct uvm__fail *f) {
    if (p->document != NULL) {
        return uvm__fail(f, UVM_E_INVAL, 0, "rootfs: the document says what the root is");
    }
    if (p->rootfs[0] != '/') {
        return uvm__fail(f, UVM_E_INVAL, 0, "rootfs: \"%s\" is no absolute path", p->rootfs);
    }
    if (p->rootfs_on != UVM_ROOTFS_ON_SCSI && p->rootfs_on != UVM_ROOTFS_ON_VPMEM) {
        return uvm__fail(f, UVM_E_INVAL, 0, "rootfs_on: %d is neither SCSI nor VPMem",
                         (int)p->rootfs_on);
    }
    o->rootfs_on_vpmem = p->rootfs_on == UVM_ROOTFS_ON_VPMEM;
    return uvm__options_text(o, &o->rootfs, "rootfs", p->rootfs, UVM_DISK_HOST_PATH_BYTES_MAX, f);
}

static int read_tools(struct uvm__options *o, const char *text, struct uvm__fail *f) {
    if (text[0] != '/') {
        return uvm__fail(f, UVM_E_INVAL, 0, "tools: \"%s\" is no absolute path", text);
    }
    return uvm__options_text(o, &o->tools, "tools", text, UVM_DISK_HOST_PATH_BYTES_MAX, f);
}

static int read_all(struct uvm__options *o, const struct uvm_vm_params *p, struct uvm__fail *f) {
    int rc = read_id(o, p->id, f);
    rc = rc < 0 ? rc : read_name(o, p->name, f);
    rc = rc < 0 ? rc : read_texts(o, p, f);
    if (rc == 0 && p->cpus != 0) {
        rc = uvm__options_cpus(o, "cpus", p->cpus, f);
    }
    if (rc == 0 && p->memory_mb != 0) {
        rc = uvm__options_memory(o, "memory", p->memory_mb, f);
    }
    if (rc == 0 && p->scsi_controllers != 0) {
        rc = read_controllers(o, p, f);
    }
    if (rc == 0 && p->rootfs != NULL) {
        rc = read_rootfs(o, p, f);
    }
    if (rc == 0 && p->tools != NULL) {
        rc = read_tools(o, p->tools, f);
    }
    rc = rc < 0 ? rc : uvm__boot_list_read(o, p, f);
    rc = rc < 0 ? rc : read_vpmem(o, p, f);
    if (rc == 0 && p->log_level != NULL) {
        rc = read_log_level(o, p->log_level, f);
    }
    rc = rc < 0 ? rc : read_annotations(o, p->annotations, f);
    if (rc == 0) {
        complete_vpmem(o, p->document != NULL);
    }
    return rc;
}

int uvm__options_read(uvm_engine *e, const struct uvm_vm_params *params, struct uvm__options *ret,
                      struct uvm__fail *f) {
    struct uvm__options o = {.engine = e};
    f->msg[0] = 0;
    int rc = read_all(&o, params, f);
    if (rc < 0) {
        uvm__options_deinit(&o);
        return rc;
    }
    *ret = o;
    return 0;
}

void uvm__options_deinit(struct uvm__options *o) {
    if (o->engine != NULL) {
        char *texts[] = {o->owner,      o->kernel, o->initrd, o->append,
                         o->agent_args, o->cgroup, o->rootfs, o->tools};
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            uvm__free(o->engine, texts[i]);
        }
        uvm__boot_list_free(o);
    }
    *o = (struct uvm__options){0};
}
