/* SPDX-License-Identifier: MIT
 * guest_disk.c — the simulated agent's part of disks and other devices: MappedVirtualDisk, SCSIDevice, VPMemDevice,
 * VPCIDevice and Network, a table of mounts.
 *
 * As the reference's agent: a mount needs the disk, which the host must have attached by then; unmounting
 * what is not mounted is no error; a disk is let go of for good. A guest whose disk goes while it is
 * mounted, or before it let go of it, was wronged: that is counted.
 */
#include "hcs/sim/sim.h"
#include "tests/sim/guest_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mount {
    struct uvm__list link;
    struct guest_mount what;
    char path[];
};

static struct mount *find(const struct guest *g, const char *path) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &g->mounts) {
        struct mount *m = UVM__CONTAINER_OF((struct uvm__list *)it, struct mount, link);
        if (strcmp(m->path, path) == 0) {
            return m;
        }
    }
    return NULL;
}

static void forget(struct guest *g, struct mount *m) {
    UVM_ASSERT(g->seen->mounts > 0);
    g->seen->mounts--;
    uvm__list_remove(&m->link);
    free(m);
}

void guest_disk_stop_all(struct guest *g) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->mounts) {
        forget(g, UVM__CONTAINER_OF(it, struct mount, link));
    }
}

bool guest_mount_at(const struct guest *g, const char *path, struct guest_mount *ret) {
    const struct mount *m = find(g, path);
    if (m != NULL) {
        *ret = m->what;
    }
    return m != NULL;
}

uint32_t guest_mounts(const struct guest *g) {
    uint32_t n = 0;
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &g->mounts) {
        n++;
    }
    return n;
}

static bool is_mounted(const struct guest *g, unsigned controller, uint64_t lun) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &g->mounts) {
        const struct mount *m = UVM__CONTAINER_OF((struct uvm__list *)it, struct mount, link);
        if (m->what.controller == controller && m->what.lun == lun) {
            return true;
        }
    }
    return false;
}

/* The host's notice came first, and the guest let go. */
static void let_go(struct guest *g, unsigned controller, uint64_t lun) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->mounts) {
        struct mount *m = UVM__CONTAINER_OF(it, struct mount, link);
        if (m->what.controller == controller && m->what.lun == lun) {
            forget(g, m);
        }
    }
}

void guest_disk_removed(struct guest *g, unsigned controller, uint64_t lun) {
    if (controller == UVM__SIM_VPCI) {
        let_go(g, controller, lun);
        return;
    }
    if (controller >= UVM__SIM_VPMEM) { /* nothing lets go of memory; it must not be mounted */
        g->seen->yanked += is_mounted(g, controller, lun);
        return;
    }
    uint64_t bit = UINT64_C(1) << lun;
    bool reached = g->server != NULL && uvm__server_version(g->server) != 0;
    if (is_mounted(g, controller, lun) || (reached && (g->ejected[controller] & bit) == 0)) {
        g->seen->yanked++;
    }
    g->ejected[controller] &= ~bit;
}

/* ---- requests ----------------------------------------------------------------------------- */

static const cJSON *get(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_GO, o, key);
}

static const char *text_of(const cJSON *o, const char *key) {
    const char *text = uvm__json_string(get(o, key));
    return text == NULL ? "" : text;
}

static uint64_t number_of(const cJSON *o, const char *key) {
    uint64_t n = 0;
    (void)uvm__json_u64(get(o, key), UINT64_MAX, &n);
    return n;
}

static bool flag_of(const cJSON *o, const char *key) {
    bool b = false;
    (void)uvm__json_bool(get(o, key), &b);
    return b;
}

static void read_mount(const cJSON *s, struct guest_mount *ret) {
    *ret = (struct guest_mount){.controller = (unsigned)number_of(s, "Controller"),
                                .lun = number_of(s, "Lun"),
                                .partition = number_of(s, "Partition"),
                                .read_only = flag_of(s, "ReadOnly"),
                                .block_dev = flag_of(s, "BlockDev"),
                                .encrypted = flag_of(s, "Encrypted"),
                                .ensure_filesystem = flag_of(s, "EnsureFilesystem")};
    (void)snprintf(ret->filesystem, sizeof ret->filesystem, "%s", text_of(s, "Filesystem"));
    (void)snprintf(ret->verity, sizeof ret->verity, "%s",
                   text_of(get(s, "VerityInfo"), "RootDigest"));
    const cJSON *it;
    size_t len = 0;
    cJSON_ArrayForEach(it, get(s, "Options")) {
        int n = snprintf(ret->options + len, sizeof ret->options - len, "%s%s", len == 0 ? "" : ",",
                         uvm__json_string(it));
        len += n > 0 && (size_t)n < sizeof ret->options - len ? (size_t)n : 0;
    }
}

static void read_image(const cJSON *s, struct guest_mount *ret) {
    *ret =
        (struct guest_mount){.controller = UVM__SIM_VPMEM + (unsigned)number_of(s, "DeviceNumber"),
                             .lun = number_of(get(s, "MappingInfo"), "DeviceOffsetInBytes"),
                             .read_only = true};
    (void)snprintf(ret->verity, sizeof ret->verity, "%s",
                   text_of(get(s, "VerityInfo"), "RootDigest"));
}

/* A PCI function is shown at its place in the view for as long as it is there. */
static const char *function_path(const cJSON *s, struct guest_mount *ret, char buf[96]) {
    const char *guid = text_of(s, "VMBusGUID");
    *ret = (struct guest_mount){.controller = UVM__SIM_VPCI};
    (void)snprintf(buf, 96, "/sys/bus/vmbus/devices/%s", guid);
    ret->lun = uvm__sim_vpci_slot(guid);
    return buf;
}

