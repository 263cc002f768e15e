/* SPDX-License-Identifier: MIT
 * pci_function.c — see pci_function.h.
 *
 * The rules of vfio, as Documentation/driver-api/vfio.rst has them: a group is what the IOMMU can keep apart, so all
 * of a group go to users or none; each of its devices must be bound to vfio-pci, to pci-stub, to nothing, or be a
 * bridge. The group's file is opened by QEMU itself (7.2 takes no descriptor of it), under the uid that it has been
 * given; and all of the guest's memory is locked, against QEMU's limit, where it may not do so anyway.
 */
#include "hcs/qemu/pci_function.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/check.h"

#define EMULATED "emulated:"
#define CLASS_BRIDGE 0x06u /* of a function's class code, its highest byte */

/* Models that come and go while a guest runs; an option ROM would only be read by firmware, which is over then. */
struct uvm__pci_model {
    const char *name; /* also QEMU's */
    const char *more; /* further arguments */
};
static const struct uvm__pci_model models[] = {
    {"edu", ""},
    {"pci-testdev", ""},
    {"virtio-rng-pci", ""},
    {"e1000e", ",\"romfile\":\"\""},
    {"nvme", ",\"serial\":\"uvm\""},
};

/* ---- paths -------------------------------------------------------------------------------- */

/* DDDD:BB:SS.F, in any case. */
static bool is_address(const char *text) {
    static const char shape[] = "xxxx:xx:xx.f";

    for (size_t i = 0; i < sizeof shape; i++) {
        unsigned char c = (unsigned char)text[i];
        bool fits = shape[i] == 'x'   ? isxdigit(c) != 0
                    : shape[i] == 'f' ? c >= '0' && c <= '7'
                                      : c == (unsigned char)shape[i];
        if (!fits) {
            return false;
        }
    }
    return true;
}

static int unknown_model(const char *name, struct uvm__fail *f) {
    char known[128] = "";
    size_t used = 0;

    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ",
                                 models[i].name);
        UVM_ASSERT_CMP(used, <, sizeof known);
    }
    return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                     "DeviceInstancePath: no model \"%.40s\" is emulated; %s are", name, known);
}

int uvm__pci_function_read(const char *path, uint64_t virtual_function,
                           struct uvm__pci_function *ret, struct uvm__fail *f) {
    struct uvm__pci_function fn = {.virtual_function = virtual_function};

    if (strncmp(path, EMULATED, sizeof EMULATED - 1) == 0) {
        const char *name = path + sizeof EMULATED - 1;
        for (size_t i = 0; i < sizeof models / sizeof models[0] && fn.model == NULL; i++) {
            fn.model = strcmp(models[i].name, name) == 0 ? &models[i] : NULL;
        }
        if (fn.model == NULL) {
            return unknown_model(name, f);
        }
    } else if (is_address(path)) {
        for (size_t i = 0; i < sizeof fn.address - 1; i++) {
            fn.address[i] = (char)tolower((unsigned char)path[i]);
        }
    } else {
        return uvm__fail(f, UVM_E_INVAL, 0,
                         "DeviceInstancePath: \"%.80s\" is no PCI address (0000:3b:00.0) and no "
                         "emulated:MODEL",
                         path);
    }
    *ret = fn;
    return 0;
}

/* ---- the host ----------------------------------------------------------------------------- */

/* Below the host's sysfs. False where it does not fit. */
__attribute__((format(printf, 3, 4))) static bool sys_path(const struct uvm__pci_host *host,
                                                           char ret[PATH_MAX], const char *fmt,
                                                           ...) {
    va_list ap;
    int begin = snprintf(ret, PATH_MAX, "%s/", host->sys);

    if (begin < 0 || begin >= PATH_MAX) {
        return false;
    }
    va_start(ap, fmt);
    int n = vsnprintf(ret + begin, (size_t)(PATH_MAX - begin), fmt, ap);
    va_end(ap);
    return n >= 0 && n < PATH_MAX - begin;
}

/* The last part of where a link leads; "": there is no such link. */
static void link_name(const char *path, char ret[NAME_MAX + 1]) {
    char to[PATH_MAX];
    ssize_t n = readlink(path, to, sizeof to - 1);

    to[n < 0 ? 0 : n] = '\0';
    const char *slash = strrchr(to, '/');
    (void)snprintf(ret, NAME_MAX + 1, "%.*s", NAME_MAX, slash == NULL ? to : slash + 1);
}

