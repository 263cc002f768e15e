/* SPDX-License-Identifier: MIT
 * disk_flow.c — see disk_flow.h.
 */
#include "tests/sim/disk_flow.h"
#include "async/json.h"
#include <stdio.h>
#include <string.h>

#define LIMIT_MS 2000u
#define ROWS 300u

struct uvm_scsi_params disk_bare(const char *host_path) {
    struct uvm_scsi_params p = UVM_SCSI_PARAMS_INIT;
    p.host_path = host_path;
    return p;
}

struct uvm_scsi_params disk_mount(const char *host_path, const char *guest_path) {
    struct uvm_scsi_params p = disk_bare(host_path);
    p.mount = true;
    p.guest_path = guest_path;
    return p;
}

int disk_attach(struct world *w, struct world_call *c, const struct uvm_scsi_params *p) {
    return WORLD_START(w, c, uvm_scsi_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

int disk_vpmem(struct world *w, struct world_call *c, const struct uvm_vpmem_params *p) {
    return WORLD_START(w, c, uvm_vpmem_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

int disk_nic(struct world *w, struct world_call *c, const struct uvm_nic_params *p) {
    return WORLD_START(w, c, uvm_nic_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

int disk_detach(struct world *w, struct world_call *c, const char *id) {
    return WORLD_START(w, c, uvm_detach(w->vm, id, w->scope, world_on_done, c, &c->op));
}

int disk_plan9(struct world *w, struct world_call *c, const struct uvm_plan9_params *p) {
    return WORLD_START(w, c, uvm_plan9_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

int disk_vsmb(struct world *w, struct world_call *c, const struct uvm_vsmb_params *p) {
    return WORLD_START(w, c, uvm_vsmb_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

int disk_vpci(struct world *w, struct world_call *c, const struct uvm_vpci_params *p) {
    return WORLD_START(w, c, uvm_vpci_attach(w->vm, p, w->scope, world_on_done, c, &c->op));
}

static int finish(struct world *w, struct world_call *c, int rc, char *ret_id) {
    if (rc < 0) {
        return -rc;
    }
    w->call = c;
    world_wait(w, c, LIMIT_MS);
    int code = c->code;
    if (code == UVM_OK && ret_id != NULL) {
        (void)snprintf(ret_id, 32, "%s", uvm_attach_result(c->op).id);
    }
    w->call = NULL;
    world_call_end(c);
    return code;
}

int disk_attach_code(struct world *w, const struct uvm_scsi_params *p) {
    struct world_call c = {0};
    return finish(w, &c, disk_attach(w, &c, p), NULL);
}

int disk_vpmem_code(struct world *w, const struct uvm_vpmem_params *p, char ret_id[32]) {
    struct world_call c = {0};
    return finish(w, &c, disk_vpmem(w, &c, p), ret_id);
}

int disk_plan9_code(struct world *w, const struct uvm_plan9_params *p, char ret_id[32]) {
    struct world_call c = {0};
    return finish(w, &c, disk_plan9(w, &c, p), ret_id);
}

int disk_vsmb_code(struct world *w, const struct uvm_vsmb_params *p, char ret_id[32]) {
    struct world_call c = {0};
    return finish(w, &c, disk_vsmb(w, &c, p), ret_id);
}

int disk_vpci_code(struct world *w, const struct uvm_vpci_params *p, char ret_id[32]) {
    struct world_call c = {0};
    return finish(w, &c, disk_vpci(w, &c, p), ret_id);
}

int disk_nic_code(struct world *w, const struct uvm_nic_params *p, char ret_id[32]) {
    struct world_call c = {0};
    return finish(w, &c, disk_nic(w, &c, p), ret_id);
}

void disk_attach_well(struct world *w, const struct uvm_scsi_params *p, char ret_id[32]) {
    struct world_call c = {0};
    EXPECT_EQ(w, finish(w, &c, disk_attach(w, &c, p), ret_id), UVM_OK);
}

int disk_detach_code(struct world *w, const char *id) {
    struct world_call c = {0};
    return finish(w, &c, disk_detach(w, &c, id), NULL);
}

void disk_detach_well(struct world *w, const char *id) {
    EXPECT_EQ(w, disk_detach_code(w, id), UVM_OK);
}

/* ---- views -------------------------------------------------------------------------------- */

static void put_text(const cJSON *o, const char *key, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, "%s", uvm__json_string(uvm__json_get(UVM__JSON_STRICT, o, key)));
}

static uint64_t number(const cJSON *o, const char *key) {
    uint64_t n = 0;
    assert_int_equal(uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, o, key), UINT64_MAX, &n), 0);
    return n;
}

static bool flag(const cJSON *o, const char *key) {
    bool b;
    assert_int_equal(uvm__json_bool(uvm__json_get(UVM__JSON_STRICT, o, key), &b), 0);
    return b;
}

static bool has(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key) != NULL;
}

/* A network adapter as the model of a host and the simulated guest have it. */
static void read_nic(const cJSON *o, const cJSON *at, struct disk_row *r) {
    char instance[40];
    put_text(at, "instance", instance, sizeof instance);
    put_text(o,
             has(o, "tap")     ? "tap"
             : has(o, "netns") ? "netns"
                               : "type",
             r->host_path, sizeof r->host_path);
    (void)snprintf(r->guest_path, sizeof r->guest_path, "/nic/%s", instance);
    r->controller = UVM__SIM_NIC;
    r->lun = uvm__sim_nic_slot(instance);
}

/* Likewise a PCI function. */
static void read_function(const cJSON *o, const cJSON *at, struct disk_row *r) {
    put_text(o, "device", r->host_path, sizeof r->host_path);
    put_text(o, "guest_path", r->guest_path, sizeof r->guest_path);
    r->controller = UVM__SIM_VPCI;
    r->lun = uvm__sim_vpci_slot(uvm__json_string(uvm__json_get(UVM__JSON_STRICT, at, "instance")));
}

/* And a folder by 9P, in the slot of its port. */
static void read_share(const cJSON *o, const cJSON *at, struct disk_row *r) {
    put_text(o, "host_path", r->host_path, sizeof r->host_path);
    put_text(o, "guest_path", r->guest_path, sizeof r->guest_path);
    r->controller = UVM__SIM_PLAN9;
    r->lun = number(at, "port");
    r->read_only = flag(o, "read_only");
}

/* By virtio-fs: in the slot of its name. */
static void read_vsmb(const cJSON *o, const cJSON *at, struct disk_row *r) {
    put_text(o, "host_path", r->host_path, sizeof r->host_path);
    put_text(o, "guest_path", r->guest_path, sizeof r->guest_path);
    r->controller = UVM__SIM_VSMB;
    r->lun = uvm__sim_vsmb_slot(uvm__json_string(uvm__json_get(UVM__JSON_STRICT, at, "share")));
    r->read_only = flag(o, "read_only");
}

static void read_disk(const cJSON *o, const cJSON *at, struct disk_row *r) {
    bool vpmem = has(at, "device");
    put_text(o, "host_path", r->host_path, sizeof r->host_path);
    put_text(o, "guest_path", r->guest_path, sizeof r->guest_path);
    r->controller = vpmem ? UVM__SIM_VPMEM + (unsigned)number(at, "device")
                          : (unsigned)number(at, "controller");
    r->lun = number(at, vpmem ? "offset" : "lun");
    r->read_only = flag(o, "read_only");
}

uint32_t disk_rows(struct world *w, struct disk_row *ret, uint32_t max) {
    const char *text = uvm_vm_devices(w->vm);
    cJSON *tree;
    struct uvm__fail f;
    EXPECT(w, text != NULL);
    EXPECT_EQ(w, uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f), 0);
    uint32_t n = 0;
    const cJSON *o;
    cJSON_ArrayForEach(o, tree) {
        EXPECT(w, n < max);
        struct disk_row *r = &ret[n++];
        put_text(o, "id", r->id, sizeof r->id);
        put_text(o, "state", r->state, sizeof r->state);
        const cJSON *at = uvm__json_get(UVM__JSON_STRICT, o, "location");
        r->read_only = false;
        (has(o, "mac")                ? read_nic
         : has(o, "virtual_function") ? read_function
         : has(at, "port")            ? read_share
         : has(at, "share")           ? read_vsmb
                                      : read_disk)(o, at, r);
        r->refs = (uint32_t)number(o, "refs");
        r->quarantined = flag(o, "quarantined");
    }
    cJSON_Delete(tree);
    return n;
}

bool disk_row(struct world *w, const char *id, struct disk_row *ret) {
    static struct disk_row rows[ROWS];
    uint32_t n = disk_rows(w, rows, ROWS);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(rows[i].id, id) == 0) {
            *ret = rows[i];
            return true;
        }
    }
    return false;
}

struct guest *disk_guest(struct world *w) {
    return w->guests_count == 0 ? NULL : w->guests[w->guests_count - 1].guest;
}

void disk_expect_agreement(struct world *w) {
    static struct disk_row rows[ROWS];
    uint32_t n = disk_rows(w, rows, ROWS), disks = 0, mounts = 0;
    struct uvm__hcs_system *s = uvm__sim_newest(w->host);
    for (uint32_t i = 0; i < n; i++) {
        const struct disk_row *r = &rows[i];
        const char *path = NULL;
        bool read_only = false, first = true;
        EXPECT(w, !r->quarantined && r->refs > 0);
        EXPECT(w, strcmp(r->state, "attached") == 0);
        EXPECT(w, uvm__sim_disk_at(s, r->controller, r->lun, &path, &read_only));
        EXPECT(w, strcmp(path, r->host_path) == 0 && read_only == r->read_only);
        for (uint32_t k = 0; k < i; k++) {
            first = first && (rows[k].controller != r->controller || rows[k].lun != r->lun);
            EXPECT(w, strcmp(rows[k].id, r->id) != 0);
        }
        disks += first;
        if (r->guest_path[0] != 0) {
            struct guest_mount m;
            mounts++;
            EXPECT(w, guest_mount_at(disk_guest(w), r->guest_path, &m));
            EXPECT(w, m.controller == r->controller && m.lun == r->lun);
        }
    }
    EXPECT_EQ(w, uvm__sim_ledger(w->host).disks, disks);
    EXPECT_EQ(w, guest_mounts(disk_guest(w)), mounts);
    EXPECT_EQ(w, w->seen.yanked, 0);
}

void disk_expect_nothing(struct world *w) {
    struct disk_row row;
    EXPECT_EQ(w, disk_rows(w, &row, 1), 0);
    EXPECT_EQ(w, uvm__sim_ledger(w->host).disks, 0);
    EXPECT_EQ(w, w->seen.mounts, 0);
    EXPECT_EQ(w, w->seen.yanked, 0);
}

/* ---- worlds ------------------------------------------------------------------------------- */

uvm_vm *disk_vm_new(struct world *w, struct uvm_vm_params *p) {
    uvm_vm *vm = NULL;
    p->name = DISK_VM;
    if (p->document == NULL) {
        p->kernel = "/boot/vmlinux";
        p->initrd = "/boot/initrd.img";
    }
    EXPECT_EQ(w, uvm_vm_new(w->e, w->service, p, &vm, NULL), 0);
    w->vms++;
    return vm;
}

void disk_open_with(struct world *w, const char *what, struct uvm_vm_params *p) {
    world_open(w);
    (void)snprintf(w->label, sizeof w->label, "%s", what);
    w->wired = true;
    w->vm = disk_vm_new(w, p);
    world_boot_well(w, w->vm);
}

void disk_open(struct world *w, const char *what) {
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    disk_open_with(w, what, &p);
}

void disk_close(struct world *w) {
    world_vm_close(w, w->vm);
    world_close(w);
}

/* What the guest does to the nth request about a disk. */
void disk_mistreat(struct world *w, enum wire_fault fault, uint32_t skip, uint32_t late_ms) {
    struct guest_script script = {0};
    script.wire = (struct wire_plan){
        .msg = UVM__MSG_MODIFY_SETTINGS, .fault = fault, .skip = skip, .late_ms = late_ms};
    world_script(w, &script);
}

void disk_end(struct world_call *c) {
    world_call_end(c);
    c->w->call = NULL;
}

void disk_wait(struct world *w, struct world_call *c, uint64_t ms, int code) {
    w->call = c;
    world_wait(w, c, ms);
    EXPECT_EQ(w, c->code, code);
    w->call = NULL;
}
