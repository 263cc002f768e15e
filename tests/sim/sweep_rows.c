/* SPDX-License-Identifier: MIT
 * sweep_rows.c — the sweep's rows: a VM's life and its disks; those about processes are sweep_proc.c's.
 */
#include "tests/sim/sweep.h"

#define PATH "/a"
#define GUEST_PATH "/data"

/* ---- disks -------------------------------------------------------------------------------- */

static int start_bare(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_scsi_params p = disk_bare(PATH);
    return WORLD_START(&s->w, c, uvm_scsi_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_mount(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_scsi_params p = disk_mount(PATH, GUEST_PATH);
    return WORLD_START(&s->w, c, uvm_scsi_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

/* The other one comes first, and waits as well. */
static int start_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_mount(s, &s->beside, NULL);
    return rc < 0 ? rc : start_mount(s, c, scope);
}

static void prepare_bare(struct sweep *s) {
    struct uvm_scsi_params p = disk_bare(PATH);
    disk_attach_well(&s->w, &p, s->id);
}

static void prepare_mount(struct sweep *s) {
    struct uvm_scsi_params p = disk_mount(PATH, GUEST_PATH);
    disk_attach_well(&s->w, &p, s->id);
}

static void prepare_other(struct sweep *s) {
    struct uvm_scsi_params p = disk_mount(PATH, "/other");
    disk_attach_well(&s->w, &p, s->id);
}

static void prepare_two(struct sweep *s) {
    prepare_other(s);
    prepare_mount(s);
}

static void prepare_shared(struct sweep *s) {
    prepare_mount(s);
    prepare_mount(s);
}

static struct uvm_vpmem_params image(void) {
    struct uvm_vpmem_params p = UVM_VPMEM_PARAMS_INIT;
    p.host_path = PATH;
    p.guest_path = GUEST_PATH;
    return p;
}

static int start_image(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_vpmem_params p = image();
    return WORLD_START(&s->w, c, uvm_vpmem_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_image_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_image(s, &s->beside, NULL);
    return rc < 0 ? rc : start_image(s, c, scope);
}

static void prepare_image(struct sweep *s) {
    struct uvm_vpmem_params p = image();
    EXPECT_EQ(&s->w, disk_vpmem_code(&s->w, &p, s->id), UVM_OK);
}

static struct uvm_plan9_params folder(void) {
    struct uvm_plan9_params p = UVM_PLAN9_PARAMS_INIT;
    p.host_path = PATH;
    p.guest_path = GUEST_PATH;
    return p;
}

static int start_folder(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_plan9_params p = folder();
    return WORLD_START(&s->w, c, uvm_plan9_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_folder_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_folder(s, &s->beside, NULL);
    return rc < 0 ? rc : start_folder(s, c, scope);
}

static void prepare_folder(struct sweep *s) {
    struct uvm_plan9_params p = folder();
    EXPECT_EQ(&s->w, disk_plan9_code(&s->w, &p, s->id), UVM_OK);
}

static struct uvm_vsmb_params share(void) {
    struct uvm_vsmb_params p = UVM_VSMB_PARAMS_INIT;
    p.host_path = PATH;
    p.guest_path = GUEST_PATH;
    return p;
}

static int start_share(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_vsmb_params p = share();
    return WORLD_START(&s->w, c, uvm_vsmb_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_share_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_share(s, &s->beside, NULL);
    return rc < 0 ? rc : start_share(s, c, scope);
}

static void prepare_share(struct sweep *s) {
    struct uvm_vsmb_params p = share();
    EXPECT_EQ(&s->w, disk_vsmb_code(&s->w, &p, s->id), UVM_OK);
}

static int start_function(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = PATH;
    return WORLD_START(&s->w, c, uvm_vpci_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_function_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_function(s, &s->beside, NULL);
    return rc < 0 ? rc : start_function(s, c, scope);
}

static void prepare_function(struct sweep *s) {
    struct uvm_vpci_params p = UVM_VPCI_PARAMS_INIT;
    p.device = PATH;
    EXPECT_EQ(&s->w, disk_vpci_code(&s->w, &p, s->id), UVM_OK);
}

/* Of one id, so that two of them are the same. */
static struct uvm_nic_params nic(void) {
    struct uvm_nic_params p = UVM_NIC_PARAMS_INIT;
    p.type = UVM_NIC_NETNS;
    p.target = PATH;
    p.id = "0a0a0a0a-0000-4000-8000-000000000001";
    return p;
}

static int start_nic(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    struct uvm_nic_params p = nic();
    return WORLD_START(&s->w, c, uvm_nic_attach(s->w.vm, &p, scope, world_on_done, c, &c->op));
}

static int start_nic_joined(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    int rc = start_nic(s, &s->beside, NULL);
    return rc < 0 ? rc : start_nic(s, c, scope);
}

static void prepare_nic(struct sweep *s) {
    struct uvm_nic_params p = nic();
    EXPECT_EQ(&s->w, disk_nic_code(&s->w, &p, s->id), UVM_OK);
}

static int start_detach(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c, uvm_detach(s->w.vm, s->id, scope, world_on_done, c, &c->op));
}

/* ---- the VM's life ------------------------------------------------------------------------ */

static int start_boot(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return world_boot(&s->w, c, s->w.vm, scope);
}

static int start_stop(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c, uvm_vm_stop(s->w.vm, 0, scope, world_on_done, c, &c->op));
}

static int start_terminate(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    return WORLD_START(&s->w, c, uvm_vm_terminate(s->w.vm, scope, world_on_done, c, &c->op));
}

static void on_end(struct uvm__deadline *d) {
    struct sweep *s = UVM__CONTAINER_OF(d, struct sweep, again);
    struct uvm__hcs_system *system = uvm__sim_newest(s->w.host);
    if (system != NULL) {
        uvm__sim_end(system, UVM__HCS_EXIT_GUEST_SHUTDOWN, "");
    }
}

/* For a guest that shuts down a little later. */
static int start_vm_wait(struct sweep *s, struct world_call *c, uvm_scope *scope) {
    uvm__deadline_clear(s->w.e, &s->again);
    uvm__deadline_init(&s->again, on_end);
    uvm__deadline_set(s->w.e, &s->again, uvm__now_ms(s->w.e) + 3);
    return WORLD_START(&s->w, c, uvm_vm_wait(s->w.vm, scope, world_on_done, c, &c->op));
}

/* Something of everything is there, or on its way, when it closes. */
static void prepare_busy(struct sweep *s) {
    prepare_other(s);
    sweep_wait.prepare(s);
    EXPECT_EQ(&s->w, start_mount(s, &s->beside, NULL), 0);
}

const struct sweep_row *const sweep_rows[] = {
    &(const struct sweep_row){"boot", {0}, SWEEP_BOOTS, .start = start_boot},
    &(const struct sweep_row){"boot with disks",
                              {.disks = 2, .mounts = 1, .rows = 2},
                              SWEEP_BOOTS,
                              .disks = true,
                              .start = start_boot},
    &(const struct sweep_row){
        "attach without a mount", {.disks = 1, .rows = 1}, .start = start_bare},
    &(const struct sweep_row){
        "attach with a mount", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_mount},
    &(const struct sweep_row){
        "a second mount", {.mounts = 1, .rows = 1}, .prepare = prepare_other, .start = start_mount},
    &(const struct sweep_row){
        "attach beside another", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_joined},
    &(const struct sweep_row){
        "one more of the same", {0}, .prepare = prepare_mount, .start = start_mount},
    &(const struct sweep_row){"detach without a mount",
                              {.disks = -1, .rows = -1},
                              .prepare = prepare_bare,
                              .start = start_detach},
    &(const struct sweep_row){"detach",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_mount,
                              .start = start_detach},
    &(const struct sweep_row){"detach one of two mounts",
                              {.mounts = -1, .rows = -1},
                              .prepare = prepare_two,
                              .start = start_detach},
    &(const struct sweep_row){
        "detach of one of two wishes", {0}, .prepare = prepare_shared, .start = start_detach},
    &(const struct sweep_row){
        "attach in VPMem", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_image},
    &(const struct sweep_row){"attach in VPMem beside another",
                              {.disks = 1, .mounts = 1, .rows = 1},
                              .start = start_image_joined},
    &(const struct sweep_row){
        "attach a network adapter", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_nic},
    &(const struct sweep_row){"attach a network adapter beside another",
                              {.disks = 1, .mounts = 1, .rows = 1},
                              .start = start_nic_joined},
    &(const struct sweep_row){"detach a network adapter",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_nic,
                              .start = start_detach},
    &(const struct sweep_row){"detach in VPMem",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_image,
                              .start = start_detach},
    &(const struct sweep_row){
        "attach a folder by virtio-fs", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_share},
    &(const struct sweep_row){"attach a folder by virtio-fs beside another",
                              {.disks = 1, .mounts = 1, .rows = 1},
                              .start = start_share_joined},
    &(const struct sweep_row){"detach a folder by virtio-fs",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_share,
                              .start = start_detach},
    &(const struct sweep_row){
        "attach a PCI function", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_function},
    &(const struct sweep_row){"attach a PCI function beside another",
                              {.disks = 1, .mounts = 1, .rows = 1},
                              .start = start_function_joined},
    &(const struct sweep_row){"detach a PCI function",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_function,
                              .start = start_detach},
    &(const struct sweep_row){
        "attach a folder by 9P", {.disks = 1, .mounts = 1, .rows = 1}, .start = start_folder},
    &(const struct sweep_row){"attach a folder by 9P beside another",
                              {.disks = 1, .mounts = 1, .rows = 1},
                              .start = start_folder_joined},
    &(const struct sweep_row){"detach a folder by 9P",
                              {.disks = -1, .mounts = -1, .rows = -1},
                              .prepare = prepare_folder,
                              .start = start_detach},
    &sweep_exec,
    &sweep_exec_io,
    &sweep_wait,
    &sweep_signal,
    &sweep_resize,
    &sweep_stdin,
    &sweep_stdout,
    &(const struct sweep_row){"stop", {0}, SWEEP_ENDS, .start = start_stop},
    &(const struct sweep_row){"terminate", {0}, SWEEP_ENDS, .start = start_terminate},
    &(const struct sweep_row){"vm wait", {0}, SWEEP_ENDS, .start = start_vm_wait},
    &(const struct sweep_row){"close", {0}, SWEEP_CLOSES, .prepare = prepare_busy},
};
const unsigned sweep_rows_count = sizeof sweep_rows / sizeof sweep_rows[0];