static void driver_of(const struct uvm__pci_host *host, const char *address,
                      char ret[NAME_MAX + 1]) {
    char path[PATH_MAX];

    ret[0] = '\0';
    if (sys_path(host, path, "bus/pci/devices/%s/driver", address)) {
        link_name(path, ret);
    }
}

static bool is_bridge(const struct uvm__pci_host *host, const char *address) {
    char path[PATH_MAX], text[16] = "";

    FILE *file =
        sys_path(host, path, "bus/pci/devices/%s/class", address) ? fopen(path, "re") : NULL;
    if (file != NULL) {
        (void)!fgets(text, sizeof text, file);
        (void)fclose(file);
    }
    return strtoul(text, NULL, 16) >> 16 == CLASS_BRIDGE;
}

/* From a device to the virtual function that is meant, where it has such. */
static int pick_virtual(const struct uvm__pci_host *host, struct uvm__pci_function *fn,
                        struct uvm__fail *f) {
    char path[PATH_MAX], name[NAME_MAX + 1];

    if (!sys_path(host, path, "bus/pci/devices/%s", fn->address) || access(path, F_OK) < 0) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0,
                         "pci %s: this host has no such function; `lspci -D` lists them",
                         fn->address);
    }
    if (!sys_path(host, path, "bus/pci/devices/%s/virtfn%" PRIu64, fn->address,
                  fn->virtual_function)) {
        return -UVM_E_IO;
    }
    link_name(path, name);
    if (is_address(name)) {
        memcpy(fn->address, name, sizeof fn->address);
        return 0;
    }
    return fn->virtual_function == 0
               ? 0 /* itself */
               : uvm__fail(f, UVM_E_NOTFOUND, 0,
                           "pci %s: has no virtual function %" PRIu64
                           "; its sriov_numvfs in sysfs says how many it shall have",
                           fn->address, fn->virtual_function);
}

static int find_group(const struct uvm__pci_host *host, struct uvm__pci_function *fn,
                      struct uvm__fail *f) {
    char path[PATH_MAX], name[NAME_MAX + 1] = "";

    if (sys_path(host, path, "bus/pci/devices/%s/iommu_group", fn->address)) {
        link_name(path, name);
    }
    if (name[0] == '\0' || strlen(name) >= sizeof fn->group ||
        strspn(name, "0123456789") != strlen(name)) {
        return uvm__fail(f, UVM_E_HOST, 0,
                         "pci %s: this host has no IOMMU group of it; switch VT-d or AMD-Vi on in "
                         "the firmware, and boot with intel_iommu=on (AMD: amd_iommu=on)",
                         fn->address);
    }
    memcpy(fn->group, name, strlen(name) + 1);
    return 0;
}

/* Of the function itself, or of another in its group. */
static int check_driver(const struct uvm__pci_host *host, const struct uvm__pci_function *fn,
                        const char *address, struct uvm__fail *f) {
    char driver[NAME_MAX + 1];
    bool own = strcmp(address, fn->address) == 0;

    driver_of(host, address, driver);
    if (strcmp(driver, "vfio-pci") == 0 ||
        (!own &&
         (driver[0] == '\0' || strcmp(driver, "pci-stub") == 0 || is_bridge(host, address)))) {
        return 0;
    }
    return own ? uvm__fail(f, UVM_E_STATE, 0,
                           "pci %s: is %s%.24s on the host; write vfio-pci to its driver_override, "
                           "its address to driver/unbind and to /sys/bus/pci/drivers_probe",
                           address, driver[0] == '\0' ? "without a driver" : "bound to ", driver)
               : uvm__fail(f, UVM_E_STATE, 0,
                           "pci %s: shares IOMMU group %s with %s, which is bound to %.24s on the "
                           "host; bind that to vfio-pci, too, or to nothing",
                           fn->address, fn->group, address, driver);
}

