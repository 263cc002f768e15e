/* SPDX-License-Identifier: MIT
 * disk.c — disks and images as callers describe them, to what their managers want.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/params.h"
#include "uvm/options.h"
#include <stdio.h>
#include <string.h>

UVM_STATIC_ASSERT(UVM_SCSI_CONTROLLERS_MAX == UVM__SCSI_CONTROLLERS_MAX &&
                      UVM_SCSI_LUNS_MAX == UVM__SCSI_LUNS_MAX &&
                      UVM_DISK_HOST_PATH_BYTES_MAX == UVM__DISK_HOST_PATH_BYTES_MAX &&
                      UVM_DISK_GUEST_PATH_BYTES_MAX == UVM__DISK_GUEST_PATH_BYTES_MAX &&
                      UVM_DISK_OPTIONS_MAX == UVM__DISK_OPTIONS_MAX &&
                      UVM_DISK_OPTION_BYTES_MAX == UVM__DISK_OPTION_BYTES_MAX &&
                      UVM_DISK_FILESYSTEM_BYTES_MAX == UVM__DISK_FILESYSTEM_BYTES_MAX,
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
                                     .encrypted = p.encrypted};
    return uvm__scsi_check(ret, f);
}

void uvm__disks_free(uvm_engine *e, struct uvm__scsi_params **disks) {
    for (size_t i = 0; disks != NULL && disks[i] != NULL; i++) {
        uvm__free(e, disks[i]);
    }
    uvm__free(e, disks);
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
                                     .or_scsi = p.or_scsi};
    return uvm__vpmem_check(ret, f);
}

/* A list of either kind, by what reads its i-th one. */
struct list {
    const char *name;
    const void *const *items; /* NULL-terminated */
    size_t max;
    int (*read)(const void *item, struct uvm__scsi_params *ret, struct uvm__fail *f);
};

static int read_list(uvm_engine *e, const struct list *l, struct uvm__scsi_params ***ret,
                     struct uvm__fail *f) {
    size_t count = 0;
    while (l->items[count] != NULL) {
        if (++count > l->max) {
            return uvm__fail(f, UVM_E_LIMIT, 0, "%s: more than %zu", l->name, l->max);
        }
    }
    struct uvm__scsi_params **copies = uvm__zalloc(e, (count + 1) * sizeof(void *));
    int rc = copies == NULL ? -UVM_E_NOMEM : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct uvm__scsi_params p;
        rc = l->read(l->items[i], &p, f);
        if (rc < 0) {
            char why[sizeof f->msg];
            (void)snprintf(why, sizeof why, "%s", f->msg);
            rc = uvm__fail(f, (enum uvm_error_code)(-rc), 0, "%s: number %zu: %.200s", l->name,
                           i + 1, why);
            break;
        }
        copies[i] = uvm__scsi_copy(e, &p);
        rc = copies[i] == NULL ? -UVM_E_NOMEM : 0;
    }
    if (rc < 0) {
        uvm__disks_free(e, copies);
        return rc;
    }
    *ret = copies;
    return 0;
}

static int read_disk(const void *item, struct uvm__scsi_params *ret, struct uvm__fail *f) {
    return uvm__disk_read(item, ret, f);
}

static int read_vpmem(const void *item, struct uvm__scsi_params *ret, struct uvm__fail *f) {
    return uvm__vpmem_read(item, ret, f);
}

int uvm__disks_read(uvm_engine *e, const struct uvm_scsi_params *const *list,
                    struct uvm__scsi_params ***ret, struct uvm__fail *f) {
    const struct list l = {"disks", (const void *const *)list, DISKS_MAX, read_disk};
    return read_list(e, &l, ret, f);
}

int uvm__vpmems_read(uvm_engine *e, const struct uvm_vpmem_params *const *list,
                     struct uvm__scsi_params ***ret, struct uvm__fail *f) {
    const struct list l = {"vpmem", (const void *const *)list, UVM_VPMEM_BOOT_MAX, read_vpmem};
    return read_list(e, &l, ret, f);
}
