/* SPDX-License-Identifier: MIT
 * disk.c — devices as callers describe them, to what their managers want; and those that a VM begins with.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/params.h"
#include "devices/devices.h"
#include "uvm/options.h"
#include <stdio.h>
#include <string.h>

UVM_STATIC_ASSERT(UVM_SCSI_CONTROLLERS_MAX == UVM__SCSI_CONTROLLERS_MAX &&
                      UVM_SCSI_LUNS_MAX == UVM__SCSI_LUNS_MAX &&
                      UVM_DISK_HOST_PATH_BYTES_MAX == UVM__DISK_HOST_PATH_BYTES_MAX &&
                      UVM_DISK_GUEST_PATH_BYTES_MAX == UVM__DISK_GUEST_PATH_BYTES_MAX &&
                      UVM_DISK_OPTIONS_MAX == UVM__DISK_OPTIONS_MAX &&
                      UVM_DISK_OPTION_BYTES_MAX == UVM__DISK_OPTION_BYTES_MAX &&
                      UVM_DISK_FILESYSTEM_BYTES_MAX == UVM__DISK_FILESYSTEM_BYTES_MAX &&
                      UVM_SHARE_FILES_MAX == UVM__SHARE_FILES_MAX &&
                      UVM_SHARE_FILE_NAME_BYTES_MAX == UVM__SHARE_FILE_NAME_BYTES_MAX,
                  "what callers are told is what the manager checks");

#define DISKS_MAX ((size_t)UVM_SCSI_CONTROLLERS_MAX * UVM_SCSI_LUNS_MAX)

int uvm__disk_read(const struct uvm_scsi_params *params, struct uvm__scsi_params *ret,
                   struct uvm__fail *f) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    int rc = uvm__params_read("uvm_scsi_params", params, sizeof p, &p, f);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct uvm__scsi_params){.host_path = p.host_path,
                                     .read_only = p.read_only,
                                     .physical = p.physical,
                                     .mount = p.mount,
                                     .guest_path = p.guest_path,
                                     .partition = p.partition,
                                     .options = p.options,
                                     .filesystem = p.filesystem,
                                     .ensure_filesystem = p.ensure_filesystem,
                                     .block_dev = p.block_dev,
                                     .encrypted = p.encrypted,
                                     .verity = p.verity};
    return uvm__scsi_check(ret, f);
}

int uvm__vpmem_read(const struct uvm_vpmem_params *params, struct uvm__scsi_params *ret,
                    struct uvm__fail *f) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    int rc = uvm__params_read("uvm_vpmem_params", params, sizeof p, &p, f);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct uvm__scsi_params){.host_path = p.host_path,
                                     .read_only = true,
                                     .mount = true,
                                     .guest_path = p.guest_path,
                                     .whole_device = p.whole_device,
                                     .or_scsi = p.or_scsi,
                                     .verity = p.verity};
    return uvm__vpmem_check(ret, f);
}

int uvm__vpci_read(const struct uvm_vpci_params *params, struct uvm__vpci_params *ret,
                   struct uvm__fail *f) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    int rc = uvm__params_read("uvm_vpci_params", params, sizeof p, &p, f);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct uvm__vpci_params){
        .device = p.device, .virtual_function = p.virtual_function, .guid = p.guid};
    return uvm__vpci_check(ret, f);
}

int uvm__vsmb_read(const struct uvm_vsmb_params *params, struct uvm__share_params *ret,
                   struct uvm__fail *f) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    int rc = uvm__params_read("uvm_vsmb_params", params, sizeof p, &p, f);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct uvm__share_params){.host_path = p.host_path,
                                      .guest_path = p.guest_path,
                                      .read_only = p.read_only,
                                      .file = p.file,
                                      .files = p.files};
    return uvm__share_check(ret, f);
}

int uvm__plan9_read(const struct uvm_plan9_params *params, struct uvm__share_params *ret,
                    struct uvm__fail *f) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    int rc = uvm__params_read("uvm_plan9_params", params, sizeof p, &p, f);
    if (rc < 0) {
        return rc;
    }
    *ret = (struct uvm__share_params){.host_path = p.host_path,
                                      .guest_path = p.guest_path,
                                      .read_only = p.read_only,
                                      .file = p.file,
                                      .files = p.files};
    return uvm__share_check(ret, f);
}

/* ---- what a VM begins with ---------------------------------------------------------------- */

/* What the readers fill in. */
union any_params {
    struct uvm__scsi_params scsi;
    struct uvm__vpci_params vpci;
    struct uvm__share_params share;
    struct uvm__nic_params nic;
};