static int check_group(const struct uvm__pci_host *host, const struct uvm__pci_function *fn,
                       struct uvm__fail *f) {
    char path[PATH_MAX];
    DIR *d =
        sys_path(host, path, "kernel/iommu_groups/%s/devices", fn->group) ? opendir(path) : NULL;
    struct dirent *e;
    int rc = check_driver(host, fn, fn->address, f);

    while (rc == 0 && d != NULL && (e = readdir(d)) != NULL) {
        rc = is_address(e->d_name) ? check_driver(host, fn, e->d_name, f) : 0;
    }
    if (rc == 0 && d == NULL) {
        rc = uvm__fail(f, UVM_E_IO, errno, "pci %s: its IOMMU group %s: %s", fn->address, fn->group,
                       strerror(errno));
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return rc;
}

/* By the mode alone: whoever asks may be root, and QEMU is not. */
static int check_file(const struct uvm__pci_host *host, const struct uvm__pci_function *fn,
                      const char *name, struct uvm__fail *f) {
    char path[PATH_MAX];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/vfio/%s", host->dev, name);
    if (stat(path, &st) < 0) {
        return uvm__fail(f, UVM_E_HOST, errno, "pci %s: %.60s: %s; modprobe vfio-pci", fn->address,
                         path, strerror(errno));
    }
    unsigned rights = st.st_uid == host->uid   ? st.st_mode >> 6
                      : st.st_gid == host->gid ? st.st_mode >> 3
                                               : st.st_mode;
    return host->uid == 0 || (rights & 6u) == 6u
               ? 0
               : uvm__fail(f, UVM_E_HOST, 0,
                           "pci %s: %.60s (mode %03o of %u:%u) is not for %u:%u, which QEMU runs "
                           "as; chmod 666 it, or run uvm as the user whom it is for",
                           fn->address, path, (unsigned)(st.st_mode & 0777), (unsigned)st.st_uid,
                           (unsigned)st.st_gid, host->uid, host->gid);
}

static int check_lock(const struct uvm__pci_host *host, const struct uvm__pci_function *fn,
                      struct uvm__fail *f) {
    return host->unlimited || host->lock_bytes >= host->guest_bytes
               ? 0
               : uvm__fail(f, UVM_E_HOST, 0,
                           "pci %s: the guest's %" PRIu64
                           " MiB must be locked in memory, and %" PRIu64
                           " MiB may be; raise the owner's limit (ulimit -l, LimitMEMLOCK=)",
                           fn->address, host->guest_bytes >> 20, host->lock_bytes >> 20);
}

int uvm__pci_function_find(const struct uvm__pci_host *host, struct uvm__pci_function *fn,
                           struct uvm__fail *f) {
    if (fn->model != NULL) {
        return 0;
    }
    int rc = pick_virtual(host, fn, f);
    rc = rc < 0 ? rc : find_group(host, fn, f);
    rc = rc < 0 ? rc : check_group(host, fn, f);
    rc = rc < 0 ? rc : check_file(host, fn, "vfio", f);
    rc = rc < 0 ? rc : check_file(host, fn, fn->group, f);
    return rc < 0 ? rc : check_lock(host, fn, f);
}

/* ---- QEMU --------------------------------------------------------------------------------- */

bool uvm__pci_function_same(const struct uvm__pci_function *a, const struct uvm__pci_function *b) {
    return a->model == b->model && (a->model != NULL ? a->virtual_function == b->virtual_function
                                                     : strcmp(a->address, b->address) == 0);
}

void uvm__pci_function_device(const struct uvm__pci_function *fn, const char *id, unsigned port,
                              char ret[UVM__PCI_DEVICE_BYTES]) {
    char host[sizeof ",\"host\":\"\"" + UVM__PCI_ADDRESS_BYTES];

    (void)snprintf(host, sizeof host, ",\"host\":\"%s\"", fn->address);
    int n = snprintf(ret, UVM__PCI_DEVICE_BYTES,
                     "{\"driver\":\"%s\",\"id\":\"%s\",\"bus\":\"rp%u\",\"addr\":\"0x0\"%s}",
                     fn->model == NULL ? "vfio-pci" : fn->model->name, id, port,
                     fn->model == NULL ? host : fn->model->more);
    UVM_ASSERT(n > 0 && (size_t)n < UVM__PCI_DEVICE_BYTES);
}

const char *uvm__pci_function_name(const struct uvm__pci_function *fn) {
    return fn->model == NULL ? fn->address : fn->model->name;
}