/* An adapter is a mount at its GUID. */
static void read_nic(const cJSON *s, struct guest_mount *ret, char path[64]) {
    *ret = (struct guest_mount){.controller = UVM__SIM_NIC,
                                .lun = uvm__sim_nic_slot(text_of(s, "ID"))};
    (void)snprintf(path, 64, "/nic/%s", text_of(s, "ID"));
}

static void read_share(const cJSON *s, struct guest_mount *ret) {
    *ret = (struct guest_mount){.controller = UVM__SIM_PLAN9,
                                .lun = number_of(s, "Port"),
                                .read_only = flag_of(s, "ReadOnly")};
}

/* Found by the tag of its mode, and by its name behind it. */
static bool read_vsmb(const cJSON *s, struct guest_mount *ret) {
    *ret = (struct guest_mount){.controller = UVM__SIM_VSMB,
                                .lun = uvm__sim_vsmb_slot(text_of(s, "ShareName")),
                                .read_only = flag_of(s, "ReadOnly")};
    return strcmp(text_of(s, "Tag"), ret->read_only ? "vsmb-ro" : "vsmb-rw") == 0;
}

static bool take(uint32_t *count) {
    bool any = *count > 0;
    *count -= any;
    return any;
}

/* NULL: done; else why not. */
static const char *do_mount(struct guest *g, const char *path, const struct guest_mount *what) {
    if (take(&g->script->refuse_mounts)) {
        return "mount: wrong fs type";
    }
    bool vpmem = what->controller >= UVM__SIM_VPMEM;
    if ((what->controller >= 4 && !vpmem) ||
        !uvm__sim_disk_at(g->system, what->controller, what->lun, NULL, NULL)) {
        return "no such disk";
    }
    if (path[0] == 0) {
        return NULL; /* it sees the disk, and that is all */
    }
    if (path[0] != '/' || find(g, path) != NULL) {
        return "busy";
    }
    struct mount *m = calloc(1, sizeof *m + strlen(path) + 1);
    UVM_ASSERT(m != NULL);
    m->what = *what;
    memcpy(m->path, path, strlen(path) + 1);
    uvm__list_append(&g->mounts, &m->link);
    g->seen->mounts++;
    g->seen->mounted++;
    return NULL;
}

static const char *do_unmount(struct guest *g, const char *path) {
    struct mount *m = find(g, path);
    if (take(&g->script->refuse_unmounts)) {
        return "umount: target is busy";
    }
    if (m != NULL) {
        g->seen->unmounted++;
        forget(g, m);
    }
    return NULL;
}

static const char *do_eject(struct guest *g, const struct guest_mount *what) {
    if (take(&g->script->refuse_ejects)) {
        return "delete: input/output error";
    }
    if (what->controller >= 4 || what->lun >= 64) {
        return "no such disk";
    }
    if (is_mounted(g, what->controller, what->lun)) {
        return "in use";
    }
    g->ejected[what->controller] |= UINT64_C(1) << what->lun;
    g->seen->ejects++;
    return NULL;
}

static void modify_now(struct guest_held *h) {
    struct guest *g = h->g;
    const cJSON *request = uvm__server_request_body(h->r)->modify.request;
    const char *type = text_of(request, "ResourceType");
    bool add = strcmp(text_of(request, "RequestType"), "Add") == 0;
    const cJSON *settings = get(request, "Settings");
    const char *failed = "unknown resource";
    struct guest_mount what;
    read_mount(settings, &what);
    if (strcmp(type, "MappedVirtualDisk") == 0) {
        const char *path = text_of(settings, "MountPath");
        failed = add ? do_mount(g, path, &what) : do_unmount(g, path);
    } else if (strcmp(type, "VPMemDevice") == 0) {
        const char *path = text_of(settings, "MountPath");
        read_image(settings, &what);
        failed = add ? do_mount(g, path, &what) : do_unmount(g, path);
    } else if (strcmp(type, "VPCIDevice") == 0 && add) {
        char buf[96];
        const char *path = function_path(settings, &what, buf);
        struct guest_mount there;
        failed = guest_mount_at(g, path, &there) ? NULL : do_mount(g, path, &what);
    } else if (strcmp(type, "Network") == 0) {
        char path[64];
        read_nic(settings, &what, path);
        failed = add ? do_mount(g, path, &what) : do_unmount(g, path);
    } else if (strcmp(type, "VSMBShare") == 0) {
        const char *path = text_of(settings, "MountPath");
        failed = !read_vsmb(settings, &what) ? "no such tag"
                 : add                       ? do_mount(g, path, &what)
                                             : do_unmount(g, path);
    } else if (strcmp(type, "MappedDirectory") == 0) {
        const char *path = text_of(settings, "MountPath");
        read_share(settings, &what);
        failed = add ? do_mount(g, path, &what) : do_unmount(g, path);
    } else if (strcmp(type, "SCSIDevice") == 0 && !add) {
        failed = do_eject(g, &what);
    }
    if (failed == NULL) {
        uvm__server_reply(h->r);
    } else {
        const struct uvm__msg_error err = {.result = UVM__HR_FAIL, .message = failed};
        uvm__server_reply_error(h->r, &err);
    }
    guest_free_held(h);
}

void guest_handle_modify(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    struct guest_held *h = guest_hold(g, r, modify_now);
    if (guest_reach(g, GUEST_AT_MODIFY)) {
        uvm__deadline_set(g->engine, &h->timeout, guest_soon(g));
    }
}