static int read_scsi(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__disk_read(item, &ret->scsi, f);
}

static int read_vpmem(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__vpmem_read(item, &ret->scsi, f);
}

static int read_vpci(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__vpci_read(item, &ret->vpci, f);
}

static int read_vsmb(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__vsmb_read(item, &ret->share, f);
}

static int read_nic(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__nic_read(item, &ret->nic, f);
}

static int read_plan9(const void *item, union any_params *ret, struct uvm__fail *f) {
    return uvm__plan9_read(item, &ret->share, f);
}

/* A row a kind: the list of the params, NULL-terminated pointers to structs that begin with their size. */
static const struct list {
    const char *name;
    const struct uvm__device_kind *kind;
    size_t offset; /* in struct uvm_vm_params */
    size_t max;
    int (*read)(const void *item, union any_params *ret, struct uvm__fail *f);
} lists[] = {
    {"disks", &uvm__scsi_kind, offsetof(struct uvm_vm_params, disks), DISKS_MAX, read_scsi},
    {"vpmem", &uvm__vpmem_kind, offsetof(struct uvm_vm_params, vpmem), UVM_VPMEM_BOOT_MAX,
     read_vpmem},
    {"vpci", &uvm__vpci_kind, offsetof(struct uvm_vm_params, vpci), UVM_VPCI_BOOT_MAX, read_vpci},
    {"vsmb", &uvm__vsmb_kind, offsetof(struct uvm_vm_params, vsmb), UVM_SHARES_BOOT_MAX, read_vsmb},
    {"plan9", &uvm__plan9_kind, offsetof(struct uvm_vm_params, plan9), UVM_SHARES_BOOT_MAX,
     read_plan9},
    {"nics", &uvm__nic_kind, offsetof(struct uvm_vm_params, nics), UVM_NIC_BOOT_MAX, read_nic},
};
#define LISTS (sizeof lists / sizeof lists[0])

static const void *const *items_of(const struct list *l, const struct uvm_vm_params *params) {
    return *(const void *const *const *)(const void *)((const char *)params + l->offset);
}

static int count_items(const struct list *l, const struct uvm_vm_params *params, size_t *count,
                       struct uvm__fail *f) {
    const void *const *items = items_of(l, params);
    for (size_t n = 0; items != NULL && items[n] != NULL; n++) {
        if (n == l->max) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "%s: more than %zu", l->name, l->max);
        }
        ++*count;
    }
    return 0;
}

static int read_items(struct uvm__options *o, const struct list *l,
                      const struct uvm_vm_params *params, struct uvm__fail *f) {
    const void *const *items = items_of(l, params);
    for (size_t n = 0; items != NULL && items[n] != NULL; n++) {
        struct uvm__boot_device *d = &o->boot[o->boot_count];
        union any_params p;
        int rc = l->read(items[n], &p, f);
        if (rc < 0) {
            char why[sizeof f->msg];
            (void)snprintf(why, sizeof why, "%s", f->msg);
            return uvm__fail(f, (enum uvm_error_code)(-rc), 0, "%s: number %zu: %.200s", l->name,
                             n + 1, why);
        }
        rc = uvm__device_copy_params(l->kind, o->engine, &p, &d->params);
        if (rc < 0) {
            return rc;
        }
        d->kind = l->kind;
        o->boot_count++;
        o->boot_vpmem = o->boot_vpmem || l->kind == &uvm__vpmem_kind;
        o->vpci = o->vpci || l->kind == &uvm__vpci_kind; /* its kernel needs the bus */
    }
    return 0;
}

int uvm__boot_list_read(struct uvm__options *o, const struct uvm_vm_params *params,
                        struct uvm__fail *f) {
    size_t count = 0;
    for (size_t i = 0; i < LISTS; i++) {
        int rc = count_items(&lists[i], params, &count, f);
        if (rc < 0) {
            return rc;
        }
    }
    if (count == 0) {
        return 0;
    }
    o->boot = uvm__zalloc(o->engine, count * sizeof *o->boot);
    int rc = o->boot == NULL ? -UVM_E_NOMEM : 0;
    for (size_t i = 0; rc == 0 && i < LISTS; i++) {
        rc = read_items(o, &lists[i], params, f);
    }
    return rc; /* what was read goes with the options */
}

void uvm__boot_list_free(struct uvm__options *o) {
    for (size_t i = 0; i < o->boot_count; i++) {
        uvm__free(o->engine, o->boot[i].params);
    }
    uvm__free(o->engine, o->boot);
    o->boot = NULL;
    o->boot_count = 0;
}
